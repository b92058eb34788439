//! The codes of problems, and the reasons and codes of decisions.

use std::collections::BTreeSet;

use entitled::{
    domain::{
        checks::{Code, Reason},
        reasons::Answers,
    },
    http::codes::{PROBLEM_CODES, ProblemCode},
};
use poem::http::StatusCode;
use regex::Regex;

use super::{code, expect_page, found, source, table};

/// Where problems are raised.
const LAYERS: [&str; 6] = ["domain", "engine", "error", "store", "service", "worker"];

/// The table itself is no use of a code.
fn source_of_http() -> String {
    let table = std::fs::read_to_string(crate::sources::root().join("src/http/codes.rs")).unwrap();
    source(&["http"]).replace(&table, "")
}

/// Codes with the status under which the code raises them, wherever one expression says both.
fn raised(text: &str) -> BTreeSet<(u16, String)> {
    let mut raised = BTreeSet::new();
    let both = Regex::new(r#"StatusCode::([A-Z_]+),\s*"([A-Z_]+)""#).unwrap();
    let statuses: Vec<StatusCode> = (400..=599).filter_map(|n| n.try_into().ok()).collect();
    for found in both.captures_iter(text) {
        let named = |status: &&StatusCode| {
            let name = status.canonical_reason().unwrap_or_default();
            name.to_uppercase().replace([' ', '-'], "_") == found[1]
        };
        let status = statuses.iter().find(named).unwrap_or_else(|| panic!("{}", &found[1]));
        raised.insert((status.as_u16(), found[2].to_owned()));
    }
    for (status, pattern) in [
        (409, r#"Conflict\s*\{\s*code: "([A-Z_]+)""#),
        (422, r#"Invalid\s*\{\s*code: "([A-Z_]+)""#),
        (403, r#"\brefused\(\s*"([A-Z_]+)", &?detail"#),
        (503, r#"Self::\w+ => "(STORAGE_[A-Z_]+)""#),
    ] {
        raised.extend(found(pattern, text).into_iter().map(|code| (status, code)));
    }
    raised
}

#[test]
fn every_code_of_a_problem_stands_in_the_table_under_its_status() {
    let text = source(&LAYERS) + &source_of_http();
    let in_table: BTreeSet<(u16, String)> =
        PROBLEM_CODES.iter().map(|known| (known.status, known.code.to_owned())).collect();
    assert_eq!(in_table.len(), PROBLEM_CODES.len(), "a code stands in the table twice");
    let raised = raised(&text);
    assert!(raised.len() > 50, "{raised:?}");
    let missing: Vec<_> = raised.difference(&in_table).collect();
    assert!(missing.is_empty(), "say in src/http/codes.rs what these mean: {missing:?}");
    // Codes that are named apart from their status.
    let mut used = found(r#""([A-Z]+(?:_[A-Z]+)+)""#, &text);
    used.retain(|word| {
        !["ENTITLED_", "ENABLE_", "CARGO_"].iter().any(|start| word.starts_with(start))
    });
    used.extend(raised.into_iter().map(|(_, code)| code));
    used.extend(found(r#"\b\d{3} => \("([A-Z_]+)""#, &text));
    used.extend(found(r#"is_client_error\(\) => \("([A-Z_]+)""#, &text));
    let known = |code: &str| PROBLEM_CODES.iter().any(|known| known.code == code);
    let of_decisions: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let missing: Vec<_> =
        used.iter().filter(|code| !known(code) && !of_decisions.contains(&code.as_str())).collect();
    assert!(missing.is_empty(), "say in src/http/codes.rs what these mean: {missing:?}");
    let stale: Vec<_> =
        PROBLEM_CODES.iter().map(|known| known.code).filter(|code| !used.contains(*code)).collect();
    assert!(stale.is_empty(), "there are no such codes: {stale:?}");
}

#[test]
fn the_table_of_problems_is_that_of_the_code() {
    let row = |known: &ProblemCode| {
        let ProblemCode { status, code: name, cause, way_out } = *known;
        vec![status.to_string(), code(name), cause.into(), way_out.into()]
    };
    assert!(PROBLEM_CODES.is_sorted_by_key(|known| known.status), "sort src/http/codes.rs");
    let heads = ["status", "code", "cause", "way out"];
    expect_page("docs/api.md", "problems", |_| table(&heads, PROBLEM_CODES.iter().map(row)));
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let row = |reason: Reason| {
        let meaning = reason.meaning();
        let answer = match meaning.answers {
            Answers::Yes => "yes",
            Answers::No => "no",
            Answers::Either => "yes or no",
        };
        assert!(!meaning.case.is_empty(), "{reason:?}");
        // A refusal that nobody could change would be a dead end.
        assert!(meaning.answers == Answers::Yes || !meaning.changed_by.is_empty(), "{reason:?}");
        vec![code(reason.as_str()), answer.into(), meaning.case.into(), meaning.changed_by.into()]
    };
    let heads = ["reason", "answer", "meaning", "who can change it"];
    expect_page("docs/api.md", "reasons", |_| table(&heads, Reason::ALL.map(row)));
}

#[test]
fn the_table_of_refusals_is_that_of_the_code() {
    let row = |it: Code| vec![code(it.as_str()), it.status().to_string(), it.meaning().into()];
    let heads = ["code", "status", "what is refused"];
    expect_page("docs/api.md", "refusals", |_| table(&heads, Code::ALL.map(row)));
}
