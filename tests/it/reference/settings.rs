//! The settings: by their table, their defaults, and what flags and variables really set.

use std::collections::BTreeMap;

use entitled::config::{Flags, Kind, Loaded, SETTINGS, Setting, load};

use super::{code, expect_page, table};
use crate::sources::root;

const PAGE: &str = "docs/configuration.md";

fn loaded(flags: &Flags) -> Loaded {
    load(flags, []).unwrap()
}

/// The flags that set something, by asking them to.
fn flags() -> BTreeMap<&'static str, String> {
    let all =
        Flags { config: None, data: Some("somewhere".into()), listen: Some("127.0.0.1:1".into()) };
    let rows = loaded(&all).rows.into_iter();
    rows.filter_map(|row| Some((row.name, row.source.strip_prefix("flag ")?.to_owned()))).collect()
}

/// The unit that the end of a name says.
fn unit(name: &str) -> &'static str {
    let units = [
        ("_days", " days"),
        ("_hours", " hours"),
        ("_minutes", " minutes"),
        ("_seconds", " seconds"),
        ("_bytes", " bytes"),
        ("_kib", " KiB"),
        (".percent", " percent"),
        (".per_second", " a second"),
    ];
    units.into_iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit)
}

fn takes(setting: &Setting) -> String {
    match setting.kind {
        Kind::Text => "text".into(),
        Kind::Secret => "secret text".into(),
        Kind::Address => "address and port".into(),
        Kind::Choice(words) => words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", "),
        Kind::Networks => "addresses and networks, or `none`".into(),
        Kind::Algorithms => "algorithms, with commas between them".into(),
        Kind::Switch => "`true` or `false`".into(),
        Kind::Number(least, most) => format!("{least} to {most}{}", unit(setting.name)),
    }
}

fn rows(groups: &[&str]) -> String {
    let (defaults, flags) = (loaded(&Flags::default()).rows, flags());
    let is_of = |setting: &&Setting| {
        let group = setting.name.split('.').next().unwrap();
        groups.contains(&group)
    };
    let row = |setting: &Setting| {
        let default = &defaults.iter().find(|row| row.name == setting.name).unwrap().value;
        let default = match default {
            serde_json::Value::Null => "none".into(),
            serde_json::Value::String(text) => code(text),
            other => code(&other.to_string()),
        };
        let flag = flags.get(setting.name).map(|flag| format!(", {}", code(flag)));
        let variable = code(&setting.variable()) + &flag.unwrap_or_default();
        let meaning = setting.meaning.to_owned();
        vec![code(setting.name), variable, takes(setting), default, meaning]
    };
    let heads = ["setting", "variable, flag", "takes", "default", "meaning"];
    table(&heads, SETTINGS.iter().filter(is_of).map(row))
}

#[test]
fn the_tables_of_settings_are_those_of_the_code() {
    assert_eq!(flags().len(), 2);
    expect_page(PAGE, "settings", rows);
}

#[test]
fn every_setting_stands_in_one_table_and_says_something() {
    // It may be about to be written.
    if std::env::var_os("UPDATE").is_some() {
        return;
    }
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    for setting in &SETTINGS {
        let row = format!("\n| `{}` |", setting.name);
        assert_eq!(page.matches(&row).count(), 1, "{}: name its group in {PAGE}", setting.name);
        assert!(setting.meaning.ends_with('.'), "{}", setting.name);
    }
    // A limit that is not 0 to something says its unit, or what it counts.
    let numbers = SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Number(..)));
    assert!(numbers.filter(|setting| !unit(setting.name).is_empty()).count() > 25);
}
