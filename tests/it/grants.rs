//! Grants, one by one and as a selection of modules.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day, limits, shown},
    harness::{App, Reply},
};

const CATALOG: &str = r#"
modules:
  common: {name: Common, access: always_on}
  settings: {name: Settings, access: rbac_only}
  crm: {name: CRM}
  email: {name: Email}
  erp: {name: ERP}
bundles:
  back_office: {name: Back office, modules: [crm, erp]}
  mixed: {name: Mixed, modules: [common, email]}
features:
  branches: {name: Branches, type: limit}
  reports: {name: Reports, type: boolean}
  rules: {name: Rules, type: boolean, module: settings}
  tone: {name: Tone, type: config}
plans:
  basic: {name: Basic, rank: 1, modules: [email], features: {branches: 3, tone: calm}}
"#;

const PATH: &str = "/api/v1/admin/tenants/acme";

/// Acme is on basic, which gives email, three branches and a calm tone.
async fn acme() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "basic", json!({})).await;
    app
}

async fn grant(app: &App, key: &str, more: Value) -> Reply {
    app.grant("acme", key, more).await
}

async fn select(app: &App, selection: Value) -> Reply {
    app.root().put(&format!("{PATH}/modules"), selection).await
}

/// The keys that have grants.
async fn granted(app: &App) -> Vec<String> {
    let list = app.root().get(&format!("{PATH}/grants")).await.expect(200).body;
    column(&list, "key").iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// The fields that a refusal names.
#[track_caller]
fn fields(reply: Reply, code: &str) -> Vec<String> {
    let fields = reply.expect_problem(422, code).body["fields"].clone();
    fields.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn a_grant_is_made_then_replaced() {
    let app = acme().await;
    let made = grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);
    let expected = json!({"tenant": "acme", "key": "crm", "state": "enabled", "value": null,
                          "seats": null, "trial_expires_at": null, "reason": "for a test",
                          "created_at": day(0), "updated_at": day(0)});
    assert_eq!((made.header("etag"), &made.body), ("\"1\"", &expected));
    assert_eq!(app.module("acme", "crm").await, "allowed grant");
    app.move_to_day(1);

    let replaced = grant(&app, "crm", json!({"state": "disabled"})).await.expect(200);

    assert_eq!(replaced.header("etag"), "\"2\"");
    let body = &replaced.body;
    assert_eq!((&body["created_at"], &body["updated_at"]), (&json!(day(0)), &json!(day(1))));
    assert_eq!(app.module("acme", "crm").await, "refused disabled MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn the_same_grant_again_changes_nothing() {
    let app = acme().await;
    let made = grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);
    app.move_to_day(1);

    let again = grant(&app, "crm", json!({"state": "enabled"})).await.expect(200);

    assert_eq!((again.header("etag"), &again.body), (made.header("etag"), &made.body));
    assert_eq!(app.events("event=grant.").await.len(), 1);
}

#[tokio::test]
async fn a_removed_grant_leaves_what_the_plan_gives() {
    let app = acme().await;
    grant(&app, "email", json!({"state": "disabled"})).await.expect(201);
    assert_eq!(app.module("acme", "email").await, "refused disabled MODULE_NOT_ENTITLED 403");

    app.root().delete(&format!("{PATH}/grants/email")).await.expect(204);

    assert_eq!(app.module("acme", "email").await, "allowed plan");
    let again = app.root().delete(&format!("{PATH}/grants/email")).await;
    again.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_granted_limit_replaces_the_plans_also_downwards() {
    let app = acme().await;
    for (value, reads) in
        [(json!(1), json!(1)), (json!(9), json!(9)), (json!("unlimited"), json!("unlimited"))]
    {
        grant(&app, "branches", json!({"state": "enabled", "value": value})).await;
        assert_eq!(limits(&app.entitlements("acme").await)["branches"], reads);
        assert_eq!(app.feature("acme", "branches").await, "allowed grant");
    }
}

#[tokio::test]
async fn a_withheld_limit_reads_nothing() {
    let app = acme().await;
    grant(&app, "branches", json!({"state": "disabled"})).await.expect(201);

    assert_eq!(limits(&app.entitlements("acme").await)["branches"], 0);
    assert_eq!(app.feature("acme", "branches").await, "refused disabled FEATURE_NOT_ENTITLED 402");
}

#[tokio::test]
async fn a_granted_config_value_replaces_the_plans() {
    let app = acme().await;
    let value = json!({"greeting": "hi", "exclamation": 3});
    grant(&app, "tone", json!({"state": "enabled", "value": value})).await.expect(201);

    let tone = app.entitlements("acme").await["features"]["tone"].clone();
    assert_eq!((&tone["value"], &tone["reason"]), (&value, &json!("grant")));
}

#[tokio::test]
async fn a_trial_ends_at_its_instant() {
    let app = acme().await;
    let trial = json!({"state": "trial", "trial_expires_at": day(3)});
    grant(&app, "crm", trial).await.expect(201);

    app.move_to_end_of_day(3);
    let before = app.check(json!({"tenant": "acme", "module": "crm"})).await;
    assert_eq!((&before["reason"], &before["valid_until"]), (&json!("trial"), &json!(day(3))));
    app.move_to_day(3);
    assert_eq!(app.module("acme", "crm").await, "refused trial_expired MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn a_value_must_fit_the_type_of_its_feature() {
    let app = acme().await;
    for (key, more) in [
        ("branches", json!({"state": "enabled"})),
        ("branches", json!({"state": "enabled", "value": -1})),
        ("branches", json!({"state": "enabled", "value": 1.5})),
        ("branches", json!({"state": "enabled", "value": "many"})),
        ("branches", json!({"state": "enabled", "value": null})),
        ("branches", json!({"state": "disabled", "value": 1})),
        ("tone", json!({"state": "enabled"})),
        ("reports", json!({"state": "enabled", "value": true})),
        ("crm", json!({"state": "enabled", "value": 1})),
    ] {
        let refused = grant(&app, key, more.clone()).await;
        assert_eq!(fields(refused, "INVALID_VALUE"), ["value"], "{key} {more}");
    }
    assert_eq!(granted(&app).await, [] as [&str; 0]);
}

#[tokio::test]
async fn only_a_trial_has_an_end_and_it_lies_ahead() {
    let app = acme().await;
    for more in [
        json!({"state": "trial"}),
        json!({"state": "trial", "trial_expires_at": day(0)}),
        json!({"state": "enabled", "trial_expires_at": day(3)}),
        json!({"state": "trial", "trial_expires_at": "2026-04-01T00:00:00"}),
    ] {
        let refused = grant(&app, "crm", more.clone()).await;
        assert_eq!(fields(refused, "INVALID_VALUE"), ["trial_expires_at"], "{more}");
    }
}

#[tokio::test]
async fn what_needs_no_entitlement_is_never_granted_or_withheld() {
    let app = acme().await;
    for key in ["common", "settings"] {
        for state in ["enabled", "disabled"] {
            let refused = grant(&app, key, json!({"state": state})).await;
            assert_eq!(fields(refused, "INVALID_VALUE"), ["key"], "{key}");
        }
    }
    // Its features are.
    grant(&app, "rules", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(app.feature("acme", "rules").await, "allowed grant");
}

#[tokio::test]
async fn an_unknown_key_names_the_nearest() {
    let app = acme().await;
    let refused = grant(&app, "branchs", json!({"state": "enabled"})).await;
    let refused = refused.expect_problem(422, "UNKNOWN_KEY").body;
    assert!(refused["fields"]["key"][0].as_str().unwrap().contains("“branches”"), "{refused:#}");
    let nobody = app.grant("nobody", "crm", json!({"state": "enabled"})).await;
    nobody.expect_problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn every_fault_of_a_grant_is_named_at_once() {
    let app = acme().await;
    let more = json!({"state": "trial", "value": 1, "seats": 1, "trial_expires_at": day(0)});
    let refused = grant(&app, "common", more).await;
    assert_eq!(fields(refused, "INVALID_VALUE"), ["key", "trial_expires_at", "value"]);
}

#[tokio::test]
async fn a_grant_edited_from_another_state_is_refused() {
    let app = acme().await;
    let set = async |tag: &str, state: &str| {
        let body = Some(json!({"state": state, "reason": "for a test"}));
        let path = format!("{PATH}/grants/crm");
        app.root().send(Method::PUT, &path, body, &[("If-Match", tag)]).await
    };
    // Where nothing is, nothing matches.
    set("*", "enabled").await.expect_problem(412, "PRECONDITION_FAILED");
    set("\"1\"", "enabled").await.expect_problem(412, "PRECONDITION_FAILED");
    grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);
    set("\"1\"", "disabled").await.expect(200);
    set("\"1\"", "enabled").await.expect_problem(412, "PRECONDITION_FAILED");
    let path = format!("{PATH}/grants/crm");
    let delete =
        async |tag| app.root().send(Method::DELETE, &path, None, &[("If-Match", tag)]).await;
    delete("\"1\"").await.expect_problem(412, "PRECONDITION_FAILED");
    delete("\"2\"").await.expect(204);
}

#[tokio::test]
async fn a_selection_replaces_module_grants_and_leaves_those_on_features() {
    let app = acme().await;
    grant(&app, "reports", json!({"state": "enabled"})).await.expect(201);
    grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);

    let selection = json!({"modules": {"erp": {"state": "trial", "trial_expires_at": day(9)}},
                           "reason": "another choice"});
    let selected = select(&app, selection).await.expect(200).body;

    assert_eq!(granted(&app).await, ["erp", "reports"]);
    assert_eq!(selected["modules"]["erp"]["trial_expires_at"], day(9));
    assert_eq!(selected["modules"]["erp"]["reason"], "another choice");
    let read = app.root().get(&format!("{PATH}/modules")).await.expect(200).body;
    assert_eq!(read, selected);
    assert_eq!(app.module("acme", "crm").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    assert_eq!(app.module("acme", "erp").await, "allowed trial");
}

#[tokio::test]
async fn a_bundle_gives_its_modules_and_modules_by_name_win() {
    let app = acme().await;
    let selection = json!({"bundles": ["back_office", "mixed"],
                           "modules": {"erp": {"state": "disabled"}}, "reason": "the whole office"});
    let selected = select(&app, selection).await.expect(200).body;

    // Common is always on, and needs none.
    assert_eq!(granted(&app).await, ["crm", "email", "erp"]);
    assert_eq!(selected["modules"]["erp"]["state"], "disabled");
    assert_eq!(selected["bundles"], json!([]));
    let selection = json!({"bundles": ["back_office"], "reason": "the whole office"});
    assert_eq!(select(&app, selection).await.expect(200).body["bundles"], json!(["back_office"]));
}

#[tokio::test]
async fn an_empty_selection_takes_every_module_grant_back() {
    let app = acme().await;
    grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);
    grant(&app, "reports", json!({"state": "enabled"})).await.expect(201);

    select(&app, json!({"reason": "the pilot is over"})).await.expect(200);

    assert_eq!(granted(&app).await, ["reports"]);
    let removed = app.events("event=grant.removed").await;
    assert_eq!((removed.len(), &removed[0]["reason"]), (1, &json!("the pilot is over")));
}

#[tokio::test]
async fn a_selection_with_a_fault_changes_nothing_at_all() {
    let app = acme().await;
    grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);

    let selection = json!({"modules": {"email": {"state": "enabled"}, "epr": {"state": "enabled"},
                                       "common": {"state": "disabled"}},
                           "bundles": ["back_ofice"], "reason": "a typing error"});
    let refused = select(&app, selection).await;

    let places = ["bundles[0]", "modules.common.key", "modules.epr"];
    assert_eq!(fields(refused, "UNKNOWN_KEY"), places);
    assert_eq!(granted(&app).await, ["crm"]);
    assert_eq!(app.events("event=grant.").await.len(), 1);
}

#[tokio::test]
async fn a_selection_names_each_module_once() {
    let app = acme().await;
    let twice = r#"{"modules": {"crm": {"state": "enabled"}, "crm": {"state": "disabled"}},
                    "reason": "which of them"}"#;
    let path = format!("{PATH}/modules");
    let reply = app.root().send_text(Method::PUT, &path, "application/json", twice).await;
    assert_eq!(fields(reply, "INVALID_VALUE"), ["modules.crm"]);
}

#[tokio::test]
async fn a_tenant_with_direct_billing_has_what_is_granted_and_is_never_blocked() {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({"billing": "direct"})).await;
    grant(&app, "crm", json!({"state": "enabled"})).await.expect(201);

    assert_eq!(app.module("acme", "crm").await, "allowed grant");
    assert_eq!(app.module("acme", "common").await, "allowed always_on");
    let email = app.check(json!({"tenant": "acme", "module": "email"})).await;
    assert_eq!(shown(&email), "refused not_granted MODULE_NOT_ENTITLED 403");
    assert_eq!(email["remedies"], json!([{"kind": "contact_admin"}]));
    let payload = app.entitlements("acme").await;
    assert_eq!((&payload["blocked"], &payload["plan"]), (&json!(false), &Value::Null));
    assert_eq!(payload["module_access"]["email"]["upgrade_plans"], json!([]));
}

#[tokio::test]
async fn a_subscription_of_a_tenant_with_direct_billing_gives_but_never_blocks() {
    let app = acme().await;
    app.change_tenant("acme", json!({"billing": "direct"})).await;
    assert_eq!(app.module("acme", "email").await, "allowed plan");

    app.change_subscription("acme", json!({"status": "cancelled"})).await;

    assert_eq!(app.module("acme", "email").await, "refused not_granted MODULE_NOT_ENTITLED 403");
    assert_eq!(app.entitlements("acme").await["blocked"], false);
}
