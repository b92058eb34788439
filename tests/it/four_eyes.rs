//! Four eyes: what one person writes takes effect when a second approves, or when the glass is broken.

use std::time::Duration;

use entitled::{
    domain::callers::OperatorRole,
    service::policy::{Approval, Policy},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Client, Given, Reply};

const PATH: &str = "/api/v1/admin/overrides";

async fn shop_under(approval: Approval) -> App {
    let policy = Policy { approval, ..Policy::default() };
    let app = App::given(Given { policy, ..Given::default() }).await;
    app.apply_catalog(include_str!("../../examples/retail.yaml")).await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    app
}

async fn shop() -> App {
    shop_under(Approval::FourEyes).await
}

fn staff<'a>(app: &'a App, name: &str) -> Client<'a> {
    app.caller(OperatorRole::Support, None, name)
}

fn about(key: &str, more: &Value) -> Value {
    let mut body = json!({
        "tenant": "shop", "key": key, "enabled": true,
        "expires_at": "2026-03-02T12:00:00Z", "reason": "Bridges the upgrade"
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn id(reply: &Reply) -> String {
    reply.body["id"].as_str().unwrap().to_owned()
}

async fn approve(app: &App, name: &str, id: &str, body: Value) -> Reply {
    staff(app, name).post(&format!("/api/v1/admin/requests/{id}/approve"), body).await
}

/// The path of an override that two people made.
async fn made(app: &App, key: &str) -> String {
    let waits = staff(app, "sue").post(PATH, about(key, &json!({}))).await.expect(202);
    let approved = approve(app, "tom", &id(&waits), json!({})).await.expect(200);
    format!("{PATH}/{}", approved.body["override_id"].as_str().unwrap())
}

async fn names(app: &App) -> Vec<String> {
    let events = app.events("event=entitlement.override.").await;
    let name = |event: &Value| {
        event["event"].as_str().unwrap().trim_start_matches("entitlement.override.").to_owned()
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn an_override_of_one_person_waits_for_a_second() {
    let app = shop().await;
    let waits = staff(&app, "sue").post(PATH, about("dine", &json!({}))).await.expect(202);
    assert_eq!(waits.header("location"), format!("/api/v1/requests/{}", id(&waits)));
    assert_eq!((&waits.body["kind"], &waits.body["state"]), (&json!("create"), &json!("open")));
    assert_eq!(waits.body["override_id"], Value::Null);
    assert_eq!(app.module("shop", "dine").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    let list = staff(&app, "sue").get(PATH).await.expect(200).body;
    assert_eq!(list["items"], json!([]));

    let own = approve(&app, "sue", &id(&waits), json!({})).await;
    own.expect_problem(409, "OWN_REQUEST");
    let longer = json!({"expires_at": "2026-03-03T12:00:00Z"});
    let longer = approve(&app, "tom", &id(&waits), longer).await;
    let longer = longer.expect_problem(422, "INVALID_VALUE");
    assert!(longer.body["fields"].get("expires_at").is_some(), "nobody saw that but one");
    assert_eq!(app.module("shop", "dine").await, "refused plan_limit MODULE_NOT_ENTITLED 403");

    let approved = approve(&app, "tom", &id(&waits), json!({})).await.expect(200).body;
    assert_eq!(app.module("shop", "dine").await, "allowed override");
    let there = format!("{PATH}/{}", approved["override_id"].as_str().unwrap());
    let governed = staff(&app, "sue").get(&there).await.expect(200).body;
    assert_eq!((&governed["created_by"], &governed["break_glass"]), (&json!("sue"), &json!(false)));
    assert_eq!(names(&app).await, ["requested", "approved", "created"]);
}

#[tokio::test]
async fn while_an_update_waits_the_old_override_holds() {
    let app = shop().await;
    let there = made(&app, "dine").await;
    let before = staff(&app, "sue").get(&there).await.expect(200);
    let close = json!({"enabled": false, "reason": "Misuse"});
    let patched = staff(&app, "sue").patch(&there, close).await.expect(202);
    assert_eq!(patched.body["kind"], "update");
    assert_eq!(patched.body["enabled"], false);
    // The other way to change it waits as well.
    let longer = about("dine", &json!({"expires_at": "2026-03-09T12:00:00Z"}));
    let posted = staff(&app, "tom").post(PATH, longer).await.expect(202);
    assert_eq!(posted.body["kind"], "update");
    let during = staff(&app, "sue").get(&there).await.expect(200);
    assert_eq!((during.header("etag"), &during.body), (before.header("etag"), &before.body));
    assert_eq!(app.module("shop", "dine").await, "allowed override");

    approve(&app, "tom", &id(&patched), json!({})).await.expect(200);
    let after = app.module("shop", "dine").await;
    assert_eq!(after, "refused override MODULE_NOT_ENTITLED 403");
    // What was written for the state before is not applied to this one.
    let stale = approve(&app, "sue", &id(&posted), json!({})).await;
    stale.expect_problem(409, "OVERRIDE_CHANGED");
}

#[tokio::test]
async fn an_update_of_what_has_ended_is_not_approved() {
    let app = shop().await;
    let there = made(&app, "dine").await;
    let change = json!({"expires_at": "2026-03-05T12:00:00Z"});
    let waits = staff(&app, "sue").patch(&there, change.clone()).await.expect(202);
    staff(&app, "sue").delete(&there).await.expect(204);
    assert_eq!(app.module("shop", "dine").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    let late = approve(&app, "tom", &id(&waits), json!({})).await;
    late.expect_problem(409, "OVERRIDE_ENDED");

    let there = made(&app, "pay").await;
    let waits = staff(&app, "sue").patch(&there, change).await.expect(202);
    // It ends by itself, and no worker has recorded that.
    app.advance(Duration::from_secs(24 * 60 * 60));
    let late = approve(&app, "tom", &id(&waits), json!({})).await;
    late.expect_problem(409, "OVERRIDE_ENDED");
}

#[tokio::test]
async fn a_new_override_is_not_approved_over_one_that_came_between() {
    let app = shop().await;
    let first = staff(&app, "sue").post(PATH, about("dine", &json!({}))).await.expect(202);
    let other = about("dine", &json!({"enabled": false, "reason": "Misuse"}));
    let second = staff(&app, "tom").post(PATH, other).await.expect(202);
    approve(&app, "tom", &id(&first), json!({})).await.expect(200);
    let late = approve(&app, "sue", &id(&second), json!({})).await;
    late.expect_problem(409, "OVERRIDE_CHANGED");
    assert_eq!(app.module("shop", "dine").await, "allowed override");
}

#[tokio::test]
async fn what_changes_nothing_needs_nobody() {
    let app = shop().await;
    let there = made(&app, "dine").await;
    let same = staff(&app, "sue").post(PATH, about("dine", &json!({}))).await.expect(200);
    assert_eq!(format!("{PATH}/{}", id(&same)), there);
    let reason = json!({"reason": "Bridges the upgrade"});
    staff(&app, "sue").patch(&there, reason).await.expect(200);
}

#[tokio::test]
async fn a_proposal_is_no_matter_of_the_tenant() {
    let app = shop().await;
    let waits = staff(&app, "sue").post(PATH, about("dine", &json!({}))).await.expect(202);
    let admin = app.caller(OperatorRole::TenantAdmin, Some("shop"), "sue");
    let path = format!("/api/v1/requests/{}", id(&waits));
    admin.get(&path).await.expect_problem(404, "NOT_FOUND");
    admin.delete(&path).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(admin.get("/api/v1/requests").await.expect(200).body["items"], json!([]));
    staff(&app, "sue").delete(&path).await.expect(204);
    assert_eq!(names(&app).await, ["requested", "request_withdrawn"]);
}

#[tokio::test]
async fn the_same_call_again_gets_the_same_answer() {
    let key = [("idempotency-key", "once")];
    for (approval, status) in [(Approval::FourEyes, 202), (Approval::OnePerson, 201)] {
        let app = shop_under(approval).await;
        let sue = staff(&app, "sue");
        let body = about("branches", &json!({"value": "unlimited"}));
        let send = || sue.send(Method::POST, PATH, Some(body.clone()), &key);
        let first = send().await.expect(status);
        assert_eq!(first.body["value"], "unlimited");
        assert_eq!(send().await.expect(status).body, first.body);
    }
}

#[tokio::test]
async fn one_person_proposes_once_for_the_same_key() {
    let app = shop().await;
    let sue = staff(&app, "sue");
    let first = sue.post(PATH, about("dine", &json!({}))).await.expect(202);
    let second = sue.post(PATH, about("dine", &json!({"reason": "Another one"}))).await;
    let second = second.expect_problem(409, "REQUEST_OPEN");
    assert!(second.body["detail"].as_str().unwrap().contains(&id(&first)));
}

#[tokio::test]
async fn what_a_tenant_asked_for_has_its_second_person_already() {
    let app = shop().await;
    let admin = app.caller(OperatorRole::TenantAdmin, Some("shop"), "ana");
    let mut body = about("dine", &json!({}));
    body.as_object_mut().unwrap().remove("tenant");
    let asked = admin.post("/api/v1/requests", body).await.expect(201);
    approve(&app, "sue", &id(&asked), json!({})).await.expect(200);
    assert_eq!(app.module("shop", "dine").await, "allowed override");
}

#[tokio::test]
async fn a_super_admin_breaks_the_glass_and_everybody_can_see_it() {
    let app = shop().await;
    let glass = about("dine", &json!({"break_glass": true}));
    let support = staff(&app, "sue").post(PATH, glass.clone()).await;
    let support = support.expect_problem(403, "FORBIDDEN");
    assert!(support.body["detail"].as_str().unwrap().starts_with("break_glass: "));
    let made = app.root().post(PATH, glass).await.expect(201);
    assert_eq!(made.body["break_glass"], true);
    assert_eq!(app.module("shop", "dine").await, "allowed override");
    assert_eq!(names(&app).await, ["created", "break_glass"]);

    let there = format!("{PATH}/{}", id(&made));
    let change = json!({"enabled": false, "reason": "Misuse", "break_glass": true});
    staff(&app, "sue").patch(&there, change.clone()).await.expect_problem(403, "FORBIDDEN");
    app.root().patch(&there, change).await.expect(200);
    let after = app.module("shop", "dine").await;
    assert_eq!(after, "refused override MODULE_NOT_ENTITLED 403");
    assert_eq!(names(&app).await[2..], ["updated", "break_glass"]);
    let events = app.events("event=entitlement.override.break_glass").await;
    assert_eq!(events[1]["before"]["enabled"], true);
    assert_eq!(
        (&events[1]["after"]["enabled"], &events[1]["reason"]),
        (&json!(false), &json!("Misuse"))
    );

    // Once two agree, the mark is gone; the trail keeps it.
    let waits = staff(&app, "sue").patch(&there, json!({"enabled": true})).await.expect(202);
    approve(&app, "tom", &id(&waits), json!({})).await.expect(200);
    assert_eq!(app.root().get(&there).await.expect(200).body["break_glass"], false);
}

#[tokio::test]
async fn breaking_the_glass_is_marked_where_one_person_is_enough() {
    let app = shop_under(Approval::OnePerson).await;
    let glass = about("dine", &json!({"break_glass": true}));
    let made = app.root().post(PATH, glass).await.expect(201);
    assert_eq!(made.body["break_glass"], true);
    assert_eq!(names(&app).await, ["created", "break_glass"]);
    let again = about("dine", &json!({"reason": "Still needed"}));
    let changed = staff(&app, "sue").post(PATH, again).await.expect(200);
    assert_eq!(changed.body["break_glass"], true, "one person doesn't take the mark away");
    let wrong = about("pay", &json!({"break_glass": "yes"}));
    let wrong = app.root().post(PATH, wrong).await.expect_problem(422, "INVALID_VALUE");
    assert!(wrong.body["fields"].get("break_glass").is_some());
}

#[tokio::test]
async fn what_waits_outlives_the_setting() {
    let app = shop().await;
    let waits = staff(&app, "sue").post(PATH, about("dine", &json!({}))).await.expect(202);
    let declined = staff(&app, "sue").post(PATH, about("pay", &json!({}))).await.expect(202);
    // The same requests, under other rules.
    let later = shop_under(Approval::OnePerson).await;
    let rows = "INSERT INTO requests SELECT * FROM earlier.requests";
    let target = rusqlite::Connection::open(&later.database).unwrap();
    target
        .execute("ATTACH DATABASE ?1 AS earlier", [app.database.to_str().unwrap()])
        .and_then(|_| target.execute(rows, []))
        .unwrap();
    let own = approve(&later, "sue", &id(&waits), json!({})).await;
    own.expect_problem(409, "OWN_REQUEST");
    let longer = json!({"expires_at": "2026-03-09T12:00:00Z"});
    approve(&later, "tom", &id(&waits), longer).await.expect(200);
    assert_eq!(later.module("shop", "dine").await, "allowed override");
    let path = format!("/api/v1/admin/requests/{}/decline", id(&declined));
    staff(&later, "tom").post(&path, json!({"reason": "Not any more"})).await.expect(200);
}
