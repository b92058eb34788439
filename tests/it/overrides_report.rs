//! The report of exceptions: what speaks for looking at an override again.

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::{
    given::days,
    harness::{App, Client},
};

const PATH: &str = "/api/v1/admin/overrides";
const REPORT: &str = "/api/v1/admin/overrides/report";

async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "growth", json!({"status": "active"})).await;
    app
}

fn support(app: &App) -> Client<'_> {
    app.caller(OperatorRole::Support, None, "sue")
}

/// An override of the shop for a year; `more` is merged in.
async fn exception(app: &App, key: &str, more: Value) -> String {
    let mut body = json!({
        "tenant": "shop", "key": key, "enabled": true,
        "expires_at": "2027-02-01T00:00:00Z", "reason": "For a test"
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = support(app).post(PATH, body).await;
    assert!([200, 201].contains(&made.status), "{:#}", made.body);
    made.body["id"].as_str().unwrap().to_owned()
}

/// What was found, by key: `dine redundant renewed`.
async fn found(app: &App, query: &str) -> Vec<String> {
    let page = support(app).get(&format!("{REPORT}?{query}")).await.expect(200).body;
    let line = |item: &Value| {
        let findings = item["findings"].as_array().unwrap().iter().map(|f| f.as_str().unwrap());
        let key = item["override"]["key"].as_str().unwrap();
        std::iter::once(key).chain(findings).collect::<Vec<_>>().join(" ")
    };
    page["items"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn what_the_plan_says_anyway_is_redundant() {
    let app = shop().await;
    exception(&app, "dine", json!({})).await;
    exception(&app, "multi_branch", json!({})).await;
    exception(&app, "branches", json!({"value": 5})).await;
    exception(&app, "users", json!({"value": 7777})).await;
    exception(&app, "pay", json!({})).await;
    exception(&app, "hr", json!({"enabled": false})).await;
    exception(&app, "accounting", json!({"enabled": false})).await;
    let redundant =
        ["hr redundant", "branches redundant", "multi_branch redundant", "dine redundant"];
    assert_eq!(found(&app, "").await, redundant);
    // A block of the whole tenant passes; it makes nothing redundant.
    app.change_subscription("shop", json!({"status": "suspended"})).await;
    assert_eq!(found(&app, "").await, redundant);
    app.change_subscription("shop", json!({"status": "active"})).await;
    assert_eq!(found(&app, "tenant=other").await, [] as [&str; 0]);
}

#[tokio::test]
async fn what_only_a_trial_gives_for_now_is_not_redundant() {
    let app = shop().await;
    let trial = |end: &str| json!({"state": "trial", "trial_expires_at": end});
    app.grant("shop", "pay", trial("2026-04-01T00:00:00Z")).await.expect(201);
    app.grant("shop", "hr", trial("2027-03-01T00:00:00Z")).await.expect(201);
    exception(&app, "pay", json!({})).await;
    exception(&app, "hr", json!({})).await;
    assert_eq!(found(&app, "").await, ["hr redundant"]);
}

#[tokio::test]
async fn an_override_that_was_extended_three_times_is_a_rule() {
    let app = shop().await;
    for month in 3..=5 {
        let end = json!({"expires_at": format!("2026-0{}-20T00:00:00Z", month + 1)});
        exception(&app, "pay", end).await;
    }
    assert_eq!(found(&app, "").await, [] as [&str; 0]);
    exception(&app, "pay", json!({"expires_at": "2026-07-20T00:00:00Z"})).await;
    assert_eq!(found(&app, "").await, ["pay renewed"]);
}

#[tokio::test]
async fn what_decides_no_check_for_long_is_unused() {
    let app = shop().await;
    let id = exception(&app, "pay", json!({})).await;
    exception(&app, "zf", json!({})).await;
    app.advance(days(29));
    assert_eq!(found(&app, "").await, [] as [&str; 0], "it had no time to be used");
    app.advance(days(1));
    assert_eq!(found(&app, "").await, ["zf unused", "pay unused"]);
    assert_eq!(app.module("shop", "pay").await, "allowed override");
    assert_eq!(found(&app, "").await, ["zf unused"], "before it is written down");
    app.service.record_uses().await.unwrap();
    app.service.record_uses().await.unwrap();
    assert_eq!(found(&app, "").await, ["zf unused"]);
    let used = support(&app).get(&format!("{PATH}/{id}")).await.expect(200);
    assert_eq!(used.body["last_used_at"], "2026-03-31T12:00:00Z");
    assert_eq!(used.header("etag"), "\"1\"", "a use is no change");
    assert_eq!(found(&app, "unused_days=31").await, [] as [&str; 0]);
    app.advance(days(2));
    assert_eq!(found(&app, "unused_days=2").await, ["zf unused", "pay unused"]);
    // A question about the future uses nothing.
    let later = json!({"tenant": "shop", "module": "pay", "at": "2026-06-01T00:00:00Z"});
    assert_eq!(app.ask(later).await, "allowed override");
    assert_eq!(found(&app, "unused_days=2").await, ["zf unused", "pay unused"]);
    // And neither changed anything that is audited.
    assert_eq!(app.events("event=entitlement.override.").await.len(), 2);
}

#[tokio::test]
async fn what_is_about_to_lapse_is_shown_and_what_has_lapsed_is_not() {
    let app = shop().await;
    exception(&app, "pay", json!({"expires_at": "2026-03-04T12:00:00Z"})).await;
    exception(&app, "zf", json!({"expires_at": "2026-03-05T12:00:00Z"})).await;
    let removed = exception(&app, "hr", json!({"expires_at": "2026-03-02T12:00:00Z"})).await;
    support(&app).delete(&format!("{PATH}/{removed}")).await.expect(204);
    assert_eq!(found(&app, "").await, ["pay ends_soon"], "within three days, as it is set");
    assert_eq!(found(&app, "ends_within_days=4").await, ["zf ends_soon", "pay ends_soon"]);
    assert_eq!(found(&app, "ends_within_days=0").await, [] as [&str; 0]);
    app.advance(days(3));
    assert_eq!(found(&app, "").await, ["zf ends_soon"]);
    for query in ["unused_days=-1", "unused_days=9999999", "ends_within_days=x", "cursor=!"] {
        let reply = support(&app).get(&format!("{REPORT}?{query}")).await;
        reply.expect_problem(422, "INVALID_VALUE");
    }
}

#[tokio::test]
async fn the_report_comes_in_pages_and_not_to_everybody() {
    let app = shop().await;
    for number in 0..5 {
        let tenant = format!("t{number}");
        app.tenant(&tenant, json!({})).await;
        exception(&app, "pay", json!({"tenant": tenant, "enabled": false})).await;
        // In between, one without a finding.
        exception(&app, "zf", json!({"tenant": tenant})).await;
    }
    let (mut tenants, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = support(&app).get(&format!("{REPORT}?limit=2{cursor}")).await.expect(200).body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        tenants.extend(items.iter().map(|item| item["override"]["tenant"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(tenants, ["t4", "t3", "t2", "t1", "t0"]);
    for (role, tenant) in [
        (OperatorRole::Auditor, None),
        (OperatorRole::Service, None),
        (OperatorRole::TenantAdmin, Some("shop")),
    ] {
        app.caller(role, tenant, "ada").get(REPORT).await.expect_problem(403, "FORBIDDEN");
    }
    // One damaged tenant is shown without the finding that needs its facts.
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    conn.execute("UPDATE tenants SET attributes = '{' WHERE tenant = 't4'", []).unwrap();
    assert_eq!(found(&app, "tenant=t4").await, [] as [&str; 0]);
    assert_eq!(found(&app, "tenant=t3").await, ["pay redundant"]);
}
