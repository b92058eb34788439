//! Trials are counted: when they begin, become the real thing, and end.

use entitled::service::Actor;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    crash::Server,
    given::day,
    harness::{App, ROOT_KEY},
};

const CATALOG: &str = "
modules:
  crm: {name: CRM}
  erp: {name: ERP}
features:
  seats: {name: Seats, type: limit}
  export: {name: Export, type: boolean}
plans:
  free: {name: Free, rank: 1}
  basic: {name: Basic, rank: 2, modules: [crm], features: {seats: 5}, trial_days: 10, trial_fallback: free}
  small: {name: Small, rank: 3, modules: [crm], features: {seats: 4}}
  pro: {name: Pro, rank: 4, modules: [crm, erp], features: {seats: unlimited, export: true}}
  extra: {name: Extra, kind: add_on, modules: [erp], features: {seats: 9}}
";

async fn acme() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app
}

impl App {
    /// `started converted expired` of grants, then of subscriptions.
    async fn trials(&self, query: &str) -> [String; 2] {
        let path = format!("/api/v1/admin/rollout/report?window=90d&{query}");
        let report = self.root().get(&path).await.expect(200).body;
        ["grant", "subscription"].map(|kind| {
            let rows = report["trials"].as_array().unwrap();
            let of = rows.iter().find(|row| row["kind"] == kind).unwrap();
            format!("{} {} {}", of["started"], of["converted"], of["expired"])
        })
    }

    async fn on_trial(&self, key: &str, until: u32) {
        let body = json!({"state": "trial", "trial_expires_at": day(until)});
        let status = self.grant("acme", key, body).await.status;
        assert!(status == 201 || status == 200, "{status}");
    }

    async fn record_ends(&self) {
        self.service.expire(&Actor::system("test")).await.unwrap();
    }
}

#[tokio::test]
async fn the_trial_of_a_grant_begins_once_ends_once_and_becomes_the_real_thing_once() {
    let app = acme().await;
    app.on_trial("crm", 5).await;
    // A later end is the same trial; the same again is nothing.
    app.on_trial("crm", 6).await;
    app.on_trial("crm", 6).await;
    assert_eq!(app.trials("").await[0], "1 0 0");
    app.move_to_day(6);
    for _ in 0..2 {
        app.record_ends().await;
        assert_eq!(app.trials("").await[0], "1 0 1");
    }
    let ended = app.events("event=grant.trial_expired").await;
    assert_eq!(ended.len(), 1, "{ended:#?}");
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(200);
    app.grant("acme", "crm", json!({"state": "disabled"})).await.expect(200);
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(200);
    assert_eq!(app.trials("").await[0], "1 1 1");
    // Another one.
    app.on_trial("crm", 9).await;
    assert_eq!(app.trials("").await[0], "2 1 1");
}

#[tokio::test]
async fn a_grant_that_was_never_on_trial_is_no_conversion() {
    let app = acme().await;
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(201);
    app.grant("acme", "erp", json!({"state": "disabled"})).await.expect(201);
    app.grant("acme", "erp", json!({"state": "enabled"})).await.expect(200);
    app.assign("acme", "pro", json!({})).await;
    assert_eq!(app.trials("").await, ["0 0 0", "0 0 0"]);
}

#[tokio::test]
async fn a_trial_that_was_taken_away_still_becomes_the_real_thing() {
    let app = acme().await;
    app.on_trial("crm", 5).await;
    let path = "/api/v1/admin/tenants/acme/grants/crm";
    app.root().delete(path).await.expect(204);
    assert_eq!(app.trials("").await[0], "1 0 0");
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(app.trials("").await[0], "1 1 0");
}

#[tokio::test]
async fn the_selection_of_modules_counts_as_each_grant_does() {
    let app = acme().await;
    let select = async |state: &str, end: Value| {
        let mut crm = json!({"state": state});
        if !end.is_null() {
            crm["trial_expires_at"] = end;
        }
        let body = json!({"modules": {"crm": crm}, "reason": "for a test"});
        app.root().put("/api/v1/admin/tenants/acme/modules", body).await.expect(200);
    };
    select("trial", day(5).into()).await;
    assert_eq!(app.trials("").await[0], "1 0 0");
    select("enabled", Value::Null).await;
    assert_eq!(app.trials("").await[0], "1 1 0");
}

#[tokio::test]
async fn an_active_plan_that_gives_it_makes_a_trial_the_real_thing() {
    let app = acme().await;
    for key in ["crm", "erp"] {
        app.on_trial(key, 20).await;
    }
    app.assign("acme", "small", json!({"status": "trialing", "trial_expires_at": day(3)})).await;
    assert_eq!(app.trials("").await, ["2 0 0", "1 0 0"]);
    app.assign("acme", "small", json!({"status": "active"})).await;
    assert_eq!(app.trials("").await, ["2 1 0", "1 1 0"], "it gives crm, and is what was tried");
    app.assign("acme", "extra", json!({})).await;
    assert_eq!(app.trials("").await, ["2 2 0", "1 1 0"], "an add-on gives erp");
}

#[tokio::test]
async fn the_trial_of_a_subscription_becomes_the_real_thing_with_its_status() {
    let app = acme().await;
    app.assign("acme", "basic", json!({})).await;
    assert_eq!(app.trials("").await[1], "1 0 0");
    app.change_subscription("acme", json!({"trial_expires_at": day(12)})).await;
    assert_eq!(app.trials("").await[1], "1 0 0");
    app.move_to_day(12);
    app.record_ends().await;
    app.record_ends().await;
    assert_eq!(app.trials("").await[1], "1 0 1");
    assert_eq!(app.events("event=subscription.trial_expired").await.len(), 1);
    app.change_subscription("acme", json!({"status": "active"})).await;
    app.change_subscription("acme", json!({"status": "overdue"})).await;
    app.change_subscription("acme", json!({"status": "active"})).await;
    assert_eq!(app.trials("").await[1], "1 1 1");
}

#[tokio::test]
async fn another_base_plan_is_a_conversion_only_if_it_is_active_and_gives_as_much() {
    for (plan, more, expected) in [
        ("free", json!({}), "1 0 0"),
        ("small", json!({}), "1 0 0"),
        ("extra", json!({}), "1 0 0"),
        ("pro", json!({"status": "cancelled"}), "1 0 0"),
        ("pro", json!({"status": "trialing", "trial_expires_at": day(5)}), "2 0 0"),
        ("pro", json!({}), "1 1 0"),
        ("basic", json!({"status": "active"}), "1 1 0"),
    ] {
        let app = acme().await;
        app.assign("acme", "basic", json!({})).await;
        app.assign("acme", plan, more).await;
        assert_eq!(app.trials("").await[1], expected, "{plan}");
    }
}

#[tokio::test]
async fn what_is_scheduled_counts_when_it_begins() {
    let app = acme().await;
    let later = |days| json!({"effective_from": day(days)});
    app.assign("acme", "basic", later(2)).await;
    assert_eq!(app.trials("").await[1], "0 0 0");
    app.move_to_day(2);
    app.record_ends().await;
    assert_eq!(app.trials("").await[1], "1 0 0");
    app.assign("acme", "pro", later(4)).await;
    assert_eq!(app.trials("").await[1], "1 0 0");
    app.move_to_day(4);
    app.record_ends().await;
    assert_eq!(app.trials("").await[1], "1 1 0");
    // What is replaced before it begins was none.
    app.tenant("other", json!({})).await;
    app.assign("other", "basic", later(9)).await;
    app.assign("other", "free", later(8)).await;
    app.move_to_day(10);
    app.record_ends().await;
    assert_eq!(app.trials("tenant=other").await[1], "0 0 0");
}

#[tokio::test]
async fn a_redeemed_code_with_an_end_begins_a_trial() {
    let app = acme().await;
    let body = json!({"plan": "pro", "max_redemptions": 1, "duration_days": 7});
    let code = app.root().post("/api/v1/admin/activation-codes", body).await.expect(201).body;
    let redeem = json!({"tenant": "acme", "code": code["code"]});
    let reply = app.root().post("/api/v1/activation-codes/redeem", redeem).await;
    assert!(reply.status < 300, "{:#}", reply.body);
    assert_eq!(app.trials("").await[1], "1 0 0");
}

#[tokio::test]
async fn trials_are_read_by_tenant_by_module_and_by_window() {
    let app = acme().await;
    app.on_trial("crm", 30).await;
    app.on_trial("export", 30).await;
    app.assign("acme", "basic", json!({})).await;
    app.tenant("other", json!({})).await;
    assert_eq!(app.trials("tenant=other").await, ["0 0 0", "0 0 0"]);
    assert_eq!(app.trials("tenant=acme").await, ["2 0 0", "1 0 0"]);
    assert_eq!(app.trials("module=crm").await, ["1 0 0", "0 0 0"]);
    assert_eq!(app.trials("module=erp").await, ["0 0 0", "0 0 0"]);
    app.move_to_day(2);
    let report = app.root().get("/api/v1/admin/rollout/report?window=1d").await.expect(200).body;
    assert_eq!(report["trials"][0]["started"], 0);
}

#[tokio::test]
async fn a_change_that_is_undone_counts_nothing() {
    let app = acme().await;
    // Refused as a whole: the trial of erp never was.
    let trial = json!({"state": "trial", "trial_expires_at": day(5)});
    let body = json!({
        "modules": {"erp": trial.clone(), "none": {"state": "enabled"}}, "reason": "for a test"
    });
    app.root().put("/api/v1/admin/tenants/acme/modules", body).await.expect(422);
    let sql = rusqlite::Connection::open(&app.database).unwrap();
    let fails = "CREATE TRIGGER fails BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'x'); END;";
    sql.execute_batch(fails).unwrap();
    assert_eq!(app.grant("acme", "erp", trial).await.status, 500);
    sql.execute_batch("DROP TRIGGER fails").unwrap();
    app.grant("acme", "erp", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(app.trials("").await, ["0 0 0", "0 0 0"]);
}

/// By a program of its own, so that no other test counts with it.
#[tokio::test]
async fn the_metrics_count_trials_by_kind_and_begin_at_0() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let client = reqwest::Client::new();
    let send = async |method: Method, path: &str, body: Value, status: u16| {
        let request = client.request(method, format!("{}/api/v1/admin/{path}", server.url));
        let answer = request.bearer_auth(ROOT_KEY).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    };
    let scrape = async || {
        let text = client.get(format!("{}/metrics", server.url)).send().await.unwrap();
        let text = text.text().await.unwrap();
        let count = |step: &str, kind: &str| {
            let name = format!("entitlement_trials_{step}_total{{kind=\"{kind}\"}} ");
            let found = text.lines().find_map(|line| line.strip_prefix(&name));
            found.unwrap_or_else(|| panic!("no {name}")).to_owned()
        };
        let of = |step: &str| ["grant", "subscription"].map(|kind| count(step, kind)).join(" ");
        format!("{}, {}", of("started"), of("converted"))
    };
    let catalog = client.put(format!("{}/api/v1/admin/catalog", server.url)).bearer_auth(ROOT_KEY);
    let catalog = catalog.header("content-type", "application/yaml").body(CATALOG);
    assert_eq!(catalog.send().await.unwrap().status(), 200);
    send(Method::POST, "tenants", json!({"key": "acme", "name": "Acme"}), 201).await;
    let (grant, plans) = ("tenants/acme/grants/erp", "tenants/acme/subscriptions");
    let until = "2099-01-01T00:00:00Z";
    assert_eq!(scrape().await, "0 0, 0 0");
    let trial = json!({"state": "trial", "trial_expires_at": until, "reason": "for a test"});
    send(Method::PUT, grant, trial, 201).await;
    assert_eq!(scrape().await, "1 0, 0 0");
    let trial = json!({"plan": "basic", "trial_expires_at": until, "change_reason": "for a test"});
    send(Method::POST, plans, trial, 201).await;
    assert_eq!(scrape().await, "1 1, 0 0");
    send(Method::PUT, grant, json!({"state": "enabled", "reason": "for a test"}), 200).await;
    assert_eq!(scrape().await, "1 1, 1 0");
    let active = json!({"plan": "basic", "status": "active", "change_reason": "for a test"});
    send(Method::POST, plans, active, 201).await;
    assert_eq!(scrape().await, "1 1, 1 1");
}
