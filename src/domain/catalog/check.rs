//! What can only be judged once the whole document is read: references, inheritance, cycles.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    findings::{Findings, Kind, Reference, did_you_mean, quoted},
    model::{Audience, Catalog, FeatureKind, Plan},
};
use crate::domain::keys::PlanKey;

/// Notes every fault of the whole.
pub(super) fn check(catalog: &Catalog, findings: &Findings) {
    for reference in findings.take_references() {
        // Looking for near keys is the dear part.
        if findings.is_full() {
            return;
        }
        check_reference(catalog, &reference, findings);
    }
    for key in catalog.features.keys().filter(|key| catalog.modules.contains_key(key.as_str())) {
        let message = "this key names a module too; a grant couldn't tell which is meant";
        findings.fault(format!("features.{key}"), message);
    }
    for (key, plan) in &catalog.plans {
        check_inheritance(catalog, key, plan, findings);
        check_fallback(catalog, key, plan, findings);
    }
    let plans = catalog
        .plans
        .iter()
        .map(|(key, plan)| (key.as_str(), plan.inherits.iter().map(PlanKey::as_str).collect()));
    note_cycles("plans", &plans.collect(), findings);
    let roles = catalog
        .roles
        .iter()
        .map(|(key, role)| (key.as_str(), role.inherits.iter().map(AsRef::as_ref).collect()));
    note_cycles("roles", &roles.collect(), findings);
}

fn check_reference(catalog: &Catalog, reference: &Reference, findings: &Findings) {
    let Reference { path, kind, key } = reference;
    let key = key.as_str();
    match kind {
        Kind::Module => known("module", &catalog.modules, reference, findings),
        Kind::Feature => known("feature", &catalog.features, reference, findings),
        Kind::LimitFeature => match catalog.features.get(key).map(|feature| &feature.kind) {
            None => known("feature", &catalog.features, reference, findings),
            Some(FeatureKind::Limit(_)) => {}
            Some(FeatureKind::Boolean | FeatureKind::Config) => {
                findings.fault(path, format!("the feature {} is no limit", quoted(key)));
            }
        },
        Kind::Plan => known("plan", &catalog.plans, reference, findings),
        Kind::Tier => match catalog.plans.get(key).map(|plan| plan.audience) {
            None => known("tier", &catalog.plans, reference, findings),
            Some(Audience::User) => {}
            Some(Audience::Tenant) => {
                let message =
                    format!("the plan {} is no tier: it lacks `audience: user`", quoted(key));
                findings.fault(path, message);
            }
        },
        Kind::Role => known("role", &catalog.roles, reference, findings),
        Kind::Guard => known("guard", &catalog.guards, reference, findings),
    }
}

fn known<K: Borrow<str> + Ord, V>(
    what: &str,
    section: &BTreeMap<K, V>,
    reference: &Reference,
    findings: &Findings,
) {
    let key = reference.key.as_str();
    if section.contains_key(key) {
        return;
    }
    let hint = did_you_mean(key, section.keys().map(Borrow::borrow)).unwrap_or_default();
    findings.fault(&reference.path, format!("there is no {what} {}{hint}", quoted(key)));
}

fn check_inheritance(catalog: &Catalog, key: &PlanKey, plan: &Plan, findings: &Findings) {
    let Some(parent_key) = &plan.inherits else { return };
    let Some(parent) = catalog.plans.get(parent_key) else { return };
    if parent.audience != plan.audience {
        findings.fault(
            format!("plans.{key}.inherits"),
            format!("the plan {} has another audience", quoted(parent_key.as_str())),
        );
    }
}

fn check_fallback(catalog: &Catalog, key: &PlanKey, plan: &Plan, findings: &Findings) {
    let Some(fallback_key) = &plan.trial_fallback else { return };
    let Some(fallback) = catalog.plans.get(fallback_key) else { return };
    let place = format!("plans.{key}.trial_fallback");
    if fallback_key == key {
        findings.fault(place, "a plan can't be its own fallback");
    } else if fallback.audience != plan.audience {
        let message = format!("the plan {} has another audience", quoted(fallback_key.as_str()));
        findings.fault(place, message);
    } else if fallback.kind != plan.kind {
        let message = format!("the plan {} is of another kind", quoted(fallback_key.as_str()));
        findings.fault(place, message);
    }
}

/// Notes each cycle of `graph`, once, at its first key.
fn note_cycles(section: &str, graph: &BTreeMap<&str, Vec<&str>>, findings: &Findings) {
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        let mut trail: Vec<&str> = Vec::new();
        // `Some` is to be entered, `None` leaves the last one entered: depth first, without
        // recursion, because a chain may be as long as the document.
        let mut todo = vec![Some(*start)];
        while let Some(step) = todo.pop() {
            let Some(key) = step else {
                done.extend(trail.pop());
                continue;
            };
            if let Some(from) = trail.iter().position(|on_trail| *on_trail == key) {
                let cycle = trail.get(from..).unwrap_or_default();
                note_cycle(section, cycle, findings);
            } else if !done.contains(key) {
                trail.push(key);
                todo.push(None);
                todo.extend(graph.get(key).into_iter().flatten().map(|next| Some(*next)));
            }
        }
    }
}

fn note_cycle(section: &str, cycle: &[&str], findings: &Findings) {
    let Some((at, first)) = cycle.iter().enumerate().min_by_key(|(_, key)| **key) else { return };
    let around = cycle.iter().cycle().skip(at).take(cycle.len() + 1);
    let around = around.map(|key| quoted(key)).collect::<Vec<_>>().join(" → ");
    findings.fault(format!("{section}.{first}.inherits"), format!("it inherits itself: {around}"));
}
