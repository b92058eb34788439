//! What comes up while reading: faults, and keys that are to be looked up in the end.

use std::cell::RefCell;

use crate::{domain::keys::nearest, error::Fault};

/// Most faults that one answer lists. Looking for near keys costs, and nobody reads more.
const MAX_FAULTS: usize = 500;

/// What a reference must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Module,
    Feature,
    LimitFeature,
    Plan,
    Tier,
    Role,
    Guard,
}

/// A key that was named somewhere, to be looked up once everything is read.
pub(super) struct Reference {
    pub path: String,
    pub kind: Kind,
    pub key: String,
}

/// What came up while reading.
#[derive(Default)]
pub(super) struct Findings {
    faults: RefCell<Vec<Fault>>,
    references: RefCell<Vec<Reference>>,
}

impl Findings {
    /// Notes a fault, up to the limit.
    pub fn fault(&self, field: impl Into<String>, message: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MAX_FAULTS {
            faults.push(Fault::new(field, message));
        } else if faults.len() == MAX_FAULTS {
            let message = format!("there are more faults; these are the first {MAX_FAULTS}");
            faults.push(Fault::new("", message));
        }
    }

    /// Whether more faults would be dropped.
    pub fn is_full(&self) -> bool {
        self.faults.borrow().len() > MAX_FAULTS
    }

    /// Notes that `key`, named at `path`, must name something.
    pub fn reference(&self, path: &str, kind: Kind, key: &str) {
        let (path, key) = (path.to_owned(), key.to_owned());
        self.references.borrow_mut().push(Reference { path, kind, key });
    }

    /// The references so far, which are taken out.
    pub fn take_references(&self) -> Vec<Reference> {
        self.references.take()
    }

    /// All faults.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// `; did you mean …?`, if anything is near.
pub(super) fn did_you_mean<'a>(
    given: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let given: String = given.chars().take(128).collect();
    let near: Vec<_> = nearest(&given, known).iter().map(|key| quoted(key)).collect();
    if near.is_empty() { None } else { Some(format!("; did you mean {}?", near.join(", "))) }
}

/// `text` in quotation marks, shortened: a document may hold texts of any length.
pub(super) fn quoted(text: &str) -> String {
    format!("“{}”", clipped(text))
}

/// The path of the field `key` below `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { clipped(key) } else { format!("{path}.{}", clipped(key)) }
}

fn clipped(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(128).map(clean).collect();
    if short.len() < text.len() && text.chars().nth(128).is_some() {
        short.push('…');
    }
    short
}
