//! What each source alone gives: the second half of an explanation.

use serde_json::Value;

use crate::{
    domain::{
        catalog::{FeatureValue, Limit, Target, value_to_json},
        checks::Layer,
        grants::GrantState,
        overrides::Effect,
        time::Timestamp,
    },
    engine::{
        Person, Subject, TenantFacts, World, lent,
        needs::Needs,
        standing::{Giver, GiverKind, givers},
        trace::Desk,
    },
};

/// Every source that says something about a key of the question, mightiest first.
pub(super) fn layers(
    world: &World,
    Subject { facts, person, .. }: Subject<'_>,
    needs: &Needs<'_>,
    at: Timestamp,
) -> Vec<Layer> {
    let modules = needs.modules().cloned().map(Target::Module);
    let limits = needs.limits().map(|need| need.feature);
    let features = needs.features().chain(limits).cloned().map(Target::Feature);
    modules
        .chain(features)
        .flat_map(|target| of_target(world, facts, person, &target, at))
        .collect()
}

fn of_target(
    world: &World,
    facts: &TenantFacts,
    person: Option<&Person>,
    target: &Target,
    at: Timestamp,
) -> Vec<Layer> {
    let key = match target {
        Target::Module(key) => key.as_str(),
        Target::Feature(key) => key.as_str(),
    };
    let layer = |source, enabled, value, until| Layer {
        key: key.to_owned(),
        source,
        plan: None,
        enabled,
        value,
        until,
    };
    let mut layers = Vec::new();
    if let Some(found) = facts.overrides.get(key).filter(|found| at < found.expires_at) {
        let (enabled, value) = match &found.effect {
            Effect::Enable => (true, None),
            Effect::Set(value) => (true, Some(value_to_json(value))),
            Effect::Disable => (false, None),
        };
        layers.push(layer("override", enabled, value, Some(found.expires_at)));
    }
    if let Some(grant) = facts.grants.get(key) {
        let (enabled, until) = match grant.state {
            GrantState::Enabled => (true, None),
            GrantState::Disabled => (false, None),
            GrantState::Trial(end) => (at < end, Some(end)),
        };
        layers.push(layer("grant", enabled, grant.value.as_ref().map(value_to_json), until));
    }
    let own = person.and_then(|person| lent::own_entitlement(person, key));
    if let Some(own) = own {
        let holds = own.expires_at.is_none_or(|end| at < end);
        layers.push(layer("user_entitlement", holds, None, own.expires_at));
    }
    let givers = givers(&mut Desk::new(world, facts, at).with(Subject::new(facts, person)));
    for giver in &givers.active {
        let (enabled, value) = from_plan(giver, target);
        let source = match giver.kind {
            GiverKind::Base => "plan",
            GiverKind::AddOn => "add_on",
            GiverKind::Tier => "tier",
        };
        let plan = Some(giver.plan.plan.to_string());
        layers.push(Layer { plan, ..layer(source, enabled, value, giver.until()) });
    }
    layers
}

fn from_plan(giver: &Giver<'_>, target: &Target) -> (bool, Option<Value>) {
    match target {
        Target::Module(key) => (giver.plan.content.modules.contains(key), None),
        Target::Feature(key) => match giver.plan.content.features.get(key) {
            None => (false, None),
            Some(FeatureValue::Flag(on)) => (*on, None),
            Some(value @ FeatureValue::Limit(limit)) => {
                (*limit > Limit::NONE, Some(value_to_json(value)))
            }
            Some(value @ FeatureValue::Config(_)) => (true, Some(value_to_json(value))),
        },
    }
}
