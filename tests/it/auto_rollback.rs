//! Enforcement that gives way by itself: when, when not, and what it leaves behind.

use std::{sync::Arc, time::Duration};

use entitled::{
    clock::Clock,
    domain::{keys::TenantKey, rollout::RolloutMode},
    engine::Gating,
    service::{
        Actor, Service, auto_rollback::Weighed, keyring::Keyring, memory::CacheOptions,
        policy::Policy, rollout::RolloutDraft,
    },
    store::{Durability, StoreOptions},
    telemetry,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{App, start};

const PATH: &str = "/api/v1/admin/rollout";

const CATALOG: &str = "
modules:
  crm: {name: CRM}
  erp: {name: ERP}
  old: {name: Old, status: disabled}
  mail: {name: Mail, access: always_on}
plans:
  basic: {name: Basic, rank: 1}
guards:
  closed: {module: mail, conditions: [{unless: 'resource.open', reason: closed, code: CLOSED, message: Closed.}]}
";

/// Tenants `t0` to `t9`, which may use `crm` and are refused `erp`.
async fn ten() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    for number in 0..10 {
        let tenant = format!("t{number}");
        app.tenant(&tenant, json!({"billing": "direct"})).await;
        app.grant(&tenant, "crm", json!({"state": "enabled"})).await.expect(201);
    }
    app
}

fn bounds(ratio: f64, min_tenants: u64, min_checks: u64) -> Value {
    json!({
        "ratio": ratio, "min_tenants": min_tenants, "min_checks": min_checks, "window_seconds": 60
    })
}

impl App {
    async fn settings(&self, more: Value) {
        let mut body = json!({"mode": "enforce", "percent": 100});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.root().put(PATH, body).await.expect(200);
    }

    async fn watched(&self, ratio: f64, min_tenants: u64, min_checks: u64) {
        self.settings(json!({"auto_rollback": bounds(ratio, min_tenants, min_checks)})).await;
    }

    /// The first so many tenants ask for a module.
    async fn ask_by(&self, tenants: u64, module: &str) {
        for number in 0..tenants {
            self.module(&format!("t{number}"), module).await;
        }
    }

    /// Whether enforcement gave way just now.
    async fn gives_way(&self) -> bool {
        let weighed = self.service.weigh_rollout().await.unwrap();
        let is_open = self.service.world().rollout.settings.mode == RolloutMode::Shadow;
        match weighed {
            Weighed::GaveWay(_) => assert!(is_open),
            Weighed::Stays => {}
        }
        weighed != Weighed::Stays
    }

    async fn rolled_back(&self) -> Vec<Value> {
        self.events("event=rollout.auto_rolled_back").await
    }
}

#[tokio::test]
async fn too_many_refused_tenants_open_the_gates_and_everything_else_stays() {
    telemetry::metrics().unwrap();
    let app = ten().await;
    let more = json!({
        "percent": 90, "include": (0..10).map(|n| format!("t{n}")).collect::<Vec<_>>(),
        "exclude": ["other"], "unenforced_modules": ["crm"], "auto_rollback": bounds(0.25, 4, 5)
    });
    app.settings(more.clone()).await;
    let before = app.root().get(PATH).await.expect(200);
    app.ask_by(10, "crm").await;
    app.ask_by(2, "erp").await;
    assert!(!app.gives_way().await, "2 of 10");
    app.ask_by(3, "erp").await;
    assert_eq!(app.module("t0", "erp").await, "refused not_granted MODULE_NOT_ENTITLED 403");
    assert!(app.gives_way().await, "3 of 10");

    assert_eq!(app.module("t0", "erp").await, "allowed gating_disabled");
    let mut after = app.root().get(PATH).await.expect(200);
    assert_eq!((before.header("etag"), after.header("etag")), ("\"2\"", "\"3\""));
    assert_eq!(after.body["mode"], "shadow");
    assert_eq!(after.body["updated_by"], "auto-rollback");
    let mut expected = before.body;
    for (field, value) in expected.as_object_mut().unwrap() {
        match field.as_str() {
            "mode" | "updated_by" | "updated_at" => *value = after.body[field].take(),
            _ => {}
        }
    }
    after.body["mode"] = expected["mode"].clone();
    for field in ["updated_by", "updated_at"] {
        after.body[field] = expected[field].clone();
    }
    assert_eq!(after.body, expected);

    let events = app.rolled_back().await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event["actor"]["id"], "auto-rollback");
    assert_eq!(event["before"]["mode"], "enforce");
    assert_eq!(
        (&event["after"]["mode"], &event["after"]["percent"]),
        (&json!("shadow"), &json!(90))
    );
    assert_eq!(
        event["after"]["seen"],
        json!({"checks": 16, "tenants_checked": 10, "tenants_refused": 3})
    );
    assert_eq!(
        event["reason"],
        "3 of 10 tenants were refused within 60 seconds: more than the ratio 0.25"
    );
    let text = telemetry::scrape().unwrap();
    // Other tests may count beside this one.
    let counted =
        text.lines().find_map(|line| line.strip_prefix("entitlement_auto_rollbacks_total "));
    assert!(counted.unwrap().parse::<u64>().unwrap() >= 1, "{counted:?}");
}

#[tokio::test]
async fn it_never_flips_back_and_does_nothing_where_nothing_is_enforced() {
    let app = ten().await;
    app.watched(0.1, 1, 1).await;
    app.ask_by(10, "erp").await;
    assert!(app.gives_way().await);
    for _ in 0..3 {
        app.ask_by(10, "crm").await;
        app.advance(Duration::from_secs(600));
        assert!(!app.gives_way().await);
        assert_eq!(app.service.world().rollout.settings.mode, RolloutMode::Shadow);
    }
    for mode in ["off", "shadow"] {
        app.settings(json!({"mode": mode, "auto_rollback": bounds(0.1, 1, 1)})).await;
        app.ask_by(10, "erp").await;
        assert!(!app.gives_way().await, "{mode}");
    }
    app.settings(json!({})).await;
    app.ask_by(10, "erp").await;
    assert!(!app.gives_way().await, "without bounds");
    assert_eq!(app.rolled_back().await.len(), 1);
}

#[tokio::test]
async fn a_ratio_that_is_reached_is_not_passed() {
    let app = ten().await;
    for (ratio, refused) in [(0.1, 1), (0.3, 3), (0.7, 7), (1.0, 10)] {
        app.watched(ratio, 10, 10).await;
        app.ask_by(10, "crm").await;
        app.ask_by(refused, "erp").await;
        assert!(!app.gives_way().await, "{refused} of 10 is not more than {ratio}");
        if refused < 10 {
            app.module(&format!("t{refused}"), "erp").await;
            assert!(app.gives_way().await, "{} of 10 is more than {ratio}", refused + 1);
        }
    }
}

#[tokio::test]
async fn the_flood_of_one_tenant_opens_nothing() {
    let app = ten().await;
    app.watched(0.1, 5, 20).await;
    app.ask_by(10, "crm").await;
    for _ in 0..300 {
        app.module("t0", "erp").await;
    }
    assert!(!app.gives_way().await, "300 of 310 checks, but 1 of 10 tenants");
}

#[tokio::test]
async fn with_too_few_tenants_or_checks_nothing_happens() {
    let app = ten().await;
    app.watched(0.1, 5, 8).await;
    app.ask_by(4, "erp").await;
    app.ask_by(4, "erp").await;
    assert!(!app.gives_way().await, "8 checks, but 4 tenants");
    // Other settings, so that it begins anew.
    app.watched(0.2, 5, 8).await;
    app.ask_by(7, "erp").await;
    assert!(!app.gives_way().await, "7 tenants, but 7 checks");
    app.module("t7", "erp").await;
    assert!(app.gives_way().await, "8 and 8");
}

#[tokio::test]
async fn the_window_slides() {
    let app = ten().await;
    app.watched(0.5, 1, 1).await;
    app.ask_by(2, "erp").await;
    app.advance(Duration::from_secs(30));
    for number in 2..6 {
        app.module(&format!("t{number}"), "crm").await;
    }
    assert!(!app.gives_way().await, "2 of 6");
    // A minute after the refusals they are out, and not a second before.
    app.advance(Duration::from_secs(29));
    for number in 0..2 {
        app.module(&format!("t{number}"), "crm").await;
    }
    app.module("t2", "erp").await;
    app.module("t3", "erp").await;
    app.advance(Duration::from_secs(1));
    assert!(!app.gives_way().await, "2 of 6: those of the beginning are out");
    app.advance(Duration::from_secs(30));
    assert!(!app.gives_way().await, "2 of 4");
    app.module("t4", "erp").await;
    assert!(app.gives_way().await, "3 of 5");
}

#[tokio::test]
async fn a_refusal_within_the_window_counts_to_its_last_second() {
    let app = ten().await;
    app.watched(0.5, 1, 1).await;
    app.ask_by(1, "erp").await;
    app.advance(Duration::from_secs(59));
    assert!(app.gives_way().await);
    app.watched(0.5, 1, 1).await;
    app.ask_by(1, "erp").await;
    app.advance(Duration::from_secs(60));
    assert!(!app.gives_way().await);
}

#[tokio::test]
async fn only_tenants_that_are_enforced_count_and_only_what_the_rollout_refuses() {
    let app = ten().await;
    // In: t5 and t3, by their hash; t0, because it is named. Not in: t1, t2, t4, t7, t8.
    let more = json!({"percent": 25, "include": ["t0"], "auto_rollback": bounds(0.4, 1, 1)});
    app.settings(more).await;
    app.module("t5", "crm").await;
    for tenant in ["t0", "t3", "t5"] {
        app.module(tenant, "old").await;
        let question = json!({"tenant": tenant, "user": "u", "module": "mail", "permission": "X"});
        app.ask(question).await;
        let answer =
            app.check(json!({"tenant": tenant, "guard": "closed", "resource": {"open": false}}));
        assert_eq!(answer.await["code"], "CLOSED");
    }
    assert!(!app.gives_way().await, "what is refused in every mode");
    app.change_tenant("t0", json!({"status": "suspended", "reason": "fraud"})).await;
    app.change_tenant("t3", json!({"status": "suspended", "reason": "fraud"})).await;
    app.module("t0", "crm").await;
    app.module("t3", "crm").await;
    assert!(!app.gives_way().await, "suspended tenants");
    for number in [1, 2, 4, 7, 8] {
        app.module(&format!("t{number}"), "erp").await;
    }
    app.module("t5", "erp").await;
    assert!(!app.gives_way().await, "1 of 3: the others are only refused in shadow");
    for tenant in ["t0", "t3"] {
        app.change_tenant(tenant, json!({"status": "active", "reason": "cleared"})).await;
    }
    app.module("t3", "erp").await;
    assert!(app.gives_way().await, "2 of 3");
}

#[tokio::test]
async fn a_blocked_subscription_is_a_refusal_of_the_rollout() {
    let app = ten().await;
    app.tenant("unpaid", json!({})).await;
    app.watched(0.5, 1, 1).await;
    assert_eq!(app.module("unpaid", "crm").await, "refused no_subscription TENANT_BLOCKED 403");
    assert!(app.gives_way().await);
}

#[tokio::test]
async fn new_settings_begin_a_new_window() {
    let app = ten().await;
    app.watched(0.5, 1, 1).await;
    app.ask_by(10, "erp").await;
    // The next step, before anybody has looked.
    let more = json!({"exclude": ["t9"], "auto_rollback": bounds(0.5, 1, 1)});
    app.settings(more).await;
    assert!(!app.gives_way().await);
    app.ask_by(2, "crm").await;
    assert!(!app.gives_way().await, "0 of 2");
    app.ask_by(2, "erp").await;
    assert!(app.gives_way().await, "2 of 2");
}

#[tokio::test]
async fn who_changes_the_settings_at_the_same_time_wins() {
    let app = ten().await;
    app.watched(0.5, 1, 1).await;
    app.ask_by(10, "erp").await;
    // Nothing is written before both wait: the operator's change, then the one by itself.
    let other = Connection::open(&app.database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let by = Actor::system("operator");
    let draft = RolloutDraft {
        mode: Some(RolloutMode::Enforce),
        percent: Some(100),
        exclude: ["t0"].map(|key| key.parse::<TenantKey>().unwrap()).into(),
        auto_rollback: app.service.world().rollout.settings.auto_rollback,
        ..Default::default()
    };
    let (operator, weighed, ()) = tokio::join!(
        app.service.set_rollout(&by, draft, None),
        app.service.weigh_rollout(),
        async { other.execute_batch("COMMIT").unwrap() },
    );
    operator.unwrap();
    assert_eq!(weighed.unwrap(), Weighed::Stays);
    let now = app.root().get(PATH).await.expect(200).body;
    assert_eq!((&now["mode"], &now["exclude"]), (&json!("enforce"), &json!(["t0"])));
    assert_eq!(app.rolled_back().await.len(), 0);
    // What was seen before the change counts no more.
    assert!(!app.gives_way().await);
}

#[tokio::test]
async fn a_change_that_can_not_be_written_is_tried_again() {
    let app = ten().await;
    app.watched(0.5, 1, 1).await;
    app.ask_by(10, "erp").await;
    let sql = Connection::open(&app.database).unwrap();
    sql.execute_batch(
        "CREATE TRIGGER fails BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'for a test'); END;",
    )
    .unwrap();
    assert!(app.service.weigh_rollout().await.is_err());
    assert_eq!(app.service.world().rollout.settings.mode, RolloutMode::Enforce);
    sql.execute_batch("DROP TRIGGER fails").unwrap();
    assert!(app.gives_way().await);
}

#[tokio::test]
async fn after_a_restart_it_acts_on_what_happens_from_then_on() {
    let app = ten().await;
    app.watched(0.5, 2, 2).await;
    app.ask_by(10, "erp").await;
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("entitled.db");
    let database = Connection::open(&app.database).unwrap();
    database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let options = StoreOptions { durability: Durability::None, ..StoreOptions::at(copy) };
    let (cache, keyring) = (CacheOptions::default(), Arc::new(Keyring::new(None).unwrap()));
    let (clock, policy) = (Clock::manual(start()), Policy::default());
    let again = Service::open(&options, cache, Gating::BySettings, policy, clock, keyring).unwrap();
    assert_eq!(again.weigh_rollout().await.unwrap(), Weighed::Stays);
    let root = Actor::system("test");
    for tenant in ["t0", "t1"] {
        let check = entitled::service::decisions::Check {
            tenant: Some(tenant.parse().unwrap()),
            module: Some("erp".parse().unwrap()),
            ..Default::default()
        };
        assert!(!again.check(&root, &check).await.unwrap().decision.allowed);
    }
    assert_ne!(again.weigh_rollout().await.unwrap(), Weighed::Stays);
    assert_eq!(again.world().rollout.settings.mode, RolloutMode::Shadow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tenants_that_are_counted_by_many_threads_count_once() {
    let app = Arc::new(ten().await);
    app.watched(0.9, 10, 40).await;
    let asks = (0..4).map(|_| {
        let app = app.clone();
        tokio::spawn(async move {
            app.ask_by(9, "erp").await;
            app.module("t9", "crm").await;
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap();
    }
    assert!(!app.gives_way().await, "9 of 10, however many threads have seen them");
    app.module("t9", "erp").await;
    assert!(app.gives_way().await);
    assert_eq!(
        app.rolled_back().await[0]["after"]["seen"],
        json!({"checks": 41, "tenants_checked": 10, "tenants_refused": 10})
    );
}
