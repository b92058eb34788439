//! What happens to usage by itself: reservations expire, counters start again, and limits change.
//!
//! Invariants: each expiry and each recovery is told once; a limit that changed is held against what
//! is counted soon after, a bounded number of rows at a time.

use serde_json::{Value, json};

use super::{
    super::{Service, actor::Actor, memory::Memory},
    count::{Change, count},
    current::Current,
    measured,
};
use crate::{
    clock::Trust,
    domain::{
        audit::Event,
        keys::FeatureKey,
        reservations::{Reservation, ReservationState},
        usage::{CountedFor, Level},
    },
    error::Result,
    store::{self, WriteTx, due::Due, usage::Counted},
};

/// How many counts one change looks at.
const RECHECKED_AT_ONCE: usize = 100;

/// How many periods one change takes away.
const PRUNED_AT_ONCE: usize = 500;

/// Units that were set aside are given back by the clock.
pub(in super::super) fn expire_reservation(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let found = store::reservations::find(tx.read(), &due.id)?;
    let is_over =
        |found: &Reservation| found.state == ReservationState::Open && found.expires_at <= tx.now();
    let Some(found) = found.filter(is_over) else { return Ok(None) };
    let state = ReservationState::Expired;
    let expired = Reservation { state, ended_at: Some(tx.now()), ..found };
    store::reservations::end(tx, &expired)?;
    let Reservation { id, subject, feature, amount, expires_at, .. } = expired;
    Ok(Some(Event {
        name: "reservation.expired",
        tenant: subject.tenant,
        subject: id,
        before: json!({
            "feature": feature,
            "user": subject.user,
            "amount": amount,
            "expires_at": expires_at,
        }),
        after: Value::Null,
        reason: None,
    }))
}

/// A counter that was told to be full starts again; a gauge goes on into its next month.
pub(in super::super) fn recover(
    tx: &WriteTx<'_>,
    memory: &Memory,
    due: &Due,
) -> Result<Vec<Event>> {
    let (whose, feature) = store::usage_periods::recovering(due)?;
    let Some(found) = store::usage::find(tx.read(), &whose, &feature)? else {
        return Ok(Vec::new());
    };
    if found.level == Level::Below || found.period_end.is_none_or(|end| tx.now() < end) {
        return Ok(Vec::new());
    }
    let current = Current::of(tx, memory, &whose, None)?;
    held_against(tx, &current, found)
}

/// Holds what is counted against limits that may have changed: of a user, or of a tenant and all its
/// users.
pub(in super::super) fn recheck(
    tx: &WriteTx<'_>,
    memory: &Memory,
    due: &Due,
) -> Result<Vec<Event>> {
    let user = if due.id.is_empty() {
        None
    } else {
        Some(due.id.parse().map_err(crate::error::Error::internal)?)
    };
    let queued = CountedFor { tenant: due.tenant.clone(), user };
    let rows = store::usage_rechecks::rows(tx.read(), &queued, RECHECKED_AT_ONCE)?;
    let Some(rows) = rows else { return Ok(Vec::new()) };
    match rows.last().filter(|_| rows.len() == RECHECKED_AT_ONCE) {
        Some(last) => {
            store::usage_rechecks::advance(tx, &queued, last)?;
            tx.ends_at(tx.now());
        }
        None => store::usage_rechecks::finish(tx, &queued)?,
    }
    let mut events = Vec::new();
    let mut known: Option<(CountedFor, Current)> = None;
    for row in rows {
        // Rows of one user follow each other.
        let current = match known.take().filter(|(whose, _)| *whose == row.subject) {
            Some((_, current)) => current,
            None => Current::of(tx, memory, &row.subject, None)?,
        };
        let subject = row.subject.clone();
        events.extend(held_against(tx, &current, row)?);
        known = Some((subject, current));
    }
    Ok(events)
}

fn held_against(tx: &WriteTx<'_>, current: &Current, row: Counted) -> Result<Vec<Event>> {
    let is_limit =
        |feature: &FeatureKey| super::super::questions::is_limit(&current.world.catalog, feature);
    let (whose, feature) = (row.subject.clone(), row.feature.clone());
    if is_limit(&feature)
        && let Ok((counted, capacity)) = measured(tx, current, &whose, &feature)
        && counted == whose
    {
        return Ok(count(tx, &whose, &feature, &capacity, Change::Stay)?.events);
    }
    // The catalog no longer counts it, or counts it for others: nothing is told of it any more.
    if row.level > Level::Below {
        store::usage::put(tx, &Counted { level: Level::Below, ..row })?;
    }
    Ok(Vec::new())
}

impl Service {
    /// Takes away periods that ended longer ago than the policy says, in bounded batches; how many
    /// they were.
    pub async fn prune_usage(&self, actor: &Actor) -> Result<usize> {
        let Some(retention) = self.policy.usage_retention else { return Ok(0) };
        let before = self.clock.steady() - retention;
        let mut pruned = 0;
        loop {
            // What is pruned is gone: no clock in doubt decides about it.
            if matches!(self.clock.trust(), Trust::Ahead(_)) {
                return Ok(pruned);
            }
            if !self.store.read(|tx| store::usage_periods::is_older(tx, before)).await? {
                return Ok(pruned);
            }
            pruned += self
                .change(actor, move |tx| {
                    Ok((store::usage_periods::prune(tx, before, PRUNED_AT_ONCE)?, Vec::new()))
                })
                .await?;
        }
    }
}
