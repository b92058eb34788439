//! Evidence: how checks were answered, counted in memory beside the answer and added to hourly rows
//! in batches.
//!
//! Invariants: a check takes one lock that is its thread's own, allocates nothing where its like was
//! counted before, and never waits for the disk; memory is bounded: what finds no room under its
//! tenant is counted without one; a count leaves memory only once it is committed.
//!
//! Refuses to know: what follows from it. [`super::auto_rollback`] does.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use metrics::{Counter, counter};
use parking_lot::Mutex;

use super::{Service, recent::Recent};
use crate::{
    clock::Trust,
    domain::{
        checks::{Decision, Reason},
        evidence::{CheckOutcome, EvidenceKey, Summary, Whose, hour_of},
        keys::{ModuleKey, TenantKey},
        time::Timestamp,
    },
    engine::World,
    error::{Error, Result},
    store::{self, ReadTx},
};

/// How much is written or pruned in one change, so that others get their turn.
const BATCH: usize = 500;

/// Threads that count at the same time get in each other's way only where there are more of them.
const SHARDS: usize = 32;

/// What was counted and is not written yet.
pub struct Evidence {
    shards: [Mutex<Shard>; SHARDS],
    /// What was taken out of the shards.
    waiting: Mutex<HashMap<EvidenceKey, u64>>,
    /// How many keys of tenants there are in all of them.
    keys: AtomicUsize,
    limit: usize,
    /// What the auto-rollback looks at.
    pub(super) recent: Mutex<Recent>,
    /// Held by who writes, batch by batch, and by who adds memory and disk up.
    pub(super) writing: tokio::sync::Mutex<()>,
    overflow: Counter,
    failures: Counter,
    pub(super) rollbacks: Counter,
}

/// What one thread has counted since somebody took it.
#[derive(Default)]
struct Shard {
    tenants: HashMap<TenantKey, Vec<Tally>>,
    nobody: Vec<Tally>,
    others: Vec<Tally>,
    recent: Recent,
}

/// Checks that are counted together.
struct Tally {
    hour: Timestamp,
    module: Option<ModuleKey>,
    reason: Reason,
    outcome: CheckOutcome,
    checks: u64,
}

impl Tally {
    fn new(decision: &Decision, now: Timestamp) -> Self {
        let (outcome, reason) = CheckOutcome::of(decision);
        let module = decision.module.clone();
        Self { hour: hour_of(now), module, reason, outcome, checks: 1 }
    }

    fn is_alike(&self, other: &Self) -> bool {
        self.reason == other.reason
            && self.outcome == other.outcome
            && self.hour == other.hour
            && self.module == other.module
    }
}

/// Counts one more of what is there already; whether it is.
fn counted(tallies: &mut [Tally], new: &Tally) -> bool {
    let found = tallies.iter_mut().find(|tally| tally.is_alike(new));
    found.map(|tally| tally.checks += new.checks).is_some()
}

impl Evidence {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            waiting: Mutex::default(),
            keys: AtomicUsize::new(0),
            limit,
            recent: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            overflow: counter!("entitlement_evidence_overflow_total"),
            failures: counter!("entitlement_evidence_failures_total"),
            rollbacks: counter!("entitlement_auto_rollbacks_total"),
        }
    }

    /// A check was answered.
    pub(super) fn note(
        &self,
        world: &World,
        tenant: Option<&TenantKey>,
        decision: &Decision,
        now: Timestamp,
    ) {
        let new = Tally::new(decision, now);
        let mut shard = self.own_shard().lock();
        let Shard { tenants, nobody, others, recent } = &mut *shard;
        let Some(tenant) = tenant else {
            if !counted(nobody, &new) {
                nobody.push(new);
            }
            return;
        };
        recent.note(&world.rollout, tenant, decision, now, self.limit);
        let known = tenants.get_mut(tenant);
        if let Some(tallies) = known {
            if counted(tallies, &new) {
                return;
            }
            if self.takes_one_more() {
                tallies.push(new);
                return;
            }
        } else if self.takes_one_more() {
            tenants.insert(tenant.clone(), vec![new]);
            return;
        }
        self.overflow.increment(1);
        // As many as the catalog has modules: it is bounded too.
        if !counted(others, &new) {
            others.push(new);
        }
    }

    fn takes_one_more(&self) -> bool {
        let room = |keys| (keys < self.limit).then_some(keys + 1);
        self.keys.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the length")]
    fn own_shard(&self) -> &Mutex<Shard> {
        thread_local!(static OWN: Cell<Option<usize>> = const { Cell::new(None) });
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let own = OWN.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            OWN.set(Some(next));
            next
        });
        &self.shards[own % SHARDS]
    }

    /// Takes what the threads have counted.
    pub(super) fn gather(&self) {
        for shard in &self.shards {
            // The thread goes on counting while its part is added up.
            let Shard { tenants, nobody, others, recent } = std::mem::take(&mut *shard.lock());
            self.recent.lock().merge(recent, self.limit);
            let mut waiting = self.waiting.lock();
            let mut add = |whose: &Whose, tally: Tally| {
                let Tally { hour, module, reason, outcome, checks } = tally;
                let key = EvidenceKey { whose: whose.clone(), hour, module, reason, outcome };
                let is_known = waiting.contains_key(&key);
                *waiting.entry(key).or_default() += checks;
                is_known
            };
            let mut add_all = |whose: &Whose, tallies: Vec<Tally>| {
                tallies
                    .into_iter()
                    .map(|tally| add(whose, tally))
                    .filter(|is_known| *is_known)
                    .count()
            };
            for (tenant, tallies) in tenants {
                let known = add_all(&Whose::Tenant(tenant), tallies);
                self.keys.fetch_sub(known, Ordering::Relaxed);
            }
            add_all(&Whose::Nobody, nobody);
            add_all(&Whose::Others, others);
        }
    }

    /// Some of what waits. It stays until [`Self::written`] says so.
    fn batch(&self) -> Vec<(EvidenceKey, u64)> {
        let waiting = self.waiting.lock();
        waiting.iter().take(BATCH).map(|(key, checks)| (key.clone(), *checks)).collect()
    }

    /// A batch is on the disk.
    fn written(&self, batch: &[(EvidenceKey, u64)]) {
        let mut waiting = self.waiting.lock();
        for (key, checks) in batch {
            let Some(left) = waiting.get_mut(key) else { continue };
            *left = left.saturating_sub(*checks);
            if *left > 0 {
                continue;
            }
            waiting.remove(key);
            match key.whose {
                Whose::Tenant(_) => drop(self.keys.fetch_sub(1, Ordering::Relaxed)),
                Whose::Nobody | Whose::Others => {}
            }
        }
    }

    /// How much waits to be written, as far as it was taken from the threads.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Adds what waits to a summary: of all, of one tenant, of one module.
    pub(super) fn summarize(
        &self,
        from: Timestamp,
        tenant: Option<&TenantKey>,
        module: Option<&ModuleKey>,
        summary: &mut Summary,
    ) -> Result<()> {
        self.gather();
        for (key, checks) in &*self.waiting.lock() {
            let EvidenceKey { whose, hour, module: of, reason, outcome } = key;
            let is_of_tenant = tenant.is_none_or(|tenant| whose.as_str() == tenant.as_str());
            let is_of_module = module.is_none_or(|module| of.as_ref() == Some(module));
            if *hour >= from && is_of_tenant && is_of_module {
                let of = of.as_ref().map_or("", ModuleKey::as_str);
                let added = summary.add(whose.as_str(), of, (*reason, *outcome), *checks);
                added.map_err(Error::internal)?;
            }
        }
        Ok(())
    }
}

impl Service {
    /// What was counted and is not written yet.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Writes down everything that was counted, in bounded batches. What can't be written stays.
    pub async fn flush_evidence(&self) -> Result<()> {
        self.evidence.gather();
        loop {
            let _turn = self.evidence.writing.lock().await;
            let batch = std::sync::Arc::new(self.evidence.batch());
            if batch.is_empty() {
                return Ok(());
            }
            let rows = batch.clone();
            // Not a change of anything that is audited: it notes that something was asked.
            let written = self.store.write(move |tx| {
                rows.iter().try_for_each(|(key, checks)| store::evidence::add(tx, key, *checks))
            });
            match written.await {
                Ok(()) => self.evidence.written(&batch),
                Err(error) => {
                    self.evidence.failures.increment(1);
                    return Err(error);
                }
            }
        }
    }

    /// Takes away hours that are older than the policy says, in bounded batches; how many rows.
    pub async fn prune_evidence(&self) -> Result<usize> {
        let Some(retention) = self.policy.evidence_retention else { return Ok(0) };
        let before = self.clock.steady() - retention;
        let mut pruned = 0;
        loop {
            // What is pruned is gone: no clock in doubt decides about it.
            if matches!(self.clock.trust(), Trust::Ahead(_)) {
                return Ok(pruned);
            }
            let is_older = |tx: &ReadTx<'_>| {
                Ok(store::evidence::is_older(tx, before)? || store::trials::is_older(tx, before)?)
            };
            if !self.store.read(is_older).await? {
                return Ok(pruned);
            }
            // Not a change of anything that is audited.
            let batch = self.store.write(move |tx| {
                let checks = store::evidence::prune(tx, before, BATCH)?;
                Ok(checks + store::trials::prune(tx, before, BATCH)?)
            });
            pruned += batch.await?;
        }
    }
}
