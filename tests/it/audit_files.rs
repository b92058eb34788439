//! Pruning and export of the audit trail.

use std::time::Duration;

use entitled::{
    domain::{
        callers::{OperatorRole, Principal},
        checks::Mode,
        time::Span,
    },
    service::{Actor, audit_export::from_line, policy::Policy},
    store::{
        Store,
        anchor::{self, Anchoring, OnRollback},
        audit::{Verification, verify, verify_rows},
    },
};
use serde_json::{Value, json};

use crate::{
    given::{day, days},
    harness::{App, Given, Reply},
};

const PATH: &str = "/api/v1/admin/audit";

/// The program itself.
pub fn system() -> Actor {
    let principal = Principal {
        id: "upkeep".into(),
        role: OperatorRole::SuperAdmin,
        tenant: None,
        mode: Mode::Tenant,
        impersonator: None,
    };
    Actor { principal: principal.into(), request_id: "upkeep".into(), ip: None }
}

/// Keeps so many days.
async fn keeping(count: u32) -> App {
    let policy = Policy { audit_retention: Some(Span::days(count)), ..Policy::default() };
    App::given(Given { policy, ..Given::default() }).await
}

async fn tenants(app: &App, from: usize, to: usize) {
    for number in from..to {
        app.tenant(&format!("t{number}"), json!({})).await;
    }
}

fn verified(app: &App) -> Verification {
    Store::inspect(&app.database, |tx| verify(tx, &[])).unwrap()
}

async fn seqs(app: &App) -> Vec<u64> {
    app.events("").await.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

async fn export(app: &App, kind: &str, query: &str) -> Reply {
    let path = format!("{PATH}{query}");
    app.root().send(reqwest::Method::GET, &path, None, &[("accept", kind)]).await
}

/// The text of an export. One with a single line reads as JSON.
fn text(reply: &Reply) -> String {
    match &reply.body {
        Value::String(text) => text.clone(),
        other => format!("{other}\n"),
    }
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_is_pruned_and_the_rest_verifies() {
    let app = keeping(10).await;
    tenants(&app, 0, 4).await;
    app.move_to_day(5);
    tenants(&app, 4, 7).await;

    app.move_to_day(9);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 0);
    app.move_to_day(11);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 4);

    assert_eq!(seqs(&app).await, [5, 6, 7, 8]);
    let found = verified(&app);
    assert!(matches!(found, Verification::Intact { rows: 4, pruned: 4, .. }), "{found:?}");
    let event = app.events("event=entitlement.audit.pruned").await.pop().unwrap();
    assert_eq!((&event["actor"]["id"], &event["before"]), (&json!("upkeep"), &Value::Null));
    let after = &event["after"];
    assert_eq!(
        (&after["seq"], &after["rows"], &after["at"]),
        (&json!(4), &json!(4), &json!(day(11)))
    );
    // Nothing more is due, and asking again changes nothing.
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 0);
    assert_eq!(seqs(&app).await, [5, 6, 7, 8]);
}

#[tokio::test]
async fn a_trail_that_is_pruned_to_its_end_goes_on_from_there() {
    let app = keeping(1).await;
    tenants(&app, 0, 3).await;
    app.move_to_day(30);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 3);
    assert_eq!(seqs(&app).await, [4]);
    tenants(&app, 3, 5).await;
    app.move_to_day(60);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 3);
    assert_eq!(seqs(&app).await, [7]);
    let event = app.events("").await.pop().unwrap();
    assert_eq!((&event["before"]["seq"], &event["after"]["seq"]), (&json!(3), &json!(6)));
    // The event of a pruning alone is no reason for the next one.
    app.move_to_day(90);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 0);
    let found = verified(&app);
    assert!(matches!(found, Verification::Intact { rows: 1, pruned: 6, .. }), "{found:?}");
}

#[tokio::test]
async fn much_is_pruned_in_batches_and_each_has_its_event() {
    let app = keeping(1).await;
    tenants(&app, 0, 1_020).await;
    app.move_to_day(3);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 1_020);
    assert_eq!(seqs(&app).await, [1_021, 1_022, 1_023]);
    let found = verified(&app);
    assert!(matches!(found, Verification::Intact { rows: 3, pruned: 1_020, .. }), "{found:?}");
}

#[tokio::test]
async fn pruning_keeps_the_row_that_the_anchor_names() {
    let app = App::given(Given {
        policy: Policy { audit_retention: Some(Span::days(1)), ..Policy::default() },
        anchoring: |dir| Anchoring::In(dir.join("audit.head"), OnRollback::Refuse),
        ..Given::default()
    })
    .await;
    tenants(&app, 0, 5).await;
    app.move_to_day(30);
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 0, "nothing is anchored yet");
    app.service.keep_anchor().await.unwrap();
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 4);
    assert_eq!(seqs(&app).await, [5, 6]);
    let anchor = anchor::read(&app.database.with_file_name("audit.head")).unwrap().unwrap();
    assert_eq!(anchor.seq, 5);
    let found = Store::inspect(&app.database, |tx| verify(tx, &[anchor])).unwrap();
    assert!(matches!(found, Verification::Intact { rows: 2, pruned: 4, .. }), "{found:?}");
}

#[tokio::test]
async fn without_a_retention_nothing_is_pruned() {
    let app = App::start().await;
    tenants(&app, 0, 3).await;
    app.advance(days(20_000));
    assert_eq!(app.service.prune_audit(&system()).await.unwrap(), 0);
    assert_eq!(seqs(&app).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_was_tampered_with_is_not_pruned_away() {
    let app = keeping(1).await;
    tenants(&app, 0, 5).await;
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    conn.execute_batch(
        "DROP TRIGGER audit_is_append_only_update; UPDATE audit SET actor = 'x' WHERE seq = 3",
    )
    .unwrap();
    app.move_to_day(30);
    assert!(app.service.prune_audit(&system()).await.is_err());
    assert_eq!(seqs(&app).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn lines_of_json_are_the_events_oldest_first_and_verify_without_a_database() {
    let app = App::retail().await;
    tenants(&app, 0, 20).await;
    let reason = "„=1+1“ \u{1F600}";
    app.change_tenant("t0", json!({"status": "suspended", "reason": reason})).await;

    let reply = export(&app, "application/x-ndjson", "").await.expect(200);

    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    assert_eq!(reply.header("content-disposition"), "attachment; filename=\"audit-22.jsonl\"");
    let text = text(&reply);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, app.events("").await);
    let rows: Vec<_> = text.lines().map(|line| from_line(line).unwrap()).collect();
    let found = verify_rows(&rows, &[]);
    assert!(matches!(found, Verification::Intact { rows: 22, pruned: 0, .. }), "{found:?}");
    assert_eq!(found, verified(&app));
    let changed: Vec<_> =
        text.replace("t7", "t8").lines().map(|line| from_line(line).unwrap()).collect();
    assert!(matches!(verify_rows(&changed, &[]), Verification::Broken { seq: 9, .. }));
    assert!(matches!(verify_rows(&rows[1..], &[]), Verification::Broken { seq: 2, .. }));
}

#[tokio::test]
async fn an_export_of_a_pruned_trail_verifies_from_its_checkpoint() {
    let app = keeping(1).await;
    tenants(&app, 0, 3).await;
    app.move_to_day(30);
    tenants(&app, 3, 6).await;
    app.service.prune_audit(&system()).await.unwrap();
    let text = text(&export(&app, "application/x-ndjson", "").await.expect(200));
    let rows: Vec<_> = text.lines().map(|line| from_line(line).unwrap()).collect();
    assert_eq!(verify_rows(&rows, &[]), verified(&app));
    assert_eq!(rows.first().unwrap().record.seq, 4);
}

#[tokio::test]
async fn an_export_has_everything_that_the_filter_selects() {
    let app = App::start().await;
    tenants(&app, 0, 1_100).await;
    app.change_tenant("t1", json!({"name": "Renamed"})).await;
    let count = async |query: &str| {
        let text = text(&export(&app, "application/x-ndjson", query).await.expect(200));
        text.lines().count()
    };
    assert_eq!(count("").await, 1_101);
    assert_eq!(count("?event=tenant.created").await, 1_100);
    assert_eq!(count("?tenant=t1").await, 2);
    assert_eq!(count("?actor=root&tenant=t1&event=tenant.up").await, 1);
    assert_eq!(count("?actor=nobody").await, 0);
    assert_eq!(count(&format!("?from={}", day(1))).await, 0);
    assert_eq!(count(&format!("?to={}", day(1))).await, 1_101);
}

#[tokio::test]
async fn a_table_has_a_head_and_no_cell_that_a_spreadsheet_runs() {
    let app = App::start().await;
    app.tenant("acme", json!({"name": "=HYPERLINK(\"http://x\")"})).await;
    for reason in ["=1+1", "+1+1", "-1+1", "@A1", "\u{ff1d}1+1", "a, \"b\""] {
        app.change_tenant("acme", json!({"status": "suspended", "reason": reason})).await;
        app.change_tenant("acme", json!({"status": "active", "reason": "resolved"})).await;
    }
    let reply = export(&app, "text/csv", "").await.expect(200);
    assert_eq!(reply.header("content-type"), "text/csv");
    let text = text(&reply);
    assert!(text.starts_with("seq,at,event,actor_id,actor_role,actor_mode,actor_impersonator,"));
    assert!(text.ends_with("\r\n"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 13);
    let events = app.events("").await;
    for (row, event) in rows.iter().zip(&events) {
        for cell in row {
            let start = cell.trim_start().chars().next().unwrap_or('x');
            assert!(!"=+-@\u{ff1d}".contains(start), "{cell}");
        }
        let after: Value = serde_json::from_str(&row[10]).unwrap();
        assert_eq!((&row[0], &after), (event["seq"].to_string().as_str(), &event["after"]));
    }
    let reasons: Vec<&str> = rows.iter().map(|row| &row[11]).filter(|r| *r != "resolved").collect();
    let expected = ["", "'=1+1", "'+1+1", "'-1+1", "'@A1", "'\u{ff1d}1+1", "a, \"b\""];
    assert_eq!(reasons, expected);
}

#[tokio::test]
async fn an_empty_export_is_complete() {
    let app = App::start().await;
    let lines = export(&app, "application/x-ndjson", "").await.expect(200);
    assert_eq!(lines.body, json!(""));
    let table = export(&app, "text/csv", "").await.expect(200);
    assert_eq!(text(&table).lines().count(), 1);
}

#[tokio::test]
async fn what_cannot_be_given_is_refused() {
    let app = App::start().await;
    let refused = export(&app, "application/xml", "").await;
    let problem = refused.expect_problem(406, "NOT_ACCEPTABLE").body;
    assert!(problem["detail"].as_str().unwrap().contains("text/csv"), "{problem:#}");
    let refused = export(&app, "text/csv", "?limit=3").await;
    let problem = refused.expect_problem(422, "INVALID_VALUE").body;
    assert!(problem["fields"]["limit"].is_array(), "{problem:#}");
    // Who may not read it is told so first.
    let kind = [("accept", "application/xml")];
    let get = reqwest::Method::GET;
    app.nobody().send(get.clone(), PATH, None, &kind).await.expect_problem(401, "UNAUTHENTICATED");
    app.backend().send(get, PATH, None, &kind).await.expect_problem(403, "FORBIDDEN");
    // Nobody asked for anything in particular.
    export(&app, "text/html, */*;q=0.8", "").await.expect(200).body["items"].as_array().unwrap();
}

/// A row in the middle can't be read: half an export must not look like a whole one.
#[tokio::test]
async fn an_export_that_fails_on_its_way_breaks_off() {
    let app = App::start().await;
    tenants(&app, 0, 700).await;
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    conn.execute_batch(
        "DROP TRIGGER audit_is_append_only_update;
         UPDATE audit SET before = 'no json' WHERE seq = 650",
    )
    .unwrap();
    let url = format!("http://{}{PATH}", app.address);
    let request = app.http().get(url).bearer_auth(crate::harness::ROOT_KEY);
    let request = request.header("accept", "application/x-ndjson").timeout(Duration::from_secs(20));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.text().await.is_err(), "it looks complete");
}
