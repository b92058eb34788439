//! Grants: a module or feature given to, or withheld from, a tenant directly.

use serde::{Deserialize, Serialize};

use crate::domain::{
    catalog::FeatureValue,
    keys::{EntitlementKey, TenantKey},
    time::Timestamp,
};

/// A module or feature given to, or withheld from, a tenant. One for each tenant and key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Whose it is.
    pub tenant: TenantKey,
    /// The module or feature.
    pub key: EntitlementKey,
    /// Given, withheld or on trial.
    pub state: GrantState,
    /// Replaces what plans give: on limit and config features, unless disabled.
    pub value: Option<FeatureValue>,
    /// How many named users may use it; unset means it is not seated.
    pub seats: Option<u64>,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The version of its row, for `ETag`.
    pub revision: u64,
}

/// What a grant says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Given.
    Enabled,
    /// Withheld.
    Disabled,
    /// Given until this instant.
    Trial(Timestamp),
}
