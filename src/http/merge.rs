//! Reads poem-openapi's document, in which one path may stand several times: once for each struct
//! with operations on it. `serde_json::Value` would silently keep the last.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Parses JSON; objects under a repeated key are merged, any other repetition is an error.
pub(super) fn parse_merging(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).map(|Merged(value)| value)
}

struct Merged(Value);

impl<'de> Deserialize<'de> for Merged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Merging)
    }
}

struct Merging;

impl<'de> Visitor<'de> for Merging {
    type Value = Merged;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Merged, E> {
        Ok(Merged(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Merged, E> {
        Ok(Merged(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Merged, E> {
        Ok(Merged(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Merged, E> {
        Ok(Merged(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Merged, E> {
        Ok(Merged(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Merged, E> {
        Ok(Merged(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merged, A::Error> {
        let mut list = Vec::new();
        while let Some(Merged(item)) = seq.next_element()? {
            list.push(item);
        }
        Ok(Merged(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Merged, A::Error> {
        let mut object = Map::new();
        while let Some((key, Merged(value))) = map.next_entry::<String, Merged>()? {
            match (object.get_mut(&key), value) {
                (None, value) => {
                    object.insert(key, value);
                }
                (Some(Value::Object(old)), Value::Object(new)) => {
                    for (name, item) in new {
                        if old.insert(name.clone(), item).is_some() {
                            return Err(A::Error::custom(format!("{key} {name} stands twice")));
                        }
                    }
                }
                (Some(_), _) => return Err(A::Error::custom(format!("{key} stands twice"))),
            }
        }
        Ok(Merged(object.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_stand_twice_but_not_an_operation() {
        let merged = parse_merging(r#"{"/a":{"get":1},"/a":{"post":2}}"#).unwrap();
        assert_eq!(merged, serde_json::json!({"/a": {"get": 1, "post": 2}}));
        assert!(parse_merging(r#"{"/a":{"get":1},"/a":{"get":2}}"#).is_err());
    }
}
