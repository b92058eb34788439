//! The OpenAPI document: made by poem-openapi, repaired here; served, exported, and the source of
//! the route table (`routes`).
//!
//! | as made | repaired |
//! |---|---|
//! | one `paths` key per struct, so that a path may stand twice | merged; real repetitions refused |
//! | `openapi: 3.0.0` | 3.0.3 |
//! | no 400, 401, 403, 404, 406, 409, 412, 413, 415, 422, 429 | added where the operation can give them |
//! | unknown fields seem allowed in requests | `additionalProperties: false` |
//! | `Option` is neither required nor nullable | answers: required and nullable; requests: nullable |
//! | unsigned integers have no bounds; bounds are floats | bounded, by integers |
//! | header names in capitals | canonical |
//! | our `scheme#permission` | `security` and `x-permission` |
//!
//! By our rules every object in a request refuses unknown fields, and every answer has all its
//! fields: what the repairs say is what the code does.

use std::collections::{BTreeSet, HashMap};

use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    LicenseObject, OpenApi, OpenApiService,
    registry::{MetaApi, Registry},
};
use serde_json::{Value, json};

use crate::http::{merge::parse_merging, problem::CONTENT_TYPE};

/// Fields of answers that are left out where they say nothing, by schema.
const SOMETIMES: &[(&str, &[&str])] = &[
    ("Decision", &["would_reason", "trace", "layers", "sandbox"]),
    ("Consumed", &["would_reason", "trace", "layers", "sandbox"]),
    ("Reserved", &["would_reason", "trace", "layers", "sandbox"]),
    ("Source", &["plan", "plan_version", "id", "key", "tenant", "role", "context"]),
    ("Remedy", &["plans", "at"]),
    ("ModuleAccess", &["would_reason"]),
    ("FeatureAccess", &["would_reason"]),
    ("LimitAccess", &["would_reason"]),
    ("Entitlements", &["tier"]),
    ("Override", &["sandbox"]),
    ("Request", &["sandbox"]),
    ("AuditEvent", &["sandbox"]),
];

const SCHEMAS: &str = "#/components/schemas/";

/// The operations `A` without their state: `meta` and `register` need none, so that the document
/// can be made without a database or a configuration.
pub struct DocumentOnly<A>(std::marker::PhantomData<fn() -> A>);

impl<A: OpenApi> OpenApi for DocumentOnly<A> {
    fn meta() -> Vec<MetaApi> {
        A::meta()
    }
    fn register(registry: &mut Registry) {
        A::register(registry);
    }
    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// The operations `A` with title and licence, without their state.
#[must_use]
pub fn described<A: OpenApi>() -> OpenApiService<DocumentOnly<A>, ()> {
    let only = DocumentOnly(std::marker::PhantomData);
    OpenApiService::new(only, "entitled", env!("CARGO_PKG_VERSION"))
        .description(
            "May this tenant, and this user in it, use this, how much, and if not, why not and \
             what would help?",
        )
        .license(
            LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"),
        )
        // Relative: right behind any proxy.
        .server("/")
}

/// The repaired document of the operations `A`. An error is a fault in our declarations: the same
/// operation twice.
pub fn document<A: OpenApi>() -> serde_json::Result<Value> {
    let mut document = parse_merging(&described::<A>().spec())?;
    repair(&mut document);
    Ok(document)
}

/// The same bytes on every run and machine.
#[must_use]
pub fn to_json(document: &Value) -> String {
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

fn repair(document: &mut Value) {
    document["openapi"] = "3.0.3".into();
    let problem = json!({
        "description": "Any error",
        "content": { CONTENT_TYPE: { "schema": { "$ref": format!("{SCHEMAS}Problem") } } }
    });
    if let Some(components) = member(document, "components") {
        components.insert("responses".into(), json!({ "Problem": problem }));
    }
    each_object(document, &mut |object| {
        // Views are only ever answers; saying so of each field is noise.
        object.remove("readOnly");
        bound_integers(object);
    });

    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    each_operation(document, |path, _, operation| {
        move_permission(operation);
        canonical_headers(operation);
        collect_refs(&operation["requestBody"], &mut asked);
        collect_refs(&operation["responses"], &mut answered);
        add_problems(path, operation);
    });
    let asked = reachable(document, asked);
    let answered = reachable(document, answered);
    let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for (name, schema) in schemas.into_iter().flatten() {
        if asked.contains(name) {
            close(schema);
            make_nullable(schema, Side::Request);
        } else if answered.contains(name) {
            make_nullable(schema, Side::Answer);
            let sometimes = SOMETIMES.iter().find(|(of, _)| of == name).map_or(&[][..], |(_, f)| f);
            if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|field| !sometimes.iter().any(|name| field == name));
            }
        }
    }
}

fn member<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut serde_json::Map<String, Value>> {
    value.get_mut(name).and_then(Value::as_object_mut)
}

fn each_operation(document: &mut Value, mut f: impl FnMut(&str, &str, &mut Value)) {
    for (path, item) in member(document, "paths").into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            f(path, method, operation);
        }
    }
}

fn each_object(value: &mut Value, f: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            f(object);
            object.values_mut().for_each(|value| each_object(value, f));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| each_object(value, f)),
        _ => {}
    }
}

/// `{"bearer#plans:read": []}` becomes `{"bearer": []}` and `x-permission: plans:read`. (In 3.0
/// the list must stay empty for schemes other than OAuth 2.)
fn move_permission(operation: &mut Value) {
    let mut permission = None;
    let security = operation.get_mut("security").and_then(Value::as_array_mut);
    for requirement in security.into_iter().flatten() {
        let Some(object) = requirement.as_object_mut() else { continue };
        for (name, scopes) in std::mem::take(object) {
            let (scheme, needed) = name.split_once('#').unwrap_or((&name, ""));
            object.insert(scheme.into(), scopes);
            permission = Some(needed.to_owned()).filter(|needed| !needed.is_empty());
        }
    }
    if let Some(permission) = permission {
        operation["x-permission"] = permission.into();
    }
}

fn canonical_headers(operation: &mut Value) {
    let responses = member(operation, "responses");
    for response in responses.into_iter().flat_map(|responses| responses.values_mut()) {
        let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) else {
            continue;
        };
        for (name, header) in std::mem::take(headers) {
            let name = match name.to_ascii_lowercase().as_str() {
                "etag" => "ETag".to_owned(),
                other => other.split('-').map(capitalised).collect::<Vec<_>>().join("-"),
            };
            headers.insert(name, header);
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn add_problems(path: &str, operation: &mut Value) {
    let has = |member: &str| match operation.get(member) {
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
        None => false,
    };
    let (body, secured) = (has("requestBody"), has("security"));
    let inputs = operation["parameters"].as_array().into_iter().flatten();
    let beyond_path = inputs.clone().filter(|input| input["in"] != "path").count() > 0;
    let edits = inputs.clone().any(|input| input["name"] == "If-Match");
    let needs = operation["x-permission"].as_str().unwrap_or_default();
    // The tenant in the question, or the caller's own.
    let asks_about_a_tenant =
        ["check", "me", "activation_codes:redeem", "usage:write", "events:read"].contains(&needs);
    // Once for each tenant, and slowed, because a code can be guessed.
    let redeems = needs == "activation_codes:redeem";
    // Where the caller can choose, it can choose what there isn't.
    let formats = operation.pointer("/responses/200/content").and_then(Value::as_object);
    let chosen = formats.is_some_and(|formats| formats.len() > 1);
    let statuses = [
        ("400", body),
        ("401", secured),
        ("403", secured),
        ("404", path.contains('{') || asks_about_a_tenant),
        ("406", chosen),
        ("409", redeems || needs == "usage:write"),
        ("412", edits),
        ("413", body),
        ("415", body),
        ("422", body || beyond_path),
        ("429", redeems),
    ];
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let Some(responses) = member(operation, "responses") else { return };
    for (status, _) in statuses.into_iter().filter(|(_, applies)| *applies) {
        responses.entry(status).or_insert_with(|| problem.clone());
    }
    responses.insert("default".into(), problem);
}

fn collect_refs(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            let name = object.get("$ref").and_then(Value::as_str);
            found.extend(name.and_then(|name| name.strip_prefix(SCHEMAS)).map(str::to_owned));
            object.values().for_each(|value| collect_refs(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_refs(value, found)),
        _ => {}
    }
}

/// The schemas that can be reached from these.
fn reachable(document: &Value, mut queue: Vec<String>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while let Some(name) = queue.pop() {
        if !seen.contains(&name) {
            let schema = document.pointer(&format!("/components/schemas/{name}"));
            collect_refs(schema.unwrap_or(&Value::Null), &mut queue);
            seen.insert(name);
        }
    }
    seen
}

fn close(schema: &mut Value) {
    if schema["type"] == "object"
        && schema.get("properties").is_some()
        && schema.get("additionalProperties").is_none()
    {
        schema["additionalProperties"] = false.into();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

/// What is not required is an `Option` (or, with a default, may be left out of a request but not
/// be null). In answers it is always there and may be null.
fn make_nullable(schema: &mut Value, side: Side) {
    let required: BTreeSet<String> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let mut all = Vec::new();
    for (name, property) in
        schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        all.push(Value::from(name.as_str()));
        if required.contains(name) || property.get("default").is_some() {
            continue;
        }
        // In 3.0 nothing may stand beside a `$ref`.
        if property.get("$ref").is_some() {
            *property = json!({ "allOf": [property.take()] });
        }
        property["nullable"] = true.into();
    }
    if side == Side::Answer && !all.is_empty() {
        schema["required"] = all.into();
    } else if schema["required"].is_null() {
        schema.as_object_mut().map(|schema| schema.remove("required"));
    }
}

fn bound_integers(object: &mut serde_json::Map<String, Value>) {
    let max = match object.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(u8::MAX.into()),
        Some("uint16") => Some(u16::MAX.into()),
        Some("uint32") => Some(u32::MAX.into()),
        // What SQLite can hold.
        Some("uint64") => Some(i64::MAX),
        _ => None,
    };
    if let Some(max) = max {
        object.entry("minimum").or_insert(0.into());
        object.entry("maximum").or_insert(max.into());
    }
    if object.get("type").and_then(Value::as_str) != Some("integer") {
        return;
    }
    // Bounds are f64 inside poem-openapi: 200.0 for 200.
    for bound in ["minimum", "maximum"] {
        let limit = object.get(bound).filter(|limit| limit.is_f64()).and_then(Value::as_f64);
        if let Some(limit) = limit.filter(|limit| limit.fract() == 0.0 && limit.abs() < 9e15) {
            object.insert(bound.into(), (limit as i64).into());
        }
    }
}
