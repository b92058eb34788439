//! Activation codes: made for a plan, redeemed by tenants, each of them once (SPEC 3).

use serde::{Deserialize, Serialize};

use crate::domain::{
    keys::{PlanKey, TenantKey},
    time::Timestamp,
};

/// A code without its text, which is shown once and never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationCode {
    /// Opaque id, unique in the service.
    pub id: String,
    /// What it puts a tenant on, in the version that is newest when it is redeemed.
    pub plan: PlanKey,
    /// For people.
    pub note: Option<String>,
    /// How many tenants can redeem it.
    pub max_redemptions: u32,
    /// How many have.
    pub redeemed: u32,
    /// A trial of so many days; an active subscription where unset.
    pub duration_days: Option<u32>,
    /// Not redeemed from here on.
    pub expires_at: Option<Timestamp>,
    /// Not redeemed since.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// Where a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeState {
    /// It can be redeemed.
    Active,
    /// As many tenants have redeemed it as can.
    Spent,
    /// It was not used up in time.
    Expired,
    /// It was taken back.
    Revoked,
}

impl ActivationCode {
    /// Where it stands at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> CodeState {
        if self.revoked_at.is_some() {
            CodeState::Revoked
        } else if self.redeemed >= self.max_redemptions {
            CodeState::Spent
        } else if self.expires_at.is_some_and(|end| end <= now) {
            CodeState::Expired
        } else {
            CodeState::Active
        }
    }
}

impl CodeState {
    /// As it stands in answers and filters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Spent => "spent",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A tenant that redeemed a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// Which code.
    pub code: String,
    /// Who.
    pub tenant: TenantKey,
    /// The subscription that came of it.
    pub subscription: String,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}
