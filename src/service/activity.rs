//! Activity: what users did in their roles, noted in memory beside the request and written down in
//! batches.
//!
//! Invariants: no request waits for the disk; memory is bounded, and what finds no room pushes out
//! the oldest that waits, which is counted; a batch leaves memory only once it is committed. This is
//! no part of the audit trail: it changes nothing that is decided, and is pruned by age.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::{Service, actor::Actor, permissions::Permission, questions::unknown};
use crate::{
    clock::Trust,
    domain::{
        activity::{Activity, ActivityStats, Buckets, Range},
        contexts::ContextKey,
        keys::{RoleKey, TenantKey, UserKey},
    },
    error::{Error, Fault, Result},
    store,
};

/// How much is written or pruned in one change, so that others get their turn.
const BATCH: usize = 500;

/// What waits to be written.
pub struct ActivityQueue {
    state: Mutex<State>,
    capacity: usize,
    /// A whole batch waits.
    full_batch: Notify,
    /// Held by who writes: batches go one after the other.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Activity>>,
    /// So many of the oldest are being written.
    in_flight: usize,
}

impl ActivityQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            capacity,
            full_batch: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn push(&self, done: Activity) {
        let mut state = self.state.lock();
        if state.waiting.len() >= self.capacity {
            metrics::counter!("entitlement_activity_dropped_total").increment(1);
            // What is being written stays: it is on its way to the disk.
            let oldest = state.in_flight;
            if state.waiting.remove(oldest).is_none() {
                return;
            }
        }
        state.waiting.push_back(Arc::new(done));
        if state.waiting.len() >= BATCH {
            self.full_batch.notify_one();
        }
    }

    /// The oldest that wait, a batch of them. They stay until [`Self::written`] says so.
    fn batch(&self) -> Vec<Arc<Activity>> {
        let mut state = self.state.lock();
        let batch: Vec<_> = state.waiting.iter().take(BATCH).cloned().collect();
        state.in_flight = batch.len();
        batch
    }

    /// The batch that was handed out is on the disk.
    fn written(&self) {
        let mut state = self.state.lock();
        let count = std::mem::take(&mut state.in_flight).min(state.waiting.len());
        state.waiting.drain(..count);
        metrics::counter!("entitlement_activity_recorded_total").increment(count as u64);
    }

    /// The batch that was handed out waits again.
    fn failed(&self) {
        self.state.lock().in_flight = 0;
        metrics::counter!("entitlement_activity_failures_total").increment(1);
    }

    /// How much waits to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Resolves when a whole batch waits.
    pub async fn has_full_batch(&self) {
        self.full_batch.notified().await;
    }
}

/// What somebody says was done. A field that could not be read stands among the faults, so that all
/// of them are answered at once.
#[derive(Debug, Clone, Default)]
pub struct ActivityDraft {
    /// Who did it.
    pub user: Option<UserKey>,
    /// In which role.
    pub role: Option<RoleKey>,
    /// What.
    pub action: Option<String>,
    /// Where.
    pub context: Option<ContextKey>,
    /// More about it.
    pub metadata: Option<Map<String, Value>>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Service {
    /// Takes note of what a user did. It is written down soon, without the caller waiting for it.
    pub async fn record_activity(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        draft: ActivityDraft,
    ) -> Result<()> {
        actor.may_on(Permission::ActivityWrite, &tenant)?;
        // Only a tenant that exists has activity.
        self.facts(&tenant).await?;
        let ActivityDraft { user, role, action, context, metadata, mut faults } = draft;
        let world = self.world();
        let roles = &world.catalog.roles;
        let is_unknown = role.as_ref().is_some_and(|role| !roles.contains_key(role));
        if let Some(role) = role.as_ref().filter(|_| is_unknown) {
            faults.push(unknown("role", "role", role.as_str(), roles.keys().map(RoleKey::as_str)));
        }
        let (Some(user), Some(action), true) = (user, action, faults.is_empty()) else {
            let code =
                if is_unknown && faults.len() == 1 { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
            return Err(Error::Invalid { code, faults });
        };
        let at = self.clock.steady();
        self.note_activity(Activity { tenant, at, user, role, action, context, metadata });
        Ok(())
    }

    /// Lets something wait to be written down.
    pub(super) fn note_activity(&self, done: Activity) {
        self.activity.push(done);
    }

    /// How much was done in a tenant, and when. What was noted in the last second may be missing.
    pub async fn activity_stats(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        user: Option<UserKey>,
        range: Range,
    ) -> Result<(Buckets, ActivityStats)> {
        actor.may_on(Permission::ActivityRead, &tenant)?;
        let buckets = range.buckets(self.clock.now());
        self.store
            .read_long(move |tx| {
                store::tenants::get(tx, &tenant)?;
                let stats = store::activity::stats(tx, &tenant, user.as_ref(), buckets)?;
                Ok((buckets, stats))
            })
            .await
    }

    /// What waits to be written.
    #[must_use]
    pub fn activity(&self) -> &Arc<ActivityQueue> {
        &self.activity
    }

    /// Writes down everything that waits, in bounded batches. What can't be written goes on waiting.
    pub async fn flush_activity(&self) -> Result<()> {
        let _turn = self.activity.writing.lock().await;
        loop {
            let batch = self.activity.batch();
            if batch.is_empty() {
                return Ok(());
            }
            // Not a change of anything that is audited.
            let written = self.store.write(move |tx| {
                batch.iter().try_for_each(|done| store::activity::insert(tx, done))
            });
            match written.await {
                Ok(()) => self.activity.written(),
                Err(error) => {
                    self.activity.failed();
                    return Err(error);
                }
            }
        }
    }

    /// Takes away activity that is older than the policy says, in bounded batches; how much it was.
    pub async fn prune_activity(&self) -> Result<usize> {
        let Some(retention) = self.policy.activity_retention else { return Ok(0) };
        let before = self.clock.steady() - retention;
        let mut pruned = 0;
        loop {
            // What is pruned is gone: no clock in doubt decides about it.
            if matches!(self.clock.trust(), Trust::Ahead(_)) {
                return Ok(pruned);
            }
            if !self.store.read(|tx| store::activity::is_older(tx, before)).await? {
                return Ok(pruned);
            }
            // Not a change of anything that is audited.
            pruned += self.store.write(move |tx| store::activity::prune(tx, before, BATCH)).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn done(action: &str) -> Activity {
        Activity {
            tenant: "acme".parse().unwrap(),
            at: Timestamp::EPOCH,
            user: "ana".parse().unwrap(),
            role: None,
            action: action.into(),
            context: None,
            metadata: None,
        }
    }

    fn waiting(queue: &ActivityQueue) -> Vec<String> {
        queue.state.lock().waiting.iter().map(|done| done.action.clone()).collect()
    }

    #[test]
    fn what_finds_no_room_pushes_out_the_oldest() {
        let queue = ActivityQueue::new(3);
        ["a", "b", "c", "d", "e"].iter().for_each(|action| queue.push(done(action)));
        assert_eq!(waiting(&queue), ["c", "d", "e"]);
    }

    #[test]
    fn what_is_being_written_is_not_pushed_out() {
        let queue = ActivityQueue::new(3);
        ["a", "b"].iter().for_each(|action| queue.push(done(action)));
        assert_eq!(queue.batch().len(), 2);
        ["c", "d"].iter().for_each(|action| queue.push(done(action)));
        assert_eq!(waiting(&queue), ["a", "b", "d"]);
        queue.written();
        assert_eq!(waiting(&queue), ["d"]);
    }

    #[test]
    fn a_batch_that_failed_waits_again() {
        let queue = ActivityQueue::new(3);
        ["a", "b"].iter().for_each(|action| queue.push(done(action)));
        assert_eq!(queue.batch().len(), 2);
        queue.failed();
        assert_eq!(queue.batch().len(), 2);
        queue.written();
        assert!(queue.batch().is_empty());
        assert_eq!(queue.waiting(), 0);
    }
}
