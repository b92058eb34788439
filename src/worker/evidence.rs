//! Writes down how checks were answered, every few seconds; tries again after a failure; leaves
//! nothing behind at the end.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{error::Error, service::Service};

/// How long something waits at most while the disk takes it.
const PERIOD: Duration = Duration::from_secs(5);

/// How often it is tried before the end.
const LAST_TRIES: u32 = 5;

/// The pause between two of these.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Runs until `stop`. What comes in after that is for [`finish`].
pub async fn run(service: Service, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match service.flush_evidence().await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                // Once a minute is enough to be found.
                if failures % 12 == 1 {
                    complain(&service, &error);
                }
            }
        }
    }
}

/// Writes down what waits, once no request can add to it any more.
pub async fn finish(service: &Service) {
    for attempt in 1..=LAST_TRIES {
        match service.flush_evidence().await {
            Ok(()) => return,
            Err(error) if attempt == LAST_TRIES => complain(service, &error),
            Err(_) => tokio::time::sleep(LAST_PAUSE).await,
        }
    }
}

fn complain(service: &Service, error: &Error) {
    let waiting = service.evidence().waiting();
    let error = error as &dyn std::error::Error;
    tracing::error!(waiting, error, "evidence was not written");
}
