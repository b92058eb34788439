//! The events of the audit trail.

use std::collections::BTreeSet;

use entitled::domain::audit_events::{AUDIT_EVENTS, EventKind, WrittenBy};

use super::{code, expect_page, found, source, table};

/// Words of the source that look like events and are none.
const NOT_EVENTS: [&str; 6] = [
    "copy.db",
    "head.next",
    "jwt.jwks",
    "jwt.secret",
    "usage.feature",
    // Of a webhook, not of the trail.
    "webhook.test",
];

#[test]
fn every_event_of_the_audit_trail_stands_in_the_table_and_no_other() {
    let path = crate::sources::root().join("src/domain/audit_events.rs");
    let text = source(&["domain", "store", "service"])
        .replace(&std::fs::read_to_string(path).unwrap(), "");
    let mut used = found(r#""((?:[a-z_]+\.)+[a-z_]+)""#, &text);
    used.retain(|word| !NOT_EVENTS.contains(&word.as_str()) && !word.ends_with(".rs"));
    assert!(used.len() > 50 && used.contains("api_key.created"));
    let known: BTreeSet<_> = AUDIT_EVENTS.iter().map(|event| event.name.to_owned()).collect();
    assert_eq!(known.len(), AUDIT_EVENTS.len(), "an event stands in the table twice");
    let missing: Vec<_> = used.difference(&known).collect();
    assert!(missing.is_empty(), "say in src/domain/audit_events.rs what these are: {missing:?}");
    let stale: Vec<_> = known.difference(&used).collect();
    assert!(stale.is_empty(), "there are no such events: {stale:?}");
}

#[test]
fn the_table_of_events_is_that_of_the_code() {
    let row = |event: &EventKind| {
        let EventKind { name, about, subject, by, meaning } = *event;
        let by = match by {
            WrittenBy::Caller => "who makes the change",
            WrittenBy::Service => "the service",
        };
        vec![code(name), about.into(), subject.into(), by.into(), meaning.into()]
    };
    let heads = ["event", "about", "`subject`", "written by", "meaning"];
    expect_page("docs/security.md", "events", |_| table(&heads, AUDIT_EVENTS.iter().map(row)));
}
