//! The document: the exported one is the present one, and it says all that it must.

use std::{collections::BTreeSet, path::Path};

use entitled::http::spec;
use regex::Regex;
use serde_json::Value;

use crate::operations::{DOCUMENT, Operation, operations};

/// Compares a file of the repository with what it should hold; `UPDATE=1` writes it.
pub fn expect_file(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is stale; write it with UPDATE=1 cargo test --test it");
}

/// Collects what is wrong, to name everything at once.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn unless(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.0.push(finding());
        }
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{}", self.0.join("\n"));
        }
    }
}

fn parameters(operation: &Operation) -> impl Iterator<Item = &'static Value> {
    operation.declared["parameters"].as_array().into_iter().flatten()
}

fn parameter_names(operation: &Operation, place: &str) -> BTreeSet<&'static str> {
    let here = parameters(operation).filter(|parameter| parameter["in"] == place);
    here.map(|parameter| parameter["name"].as_str().unwrap()).collect()
}

fn is_said(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// The schema behind a reference.
pub fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(name) => DOCUMENT.pointer(name.trim_start_matches('#')).expect(name),
        None => schema,
    }
}

#[test]
fn the_exported_document_is_the_present_one() {
    expect_file("openapi/openapi.json", &spec::to_json(&DOCUMENT));
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let mut findings = Findings::default();
    let mut seen = BTreeSet::new();
    let name = Regex::new("^[a-z]+(_[a-z]+)+$|^check$").unwrap();
    for Operation { id, .. } in operations() {
        findings.unless(name.is_match(&id), || format!("{id} is not in snake case"));
        findings.unless(seen.insert(id.clone()), || format!("{id} stands twice"));
    }
}

#[test]
fn every_operation_has_a_tag_and_a_summary() {
    let mut findings = Findings::default();
    let tags = DOCUMENT["tags"].as_array().unwrap();
    for Operation { id, declared, .. } in operations() {
        let given = declared["tags"].as_array().cloned().unwrap_or_default();
        let known = |tag: &Value| tags.iter().any(|known| known["name"] == *tag);
        findings.unless(given.len() == 1 && given.iter().all(known), || format!("{id}: {given:?}"));
        let summary = &declared["summary"];
        findings.unless(is_said(summary), || format!("{id} has no summary"));
    }
    for tag in tags {
        findings.unless(is_said(&tag["description"]), || format!("{tag} has no description"));
    }
}

#[test]
fn every_operation_documents_its_errors() {
    let mut findings = Findings::default();
    let problem = DOCUMENT.pointer("/components/responses/Problem/content").unwrap();
    let schema = &problem["application/problem+json"]["schema"]["$ref"];
    assert_eq!(schema, "#/components/schemas/Problem");
    for operation in operations() {
        let Operation { id, declared, path, .. } = &operation;
        let has = |member: &str| declared.get(member).is_some();
        let mut wanted = vec!["default"];
        wanted.extend(has("security").then_some(["401", "403"]).into_iter().flatten());
        let permission = declared["x-permission"].as_str().unwrap_or_default();
        let about_a_tenant = path.contains('{') || ["check", "me"].contains(&permission);
        wanted.extend(about_a_tenant.then_some("404"));
        wanted.extend(parameter_names(&operation, "header").contains("If-Match").then_some("412"));
        let body = ["400", "413", "415", "422"];
        wanted.extend(has("requestBody").then_some(body).into_iter().flatten());
        for status in wanted {
            let response = &declared["responses"][status]["$ref"];
            let is_problem = response == "#/components/responses/Problem";
            findings.unless(is_problem, || format!("{id} documents no {status}: {response}"));
        }
        let good = declared["responses"].as_object().unwrap().keys();
        findings.unless(good.clone().any(|s| s.starts_with('2')), || format!("{id}: no answer"));
    }
}

#[test]
fn parameters_are_named_as_in_the_path_and_described() {
    let mut findings = Findings::default();
    let braces = Regex::new(r"\{([^}]+)\}").unwrap();
    for operation in operations() {
        let Operation { id, path, .. } = &operation;
        let in_path: BTreeSet<_> =
            braces.captures_iter(path).map(|found| found.get(1).unwrap().as_str()).collect();
        let declared = parameter_names(&operation, "path");
        findings.unless(in_path == declared, || format!("{id}: {in_path:?}, not {declared:?}"));
        for parameter in parameters(&operation) {
            let name = &parameter["name"];
            findings.unless(is_said(&parameter["description"]), || format!("{id}: {name}"));
            let positional = name.as_str().unwrap().starts_with("param");
            findings.unless(!positional, || format!("{id}: {name}"));
        }
    }
    assert!(!DOCUMENT.to_string().contains("param0"));
}

/// Lists that the catalog bounds: at most one item for each of its keys, so no pages.
const BOUNDED_LISTS: [&str; 1] = ["list_grants"];

#[test]
fn every_list_pages() {
    let mut findings = Findings::default();
    for operation in operations() {
        let schema = &operation.declared["responses"]["200"]["content"]["application/json"];
        let has_items = resolve(&schema["schema"])["properties"].get("items").is_some();
        let is_list = operation.id.starts_with("list_");
        let id = &operation.id;
        findings.unless(is_list == has_items, || format!("{id}: a list is called list_…"));
        if is_list && !BOUNDED_LISTS.contains(&id.as_str()) {
            let query = parameter_names(&operation, "query");
            let pages = query.contains("limit") && query.contains("cursor");
            findings.unless(pages, || format!("{id} does not page"));
        }
        if is_list {
            let next = resolve(&schema["schema"])["properties"].get("next_cursor");
            findings.unless(next.is_some(), || format!("{id} has no next_cursor"));
        }
    }
}

#[test]
fn every_body_has_an_example() {
    let mut findings = Findings::default();
    for Operation { id, declared, .. } in operations() {
        let content = declared["requestBody"]["content"].as_object();
        for (kind, media) in content.into_iter().flatten() {
            let schema = resolve(&media["schema"]);
            let given = [media.get("example"), schema.get("example")];
            findings.unless(given.iter().any(Option::is_some), || format!("{id}: {kind}"));
        }
    }
}

#[test]
fn every_schema_and_property_is_described() {
    let mut findings = Findings::default();
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            let mut all = vec![schema];
            all.extend(schema["allOf"].as_array().into_iter().flatten());
            // Of a reference, the description of what it names.
            let said = all.iter().any(|schema| is_said(&resolve(schema)["description"]));
            findings.unless(said, || format!("{name}.{property} has no description"));
        }
        let is_object = schema["type"] == "object";
        let is_named = !name.contains("Page_") && !name.starts_with("Page<");
        if is_object && is_named {
            findings.unless(is_said(&schema["description"]), || format!("{name}: no description"));
        }
    }
}
