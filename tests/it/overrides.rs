//! Overrides: governed exceptions that always expire.

use std::time::Duration;

use entitled::domain::{callers::OperatorRole, time::Timestamp};
use serde_json::{Value, json};

use crate::harness::{App, Client};

const PATH: &str = "/api/v1/admin/overrides";

async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    app
}

/// An override of the shop until an hour after the test began; `more` is merged in.
fn about(key: &str, more: &Value) -> Value {
    let mut body = json!({
        "tenant": "shop", "key": key, "enabled": true,
        "expires_at": "2026-03-01T13:00:00Z", "reason": "Bridges the upgrade"
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn support(app: &App) -> Client<'_> {
    app.caller(OperatorRole::Support, None, "sue")
}

async fn events(app: &App, prefix: &str) -> Vec<Value> {
    let path = format!("/api/v1/admin/audit?event={prefix}");
    let page = app.root().get(&path).await.expect(200);
    page.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_override_beats_plans_and_grants_until_the_instant_it_expires() {
    let app = shop().await;
    let made = support(&app).post(PATH, about("dine", &json!({}))).await.expect(201).body;
    support(&app).post(PATH, about("retail", &json!({"enabled": false}))).await.expect(201);
    support(&app).post(PATH, about("branches", &json!({"value": 40}))).await.expect(201);

    let dine = app.check(json!({"tenant": "shop", "module": "dine"})).await;
    assert_eq!(dine["reason"], "override", "{dine:#}");
    assert_eq!(dine["source"], json!({"kind": "override", "id": made["id"]}));
    assert_eq!(dine["valid_until"], "2026-03-01T13:00:00Z");
    let retail = app.check(json!({"tenant": "shop", "module": "retail"})).await;
    assert_eq!((&retail["allowed"], &retail["reason"]), (&json!(false), &json!("override")));
    let payload = app.entitlements("shop").await;
    assert_eq!(payload["limits"]["branches"]["limit"], 40);
    assert_eq!(payload["module_access"]["dine"]["expires_at"], "2026-03-01T13:00:00Z");

    // No worker runs here: what has expired is not honoured all the same.
    app.advance(Duration::from_secs(3600) - Duration::from_micros(1));
    assert_eq!(app.check(json!({"tenant": "shop", "module": "dine"})).await["allowed"], true);
    app.advance(Duration::from_micros(1));
    let dine = app.check(json!({"tenant": "shop", "module": "dine"})).await;
    assert_eq!(dine["reason"], "plan_limit", "nothing is honoured from its expiry on");
    assert_eq!(app.entitlements("shop").await["limits"]["branches"]["limit"], 1);
}

#[tokio::test]
async fn a_second_call_changes_the_one_that_is_open() {
    let app = shop().await;
    let first = support(&app).post(PATH, about("dine", &json!({}))).await.expect(201);
    assert_eq!(first.header("location"), format!("{PATH}/{}", first.body["id"].as_str().unwrap()));
    let later = json!({"expires_at": "2026-03-02T13:00:00Z", "reason": "One more day"});
    let second = support(&app).post(PATH, about("dine", &later)).await.expect(200);
    assert_eq!(second.body["id"], first.body["id"]);
    assert_eq!(second.body["renewals"], 1);
    let events = events(&app, "entitlement.override.").await;
    let names: Vec<_> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["entitlement.override.updated", "entitlement.override.created"]);
    assert_eq!(events[0]["actor"]["id"], "sue");
    assert_eq!(events[0]["actor"]["role"], "support");
    assert_eq!(events[0]["tenant"], "shop");
    assert_eq!(events[0]["before"]["expires_at"], "2026-03-01T13:00:00Z");
    assert_eq!(events[0]["after"]["expires_at"], "2026-03-02T13:00:00Z");
    assert_eq!(events[0]["after"]["key"], "dine");
    assert_eq!(events[0]["reason"], "One more day");
}

#[tokio::test]
async fn every_fault_is_answered_at_once_by_its_field() {
    let app = shop().await;
    let body = json!({"key": 7, "expires_at": "2026-03-01T13:00:00", "reason": "  x  "});
    let reply = support(&app).post(PATH, body).await.expect_problem(422, "INVALID_VALUE");
    let fields = reply.body["fields"].as_object().unwrap();
    let mut named: Vec<_> = fields.keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, ["enabled", "expires_at", "key", "reason", "tenant"], "{:#}", reply.body);
    for (more, field) in [
        (json!({"expires_at": "2026-02-01T00:00:00Z"}), "expires_at"),
        (json!({"expires_at": "2027-06-01T00:00:00Z"}), "expires_at"),
        (json!({"value": 3}), "value"),
        (json!({"key": "branches"}), "value"),
        (json!({"key": "branches", "value": "many"}), "value"),
        (json!({"key": "common"}), "key"),
    ] {
        let reply = support(&app).post(PATH, about("dine", &more)).await;
        let reply = reply.expect_problem(422, "INVALID_VALUE");
        assert!(reply.body["fields"].get(field).is_some(), "{more}: {:#}", reply.body);
    }
    let unknown = support(&app).post(PATH, about("dinne", &json!({}))).await;
    let unknown = unknown.expect_problem(422, "UNKNOWN_KEY");
    assert!(unknown.body["fields"]["key"][0].as_str().unwrap().contains("“dine”"));
    // Beside another fault it is one of several.
    let past = json!({"expires_at": "2026-02-01T00:00:00Z"});
    let both = support(&app).post(PATH, about("dinne", &past)).await;
    let both = both.expect_problem(422, "INVALID_VALUE");
    assert_eq!(both.body["fields"].as_object().unwrap().len(), 2, "{:#}", both.body);
    let nobody = support(&app).post(PATH, about("dine", &json!({"tenant": "nobody"}))).await;
    nobody.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(events(&app, "entitlement.override.").await, [] as [Value; 0]);
}

#[tokio::test]
async fn nobody_else_can_tell_whether_an_override_exists() {
    let app = shop().await;
    let made = support(&app).post(PATH, about("dine", &json!({}))).await.expect(201).body;
    let there = format!("{PATH}/{}", made["id"].as_str().unwrap());
    for (role, tenant) in [
        (OperatorRole::Auditor, None),
        (OperatorRole::Service, None),
        (OperatorRole::TenantAdmin, Some("shop")),
        (OperatorRole::TenantUser, Some("shop")),
    ] {
        let caller = app.caller(role, tenant, "ada");
        let existing = caller.get(&there).await.expect_problem(403, "FORBIDDEN");
        let missing =
            caller.get(&format!("{PATH}/ovr_none")).await.expect_problem(403, "FORBIDDEN");
        assert_eq!(existing.body["detail"], missing.body["detail"]);
        caller.delete(&there).await.expect_problem(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_removed_override_ends_at_once_and_once() {
    let app = shop().await;
    let made = support(&app).post(PATH, about("dine", &json!({}))).await.expect(201).body;
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    support(&app).delete(&path).await.expect(204);
    assert_eq!(app.check(json!({"tenant": "shop", "module": "dine"})).await["allowed"], false);
    support(&app).delete(&path).await.expect_problem(409, "OVERRIDE_ENDED");
    support(&app)
        .patch(&path, json!({"reason": "once more"}))
        .await
        .expect_problem(409, "OVERRIDE_ENDED");
    app.advance(Duration::from_secs(7200));
    let run = app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200);
    assert_eq!(run.body, json!({"expired": 0, "failed": 0, "held": false}));
    assert_eq!(events(&app, "entitlement.override.removed").await.len(), 1);
    assert_eq!(events(&app, "entitlement.override.expired").await.len(), 0);
    assert_eq!(support(&app).get(&path).await.expect(200).body["state"], "removed");
}

#[tokio::test]
async fn the_worker_records_each_end_once_and_leaves_the_others_alone() {
    let app = shop().await;
    for number in 0..300 {
        let tenant = format!("t{number}");
        app.tenant(&tenant, json!({})).await;
        let body = about("dine", &json!({"tenant": tenant}));
        support(&app).post(PATH, body).await.expect(201);
    }
    let later = json!({"expires_at": "2026-03-05T00:00:00Z"});
    support(&app).post(PATH, about("dine", &later)).await.expect(201);
    app.advance(Duration::from_secs(3600));
    // Two runs at once: each end is recorded by one of them.
    let root = app.root();
    let (one, two) = tokio::join!(
        root.post("/api/v1/admin/expiry/run", json!({})),
        root.post("/api/v1/admin/expiry/run", json!({})),
    );
    let expired =
        |reply: crate::harness::Reply| reply.expect(200).body["expired"].as_u64().unwrap();
    assert_eq!(expired(one) + expired(two), 300);
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    let per_subject: i64 = conn
        .query_row(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM audit
             WHERE event = 'entitlement.override.expired' GROUP BY subject)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(per_subject, 1);
    let active = support(&app).get(&format!("{PATH}?state=active")).await.expect(200);
    assert_eq!(active.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(active.body["items"][0]["tenant"], "shop");
}

#[tokio::test]
async fn one_end_that_cannot_be_recorded_holds_up_no_other() {
    let app = shop().await;
    for key in ["dine", "pay", "zf"] {
        support(&app).post(PATH, about(key, &json!({}))).await.expect(201);
    }
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    conn.execute_batch(
        "CREATE TRIGGER pay_fails BEFORE UPDATE ON overrides WHEN new.key = 'pay'
         BEGIN SELECT RAISE(ABORT, 'for a test'); END;",
    )
    .unwrap();
    app.advance(Duration::from_secs(3600));
    let run = || async { app.root().post("/api/v1/admin/expiry/run", json!({})).await.body };
    assert_eq!(run().await, json!({"expired": 2, "failed": 1, "held": false}));
    assert_eq!(app.service.expiry().failures_in_a_row(), 1);
    conn.execute_batch("DROP TRIGGER pay_fails;").unwrap();
    assert_eq!(run().await, json!({"expired": 1, "failed": 0, "held": false}));
    assert_eq!(app.service.expiry().failures_in_a_row(), 0);
}

#[tokio::test]
async fn a_new_override_follows_one_that_has_ended_by_itself() {
    let app = shop().await;
    let first = support(&app).post(PATH, about("dine", &json!({}))).await.expect(201).body;
    app.advance(Duration::from_secs(3600));
    let later = json!({"expires_at": "2026-03-05T00:00:00Z"});
    let second = support(&app).post(PATH, about("dine", &later)).await.expect(201).body;
    assert_ne!(first["id"], second["id"]);
    let names: Vec<_> = events(&app, "entitlement.override.").await;
    let names: Vec<_> = names.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "entitlement.override.created",
            "entitlement.override.expired",
            "entitlement.override.created"
        ]
    );
}

#[tokio::test]
async fn the_list_is_narrowed_and_paged() {
    let app = shop().await;
    for (key, end) in [("dine", "02"), ("pay", "03"), ("zf", "04")] {
        let end = json!({"expires_at": format!("2026-03-{end}T00:00:00Z")});
        support(&app).post(PATH, about(key, &end)).await.expect(201);
    }
    let keys = |reply: crate::harness::Reply| -> Vec<String> {
        let body = reply.expect(200).body;
        let items = body["items"].as_array().unwrap();
        items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    };
    let ask = |query: String| {
        let support = support(&app);
        async move { support.get(&format!("{PATH}?{query}")).await }
    };
    assert_eq!(keys(ask("expiring_before=2026-03-03T12:00:00Z".into()).await), ["pay", "dine"]);
    assert_eq!(keys(ask("tenant=shop&key=zf".into()).await), ["zf"]);
    assert_eq!(keys(ask("tenant=other".into()).await), [] as [&str; 0]);
    let page = ask("limit=2".into()).await;
    let cursor = page.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(keys(page), ["zf", "pay"]);
    assert_eq!(keys(ask(format!("limit=2&cursor={cursor}")).await), ["dine"]);
    app.clock.set("2026-03-03T00:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(keys(ask("state=active".into()).await), ["zf"]);
    assert_eq!(keys(ask("state=expired".into()).await), ["pay", "dine"]);
}

#[tokio::test]
async fn a_reason_that_shows_nothing_is_blank() {
    let app = shop().await;
    for blank in ["   ", "\u{200b}\u{200b}\u{200b}", "\u{feff}\u{2800}\u{3164}", "ab\u{202e}cde"] {
        let body = about("dine", &json!({"reason": blank}));
        let reply = support(&app).post(PATH, body).await.expect_problem(422, "INVALID_VALUE");
        assert!(reply.body["fields"].get("reason").is_some(), "{blank:?}");
    }
    let body = about("dine", &json!({"reason": "Überbrückt: 升级"}));
    support(&app).post(PATH, body).await.expect(201);
}

#[tokio::test]
async fn a_value_that_is_nested_too_deep_is_refused_and_one_that_is_not_replays() {
    let app = App::start().await;
    app.apply_catalog("features: {theme: {name: Theme, type: config}}").await;
    app.tenant("shop", json!({})).await;
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    for levels in [33, 100] {
        let body = about("theme", &json!({"value": nested(levels)}));
        let reply = support(&app).post(PATH, body).await.expect_problem(422, "INVALID_VALUE");
        assert!(reply.body["fields"].get("value").is_some(), "{:#}", reply.body);
    }
    let body = about("theme", &json!({"value": nested(32)}));
    let once = [("Idempotency-Key", "once")];
    for _ in 0..2 {
        let send = support(&app);
        send.send(reqwest::Method::POST, PATH, Some(body.clone()), &once).await.expect(201);
    }
}
