//! Units that are set aside: settled, released, or given back by the clock; also over a crash.

use std::time::Duration;

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::{
    crash::Server,
    harness::{App, ROOT_KEY, Reply},
    usage::{CATALOG, acme},
};

async fn reserve(app: &App, count: u64, ttl: u32) -> Value {
    let body = json!({
        "tenant": "acme", "feature": "calls", "requested": count, "ttl_seconds": ttl
    });
    app.backend().post("/api/v1/usage/reserve", body).await.expect(200).body
}

async fn reserved(app: &App, count: u64, ttl: u32) -> String {
    reserve(app, count, ttl).await["reservation"]["id"].as_str().unwrap().to_owned()
}

async fn end(app: &App, id: &str, how: &str, body: Value) -> Reply {
    let path = format!("/api/v1/usage/reservations/{id}/{how}");
    let body = if how == "settle" { Some(body) } else { None };
    app.backend().send(reqwest::Method::POST, &path, body, &[]).await
}

/// What is used and what is left, as a check sees it.
async fn left(app: &App) -> (Value, Value) {
    let limit = app.check(json!({"tenant": "acme", "usage": {"feature": "calls"}})).await;
    (limit["limit"]["used"].clone(), limit["limit"]["remaining"].clone())
}

fn pair(used: u64, remaining: u64) -> (Value, Value) {
    (used.into(), remaining.into())
}

#[tokio::test]
async fn what_is_set_aside_counts_until_it_is_settled_or_released() {
    let app = acme().await;
    let first = reserve(&app, 6, 300).await;
    let set_aside = &first["reservation"];
    assert_eq!(set_aside["amount"], 6);
    assert_eq!(set_aside["expires_at"], "2026-03-01T12:05:00Z");
    assert_eq!(first["limit"]["used"], 6);
    assert_eq!(left(&app).await, pair(6, 4));
    assert_eq!(app.used("").await, ["calls 0 of 10"]);
    let refused = reserve(&app, 5, 300).await;
    assert_eq!((&refused["allowed"], &refused["reservation"]), (&json!(false), &json!(null)));
    let id = set_aside["id"].as_str().unwrap();
    end(&app, id, "settle", json!({"amount": 7})).await.expect_problem(422, "INVALID_VALUE");
    let settled = end(&app, id, "settle", json!({"amount": 2})).await.expect(200).body;
    assert_eq!((&settled["state"], &settled["settled"]), (&json!("settled"), &json!(2)));
    assert_eq!(left(&app).await, pair(2, 8));
    assert_eq!(app.used("").await, ["calls 2 of 10"]);

    let id = reserved(&app, 8, 300).await;
    let released = end(&app, &id, "release", json!(null)).await.expect(200).body;
    assert_eq!(released["state"], "released");
    assert_eq!(left(&app).await, pair(2, 8));
    let id = reserved(&app, 8, 300).await;
    end(&app, &id, "settle", json!({})).await.expect(200);
    assert_eq!(left(&app).await, pair(10, 0));
}

#[tokio::test]
async fn an_end_that_is_sent_again_changes_nothing_and_another_is_refused() {
    let app = acme().await;
    let id = reserved(&app, 4, 300).await;
    let settle = async |amount: u64| end(&app, &id, "settle", json!({"amount": amount})).await;
    let first = settle(3).await.expect(200).body;
    app.advance(Duration::from_secs(1000));
    assert_eq!(settle(3).await.expect(200).body, first, "also when its time would be over");
    settle(2).await.expect_problem(409, "RESERVATION_SETTLED");
    end(&app, &id, "release", json!(null)).await.expect_problem(409, "RESERVATION_SETTLED");
    assert_eq!(left(&app).await, pair(3, 7));

    let id = reserved(&app, 4, 300).await;
    let first = end(&app, &id, "release", json!(null)).await.expect(200).body;
    assert_eq!(end(&app, &id, "release", json!(null)).await.expect(200).body, first);
    end(&app, &id, "settle", json!({})).await.expect_problem(409, "RESERVATION_RELEASED");
    let none = end(&app, "rsv_none", "settle", json!({})).await;
    none.expect_problem(404, "NOT_FOUND");
    // Another tenant's looks like none.
    app.tenant("other", json!({})).await;
    let other = app.caller(OperatorRole::Service, Some("other"), "theirs");
    let id = reserved(&app, 1, 300).await;
    let path = format!("/api/v1/usage/reservations/{id}/settle");
    other.post(&path, json!({})).await.expect_problem(404, "NOT_FOUND");
    let own = app.caller(OperatorRole::Service, Some("acme"), "theirs");
    own.post(&path, json!({})).await.expect(200);
}

#[tokio::test]
async fn a_reservation_ends_at_its_instant_and_is_recorded_once() {
    let app = acme().await;
    let id = reserved(&app, 10, 60).await;
    let question = json!({"tenant": "acme", "usage": {"feature": "calls"}});
    let full = app.check(question).await;
    assert_eq!(
        (&full["allowed"], &full["valid_until"]),
        (&json!(false), &json!("2026-03-01T12:01:00Z"))
    );
    app.advance(Duration::from_micros(59_999_999));
    assert_eq!(left(&app).await, pair(10, 0));
    app.advance(Duration::from_micros(1));
    // Before the worker ran.
    assert_eq!(left(&app).await, pair(0, 10));
    let late = end(&app, &id, "settle", json!({})).await;
    let late = late.expect_problem(409, "RESERVATION_EXPIRED").body;
    assert!(late["detail"].as_str().unwrap().contains("reserve again"), "{late:#}");
    assert_eq!(
        app.consume(json!({"feature": "calls", "requested": 10})).await,
        "allowed plan, 10 taken, 0 left"
    );
    let run = async || app.root().post("/api/v1/admin/expiry/run", json!({})).await.body;
    assert_eq!(run().await["expired"], 1);
    assert_eq!(run().await["expired"], 0);
    let events = app.events("event=reservation.expired").await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["subject"], &events[0]["before"]["amount"]), (&json!(id), &json!(10)));
    end(&app, &id, "release", json!(null)).await.expect_problem(409, "RESERVATION_EXPIRED");
    assert_eq!(left(&app).await, pair(10, 0));
}

#[tokio::test]
async fn reservations_are_bounded_and_forgotten() {
    let app = acme().await;
    app.assign("acme", "endless", json!({})).await;
    for _ in 0..1_000 {
        reserved(&app, 1, 600).await;
    }
    let body = json!({"tenant": "acme", "feature": "calls", "ttl_seconds": 600});
    let post = async |body: &Value| app.backend().post("/api/v1/usage/reserve", body.clone()).await;
    post(&body).await.expect_problem(409, "TOO_MANY_RESERVATIONS");
    for ttl in [0, 86_401] {
        let mut wrong = body.clone();
        wrong["ttl_seconds"] = ttl.into();
        assert!(post(&wrong).await.expect(422).body["fields"]["ttl_seconds"].is_array());
    }
    app.advance(Duration::from_secs(600));
    post(&body).await.expect(200);
    app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200);
    app.advance(Duration::from_secs(8 * 24 * 3600));
    let count = || -> i64 {
        let connection = rusqlite::Connection::open(&app.database).unwrap();
        connection.query_row("SELECT count(*) FROM reservations", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 1_001);
    post(&body).await.expect(200);
    assert_eq!(count(), 998, "four of the ended ones are forgotten with each new one");
}

#[tokio::test]
async fn the_same_reservation_sent_twice_is_one() {
    let app = acme().await;
    let body = json!({"tenant": "acme", "guard": "branches.create", "idempotency_key": "k"});
    let post = async || app.backend().post("/api/v1/usage/reserve", body.clone()).await.expect(200);
    let first = post().await.body;
    assert_eq!(first["reservation"]["feature"], "branches");
    assert_eq!(post().await.body, first);
    let two = json!({"tenant": "acme", "guard": "branches.create", "feature": "calls"});
    let refused = app.backend().post("/api/v1/usage/reserve", two).await.expect(422).body;
    assert!(refused["fields"]["feature"].is_array(), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_the_units_are_back_when_their_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let client = reqwest::Client::new();
    let post = async |server: &Server, path: &str, body: Value| -> Value {
        let request = client.post(format!("{}/api/v1{path}", server.url)).bearer_auth(ROOT_KEY);
        let reply = request.json(&body).send().await.unwrap();
        assert!(reply.status().is_success(), "{path} {}", reply.status());
        reply.json().await.unwrap()
    };
    let mut server = Server::start(dir.path());
    let catalog = client.put(format!("{}/api/v1/admin/catalog", server.url)).bearer_auth(ROOT_KEY);
    let catalog = catalog.header("content-type", "application/yaml").body(CATALOG);
    assert!(catalog.send().await.unwrap().status().is_success());
    post(&server, "/admin/tenants", json!({"key": "acme", "name": "Acme"})).await;
    let small = json!({"plan": "small", "change_reason": "for a test"});
    post(&server, "/admin/tenants/acme/subscriptions", small).await;
    let reserve = |count: u64, ttl: u32| json!({"tenant": "acme", "feature": "calls", "requested": count, "ttl_seconds": ttl});
    let made = post(&server, "/usage/reserve", reserve(9, 3)).await;
    assert_eq!(made["allowed"], true);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    drop(server);

    let server = Server::start(dir.path());
    let check = json!({"tenant": "acme", "usage": {"feature": "calls"}});
    let until = made["reservation"]["expires_at"].as_str().unwrap().to_owned();
    loop {
        let answer = post(&server, "/check", check.clone()).await;
        let is_over = chrono::Utc::now() >= until.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        match answer["limit"]["used"].as_u64().unwrap() {
            9 => assert!(!is_over || answer["valid_until"] == until.as_str(), "{answer:#}"),
            0 => break,
            other => panic!("{other}"),
        }
        tokio::task::yield_now().await;
    }
    let all = post(&server, "/usage/consume", reserve_less(10)).await;
    assert_eq!(all["taken"], 10);
    // The worker writes it down, once.
    let audit = format!("{}/api/v1/admin/audit?event=reservation.expired", server.url);
    loop {
        let page = client.get(&audit).bearer_auth(ROOT_KEY).send().await.unwrap();
        let page: Value = page.json().await.unwrap();
        match page["items"].as_array().unwrap().len() {
            0 => tokio::task::yield_now().await,
            1 => break,
            more => panic!("{more}"),
        }
    }
}

fn reserve_less(count: u64) -> Value {
    json!({"tenant": "acme", "feature": "calls", "requested": count})
}
