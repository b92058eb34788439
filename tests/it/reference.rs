//! What programs branch on stands in the documentation: each code of a problem and each event of the
//! audit trail, and none that there isn't.

use std::collections::BTreeSet;

use regex::Regex;

use crate::sources::{Source, sources};

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

/// What these layers say, without their tests.
fn code(layers: &[&str]) -> String {
    let all = sources("src", &["rs"]);
    let said = all.iter().filter(|source| layers.contains(&source.layer()) && !source.is_test());
    said.map(|source| source.text.split("#[cfg(test)]\nmod tests").next().unwrap()).collect()
}

fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The lines of tables in the documentation that begin like this.
fn rows(pages: &[Source], begin: &str) -> String {
    let begin = Regex::new(begin).unwrap();
    let lines = pages.iter().flat_map(|page| page.text.lines());
    lines.filter(|line| begin.is_match(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_code_of_a_problem_stands_in_a_table_of_the_documentation_and_no_other() {
    let code = code(&["domain", "engine", "error", "store", "service", "http", "worker"]);
    let mut used = found(r#"StatusCode::\w+, "([A-Z_]+)""#, &code);
    let words = found(r#""([A-Z]+(?:_[A-Z]+)+)""#, &code);
    used.extend(words.into_iter().filter(|word| {
        !["ENTITLED_", "ENABLE_", "CARGO_"].iter().any(|start| word.starts_with(start))
    }));
    assert!(used.len() > 40 && used.contains("UNKNOWN_KEY") && used.contains("INTERNAL"));
    let pages = sources("docs", &["md"]);
    let in_tables = found("`([A-Z][A-Z_]+)`", &rows(&pages, r"^\|"));
    let missing: Vec<_> = used.difference(&in_tables).collect();
    assert!(missing.is_empty(), "say in docs/api.md what these mean: {missing:?}");
    // The cells beside the status; those behind them say what to do.
    let beside = Regex::new(r"(?m)^\| \d{3} \|([^|]*)\|").unwrap();
    let rows = rows(&pages, r"^\| \d{3} \|");
    let cells: String = beside.captures_iter(&rows).map(|cells| cells[1].to_owned()).collect();
    let with_status = found("`([A-Z][A-Z_]+)`", &cells);
    let stale: Vec<_> = with_status.difference(&used).collect();
    assert!(stale.is_empty(), "there are no such codes: {stale:?}");
}

#[test]
fn every_event_of_the_audit_trail_stands_in_the_table_of_events_and_no_other() {
    let mut used = found(r#""((?:[a-z_]+\.)+[a-z_]+)""#, &code(&["domain", "store", "service"]));
    used.retain(|word| !NOT_EVENTS.contains(&word.as_str()) && !word.ends_with(".rs"));
    assert!(used.len() > 50 && used.contains("api_key.created"));
    let pages = sources("docs", &["md"]);
    let security = pages.iter().find(|page| page.name == "docs/security.md").unwrap();
    let (_, table) = security.text.split_once("| about | events |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    let documented = found(r"`((?:[a-z_]+\.)+[a-z_]+)`", table);
    let missing: Vec<_> = used.difference(&documented).collect();
    assert!(missing.is_empty(), "say in docs/security.md what these are about: {missing:?}");
    let stale: Vec<_> = documented.difference(&used).collect();
    assert!(stale.is_empty(), "there are no such events: {stale:?}");
}
