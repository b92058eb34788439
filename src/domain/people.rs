//! What is known of a user: roles held, tiers, seats, entitlements of their own.

use serde::{Deserialize, Serialize};

use crate::domain::{
    contexts::ContextKey,
    keys::{EntitlementKey, RoleKey, TenantKey, UserKey},
    subscriptions::PinnedPlan,
    time::Timestamp,
};

/// How many roles a user may hold in one tenant, and at platform level: each check walks along them.
pub const MAX_ROLES: u64 = 1000;

/// What a role is held on. It covers what lies below, never what lies beside or above.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOn {
    /// Every tenant.
    Platform,
    /// The tenant as a whole.
    Tenant,
    /// A context of the tenant.
    Context(ContextKey),
}

/// A role that a user holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAssignment {
    /// Opaque id, unique in the service.
    pub id: String,
    /// In which tenant; none at platform level.
    pub tenant: Option<TenantKey>,
    /// Who holds it.
    pub user: UserKey,
    /// Which role of the catalog.
    pub role: RoleKey,
    /// On what.
    pub on: HeldOn,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// A user's place on a plan for users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Opaque id, unique in the service.
    pub id: String,
    /// In which tenant; without one it holds where no tenant says otherwise.
    pub tenant: Option<TenantKey>,
    /// Whose.
    pub user: UserKey,
    /// Which plan, in which version.
    pub plan: PinnedPlan,
    /// It gives nothing before.
    pub effective_from: Timestamp,
    /// It gives nothing from here on; open where unset.
    pub effective_to: Option<Timestamp>,
    /// Why it was set.
    pub change_reason: String,
    /// When it was set.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// The right of one named user to use what a tenant has bought seats for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Whose seats: the pool.
    pub tenant: TenantKey,
    /// The module or feature.
    pub key: EntitlementKey,
    /// The tenant in which the user works: the pool's own, or one below it.
    pub holder: TenantKey,
    /// Who has it.
    pub user: UserKey,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// When it was allocated.
    pub allocated_at: Timestamp,
    /// By whom.
    pub allocated_by: String,
}

/// A module or boolean feature given to one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEntitlement {
    /// Opaque id, unique in the service. Granting again makes a new one.
    pub id: String,
    /// In which tenant; none for a user who is entitled directly.
    pub tenant: Option<TenantKey>,
    /// Who.
    pub user: UserKey,
    /// The module or feature.
    pub key: EntitlementKey,
    /// Given by an admin of the tenant: it counts while the tenant itself is entitled.
    #[serde(default)]
    pub is_delegated: bool,
    /// Where it stands.
    pub status: UserEntitlementStatus,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// Why it stands there.
    pub reason: String,
    /// When it was granted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
    /// The version of its row, for `ETag`.
    pub revision: u64,
}

/// Where a user entitlement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserEntitlementStatus {
    /// It counts.
    Active,
    /// It doesn't count, and may be made active again.
    Suspended,
    /// Ended by somebody.
    Revoked,
    /// Ended by itself.
    Expired,
}

/// What a list of seats is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct SeatFilter {
    /// On this module or feature.
    pub key: Option<EntitlementKey>,
    /// Of this user.
    pub user: Option<UserKey>,
}

/// What a list of user entitlements is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct UserEntitlementFilter {
    /// Of this user.
    pub user: Option<UserKey>,
    /// On this module or feature.
    pub key: Option<EntitlementKey>,
    /// That stand so; any if unset.
    pub status: Option<UserEntitlementStatus>,
}

impl UserEntitlement {
    /// Where it stands: what the worker has not recorded yet has ended all the same.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> UserEntitlementStatus {
        match self.status {
            UserEntitlementStatus::Active | UserEntitlementStatus::Suspended
                if self.expires_at.is_some_and(|end| end <= now) =>
            {
                UserEntitlementStatus::Expired
            }
            status => status,
        }
    }
}
