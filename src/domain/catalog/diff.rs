//! What changed between two catalogs.
//!
//! Invariants: compared is the canonical document, so that the order of fields, defaults said or
//! left out, and the order of routes (the most specific wins, not the first) make no difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{document::to_json, findings::join, model::Catalog};

/// What changed, by section.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CatalogDiff {
    /// Modules.
    pub modules: SectionDiff,
    /// Bundles.
    pub bundles: SectionDiff,
    /// Features.
    pub features: SectionDiff,
    /// Plans, as the document says them (not resolved).
    pub plans: SectionDiff,
    /// Roles.
    pub roles: SectionDiff,
    /// Guards.
    pub guards: SectionDiff,
    /// Routes, by `GET,POST /path`, or `* /path` for any method.
    pub routes: SectionDiff,
    /// Settings.
    pub settings: Vec<FieldChange>,
}

/// What changed in one section.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SectionDiff {
    /// Keys that are new.
    pub added: Vec<String>,
    /// Keys that are gone.
    pub removed: Vec<String>,
    /// Keys that stay, with other content.
    pub changed: Vec<EntryChange>,
}

/// What changed in one entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryChange {
    /// Which entry.
    pub key: String,
    /// Its changed fields, at least one.
    pub fields: Vec<FieldChange>,
}

/// One changed field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its path in the entry, such as `features.branches`.
    pub field: String,
    /// What it was; null if it wasn't there.
    pub before: Value,
    /// What it is; null if it is gone.
    pub after: Value,
}

impl CatalogDiff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Destructured, so that a new section can't be forgotten.
        let Self { modules, bundles, features, plans, roles, guards, routes, settings } = self;
        [modules, bundles, features, plans, roles, guards, routes].iter().all(|it| it.is_empty())
            && settings.is_empty()
    }
}

impl SectionDiff {
    /// Whether nothing changed here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, changed } = self;
        added.is_empty() && removed.is_empty() && changed.is_empty()
    }
}

/// What makes `new` out of `old`.
#[must_use]
pub fn diff(old: &Catalog, new: &Catalog) -> CatalogDiff {
    let (before, after) = (to_json(old), to_json(new));
    let section = |name: &str| compare(&entries(before.get(name)), &entries(after.get(name)));
    CatalogDiff {
        modules: section("modules"),
        bundles: section("bundles"),
        features: section("features"),
        plans: section("plans"),
        roles: section("roles"),
        guards: section("guards"),
        routes: compare(&routes(before.get("routes")), &routes(after.get("routes"))),
        settings: fields(before.get("settings"), after.get("settings")),
    }
}

type Entries<'v> = BTreeMap<String, &'v Value>;

fn entries(section: Option<&Value>) -> Entries<'_> {
    let fields = section.and_then(Value::as_object).into_iter().flatten();
    fields.map(|(key, value)| (key.clone(), value)).collect()
}

fn routes(section: Option<&Value>) -> Entries<'_> {
    let routes = section.and_then(Value::as_array).into_iter().flatten();
    routes.map(|route| (route_key(route), route)).collect()
}

fn route_key(route: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let methods: Vec<_> =
        route.get("methods").and_then(Value::as_array).into_iter().flatten().map(text).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    format!("{methods} {}", route.get("path").map(text).unwrap_or_default())
}

fn compare(before: &Entries<'_>, after: &Entries<'_>) -> SectionDiff {
    let missing_in = |from: &Entries<'_>, other: &Entries<'_>| -> Vec<String> {
        from.keys().filter(|key| !other.contains_key(*key)).cloned().collect()
    };
    let changed = after.iter().filter_map(|(key, new)| {
        let fields = fields(before.get(key).copied(), Some(new));
        let stays = before.contains_key(key);
        (stays && !fields.is_empty()).then(|| EntryChange { key: key.clone(), fields })
    });
    SectionDiff {
        added: missing_in(after, before),
        removed: missing_in(before, after),
        changed: changed.collect(),
    }
}

fn fields(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    collect("", before.unwrap_or(&Value::Null), after.unwrap_or(&Value::Null), &mut changes);
    changes
}

/// Goes down where either side is a mapping; everything else is compared as a whole.
fn collect(path: &str, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    let empty = Map::new();
    let (old, new) = match (before, after) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (Value::Object(old), Value::Null) => (old, &empty),
        (Value::Null, Value::Object(new)) => (&empty, new),
        (before, after) => {
            let (field, before, after) = (path.to_owned(), before.clone(), after.clone());
            changes.push(FieldChange { field, before, after });
            return;
        }
    };
    if old.is_empty() && new.is_empty() {
        // An empty mapping appeared or went (in config values or data).
        let (field, before, after) = (path.to_owned(), before.clone(), after.clone());
        changes.push(FieldChange { field, before, after });
        return;
    }
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let side = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
        collect(&join(path, name), &side(old), &side(new), changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::{Format, parse};

    fn between(old: &str, new: &str) -> CatalogDiff {
        let read = |text| parse(text, Format::Yaml).expect("a sound catalog");
        diff(&read(old), &read(new))
    }

    const OLD: &str = r#"
modules: {a: {name: A}, b: {name: B}}
features: {n: {name: N, type: limit}}
plans: {p: {name: P, modules: [a], features: {n: 1}}}
routes: [{path: /x, module: a}, {methods: [POST, GET], path: /y}]
"#;

    #[test]
    fn the_same_catalog_has_no_difference() {
        let other_words = r#"
settings: {overdue_grace_days: 7}
routes: [{methods: [GET, POST], path: /y}, {path: /x, module: a}]
plans: {p: {features: {n: 1}, modules: [a], name: P, rank: 0, kind: base}}
features: {n: {name: N, type: limit, usage: gauge}}
modules: {b: {name: B, access: entitled}, a: {name: A}}
"#;
        assert!(between(OLD, other_words).is_empty());
    }

    #[test]
    fn what_is_added_removed_and_changed_is_named_by_key_and_field() {
        let new = r#"
modules: {a: {name: A, status: disabled}, c: {name: C}}
features: {n: {name: N, type: limit}}
plans: {p: {name: P, modules: [a], features: {n: unlimited}, trial_days: 3, price: {amount: 1, currency: SAR, interval: once}}}
routes: [{path: /x, public: true}, {path: /y}]
settings: {default_route: allow}
"#;
        let diff = between(OLD, new);
        assert!(!diff.is_empty());
        assert_eq!(
            (diff.modules.added, diff.modules.removed),
            (vec!["c".into()], vec!["b".into()])
        );
        let shown = |changes: &[FieldChange]| -> Vec<String> {
            changes.iter().map(|it| format!("{} {} {}", it.field, it.before, it.after)).collect()
        };
        assert_eq!(shown(&diff.modules.changed[0].fields), [r#"status "active" "disabled""#]);
        assert_eq!(
            shown(&diff.plans.changed[0].fields),
            [
                r#"features.n 1 "unlimited""#,
                "price.amount null 1",
                r#"price.currency null "SAR""#,
                r#"price.interval null "once""#,
                "trial_days null 3",
            ]
        );
        assert_eq!(diff.routes.added, ["* /y"]);
        assert_eq!(diff.routes.removed, ["GET,POST /y"]);
        assert_eq!(diff.routes.changed[0].key, "* /x");
        assert_eq!(
            shown(&diff.routes.changed[0].fields),
            [r#"module "a" null"#, "public false true"]
        );
        assert_eq!(shown(&diff.settings), [r#"default_route "deny" "allow""#]);
        assert!(diff.features.is_empty());
    }
}
