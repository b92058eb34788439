//! The AI billing product, played over HTTP against the catalog as it is shipped: 402 for what is not
//! paid for, several keys at once, and overrides under governance.

use std::time::Duration;

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    given::{day, days, each, shown},
    harness::{App, Client},
};

const OVERRIDES: &str = "/api/v1/admin/overrides";
const FEATURES: [&str; 5] =
    ["ai_actions", "ai_insights", "ai_recommendations", "custom_reports", "llm_routing"];

/// A tenant of the product on a plan.
async fn on(plan: &str) -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/ai_billing.yaml")).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", plan, json!({"status": "active"})).await;
    app
}

/// An override for a day; `more` is merged in.
fn about(key: &str, more: Value) -> Value {
    let mut body = json!({
        "tenant": "acme", "key": key, "enabled": true, "expires_at": day(1),
        "reason": "Bridges the upgrade"
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn support(app: &App) -> Client<'_> {
    app.caller(OperatorRole::Support, None, "sue")
}

async fn ask(app: &App, features: &[&str], how: &str) -> Value {
    app.check(json!({"tenant": "acme", "features": features, "match": how})).await
}

#[tokio::test]
async fn each_plan_gives_its_features_and_the_rest_is_answered_with_402() {
    for (plan, has) in [
        ("free", vec![]),
        ("pro", vec!["ai_insights", "ai_recommendations"]),
        ("business", FEATURES.to_vec()),
    ] {
        let app = on(plan).await;
        for feature in FEATURES {
            let expected = if has.contains(&feature) {
                "allowed plan"
            } else {
                "refused plan_limit FEATURE_NOT_ENTITLED 402"
            };
            assert_eq!(app.feature("acme", feature).await, expected, "{plan} {feature}");
        }
        let payload = app.entitlements("acme").await;
        let enabled = each(&payload["features"], "enabled");
        for feature in FEATURES {
            assert_eq!(enabled[feature], has.contains(&feature), "{plan} {feature}");
        }
        assert_eq!(payload["modules"], json!(["billing"]));
        // The path that the product's frontend reads.
        let mine = app.user("acme", "ana").get("/api/billing/entitlements").await.expect(200).body;
        assert_eq!(mine["features"], payload["features"], "{plan}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_would_help() {
    let app = on("free").await;
    let refused = ask(&app, &["custom_reports"], "all").await;
    assert_eq!(
        refused["remedies"],
        json!([{"kind": "upgrade_plan", "plans": ["business"]},
               {"kind": "buy_add_on", "plans": ["reports_pack"]}])
    );
    let refused = ask(&app, &["ai_insights"], "all").await;
    assert_eq!(
        refused["remedies"],
        json!([{"kind": "upgrade_plan", "plans": ["pro", "business"]}, {"kind": "start_trial"}])
    );
    app.assign("acme", "reports_pack", json!({})).await;
    assert_eq!(app.feature("acme", "custom_reports").await, "allowed add_on");
}

#[tokio::test]
async fn all_of_several_features_are_needed_or_any_of_them() {
    let app = on("pro").await;
    let refusal = "refused plan_limit FEATURE_NOT_ENTITLED 402";
    for (features, how, expected, missing) in [
        (vec!["ai_insights", "ai_recommendations"], "all", "allowed plan", json!({})),
        (vec!["ai_insights", "ai_actions"], "all", refusal, json!({"feature": ["ai_actions"]})),
        (
            vec!["llm_routing", "ai_insights", "ai_actions"],
            "all",
            refusal,
            json!({"feature": ["llm_routing"]}),
        ),
        (vec!["ai_actions", "ai_insights"], "any", "allowed plan", json!({})),
        (
            vec!["ai_actions", "llm_routing"],
            "any",
            refusal,
            json!({"feature": ["ai_actions", "llm_routing"]}),
        ),
    ] {
        let answer = ask(&app, &features, how).await;
        assert_eq!(shown(&answer), expected, "{how} of {features:?}");
        assert_eq!(answer["fields"], missing, "{how} of {features:?}");
    }
    // Another key takes the place of the one that is missing.
    support(&app).post(OVERRIDES, about("ai_actions", json!({}))).await.expect(201);
    assert_eq!(shown(&ask(&app, &["ai_insights", "ai_actions"], "all").await), "allowed override");
    assert_eq!(shown(&ask(&app, &["llm_routing", "ai_actions"], "any").await), "allowed override");
}

#[tokio::test]
async fn a_trial_falls_back_to_the_free_plan() {
    let app = on("free").await;
    app.assign("acme", "pro", json!({})).await;
    assert_eq!(app.feature("acme", "ai_insights").await, "allowed trial");
    app.move_to_day(14);
    let refusal = "refused plan_limit FEATURE_NOT_ENTITLED 402";
    assert_eq!(app.feature("acme", "ai_insights").await, refusal);
    assert_eq!(app.entitlements("acme").await["blocked"], false);
}

#[tokio::test]
async fn only_support_and_super_admins_govern_overrides() {
    let app = on("free").await;
    let made = support(&app).post(OVERRIDES, about("ai_insights", json!({}))).await.expect(201);
    let there = format!("{OVERRIDES}/{}", made.body["id"].as_str().unwrap());
    let before = dump(&app);
    for (role, tenant) in [
        (OperatorRole::Auditor, None),
        (OperatorRole::Service, None),
        (OperatorRole::Service, Some("acme")),
        (OperatorRole::TenantAdmin, Some("acme")),
        (OperatorRole::TenantUser, Some("acme")),
    ] {
        let caller = app.caller(role, tenant, "eve");
        let (one, none) = (there.as_str(), format!("{OVERRIDES}/ovr_none"));
        for reply in [
            caller.get(OVERRIDES).await,
            caller.get(one).await,
            caller.get(&none).await,
            caller.post(OVERRIDES, about("ai_actions", json!({}))).await,
            caller.post(OVERRIDES, json!({"tenant": "acme"})).await,
            caller.patch(one, json!({"reason": "mine now"})).await,
            caller.delete(one).await,
            caller.delete(&none).await,
        ] {
            reply.expect_problem(403, "FORBIDDEN");
        }
    }
    assert_eq!(dump(&app), before);
    app.nobody().get(OVERRIDES).await.expect_problem(401, "UNAUTHENTICATED");

    for (role, key) in
        [(OperatorRole::SuperAdmin, "ai_actions"), (OperatorRole::Support, "llm_routing")]
    {
        let caller = app.caller(role, None, "ada");
        let made = caller.post(OVERRIDES, about(key, json!({}))).await.expect(201).body;
        let one = format!("{OVERRIDES}/{}", made["id"].as_str().unwrap());
        caller.get(OVERRIDES).await.expect(200);
        caller.get(&one).await.expect(200);
        caller.patch(&one, json!({"reason": "Another one"})).await.expect(200);
        caller.delete(&one).await.expect(204);
    }
}

#[tokio::test]
async fn every_fault_of_an_override_is_answered_by_its_field() {
    let app = on("free").await;
    let fields = async |body: Value| {
        let reply = support(&app).post(OVERRIDES, body).await.expect(422);
        let fields = reply.body["fields"].as_object().unwrap();
        fields.keys().cloned().collect::<Vec<_>>()
    };
    let required = ["enabled", "expires_at", "key", "reason", "tenant"];
    assert_eq!(fields(json!({})).await, required);
    let worthless = json!({"tenant": "a/b", "key": "", "enabled": "yes", "expires_at": "soon",
                           "reason": "  "});
    assert_eq!(fields(worthless).await, required);
    for (more, field) in [
        (json!({"expires_at": "2026-03-02T12:00:00"}), "expires_at"),
        (json!({"expires_at": day(0)}), "expires_at"),
        (json!({"expires_at": day(367)}), "expires_at"),
        (json!({"reason": "no"}), "reason"),
        (json!({"reason": "x".repeat(501)}), "reason"),
        (json!({"value": 1}), "value"),
        (json!({"key": "ai_insight"}), "key"),
        (json!({"key": "billing"}), "key"),
        (json!({"feature_key": "ai_insights"}), "feature_key"),
    ] {
        assert_eq!(fields(about("ai_insights", more.clone())).await, [field], "{more}");
    }
    let unknown = support(&app).post(OVERRIDES, about("ai_insight", json!({}))).await;
    let unknown = unknown.expect_problem(422, "UNKNOWN_KEY").body;
    assert!(unknown["detail"].as_str().unwrap().contains("“ai_insights”"));
    let nobody = about("ai_insights", json!({"tenant": "nobody"}));
    support(&app).post(OVERRIDES, nobody).await.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(app.events("event=entitlement.override.").await, [] as [Value; 0]);
}

/// Who did it, to whom, and what the override was before and after.
fn told(event: &Value) -> Value {
    let state = |state: &Value| match state {
        Value::Null => Value::Null,
        state => json!([state["key"], state["enabled"], state["expires_at"], state["reason"]]),
    };
    json!([
        event["event"],
        event["actor"]["id"],
        event["actor"]["role"],
        event["tenant"],
        state(&event["before"]),
        state(&event["after"]),
        event["reason"],
    ])
}

#[tokio::test]
async fn each_step_of_an_override_has_its_event_with_all_that_belongs_to_it() {
    let app = on("free").await;
    let root = app.caller(OperatorRole::SuperAdmin, None, "ada");
    let made = support(&app).post(OVERRIDES, about("ai_actions", json!({}))).await.expect(201);
    let there = format!("{OVERRIDES}/{}", made.body["id"].as_str().unwrap());
    let later = json!({"expires_at": day(2), "reason": "One more day"});
    root.patch(&there, later).await.expect(200);
    support(&app).delete(&there).await.expect(204);
    support(&app)
        .post(OVERRIDES, about("llm_routing", json!({"enabled": false, "reason": "Abuse"})))
        .await
        .expect(201);
    app.advance(days(1));
    let run = root.post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body;
    assert_eq!(run, json!({"expired": 1, "failed": 0, "held": false}));

    let first = json!(["ai_actions", true, day(1), "Bridges the upgrade"]);
    let second = json!(["ai_actions", true, day(2), "One more day"]);
    let third = json!(["llm_routing", false, day(1), "Abuse"]);
    let (name, why) = ("entitlement.override", "Bridges the upgrade");
    let events = app.events("event=entitlement.override.").await;
    assert_eq!(
        events.iter().map(told).collect::<Vec<_>>(),
        [
            json!([format!("{name}.created"), "sue", "support", "acme", null, first, why]),
            json!([
                format!("{name}.updated"),
                "ada",
                "super_admin",
                "acme",
                first,
                second,
                "One more day"
            ]),
            json!([
                format!("{name}.removed"),
                "sue",
                "support",
                "acme",
                second,
                null,
                "One more day"
            ]),
            json!([format!("{name}.created"), "sue", "support", "acme", null, third, "Abuse"]),
            json!([format!("{name}.expired"), "ada", "super_admin", "acme", third, null, "Abuse"]),
        ]
    );
    for event in &events {
        assert!(event["request_id"].is_string() && event["at"].is_string(), "{event:#}");
    }
}

#[tokio::test]
async fn an_override_ends_at_its_instant_and_its_end_is_recorded_once() {
    let app = on("free").await;
    let made = support(&app).post(OVERRIDES, about("ai_actions", json!({}))).await.expect(201);
    let there = format!("{OVERRIDES}/{}", made.body["id"].as_str().unwrap());
    app.advance(days(1) - Duration::from_micros(1));
    assert_eq!(app.feature("acme", "ai_actions").await, "allowed override");
    let run = async || app.root().post("/api/v1/admin/expiry/run", json!({})).await.body;
    assert_eq!(run().await, json!({"expired": 0, "failed": 0, "held": false}));

    app.advance(Duration::from_micros(1));
    // Refused before the worker has seen it.
    let refused = ask(&app, &["ai_actions"], "all").await;
    assert_eq!(shown(&refused), "refused plan_limit FEATURE_NOT_ENTITLED 402");
    assert_eq!(support(&app).get(&there).await.body["state"], "expired");
    assert_eq!(run().await, json!({"expired": 1, "failed": 0, "held": false}));
    assert_eq!(run().await, json!({"expired": 0, "failed": 0, "held": false}));
    assert_eq!(app.events("event=entitlement.override.expired").await.len(), 1);
    assert_eq!(app.events("event=entitlement.override.removed").await.len(), 0);
    support(&app).delete(&there).await.expect_problem(409, "OVERRIDE_ENDED");
}

#[tokio::test]
async fn an_override_closes_what_the_plan_gives() {
    let app = on("business").await;
    let body = about("llm_routing", json!({"enabled": false, "reason": "Abuse"}));
    support(&app).post(OVERRIDES, body).await.expect(201);
    let refused = ask(&app, &["llm_routing"], "all").await;
    assert_eq!(shown(&refused), "refused override FEATURE_NOT_ENTITLED 402");
    assert_eq!(refused["remedies"], json!([{"kind": "contact_admin"}]));
    let payload = app.entitlements("acme").await;
    let entry = &payload["features"]["llm_routing"];
    assert_eq!((&entry["enabled"], &entry["reason"]), (&json!(false), &json!("override")));
}
