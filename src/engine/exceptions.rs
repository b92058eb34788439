//! Whether an override makes a difference: rules 7 to 11 asked with it and without it.

use crate::{
    domain::{
        catalog::{FeatureValue, Target},
        keys::EntitlementKey,
        time::Timestamp,
    },
    engine::{TenantFacts, World, trace::Desk, verdict},
};

/// Whether the override on `key` changes nothing, neither at `at` nor just before it expires: grants
/// and plans give or refuse the same. What blocks or opens the tenant as a whole is left aside,
/// because that passes and the override is still there.
#[must_use]
pub fn is_redundant(
    world: &World,
    facts: &TenantFacts,
    key: &EntitlementKey,
    at: Timestamp,
) -> bool {
    let (Some(target), Some(found)) =
        (world.catalog.target(key.as_str()), facts.overrides.get(key.as_str()))
    else {
        return false;
    };
    if found.expires_at <= at {
        return false;
    }
    let mut without = facts.clone();
    without.overrides.remove(key.as_str());
    // A trial that gives the same today may end before the override does.
    let last = Timestamp::from_micros(found.expires_at.micros() - 1);
    [at, last]
        .into_iter()
        .all(|at| outcome(world, facts, &target, at) == outcome(world, &without, &target, at))
}

/// Whether it is open, and with which value where it has one.
fn outcome(
    world: &World,
    facts: &TenantFacts,
    target: &Target,
    at: Timestamp,
) -> (bool, Option<FeatureValue>) {
    let mut desk = Desk::new(world, facts, at);
    let killed = match target {
        Target::Module(key) => verdict::module_kill(&mut desk, key),
        Target::Feature(key) => verdict::feature_kill(&mut desk, key),
    };
    let verdict = killed.unwrap_or_else(|| match target {
        Target::Module(key) => verdict::module(&mut desk, key),
        Target::Feature(key) => verdict::feature(&mut desk, key),
    });
    // What is refused has no value, whichever way it came to none.
    let value = verdict.value.filter(|_| verdict.allowed);
    (verdict.allowed, value)
}
