//! Entity tags: strong ones, made from a revision or a version, compared as RFC 9110 has it.

use std::{fmt, str::FromStr};

use poem::http::HeaderValue;
use poem_openapi::registry::MetaSchema;

use crate::{error::Error, http::string_type::string_type, service::Expected};

/// A strong entity tag, with its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// The tag of something that counts its changes.
    #[must_use]
    pub fn of_revision(revision: u64) -> Self {
        Self(format!("\"{revision}\""))
    }

    /// The tag of something that depends on several versions: those of the tenant, the catalog,
    /// the user asked about. The parts may only hold visible ASCII without quotes.
    #[must_use]
    pub fn of_parts(parts: &[&dyn fmt::Display]) -> Self {
        let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
        Self(format!("\"{}\"", parts.join("-")))
    }

    /// As it stands in the header.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tags of a list, each with its quotes and whether it is weak; an error where it is no list.
fn tags(list: &str) -> Result<Vec<(bool, &str)>, &'static str> {
    const HINT: &str = "must be `*` or a list of quoted tags";
    let mut found = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        // A tag may hold commas, so the quotes decide where it ends.
        let opaque = quoted.strip_prefix('"').ok_or(HINT)?;
        let (inside, _) = opaque.split_once('"').ok_or(HINT)?;
        let (tag, after) = quoted.split_at_checked(inside.len() + 2).ok_or(HINT)?;
        found.push((weak, tag));
        rest = after.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').ok_or(HINT)?.trim_start();
        }
    }
    if found.is_empty() { Err(HINT) } else { Ok(found) }
}

/// The header `If-None-Match`. What is no list of tags matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(String);

impl IfNoneMatch {
    /// Whether the caller already has what `etag` names. Weak tags match too (RFC 9110, 13.1.2).
    #[must_use]
    pub fn knows(&self, etag: &ETag) -> bool {
        // Most callers send exactly what they were given.
        self.0 == etag.0
            || self.0.trim() == "*"
            || tags(&self.0).is_ok_and(|tags| tags.iter().any(|(_, tag)| *tag == etag.0))
    }
}

impl FromStr for IfNoneMatch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.into()))
    }
}

impl fmt::Display for IfNoneMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_type!(IfNoneMatch, "if_none_match", MetaSchema::new("string"));

/// The header `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: whatever is there.
    Any,
    /// This revision.
    Revision(u64),
    /// A tag that was never given for a revision: weak, or of something else.
    Never,
}

impl IfMatch {
    /// The revision that the caller expects, if it named one.
    pub fn expected(header: Option<Self>) -> Result<Option<u64>, Error> {
        match header {
            None | Some(Self::Any) => Ok(None),
            Some(Self::Revision(revision)) => Ok(Some(revision)),
            Some(Self::Never) => Err(Error::PreconditionFailed),
        }
    }

    /// What the caller of a request that may also make something expects to find.
    pub fn or_nothing(header: Option<Self>) -> Result<Expected, Error> {
        match header {
            None => Ok(Expected::Anything),
            Some(Self::Any) => Ok(Expected::Something),
            Some(Self::Revision(revision)) => Ok(Expected::Revision(revision)),
            Some(Self::Never) => Err(Error::PreconditionFailed),
        }
    }
}

impl FromStr for IfMatch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        match tags(text)?.as_slice() {
            [(false, tag)] => {
                let revision = tag.trim_matches('"').parse::<u64>().ok();
                // Exactly as it was given: not `"07"`.
                let revision = revision.filter(|revision| ETag::of_revision(*revision).0 == *tag);
                Ok(revision.map_or(Self::Never, Self::Revision))
            }
            [(true, _)] => Ok(Self::Never),
            _ => Err("must be `*` or one tag"),
        }
    }
}

impl fmt::Display for IfMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Revision(revision) => ETag::of_revision(*revision).fmt(f),
            Self::Never => f.write_str("\"\""),
        }
    }
}

string_type!(
    IfMatch,
    "if_match",
    MetaSchema { example: Some("\"7\"".into()), ..MetaSchema::new("string") }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_knows_what_it_names() {
        let tag = ETag::of_revision(7);
        let knows = |text: &str| text.parse::<IfNoneMatch>().unwrap().knows(&tag);
        for yes in ["\"7\"", "W/\"7\"", "*", "\"a,b\", \"7\"", "\"1\",W/\"7\" "] {
            assert!(knows(yes), "{yes}");
        }
        for no in ["7", "\"8\"", "\"7", "", "\"a,\"7\"", "\"1\" \"7\""] {
            assert!(!knows(no), "{no}");
        }
    }

    #[test]
    fn one_revision_is_expected_or_none() {
        let expected = |text: &str| IfMatch::expected(Some(text.parse().unwrap()));
        assert_eq!(expected("\"7\"").unwrap(), Some(7));
        assert_eq!(expected("*").unwrap(), None);
        for never in ["W/\"7\"", "\"07\"", "\"+7\"", "\"x\""] {
            assert!(matches!(expected(never), Err(Error::PreconditionFailed)), "{never}");
        }
        for bad in ["7", "\"1\", \"2\"", ""] {
            assert!(bad.parse::<IfMatch>().is_err(), "{bad}");
        }
    }
}
