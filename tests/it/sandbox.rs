//! Sandbox tenants have a clock of their own: it moves forward only, and everything about the tenant
//! follows it, while every other tenant stays where it is.

use entitled::domain::callers::OperatorRole;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::days,
    harness::{App, Reply, start},
    legacy::{differences, import, suite},
};

const DAY: u64 = 86_400;

async fn clock(app: &App, tenant: &str, body: Value) -> Reply {
    app.root().put(&format!("/api/v1/admin/tenants/{tenant}/clock"), body).await
}

async fn advance(app: &App, tenant: &str, by_days: u64) -> Value {
    clock(app, tenant, json!({"advance_seconds": by_days * DAY})).await.expect(200).body
}

/// A sandbox and an ordinary tenant, both on the starter plan.
async fn both() -> App {
    let app = App::retail().await;
    app.tenant("box", json!({"sandbox": true})).await;
    app.tenant("real", json!({})).await;
    for tenant in ["box", "real"] {
        app.assign(tenant, "starter", json!({})).await;
    }
    app
}

async fn reason(app: &App, tenant: &str, module: &str) -> Value {
    app.check(json!({"tenant": tenant, "module": module})).await["reason"].clone()
}

/// How often each event about a tenant stands in the trail, of those that tell of an end.
async fn ends(app: &App, tenant: &str) -> Vec<String> {
    let path = format!("/api/v1/admin/audit?tenant={tenant}&limit=200");
    let items = app.root().get(&path).await.expect(200).body["items"].clone();
    let names = items.as_array().unwrap().iter().map(|item| item["event"].as_str().unwrap());
    let mut ends: Vec<_> = names
        .filter(|name| name.ends_with("expired") || name.ends_with("ended"))
        .map(str::to_owned)
        .collect();
    ends.sort();
    ends
}

#[tokio::test]
async fn a_clock_moves_forward_only_and_only_of_a_sandbox() {
    let app = both().await;
    let moved = advance(&app, "box", 10).await;
    assert_eq!(moved["now"], "2026-03-11T12:00:00Z");
    assert_eq!(moved["ahead_seconds"], 10 * DAY);
    let to = |now: &str| json!({"now": now});
    clock(&app, "box", to("2026-04-01T00:00:00Z")).await.expect(200);
    let back = clock(&app, "box", to("2026-03-31T23:59:59Z")).await;
    let back = back.expect_problem(422, "INVALID_VALUE").body;
    assert!(back["fields"]["now"][0].as_str().unwrap().contains("2026-04-01"), "{back}");
    for body in [json!({}), json!({"now": "2027-01-01T00:00:00Z", "advance_seconds": 1})] {
        clock(&app, "box", body).await.expect_problem(422, "INVALID_VALUE");
    }
    for far in [json!({"now": "2200-01-01T00:00:00Z"}), json!({"advance_seconds": 1_u64 << 40})] {
        clock(&app, "box", far).await.expect_problem(422, "INVALID_VALUE");
    }
    let day = json!({"advance_seconds": DAY});
    clock(&app, "real", day.clone()).await.expect_problem(409, "NOT_A_SANDBOX");
    clock(&app, "nobody", day.clone()).await.expect_problem(404, "TENANT_NOT_FOUND");
    let support = app.caller(OperatorRole::Support, None, "sue");
    support.put("/api/v1/admin/tenants/box/clock", day).await.expect_problem(403, "FORBIDDEN");
    // It never turns into an ordinary tenant, or the other way round.
    for tenant in ["box", "real"] {
        let path = format!("/api/v1/admin/tenants/{tenant}");
        let patched = app.root().patch(&path, json!({"sandbox": true})).await;
        patched.expect_problem(422, "INVALID_VALUE");
    }
}

#[tokio::test]
async fn a_sandbox_is_shown_with_its_clock() {
    let app = both().await;
    advance(&app, "box", 1).await;
    app.advance(days(1));
    let shown = app.root().get("/api/v1/admin/tenants/box").await.expect(200).body;
    assert_eq!(
        (&shown["sandbox"], &shown["clock"]),
        (&json!(true), &json!("2026-03-03T12:00:00Z"))
    );
    let shown = app.root().get("/api/v1/admin/tenants/real").await.expect(200).body;
    assert_eq!((&shown["sandbox"], &shown["clock"]), (&json!(false), &json!(null)));
    let list = app.root().get("/api/v1/admin/tenants").await.expect(200).body;
    assert_eq!(list["items"][0]["clock"], "2026-03-03T12:00:00Z");
    assert_eq!(app.entitlements("box").await["sandbox"], true);
    assert_eq!(app.entitlements("real").await["sandbox"], false);
}

#[tokio::test]
async fn what_ends_follows_the_clock_of_its_tenant_and_is_recorded_once() {
    let app = both().await;
    let in_ten_days = "2026-03-11T12:00:00Z";
    for tenant in ["box", "real"] {
        let grant = json!({"state": "trial", "trial_expires_at": in_ten_days, "reason": "a trial"});
        let path = format!("/api/v1/admin/tenants/{tenant}/grants/dine");
        app.root().put(&path, grant).await.expect(201);
        let exception = json!({"tenant": tenant, "key": "pay", "enabled": true,
                               "expires_at": in_ten_days, "reason": "for a test"});
        app.root().post("/api/v1/admin/overrides", exception).await.expect(201);
        assert_eq!(reason(&app, tenant, "dine").await, "trial");
        assert_eq!(reason(&app, tenant, "pay").await, "override");
    }
    let payload = "/api/v1/tenants/box/entitlements";
    let before = app.backend().get(payload).await.expect(200);
    assert_eq!(before.body["valid_until"], in_ten_days);

    // One second before its end everything holds, at its end nothing does.
    clock(&app, "box", json!({"now": "2026-03-11T11:59:59Z"})).await.expect(200);
    assert_eq!(reason(&app, "box", "dine").await, "trial");
    let moved = clock(&app, "box", json!({"advance_seconds": 1})).await.expect(200).body;
    assert_eq!(moved["recorded"], 2, "{moved}");
    assert_eq!(reason(&app, "box", "dine").await, "trial_expired");
    assert_eq!(reason(&app, "box", "pay").await, "plan_limit");
    let etag = before.header("etag");
    let seen = [("if-none-match", etag)];
    let again = app.backend().send(reqwest::Method::GET, payload, None, &seen).await.expect(200);
    assert_eq!(again.body["module_access"]["dine"]["enabled"], false);
    let expected = ["entitlement.override.expired", "grant.trial_expired"];
    assert_eq!(ends(&app, "box").await, expected);
    app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200);
    advance(&app, "box", 30).await;
    assert_eq!(ends(&app, "box").await, expected, "each once");

    // For the other nothing has happened, until it is that late for everybody.
    assert_eq!(reason(&app, "real", "dine").await, "trial");
    assert_eq!(ends(&app, "real").await, Vec::<String>::new());
    app.advance(days(10));
    app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200);
    assert_eq!(reason(&app, "real", "dine").await, "trial_expired");
    assert_eq!(ends(&app, "real").await, expected);
    assert_eq!(ends(&app, "box").await, expected);
}

#[tokio::test]
async fn a_trial_runs_its_course_in_a_sandbox() {
    let app = App::retail().await;
    app.tenant("box", json!({"sandbox": true})).await;
    advance(&app, "box", 100).await;
    // What is in the future for the service, and past for the tenant, is past.
    let trial = |end: &str| {
        json!({"plan": "growth", "status": "trialing", "trial_expires_at": end,
               "change_reason": "a trial"})
    };
    let path = "/api/v1/admin/tenants/box/subscriptions";
    let past = app.root().post(path, trial("2026-04-01T00:00:00Z")).await;
    past.expect_problem(422, "INVALID_VALUE");
    let made = app.root().post(path, trial("2026-07-01T00:00:00Z")).await.expect(201).body;
    assert_eq!(made["effective_from"], "2026-06-09T12:00:00Z", "{made:#}");
    assert_eq!(app.entitlements("box").await["plan"]["status"], "trialing");
    clock(&app, "box", json!({"now": "2026-07-01T00:00:00Z"})).await.expect(200);
    assert_eq!(reason(&app, "box", "accounting").await, "trial_expired");
    assert_eq!(ends(&app, "box").await, ["subscription.trial_expired"]);
}

#[tokio::test]
async fn periods_of_usage_follow_the_clock_of_the_tenant() {
    let app = App::start().await;
    app.apply_catalog(
        "modules: {m: {name: M}}
features: {calls: {name: Calls, type: limit, module: m, usage: counter, reset: month}}
plans: {p: {name: P, rank: 1, modules: [m], features: {calls: 3}}}
",
    )
    .await;
    app.tenant("box", json!({"sandbox": true})).await;
    app.assign("box", "p", json!({})).await;
    let take = || async {
        let body = json!({"tenant": "box", "feature": "calls", "requested": 3});
        let taken = app.backend().post("/api/v1/usage/consume", body).await.expect(200).body;
        assert_eq!(mark(&taken), Some(&json!(true)));
        taken["allowed"].clone()
    };
    assert_eq!(take().await, true);
    assert_eq!(take().await, false);
    advance(&app, "box", 31).await;
    assert_eq!(take().await, true);
    let limits = app.entitlements("box").await["limits"]["calls"].clone();
    assert_eq!(
        (&limits["used"], &limits["resets_at"]),
        (&json!(3), &json!("2026-05-01T12:00:00Z"))
    );
}

#[tokio::test]
async fn a_moved_clock_is_audited_and_outlives_a_cache_that_is_emptied() {
    let app = both().await;
    advance(&app, "box", 2).await;
    clock(&app, "box", json!({"advance_seconds": 0})).await.expect(200);
    let path = "/api/v1/admin/audit?event=tenant.clock_moved";
    let items = app.root().get(path).await.expect(200).body["items"].clone();
    let [event] = items.as_array().unwrap().as_slice() else { panic!("{items:#}") };
    assert_eq!(event["at"], "2026-03-01T12:00:00Z", "the trail keeps the service's time");
    assert_eq!(event["before"]["now"], "2026-03-01T12:00:00Z");
    assert_eq!(event["after"]["now"], "2026-03-03T12:00:00Z");
    app.root().post("/api/v1/admin/cache/refresh", json!({})).await.expect(200);
    let shown = app.root().get("/api/v1/admin/tenants/box").await.expect(200).body;
    assert_eq!(shown["clock"], "2026-03-03T12:00:00Z");
    let question = json!({"tenant": "box", "module": "retail", "at": "2026-03-02T12:00:00Z"});
    app.backend().post("/api/v1/check", question).await.expect_problem(422, "INVALID_VALUE");
}

#[tokio::test]
async fn checks_of_a_sandbox_are_counted_at_the_time_of_the_service() {
    let app = both().await;
    advance(&app, "box", 60).await;
    let checks = async || {
        let report = app.root().get("/api/v1/admin/rollout/report?window=24h").await;
        report.expect(200).body["totals"]["checks"].clone()
    };
    for tenant in ["box", "real"] {
        assert_eq!(reason(&app, tenant, "zf").await, "plan_limit");
    }
    assert_eq!(checks().await, 2);

    app.clock.set(start().plus_days(3));

    assert_eq!(checks().await, 0, "what is three days old is in no window of a day");
}

#[tokio::test]
async fn what_a_webhook_is_told_of_a_sandbox_is_sent_now() {
    let app = both().await;
    let hook = json!({"url": "https://hooks.example.com/"});
    let made = app.root().post("/api/v1/admin/webhooks", hook).await.expect(201).body;
    advance(&app, "box", 60).await;

    app.grant("box", "zf", json!({"state": "enabled"})).await.expect(201);

    let id = made["webhook"]["id"].as_str().unwrap();
    let path = format!("/api/v1/admin/webhooks/{id}/deliveries");
    let told = app.root().get(&path).await.expect(200).body["items"].clone();
    let about = told.as_array().unwrap().iter().find(|it| it["event"] == "grant.created").unwrap();
    let now = json!(start());
    assert_eq!([&about["created_at"], &about["payload"]["timestamp"]], [&now, &now], "{about:#}");
}

#[tokio::test]
async fn a_request_is_known_again_though_a_sandbox_is_days_ahead() {
    let app = both().await;
    advance(&app, "box", 60).await;
    let send = async |path: &str, body: Value, key: &str| {
        app.root().send(Method::POST, path, Some(body), &[("Idempotency-Key", key)]).await
    };
    let tenant = json!({"key": "acme", "name": "Acme"});
    let first = send("/api/v1/admin/tenants", tenant.clone(), "once").await.expect(201);

    let plan = json!({"plan": "growth", "change_reason": "for a test"});
    send("/api/v1/admin/tenants/box/subscriptions", plan, "other").await.expect(201);

    let again = send("/api/v1/admin/tenants", tenant, "once").await.expect(201);
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn a_dry_run_says_what_a_write_changes_at_the_time_of_the_sandbox() {
    let app = both().await;
    let ends = start().plus_days(30);
    for tenant in ["box", "real"] {
        let trial = json!({"state": "trial", "trial_expires_at": ends});
        app.grant(tenant, "zf", trial).await.expect(201);
    }
    advance(&app, "box", 60).await;
    let rollout = json!({"mode": "off", "percent": 100});

    let said = app.root().put("/api/v1/admin/rollout?dry_run=true&limit=200", rollout).await;

    let items = said.expect(200).body["access"]["items"].clone();
    let gain = |tenant: &str| {
        let is_it = |it: &&Value| it["tenant"] == tenant && it["kind"] == "module";
        items.as_array().unwrap().iter().filter(is_it).any(|it| it["key"] == "zf")
    };
    assert_eq!((gain("box"), gain("real")), (true, false), "the trial is over in the box alone");
}

/// What an answer says of it: nothing about an ordinary tenant.
fn mark(answer: &Value) -> Option<&Value> {
    assert!(answer.is_object(), "{answer}");
    answer.get("sandbox")
}

#[tokio::test]
async fn every_decision_about_a_sandbox_says_so_and_none_about_another_tenant() {
    let app = both().await;
    for (tenant, expected) in [("box", Some(&json!(true))), ("real", None)] {
        for module in ["retail", "zf"] {
            let question = json!({"tenant": tenant, "module": module});
            assert_eq!(mark(&app.check(question.clone()).await), expected, "{question}");
            let batch = json!({"checks": [question]});
            let batch = app.backend().post("/api/v1/check/batch", batch).await.expect(200).body;
            assert_eq!(mark(&batch["results"][0]["decision"]), expected, "{question}");
            let explained = json!({"tenant": tenant, "module": module, "explain": true});
            assert_eq!(mark(&app.check(explained).await), expected, "{question}");
        }
    }
}

#[tokio::test]
async fn lists_events_and_messages_say_which_tenant_is_a_sandbox() {
    let app = both().await;
    let hook = json!({"url": "https://hooks.example.com/", "events": ["entitlement.override."]});
    let made = app.root().post("/api/v1/admin/webhooks", hook).await.expect(201).body;
    let root = app.root();
    let mut stream = root.listen("").await;
    for tenant in ["box", "real"] {
        let expected = (tenant == "box").then_some(json!(true));
        let exception = json!({"tenant": tenant, "key": "pay", "enabled": true,
                               "expires_at": start().plus_days(10), "reason": "for a test"});
        let made = app.root().post("/api/v1/admin/overrides", exception).await.expect(201).body;
        assert_eq!(mark(&made), expected.as_ref(), "{made:#}");
        let path = format!("/api/v1/admin/overrides/{}", made["id"].as_str().unwrap());
        let read = app.root().get(&path).await.expect(200).body;
        assert_eq!(mark(&read), expected.as_ref(), "{read:#}");
        let told = stream.expect("change").await.data;
        assert_eq!((told["tenant"].as_str(), mark(&told)), (Some(tenant), expected.as_ref()));
        let admin = app.caller(OperatorRole::TenantAdmin, Some(tenant), "ann");
        let wish = json!({"key": "zf", "enabled": true, "expires_at": start().plus_days(10),
                          "reason": "for a test"});
        let asked = admin.post("/api/v1/requests", wish).await.expect(201).body;
        assert_eq!(mark(&asked), expected.as_ref(), "{asked:#}");
        stream.expect("change").await;
    }
    // Told again, from what is stored.
    let mut again = root.resume(0).await;
    let mut seen = 0;
    while seen < 4 {
        let change = again.next().await.unwrap();
        let cause = change.data["cause"].as_str().unwrap_or_default();
        if cause.starts_with("entitlement.override.") {
            let is_box = change.data["tenant"] == "box";
            assert_eq!(mark(&change.data).is_some(), is_box, "{change:?}");
            seen += 1;
        }
    }
    let id = made["webhook"]["id"].as_str().unwrap();
    for path in [
        "/api/v1/admin/overrides".to_owned(),
        "/api/v1/admin/overrides/report?ends_within_days=30".to_owned(),
        "/api/v1/requests".to_owned(),
        "/api/v1/admin/audit?event=entitlement.override.".to_owned(),
        format!("/api/v1/admin/webhooks/{id}/deliveries"),
    ] {
        let items = app.root().get(&path).await.expect(200).body["items"].clone();
        let items = items.as_array().unwrap();
        let (mut boxes, mut others) = (0, 0);
        for item in items {
            let shown = item.get("override").or(item.pointer("/payload/data")).unwrap_or(item);
            let is_box = shown["tenant"] == "box";
            assert_eq!(mark(shown), is_box.then_some(&json!(true)), "{path}: {item:#}");
            if is_box { boxes += 1 } else { others += 1 }
        }
        assert!(boxes > 0 && others > 0, "{path}: {items:#?}");
    }
}

#[tokio::test]
async fn legacy_maps_are_compared_and_imported_at_the_time_of_the_sandbox() {
    let app = suite(&["real"]).await;
    app.tenant("box", json!({"sandbox": true, "billing": "direct"})).await;
    let on = json!({"box": {"crm": true}, "real": {"crm": true}});
    for tenant in ["box", "real"] {
        let trial = json!({"state": "trial", "trial_expires_at": start().plus_days(30)});
        app.grant(tenant, "crm", trial).await.expect(201);
    }
    import(&app, "", on.clone()).await.expect(200);
    assert_eq!(differences(&app).await, Vec::<String>::new());

    advance(&app, "box", 60).await;

    assert_eq!(differences(&app).await, ["box crm value_differs"]);
    let done = import(&app, "?apply=true", on).await.expect(200).body;
    assert_eq!(done["grants"], 1, "the trial of the box alone is over: {done:#}");
    assert_eq!(reason(&app, "box", "crm").await, "grant");
    assert_eq!(reason(&app, "real", "crm").await, "trial");
    let grants = app.root().get("/api/v1/admin/tenants/box/grants").await.expect(200).body;
    let grant = &grants["items"][0];
    assert_eq!(grant["updated_at"], json!(start().plus_days(60)), "{grant:#}");
    assert_eq!(differences(&app).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_report_of_exceptions_goes_by_the_time_of_the_sandbox() {
    let app = both().await;
    for tenant in ["box", "real"] {
        let exception = json!({"tenant": tenant, "key": "pay", "enabled": true,
                               "expires_at": start().plus_days(100), "reason": "for a test"});
        app.root().post("/api/v1/admin/overrides", exception).await.expect(201);
    }
    let found = async || {
        let path = "/api/v1/admin/overrides/report?ends_within_days=30&unused_days=30";
        let items = app.root().get(path).await.expect(200).body["items"].clone();
        let line = |item: &Value| format!("{} {}", item["override"]["tenant"], item["findings"]);
        items.as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(found().await, Vec::<String>::new());

    advance(&app, "box", 80).await;

    assert_eq!(found().await, [r#""box" ["unused","ends_soon"]"#]);
    advance(&app, "box", 30).await;
    assert_eq!(found().await, Vec::<String>::new(), "it is over there");
}
