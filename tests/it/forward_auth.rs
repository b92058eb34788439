//! Forward-auth over HTTP: every outcome for every kind of caller.

use entitled::{
    domain::{callers::OperatorRole as Role, checks::Mode},
    engine::Gating,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::day,
    harness::{App, Client, Given, Reply},
    storage::tamper,
};

pub const DOOR: &str = "/api/v1/authorize";
pub const NGINX: &str = "/api/v1/authorize/nginx";
pub const IDENTITY: [&str; 4] =
    ["x-entitled-tenant", "x-entitled-user", "x-entitled-reason", "x-entitled-version"];

const CATALOG: &str = "
modules:
  common: {name: Common, access: always_on}
  retail: {name: Retail}
  zf: {name: ZF, premium: true}
features:
  reports: {name: Reports, type: boolean}
  exports: {name: Exports, type: boolean}
plans:
  starter: {name: Starter, rank: 10, modules: [retail], features: {exports: true}}
  enterprise: {name: Enterprise, rank: 30, modules: '*', features: {'*': true}}
roles:
  cashier: {context: tenant, permissions: [pos.sales.create]}
  staff: {context: platform, bypass: true}
guards:
  zf.run: {module: zf}
routes:
  - {path: /healthz, public: true}
  - {path: '/pos/**', module: retail}
  - {path: '/pos/sales', methods: [POST], module: retail, permission: pos.sales.create}
  - {path: '/zf/**', module: zf}
  - {path: '/zf/jobs/{job}', methods: [POST], guard: zf.run}
  - {path: /reports, methods: [GET], features: [reports]}
  - {path: /either, features: [reports, exports], match: any}
  - {path: '/customers/{id}'}
  - {path: '/me/**', allow_blocked: true}
";

/// A tenant `shop` on starter, and `late`, which is overdue past its grace.
pub async fn shop() -> App {
    shop_given(Given::default()).await
}

pub async fn shop_given(given: Given) -> App {
    let app = App::given(given).await;
    app.put_catalog("", CATALOG).await.expect(200);
    for tenant in ["shop", "late"] {
        app.tenant(tenant, json!({})).await;
        app.assign(tenant, "starter", json!({})).await;
    }
    app.change_subscription("late", json!({"status": "overdue"})).await;
    app.move_to_day(8);
    app
}

pub async fn ask(client: &Client<'_>, method: &str, uri: &str) -> Reply {
    let headers = [("X-Forwarded-Method", method), ("X-Forwarded-Uri", uri)];
    client.send(Method::GET, DOOR, None, &headers).await
}

pub async fn ask_nginx(client: &Client<'_>, method: &str, uri: &str) -> Reply {
    let headers = [("X-Original-Method", method), ("X-Original-URI", uri)];
    client.send(Method::GET, NGINX, None, &headers).await
}

/// Tenant, user and reason of an answer that lets pass, which has all headers and nothing else.
#[track_caller]
pub fn passed(reply: Reply) -> [String; 3] {
    let reply = reply.expect(200);
    assert_eq!(reply.body, "", "a body");
    assert_eq!(reply.header("cache-control"), "no-store");
    for name in IDENTITY {
        assert_eq!(reply.headers.get_all(name).iter().count(), 1, "{name}");
    }
    assert!(reply.header("x-entitled-version").parse::<u64>().unwrap() > 0);
    [0, 1, 2].map(|at| reply.header(IDENTITY[at]).to_owned())
}

#[tokio::test]
async fn what_the_plan_gives_passes_and_the_application_is_told_who_it_is() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    assert_eq!(passed(ask(&ana, "GET", "/pos/7?x=1").await), ["shop", "ana", "plan"]);
    assert_eq!(passed(ask(&ana, "HEAD", "/pos").await), ["shop", "ana", "plan"]);
    assert_eq!(passed(ask(&ana, "GET", "/either").await), ["shop", "ana", "plan"]);
    assert_eq!(passed(ask(&ana, "GET", "/customers/7").await), ["shop", "ana", "active"]);
    let id = app.user("shop", "auth0|5f=7c+x~@example.com");
    assert_eq!(passed(ask(&id, "GET", "/me").await)[1], "auth0|5f=7c+x~@example.com");
    // The version is the one that `check` answers.
    let version = ask(&ana, "GET", "/pos/7").await.header("x-entitled-version").to_owned();
    let question = json!({"tenant": "shop", "user": "ana", "module": "retail"});
    let checked = app.check(question).await;
    assert_eq!(checked["version"].to_string(), version);
}

#[tokio::test]
async fn what_the_plan_lacks_is_refused_as_check_refuses_it() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    for (uri, status, question) in [
        ("/zf/jobs", 403, json!({"tenant": "shop", "user": "ana", "module": "zf"})),
        ("/reports", 402, json!({"tenant": "shop", "user": "ana", "features": ["reports"]})),
    ] {
        let checked = app.check(question).await;
        let refused = ask(&ana, "GET", uri).await;
        let refused = refused.expect_problem(status, checked["code"].as_str().unwrap());
        assert_eq!(refused.header("cache-control"), "no-store");
        let body = &refused.body;
        assert_eq!(body["detail"], checked["message"]);
        for same in ["reason", "remedies", "fields"] {
            assert_eq!(body[same], checked[same], "{same}");
        }
        assert_eq!((&body["limit"], &body["data"]), (&Value::Null, &Value::Null));
        assert_eq!(body["instance"], DOOR);
        for name in IDENTITY {
            assert_eq!(refused.header(name), "", "{name}");
        }
    }
    let admin = app.caller(Role::TenantAdmin, Some("shop"), "ada");
    let remedies = ask(&admin, "GET", "/zf/jobs").await.expect(403).body["remedies"].clone();
    let kinds: Vec<_> = remedies.as_array().unwrap().iter().map(|r| r["kind"].clone()).collect();
    assert_eq!(kinds, ["upgrade_plan", "request_access"]);
}

#[tokio::test]
async fn a_refusal_says_that_a_sandbox_is_one() {
    let app = shop().await;
    app.tenant("box", json!({"sandbox": true})).await;
    for (tenant, expected) in [("box", json!(true)), ("shop", Value::Null)] {
        let refused = ask(&app.user(tenant, "ana"), "GET", "/zf/jobs").await;
        assert!(refused.status >= 400, "{}", refused.status);
        assert_eq!(refused.body["sandbox"], expected, "{:#}", refused.body);
    }
}

#[tokio::test]
async fn a_permission_is_asked_for_the_user_of_the_credential() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    ask(&ana, "POST", "/pos/sales").await.expect_problem(403, "PERMISSION_DENIED");
    let body = json!({"user": "ana", "role": "cashier"});
    app.root().post("/api/v1/tenants/shop/role-assignments", body).await.expect(201);
    assert_eq!(passed(ask(&ana, "POST", "/pos/sales").await)[1], "ana");
    let bob = app.user("shop", "bob");
    ask(&bob, "POST", "/pos/sales").await.expect_problem(403, "PERMISSION_DENIED");
    // Other methods of the path have the route of the area.
    assert_eq!(passed(ask(&bob, "GET", "/pos/sales").await)[2], "plan");
}

#[tokio::test]
async fn a_blocked_tenant_reaches_its_own_account_alone() {
    let app = shop().await;
    let late = app.user("late", "ana");
    for uri in ["/pos/7", "/zf/jobs", "/reports", "/customers/7"] {
        let refused = ask(&late, "GET", uri).await.expect_problem(403, "TENANT_BLOCKED");
        assert_eq!(refused.body["reason"], "overdue", "{uri}");
    }
    assert_eq!(passed(ask(&late, "GET", "/me").await), ["late", "ana", "authenticated"]);
    app.change_tenant("late", json!({"status": "suspended", "reason": "for a test"})).await;
    let refused = ask(&late, "GET", "/customers/7").await.expect_problem(403, "TENANT_BLOCKED");
    assert_eq!(refused.body["reason"], "suspended");
    assert_eq!(passed(ask(&late, "GET", "/me/invoices").await)[0], "late");
}

#[tokio::test]
async fn without_a_good_credential_a_guarded_route_says_401() {
    let app = shop().await;
    for client in [app.nobody(), app.bearer("garbage"), app.bearer("a.b.c")] {
        for uri in ["/pos/7", "/me", "/customers/7", "/zf/jobs/1"] {
            for refused in [ask(&client, "POST", uri).await, ask_nginx(&client, "POST", uri).await]
            {
                let refused = refused.expect_problem(401, "UNAUTHENTICATED");
                assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"entitled\"");
            }
        }
    }
}

#[tokio::test]
async fn a_public_route_is_open_to_everyone_and_looks_at_no_credential() {
    let app = shop().await;
    for client in [app.nobody(), app.bearer("garbage"), app.user("shop", "ana")] {
        assert_eq!(passed(ask(&client, "GET", "/healthz").await), ["", "", "public"]);
        ask(&client, "GET", "/nothing").await.expect_problem(403, "NO_ROUTE");
    }
    let open = format!("{CATALOG}\nsettings: {{default_route: allow}}");
    app.put_catalog("", open).await.expect(200);
    for client in [app.nobody(), app.bearer("garbage"), app.user("shop", "ana")] {
        assert_eq!(passed(ask(&client, "GET", "/nothing").await), ["", "", "default_route"]);
        ask(&client, "GET", "/ZF/jobs").await;
    }
    ask(&app.user("shop", "ana"), "GET", "/ZF/jobs").await.expect(403);
    // A route names its methods; another method has no route.
    assert_eq!(passed(ask(&app.nobody(), "DELETE", "/reports").await)[2], "default_route");
}

#[tokio::test]
async fn who_belongs_to_no_tenant_is_told_so() {
    let app = shop().await;
    for client in [app.backend(), app.root(), app.caller(Role::Support, None, "sue")] {
        ask(&client, "GET", "/customers/7").await.expect_problem(403, "TENANT_REQUIRED");
        assert_eq!(passed(ask(&client, "GET", "/me").await)[0], "");
    }
    ask(&app.backend(), "GET", "/pos/7").await.expect_problem(403, "TENANT_REQUIRED");
    // A person of the own staff is a user without a tenant.
    let support = app.caller(Role::Support, None, "sue");
    let refused = ask(&support, "GET", "/pos/7").await.expect_problem(403, "MODULE_NOT_ENTITLED");
    let checked = app.check(json!({"user": "sue", "module": "retail"})).await;
    assert_eq!(refused.body["reason"], checked["reason"]);
    // The application's backend in a tenant is nobody's user there.
    let bound = app.caller(Role::Service, Some("shop"), "jobs");
    assert_eq!(passed(ask(&bound, "GET", "/pos/7").await), ["shop", "", "plan"]);
    assert_eq!(passed(ask(&bound, "GET", "/customers/7").await), ["shop", "", "active"]);
    ask(&bound, "POST", "/pos/sales").await.expect(403);
}

#[tokio::test]
async fn platform_staff_pass_with_a_bypassing_role_and_that_is_written_down() {
    let app = shop().await;
    let staff = |mode| app.bearer(&app.token(Role::Support, None, "sue", mode, None));
    ask(&staff(Mode::Platform), "GET", "/zf/jobs").await.expect(403);
    let body = json!({"user": "sue", "role": "staff"});
    app.root().post("/api/v1/admin/role-assignments", body).await.expect(201);
    let pass = passed(ask(&staff(Mode::Platform), "GET", "/zf/jobs").await);
    assert_eq!(pass, ["", "sue", "super_admin_bypass"]);
    ask(&staff(Mode::Tenant), "GET", "/zf/jobs").await.expect(403);
    let events = app.events("event=entitlement.super_admin_bypass").await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["subject"], &events[0]["after"]["module"]),
        (&json!("sue"), &json!("zf"))
    );
    // Whoever sits behind a tenant's user is judged as that user.
    let behind = app.token(Role::TenantUser, Some("shop"), "sue", Mode::Impersonation, Some("sue"));
    ask(&app.bearer(&behind), "GET", "/zf/jobs").await.expect_problem(403, "MODULE_NOT_ENTITLED");
}

#[tokio::test]
async fn a_route_with_a_guard_never_opens_for_who_lacks_its_module() {
    let app = shop().await;
    ask(&app.user("shop", "ana"), "POST", "/zf/jobs/7").await.expect(403);
    ask(&app.user("late", "ana"), "POST", "/zf/jobs/7").await.expect(403);
    // Its other methods are guarded by the area.
    ask(&app.user("shop", "ana"), "GET", "/zf/jobs/7")
        .await
        .expect_problem(403, "MODULE_NOT_ENTITLED");
}

#[tokio::test]
async fn a_demo_tenant_and_a_rollout_that_is_off_let_pass() {
    let app = shop().await;
    app.tenant("demo", json!({"demo": true})).await;
    let demo = app.user("demo", "ana");
    assert_eq!(passed(ask(&demo, "GET", "/zf/jobs").await)[2], "demo");
    passed(ask(&demo, "GET", "/customers/7").await);

    let app = shop_given(Given { gating: Gating::OffByEnvironment, ..Given::default() }).await;
    let late = app.user("late", "ana");
    assert_eq!(passed(ask(&late, "GET", "/zf/jobs").await)[2], "gating_disabled");
    passed(ask(&late, "GET", "/customers/7").await);
    ask(&late, "GET", "/nothing").await.expect_problem(403, "NO_ROUTE");
    ask(&app.nobody(), "GET", "/pos").await.expect(401);
}

#[tokio::test]
async fn asking_takes_nothing_and_sees_every_change_at_once() {
    let app = shop().await;
    let ana = app.user("shop", "ana");
    let before = app.events("").await.len();
    for _ in 0..3 {
        ask(&ana, "GET", "/zf/jobs").await.expect(403);
        passed(ask(&ana, "GET", "/pos/7").await);
    }
    assert_eq!(app.events("").await.len(), before);
    let until = day(20);
    let trial = json!({"state": "trial", "trial_expires_at": until});
    app.grant("shop", "zf", trial).await.expect(201);
    assert_eq!(passed(ask(&ana, "GET", "/zf/jobs").await)[2], "trial");
    app.move_to_end_of_day(20);
    assert_eq!(passed(ask(&ana, "GET", "/zf/jobs").await)[2], "trial");
    app.move_to_day(20);
    let refused = ask(&ana, "GET", "/zf/jobs").await.expect_problem(403, "MODULE_NOT_ENTITLED");
    assert_eq!(refused.body["reason"], "trial_expired");
    // Another catalog, another route.
    let other = CATALOG.replace("- {path: '/pos/**', module: retail}", "");
    app.put_catalog("", other).await.expect(200);
    ask(&ana, "GET", "/pos/7").await.expect_problem(403, "NO_ROUTE");
}

#[tokio::test]
async fn where_there_is_no_answer_nobody_passes() {
    let app = shop().await;
    app.tenant("broken", json!({})).await;
    app.assign("broken", "starter", json!({})).await;
    tamper(
        &app,
        "PRAGMA ignore_check_constraints = 1;
         UPDATE subscriptions SET status = 'nonsense' WHERE tenant = 'broken';",
    );
    let ana = app.user("broken", "ana");
    for uri in ["/pos/7", "/customers/7"] {
        let refused = ask(&ana, "GET", uri).await.expect_problem(503, "TENANT_DAMAGED");
        assert!(!refused.header("retry-after").is_empty());
        let refused = ask_nginx(&ana, "GET", uri).await.expect_problem(403, "TENANT_DAMAGED");
        assert_eq!(refused.header("x-entitled-status"), "503");
    }
}
