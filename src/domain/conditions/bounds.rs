//! How large everything may be that a condition is made of or looks at, so that none runs long.

use serde_json::Value;

/// Longest text of an expression, in characters.
pub const MAX_TEXT: usize = 4_096;
/// Most words and signs of an expression. Bounds the nodes of its tree too.
pub(super) const MAX_TOKENS: usize = 1_000;
/// Most brackets around one place: for the parser, these are the dear levels.
pub(super) const MAX_BRACKETS: usize = 16;
/// Deepest tree that could come of a text. Parsing and checking recurse once for each level.
pub(super) const MAX_NESTING: usize = 64;
/// Deepest tree that is evaluated, which recurses too, and is dear without optimisation.
pub(super) const MAX_DEPTH: usize = 24;
/// Levels that a loop takes when it is unrolled.
pub(super) const LOOP_DEPTH: usize = 3;
/// Most loops within each other.
pub(super) const MAX_LOOPS: usize = 2;
/// Most nodes that one evaluation may visit: some tens of milliseconds at the very worst.
pub(super) const MAX_STEPS: u64 = 200_000;

/// Most values in `resource`, in the attributes of a tenant, or in the value of a feature, counted
/// through all levels.
pub const MAX_VALUES: usize = 500;
/// How deep such a value may be.
pub const MAX_VALUE_DEPTH: usize = 16;
/// Largest `resource`, in bytes of JSON.
pub const MAX_RESOURCE_BYTES: usize = 16 * 1024;
/// Most permissions that a condition can look at.
pub const MAX_PERMISSIONS: usize = 4_000;
/// Most roles that a condition can look at.
pub const MAX_ROLES: usize = 1_000;

/// What is wrong with a `resource`, if anything: it must be an object, and not too large for the
/// conditions that look at it.
#[must_use]
pub fn resource_fault(resource: &Value) -> Option<String> {
    if !resource.is_object() {
        return Some("must be a JSON object, such as {\"id\": \"r-1\"}".to_owned());
    }
    if let Err(message) = measure(resource) {
        return Some(message);
    }
    let bytes = resource.to_string().len();
    if bytes > MAX_RESOURCE_BYTES {
        return Some(format!(
            "must take at most {MAX_RESOURCE_BYTES} bytes, not {bytes}; send only what the \
             guard's conditions look at"
        ));
    }
    None
}

/// Whether a value is small enough to be looked at.
pub(super) fn measure(value: &Value) -> Result<(), String> {
    let mut count = 0;
    let mut todo = vec![(value, 1)];
    while let Some((value, depth)) = todo.pop() {
        count += 1;
        if depth > MAX_VALUE_DEPTH {
            return Err(format!("may be at most {MAX_VALUE_DEPTH} levels deep"));
        }
        match value {
            Value::Array(items) => todo.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => todo.extend(map.values().map(|item| (item, depth + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if count + todo.len() > MAX_VALUES {
            return Err(format!(
                "may hold at most {MAX_VALUES} values; send only what the guard's conditions \
                 look at"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_is_an_object_of_bounded_size() {
        assert_eq!(resource_fault(&json!({})), None);
        assert_eq!(resource_fault(&json!({"items": vec![0; 498]})), None);
        let deep = |levels| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
        assert_eq!(resource_fault(&deep(15)), None);
        for (bad, part) in [
            (json!(null), "object"),
            (json!([1]), "object"),
            (json!("x"), "object"),
            (json!({"items": vec![0; 499]}), "500 values"),
            (deep(16), "16 levels"),
            (json!({"text": "x".repeat(16 * 1024)}), "16384 bytes"),
        ] {
            let fault = resource_fault(&bad).unwrap();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
