//! The learning product, played over HTTP against the catalog as it is shipped: three ways to hand
//! out modules, seats over a tree of organisations, content of each module, and isolation.

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::{
    given::{column, day, each},
    harness::{App, Client},
};

/// A church with a youth group and a choir below it, and two schools beside.
async fn world() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/learning.yaml")).await;
    app.tenant("church", json!({})).await;
    app.tenant("youth", json!({"parent": "church"})).await;
    app.tenant("choir", json!({"parent": "youth"})).await;
    app.assign("church", "team", json!({})).await;
    for school in ["hill", "lake"] {
        app.tenant(school, json!({})).await;
        app.assign(school, "school", json!({})).await;
    }
    app
}

fn admin<'a>(app: &'a App, tenant: &str) -> Client<'a> {
    app.caller(OperatorRole::TenantAdmin, Some(tenant), "ada")
}

async fn reason(app: &App, tenant: &str, user: &str, module: &str) -> String {
    let answer = app.check(json!({"tenant": tenant, "user": user, "module": module})).await;
    format!("{} {}", answer["allowed"], answer["reason"]).replace('"', "")
}

async fn content(app: &App, tenant: &str, user: &str, feature: &str) -> bool {
    let question = json!({"tenant": tenant, "user": user, "features": [feature]});
    app.check(question).await["allowed"] == true
}

fn seat(tenant: &str, key: &str, user: &str) -> String {
    format!("/api/v1/tenants/{tenant}/seats/{key}/{user}")
}

#[tokio::test]
async fn an_organisation_shares_its_seats_with_those_below_it() {
    let app = world().await;
    let church = admin(&app, "church");
    let from = json!({"from_tenant": "church"});
    church.put(&seat("church", "leaderforge", "cleo"), json!({})).await.expect(201);
    church.put(&seat("youth", "leaderforge", "noah"), from.clone()).await.expect(201);
    church.put(&seat("choir", "leaderforge", "carl"), from.clone()).await.expect(201);
    for (tenant, user, expected) in [
        ("church", "cleo", "true plan"),
        ("church", "noah", "false seat_required"),
        ("youth", "noah", "true plan"),
        ("youth", "nia", "false no_subscription"),
        ("choir", "carl", "true plan"),
        ("youth", "carl", "false no_subscription"),
    ] {
        assert_eq!(reason(&app, tenant, user, "leaderforge").await, expected, "{tenant} {user}");
    }
    // What the plan of the church gives, and no more.
    assert!(content(&app, "choir", "carl", "leaderforge_videos").await);
    assert!(!content(&app, "choir", "carl", "leaderforge_coaching").await);
    app.assign("church", "organisation", json!({})).await;
    assert!(content(&app, "choir", "carl", "leaderforge_coaching").await);

    // One pool for all of them.
    let list = church.get("/api/v1/tenants/church/seats").await.expect(200).body;
    assert_eq!(list["pools"][1]["allocated"], 3);
    assert_eq!(column(&list, "tenant"), ["choir", "church", "youth"]);
    // No seat of a school goes down a tree.
    app.tenant("hill-annex", json!({"parent": "hill"})).await;
    let path = seat("hill-annex", "brilliant_school", "sam");
    let refused = admin(&app, "hill").put(&path, json!({"from_tenant": "hill"})).await;
    refused.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    // A child that is moved elsewhere loses what was lent.
    app.change_tenant("choir", json!({"parent": null})).await;
    assert_eq!(reason(&app, "choir", "carl", "leaderforge").await, "false no_subscription");
    // The seat goes back to its pool all the same.
    let lent = format!("{}?from_tenant=church", seat("choir", "leaderforge", "carl"));
    church.delete(&lent).await.expect(204);
    church.delete(&lent).await.expect_problem(404, "TENANT_NOT_FOUND");
}

#[tokio::test]
async fn a_reader_needs_no_organisation() {
    let app = world().await;
    let ask = async |requirement: Value| {
        let mut question = json!({"user": "rita"});
        question.as_object_mut().unwrap().extend(requirement.as_object().unwrap().clone());
        app.check(question).await["allowed"].clone()
    };
    let module = json!({"module": "wealth_with_god"});
    let workshops = json!({"features": ["wealth_workshops"]});
    assert_eq!(ask(module.clone()).await, false);
    let path = "/api/v1/users/rita/user-entitlements";
    let give = async |key: &str| {
        let body = json!({"key": key, "reason": "Bought online", "expires_at": day(30)});
        app.backend().post(path, body).await
    };
    let made = give("wealth_with_god").await.expect(201).body;
    assert_eq!(made["tenant"], json!(null));
    assert_eq!(ask(module.clone()).await, true);
    assert_eq!(ask(workshops.clone()).await, false, "the module alone gives no premium content");
    give("wealth_workshops").await.expect(201);
    assert_eq!(ask(workshops.clone()).await, true);
    give("leaderforge").await.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    give("brilliant_school").await.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    // It goes with her into an organisation that has no plan for it.
    assert_eq!(reason(&app, "hill", "rita", "wealth_with_god").await, "true user_entitlement");
    assert_eq!(reason(&app, "hill", "sam", "wealth_with_god").await, "false plan_limit");

    let there = format!("{path}/{}", made["id"].as_str().unwrap());
    let to = async |status: &str| {
        let body = json!({"status": status, "reason": "The card was declined"});
        app.backend().patch(&there, body).await.expect(200);
        ask(module.clone()).await
    };
    assert_eq!(to("suspended").await, false);
    assert_eq!(to("active").await, true);
    assert_eq!(to("revoked").await, false);
    app.move_to_day(30);
    assert_eq!(ask(workshops).await, false);
    app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200);
    let events = app.events("event=user_entitlement.").await;
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected = ["granted", "granted", "suspended", "resumed", "revoked", "expired"];
    assert_eq!(names, expected.map(|name| format!("user_entitlement.{name}")));
    assert!(events.iter().all(|event| event["tenant"].is_null()));
}

#[tokio::test]
async fn the_admin_of_a_school_enrols_its_own_users() {
    let app = world().await;
    let hill = admin(&app, "hill");
    assert_eq!(reason(&app, "hill", "sam", "brilliant_school").await, "false seat_required");
    hill.put(&seat("hill", "brilliant_school", "sam"), json!({})).await.expect(201);
    assert_eq!(reason(&app, "hill", "sam", "brilliant_school").await, "true plan");
    assert!(content(&app, "hill", "sam", "school_lessons").await);
    // Exams are an add-on.
    assert!(!content(&app, "hill", "sam", "school_exams").await);
    app.assign("hill", "exams", json!({})).await;
    assert!(content(&app, "hill", "sam", "school_exams").await);
    assert!(!content(&app, "hill", "tom", "school_exams").await, "without a seat");
    // A guest without a seat: the application lets one in, the school's admin doesn't.
    let guest = json!({"user": "gus", "key": "brilliant_school", "reason": "A trial lesson"});
    let path = "/api/v1/tenants/hill/user-entitlements";
    let around = hill.post(path, guest.clone()).await;
    around.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    app.backend().post(path, guest).await.expect(201);
    assert_eq!(reason(&app, "hill", "gus", "brilliant_school").await, "true user_entitlement");
    let of_other = json!({"user": "gus", "key": "leaderforge", "reason": "Not ours to give"});
    let refused = hill.post("/api/v1/tenants/hill/user-entitlements", of_other).await;
    refused.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
}

#[tokio::test]
async fn the_same_user_in_two_organisations_is_two() {
    let app = world().await;
    let (hill, lake) = (admin(&app, "hill"), admin(&app, "lake"));
    hill.put(&seat("hill", "brilliant_school", "sam"), json!({})).await.expect(201);
    let guest = json!({"user": "gus", "key": "brilliant_school", "reason": "A trial lesson"});
    let path = "/api/v1/tenants/hill/user-entitlements";
    let made = app.backend().post(path, guest).await.expect(201).body;
    for user in ["sam", "gus"] {
        let elsewhere = reason(&app, "lake", user, "brilliant_school").await;
        assert_eq!(elsewhere, "false seat_required", "{user}");
    }
    // Nobody sees or touches what is in the other.
    for reply in [
        lake.get("/api/v1/tenants/hill/seats").await,
        lake.put(&seat("hill", "brilliant_school", "eve"), json!({})).await,
        lake.put(&seat("hill", "brilliant_school", "e"), json!({"from_tenant": "lake"})).await,
        lake.delete(&seat("hill", "brilliant_school", "sam")).await,
        lake.get(path).await,
        lake.get(&format!("{path}/{}", made["id"].as_str().unwrap())).await,
        lake.post(path, json!({"user": "eve", "key": "brilliant_school", "reason": "mine"})).await,
    ] {
        reply.expect_problem(404, "TENANT_NOT_FOUND");
    }
    let own = lake.get("/api/v1/tenants/lake/seats").await.expect(200).body;
    assert_eq!(own["items"], json!([]));
    assert_eq!(own["pools"].as_array().unwrap().len(), 2);
    let school = |pool: &&Value| pool["key"] == "brilliant_school";
    let pool = own["pools"].as_array().unwrap().iter().find(school).unwrap();
    assert_eq!((&pool["allocated"], &pool["available"]), (&json!(0), &json!(20)));
}

#[tokio::test]
async fn the_payload_of_a_user_shows_the_content_of_each_module() {
    let app = world().await;
    let enabled = async |tenant: &str, user: &str| {
        let path = format!("/api/v1/tenants/{tenant}/entitlements?user={user}");
        let payload = app.backend().get(&path).await.expect(200).body;
        let features = each(&payload["features"], "enabled");
        let on = features.as_object().unwrap().iter().filter(|(_, on)| **on == true);
        on.map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(enabled("church", "cleo").await, [] as [&str; 0]);
    app.backend().put(&seat("church", "leaderforge", "cleo"), json!({})).await.expect(201);
    let content = ["leaderforge_videos", "leaderforge_worksheets"];
    assert_eq!(enabled("church", "cleo").await, content);
    let from = json!({"from_tenant": "church"});
    app.backend().put(&seat("choir", "leaderforge", "carl"), from).await.expect(201);
    assert_eq!(enabled("choir", "carl").await, content);
    app.backend().put(&seat("hill", "brilliant_school", "sam"), json!({})).await.expect(201);
    assert_eq!(enabled("hill", "sam").await, ["school_lessons"]);
}
