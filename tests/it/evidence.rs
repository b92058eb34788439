//! Evidence: every answer counted once, at once in the report, kept over restarts, pruned by age.

use std::{sync::Arc, time::Duration};

use entitled::{
    clock::Clock,
    domain::{callers::OperatorRole, time::Span},
    engine::Gating,
    service::{Service, keyring::Keyring, memory::CacheOptions, policy::Policy},
    store::{Durability, StoreOptions},
    telemetry,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    crash::Server,
    harness::{App, Given, ROOT_KEY, start},
};

const REPORT: &str = "/api/v1/admin/rollout/report";

const CATALOG: &str = "
modules:
  crm: {name: CRM}
  erp: {name: ERP}
  mail: {name: Mail, access: always_on}
  unused: {name: Unused}
features:
  pipelines: {name: Pipelines, type: boolean, module: crm}
  ledgers: {name: Ledgers, type: boolean, module: erp}
  reports: {name: Reports, type: boolean}
  seats: {name: Seats, type: limit, module: erp}
plans:
  basic: {name: Basic, rank: 1, modules: [crm], features: {pipelines: true, seats: 2}}
guards:
  leads: {module: crm, conditions: [{unless: 'resource.open', reason: closed, code: CLOSED, message: Closed.}]}
routes:
  - {path: '/crm/**', module: crm}
  - {path: '/open', public: true}
  - {path: '/me', allow_blocked: true}
";

async fn given(policy: Policy) -> App {
    let app = App::given(Given { policy, ..Given::default() }).await;
    app.apply_catalog(CATALOG).await;
    for tenant in ["a", "b"] {
        app.tenant(tenant, json!({"billing": "direct"})).await;
        app.grant(tenant, "crm", json!({"state": "enabled"})).await.expect(201);
    }
    app
}

async fn suite() -> App {
    given(Policy::default()).await
}

/// `checks refusals would_be_refusals`.
fn counts(of: &Value) -> String {
    let [checks, refusals, would] = ["checks", "refusals", "would_be_refusals"].map(|f| &of[f]);
    format!("{checks} {refusals} {would}")
}

/// The rows of a list, each as its key and its counts.
fn rows(list: &Value, key: &str) -> Vec<String> {
    let row = |row: &Value| format!("{}: {}", row[key].as_str().unwrap_or("null"), counts(row));
    list.as_array().unwrap().iter().map(row).collect()
}

impl App {
    async fn report(&self, query: &str) -> Value {
        self.root().get(&format!("{REPORT}?{query}")).await.expect(200).body
    }

    async fn flush_evidence(&self) {
        self.service.flush_evidence().await.unwrap();
    }

    async fn mode(&self, mode: &str) {
        let body = json!({"mode": mode, "percent": 100});
        self.root().put("/api/v1/admin/rollout", body).await.expect(200);
    }

    fn in_database(&self) -> u64 {
        let sql = "SELECT coalesce(sum(checks), 0) FROM check_hours";
        let conn = Connection::open(&self.database).unwrap();
        conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
    }

    fn run_sql(&self, text: &str) {
        Connection::open(&self.database).unwrap().execute_batch(text).unwrap();
    }
}

#[tokio::test]
async fn every_door_counts_what_it_answered_once() {
    let app = suite().await;
    // Check, allowed and refused.
    app.module("a", "crm").await;
    app.module("a", "erp").await;
    app.check(json!({"tenant": "a", "module": "erp", "explain": true})).await;
    // A batch: its faulty item has no answer.
    let batch = json!({"checks": [
        {"tenant": "a", "module": "mail"}, {"tenant": "b", "module": "erp"},
        {"tenant": "a", "module": "none"}, {"tenant": "nobody", "module": "crm"}
    ]});
    app.backend().post("/api/v1/check/batch", batch).await.expect(200);
    // Forward-auth: a decision; then two routes that take none.
    let ana = app.user("a", "ana");
    for path in ["crm/x", "open", "me"] {
        ana.get(&format!("/api/v1/authorize/{path}")).await.expect(200);
    }
    // Consumed: refused by what is in memory, then allowed by the writer; and set aside.
    let take = json!({"tenant": "a", "feature": "seats"});
    app.backend().post("/api/v1/usage/consume", take.clone()).await.expect(200);
    app.grant("a", "seats", json!({"state": "enabled", "value": 5})).await.expect(201);
    app.backend().post("/api/v1/usage/consume", take.clone()).await.expect(200);
    let reserve = json!({"tenant": "a", "feature": "seats", "ttl_seconds": 60});
    app.backend().post("/api/v1/usage/reserve", reserve).await.expect(200);

    let report = app.report("").await;
    assert_eq!(counts(&report["totals"]), "9 4 0");
    assert_eq!(
        rows(&report["by_module"], "module"),
        ["erp: 6 4 0", "crm: 2 0 0", "mail: 1 0 0", "unused: 0 0 0"]
    );
    assert_eq!(rows(&report["by_tenant"]["items"], "tenant"), ["a: 8 3 0", "b: 1 1 0"]);
    assert_eq!(
        rows(&report["by_reason"], "reason"),
        ["grant: 4 0 0", "not_granted: 3 3 0", "always_on: 1 0 0", "limit_reached: 1 1 0"]
    );
    let totals = &report["totals"];
    assert_eq!((&totals["tenants_checked"], &totals["tenants_refused"]), (&json!(2), &json!(2)));
    assert_eq!(totals["tenants_would_be_refused"], 0);
}

#[tokio::test]
async fn what_is_no_answer_to_a_caller_is_not_counted() {
    let app = suite().await;
    app.entitlements("a").await;
    app.check(json!({"tenant": "a", "module": "erp", "at": "2026-04-01T00:00:00Z"})).await;
    let unknown = json!({"tenant": "a", "module": "none"});
    app.backend().post("/api/v1/check", unknown).await.expect_problem(422, "UNKNOWN_KEY");
    app.root().get("/api/v1/admin/tenants?blocked_reason=any").await.expect(200);
    assert_eq!(counts(&app.report("").await["totals"]), "0 0 0");
    // One question, also where the role that permits it is asked for in a second one.
    let roles = "/api/v1/tenants/a/activity/stats";
    app.check(json!({"tenant": "a", "user": "ana", "module": "crm", "track": true})).await;
    app.backend().get(roles).await.expect(200);
    assert_eq!(counts(&app.report("").await["totals"]), "1 0 0");
    // The same request again gets its first answer: it was counted then.
    app.grant("a", "seats", json!({"state": "enabled", "value": 5})).await.expect(201);
    for _ in 0..2 {
        let take = json!({"tenant": "a", "feature": "seats"});
        let key = [("idempotency-key", "k1")];
        let sent = app.backend();
        let path = "/api/v1/usage/consume";
        sent.send(reqwest::Method::POST, path, Some(take), &key).await.expect(200);
    }
    assert_eq!(counts(&app.report("").await["totals"]), "2 0 0");
}

#[tokio::test]
async fn shadow_counts_what_would_be_refused_by_the_reason_that_it_would_have() {
    let app = suite().await;
    app.mode("shadow").await;
    app.module("a", "crm").await;
    app.module("a", "erp").await;
    // What is refused is not the module that was asked for, but that of the feature.
    app.check(json!({"tenant": "b", "module": "crm", "features": ["ledgers"]})).await;
    app.check(json!({"tenant": "b", "features": ["reports"]})).await;
    let over = json!({"feature": "seats", "requested": 1, "current": 9});
    app.check(json!({"tenant": "b", "usage": over})).await;
    // Refused in every mode.
    app.check(json!({"tenant": "b", "user": "u", "module": "erp", "permission": "CAN_X"})).await;
    app.check(json!({"tenant": "b", "guard": "leads", "resource": {"open": false}})).await;

    let report = app.report("").await;
    assert_eq!(counts(&report["totals"]), "7 2 4");
    assert_eq!(
        rows(&report["by_module"], "module"),
        ["erp: 4 1 3", "crm: 2 1 0", "null: 1 0 1", "mail: 0 0 0", "unused: 0 0 0"]
    );
    assert_eq!(
        rows(&report["by_reason"], "reason"),
        [
            "not_granted: 3 0 3",
            "grant: 1 0 0",
            "permission_denied: 1 1 0",
            "limit_reached: 1 0 1",
            "condition: 1 1 0"
        ]
    );
    let totals = &report["totals"];
    assert_eq!((&totals["tenants_refused"], &totals["tenants_checked"]), (&json!(1), &json!(2)));
    assert_eq!(totals["tenants_would_be_refused"], 2);
}

#[tokio::test]
async fn users_without_a_tenant_are_counted_beside_the_tenants() {
    let app = suite().await;
    app.ask(json!({"user": "u1", "features": ["reports"]})).await;
    for flush in [false, true] {
        if flush {
            app.flush_evidence().await;
        }
        let report = app.report("").await;
        assert_eq!(counts(&report["without_tenant"]), "1 1 0");
        assert_eq!(report["by_tenant"]["items"], json!([]));
        assert_eq!(report["totals"]["tenants_checked"], 0);
    }
}

#[tokio::test]
async fn the_report_is_the_same_before_and_after_it_is_written_and_in_part() {
    let app = suite().await;
    let ask = async || {
        for (tenant, module) in [("a", "crm"), ("a", "erp"), ("b", "erp")] {
            app.module(tenant, module).await;
        }
    };
    ask().await;
    let before = app.report("").await;
    assert_eq!((app.in_database(), app.service.evidence().waiting()), (0, 3));
    app.flush_evidence().await;
    assert_eq!((app.in_database(), app.service.evidence().waiting()), (3, 0));
    assert_eq!(app.report("").await, before);
    ask().await;
    let both = app.report("").await;
    assert_eq!(counts(&both["totals"]), "6 4 0");
    app.flush_evidence().await;
    assert_eq!(app.report("").await, both);
    assert_eq!(app.in_database(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_shown_twice_while_it_is_counted_written_and_read() {
    const EACH: u64 = 150;
    let app = Arc::new(suite().await);
    let askers: Vec<_> = ["a", "b", "a", "b"]
        .into_iter()
        .map(|tenant| {
            let app = app.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    app.module(tenant, if number % 2 == 0 { "crm" } else { "erp" }).await;
                }
            })
        })
        .collect();
    let mut last = 0;
    while !askers.iter().all(tokio::task::JoinHandle::is_finished) {
        let (flushed, report) = tokio::join!(app.service.flush_evidence(), app.report(""));
        flushed.unwrap();
        let shown = report["totals"]["checks"].as_u64().unwrap();
        assert!((last..=4 * EACH).contains(&shown), "{last}, then {shown}");
        last = shown;
    }
    let report = app.report("").await;
    assert_eq!(counts(&report["totals"]), "600 300 0");
    app.flush_evidence().await;
    assert_eq!(app.in_database(), 600);
}

#[tokio::test]
async fn a_window_holds_whole_hours() {
    let app = suite().await;
    // The tests begin at 12:00.
    app.module("a", "crm").await;
    app.advance(Duration::from_secs(3600) - Duration::from_micros(1));
    app.module("a", "crm").await;
    app.advance(Duration::from_micros(1));
    app.module("a", "erp").await;
    app.flush_evidence().await;
    app.module("b", "erp").await;
    let shown = async |window: &str| counts(&app.report(window).await["totals"]);
    assert_eq!(shown("").await, "4 2 0");
    let report = app.report("window=1h").await;
    assert_eq!(
        (&report["from"], &report["until"], &report["window_seconds"]),
        (&json!("2026-03-01T12:00:00Z"), &json!("2026-03-01T13:00:00Z"), &json!(3600))
    );
    // An hour later the hour of 12 is out, also where it is not written.
    app.advance(Duration::from_secs(3600));
    for window in ["window=1h", "window=3600"] {
        assert_eq!(shown(window).await, "2 2 0", "{window}");
    }
    assert_eq!(shown("window=2h").await, "4 2 0");
    app.advance(Duration::from_secs(3600));
    assert_eq!(shown("window=1h").await, "0 0 0");
    assert_eq!(shown("window=7d").await, "4 2 0");
}

#[tokio::test]
async fn what_can_not_be_asked_for_is_said_with_the_way_out() {
    let app = suite().await;
    for (query, status, code) in [
        ("window=59m", 422, "INVALID_VALUE"),
        ("window=59", 422, "INVALID_VALUE"),
        ("window=91d", 422, "INVALID_VALUE"),
        ("limit=0", 422, "INVALID_VALUE"),
        ("cursor=!!", 422, "INVALID_VALUE"),
        ("module=crn", 422, "UNKNOWN_KEY"),
        ("tenant=nobody", 404, "TENANT_NOT_FOUND"),
    ] {
        let reply = app.root().get(&format!("{REPORT}?{query}")).await;
        let text = reply.expect_problem(status, code).body.to_string();
        if query.starts_with("window") {
            assert!(text.contains("from one hour to 90 days"), "{text}");
        }
        if query.starts_with("module") {
            assert!(text.contains("crm"), "{text}");
        }
    }
}

#[tokio::test]
async fn it_is_read_by_tenant_by_module_and_in_pages() {
    let app = suite().await;
    for number in 0..5 {
        let tenant = format!("t{number}");
        app.tenant(&tenant, json!({"billing": "direct"})).await;
        app.module(&tenant, "erp").await;
        app.module(&tenant, "mail").await;
        if number == 2 {
            app.flush_evidence().await;
        }
    }
    let report = app.report("tenant=t2").await;
    assert_eq!(counts(&report["totals"]), "2 1 0");
    assert_eq!(rows(&report["by_tenant"]["items"], "tenant"), ["t2: 2 1 0"]);
    let report = app.report("module=erp").await;
    assert_eq!(counts(&report["totals"]), "5 5 0");
    assert_eq!(rows(&report["by_module"], "module"), ["erp: 5 5 0"]);
    assert_eq!(rows(&report["by_reason"], "reason"), ["not_granted: 5 5 0"]);
    assert_eq!(counts(&app.report("module=unused&tenant=t1").await["totals"]), "0 0 0");

    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = app.report(&query).await;
        assert_eq!(counts(&page["totals"]), "10 5 0", "the totals are those of all pages");
        seen.extend(rows(&page["by_tenant"]["items"], "tenant"));
        let Some(cursor) = page["by_tenant"]["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(seen, (0..5).map(|n| format!("t{n}: 2 1 0")).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_belongs_to_a_tenant_or_asks_for_an_application_reads_nothing() {
    let app = suite().await;
    for (role, tenant) in [
        (OperatorRole::TenantAdmin, Some("b")),
        (OperatorRole::TenantUser, Some("b")),
        (OperatorRole::Service, Some("b")),
        (OperatorRole::Service, None),
    ] {
        let caller = app.caller(role, tenant, "ada");
        for query in ["", "?tenant=b"] {
            let reply = caller.get(&format!("{REPORT}{query}")).await;
            reply.expect_problem(403, "FORBIDDEN");
        }
    }
    for role in [OperatorRole::Support, OperatorRole::Auditor] {
        app.caller(role, None, "sue").get(REPORT).await.expect(200);
    }
}

#[tokio::test]
async fn what_can_not_be_written_waits_and_is_written_once() {
    let app = suite().await;
    app.run_sql(
        "CREATE TRIGGER fails BEFORE INSERT ON check_hours WHEN new.tenant = 'b'
         BEGIN SELECT RAISE(ABORT, 'for a test'); END;",
    );
    app.module("a", "crm").await;
    app.module("b", "crm").await;
    assert!(app.service.flush_evidence().await.is_err());
    assert_eq!((app.in_database(), app.service.evidence().waiting()), (0, 2));
    app.module("b", "crm").await;
    assert!(app.service.flush_evidence().await.is_err());
    assert_eq!(counts(&app.report("").await["totals"]), "3 0 0");
    app.run_sql("DROP TRIGGER fails");
    app.flush_evidence().await;
    assert_eq!((app.in_database(), app.service.evidence().waiting()), (3, 0));
    assert_eq!(counts(&app.report("").await["totals"]), "3 0 0");
}

#[tokio::test]
async fn what_finds_no_room_is_added_up_without_its_tenant_and_the_metric_says_so() {
    telemetry::metrics().unwrap();
    let app = given(Policy { evidence_keys: 2, ..Policy::default() }).await;
    for (tenant, module) in [("a", "crm"), ("a", "erp"), ("b", "erp"), ("a", "mail"), ("a", "crm")]
    {
        app.module(tenant, module).await;
    }
    let report = app.report("").await;
    assert_eq!(counts(&report["totals"]), "5 2 0");
    assert_eq!(rows(&report["by_tenant"]["items"], "tenant"), ["a: 3 1 0"]);
    assert_eq!(counts(&report["beyond_limit"]), "2 1 0");
    assert_eq!(rows(&report["by_module"], "module")[1], "erp: 2 2 0");
    let text = telemetry::scrape().unwrap();
    assert!(text.contains("\nentitlement_evidence_overflow_total 2\n"), "{text}");
    // What is written makes room.
    app.flush_evidence().await;
    assert_eq!(counts(&app.report("").await["beyond_limit"]), "2 1 0");
    app.module("b", "erp").await;
    assert_eq!(rows(&app.report("").await["by_tenant"]["items"], "tenant")[1], "b: 1 1 0");
}

#[tokio::test]
async fn old_hours_are_pruned_and_never_by_a_clock_in_doubt() {
    let policy = Policy { evidence_retention: Some(Span::days(10)), ..Policy::default() };
    let app = given(policy).await;
    app.module("a", "crm").await;
    app.advance(Duration::from_secs(3600));
    app.module("a", "crm").await;
    app.flush_evidence().await;
    app.clock.jump(start().plus_days(400));
    assert_eq!(app.service.prune_evidence().await.unwrap(), 0);
    app.clock.jump(start());
    app.clock.set(start().plus_days(10));
    assert_eq!(app.service.prune_evidence().await.unwrap(), 0, "not before it is older");
    app.advance(Duration::from_micros(1));
    assert_eq!(app.service.prune_evidence().await.unwrap(), 1);
    assert_eq!(app.in_database(), 1);
    let kept = given(Policy { evidence_retention: None, ..Policy::default() }).await;
    kept.module("a", "crm").await;
    kept.flush_evidence().await;
    kept.clock.set(start().plus_days(4_000));
    assert_eq!(kept.service.prune_evidence().await.unwrap(), 0);
}

#[tokio::test]
async fn a_restart_adds_to_what_was_counted_before() {
    let app = suite().await;
    app.module("a", "erp").await;
    app.flush_evidence().await;
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("entitled.db");
    let database = Connection::open(&app.database).unwrap();
    database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let options = StoreOptions { durability: Durability::None, ..StoreOptions::at(copy) };
    let (cache, keyring) = (CacheOptions::default(), Arc::new(Keyring::new(None).unwrap()));
    let (clock, policy) = (Clock::manual(start()), Policy::default());
    let again = Service::open(&options, cache, Gating::BySettings, policy, clock, keyring).unwrap();
    let root = entitled::service::Actor::system("test");
    let check = entitled::service::decisions::Check {
        tenant: Some("a".parse().unwrap()),
        module: Some("erp".parse().unwrap()),
        ..Default::default()
    };
    again.check(&root, &check).await.unwrap();
    let report = again.rollout_report(&root, Default::default(), 10).await.unwrap();
    assert_eq!((report.summary.total.checks, report.summary.total.refusals), (2, 2));
}

#[tokio::test]
async fn what_was_counted_before_an_orderly_end_is_in_the_database_and_in_the_next_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{}{path}", server.url)).bearer_auth(ROOT_KEY);
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    let catalog = client.put(format!("{}/api/v1/admin/catalog", server.url)).bearer_auth(ROOT_KEY);
    let catalog = catalog.header("content-type", "application/yaml").body(CATALOG);
    assert_eq!(catalog.send().await.unwrap().status(), 200);
    let made = post("/api/v1/admin/tenants", json!({"key": "acme", "name": "Acme"})).await;
    assert_eq!(made, 201);
    for _ in 0..300 {
        let question = json!({"tenant": "acme", "module": "crm"});
        assert_eq!(post("/api/v1/check", question).await, 200);
    }
    let id = server.child.id().to_string();
    let told = std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(told.success());
    let ended = tokio::task::spawn_blocking(move || server.child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended}");

    let again = Server::start(dir.path());
    let report = client.get(format!("{}{REPORT}", again.url)).bearer_auth(ROOT_KEY);
    let report: Value = report.send().await.unwrap().json().await.unwrap();
    assert_eq!(counts(&report["totals"]), "300 300 0");
    assert_eq!(rows(&report["by_reason"], "reason"), ["no_subscription: 300 300 0"]);
}
