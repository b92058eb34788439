//! No change without its audit event: while the event can't be written, every operation that changes
//! something is refused, and changes nothing, on disk or in memory.

use entitled::domain::callers::OperatorRole;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    given::days,
    harness::{App, Reply},
    operations::{Body, Operation, Subject, operations, subject},
};

/// Operations that are no reads and yet have no event, and why.
const UNAUDITED: &[(&str, &str)] = &[
    ("refresh_cache", "forgets what is in memory; nothing is stored"),
    ("record_activity", "is noted in memory; what is stored of it later decides nothing"),
];

/// Measurements: they change counts, and nothing else. Only what they tell (a limit that is nearly
/// or all used) is an event.
const MEASURED: [&str; 4] =
    ["consume_usage", "reserve_usage", "settle_reservation", "release_reservation"];

/// A dump without what is only counted.
fn but_counts(dump: &str) -> Vec<&str> {
    let counted = [
        "usage: ",
        "usage_",
        "reservations: ",
        "idempotency: ",
        "service_state: ",
        // Of what has passed by itself subscribers are told, also while it can't be recorded.
        "outbox: ",
        "boundaries: ",
    ];
    dump.lines().filter(|row| !counted.iter().any(|table| row.starts_with(table))).collect()
}

/// What is changed: everything but reads and questions.
pub fn changing() -> Vec<Operation> {
    let mut all = operations();
    all.retain(|operation| {
        let asks = matches!(operation.permission(), Some("check" | "catalog:read"));
        operation.method != Method::GET && !asks
    });
    all
}

pub fn is_audited(operation: &Operation) -> bool {
    UNAUDITED.iter().all(|(id, _)| *id != operation.id)
        && !MEASURED.contains(&operation.id.as_str())
}

/// A tenant with one of everything, on a catalog after which each example is a change, and the text
/// of its API key.
pub async fn world(operation: &Operation) -> (App, Subject, String) {
    let app = App::retail().await;
    let mut own = subject(&app, "own").await;
    let body = json!({"name": "k", "role": "service", "tenant": "own"});
    let key = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
    own.api_key = key["id"].as_str().unwrap().to_owned();
    // What the examples give is withheld by now, and what they apply is no longer the newest.
    app.grant("own", "hr", json!({"state": "disabled"})).await.expect(200);
    let other = include_str!("../../examples/retail.yaml").replace("users: 5,", "users: 6,");
    app.put_catalog("", other).await.expect(200);
    if operation.id == "run_expiry" {
        // By then the override has ended, and nobody has recorded that.
        app.advance(days(60));
    }
    (app, own, key["key"].as_str().unwrap().to_owned())
}

/// What the service answers from memory.
async fn memory(app: &App, key: &str) -> Vec<Value> {
    let mut seen = vec![app.entitlements("own").await];
    seen.push(app.bearer(key).get("/api/v1/me").await.body);
    for path in ["catalog", "modules", "plans", "tenants", "api-keys", "overrides"] {
        let list = app.root().get(&format!("/api/v1/admin/{path}")).await.expect(200);
        seen.push(list.body);
    }
    seen
}

/// The example, as something that must happen once.
pub async fn send(app: &App, operation: &Operation, own: &Subject) -> Reply {
    let (method, path) = (operation.method.clone(), operation.path(own));
    let once = [("Idempotency-Key", "once")];
    let by = match operation.id.as_str() {
        // Only who asked may withdraw.
        "withdraw_request" => app.caller(OperatorRole::TenantAdmin, Some("own"), "ada"),
        _ => app.root(),
    };
    match operation.example(own) {
        Body::None => by.send(method, &path, None, &once).await,
        Body::Json(body) => by.send(method, &path, Some(body), &once).await,
        Body::Yaml(text) => by.send_text(method, &path, "application/yaml", text).await,
    }
}

fn events(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).unwrap()
}

async fn is_refused_while_its_event_can_not_be_written(operation: &Operation) {
    let id = &operation.id;
    let (app, own, key) = world(operation).await;
    let connection = Connection::open(&app.database).unwrap();
    let break_it = "CREATE TRIGGER audit_fails BEFORE INSERT ON audit
                    BEGIN SELECT RAISE(ABORT, 'for a test'); END;";
    connection.execute_batch(break_it).unwrap();
    let (on_disk, in_memory) = (dump(&app), memory(&app, &key).await);
    let before = events(&connection);

    let refused = send(&app, operation, &own).await;
    match id.as_str() {
        // Each end is a change of its own; the run itself says how many of them failed.
        "run_expiry" => {
            let said = refused.expect(200).body;
            assert_eq!(said["expired"], 0, "{id}");
            assert!(said["failed"].as_u64().unwrap() > 0, "{id}: {said:#}");
        }
        _ => {
            assert!([500, 503].contains(&refused.status), "{id}: {:#}", refused.body);
            assert_eq!(refused.header("content-type"), "application/problem+json", "{id}");
            assert!(!refused.body.to_string().contains("for a test"), "{id}");
        }
    }
    match id.as_str() {
        // Counts are held against their limits meanwhile, of which there is nothing to tell.
        "run_expiry" => assert_eq!(but_counts(&dump(&app)), but_counts(&on_disk), "{id}"),
        _ => assert_eq!(dump(&app), on_disk, "{id} left something on disk"),
    }
    assert_eq!(memory(&app, &key).await, in_memory, "{id} left something in memory");
    assert_eq!(events(&connection), before, "{id}");

    // The same request is a good one, so it was refused for its event alone.
    connection.execute_batch("DROP TRIGGER audit_fails").unwrap();
    let done = send(&app, operation, &own).await;
    assert!((200..300).contains(&done.status), "{id}: {} {:#}", done.status, done.body);
    assert_ne!(dump(&app), on_disk, "{id} changes nothing, so that nothing was shown");
    assert!(events(&connection) > before, "{id} has no event");
}

#[tokio::test]
async fn every_change_is_refused_whole_while_its_audit_event_can_not_be_written() {
    let all: Vec<_> = changing().into_iter().filter(is_audited).collect();
    for operation in &all {
        is_refused_while_its_event_can_not_be_written(operation).await;
    }
    println!("{} operations", all.len());
    assert!(all.len() >= 20, "only {}", all.len());
}

#[tokio::test]
async fn what_has_no_event_stores_nothing() {
    let all = changing();
    for (id, why) in UNAUDITED {
        let operation = all.iter().find(|operation| operation.id == *id);
        let operation = operation.unwrap_or_else(|| panic!("there is no {id} any more"));
        let (app, own, _) = world(operation).await;
        let before = dump(&app);
        let reply = send(&app, operation, &own).await;
        assert!((200..300).contains(&reply.status), "{id}: {:#}", reply.body);
        assert_eq!(dump(&app), before, "{id}: {why}");
    }
}

#[tokio::test]
async fn what_is_only_measured_changes_counts_alone() {
    let all = changing();
    for id in MEASURED {
        let operation = all.iter().find(|operation| operation.id == id);
        let operation = operation.unwrap_or_else(|| panic!("there is no {id} any more"));
        let (app, own, _) = world(operation).await;
        let before = dump(&app);
        let reply = send(&app, operation, &own).await;
        assert!((200..300).contains(&reply.status), "{id}: {:#}", reply.body);
        let after = dump(&app);
        assert_ne!(after, before, "{id}");
        assert_eq!(but_counts(&after), but_counts(&before), "{id}");
    }
}
