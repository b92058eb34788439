//! Activity: noted at once, written soon, counted by role, action and time, pruned by age.

use std::{collections::BTreeSet, time::Duration};

use entitled::{
    domain::{callers::OperatorRole, time::Span},
    service::policy::Policy,
    telemetry,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    crash::Server,
    given::days,
    harness::{App, Given, ROOT_KEY, start},
};

const CATALOG: &str = "
modules:
  retail: {name: Retail}
  dine: {name: Dine}
features:
  reports: {name: Reports, type: boolean}
plans:
  starter: {name: Starter, rank: 10, modules: [retail], features: {reports: true}}
  member: {name: Member, audience: user, rank: 1, permissions: [CAN_JOIN]}
roles:
  keeper: {context: tenant, permissions: [CAN_SELL]}
  lead: {context: tenant, permissions: [CAN_LEAD]}
";

const ACME: &str = "/api/v1/tenants/acme/activity";

async fn given(policy: Policy) -> App {
    let app = App::given(Given { policy, ..Given::default() }).await;
    app.apply_catalog(CATALOG).await;
    for tenant in ["acme", "other"] {
        app.tenant(tenant, json!({})).await;
        app.assign(tenant, "starter", json!({})).await;
    }
    app
}

async fn acme() -> App {
    given(Policy::default()).await
}

impl App {
    /// Ana did something; `more` is merged into the body.
    async fn did(&self, action: &str, more: Value) {
        let mut body = json!({"user": "ana", "action": action});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.backend().post(ACME, body).await.expect(202);
    }

    async fn flush(&self) {
        self.service.flush_activity().await.unwrap();
    }

    async fn stats(&self, query: &str) -> Value {
        self.backend().get(&format!("{ACME}/stats?{query}")).await.expect(200).body
    }

    fn sql(&self, text: &str) {
        Connection::open(&self.database).unwrap().execute_batch(text).unwrap();
    }

    /// What is written: user, role, action, context, metadata.
    fn written(&self) -> Vec<String> {
        let conn = Connection::open(&self.database).unwrap();
        let sql = "SELECT concat_ws(' ', tenant, user, role, action, context_type, context_id,
                       metadata) FROM activity ORDER BY seq";
        let mut rows = conn.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// The parts that are not empty, by their place from the end.
fn from_the_end(stats: &Value) -> Vec<(usize, u64)> {
    let parts = stats["over_time"].as_array().unwrap();
    let counts = parts.iter().rev().map(|part| part["count"].as_u64().unwrap());
    counts.enumerate().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn what_is_done_is_written_as_it_was_said() {
    let app = acme().await;
    app.did("topic.locked", json!({})).await;
    let context = json!({"type": "club", "id": "c9"});
    let more = json!({"role": "keeper", "context": context, "metadata": {"topic": 7}});
    app.did("topic.locked", more).await;
    assert!(app.written().is_empty(), "nobody waits for the disk");
    assert_eq!(app.service.activity().waiting(), 2);
    app.flush().await;
    assert_eq!(app.service.activity().waiting(), 0);
    let with_all = r#"acme ana keeper topic.locked club c9 {"topic":7}"#;
    assert_eq!(app.written(), ["acme ana topic.locked", with_all]);
}

#[tokio::test]
async fn every_fault_of_an_activity_is_named_and_nothing_is_noted() {
    let app = acme().await;
    let good = json!({"user": "ana", "action": "sold"});
    for (more, code, fields) in [
        (json!({"user": null, "action": null}), "INVALID_VALUE", vec!["user", "action"]),
        (json!({"user": "a b", "action": ""}), "INVALID_VALUE", vec!["user", "action"]),
        (json!({"action": "x".repeat(129)}), "INVALID_VALUE", vec!["action"]),
        (json!({"action": "a\nb"}), "INVALID_VALUE", vec!["action"]),
        (json!({"role": "keepr"}), "UNKNOWN_KEY", vec!["role"]),
        (json!({"metadata": [1]}), "INVALID_VALUE", vec!["metadata"]),
        (json!({"metadata": {"x": "y".repeat(2048)}}), "INVALID_VALUE", vec!["metadata"]),
        (json!({"context": {"type": "club"}}), "INVALID_VALUE", vec!["context"]),
        (json!({"role": "keepr", "metadata": 1}), "INVALID_VALUE", vec!["metadata", "role"]),
    ] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = app.backend().post(ACME, body).await.expect_problem(422, code).body;
        let named: BTreeSet<_> = refused["fields"].as_object().unwrap().keys().collect();
        assert!(named.into_iter().eq(BTreeSet::from_iter(fields)), "{refused:#}");
    }
    let nowhere = "/api/v1/tenants/nobody/activity";
    app.backend().post(nowhere, good).await.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(app.service.activity().waiting(), 0);
}

#[tokio::test]
async fn statistics_count_by_role_and_action_the_most_frequent_first() {
    let app = acme().await;
    for (action, role) in [("sold", "keeper"), ("sold", "keeper"), ("banned", "lead")] {
        app.did(action, json!({"role": role})).await;
    }
    app.did("looked", json!({})).await;
    app.did("sold", json!({"user": "bob", "role": "keeper"})).await;
    app.flush().await;
    let all = app.stats("").await;
    assert_eq!(all["total"], 5);
    assert_eq!(all["range"], "day");
    assert_eq!(
        all["by_role"],
        json!([
            {"role": "keeper", "count": 3}, {"role": null, "count": 1}, {"role": "lead", "count": 1}
        ])
    );
    assert_eq!(
        all["by_action"],
        json!([
            {"action": "sold", "count": 3}, {"action": "banned", "count": 1},
            {"action": "looked", "count": 1}
        ])
    );
    assert_eq!(all["over_time"].as_array().unwrap().len(), 24);
    let bob = app.stats("user=bob").await;
    assert_eq!(bob["total"], 1);
    assert_eq!(bob["user"], "bob");
    assert_eq!(bob["by_action"], json!([{"action": "sold", "count": 1}]));
    assert_eq!(app.stats("user=eve").await["total"], 0);
}

#[tokio::test]
async fn a_day_is_24_hours_to_the_end_of_the_present_one() {
    let app = acme().await;
    // At 12:00:00, where an hour begins.
    app.did("a", json!({})).await;
    app.advance(Duration::from_secs(3600) - Duration::from_micros(1));
    app.did("b", json!({})).await;
    app.advance(Duration::from_micros(1));
    app.did("c", json!({})).await;
    app.flush().await;
    let stats = app.stats("range=day").await;
    assert_eq!(from_the_end(&stats), [(0, 1), (1, 2)]);
    assert_eq!(stats["from"], "2026-02-28T14:00:00Z");
    assert_eq!(stats["until"], "2026-03-01T14:00:00Z");
    assert_eq!(stats["over_time"][0]["start"], stats["from"]);
    // 23 hours and 59 minutes after the hour of a and b has ended.
    app.advance(Duration::from_secs(23 * 3600) - Duration::from_micros(1));
    assert_eq!(from_the_end(&app.stats("range=day").await), [(22, 1), (23, 2)]);
    app.advance(Duration::from_micros(1));
    let later = app.stats("range=day").await;
    assert_eq!((from_the_end(&later), &later["total"]), (vec![(23, 1)], &json!(1)));
}

#[tokio::test]
async fn a_week_is_7_and_a_month_30_days_of_utc_with_the_present_one() {
    let app = acme().await;
    app.did("a", json!({})).await;
    // The last microsecond of 1 March, and the first of 2 March.
    app.advance(Duration::from_secs(12 * 3600) - Duration::from_micros(1));
    app.did("b", json!({})).await;
    app.advance(Duration::from_micros(1));
    app.did("c", json!({})).await;
    app.flush().await;
    let week = app.stats("range=week").await;
    assert_eq!(from_the_end(&week), [(0, 1), (1, 2)]);
    assert_eq!(week["over_time"].as_array().unwrap().len(), 7);
    assert_eq!(week["until"], "2026-03-03T00:00:00Z");
    let month = app.stats("range=month").await;
    assert_eq!(from_the_end(&month), [(0, 1), (1, 2)]);
    assert_eq!(month["over_time"].as_array().unwrap().len(), 30);

    app.advance(days(6) - Duration::from_micros(1));
    assert_eq!(from_the_end(&app.stats("range=week").await), [(5, 1), (6, 2)]);
    app.advance(Duration::from_micros(1));
    assert_eq!(from_the_end(&app.stats("range=week").await), [(6, 1)]);
    assert_eq!(app.stats("range=month").await["total"], 3);
    app.advance(days(23) - Duration::from_micros(1));
    assert_eq!(from_the_end(&app.stats("range=month").await), [(28, 1), (29, 2)]);
    app.advance(Duration::from_micros(1));
    assert_eq!(from_the_end(&app.stats("range=month").await), [(29, 1)]);
    app.backend()
        .get(&format!("{ACME}/stats?range=year"))
        .await
        .expect_problem(422, "INVALID_VALUE");
}

#[tokio::test]
async fn what_can_not_be_written_waits_and_nothing_is_lost_or_written_twice() {
    let app = acme().await;
    for number in 0..1_203 {
        app.did(&format!("a{number}"), json!({})).await;
    }
    app.sql(
        "CREATE TRIGGER fails BEFORE INSERT ON activity WHEN new.action = 'a700'
         BEGIN SELECT RAISE(ABORT, 'for a test'); END;",
    );
    assert!(app.service.flush_activity().await.is_err());
    // The batch before was written whole, the one that failed not at all.
    assert_eq!(app.written().len(), 500);
    assert_eq!(app.service.activity().waiting(), 703);
    app.did("late", json!({})).await;
    assert!(app.service.flush_activity().await.is_err());
    app.sql("DROP TRIGGER fails");
    app.flush().await;
    let written = app.written();
    assert_eq!(written.len(), 1_204);
    let expected = (0..1_203).map(|number| format!("acme ana a{number}"));
    assert!(written.iter().zip(expected).all(|(found, expected)| *found == expected));
    assert_eq!(written.last().unwrap(), "acme ana late");
}

#[tokio::test]
async fn what_finds_no_room_pushes_out_the_oldest_and_is_counted() {
    telemetry::metrics().unwrap();
    let app = given(Policy { activity_queue: 3, ..Policy::default() }).await;
    for action in ["a", "b", "c", "d", "e"] {
        app.did(action, json!({})).await;
    }
    app.flush().await;
    assert_eq!(app.written(), ["acme ana c", "acme ana d", "acme ana e"]);
    let text = telemetry::scrape().unwrap();
    let dropped = text.lines().find(|line| line.starts_with("entitlement_activity_dropped_total"));
    assert_eq!(dropped, Some("entitlement_activity_dropped_total 2"));
}

#[tokio::test]
async fn old_activity_is_pruned_and_never_by_a_clock_in_doubt() {
    let policy = Policy { activity_retention: Some(Span::days(10)), ..Policy::default() };
    let app = given(policy).await;
    for number in 0..501 {
        app.did(&format!("a{number}"), json!({})).await;
    }
    app.advance(Duration::from_micros(1));
    app.did("younger", json!({})).await;
    app.flush().await;
    app.clock.jump(start().plus_days(400));
    assert_eq!(app.service.prune_activity().await.unwrap(), 0);
    app.clock.jump(start());
    app.clock.set(start().plus_days(10));
    assert_eq!(app.service.prune_activity().await.unwrap(), 0, "not before it is older");
    app.advance(Duration::from_micros(1));
    assert_eq!(app.service.prune_activity().await.unwrap(), 501);
    assert_eq!(app.written(), ["acme ana younger"]);
}

#[tokio::test]
async fn activity_is_kept_for_ever_where_the_setting_says_so() {
    let app = given(Policy { activity_retention: None, ..Policy::default() }).await;
    app.did("a", json!({})).await;
    app.flush().await;
    app.advance(days(4_000));
    assert_eq!(app.service.prune_activity().await.unwrap(), 0);
    assert_eq!(app.written().len(), 1);
}

#[tokio::test]
async fn a_check_tracks_what_it_permits() {
    let app = acme().await;
    app.sql(
        "INSERT INTO role_assignments (tenant, id, user, role, created_at, created_by)
         VALUES ('acme', 'r1', 'ana', 'keeper', 0, 'root')",
    );
    app.backend()
        .put("/api/v1/tenants/acme/users/ana/tier", json!({"plan": "member"}))
        .await
        .expect(201);
    let context = json!({"type": "store", "id": "s1"});
    for (question, is_allowed) in [
        (json!({"permission": "CAN_SELL", "context": context}), true),
        // The answer is that of the module; the role is the one that permits.
        (json!({"permission": "CAN_SELL", "module": "retail"}), true),
        (json!({"permission": "CAN_JOIN"}), true),
        (json!({"module": "retail", "features": ["reports"]}), true),
        (json!({"features": ["reports"]}), true),
        (json!({"tier_at_least": "member"}), true),
        (json!({"permission": "CAN_LEAD"}), false),
        (json!({"module": "dine"}), false),
    ] {
        let mut asked = json!({"tenant": "acme", "user": "ana", "track": true});
        asked.as_object_mut().unwrap().extend(question.as_object().unwrap().clone());
        assert_eq!(app.check(asked).await["allowed"], is_allowed, "{question}");
    }
    app.check(json!({"tenant": "acme", "user": "ana", "module": "retail", "track": false})).await;
    let batch = json!({"checks": [
        {"tenant": "acme", "user": "ana", "module": "retail", "track": true},
        {"tenant": "acme", "user": "ana", "module": "retail"}
    ]});
    app.backend().post("/api/v1/check/batch", batch).await.expect(200);
    app.flush().await;
    let expected = [
        "acme ana keeper CAN_SELL store s1",
        "acme ana keeper CAN_SELL",
        "acme ana CAN_JOIN",
        "acme ana retail",
        "acme ana reports",
        "acme ana member",
        "acme ana retail",
    ];
    assert_eq!(app.written(), expected);
}

#[tokio::test]
async fn only_what_a_user_does_now_is_tracked() {
    let app = acme().await;
    let later = start().plus_days(1).to_string();
    for (question, fields) in [
        (json!({"tenant": "acme", "user": "ana", "at": later}), vec!["track"]),
        (json!({"tenant": "acme"}), vec!["user"]),
        (json!({"tenant": "acme", "at": later}), vec!["track", "user"]),
        (json!({"user": "ana"}), vec!["tenant"]),
    ] {
        let mut asked = json!({"module": "retail", "track": true});
        asked.as_object_mut().unwrap().extend(question.as_object().unwrap().clone());
        let refused = app.backend().post("/api/v1/check", asked).await;
        let refused = refused.expect_problem(422, "INVALID_VALUE").body;
        let named: BTreeSet<_> = refused["fields"].as_object().unwrap().keys().collect();
        assert!(named.into_iter().eq(BTreeSet::from_iter(fields)), "{refused:#}");
    }
    assert_eq!(app.service.activity().waiting(), 0);
}

#[tokio::test]
async fn activity_stays_within_its_tenant() {
    let app = acme().await;
    app.did("a", json!({})).await;
    let theirs = "/api/v1/tenants/other/activity";
    let body = json!({"user": "ana", "action": "b"});
    app.backend().post(theirs, body.clone()).await.expect(202);
    app.flush().await;
    assert_eq!(app.stats("").await["by_action"], json!([{"action": "a", "count": 1}]));
    let admin = app.caller(OperatorRole::TenantAdmin, Some("acme"), "ada");
    admin.post(ACME, body.clone()).await.expect(202);
    admin.get(&format!("{ACME}/stats")).await.expect(200);
    admin.post(theirs, body.clone()).await.expect_problem(404, "TENANT_NOT_FOUND");
    admin.get(&format!("{theirs}/stats")).await.expect_problem(404, "TENANT_NOT_FOUND");
    for role in [OperatorRole::Support, OperatorRole::Auditor] {
        let caller = app.caller(role, None, "sue");
        caller.get(&format!("{ACME}/stats")).await.expect(200);
        caller.post(ACME, body.clone()).await.expect_problem(403, "FORBIDDEN");
    }
    let user = app.user("acme", "ana");
    user.get(&format!("{ACME}/stats")).await.expect_problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn what_was_noted_before_an_orderly_end_is_in_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{}{path}", server.url)).bearer_auth(ROOT_KEY);
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    let made = post("/api/v1/admin/tenants", json!({"key": "acme", "name": "Acme"})).await;
    assert_eq!(made, 201);
    for number in 0..700 {
        let body = json!({"user": "ana", "action": format!("a{number}")});
        assert_eq!(post(ACME, body).await, 202);
    }
    let id = server.child.id().to_string();
    let told = std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(told.success());
    let ended = tokio::task::spawn_blocking(move || server.child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended}");
    let conn = Connection::open(dir.path().join("entitled.db")).unwrap();
    let sql = "SELECT count(*), count(DISTINCT action) FROM activity WHERE tenant = 'acme'";
    let found: (i64, i64) = conn.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!(found, (700, 700));
}
