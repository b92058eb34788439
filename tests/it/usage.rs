//! Usage of limits: recorded, consumed, counted by period, shown.

use entitled::{domain::callers::OperatorRole, engine::Gating};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day, days, shown},
    harness::{App, Given, Reply},
};

pub const CATALOG: &str = "
modules:
  reports: {name: Reports}
  billing: {name: Billing, access: always_on, available_when_blocked: true}
features:
  calls: {name: Calls, type: limit, unit: call, usage: counter, reset: month}
  soft: {name: Soft, type: limit, unit: call, usage: counter, reset: month, on_limit: warn}
  branches: {name: Branches, type: limit, unit: branch, usage: gauge}
  uploads: {name: Uploads, type: limit, unit: upload, usage: counter, reset: day, per: user}
  invoices: {name: Invoices, type: limit, unit: invoice, usage: gauge, module: billing}
  ai: {name: AI, type: boolean}
plans:
  small: {name: Small, rank: 10, modules: [reports],
          features: {calls: 10, soft: 5, branches: 5, uploads: 3, invoices: 9}}
  large: {name: Large, rank: 20, modules: [reports],
          features: {ai: true, calls: 100, soft: 50, branches: 50, uploads: 30, invoices: 90}}
  endless: {name: Endless, rank: 30, modules: '*', features: {'*': true}}
  member: {name: Member, audience: user, rank: 1, features: {uploads: 5}}
roles:
  root: {context: platform, bypass: true}
guards:
  branches.create: {module: reports, limit: {feature: branches}}
";

/// Acme on the small plan.
pub async fn acme() -> App {
    acme_in(Given::default()).await
}

pub async fn acme_in(given: Given) -> App {
    let app = App::given(given).await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "small", json!({})).await;
    app
}

impl App {
    /// Records something of acme's.
    pub async fn record(&self, body: Value) -> Reply {
        let body = with_tenant(body);
        self.backend().post("/api/v1/usage", body).await
    }

    /// Consumes something of acme's: `allowed plan, 3 taken, 7 left`.
    pub async fn consume(&self, body: Value) -> String {
        let body = with_tenant(body);
        let answer = self.backend().post("/api/v1/usage/consume", body).await.expect(200).body;
        taken(&answer)
    }

    /// What a list of acme's usage shows, each as `calls 3 of 10`.
    pub async fn used(&self, query: &str) -> Vec<String> {
        let path = format!("/api/v1/tenants/acme/usage{query}");
        let page = self.backend().get(&path).await.expect(200).body;
        let shown = |item: &Value| {
            let of = match (&item["present"], &item["limit"]) {
                (Value::Bool(false), _) => String::new(),
                (_, Value::Null) => " of all".into(),
                (_, limit) => format!(" of {limit}"),
            };
            let user = item["user"].as_str().map(|user| format!("{user}: ")).unwrap_or_default();
            format!("{user}{} {}{of}", item["feature"].as_str().unwrap(), item["used"])
        };
        page["items"].as_array().unwrap().iter().map(shown).collect()
    }
}

fn with_tenant(mut body: Value) -> Value {
    body.as_object_mut().unwrap().entry("tenant").or_insert("acme".into());
    body
}

fn taken(answer: &Value) -> String {
    let remaining = &answer["limit"]["remaining"];
    format!("{}, {} taken, {remaining} left", shown(answer), answer["taken"])
}

#[tokio::test]
async fn a_gauge_goes_up_and_down_and_is_set() {
    let app = acme().await;
    let first = app.record(json!({"feature": "branches", "delta": 2})).await.expect(200).body;
    assert_eq!(
        first,
        json!({
            "feature": "branches", "user": null, "period_start": day(0),
            "period_end": "2026-04-01T12:00:00Z", "present": true, "used": 2, "peak": 2, "over": 0,
            "limit": 5, "unlimited": false, "remaining": 3, "resets_at": null, "reserved": 0,
            "percent": 40
        })
    );
    app.record(json!({"feature": "branches", "delta": -1})).await.expect(200);
    let set = app.record(json!({"feature": "branches", "set": 4})).await.expect(200).body;
    assert_eq!((&set["used"], &set["peak"]), (&json!(4), &json!(4)));
    let limit = app.check(json!({"tenant": "acme", "usage": {"feature": "branches"}})).await;
    assert_eq!((&limit["limit"]["used"], &limit["allowed"]), (&json!(4), &json!(true)));
    assert_eq!(app.consume(json!({"feature": "branches"})).await, "allowed plan, 1 taken, 0 left");
    let full = app.consume(json!({"feature": "branches"})).await;
    assert_eq!(full, "refused limit_reached LIMIT_REACHED 403, 0 taken, 0 left");
    // What the application did anyway is recorded without judging.
    let over = app.record(json!({"feature": "branches", "delta": 3})).await.expect(200).body;
    let seen = ["used", "over", "remaining", "percent"].map(|field| over[field].clone());
    assert_eq!(seen, [8, 3, 0, 160]);
    // It is set without an event where that changes nothing.
    app.record(json!({"feature": "branches", "set": 8})).await.expect(200);
    let set = app.events("event=usage.set").await;
    assert_eq!(set.len(), 1);
    assert_eq!((&set[0]["before"]["used"], &set[0]["after"]["used"]), (&json!(1), &json!(4)));
}

#[tokio::test]
async fn every_fault_of_a_record_is_named_at_once() {
    let app = acme().await;
    let faults = async |body: Value| {
        let reply = app.record(body).await.expect(422);
        let fields = reply.body["fields"].as_object().unwrap();
        (reply.body["code"].clone(), fields.keys().cloned().collect::<Vec<_>>().join(" "))
    };
    let cases = [
        (json!({}), "INVALID_VALUE", "delta feature"),
        (json!({"feature": "branches"}), "INVALID_VALUE", "delta"),
        (json!({"feature": "branches", "delta": 1, "set": 1}), "INVALID_VALUE", "delta"),
        (json!({"feature": "branches", "delta": 0}), "INVALID_VALUE", "delta"),
        (json!({"feature": "branches", "delta": 1.5}), "INVALID_VALUE", "delta"),
        (json!({"feature": "a b", "set": -1}), "INVALID_VALUE", "feature set"),
        (json!({"feature": "branches", "set": 1_u64 << 53}), "INVALID_VALUE", "set"),
        (json!({"feature": "branchs", "set": 1}), "UNKNOWN_KEY", "feature"),
        (json!({"feature": "ai", "set": 1}), "INVALID_VALUE", "feature"),
        (json!({"feature": "uploads", "set": 1}), "INVALID_VALUE", "user"),
        (json!({"feature": "branches", "delta": -1}), "INVALID_VALUE", "delta"),
        (json!({"feature": "branches", "sets": 1}), "INVALID_VALUE", "sets"),
    ];
    for (body, code, fields) in cases {
        let text = body.to_string();
        assert_eq!(faults(body).await, (code.into(), fields.to_owned()), "{text}");
    }
    app.record(json!({"feature": "branches", "delta": 3})).await.expect(200);
    let less = app.record(json!({"feature": "branches", "delta": -4})).await.expect(422).body;
    assert!(less["detail"].as_str().unwrap().contains("3 used now"), "{less:#}");
    let most = json!({"feature": "branches", "delta": (1_u64 << 53) - 1});
    app.record(most).await.expect_problem(422, "INVALID_VALUE");
    app.record(json!({"tenant": "none", "feature": "branches", "set": 1}))
        .await
        .expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(app.used("").await, ["branches 3 of 5"]);
}

#[tokio::test]
async fn a_counter_starts_again_with_each_month_of_the_subscription() {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.clock.set("2027-01-31T10:00:00Z".parse().unwrap());
    app.tenant("acme", json!({})).await;
    app.assign("acme", "small", json!({})).await;
    let take =
        async |count: u64| app.consume(json!({"feature": "calls", "requested": count})).await;
    assert_eq!(take(10).await, "allowed plan, 10 taken, 0 left");
    let question = json!({"tenant": "acme", "usage": {"feature": "calls"}});
    let full = app.check(question.clone()).await;
    assert_eq!(full["limit"]["resets_at"], "2027-02-28T10:00:00Z");
    let wait = json!({"kind": "wait_until", "at": "2027-02-28T10:00:00Z"});
    assert!(full["remedies"].as_array().unwrap().contains(&wait), "{full:#}");
    app.clock.set("2027-02-28T09:59:59Z".parse().unwrap());
    assert_eq!(take(1).await, "refused limit_reached LIMIT_REACHED 403, 0 taken, 0 left");
    app.clock.set("2027-02-28T10:00:00Z".parse().unwrap());
    assert_eq!(take(4).await, "allowed plan, 4 taken, 6 left");
    // Another base plan doesn't begin a new period, nor does it give the used ones back.
    app.clock.set("2027-03-15T00:00:00Z".parse().unwrap());
    app.assign("acme", "large", json!({})).await;
    assert_eq!(take(6).await, "allowed plan, 6 taken, 90 left");
    assert_eq!(app.check(question).await["limit"]["resets_at"], "2027-03-31T10:00:00Z");
    app.clock.set("2027-03-31T10:00:00Z".parse().unwrap());
    assert_eq!(take(1).await, "allowed plan, 1 taken, 99 left");
    let path = "/api/v1/tenants/acme/usage?feature=calls";
    let page = app.backend().get(path).await.expect(200).body;
    assert_eq!(column(&page, "used"), [10, 10, 1]);
    assert_eq!(column(&page, "peak"), [10, 10, 1]);
    assert_eq!(column(&page, "limit"), [json!(null), json!(null), json!(100)]);
    assert_eq!(
        column(&page, "period_end"),
        ["2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"]
    );
}

#[tokio::test]
async fn past_the_limit_it_is_warned_or_nothing_stops_it() {
    let app = acme().await;
    let soft = async |count: u64| {
        let body = json!({"tenant": "acme", "feature": "soft", "requested": count});
        app.backend().post("/api/v1/usage/consume", body).await.expect(200).body
    };
    assert_eq!(taken(&soft(5).await), "allowed plan, 5 taken, 0 left");
    let over = soft(3).await;
    assert_eq!(taken(&over), "allowed plan, 3 taken, 0 left");
    assert_eq!(over["limit"]["used"], 8);
    assert_eq!(over["data"]["currentCount"], 8);
    assert!(over["message"].as_str().unwrap().contains("past the limit"), "{over:#}");
    let page = app.backend().get("/api/v1/tenants/acme/usage").await.body;
    assert_eq!((&page["items"][0]["over"], &page["items"][0]["remaining"]), (&json!(3), &json!(0)));

    app.assign("acme", "endless", json!({})).await;
    let endless = app.consume(json!({"feature": "calls", "requested": 5_000})).await;
    assert_eq!(endless, "allowed plan, 5000 taken, null left");
    assert_eq!(app.used("").await, ["calls 5000 of all", "soft 8 of all"]);
}

#[tokio::test]
async fn a_limit_per_user_counts_each_of_them_alone() {
    let app = acme().await;
    let upload = async |user: &str, count: u64| {
        app.consume(json!({"user": user, "feature": "uploads", "requested": count})).await
    };
    assert_eq!(upload("ana", 3).await, "allowed plan, 3 taken, 0 left");
    assert_eq!(upload("eve", 1).await, "allowed plan, 1 taken, 2 left");
    assert!(upload("ana", 1).await.starts_with("refused limit_reached"));
    app.root().put("/api/v1/tenants/acme/users/ana/tier", json!({"plan": "member"})).await;
    assert_eq!(upload("ana", 2).await, "allowed tier, 2 taken, 0 left");
    app.record(json!({"user": "ana", "feature": "branches", "delta": 1})).await.expect(200);
    let all = ["branches 1 of 5", "ana: uploads 5 of 5", "eve: uploads 1 of 3"];
    assert_eq!(app.used("").await, all);
    assert_eq!(app.used("?user=eve").await, all[2..]);
    assert_eq!(app.used("?feature=branches").await, all[..1]);
    // Page by page the same.
    let mut seen = Vec::new();
    let mut path = "/api/v1/tenants/acme/usage?limit=1".to_owned();
    loop {
        let page = app.backend().get(&path).await.expect(200).body;
        seen.extend(column(&page, "used"));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/tenants/acme/usage?limit=1&cursor={next}");
    }
    assert_eq!(seen, [1, 5, 1]);

    // Without a tenant: the tier gives, and the period begins with it.
    let alone = json!({"user": "zoe", "feature": "uploads", "requested": 5});
    let post = async || app.backend().post("/api/v1/usage/consume", alone.clone()).await.body;
    assert_eq!(post().await["allowed"], false);
    app.root().put("/api/v1/users/zoe/tier", json!({"plan": "member"})).await.expect(201);
    assert_eq!(taken(&post().await), "allowed tier, 5 taken, 0 left");
    let theirs = app.backend().get("/api/v1/users/zoe/usage").await.expect(200).body;
    assert_eq!(
        (column(&theirs, "used"), column(&theirs, "limit")),
        (vec![json!(5)], vec![json!(5)])
    );
    assert_eq!(app.used("").await, all, "no matter of any tenant");
}

#[tokio::test]
async fn what_else_refuses_takes_nothing_and_what_lets_everything_pass_takes_all_the_same() {
    let app = acme().await;
    let calls = json!({"feature": "calls", "requested": 4});
    let needs = json!({"feature": "calls", "features": ["ai"]});
    assert!(app.consume(needs).await.starts_with("refused plan_limit FEATURE_NOT_ENTITLED"));
    app.change_subscription("acme", json!({"status": "suspended"})).await;
    assert!(app.consume(calls.clone()).await.starts_with("refused suspended TENANT_BLOCKED"));
    assert_eq!(app.used("").await, [] as [&str; 0]);
    app.change_subscription("acme", json!({"status": "active"})).await;
    assert_eq!(app.consume(calls.clone()).await, "allowed plan, 4 taken, 6 left");
    app.change_tenant("acme", json!({"status": "suspended", "reason": "for a test"})).await;
    assert!(app.consume(calls).await.starts_with("refused suspended TENANT_BLOCKED"));
    // It is recorded all the same: it happened.
    app.record(json!({"feature": "calls", "delta": 1})).await.expect(200);
    assert_eq!(app.used("").await, ["calls 5 of 10"]);

    app.tenant("demo", json!({"demo": true})).await;
    let demo = json!({"tenant": "demo", "feature": "calls", "requested": 2_000});
    assert_eq!(app.consume(demo).await, "allowed demo, 2000 taken, 0 left");

    // A guard says which limit, and what else is needed.
    app.tenant("other", json!({})).await;
    app.assign("other", "small", json!({})).await;
    let guard = json!({"tenant": "other", "guard": "branches.create", "requested": 2});
    assert_eq!(app.consume(guard).await, "allowed plan, 2 taken, 3 left");
    let none = app.backend().post("/api/v1/usage/consume", json!({"tenant": "other"})).await;
    assert!(none.expect(422).body["fields"]["feature"].is_array());
    for (body, field) in [
        (json!({"feature": "callz"}), "feature"),
        (json!({"feature": "ai"}), "feature"),
        (json!({"feature": "calls", "requested": 0}), "requested"),
        (json!({"feature": "uploads"}), "user"),
        (json!({"guard": "x"}), "guard"),
        (json!({"feature": "calls", "track": true}), "track"),
    ] {
        let reply = app.backend().post("/api/v1/usage/consume", with_tenant(body.clone())).await;
        let fields = reply.expect(422).body["fields"].clone();
        assert!(fields.get(field).is_some(), "{body}: {fields}");
    }
}

#[tokio::test]
async fn where_the_rollout_does_not_enforce_it_takes_without_refusing() {
    let app = acme_in(Given { gating: Gating::OffByEnvironment, ..Given::default() }).await;
    let take = json!({"tenant": "acme", "feature": "calls", "requested": 8});
    let post = async || app.backend().post("/api/v1/usage/consume", take.clone()).await.body;
    assert_eq!(shown(&post().await), "allowed plan");
    let over = post().await;
    assert_eq!(shown(&over), "allowed gating_disabled");
    assert_eq!((&over["would_reason"], &over["taken"]), (&json!("limit_reached"), &json!(8)));
    assert_eq!(over["limit"]["used"], 16);
    assert_eq!(app.used("").await, ["calls 16 of 10"]);
    let page = app.backend().get("/api/v1/tenants/acme/usage").await.body;
    assert_eq!(page["items"][0]["over"], 6);
}

#[tokio::test]
async fn platform_staff_take_past_every_limit_and_that_is_written_down() {
    let app = acme().await;
    let role = json!({"user": "boss", "role": "root"});
    app.root().post("/api/v1/admin/role-assignments", role).await.expect(201);
    let body = json!({"user": "boss", "mode": "platform", "feature": "calls", "requested": 50});
    assert_eq!(app.consume(body).await, "allowed super_admin_bypass, 50 taken, null left");
    assert_eq!(app.used("").await, ["calls 50 of 10"]);
    let events = app.events("event=entitlement.super_admin_bypass").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["after"]["usage"], json!({"feature": "calls", "requested": 50}));
}

#[tokio::test]
async fn the_same_request_sent_twice_takes_once_and_a_refused_one_is_tried_again() {
    let app = acme().await;
    let backend = app.backend();
    let by_header = async |key: &str, body: Value| {
        let header = [("Idempotency-Key", key)];
        backend.send(Method::POST, "/api/v1/usage/consume", Some(body), &header).await
    };
    let body = |count: u64| json!({"tenant": "acme", "feature": "calls", "requested": count});
    let first = by_header("k1", body(7)).await.expect(200).body;
    assert_eq!(by_header("k1", body(7)).await.expect(200).body, first);
    assert_eq!(app.used("").await, ["calls 7 of 10"]);
    by_header("k1", body(8)).await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    // In the body it is the same key.
    let mut same = body(7);
    same["idempotency_key"] = "k1".into();
    assert_eq!(by_header("k1", same.clone()).await.expect(200).body, first);
    assert_eq!(backend.post("/api/v1/usage/consume", same.clone()).await.expect(200).body, first);
    let differing = by_header("k2", same.clone()).await.expect(422).body;
    assert!(differing["fields"]["idempotency_key"].is_array(), "{differing:#}");
    // Keys are each caller's own.
    app.root().post("/api/v1/usage/consume", same).await.expect(200);
    assert_eq!(app.used("").await, ["calls 7 of 10"], "there was no room for it");
    assert_eq!(by_header("k3", body(4)).await.body["taken"], 0);
    app.record(json!({"feature": "calls", "delta": -1})).await.expect(200);
    assert_eq!(by_header("k3", body(4)).await.body["taken"], 4);
    assert_eq!(by_header("k3", body(4)).await.body["taken"], 4);
    assert_eq!(app.used("").await, ["calls 10 of 10"]);

    let record = json!({"feature": "branches", "delta": 1, "idempotency_key": "r1"});
    let first = app.record(record.clone()).await.expect(200).body;
    assert_eq!(app.record(record).await.expect(200).body, first);
    assert_eq!(app.used("?feature=branches").await, ["branches 1 of 5"]);
}

#[tokio::test]
async fn the_payload_follows_usage_without_a_new_version_or_another_look_at_the_tenant() {
    let app = acme().await;
    let path = "/api/v1/tenants/acme/entitlements";
    let read = async || app.backend().get(path).await.expect(200);
    let before = read().await;
    assert_eq!(before.body["limits"]["calls"]["used"], 0);
    assert_eq!(read().await.header("etag"), before.header("etag"));
    let loads = app.service.cache_stats().loads;
    app.consume(json!({"feature": "calls", "requested": 3})).await;
    let after = read().await;
    let limit = json!({
        "limit": 10, "unlimited": false, "used": 3, "remaining": 7,
        "resets_at": "2026-04-01T12:00:00Z", "enabled": true, "reason": "plan"
    });
    assert_eq!(after.body["limits"]["calls"], limit);
    assert_ne!(after.header("etag"), before.header("etag"));
    assert_eq!(after.body["version"], before.body["version"]);
    assert_eq!(app.service.cache_stats().loads, loads, "the tenant was not read again");
    let known = [("If-None-Match", after.header("etag"))];
    let again = app.backend().send(Method::GET, path, None, &known).await;
    assert_eq!(again.status, 304);
    // What is set aside counts as used, and no 304 outlives it.
    let reserve = json!({"tenant": "acme", "feature": "calls", "ttl_seconds": 60});
    app.backend().post("/api/v1/usage/reserve", reserve).await.expect(200);
    let reserved = read().await;
    assert_eq!(reserved.body["limits"]["calls"]["used"], 4);
    assert_eq!(reserved.body["valid_until"], "2026-03-01T12:01:00Z");
    app.advance(std::time::Duration::from_secs(60));
    assert_eq!(read().await.body["limits"]["calls"]["used"], 3);
    // The same after everything was forgotten.
    app.service.refresh_cache();
    assert_eq!(read().await.body["limits"]["calls"]["used"], 3);
}

#[tokio::test]
async fn a_downgrade_deletes_nothing_and_heals_itself() {
    let app = acme().await;
    app.assign("acme", "large", json!({})).await;
    app.record(json!({"feature": "branches", "set": 20})).await.expect(200);
    app.assign("acme", "small", json!({})).await;
    let limit = async || app.entitlements("acme").await["limits"]["branches"].clone();
    assert_eq!((&limit().await["used"], &limit().await["remaining"]), (&json!(20), &json!(0)));
    assert!(app.consume(json!({"feature": "branches"})).await.starts_with("refused limit_reached"));
    app.record(json!({"feature": "branches", "set": 4})).await.expect(200);
    assert_eq!(limit().await["remaining"], 1);
    assert_eq!(app.consume(json!({"feature": "branches"})).await, "allowed plan, 1 taken, 0 left");
    app.record(json!({"feature": "branches", "set": 20})).await.expect(200);
    app.assign("acme", "large", json!({})).await;
    assert_eq!(limit().await["remaining"], 30);
}

#[tokio::test]
async fn old_periods_are_pruned_and_gauges_have_one_for_each_month() {
    let app = acme().await;
    app.record(json!({"feature": "branches", "set": 3})).await.expect(200);
    app.record(json!({"feature": "calls", "set": 2})).await.expect(200);
    app.clock.set("2026-06-15T00:00:00Z".parse().unwrap());
    let shown =
        ["branches 3", "branches 3", "branches 3", "branches 3 of 5", "calls 2", "calls 0 of 10"];
    assert_eq!(app.used("").await, shown);
    // They are the same once they are stored.
    app.record(json!({"feature": "branches", "delta": 1})).await.expect(200);
    app.record(json!({"feature": "calls", "delta": 1})).await.expect(200);
    let later =
        ["branches 3", "branches 3", "branches 3", "branches 4 of 5", "calls 2", "calls 1 of 10"];
    assert_eq!(app.used("").await, later);
    assert_eq!(
        app.used("?from=2026-04-01T12:00:00Z&to=2026-05-01T12:00:00Z").await,
        ["branches 3"]
    );
    assert_eq!(app.used("?from=2026-06-01T12:00:00Z").await, [later[3], later[5]]);
    let actor = entitled::service::Actor::system("upkeep");
    assert_eq!(app.service.prune_usage(&actor).await.unwrap(), 0);
    app.advance(days(355));
    assert_eq!(app.service.prune_usage(&actor).await.unwrap(), 2, "March: branches and calls");
    assert_eq!(app.service.prune_usage(&actor).await.unwrap(), 0);
}

#[tokio::test]
async fn a_tenants_own_admin_sees_usage_and_can_not_set_it() {
    let app = acme().await;
    app.tenant("other", json!({})).await;
    app.record(json!({"feature": "calls", "set": 2})).await.expect(200);
    let admin = app.caller(OperatorRole::TenantAdmin, Some("acme"), "ada");
    let list = admin.get("/api/v1/tenants/acme/usage").await.expect(200).body;
    assert_eq!(column(&list, "used"), [2]);
    admin.get("/api/v1/tenants/other/usage").await.expect_problem(404, "TENANT_NOT_FOUND");
    admin.get("/api/v1/users/zoe/usage").await.expect_problem(403, "FORBIDDEN");
    let set = json!({"tenant": "acme", "feature": "calls", "set": 0});
    admin.post("/api/v1/usage", set.clone()).await.expect_problem(403, "FORBIDDEN");
    let bound = app.caller(OperatorRole::Service, Some("other"), "theirs");
    bound.post("/api/v1/usage", set).await.expect_problem(404, "TENANT_NOT_FOUND");
    let own = bound.post("/api/v1/usage", json!({"feature": "calls", "set": 1})).await;
    assert_eq!(own.expect(200).body["used"], 1);
    let of_others = json!({"user": "zoe", "feature": "uploads", "requested": 1});
    bound.post("/api/v1/usage/consume", of_others).await.expect_problem(403, "FORBIDDEN");
}
