//! What ends by itself: recorded once, at its instant or later, never earlier; honoured never later.

use std::time::Duration;

use entitled::domain::{callers::OperatorRole, time::Timestamp};
use serde_json::{Value, json};

use crate::{
    given::{column, day, days},
    harness::{App, start},
};

const OVERRIDES: &str = "/api/v1/admin/overrides";

const CATALOG: &str = "
modules:
  retail: {name: Retail}
  dine: {name: Dine}
plans:
  starter: {name: Starter, rank: 10, modules: [retail]}
  growth: {name: Growth, rank: 20, modules: [retail, dine], trial_days: 14, trial_fallback: starter}
";

async fn acme() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app.tenant("acme", json!({})).await;
    app
}

impl App {
    /// Runs the worker once.
    async fn expire(&self) -> Value {
        self.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body
    }

    /// An override of dine for `acme`.
    async fn dine_until(&self, end: &str) -> Value {
        let body = json!({
            "tenant": "acme", "key": "dine", "enabled": true, "expires_at": end,
            "reason": "for a test"
        });
        let reply = self.caller(OperatorRole::Support, None, "sue").post(OVERRIDES, body).await;
        assert!(reply.status < 300, "{:#}", reply.body);
        reply.body
    }

    /// Events whose name starts so, newest first.
    async fn told(&self, prefix: &str) -> Vec<Value> {
        let path = format!("/api/v1/admin/audit?event={prefix}");
        self.root().get(&path).await.expect(200).body["items"].as_array().unwrap().clone()
    }

    async fn names(&self, prefix: &str) -> Vec<String> {
        let events = self.told(prefix).await;
        events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn ran(expired: u64) -> Value {
    json!({"expired": expired, "failed": 0, "held": false})
}

#[tokio::test]
async fn the_end_of_a_trial_is_recorded_once_for_each_end_that_it_had() {
    let app = acme().await;
    let made = app.assign("acme", "growth", json!({})).await.body;
    app.advance(days(14) - Duration::from_micros(1));
    assert_eq!(app.expire().await, ran(0));
    app.advance(Duration::from_micros(1));
    assert_eq!(app.expire().await, ran(1));
    assert_eq!(app.expire().await, ran(0));
    let events = app.told("subscription.trial_expired").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["subject"], made["id"]);
    assert_eq!(events[0]["actor"]["id"], "root");
    assert_eq!(events[0]["before"]["trial_expires_at"], day(14));

    let path = format!("/api/v1/admin/tenants/acme/subscriptions/{}", made["id"].as_str().unwrap());
    let longer = json!({"trial_expires_at": day(20), "change_reason": "they asked"});
    app.root().patch(&path, longer).await.expect(200);
    assert_eq!(app.expire().await, ran(0));
    app.advance(days(6));
    assert_eq!(app.expire().await, ran(1));
    assert_eq!(app.told("subscription.trial_expired").await.len(), 2);
}

#[tokio::test]
async fn the_end_of_a_grants_trial_is_recorded_once() {
    let app = acme().await;
    let path = "/api/v1/admin/tenants/acme/grants/dine";
    let trial = json!({"state": "trial", "trial_expires_at": day(3), "reason": "to try"});
    app.root().put(path, trial.clone()).await.expect(201);
    app.advance(days(3));
    assert_eq!(app.expire().await, ran(1));
    assert_eq!(app.expire().await, ran(0));
    let events = app.told("grant.trial_expired").await;
    assert_eq!((events.len(), &events[0]["subject"]), (1, &json!("dine")));
    let mut again = trial;
    again["trial_expires_at"] = json!(day(9));
    app.root().put(path, again).await.expect(200);
    app.advance(days(6));
    assert_eq!(app.expire().await, ran(1));
}

#[tokio::test]
async fn a_scheduled_change_is_recorded_when_it_takes_effect() {
    let app = acme().await;
    let first = app.assign("acme", "starter", json!({})).await.body;
    let later = json!({"effective_from": day(10), "status": "active"});
    let second = app.assign("acme", "growth", later).await.body;
    assert_eq!(app.expire().await, ran(0), "what is in effect at once needs no worker");
    app.advance(days(10));
    assert_eq!(app.expire().await, ran(2));
    assert_eq!(app.expire().await, ran(0));
    let started = app.told("subscription.started").await;
    let ended = app.told("subscription.ended").await;
    assert_eq!((started.len(), &started[0]["subject"]), (1, &second["id"]));
    assert_eq!((ended.len(), &ended[0]["subject"]), (1, &first["id"]));
}

#[tokio::test]
async fn a_scheduled_end_that_is_taken_back_is_not_recorded() {
    let app = acme().await;
    let made = app.assign("acme", "starter", json!({})).await.body;
    let path = format!("/api/v1/admin/tenants/acme/subscriptions/{}", made["id"].as_str().unwrap());
    let end = |to: Value| json!({"effective_to": to, "change_reason": "they called"});
    app.root().patch(&path, end(json!(day(5)))).await.expect(200);
    app.root().patch(&path, end(Value::Null)).await.expect(200);
    app.advance(days(6));
    assert_eq!(app.expire().await, ran(0));
}

#[tokio::test]
async fn the_end_of_an_override_is_announced_three_days_before() {
    let app = acme().await;
    let made = app.dine_until(&day(10)).await;
    app.advance(days(7) - Duration::from_micros(1));
    assert_eq!(app.expire().await, ran(0));
    app.advance(Duration::from_micros(1));
    assert_eq!(app.expire().await, ran(1));
    assert_eq!(app.expire().await, ran(0));
    let events = app.told("entitlement.override.ends_soon").await;
    assert_eq!((events.len(), &events[0]["subject"]), (1, &made["id"]));
    assert_eq!(events[0]["after"]["expires_at"], day(10));
    assert_eq!(events[0]["tenant"], "acme");

    // Extended, it ends again, and is announced again.
    app.dine_until(&day(20)).await;
    app.advance(days(10));
    assert_eq!(app.expire().await, ran(1));
    app.advance(days(3));
    assert_eq!(app.expire().await, ran(1));
    let names = app.names("entitlement.override.").await;
    let short: Vec<_> = names.iter().rev().map(|n| n.rsplit('.').next().unwrap()).collect();
    assert_eq!(short, ["created", "ends_soon", "updated", "ends_soon", "expired"]);
}

#[tokio::test]
async fn an_override_that_was_short_from_the_start_is_not_announced() {
    let app = acme().await;
    app.dine_until(&day(2)).await;
    app.advance(days(1));
    assert_eq!(app.expire().await, ran(0));
    // Nor is one that ended while no worker ran.
    app.dine_until(&day(9)).await;
    app.advance(days(20));
    assert_eq!(app.expire().await, ran(1));
    assert_eq!(app.told("entitlement.override.ends_soon").await, [] as [Value; 0]);
}

#[tokio::test]
async fn rows_that_cannot_be_recorded_hold_up_no_other() {
    let app = acme().await;
    // More than the worker looks up at once, and all of them before the good one.
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    conn.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO overrides (tenant, id, key, enabled, expires_at, reason, renewals, created_at,
             created_by, updated_at, revision)
         SELECT 'acme', 'ovr_' || i, 'k' || i, 1, {end}, 'for a test', 0, {now}, 'sue', {now}, 1
         FROM n;
         CREATE TRIGGER bad BEFORE UPDATE ON overrides WHEN new.id LIKE 'ovr_%' AND new.key LIKE 'k%'
         BEGIN SELECT RAISE(ABORT, 'for a test'); END;",
        now = start().micros(),
        end = start().micros() + 1,
    ))
    .unwrap();
    app.dine_until(&day(1)).await;
    app.advance(days(1));
    let run = app.expire().await;
    assert_eq!(run, json!({"expired": 1, "failed": 300, "held": false}));
    assert_eq!(app.service.expiry().failures_in_a_row(), 1);
    conn.execute_batch("DROP TRIGGER bad;").unwrap();
    assert_eq!(app.expire().await, ran(300));
}

#[tokio::test]
async fn an_override_does_not_come_back_to_life_when_the_clock_jumps_back_a_day() {
    let app = acme().await;
    app.dine_until(&day(1)).await;
    app.advance(days(1));
    let dine = json!({"tenant": "acme", "module": "dine"});
    assert_eq!(app.check(dine.clone()).await["allowed"], false);
    app.clock.jump(start());
    assert_eq!(app.check(dine).await["allowed"], false);
    let page = app.root().get(&format!("{OVERRIDES}?tenant=acme")).await.expect(200).body;
    assert_eq!(column(&page, "state"), ["expired"]);
    assert_eq!(app.expire().await, ran(1));
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_ten_years_ends_nothing_for_good() {
    let app = acme().await;
    app.assign("acme", "starter", json!({})).await;
    app.dine_until(&day(30)).await;
    let dine = json!({"tenant": "acme", "module": "dine"});
    app.clock.jump(start().plus_days(3650));
    // Nothing is honoured past its end, even by a clock in doubt; but nothing is recorded either.
    assert_eq!(app.check(dine.clone()).await["allowed"], false);
    assert_eq!(app.expire().await, json!({"expired": 0, "failed": 0, "held": true}));
    // A change that is made meanwhile carries no instant from the future.
    let renamed = app.root().patch("/api/v1/admin/tenants/acme", json!({"name": "Acme"})).await;
    let at: Timestamp = renamed.expect(200).body["updated_at"].as_str().unwrap().parse().unwrap();
    assert!(at < start().plus_days(1), "{at}");

    app.clock.jump(start());
    assert_eq!(app.check(dine).await["allowed"], true, "the jump was taken back");
    assert_eq!(app.told("entitlement.override.expired").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_clock_that_stays_ahead_is_believed_after_ten_minutes() {
    let app = acme().await;
    app.dine_until(&day(30)).await;
    let far = start().plus_days(3650);
    app.clock.jump(far);
    assert_eq!(app.expire().await["held"], true);
    app.clock.set(Timestamp::from_micros(far.micros() + 599_000_000));
    assert_eq!(app.expire().await["held"], true);
    app.clock.set(Timestamp::from_micros(far.micros() + 600_000_000));
    assert_eq!(app.expire().await, ran(1));
    assert_eq!(app.names("entitlement.override.expired").await.len(), 1);
}

/// No worker runs in these tests unless it is told to: the instant alone decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_check_around_the_boundary_honours_an_expired_override() {
    let app = acme().await;
    app.assign("acme", "starter", json!({})).await;
    let mut asked = 0;
    for round in 0..100_u32 {
        let end = app.clock.now().micros() + 50 + i64::from(round);
        let shown = Timestamp::from_micros(end);
        app.dine_until(&shown.to_string()).await;
        let backend = app.backend();
        for step in 0..10_i64 {
            let at = end - 5 + step;
            app.clock.set(Timestamp::from_micros(at));
            let checks = vec![json!({"tenant": "acme", "module": "dine"}); 10];
            let body = json!({"checks": checks});
            let reply = backend.post("/api/v1/check/batch", body).await.expect(200).body;
            for answer in reply["results"].as_array().unwrap() {
                let answer = &answer["decision"];
                asked += 1;
                assert_eq!(answer["allowed"], at < end, "{at} {end}: {answer:#}");
                let until = answer["valid_until"].as_str();
                let until = until.map(|text| text.parse::<Timestamp>().unwrap());
                assert_eq!(until, (at < end).then_some(shown));
            }
        }
    }
    assert_eq!(asked, 10_000);
    let path = "/api/v1/admin/audit?event=entitlement.override.expired&limit=200";
    // A new override on the same key records the end of the one before it.
    assert_eq!(app.root().get(path).await.body["items"].as_array().unwrap().len(), 99);
}
