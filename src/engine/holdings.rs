//! What a user holds: the part of the payload that is theirs alone.

use crate::{
    domain::{
        contexts::ContextKey,
        keys::{EntitlementKey, PermissionKey, PlanKey, RoleKey, TenantKey},
        people::HeldOn,
        time::Timestamp,
    },
    engine::{permit, trace::Desk},
};

/// What a user holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Personal {
    /// Roles that count.
    pub roles: Vec<PersonalRole>,
    /// What they and the tier permit.
    pub permissions: Vec<PersonalPermission>,
    /// Seats in use.
    pub seats: Vec<PersonalSeat>,
    /// The tier.
    pub tier: Option<PersonalTier>,
}

/// A role that counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonalRole {
    /// Which role.
    pub role: RoleKey,
    /// Where; none for the tenant as a whole or the platform.
    pub context: Option<ContextKey>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Something that is permitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonalPermission {
    /// What.
    pub name: PermissionKey,
    /// Where; none for the tenant as a whole.
    pub context: Option<ContextKey>,
    /// It came by a role that the held one inherits.
    pub inherited: bool,
}

/// A seat in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the payload")]
pub struct PersonalSeat {
    pub key: EntitlementKey,
    pub from_tenant: TenantKey,
    pub expires_at: Option<Timestamp>,
}

/// The tier that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the payload")]
pub struct PersonalTier {
    pub key: PlanKey,
    pub name: String,
    pub rank: i64,
    pub version: u32,
    pub expires_at: Option<Timestamp>,
}

/// Everything that the user of this desk holds.
pub(super) fn holdings(desk: &mut Desk<'_>) -> Personal {
    let Some(person) = desk.person else { return Personal::default() };
    let mut personal = Personal::default();
    for held in person.everywhere.roles.iter().chain(&person.here.roles) {
        if !desk.before(held.expires_at) {
            continue;
        }
        let context = match &held.on {
            HeldOn::Platform | HeldOn::Tenant => None,
            HeldOn::Context(on) => Some(on.clone()),
        };
        if let Some(role) = desk.world.role(&held.role) {
            let permission = |name: &PermissionKey, inherited| PersonalPermission {
                name: name.clone(),
                context: context.clone(),
                inherited,
            };
            personal.permissions.extend(role.own.iter().map(|name| permission(name, false)));
            personal.permissions.extend(role.inherited.iter().map(|name| permission(name, true)));
        }
        let (role, expires_at) = (held.role.clone(), held.expires_at);
        personal.roles.push(PersonalRole { role, context, expires_at });
    }
    if let Some(tier) = permit::tier(desk) {
        let plan = &tier.plan;
        let permission = |name: &PermissionKey| PersonalPermission {
            name: name.clone(),
            context: None,
            inherited: false,
        };
        personal.permissions.extend(plan.content.permissions.iter().map(permission));
        personal.tier = Some(PersonalTier {
            key: plan.plan.clone(),
            name: desk.world.plan_name(plan).to_owned(),
            rank: plan.content.rank,
            version: plan.version,
            expires_at: tier.to,
        });
    }
    for seat in &person.here.seats {
        if desk.before(seat.expires_at) {
            personal.seats.push(PersonalSeat {
                key: seat.key.clone(),
                from_tenant: seat.pool.clone(),
                expires_at: seat.expires_at,
            });
        }
    }
    personal.roles.sort();
    personal.permissions.sort();
    // One way to a permission is enough, the direct one first.
    personal.permissions.dedup_by(|b, a| (&a.name, &a.context) == (&b.name, &b.context));
    personal
}
