//! SQLite: one writer thread that commits in groups, a pool of readers, and one file of statements
//! for each resource.
//!
//! Invariants: only this folder names rusqlite. `&WriteTx` proves that the write lock is held and
//! carries the instant of the change. Statements are static text with named parameters.
//!
//! Refuses to know: who may do what, and what a decision is.

pub mod activation_codes;
pub mod activity;
pub mod anchor;
pub mod api_keys;
pub mod audit;
pub mod backup;
pub mod catalogs;
mod chain;
pub mod contexts;
pub mod deliveries;
pub mod doctor;
pub mod due;
pub mod evidence;
pub mod grants;
pub mod idempotency;
pub mod legacy;
mod migrate;
mod open;
pub mod outbox;
pub mod overrides;
pub mod ownership;
pub mod people;
pub mod places;
pub mod platform_roles;
pub mod requests;
pub mod reservations;
pub mod restore;
pub mod retention;
pub mod roles;
pub mod rollout;
pub mod room;
pub mod seats;
pub mod snapshots;
mod sql;
mod storage_fault;
pub mod subscription_ends;
pub mod subscriptions;
pub mod tenants;
pub mod tiers;
pub mod trials;
pub mod usage;
pub mod usage_periods;
pub mod usage_rechecks;
pub mod user_entitlements;
pub mod webhooks;
mod writer;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    path::Path,
    sync::Arc,
};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use self::{
    anchor::{Anchor, Rollback},
    writer::Keep,
};
pub use self::{
    migrate::Migration,
    open::{Durability, OpenError, StoreOptions},
    writer::{Fatal, OnCommit},
};
use crate::{
    clock::Clock,
    domain::{
        audit::Head,
        contexts::ContextKey,
        events::Change,
        keys::{TenantKey, UserKey},
        time::{Span, Timestamp},
        trials::{TrialKind, TrialStep},
    },
    error::{Error, Result, StorageFault},
};

/// The database. Cheap to clone; all clones share the writer and the readers.
#[derive(Clone)]
pub struct Store {
    readers: r2d2::Pool<SqliteConnectionManager>,
    /// One permit for each reader, so that waiting for one never blocks a thread.
    permits: Arc<Semaphore>,
    writer: writer::Writer,
    anchor: Anchor,
    path: Arc<Path>,
}

/// A consistent view of one instant. Ends when it is dropped.
pub struct ReadTx<'c> {
    conn: &'c Connection,
}

/// The write lock, the instant of the change, and what it touches.
pub struct WriteTx<'c> {
    read: ReadTx<'c>,
    /// When the change happens.
    real: Timestamp,
    /// What time it then is for whom it concerns.
    now: Cell<Timestamp>,
    version: u64,
    touched: RefCell<Touched>,
}

/// What a change concerns, and so what has to be read again once it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// These tenants.
    pub tenants: BTreeSet<TenantKey>,
    /// Every tenant: the catalog or the rollout.
    pub world: bool,
    /// The API keys.
    pub keys: bool,
    /// These users, in a tenant or outside of all.
    pub users: BTreeSet<(Option<TenantKey>, UserKey)>,
    /// These contexts, in the order in which they changed.
    pub contexts: Vec<ContextChange>,
    /// Something ends by itself at this instant: the earliest of those that were written.
    pub ends_at: Option<Timestamp>,
    /// What is known of these features now. No version: usage raises none.
    pub usage: usage::TouchedUsage,
    /// Of these tenants anybody's answers can be others now, and not only those of `users`.
    pub whole: BTreeSet<TenantKey>,
    /// Subscribers were told already that this has passed; it is only recorded.
    pub is_told: bool,
    /// Something may be due to be sent to a webhook.
    pub deliveries: bool,
    /// What subscribers are told, in the order of their places.
    pub changes: Vec<Arc<Change>>,
    /// Trials that began, became the real thing or ended: counted once it is committed.
    pub trials: Vec<(TrialKind, TrialStep)>,
}

/// A context that was made, moved or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextChange {
    /// In whose tree.
    pub tenant: TenantKey,
    /// Which one.
    pub key: ContextKey,
    /// What it now stands below (none: right below the tenant); none where it was removed.
    pub parent: Option<Option<ContextKey>>,
}

impl Touched {
    fn merge(&mut self, other: Self) {
        self.tenants.extend(other.tenants);
        self.world |= other.world;
        self.keys |= other.keys;
        self.users.extend(other.users);
        self.contexts.extend(other.contexts);
        self.usage.extend(other.usage);
        self.changes.extend(other.changes);
        self.deliveries |= other.deliveries;
        self.trials.extend(other.trials);
        self.ends_at = self.ends_at.into_iter().chain(other.ends_at).min();
    }
}

impl<'c> WriteTx<'c> {
    fn new(conn: &'c Connection, now: Timestamp, version: u64) -> Self {
        let (read, touched) = (ReadTx { conn }, RefCell::default());
        Self { read, real: now, now: Cell::new(now), version, touched }
    }

    /// The instant of the change, read after the lock was taken: commit order is time order. Once
    /// [`Self::in_time_of`] was called it is what time it is for that tenant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// The instant of the change, whosever clock counts.
    #[must_use]
    pub fn real_now(&self) -> Timestamp {
        self.real
    }

    /// From here on the clock of `tenant` counts, which may be ahead if it is a sandbox.
    pub fn in_time_of(&self, tenant: &TenantKey) -> Result<()> {
        self.now.set(self.real + tenants::ahead(&self.read, tenant)?);
        Ok(())
    }

    /// The version that this change makes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A reading view that includes what this change has written.
    #[must_use]
    pub fn read(&self) -> &ReadTx<'c> {
        &self.read
    }

    /// The change concerns `tenant`: its version steps and its facts are read again.
    pub fn touch_tenant(&self, tenant: &TenantKey) -> Result<()> {
        self.step(tenant)?;
        self.touched.borrow_mut().whole.insert(tenant.clone());
        Ok(())
    }

    fn step(&self, tenant: &TenantKey) -> Result<()> {
        tenants::set_version(self, tenant)?;
        self.touched.borrow_mut().tenants.insert(tenant.clone());
        Ok(())
    }

    /// The change concerns `user`, in `tenant` or outside of all: what is known of them is read again.
    pub fn touch_user(&self, tenant: Option<&TenantKey>, user: &UserKey) -> Result<()> {
        if let Some(tenant) = tenant {
            self.step(tenant)?;
        }
        self.touched.borrow_mut().users.insert((tenant.cloned(), user.clone()));
        Ok(())
    }

    /// The change concerns a context.
    fn touch_context(&self, change: ContextChange) -> Result<()> {
        self.touch_tenant(&change.tenant)?;
        self.touched.borrow_mut().contexts.push(change);
        Ok(())
    }

    /// The change concerns every tenant.
    pub fn touch_world(&self) {
        self.touched.borrow_mut().world = true;
    }

    /// Something ends by itself at `at`, by the clock that counts: the expiry worker must not sleep
    /// past it.
    pub fn ends_at(&self, at: Timestamp) {
        let at = at - Span::between(self.real, self.now());
        let mut touched = self.touched.borrow_mut();
        touched.ends_at = Some(touched.ends_at.map_or(at, |earliest| earliest.min(at)));
    }

    /// Something may be due to be sent to a webhook.
    fn wake_senders(&self) {
        self.touched.borrow_mut().deliveries = true;
    }

    /// The change records something that has passed by itself, and of which subscribers were told.
    pub fn was_told(&self) {
        self.touched.borrow_mut().is_told = true;
    }

    /// The change concerns API keys.
    pub fn touch_keys(&self) {
        self.touched.borrow_mut().keys = true;
    }
}

impl Store {
    /// Opens the database, brings it to the newest schema and starts the writer. `on_commit` runs
    /// in the writer between a commit and the replies to it.
    pub fn open(
        options: &StoreOptions,
        clock: Clock,
        on_commit: OnCommit,
    ) -> Result<Self, OpenError> {
        let (conn, anchor) = open::writer_connection(options)?;
        let readers = open::reader_pool(options)?;
        let writer = writer::start(conn, clock, on_commit, options)?;
        let permits = Arc::new(Semaphore::new(options.readers as usize));
        let path = options.path.as_path().into();
        Ok(Self { readers, permits, writer, anchor, path })
    }

    /// Opens what is there for reading only, beside a running service.
    pub fn inspect<T>(
        path: &Path,
        body: impl FnOnce(&ReadTx<'_>) -> Result<T>,
    ) -> Result<T, OpenError> {
        let conn = open::inspecting_connection(path)?;
        conn.execute_batch("BEGIN")?;
        Ok(body(&ReadTx { conn: &conn })?)
    }

    /// Brings the database to the newest schema and closes it.
    pub fn migrate(options: &StoreOptions) -> Result<Vec<Migration>, OpenError> {
        open::migrate(options)
    }

    /// Runs `body` in one consistent view, on the calling thread: for look-ups of microseconds.
    pub async fn read<T>(&self, body: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let _permit = self.permits.acquire().await.map_err(|_| stopped())?;
        self.read_now(body)
    }

    /// As [`Store::read`], on a thread that may block: for lists and anything long.
    pub async fn read_long<T: Send + 'static>(
        &self,
        body: impl FnOnce(&ReadTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| stopped())?;
        let store = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            store.read_now(body)
        });
        work.await.map_err(Error::internal)?
    }

    /// As [`Store::read`], for code that can't wait (start-up, tests).
    pub fn read_now<T>(&self, body: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let conn = self.readers.get().map_err(Error::internal)?;
        // Deferred: the view begins with the first statement and holds until the end.
        conn.prepare_cached("BEGIN")?.execute([])?;
        let outcome = body(&ReadTx { conn: &conn });
        conn.prepare_cached("COMMIT")?.execute([])?;
        outcome
    }

    /// Runs `body` with the write lock and returns once it is committed and published. An `Err`
    /// undoes only this change. Dropping the future before its turn cancels it; later it commits
    /// unseen, so what a client may repeat needs an idempotency key.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        body: impl FnOnce(&WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.submit(Keep::Done, body).await
    }

    /// Runs `body` with the write lock and undoes it: nothing is written, no version steps, nothing
    /// is published. `after` looks at what it would have made, `before` at what is there.
    pub(crate) async fn rehearse<T, A, B>(
        &self,
        body: impl FnOnce(&WriteTx<'_>) -> Result<T> + Send + 'static,
        after: impl FnOnce(&WriteTx<'_>, &Touched) -> Result<A> + Send + 'static,
        before: impl FnOnce(&WriteTx<'_>, &A) -> Result<B> + Send + 'static,
    ) -> Result<(T, A, B)>
    where
        T: Send + 'static,
        A: Send + 'static,
        B: Send + 'static,
    {
        self.writer
            .submit(Keep::Nothing, move |tx| {
                let conn = tx.read.conn;
                conn.prepare_cached("SAVEPOINT rehearsal")?.execute([])?;
                let seen = body(tx).and_then(|value| {
                    // A copy: who looks at it may look things up.
                    let touched = tx.touched.borrow().clone();
                    Ok((value, after(tx, &touched)?))
                });
                conn.prepare_cached("ROLLBACK TO rehearsal")?.execute([])?;
                conn.prepare_cached("RELEASE rehearsal")?.execute([])?;
                let (value, seen) = seen?;
                let was = before(tx, &seen)?;
                Ok((value, seen, was))
            })
            .await
    }

    /// Moves the write-ahead log into the database file.
    pub async fn checkpoint(&self) -> Result<()> {
        self.writer.checkpoint().await
    }

    /// Writes the end of the audit trail into its anchor, if it has moved.
    pub async fn keep_anchor(&self) -> Result<()> {
        let store = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            store.anchor.follow(|| store.read_now(audit::head))
        });
        work.await.map_err(Error::internal)?
    }

    /// The end of the audit trail that its anchor names.
    #[must_use]
    pub fn anchored(&self) -> Option<Head> {
        self.anchor.named()
    }

    /// How much room the database takes, and how much there is; nothing where the system doesn't say.
    #[must_use]
    pub fn room(&self) -> Option<room::Room> {
        room::room(&self.path).ok()
    }

    /// What an operator accepted at the start, and must be in the trail before the anchor moves.
    #[must_use]
    pub fn rollback(&self) -> Option<&Rollback> {
        self.anchor.rollback()
    }

    /// The place in the audit trail that pruning must not reach.
    #[must_use]
    pub fn prunable_below(&self) -> u64 {
        self.anchor.prunable_below()
    }

    /// Resolves when the writer had to give up; the process must end then.
    pub async fn failed(&self) -> Fatal {
        self.writer.failed().await
    }

    /// Whether writes are taken.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writer.is_running()
    }

    /// Why the latest change was refused, if the disk refused it.
    #[must_use]
    pub fn fault(&self) -> Option<StorageFault> {
        self.writer.fault()
    }

    /// Finishes what is queued, empties the log and closes the writer.
    pub async fn stop(&self) {
        self.writer.stop().await;
    }
}

fn stopped() -> Error {
    Error::Unavailable("The service is stopping; nothing was changed.")
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        storage_fault::of(&error).map_or_else(|| Self::internal(error), Self::Storage)
    }
}
