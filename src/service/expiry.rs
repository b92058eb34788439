//! What ends by itself is recorded here: one audit event for each, exactly once (SPEC 12).
//!
//! Invariants: a decision never waits for this (it compares instants itself); each thing ends in a
//! change of its own, so that one bad row holds up no other; a thing that was removed or extended in
//! the meantime is left alone; nothing is recorded while the clock is in doubt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::{
    Service, actor::Actor, endings, events::passing, memory::Memory, permissions::Permission,
    policy::Policy, requests, seats, tiers, usage, user_entitlements,
};
use crate::{
    clock::Trust,
    domain::{
        audit::Event,
        time::{Span, Timestamp},
    },
    error::Result,
    store::{self, ReadTx, WriteTx, due::Due, outbox::Passed, subscription_ends},
};

/// How many things of a kind are looked up at once.
const BATCH: usize = 250;

/// How many of them wait in the writer's queue at once, so that other changes get their turn.
const IN_FLIGHT: usize = 32;

/// Looks up what is due by an instant, after one that was seen, at most so many.
pub(super) type Lookup = fn(&ReadTx<'_>, Timestamp, Option<&Due>, usize) -> Result<Vec<Due>>;

/// One kind of thing that happens by itself. A new kind is a new row of [`KINDS`].
struct Kind {
    name: &'static str,
    /// How long before its instant it is recorded.
    lead: fn(&Policy) -> Span,
    /// What is due and not recorded, oldest first.
    due: Lookup,
    /// The instant of the next one.
    next: fn(&ReadTx<'_>) -> Result<Option<Timestamp>>,
    /// Records one; nothing where it was ended or moved in the meantime.
    record: Record,
    /// Whom one concerns when it passes; none where answers stay what they are.
    about: Option<About>,
}

/// Whom something concerns that passes by itself.
pub(super) type About = fn(&ReadTx<'_>, &Due) -> Result<Vec<Passed>>;

/// A kind of thing that alters answers when it passes by itself.
pub(super) struct Boundary {
    /// What is not recorded.
    pub due: Lookup,
    /// Whom one concerns.
    pub about: About,
}

/// Every kind of thing that alters answers when it passes by itself.
pub(super) fn boundaries() -> impl Iterator<Item = Boundary> {
    KINDS.iter().filter_map(|kind| Some(Boundary { due: kind.due, about: kind.about? }))
}

/// How one thing is recorded.
#[derive(Clone, Copy)]
enum Record {
    /// It ends, which is one event.
    Ends(fn(&WriteTx<'_>, &Due) -> Result<Option<Event>>),
    /// What is told of it depends on facts about whose it is.
    Weighs(fn(&WriteTx<'_>, &Memory, &Due) -> Result<Vec<Event>>),
}

/// In the order in which they are recorded: what ends before what begins.
const KINDS: &[Kind] = &[
    Kind {
        name: "override",
        lead: at_its_instant,
        due: store::overrides::due,
        next: store::overrides::next_due,
        record: Record::Ends(endings::expire_override),
        about: Some(passing::of_override),
    },
    Kind {
        name: "override's notice",
        lead: |policy| policy.ends_soon,
        due: store::overrides::due_for_notice,
        next: store::overrides::next_for_notice,
        record: Record::Ends(endings::announce_override),
        about: None,
    },
    Kind {
        name: "request",
        lead: at_its_instant,
        due: store::requests::due,
        next: store::requests::next_due,
        record: Record::Ends(requests::expire),
        about: None,
    },
    Kind {
        name: "grant's trial",
        lead: at_its_instant,
        due: store::grants::due_trials,
        next: store::grants::next_trial,
        record: Record::Ends(endings::end_trial_of_grant),
        about: Some(passing::of_grant),
    },
    Kind {
        name: "subscription's trial",
        lead: at_its_instant,
        due: subscription_ends::due_trials,
        next: subscription_ends::next_trial,
        record: Record::Ends(endings::end_trial_of_subscription),
        about: Some(passing::of_tenant),
    },
    Kind {
        name: "subscription's end",
        lead: at_its_instant,
        due: subscription_ends::due_ends,
        next: subscription_ends::next_end,
        record: Record::Ends(endings::end_subscription),
        about: Some(passing::of_tenant),
    },
    Kind {
        name: "tier",
        lead: at_its_instant,
        due: store::tiers::due,
        next: store::tiers::next_due,
        record: Record::Ends(tiers::expire),
        about: Some(passing::of_tier),
    },
    Kind {
        name: "subscription's start",
        lead: at_its_instant,
        due: subscription_ends::due_starts,
        next: subscription_ends::next_start,
        record: Record::Ends(endings::start_subscription),
        about: Some(passing::of_tenant),
    },
    Kind {
        name: "seat",
        lead: at_its_instant,
        due: store::seats::due,
        next: store::seats::next_due,
        record: Record::Ends(seats::expire),
        about: Some(passing::of_seat),
    },
    Kind {
        name: "user entitlement",
        lead: at_its_instant,
        due: store::user_entitlements::due,
        next: store::user_entitlements::next_due,
        record: Record::Ends(user_entitlements::expire),
        about: Some(passing::of_user_entitlement),
    },
    Kind {
        name: "role",
        lead: at_its_instant,
        due: store::roles::due,
        next: store::roles::next_due,
        record: Record::Ends(endings::expire_role),
        about: Some(passing::of_role),
    },
    Kind {
        name: "platform role",
        lead: at_its_instant,
        due: store::platform_roles::due,
        next: store::platform_roles::next_due,
        record: Record::Ends(endings::expire_platform_role),
        about: Some(passing::of_platform_role),
    },
    Kind {
        name: "reservation",
        lead: at_its_instant,
        due: store::reservations::due,
        next: store::reservations::next_due,
        record: Record::Ends(usage::expire_reservation),
        about: None,
    },
    Kind {
        name: "usage's recovery",
        lead: at_its_instant,
        due: store::usage_periods::due_recoveries,
        next: store::usage_periods::next_recovery,
        record: Record::Weighs(usage::recover),
        about: None,
    },
    Kind {
        name: "usage's limits",
        lead: at_its_instant,
        due: store::usage_rechecks::due,
        next: store::usage_rechecks::next_due,
        record: Record::Weighs(usage::recheck),
        about: None,
    },
];

fn at_its_instant(_: &Policy) -> Span {
    Span::seconds(0)
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiryRun {
    /// Things that were recorded.
    pub expired: u64,
    /// Things that could not be recorded; the next run tries again.
    pub failed: u64,
    /// The clock is in doubt, so nothing was recorded.
    pub is_held: bool,
}

/// How the recording goes.
#[derive(Debug)]
pub struct ExpiryState {
    wake: Notify,
    /// The worker sleeps until this instant, in microseconds; anything earlier wakes it.
    planned: AtomicI64,
    failures_in_a_row: AtomicU64,
}

impl Default for ExpiryState {
    fn default() -> Self {
        Self {
            wake: Notify::new(),
            planned: AtomicI64::new(i64::MAX),
            failures_in_a_row: AtomicU64::new(0),
        }
    }
}

impl ExpiryState {
    /// Something is due at this instant.
    pub(super) fn expect(&self, at: Timestamp) {
        if at.micros() < self.planned.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }

    /// Runs that failed since the last one that did not.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u64 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }

    /// Resolves when something is due earlier than was planned.
    pub async fn woken(&self) {
        self.wake.notified().await;
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

    /// How long until the next thing is due, at most `longest`.
    pub async fn until_next_expiry(&self, longest: Duration) -> Result<Duration> {
        // From here on everything that is written wakes the worker.
        self.expiry.planned.store(i64::MAX, Ordering::Release);
        let policy = self.policy;
        let next = self.store.read(|tx| {
            let mut next: Option<Timestamp> = None;
            for kind in KINDS {
                let due = (kind.next)(tx)?.map(|at| at - (kind.lead)(&policy));
                next = next.into_iter().chain(due).min();
            }
            Ok(next)
        });
        let (next, now) = (next.await?, self.clock.steady());
        let Some(next) = next else { return Ok(longest) };
        self.expiry.planned.store(next.micros(), Ordering::Release);
        let us = u64::try_from(next.micros() - now.micros()).unwrap_or_default();
        Ok(Duration::from_micros(us).min(longest))
    }

    /// Records everything that has ended by now, in bounded batches.
    pub async fn expire(&self, actor: &Actor) -> Result<ExpiryRun> {
        let mut run = ExpiryRun::default();
        // Before it is recorded, so that each is told once and always in the same way.
        self.tell_boundaries(actor).await?;
        let ahead = self.store.read(store::tenants::all_ahead).await?;
        for kind in KINDS {
            let mut last: Option<Due> = None;
            loop {
                match self.clock.trust() {
                    // It can only be too early then, and a later run catches up.
                    Trust::Sure | Trust::Behind(_) => {}
                    Trust::Ahead(_) => return Ok(ExpiryRun { is_held: true, ..run }),
                }
                let until = self.clock.steady() + (kind.lead)(&self.policy);
                let after = last.take();
                // Whose clock is ahead has ends among those that are still to come for others.
                let furthest = until + ahead.values().copied().max().unwrap_or_default();
                let mut due =
                    self.store.read(|tx| (kind.due)(tx, furthest, after.as_ref(), BATCH)).await?;
                let is_last = due.len() < BATCH;
                // What could not be recorded is left behind, for the next run.
                last = due.last().cloned();
                due.retain(|due| {
                    let ahead = due.tenant.as_ref().and_then(|tenant| ahead.get(tenant));
                    due.at <= until + ahead.copied().unwrap_or_default()
                });
                for few in due.chunks(IN_FLIGHT) {
                    self.record_few(actor, kind, few, &mut run).await;
                }
                if is_last {
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

    async fn record_few(
        &self,
        actor: &Actor,
        kind: &'static Kind,
        few: &[Due],
        run: &mut ExpiryRun,
    ) {
        let changes = few.iter().cloned().map(|due| {
            let memory = self.memory.clone();
            self.change(actor, move |tx| {
                if kind.about.is_some() && due.at <= store::outbox::told_until(tx.read())? {
                    tx.was_told();
                }
                due.tenant.as_ref().map_or(Ok(()), |tenant| tx.in_time_of(tenant))?;
                let events: Vec<Event> = match kind.record {
                    Record::Ends(record) => record(tx, &due)?.into_iter().collect(),
                    Record::Weighs(record) => record(tx, &memory, &due)?,
                };
                Ok((events.len() as u64, events))
            })
        });
        for (due, outcome) in few.iter().zip(join_all(changes).await) {
            match outcome {
                Ok(recorded) => run.expired += recorded,
                Err(error) => {
                    run.failed += 1;
                    let error = error.chain();
                    tracing::error!(
                        kind = kind.name,
                        id = due.id,
                        error,
                        "an end was not recorded"
                    );
                }
            }
        }
        // By the service's clock; what a sandbox is ahead by makes nothing late.
        let lag = few.first().map_or(0, |due| self.clock.steady().micros() - due.at.micros());
        #[expect(clippy::cast_precision_loss, reason = "seconds for a graph")]
        metrics::gauge!("entitlement_expiry_lag_seconds").set((lag.max(0) as f64) / 1e6);
    }
}
