//! What is told of limits that fill up: at 80 %, at 100 %, and when they recover.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::App,
    usage::{CATALOG, acme},
};

/// What was told since the beginning: `branches 80`, and `branches down to 0`.
async fn told(app: &App) -> Vec<String> {
    let events = app.events("event=usage.").await;
    let told = events.iter().filter(|event| event["event"] != "usage.set").map(|event| {
        let after = &event["after"];
        let user = after["user"].as_str().map(|user| format!("{user}: ")).unwrap_or_default();
        let what = format!("{user}{}", after["feature"].as_str().unwrap());
        match event["event"].as_str().unwrap() {
            "usage.threshold_reached" => format!("{what} {}", after["percent"]),
            "usage.recovered" => format!("{what} down to {}", after["percent"]),
            other => panic!("{other}"),
        }
    });
    told.collect()
}

async fn set(app: &App, feature: &str, count: u64) {
    app.record(json!({"feature": feature, "set": count})).await.expect(200);
}

async fn run(app: &App) -> Value {
    app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body
}

#[tokio::test]
async fn each_level_is_told_once_on_the_way_up_and_its_end_on_the_way_down() {
    let app = acme().await;
    for count in [3, 4, 4, 5, 7, 5] {
        set(&app, "branches", count).await;
    }
    assert_eq!(told(&app).await, ["branches 80", "branches 100"]);
    let event = app.events("event=usage.threshold_reached").await[1].clone();
    let after = json!({"feature": "branches", "user": null, "used": 5, "limit": 5, "percent": 100});
    assert_eq!(event["after"], after);
    assert_eq!((&event["tenant"], &event["subject"]), (&json!("acme"), &json!("branches")));
    set(&app, "branches", 4).await;
    set(&app, "branches", 1).await;
    set(&app, "branches", 5).await;
    let since = told(&app).await.split_off(2);
    let expected = ["branches down to 80", "branches down to 0", "branches 80", "branches 100"];
    assert_eq!(since, expected);
    // What is set aside is not used yet; once it is settled, it is.
    let body = json!({"tenant": "acme", "feature": "calls", "requested": 9});
    let made = app.backend().post("/api/v1/usage/reserve", body).await.expect(200).body;
    assert_eq!(told(&app).await.len(), 6);
    let id = made["reservation"]["id"].as_str().unwrap();
    let path = format!("/api/v1/usage/reservations/{id}/settle");
    app.backend().post(&path, json!({})).await.expect(200);
    assert_eq!(told(&app).await[6..], ["calls 80"]);
}

#[tokio::test]
async fn a_counter_recovers_when_its_period_ends_whether_or_not_anybody_counts() {
    let app = acme().await;
    app.consume(json!({"feature": "calls", "requested": 10})).await;
    app.consume(json!({"feature": "soft", "requested": 4})).await;
    assert_eq!(told(&app).await, ["calls 80", "calls 100", "soft 80"]);
    app.clock.set("2026-04-01T12:00:00Z".parse().unwrap());
    // One by the first count of the new period, the other by the worker.
    app.consume(json!({"feature": "calls", "requested": 9})).await;
    assert_eq!(told(&app).await[3..], ["calls down to 0", "calls 80"]);
    assert_eq!(run(&app).await, json!({"expired": 1, "failed": 0, "held": false}));
    assert_eq!(run(&app).await["expired"], 0);
    assert_eq!(told(&app).await[5..], ["soft down to 0"]);
    assert_eq!(app.used("").await, ["calls 10", "calls 9 of 10", "soft 4", "soft 0 of 5"]);
    // A gauge goes on.
    set(&app, "branches", 5).await;
    app.clock.set("2026-06-01T12:00:00Z".parse().unwrap());
    run(&app).await;
    assert_eq!(told(&app).await[6..], ["branches 80", "branches 100", "calls down to 0"]);
    assert_eq!(run(&app).await["expired"], 0);
}

#[tokio::test]
async fn limits_that_change_are_held_against_what_is_used() {
    let app = acme().await;
    app.assign("acme", "large", json!({})).await;
    set(&app, "branches", 20).await;
    app.record(json!({"user": "ana", "feature": "uploads", "set": 3})).await.expect(200);
    assert_eq!(told(&app).await, [] as [&str; 0]);
    app.assign("acme", "small", json!({})).await;
    run(&app).await;
    let small = ["branches 80", "branches 100", "ana: uploads 80", "ana: uploads 100"];
    assert_eq!(told(&app).await, small);
    // A tier gives this user more.
    app.root().put("/api/v1/tenants/acme/users/ana/tier", json!({"plan": "member"})).await;
    run(&app).await;
    assert_eq!(told(&app).await[4..], ["ana: uploads down to 0"]);
    // A grant, then an override on top of it, which ends by itself.
    app.grant("acme", "branches", json!({"state": "enabled", "value": 25})).await.expect(201);
    run(&app).await;
    assert_eq!(told(&app).await[5..], ["branches down to 80"]);
    let body = json!({
        "tenant": "acme", "key": "branches", "enabled": true, "value": 100,
        "expires_at": "2026-03-02T00:00:00Z", "reason": "for a test"
    });
    app.root().post("/api/v1/admin/overrides", body).await.expect(201);
    run(&app).await;
    assert_eq!(told(&app).await[6..], ["branches down to 0"]);
    app.clock.set("2026-03-02T00:00:00Z".parse().unwrap());
    run(&app).await;
    assert_eq!(told(&app).await[7..], ["ana: uploads down to 0", "branches 80"][1..]);
    assert_eq!(run(&app).await["expired"], 0);
    // Whether the tenant is blocked changes nothing about how full it is.
    app.change_subscription("acme", json!({"status": "suspended"})).await;
    run(&app).await;
    assert_eq!(told(&app).await.len(), 8);
}

#[tokio::test]
async fn a_large_tenant_is_rechecked_in_bounded_steps() {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "large", json!({})).await;
    for user in 0..250 {
        let body = json!({"user": format!("u{user}"), "feature": "uploads", "set": 3});
        app.record(body).await.expect(200);
    }
    app.assign("acme", "small", json!({})).await;
    let mut told_of = Vec::new();
    for _ in 0..3 {
        run(&app).await;
        let connection = rusqlite::Connection::open(&app.database).unwrap();
        let sql = "SELECT count(*) FROM usage WHERE level = 100";
        told_of.push(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap());
    }
    assert_eq!(told_of, [100, 200, 250]);
    let waiting = app.service.until_next_expiry(Duration::from_secs(60)).await.unwrap();
    assert!(waiting > Duration::ZERO, "nothing is left to do");
}
