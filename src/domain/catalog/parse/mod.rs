//! From a document to a [`Catalog`], with every fault named at its place.
//!
//! Invariants: reading never stops at a fault; a catalog comes out only if there is none. What is
//! faulty in itself still counts as defined, so that one fault doesn't drag others behind it.

use std::{collections::BTreeMap, str::FromStr};

use super::{
    check,
    cursor::{Cursor, Record, parse_key},
    findings::Findings,
    model::{Catalog, DefaultRoute, Settings},
    node::{self, Format},
};
use crate::{
    domain::{conditions::Scope, keys::BadKey},
    error::Fault,
};

mod guards;
mod modules;
mod plans;
mod roles;
mod routes;

#[cfg(test)]
mod tests;

/// The sections of a document.
const SECTIONS: [&str; 8] =
    ["modules", "bundles", "features", "plans", "roles", "guards", "routes", "settings"];

/// Longest sections. Resolved plans grow with plans × features, which is why these are the small
/// ones.
const MAX_ENTRIES: usize = 5_000;
const MAX_PLANS: usize = 500;
const MAX_ROUTES: usize = 20_000;

/// Why a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Somebody wants it to become the catalog.
    Applied,
    /// It was the catalog before, perhaps of an older version of the service.
    Stored,
}

/// Reads a catalog.
///
/// # Errors
/// Every fault of the document at once, up to 500, each with its place in it.
pub fn parse(text: &str, format: Format) -> Result<Catalog, Vec<Fault>> {
    parse_for(text, format, Reading::Applied)
}

/// Reads a catalog that was applied before. A condition whose expression can't be used any more
/// never holds ([`Catalog::unusable_conditions`]).
///
/// # Errors
/// As [`parse`], but for expressions.
pub fn parse_stored(text: &str, format: Format) -> Result<Catalog, Vec<Fault>> {
    parse_for(text, format, Reading::Stored)
}

fn parse_for(text: &str, format: Format, reading: Reading) -> Result<Catalog, Vec<Fault>> {
    let findings = Findings::default();
    let catalog = node::read(text, format, &findings).map(|tree| {
        read(&Cursor { node: &tree, path: String::new(), findings: &findings }, reading)
    });
    let faults = findings.into_faults();
    match catalog {
        Some(catalog) if faults.is_empty() => Ok(catalog),
        Some(_) | None => Err(faults),
    }
}

fn read(document: &Cursor<'_>, reading: Reading) -> Catalog {
    let root = document.record(&SECTIONS);
    let modules = section(&root, "modules", MAX_ENTRIES, |item| modules::module(&item));
    let bundles = section(&root, "bundles", MAX_ENTRIES, |item| modules::bundle(&item));
    let features = section(&root, "features", MAX_ENTRIES, |item| modules::feature(&item));
    let plans = section(&root, "plans", MAX_PLANS, |item| plans::plan(&item, &features));
    let scope = Scope::of(features.iter().map(|(key, draft)| (key, &draft.feature)));
    let expressions = guards::Expressions::new(scope, reading);
    let catalog = Catalog {
        modules,
        bundles,
        plans,
        roles: section(&root, "roles", MAX_ENTRIES, |item| roles::role(&item)),
        guards: section(&root, "guards", MAX_ENTRIES, |item| guards::guard(&item, &expressions)),
        routes: root.get("routes").map(|list| routes::routes(&list)).unwrap_or_default(),
        settings: root.get("settings").map(|item| settings(&item)).unwrap_or_default(),
        features: features.into_iter().map(|(key, draft)| (key, draft.feature)).collect(),
    };
    check::check(&catalog, document.findings);
    catalog
}

/// A mapping from keys to entries.
fn section<K: FromStr<Err = BadKey> + Ord, V>(
    root: &Record<'_>,
    name: &str,
    max: usize,
    read: impl Fn(Cursor<'_>) -> V,
) -> BTreeMap<K, V> {
    let Some(section) = root.get(name) else { return BTreeMap::new() };
    let entries = section.entries("a mapping of keys").unwrap_or_default();
    if entries.len() > max {
        section.fault(format!("it may have at most {max} entries"));
        return BTreeMap::new();
    }
    let mut map = BTreeMap::new();
    for (key, item) in entries {
        let key = parse_key(key, &item);
        let value = read(item);
        if let Some(key) = key {
            map.insert(key, value);
        }
    }
    map
}

fn settings(item: &Cursor<'_>) -> Settings {
    let record = item.record(&["overdue_grace_days", "default_route"]);
    let otherwise = Settings::default();
    Settings {
        overdue_grace_days: days(&record, "overdue_grace_days", 0)
            .unwrap_or(otherwise.overdue_grace_days),
        default_route: record.word_or(
            "default_route",
            &[("deny", DefaultRoute::Deny), ("allow", DefaultRoute::Allow)],
            otherwise.default_route,
        ),
    }
}

/// A number of days, at most ten years.
fn days(record: &Record<'_>, name: &str, min: i64) -> Option<u32> {
    record.get(name)?.whole(min, 3_650).and_then(|days| u32::try_from(days).ok())
}

/// A number that the database can hold.
fn count(record: &Record<'_>, name: &str) -> Option<u64> {
    record.get(name)?.whole(0, i64::MAX).and_then(|count| u64::try_from(count).ok())
}
