//! The audit trail: every change leaves its event, every event had its change.

use entitled::{
    domain::callers::OperatorRole,
    store::{
        Store,
        audit::{Verification, verify},
    },
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day},
    harness::App,
};

const PATH: &str = "/api/v1/admin/audit";
const ACME: &str = "/api/v1/admin/tenants/acme";

/// A tenant on starter.
async fn acme() -> App {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "starter", json!({})).await;
    app
}

/// The names of the events that a filter finds, oldest first.
async fn names(app: &App, query: &str) -> Vec<String> {
    let events = app.events(query).await;
    events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

/// The latest event.
async fn latest(app: &App) -> Value {
    app.events("").await.pop().unwrap()
}

/// Every kind of change, one after the other.
async fn busy_day(app: &App) {
    let root = app.root();
    app.change_tenant("acme", json!({"name": "Acme Ltd"})).await;
    app.change_tenant("acme", json!({"status": "suspended", "reason": "fraud"})).await;
    app.change_tenant("acme", json!({"status": "active"})).await;
    app.change_subscription("acme", json!({"quantity": 2})).await;
    app.assign("acme", "enterprise", json!({"effective_from": day(9)})).await;
    app.assign("acme", "growth", json!({})).await;
    app.grant("acme", "zf", json!({"state": "enabled"})).await.expect(201);
    app.grant("acme", "zf", json!({"state": "disabled"})).await.expect(200);
    root.delete(&format!("{ACME}/grants/zf")).await.expect(204);
    let selection = json!({"modules": {"pay": {"state": "enabled"}}, "reason": "a pilot"});
    root.put(&format!("{ACME}/modules"), selection).await.expect(200);
    let key = json!({"name": "Backend", "role": "service"});
    let key = root.post("/api/v1/admin/api-keys", key).await.expect(201).body;
    let path = format!("/api/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    root.delete(&path).await.expect(204);
    let richer = include_str!("../../examples/retail.yaml").replace("branches: 5,", "branches: 6,");
    app.put_catalog("", richer).await.expect(200);
    let open = root.get(&format!("{ACME}/subscriptions?limit=1")).await.expect(200).body;
    let id = open["items"][0]["id"].as_str().unwrap();
    let path = format!("{ACME}/subscriptions/{id}/migrate");
    root.post(&path, json!({"change_reason": "the new terms"})).await.expect(200);
}

#[tokio::test]
async fn every_change_leaves_its_events_in_order() {
    let app = acme().await;
    busy_day(&app).await;
    let expected = [
        "catalog.applied",
        "tenant.created",
        "subscription.assigned",
        "tenant.updated",
        "tenant.suspended",
        "tenant.reactivated",
        "subscription.updated",
        "subscription.closed",
        "subscription.assigned",
        "subscription.closed",
        "subscription.unscheduled",
        "subscription.assigned",
        "grant.created",
        "grant.updated",
        "grant.removed",
        "grant.created",
        "api_key.created",
        "api_key.revoked",
        "catalog.applied",
        "subscription.migrated",
    ];
    assert_eq!(names(&app, "").await, expected);
}

#[tokio::test]
async fn the_trail_of_a_busy_day_is_intact() {
    let app = acme().await;
    busy_day(&app).await;
    let newest = latest(&app).await;

    let found = Store::inspect(&app.database, |tx| verify(tx, &[])).unwrap();

    let Verification::Intact { rows, pruned: 0, head: Some(head) } = found else {
        panic!("{found:?}")
    };
    assert_eq!(json!(rows), newest["seq"]);
    let expected = format!("{rows}:{}", newest["hash"].as_str().unwrap());
    assert_eq!(head.to_string(), expected);
}

#[tokio::test]
async fn an_event_says_who_did_what_why_and_in_which_request() {
    let app = acme().await;
    app.move_to_day(1);
    let body = json!({"status": "suspended", "reason": "unpaid for a year"});
    let ada = app.caller(OperatorRole::SuperAdmin, None, "ada");
    let headers = [("X-Request-Id", "support-case-17")];
    ada.send(Method::PATCH, ACME, Some(body), &headers).await.expect(200);

    let mut event = latest(&app).await;
    assert_eq!(event["hash"].take().as_str().unwrap().len(), 64);
    let facts = |suspension: Value| {
        json!({"name": "acme", "parent": null, "suspension": suspension,
               "billing": "subscription", "demo": false, "sandbox": false, "attributes": {}})
    };
    let suspension = json!({"by": "ada", "at": day(1), "reason": "unpaid for a year"});
    let expected = json!({
        "seq": 4, "at": day(1), "event": "tenant.suspended",
        "actor": {"id": "ada", "role": "super_admin", "mode": "tenant", "impersonator": null},
        "tenant": "acme", "subject": "acme", "before": facts(Value::Null),
        "after": facts(suspension), "reason": "unpaid for a year",
        "request_id": "support-case-17", "ip": "127.0.0.1", "hash": null,
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn who_really_sits_behind_a_caller_is_in_the_trail() {
    use entitled::domain::checks::Mode::Impersonation;
    let app = acme().await;
    let support = app.working_as(OperatorRole::Support, None, Impersonation);
    let selection = json!({"modules": {"pay": {"state": "enabled"}}, "reason": "a pilot"});
    support.put(&format!("{ACME}/modules"), selection).await.expect(200);

    let actor = latest(&app).await["actor"].clone();
    let expected =
        json!({"id": "ana", "role": "support", "mode": "impersonation", "impersonator": "eve"});
    assert_eq!(actor, expected);
}

#[tokio::test]
async fn before_and_after_show_the_state_that_changed() {
    let app = acme().await;
    app.grant("acme", "users", json!({"state": "enabled", "value": 7})).await.expect(201);
    let more = json!({"state": "enabled", "value": "unlimited"});
    app.grant("acme", "users", more).await.expect(200);
    app.root().delete(&format!("{ACME}/grants/users")).await.expect(204);

    let facts = |value: Value| json!({"state": "enabled", "value": value, "seats": null, "trial_expires_at": null});
    let (seven, unlimited) = (facts(json!(7)), facts(json!("unlimited")));
    let events = app.events("event=grant.").await;
    let states: Vec<_> = events.iter().map(|e| (e["before"].clone(), e["after"].clone())).collect();
    let expected =
        [(Value::Null, seven.clone()), (seven, unlimited.clone()), (unlimited, Value::Null)];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn the_trail_is_narrowed_by_tenant_event_and_actor() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    let ada = app.caller(OperatorRole::SuperAdmin, None, "ada");
    ada.patch(ACME, json!({"name": "Acme Ltd"})).await.expect(200);

    assert_eq!(names(&app, "tenant=other").await, ["tenant.created"]);
    assert_eq!(names(&app, "event=tenant.c").await, ["tenant.created", "tenant.created"]);
    assert_eq!(names(&app, "actor=ada").await, ["tenant.updated"]);
    assert_eq!(names(&app, "actor=ada&tenant=other").await, [] as [&str; 0]);
    let of_acme = names(&app, "tenant=acme&event=subscription").await;
    assert_eq!(of_acme, ["subscription.assigned"]);
    // No pattern language.
    assert_eq!(names(&app, "event=%25").await, [] as [&str; 0]);
}

#[tokio::test]
async fn the_trail_is_narrowed_by_time_from_and_before() {
    let app = acme().await;
    for date in 1..4 {
        app.move_to_day(date);
        app.change_tenant("acme", json!({"name": format!("Acme {date}")})).await;
    }
    let span = |from: u32, to: u32| format!("from={}&to={}", day(from), day(to));
    assert_eq!(names(&app, &span(1, 3)).await, ["tenant.updated", "tenant.updated"]);
    assert_eq!(names(&app, &span(3, 3)).await, [] as [&str; 0]);
    assert_eq!(names(&app, &format!("from={}", day(3))).await.len(), 1);
}

#[tokio::test]
async fn the_trail_comes_in_pages_newest_first_while_it_grows() {
    let app = acme().await;
    for date in 1..5 {
        app.change_tenant("acme", json!({"name": format!("Acme {date}")})).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.root().get(&format!("{PATH}?limit=3{cursor}")).await.expect(200).body;
        seen.extend(column(&page, "seq"));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        // What is added meanwhile moves nothing.
        app.change_tenant("acme", json!({"name": format!("Acme on {next}")})).await;
    }
    let expected: Vec<Value> = (1..=7).rev().map(|seq| json!(seq)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_refused_change_leaves_no_event() {
    let app = acme().await;
    let before = app.events("").await;
    let root = app.root();
    let reason = "for a test";

    app.grant("acme", "common", json!({"state": "enabled"})).await.expect(422);
    app.grant("nobody", "zf", json!({"state": "enabled"})).await.expect(404);
    root.post("/api/v1/admin/tenants", json!({"key": "acme", "name": "A"})).await.expect(409);
    let wrong = json!({"plan": "none", "change_reason": reason});
    root.post(&format!("{ACME}/subscriptions"), wrong).await.expect(422);
    let body = Some(json!({"name": "Late"}));
    root.send(Method::PATCH, ACME, body, &[("If-Match", "\"9\"")]).await.expect(412);
    app.put_catalog("", "modules: {}").await.expect(422);
    app.put_catalog("?dry_run=true", "modules: {a: {name: A}}").await.expect(422);
    let selection = json!({"modules": {"zf": {"state": "enabled"}}, "reason": reason});
    let support = app.caller(OperatorRole::Auditor, None, "ida");
    support.put(&format!("{ACME}/modules"), selection).await.expect(403);

    assert_eq!(app.events("").await, before);
}

#[tokio::test]
async fn only_super_admin_support_and_auditor_read_the_trail() {
    let app = acme().await;
    for role in [OperatorRole::SuperAdmin, OperatorRole::Support, OperatorRole::Auditor] {
        app.caller(role, None, "ana").get(PATH).await.expect(200);
    }
    app.backend().get(PATH).await.expect_problem(403, "FORBIDDEN");
    let admin = app.caller(OperatorRole::TenantAdmin, Some("acme"), "boss");
    admin.get(PATH).await.expect_problem(403, "FORBIDDEN");
}
