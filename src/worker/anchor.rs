//! Keeps the end of the audit trail outside the database, so that a trail that was shortened or put
//! back is found at the next start.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::beat::Beat;
use crate::service::Service;

/// How far the anchor may lie behind.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs until `stop`. The last one is written when the database is closed.
pub async fn run(service: Service, stop: CancellationToken) {
    let mut beat = Beat::every(PERIOD, stop);
    while beat.next().await {
        let kept = service.keep_anchor().await;
        if kept.is_err() {
            metrics::counter!("entitlement_audit_anchor_failures_total").increment(1);
        }
        if let Some(error) = beat.went(kept) {
            let error = error.chain();
            tracing::error!(error, "the anchor of the audit trail was not written");
        }
    }
}
