//! Overrides: governed exceptions that always expire.

use serde::{Deserialize, Serialize};

use crate::domain::{
    catalog::FeatureValue,
    keys::{EntitlementKey, TenantKey},
    time::Timestamp,
};

/// A governed exception for one tenant and one module or feature. At most one is open for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// Opaque id, unique in the service.
    pub id: String,
    /// Whose it is.
    pub tenant: TenantKey,
    /// The module or feature.
    pub key: EntitlementKey,
    /// What it decides.
    pub effect: Effect,
    /// Not honoured from here on, whether or not the worker has run.
    pub expires_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What an override decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Opens a module or a boolean feature.
    Enable,
    /// Opens a limit or config feature with this value.
    Set(FeatureValue),
    /// Closes it.
    Disable,
}

/// An override with its history, as those who govern it see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GovernedOverride {
    /// What it is.
    pub exception: Override,
    /// How and when it ended; open while unset.
    pub ended: Option<(OverrideEnd, Timestamp)>,
    /// How often it was extended before it ended.
    pub renewals: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The version of its row, for `ETag`.
    pub revision: u64,
    /// Its end was announced, or lay so near when it was written that it needed no announcement.
    #[serde(default)]
    pub is_announced: bool,
    /// Its present form took effect at once by breaking the glass, and nobody approved it since.
    #[serde(default)]
    pub break_glass: bool,
    /// When it last decided a check, to the minute, as far as that was written down.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
}

/// How an override ended: exactly once, in one of two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideEnd {
    /// By itself.
    Expired,
    /// By somebody.
    Removed,
}
