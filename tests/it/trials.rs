//! Trials: started once, ended at their instant, and what is left then.

use serde_json::{Value, json};

use crate::{
    given::{day, limits},
    harness::App,
};

const CATALOG: &str = r#"
modules:
  retail: {name: Retail}
  dine: {name: Dine}
  zf: {name: ZF}
features:
  branches: {name: Branches, type: limit}
plans:
  starter: {name: Starter, rank: 10, modules: [retail], features: {branches: 1}}
  growth: {name: Growth, rank: 20, modules: [retail, dine], trial_days: 14, trial_fallback: starter}
  taster: {name: Taster, rank: 30, modules: [zf], features: {branches: 2}, trial_days: 7}
  many_branches: {name: Many branches, kind: add_on, features: {branches: 8}}
"#;

async fn acme() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app
}

async fn assign(app: &App, plan: &str) -> Value {
    app.assign("acme", plan, json!({})).await.body
}

#[tokio::test]
async fn a_plan_with_trial_days_starts_as_a_trial() {
    let app = acme().await;

    let made = assign(&app, "growth").await;

    assert_eq!((&made["status"], &made["trial_expires_at"]), (&json!("trialing"), &json!(day(14))));
    assert_eq!(made["trial_fallback"], "starter");
    assert_eq!(app.module("acme", "dine").await, "allowed trial");
}

#[tokio::test]
async fn a_plan_that_was_tried_is_not_tried_again() {
    let app = acme().await;
    assign(&app, "growth").await;
    assign(&app, "starter").await;

    let again = assign(&app, "growth").await;

    assert_eq!((&again["status"], &again["trial_expires_at"]), (&json!("active"), &Value::Null));
}

#[tokio::test]
async fn a_trial_is_offered_only_to_who_never_tried() {
    let app = acme().await;
    assign(&app, "starter").await;
    let remedies = async || {
        let answer = app.check(json!({"tenant": "acme", "module": "dine"})).await;
        let remedies = answer["remedies"].as_array().unwrap();
        remedies.iter().map(|remedy| remedy["kind"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(remedies().await, [json!("upgrade_plan"), json!("start_trial")]);
    assign(&app, "growth").await;
    assign(&app, "starter").await;
    assert_eq!(remedies().await, [json!("upgrade_plan")]);
}

#[tokio::test]
async fn an_ended_trial_falls_back_as_it_was_agreed_at_its_start() {
    let app = acme().await;
    assign(&app, "growth").await;
    let poorer = CATALOG.replace("trial_fallback: starter", "trial_fallback: taster");
    app.put_catalog("", poorer).await.expect(200);

    app.move_to_day(14);

    assert_eq!(app.entitlements("acme").await["plan"]["key"], "starter");
    assert_eq!(app.module("acme", "retail").await, "allowed plan");
    assert_eq!(app.module("acme", "dine").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn an_ended_trial_without_fallback_blocks_nothing_else() {
    let app = acme().await;
    assign(&app, "taster").await;
    assign(&app, "many_branches").await;
    app.move_to_day(7);

    assert_eq!(app.module("acme", "zf").await, "refused trial_expired MODULE_NOT_ENTITLED 403");
    assert_eq!(app.entitlements("acme").await["blocked"], false);
    assert_eq!(limits(&app.entitlements("acme").await)["branches"], 8);
}

#[tokio::test]
async fn a_trial_may_be_prolonged() {
    let app = acme().await;
    assign(&app, "taster").await;
    app.move_to_day(6);

    app.change_subscription("acme", json!({"trial_expires_at": day(10)})).await;

    app.move_to_end_of_day(10);
    assert_eq!(app.module("acme", "zf").await, "allowed trial");
    app.move_to_day(10);
    assert_eq!(app.module("acme", "zf").await, "refused trial_expired MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn a_tenant_is_found_by_the_plan_that_counts() {
    let app = acme().await;
    assign(&app, "growth").await;
    let on = |plan: &'static str| {
        let app = &app;
        async move {
            let path = format!("/api/v1/admin/tenants?plan={plan}");
            let found = app.root().get(&path).await.expect(200).body["items"].clone();
            found.as_array().unwrap().len()
        }
    };
    assert_eq!((on("growth").await, on("starter").await), (1, 0));

    app.clock.set(day(14).parse().unwrap());

    assert_eq!((on("growth").await, on("starter").await), (0, 1));
}
