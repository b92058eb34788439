//! Looks every second whether enforcement is to give way by itself.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::beat::Beat;
use crate::service::Service;

/// How long too many refusals go on at most.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let mut beat = Beat::every(PERIOD, stop);
    while beat.next().await {
        if let Some(error) = beat.went(service.weigh_rollout().await) {
            let error = error.chain();
            tracing::error!(error, "enforcement could not give way");
        }
    }
}
