//! How far enforcement is rolled out (SPEC 9): settings, and what is sound in them.
//!
//! Refuses to know: the catalog, and which tenants there are: a tenant may be named before it is
//! made.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        keys::{ModuleKey, TenantKey},
        time::Timestamp,
    },
    error::Fault,
};

/// How many keys each list may hold.
pub const MAX_KEYS: usize = 10_000;

/// How many keys a fault names one by one.
const NAMED: usize = 5;

/// Whether refusals count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutMode {
    /// Gates are open.
    Off,
    /// Refusals are worked out and reported; gates are open.
    Shadow,
    /// Refusals count for tenants that the rollout has reached.
    Enforce,
}

impl RolloutMode {
    /// As it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

/// When enforcement gives way to `shadow` by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AutoRollback {
    /// The share of tenants refused among tenants checked that is too much.
    pub ratio: f64,
    /// With fewer tenants checked nothing happens.
    pub min_tenants: u64,
    /// With fewer checks nothing happens.
    pub min_checks: u64,
    /// How far back it looks.
    pub window_seconds: u64,
}

/// What happened lately where the rollout enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RolloutFigures {
    /// How many checks there were.
    pub checks: u64,
    /// How many tenants they were about.
    pub tenants_checked: u64,
    /// How many of these were refused something that `shadow` would allow.
    pub tenants_refused: u64,
}

impl AutoRollback {
    /// Whether that is too much. A ratio that is reached is not passed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "there are never so many tenants")]
    pub fn is_passed(&self, figures: RolloutFigures) -> bool {
        let Self { ratio, min_tenants, min_checks, window_seconds: _ } = *self;
        let RolloutFigures { checks, tenants_checked, tenants_refused } = figures;
        // Divided, and not multiplied: the nearest number to 29 / 100 is what "0.29" is read as.
        checks >= min_checks
            && tenants_checked >= min_tenants
            && tenants_refused as f64 / tenants_checked as f64 > ratio
    }

    /// Everything that is wrong with it, each with its field.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let Self { ratio, min_tenants, min_checks, window_seconds } = *self;
        let mut faults = Vec::new();
        let mut fault = |field: &str, message: &str| {
            faults.push(Fault::new(format!("auto_rollback.{field}"), message));
        };
        // Also where it is no number.
        if !(ratio > 0.0 && ratio <= 1.0) {
            fault("ratio", "must be more than 0 and at most 1");
        }
        if !(1..=1_000_000).contains(&min_tenants) {
            fault("min_tenants", "must be from 1 to 1000000");
        }
        if !(1..=1_000_000_000).contains(&min_checks) {
            fault("min_checks", "must be from 1 to 1000000000");
        }
        if !(10..=86_400).contains(&window_seconds) {
            fault("window_seconds", "must be from 10 to 86400");
        }
        faults
    }
}

/// For whom and for what refusals count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Whether they count at all.
    pub mode: RolloutMode,
    /// For how many of a hundred tenants.
    pub percent: u64,
    /// Tenants for which they count whatever the percentage is.
    pub include: BTreeSet<TenantKey>,
    /// Tenants for which they never count.
    pub exclude: BTreeSet<TenantKey>,
    /// Modules whose refusals never count.
    pub unenforced_modules: BTreeSet<ModuleKey>,
    /// When it gives way by itself.
    pub auto_rollback: Option<AutoRollback>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            mode: RolloutMode::Enforce,
            percent: 100,
            include: BTreeSet::new(),
            exclude: BTreeSet::new(),
            unenforced_modules: BTreeSet::new(),
            auto_rollback: None,
        }
    }
}

impl Rollout {
    /// Everything that is wrong with it, but for keys that the catalog doesn't hold.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let Self { mode: _, percent, include, exclude, unenforced_modules, auto_rollback } = self;
        let mut faults = Vec::new();
        if *percent > 100 {
            faults.push(Fault::new("percent", "must be a whole number from 0 to 100"));
        }
        for (field, count) in [
            ("include", include.len()),
            ("exclude", exclude.len()),
            ("unenforced_modules", unenforced_modules.len()),
        ] {
            if count > MAX_KEYS {
                let message = format!("has {count} keys; at most {MAX_KEYS} are allowed");
                faults.push(Fault::new(field, message));
            }
        }
        let both: Vec<_> = include.intersection(exclude).collect();
        if !both.is_empty() {
            let named: Vec<_> = both.iter().take(NAMED).map(|key| format!("“{key}”")).collect();
            let more = match both.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!(
                "{}{more} can't stand in include and exclude; leave each out of one of the two",
                named.join(", ")
            );
            faults.push(Fault::new("exclude", message));
        }
        faults.extend(auto_rollback.iter().flat_map(AutoRollback::faults));
        faults
    }
}

/// The settings as they are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredRollout {
    /// What holds.
    pub settings: Rollout,
    /// When they were last changed, and by whom; none while nobody has.
    pub updated: Option<(Timestamp, String)>,
    /// The version of the row, for `ETag`.
    pub revision: u64,
}

/// What decides whether gates are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutSource {
    /// `ENABLE_ENTITLEMENTS_GATING=false`: open, whatever the settings say.
    Environment,
    /// The settings.
    Settings,
}
