//! What the service answers is what its document says: a tour through every operation.

use std::collections::{BTreeMap, BTreeSet};

use entitled::{
    domain::callers::OperatorRole,
    engine::Gating,
    service::policy::{Approval, Policy},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{App, Given, Reply},
    openapi::resolve,
    operations::{Body, DOCUMENT, operations, subject},
    schema::faults,
};

/// Validates answers and keeps count of what was seen.
#[derive(Default)]
struct Tour {
    seen: BTreeMap<String, BTreeSet<u16>>,
    findings: Vec<String>,
}

impl Tour {
    /// Holds an answer against what the operation documents for its status.
    fn note(&mut self, id: &str, reply: &Reply) {
        self.seen.entry(id.to_owned()).or_default().insert(reply.status);
        let all = operations();
        let operation = all.iter().find(|operation| operation.id == id).expect(id);
        let responses = &operation.declared["responses"];
        let status = reply.status.to_string();
        let what = format!("{id} {status}");
        let Some(response) = responses.get(&status) else {
            return self.findings.push(format!("{what} is not documented"));
        };
        let response = resolve(response);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            if header["required"] == true && !reply.headers.contains_key(name.as_str()) {
                self.findings.push(format!("{what}: no header {name}"));
            }
        }
        let content = response["content"].as_object().filter(|content| !content.is_empty());
        let Some(content) = content else {
            if reply.body != Value::String(String::new()) {
                self.findings.push(format!("{what} has a body: {}", reply.body));
            }
            return;
        };
        let kind = reply.header("content-type");
        let Some(media) = content.get(kind) else {
            return self.findings.push(format!("{what} is {kind}"));
        };
        let wrong = faults(&media["schema"], &reply.body);
        self.findings.extend(wrong.into_iter().map(|fault| format!("{what} {fault}")));
    }
}

/// A request of the tour: who, which operation, and how.
struct Stop(&'static str, Method, &'static str, Option<Value>, u16);

fn problems() -> Vec<Stop> {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let admin = "/api/v1/admin";
    let of = |path: &str| -> &'static str { format!("{admin}{path}").leak() };
    vec![
        Stop("check", post.clone(), "/api/v1/check", Some(json!({})), 422),
        Stop("check", post.clone(), "/api/v1/check", Some(json!({"modul": "retail"})), 422),
        Stop("check", post.clone(), "/api/v1/check", Some(json!([])), 422),
        Stop("check", post.clone(), "/api/v1/check", Some(json!({"tenant": "none"})), 404),
        Stop("check_batch", post.clone(), "/api/v1/check/batch", Some(json!({"checks": []})), 422),
        Stop("get_entitlements", get.clone(), "/api/v1/tenants/none/entitlements", None, 404),
        Stop("get_my_entitlements", get.clone(), "/api/v1/me/entitlements", None, 404),
        Stop("list_tenants", get.clone(), of("/tenants?limit=0"), None, 422),
        Stop("list_tenants", get.clone(), of("/tenants?cursor=x"), None, 422),
        Stop("get_tenant", get.clone(), of("/tenants/none"), None, 404),
        Stop("create_tenant", post.clone(), of("/tenants"), Some(json!({"key": "a/b"})), 422),
        Stop("apply_catalog", put.clone(), of("/catalog"), Some(json!({"modules": 1})), 422),
        Stop("get_catalog_version", get.clone(), of("/catalog/versions/99"), None, 404),
        Stop("set_grant", put, of("/tenants/own/grants/x"), Some(json!({"state": "on"})), 422),
        Stop("create_api_key", post.clone(), of("/api-keys"), Some(json!({"name": ""})), 422),
        Stop("approve_request", post.clone(), of("/requests/none/approve"), Some(json!({})), 404),
        Stop("decline_request", post.clone(), of("/requests/none/decline"), Some(json!({})), 422),
        Stop(
            "list_override_exceptions",
            get.clone(),
            of("/overrides/report?unused_days=x"),
            None,
            422,
        ),
        Stop("list_audit_events", get, of("/audit?from=yesterday"), None, 422),
    ]
}

async fn questions(app: &App, tour: &mut Tour) {
    let plans = ["retail", "dine", "zf", "common"];
    for tenant in ["own", "demo", "blocked", "late", "trial", "direct"] {
        for module in plans {
            let question = json!({
                "tenant": tenant, "module": module, "explain": true,
                "features": ["multi_branch", "users"], "match": "any"
            });
            tour.note("check", &app.backend().post("/api/v1/check", question).await);
        }
        let path = format!("/api/v1/tenants/{tenant}/entitlements");
        tour.note("get_entitlements", &app.backend().get(&path).await);
        let batch = json!({"checks": [
            {"tenant": tenant, "module": "pay"}, {"tenant": tenant, "module": "pya"}, 7,
            {"tenant": "none", "module": "pay"}, {"tenant": tenant, "features": ["branches"]}
        ]});
        tour.note("check_batch", &app.backend().post("/api/v1/check/batch", batch).await);
    }
    let user = app.caller(OperatorRole::TenantUser, Some("own"), "ada");
    tour.note("get_me", &user.get("/api/v1/me").await);
    tour.note("get_my_entitlements", &user.get("/api/v1/me/entitlements").await);
    tour.note("get_billing_entitlements", &user.get("/api/billing/entitlements").await);
    let reply = user.get("/api/v1/me/entitlements").await;
    let tag = [("if-none-match", reply.header("etag"))];
    let same = user.send(Method::GET, "/api/v1/me/entitlements", None, &tag).await.expect(304);
    tour.note("get_my_entitlements", &same);
}

/// Tenants in every standing.
async fn tenants(app: &App) {
    app.tenant("demo", json!({"demo": true})).await;
    app.tenant("blocked", json!({})).await;
    app.tenant("late", json!({"parent": "own", "attributes": {"a": [1, null]}})).await;
    let due = json!({"status": "active"});
    let id = app.assign("late", "growth", due).await.body["id"].clone();
    let path = format!("/api/v1/admin/tenants/late/subscriptions/{}", id.as_str().unwrap());
    let overdue = json!({"status": "overdue", "change_reason": "for a test"});
    app.root().patch(&path, overdue).await.expect(200);
    app.tenant("trial", json!({})).await;
    app.assign("trial", "trial_unlimited", json!({})).await;
    app.tenant("direct", json!({"billing": "direct"})).await;
    let suspended = json!({"status": "suspended", "reason": "for a test"});
    app.root().patch("/api/v1/admin/tenants/blocked", suspended).await.expect(200);
}

async fn tour(gating: Gating) -> Tour {
    let app = App::given(Given { gating, ..Given::default() }).await;
    app.apply_catalog(include_str!("../../examples/retail.yaml")).await;
    let own = subject(&app, "own").await;
    tenants(&app).await;
    let mut tour = Tour::default();
    questions(&app, &mut tour).await;
    for Stop(id, method, path, body, status) in problems() {
        let reply = app.root().send(method, path, body, &[]).await;
        assert_eq!(reply.status, status, "{id} {path}: {:#}", reply.body);
        tour.note(id, &reply);
    }
    for operation in operations() {
        tour.note(&operation.id, &operation.send(&app.nobody(), &own).await);
        let user = app.caller(OperatorRole::TenantUser, Some("own"), "ada");
        tour.note(&operation.id, &operation.send(&user, &own).await);
        tour.note(&operation.id, &operation.send(&app.root(), &own).await);
    }
    // Only who asked may withdraw.
    let ada = app.caller(OperatorRole::TenantAdmin, Some("own"), "ada");
    let path = format!("/api/v1/requests/{}", own.request);
    tour.note("withdraw_request", &ada.delete(&path).await.expect(204));
    tour
}

fn judge(tour: &Tour) {
    assert!(tour.findings.is_empty(), "\n{}", tour.findings.join("\n"));
    for operation in operations() {
        let seen = &tour.seen[&operation.id];
        let good = seen.iter().any(|status| (200..300).contains(status));
        assert!(good && seen.contains(&401), "{}: {seen:?}", operation.id);
    }
}

#[tokio::test]
async fn answers_are_as_documented() {
    judge(&tour(Gating::BySettings).await);
}

#[tokio::test]
async fn answers_are_as_documented_where_nothing_is_enforced() {
    judge(&tour(Gating::OffByEnvironment).await);
}

#[tokio::test]
async fn what_waits_for_a_second_person_is_answered_as_documented() {
    let policy = Policy { approval: Approval::FourEyes, ..Policy::default() };
    let app = App::given(Given { policy, ..Given::default() }).await;
    app.apply_catalog(include_str!("../../examples/retail.yaml")).await;
    app.tenant("own", json!({})).await;
    let mut tour = Tour::default();
    let path = "/api/v1/admin/overrides";
    let body = |key: &str, glass: bool| {
        json!({
            "tenant": "own", "key": key, "enabled": true, "break_glass": glass,
            "expires_at": "2026-04-01T00:00:00Z", "reason": "for a test"
        })
    };
    tour.note("put_override", &app.root().post(path, body("pay", false)).await.expect(202));
    let made = app.root().post(path, body("dine", true)).await.expect(201);
    tour.note("put_override", &made);
    let there = format!("{path}/{}", made.body["id"].as_str().unwrap());
    let change = app.root().patch(&there, json!({"enabled": false})).await.expect(202);
    tour.note("update_override", &change);
    assert!(tour.findings.is_empty(), "\n{}", tour.findings.join("\n"));
}

#[test]
fn the_examples_of_bodies_are_what_their_schemas_say() {
    for operation in operations() {
        let content = operation.declared["requestBody"]["content"].as_object();
        for (kind, media) in content.into_iter().flatten() {
            let schema = resolve(&media["schema"]);
            let wrong = faults(schema, &schema["example"]);
            assert!(wrong.is_empty(), "{} {kind}: {wrong:?}", operation.id);
            if let (Body::Json(body), "application/json") = (operation.body("own"), kind.as_str()) {
                let wrong = faults(schema, &body);
                assert!(wrong.is_empty(), "{} in these tests: {wrong:?}", operation.id);
            }
        }
    }
}

/// serde would take the fields of a struct from an array, in the order of their declaration.
#[tokio::test]
async fn an_array_is_no_object() {
    let app = App::retail().await;
    let own = subject(&app, "own").await;
    for operation in operations() {
        let Body::Json(_) = operation.body("own") else { continue };
        for array in [json!([]), json!(["for a test"]), json!(["enabled", null, null, null, "abc"])]
        {
            let path = operation.path(&own);
            let reply = app.root().send(operation.method.clone(), &path, Some(array), &[]).await;
            let problem = reply.expect_problem(422, "INVALID_VALUE").body;
            let detail = problem["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("an object"), "{}: {detail}", operation.id);
        }
    }
    let modules = json!({"modules": {"hr": ["enabled", null, null]}, "reason": "for a test"});
    let path = "/api/v1/admin/tenants/own/modules";
    app.root().put(path, modules).await.expect_problem(422, "INVALID_VALUE");
    let batch = json!({"checks": [["own"], ["own", null, null, "retail"]]});
    let batch = app.root().post("/api/v1/check/batch", batch).await.expect(200).body;
    for item in batch["results"].as_array().unwrap() {
        let detail = item["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains("an object"), "{detail}");
    }
}

/// Else the tour could pass by seeing nothing.
#[test]
fn the_validator_sees_what_is_wrong() {
    let schema = &DOCUMENT["components"]["schemas"]["Tenant"];
    let mut tenant = json!({
        "key": "acme", "name": "Acme", "parent": null, "status": "active", "suspension": null,
        "billing": "direct", "demo": false, "sandbox": false, "clock": null, "attributes": {},
        "plan": null,
        "blocked_reason": null, "damaged": false,
        "created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z"
    });
    assert_eq!(faults(schema, &tenant), Vec::<String>::new());
    for (field, bad) in [
        ("key", json!("a b")),
        ("name", json!(null)),
        ("billing", json!("free")),
        ("demo", json!("no")),
        ("created_at", json!("yesterday")),
        ("secret", json!(1)),
        ("suspension", json!({"by": "ada"})),
    ] {
        let good = tenant.clone();
        tenant[field] = bad;
        assert!(!faults(schema, &tenant).is_empty(), "{field}");
        tenant = good;
    }
    tenant.as_object_mut().unwrap().remove("plan");
    assert_eq!(faults(schema, &tenant), ["$: plan is missing"]);
}
