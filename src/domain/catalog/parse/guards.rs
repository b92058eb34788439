//! Guards and their conditions.

use super::super::{
    cursor::{Cursor, MAX_DESCRIPTION, Record},
    findings::Kind,
    model::{Condition, Guard, Match},
    node::Node,
};
use crate::domain::keys::{EntitlementKey, FeatureKey};

/// Longest expression, in characters.
const MAX_EXPRESSION: usize = 4_096;
/// Largest data of a condition, in bytes of JSON.
const MAX_DATA_BYTES: usize = 16_384;
/// Most conditions of a guard.
const MAX_CONDITIONS: usize = 32;

pub(super) fn guard(item: &Cursor<'_>) -> Guard {
    let record = item.record(&[
        "description",
        "module",
        "features",
        "match",
        "all_permissions",
        "any_permission",
        "tier_at_least",
        "limit",
        "conditions",
    ]);
    let (features, features_match) = features(&record);
    Guard {
        description: record.description(),
        module: record.get("module").and_then(|field| field.reference(Kind::Module)),
        features,
        features_match,
        all_permissions: record.keys("all_permissions", "permission keys"),
        any_permission: record.keys("any_permission", "permission keys"),
        tier_at_least: record.get("tier_at_least").and_then(|f| f.reference(Kind::Tier)),
        limit: record.get("limit").and_then(|field| {
            let limit = field.record(&["feature"]);
            limit.required("feature")?.reference(Kind::LimitFeature)
        }),
        conditions: record.get("conditions").map(|list| conditions(&list)).unwrap_or_default(),
    }
}

/// `features` with their `match`, of a guard or a route.
pub(super) fn features(record: &Record<'_>) -> (Vec<FeatureKey>, Match) {
    if let Some(field) = record.get("match")
        && record.get("features").is_none()
    {
        field.fault("it says how `features` are matched, and there are none");
    }
    let matching = record.word_or("match", &[("all", Match::All), ("any", Match::Any)], Match::All);
    if let Some(field) = record.get("features") {
        field.refuse_empty_list("name at least one feature, or leave it out");
    }
    (record.references("features", "feature keys", Kind::Feature), matching)
}

fn conditions(list: &Cursor<'_>) -> Vec<Condition> {
    let items = list.items("a list of conditions").unwrap_or_default();
    if items.len() > MAX_CONDITIONS {
        list.fault(format!("it may have at most {MAX_CONDITIONS} conditions"));
        return Vec::new();
    }
    items.iter().map(condition).collect()
}

fn condition(item: &Cursor<'_>) -> Condition {
    let record =
        item.record(&["unless", "reason", "code", "message", "status", "data", "before_limit"]);
    let unless = record.required("unless").and_then(|field| field.expression(MAX_EXPRESSION));
    // Both leave in headers and are branched on, hence the alphabet of keys.
    let word = |name| {
        let key = record.required(name).and_then(|field| field.key::<EntitlementKey>());
        key.map(|key| key.to_string()).unwrap_or_default()
    };
    Condition {
        unless: unless.unwrap_or_default(),
        reason: word("reason"),
        code: word("code"),
        message: record
            .required("message")
            .and_then(|field| field.text(MAX_DESCRIPTION))
            .unwrap_or_default(),
        status: record
            .get("status")
            .and_then(|field| field.whole(400, 499))
            .and_then(|status| u16::try_from(status).ok()),
        data: record.get("data").and_then(|field| data(&field)),
        before_limit: record.flag("before_limit"),
    }
}

fn data(field: &Cursor<'_>) -> Option<serde_json::Value> {
    if matches!(field.node, Node::Null) {
        field.expected("a value");
        return None;
    }
    let data = field.node.to_json();
    if data.to_string().len() > MAX_DATA_BYTES {
        field.fault(format!("it may have at most {MAX_DATA_BYTES} bytes"));
        return None;
    }
    Some(data)
}
