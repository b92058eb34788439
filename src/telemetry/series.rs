//! Every series that the service shows, once: what Prometheus is told about it, what is there
//! before anything happened, and what `docs/metrics.md` says.
//!
//! Invariants: a series that the code names stands here and the other way round
//! (`tests/it/metrics.rs`); no label is a tenant, a user or a path as it was sent.

/// What a series does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; a restart begins at 0.
    Counter,
    /// It is what it is now.
    Gauge,
    /// It counts in buckets, with a sum and a count.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values where they are few and known; none where the catalog, the reasons or the document
    /// say them.
    pub values: &'static [&'static str],
}

/// One series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Its name, as it is scraped.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it says, without a full stop.
    pub help: &'static str,
}

const fn series(
    kind: Kind,
    name: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Series {
    Series { name, kind, labels, help }
}

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}

const REASON: Label = label("reason", &[]);
const OUTCOME: Label = label("outcome", &["allowed", "denied"]);
const OUTCOMES_OF_MODULE: Label = label("outcome", &["allowed", "denied", "would_deny"]);
const KIND_OF_TRIAL: &[Label] = &[label("kind", &["grant", "subscription"])];
const MODES: &[Label] = &[label("mode", &["off", "shadow", "enforce"])];
const FAULTS: &[Label] = &[label(
    "fault",
    &["STORAGE_FULL", "STORAGE_READ_ONLY", "STORAGE_FAILING", "STORAGE_HELD", "STORAGE_UNREADABLE"],
)];
const DELIVERIES: &[Label] =
    &[label("outcome", &["delivered", "refused", "gone", "timeout", "unreachable", "forbidden"])];
const HTTP: &[Label] = &[label("route", &[]), label("method", &[]), label("status", &[])];

use Kind::{Counter, Gauge, Histogram};

/// All of them, what belongs together in one place.
#[rustfmt::skip]
pub const SERIES: &[Series] = &[
    // Decisions.
    series(Counter, "entitlement_checks_total", &[OUTCOME, REASON], "Decisions given"),
    series(Counter, "entitlement_denied_total", &[REASON], "Refusals"),
    series(Counter, "entitlement_shadow_denied_total", &[REASON],
        "Decisions that allow only because nothing is enforced there, by the reason that would refuse"),
    series(Counter, "permission_denied_total", &[], "Refusals because the user lacks a permission"),
    series(Counter, "super_admin_bypass_total", &[], "Decisions that allow because the application's own staff asked"),
    series(Counter, "entitlement_guard_denied_total", &[label("guard", &[]), REASON],
        "Refusals of questions that named a guard of the catalog"),
    series(Counter, "entitlement_module_checks_total", &[label("module", &[]), OUTCOMES_OF_MODULE],
        "Decisions about a module of the catalog, its features or a guard that needs it"),
    series(Histogram, "entitlement_check_duration_seconds", &[], "Time to work out one decision"),
    series(Counter, "entitlement_usage_taken_total", &[], "Units of limits that were taken or set aside"),
    series(Counter, "invariant_violations_total", &[], "Decisions that broke a rule that always holds: a fault of the service"),
    // The rollout, and what tenants try.
    series(Gauge, "entitlement_rollout_mode", MODES, "1 for the mode that holds, 0 for the others; off where the environment opens all gates"),
    series(Gauge, "entitlement_rollout_percent", &[], "For how many of a hundred tenants enforcement is meant"),
    series(Counter, "entitlement_auto_rollbacks_total", &[], "Times that enforcement gave way to shadow by itself"),
    series(Counter, "entitlement_trials_started_total", KIND_OF_TRIAL, "Trials that began"),
    series(Counter, "entitlement_trials_converted_total", KIND_OF_TRIAL, "Trials after which the tenant has the same properly"),
    series(Counter, "entitlement_module_selections_total", &[], "Selections of modules that were made for a tenant"),
    series(Gauge, "entitlement_overrides_open", &[], "Overrides that have neither expired nor been removed"),
    // Memory.
    series(Counter, "entitlement_cache_hits_total", &[], "Questions that found their tenant or user in memory"),
    series(Counter, "entitlement_cache_misses_total", &[], "Questions that did not"),
    series(Counter, "entitlement_cache_loads_total", &[], "Tenants and users read from the database"),
    series(Gauge, "entitlement_cache_hit_rate", &[], "Hits among hits and misses since the start; 1 before the first question"),
    series(Gauge, "entitlement_cache_entries", &[], "Tenants and users in memory"),
    series(Gauge, "entitlement_cache_bytes", &[], "About how much memory they take"),
    series(Gauge, "entitlement_catalog_version", &[], "The newest catalog"),
    series(Counter, "damaged_tenant_loads_total", &[], "Times that the rows of a tenant could not be read; that tenant is closed"),
    series(Counter, "damaged_user_loads_total", &[], "Times that the rows of a user could not be read; that user is closed"),
    // Requests.
    series(Counter, "entitlement_http_requests_total", HTTP, "Requests answered"),
    series(Histogram, "http_request_duration_seconds", HTTP, "Time to the head of the answer"),
    // Writing.
    series(Histogram, "entitlement_write_wait_seconds", &[], "Time that a change waited for the writer"),
    series(Histogram, "entitlement_write_transaction_seconds", &[], "Time for one commit, with all changes that shared it"),
    series(Histogram, "entitlement_write_group_size", &[], "Changes that shared one commit"),
    series(Counter, "entitlement_write_busy_total", &[], "Changes refused because too many waited for the writer"),
    // Background work.
    series(Counter, "entitlement_expiry_runs_total", &[], "Runs of the worker that records what has ended"),
    series(Counter, "entitlement_expiry_failures_total", &[], "Ends that could not be recorded; they are tried again"),
    series(Gauge, "entitlement_expiry_lag_seconds", &[], "How late the latest end was recorded"),
    series(Counter, "entitlement_activity_recorded_total", &[], "Activity that was written"),
    series(Counter, "entitlement_activity_failures_total", &[], "Batches of activity that could not be written; they are tried again"),
    series(Counter, "entitlement_activity_dropped_total", &[], "Activity that found no room and was lost"),
    series(Gauge, "entitlement_activity_waiting", &[], "Activity that waits to be written"),
    series(Gauge, "entitlement_clock_off_seconds", &[],
        "By how much the system's clock is ahead (or behind, if negative) of the time that has passed; 0 while it is believed"),
    series(Counter, "entitlement_evidence_overflow_total", &[], "Checks that were counted without their tenant, because too many were"),
    series(Counter, "entitlement_evidence_failures_total", &[], "Batches of evidence that could not be written; they are tried again"),
    series(Counter, "entitlement_storage_faults_total", FAULTS, "Groups of changes that the disk refused and that were undone"),
    series(Gauge, "entitlement_database_bytes", &[], "Size of the database file"),
    series(Gauge, "entitlement_database_log_bytes", &[], "Size of its log, which is copied into it from time to time and used anew"),
    series(Gauge, "entitlement_disk_free_bytes", &[], "Room on the file system of the database"),
    series(Counter, "entitlement_backups_total", &[label("outcome", &["done", "failed"])], "Scheduled backups"),
    series(Gauge, "entitlement_backup_last_success_timestamp_seconds", &[], "When the last scheduled backup was done, in Unix time; there with the first one"),
    series(Gauge, "entitlement_event_subscribers", &[], "Open streams of events"),
    series(Counter, "entitlement_webhook_deliveries_total", DELIVERIES, "Attempts to deliver to a webhook"),
    // The audit trail.
    series(Gauge, "entitlement_audit_sequence", &[], "The place of the last audit event"),
    series(Gauge, "entitlement_audit_anchored_sequence", &[], "The place that audit.head names; not there with --demo and --ephemeral"),
    series(Counter, "entitlement_audit_anchor_failures_total", &[], "Times that audit.head could not be written"),
];

/// Tells the recorder about every series, and begins each counter and histogram at 0 whose labels are
/// known: a series that appears with its first event has no rise that an alert could see.
pub(super) fn begin() {
    for series in SERIES {
        let (name, help) = (series.name, series.help);
        match series.kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, help),
        }
        let begin = |labels: Vec<metrics::Label>| match series.kind {
            Kind::Counter => metrics::counter!(name, labels).increment(0),
            Kind::Histogram => drop(metrics::histogram!(name, labels)),
            // 0 would be a statement.
            Kind::Gauge => {}
        };
        match series.labels {
            [] => begin(Vec::new()),
            [label] => label
                .values
                .iter()
                .for_each(|value| begin(vec![metrics::Label::new(label.name, *value)])),
            // Whose values belong together is known where they are counted.
            [_, _, ..] => {}
        }
    }
}
