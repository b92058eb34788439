//! The value of a feature, from and to JSON: the same rules in plans, grants and overrides.

use serde_json::Value;

use super::model::{Feature, FeatureKind, FeatureValue, Limit};

/// Largest config value, in bytes of JSON.
const MAX_CONFIG_BYTES: usize = 16_384;

/// How deep a config value may be nested: less than any reader of JSON takes.
const MAX_CONFIG_DEPTH: usize = 32;

impl FeatureValue {
    /// Whether it counts as "it has it" (SPEC 4: a limit above 0, any config value).
    #[must_use]
    pub fn is_on(&self) -> bool {
        match self {
            Self::Flag(on) => *on,
            Self::Limit(limit) => *limit > Limit::NONE,
            Self::Config(value) => !value.is_null(),
        }
    }

    /// Whether it gives as much as another one of the same feature. Config values are not compared.
    #[must_use]
    pub fn is_at_least(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Limit(own), Self::Limit(other)) => own >= other,
            (Self::Flag(_) | Self::Limit(_) | Self::Config(_), other) => {
                self.is_on() || !other.is_on()
            }
        }
    }
}

/// Reads a value that fits `feature`; the error says what was expected.
///
/// # Errors
/// When the value doesn't fit the feature's type.
pub fn value_for(feature: &Feature, json: &Value) -> Result<FeatureValue, String> {
    match feature.kind {
        FeatureKind::Boolean => match json {
            Value::Bool(on) => Ok(FeatureValue::Flag(*on)),
            other => Err(format!("expected true or false, found {}", describe(other))),
        },
        FeatureKind::Limit(_) => limit(json).map(FeatureValue::Limit).ok_or_else(|| {
            format!("expected a whole number of at least 0 or unlimited, found {}", describe(json))
        }),
        FeatureKind::Config => match json {
            Value::Null => Err("expected a value, found nothing".to_owned()),
            value if value.to_string().len() > MAX_CONFIG_BYTES => {
                Err(format!("it may have at most {MAX_CONFIG_BYTES} bytes"))
            }
            value if depth(value) > MAX_CONFIG_DEPTH => {
                Err(format!("it may be nested at most {MAX_CONFIG_DEPTH} levels deep"))
            }
            value => Ok(FeatureValue::Config(value.clone())),
        },
    }
}

/// The value as it stands in a document.
#[must_use]
pub fn value_to_json(value: &FeatureValue) -> Value {
    match value {
        FeatureValue::Flag(on) => Value::Bool(*on),
        FeatureValue::Limit(Limit::Of(count)) => Value::from(*count),
        FeatureValue::Limit(Limit::Unlimited) => Value::from("unlimited"),
        FeatureValue::Config(value) => value.clone(),
    }
}

fn depth(json: &Value) -> usize {
    let inner = match json {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    inner.map_or(usize::from(json.is_array() || json.is_object()), |inner| inner + 1)
}

fn limit(json: &Value) -> Option<Limit> {
    if json.as_str() == Some("unlimited") {
        return Some(Limit::Unlimited);
    }
    // The database counts in i64; a larger number would be meant as unlimited, which is said.
    let count = json.as_i64()?;
    u64::try_from(count).ok().map(Limit::Of)
}

fn describe(json: &Value) -> String {
    match json {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => format!("the text {}", super::findings::quoted(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
