//! From bytes to a body type, in one step; only bytes that are wrong are looked at twice, to name
//! the field.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::error::Category;

use crate::error::{Error, Fault};

/// Parses JSON: [`Error::Malformed`] where it is none, [`Error::Invalid`] naming the field where
/// it is another than expected.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> crate::error::Result<T> {
    match serde_json::from_slice(bytes) {
        Ok(ObjectOnly(body)) => Ok(body),
        Err(err) => Err(explain::<ObjectOnly<T>>(bytes, &err)),
    }
}

/// A struct that is written as an object. serde would also take its fields from an array, in the
/// order in which they happen to be declared.
pub struct ObjectOnly<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ObjectOnly<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Object<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(fields))
            }
        }

        deserializer.deserialize_map(Object(PhantomData)).map(Self)
    }
}

fn explain<T: DeserializeOwned>(bytes: &[u8], first: &serde_json::Error) -> Error {
    if first.classify() != Category::Data {
        let message = if bytes.is_empty() {
            "The body is empty.".into()
        } else {
            format!("The body is not valid JSON: {first}.")
        };
        return Error::Malformed(Fault::new("", message));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(bytes);
    let Err(err) = serde_path_to_error::deserialize::<_, T>(deserializer) else {
        return Error::invalid("", first.to_string());
    };
    let path = err.path().to_string();
    let message = without_position(&err.into_inner());
    Error::invalid(field(&path, &message), message)
}

/// serde names the field in the message where it is unknown, missing or there twice; the path then
/// names what it is in.
fn field(path: &str, message: &str) -> String {
    let path = if path == "." { "" } else { path };
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split_once('`'))
        .map(|(name, _)| name);
    match named {
        None => path.to_owned(),
        Some(name) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
    }
}

fn without_position(err: &serde_json::Error) -> String {
    let text = err.to_string();
    let position = format!(" at line {} column {}", err.line(), err.column());
    text.strip_suffix(&position).map_or(text.clone(), str::to_owned)
}

/// As [`unique`], for maps of objects.
pub fn unique_objects<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    let objects = unique::<D, K, ObjectOnly<V>>(deserializer)?;
    Ok(objects.into_iter().map(|(key, ObjectOnly(value))| (key, value)).collect())
}

/// For maps in bodies, `#[serde(deserialize_with = "unique")]`: a key that comes twice is an
/// error, where serde would keep the last.
pub fn unique<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);

    impl<'de, K, V> serde::de::Visitor<'de> for Unique<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut entries: A,
        ) -> Result<Self::Value, A::Error> {
            let mut map = Self::Value::new();
            while let Some(key) = entries.next_key::<K>()? {
                if map.contains_key(&key) {
                    return Err(serde::de::Error::custom(format!("duplicate field `{key}`")));
                }
                map.insert(key, entries.next_value()?);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}
