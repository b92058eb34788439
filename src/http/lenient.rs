//! Fields that are read one by one, so that every fault of a body is answered at once and not only
//! the first.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use crate::error::Fault;

/// A field as it was read.
#[derive(Debug, Clone, Default)]
pub enum Lenient<T> {
    /// It was left out, or null.
    #[default]
    Absent,
    /// A value.
    Good(T),
    /// Something else, and why it is none.
    Bad(String),
}

impl<T> Lenient<T> {
    /// The value of a field that must be there; else a fault.
    pub fn required(self, field: &str, faults: &mut Vec<Fault>) -> Option<T> {
        if matches!(self, Self::Absent) {
            faults.push(Fault::new(field, "is missing"));
            return None;
        }
        self.optional(field, faults)
    }

    /// The value of a field that may be left out; a fault where it can't be read.
    pub fn optional(self, field: &str, faults: &mut Vec<Fault>) -> Option<T> {
        match self {
            Self::Absent => None,
            Self::Good(value) => Some(value),
            Self::Bad(why) => {
                faults.push(Fault::new(field, why));
                None
            }
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.is_null() {
            return Ok(Self::Absent);
        }
        Ok(serde_json::from_value(value).map_or_else(|e| Self::Bad(e.to_string()), Self::Good))
    }
}

impl<T: Serialize> Serialize for Lenient<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_none(),
            Self::Good(value) => value.serialize(serializer),
            Self::Bad(why) => serializer.serialize_str(why),
        }
    }
}

impl<T: Type> Type for Lenient<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: Type + DeserializeOwned> ParseFromJSON for Lenient<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
    }
}

impl<T: Type + Serialize> ToJSON for Lenient<T> {
    fn to_json(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }
}
