//! Alerts and dashboards, as Prometheus itself reads them.
//!
//! Needs promtool, which is in the Debian package `prometheus`; without it the tests fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::{Value, json};

use crate::sources::{root, sources};

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

/// Expressions as Prometheus reads them: what Grafana fills in is filled in.
fn filled(expression: &str) -> String {
    let filled = [("$__rate_interval", "5m"), ("$__range", "1h"), ("$instance", ".*")]
        .iter()
        .fold(expression.to_owned(), |text, (variable, value)| text.replace(variable, value));
    assert!(!filled.contains('$'), "an unknown variable: {expression}");
    filled
}

/// Has Prometheus parse each of these.
#[track_caller]
fn parses(expressions: &[String]) {
    assert!(!expressions.is_empty(), "nothing was found");
    let rules = expressions.iter().enumerate();
    let rules = rules.map(|(n, expr)| json!({"record": format!("q{n}"), "expr": expr}));
    let rules = json!({"groups": [{"name": "q", "rules": rules.collect::<Vec<_>>()}]});
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), rules.to_string()).unwrap();
    let said = promtool(&["check", "rules", file.path().to_str().unwrap()]);
    assert!(said.contains(&format!("{} rules found", expressions.len())), "{said}");
}

/// Every dashboard with its file's name.
fn dashboards() -> Vec<(String, Value)> {
    let files = sources("deploy/grafana", &["json"]);
    files.into_iter().map(|file| (file.name, serde_json::from_str(&file.text).unwrap())).collect()
}

/// The corners of a panel: left, top, and the first column and row beyond it.
fn place(panel: &Value) -> [u64; 4] {
    let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
    [at("x"), at("y"), at("x") + at("w"), at("y") + at("h")]
}

#[test]
fn each_dashboard_is_one_that_grafana_loads() {
    let (mut uids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for (name, board) in dashboards() {
        assert!(board["schemaVersion"].as_u64().unwrap() >= 36, "{name}");
        let uid = board["uid"].as_str().unwrap();
        assert_eq!(name, format!("deploy/grafana/{uid}.json"));
        assert!(uid.len() <= 40 && uids.insert(uid.to_owned()), "{name}");
        assert!(titles.insert(board["title"].as_str().unwrap().to_owned()), "{name}");
        let variables = board["templating"]["list"].as_array().unwrap();
        let of = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap();
        assert_eq!(
            (&of("datasource")["type"], &of("datasource")["query"]),
            (&json!("datasource"), &json!("prometheus"))
        );
        assert_eq!(of("instance")["type"], "query");
        let panels = board["panels"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {panel:#}");
            assert!(!panel["title"].as_str().unwrap().is_empty(), "{name}: {panel:#}");
            let [left, top, right, bottom] = place(panel);
            assert!(left < right && right <= 24 && top < bottom, "{name}: {panel:#}");
            for other in panels.iter().filter(|other| other["id"] != panel["id"]) {
                let [l, t, r, b] = place(other);
                let apart = right <= l || r <= left || bottom <= t || b <= top;
                assert!(apart, "{name}: {} lies on {}", panel["title"], other["title"]);
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(["timeseries", "stat", "bargauge"].contains(&panel["type"].as_str().unwrap()));
            let datasource = json!({"type": "prometheus", "uid": "${datasource}"});
            assert_eq!(panel["datasource"], datasource, "{name}: {}", panel["title"]);
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {panel:#}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{name}: {panel:#}");
        }
    }
    let expected = ["entitled-api", "entitled-enforcement", "entitled-impact", "entitled-modules"];
    assert_eq!(uids.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn each_panel_asks_what_prometheus_understands() {
    let mut expressions = Vec::new();
    for (_, board) in dashboards() {
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().unwrap();
                assert!(expression.contains("$instance"), "asks of all instances: {expression}");
                expressions.push(filled(expression));
            }
        }
    }
    parses(&expressions);
}

#[test]
fn each_query_of_the_runbook_is_one_that_prometheus_understands() {
    parses(&crate::runbook::blocks("promql"));
}
