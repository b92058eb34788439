//! Tiers: users' places on plans for users, in a tenant and outside of all.

use std::{collections::BTreeSet, time::Duration};

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::{
    given::{day, days, limits, shown},
    harness::{App, Reply},
};

const CATALOG: &str = "
modules:
  retail: {name: Retail}
  lounge: {name: Lounge}
features:
  board: {name: Board, type: boolean}
  clubs: {name: Clubs, type: limit, unit: club, usage: gauge}
  tone: {name: Tone, type: config}
plans:
  starter: {name: Starter, rank: 10, modules: [retail], features: {clubs: 7, tone: plain}}
  member: {name: Member, audience: user, rank: 1, permissions: [CAN_JOIN], features: {clubs: 5}}
  gold: {name: Gold, audience: user, rank: 20, modules: [lounge], permissions: [CAN_JOIN, CAN_LEAD],
         features: {clubs: 9, board: true, tone: warm}}
  platinum: {name: Platinum, audience: user, rank: 30, modules: [lounge], permissions: [CAN_JOIN]}
  more_clubs: {name: More clubs, audience: user, kind: add_on, features: {clubs: 3}}
";

const IN_ACME: &str = "/api/v1/tenants/acme/users/ana/tier";
const ALONE: &str = "/api/v1/users/ana/tier";

async fn acme() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "starter", json!({})).await;
    app
}

impl App {
    async fn tier(&self, path: &str, body: Value) -> Reply {
        self.backend().put(path, body).await
    }

    async fn of_ana(&self, mut question: Value) -> String {
        question["user"] = "ana".into();
        shown(&self.check(question).await)
    }

    async fn payload_of_ana(&self) -> Value {
        let path = "/api/v1/tenants/acme/entitlements?user=ana";
        self.backend().get(path).await.expect(200).body
    }

    async fn told_of_tiers(&self) -> Vec<Value> {
        self.events("event=tier.").await
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_tier_is_set_read_and_taken_away() {
    let app = acme().await;
    app.backend().get(IN_ACME).await.expect_problem(404, "NOT_FOUND");
    app.backend().delete(IN_ACME).await.expect_problem(404, "NOT_FOUND");
    let made = app.tier(IN_ACME, json!({"plan": "member", "change_reason": "joined"})).await;
    let made = made.expect(201);
    assert_eq!(made.header("location"), IN_ACME);
    assert_eq!(made.body["plan"], "member");
    assert_eq!(made.body["plan_version"], 1);
    assert_eq!(made.body["tenant"], "acme");
    assert_eq!(made.body["change_reason"], "joined");
    assert_eq!(made.body["expires_at"], Value::Null);
    assert_eq!(app.backend().get(IN_ACME).await.expect(200).body, made.body);
    app.backend().get(ALONE).await.expect_problem(404, "NOT_FOUND");

    app.advance(days(1));
    let other = app.tier(IN_ACME, json!({"plan": "gold", "expires_at": day(30)})).await.expect(200);
    assert_ne!(other.body["id"], made.body["id"]);
    assert_eq!(app.backend().get(IN_ACME).await.expect(200).body, other.body);
    app.backend().delete(IN_ACME).await.expect(204);
    app.backend().get(IN_ACME).await.expect_problem(404, "NOT_FOUND");
    let told = app.told_of_tiers().await;
    assert_eq!(names(&told), ["tier.assigned", "tier.assigned", "tier.removed"]);
    assert_eq!(told[1]["before"]["plan"], "member");
    assert_eq!(told[1]["after"]["plan"], "gold");
    assert_eq!(told[0]["reason"], "joined");
    assert!(told.iter().all(|e| e["tenant"] == "acme" && e["subject"] == "ana"), "{told:#?}");

    // The former rows stay as they were, each ended where the next began.
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    let sql = "SELECT plan, is_over, effective_to - effective_from FROM tiers ORDER BY id";
    let mut rows = conn.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(String, bool, i64)> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, [("member".into(), true, 86_400_000_000), ("gold".into(), true, 0)]);
}

#[tokio::test]
async fn the_same_tier_again_changes_nothing() {
    let app = acme().await;
    let body = json!({"plan": "gold", "expires_at": day(30), "change_reason": "bought"});
    let first = app.tier(IN_ACME, body.clone()).await.expect(201).body;
    app.advance(days(1));
    assert_eq!(app.tier(IN_ACME, body).await.expect(200).body, first);
    assert_eq!(app.told_of_tiers().await.len(), 1);
    // Another end is another tier, and so is a newer version of the plan.
    app.tier(IN_ACME, json!({"plan": "gold"})).await.expect(200);
    app.put_catalog("", CATALOG.replace("clubs: 9", "clubs: 11")).await.expect(200);
    let newer = app.tier(IN_ACME, json!({"plan": "gold"})).await.expect(200).body;
    assert_eq!(newer["plan_version"], 2);
    assert_eq!(app.told_of_tiers().await.len(), 3);
}

#[tokio::test]
async fn a_tier_needs_a_base_plan_for_users_and_every_fault_is_named() {
    let app = acme().await;
    for (body, code, fields) in [
        (json!({}), "INVALID_VALUE", vec!["plan"]),
        (json!({"plan": "starter"}), "INVALID_VALUE", vec!["plan"]),
        (json!({"plan": "more_clubs"}), "INVALID_VALUE", vec!["plan"]),
        (json!({"plan": "golden"}), "UNKNOWN_KEY", vec!["plan"]),
        (json!({"plan": "gold", "expires_at": day(0)}), "INVALID_VALUE", vec!["expires_at"]),
        (
            json!({"plan": 1, "expires_at": "soon", "change_reason": "x"}),
            "INVALID_VALUE",
            vec!["plan", "expires_at", "change_reason"],
        ),
        (
            json!({"plan": "golden", "expires_at": day(0)}),
            "INVALID_VALUE",
            vec!["plan", "expires_at"],
        ),
    ] {
        let refused = app.tier(IN_ACME, body).await.expect_problem(422, code).body;
        let named: BTreeSet<_> = refused["fields"].as_object().unwrap().keys().collect();
        assert!(named.into_iter().eq(BTreeSet::from_iter(fields)), "{refused:#}");
    }
    let unknown = app.tier(IN_ACME, json!({"plan": "golden"})).await.body;
    assert!(unknown.to_string().contains("“gold”"), "{unknown:#}");
    let nowhere = "/api/v1/tenants/nobody/users/ana/tier";
    app.tier(nowhere, json!({"plan": "gold"})).await.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(app.told_of_tiers().await.len(), 0);
}

#[tokio::test]
async fn tiers_compare_by_rank_and_a_refusal_names_those_that_would_pass() {
    let app = acme().await;
    let at_least = |tier: &str| json!({"tenant": "acme", "tier_at_least": tier});
    let refused = "refused permission_denied PERMISSION_DENIED 403";
    assert_eq!(app.of_ana(at_least("member")).await, refused);
    app.tier(IN_ACME, json!({"plan": "gold"})).await.expect(201);
    assert_eq!(app.of_ana(at_least("member")).await, "allowed tier");
    assert_eq!(app.of_ana(at_least("gold")).await, "allowed tier");
    assert_eq!(app.of_ana(at_least("platinum")).await, refused);
    app.tier(IN_ACME, json!({"plan": "member"})).await.expect(200);
    let asked = json!({"tenant": "acme", "user": "ana", "tier_at_least": "gold"});
    let decision = app.check(asked).await;
    assert_eq!(shown(&decision), refused);
    let remedies = decision["remedies"].as_array().unwrap();
    let upgrade = remedies.iter().find(|remedy| remedy["kind"] == "upgrade_plan").unwrap();
    assert_eq!(upgrade["plans"], json!(["gold", "platinum"]));
}

#[tokio::test]
async fn a_tier_gives_permissions_features_and_limits_like_one_plan_more() {
    let app = acme().await;
    let may = |permission: &str| json!({"tenant": "acme", "permission": permission});
    let refused = "refused permission_denied PERMISSION_DENIED 403";
    assert_eq!(app.of_ana(may("CAN_JOIN")).await, refused);
    let before = app.payload_of_ana().await;
    assert_eq!(before["tier"], Value::Null);
    assert_eq!(limits(&before), json!({"clubs": 7}));

    // The largest limit and the highest rank count: both are the tenant's.
    app.tier(IN_ACME, json!({"plan": "member"})).await.expect(201);
    assert_eq!(app.of_ana(may("CAN_JOIN")).await, "allowed tier");
    assert_eq!(app.of_ana(may("CAN_LEAD")).await, refused);
    let payload = app.payload_of_ana().await;
    assert_eq!(limits(&payload), json!({"clubs": 7}));
    assert_eq!(payload["features"]["tone"]["value"], "plain");
    assert_eq!(payload["tier"]["key"], "member");
    assert_eq!(payload["tier"]["rank"], 1);

    // Now both are the tier's, and its modules and features add to the tenant's.
    app.tier(IN_ACME, json!({"plan": "gold", "expires_at": day(9)})).await.expect(200);
    assert_eq!(app.of_ana(may("CAN_LEAD")).await, "allowed tier");
    assert_eq!(app.of_ana(json!({"tenant": "acme", "module": "lounge"})).await, "allowed tier");
    assert_eq!(app.of_ana(json!({"tenant": "acme", "module": "retail"})).await, "allowed plan");
    assert_eq!(app.of_ana(json!({"tenant": "acme", "features": ["board"]})).await, "allowed tier");
    assert_eq!(app.module("acme", "lounge").await, "refused plan_limit MODULE_NOT_ENTITLED 403");
    let payload = app.payload_of_ana().await;
    assert_eq!(limits(&payload), json!({"clubs": 9}));
    assert_eq!(payload["features"]["tone"]["value"], "warm");
    assert_eq!(payload["tier"]["expires_at"], day(9));
    let held: Vec<_> = payload["permissions"].as_array().unwrap().iter().collect();
    assert!(held.iter().any(|p| p["name"] == "CAN_LEAD" && p["context"].is_null()), "{held:?}");
    // Others of the tenant have none of it.
    assert_eq!(limits(&app.entitlements("acme").await), json!({"clubs": 7}));
}

#[tokio::test]
async fn in_a_tenant_its_own_tier_wins_over_the_one_without_a_tenant() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    app.assign("other", "starter", json!({})).await;
    app.tier(ALONE, json!({"plan": "gold"})).await.expect(201);
    let leads = |tenant: &str| json!({"tenant": tenant, "permission": "CAN_LEAD"});
    let refused = "refused permission_denied PERMISSION_DENIED 403";
    assert_eq!(app.of_ana(leads("acme")).await, "allowed tier");
    app.tier(IN_ACME, json!({"plan": "member", "expires_at": day(5)})).await.expect(201);
    assert_eq!(app.of_ana(leads("acme")).await, refused);
    assert_eq!(app.payload_of_ana().await["tier"]["key"], "member");
    assert_eq!(app.of_ana(leads("other")).await, "allowed tier");
    // Where it ends the other one counts again, at that instant.
    app.advance(days(5) - Duration::from_micros(1));
    assert_eq!(app.of_ana(leads("acme")).await, refused);
    app.advance(Duration::from_micros(1));
    assert_eq!(app.of_ana(leads("acme")).await, "allowed tier");
    assert_eq!(app.payload_of_ana().await["tier"]["key"], "gold");
    app.backend().delete(ALONE).await.expect(204);
    assert_eq!(app.of_ana(leads("acme")).await, refused);
    assert_eq!(app.of_ana(leads("other")).await, refused);
}

#[tokio::test]
async fn a_user_without_a_tenant_has_what_the_own_tier_gives() {
    let app = acme().await;
    let asks = json!({"module": "lounge"});
    let refused = app.check(json!({"user": "ana", "module": "lounge"})).await;
    assert_eq!(refused["reason"], "plan_limit");
    app.tier(ALONE, json!({"plan": "gold", "expires_at": day(3)})).await.expect(201);
    assert_eq!(app.of_ana(asks.clone()).await, "allowed tier");
    assert_eq!(app.of_ana(json!({"permission": "CAN_LEAD"})).await, "allowed tier");
    let path = "/api/v1/users/ana/entitlements";
    let payload = app.backend().get(path).await.expect(200).body;
    assert_eq!(payload["tier"]["key"], "gold");
    assert_eq!(limits(&payload), json!({"clubs": 9}));
    assert_eq!(payload["features"]["board"]["enabled"], true);
    app.advance(days(3));
    assert!(app.of_ana(asks).await.starts_with("refused plan_limit"));
    assert_eq!(app.backend().get(path).await.expect(200).body["tier"], Value::Null);
}

#[tokio::test]
async fn the_end_of_a_tier_is_honoured_at_once_and_recorded_once() {
    let app = acme().await;
    let run = "/api/v1/admin/expiry/run";
    let until = |plan: &str| json!({"plan": plan, "expires_at": day(2)});
    app.tier(IN_ACME, until("gold")).await.expect(201);
    app.tier(ALONE, until("gold")).await.expect(201);
    app.tier("/api/v1/users/bob/tier", until("member")).await.expect(201);
    app.advance(days(2) - Duration::from_micros(1));
    assert_eq!(app.root().post(run, json!({})).await.expect(200).body["expired"], 0);
    let asks = json!({"tenant": "acme", "tier_at_least": "gold"});
    assert_eq!(app.of_ana(asks.clone()).await, "allowed tier");
    app.advance(Duration::from_micros(1));
    assert!(app.of_ana(asks).await.starts_with("refused permission_denied"));
    app.backend().get(IN_ACME).await.expect_problem(404, "NOT_FOUND");
    app.backend().delete(IN_ACME).await.expect_problem(404, "NOT_FOUND");
    // Whoever sets the next one records the end of the former, and the worker that of the others.
    app.tier("/api/v1/users/bob/tier", json!({"plan": "gold"})).await.expect(201);
    assert_eq!(app.root().post(run, json!({})).await.expect(200).body["expired"], 2);
    assert_eq!(app.root().post(run, json!({})).await.expect(200).body["expired"], 0);
    let told = app.told_of_tiers().await;
    let ends: Vec<_> = told.iter().filter(|e| e["event"] == "tier.expired").collect();
    assert_eq!(ends.len(), 3, "{told:#?}");
    assert_eq!(ends.iter().filter(|event| event["tenant"] == "acme").count(), 1);
    assert!(ends.iter().all(|event| event["before"]["expires_at"] == day(2)));
}

#[tokio::test]
async fn a_plan_that_is_somebodys_tier_can_not_go_away() {
    let app = acme().await;
    app.tier(ALONE, json!({"plan": "platinum", "expires_at": day(2)})).await.expect(201);
    let without: String = CATALOG
        .lines()
        .filter(|line| !line.contains("platinum"))
        .map(|l| format!("{l}\n"))
        .collect();
    let refused = app.put_catalog("", without.clone()).await.expect_problem(422, "KEY_IN_USE");
    let message = refused.body["fields"]["plans.platinum"].to_string();
    assert!(message.contains("1 tier on “platinum” version 1;"), "{message}");
    app.backend().delete(ALONE).await.expect(204);
    app.put_catalog("", without).await.expect(200);
}

#[tokio::test]
async fn an_admin_of_a_tenant_reads_its_tiers_and_sets_none() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    app.tier(IN_ACME, json!({"plan": "gold"})).await.expect(201);
    let admin = app.caller(OperatorRole::TenantAdmin, Some("acme"), "ada");
    admin.get(IN_ACME).await.expect(200);
    admin.put(IN_ACME, json!({"plan": "gold"})).await.expect_problem(403, "FORBIDDEN");
    let bound = app.caller(OperatorRole::Service, Some("acme"), "backend");
    bound.put(IN_ACME, json!({"plan": "member"})).await.expect(200);
    let theirs = "/api/v1/tenants/other/users/ana/tier";
    bound.put(theirs, json!({"plan": "gold"})).await.expect_problem(404, "TENANT_NOT_FOUND");
    admin.get(theirs).await.expect_problem(404, "TENANT_NOT_FOUND");
    for caller in [&admin, &bound] {
        caller.get(ALONE).await.expect_problem(403, "FORBIDDEN");
    }
    bound.put(ALONE, json!({"plan": "gold"})).await.expect_problem(403, "FORBIDDEN");
}
