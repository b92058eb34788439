//! User entitlements: given to one user, suspended, resumed, revoked, ended by themselves.

use entitled::domain::callers::OperatorRole;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day},
    harness::{App, Client},
};

const OF_SCHOOL: &str = "/api/v1/tenants/school/user-entitlements";
const OF_READER: &str = "/api/v1/users/rita/user-entitlements";

/// A school on its plan, and one that has nothing.
async fn schools() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/learning.yaml")).await;
    app.tenant("school", json!({})).await;
    app.assign("school", "school", json!({})).await;
    app.tenant("closed", json!({})).await;
    app
}

/// Something for sam; `more` is merged in.
fn about(key: &str, more: Value) -> Value {
    let mut body = json!({"user": "sam", "key": key, "reason": "Enrolled for spring"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn admin<'a>(app: &'a App, tenant: &str) -> Client<'a> {
    app.caller(OperatorRole::TenantAdmin, Some(tenant), "ada")
}

async fn asked(app: &App) -> String {
    let answer = json!({"tenant": "school", "user": "sam", "module": "brilliant_school"});
    let answer = app.check(answer).await;
    format!("{} {}", answer["allowed"], answer["reason"]).replace('"', "")
}

fn there(made: &Value) -> String {
    format!("{OF_SCHOOL}/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn one_is_given_suspended_resumed_and_revoked_for_good() {
    let app = schools().await;
    let by = app.backend();
    assert_eq!(asked(&app).await, "false seat_required");
    let made = by.post(OF_SCHOOL, about("brilliant_school", json!({}))).await.expect(201);
    assert_eq!(made.header("location"), there(&made.body));
    assert_eq!(
        (&made.body["status"], &made.body["created_by"]),
        (&json!("active"), &json!("backend"))
    );
    assert_eq!(asked(&app).await, "true user_entitlement", "it needs no seat");
    by.post(OF_SCHOOL, about("brilliant_school", json!({})))
        .await
        .expect_problem(409, "ALREADY_EXISTS");

    let path = there(&made.body);
    let patch = async |body: Value| by.patch(&path, body).await;
    let to = |status: &str| json!({"status": status, "reason": "The fee is late"});
    let suspended = patch(to("suspended")).await.expect(200);
    assert_eq!(suspended.body["reason"], "The fee is late");
    assert_eq!(asked(&app).await, "false seat_required");
    patch(to("active")).await.expect(200);
    assert_eq!(asked(&app).await, "true user_entitlement");
    let stale = [("if-match", suspended.header("etag"))];
    let late = by.send(Method::PATCH, &path, Some(to("revoked")), &stale).await;
    late.expect_problem(412, "PRECONDITION_FAILED");
    patch(to("revoked")).await.expect(200);
    assert_eq!(asked(&app).await, "false seat_required");
    patch(to("active")).await.expect_problem(409, "USER_ENTITLEMENT_ENDED");

    let again = by.post(OF_SCHOOL, about("brilliant_school", json!({}))).await.expect(201).body;
    assert_ne!(again["id"], made.body["id"]);
    assert_eq!(asked(&app).await, "true user_entitlement");
    let all = by.get(OF_SCHOOL).await.expect(200).body;
    assert_eq!(column(&all, "status"), ["active", "revoked"]);
    let events = app.events("event=user_entitlement.").await;
    let told: Vec<_> = events
        .iter()
        .map(|e| json!([e["event"], e["actor"]["id"], e["after"]["status"], e["reason"]]))
        .collect();
    let (why, late) = ("Enrolled for spring", "The fee is late");
    let name = |name: &str| format!("user_entitlement.{name}");
    assert_eq!(
        told,
        [
            json!([name("granted"), "backend", "active", why]),
            json!([name("suspended"), "backend", "suspended", late]),
            json!([name("resumed"), "backend", "active", late]),
            json!([name("revoked"), "backend", "revoked", late]),
            json!([name("granted"), "backend", "active", why]),
        ]
    );
    assert!(events.iter().all(|event| event["tenant"] == "school"));
}

#[tokio::test]
async fn it_ends_at_its_instant_and_its_end_is_recorded_once() {
    let app = schools().await;
    let ends = json!({"expires_at": day(1)});
    let made = app.backend().post(OF_SCHOOL, about("brilliant_school", ends)).await.expect(201);
    let direct = json!({"key": "wealth_with_god", "expires_at": day(1), "reason": "Bought online"});
    app.backend().post(OF_READER, direct).await.expect(201);
    let payload = app.backend().get("/api/v1/tenants/school/entitlements?user=sam").await.body;
    assert_eq!(payload["module_access"]["brilliant_school"]["expires_at"], day(1));
    app.move_to_end_of_day(1);
    assert_eq!(asked(&app).await, "true user_entitlement");
    app.move_to_day(1);
    assert_eq!(asked(&app).await, "false seat_required");
    let open = there(&made.body);
    let read = app.backend().get(&open).await.expect(200).body;
    assert_eq!(read["status"], "expired", "before the worker ran");
    let list = app.backend().get(&format!("{OF_SCHOOL}?status=expired")).await.expect(200).body;
    assert_eq!(column(&list, "user"), ["sam"]);
    app.backend()
        .patch(&open, json!({"expires_at": null, "reason": "One more term"}))
        .await
        .expect_problem(409, "USER_ENTITLEMENT_ENDED");
    let run = async || app.root().post("/api/v1/admin/expiry/run", json!({})).await.body;
    assert_eq!(run().await, json!({"expired": 2, "failed": 0, "held": false}));
    assert_eq!(run().await, json!({"expired": 0, "failed": 0, "held": false}));
    assert_eq!(app.events("event=user_entitlement.expired").await.len(), 2);

    // One that has ended without being recorded gives way to a new one, with its event.
    let ends = json!({"expires_at": day(2)});
    app.backend().post(OF_SCHOOL, about("brilliant_school", ends)).await.expect(201);
    app.move_to_day(2);
    app.backend().post(OF_SCHOOL, about("brilliant_school", json!({}))).await.expect(201);
    assert_eq!(app.events("event=user_entitlement.expired").await.len(), 3);
    assert_eq!(asked(&app).await, "true user_entitlement");
}

#[tokio::test]
async fn the_end_can_be_moved_and_taken_away() {
    let app = schools().await;
    let ends = json!({"expires_at": day(1)});
    let made = app.backend().post(OF_SCHOOL, about("brilliant_school", ends)).await.expect(201);
    let path = there(&made.body);
    let patch = async |body: Value| app.backend().patch(&path, body).await;
    let later = json!({"expires_at": day(3), "reason": "Two days more"});
    assert_eq!(patch(later).await.expect(200).body["expires_at"], day(3));
    app.move_to_day(1);
    assert_eq!(asked(&app).await, "true user_entitlement");
    let never = json!({"expires_at": null, "reason": "For good"});
    assert_eq!(patch(never).await.expect(200).body["expires_at"], json!(null));
    app.move_to_day(9);
    assert_eq!(asked(&app).await, "true user_entitlement");
    for (body, field) in [
        (json!({"status": "expired", "reason": "no more"}), "status"),
        (json!({"status": "paused", "reason": "no more"}), "status"),
        (json!({"status": "revoked"}), "reason"),
        (json!({"expires_at": day(1), "reason": "no more"}), "expires_at"),
        (json!({"expires_at": "soon", "reason": "no more"}), "expires_at"),
        (json!({"state": "revoked", "reason": "no more"}), "state"),
    ] {
        let reply = patch(body.clone()).await.expect(422);
        assert!(reply.body["fields"].get(field).is_some(), "{body}: {:#}", reply.body);
    }
}

#[tokio::test]
async fn who_may_give_what_is_said_by_the_model_of_the_module() {
    let app = schools().await;
    let school = admin(&app, "school");
    let refused = async |by: &Client<'_>, path: &str, body: Value| {
        by.post(path, body).await.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    };
    // A tenant's admin: where the module is delegated, and the tenant has it itself.
    refused(&school, OF_SCHOOL, about("leaderforge", json!({}))).await;
    refused(&school, OF_SCHOOL, about("wealth_with_god", json!({}))).await;
    refused(&school, OF_SCHOOL, about("school_exams", json!({}))).await;
    // What takes seats is handed out by seats.
    refused(&school, OF_SCHOOL, about("brilliant_school", json!({}))).await;
    refused(&school, OF_SCHOOL, about("school_lessons", json!({}))).await;
    let closed = admin(&app, "closed");
    let of_closed = "/api/v1/tenants/closed/user-entitlements";
    refused(&closed, of_closed, about("brilliant_school", json!({}))).await;
    // The application and super admins: always.
    app.backend().post(of_closed, about("brilliant_school", json!({}))).await.expect(201);
    app.root().post(OF_SCHOOL, about("leaderforge", json!({}))).await.expect(201);
    // What the application gave is no admin's matter where the module isn't delegated.
    let list = school.get(&format!("{OF_SCHOOL}?key=leaderforge")).await.expect(200).body;
    let path = there(&list["items"][0]);
    school
        .patch(&path, json!({"status": "revoked", "reason": "Mine now"}))
        .await
        .expect_problem(403, "PROVISIONING_NOT_ALLOWED");

    // Without a tenant: where the module is for users directly, by who is bound to no tenant.
    let direct = |key: &str| json!({"key": key, "reason": "Bought online"});
    refused(&app.backend(), OF_READER, direct("brilliant_school")).await;
    app.backend().post(OF_READER, direct("wealth_with_god")).await.expect(201);
    app.root().post(OF_READER, direct("wealth_workshops")).await.expect(201);
    let bound = app.caller(OperatorRole::Service, Some("school"), "bound");
    bound.post(OF_READER, direct("wealth_with_god")).await.expect_problem(403, "FORBIDDEN");
    bound.get(OF_READER).await.expect_problem(403, "FORBIDDEN");
    school.get(OF_READER).await.expect_problem(403, "FORBIDDEN");
    // One place doesn't show what is in the other.
    let other = closed.get(&path.replace("school", "closed")).await;
    other.expect_problem(404, "NOT_FOUND");
    let id = path.rsplit('/').next().unwrap();
    app.backend().get(&format!("{OF_READER}/{id}")).await.expect_problem(404, "NOT_FOUND");
    school.get(of_closed).await.expect_problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn every_fault_is_answered_at_once_by_its_field() {
    let app = schools().await;
    let body = json!({"key": 7, "expires_at": "soon", "reason": " x "});
    let reply = app.backend().post(OF_SCHOOL, body).await.expect_problem(422, "INVALID_VALUE");
    let fields = reply.body["fields"].as_object().unwrap();
    let named: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(named, ["expires_at", "key", "reason", "user"], "{:#}", reply.body);
    for (more, field) in [
        (json!({"key": "storage_gb"}), "key"),
        (json!({"expires_at": day(0)}), "expires_at"),
        (json!({"tenant": "school"}), "tenant"),
    ] {
        let reply = app.backend().post(OF_SCHOOL, about("brilliant_school", more.clone())).await;
        let reply = reply.expect(422);
        assert!(reply.body["fields"].get(field).is_some(), "{more}: {:#}", reply.body);
    }
    let unknown = app.backend().post(OF_SCHOOL, about("briliant_school", json!({}))).await;
    unknown.expect_problem(422, "UNKNOWN_KEY");
    let nowhere = "/api/v1/tenants/nowhere/user-entitlements";
    let nowhere = app.backend().post(nowhere, about("brilliant_school", json!({}))).await;
    nowhere.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(app.events("event=user_entitlement.").await, [] as [Value; 0]);
}

#[tokio::test]
async fn the_same_request_sent_twice_gives_one() {
    let app = schools().await;
    let once = [("idempotency-key", "k1")];
    let send = async || {
        let body = Some(about("brilliant_school", json!({})));
        app.backend().send(Method::POST, OF_SCHOOL, body, &once).await.expect(201).body
    };
    assert_eq!(send().await["id"], send().await["id"]);
    let list = app.backend().get(OF_SCHOOL).await.expect(200).body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_an_admin_gave_counts_while_the_tenant_itself_is_entitled() {
    const CATALOG: &str = "
modules:
  basics: {name: Basics}
  lessons: {name: Lessons, provisioning: [delegated_admin]}
plans:
  big: {name: Big, rank: 20, modules: [basics, lessons]}
  small: {name: Small, rank: 10, modules: [basics]}
";
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("school", json!({})).await;
    app.assign("school", "big", json!({})).await;
    let given = admin(&app, "school").post(OF_SCHOOL, about("lessons", json!({}))).await;
    given.expect(201);
    let lessons = json!({"tenant": "school", "user": "sam", "module": "lessons"});
    assert_eq!(app.check(lessons.clone()).await["reason"], "user_entitlement");
    app.assign("school", "small", json!({})).await;
    assert_eq!(app.check(lessons.clone()).await["reason"], "plan_limit");
    // What the application gave is its own decision.
    let other = json!({"user": "tom", "key": "lessons", "reason": "A guest of ours"});
    app.backend().post(OF_SCHOOL, other).await.expect(201);
    let of_tom = json!({"tenant": "school", "user": "tom", "module": "lessons"});
    assert_eq!(app.check(of_tom).await["reason"], "user_entitlement");
    app.assign("school", "big", json!({})).await;
    assert_eq!(app.check(lessons).await["reason"], "user_entitlement");
}
