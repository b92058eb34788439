//! Rule 13: permissions in their context, and tiers.

use std::collections::BTreeSet;

use crate::{
    domain::{
        catalog::{Audience, PlanKind},
        checks::{Outcome, Reason, Source},
        keys::{PermissionKey, PlanKey, RoleKey},
        people::HeldOn,
        time::Timestamp,
    },
    engine::{Holding, people::HeldRole, standing::plan_source, trace::Desk},
};

/// What permits something, and until when.
pub(super) struct Permit {
    pub reason: Reason,
    pub source: Source,
    until: Option<Timestamp>,
}

/// The tier that counts: that of the tenant, else the one without a tenant.
pub(super) fn tier<'a>(desk: &mut Desk<'a>) -> Option<&'a Holding> {
    if let Some(supposed) = desk.tier_supposed() {
        return Some(supposed);
    }
    let person = desk.person?;
    let candidates = [&person.here.tier, &person.everywhere.tier];
    candidates.into_iter().flatten().find(|tier| {
        let begun = desk.since(tier.from);
        begun & desk.before(tier.to)
    })
}

/// Whether a role counts where the question is asked.
fn covers(desk: &Desk<'_>, held: &HeldRole) -> bool {
    match &held.on {
        HeldOn::Platform | HeldOn::Tenant => true,
        HeldOn::Context(on) => desk.person.is_some_and(|person| person.path.contains(on)),
    }
}

/// What the user holds where the question is asked.
#[derive(Default)]
pub(super) struct Held<'a> {
    pub roles: Vec<&'a RoleKey>,
    pub permissions: BTreeSet<&'a PermissionKey>,
    pub tier: Option<&'a Holding>,
}

/// Everything that the user of this desk holds where the question is asked.
pub(super) fn held<'a>(desk: &mut Desk<'a>) -> Held<'a> {
    let mut all = Held { tier: tier(desk), ..Held::default() };
    if let Some(tier) = all.tier {
        all.permissions.extend(&tier.plan.content.permissions);
    }
    let Some(person) = desk.person else { return all };
    let world = desk.world;
    for held in person.everywhere.roles.iter().chain(&person.here.roles) {
        if !covers(desk, held) || !desk.before(held.expires_at) {
            continue;
        }
        if let Some(role) = world.role(&held.role) {
            all.roles.push(&held.role);
            all.permissions.extend(role.own.iter().chain(&role.inherited));
        }
    }
    all
}

/// What permits `permission`, if anything does. Among several what lasts longest: until then the
/// answer can't change by itself.
pub(super) fn permission(desk: &mut Desk<'_>, permission: &PermissionKey) -> Option<Permit> {
    let person = desk.person?;
    let mut best: Option<Permit> = None;
    let mut consider = |permit: Permit| {
        let lasts_longer = |before: &Permit| match (permit.until, before.until) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(new), Some(old)) => new > old,
        };
        if best.as_ref().is_none_or(lasts_longer) {
            best = Some(permit);
        }
    };
    for held in person.everywhere.roles.iter().chain(&person.here.roles) {
        let permits = desk.world.role(&held.role).is_some_and(|role| role.permits(permission));
        if permits && covers(desk, held) && held.expires_at.is_none_or(|end| desk.at < end) {
            let context = match &held.on {
                HeldOn::Platform | HeldOn::Tenant => None,
                HeldOn::Context(on) => Some(on.clone()),
            };
            let source = Source::Role { role: held.role.clone(), context };
            consider(Permit { reason: Reason::Role, source, until: held.expires_at });
        }
    }
    if let Some(tier) = tier(desk).filter(|t| t.plan.content.permissions.contains(permission)) {
        let source = Source::Tier(plan_source(&tier.plan));
        consider(Permit { reason: Reason::Tier, source, until: tier.to });
    }
    if let Some(permit) = &best {
        desk.note(permit.until);
    }
    let outcome = if best.is_some() { Outcome::Allow } else { Outcome::Refuse };
    desk.step(13, Some(permission.as_str()), outcome, || match &best {
        Some(permit) => format!("Permitted by {}.", shown(&permit.source)),
        None => "No role or tier of the user permits it here.".into(),
    });
    best
}

/// Whether the user's tier is at least `lowest`.
pub(super) fn tier_at_least(desk: &mut Desk<'_>, lowest: &PlanKey) -> Option<Permit> {
    let needed = desk.world.newest(lowest).map(|plan| plan.content.rank)?;
    let tier = tier(desk);
    let permit = tier.filter(|tier| tier.plan.content.rank >= needed).map(|tier| Permit {
        reason: Reason::Tier,
        source: Source::Tier(plan_source(&tier.plan)),
        until: tier.to,
    });
    let outcome = if permit.is_some() { Outcome::Allow } else { Outcome::Refuse };
    desk.step(13, Some(lowest.as_str()), outcome, || match tier {
        Some(tier) => format!("The tier is “{}”.", tier.plan.plan),
        None => "The user has no tier.".into(),
    });
    permit
}

/// Whether the user passes every check in platform mode (rule 2).
pub(super) fn bypasses(desk: &mut Desk<'_>) -> Option<Permit> {
    let person = desk.person?;
    let held = person.everywhere.roles.iter().find(|held| {
        let bypasses = desk.world.role(&held.role).is_some_and(|role| role.bypass);
        bypasses && desk.before(held.expires_at)
    })?;
    let source = Source::Role { role: held.role.clone(), context: None };
    Some(Permit { reason: Reason::SuperAdminBypass, source, until: held.expires_at })
}

/// Tiers that reach `lowest`, lowest rank first: what would help.
pub(super) fn tiers_from(desk: &Desk<'_>, lowest: &PlanKey) -> Vec<PlanKey> {
    let Some(needed) = desk.world.newest(lowest).map(|plan| plan.content.rank) else {
        return Vec::new();
    };
    let offered = desk.world.offered(Audience::User, PlanKind::Base);
    offered.filter(|plan| plan.content.rank >= needed).map(|plan| plan.plan.clone()).collect()
}

/// The lowest tier that permits one of `permissions`, if one does.
pub(super) fn lowest_tier_with(desk: &Desk<'_>, permissions: &[String]) -> Option<PlanKey> {
    let mut offered = desk.world.offered(Audience::User, PlanKind::Base);
    let asked = |key: &PermissionKey| permissions.iter().any(|asked| asked == key.as_str());
    offered.find(|plan| plan.content.permissions.iter().any(asked)).map(|plan| plan.plan.clone())
}

fn shown(source: &Source) -> String {
    match source {
        Source::Role { role, context: Some(context) } => format!("the role “{role}” on {context}"),
        Source::Role { role, context: None } => format!("the role “{role}”"),
        Source::Tier(plan) => format!("the tier “{}”", plan.plan),
        other => format!("{other:?}"),
    }
}
