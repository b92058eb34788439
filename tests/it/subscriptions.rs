//! Subscriptions: assigned, scheduled, changed, ended.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day, limits},
    harness::{App, Reply},
};

const CATALOG: &str = r#"
modules:
  retail: {name: Retail}
  dine: {name: Dine}
  zf: {name: ZF}
features:
  branches: {name: Branches, type: limit}
  tone: {name: Tone, type: config}
plans:
  starter: {name: Starter, rank: 10, modules: [retail], features: {branches: 1, tone: plain}}
  growth: {name: Growth, rank: 20, modules: [retail, dine], features: {branches: 5}, trial_days: 14, trial_fallback: starter}
  taster: {name: Taster, rank: 30, modules: [zf], features: {branches: 2}, trial_days: 7}
  more_branches: {name: More branches, kind: add_on, stack: add, rank: 5, features: {branches: 10}}
  many_branches: {name: Many branches, kind: add_on, rank: 6, features: {branches: 8, tone: rich}}
  automation: {name: Automation, kind: add_on, rank: 7, modules: [zf], trial_days: 3}
  member: {name: Member, audience: user, rank: 1}
"#;

const PATH: &str = "/api/v1/admin/tenants/acme/subscriptions";

async fn acme() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app
}

async fn assign(app: &App, plan: &str, more: Value) -> Value {
    app.assign("acme", plan, more).await.body
}

/// Tries to assign a plan.
async fn try_assign(app: &App, plan: &str, more: Value) -> Reply {
    let mut body = json!({"plan": plan, "change_reason": "for a test"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.root().post(PATH, body).await
}

async fn patch(app: &App, id: &Value, change: Value) -> Reply {
    let mut body = json!({"change_reason": "for a test"});
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    app.root().patch(&format!("{PATH}/{}", id.as_str().unwrap()), body).await
}

/// Plan, start and end of every subscription, newest first.
async fn history(app: &App) -> Vec<(Value, Value, Value)> {
    let list = app.root().get(PATH).await.expect(200).body;
    let of = |field| column(&list, field);
    let spans = of("effective_from").into_iter().zip(of("effective_to"));
    of("plan").into_iter().zip(spans).map(|(plan, (from, to))| (plan, from, to)).collect()
}

async fn branches(app: &App) -> Value {
    limits(&app.entitlements("acme").await)["branches"].clone()
}

async fn plan(app: &App) -> Value {
    app.entitlements("acme").await["plan"]["key"].clone()
}

#[tokio::test]
async fn a_new_subscription_is_shown_whole() {
    let app = acme().await;

    let made = try_assign(&app, "starter", json!({})).await.expect(201);

    let id = made.body["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "tenant": "acme", "kind": "base", "plan": "starter", "plan_version": 1,
        "status": "active", "effective_from": day(0), "effective_to": null,
        "trial_expires_at": null, "trial_fallback": null, "overdue_since": null, "quantity": 1,
        "change_reason": "for a test", "created_at": day(0), "updated_at": day(0),
    });
    assert_eq!(made.body, expected);
    assert_eq!(made.header("location"), format!("{PATH}/{id}"));
    let read = app.root().get(&format!("{PATH}/{id}")).await.expect(200);
    assert_eq!((read.header("etag"), &read.body), (made.header("etag"), &expected));
}

#[tokio::test]
async fn another_base_plan_ends_the_one_before() {
    let app = acme().await;
    assign(&app, "starter", json!({})).await;
    app.move_to_day(1);
    assign(&app, "growth", json!({})).await;

    let expected = [
        (json!("growth"), json!(day(1)), Value::Null),
        (json!("starter"), json!(day(0)), json!(day(1))),
    ];
    assert_eq!(history(&app).await, expected);
    assert_eq!(plan(&app).await, "growth");
}

#[tokio::test]
async fn a_scheduled_plan_takes_over_at_its_instant_without_a_gap() {
    let app = acme().await;
    assign(&app, "starter", json!({})).await;
    assign(&app, "growth", json!({"effective_from": day(5), "status": "active"})).await;

    app.move_to_end_of_day(5);
    assert_eq!(app.entitlements("acme").await["valid_until"], day(5));
    assert_eq!(app.module("acme", "retail").await, "allowed plan");
    assert_eq!(app.module("acme", "dine").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    app.move_to_day(5);
    assert_eq!(app.module("acme", "dine").await, "allowed plan");
    assert_eq!(plan(&app).await, "growth");
}

#[tokio::test]
async fn a_first_plan_that_is_scheduled_tells_a_blocked_tenant_when() {
    let app = acme().await;
    assign(&app, "starter", json!({"effective_from": day(5)})).await;

    let answer = app.check(json!({"tenant": "acme", "module": "retail"})).await;

    assert_eq!(
        (&answer["reason"], &answer["valid_until"]),
        (&json!("no_subscription"), &json!(day(5)))
    );
    assert_eq!(answer["remedies"][0], json!({"kind": "wait_until", "at": day(5)}));
}

#[tokio::test]
async fn an_earlier_change_takes_the_place_of_one_that_never_began() {
    let app = acme().await;
    assign(&app, "starter", json!({})).await;
    assign(&app, "growth", json!({"effective_from": day(9)})).await;
    assign(&app, "taster", json!({"effective_from": day(5)})).await;

    let expected = [
        (json!("taster"), json!(day(5)), Value::Null),
        (json!("starter"), json!(day(0)), json!(day(5))),
    ];
    assert_eq!(history(&app).await, expected);
    assert_eq!(app.events("event=subscription.unscheduled").await.len(), 1);
}

#[tokio::test]
async fn the_past_is_not_rewritten() {
    let app = acme().await;
    app.move_to_day(2);
    let refused = try_assign(&app, "starter", json!({"effective_from": day(1)})).await;
    let refused = refused.expect_problem(422, "INVALID_VALUE").body;
    assert!(refused["fields"]["effective_from"].is_array(), "{refused:#}");
    assert_eq!(history(&app).await, []);
}

#[tokio::test]
async fn add_ons_that_stack_add_up_and_others_compete() {
    let app = acme().await;
    assign(&app, "starter", json!({})).await;
    assign(&app, "many_branches", json!({})).await;
    assert_eq!(branches(&app).await, 8);
    let id = assign(&app, "more_branches", json!({"quantity": 2})).await["id"].clone();
    assert_eq!(branches(&app).await, 28);
    patch(&app, &id, json!({"quantity": 1})).await.expect(200);
    assert_eq!(branches(&app).await, 18);
    let payload = app.entitlements("acme").await;
    // Starter has the higher rank.
    assert_eq!(payload["features"]["tone"]["value"], "plain");
}

#[tokio::test]
async fn an_add_on_stands_beside_the_base_plan() {
    let app = acme().await;
    assign(&app, "starter", json!({})).await;

    let made = assign(&app, "automation", json!({"status": "active"})).await;

    assert_eq!(made["kind"], "add_on");
    assert_eq!(app.module("acme", "zf").await, "allowed add_on");
    assert_eq!(plan(&app).await, "starter");
    patch(&app, &made["id"], json!({"status": "suspended"})).await.expect(200);
    assert_eq!(app.module("acme", "zf").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    assert_eq!(app.module("acme", "retail").await, "allowed plan");
}

#[tokio::test]
async fn an_add_on_alone_does_not_open_a_tenant() {
    let app = acme().await;
    assign(&app, "automation", json!({})).await;
    assert_eq!(app.module("acme", "zf").await, "refused no_subscription TENANT_BLOCKED 403");
}

#[tokio::test]
async fn a_subscription_ends_at_the_instant_not_after_it() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    patch(&app, &id, json!({"effective_to": day(3)})).await.expect(200);

    app.move_to_end_of_day(3);
    assert_eq!(app.module("acme", "retail").await, "allowed plan");
    app.move_to_day(3);
    assert_eq!(app.module("acme", "retail").await, "refused no_subscription TENANT_BLOCKED 403");
}

#[tokio::test]
async fn an_end_that_has_not_come_may_be_taken_back() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    patch(&app, &id, json!({"effective_to": day(3)})).await.expect(200);
    patch(&app, &id, json!({"effective_to": null})).await.expect(200);
    app.move_to_day(3);
    assert_eq!(app.module("acme", "retail").await, "allowed plan");
}

#[tokio::test]
async fn an_ended_subscription_is_history() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    patch(&app, &id, json!({"effective_to": day(3)})).await.expect(200);
    app.move_to_day(3);

    let reopened = patch(&app, &id, json!({"effective_to": null})).await;
    reopened.expect_problem(409, "SUBSCRIPTION_CLOSED");
    let path = format!("{PATH}/{}/migrate", id.as_str().unwrap());
    let moved = app.root().post(&path, json!({"change_reason": "too late"})).await;
    moved.expect_problem(409, "SUBSCRIPTION_CLOSED");
}

#[tokio::test]
async fn a_base_plan_ends_no_later_than_the_next_begins() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    assign(&app, "growth", json!({"effective_from": day(5)})).await;

    for end in [json!(day(6)), Value::Null] {
        let refused = patch(&app, &id, json!({"effective_to": end})).await;
        let refused = refused.expect_problem(422, "INVALID_VALUE").body;
        assert!(refused["fields"]["effective_to"].is_array(), "{refused:#}");
    }
    patch(&app, &id, json!({"effective_to": day(4)})).await.expect(200);
    app.move_to_day(4);
    assert_eq!(app.module("acme", "retail").await, "refused no_subscription TENANT_BLOCKED 403");
}

#[tokio::test]
async fn a_wrong_assignment_names_every_fault() {
    let app = acme().await;
    for (plan, more, code, expected) in [
        ("growht", json!({}), "UNKNOWN_KEY", vec!["plan"]),
        ("member", json!({}), "INVALID_VALUE", vec!["plan"]),
        ("starter", json!({"status": "trialing"}), "INVALID_VALUE", vec!["trial_expires_at"]),
        (
            "starter",
            json!({"status": "active", "trial_expires_at": day(3), "quantity": 0}),
            "INVALID_VALUE",
            vec!["quantity", "trial_expires_at"],
        ),
        ("starter", json!({"change_reason": "no"}), "INVALID_VALUE", vec!["change_reason"]),
    ] {
        let refused = try_assign(&app, plan, more).await.expect_problem(422, code).body;
        let fields: Vec<&String> = refused["fields"].as_object().unwrap().keys().collect();
        assert_eq!(fields, expected, "{refused:#}");
    }
    assert_eq!(history(&app).await, []);
}

#[tokio::test]
async fn a_patch_must_change_something_that_can_be_changed() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    for change in [
        json!({}),
        json!({"quantity": 0}),
        json!({"status": "trialing"}),
        json!({"trial_expires_at": day(9)}),
        json!({"effective_to": "2026-01-01T00:00:00Z"}),
        json!({"plan": "growth"}),
    ] {
        patch(&app, &id, change).await.expect_problem(422, "INVALID_VALUE");
    }
    let missing = patch(&app, &json!("sub_unknown"), json!({"quantity": 2})).await;
    missing.expect_problem(404, "NOT_FOUND");
    assert_eq!(app.events("event=subscription.updated").await.len(), 0);
}

#[tokio::test]
async fn a_subscription_belongs_to_its_tenant() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    let id = app.assign("other", "starter", json!({})).await.body["id"].clone();
    patch(&app, &id, json!({"quantity": 2})).await.expect_problem(404, "NOT_FOUND");
    let nobody = "/api/v1/admin/tenants/nobody/subscriptions";
    app.root().get(nobody).await.expect_problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn a_patch_made_for_another_state_is_refused() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    let path = format!("{PATH}/{}", id.as_str().unwrap());
    let change = async |tag: &str, quantity: u32| {
        let body = Some(json!({"quantity": quantity, "change_reason": "for a test"}));
        app.root().send(Method::PATCH, &path, body, &[("If-Match", tag)]).await
    };
    assert_eq!(change("\"1\"", 2).await.expect(200).header("etag"), "\"2\"");
    change("\"1\"", 3).await.expect_problem(412, "PRECONDITION_FAILED");
    assert_eq!(app.root().get(&path).await.body["quantity"], 2);
}

#[tokio::test]
async fn the_same_assignment_sent_twice_happens_once() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    let send = async |path: &str, plan: &str| {
        let body = Some(json!({"plan": plan, "change_reason": "for a test"}));
        app.root().send(Method::POST, path, body, &[("Idempotency-Key", "once")]).await
    };
    let first = send(PATH, "starter").await.expect(201);
    // Something else happens in between; the answer stays the first.
    patch(&app, &first.body["id"], json!({"quantity": 2})).await.expect(200);

    assert_eq!(send(PATH, "starter").await.expect(201).body, first.body);
    assert_eq!(history(&app).await.len(), 1);
    send(PATH, "growth").await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    let of_other = send("/api/v1/admin/tenants/other/subscriptions", "starter").await;
    of_other.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn the_history_comes_in_pages_newest_first() {
    let app = acme().await;
    for plan in ["starter", "growth", "taster"] {
        assign(&app, plan, json!({})).await;
        app.advance(crate::given::days(1));
    }
    let first = app.root().get(&format!("{PATH}?limit=2")).await.expect(200).body;
    assert_eq!(column(&first, "plan"), [json!("taster"), json!("growth")]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let last = app.root().get(&format!("{PATH}?limit=2&cursor={cursor}")).await.expect(200).body;
    assert_eq!(
        (column(&last, "plan"), &last["next_cursor"]),
        (vec![json!("starter")], &Value::Null)
    );
}

#[tokio::test]
async fn a_subscription_may_be_ended_now() {
    let app = acme().await;
    let id = assign(&app, "starter", json!({})).await["id"].clone();
    patch(&app, &id, json!({"effective_to": day(0)})).await.expect(200);
    assert_eq!(app.module("acme", "retail").await, "refused no_subscription TENANT_BLOCKED 403");
    assign(&app, "starter", json!({})).await;
    assert_eq!(app.module("acme", "retail").await, "allowed plan");
}
