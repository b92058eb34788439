//! Plans.

use std::collections::BTreeMap;

use super::{
    super::{
        cursor::{Cursor, Record, parse_key},
        findings::Kind,
        model::{
            Audience, FeatureValue, ModuleSelection, Plan, PlanKind, Price, PriceInterval, Stack,
        },
        node::Node,
        values::value_for,
    },
    count, days,
    modules::Draft,
};
use crate::domain::keys::FeatureKey;

const FIELDS: [&str; 15] = [
    "name",
    "description",
    "rank",
    "kind",
    "audience",
    "inherits",
    "modules",
    "features",
    "permissions",
    "price",
    "trial_days",
    "trial_fallback",
    "activation_code_only",
    "stack",
    "seats",
];

const INTERVALS: [(&str, PriceInterval); 5] = [
    ("day", PriceInterval::Day),
    ("week", PriceInterval::Week),
    ("month", PriceInterval::Month),
    ("year", PriceInterval::Year),
    ("once", PriceInterval::Once),
];

pub(super) fn plan(item: &Cursor<'_>, known: &BTreeMap<FeatureKey, Draft>) -> Plan {
    let record = item.record(&FIELDS);
    let kind = record.word_or(
        "kind",
        &[("base", PlanKind::Base), ("add_on", PlanKind::AddOn)],
        PlanKind::Base,
    );
    let stack = record.word_or("stack", &[("max", Stack::Max), ("add", Stack::Add)], Stack::Max);
    if stack == Stack::Add
        && kind == PlanKind::Base
        && let Some(field) = record.get("stack")
    {
        field.fault("only an add-on can be added up; did you mean `kind: add_on`?");
    }
    let (all_features, features) = features(&record, known);
    let inherits = record.get("inherits").and_then(|field| match field.node {
        Node::List(_) => {
            field.expected("one plan key");
            None
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Map(_) | Node::Bad => {
            field.reference(Kind::Plan)
        }
    });
    Plan {
        name: record.name(),
        description: record.description(),
        rank: record.get("rank").and_then(|f| f.whole(i64::MIN, i64::MAX)).unwrap_or(0),
        kind,
        audience: record.word_or(
            "audience",
            &[("tenant", Audience::Tenant), ("user", Audience::User)],
            Audience::Tenant,
        ),
        inherits,
        modules: modules(&record),
        all_features,
        features,
        permissions: record.keys("permissions", "permission keys").into_iter().collect(),
        price: record.get("price").and_then(|field| price(&field)),
        trial_days: days(&record, "trial_days", 1),
        trial_fallback: record.get("trial_fallback").and_then(|f| f.reference(Kind::Plan)),
        activation_code_only: record.flag("activation_code_only"),
        stack,
        seats: count(&record, "seats"),
    }
}

fn modules(record: &Record<'_>) -> ModuleSelection {
    let none = ModuleSelection::These(Default::default());
    let Some(field) = record.get("modules") else { return none };
    match field.node {
        Node::Text(text) if text == "*" => ModuleSelection::All,
        Node::List(_) => {
            let star = |item: &Cursor<'_>| matches!(item.node, Node::Text(text) if text == "*");
            let keys = field.list("module keys", |item| {
                if star(item) {
                    item.fault("all modules are named by `modules: \"*\"`, without a list");
                    return None;
                }
                item.reference(Kind::Module)
            });
            ModuleSelection::These(keys.unwrap_or_default().into_iter().collect())
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Map(_) | Node::Bad => {
            field.expected("a list of module keys or \"*\"");
            none
        }
    }
}

/// Whether `"*": true` was said, and the values that are named.
fn features(
    record: &Record<'_>,
    known: &BTreeMap<FeatureKey, Draft>,
) -> (bool, BTreeMap<FeatureKey, FeatureValue>) {
    let (mut all, mut values) = (false, BTreeMap::new());
    let Some(field) = record.get("features") else { return (all, values) };
    for (key, item) in field.entries("a mapping of feature keys to values").unwrap_or_default() {
        if key == "*" {
            all = item.flag() == Some(true);
            if matches!(item.node, Node::Bool(false)) {
                item.fault("it can only be true; leave it out instead");
            }
            continue;
        }
        let Some(key) = parse_key::<FeatureKey>(key, &item) else { continue };
        let Some(draft) = known.get(&key) else {
            item.refers_to(Kind::Feature, key.as_str());
            continue;
        };
        if draft.untyped || matches!(item.node, Node::Bad) {
            continue;
        }
        match value_for(&draft.feature, &item.node.to_json()) {
            Ok(value) => {
                values.insert(key, value);
            }
            Err(message) => item.fault(message),
        }
    }
    (all, values)
}

fn price(item: &Cursor<'_>) -> Option<Price> {
    let record = item.record(&["amount", "currency", "interval"]);
    // All three are read before the first `?`, so that all their faults are found.
    let amount = record.required("amount").and_then(|field| field.whole(0, i64::MAX));
    let interval = record.required("interval").and_then(|field| field.word(&INTERVALS));
    let currency = record.required("currency").and_then(|field| {
        let text = field.text(16)?;
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Some(text);
        }
        field.expected("three capital letters, such as SAR");
        None
    });
    Some(Price { amount: u64::try_from(amount?).ok()?, currency: currency?, interval: interval? })
}
