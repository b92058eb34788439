//! Expressions, facts, and what comes of them.

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::{
    catalog::{Catalog, Format, Limit, parse},
    contexts::ContextKey,
    keys::{FeatureKey, PermissionKey, PlanKey, RoleKey, TenantKey, UserKey},
    tenants::Billing,
    time::Timestamp,
};

mod bounded;
mod faults;
mod meaning;
mod random;

const FEATURES: &str = "
features:
  ai: {name: AI, type: boolean}
  branches: {name: Branches, type: limit}
  clubs.owned: {name: Clubs, type: limit}
  calls: {name: Calls, type: limit}
  tone: {name: Tone, type: config}
";

fn scope() -> Scope {
    let catalog: Catalog = parse(FEATURES, Format::Yaml).unwrap();
    Scope::of(&catalog.features)
}

/// Facts that own what conditions borrow.
struct World {
    tenant: TenantKey,
    plan: PlanKey,
    attributes: Map<String, Value>,
    user: UserKey,
    tier: PlanKey,
    roles: Vec<RoleKey>,
    permissions: Vec<PermissionKey>,
    features: Vec<(FeatureKey, FeatureFact<'static>)>,
    context: ContextKey,
    resource: Value,
    now: Timestamp,
}

impl World {
    fn with(resource: Value) -> Self {
        let attributes = json!({"region": "gcc", "tags": ["a", "b"], "size": 12});
        let fact = |enabled, limit| FeatureFact { enabled, value: None, limit };
        let limit = |limit, used| Some(LimitFact { limit, used });
        let tone = FeatureFact {
            enabled: true,
            value: Some(std::borrow::Cow::Owned(json!({"words": ["kind"], "level": 2.5}))),
            limit: None,
        };
        let key = |text: &str| text.parse().unwrap();
        Self {
            tenant: "acme".parse().unwrap(),
            plan: "growth".parse().unwrap(),
            attributes: attributes.as_object().unwrap().clone(),
            user: "u-17".parse().unwrap(),
            tier: "privileged".parse().unwrap(),
            roles: vec!["club_lead".parse().unwrap(), "store_manager".parse().unwrap()],
            permissions: vec!["CAN_JOIN".parse().unwrap(), "club.read".parse().unwrap()],
            features: vec![
                (key("ai"), fact(true, None)),
                (key("branches"), fact(true, limit(Limit::Of(5), 3))),
                (key("clubs.owned"), fact(true, limit(Limit::Of(3), 7))),
                (key("calls"), fact(true, limit(Limit::Unlimited, 9))),
                (key("tone"), tone),
            ],
            context: ContextKey { kind: "club".parse().unwrap(), id: "c9".parse().unwrap() },
            resource,
            now: "2026-11-21T08:30:00Z".parse().unwrap(),
        }
    }

    fn facts(&self) -> ConditionFacts<'_> {
        ConditionFacts {
            now: self.now,
            tenant: Some(TenantFact {
                key: &self.tenant,
                name: "Acme Ltd",
                billing: Billing::Subscription,
                demo: false,
                sandbox: true,
                plan: Some(&self.plan),
                attributes: &self.attributes,
            }),
            user: Some(UserFact {
                id: &self.user,
                tier: Some(&self.tier),
                roles: self.roles.iter().collect(),
            }),
            permissions: self.permissions.iter().collect(),
            features: self.features.iter().map(|(key, fact)| (key, fact.clone())).collect(),
            context: Some(&self.context),
            resource: Some(&self.resource),
        }
    }
}

#[track_caller]
fn read(text: &str) -> Expression {
    Expression::parse(text, &scope()).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"))
}

fn faults_of(text: &str) -> Vec<String> {
    Expression::parse(text, &scope()).err().unwrap_or_default()
}
