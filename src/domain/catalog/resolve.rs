//! From a plan to its content: what it inherits and every `"*"` written out.
//!
//! Invariants: own values beat the own wildcard, which beats what is inherited; a wildcard leaves
//! archived modules and features out, and never touches config features.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{
    Catalog, Feature, FeatureKind, FeatureValue, Limit, ModuleSelection, Plan, Status,
};
use crate::domain::{keys::PlanKey, plans::PlanContent};

/// The content of every plan.
#[must_use]
pub fn resolve(catalog: &Catalog) -> BTreeMap<PlanKey, PlanContent> {
    let mut contents = BTreeMap::new();
    for key in catalog.plans.keys() {
        // From the plan up to the first ancestor that is done, then down again: a chain may be as
        // long as the catalog, and what is under way can't be met again because nothing inherits
        // itself (a catalog made by hand might: it ends there).
        let mut chain: Vec<(&PlanKey, &Plan)> = Vec::new();
        let mut under_way = BTreeSet::new();
        let mut next = Some(key);
        while let Some(key) = next.filter(|key| !contents.contains_key(*key)) {
            let Some(plan) = catalog.plans.get(key) else { break };
            if !under_way.insert(key) {
                break;
            }
            chain.push((key, plan));
            next = plan.inherits.as_ref();
        }
        for (key, plan) in chain.into_iter().rev() {
            let inherited = plan.inherits.as_ref().and_then(|parent| contents.get(parent));
            let content = content(catalog, plan, inherited);
            contents.insert(key.clone(), content);
        }
    }
    contents
}

fn content(catalog: &Catalog, plan: &Plan, inherited: Option<&PlanContent>) -> PlanContent {
    let mut modules = inherited.map(|from| from.modules.clone()).unwrap_or_default();
    match &plan.modules {
        ModuleSelection::All => {
            let offered = catalog.modules.iter().filter(|(_, m)| m.status != Status::Archived);
            modules.extend(offered.map(|(key, _)| key.clone()));
        }
        ModuleSelection::These(these) => modules.extend(these.iter().cloned()),
    }
    let mut features = inherited.map(|from| from.features.clone()).unwrap_or_default();
    if plan.all_features {
        let given = |(key, feature)| Some((key, everything(feature)?));
        features.extend(catalog.features.iter().filter_map(given).map(|(k, v)| (k.clone(), v)));
    }
    features.extend(plan.features.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut permissions = inherited.map(|from| from.permissions.clone()).unwrap_or_default();
    permissions.extend(plan.permissions.iter().cloned());
    PlanContent {
        rank: plan.rank,
        kind: plan.kind,
        audience: plan.audience,
        stack: plan.stack,
        seats: plan.seats,
        modules,
        features,
        permissions,
    }
}

/// What `"*"` gives of a feature.
fn everything(feature: &Feature) -> Option<FeatureValue> {
    match (feature.status, &feature.kind) {
        (Status::Archived, _) | (_, FeatureKind::Config) => None,
        (Status::Active | Status::Disabled, FeatureKind::Boolean) => Some(FeatureValue::Flag(true)),
        (Status::Active | Status::Disabled, FeatureKind::Limit(_)) => {
            Some(FeatureValue::Limit(Limit::Unlimited))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::{Format, parse};

    const CATALOG: &str = r#"
modules:
  retail: {name: Retail}
  dine: {name: Dine, status: disabled}
  old: {name: Old, status: archived}
features:
  a: {name: A, type: boolean}
  b: {name: B, type: boolean}
  gone: {name: Gone, type: boolean, status: archived}
  branches: {name: Branches, type: limit}
  users: {name: Users, type: limit}
  tone: {name: Tone, type: config}
plans:
  base: {name: Base, rank: 1, seats: 3, modules: [retail, old], permissions: [P], features: {a: false, branches: 2, users: 3, tone: calm}}
  all: {name: All, rank: 2, inherits: base, modules: "*", permissions: [Q], features: {"*": true, users: 9}}
  child: {name: Child, rank: 3, inherits: all, features: {b: false, branches: 1}}
  star: {name: Star, modules: "*"}
  tier: {name: Tier, audience: user, features: {"*": true}}
"#;

    /// Module keys, then `feature=value`, then permissions.
    fn shown(plan: &str) -> String {
        let catalog = parse(CATALOG, Format::Yaml).expect("a sound catalog");
        let content = resolve(&catalog).remove(plan).expect("the plan");
        let keys = |text: Vec<String>| text.join(" ");
        let features = content
            .features
            .iter()
            .map(|(key, value)| format!("{key}={}", crate::domain::catalog::value_to_json(value)));
        format!(
            "{} | {} | {}",
            keys(content.modules.iter().map(ToString::to_string).collect()),
            keys(features.collect()),
            keys(content.permissions.iter().map(ToString::to_string).collect()),
        )
    }

    #[test]
    fn a_plan_without_parent_has_what_it_names() {
        assert_eq!(shown("base"), r#"old retail | a=false branches=2 tone="calm" users=3 | P"#);
    }

    #[test]
    fn an_own_wildcard_beats_what_is_inherited_and_own_values_beat_both() {
        assert_eq!(
            shown("all"),
            r#"dine old retail | a=true b=true branches="unlimited" tone="calm" users=9 | P Q"#
        );
        assert_eq!(
            shown("child"),
            r#"dine old retail | a=true b=false branches=1 tone="calm" users=9 | P Q"#
        );
    }

    #[test]
    fn a_wildcard_leaves_archived_and_config_out() {
        assert_eq!(shown("star"), "dine retail |  | ");
        let tier = r#" | a=true b=true branches="unlimited" users="unlimited" | "#;
        assert_eq!(shown("tier"), tier);
    }

    #[test]
    fn rank_and_seats_are_the_plans_own() {
        let catalog = parse(CATALOG, Format::Yaml).expect("a sound catalog");
        let contents = resolve(&catalog);
        assert_eq!((contents["base"].rank, contents["base"].seats), (1, Some(3)));
        assert_eq!((contents["all"].rank, contents["all"].seats), (2, None));
    }

    #[test]
    fn a_long_chain_and_a_cycle_made_by_hand_come_to_an_end() {
        let mut catalog = parse(CATALOG, Format::Yaml).expect("a sound catalog");
        let plan = catalog.plans["star"].clone();
        for at in 0..400 {
            let plan = Plan { inherits: format!("p{}", at + 1).parse().ok(), ..plan.clone() };
            catalog.plans.insert(format!("p{at}").parse().unwrap(), plan);
        }
        let last = Plan { inherits: "p0".parse().ok(), ..plan };
        catalog.plans.insert("p400".parse().unwrap(), last);
        assert_eq!(resolve(&catalog).len(), catalog.plans.len());
    }
}
