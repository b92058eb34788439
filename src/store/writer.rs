//! The writer thread: it owns the one connection that writes, takes what is waiting into one
//! transaction, each change in its own savepoint, commits, publishes, and only then replies.
//!
//! Why one thread: SQLite has one writer at a time. A pool of writers turns that into lock
//! contention and `SQLITE_BUSY`; a queue turns it into order. Why groups: with `synchronous=FULL` a
//! commit costs one flush to disk, and a group shares it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    OpenError, ReadTx, StoreOptions, Touched, WriteTx, stopped,
    storage_fault::{as_error, diagnose, is_surely_undone},
};
use crate::{
    clock::Clock,
    domain::time::Timestamp,
    error::{Error, Result, StorageFault},
};

/// Runs in the writer after each commit, before the replies: makes memory follow the disk.
pub type OnCommit = Box<dyn FnMut(&ReadTx<'_>, &Touched) -> Result<()> + Send>;

/// Why the writer gave up. Memory can't be trusted any more; the next start reads the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fatal {
    /// A commit failed in a way that leaves open whether it is on disk.
    UnknownOutcome,
    /// What was committed could not be read back into memory.
    CannotPublish,
    /// A change panicked.
    Panicked,
}

const UNKNOWN: &str = "The outcome of this change is not known: the disk failed while it was being \
                       committed. Read the state again after the service has restarted.";

#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    fatal: watch::Receiver<Option<Fatal>>,
    /// Why the latest change was refused, if the disk refused it.
    fault: watch::Receiver<Option<StorageFault>>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
    /// Counts what the full queue refused.
    busy: Counter,
}

/// What the writer measures: handles that are made once.
struct Meters {
    wait: Histogram,
    transaction: Histogram,
    group: Histogram,
}

impl Meters {
    fn new() -> Self {
        Self {
            wait: metrics::histogram!("entitlement_write_wait_seconds"),
            transaction: metrics::histogram!("entitlement_write_transaction_seconds"),
            group: metrics::histogram!("entitlement_write_group_size"),
        }
    }
}

enum Message {
    Change(Box<dyn Work>),
    Checkpoint(oneshot::Sender<Result<()>>),
    Stop,
}

/// One queued change with its types erased.
trait Work: Send {
    /// When it began to wait.
    fn queued_at(&self) -> Instant;
    /// Runs inside a savepoint; whether to keep what it did.
    fn run(&mut self, tx: &WriteTx<'_>) -> bool;
    /// Why the disk stood in its way, and so in the way of all.
    fn fault(&self) -> Option<StorageFault>;
    /// Tells the caller, after the commit.
    fn finish(self: Box<Self>, commit: Result<(), GroupError>);
}

/// Why a group was not committed.
#[derive(Debug, Clone, Copy)]
enum GroupError {
    RolledBack(StorageFault),
    Unknown,
}

/// What becomes of what a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is kept, unless it was refused.
    Done,
    /// It is undone: somebody only wanted to see what it would do.
    Nothing,
}

struct Change<F, T> {
    body: Option<F>,
    keep: Keep,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
    queued_at: Instant,
}

impl<F, T> Work for Change<F, T>
where
    F: FnOnce(&WriteTx<'_>) -> Result<T> + Send,
    T: Send,
{
    fn queued_at(&self) -> Instant {
        self.queued_at
    }

    fn run(&mut self, tx: &WriteTx<'_>) -> bool {
        // A caller that went away before its turn is skipped; once begun, a change is not cancelled.
        let Some(body) = self.body.take().filter(|_| !self.reply.is_closed()) else { return false };
        let outcome = body(tx);
        let keep = outcome.is_ok() && self.keep == Keep::Done;
        self.outcome = Some(outcome);
        keep
    }

    fn fault(&self) -> Option<StorageFault> {
        match &self.outcome {
            // One row may be damaged, which is nothing to those who don't read it.
            Some(Err(Error::Storage(StorageFault::Unreadable))) => None,
            Some(Err(Error::Storage(fault))) => Some(*fault),
            Some(Ok(_) | Err(_)) | None => None,
        }
    }

    fn finish(self: Box<Self>, commit: Result<(), GroupError>) {
        let answer = match (self.outcome, commit) {
            // More is known of it by now.
            (Some(Err(Error::Storage(_))), Err(GroupError::RolledBack(fault))) => {
                Err(Error::Storage(fault))
            }
            // A refused change keeps its own reason whatever became of the group.
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(GroupError::Unknown)) => Err(Error::Unavailable(UNKNOWN)),
            (_, Err(GroupError::RolledBack(fault))) => Err(Error::Storage(fault)),
            (None, Ok(())) => Err(stopped()),
        };
        let _ = self.reply.send(answer);
    }
}

impl Writer {
    pub async fn submit<T, F>(&self, keep: Keep, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued_at = Instant::now();
        let change = Change { body: Some(body), keep, outcome: None, reply, queued_at };
        self.queue.try_send(Message::Change(Box::new(change))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.busy.increment(1);
                Error::Overloaded
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(Error::Unavailable(UNKNOWN)))
    }

    pub async fn checkpoint(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Message::Checkpoint(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    pub async fn failed(&self) -> Fatal {
        let mut fatal = self.fatal.clone();
        let failure = fatal.wait_for(Option::is_some).await.ok().and_then(|failure| *failure);
        match failure {
            Some(failure) => failure,
            // The thread ended without a failure: an orderly stop, which nobody needs to act on.
            None => std::future::pending().await,
        }
    }

    pub fn fault(&self) -> Option<StorageFault> {
        *self.fault.borrow()
    }

    pub fn is_running(&self) -> bool {
        self.fatal.borrow().is_none() && !self.queue.is_closed()
    }

    pub async fn stop(&self) {
        let _ = self.queue.send(Message::Stop).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

pub(super) fn start(
    conn: Connection,
    clock: Clock,
    on_commit: OnCommit,
    options: &StoreOptions,
) -> Result<Writer, OpenError> {
    let (queue, group) = (options.queue, options.group);
    let (version, latest_at) =
        conn.query_row("SELECT version, latest_at FROM service_state WHERE id = 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Timestamp>(1)?))
        })?;
    clock.not_before(latest_at);
    let (sender, receiver) = mpsc::channel(queue);
    let (failed, fatal) = watch::channel(None);
    let version = u64::try_from(version).unwrap_or_default();
    let (refuses, fault) = watch::channel(None);
    let (path, meters) = (options.path.clone(), Meters::new());
    let desk = Desk { conn, clock, on_commit, version, meters, path, refuses, told: None };
    let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
        // A panic here would leave memory and disk apart without anybody knowing.
        let end = catch_unwind(AssertUnwindSafe(|| run(desk, receiver, group)));
        match end {
            Ok(Ok(())) => {}
            Ok(Err(fatal)) => {
                let _ = failed.send(Some(fatal));
            }
            Err(_) => {
                let _ = failed.send(Some(Fatal::Panicked));
            }
        }
    })?;
    let busy = metrics::counter!("entitlement_write_busy_total");
    let thread = Arc::new(Mutex::new(Some(thread)));
    Ok(Writer { queue: sender, fatal, fault, thread, busy })
}

struct Desk {
    conn: Connection,
    clock: Clock,
    on_commit: OnCommit,
    /// The latest version that was committed.
    version: u64,
    meters: Meters,
    /// The database's file.
    path: PathBuf,
    /// Why the disk refused the latest group.
    refuses: watch::Sender<Option<StorageFault>>,
    /// When the log was last told of it: a full disk would only get fuller.
    told: Option<Instant>,
}

/// How often the log is told that the disk still refuses.
const TELL_EVERY: Duration = Duration::from_secs(60);

fn run(mut desk: Desk, mut queue: mpsc::Receiver<Message>, group_max: usize) -> Result<(), Fatal> {
    let mut group: Vec<Box<dyn Work>> = Vec::with_capacity(group_max);
    while let Some(first) = queue.blocking_recv() {
        let mut checkpoints = Vec::new();
        let mut next = Some(first);
        // Everything that is already waiting shares the commit.
        while let Some(message) = next {
            match message {
                Message::Change(work) => group.push(work),
                Message::Checkpoint(reply) => checkpoints.push(reply),
                // Refuses new changes; what is queued is still done.
                Message::Stop => queue.close(),
            }
            next = if group.len() < group_max { queue.try_recv().ok() } else { None };
        }
        desk.commit(&mut group)?;
        for reply in checkpoints {
            let _ = reply.send(desk.checkpoint());
        }
    }
    if let Err(error) = desk.checkpoint() {
        tracing::warn!(error = error.chain(), "the log was not emptied");
    }
    Ok(())
}

impl Desk {
    fn commit(&mut self, group: &mut Vec<Box<dyn Work>>) -> Result<(), Fatal> {
        if group.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let before = self.version;
        for work in group.iter() {
            self.meters.wait.record(started.duration_since(work.queued_at()).as_secs_f64());
        }
        let outcome = self.transact(group);
        self.meters.transaction.record(started.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a group holds a few changes")]
        self.meters.group.record(group.len() as f64);
        let (answer, fatal) = match outcome {
            Ok(touched) => match self.publish(&touched) {
                Ok(()) => {
                    // A group that wrote nothing never asked the disk.
                    if self.version > before {
                        self.works_again();
                    }
                    (Ok(()), None)
                }
                // It is on disk, but nobody may be told so: a check could still see the old state.
                Err(error) => {
                    tracing::error!(error = error.chain(), "can't publish");
                    (Err(GroupError::Unknown), Some(Fatal::CannotPublish))
                }
            },
            Err(error) => {
                self.version = before;
                match error.group {
                    GroupError::RolledBack(fault) => {
                        self.is_refused(fault, &error.cause);
                        (Err(error.group), None)
                    }
                    GroupError::Unknown => {
                        let cause = &error.cause as &dyn std::error::Error;
                        tracing::error!(
                            error = cause,
                            "it is not known whether this was committed"
                        );
                        (Err(GroupError::Unknown), Some(Fatal::UnknownOutcome))
                    }
                }
            }
        };
        for work in group.drain(..) {
            work.finish(answer);
        }
        fatal.map_or(Ok(()), Err)
    }

    /// Says so at once, and then now and then.
    fn is_refused(&mut self, fault: StorageFault, cause: &rusqlite::Error) {
        metrics::counter!("entitlement_storage_faults_total", "fault" => fault.code()).increment(1);
        let was = self.refuses.send_replace(Some(fault));
        if was != Some(fault) || self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let cause = cause as &dyn std::error::Error;
            tracing::error!(error = cause, fault = fault.code(), "changes are refused");
            self.told = Some(Instant::now());
        }
    }

    fn works_again(&mut self) {
        if self.told.take().is_some() {
            self.refuses.send_replace(None);
            tracing::info!("changes are taken again");
        }
    }

    fn publish(&mut self, touched: &Touched) -> Result<()> {
        (self.on_commit)(&ReadTx { conn: &self.conn }, touched)
    }

    fn transact(&mut self, group: &mut [Box<dyn Work>]) -> Result<Touched, CommitError> {
        let changed = self.apply(group).map_err(|cause| {
            if !self.conn.is_autocommit() {
                let _ = self.conn.execute_batch("ROLLBACK");
            }
            CommitError { group: GroupError::RolledBack(diagnose(&cause, &self.path)), cause }
        })?;
        let committed =
            self.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        let Err(cause) = committed else { return Ok(changed) };
        let is_undone = is_surely_undone(&cause);
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let group = if is_undone {
            GroupError::RolledBack(diagnose(&cause, &self.path))
        } else {
            GroupError::Unknown
        };
        Err(CommitError { cause, group })
    }

    /// Everything up to the commit.
    fn apply(&mut self, group: &mut [Box<dyn Work>]) -> rusqlite::Result<Touched> {
        let conn = &self.conn;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        // After the lock: commit order is time order.
        let now = self.clock.steady();
        let mut touched = Touched::default();
        for work in group.iter_mut() {
            conn.prepare_cached("SAVEPOINT change")?.execute([])?;
            let tx = WriteTx::new(conn, now, self.version + 1);
            let changes_before = conn.total_changes();
            let keep = work.run(&tx);
            // Some failures (a full disk, I/O) make SQLite undo the whole transaction, the changes
            // before this one included.
            let fault = work.fault();
            if conn.is_autocommit() || fault.is_some() {
                return Err(as_error(fault.unwrap_or(StorageFault::Failing)));
            }
            if keep {
                // What found nothing to change makes no version.
                self.version += u64::from(conn.total_changes() > changes_before);
                touched.merge(tx.touched.into_inner());
            } else {
                conn.prepare_cached("ROLLBACK TO change")?.execute([])?;
            }
            conn.prepare_cached("RELEASE change")?.execute([])?;
        }
        // A group of refused changes leaves nothing behind.
        conn.prepare_cached(
            "UPDATE service_state
             SET version = :version, latest_at = max(latest_at, :now),
                 global_version = CASE WHEN :world THEN :version ELSE global_version END
             WHERE id = 1 AND version < :version",
        )?
        .execute(rusqlite::named_params! {
            ":version": i64::try_from(self.version).unwrap_or(i64::MAX),
            ":now": now,
            ":world": touched.world,
        })?;
        Ok(touched)
    }

    fn checkpoint(&self) -> Result<()> {
        // It answers with a row that says whether a reader was in the way; the next one goes further.
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

struct CommitError {
    cause: rusqlite::Error,
    group: GroupError,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::store::{Durability, Store, StoreOptions};

    #[tokio::test]
    async fn what_a_full_queue_refuses_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            durability: Durability::None,
            queue: 1,
            ..StoreOptions::at(dir.path().join("entitled.db"))
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        let clock = Clock::system();
        let store = metrics::with_local_recorder(&recorder, || {
            Store::open(&options, clock, Box::new(|_, _| Ok(()))).unwrap()
        });
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let occupies = store.write(move |_| {
            begun.send(()).unwrap();
            let _ = may_go_on.recv();
            Ok(())
        });
        let mut occupies = Box::pin(occupies);
        assert!(futures_util::poll!(&mut occupies).is_pending());
        has_begun.recv().unwrap();
        let mut waits = Box::pin(store.write(|_| Ok(())));
        assert!(futures_util::poll!(&mut waits).is_pending());
        let refused = store.write(|_| Ok(())).await;
        assert!(matches!(refused, Err(Error::Overloaded)));
        drop(go_on);
        occupies.await.unwrap();
        waits.await.unwrap();
        let text = recorder.handle().render();
        assert!(text.contains("\nentitlement_write_busy_total 1\n"), "{text}");
        store.stop().await;
    }
}
