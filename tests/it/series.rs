//! That the code, its table, the documents, alerts and dashboards name the same series.

use std::{collections::BTreeSet, sync::LazyLock};

use entitled::telemetry::series::{Kind, Label, SERIES, Series};
use regex::Regex;

use crate::{metrics::populated, sources::sources};

/// A series that is scraped, without what a histogram adds to its name.
fn described(name: &str) -> Option<&'static Series> {
    let of_histogram = |known: &Series| {
        let part = name.strip_prefix(known.name);
        known.kind == Kind::Histogram && matches!(part, Some("_bucket" | "_sum" | "_count"))
    };
    SERIES
        .iter()
        .find(|known| known.name == name && known.kind != Kind::Histogram || of_histogram(known))
}

#[test]
fn what_is_counted_begins_at_0_and_is_described() {
    let program = populated();
    let scraped = program.scrape();
    for known in SERIES {
        let suffix = match known.kind {
            Kind::Gauge => continue,
            Kind::Counter => "",
            Kind::Histogram => "_count",
        };
        let name = format!("{}{suffix}", known.name);
        match known.labels {
            [] => assert!(scraped.contains_key(&name), "{name} is not there from the start"),
            [label] => label.values.iter().for_each(|value| {
                let series = format!("{name}{{{}=\"{value}\"}}", label.name);
                assert_eq!(scraped.get(&series), Some(&0.0), "{series}");
            }),
            [_, _, ..] => {}
        }
    }
    let never_asked = r#"entitlement_module_checks_total{module="hr",outcome="denied"}"#;
    assert_eq!(scraped.get(never_asked), Some(&0.0));
    let text = program.text("/metrics");
    for series in scraped.keys() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let known = described(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
        let labels: BTreeSet<_> = labels.filter(|label| *label != "le").collect();
        let said: BTreeSet<_> = known.labels.iter().map(|label| label.name).collect();
        assert_eq!(labels, said, "{series}");
        let (kind, help) = (known.kind.as_str(), known.help);
        assert!(text.contains(&format!("# HELP {} {help}\n", known.name)), "{name}");
        assert!(text.contains(&format!("# TYPE {} {kind}\n", known.name)), "{name}");
    }
}

#[test]
fn the_code_and_the_table_name_the_same_series() {
    let named = Regex::new(r#"\b(counter|gauge|histogram)!\(\s*"(\w+)""#).unwrap();
    let mut in_code = BTreeSet::new();
    for source in sources("src", &["rs"]) {
        // Tests may name what they like.
        let code = source.text.split("#[cfg(test)]").next().unwrap();
        for found in named.captures_iter(code).filter(|_| !source.is_test()) {
            in_code.insert((found[2].to_owned(), found[1].to_owned()));
        }
    }
    let table = SERIES.iter().map(|known| (known.name.to_owned(), known.kind.as_str().to_owned()));
    let table: BTreeSet<_> = table.collect();
    let missing: Vec<_> = in_code.difference(&table).collect();
    assert!(missing.is_empty(), "add {missing:?} to src/telemetry/series.rs");
    let unused: Vec<_> = table.difference(&in_code).collect();
    assert!(unused.is_empty(), "nobody counts {unused:?}");
    assert_eq!(table.len(), SERIES.len(), "a series stands in the table twice");
}

/// `docs/metrics.md` as the table has it.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         `/metrics` in the Prometheus text format, without a credential; keep it off the public \
         network. This page is written from the code's own table: `UPDATE=1 cargo test --test it \
         reference`.\n\n\
         Counters and histograms are there from the start, at 0, wherever the values of their labels \
         are known. No label is a tenant, a user or a path as it was sent.\n\n\
         | series | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for Series { name, kind, labels, help } in SERIES {
        let label = |label: &Label| match label.values {
            [] => format!("`{}`", label.name),
            values => format!("`{}` (`{}`)", label.name, values.join("`, `")),
        };
        let labels = labels.iter().map(label).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.as_str()));
    }
    text.push_str(include_str!("../data/metrics_notes.md"));
    text
}

/// Names that look like a series of ours.
fn series_in(text: &str) -> BTreeSet<String> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"\b(?:entitlement_[a-z_]+_(?:total|seconds|bytes|entries|rate|version|sequence|waiting|size|mode|percent|open|subscribers)(?:_bucket|_sum|_count)?|(?:permission_denied|super_admin_bypass|damaged_[a-z]+_loads|invariant_violations)_total|http_request_[a-z_]+)\b",
        )
        .unwrap()
    });
    NAME.find_iter(text).map(|name| name.as_str().to_owned()).collect()
}

#[test]
fn documents_alerts_and_dashboards_name_only_series_that_are_shown() {
    let mut unknown = Vec::new();
    let mut files = sources("docs", &["md"]);
    files.extend(sources("deploy", &["yaml", "yml", "json", "md"]));
    for file in files {
        for name in series_in(&file.text) {
            let is_bare = SERIES.iter().any(|known| known.name == name);
            if !is_bare && described(&name).is_none() {
                unknown.push(format!("{}: {name}", file.name));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    // Else it could pass by finding nothing.
    assert_eq!(series_in("rate(entitlement_checks_total[5m])").len(), 1);
    for known in SERIES {
        assert!(series_in(known.name).contains(known.name), "{} is not recognised", known.name);
    }
}
