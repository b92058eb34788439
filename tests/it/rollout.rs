//! The rollout over HTTP: from open gates to enforcement for everyone in small steps, and back.

use std::sync::Arc;

use entitled::{
    clock::Clock,
    domain::callers::OperatorRole,
    engine::Gating,
    service::{Service, keyring::Keyring, memory::CacheOptions, policy::Policy},
    store::{Durability, StoreOptions},
};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    given::shown,
    harness::{App, Given, Reply, start},
};

const PATH: &str = "/api/v1/admin/rollout";

const CATALOG: &str = "
modules:
  crm: {name: CRM}
  erp: {name: ERP}
  old: {name: Old, status: disabled}
features:
  pipelines: {name: Pipelines, type: boolean, module: crm}
  contacts: {name: Contacts, type: limit, module: crm}
  ledgers: {name: Ledgers, type: boolean, module: erp}
  reports: {name: Reports, type: boolean}
plans:
  basic: {name: Basic, rank: 1}
guards:
  leads: {module: crm, conditions: [{unless: 'resource.open', reason: closed, code: CLOSED, message: Closed.}]}
";

// The bucket of t5 is below 500, that of t3 below 2500, that of t0 not.
const TENANTS: [&str; 3] = ["t5", "t3", "t0"];

/// Three tenants that have nothing.
async fn suite_given(given: Given) -> App {
    let app = App::given(given).await;
    app.apply_catalog(CATALOG).await;
    for tenant in TENANTS {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }
    app
}

async fn suite() -> App {
    suite_given(Given::default()).await
}

async fn put(app: &App, body: Value) -> Reply {
    app.root().put(PATH, body).await
}

/// Enforcement for so many of a hundred; `more` is merged in.
async fn enforce(app: &App, percent: u64, more: Value) -> Value {
    let mut body = json!({"mode": "enforce", "percent": percent});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    put(app, body).await.expect(200).body
}

/// Which of the tenants are refused the CRM that they don't have.
async fn refused(app: &App) -> Vec<&'static str> {
    let mut refused = Vec::new();
    for tenant in TENANTS {
        let answer = app.check(json!({"tenant": tenant, "module": "crm"})).await;
        let payload = app.entitlements(tenant).await;
        let crm = &payload["module_access"]["crm"];
        assert_eq!(payload["enforced"], answer["enforced"], "{tenant}");
        match shown(&answer).as_str() {
            "refused not_granted MODULE_NOT_ENTITLED 403" => {
                assert_eq!((&answer["enforced"], answer.get("would_reason")), (&json!(true), None));
                assert_eq!((&crm["enabled"], crm.get("would_reason")), (&json!(false), None));
                refused.push(tenant);
            }
            "allowed gating_disabled" => {
                assert_eq!(
                    (&answer["enforced"], &answer["would_allow"], &answer["would_reason"]),
                    (&json!(false), &json!(false), &json!("not_granted"))
                );
                assert_eq!(answer["source"], json!({"kind": "rollout"}));
                assert_eq!(
                    (&crm["enabled"], &crm["would_reason"]),
                    (&json!(true), &json!("not_granted"))
                );
            }
            other => panic!("{tenant}: {other}"),
        }
    }
    refused
}

/// What the explanation says of rule 5, and the version of the answer.
async fn rule_5(app: &App, tenant: &str, question: Value) -> (String, u64) {
    let mut body = json!({"tenant": tenant, "explain": true});
    body.as_object_mut().unwrap().extend(question.as_object().unwrap().clone());
    let answer = app.check(body).await;
    let steps = answer["trace"].as_array().unwrap();
    let facts: Vec<_> = steps.iter().filter(|step| step["rule"] == 5).collect();
    let facts: Vec<_> = facts.iter().map(|step| step["fact"].as_str().unwrap()).collect();
    (facts.join(" "), answer["version"].as_u64().unwrap())
}

#[tokio::test]
async fn a_fresh_service_enforces_for_everyone() {
    let app = suite().await;
    let reply = app.root().get(PATH).await.expect(200);
    assert_eq!(
        reply.body,
        json!({
            "mode": "enforce", "percent": 100, "include": [], "exclude": [],
            "unenforced_modules": [], "auto_rollback": null, "source": "settings",
            "updated_at": null, "updated_by": null
        })
    );
    assert_eq!(reply.header("etag"), "\"1\"");
    assert_eq!(refused(&app).await, TENANTS);
}

#[tokio::test]
async fn from_off_through_shadow_and_percentages_to_everyone_and_back() {
    let app = suite().await;
    let mut last = 0;
    for (mode, percent, expected, fact) in [
        ("off", 100, &[][..], "Not enforced: the rollout's mode is off."),
        ("shadow", 100, &[], "Not enforced: the rollout's mode is shadow."),
        ("enforce", 0, &[], "Not enforced: beyond the rollout's percent, which is 0."),
        ("enforce", 5, &["t5"], "Not enforced: beyond the rollout's percent, which is 5."),
        ("enforce", 25, &["t5", "t3"], "Not enforced: beyond the rollout's percent, which is 25."),
        ("enforce", 100, &TENANTS, "Enforced: within the rollout's percent, which is 100."),
        ("shadow", 100, &[], "Not enforced: the rollout's mode is shadow."),
        ("off", 100, &[], "Not enforced: the rollout's mode is off."),
    ] {
        put(&app, json!({"mode": mode, "percent": percent})).await.expect(200);

        assert_eq!(refused(&app).await, expected, "{mode} {percent}");
        let (told, version) = rule_5(&app, "t0", json!({"module": "crm"})).await;
        assert_eq!(told, fact);
        assert!(version > last, "each answer after a change has another version");
        last = version;
    }
}

#[tokio::test]
async fn include_always_and_exclude_never_also_before_the_tenant_is_made() {
    let app = suite().await;
    enforce(&app, 5, json!({"include": ["t0", "new"], "exclude": ["t5"]})).await;
    assert_eq!(refused(&app).await, ["t0"]);
    let (told, _) = rule_5(&app, "t0", json!({"module": "crm"})).await;
    assert_eq!(told, "Enforced: the rollout's include names the tenant.");
    let (told, _) = rule_5(&app, "t5", json!({"module": "crm"})).await;
    assert_eq!(told, "Not enforced: the rollout's exclude names the tenant.");

    app.tenant("new", json!({"billing": "direct"})).await;
    assert_eq!(app.module("new", "crm").await, "refused not_granted MODULE_NOT_ENTITLED 403");
    // Neither list opens gates that are closed, nor closes what is open.
    put(&app, json!({"mode": "shadow", "percent": 5, "include": ["t0"]})).await.expect(200);
    assert_eq!(refused(&app).await, [""; 0]);
}

#[tokio::test]
async fn users_without_a_tenant_are_reached_by_their_own_hash() {
    let app = suite().await;
    enforce(&app, 25, json!({})).await;
    // The bucket of u3 is 1781, that of u1 is 8464.
    for (user, expected) in
        [("u3", "refused plan_limit FEATURE_NOT_ENTITLED 402"), ("u1", "allowed gating_disabled")]
    {
        assert_eq!(app.ask(json!({"user": user, "features": ["reports"]})).await, expected);
        let payload = app.backend().get(&format!("/api/v1/users/{user}/entitlements")).await;
        let payload = payload.expect(200).body;
        assert_eq!(payload["enforced"], expected.starts_with("refused"), "{user}");
    }
}

#[tokio::test]
async fn what_belongs_to_an_unenforced_module_is_open_and_nothing_else() {
    let app = suite().await;
    enforce(&app, 100, json!({"unenforced_modules": ["crm"]})).await;
    let open = "allowed gating_disabled";
    let contacts = json!({"feature": "contacts", "requested": 3, "current": 8});
    for (question, expected) in [
        (json!({"module": "crm"}), open),
        (json!({"features": ["pipelines"]}), open),
        (json!({"module": "crm", "features": ["pipelines", "contacts"]}), open),
        (json!({"features": ["ledgers", "pipelines"], "match": "any"}), open),
        (json!({"usage": contacts}), open),
        (json!({"module": "erp"}), "refused not_granted MODULE_NOT_ENTITLED 403"),
        (json!({"features": ["reports"]}), "refused not_granted FEATURE_NOT_ENTITLED 402"),
        (json!({"module": "old"}), "refused feature_disabled MODULE_NOT_ENTITLED 403"),
        (
            json!({"module": "crm", "features": ["ledgers"]}),
            "refused not_granted FEATURE_NOT_ENTITLED 402",
        ),
        (
            json!({"module": "crm", "permission": "CAN_SELL", "user": "ana"}),
            "refused permission_denied PERMISSION_DENIED 403",
        ),
        (json!({"guard": "leads", "resource": {"open": true}}), open),
        (json!({"guard": "leads", "resource": {"open": false}}), "refused condition CLOSED 403"),
    ] {
        let mut body = question.clone();
        body["tenant"] = "t0".into();
        let answer = app.check(body).await;
        if expected == open {
            assert_eq!(shown(&answer), open, "{question}");
            assert_eq!(
                (&answer["enforced"], &answer["would_allow"]),
                (&json!(false), &json!(false))
            );
            assert!(answer["would_reason"].is_string(), "{question}: {answer:#}");
        } else {
            assert_eq!(answer["enforced"], true, "{question}");
            assert_eq!(answer.get("would_reason"), None, "{question}");
            if !expected.starts_with("refused condition") {
                assert_eq!(shown(&answer), expected, "{question}");
            }
            assert_eq!(answer["allowed"], false, "{question}");
        }
    }
    // The mixed question is refused for what is enforced of it.
    let mixed = json!({"tenant": "t0", "module": "crm", "features": ["ledgers"]});
    assert_eq!(app.check(mixed).await["fields"]["feature"], json!(["ledgers"]));
    let (told, _) = rule_5(&app, "t0", json!({"module": "crm"})).await;
    assert!(told.ends_with("its module is among the rollout's unenforced_modules."), "{told}");
    // What a tenant has reads as it always does.
    app.grant("t0", "crm", json!({"state": "enabled"})).await.expect(201);
    let answer = app.check(json!({"tenant": "t0", "module": "crm"})).await;
    assert_eq!((shown(&answer).as_str(), &answer["enforced"]), ("allowed grant", &json!(true)));
}

#[tokio::test]
async fn the_payload_shows_what_an_unenforced_module_opens() {
    let app = suite().await;
    enforce(&app, 100, json!({"unenforced_modules": ["crm"]})).await;
    let payload = app.entitlements("t0").await;
    assert_eq!((&payload["enforced"], &payload["modules"]), (&json!(true), &json!(["crm"])));
    for (place, entry) in [
        ("crm", &payload["module_access"]["crm"]),
        ("pipelines", &payload["features"]["pipelines"]),
        ("contacts", &payload["limits"]["contacts"]),
    ] {
        assert_eq!(
            (&entry["enabled"], &entry["reason"], &entry["would_reason"]),
            (&json!(true), &json!("gating_disabled"), &json!("not_granted")),
            "{place}"
        );
    }
    let erp = &payload["module_access"]["erp"];
    assert_eq!((&erp["enabled"], erp.get("would_reason")), (&json!(false), None));
}

#[tokio::test]
async fn a_blocked_or_suspended_tenant_is_no_matter_of_a_module() {
    let app = suite().await;
    app.tenant("unpaid", json!({})).await;
    enforce(&app, 100, json!({"unenforced_modules": ["crm"]})).await;
    assert_eq!(app.module("unpaid", "crm").await, "refused no_subscription TENANT_BLOCKED 403");
    app.change_tenant("t0", json!({"status": "suspended", "reason": "fraud"})).await;
    assert_eq!(app.module("t0", "crm").await, "refused suspended TENANT_BLOCKED 403");
    // Whoever would be blocked is listed in every mode.
    put(&app, json!({"mode": "shadow", "percent": 100})).await.expect(200);
    assert_eq!(app.module("unpaid", "crm").await, "allowed gating_disabled");
    let list = "/api/v1/admin/tenants?blocked_reason=no_subscription";
    let list = app.root().get(list).await.expect(200).body;
    assert_eq!(list["items"][0]["key"], "unpaid");
}

#[tokio::test]
async fn the_environment_wins_over_all_settings_and_is_named_as_the_source() {
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = suite_given(given).await;
    let answer = enforce(&app, 100, json!({"include": ["t0"]})).await;
    assert_eq!((&answer["source"], &answer["mode"]), (&json!("environment"), &json!("enforce")));
    assert_eq!(refused(&app).await, [""; 0]);
    let (told, _) = rule_5(&app, "t0", json!({"module": "crm"})).await;
    assert_eq!(told, "ENABLE_ENTITLEMENTS_GATING is false.");
}

#[tokio::test]
async fn every_fault_is_named_at_once_and_nothing_changes() {
    let app = suite().await;
    let fields = |reply: Reply, code: &str| -> Vec<String> {
        let body = reply.expect_problem(422, code).body;
        body["fields"].as_object().unwrap().keys().cloned().collect()
    };
    let body = json!({
        "mode": "on", "percent": 101, "include": ["t0", "a b"], "exclude": ["t0", null],
        "unenforced_modules": ["crm", "crn"],
        "auto_rollback": {"ratio": 1.5, "min_tenants": 0, "min_checks": 1, "window_seconds": 1}
    });
    assert_eq!(
        fields(put(&app, body).await, "INVALID_VALUE"),
        [
            "auto_rollback.min_tenants",
            "auto_rollback.ratio",
            "auto_rollback.window_seconds",
            "exclude",
            "exclude[1]",
            "include[1]",
            "mode",
            "percent",
            "unenforced_modules[1]"
        ]
    );
    assert_eq!(fields(put(&app, json!({})).await, "INVALID_VALUE"), ["mode", "percent"]);
    for percent in [json!(-1), json!(12.5), json!("5"), json!(101)] {
        let body = json!({"mode": "enforce", "percent": percent});
        assert_eq!(fields(put(&app, body).await, "INVALID_VALUE"), ["percent"], "{percent}");
    }
    let body = json!({"mode": "enforce", "percent": 5, "auto_rollback": {"ratio": 0.5}});
    assert_eq!(fields(put(&app, body).await, "INVALID_VALUE").len(), 3);
    let many: Vec<_> = (0..10_001).map(|n| format!("m{n}")).collect();
    let body = json!({"mode": "enforce", "percent": 5, "include": many});
    assert_eq!(fields(put(&app, body).await, "INVALID_VALUE"), ["include"]);

    let body = json!({"mode": "enforce", "percent": 5, "unenforced_modules": ["crn"]});
    let unknown = put(&app, body).await.expect_problem(422, "UNKNOWN_KEY").body;
    let why = unknown["fields"]["unenforced_modules[0]"][0].as_str().unwrap();
    assert!(why.contains("did you mean “crm”?"), "{why}");

    let body = json!({"mode": "off", "percent": 5, "dry": 1});
    assert_eq!(fields(put(&app, body).await, "INVALID_VALUE"), ["dry"]);
    assert_eq!(app.root().get(PATH).await.expect(200).header("etag"), "\"1\"");
    assert_eq!(app.events("event=rollout").await.len(), 0);
}

#[tokio::test]
async fn a_change_is_audited_once_with_what_was_before_and_after() {
    let app = suite().await;
    let auto = json!({"ratio": 0.2, "min_tenants": 20, "min_checks": 500, "window_seconds": 300});
    let body = json!({
        "mode": "enforce", "percent": 25, "include": ["t3", "t0", "t3"], "exclude": [],
        "unenforced_modules": ["erp"], "auto_rollback": auto
    });
    let first = put(&app, body.clone()).await.expect(200);
    let again = put(&app, body).await.expect(200);
    assert_eq!((first.header("etag"), &first.body), (again.header("etag"), &again.body));
    assert_eq!(first.body["include"], json!(["t0", "t3"]));
    assert_eq!(first.body["updated_at"], start().to_string());
    assert!(first.body["updated_by"].is_string());
    assert_eq!(app.root().get(PATH).await.expect(200).body, first.body);

    let events = app.events("event=rollout").await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((&event["event"], &event["tenant"]), (&json!("rollout.changed"), &Value::Null));
    let (before, after) = (&event["before"], &event["after"]);
    assert_eq!((&before["percent"], &before["auto_rollback"]), (&json!(100), &Value::Null));
    assert_eq!((&after["percent"], &after["auto_rollback"]), (&json!(25), &auto));
    assert_eq!(after["include"], json!(["t0", "t3"]));
    assert_eq!(event["actor"]["id"], first.body["updated_by"]);
}

#[tokio::test]
async fn a_change_made_for_other_settings_is_refused() {
    let app = suite().await;
    let change = |tag: &'static str, percent: u64| {
        let body = json!({"mode": "enforce", "percent": percent});
        let root = app.root();
        async move { root.send(Method::PUT, PATH, Some(body), &[("If-Match", tag)]).await }
    };
    let changed = change("\"1\"", 5).await.expect(200);
    assert_eq!(changed.header("etag"), "\"2\"");
    change("\"1\"", 50).await.expect_problem(412, "PRECONDITION_FAILED");
    change("*", 25).await.expect(200);
    assert_eq!(refused(&app).await, ["t5", "t3"]);
}

#[tokio::test]
async fn super_admins_change_it_staff_read_it_and_nobody_else_does() {
    let app = suite().await;
    let body = json!({"mode": "off", "percent": 0});
    for role in [OperatorRole::Support, OperatorRole::Auditor] {
        let caller = app.caller(role, None, "sam");
        caller.get(PATH).await.expect(200);
        caller.put(PATH, body.clone()).await.expect_problem(403, "FORBIDDEN");
    }
    for caller in [app.backend(), app.caller(OperatorRole::TenantAdmin, Some("t0"), "ada")] {
        caller.get(PATH).await.expect_problem(403, "FORBIDDEN");
        caller.put(PATH, body.clone()).await.expect_problem(403, "FORBIDDEN");
    }
    assert_eq!(refused(&app).await, TENANTS);
}

#[tokio::test]
async fn a_restart_keeps_it() {
    let app = suite().await;
    enforce(&app, 25, json!({"exclude": ["t5"], "unenforced_modules": ["erp"]})).await;
    let there = app.service.world();

    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("entitled.db");
    let database = Connection::open(&app.database).unwrap();
    database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let options = StoreOptions { durability: Durability::None, ..StoreOptions::at(copy) };
    let (cache, keyring) = (CacheOptions::default(), Arc::new(Keyring::new(None).unwrap()));
    let clock = Clock::manual(start());
    let again =
        Service::open(&options, cache, Gating::BySettings, Policy::default(), clock, keyring);
    let world = again.unwrap().world();

    assert_eq!((&world.rollout, world.version), (&there.rollout, there.version));
    assert_eq!(world.rollout.settings.percent, 25);
}

#[tokio::test]
async fn it_holds_before_there_is_a_catalog_and_for_catalogs_after_it() {
    let app = App::start().await;
    let reply = put(&app, json!({"mode": "off", "percent": 100})).await.expect(200);
    assert_eq!(reply.header("etag"), "\"2\"");
    app.apply_catalog(CATALOG).await;
    for tenant in TENANTS {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }
    assert_eq!(refused(&app).await, [""; 0]);
}

#[tokio::test]
async fn a_module_that_it_names_stays_in_the_catalog() {
    let app = suite().await;
    enforce(&app, 100, json!({"unenforced_modules": ["erp"]})).await;
    let without = "modules: {crm: {name: CRM}}\nplans: {basic: {name: Basic, rank: 1}}\n";
    let refused = app.put_catalog("", without).await.expect_problem(422, "KEY_IN_USE").body;
    let why = refused["fields"]["modules.erp"][0].as_str().unwrap();
    assert!(why.contains("unenforced_modules"), "{why}");

    enforce(&app, 100, json!({})).await;
    app.put_catalog("", without).await.expect(200);
}
