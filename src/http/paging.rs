//! Lists in pages: an opaque cursor, a limit, and `{items, next_cursor}`.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use poem_openapi::{Object, registry::MetaSchema, types::ToJSON};
use serde::{Serialize, de::DeserializeOwned};

use crate::{error::Error, http::string_type::string_type};

/// The largest page.
pub const MAX_LIMIT: u32 = 200;

/// The page of a caller who does not say.
pub const DEFAULT_LIMIT: u32 = 50;

/// Where a page ended. Opaque to callers: base64url of the key of the last item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// The cursor behind an item with this key.
    pub fn after<K: Serialize>(key: &K) -> Result<Self, Error> {
        let json = serde_json::to_vec(key).map_err(Error::internal)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(json)))
    }

    /// The key it was made from.
    pub fn key<K: DeserializeOwned>(&self) -> Result<K, Error> {
        let json = URL_SAFE_NO_PAD.decode(&self.0).ok();
        json.and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| Error::invalid("cursor", "must come from the page before"))
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=1024).contains(&text.len()) && text.is_ascii() {
            Ok(Self(text.into()))
        } else {
            Err("must come from the page before")
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

string_type!(
    Cursor,
    "cursor",
    MetaSchema { min_length: Some(1), max_length: Some(1024), ..MetaSchema::new("string") }
);

/// How many items a page has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(Self(limit)),
            _ => Err("must be a number from 1 to 200"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

string_type!(
    Limit,
    "limit",
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(f64::from(MAX_LIMIT)),
        default: Some(DEFAULT_LIMIT.into()),
        ..MetaSchema::new_with_format("integer", "int32")
    }
);

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(read_only_all)]
pub struct Page<T: ToJSON> {
    /// The items.
    pub items: Vec<T>,
    /// For the next page; `null` on the last.
    pub next_cursor: Option<Cursor>,
}

impl<T: ToJSON> Page<T> {
    /// A page of the service, each item as `view` shows it.
    pub fn of<S, C: Serialize>(
        page: crate::service::paging::Page<S, C>,
        view: impl Fn(S) -> T,
    ) -> Result<Self, Error> {
        let next_cursor = page.next.as_ref().map(Cursor::after).transpose()?;
        Ok(Self { items: page.items.into_iter().map(view).collect(), next_cursor })
    }

    /// A page from up to `limit + 1` items: the one too many says that there are more, and is cut.
    pub fn cut<K: Serialize>(
        mut items: Vec<T>,
        limit: Limit,
        key: impl Fn(&T) -> K,
    ) -> Result<Self, Error> {
        let more = items.len() > limit.get();
        items.truncate(limit.get());
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|item| Cursor::after(&key(item))).transpose()?;
        Ok(Self { items, next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = Cursor::after(&("acme", 7)).unwrap();
        let again: Cursor = cursor.to_string().parse().unwrap();
        assert_eq!(again.key::<(String, i64)>().unwrap(), ("acme".into(), 7));
        assert!(again.key::<u8>().is_err());
        assert!("!!".parse::<Cursor>().unwrap().key::<u8>().is_err());
    }

    #[test]
    fn only_a_full_page_has_a_next() {
        let limit: Limit = "2".parse().unwrap();
        let page = |items: Vec<u32>| Page::cut(items, limit, |item| *item).unwrap();
        assert_eq!(page(vec![1, 2]).next_cursor, None);
        let first = page(vec![1, 2, 3]);
        assert_eq!(first.items, [1, 2]);
        assert_eq!(first.next_cursor.unwrap().key::<u32>().unwrap(), 2);
        for bad in ["0", "201", "-1", "x", ""] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }
}
