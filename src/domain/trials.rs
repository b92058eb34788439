//! Trials: how many begin, become the real thing, and end.

use serde::{Deserialize, Serialize};

use crate::domain::{catalog::FeatureValue, keys::FeatureKey, plans::PlanContent};

/// What is on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// A module or feature, by a grant.
    Grant,
    /// A plan, by a subscription.
    Subscription,
}

/// What happened to a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialStep {
    /// It began.
    Started,
    /// The tenant has it properly now.
    Converted,
    /// It ended by itself.
    Expired,
}

/// How many trials there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialCounts {
    /// Began.
    pub started: u64,
    /// Became the real thing.
    pub converted: u64,
    /// Ended by themselves.
    pub expired: u64,
}

impl TrialCounts {
    /// Adds so many.
    pub fn add(&mut self, step: TrialStep, trials: u64) {
        match step {
            TrialStep::Started => self.started += trials,
            TrialStep::Converted => self.converted += trials,
            TrialStep::Expired => self.expired += trials,
        }
    }
}

/// Whether who has `plan` has everything that `trial` gave.
#[must_use]
pub fn gives_all(plan: &PlanContent, trial: &PlanContent) -> bool {
    let has = |key: &FeatureKey, wanted: &FeatureValue| {
        plan.features.get(key).is_some_and(|value| value.is_at_least(wanted))
    };
    let mut given = trial.features.iter().filter(|(_, wanted)| wanted.is_on());
    trial.modules.is_subset(&plan.modules) && given.all(|(key, wanted)| has(key, wanted))
}
