//! Requests for overrides: asked for by a tenant's admin, decided by support, by nobody alone.

use std::time::Duration;

use entitled::{
    domain::{callers::OperatorRole, checks::Mode, time::Span},
    service::policy::Policy,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, days},
    harness::{App, Client, Given, Reply},
};

const PATH: &str = "/api/v1/requests";
const RETAIL: &str = include_str!("../../examples/retail.yaml");

async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    app
}

fn admin(app: &App) -> Client<'_> {
    app.caller(OperatorRole::TenantAdmin, Some("shop"), "ana")
}

fn support(app: &App) -> Client<'_> {
    app.caller(OperatorRole::Support, None, "sue")
}

/// A wish for the next day; `more` is merged in.
fn wish(key: &str, more: &Value) -> Value {
    let mut body = json!({
        "key": key, "expires_at": "2026-03-02T12:00:00Z", "reason": "We open a restaurant"
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The id of a request by the shop's admin.
async fn asked(app: &App, key: &str) -> String {
    let made = admin(app).post(PATH, wish(key, &json!({}))).await.expect(201);
    made.body["id"].as_str().unwrap().to_owned()
}

async fn approve(by: &Client<'_>, id: &str, body: Value) -> Reply {
    by.post(&format!("/api/v1/admin/requests/{id}/approve"), body).await
}

async fn decline(by: &Client<'_>, id: &str) -> Reply {
    let body = json!({"reason": "Upgrade instead"});
    by.post(&format!("/api/v1/admin/requests/{id}/decline"), body).await
}

async fn names(app: &App) -> Vec<String> {
    let events = app.events("event=entitlement.override.").await;
    let name = |event: &Value| {
        event["event"].as_str().unwrap().trim_start_matches("entitlement.override.").to_owned()
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn what_a_tenants_admin_asks_for_becomes_an_override_once_support_approves() {
    let app = shop().await;
    let made = admin(&app).post(PATH, wish("dine", &json!({}))).await.expect(201);
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("{PATH}/{id}"));
    assert_eq!(made.body["state"], "open");
    assert_eq!(made.body["kind"], "request");
    assert_eq!(made.body["requested_by"], "ana");
    assert_eq!(made.body["lapses_at"], "2026-03-02T12:00:00Z", "not later than what it is for");
    assert_eq!(app.module("shop", "dine").await, "refused plan_limit MODULE_NOT_ENTITLED 403");

    let shorter = json!({"expires_at": "2026-03-01T18:00:00Z", "comment": "For one day only"});
    let approved = approve(&support(&app), &id, shorter).await.expect(200).body;

    assert_eq!(approved["state"], "approved", "{approved:#}");
    assert_eq!(
        (&approved["decided_by"], &approved["comment"]),
        (&json!("sue"), &json!("For one day only"))
    );
    let there = format!("/api/v1/admin/overrides/{}", approved["override_id"].as_str().unwrap());
    let governed = support(&app).get(&there).await.expect(200).body;
    assert_eq!(governed["expires_at"], "2026-03-01T18:00:00Z");
    assert_eq!(governed["reason"], "We open a restaurant");
    assert_eq!(app.module("shop", "dine").await, "allowed override");
    assert_eq!(names(&app).await, ["requested", "approved", "created"]);
    let events = app.events("event=entitlement.override.approved").await;
    assert_eq!(events[0]["actor"]["id"], "sue");
    assert_eq!((&events[0]["tenant"], &events[0]["subject"]), (&json!("shop"), &json!(id)));
    assert_eq!(events[0]["after"]["key"], "dine");
    assert_eq!(events[0]["after"]["expires_at"], "2026-03-01T18:00:00Z");
    let mine = admin(&app).get(&format!("{PATH}/{id}")).await.expect(200).body;
    assert_eq!(mine, approved);
}

#[tokio::test]
async fn an_approved_request_changes_the_override_that_is_open() {
    let app = shop().await;
    let body = json!({"tenant": "shop", "key": "dine", "enabled": false,
                      "expires_at": "2026-03-01T13:00:00Z", "reason": "Misuse"});
    let first = support(&app).post("/api/v1/admin/overrides", body).await.expect(201).body;
    let id = asked(&app, "dine").await;
    let approved = approve(&support(&app), &id, json!({})).await.expect(200).body;
    assert_eq!(approved["override_id"], first["id"]);
    assert_eq!(app.module("shop", "dine").await, "allowed override");
    assert_eq!(names(&app).await, ["created", "requested", "approved", "updated"]);
}

#[tokio::test]
async fn a_request_is_decided_once() {
    let app = shop().await;
    let declined = asked(&app, "dine").await;
    let reply = decline(&support(&app), &declined).await.expect(200).body;
    assert_eq!(
        (&reply["state"], &reply["comment"]),
        (&json!("declined"), &json!("Upgrade instead"))
    );
    let withdrawn = asked(&app, "pay").await;
    admin(&app).delete(&format!("{PATH}/{withdrawn}")).await.expect(204);
    for id in [&declined, &withdrawn] {
        approve(&support(&app), id, json!({})).await.expect_problem(409, "REQUEST_CLOSED");
        decline(&support(&app), id).await.expect_problem(409, "REQUEST_CLOSED");
        let path = format!("{PATH}/{id}");
        admin(&app).delete(&path).await.expect_problem(409, "REQUEST_CLOSED");
    }
    assert_eq!(names(&app).await, ["requested", "declined", "requested", "request_withdrawn"]);
    let state = |state: &'static str| {
        let admin = admin(&app);
        async move { column(&admin.get(&format!("{PATH}?state={state}")).await.body, "id") }
    };
    assert_eq!(state("declined").await, [json!(declined)]);
    assert_eq!(state("withdrawn").await, [json!(withdrawn)]);
    assert_eq!(state("open").await, [] as [Value; 0]);
    let none = format!("{PATH}/req_none");
    support(&app).get(&none).await.expect_problem(404, "NOT_FOUND");
    approve(&support(&app), "req_none", json!({})).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn of_many_approvals_at_once_one_makes_the_override() {
    let app = shop().await;
    let id = asked(&app, "dine").await;
    let names_of_ten = (0..10).map(|number| format!("sue-{number}"));
    let staff: Vec<_> =
        names_of_ten.map(|name| app.caller(OperatorRole::Support, None, &name)).collect();
    let all = staff.iter().map(|by| approve(by, &id, json!({})));
    let replies = futures_util::future::join_all(all).await;
    let (good, late): (Vec<_>, Vec<_>) = replies.into_iter().partition(|r| r.status == 200);
    assert_eq!(good.len(), 1);
    for reply in late {
        reply.expect_problem(409, "REQUEST_CLOSED");
    }
    assert_eq!(names(&app).await, ["requested", "approved", "created"]);
}

#[tokio::test]
async fn nobody_approves_their_own_in_whatever_role_or_place() {
    let app = shop().await;
    let token = |role, tenant, sub, act| app.token(role, tenant, sub, Mode::Impersonation, act);
    let (tenant_admin, super_admin) = (OperatorRole::TenantAdmin, OperatorRole::SuperAdmin);
    // The same person as staff, and a person who acted in ana's place.
    let own = asked(&app, "dine").await;
    let ana = app.caller(super_admin, None, "ana");
    approve(&ana, &own, json!({})).await.expect_problem(409, "OWN_REQUEST");
    let as_ana = app.bearer(&token(super_admin, None, "bob", Some("ana")));
    approve(&as_ana, &own, json!({})).await.expect_problem(409, "OWN_REQUEST");
    let through = app.bearer(&token(tenant_admin, Some("shop"), "cleo", Some("sue")));
    let made = through.post(PATH, wish("pay", &json!({}))).await.expect(201).body;
    assert_eq!(made["requested_through"], "sue");
    let id = made["id"].as_str().unwrap();
    approve(&support(&app), id, json!({})).await.expect_problem(409, "OWN_REQUEST");
    let staff = wish("zf", &json!({"tenant": "shop"}));
    let filed = support(&app).post(PATH, staff).await.expect(201).body;
    let filed = filed["id"].as_str().unwrap();
    approve(&support(&app), filed, json!({})).await.expect_problem(409, "OWN_REQUEST");
    assert!(!names(&app).await.contains(&"approved".to_owned()));
    approve(&app.root(), filed, json!({})).await.expect(200);
}

#[tokio::test]
async fn the_database_refuses_an_own_approval_too() {
    let app = shop().await;
    let id = asked(&app, "dine").await;
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    let approve = |by: &str, through: Option<&str>| {
        conn.execute(
            "UPDATE requests SET state = 'approved', override_id = 'ovr_x', decided_by = ?2,
                 decided_role = 'super_admin', decided_through = ?3, decided_at = 1
             WHERE id = ?1",
            rusqlite::params![id, by, through],
        )
    };
    for (by, through) in [("ana", None), ("bob", Some("ana"))] {
        let error = approve(by, through).unwrap_err().to_string();
        assert!(error.contains("CHECK constraint failed"), "{error}");
    }
    // Nor by making somebody else the asker first, nor as a row that was never open.
    let changed = conn.execute("UPDATE requests SET requested_by = 'eve' WHERE id = ?1", [&id]);
    assert!(changed.unwrap_err().to_string().contains("never changes"));
    let copied = conn.execute(
        "INSERT INTO requests (tenant, id, kind, key, enabled, expires_at, reason, override_id, state,
             requested_by, requested_role, requested_at, lapses_at, decided_by, decided_role, decided_at)
         SELECT tenant, 'req_copy', kind, key, enabled, expires_at, reason, 'ovr_x', 'approved',
             requested_by, requested_role, requested_at, lapses_at, requested_by, 'support', 1
         FROM requests WHERE id = ?1",
        [&id],
    );
    assert!(copied.unwrap_err().to_string().contains("CHECK constraint failed"));
    assert_eq!(approve("sue", None).unwrap(), 1);
    let again = approve("eve", None).unwrap_err().to_string();
    assert!(again.contains("decided once"), "{again}");
}

#[tokio::test]
async fn a_request_of_another_tenant_looks_like_one_that_does_not_exist() {
    let app = shop().await;
    app.tenant("rival", json!({})).await;
    let id = asked(&app, "dine").await;
    let rival = app.caller(OperatorRole::TenantAdmin, Some("rival"), "ana");
    let bare = |reply: Reply, id: &str| {
        reply.expect_problem(404, "NOT_FOUND").body["detail"].as_str().unwrap().replace(id, "…")
    };
    let (theirs, none) = (format!("{PATH}/{id}"), format!("{PATH}/req_none"));
    assert_eq!(bare(rival.get(&theirs).await, &id), bare(rival.get(&none).await, "req_none"));
    assert_eq!(bare(rival.delete(&theirs).await, &id), bare(rival.delete(&none).await, "req_none"));
    let list = rival.get(PATH).await.expect(200).body;
    assert_eq!(list, json!({"items": [], "next_cursor": null}));
    rival.get(&format!("{PATH}?tenant=shop")).await.expect_problem(404, "TENANT_NOT_FOUND");
    let body = wish("dine", &json!({"tenant": "shop"}));
    rival.post(PATH, body).await.expect_problem(404, "TENANT_NOT_FOUND");
    approve(&rival, &id, json!({})).await.expect_problem(403, "FORBIDDEN");
    decline(&rival, &id).await.expect_problem(403, "FORBIDDEN");
    // Within the tenant others see it, and leave it alone.
    let colleague = app.caller(OperatorRole::TenantAdmin, Some("shop"), "ben");
    assert_eq!(colleague.get(&theirs).await.expect(200).body["state"], "open");
    colleague.delete(&theirs).await.expect_problem(403, "FORBIDDEN");
    for (role, tenant) in [(OperatorRole::TenantUser, Some("shop")), (OperatorRole::Auditor, None)]
    {
        app.caller(role, tenant, "ana").get(&theirs).await.expect_problem(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn one_person_asks_once_for_the_same_thing() {
    let app = shop().await;
    let id = asked(&app, "dine").await;
    let second = admin(&app).post(PATH, wish("dine", &json!({}))).await;
    let second = second.expect_problem(409, "REQUEST_OPEN");
    assert!(second.body["detail"].as_str().unwrap().contains(&id), "{:#}", second.body);
    // Somebody else may, and for another key too; the same call again is answered again.
    let colleague = app.caller(OperatorRole::TenantAdmin, Some("shop"), "ben");
    colleague.post(PATH, wish("dine", &json!({}))).await.expect(201);
    let key = [("idempotency-key", "once")];
    let ana = admin(&app);
    let send = || ana.send(Method::POST, PATH, Some(wish("pay", &json!({}))), &key);
    let first = send().await.expect(201).body;
    assert_eq!(send().await.expect(201).body, first);
    // What has run out by the clock is in nobody's way.
    app.advance(days(1));
    let later = json!({"expires_at": "2026-03-09T12:00:00Z"});
    admin(&app).post(PATH, wish("dine", &later)).await.expect(201);
    assert_eq!(app.events("event=entitlement.override.request_expired").await.len(), 1);
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_open_requests() {
    let app = shop().await;
    let by = |number: u32| {
        let admin = app.caller(OperatorRole::TenantAdmin, Some("shop"), &format!("ana-{number}"));
        async move { admin.post(PATH, wish("dine", &json!({}))).await }
    };
    for number in 0..100 {
        by(number).await.expect(201);
    }
    by(100).await.expect_problem(409, "TOO_MANY_REQUESTS");
    let open = support(&app).get(&format!("{PATH}?limit=1")).await.body["items"][0]["id"].clone();
    decline(&support(&app), open.as_str().unwrap()).await.expect(200);
    by(100).await.expect(201);
}

#[tokio::test]
async fn every_fault_of_a_request_is_answered_at_once() {
    let app = shop().await;
    let body = json!({"key": 7, "enabled": "yes", "expires_at": "soon", "reason": " x "});
    let named = |reply: Reply| {
        let fields = reply.expect_problem(422, "INVALID_VALUE").body["fields"].clone();
        fields.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let reply = admin(&app).post(PATH, body.clone()).await;
    assert_eq!(named(reply), ["enabled", "expires_at", "key", "reason"]);
    let reply = support(&app).post(PATH, body).await;
    assert_eq!(named(reply), ["enabled", "expires_at", "key", "reason", "tenant"]);
    for (key, more, code, field) in [
        ("dinne", json!({}), "UNKNOWN_KEY", "key"),
        ("branches", json!({}), "INVALID_VALUE", "value"),
        ("dine", json!({"expires_at": "2026-03-01T12:00:00Z"}), "INVALID_VALUE", "expires_at"),
        ("dine", json!({"expires_at": "2028-03-01T12:00:00Z"}), "INVALID_VALUE", "expires_at"),
    ] {
        let reply = admin(&app).post(PATH, wish(key, &more)).await.expect_problem(422, code);
        assert!(reply.body["fields"].get(field).is_some(), "{:#}", reply.body);
    }
    let id = asked(&app, "dine").await;
    let bad = json!({"expires_at": "then", "comment": "x"});
    assert_eq!(named(approve(&support(&app), &id, bad).await), ["comment", "expires_at"]);
    let path = format!("/api/v1/admin/requests/{id}/decline");
    assert_eq!(named(support(&app).post(&path, json!({})).await), ["reason"]);
}

#[tokio::test]
async fn an_approval_passes_the_checks_of_its_own_moment() {
    let app = shop().await;
    let id = asked(&app, "dine").await;
    let past = json!({"expires_at": "2026-03-01T11:00:00Z"});
    let reply = approve(&support(&app), &id, past).await.expect_problem(422, "INVALID_VALUE");
    assert!(reply.body["fields"].get("expires_at").is_some());
    let far = json!({"expires_at": "2028-01-01T00:00:00Z"});
    approve(&support(&app), &id, far).await.expect_problem(422, "INVALID_VALUE");
    // The catalog may lose the key while it is only asked for.
    let gone = asked(&app, "multi_branch").await;
    let lines = RETAIL.lines().map(|line| line.replace("multi_branch", "many_branches"));
    let catalog = lines.collect::<Vec<_>>().join("\n");
    app.put_catalog("", catalog).await.expect(200);
    approve(&support(&app), &gone, json!({})).await.expect_problem(422, "UNKNOWN_KEY");
    approve(&support(&app), &id, json!({})).await.expect(200);
}

#[tokio::test]
async fn what_nobody_decides_runs_out_at_its_instant_and_is_recorded_once() {
    let policy = Policy { request_lifetime: Span::hours(2), ..Policy::default() };
    let app = App::given(Given { policy, ..Given::default() }).await;
    app.apply_catalog(RETAIL).await;
    app.tenant("shop", json!({})).await;
    let id = asked(&app, "dine").await;
    let path = format!("{PATH}/{id}");
    let day = Duration::from_secs(86_400);
    let next = app.service.until_next_expiry(day).await.unwrap();
    assert_eq!(next, Duration::from_secs(7200), "the worker wakes for it");
    app.advance(Duration::from_secs(7200) - Duration::from_micros(1));
    assert_eq!(admin(&app).get(&path).await.body["state"], "open");
    app.advance(Duration::from_micros(1));
    // No worker has run.
    assert_eq!(admin(&app).get(&path).await.body["state"], "expired");
    let expired = support(&app).get(&format!("{PATH}?state=expired")).await.body;
    assert_eq!(column(&expired, "id"), [json!(id)]);
    approve(&support(&app), &id, json!({})).await.expect_problem(409, "REQUEST_CLOSED");
    for expected in [1, 0] {
        let run = app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body;
        assert_eq!(run, json!({"expired": expected, "failed": 0, "held": false}));
    }
    assert_eq!(names(&app).await, ["requested", "request_expired"]);
    assert_eq!(admin(&app).get(&path).await.body["decided_by"], Value::Null);
}

#[tokio::test]
async fn a_tenants_admin_is_offered_to_ask_where_an_override_would_help() {
    let app = shop().await;
    app.tenant("direct", json!({"billing": "direct"})).await;
    app.grant("direct", "hr", json!({"state": "disabled"})).await.expect(201);
    app.grant("shop", "ecom", json!({"state": "disabled"})).await.expect(201);
    let body = json!({"tenant": "shop", "key": "zf", "enabled": false,
                      "expires_at": "2026-03-02T12:00:00Z", "reason": "Misuse"});
    support(&app).post("/api/v1/admin/overrides", body).await.expect(201);
    app.tenant("late", json!({})).await;
    let kinds = |remedies: &Value| -> Vec<String> {
        let kinds = remedies.as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap());
        kinds.map(str::to_owned).collect()
    };
    for (tenant, question, expected) in [
        ("shop", json!({"module": "accounting"}), &["upgrade_plan", "request_access"][..]),
        ("shop", json!({"features": ["multi_branch"]}), &["upgrade_plan", "request_access"]),
        ("shop", json!({"module": "ecom"}), &["contact_admin", "request_access"]),
        ("direct", json!({"module": "pay"}), &["contact_admin", "request_access"]),
        ("direct", json!({"module": "hr"}), &["contact_admin", "request_access"]),
        // An override is there already, or none would help.
        ("shop", json!({"module": "zf"}), &["contact_admin"]),
        ("late", json!({"module": "retail"}), &["upgrade_plan"]),
        ("shop", json!({"module": "retail"}), &[]),
    ] {
        let admin = app.caller(OperatorRole::TenantAdmin, Some(tenant), "ana");
        let single = admin.post("/api/v1/check", question.clone()).await.expect(200).body;
        assert_eq!(kinds(&single["remedies"]), expected, "{tenant} {question}");
        let batch = json!({"checks": [question.clone()]});
        let batch = admin.post("/api/v1/check/batch", batch).await.expect(200).body;
        assert_eq!(batch["results"][0]["decision"]["remedies"], single["remedies"]);
        // Others can't ask for it.
        for (role, tenant) in
            [(OperatorRole::TenantUser, Some(tenant)), (OperatorRole::Service, Some(tenant))]
        {
            let other = app.caller(role, tenant, "ana");
            let other = other.post("/api/v1/check", question.clone()).await.expect(200).body;
            assert!(!kinds(&other["remedies"]).contains(&"request_access".to_owned()));
        }
    }
}
