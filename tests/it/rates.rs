//! How much a caller may send: 429, the headers that say so before, and who is left alone.

use std::time::Duration;

use entitled::{domain::callers::OperatorRole, service::rates::Quota};
use serde_json::{Value, json};

use crate::harness::{App, Given, Reply};

const TENANTS: &str = "/api/v1/admin/tenants";

/// Two requests a second, three at once.
async fn limited() -> App {
    App::given(Given { quota: Some(Quota::new(2, 3)), ..Given::default() }).await
}

fn says(reply: &Reply) -> (&str, &str, &str) {
    let header = |name| reply.header(name);
    (header("ratelimit-policy"), header("ratelimit"), header("retry-after"))
}

async fn key(app: &App, more: Value) -> Value {
    let mut body = json!({"name": "k", "role": "auditor"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body
}

#[tokio::test]
async fn who_sends_too_much_is_told_when_to_send_the_next_one() {
    let app = limited().await;
    let ada = app.caller(OperatorRole::Auditor, None, "ada");
    let policy = "\"requests\";q=3;w=2";
    for limit in ["\"requests\";r=2;t=1", "\"requests\";r=1;t=1", "\"requests\";r=0;t=2"] {
        let reply = ada.get(TENANTS).await.expect(200);
        assert_eq!(says(&reply), (policy, limit, ""));
    }
    let refused = ada.get(TENANTS).await.expect_problem(429, "RATE_LIMITED");
    assert_eq!(says(&refused), (policy, "\"requests\";r=0;t=2", "1"));
    app.advance(Duration::from_millis(499));
    ada.get(TENANTS).await.expect(429);
    app.advance(Duration::from_millis(1));
    ada.get(TENANTS).await.expect(200);
    ada.get(TENANTS).await.expect(429);
}

#[tokio::test]
async fn each_caller_has_a_limit_of_its_own_and_the_root_key_none() {
    let app = limited().await;
    let callers = [
        app.caller(OperatorRole::Auditor, None, "ada"),
        app.caller(OperatorRole::Auditor, None, "bob"),
        app.bearer(key(&app, json!({})).await["key"].as_str().unwrap()),
        app.bearer(key(&app, json!({})).await["key"].as_str().unwrap()),
    ];
    for caller in &callers {
        for _ in 0..3 {
            caller.get(TENANTS).await.expect(200);
        }
        caller.get(TENANTS).await.expect(429);
    }
    for _ in 0..10 {
        let reply = app.root().get(TENANTS).await.expect(200);
        assert_eq!(says(&reply), ("", "", ""));
    }
}

#[tokio::test]
async fn a_refused_request_changes_nothing_and_a_strangers_counts_for_nobody() {
    let app = limited().await;
    let key = key(&app, json!({"role": "super_admin"})).await;
    let admin = app.bearer(key["key"].as_str().unwrap());
    for _ in 0..5 {
        app.bearer(&format!("{}x", key["key"].as_str().unwrap())).get(TENANTS).await.expect(401);
    }
    for _ in 0..3 {
        admin.get("/api/v1/admin/tenants/nobody").await.expect(404);
    }
    admin.post(TENANTS, json!({"key": "acme", "name": "Acme"})).await.expect(429);
    app.root().get("/api/v1/admin/tenants/acme").await.expect(404);
}

#[tokio::test]
async fn a_key_may_have_a_limit_of_its_own() {
    let app = App::start().await;
    let made = key(&app, json!({"rate_per_second": 1, "rate_burst": 2})).await;
    let (id, bearer) = (made["id"].as_str().unwrap(), app.bearer(made["key"].as_str().unwrap()));
    assert_eq!(says(&bearer.get(TENANTS).await.expect(200)).0, "\"requests\";q=2;w=2");
    bearer.get(TENANTS).await.expect(200);
    bearer.get(TENANTS).await.expect_problem(429, "RATE_LIMITED");
    let shown = app.root().get(&format!("/api/v1/admin/api-keys/{id}")).await.expect(200).body;
    assert_eq!((&shown["rate_per_second"], &shown["rate_burst"]), (&json!(1), &json!(2)));
    // Another secret is no way around.
    let path = format!("/api/v1/admin/api-keys/{id}/rotate");
    let rotated = app.root().post(&path, json!({})).await.expect(200).body;
    app.bearer(rotated["key"].as_str().unwrap()).get(TENANTS).await.expect(429);

    let free = key(&app, json!({})).await;
    let free = app.bearer(free["key"].as_str().unwrap());
    for _ in 0..10 {
        free.get(TENANTS).await.expect(200);
    }
    for (wrong, field) in [
        (json!({"rate_per_second": 0}), "rate_per_second"),
        (json!({"rate_per_second": 1, "rate_burst": 1_000_001}), "rate_burst"),
        (json!({"rate_burst": 1}), "rate_per_second"),
    ] {
        let mut body = json!({"name": "k", "role": "auditor"});
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let refused = app.root().post("/api/v1/admin/api-keys", body).await;
        let refused = refused.expect_problem(422, "INVALID_VALUE");
        assert!(refused.body["fields"][field].is_array(), "{}", refused.body);
    }
}
