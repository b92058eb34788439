//! Looks every second whether enforcement is to give way by itself.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// How long too many refusals go on at most.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match service.weigh_rollout().await {
            Ok(_) => failures = 0,
            Err(error) => {
                failures += 1;
                // Once a minute is enough to be found; it is tried each second.
                if failures % 60 == 1 {
                    let error = error.chain();
                    tracing::error!(error, "enforcement could not give way");
                }
            }
        }
    }
}
