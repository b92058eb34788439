//! What ends by itself is recorded here: one audit event for each, exactly once (SPEC 12).
//!
//! Invariants: a decision never waits for this (it compares instants itself); each thing ends in a
//! change of its own, so that one bad row holds up no other; a thing that was removed or extended in
//! the meantime is left alone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::{Service, actor::Actor, overrides, permissions::Permission};
use crate::{
    domain::{audit::Event, overrides::OverrideEnd, time::Timestamp},
    error::Result,
    store::{self, ReadTx, WriteTx},
};

/// How many things of a kind are looked up at once.
const BATCH: usize = 250;

/// How many of them wait in the writer's queue at once, so that other changes get their turn.
const IN_FLIGHT: usize = 32;

/// One kind of thing that ends by itself. A new kind is a new row of [`KINDS`].
struct Kind {
    name: &'static str,
    /// Ids of what is due and not recorded, oldest first.
    due: fn(&ReadTx<'_>, Timestamp, usize) -> Result<Vec<String>>,
    /// When the next one is due.
    next: fn(&ReadTx<'_>) -> Result<Option<Timestamp>>,
    /// Records one; nothing where it was ended or extended in the meantime.
    expire: fn(&WriteTx<'_>, &str) -> Result<Option<Event>>,
}

const KINDS: &[Kind] = &[Kind {
    name: "override",
    due: store::overrides::due,
    next: store::overrides::next_due,
    expire: expire_override,
}];

fn expire_override(tx: &WriteTx<'_>, id: &str) -> Result<Option<Event>> {
    let found = store::overrides::get(tx.read(), id)?;
    if found.ended.is_some() || found.exception.expires_at > tx.now() {
        return Ok(None);
    }
    overrides::end(tx, found, OverrideEnd::Expired).map(Some)
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiryRun {
    /// Things whose end was recorded.
    pub expired: u64,
    /// Things whose end could not be recorded; the next run tries again.
    pub failed: u64,
}

/// How the recording goes.
#[derive(Debug, Default)]
pub struct ExpiryState {
    wake: Notify,
    failures_in_a_row: AtomicU64,
}

impl ExpiryState {
    /// Something may be due earlier than was known.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Runs that failed since the last one that did not.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u64 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }
}

impl Service {
    /// Records everything that has ended by now, for a caller who doesn't want to wait.
    pub async fn run_expiry(&self, actor: &Actor) -> Result<ExpiryRun> {
        actor.reach(Permission::ExpiryRun)?;
        self.expire(actor).await
    }

    /// How the recording goes.
    #[must_use]
    pub fn expiry(&self) -> &Arc<ExpiryState> {
        &self.expiry
    }

    /// Resolves when something new may be due.
    pub async fn expiry_woken(&self) {
        self.expiry.wake.notified().await;
    }

    /// When the next thing ends.
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>> {
        self.store
            .read(|tx| {
                let next = KINDS.iter().map(|kind| (kind.next)(tx)).collect::<Result<Vec<_>>>()?;
                Ok(next.into_iter().flatten().min())
            })
            .await
    }

    /// Records everything that has ended by now, in bounded batches.
    pub async fn expire(&self, actor: &Actor) -> Result<ExpiryRun> {
        let mut run = ExpiryRun::default();
        for kind in KINDS {
            loop {
                let now = self.clock.now();
                let due = self.store.read(|tx| (kind.due)(tx, now, BATCH)).await?;
                let failed_before = run.failed;
                for few in due.chunks(IN_FLIGHT) {
                    self.expire_few(actor, kind, few, &mut run).await;
                }
                // A short batch was the last one; a bad row would come up again and again.
                if due.len() < BATCH || run.failed > failed_before {
                    break;
                }
            }
        }
        metrics::counter!("entitlement_expiry_runs_total").increment(1);
        metrics::counter!("entitlement_expiry_failures_total").increment(run.failed);
        if run.failed == 0 {
            self.expiry.failures_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.expiry.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
        Ok(run)
    }

    async fn expire_few(
        &self,
        actor: &Actor,
        kind: &'static Kind,
        ids: &[String],
        run: &mut ExpiryRun,
    ) {
        let changes = ids.iter().cloned().map(|id| {
            self.change(actor, move |tx| {
                let event = (kind.expire)(tx, &id)?;
                Ok((u64::from(event.is_some()), event.into_iter().collect()))
            })
        });
        for (id, outcome) in ids.iter().zip(join_all(changes).await) {
            match outcome {
                Ok(recorded) => run.expired += recorded,
                Err(error) => {
                    run.failed += 1;
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(kind = kind.name, id, error, "an end was not recorded");
                }
            }
        }
    }
}
