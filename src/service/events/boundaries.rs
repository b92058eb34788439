//! What ends or begins by itself is told at its instant, whoever records it and when.
//!
//! Invariants: each is told once, as [`TIME`](crate::domain::events::TIME), before anybody records
//! it; the record that follows alters no answer, and is told as such. It is told by the clock that
//! decisions follow.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use super::super::{Service, actor::Actor, expiry};
use crate::{
    domain::time::Timestamp,
    error::Result,
    store::{
        ReadTx,
        due::Due,
        outbox::{Passed, record_passed, told_until},
    },
};

/// How many of a kind are told one by one; of more at once, everyone is told that anything may have
/// changed.
const MOST: usize = 1_000;

/// Wakes who waits for an instant when an earlier one comes up.
#[derive(Debug)]
pub struct Alarm {
    planned: AtomicI64,
    wake: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { planned: AtomicI64::new(i64::MAX), wake: Notify::new() }
    }
}

impl Alarm {
    /// Something is due at this instant.
    pub(in crate::service) fn expect(&self, at: Timestamp) {
        if at.micros() < self.planned.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }
}

/// From the first instant that was not told.
fn after(told: Timestamp) -> Due {
    Due { at: Timestamp::from_micros(told.micros() + 1), tenant: None, id: String::new() }
}

fn passed(tx: &ReadTx<'_>, told: Timestamp, now: Timestamp) -> Result<Vec<Passed>> {
    let mut all = Vec::new();
    let anything = || vec![Passed { tenant: None, key: None, user: None }];
    if now < told {
        // The clock was ahead and is back: what was told has not happened yet.
        return Ok(anything());
    }
    for kind in expiry::boundaries() {
        let due = (kind.due)(tx, now, Some(&after(told)), MOST)?;
        if due.len() >= MOST {
            return Ok(anything());
        }
        for due in &due {
            all.extend((kind.about)(tx, due)?);
        }
    }
    Ok(all)
}

impl Service {
    /// Tells subscribers what has ended or begun by itself since the last time.
    pub async fn tell_boundaries(&self, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        let look = move |tx: &ReadTx<'_>| passed(tx, told_until(tx)?, now);
        if self.store.read_long(look).await?.is_empty() {
            return Ok(());
        }
        self.change(actor, move |tx| {
            let told = told_until(tx.read())?;
            let passed = passed(tx.read(), told, now)?;
            if !passed.is_empty() {
                record_passed(tx, &passed, now)?;
            }
            Ok(((), Vec::new()))
        })
        .await
    }

    /// Waits until the next thing ends or begins by itself, at most `longest`.
    pub async fn next_boundary(&self, longest: Duration) -> Result<()> {
        let alarm = &self.alarm;
        // From here on everything that is written wakes the waiting one.
        alarm.planned.store(i64::MAX, Ordering::Release);
        let next = self.store.read_long(|tx| {
            let after = after(told_until(tx)?);
            let mut next: Option<Timestamp> = None;
            for kind in expiry::boundaries() {
                let first = (kind.due)(tx, Timestamp::MAX, Some(&after), 1)?;
                next = next.into_iter().chain(first.first().map(|due| due.at)).min();
            }
            Ok(next)
        });
        let next = next.await?.unwrap_or(Timestamp::MAX);
        alarm.planned.store(next.micros(), Ordering::Release);
        tokio::select! {
            () = self.clock.reached(next) => {}
            () = alarm.wake.notified() => {}
            () = tokio::time::sleep(longest) => {}
        }
        Ok(())
    }
}
