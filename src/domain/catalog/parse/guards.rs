//! Guards and their conditions.

use std::{cell::Cell, sync::Arc};

use super::super::{
    cursor::{Cursor, MAX_DESCRIPTION, Record},
    findings::Kind,
    model::{Condition, Guard, Match},
    node::Node,
};
use super::Reading;
use crate::domain::{
    checks::Reason,
    conditions::{Expression, MAX_TEXT, Scope},
    keys::{EntitlementKey, FeatureKey},
};

/// Largest data of a condition, in bytes of JSON.
const MAX_DATA_BYTES: usize = 16_384;
/// Most conditions of a guard.
const MAX_CONDITIONS: usize = 32;
/// Most conditions of a catalog: each is parsed, which takes a while.
const MAX_EXPRESSIONS: usize = 5_000;

/// What the expressions of a document are read with.
pub(super) struct Expressions {
    scope: Arc<Scope>,
    reading: Reading,
    /// How many there were so far.
    count: Cell<usize>,
}

pub(super) fn guard(item: &Cursor<'_>, expressions: &Expressions) -> Guard {
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
    for name in ["all_permissions", "any_permission"] {
        if let Some(field) = record.get(name) {
            field.refuse_empty_list("name at least one permission, or leave it out");
        }
    }
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
        conditions: record
            .get("conditions")
            .map(|list| conditions(&list, expressions))
            .unwrap_or_default(),
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

fn conditions(list: &Cursor<'_>, expressions: &Expressions) -> Vec<Condition> {
    let items = list.items("a list of conditions").unwrap_or_default();
    if items.len() > MAX_CONDITIONS {
        list.fault(format!("it may have at most {MAX_CONDITIONS} conditions"));
        return Vec::new();
    }
    items.iter().map(|item| condition(item, expressions)).collect()
}

fn condition(item: &Cursor<'_>, expressions: &Expressions) -> Condition {
    let record =
        item.record(&["unless", "reason", "code", "message", "status", "data", "before_limit"]);
    let unless = record.required("unless").and_then(|field| expressions.read(&field));
    // Both leave in headers and are branched on, hence the alphabet of keys.
    let word = |name| {
        let key = record.required(name).and_then(|field| field.key::<EntitlementKey>());
        key.map(|key| key.to_string()).unwrap_or_default()
    };
    let (reason, code) = (word("reason"), word("code"));
    if let Some(field) = record.get("reason")
        && Reason::ALL.iter().any(|own| own.as_str() == reason)
    {
        field.fault(
            "it is a reason of the service's own; give the condition one that tells it apart",
        );
    }
    Condition {
        unless: unless.unwrap_or_else(|| Expression::stored("false", &expressions.scope)),
        reason,
        code,
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

impl Expressions {
    pub fn new(scope: Scope, reading: Reading) -> Self {
        Self { scope: Arc::new(scope), reading, count: Cell::new(0) }
    }

    /// The expression that stands at `field`, or its faults. One that was accepted before and
    /// can't be used any more never holds: its guard closes, the service does not.
    fn read(&self, field: &Cursor<'_>) -> Option<Expression> {
        let text = field.expression(MAX_TEXT)?;
        match self.reading {
            Reading::Stored => return Some(Expression::stored(&text, &self.scope)),
            Reading::Applied => self.count.update(|count| count + 1),
        }
        if self.count.get() > MAX_EXPRESSIONS {
            if self.count.get() == MAX_EXPRESSIONS + 1 {
                field.fault(format!("a catalog may have at most {MAX_EXPRESSIONS} conditions"));
            }
            return None;
        }
        let faults = match Expression::parse(&text, &self.scope) {
            Ok(expression) => return Some(expression),
            Err(faults) => faults,
        };
        faults.into_iter().for_each(|fault| field.fault(fault));
        None
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
