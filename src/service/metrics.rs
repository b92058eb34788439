//! What the service counts about itself. Handles are made once: a check only adds to them.
//!
//! Refuses to know: what the series mean, which `telemetry` describes.

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::{Service, meters::ByKey};
use crate::{
    domain::{
        catalog::Catalog,
        checks::{Decision, Question, Reason},
        keys::ModuleKey,
        rollout::RolloutMode,
    },
    engine::{Gating, World},
    store,
};

/// Most series of guards, and most of modules; more keys than that share `other`.
const MOST_OF_GUARDS: usize = 1_000;
const MOST_OF_MODULES: usize = 1_500;

/// What came of a decision about a module.
const OUTCOMES: [&str; 3] = ["allowed", "denied", "would_deny"];

/// Handles of the series that every check touches. Labels are reasons and keys of the catalog, never
/// tenants or paths.
pub struct Metrics {
    allowed: Vec<Counter>,
    denied: Vec<Counter>,
    denied_by_reason: Vec<Counter>,
    unenforced: Vec<Counter>,
    permission_denied: Counter,
    bypasses: Counter,
    by_guard: ByKey<{ Reason::ALL.len() }>,
    by_module: ByKey<{ OUTCOMES.len() }>,
    latency: Histogram,
    /// Units that were taken of limits.
    pub(super) usage_taken: Counter,
    /// Selections of modules that were made.
    pub(super) module_selections: Counter,
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
            permission_denied: counter!("permission_denied_total"),
            bypasses: counter!("super_admin_bypass_total"),
            by_guard: ByKey::new(MOST_OF_GUARDS, of_guard),
            by_module: ByKey::new(MOST_OF_MODULES, of_module),
            latency: histogram!("entitlement_check_duration_seconds"),
            usage_taken: counter!("entitlement_usage_taken_total"),
            module_selections: counter!("entitlement_module_selections_total"),
        }
    }

    /// Begins at 0 what is known of a catalog, so that a module that nobody asks about is seen too.
    pub(super) fn know(&self, catalog: &Catalog) {
        catalog.modules.keys().for_each(|module| self.by_module.begin(module.as_str()));
    }

    /// Counts an answer that is given to somebody.
    pub(super) fn count(
        &self,
        catalog: &Catalog,
        question: &Question,
        decision: &Decision,
        seconds: f64,
    ) {
        self.latency.record(seconds);
        let add = |counters: &[Counter], reason: Reason| {
            if let Some(counter) = counters.get(reason.index()) {
                counter.increment(1);
            }
        };
        let outcome = if decision.allowed && decision.would_allow {
            add(&self.allowed, decision.reason);
            0
        } else if decision.allowed {
            add(&self.allowed, decision.reason);
            add(&self.unenforced, decision.would_reason);
            2
        } else {
            add(&self.denied, decision.reason);
            add(&self.denied_by_reason, decision.reason);
            if let Some(guard) = &question.guard {
                self.by_guard.count(guard.as_str(), decision.reason.index());
            }
            1
        };
        if let Some(module) = module_of(catalog, question) {
            self.by_module.count(module.as_str(), outcome);
        }
        self.bypasses.increment(u64::from(decision.reason == Reason::SuperAdminBypass));
        self.permission_denied.increment(u64::from(decision.reason == Reason::PermissionDenied));
    }
}

fn of_guard(guard: &str, reason: usize) -> Counter {
    let reason = Reason::ALL.get(reason).map_or("", |reason| reason.as_str());
    counter!("entitlement_guard_denied_total", "guard" => guard.to_owned(), "reason" => reason)
}

fn of_module(module: &str, outcome: usize) -> Counter {
    let outcome = OUTCOMES.get(outcome).copied().unwrap_or_default();
    counter!("entitlement_module_checks_total", "module" => module.to_owned(), "outcome" => outcome)
}

/// The module that a question is about: the one it names, else that of its first feature, else that
/// of its guard. One, so that no question counts twice.
fn module_of<'a>(catalog: &'a Catalog, question: &'a Question) -> Option<&'a ModuleKey> {
    let of_feature = |feature| catalog.features.get(feature).and_then(|f| f.module.as_ref());
    let guard = || question.guard.as_ref().and_then(|guard| catalog.guards.get(guard));
    let usage = || question.usage.as_ref().map(|usage| &usage.feature);
    let own = question.module.as_ref();
    own.or_else(|| question.features.iter().find_map(of_feature))
        .or_else(|| usage().and_then(of_feature))
        .or_else(|| guard().and_then(|guard| guard.module.as_ref()))
        .or_else(|| guard().and_then(|guard| guard.features.iter().find_map(of_feature)))
        .or_else(|| guard().and_then(|guard| guard.limit.as_ref().and_then(of_feature)))
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
        let world = self.world();
        self.metrics.know(&world.catalog);
        gauge!("entitlement_catalog_version").set(f64::from(world.catalog_version));
        show_rollout(&world);
        if let Ok(seq) = self.store.read_now(store::audit::last_seq) {
            gauge!("entitlement_audit_sequence").set(seq as f64);
        }
        let now = self.clock.now();
        if let Ok(open) = self.store.read_now(|tx| store::overrides::count_open(tx, now)) {
            gauge!("entitlement_overrides_open").set(open as f64);
        }
        if let Some(room) = self.store.room() {
            gauge!("entitlement_database_bytes").set(room.database as f64);
            gauge!("entitlement_database_log_bytes").set(room.log as f64);
            gauge!("entitlement_disk_free_bytes").set(room.free as f64);
        }
        if let Some(head) = self.store.anchored() {
            gauge!("entitlement_audit_anchored_sequence").set(head.seq as f64);
        }
    }
}

/// What holds of the rollout: the environment wins over the settings.
#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn show_rollout(world: &World) {
    let settings = &world.rollout.settings;
    let holds = match world.gating {
        Gating::BySettings => settings.mode,
        Gating::OffByEnvironment => RolloutMode::Off,
    };
    for mode in [RolloutMode::Off, RolloutMode::Shadow, RolloutMode::Enforce] {
        let is_it = if mode == holds { 1.0 } else { 0.0 };
        gauge!("entitlement_rollout_mode", "mode" => mode.as_str()).set(is_it);
    }
    gauge!("entitlement_rollout_percent").set(settings.percent as f64);
}
