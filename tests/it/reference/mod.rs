//! The reference in the documentation is written from the code: each setting, code, reason, event and
//! permission stands in the one table that the program has of it, and the pages have that table
//! between two comments.
//!
//! `UPDATE=1 cargo test --test it reference` writes it; without `UPDATE` it is compared.

mod codes;
mod events;
mod settings;

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    openapi::expect_file,
    sources::{root, sources},
};

/// How what is written begins: `<!-- generated: settings jwt -->`.
const BEGIN: &str = "<!-- generated: ";
/// How it ends.
const END: &str = "<!-- end -->";

/// The page with each of its tables of this kind written anew. `table` is given the words behind the
/// kind.
fn rewritten(text: &str, kind: &str, table: impl Fn(&[&str]) -> String) -> String {
    let (mut written, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (named, after) = after.split_once(" -->\n").expect("the comment ends in its line");
        let (old, after) = after.split_once(END).unwrap_or_else(|| panic!("{named}: no {END}"));
        let words: Vec<_> = named.split(' ').collect();
        let new = if words[0] == kind { table(&words[1..]) } else { old.to_owned() };
        written.push_str(&format!("{before}{BEGIN}{named} -->\n{new}{END}"));
        rest = after;
    }
    written + rest
}

/// Compares a page with what the code says, or writes it.
fn expect_page(page: &str, kind: &str, table: impl Fn(&[&str]) -> String) {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    assert!(text.contains(&format!("{BEGIN}{kind}")), "{page} has no place for {kind}");
    let expected = rewritten(&text, kind, table);
    if expected != text && std::env::var_os("UPDATE").is_none() {
        let new = expected.lines().find(|line| !text.lines().any(|old| old == *line));
        let gone = text.lines().find(|line| !expected.lines().any(|new| new == *line));
        panic!(
            "{page} is stale; write it with UPDATE=1 cargo test --test it reference\n\
             it lacks {new:?}\nit should not have {gone:?}"
        );
    }
    expect_file(page, &expected);
}

/// A table in Markdown.
fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |");
    let heads: Vec<_> = heads.iter().map(|&head| head.to_owned()).collect();
    let mut text = line(&heads) + "|" + &"---|".repeat(heads.len()) + "\n";
    for row in rows {
        assert_eq!(row.len(), heads.len(), "{row:?}");
        assert!(row.iter().all(|cell| !cell.contains(['|', '\n'])), "{row:?}");
        text.push_str(&line(&row));
    }
    text
}

/// As code.
fn code(text: &str) -> String {
    format!("`{text}`")
}

/// What these layers say, without their tests.
fn source(layers: &[&str]) -> String {
    let all = sources("src", &["rs"]);
    let said = all.iter().filter(|source| layers.contains(&source.layer()) && !source.is_test());
    said.map(|source| source.text.split("#[cfg(test)]\nmod tests").next().unwrap()).collect()
}

fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn only_what_stands_between_the_comments_is_written_anew() {
    let page = "a\n<!-- generated: x 1 2 -->\nold\n<!-- end -->\nb\n\
                <!-- generated: y -->\nkept\n<!-- end -->\nc\n";
    let new = rewritten(page, "x", |words| format!("new {}\n", words.join("+")));
    assert_eq!(new, page.replace("old", "new 1+2"));
    assert_eq!(rewritten(page, "z", |_| "nothing".into()), page);
}

#[test]
fn the_page_about_permissions_is_the_table_of_the_code() {
    expect_file("docs/permissions.md", &crate::permissions::printed());
}

#[test]
fn the_page_about_metrics_is_the_table_of_the_code() {
    expect_file("docs/metrics.md", &crate::series::document());
}
