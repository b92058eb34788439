//! Plans that change while tenants are on them: each keeps its version until it is moved.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::App;

const CATALOG: &str = "
modules:
  retail: {name: Retail}
  crm: {name: CRM}
features:
  branches: {name: Branches, type: limit}
  tone: {name: Tone, type: config}
plans:
  basic: {name: Basic, rank: 1, modules: [retail], features: {branches: 1}}
  plus: {name: Plus, rank: 2, inherits: basic, modules: [crm]}
";

const BRANCHES: &str = "features: {branches: 1}";

/// Acme is on a plan, in its first version.
async fn acme_on(plan: &str) -> (App, String) {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    let id = app.assign("acme", plan, json!({})).await.body["id"].clone();
    let path = format!("/api/v1/admin/tenants/acme/subscriptions/{}", id.as_str().unwrap());
    (app, path)
}

async fn migrate(app: &App, path: &str, query: &str) -> Value {
    let path = format!("{path}/migrate{query}");
    app.root().post(&path, json!({"change_reason": "the new terms"})).await.expect(200).body
}

async fn branches(app: &App) -> Value {
    app.entitlements("acme").await["limits"]["branches"]["limit"].clone()
}

#[tokio::test]
async fn a_subscription_keeps_its_plan_version_until_it_is_moved() {
    let (app, path) = acme_on("basic").await;
    let richer = CATALOG.replace(BRANCHES, "features: {branches: 3, tone: calm}");
    app.put_catalog("", richer).await.expect(200);
    assert_eq!(branches(&app).await, 1);

    let preview = migrate(&app, &path, "?dry_run=true").await;
    assert_eq!(branches(&app).await, 1);
    let moved = migrate(&app, &path, "").await;

    assert_eq!(branches(&app).await, 3);
    let changes = json!([{"key": "features.branches", "before": 1, "after": 3},
                         {"key": "features.tone", "before": null, "after": "calm"}]);
    assert_eq!((&preview["changes"], &preview["dry_run"]), (&changes, &json!(true)));
    for same in ["changes", "from_version", "to_version"] {
        assert_eq!(preview[same], moved[same], "{same}");
    }
    assert_eq!(moved["subscription"]["plan_version"], 2);
    assert_eq!(moved["subscription"]["change_reason"], "the new terms");
}

#[tokio::test]
async fn what_a_plan_inherits_is_pinned_with_it() {
    let (app, path) = acme_on("plus").await;
    let richer = CATALOG.replace(BRANCHES, "features: {branches: 3}");
    app.put_catalog("", richer).await.expect(200);
    assert_eq!(branches(&app).await, 1);
    migrate(&app, &path, "").await;
    assert_eq!(branches(&app).await, 3);
}

#[tokio::test]
async fn a_new_subscription_gets_the_newest_version_at_once() {
    let (app, _) = acme_on("basic").await;
    app.put_catalog("", CATALOG.replace(BRANCHES, "features: {branches: 3}")).await.expect(200);
    app.assign("acme", "basic", json!({})).await;
    assert_eq!(branches(&app).await, 3);
}

#[tokio::test]
async fn moving_what_is_newest_already_changes_nothing() {
    let (app, path) = acme_on("basic").await;
    let before = app.root().get(&path).await.expect(200);

    let moved = migrate(&app, &path, "").await;

    assert_eq!((&moved["changes"], &moved["to_version"]), (&json!([]), &json!(1)));
    let after = app.root().get(&path).await.expect(200);
    assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body));
    assert_eq!(app.events("event=subscription.migrated").await.len(), 0);
}

#[tokio::test]
async fn a_move_made_for_another_state_is_refused() {
    let (app, path) = acme_on("basic").await;
    app.put_catalog("", CATALOG.replace(BRANCHES, "features: {branches: 3}")).await.expect(200);
    app.change_subscription("acme", json!({"quantity": 2})).await;

    let body = Some(json!({"change_reason": "the new terms"}));
    let path = format!("{path}/migrate");
    let reply = app.root().send(Method::POST, &path, body, &[("If-Match", "\"1\"")]).await;

    reply.expect_problem(412, "PRECONDITION_FAILED");
    assert_eq!(branches(&app).await, 1);
}

#[tokio::test]
async fn a_plan_that_somebody_is_on_keeps_its_kind_and_audience() {
    let (app, _) = acme_on("plus").await;
    for (field, other) in [("kind", "add_on"), ("audience", "user")] {
        let catalog = CATALOG
            .replace("inherits: basic, ", "")
            .replace("name: Plus,", &format!("name: Plus, {field}: {other},"));
        let refused = app.put_catalog("", catalog).await;
        let refused = refused.expect_problem(422, "KEY_IN_USE").body;
        assert!(refused["fields"][format!("plans.plus.{field}")].is_array(), "{refused:#}");
    }
    assert_eq!(app.module("acme", "crm").await, "allowed plan");
}

#[tokio::test]
async fn an_older_catalog_is_not_applied_again_over_what_is_in_use() {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    let larger = CATALOG.replace("crm: {name: CRM}", "crm: {name: CRM}\n  erp: {name: ERP}");
    app.put_catalog("", larger).await.expect(200);
    app.tenant("acme", json!({})).await;
    app.grant("acme", "erp", json!({"state": "enabled"})).await.expect(201);

    let path = "/api/v1/admin/catalog/versions/1/apply";
    let refused = app.root().send(Method::POST, path, None, &[]).await;

    refused.expect_problem(422, "KEY_IN_USE");
    assert_eq!(app.module("acme", "erp").await, "refused no_subscription TENANT_BLOCKED 403");
}
