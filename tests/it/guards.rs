//! Guards and limits in checks, at their edges.

use entitled::engine::Gating;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Given};

const CATALOG: &str = "
modules:
  shop: {name: Shop}
features:
  calls: {name: Calls, type: limit, usage: counter, reset: month, on_limit: warn}
  orders: {name: Orders, type: limit, usage: counter, reset: month}
plans:
  basic: {name: Basic, rank: 1, modules: [shop], features: {calls: 10, orders: 5}}
  large: {name: Large, rank: 2, modules: [shop], features: {calls: 10, orders: 50}}
guards:
  frugal:
    limit: {feature: orders}
    conditions: [{unless: features.calls.used < 2, reason: busy, code: BUSY, message: Busy.}]
  fair: {conditions: [{unless: resource.is_fair, reason: unfair, code: UNFAIR, message: Not fair.}]}
routes:
  - {path: '/fair/**', guard: fair}
  - {path: '/any/**'}
";

async fn app() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "basic", json!({})).await;
    app
}

fn usage(feature: &str, current: u64) -> Value {
    json!({"tenant": "acme", "usage": {"feature": feature, "current": current}})
}

#[tokio::test]
async fn a_limit_that_only_warns_lets_past_what_is_given_and_not_what_is_taken_away() {
    let app = app().await;
    let over = app.check(usage("calls", 10)).await;
    assert_eq!((&over["allowed"], &over["reason"]), (&json!(true), &json!("plan")), "{over:#}");
    assert_eq!(over["data"], json!({"currentCount": 10, "limit": 10, "upgradeRequired": false}));
    assert!(over["message"].as_str().unwrap().contains("only warned of"));
    let end = app.clock.now().plus_days(7);
    let body = json!({"tenant": "acme", "key": "calls", "enabled": false, "expires_at": end,
                      "reason": "abuse"});
    app.root().post("/api/v1/admin/overrides", body).await.expect(201);
    let refused = app.check(usage("calls", 0)).await;
    assert_eq!(refused["reason"], "limit_reached", "{refused:#}");
    assert_eq!(refused["source"]["kind"], "override");
}

#[tokio::test]
async fn waiting_for_the_reset_helps() {
    let app = app().await;
    let refused = app.check(usage("orders", 5)).await;
    assert_eq!(refused["reason"], "limit_reached");
    let remedies = refused["remedies"].as_array().unwrap();
    assert_eq!(remedies[0], json!({"kind": "upgrade_plan", "plans": ["large"]}));
    let wait = remedies.last().unwrap();
    assert_eq!((&wait["kind"], &wait["at"]), (&json!("wait_until"), &refused["valid_until"]));
    let mut later = usage("orders", 5);
    later["at"] = wait["at"].clone();
    let allowed = app.check(later).await;
    assert_eq!((&allowed["allowed"], &allowed["limit"]["used"]), (&json!(true), &json!(0)));
}

#[tokio::test]
async fn a_limit_is_asked_for_as_an_object() {
    let app = app().await;
    let listed = json!({"tenant": "acme", "usage": ["orders", 1, 3]});
    let reply = app.backend().post("/api/v1/check", listed).await;
    assert_eq!(
        reply.expect(422).body["fields"].as_object().unwrap().keys().next().unwrap(),
        "usage"
    );
}

#[tokio::test]
async fn a_condition_gives_its_own_reason_also_where_nothing_is_enforced() {
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = App::given(given).await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "basic", json!({})).await;
    let answer = app.check(json!({"tenant": "acme", "guard": "fair"})).await;
    assert_eq!((&answer["reason"], &answer["would_reason"]), (&json!("unfair"), &json!("unfair")));
}

#[tokio::test]
async fn a_guard_of_conditions_alone_is_no_way_around_having_a_tenant() {
    let app = app().await;
    for path in ["/fair/x", "/any/x"] {
        let headers = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", path)];
        let reply = app.root().send(Method::GET, "/api/v1/authorize", None, &headers).await;
        let reply = reply.expect(403);
        assert_eq!(reply.body["code"], "TENANT_REQUIRED", "{:#}", reply.body);
    }
}

#[tokio::test]
async fn a_guard_that_asks_for_nothing_by_mistake_is_refused_at_its_place() {
    let app = app().await;
    let catalog = "
guards:
  a: {any_permission: []}
  b: {all_permissions: []}
  c: {conditions: [{unless: 'true', reason: plan_limit, code: X, message: No.}]}
";
    let path = "/api/v1/admin/catalog";
    let reply = app.root().send_text(Method::PUT, path, "application/yaml", catalog).await;
    let fields = reply.expect(422).body["fields"].as_object().unwrap().clone();
    let places: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        places,
        ["guards.a.any_permission", "guards.b.all_permissions", "guards.c.conditions[0].reason"]
    );
}

#[tokio::test]
async fn a_condition_sees_the_same_usage_in_a_check_and_when_taking() {
    let app = app().await;
    let used = json!({"tenant": "acme", "feature": "calls", "set": 2});
    app.backend().post("/api/v1/usage", used).await.expect(200);
    let body = json!({"tenant": "acme", "guard": "frugal"});
    assert_eq!(app.check(body.clone()).await["reason"], "busy");
    // With an idempotency key what is in memory refuses nothing by itself: the writer decides.
    for key in [None, Some("k-1")] {
        let mut body = body.clone();
        body["idempotency_key"] = json!(key);
        for path in ["/api/v1/usage/consume", "/api/v1/usage/reserve"] {
            let mut body = body.clone();
            body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let answer = app.backend().post(path, body).await.expect(200).body;
            assert_eq!(answer["reason"], "busy", "{path} {key:?}: {answer:#}");
        }
    }
}
