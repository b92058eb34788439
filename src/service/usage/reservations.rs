//! Units that are set aside: settled with what was used of them, released, or given back by the clock.
//!
//! Invariants: a reservation ends once, in one way; sending the same end again changes nothing.

use super::{
    super::{Service, actor::Actor, new_id, permissions::Permission},
    count::{Change, count},
    current::Current,
    measured,
};
use crate::{
    domain::{
        keys::FeatureKey,
        reservations::{Reservation, ReservationState},
        time::Span,
        usage::CountedFor,
    },
    error::{Error, Result},
    store::{self, WriteTx},
};

/// Most open reservations of one feature for one tenant or user.
pub const MAX_OPEN: u64 = 1_000;

/// How long an ended reservation is remembered, so that its end can be sent again.
const REMEMBERED: u32 = 7;

/// How many are forgotten with each new one, so that nothing has to sweep.
const FORGOTTEN_AT_ONCE: u32 = 4;

/// Sets units aside, for what has been allowed.
pub(super) fn set_aside(
    tx: &WriteTx<'_>,
    whose: &CountedFor,
    feature: &FeatureKey,
    amount: u64,
    ttl: Span,
    by: &str,
) -> Result<Reservation> {
    let now = tx.now();
    if store::reservations::count_open(tx.read(), whose, feature, now)? >= MAX_OPEN {
        return Err(Error::Conflict {
            code: "TOO_MANY_RESERVATIONS",
            detail: format!(
                "{MAX_OPEN} reservations of “{feature}” are open; settle or release some, or wait \
                 until they expire."
            ),
        });
    }
    store::reservations::forget(tx, now - Span::days(REMEMBERED), FORGOTTEN_AT_ONCE)?;
    let reservation = Reservation {
        id: new_id("rsv"),
        subject: whose.clone(),
        feature: feature.clone(),
        amount,
        expires_at: now + ttl,
        state: ReservationState::Open,
        settled: None,
        created_at: now,
        created_by: by.to_owned(),
        ended_at: None,
    };
    store::reservations::insert(tx, &reservation)?;
    Ok(reservation)
}

impl Service {
    /// Counts what was used of a reservation; the rest of it is given back.
    pub async fn settle_reservation(
        &self,
        actor: &Actor,
        id: String,
        amount: Option<u64>,
    ) -> Result<Reservation> {
        actor.reach(Permission::UsageWrite)?;
        let (memory, by) = (self.memory.clone(), actor.clone());
        self.change(actor, move |tx| {
            let found = owned(tx, &by, &id)?;
            found.subject.tenant.as_ref().map_or(Ok(()), |tenant| tx.in_time_of(tenant))?;
            let amount = amount.unwrap_or(found.amount);
            if amount > found.amount {
                let message = format!(
                    "must be at most {}, which is what was reserved; consume the rest",
                    found.amount
                );
                return Err(Error::invalid("amount", message));
            }
            match found.state_at(tx.now()) {
                ReservationState::Open => {}
                ReservationState::Settled if found.settled == Some(amount) => {
                    return Ok((found, Vec::new()));
                }
                state => return Err(ended(&found, state)),
            }
            let settled = Reservation {
                state: ReservationState::Settled,
                settled: Some(amount),
                ended_at: Some(tx.now()),
                ..found
            };
            store::reservations::end(tx, &settled)?;
            let current = Current::of(tx, &memory, &settled.subject, None)?;
            let (feature, change) = (&settled.feature, Change::Take(amount));
            let (whose, capacity) = measured(tx, &current, &settled.subject, feature)?;
            let tally = count(tx, &whose, feature, &capacity, change)?;
            Ok((settled, tally.events))
        })
        .await
    }

    /// Gives a reservation back.
    pub async fn release_reservation(&self, actor: &Actor, id: String) -> Result<Reservation> {
        actor.reach(Permission::UsageWrite)?;
        let by = actor.clone();
        self.change(actor, move |tx| {
            let found = owned(tx, &by, &id)?;
            found.subject.tenant.as_ref().map_or(Ok(()), |tenant| tx.in_time_of(tenant))?;
            match found.state_at(tx.now()) {
                ReservationState::Open => {}
                ReservationState::Released => return Ok((found, Vec::new())),
                state => return Err(ended(&found, state)),
            }
            let state = ReservationState::Released;
            let released = Reservation { state, ended_at: Some(tx.now()), ..found };
            store::reservations::end(tx, &released)?;
            Ok((released, Vec::new()))
        })
        .await
    }
}

/// A reservation that the caller may end; any other looks like one that doesn't exist.
fn owned(tx: &WriteTx<'_>, actor: &Actor, id: &str) -> Result<Reservation> {
    let found = store::reservations::find(tx.read(), id)?;
    let own = actor.principal.tenant.as_ref();
    let is_own = |found: &Reservation| own.is_none() || own == found.subject.tenant.as_ref();
    found.filter(is_own).ok_or_else(|| Error::NotFound { kind: "reservation", key: id.to_owned() })
}

/// Why a reservation can't end again, and what to do.
fn ended(found: &Reservation, state: ReservationState) -> Error {
    let (code, detail) = match state {
        ReservationState::Settled | ReservationState::Open => (
            "RESERVATION_SETTLED",
            format!(
                "The reservation was settled with {}; correct the count with POST /api/v1/usage.",
                found.settled.unwrap_or_default()
            ),
        ),
        ReservationState::Released => (
            "RESERVATION_RELEASED",
            "The reservation was released; consume what was used, or reserve again.".into(),
        ),
        ReservationState::Expired => (
            "RESERVATION_EXPIRED",
            format!(
                "The reservation expired at {}; consume what was used, or reserve again with a \
                 longer ttl_seconds.",
                found.expires_at
            ),
        ),
    };
    Error::Conflict { code, detail }
}
