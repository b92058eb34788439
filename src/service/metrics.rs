//! What the service counts about itself. Handles are made once: a check only adds to them.

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::Service;
use crate::domain::checks::{Decision, Reason};

/// Handles of the series that every check touches. Labels are reasons, never tenants or paths.
pub struct Metrics {
    allowed: Vec<Counter>,
    denied: Vec<Counter>,
    denied_by_reason: Vec<Counter>,
    unenforced: Vec<Counter>,
    latency: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let of = |make: &dyn Fn(&'static str) -> Counter| {
            Reason::ALL.iter().map(|reason| make(reason.as_str())).collect()
        };
        Self {
            allowed: of(
                &|r| counter!("entitlement_checks_total", "outcome" => "allowed", "reason" => r),
            ),
            denied: of(
                &|r| counter!("entitlement_checks_total", "outcome" => "denied", "reason" => r),
            ),
            denied_by_reason: of(&|r| counter!("entitlement_denied_total", "reason" => r)),
            unenforced: of(&|r| counter!("entitlement_shadow_denied_total", "reason" => r)),
            latency: histogram!("entitlement_check_duration_seconds"),
        }
    }

    pub(super) fn count(&self, decision: &Decision, seconds: f64) {
        self.latency.record(seconds);
        let add = |counters: &[Counter], reason: Reason| {
            if let Some(counter) = counters.get(reason.index()) {
                counter.increment(1);
            }
        };
        if decision.allowed {
            add(&self.allowed, decision.reason);
        } else {
            add(&self.denied, decision.reason);
            add(&self.denied_by_reason, decision.reason);
        }
        if decision.allowed && !decision.would_allow {
            add(&self.unenforced, decision.would_reason);
        }
    }
}

impl Service {
    /// Sets the series that are read and not counted. Called before each scrape.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    pub fn refresh_gauges(&self) {
        let stats = self.cache_stats();
        counter!("entitlement_cache_hits_total").absolute(stats.hits);
        counter!("entitlement_cache_misses_total").absolute(stats.misses);
        counter!("entitlement_cache_loads_total").absolute(stats.loads);
        gauge!("entitlement_cache_entries").set(stats.entries as f64);
        gauge!("entitlement_cache_bytes").set(stats.bytes as f64);
        let asked = stats.hits + stats.misses;
        // Before the first question nothing was missed.
        let rate = if asked == 0 { 1.0 } else { stats.hits as f64 / asked as f64 };
        gauge!("entitlement_cache_hit_rate").set(rate);
        gauge!("entitlement_activity_waiting").set(self.activity.waiting() as f64);
        gauge!("entitlement_catalog_version").set(f64::from(self.world().catalog_version));
        if let Ok(seq) = self.store.read_now(crate::store::audit::last_seq) {
            gauge!("entitlement_audit_sequence").set(seq as f64);
        }
        if let Some(head) = self.store.anchored() {
            gauge!("entitlement_audit_anchored_sequence").set(head.seq as f64);
        }
    }
}
