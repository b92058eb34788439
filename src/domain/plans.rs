//! Plan versions: what a subscription is pinned to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::{
    catalog::{Audience, FeatureValue, PlanKind, Stack},
    keys::{FeatureKey, ModuleKey, PermissionKey, PlanKey},
};

/// One version of a plan with everything it inherits and every `"*"` written out. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanVersion {
    /// Which plan.
    pub plan: PlanKey,
    /// Counts from 1, for each plan.
    pub version: u32,
    /// The name it had when this version was made.
    pub name: String,
    /// What is pinned.
    pub content: PlanContent,
}

/// What is pinned with a plan version (SPEC 2: modules, values, permissions, rank, and what it
/// inherits). Another content is another version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanContent {
    /// Its place among plans.
    pub rank: i64,
    /// Base plan or add-on.
    pub kind: PlanKind,
    /// Who subscribes to it.
    pub audience: Audience,
    /// How its limits combine with those of other plans.
    pub stack: Stack,
    /// How many seats one unit carries.
    pub seats: Option<u64>,
    /// Every module it gives.
    pub modules: BTreeSet<ModuleKey>,
    /// Every value it gives.
    pub features: BTreeMap<FeatureKey, FeatureValue>,
    /// Every permission it gives.
    pub permissions: BTreeSet<PermissionKey>,
}
