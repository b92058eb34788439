//! How our types look on the wire: each one is a string with one strict parser, which serves
//! bodies, parameters and headers alike.
//!
//! Not `#[oai(validator(pattern))]`: poem-openapi compiles the pattern on every request, and the
//! types forget that the check was made.

use std::{borrow::Cow, fmt, str::FromStr};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::{
    keys::{
        BundleKey, ContextId, ContextType, EntitlementKey, FeatureKey, GuardKey, KEY_PATTERN,
        MAX_KEY_LEN, ModuleKey, PermissionKey, PlanKey, RoleKey, TenantKey, USER_PATTERN, UserKey,
    },
    time::Timestamp,
};
use crate::http::string_type::string_type;

fn key_schema(pattern: &str) -> MetaSchema {
    MetaSchema {
        pattern: Some(pattern.into()),
        min_length: Some(1),
        max_length: Some(MAX_KEY_LEN),
        ..MetaSchema::new("string")
    }
}

macro_rules! key_types {
    ($($ty:ty),*) => {$(string_type!($ty, "key", key_schema(KEY_PATTERN));)*};
}

key_types!(
    TenantKey,
    ModuleKey,
    BundleKey,
    FeatureKey,
    PlanKey,
    RoleKey,
    PermissionKey,
    GuardKey,
    ContextType,
    ContextId,
    EntitlementKey
);
string_type!(UserKey, "user", key_schema(USER_PATTERN));
string_type!(
    Timestamp,
    "timestamp",
    MetaSchema {
        example: Some("2026-01-31T12:00:00Z".into()),
        ..MetaSchema::new_with_format("string", "date-time")
    }
);

/// Text for people: `MIN` to `MAX` characters, none of them a control character. Not trimmed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// A text for documentation.
    #[must_use]
    pub fn example(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self("x".repeat(MIN)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> FromStr for Text<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // JSON Schema counts characters, not bytes.
        if !(MIN..=MAX).contains(&text.chars().count()) {
            return Err(format!("must have {MIN} to {MAX} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("must not hold control characters or line breaks".into());
        }
        Ok(Self(text.into()))
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

string_type!(@ [const MIN: usize, const MAX: usize] Text<MIN, MAX>, "text", MetaSchema {
    min_length: (MIN > 0).then_some(MIN),
    max_length: Some(MAX),
    pattern: Some(r"^[^\x00-\x1F\x7F-\x9F]*$".into()),
    ..MetaSchema::new("string")
});

/// The value of the header `Idempotency-Key`: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err("must have 1 to 128 visible ASCII characters")
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_type!(
    IdempotencyKey,
    "idempotency_key",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(128),
        pattern: Some("^[!-~]+$".into()),
        ..MetaSchema::new("string")
    }
);

/// A field of a change: left out, `null`, or a value. Needs `#[serde(default)]` beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Left out: stays as it is.
    #[default]
    Absent,
    /// `null`: is cleared.
    Null,
    /// Becomes this.
    Value(T),
}

impl<T> Patch<T> {
    /// Converts the value, if there is one.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Value(value) => Patch::Value(f(value)),
        }
    }

    /// What `current` becomes.
    pub fn over(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Absent => current,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| value.map_or(Self::Null, Self::Value))
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

impl<T: Type> Type for Patch<T> {
    const IS_REQUIRED: bool = false;
    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        format!("patch_{}", T::name()).into()
    }
    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        match self {
            Self::Value(value) => value.as_raw_value(),
            Self::Absent | Self::Null => None,
        }
    }
    fn raw_element_iter<'a>(
        &'a self,
    ) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        match self {
            Self::Value(value) => value.raw_element_iter(),
            Self::Absent | Self::Null => Box::new(std::iter::empty()),
        }
    }
    fn is_none(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: ParseFromJSON> ParseFromJSON for Patch<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            None => Ok(Self::Absent),
            Some(Value::Null) => Ok(Self::Null),
            some => T::parse_from_json(some).map(Self::Value).map_err(ParseError::propagate),
        }
    }
}

impl<T: ToJSON> ToJSON for Patch<T> {
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Null => Some(Value::Null),
            Self::Value(value) => value.to_json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_printable() {
        type Name = Text<1, 3>;
        assert!("äöü".parse::<Name>().is_ok());
        for bad in ["", "abcd", "a\0", "a\nb", "\u{85}"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Name>("12").is_err());
    }

    #[test]
    fn absent_is_not_null() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            at: Patch<u8>,
        }
        let at = |text| serde_json::from_str::<Body>(text).unwrap().at;
        assert_eq!(at("{}"), Patch::Absent);
        assert_eq!(at(r#"{"at":null}"#), Patch::Null);
        assert_eq!(at(r#"{"at":1}"#), Patch::Value(1));
        assert_eq!(at("{}").over(Some(7)), Some(7));
        assert_eq!(at(r#"{"at":null}"#).over(Some(7)), None);
    }
}
