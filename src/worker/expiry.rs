//! Records what has ended, when it ends; catches up after a stop; tries again after a failure.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        callers::{OperatorRole, Principal},
        checks::Mode,
    },
    service::{Actor, Service},
};

/// The longest pause: a backstop should the system's clock jump.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause after a first failure; it doubles with each further one, up to [`MAX_PAUSE`].
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Runs until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let actor = system_actor();
    while !stop.is_cancelled() {
        let outcome = service.expire(&actor).await;
        if let Err(error) = &outcome {
            tracing::error!(error = error as &dyn std::error::Error, "an expiry run failed");
        }
        let is_clean = outcome.is_ok_and(|run| run.failed == 0);
        let pause = if is_clean { until_next(&service).await } else { retry(&service) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = service.expiry_woken(), if is_clean => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Who the worker is in the audit trail.
fn system_actor() -> Actor {
    let principal = Principal {
        id: "expiry-worker".into(),
        role: OperatorRole::SuperAdmin,
        tenant: None,
        mode: Mode::Tenant,
        impersonator: None,
    };
    Actor { principal: Arc::new(principal), request_id: "expiry-worker".into(), ip: None }
}

async fn until_next(service: &Service) -> Duration {
    let now = service.clock().now();
    match service.next_expiry().await {
        Ok(Some(next)) => {
            let us = u64::try_from(next.micros() - now.micros()).unwrap_or_default();
            Duration::from_micros(us).min(MAX_PAUSE)
        }
        Ok(None) => MAX_PAUSE,
        Err(_) => FIRST_RETRY,
    }
}

fn retry(service: &Service) -> Duration {
    let failures = service.expiry().failures_in_a_row().clamp(1, 8);
    let doubled = FIRST_RETRY.saturating_mul(1 << (failures - 1));
    doubled.min(MAX_PAUSE)
}
