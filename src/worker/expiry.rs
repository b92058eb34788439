//! Records what has ended, when it ends; catches up after a stop; tries again after a failure; waits
//! while the clock is in doubt.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::{Actor, Service};

/// The longest pause: a backstop should the system's clock jump.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause after a first failure; it doubles with each further one, up to [`MAX_PAUSE`].
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The pause while the clock is in doubt.
const DOUBT: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let actor = Actor::system("expiry-worker");
    while !stop.is_cancelled() {
        let outcome = service.expire(&actor).await;
        if let Err(error) = &outcome {
            tracing::error!(error = error.chain(), "an expiry run failed");
        }
        let (mut may_be_woken, mut pause) = (false, retry(&service));
        match outcome {
            Ok(run) if run.is_held => pause = DOUBT,
            Ok(run) if run.failed == 0 => {
                may_be_woken = true;
                pause = service.until_next_expiry(MAX_PAUSE).await.unwrap_or(FIRST_RETRY);
            }
            Ok(_) | Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = service.expiry().woken(), if may_be_woken => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn retry(service: &Service) -> Duration {
    let failures = service.expiry().failures_in_a_row().clamp(1, 8);
    let doubled = FIRST_RETRY.saturating_mul(1 << (failures - 1));
    doubled.min(MAX_PAUSE)
}
