//! Alerts and dashboards, as Prometheus itself reads them.
//!
//! Needs promtool, which is in the Debian package `prometheus`; without it the tests fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::sources::root;

/// Runs promtool in `deploy/prometheus`, which must succeed.
#[track_caller]
fn promtool(args: &[&str]) -> String {
    let mut command = Command::new("promtool");
    let output = command.args(args).current_dir(root().join("deploy/prometheus")).output();
    let output =
        output.unwrap_or_else(|error| panic!("promtool: {error}; apt-get install prometheus"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

fn yaml(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join("deploy").join(file)).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn alerts() -> Vec<Value> {
    let groups = yaml("prometheus/alerts.yaml")["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn prometheus_takes_its_configuration_with_the_alerts() {
    let said = promtool(&["check", "config", "--lint-fatal", "prometheus.yml"]);
    assert!(said.contains("1 rule files found"), "{said}");
    promtool(&["check", "rules", "--lint-fatal", "alerts.yaml"]);
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    promtool(&["test", "rules", "alerts_test.yaml"]);
    let mut cases = BTreeMap::<String, BTreeSet<bool>>::new();
    for test in yaml("prometheus/alerts_test.yaml")["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
            cases.entry(case["alertname"].as_str().unwrap().into()).or_default().insert(fires);
        }
    }
    let both = |name: &str| (name.to_owned(), BTreeSet::from([false, true]));
    let expected: BTreeMap<_, _> =
        alerts().iter().map(|alert| both(alert["alert"].as_str().unwrap())).collect();
    assert_eq!(cases, expected, "each alert needs a case that fires and one that does not");
}

/// The anchors of the headings of a page, as they are made on the web.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn each_alert_says_how_bad_it_is_what_to_do_and_where_more_stands() {
    let runbook = std::fs::read_to_string(root().join("deploy/runbook.md")).unwrap();
    let anchors = anchors(&runbook);
    for alert in alerts() {
        let said = |name: &str| alert["annotations"][name].as_str().unwrap_or_default();
        assert!(!said("summary").is_empty() && !said("advice").is_empty(), "{alert:#}");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{alert:#}");
        let anchor = said("runbook_url").strip_prefix("deploy/runbook.md#").unwrap_or_default();
        assert!(anchors.contains(anchor), "the runbook has no section for {alert:#}");
    }
}
