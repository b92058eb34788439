//! The sentence that people read beside a reason.

use std::collections::BTreeMap;

use crate::{
    domain::{
        catalog::Limit,
        checks::{PlanSource, Reason, Source},
        usage::LimitState,
    },
    engine::World,
};

/// Puts a ruling into words.
pub(super) fn message(
    world: &World,
    reason: Reason,
    source: &Source,
    fields: &BTreeMap<&'static str, Vec<String>>,
) -> String {
    let what = || subject(fields);
    match reason {
        Reason::Suspended if *source == Source::Tenant => "The tenant is suspended.".into(),
        Reason::Suspended => "The tenant's subscription is suspended.".into(),
        Reason::NoSubscription => "The tenant has no subscription.".into(),
        Reason::Cancelled => "The tenant's subscription is cancelled.".into(),
        Reason::Overdue => "The tenant's subscription is overdue past its grace period.".into(),
        Reason::FeatureDisabled => format!("{} is switched off for everyone.", what()),
        Reason::Disabled => format!("{} is withheld from this tenant.", what()),
        Reason::TrialExpired => format!("The trial of {} has ended.", uncapitalised(&what())),
        Reason::PlanLimit => match plan(source) {
            Some(plan) => format!("{} is not part of the plan {}.", what(), plan_name(world, plan)),
            None => format!("{} is not part of any plan of this tenant.", what()),
        },
        Reason::NotGranted => format!("{} is not granted to this tenant.", what()),
        Reason::Override if fields.is_empty() => "An override allows it.".into(),
        Reason::Override => format!("{} is closed by an override.", what()),
        Reason::Demo => "A demo tenant has everything.".into(),
        Reason::GatingDisabled => "Entitlements are not enforced here.".into(),
        Reason::AlwaysOn => "Always on.".into(),
        Reason::RbacOnly => "Needs no entitlement, only a permission.".into(),
        Reason::UserEntitlement => "Given to this user.".into(),
        Reason::SeatRequired => format!("{} takes a seat, and the user has none.", what()),
        Reason::Role => "Permitted by a role.".into(),
        Reason::Tier => match plan(source) {
            Some(plan) => format!("Part of the tier {}.", plan_name(world, plan)),
            None => "Part of the tier.".into(),
        },
        Reason::PermissionDenied => match (fields.get("permission"), fields.get("tier")) {
            (Some(keys), _) => format!("The user does not have the permission {}.", quoted(keys)),
            (None, Some(keys)) => format!("The user's tier is below {}.", quoted(keys)),
            (None, None) => "The user is not permitted to do this.".into(),
        },
        Reason::LimitReached => "The limit is reached.".into(),
        Reason::Condition => "A condition is not met.".into(),
        Reason::Active => "The tenant is active.".into(),
        Reason::SuperAdminBypass => "Platform staff pass every check.".into(),
        Reason::Grant => "Granted to this tenant.".into(),
        Reason::Trial => "Part of a trial.".into(),
        Reason::Plan | Reason::AddOn => match plan(source) {
            Some(plan) => format!("Part of the plan {}.", plan_name(world, plan)),
            None => "Part of the plan.".into(),
        },
    }
}

/// What a limit screen says: `The limit of 5 branches is reached: 5 are used, and 1 more is asked
/// for.`
pub(super) fn limit(world: &World, state: &LimitState, allowed: bool) -> String {
    let feature = world.catalog.features.get(&state.feature);
    let name = feature.map_or(state.feature.as_str(), |feature| &feature.name);
    let LimitState { used, requested, .. } = state;
    let limit = match state.limit {
        Limit::Of(limit) => limit.to_string(),
        Limit::Unlimited => "unlimited".into(),
    };
    let asked = format!("{used} used, {requested} more asked for");
    if allowed {
        format!("{name}: past the limit of {limit} ({asked}), which is only warned of.")
    } else {
        format!("{name}: the limit of {limit} is reached ({asked}).")
    }
}

fn plan(source: &Source) -> Option<&PlanSource> {
    match source {
        Source::Plan(plan)
        | Source::AddOn(plan)
        | Source::Subscription(plan)
        | Source::Tier(plan) => Some(plan),
        Source::Tenant
        | Source::Rollout
        | Source::Catalog
        | Source::Override(_)
        | Source::Grant(_)
        | Source::UserEntitlement(_)
        | Source::Seat { .. }
        | Source::Role { .. }
        | Source::Nothing => None,
    }
}

fn plan_name<'a>(world: &'a World, plan: &'a PlanSource) -> &'a str {
    world.catalog.plans.get(&plan.plan).map_or(plan.plan.as_str(), |p| &p.name)
}

fn quoted(keys: &[String]) -> String {
    keys.iter().map(|k| format!("“{k}”")).collect::<Vec<_>>().join(", ")
}

/// `Module “zf”`, `Feature “ai_insights”`, `Features “a”, “b”`.
fn subject(fields: &BTreeMap<&'static str, Vec<String>>) -> String {
    match (fields.get("feature").map(Vec::as_slice), fields.get("module")) {
        (Some(keys @ [_]), _) => format!("Feature {}", quoted(keys)),
        (Some(keys), _) => format!("Each of the features {}", quoted(keys)),
        (None, Some(keys)) => format!("Module {}", quoted(keys)),
        (None, None) => "This".into(),
    }
}

fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
