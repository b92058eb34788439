//! The canonical form of a catalog: JSON that parses back to the same catalog.
//!
//! Invariants: what has a default is written out, so that a difference shows both values; what is
//! absent or empty is left out; equal catalogs have equal documents.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    model::{
        Bundle, Catalog, Condition, Feature, FeatureKind, Guard, LimitSpec, Match, Module,
        ModuleSelection, Plan, Role, Route, UsageKind,
    },
    values::value_to_json,
};

/// The catalog as a document.
#[must_use]
pub fn to_json(catalog: &Catalog) -> Value {
    let mut document = Object::default();
    document.section("modules", &catalog.modules, module);
    document.section("bundles", &catalog.bundles, bundle);
    document.section("features", &catalog.features, feature);
    document.section("plans", &catalog.plans, plan);
    document.section("roles", &catalog.roles, role);
    document.section("guards", &catalog.guards, guard);
    let routes: Vec<_> = catalog.routes.iter().map(|it| Value::Object(route(it).0)).collect();
    document.put_filled("routes", &routes);
    document.put("settings", &catalog.settings);
    Value::Object(document.0)
}

#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: &impl Serialize) {
        // Nothing of a catalog fails to serialise: there are only text keys and plain values.
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
    }

    /// Unless it is absent or empty.
    fn put_filled(&mut self, name: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let is_empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !is_empty {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn section<K: ToString, V>(
        &mut self,
        name: &str,
        section: &BTreeMap<K, V>,
        write: impl Fn(&V) -> Self,
    ) {
        let written = section.iter().map(|(key, it)| (key.to_string(), Value::Object(write(it).0)));
        self.put_filled(name, &written.collect::<Map<_, _>>());
    }
}

fn module(it: &Module) -> Object {
    let mut object = Object::default();
    object.put("name", &it.name);
    object.put_filled("description", &it.description);
    object.put("premium", &it.premium);
    object.put("access", &it.access);
    object.put("status", &it.status);
    object.put("available_when_blocked", &it.available_when_blocked);
    object.put_filled("provisioning", &it.provisioning);
    object.put("seated", &it.seated);
    object
}

fn bundle(it: &Bundle) -> Object {
    let mut object = Object::default();
    object.put("name", &it.name);
    object.put("modules", &it.modules);
    object
}

fn feature(it: &Feature) -> Object {
    let mut object = Object::default();
    object.put("name", &it.name);
    object.put_filled("description", &it.description);
    match &it.kind {
        FeatureKind::Boolean => object.put("type", &"boolean"),
        FeatureKind::Config => object.put("type", &"config"),
        FeatureKind::Limit(limit) => {
            object.put("type", &"limit");
            limit_spec(&mut object, limit);
        }
    }
    object.put_filled("module", &it.module);
    object.put("premium", &it.premium);
    object.put("status", &it.status);
    object
}

fn limit_spec(object: &mut Object, limit: &LimitSpec) {
    object.put_filled("unit", &limit.unit);
    match limit.usage {
        UsageKind::Gauge => object.put("usage", &"gauge"),
        UsageKind::Counter(reset) => {
            object.put("usage", &"counter");
            object.put("reset", &reset);
        }
    }
    object.put("per", &limit.per);
    object.put("on_limit", &limit.on_limit);
}

fn plan(it: &Plan) -> Object {
    let mut features = Object::default();
    if it.all_features {
        features.put("*", &true);
    }
    for (key, value) in &it.features {
        features.put(key.as_str(), &value_to_json(value));
    }
    let mut object = Object::default();
    object.put("name", &it.name);
    object.put_filled("description", &it.description);
    object.put("rank", &it.rank);
    object.put("kind", &it.kind);
    object.put("audience", &it.audience);
    object.put_filled("inherits", &it.inherits);
    match &it.modules {
        ModuleSelection::All => object.put("modules", &"*"),
        ModuleSelection::These(these) => object.put_filled("modules", these),
    }
    object.put_filled("features", &features.0);
    object.put_filled("permissions", &it.permissions);
    object.put_filled("price", &it.price);
    object.put_filled("trial_days", &it.trial_days);
    object.put_filled("trial_fallback", &it.trial_fallback);
    object.put("activation_code_only", &it.activation_code_only);
    object.put("stack", &it.stack);
    object.put_filled("seats", &it.seats);
    object
}

fn role(it: &Role) -> Object {
    let mut object = Object::default();
    object.put_filled("name", &it.name);
    object.put("context", &it.context);
    object.put_filled("inherits", &it.inherits);
    object.put_filled("permissions", &it.permissions);
    object.put("bypass", &it.bypass);
    object
}

fn guard(it: &Guard) -> Object {
    let mut object = Object::default();
    object.put_filled("description", &it.description);
    object.put_filled("module", &it.module);
    object.put_filled("features", &it.features);
    put_match(&mut object, &it.features, it.features_match);
    object.put_filled("all_permissions", &it.all_permissions);
    object.put_filled("any_permission", &it.any_permission);
    object.put_filled("tier_at_least", &it.tier_at_least);
    if let Some(feature) = &it.limit {
        object.put("limit", &BTreeMap::from([("feature", feature)]));
    }
    let conditions: Vec<_> =
        it.conditions.iter().map(|it| Value::Object(condition(it).0)).collect();
    object.put_filled("conditions", &conditions);
    object
}

fn condition(it: &Condition) -> Object {
    let mut object = Object::default();
    object.put("unless", &it.unless);
    object.put("reason", &it.reason);
    object.put("code", &it.code);
    object.put("message", &it.message);
    object.put_filled("status", &it.status);
    if let Some(data) = &it.data {
        object.put("data", data);
    }
    object.put("before_limit", &it.before_limit);
    object
}

fn route(it: &Route) -> Object {
    let mut object = Object::default();
    object.put_filled("methods", &it.methods);
    object.put("path", &it.path);
    object.put_filled("module", &it.module);
    object.put_filled("features", &it.features);
    put_match(&mut object, &it.features, it.features_match);
    object.put_filled("permission", &it.permission);
    object.put_filled("guard", &it.guard);
    object.put("public", &it.public);
    object.put("allow_blocked", &it.allow_blocked);
    object
}

/// `match` is only said about features.
fn put_match<T>(object: &mut Object, features: &[T], features_match: Match) {
    if !features.is_empty() {
        object.put("match", &features_match);
    }
}
