//! How seats may be handed out: whose pool, to whose users, by whom.

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::harness::{App, Client, Reply};

/// top above middle above leaf, all below nothing else; beside stands alone. The top has 5 seats of
/// leaderforge, which is org_hierarchy, and 20 of brilliant_school, which is delegated_admin.
async fn tree() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/learning.yaml")).await;
    app.tenant("top", json!({})).await;
    app.tenant("middle", json!({"parent": "top"})).await;
    app.tenant("leaf", json!({"parent": "middle"})).await;
    app.tenant("beside", json!({})).await;
    app.assign("top", "team", json!({})).await;
    let school = json!({"state": "enabled", "seats": 20});
    app.grant("top", "brilliant_school", school).await.expect(201);
    app
}

async fn seat(by: &Client<'_>, holder: &str, key: &str, from: Option<&str>) -> Reply {
    let path = format!("/api/v1/tenants/{holder}/seats/{key}/u1");
    let body = from.map_or(json!({}), |from| json!({"from_tenant": from}));
    by.put(&path, body).await
}

fn admin<'a>(app: &'a App, tenant: &str) -> Client<'a> {
    app.caller(OperatorRole::TenantAdmin, Some(tenant), "ada")
}

fn allocated(events: &[Value]) -> usize {
    events.iter().filter(|event| event["event"] == "seat.allocated").count()
}

#[tokio::test]
async fn the_model_of_a_module_says_where_its_seats_may_go() {
    let app = tree().await;
    let by = app.backend();
    let not_allowed = async |holder, key, from| {
        seat(&by, holder, key, from).await.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    };
    // org_hierarchy: the own users, and those of every tenant below.
    seat(&by, "top", "leaderforge", None).await.expect(201);
    seat(&by, "middle", "leaderforge", Some("top")).await.expect(201);
    let lent = seat(&by, "leaf", "leaderforge", Some("top")).await.expect(201).body;
    assert_eq!((&lent["tenant"], &lent["from_tenant"]), (&json!("leaf"), &json!("top")));
    // delegated_admin: the own users alone.
    seat(&by, "top", "brilliant_school", None).await.expect(201);
    seat(&by, "top", "brilliant_school", Some("top")).await.expect(200);
    not_allowed("middle", "brilliant_school", Some("top")).await;
    // direct_user: no seats at all.
    not_allowed("top", "wealth_with_god", None).await;
    not_allowed("middle", "wealth_with_god", Some("top")).await;
    // Neither upwards, nor beside, nor from nowhere; a feature's seats stay at home.
    not_allowed("top", "leaderforge", Some("middle")).await;
    not_allowed("beside", "leaderforge", Some("top")).await;
    not_allowed("middle", "leaderforge", Some("nowhere")).await;
    not_allowed("middle", "leaderforge_videos", Some("top")).await;
    assert_eq!(allocated(&app.events("event=seat.").await), 4);

    let pools = async |tenant: &str| {
        let path = format!("/api/v1/tenants/{tenant}/seats?key=leaderforge");
        app.backend().get(&path).await.expect(200).body
    };
    let top = pools("top").await;
    assert_eq!(top["pools"][0]["allocated"], 3);
    assert_eq!(top["items"].as_array().unwrap().len(), 3);
    // The child sees the seat that its user has, and not those of others.
    let leaf = pools("leaf").await;
    assert_eq!(leaf["items"].as_array().unwrap().len(), 1);
    assert_eq!(leaf["pools"][0]["total"], 0);
}

#[tokio::test]
async fn an_admin_hands_out_the_seats_of_the_own_tenant_and_no_others() {
    let app = tree().await;
    let (top, middle) = (admin(&app, "top"), admin(&app, "middle"));
    seat(&top, "top", "leaderforge", None).await.expect(201);
    seat(&top, "leaf", "leaderforge", Some("top")).await.expect(201);
    // Another tenant's users without the own seats, and tenants beside: as if they weren't there.
    for (holder, from) in [
        ("middle", None),
        ("middle", Some("middle")),
        ("beside", Some("top")),
        ("beside", None),
        ("nowhere", Some("top")),
        ("nowhere", None),
    ] {
        let reply = seat(&top, holder, "leaderforge", from).await;
        reply.expect_problem(404, "TENANT_NOT_FOUND");
    }
    // The child's admin may not draw on what is above, whether or not there is such a tenant.
    let mut said = Vec::new();
    for from in ["top", "beside", "nowhere"] {
        let reply = seat(&middle, "middle", "leaderforge", Some(from)).await;
        let reply = reply.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
        said.push(reply.body["detail"].as_str().unwrap().replace(from, "…"));
        let path = format!("/api/v1/tenants/middle/seats/leaderforge/u1?from_tenant={from}");
        middle.delete(&path).await.expect_problem(403, "PROVISIONING_NOT_ALLOWED");
    }
    assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
    seat(&middle, "middle", "leaderforge", None).await.expect_problem(409, "NO_SEAT_AVAILABLE");

    let there = "/api/v1/tenants/leaf/seats/leaderforge/u1";
    let body = json!({"to": "u2", "from_tenant": "top"});
    top.post(&format!("{there}/transfer"), body).await.expect(200);
    let released = "/api/v1/tenants/leaf/seats/leaderforge/u2?from_tenant=top";
    middle.delete(released).await.expect_problem(404, "TENANT_NOT_FOUND");
    top.delete(released).await.expect(204);
    for role in [OperatorRole::Support, OperatorRole::Auditor] {
        let staff = app.caller(role, None, "sue");
        staff.get("/api/v1/tenants/top/seats").await.expect(200);
        seat(&staff, "top", "leaderforge", None).await.expect_problem(403, "FORBIDDEN");
    }
    let user = app.user("top", "u1");
    user.get("/api/v1/tenants/top/seats").await.expect_problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_lent_seat_gives_what_the_lender_has_while_both_stand() {
    let app = tree().await;
    let ask = async || {
        let question = json!({"tenant": "leaf", "user": "u1", "module": "leaderforge"});
        app.check(question).await
    };
    let content = async || {
        let feature = ["leaderforge_videos"];
        app.check(json!({"tenant": "leaf", "user": "u1", "features": feature})).await["allowed"]
            .clone()
    };
    // The leaf has no subscription of its own.
    assert_eq!(ask().await["reason"], "no_subscription");
    seat(&app.backend(), "leaf", "leaderforge", Some("top")).await.expect(201);
    let lent = ask().await;
    assert_eq!((&lent["allowed"], &lent["reason"]), (&json!(true), &json!("plan")), "{lent:#}");
    assert_eq!(lent["source"]["kind"], "seat");
    assert_eq!(content().await, true);
    let other = json!({"tenant": "leaf", "user": "u2", "module": "leaderforge"});
    assert_eq!(app.check(other).await["allowed"], false);

    // The lender's own standing counts.
    app.change_subscription("top", json!({"status": "suspended"})).await;
    assert_eq!(ask().await["allowed"], false);
    app.change_subscription("top", json!({"status": "active"})).await;
    assert_eq!(ask().await["allowed"], true);
    let suspend = json!({"status": "suspended", "reason": "for a test"});
    let resume = json!({"status": "active"});
    app.change_tenant("top", suspend.clone()).await;
    assert_eq!((ask().await["allowed"].clone(), content().await), (json!(false), json!(false)));
    app.change_tenant("top", resume.clone()).await;
    // And never past the child's own suspension, nor past its own refusal.
    app.change_tenant("leaf", suspend).await;
    assert_eq!(ask().await["reason"], "suspended");
    app.change_tenant("leaf", resume).await;
    app.change_tenant("leaf", json!({"billing": "direct"})).await;
    app.grant("leaf", "leaderforge", json!({"state": "disabled"})).await.expect(201);
    assert_eq!(ask().await["reason"], "disabled");
    app.root().delete("/api/v1/admin/tenants/leaf/grants/leaderforge").await.expect(204);
    assert_eq!(ask().await["allowed"], true);
    let path = "/api/v1/tenants/leaf/seats/leaderforge/u1?from_tenant=top";
    app.backend().delete(path).await.expect(204);
    assert_eq!(ask().await["reason"], "not_granted");
}
