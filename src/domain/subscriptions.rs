//! Subscriptions: a tenant on a plan, pinned to the version it was assigned.

use serde::{Deserialize, Serialize};

use crate::domain::{
    catalog::PlanKind,
    keys::{PlanKey, TenantKey},
    time::Timestamp,
};

/// A subject on a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Opaque id, unique in the service.
    pub id: String,
    /// Whose it is.
    pub tenant: TenantKey,
    /// Base plan or add-on.
    pub kind: PlanKind,
    /// Which plan, in which version.
    pub plan: PinnedPlan,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// It gives nothing before.
    pub effective_from: Timestamp,
    /// It gives nothing from here on; open where unset.
    pub effective_to: Option<Timestamp>,
    /// The end of its trial; always set while trialing.
    pub trial_expires_at: Option<Timestamp>,
    /// The plan that an ended trial falls back to, pinned at assignment.
    pub trial_fallback: Option<PinnedPlan>,
    /// Start of the grace period; always set while overdue.
    pub overdue_since: Option<Timestamp>,
    /// How many units, at least 1.
    pub quantity: u32,
    /// Why it was last changed.
    pub change_reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The version of its row, for `ETag`.
    pub revision: u64,
}

/// A plan in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PinnedPlan {
    /// Which plan.
    pub plan: PlanKey,
    /// Which version of it.
    pub version: u32,
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Works until the trial ends.
    Trialing,
    /// Works.
    Active,
    /// Works through the grace period, then blocks.
    Overdue,
    /// Blocks.
    Suspended,
    /// Blocks; the row stays open.
    Cancelled,
}
