//! What is counted, by a program of its own, so that no other test counts with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use entitled::telemetry::series::{Kind, SERIES};
use regex::Regex;
use reqwest::{Method, blocking::Client};
use serde_json::{Value, json};

use crate::cli::Running;

/// A running program and its super admin.
pub struct Program {
    _running: Running,
    pub url: String,
    pub key: String,
    client: Client,
}

impl Program {
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let (running, url, key) = Running::ephemeral(variables);
        let client = Client::builder().no_proxy().build().unwrap();
        Self { _running: running, url, key, client }
    }

    pub fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.url)).send().unwrap().text().unwrap()
    }

    /// A request by the super admin, and its answer, which must have this status.
    #[track_caller]
    pub fn send(&self, method: Method, path: &str, body: Value, status: u16) -> Value {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let answer = request.bearer_auth(&self.key).json(&body).send().unwrap();
        let found = answer.status().as_u16();
        let text = answer.text().unwrap();
        assert_eq!(found, status, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.send(Method::POST, path, body, status)
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: Value, status: u16) -> Value {
        self.send(Method::PUT, path, body, status)
    }

    /// The reason of the answer to a question.
    #[track_caller]
    fn check(&self, question: Value) -> String {
        let answer = self.post("/api/v1/check", question, 200);
        answer["reason"].as_str().unwrap().to_owned()
    }

    /// Every line of a scrape: its value by its name and labels, the labels in order.
    pub fn scrape(&self) -> BTreeMap<String, f64> {
        let text = self.text("/metrics");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(sample).collect()
    }
}

fn sample(line: &str) -> (String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap();
    let Some((name, labels)) = series.split_once('{') else { return (series.to_owned(), value) };
    static LABEL: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(\w+)="((?:[^"\\]|\\.)*)""#).unwrap());
    let labels = LABEL.captures_iter(labels).map(|label| label[0].to_owned());
    let labels: Vec<String> = labels.collect::<BTreeSet<_>>().into_iter().collect();
    (format!("{name}{{{}}}", labels.join(",")), value)
}

/// What grew between two scrapes, by how much.
fn growth(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<String> {
    let mut lines = Vec::new();
    for (series, value) in after {
        let name = series.split('{').next().unwrap();
        let counts = SERIES.iter().any(|known| match known.kind {
            Kind::Counter => known.name == name,
            Kind::Histogram => format!("{}_count", known.name) == name,
            Kind::Gauge => false,
        });
        // These move by themselves, or by the scrape.
        let beside = name.starts_with("entitlement_expiry_") || series.contains("\"/metrics\"");
        let grown = value - before.get(series).unwrap_or(&0.0);
        if counts && !beside && grown != 0.0 {
            lines.push(format!("{series} {grown}"));
        }
    }
    lines
}

const CATALOG: &str = "
modules:
  crm: {name: CRM}
  erp: {name: ERP}
  hr: {name: HR}
features:
  reports: {name: Reports, type: boolean, module: erp}
  seats: {name: Seats, type: limit, usage: gauge, module: crm}
plans:
  basic: {name: Basic, rank: 10, modules: [crm], features: {seats: 3}}
roles:
  staff: {name: Staff, context: platform, bypass: true}
  reader: {name: Reader, context: tenant, permissions: [crm.read]}
guards:
  erp.open: {module: erp}
  crm.read: {module: crm, all_permissions: [crm.read]}
";

/// A tenant on `basic` with a reader, and somebody of the staff.
pub fn populated() -> Program {
    let program = Program::start(&[]);
    let catalog = program.client.put(format!("{}/api/v1/admin/catalog", program.url));
    let catalog = catalog.bearer_auth(&program.key).header("content-type", "application/yaml");
    assert_eq!(catalog.body(CATALOG).send().unwrap().status(), 200);
    program.post("/api/v1/admin/tenants", json!({"key": "acme", "name": "Acme"}), 201);
    let plan = json!({"plan": "basic", "change_reason": "for a test"});
    program.post("/api/v1/admin/tenants/acme/subscriptions", plan, 201);
    let reader = json!({"user": "ria", "role": "reader"});
    program.post("/api/v1/tenants/acme/role-assignments", reader, 201);
    let staff = json!({"user": "sue", "role": "staff"});
    program.post("/api/v1/admin/role-assignments", staff, 201);
    program
}

#[test]
fn a_scrape_shows_exactly_the_checks_that_were_made() {
    let program = populated();
    let before = program.scrape();
    let ask = |question: Value| {
        let mut asked = json!({"tenant": "acme"});
        asked.as_object_mut().unwrap().extend(question.as_object().unwrap().clone());
        program.check(asked)
    };
    for _ in 0..3 {
        assert_eq!(ask(json!({"module": "crm"})), "plan");
    }
    assert_eq!(ask(json!({"module": "erp"})), "plan_limit");
    assert_eq!(ask(json!({"features": ["reports"]})), "plan_limit");
    assert_eq!(ask(json!({"guard": "erp.open"})), "plan_limit");
    assert_eq!(ask(json!({"guard": "crm.read", "user": "ria"})), "plan");
    assert_eq!(ask(json!({"guard": "crm.read", "user": "nil"})), "permission_denied");
    assert_eq!(ask(json!({"permission": "crm.read", "user": "nil"})), "permission_denied");
    let bypass = json!({"module": "hr", "user": "sue", "mode": "platform"});
    assert_eq!(ask(bypass), "super_admin_bypass");
    // A question that can't be answered is no decision, and a payload is only a request.
    program.post("/api/v1/check", json!({"tenant": "acme", "module": "nope"}), 422);
    program.send(Method::GET, "/api/v1/tenants/acme/entitlements", Value::Null, 200);
    let batch = json!({"checks": [{"tenant": "acme", "module": "crm"}, {"tenant": "acme", "module": "hr"}]});
    program.post("/api/v1/check/batch", batch, 200);
    let take =
        |requested: u64| json!({"tenant": "acme", "feature": "seats", "requested": requested});
    program.post("/api/v1/usage/consume", take(2), 200);
    program.post("/api/v1/usage/consume", take(2), 200);
    program.post("/api/v1/usage/reserve", take(1), 200);

    let expected = [
        r#"entitlement_check_duration_seconds_count 15"#,
        r#"entitlement_checks_total{outcome="allowed",reason="plan"} 7"#,
        r#"entitlement_checks_total{outcome="allowed",reason="super_admin_bypass"} 1"#,
        r#"entitlement_checks_total{outcome="denied",reason="limit_reached"} 1"#,
        r#"entitlement_checks_total{outcome="denied",reason="permission_denied"} 2"#,
        r#"entitlement_checks_total{outcome="denied",reason="plan_limit"} 4"#,
        r#"entitlement_denied_total{reason="limit_reached"} 1"#,
        r#"entitlement_denied_total{reason="permission_denied"} 2"#,
        r#"entitlement_denied_total{reason="plan_limit"} 4"#,
        r#"entitlement_guard_denied_total{guard="crm.read",reason="permission_denied"} 1"#,
        r#"entitlement_guard_denied_total{guard="erp.open",reason="plan_limit"} 1"#,
        r#"entitlement_http_requests_total{method="GET",route="/api/v1/tenants/{tenant}/entitlements",status="200"} 1"#,
        r#"entitlement_http_requests_total{method="POST",route="/api/v1/check",status="200"} 10"#,
        r#"entitlement_http_requests_total{method="POST",route="/api/v1/check",status="422"} 1"#,
        r#"entitlement_http_requests_total{method="POST",route="/api/v1/check/batch",status="200"} 1"#,
        r#"entitlement_http_requests_total{method="POST",route="/api/v1/usage/consume",status="200"} 2"#,
        r#"entitlement_http_requests_total{method="POST",route="/api/v1/usage/reserve",status="200"} 1"#,
        r#"entitlement_module_checks_total{module="crm",outcome="allowed"} 7"#,
        r#"entitlement_module_checks_total{module="crm",outcome="denied"} 2"#,
        r#"entitlement_module_checks_total{module="erp",outcome="denied"} 3"#,
        r#"entitlement_module_checks_total{module="hr",outcome="allowed"} 1"#,
        r#"entitlement_module_checks_total{module="hr",outcome="denied"} 1"#,
        r#"entitlement_usage_taken_total 3"#,
        r#"http_request_duration_seconds_count{method="GET",route="/api/v1/tenants/{tenant}/entitlements",status="200"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",route="/api/v1/check",status="200"} 10"#,
        r#"http_request_duration_seconds_count{method="POST",route="/api/v1/check",status="422"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",route="/api/v1/check/batch",status="200"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",route="/api/v1/usage/consume",status="200"} 2"#,
        r#"http_request_duration_seconds_count{method="POST",route="/api/v1/usage/reserve",status="200"} 1"#,
        r#"permission_denied_total 2"#,
        r#"super_admin_bypass_total 1"#,
    ];
    let grown = growth(&before, &program.scrape());
    // How memory is asked is told below; and the background writes too.
    let beside = ["entitlement_cache_", "entitlement_write_"];
    let is_beside = |line: &String| beside.iter().any(|prefix| line.starts_with(prefix));
    let (beside, grown): (Vec<_>, Vec<_>) = grown.into_iter().partition(is_beside);
    assert_eq!(grown, expected);
    let waited = beside.iter().find(|line| line.starts_with("entitlement_write_wait_seconds"));
    let waited: u64 = waited.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(waited >= 3, "a bypass, what was consumed and what was reserved: {beside:?}");
}

#[test]
fn a_scrape_shows_how_often_memory_was_asked_and_knew() {
    let program = populated();
    let before = program.scrape();
    for _ in 0..5 {
        assert_eq!(program.check(json!({"tenant": "acme", "module": "crm"})), "plan");
    }
    let after = program.scrape();
    let memory: Vec<_> = growth(&before, &after)
        .into_iter()
        .filter(|line| line.starts_with("entitlement_cache_"))
        .collect();
    let expected = [
        "entitlement_cache_hits_total 4",
        "entitlement_cache_loads_total 1",
        "entitlement_cache_misses_total 1",
    ];
    assert_eq!(memory, expected);
    let [hits, misses] = ["hits", "misses"].map(|n| after[&format!("entitlement_cache_{n}_total")]);
    assert_eq!(after["entitlement_cache_hit_rate"], hits / (hits + misses));
}

#[test]
fn what_is_only_open_because_nothing_is_enforced_is_counted_by_what_it_would_be() {
    let program = populated();
    program.put("/api/v1/admin/rollout", json!({"mode": "shadow", "percent": 25}), 200);
    let before = program.scrape();
    assert_eq!(program.check(json!({"tenant": "acme", "module": "erp"})), "gating_disabled");
    assert_eq!(program.check(json!({"tenant": "acme", "module": "crm"})), "plan");
    let after = program.scrape();
    let of_checks = |line: &String| line.starts_with("entitlement_") && !line.contains("_http_");
    let beside = ["entitlement_cache_", "entitlement_write_", "entitlement_check_duration"];
    let grown = growth(&before, &after).into_iter().filter(of_checks);
    let grown: Vec<_> =
        grown.filter(|line| !beside.iter().any(|prefix| line.starts_with(prefix))).collect();
    let expected = [
        r#"entitlement_checks_total{outcome="allowed",reason="gating_disabled"} 1"#,
        r#"entitlement_checks_total{outcome="allowed",reason="plan"} 1"#,
        r#"entitlement_module_checks_total{module="crm",outcome="allowed"} 1"#,
        r#"entitlement_module_checks_total{module="erp",outcome="would_deny"} 1"#,
        r#"entitlement_shadow_denied_total{reason="plan_limit"} 1"#,
    ];
    assert_eq!(grown, expected);
    let mode = |mode| after[&format!("entitlement_rollout_mode{{mode=\"{mode}\"}}")];
    assert_eq!(["off", "shadow", "enforce"].map(mode), [0.0, 1.0, 0.0]);
    assert_eq!(after["entitlement_rollout_percent"], 25.0);
}

#[test]
fn the_mode_that_is_shown_is_the_one_that_holds() {
    let program = Program::start(&[("ENABLE_ENTITLEMENTS_GATING", "false")]);
    program.put("/api/v1/admin/rollout", json!({"mode": "enforce", "percent": 100}), 200);
    let shown = program.scrape();
    assert_eq!(shown[r#"entitlement_rollout_mode{mode="off"}"#], 1.0);
    assert_eq!(shown[r#"entitlement_rollout_mode{mode="enforce"}"#], 0.0);
}

#[test]
fn overrides_and_selections_are_counted() {
    let program = populated();
    assert_eq!(program.scrape()["entitlement_overrides_open"], 0.0);
    let soon = chrono::Utc::now() + chrono::Duration::days(5);
    let made = json!({
        "tenant": "acme", "key": "hr", "enabled": true, "reason": "for a test of what is counted",
        "expires_at": soon.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    });
    let made = program.post("/api/v1/admin/overrides", made, 201);
    assert_eq!(program.scrape()["entitlement_overrides_open"], 1.0);
    let path = format!("/api/v1/admin/overrides/{}", made["id"].as_str().unwrap());
    program.send(Method::DELETE, &path, json!({"reason": "it was only a test"}), 204);
    let selection = json!({"modules": {"erp": {"state": "enabled"}}, "reason": "a choice"});
    program.put("/api/v1/admin/tenants/acme/modules?dry_run=true", selection.clone(), 200);
    program.put("/api/v1/admin/tenants/acme/modules", selection, 200);
    program.put("/api/v1/admin/tenants/acme/modules", json!({"modules": {"nope": {}}}), 422);
    let shown = program.scrape();
    assert_eq!(shown["entitlement_overrides_open"], 0.0);
    assert_eq!(shown["entitlement_module_selections_total"], 1.0);
}
