//! What a user holds, as it stands in payloads: contexts, roles, permissions, seats, the tier.

use poem_openapi::Object;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    domain::{
        contexts::ContextKey,
        keys::{
            ContextId, ContextType, EntitlementKey, PermissionKey, PlanKey, RoleKey, TenantKey,
        },
        time::Timestamp,
    },
    engine::holdings::{Personal, PersonalPermission, PersonalRole, PersonalSeat, PersonalTier},
    http::parse::ObjectOnly,
};

/// A node in a tenant's tree of contexts.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ContextRef")]
pub struct ContextRef {
    /// Its type, such as `store`.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub kind: ContextType,
    /// Which one of them.
    pub id: ContextId,
}

// Not derived: serde would also take it from an array.
impl<'de> Deserialize<'de> for ContextRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            #[serde(rename = "type")]
            kind: ContextType,
            id: ContextId,
        }
        let ObjectOnly(Parts { kind, id }) = ObjectOnly::deserialize(deserializer)?;
        Ok(Self { kind, id })
    }
}

impl From<ContextRef> for ContextKey {
    fn from(ContextRef { kind, id }: ContextRef) -> Self {
        Self { kind, id }
    }
}

impl From<ContextKey> for ContextRef {
    fn from(ContextKey { kind, id }: ContextKey) -> Self {
        Self { kind, id }
    }
}

/// A role that counts.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "HeldRole")]
pub struct RoleView {
    /// Which role.
    role: RoleKey,
    /// Where; null for the tenant as a whole, or for all tenants.
    context: Option<ContextRef>,
    /// When it ends.
    expires_at: Option<Timestamp>,
}

/// Something that a role or the tier permits.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "HeldPermission")]
pub struct PermissionView {
    /// What.
    name: PermissionKey,
    /// Where; null for the tenant as a whole, or for all tenants.
    context: Option<ContextRef>,
    /// Whether it came by a role that the held one inherits.
    inherited: bool,
}

/// A seat in use.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "HeldSeat")]
pub struct SeatView {
    /// The module or feature.
    key: EntitlementKey,
    /// The tenant whose seat it is.
    from_tenant: TenantKey,
    /// When it ends.
    expires_at: Option<Timestamp>,
}

/// The tier that counts.
#[derive(Debug, Clone, Object, Serialize)]
#[oai(rename = "HeldTier")]
pub struct TierView {
    /// The plan.
    key: PlanKey,
    /// Its name.
    name: String,
    /// Its rank.
    rank: i64,
    /// The version that the user is pinned to.
    version: u32,
    /// When it ends.
    expires_at: Option<Timestamp>,
}

/// What a user holds.
#[derive(Debug, Default)]
pub(super) struct PersonalView {
    pub roles: Vec<RoleView>,
    pub permissions: Vec<PermissionView>,
    pub seats: Vec<SeatView>,
    pub tier: Option<TierView>,
}

impl From<Personal> for PersonalView {
    fn from(Personal { roles, permissions, seats, tier }: Personal) -> Self {
        let role = |PersonalRole { role, context, expires_at }| RoleView {
            role,
            context: context.map(ContextRef::from),
            expires_at,
        };
        let permission = |PersonalPermission { name, context, inherited }| PermissionView {
            name,
            context: context.map(ContextRef::from),
            inherited,
        };
        let seat = |PersonalSeat { key, from_tenant, expires_at }| SeatView {
            key,
            from_tenant,
            expires_at,
        };
        let tier = tier.map(|PersonalTier { key, name, rank, version, expires_at }| TierView {
            key,
            name,
            rank,
            version,
            expires_at,
        });
        Self {
            roles: roles.into_iter().map(role).collect(),
            permissions: permissions.into_iter().map(permission).collect(),
            seats: seats.into_iter().map(seat).collect(),
            tier,
        }
    }
}
