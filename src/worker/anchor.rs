//! Keeps the end of the audit trail outside the database, so that a trail that was shortened or put
//! back is found at the next start.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// How far the anchor may lie behind.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs until `stop`. The last one is written when the database is closed.
pub async fn run(service: Service, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match service.keep_anchor().await {
            Ok(()) => failures = 0,
            Err(error) => {
                metrics::counter!("entitlement_audit_anchor_failures_total").increment(1);
                failures += 1;
                // Once a minute is enough to be found.
                if failures % 60 == 1 {
                    let error = error.chain();
                    tracing::error!(error, "the anchor of the audit trail was not written");
                }
            }
        }
    }
}
