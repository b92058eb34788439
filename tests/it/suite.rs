//! The suite product, played over HTTP against the catalog as it is shipped: modules that are granted
//! without any plan, and a rollout over many organisations.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use entitled::domain::{callers::OperatorRole, checks::Mode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    forward_auth::ask,
    given::{day, each, shown},
    harness::{App, Client},
};

const MODULES: [&str; 5] = ["crm", "email", "erp", "manufacturing", "settings"];
const NOT_GRANTED: &str = "refused not_granted MODULE_NOT_ENTITLED 403";
const DENIED: &str = "refused permission_denied PERMISSION_DENIED 403";
const ROLLOUT: &str = "/api/v1/admin/rollout";

/// The product with one organisation, `acme`: ada administers it, bob works there.
async fn suite() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/suite.yaml")).await;
    app.tenant("acme", json!({"billing": "direct"})).await;
    for (user, role) in [("ada", "org_admin"), ("bob", "member")] {
        let path = "/api/v1/tenants/acme/role-assignments";
        app.root().post(path, json!({"user": user, "role": role})).await.expect(201);
    }
    app
}

/// Puts a selection of modules in place of the present one.
async fn select(app: &App, selection: Value) -> Value {
    let mut body = json!({"reason": "Chosen by the customer"});
    body.as_object_mut().unwrap().extend(selection.as_object().unwrap().clone());
    app.root().put("/api/v1/admin/tenants/acme/modules", body).await.expect(200).body
}

/// Everything that is asked about the modules of `acme` answers this: checks, the payload, its list.
async fn answers(app: &App, expected: [&str; 5]) {
    let payload = app.entitlements("acme").await;
    let reasons = each(&payload["module_access"], "reason");
    let mut open = Vec::new();
    for (module, expected) in MODULES.into_iter().zip(expected) {
        assert_eq!(app.module("acme", module).await, expected, "{module}");
        assert!(expected.split(' ').any(|word| reasons[module] == word), "{module}: {reasons}");
        if expected.starts_with("allowed") {
            open.push(module);
        }
    }
    assert_eq!(payload["modules"], json!(open));
}

/// How a user may do what a guard stands for.
async fn may(app: &App, user: &str, guard: &str) -> String {
    app.ask(json!({"tenant": "acme", "user": user, "guard": guard})).await
}

/// The status that a reverse proxy gets for a path.
async fn through(client: &Client<'_>, method: &str, path: &str) -> u16 {
    ask(client, method, path).await.status
}

#[tokio::test]
async fn an_organisation_with_crm_alone_is_refused_the_other_modules() {
    let app = suite().await;
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(201);

    let (grant, email, settings) = ("allowed grant", "allowed always_on", "allowed rbac_only");
    answers(&app, [grant, email, NOT_GRANTED, NOT_GRANTED, settings]).await;
    let refused = app.check(json!({"tenant": "acme", "module": "erp"})).await;
    assert_eq!(refused["fields"], json!({"module": ["erp"]}));
    assert_eq!(refused["remedies"], json!([{"kind": "contact_admin"}]));

    let (ada, bob) = (app.user("acme", "ada"), app.user("acme", "bob"));
    for (user, method, path, status) in [
        (&bob, "GET", "/crm/leads", 200),
        (&bob, "GET", "/email/inbox", 200),
        (&bob, "GET", "/erp/orders", 403),
        (&bob, "GET", "/manufacturing/orders", 403),
        // Entitled, but not permitted; and permitted, but not entitled.
        (&bob, "POST", "/crm/leads/7/assignee", 403),
        (&ada, "POST", "/crm/leads/7/assignee", 200),
        (&ada, "POST", "/erp/orders/7/approval", 403),
        (&ada, "GET", "/elsewhere", 403),
    ] {
        assert_eq!(through(user, method, path).await, status, "{method} {path}");
    }
    assert_eq!(may(&app, "bob", "crm.leads.assign").await, DENIED);
    assert_eq!(may(&app, "ada", "erp.orders.approve").await, NOT_GRANTED);
}

#[tokio::test]
async fn with_nothing_enabled_email_works_and_settings_is_for_who_is_permitted() {
    let app = suite().await;

    let (email, settings) = ("allowed always_on", "allowed rbac_only");
    answers(&app, [NOT_GRANTED, email, NOT_GRANTED, NOT_GRANTED, settings]).await;
    assert_eq!(may(&app, "ada", "settings.manage").await, "allowed rbac_only");
    assert_eq!(may(&app, "bob", "settings.manage").await, DENIED);
    let payload = app.entitlements("acme").await;
    assert_eq!((&payload["blocked"], &payload["plan"]), (&json!(false), &Value::Null));

    let (ada, bob) = (app.user("acme", "ada"), app.user("acme", "bob"));
    for (path, of_ada, of_bob) in [
        ("/email/inbox", 200, 200),
        ("/settings/users", 200, 403),
        ("/me", 200, 200),
        ("/crm/leads", 403, 403),
        ("/erp/orders", 403, 403),
        ("/manufacturing/orders", 403, 403),
    ] {
        assert_eq!(through(&ada, "GET", path).await, of_ada, "{path}");
        assert_eq!(through(&bob, "GET", path).await, of_bob, "{path}");
    }
}

#[tokio::test]
async fn manufacturing_on_trial_works_until_the_instant_of_its_end() {
    let app = suite().await;
    let trial = json!({"state": "trial", "trial_expires_at": day(14)});
    app.grant("acme", "manufacturing", trial).await.expect(201);
    let question = json!({"tenant": "acme", "module": "manufacturing"});
    let bob = app.user("acme", "bob");

    let answer = app.check(question.clone()).await;
    assert_eq!(
        (shown(&answer).as_str(), &answer["valid_until"]),
        ("allowed trial", &json!(day(14)))
    );
    let entry = app.entitlements("acme").await["module_access"]["manufacturing"].clone();
    assert_eq!((&entry["reason"], &entry["expires_at"]), (&json!("trial"), &json!(day(14))));
    assert_eq!(through(&bob, "GET", "/manufacturing/orders").await, 200);
    app.move_to_end_of_day(14);
    assert_eq!(app.ask(question.clone()).await, "allowed trial");

    app.advance(Duration::from_micros(1));
    let refused = app.check(question).await;
    assert_eq!(shown(&refused), "refused trial_expired MODULE_NOT_ENTITLED 403");
    assert_eq!(refused["remedies"], json!([{"kind": "contact_admin"}]));
    assert_eq!(through(&bob, "GET", "/manufacturing/orders").await, 403);
    let entry = app.entitlements("acme").await["module_access"]["manufacturing"].clone();
    assert_eq!((&entry["enabled"], &entry["reason"]), (&json!(false), &json!("trial_expired")));
    // Its end is recorded once.
    for expired in [1, 0] {
        let run = app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body;
        assert_eq!(run["expired"], expired);
    }
    assert_eq!(app.events("tenant=acme&event=grant.trial_expired").await.len(), 1);
    // Paid for, it works again.
    let bought = app.grant("acme", "manufacturing", json!({"state": "enabled"})).await;
    bought.expect(200);
    assert_eq!(app.module("acme", "manufacturing").await, "allowed grant");
}

#[tokio::test]
async fn a_super_admin_passes_where_nothing_is_enabled_and_each_time_is_written_down() {
    let app = suite().await;
    let staff = app.bearer(&app.token(OperatorRole::Support, None, "sue", Mode::Platform, None));
    let question = |module| json!({"tenant": "acme", "module": module});
    // Who merely says so is judged like everybody.
    let answer = staff.post("/api/v1/check", question("erp")).await.expect(200).body;
    assert_eq!(shown(&answer), NOT_GRANTED);
    let body = json!({"user": "sue", "role": "super_admin"});
    app.root().post("/api/v1/admin/role-assignments", body).await.expect(201);

    for module in MODULES {
        let answer = staff.post("/api/v1/check", question(module)).await.expect(200).body;
        assert_eq!(shown(&answer), "allowed super_admin_bypass", "{module}");
    }
    let written = app.events("event=entitlement.super_admin_bypass").await;
    let told: Vec<_> = written.iter().map(|event| &event["after"]["module"]).collect();
    assert_eq!(told, MODULES);
    for event in &written {
        assert_eq!((&event["tenant"], &event["subject"]), (&json!("acme"), &json!("sue")));
        assert_eq!(event["actor"]["mode"], "platform");
    }
    // For everybody else nothing has changed.
    assert_eq!(app.module("acme", "erp").await, NOT_GRANTED);
    assert_eq!(app.events("event=entitlement.super_admin_bypass").await, written);
}

#[tokio::test]
async fn after_a_selection_of_crm_and_erp_access_matches_at_once() {
    let app = suite().await;
    let (grant, email, settings) = ("allowed grant", "allowed always_on", "allowed rbac_only");
    app.grant("acme", "manufacturing", json!({"state": "enabled"})).await.expect(201);
    answers(&app, [NOT_GRANTED, email, NOT_GRANTED, grant, settings]).await;
    let before = app.entitlements("acme").await["version"].as_u64();

    let selected = select(&app, json!({"bundles": ["sales", "back_office"]})).await;
    assert_eq!(each(&selected["modules"], "state"), json!({"crm": "enabled", "erp": "enabled"}));
    assert_eq!(selected["bundles"], json!(["back_office", "sales"]));
    // No worker, no wait, no refresh between.
    answers(&app, [grant, email, grant, NOT_GRANTED, settings]).await;
    let bob = app.user("acme", "bob");
    for (path, status) in [("/crm/leads", 200), ("/erp/orders", 200), ("/manufacturing/x", 403)] {
        assert_eq!(through(&bob, "GET", path).await, status, "{path}");
    }
    assert!(app.entitlements("acme").await["version"].as_u64() > before);
    let events = app.events("tenant=acme&event=grant.").await;
    let told: Vec<_> = events.iter().map(|e| (&e["event"], &e["subject"])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["grant.created", "manufacturing"],
            ["grant.removed", "manufacturing"],
            ["grant.created", "crm"],
            ["grant.created", "erp"]
        ])
    );

    // The path that the older frontend writes to does the same.
    let body = json!({"modules": {"crm": {"state": "enabled"}}, "reason": "ERP was cancelled"});
    app.root().put("/api/v1/admin/orgs/acme/entitlements", body).await.expect(200);
    answers(&app, [grant, email, NOT_GRANTED, NOT_GRANTED, settings]).await;
}

/// How many organisations the rollout is played over.
const MANY: usize = 200;

/// Where an organisation stands among ten thousand, worked out as the documentation says.
fn bucket(tenant: &str) -> u64 {
    let digest = Sha256::digest(format!("entitled:rollout:tenant:{tenant}"));
    u64::from_be_bytes(digest[..8].try_into().unwrap()) % 10_000
}

/// What each organisation is answered about a module that none of them has.
async fn asked(app: &App, tenants: &[String]) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for some in tenants.chunks(100) {
        let checks: Vec<_> =
            some.iter().map(|t| json!({"tenant": t, "module": "manufacturing"})).collect();
        let reply = app.backend().post("/api/v1/check/batch", json!({"checks": checks})).await;
        let body = reply.expect(200).body;
        let results = body["results"].as_array().unwrap();
        for (tenant, result) in some.iter().zip(results) {
            let decision = &result["decision"];
            assert_eq!(decision["would_allow"], false, "{tenant}: {decision:#}");
            assert_eq!(decision["enforced"], decision["allowed"] == false, "{tenant}");
            answers.insert(tenant.clone(), shown(decision));
        }
    }
    assert_eq!(answers.len(), tenants.len());
    answers
}

#[tokio::test]
async fn enforcement_is_brought_to_many_organisations_in_steps_and_back_at_once() {
    let app = suite().await;
    // `off` first, so that nobody is refused while the organisations move in.
    let put = async |mode: &str, percent: u64| {
        let body = json!({"mode": mode, "percent": percent});
        app.root().put(ROLLOUT, body).await.expect(200);
    };
    put("off", 0).await;
    let tenants: Vec<_> = (0..MANY).map(|n| format!("org-{n}")).collect();
    for tenant in &tenants {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }

    let steps = [
        ("off", 0, 0),
        ("shadow", 0, 0),
        ("enforce", 5, 500),
        ("enforce", 25, 2_500),
        ("enforce", 100, 10_000),
        ("shadow", 100, 0),
        ("enforce", 100, 10_000),
        ("off", 100, 0),
    ];
    let mut last = BTreeSet::new();
    let mut most = 0;
    for (mode, percent, below) in steps {
        // The clock stands still: what changes is answered in the same instant.
        put(mode, percent).await;
        let mut refused = BTreeSet::new();
        for (tenant, answer) in asked(&app, &tenants).await {
            let is_in = bucket(&tenant) < below;
            let expected = if is_in { NOT_GRANTED } else { "allowed gating_disabled" };
            assert_eq!(answer, expected, "{tenant} at {mode} {percent}");
            if is_in {
                refused.insert(tenant);
            }
        }
        if below >= most {
            assert!(refused.is_superset(&last), "{mode} {percent} takes somebody out");
            most = below;
        }
        last = refused;
        // What an organisation has works at every step.
        assert_eq!(app.module("acme", "email").await, "allowed always_on", "{mode} {percent}");
    }
    // The shares are what they say, as near as 200 organisations can show.
    let within = |below| tenants.iter().filter(|t| bucket(t) < below).count();
    assert!((2..=20).contains(&within(500)), "{}", within(500));
    assert!((30..=70).contains(&within(2_500)), "{}", within(2_500));

    let told = app.events("event=rollout.changed").await;
    let told: Vec<_> =
        told.iter().map(|e| (e["after"]["mode"].clone(), e["after"]["percent"].clone())).collect();
    let expected = steps.iter().map(|(mode, percent, _)| (json!(mode), json!(percent)));
    assert_eq!(told, expected.collect::<Vec<_>>());
}
