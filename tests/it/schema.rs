//! Whether a value is what a schema of the document says: as much of OpenAPI 3.0 as ours uses.

use regex::Regex;
use serde_json::{Map, Value};

use crate::openapi::resolve;

/// Words that say nothing about values.
const SILENT: [&str; 6] = ["description", "title", "example", "default", "deprecated", "nullable"];

/// Everything that is wrong with a value, each with its place.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "$", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let nullable = schema["nullable"] == true;
    let schema = resolve(schema).as_object().expect("a schema is an object");
    if value.is_null() && (nullable || schema.get("nullable") == Some(&Value::Bool(true))) {
        return;
    }
    for (word, said) in schema {
        match word.as_str() {
            "type" if !is_type(said, value) => found.push(format!("{at}: {value} is no {said}")),
            "enum" if !said.as_array().unwrap().contains(value) => {
                found.push(format!("{at}: {value} is none of {said}"));
            }
            "type" | "enum" => {}
            "allOf" => {
                said.as_array().unwrap().iter().for_each(|part| check(part, value, at, found));
            }
            "oneOf" => {
                let parts = said.as_array().unwrap().iter();
                let fits = parts.filter(|part| faults(part, value).is_empty()).count();
                if fits != 1 {
                    found.push(format!("{at}: fits {fits} of {said}"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(said, item, &format!("{at}[{index}]"), found);
                }
            }
            "required" => {
                let names = said.as_array().unwrap().iter().filter_map(Value::as_str);
                let Some(object) = value.as_object() else { continue };
                let missing = names.filter(|name| !object.contains_key(*name));
                found.extend(missing.map(|name| format!("{at}: {name} is missing")));
            }
            "properties" | "additionalProperties" => {}
            "minimum" | "maximum" | "minLength" | "maxLength" | "pattern" | "format" => {
                if !is_within(word, said, value) {
                    found.push(format!("{at}: {value} breaks {word} {said}"));
                }
            }
            word => assert!(SILENT.contains(&word), "the validator does not know {word}"),
        }
    }
    if let Some(object) = value.as_object() {
        properties(schema, object, at, found);
    }
}

/// A schema that names its properties has no others: ours are closed unless they say otherwise.
fn properties(
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    let named = schema.get("properties").and_then(Value::as_object);
    let more = schema.get("additionalProperties");
    for (name, value) in object {
        let at = format!("{at}.{name}");
        match (named.and_then(|named| named.get(name)), more) {
            (Some(schema), _) => check(schema, value, &at, found),
            (None, Some(schema @ Value::Object(_))) => check(schema, value, &at, found),
            (None, Some(Value::Bool(true))) => {}
            (None, None) if named.is_none() => {}
            (None, _) => found.push(format!("{at} is not in the schema")),
        }
    }
}

fn is_type(said: &Value, value: &Value) -> bool {
    match said.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the validator does not know the type {other}"),
    }
}

/// Bounds are about one type each and say nothing about others.
fn is_within(word: &str, said: &Value, value: &Value) -> bool {
    let length = |text: &str| text.chars().count() as f64;
    let bound = said.as_f64().unwrap_or(f64::NAN);
    match (word, value) {
        ("minimum", Value::Number(number)) => number.as_f64().unwrap() >= bound,
        ("maximum", Value::Number(number)) => number.as_f64().unwrap() <= bound,
        ("minLength", Value::String(text)) => length(text) >= bound,
        ("maxLength", Value::String(text)) => length(text) <= bound,
        ("pattern", Value::String(text)) => {
            Regex::new(said.as_str().unwrap()).unwrap().is_match(text)
        }
        ("format", Value::String(text)) if said == "date-time" => {
            chrono::DateTime::parse_from_rfc3339(text).is_ok()
        }
        _ => true,
    }
}
