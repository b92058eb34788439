//! The retail product, played over HTTP against the catalog as it is shipped.

use entitled::domain::{callers::OperatorRole, checks::Mode};
use serde_json::{Value, json};

use crate::{
    given::{day, each, limits, shown},
    harness::App,
};

const MODULES: [&str; 9] =
    ["accounting", "common", "dine", "ecom", "hr", "owner", "pay", "retail", "zf"];

/// A tenant of the retail product on a plan.
async fn on(plan: &str) -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", plan, json!({})).await;
    app
}

/// The payload, after making sure that one of the tenant's users sees the same.
async fn payload(app: &App) -> Value {
    let payload = app.entitlements("shop").await;
    let me = app.user("shop", "ana").get("/api/v1/me").await.expect(200).body;
    let own = json!({"id": "ana", "role": "tenant_user", "tenant": "shop", "mode": "tenant",
                     "impersonator": null});
    assert_eq!(me["principal"], own);
    assert_eq!(me["modules"], payload["modules"]);
    assert_eq!(me["permissions"], json!([]));
    let mut mine = me["entitlements"].clone();
    assert_eq!((mine["user"].take(), mine["tier"].take()), (json!("ana"), Value::Null));
    mine.as_object_mut().unwrap().remove("tier");
    assert_eq!(mine, payload);
    payload
}

/// The payload of a tenant whose every module, feature and limit is refused for one reason.
async fn payload_of_blocked(app: &App, reason: &str) -> Value {
    let payload = payload(app).await;
    assert_eq!((&payload["blocked"], &payload["blocked_reason"]), (&json!(true), &json!(reason)));
    assert_eq!(payload["modules"], json!([]));
    assert_eq!(limits(&payload), json!({"branches": 0, "devices": 0, "users": 0}));
    for section in ["module_access", "features", "limits"] {
        for (key, entry) in payload[section].as_object().unwrap() {
            assert_eq!(
                (&entry["enabled"], &entry["reason"]),
                (&json!(false), &json!(reason)),
                "{key}"
            );
            assert_ne!(entry["upgrade_required"], true, "{key}");
        }
    }
    for module in MODULES {
        assert_eq!(
            app.module("shop", module).await,
            format!("refused {reason} TENANT_BLOCKED 403")
        );
    }
    payload
}

async fn remedies(app: &App, module: &str) -> Value {
    app.check(json!({"tenant": "shop", "module": module})).await["remedies"].clone()
}

#[tokio::test]
async fn a_retail_only_tenant_may_use_retail_and_is_told_how_to_get_dine() {
    let app = on("starter").await;

    assert_eq!(app.module("shop", "retail").await, "allowed plan");
    let dine = app.check(json!({"tenant": "shop", "module": "dine"})).await;
    assert_eq!(dine["allowed"], false, "{dine:#}");
    assert_eq!(dine["reason"], "plan_limit");
    assert_eq!(dine["code"], "MODULE_NOT_ENTITLED");
    assert_eq!(dine["fields"], json!({"module": ["dine"]}));
    assert_eq!(
        dine["remedies"],
        json!([{"kind": "upgrade_plan", "plans": ["growth", "enterprise"]}])
    );

    let payload = payload(&app).await;
    assert_eq!(payload["modules"], json!(["common", "owner", "retail"]));
    assert_eq!(
        each(&payload["module_access"], "reason"),
        json!({"accounting": "plan_limit", "common": "always_on", "dine": "plan_limit",
               "ecom": "plan_limit", "hr": "plan_limit", "owner": "always_on",
               "pay": "plan_limit", "retail": "plan", "zf": "plan_limit"})
    );
    assert_eq!(limits(&payload), json!({"branches": 1, "devices": 2, "users": 5}));
}

#[tokio::test]
async fn what_a_retail_only_tenant_lacks_names_the_plans_that_have_it() {
    let app = on("starter").await;

    let payload = payload(&app).await;
    let (growth, enterprise) = (json!(["growth", "enterprise"]), json!(["enterprise"]));
    assert_eq!(
        each(&payload["module_access"], "upgrade_plans"),
        json!({"accounting": growth, "common": [], "dine": growth, "ecom": enterprise,
               "hr": enterprise, "owner": [], "pay": enterprise, "retail": [],
               "zf": enterprise})
    );
    assert_eq!(
        payload["features"]["multi_branch"],
        json!({"type": "boolean", "enabled": false, "value": null, "reason": "plan_limit",
               "is_premium": true, "upgrade_required": true, "upgrade_plans": growth,
               "expires_at": null})
    );
}

#[tokio::test]
async fn a_dine_only_tenant_has_retail_switched_for_dine() {
    let app = on("starter").await;
    let selection = json!({"modules": {"retail": {"state": "disabled"},
                                       "dine": {"state": "enabled"}},
                           "reason": "a restaurant"});
    app.root().put("/api/v1/admin/tenants/shop/modules", selection).await.expect(200);

    assert_eq!(app.module("shop", "dine").await, "allowed grant");
    assert_eq!(app.module("shop", "retail").await, "refused disabled MODULE_NOT_ENTITLED 403");
    assert_eq!(remedies(&app, "retail").await, json!([{"kind": "contact_admin"}]));
    let branch = app.check(json!({"tenant": "shop", "features": ["multi_branch"]})).await;
    assert_eq!(branch["fields"], json!({"feature": ["multi_branch"], "module": ["retail"]}));

    let payload = payload(&app).await;
    assert_eq!(payload["modules"], json!(["common", "dine", "owner"]));
    let retail = &payload["module_access"]["retail"];
    assert_eq!((&retail["reason"], &retail["upgrade_plans"]), (&json!("disabled"), &json!([])));
    assert_eq!(payload["features"]["multi_branch"]["reason"], "disabled");
}

#[tokio::test]
async fn a_mixed_tenant_has_both_areas_with_their_features() {
    let app = on("growth").await;

    assert_eq!(app.module("shop", "retail").await, "allowed plan");
    assert_eq!(app.module("shop", "dine").await, "allowed plan");
    assert_eq!(app.feature("shop", "multi_branch").await, "allowed plan");
    assert_eq!(app.module("shop", "zf").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    let to_enterprise = json!([{"kind": "upgrade_plan", "plans": ["enterprise"]}]);
    assert_eq!(remedies(&app, "zf").await, to_enterprise);

    let payload = payload(&app).await;
    assert_eq!(payload["modules"], json!(["accounting", "common", "dine", "owner", "retail"]));
    let enabled = json!({"advanced_reports": true, "multi_branch": true});
    assert_eq!(each(&payload["features"], "enabled"), enabled);
    assert_eq!(limits(&payload), json!({"branches": 5, "devices": 15, "users": 25}));
    assert_eq!(payload["plan"]["key"], "growth");
}

#[tokio::test]
async fn an_enterprise_tenant_has_everything_without_limits() {
    let app = on("enterprise").await;

    for module in MODULES {
        let reason = if ["common", "owner"].contains(&module) { "always_on" } else { "plan" };
        assert_eq!(app.module("shop", module).await, format!("allowed {reason}"));
    }
    let payload = payload(&app).await;
    assert_eq!(payload["modules"], json!(MODULES));
    let unlimited = "unlimited";
    let all = json!({"branches": unlimited, "devices": unlimited, "users": unlimited});
    assert_eq!(limits(&payload), all);
    assert_eq!(payload["limits"]["users"]["remaining"], Value::Null);
    assert_eq!(each(&payload["module_access"], "upgrade_required")["zf"], false);
}

#[tokio::test]
async fn a_tenant_without_a_subscription_is_blocked_and_offered_every_plan() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;

    let payload = payload_of_blocked(&app, "no_subscription").await;
    assert_eq!(payload["plan"], Value::Null);
    let offers = json!([{"kind": "upgrade_plan", "plans": ["starter", "growth", "enterprise"]}]);
    assert_eq!(remedies(&app, "retail").await, offers);
}

#[tokio::test]
async fn a_demo_tenant_has_everything_without_a_subscription() {
    let app = App::retail().await;
    app.tenant("shop", json!({"demo": true})).await;

    for module in MODULES {
        assert_eq!(app.module("shop", module).await, "allowed demo");
    }
    assert_eq!(app.feature("shop", "branches").await, "allowed demo");
    let payload = payload(&app).await;
    assert_eq!((&payload["demo"], &payload["blocked"]), (&json!(true), &json!(false)));
    assert_eq!(payload["modules"], json!(MODULES));
    assert_eq!(limits(&payload), json!({"branches": 999, "devices": 999, "users": 999}));
}

#[tokio::test]
async fn an_overdue_tenant_works_through_its_grace_period() {
    let app = on("starter").await;
    app.change_subscription("shop", json!({"status": "overdue"})).await;
    app.move_to_end_of_day(7);

    assert_eq!(app.module("shop", "retail").await, "allowed plan");
    let payload = payload(&app).await;
    assert_eq!(payload["blocked"], false);
    assert_eq!(payload["modules"], json!(["common", "owner", "retail"]));
    let plan = &payload["plan"];
    assert_eq!(plan["status"], "overdue");
    assert_eq!((&plan["overdue_since"], &plan["grace_until"]), (&json!(day(0)), &json!(day(7))));
    assert_eq!(payload["valid_until"], day(7));
}

#[tokio::test]
async fn an_overdue_tenant_is_blocked_from_the_end_of_its_grace_period() {
    let app = on("starter").await;
    app.change_subscription("shop", json!({"status": "overdue"})).await;
    // Kept in memory from before the end.
    assert_eq!(app.entitlements("shop").await["blocked"], false);
    app.move_to_day(7);

    let payload = payload_of_blocked(&app, "overdue").await;
    assert_eq!(payload["plan"]["grace_until"], day(7));
    assert_eq!(remedies(&app, "retail").await, json!([{"kind": "settle_invoice"}]));
}

#[tokio::test]
async fn a_settled_invoice_opens_an_overdue_tenant_at_once() {
    let app = on("starter").await;
    app.change_subscription("shop", json!({"status": "overdue"})).await;
    app.move_to_day(30);
    assert_eq!(app.module("shop", "retail").await, "refused overdue TENANT_BLOCKED 403");

    app.change_subscription("shop", json!({"status": "active"})).await;

    assert_eq!(app.module("shop", "retail").await, "allowed plan");
    assert_eq!(payload(&app).await["plan"]["overdue_since"], Value::Null);
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_everything_as_suspended() {
    let app = on("starter").await;
    app.change_tenant("shop", json!({"status": "suspended", "reason": "fraud"})).await;

    let payload = payload_of_blocked(&app, "suspended").await;
    assert_eq!(payload["status"], "suspended");
    assert_eq!(remedies(&app, "zf").await, json!([{"kind": "contact_admin"}]));
}

#[tokio::test]
async fn a_suspended_subscription_blocks_a_tenant_that_is_not_suspended_itself() {
    let app = on("starter").await;
    app.change_subscription("shop", json!({"status": "suspended"})).await;

    let payload = payload_of_blocked(&app, "suspended").await;
    assert_eq!(
        (&payload["status"], &payload["plan"]["status"]),
        (&json!("active"), &json!("suspended"))
    );
    assert_eq!(remedies(&app, "zf").await, json!([{"kind": "contact_admin"}]));
}

#[tokio::test]
async fn a_cancelled_subscription_blocks_at_once_and_stays_open() {
    let app = on("growth").await;
    let cancelled = app.change_subscription("shop", json!({"status": "cancelled"})).await;
    assert_eq!(cancelled.body["effective_to"], Value::Null);

    let payload = payload_of_blocked(&app, "cancelled").await;
    assert_eq!(payload["plan"]["status"], "cancelled");
    let offers = json!([{"kind": "upgrade_plan", "plans": ["growth", "enterprise"]}]);
    assert_eq!(remedies(&app, "dine").await, offers);
}

#[tokio::test]
async fn the_backend_may_impersonate_a_user_who_is_judged_as_before() {
    let app = on("starter").await;

    for module in MODULES {
        let own = json!({"tenant": "shop", "user": "ana", "module": module});
        let impersonated =
            json!({"tenant": "shop", "user": "ana", "module": module, "mode": "impersonation"});
        assert_eq!(app.check(impersonated).await, app.check(own).await);
    }
    let path = "/api/v1/tenants/shop/entitlements?user=ana";
    let own = app.backend().get(path).await.expect(200).body;
    let impersonated = app.backend().get(&format!("{path}&mode=impersonation")).await.expect(200);
    assert_eq!(impersonated.body, own);
}

#[tokio::test]
async fn an_impersonated_user_sees_what_the_user_sees_and_who_impersonates() {
    let app = on("starter").await;
    let own = app.user("shop", "ana");
    let impersonated = app.working_as(OperatorRole::TenantUser, Some("shop"), Mode::Impersonation);

    let (mut me, before) = (impersonated.get("/api/v1/me").await, own.get("/api/v1/me").await);
    let principal = me.body["principal"].take();
    assert_eq!(
        (&principal["mode"], &principal["impersonator"]),
        (&json!("impersonation"), &json!("eve"))
    );
    assert_eq!(me.body["entitlements"], before.body["entitlements"]);
    for module in MODULES {
        let question = json!({"module": module});
        let answer = impersonated.post("/api/v1/check", question.clone()).await.expect(200);
        assert_eq!(answer.body, own.post("/api/v1/check", question).await.expect(200).body);
    }
}

/// What holds while the trial that hands out everything runs, and from its end on.
async fn everything_until_day(app: &App, end: u32) {
    let before = payload(app).await;
    assert_eq!(before["modules"], json!(MODULES));
    assert_eq!(before["module_access"]["zf"]["reason"], "trial");
    assert_eq!(before["module_access"]["zf"]["expires_at"], day(end));
    assert_eq!(before["plan"]["trial_expires_at"], day(end));
    app.move_to_end_of_day(end);
    assert_eq!(app.module("shop", "zf").await, "allowed trial");
    app.move_to_day(end);
    let after = payload(app).await;
    assert_eq!(
        (&after["blocked"], &after["modules"]),
        (&json!(false), &json!(["common", "owner"]))
    );
    assert_eq!(app.module("shop", "zf").await, "refused trial_expired MODULE_NOT_ENTITLED 403");
    let offer = json!([{"kind": "upgrade_plan", "plans": ["enterprise"]}]);
    assert_eq!(remedies(app, "zf").await, offer);
}

#[tokio::test]
async fn the_trial_by_activation_code_has_everything_until_it_ends() {
    let app = on("starter").await;
    let body = json!({"plan": "trial_unlimited", "max_redemptions": 1, "duration_days": 21});
    let made = app.root().post("/api/v1/admin/activation-codes", body).await.expect(201).body;
    assert_eq!(app.module("shop", "zf").await, "refused plan_limit MODULE_NOT_ENTITLED 403");

    let admin = app.caller(OperatorRole::TenantAdmin, Some("shop"), "ada");
    let body = json!({"tenant": "shop", "code": made["code"]});
    let redeemed = admin.post("/api/v1/activation-codes/redeem", body.clone()).await.expect(201);

    assert_eq!(redeemed.body["status"], "trialing");
    everything_until_day(&app, 21).await;
    let again = admin.post("/api/v1/activation-codes/redeem", body).await;
    again.expect_problem(409, "ALREADY_REDEEMED");
}

#[tokio::test]
async fn a_super_admin_assigns_the_trial_without_a_code() {
    let app = on("trial_unlimited").await;
    everything_until_day(&app, 14).await;
}

#[tokio::test]
async fn the_platforms_own_staff_pass_every_check_and_each_time_is_written_down() {
    let app = on("starter").await;
    app.change_subscription("shop", json!({"status": "suspended"})).await;
    let body = json!({"user": "sue", "role": "super_admin"});
    app.root().post("/api/v1/admin/role-assignments", body).await.expect(201);
    let staff = app.bearer(&app.token(OperatorRole::Support, None, "sue", Mode::Platform, None));

    for module in MODULES {
        let answer = staff.post("/api/v1/check", json!({"tenant": "shop", "module": module})).await;
        assert_eq!(shown(&answer.expect(200).body), "allowed super_admin_bypass", "{module}");
    }
    let written = app.events("event=entitlement.super_admin_bypass").await;
    assert_eq!(written.len(), MODULES.len());
    for (event, module) in written.iter().zip(MODULES) {
        assert_eq!(event["after"]["module"], module);
        assert_eq!((&event["tenant"], &event["subject"]), (&json!("shop"), &json!("sue")));
        assert_eq!(event["actor"]["mode"], "platform");
    }
    // The shop itself stays blocked, for everybody else.
    let shop = app.entitlements("shop").await;
    assert_eq!((&shop["blocked_reason"], &shop["modules"]), (&json!("suspended"), &json!([])));
    assert_eq!(app.module("shop", "retail").await, "refused suspended TENANT_BLOCKED 403");

    // Staff who come as one of the tenant's users are judged as one.
    let answer = app.check(json!({
        "tenant": "shop", "user": "sue", "mode": "impersonation", "module": "retail"
    }));
    assert_eq!(shown(&answer.await), "refused suspended TENANT_BLOCKED 403");
    assert_eq!(app.events("event=entitlement.super_admin_bypass").await, written);
}
