//! From what a caller sends to a question: everything in it is known (rule 1), permitted and built.

use super::{
    actor::Actor,
    decisions::{Check, Least, identity},
};
use crate::{
    domain::{
        catalog::{Audience, Catalog, FeatureKind, Guard, LimitPer},
        checks::{Question, UsageAsked},
        conditions::resource_fault,
        keys::{FeatureKey, GuardKey, ModuleKey, UserKey, nearest},
    },
    error::{Error, Fault, Result},
};

/// The largest amount that may be asked for, counted or set: the largest whole number that every
/// JSON reader reads exactly.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// The question in a check.
pub(super) fn question(actor: &Actor, check: &Check, catalog: &Catalog) -> Result<Question> {
    let (user, mode) = identity(actor, check.user.as_ref(), check.mode)?;
    asks_for_something(check)?;
    if user.is_none() && (check.permission.is_some() || check.tier_at_least.is_some()) {
        return Err(nobody_named());
    }
    trackable(actor, check, user.as_ref())?;
    if check.explain && actor.principal.role.needs_tenant() {
        let message = "explain: an explanation shows what staff wrote about the tenant; a service \
                       key, support or an auditor may ask for it";
        return Err(Error::Forbidden(message.into()));
    }
    known(check, catalog)?;
    let guard = check.guard.as_ref().and_then(|guard| catalog.guards.get(guard));
    if user.is_none() {
        needs_no_user(check, guard, catalog)?;
    }
    Ok(Question {
        user,
        mode,
        module: check.module.clone(),
        features: check.features.clone(),
        features_match: check.features_match,
        permission: check.permission.clone(),
        context: check.context.clone(),
        tier_at_least: check.tier_at_least.clone(),
        guard: check.guard.clone(),
        resource: check.resource.clone(),
        usage: check.usage.clone(),
    })
}

fn asks_for_something(check: &Check) -> Result<()> {
    let Check { module, features, permission, tier_at_least, guard, usage, .. } = check;
    let asked = module.is_some()
        || !features.is_empty()
        || permission.is_some()
        || tier_at_least.is_some()
        || guard.is_some()
        || usage.is_some();
    if !asked && check.least == Least::Requirement {
        let message = "ask for a module, features, a permission, a tier, a guard, or usage";
        return Err(Error::invalid("module", message));
    }
    if check.context.is_some() && permission.is_none() && guard.is_none() {
        let message = "a context is where a permission or a guard is asked for; name one of them";
        return Err(Error::invalid("permission", message));
    }
    match &check.resource {
        Some(_) if guard.is_none() => {
            let message = "a guard's conditions look at a resource; name the guard";
            Err(Error::invalid("guard", message))
        }
        Some(resource) => match resource_fault(resource) {
            Some(fault) => Err(Error::invalid("resource", fault)),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

fn nobody_named() -> Error {
    Error::invalid("user", "name the user whose permission or tier is asked for")
}

/// Where no user is named, nothing may be asked for that only a user can have.
fn needs_no_user(check: &Check, guard: Option<&Guard>, catalog: &Catalog) -> Result<()> {
    let of_guard = guard.is_some_and(|guard| {
        !guard.all_permissions.is_empty()
            || !guard.any_permission.is_empty()
            || guard.tier_at_least.is_some()
    });
    if of_guard {
        return Err(nobody_named());
    }
    let limits = check.usage.as_ref().map(|usage| &usage.feature);
    let of_guard = guard.and_then(|guard| guard.limit.as_ref());
    match limits.into_iter().chain(of_guard).find(|feature| is_per_user(catalog, feature)) {
        Some(feature) => {
            let message = format!("“{feature}” counts for each user; name the user");
            Err(Error::invalid("user", message))
        }
        None => Ok(()),
    }
}

/// Whether a limit counts for each user.
pub(super) fn is_per_user(catalog: &Catalog, feature: &FeatureKey) -> bool {
    match catalog.features.get(feature).map(|feature| &feature.kind) {
        Some(FeatureKind::Limit(spec)) => spec.per == LimitPer::User,
        Some(FeatureKind::Boolean | FeatureKind::Config) | None => false,
    }
}

/// Activity is what a user does in a tenant, now.
fn trackable(actor: &Actor, check: &Check, user: Option<&UserKey>) -> Result<()> {
    if !check.track {
        return Ok(());
    }
    let mut faults = Vec::new();
    if check.at.is_some() {
        let message =
            "what is asked about another instant is no activity; leave out “at” or “track”";
        faults.push(Fault::new("track", message));
    }
    if check.tenant.is_none() && actor.principal.tenant.is_none() {
        faults.push(Fault::new("tenant", "name the tenant in which the user is active"));
    }
    if user.is_none() {
        faults.push(Fault::new("user", "name the user whose activity is tracked"));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
}

/// Rule 1: every key is one of the catalog, or an error that names the nearest.
fn known(check: &Check, catalog: &Catalog) -> Result<()> {
    let mut faults = Vec::new();
    if let Some(key) = check.module.as_ref().filter(|key| !catalog.modules.contains_key(*key)) {
        let known = catalog.modules.keys().map(ModuleKey::as_str);
        faults.push(unknown("module", "module", key.as_str(), known));
    }
    for (index, key) in check.features.iter().enumerate() {
        if !catalog.features.contains_key(key) {
            let known = catalog.features.keys().map(FeatureKey::as_str);
            faults.push(unknown(&format!("features[{index}]"), "feature", key.as_str(), known));
        }
    }
    let tiers = || catalog.plans.iter().filter(|(_, plan)| plan.audience == Audience::User);
    if let Some(key) = &check.tier_at_least
        && !tiers().any(|(tier, _)| tier == key)
    {
        let known = tiers().map(|(tier, _)| tier.as_str());
        faults.push(unknown("tier_at_least", "plan for users", key.as_str(), known));
    }
    if let Some(key) = check.guard.as_ref().filter(|key| !catalog.guards.contains_key(*key)) {
        let known = catalog.guards.keys().map(GuardKey::as_str);
        faults.push(unknown("guard", "guard", key.as_str(), known));
    }
    if let Some(usage) = &check.usage {
        faults.extend(limit_fault("usage.feature", &usage.feature, catalog));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid { code: "UNKNOWN_KEY", faults });
    }
    check.usage.as_ref().map_or(Ok(()), |usage| amount("usage", usage, catalog))
}

/// Whether a feature is a limit.
pub(super) fn is_limit(catalog: &Catalog, key: &FeatureKey) -> bool {
    let kind = catalog.features.get(key).map(|feature| &feature.kind);
    matches!(kind, Some(FeatureKind::Limit(_)))
}

/// A feature that is none, or is no limit.
pub(super) fn limit_fault(field: &str, key: &FeatureKey, catalog: &Catalog) -> Option<Fault> {
    if catalog.features.contains_key(key) {
        return None;
    }
    let limits = catalog.features.iter();
    let limits = limits.filter(|(_, feature)| matches!(feature.kind, FeatureKind::Limit(_)));
    let known = limits.map(|(key, _)| key.as_str());
    Some(unknown(field, "limit", key.as_str(), known))
}

/// What is asked of a limit is a limit's, and an amount that can be counted.
fn amount(field: &str, usage: &UsageAsked, catalog: &Catalog) -> Result<()> {
    let mut faults = Vec::new();
    if !is_limit(catalog, &usage.feature) {
        let message = format!("“{}” is not a limit; ask for it under “features”", usage.feature);
        faults.push(Fault::new(format!("{field}.feature"), message));
    }
    if !(1..=MAX_AMOUNT).contains(&usage.requested) {
        let message = format!("must be between 1 and {MAX_AMOUNT}");
        faults.push(Fault::new(format!("{field}.requested"), message));
    }
    if usage.current.is_some_and(|current| current > MAX_AMOUNT) {
        let message = format!("must be at most {MAX_AMOUNT}");
        faults.push(Fault::new(format!("{field}.current"), message));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
}

/// A key that the catalog doesn't hold, with those that were probably meant.
pub(super) fn unknown<'a>(
    field: &str,
    kind: &str,
    key: &str,
    known: impl Iterator<Item = &'a str>,
) -> Fault {
    let near = nearest(key, known);
    let hint = if near.is_empty() {
        String::new()
    } else {
        let quoted: Vec<_> = near.iter().map(|key| format!("“{key}”")).collect();
        format!("; did you mean {}?", quoted.join(" or "))
    };
    Fault::new(field, format!("the catalog has no {kind} “{key}”{hint}"))
}
