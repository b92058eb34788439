//! The entitlements payload: a contract with frontends, so compared whole.

use entitled::{
    domain::{callers::OperatorRole, checks::Mode},
    engine::Gating,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{day, each, limits},
    harness::{App, Client, Given, Reply},
};

const CATALOG: &str = r#"
modules:
  common: {name: Common, access: always_on}
  settings: {name: Settings, access: rbac_only}
  billing: {name: Billing, access: always_on, available_when_blocked: true}
  retail: {name: Retail}
  accounting: {name: Accounting, premium: true}
  zf: {name: ZF, premium: true}
  erp: {name: ERP, status: disabled}
features:
  ai_insights: {name: AI insights, type: boolean}
  multi_branch: {name: Multi-branch, type: boolean, module: retail, premium: true}
  support_level: {name: Support level, type: config}
  branches: {name: Branches, type: limit, unit: branch, usage: gauge}
  users: {name: Users, type: limit}
plans:
  starter: {name: Starter, rank: 10, modules: [retail, common], features: {branches: 1}}
  growth:
    name: Growth
    rank: 20
    inherits: starter
    modules: [accounting]
    features: {branches: 5, multi_branch: true, support_level: business}
    trial_days: 14
    trial_fallback: starter
  enterprise: {name: Enterprise, rank: 30, modules: "*", features: {"*": true, branches: unlimited}}
"#;

const PATH: &str = "/api/v1/tenants/acme/entitlements";

/// Acme tries growth for 14 days, and AI insights for 10.
async fn acme() -> App {
    acme_given(Given::default()).await
}

async fn acme_given(given: Given) -> App {
    let app = App::given(given).await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "growth", json!({})).await;
    let trial = json!({"state": "trial", "trial_expires_at": day(10)});
    app.grant("acme", "ai_insights", trial).await.expect(201);
    app
}

async fn get_unless(client: &Client<'_>, path: &str, tag: &str) -> Reply {
    client.send(Method::GET, path, None, &[("If-None-Match", tag)]).await
}

fn module(enabled: bool, reason: &str, is_premium: bool, more: Value) -> Value {
    let mut entry = json!({"enabled": enabled, "reason": reason, "is_premium": is_premium,
                           "upgrade_required": false, "upgrade_plans": [], "expires_at": null});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

fn feature(kind: &str, value: Value, is_premium: bool, expires_at: String) -> Value {
    json!({"type": kind, "enabled": true, "value": value, "reason": "trial",
           "is_premium": is_premium, "upgrade_required": false, "upgrade_plans": [],
           "expires_at": expires_at})
}

#[tokio::test]
async fn the_payload_has_exactly_these_members() {
    let app = acme().await;

    let payload = app.entitlements("acme").await;
    let version = app.check(json!({"tenant": "acme", "module": "retail"})).await["version"].clone();
    let trial = json!({"expires_at": day(14)});
    let expected = json!({
        "tenant": "acme", "user": null, "version": version, "status": "active",
        "valid_until": day(10), "billing": "subscription", "blocked": false,
        "blocked_reason": null, "demo": false, "sandbox": false, "enforced": true,
        "plan": {"key": "growth", "name": "Growth", "rank": 20, "version": 1, "status": "trialing",
                 "trial_expires_at": day(14), "overdue_since": null, "grace_until": null},
        "modules": ["accounting", "billing", "common", "retail", "settings"],
        "module_access": {
            "accounting": module(true, "trial", true, trial.clone()),
            "billing": module(true, "always_on", false, json!({})),
            "common": module(true, "always_on", false, json!({})),
            "erp": module(false, "feature_disabled", false, json!({})),
            "retail": module(true, "trial", false, trial),
            "settings": module(true, "rbac_only", false, json!({})),
            "zf": module(false, "plan_limit", true,
                         json!({"upgrade_required": true, "upgrade_plans": ["enterprise"]})),
        },
        "features": {
            "ai_insights": feature("boolean", Value::Null, false, day(10)),
            "multi_branch": feature("boolean", Value::Null, true, day(14)),
            "support_level": feature("config", json!("business"), false, day(14)),
        },
        "limits": {
            "branches": {"limit": 5, "unlimited": false, "used": 0, "remaining": 5,
                         "resets_at": null, "enabled": true, "reason": "trial"},
            "users": {"limit": 0, "unlimited": false, "used": 0, "remaining": 0,
                      "resets_at": null, "enabled": false, "reason": "plan_limit"},
        },
        "roles": [], "permissions": [], "seats": [],
    });
    assert_eq!(payload, expected, "{payload:#}");
}

#[tokio::test]
async fn an_unlimited_limit_is_said_and_not_a_number() {
    let app = acme().await;
    app.assign("acme", "enterprise", json!({})).await;

    let branches = app.entitlements("acme").await["limits"]["branches"].clone();
    let expected = json!({"limit": null, "unlimited": true, "used": 0, "remaining": null,
                          "resets_at": null, "enabled": true, "reason": "plan"});
    assert_eq!(branches, expected);
}

#[tokio::test]
async fn an_ended_trial_shows_the_plan_it_fell_back_to() {
    let app = acme().await;
    app.move_to_day(14);

    let payload = app.entitlements("acme").await;
    let plan = json!({"key": "starter", "name": "Starter", "rank": 10, "version": 1,
                      "status": "active", "trial_expires_at": null, "overdue_since": null,
                      "grace_until": null});
    assert_eq!(payload["plan"], plan);
    assert_eq!(payload["modules"], json!(["billing", "common", "retail", "settings"]));
    assert_eq!(payload["features"]["ai_insights"]["reason"], "trial_expired");
    assert_eq!(limits(&payload), json!({"branches": 1, "users": 0}));
    assert_eq!(payload["valid_until"], Value::Null);
}

#[tokio::test]
async fn a_blocked_tenant_keeps_only_what_is_available_when_blocked() {
    let app = acme().await;
    app.change_subscription("acme", json!({"status": "cancelled"})).await;

    let payload = app.entitlements("acme").await;
    assert_eq!(payload["modules"], json!(["billing"]));
    let reasons = each(&payload["module_access"], "reason");
    assert_eq!(reasons["billing"], "always_on");
    for key in ["accounting", "common", "erp", "retail", "settings", "zf"] {
        assert_eq!(reasons[key], "cancelled", "{key}");
    }
    assert_eq!(each(&payload["module_access"], "upgrade_required")["zf"], false);
}

#[tokio::test]
async fn a_suspended_tenant_keeps_nothing() {
    let app = acme().await;
    app.change_tenant("acme", json!({"status": "suspended", "reason": "fraud"})).await;

    let payload = app.entitlements("acme").await;
    assert_eq!(payload["modules"], json!([]));
    assert_eq!(payload["module_access"]["billing"]["reason"], "suspended");
}

#[tokio::test]
async fn what_only_the_rollout_keeps_open_says_why_it_would_be_refused() {
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = acme_given(given).await;

    let payload = app.entitlements("acme").await;
    assert_eq!(payload["enforced"], false);
    let zf = &payload["module_access"]["zf"];
    assert_eq!((&zf["enabled"], &zf["reason"]), (&json!(true), &json!("gating_disabled")));
    assert_eq!(zf["would_reason"], "plan_limit");
    let retail = &payload["module_access"]["retail"];
    assert_eq!((&retail["reason"], retail.get("would_reason")), (&json!("trial"), None));
    let erp = &payload["module_access"]["erp"];
    assert_eq!((&erp["enabled"], &erp["reason"]), (&json!(false), &json!("feature_disabled")));
}

#[tokio::test]
async fn a_caller_that_has_the_payload_is_told_so_without_it() {
    let app = acme().await;
    let backend = app.backend();

    let tag = backend.get(PATH).await.expect(200).header("etag").to_owned();
    let again = get_unless(&backend, PATH, &tag).await.expect(304);
    assert_eq!((again.header("etag"), &again.body), (&*tag, &json!("")));
    assert_eq!(again.header("cache-control"), "private, no-cache");
    get_unless(&backend, PATH, &format!("\"other\", W/{tag}")).await.expect(304);
    get_unless(&backend, PATH, "\"other\"").await.expect(200);
}

#[tokio::test]
async fn no_304_outlives_an_expiry() {
    let app = acme().await;
    let backend = app.backend();

    let mut tag = backend.get(PATH).await.expect(200).header("etag").to_owned();
    for boundary in [10, 14] {
        app.move_to_end_of_day(boundary);
        get_unless(&backend, PATH, &tag).await.expect(304);
        app.move_to_day(boundary);
        let fresh = get_unless(&backend, PATH, &tag).await.expect(200);
        tag = fresh.header("etag").to_owned();
    }
}

#[tokio::test]
async fn every_write_that_could_change_it_ends_a_304() {
    let app = acme().await;
    let backend = app.backend();
    let tag = async || backend.get(PATH).await.expect(200).header("etag").to_owned();

    let known = tag().await;
    app.grant("acme", "zf", json!({"state": "enabled"})).await.expect(201);
    let granted = get_unless(&backend, PATH, &known).await.expect(200);
    assert_eq!(granted.body["module_access"]["zf"]["reason"], "grant");
    let known = tag().await;
    app.assign("acme", "enterprise", json!({})).await;
    get_unless(&backend, PATH, &known).await.expect(200);
    let known = tag().await;
    app.change_tenant("acme", json!({"status": "suspended", "reason": "fraud"})).await;
    get_unless(&backend, PATH, &known).await.expect(200);
    let known = tag().await;
    let catalog = CATALOG.replace("erp: {name: ERP, status: disabled}", "erp: {name: ERP}");
    app.put_catalog("", catalog).await.expect(200);
    get_unless(&backend, PATH, &known).await.expect(200);
}

#[tokio::test]
async fn a_write_to_another_tenant_leaves_the_tag_as_it_is() {
    let app = acme().await;
    let tag = app.backend().get(PATH).await.expect(200).header("etag").to_owned();

    app.tenant("other", json!({})).await;
    app.assign("other", "starter", json!({})).await;

    get_unless(&app.backend(), PATH, &tag).await.expect(304);
}

#[tokio::test]
async fn the_old_paths_give_the_same_payload_under_the_same_tag() {
    let app = acme().await;
    let usual = app.backend().get(PATH).await.expect(200);

    let admin = app.caller(OperatorRole::TenantAdmin, Some("acme"), "boss");
    let bound = app.caller(OperatorRole::Service, Some("acme"), "shop-backend");
    for (client, path) in [
        (&admin, "/api/billing/entitlements"),
        (&bound, "/api/billing/entitlements"),
        (&bound, "/api/v1/me/entitlements"),
        (&app.backend(), "/api/v1/orgs/acme/entitlements"),
        (&app.root(), "/api/v1/admin/orgs/acme/entitlements"),
    ] {
        let old = client.get(path).await.expect(200);
        // The tag is a digest of the bytes.
        assert_eq!((old.header("etag"), &old.body), (usual.header("etag"), &usual.body), "{path}");
        get_unless(client, path, usual.header("etag")).await.expect(304);
    }
}

#[tokio::test]
async fn the_old_admin_path_takes_a_selection_of_modules() {
    let app = acme().await;
    let body = json!({"modules": {"zf": {"state": "enabled"}}, "reason": "a pilot"});

    let path = "/api/v1/admin/orgs/acme/entitlements";
    let selected = app.root().put(path, body).await.expect(200).body;

    assert_eq!(selected["modules"]["zf"]["state"], "enabled");
    assert_eq!(app.module("acme", "zf").await, "allowed grant");
}

#[tokio::test]
async fn a_user_sees_the_own_payload_with_the_own_name_and_tier() {
    let app = acme().await;
    let of_tenant = app.entitlements("acme").await;

    let ana = app.user("acme", "ana");
    let mut mine = ana.get("/api/v1/me/entitlements").await.expect(200).body;
    assert_eq!(mine["user"], "ana");
    assert_eq!(mine.get("tier"), Some(&Value::Null));
    assert_eq!(ana.get(PATH).await.expect(200).body, mine);
    let object = mine.as_object_mut().unwrap();
    object.remove("tier");
    object.insert("user".into(), Value::Null);
    assert_eq!(mine, of_tenant);
}

#[tokio::test]
async fn who_may_speak_for_a_user_is_the_unbound_backend_and_not_another_user() {
    let app = acme().await;

    let path = format!("{PATH}?user=ana");
    assert_eq!(app.backend().get(&path).await.expect(200).body["user"], "ana");
    app.user("acme", "bob").get(&path).await.expect_problem(403, "FORBIDDEN");
    let bound = app.caller(OperatorRole::Service, Some("acme"), "shop-backend");
    bound.get(&path).await.expect_problem(403, "FORBIDDEN");
    let impersonating = app.working_as(OperatorRole::TenantUser, Some("acme"), Mode::Tenant);
    let other_mode = format!("{PATH}?mode=impersonation");
    impersonating.get(&other_mode).await.expect_problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn another_tenant_looks_like_one_that_does_not_exist() {
    let app = acme().await;
    app.tenant("other", json!({})).await;

    let ana = app.user("other", "ana");
    let foreign = ana.get(PATH).await.expect_problem(404, "TENANT_NOT_FOUND").body;
    let missing = ana.get("/api/v1/tenants/nobody/entitlements").await.expect(404).body;
    assert_eq!(foreign["detail"].as_str().unwrap().replace("acme", "nobody"), missing["detail"]);
    let backend = app.backend();
    backend.get("/api/v1/orgs/nobody/entitlements").await.expect_problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn a_caller_without_a_tenant_has_no_payload_of_its_own() {
    let app = acme().await;

    let me = app.backend().get("/api/v1/me").await.expect(200).body;
    let principal = json!({"id": "backend", "role": "service", "tenant": null, "mode": "tenant",
                           "impersonator": null});
    let expected =
        json!({"principal": principal, "modules": [], "permissions": [], "entitlements": null});
    assert_eq!(me, expected);
    app.backend().get("/api/v1/me/entitlements").await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_seated_module_is_shown_as_check_answers() {
    let app = acme().await;
    let catalog = CATALOG.replace("name: Accounting,", "name: Accounting, seated: true,");
    app.put_catalog("", catalog).await.expect(200);
    let mine = app.user("acme", "ana").get(PATH).await.expect(200).body;
    let accounting = &mine["module_access"]["accounting"];
    assert_eq!(accounting["enabled"], false, "{accounting:#}");
    assert_eq!(accounting["reason"], "seat_required");
    let ours = app.entitlements("acme").await;
    assert_eq!(ours["module_access"]["accounting"]["enabled"], true);
    let staff = app.backend().get(&format!("{PATH}?user=ana&mode=platform")).await.expect(200);
    assert_eq!(staff.body, mine, "the payload never shows a bypass");
}

#[tokio::test]
async fn a_user_without_a_tenant_has_a_payload_of_its_own() {
    let app = acme().await;
    let path = "/api/v1/users/ana/entitlements";
    let alone = app.backend().get(path).await.expect(200).body;
    assert_eq!((&alone["tenant"], &alone["user"]), (&Value::Null, &json!("ana")));
    assert_eq!(alone["blocked"], false);
    assert_eq!(alone["module_access"]["retail"]["enabled"], false);
    app.user("acme", "ana").get(path).await.expect_problem(403, "FORBIDDEN");
    let bound = app.caller(OperatorRole::Service, Some("acme"), "shop-backend");
    bound.get(path).await.expect_problem(403, "FORBIDDEN");
}

/// Where nothing is enforced, what gives a limit is no matter of the decision, and still ends.
#[tokio::test]
async fn a_limit_that_only_the_rollout_keeps_open_is_shown_no_longer_than_it_is_given() {
    let app = acme().await;
    let off = json!({"mode": "off", "percent": 0});
    app.root().put("/api/v1/admin/rollout", off).await.expect(200);
    app.tenant("unpaid", json!({})).await;
    let trial = json!({"state": "trial", "value": 3, "trial_expires_at": day(2)});
    app.grant("unpaid", "branches", trial).await.expect(201);

    let payload = app.entitlements("unpaid").await;
    assert_eq!(payload["limits"]["branches"]["limit"], 3);
    assert_eq!(payload["valid_until"], day(2));
    app.move_to_day(2);
    assert_eq!(app.entitlements("unpaid").await["limits"]["branches"]["limit"], 0);
}
