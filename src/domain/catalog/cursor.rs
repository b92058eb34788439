//! Reading a node at its place: every reader either gives a value or notes a fault, and never
//! stops, so that all faults come out at once.

use std::{collections::BTreeSet, str::FromStr};

use super::{
    findings::{Findings, Kind, did_you_mean, join, quoted},
    node::Node,
};
use crate::domain::keys::BadKey;

/// Longest name, in characters.
pub(super) const MAX_NAME: usize = 200;
/// Longest description or message, in characters.
pub(super) const MAX_DESCRIPTION: usize = 2_000;

/// A value and its place.
#[derive(Clone)]
pub(super) struct Cursor<'d> {
    pub node: &'d Node,
    pub path: String,
    pub findings: &'d Findings,
}

impl<'d> Cursor<'d> {
    /// Notes a fault here.
    pub fn fault(&self, message: impl Into<String>) {
        self.findings.fault(self.path.clone(), message);
    }

    /// Notes that something else was expected here.
    pub fn expected(&self, what: &str) {
        if !matches!(self.node, Node::Bad) {
            self.fault(format!("expected {what}, found {}", self.node.describe()));
        }
    }

    fn child(&self, path: String, node: &'d Node) -> Self {
        Cursor { node, path, findings: self.findings }
    }

    /// The entries of a mapping.
    pub fn entries(&self, what: &str) -> Option<Vec<(&'d str, Self)>> {
        let Node::Map(entries) = self.node else {
            self.expected(what);
            return None;
        };
        let at = |(key, node): &'d (String, Node)| {
            (key.as_str(), self.child(join(&self.path, key), node))
        };
        Some(entries.iter().map(at).collect())
    }

    /// The items of a list.
    pub fn items(&self, what: &str) -> Option<Vec<Self>> {
        let Node::List(items) = self.node else {
            self.expected(what);
            return None;
        };
        let at = |(at, node)| self.child(format!("{}[{at}]", self.path), node);
        Some(items.iter().enumerate().map(at).collect())
    }

    /// Notes `message` here if this is a list without items.
    pub fn refuse_empty_list(&self, message: &str) {
        if matches!(self.node, Node::List(items) if items.is_empty()) {
            self.fault(message);
        }
    }

    /// A mapping with these fields and no others.
    pub fn record(&self, known: &[&str]) -> Record<'d> {
        let entries = self.entries("a mapping");
        let is_map = entries.is_some();
        let entries = entries.unwrap_or_default();
        for (name, cursor) in &entries {
            if !known.contains(name) && !self.findings.is_full() {
                let hint = did_you_mean(name, known.iter().copied())
                    .unwrap_or_else(|| format!("; known are {}", known.join(", ")));
                cursor.fault(format!("there is no such field{hint}"));
            }
        }
        Record { place: self.clone(), entries, is_map }
    }

    /// Text of 1 to `max` characters without control characters.
    pub fn text(&self, max: usize) -> Option<String> {
        self.checked_text(max, char::is_control)
    }

    /// The same, of several lines.
    pub fn prose(&self) -> Option<String> {
        self.checked_text(MAX_DESCRIPTION, |c| c.is_control() && c != '\n')
    }

    /// An expression: of several lines, at most `max` characters.
    pub fn expression(&self, max: usize) -> Option<String> {
        self.checked_text(max, |c| c.is_control() && c != '\n' && c != '\t')
    }

    fn checked_text(&self, max: usize, is_bad: impl Fn(char) -> bool) -> Option<String> {
        let text = match self.node {
            Node::Text(text) => text,
            Node::Number(_) | Node::Bool(_) => {
                self.fault(format!("expected text, found {}; quote it", self.node.describe()));
                return None;
            }
            Node::Null | Node::List(_) | Node::Map(_) | Node::Bad => {
                self.expected("text");
                return None;
            }
        };
        if text.trim().is_empty() {
            self.fault("it must not be empty");
        } else if text.chars().count() > max {
            self.fault(format!("it may have at most {max} characters"));
        } else if text.chars().any(is_bad) {
            self.fault("it must not hold control characters");
        } else {
            return Some(text.clone());
        }
        None
    }

    /// True or false.
    pub fn flag(&self) -> Option<bool> {
        let Node::Bool(value) = self.node else {
            self.expected("true or false");
            return None;
        };
        Some(*value)
    }

    /// A whole number within bounds.
    pub fn whole(&self, min: i64, max: i64) -> Option<i64> {
        let number = match self.node {
            Node::Number(number) => number.as_i64().filter(|n| (min..=max).contains(n)),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => None,
            Node::Bad => return None,
        };
        if number.is_none() {
            self.expected(&match (min, max) {
                (i64::MIN, i64::MAX) => "a whole number".to_owned(),
                (min, i64::MAX) => format!("a whole number of at least {min}"),
                (min, max) => format!("a whole number from {min} to {max}"),
            });
        }
        number
    }

    /// One of these words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        if let Node::Text(text) = self.node
            && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
        {
            return Some(*value);
        }
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        match words.as_slice() {
            [only] => self.expected(only),
            several => self.expected(&format!("one of {}", several.join(", "))),
        }
        None
    }

    /// A well-formed key.
    pub fn key<K: FromStr<Err = BadKey>>(&self) -> Option<K> {
        let Node::Text(text) = self.node else {
            let hint = match self.node {
                Node::Number(_) | Node::Bool(_) => " in quotes",
                Node::Null | Node::Text(_) | Node::List(_) | Node::Map(_) | Node::Bad => "",
            };
            self.expected(&format!("a key{hint}"));
            return None;
        };
        parse_key(text, self)
    }

    /// A key that must name something.
    pub fn reference<K: FromStr<Err = BadKey> + AsRef<str>>(&self, kind: Kind) -> Option<K> {
        let key: K = self.key()?;
        self.refers_to(kind, key.as_ref());
        Some(key)
    }

    /// Notes that `key` must name something.
    pub fn refers_to(&self, kind: Kind, key: &str) {
        self.findings.reference(&self.path, kind, key);
    }

    /// A list without repetition.
    pub fn list<T: Ord + Clone>(
        &self,
        what: &str,
        read: impl Fn(&Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut seen = BTreeSet::new();
        let mut list = Vec::new();
        for item in self.items(&format!("a list of {what}"))? {
            let Some(value) = read(&item) else { continue };
            if seen.insert(value.clone()) {
                list.push(value);
            } else {
                item.fault("it is listed twice");
            }
        }
        Some(list)
    }
}

/// A mapping whose fields are known. One that was no mapping has no fields and lacks none.
pub(super) struct Record<'d> {
    pub place: Cursor<'d>,
    entries: Vec<(&'d str, Cursor<'d>)>,
    is_map: bool,
}

impl<'d> Record<'d> {
    /// The field, if it is there.
    pub fn get(&self, name: &str) -> Option<Cursor<'d>> {
        self.entries.iter().find(|(key, _)| *key == name).map(|(_, cursor)| cursor.clone())
    }

    /// The field; a fault if it isn't there.
    pub fn required(&self, name: &str) -> Option<Cursor<'d>> {
        let field = self.get(name);
        if field.is_none() && self.is_map {
            let path = join(&self.place.path, name);
            self.place.findings.fault(path, format!("the field `{name}` is missing"));
        }
        field
    }

    /// The required `name`.
    pub fn name(&self) -> String {
        self.required("name").and_then(|field| field.text(MAX_NAME)).unwrap_or_default()
    }

    /// The optional `description`.
    pub fn description(&self) -> Option<String> {
        self.get("description")?.prose()
    }

    /// A flag that is false if left out.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(|field| field.flag()).unwrap_or(false)
    }

    /// One of these words, or `default` if left out.
    pub fn word_or<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T) -> T {
        self.get(name).and_then(|field| field.word(words)).unwrap_or(default)
    }

    /// A list of keys, empty if left out.
    pub fn keys<K: FromStr<Err = BadKey> + Ord + Clone>(&self, name: &str, what: &str) -> Vec<K> {
        self.get(name).and_then(|field| field.list(what, Cursor::key)).unwrap_or_default()
    }

    /// A list of keys that must name something, empty if left out.
    pub fn references<K>(&self, name: &str, what: &str, kind: Kind) -> Vec<K>
    where
        K: FromStr<Err = BadKey> + AsRef<str> + Ord + Clone,
    {
        self.get(name)
            .and_then(|field| field.list(what, |item| item.reference(kind)))
            .unwrap_or_default()
    }
}

/// Reads `text` as a key that stands at `place`.
pub(super) fn parse_key<K: FromStr<Err = BadKey>>(text: &str, place: &Cursor<'_>) -> Option<K> {
    match text.parse() {
        Ok(key) => Some(key),
        Err(bad) => {
            place.fault(format!("the key {} {bad}", quoted(text)));
            None
        }
    }
}
