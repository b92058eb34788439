//! `dry_run=true`: who would gain and lose what, by the same permission, checks and refusals as the
//! write itself, and nothing is written.

use entitled::domain::callers::OperatorRole;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    harness::{App, Client, Reply},
    operations::{Body, Operation, Subject, operations, subject},
    schema::faults,
};

/// The operations that take `dry_run`: every one that can change access.
const REHEARSED: [&str; 16] = [
    "apply_catalog",
    "approve_request",
    "assign_plan",
    "delete_grant",
    "delete_override",
    "import_legacy",
    "migrate_subscription",
    "put_admin_org_entitlements",
    "put_override",
    "reapply_catalog_version",
    "select_modules",
    "set_grant",
    "set_rollout",
    "update_override",
    "update_subscription",
    "update_tenant",
];

type Headers = &'static [(&'static str, &'static str)];

fn rehearsed() -> Vec<Operation> {
    let takes = |operation: &Operation| {
        let parameters = operation.declared["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["name"] == "dry_run")
    };
    operations().into_iter().filter(takes).collect()
}

/// Sends an operation with a query, a body of another kind or a header.
async fn send(
    operation: &Operation,
    by: &Client<'_>,
    own: &Subject,
    query: &str,
    body: Option<Body>,
    headers: &[(&str, &str)],
) -> Reply {
    let path = format!("{}{query}", operation.path(own));
    let method = operation.method.clone();
    match body.unwrap_or_else(|| operation.example(own)) {
        Body::None => by.send(method, &path, None, headers).await,
        Body::Json(body) => by.send(method, &path, Some(body), headers).await,
        // The catalog's only header here is the one of its kind.
        Body::Yaml(text) => by.send_text(method, &path, "application/yaml", text).await,
    }
}

/// A problem without what must differ.
fn problem(reply: Reply) -> (u16, Value) {
    let mut body = reply.body;
    body.as_object_mut().unwrap().remove("request_id");
    (reply.status, body)
}

/// The changes of a dry run on one line each: `gained acme/ada module pay: plan_limit -> override`.
fn lines(body: &Value) -> Vec<String> {
    let told = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
        let reason = |side: &str| item[side]["reason"].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {}/{} {} {}: {} -> {}",
            text("change"),
            text("tenant"),
            text("user"),
            text("kind"),
            text("key"),
            reason("before"),
            reason("after")
        )
    };
    body["access"]["items"].as_array().unwrap().iter().map(told).collect()
}

#[test]
fn every_write_that_can_change_access_can_be_rehearsed() {
    let mut ids: Vec<_> = rehearsed().into_iter().map(|operation| operation.id).collect();
    ids.sort();
    assert_eq!(ids, REHEARSED);
}

/// A tenant with one of everything, and a second version of the catalog.
async fn world() -> (App, Subject) {
    let app = App::retail().await;
    let own = subject(&app, "own").await;
    let retail = include_str!("../../examples/retail.yaml");
    let more = retail.replacen("branches: 1", "branches: 2", 1);
    assert_ne!(more, retail);
    app.put_catalog("", more).await.expect(200);
    (app, own)
}

/// The body of a request that changes something in the world above.
fn changing(operation: &Operation, own: &Subject) -> Body {
    let modules = json!({"modules": {"zf": {"state": "enabled"}}, "reason": "for a test"});
    match operation.id.as_str() {
        "set_grant" => Body::Json(json!({"state": "disabled", "reason": "for a test"})),
        "select_modules" | "put_admin_org_entitlements" => Body::Json(modules),
        "update_tenant" => Body::Json(json!({"demo": true})),
        "update_override" => Body::Json(json!({"enabled": false})),
        _ => operation.example(own),
    }
}

#[tokio::test]
async fn a_dry_run_sends_no_event_and_no_message_to_a_webhook() {
    for operation in rehearsed() {
        let (app, own) = world().await;
        let (id, root) = (&operation.id, app.root());
        let hook = json!({"url": "https://hooks.example.com/in"});
        let hook = root.post("/api/v1/admin/webhooks", hook).await.expect(201).body;
        let path = hook["webhook"]["id"].as_str().unwrap();
        let path = format!("/api/v1/admin/webhooks/{path}/deliveries");
        let waiting = || async { root.get(&path).await.expect(200).body["items"].clone() };
        let before = waiting().await;
        let mut stream = root.listen("").await;
        let body = changing(&operation, &own);
        let dry = send(&operation, &root, &own, "?dry_run=true", Some(body.clone()), &[]).await;
        assert_eq!(dry.status, 200, "{id}: {:#}", dry.body);
        assert_eq!(waiting().await, before, "{id}");
        // What is told next is something else.
        app.tenant("next", json!({})).await;
        assert_eq!(stream.expect("change").await.data["cause"], "tenant.created", "{id}");
        let sent = waiting().await;
        let before = before.as_array().unwrap().len();
        assert_eq!(sent.as_array().unwrap().len(), before + 1, "{id}");
        // The write itself is told of.
        send(&operation, &root, &own, "", Some(body), &[]).await;
        let told = stream.expect("change").await.data;
        assert_ne!(told["cause"], "tenant.created", "{id}");
        assert!(waiting().await.as_array().unwrap().len() > before + 1, "{id}");
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing_at_all() {
    for operation in rehearsed() {
        let (app, own) = world().await;
        let (id, root) = (&operation.id, app.root());
        let body = Some(changing(&operation, &own));
        let (payload, before) = (app.entitlements("own").await, dump(&app));

        let once = [("Idempotency-Key", "a-key")];
        let dry = send(&operation, &root, &own, "?dry_run=true", body.clone(), &once).await;

        let told = dry.expect(200).body;
        assert_eq!(told["dry_run"], true, "{id}: {told:#}");
        let content = &operation.declared["responses"]["200"]["content"]["application/json"];
        assert_eq!(faults(&content["schema"], &told), Vec::<String>::new(), "{id}");
        assert_eq!(dump(&app), before, "{id} wrote something");
        assert_eq!(app.entitlements("own").await, payload, "{id} left something in memory");
        // The same request is a change, so something was there to be left.
        let done = send(&operation, &root, &own, "", body, &once).await;
        assert!((200..300).contains(&done.status), "{id}: {:#}", done.body);
        assert_ne!(dump(&app), before, "{id} changes nothing, so that nothing was shown");
        // Settings are those of all, a plan keeps its version until a subscription is moved, and a
        // map grants nothing while it isn't applied.
        let is_told = !told["access"]["items"].as_array().unwrap().is_empty();
        let for_nobody = [
            "apply_catalog",
            "reapply_catalog_version",
            "set_rollout",
            "assign_plan",
            "import_legacy",
        ];
        assert!(is_told || for_nobody.contains(&id.as_str()), "{id} says nothing");
    }
}

#[tokio::test]
async fn a_dry_run_of_a_bad_write_gives_the_problem_of_the_write() {
    let app = App::retail().await;
    let own = subject(&app, "own").await;
    let before = dump(&app);
    let mut compared = 0;
    for operation in rehearsed() {
        let id = &operation.id;
        let parameters = operation.declared["parameters"].as_array().unwrap();
        let edits = parameters.iter().any(|parameter| parameter["name"] == "If-Match");
        let stale: Headers = &[("If-Match", "\"999\"")];
        let mut cases: Vec<(Option<Body>, Headers)> = Vec::new();
        match operation.example(&own) {
            Body::Json(_) => {
                cases.push((Some(Body::Json(json!({"nonsense": 1}))), &[]));
                cases.push((Some(Body::Json(json!([]))), &[]));
                cases.extend(edits.then_some((None, stale)));
            }
            Body::None => cases.extend(edits.then_some((None, stale))),
            Body::Yaml(_) => cases.push((Some(Body::Yaml("modules: {a: {nam: A}}")), &[])),
        }
        for (body, headers) in cases {
            let [dry, real] = [
                send(&operation, &app.root(), &own, "?dry_run=true", body.clone(), headers).await,
                send(&operation, &app.root(), &own, "", body, headers).await,
            ]
            .map(problem);
            assert!((400..500).contains(&real.0), "{id}: {real:?}");
            assert_eq!(dry, real, "{id}");
            compared += 1;
        }
        for role in [OperatorRole::Auditor, OperatorRole::Service] {
            let by = app.caller(role, None, "ada");
            let dry = send(&operation, &by, &own, "?dry_run=true", None, &[]).await;
            dry.expect_problem(403, "FORBIDDEN");
        }
        let pages = send(&operation, &app.root(), &own, "?limit=5&cursor=x", None, &[]).await;
        let fields = pages.expect_problem(422, "INVALID_VALUE").body["fields"].clone();
        assert_eq!(fields.as_object().map(serde_json::Map::len), Some(2), "{id}: {fields}");
    }
    assert!(compared >= 30, "{compared}");
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn a_catalog_that_was_made_for_another_version_is_not_rehearsed() {
    let app = App::retail().await;
    let yaml = include_str!("../../examples/retail.yaml");
    for query in ["?dry_run=true", ""] {
        let url = format!("http://{}/api/v1/admin/catalog{query}", app.address);
        let request = app.http().put(url).bearer_auth(crate::harness::ROOT_KEY).body(yaml);
        let request = request.header("content-type", "application/yaml");
        let reply = request.header("if-match", "\"7\"").send().await.unwrap();
        assert_eq!(reply.status(), 412, "{query}");
    }
}

#[tokio::test]
async fn who_gains_and_who_loses_can_be_read() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "starter", json!({})).await;
    let path = "/api/v1/admin/tenants/acme/grants";

    let body = json!({"state": "enabled", "reason": "for a test"});
    let gained = app.root().put(&format!("{path}/pay?dry_run=true"), body).await.expect(200).body;
    assert_eq!(lines(&gained), ["gained acme/- module pay: plan_limit -> grant"]);
    let body = json!({"state": "disabled", "reason": "for a test"});
    let lost = app.root().put(&format!("{path}/retail?dry_run=true"), body).await.expect(200).body;
    let of_the_module = "changed acme/- feature multi_branch: plan_limit -> disabled";
    assert_eq!(lines(&lost), ["lost acme/- module retail: plan -> disabled", of_the_module]);
    let body = json!({"state": "enabled", "value": 7, "reason": "for a test"});
    let path = format!("{path}/branches?dry_run=true");
    let changed = app.root().put(&path, body).await.expect(200).body;
    assert_eq!(lines(&changed), ["changed acme/- limit branches: plan -> grant"]);
    let item = &changed["access"]["items"][0];
    assert_eq!((&item["before"]["limit"], &item["after"]["limit"]), (&json!(1), &json!(7)));
    assert_eq!(item["after"]["unlimited"], false);
}

#[tokio::test]
async fn what_a_seat_from_further_up_gave_is_told_of_who_has_it() {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/learning.yaml")).await;
    app.tenant("head", json!({"billing": "direct"})).await;
    app.tenant("branch", json!({"billing": "direct", "parent": "head"})).await;
    let grant = json!({"state": "enabled", "seats": 2});
    app.grant("head", "leaderforge", grant).await.expect(201);
    let seat = "/api/v1/tenants/branch/seats/leaderforge/ada";
    app.root().put(seat, json!({"from_tenant": "head"})).await.expect(201);

    let suspended = json!({"status": "suspended", "reason": "for a test"});
    let path = "/api/v1/admin/tenants/head?dry_run=true";
    let lost = app.root().patch(path, suspended).await.expect(200).body;

    let told = lines(&lost);
    let ada = "lost branch/ada module leaderforge: grant -> not_granted";
    assert!(told.iter().any(|line| line == ada), "{told:#?}");
    assert!(
        told.iter().any(|line| line.starts_with("lost head/- module leaderforge")),
        "{told:#?}"
    );
    assert_eq!(lost["access"]["truncated"], false);
}

#[tokio::test]
async fn what_was_answered_before_would_change_nothing_and_another_body_is_refused() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    let path = "/api/v1/admin/tenants/acme/subscriptions";
    let body = json!({"plan": "starter", "change_reason": "for a test"});
    let once = [("Idempotency-Key", "first")];
    let dry = format!("{path}?dry_run=true");
    let root = app.root();

    let rehearsed = root.send(Method::POST, &dry, Some(body.clone()), &once).await.expect(200);
    assert!(!lines(&rehearsed.body).is_empty());
    root.send(Method::POST, path, Some(body.clone()), &once).await.expect(201);
    let again = root.send(Method::POST, &dry, Some(body), &once).await.expect(200);
    assert_eq!(lines(&again.body), [""; 0]);
    let other = json!({"plan": "growth", "change_reason": "for a test"});
    let refused = root.send(Method::POST, &dry, Some(other), &once).await;
    refused.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn turning_enforcement_on_tells_who_would_be_refused_what() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    let shadow = json!({"mode": "shadow", "percent": 0});
    app.root().put("/api/v1/admin/rollout", shadow).await.expect(200);

    let enforce = json!({"mode": "enforce", "percent": 100});
    let path = "/api/v1/admin/rollout?dry_run=true";
    let lost = app.root().put(path, enforce).await.expect(200).body;

    let told = lines(&lost);
    let retail = "lost acme/- module retail: gating_disabled -> no_subscription";
    assert!(told.iter().any(|line| line == retail), "{told:#?}");
    let item = &lost["access"]["items"][0];
    assert_eq!(item["before"]["would_reason"], item["after"]["reason"], "{item:#}");
    assert_eq!(app.module("acme", "retail").await, "allowed gating_disabled");
}
