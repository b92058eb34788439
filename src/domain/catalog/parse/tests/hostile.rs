//! Documents that are meant to hurt: a fault, soon, and never a panic.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn nothing_hostile_panics_or_takes_long() {
    let bomb = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for at in 1..12 {
            let aliases = vec![format!("*a{}", at - 1); 10].join(", ");
            text.push_str(&format!("a{at}: &a{at} [{aliases}]\n"));
        }
        text
    };
    let hostile = [
        "[".repeat(10_000),
        "[".repeat(500_000),
        "[ #]\n".repeat(200_000),
        "{\"a\":".repeat(10_000),
        "{a: ".repeat(900),
        "- ".repeat(20_000),
        "? ".repeat(2_000),
        bomb,
        "a: &a [*a]".to_owned(),
        "a: &a {b: *a}".to_owned(),
        "modules: \0".to_owned(),
        "\0".to_owned(),
        "\"\\u0000\": 1".to_owned(),
        "{\"\\u0000\": 1}".to_owned(),
        "{\"modules\": 1e400}".to_owned(),
        "modules: 1e400".to_owned(),
        "modules: .inf\nplans: .nan\nroles: -.inf".to_owned(),
        "modules: 123456789012345678901234567890".to_owned(),
        "modules: -123456789012345678901234567890".to_owned(),
        "modules: 1234567890123456789012345678901234567890123456789".to_owned(),
        "modules: !!binary aGk=\nplans: !secret [1]\nroles: !x\nguards: !y z".to_owned(),
        "? [a, b]\n: c\n? {a: b}\n: d\n? ~\n: e\n1: f\ntrue: g".to_owned(),
        "%YAML 9.9\n---\na".to_owned(),
        "*unknown".to_owned(),
        "\u{feff}".to_owned(),
        "\u{feff}modules: {a: 1}".to_owned(),
        "\u{202e}: 1".to_owned(),
        format!("{}: 1", "k".repeat(100_000)),
        format!("modules: {{a: {{name: {}}}}}", "n".repeat(1_000_000)),
        " ".repeat(3_000_000),
        "x".repeat(3_000_000),
        format!("modules: {{{}}}", "a: {name: 1}, ".repeat(20_000)),
        format!("plans: {{p: {{name: P, modules: [{}]}}}}", "aaaa, aaab, ".repeat(20_000)),
        "modules:\nfeatures:\nplans:\nroles:\nguards:\nroutes:\nsettings:\nbundles:".to_owned(),
        "modules: {a: }\nplans: {p: }\nroles: {r: }\nroutes: [~]\nguards: {g: }".to_owned(),
    ];
    for text in hostile {
        for format in [Format::Yaml, Format::Json] {
            let start: String = text.chars().take(60).collect();
            let began = Instant::now();
            let faults = parse(&text, format).expect_err(&start);
            assert!(!faults.is_empty() && faults.len() <= 501, "{start}");
            assert!(began.elapsed() < Duration::from_secs(20), "{start}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn aliases_count_with_all_that_they_stand_for() {
    let hundred = vec!["x"; 100].join(", ");
    let many = |of: &str| vec![of; 100].join(", ");
    let text = format!("a: &a [{hundred}]\nb: &b [{}]\nc: [{}]", many("*a"), many("*b"));
    let faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].message.contains("values") || faults[0].message.contains("repetition"));
}

#[test]
fn nesting_is_bounded_and_the_place_is_named() {
    let text = format!("modules: {}{}", "[".repeat(80), "]".repeat(80));
    for format in [Format::Yaml, Format::Json] {
        let text = match format {
            Format::Yaml => text.clone(),
            Format::Json => text.replace("modules", "\"modules\""),
        };
        let text = if format == Format::Json { format!("{{{text}}}") } else { text };
        let faults = parse(&text, format).unwrap_err();
        assert!(faults[0].field.starts_with("modules[0]"), "{faults:?}");
        assert!(faults[0].message.contains("64 levels"), "{faults:?}");
    }
}

#[test]
fn only_the_first_500_faults_are_listed() {
    let entries: String = (0..2_000).map(|at| format!("  k{at}: 1\n")).collect();
    let faults = faults(&format!("modules:\n{entries}"));
    assert_eq!(faults.len(), 501);
    assert!(faults[500].message.contains("more faults"));
}
