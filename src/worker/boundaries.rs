//! Tells subscribers of what ends or begins by itself, at its instant, also where the expiry worker
//! is late or waits.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::{Actor, Service};

/// The longest pause: a backstop should the system's clock jump.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let actor = Actor::system("boundaries");
    let work = async {
        loop {
            let told = service.tell_boundaries(&actor).await;
            let outcome = match told {
                Ok(()) => service.next_boundary(MAX_PAUSE).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::error!(
                    error = error.chain(),
                    "subscribers were not told of what has passed"
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
