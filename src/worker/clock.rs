//! Watches the system's clock, and raises an alarm as soon as it can't be believed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Trust};

/// How often it is looked at: far more often than the shortest time that it is in doubt.
const LOOK: Duration = Duration::from_millis(500);

/// Runs until `stop`.
pub async fn run(clock: Clock, stop: CancellationToken) {
    let mut trust = Trust::Sure;
    while !stop.is_cancelled() {
        alarm(&mut trust, clock.trust());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Raises an alarm when the clock comes into doubt, and takes it back.
fn alarm(before: &mut Trust, now: Trust) {
    let (ahead, behind) = match now {
        Trust::Sure => (0.0, 0.0),
        Trust::Ahead(by) => (by.as_secs_f64(), 0.0),
        Trust::Behind(by) => (0.0, by.as_secs_f64()),
    };
    metrics::gauge!("entitlement_clock_off_seconds").set(ahead - behind);
    match (&before, now) {
        (Trust::Sure, Trust::Sure) => {}
        (_, Trust::Sure) => tracing::warn!("the system's clock is believed again"),
        (Trust::Sure, Trust::Ahead(by)) => tracing::error!(
            seconds = by.as_secs(),
            "the system's clock has jumped ahead: no end is recorded until it is believed"
        ),
        (Trust::Sure, Trust::Behind(by)) => tracing::error!(
            seconds = by.as_secs(),
            "the system's clock has jumped back: time stands still until it has caught up"
        ),
        (Trust::Ahead(_) | Trust::Behind(_), Trust::Ahead(_) | Trust::Behind(_)) => {}
    }
    *before = now;
}
