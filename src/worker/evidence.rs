//! Writes down how checks were answered, every few seconds; tries again after a failure; leaves
//! nothing behind at the end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::beat::{Beat, last_tries};
use crate::{error::Error, service::Service};

/// How long something waits at most while the disk takes it.
const PERIOD: Duration = Duration::from_secs(5);

/// Runs until `stop`. What comes in after that is for [`finish`].
pub async fn run(service: Service, stop: CancellationToken) {
    let mut beat = Beat::every(PERIOD, stop);
    while beat.next().await {
        if let Some(error) = beat.went(service.flush_evidence().await) {
            complain(&service, &error);
        }
    }
}

/// Writes down what waits, once no request can add to it any more.
pub async fn finish(service: &Service) {
    if let Err(error) = last_tries(|| service.flush_evidence()).await {
        complain(service, &error);
    }
}

fn complain(service: &Service, error: &Error) {
    let waiting = service.evidence().waiting();
    let error = error as &dyn std::error::Error;
    tracing::error!(waiting, error, "evidence was not written");
}
