//! Activation codes: shown once, redeemed once by each tenant, not to be guessed.

use std::time::Duration;

use entitled::domain::callers::OperatorRole;
use regex::Regex;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    given::{column, day, days},
    harness::{App, Client, Reply},
};

const PATH: &str = "/api/v1/admin/activation-codes";
const REDEEM: &str = "/api/v1/activation-codes/redeem";
const RETAIL: &str = include_str!("../../examples/retail.yaml");
const MORE_PLANS: &str = "plans:
  more_branches: {name: More, kind: add_on, features: {branches: 50}}
";

async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app
}

/// The retail catalog, which has a plan for users, with an add-on.
async fn shop_with_more_plans() -> App {
    let app = App::start().await;
    app.put_catalog("", RETAIL.replace("plans:\n", MORE_PLANS)).await.expect(200);
    app.tenant("shop", json!({})).await;
    app
}

fn admin<'a>(app: &'a App, tenant: &str) -> Client<'a> {
    app.caller(OperatorRole::TenantAdmin, Some(tenant), "ada")
}

/// Makes a code; `more` is merged into the body.
async fn code(app: &App, more: Value) -> (String, String) {
    let mut body = json!({"plan": "trial_unlimited", "max_redemptions": 5});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = app.root().post(PATH, body).await.expect(201).body;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("code"))
}

async fn redeem(app: &App, tenant: &str, code: &str) -> Reply {
    admin(app, tenant).post(REDEEM, json!({"tenant": tenant, "code": code})).await
}

/// The answer without what must differ.
fn bare(reply: &Reply) -> (u16, Value, Vec<String>) {
    let mut body = reply.body.clone();
    body.as_object_mut().unwrap().remove("request_id");
    let mut headers: Vec<_> = reply.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    (reply.status, body, headers)
}

#[tokio::test]
async fn a_code_is_shown_once_and_kept_nowhere() {
    let app = shop().await;
    let body = json!({"plan": "trial_unlimited", "max_redemptions": 2, "note": "Spring fair"});
    let once = [("Idempotency-Key", "fair")];
    let send =
        async || app.root().send(reqwest::Method::POST, PATH, Some(body.clone()), &once).await;
    let made = send().await.expect(201);
    let text = made.body["code"].as_str().unwrap().to_owned();
    let form = Regex::new("^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$").unwrap();
    assert!(form.is_match(&text), "{text}");
    let there = format!("{PATH}/{}", made.body["id"].as_str().unwrap());
    assert_eq!(made.header("location"), there);

    let again = send().await.expect(201).body;
    assert_eq!((&again["id"], &again["code"]), (&made.body["id"], &Value::Null));
    redeem(&app, "shop", &text).await.expect(201);
    let one = app.root().get(&there).await.expect(200).body;
    assert_eq!((&one["redeemed"], &one["note"]), (&json!(1), &json!("Spring fair")));
    let list = app.root().get(PATH).await.expect(200).body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let events = app.events("").await;
    let said = format!("{one}{list}{events:?}{}", dump(&app));
    let bare = text.replace('-', "");
    assert!(!said.contains(&text) && !said.contains(&bare), "the code lies about");
    let on_disk = std::fs::read(&app.database).unwrap();
    assert!(!on_disk.windows(text.len()).any(|bytes| bytes == text.as_bytes()));
}

#[tokio::test]
async fn a_code_with_a_duration_is_a_trial_of_that_many_days() {
    let app = shop().await;
    app.assign("shop", "starter", json!({})).await;
    let (id, text) = code(&app, json!({"duration_days": 30})).await;

    let typed = text.replace('-', " ").to_lowercase();
    let made = redeem(&app, "shop", &typed).await.expect(201).body;

    assert_eq!(made["plan"], "trial_unlimited");
    assert_eq!((&made["status"], &made["trial_expires_at"]), (&json!("trialing"), &json!(day(30))));
    assert_eq!(made["change_reason"], format!("Activation code {id}"));
    assert_eq!(app.module("shop", "zf").await, "allowed trial");
    let events = app.events("tenant=shop").await;
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(
        names[2..],
        ["subscription.closed", "subscription.assigned", "entitlement.activation_code.redeemed"]
    );
    let redeemed = events.last().unwrap();
    assert_eq!((&redeemed["subject"], &redeemed["actor"]["id"]), (&json!(id), &json!("ada")));
    assert_eq!(
        (&redeemed["before"]["redeemed"], &redeemed["after"]["redeemed"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(redeemed["after"]["subscription"], made["id"]);
    app.move_to_day(30);
    assert_eq!(app.module("shop", "zf").await, "refused trial_expired MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn a_code_without_a_duration_is_an_active_subscription() {
    let app = shop().await;
    let (_, text) = code(&app, json!({"plan": "growth"})).await;
    let made = admin(&app, "shop").post(REDEEM, json!({"code": text})).await.expect(201).body;
    assert_eq!((&made["tenant"], &made["status"]), (&json!("shop"), &json!("active")));
    assert_eq!(made["trial_expires_at"], Value::Null);
    assert_eq!(app.module("shop", "dine").await, "allowed plan");
}

#[tokio::test]
async fn an_add_on_stands_beside_the_plan() {
    let app = shop_with_more_plans().await;
    app.assign("shop", "starter", json!({})).await;
    let (_, text) = code(&app, json!({"plan": "more_branches"})).await;
    redeem(&app, "shop", &text).await.expect(201);
    let payload = app.entitlements("shop").await;
    assert_eq!(payload["plan"]["key"], "starter");
    assert_eq!(payload["limits"]["branches"]["limit"], 50);
}

#[tokio::test]
async fn a_trial_by_code_counts_as_tried() {
    let app = shop().await;
    let (_, text) = code(&app, json!({"duration_days": 1})).await;
    redeem(&app, "shop", &text).await.expect(201);
    app.move_to_day(2);
    // A super admin may assign the plan without a code; it has `trial_days`, but not twice.
    let assigned = app.assign("shop", "trial_unlimited", json!({})).await.body;
    assert_eq!(assigned["status"], "active");
}

#[tokio::test]
async fn each_tenant_redeems_a_code_once() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    let (id, text) = code(&app, json!({"max_redemptions": 2})).await;
    let body = Some(json!({"tenant": "shop", "code": text}));
    let once = [("Idempotency-Key", "now")];
    let admin = admin(&app, "shop");
    let send = async || admin.send(reqwest::Method::POST, REDEEM, body.clone(), &once).await;
    let first = send().await.expect(201);
    assert_eq!(send().await.expect(201).body, first.body, "the first answer again");
    redeem(&app, "shop", &text).await.expect_problem(409, "ALREADY_REDEEMED");
    redeem(&app, "other", &text).await.expect(201);
    // Who has redeemed it knows it, so it may hear so even when it is spent.
    redeem(&app, "shop", &text).await.expect_problem(409, "ALREADY_REDEEMED");
    let one = app.root().get(&format!("{PATH}/{id}")).await.expect(200).body;
    assert_eq!((&one["state"], &one["redeemed"]), (&json!("spent"), &json!(2)));
    assert_eq!(one["redemptions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_a_spent_an_expired_and_a_revoked_code_get_one_and_the_same_answer() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    let (_, spent) = code(&app, json!({"max_redemptions": 1})).await;
    redeem(&app, "other", &spent).await.expect(201);
    let (revoked_id, revoked) = code(&app, json!({})).await;
    app.root().delete(&format!("{PATH}/{revoked_id}")).await.expect(204);
    let (_, expired) = code(&app, json!({"expires_at": day(1)})).await;
    app.move_to_day(1);
    let before = dump(&app);

    let wrong = redeem(&app, "shop", "0000-0000-0000-0000").await;
    let problem = wrong.clone().expect_problem(422, "INVALID_ACTIVATION_CODE").body;
    assert_eq!(problem["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["code"]);
    for text in [spent.as_str(), &revoked, &expired, "x", "not a code at all!", "Ünïcödé"] {
        assert_eq!(bare(&redeem(&app, "shop", text).await), bare(&wrong), "{text}");
    }
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn a_code_is_never_redeemed_more_often_than_it_says() {
    let app = App::retail().await;
    let (id, text) = code(&app, json!({"max_redemptions": 10})).await;
    let tenants: Vec<String> = (0..64).map(|number| format!("t{number}")).collect();
    for tenant in &tenants {
        app.tenant(tenant, json!({})).await;
    }
    let race = tenants.iter().map(|tenant| redeem(&app, tenant, &text));
    let replies = futures_util::future::join_all(race).await;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(201), count(422)), (10, 54));
    let one = app.root().get(&format!("{PATH}/{id}?limit=4")).await.expect(200).body;
    assert_eq!((&one["state"], &one["redeemed"]), (&json!("spent"), &json!(10)));
    let connection = Connection::open(&app.database).unwrap();
    let rows = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(rows("SELECT count(*) FROM activation_redemptions"), 10);
    assert_eq!(rows("SELECT count(*) FROM subscriptions"), 10);
    let events = "SELECT count(*) FROM audit WHERE event = 'entitlement.activation_code.redeemed'";
    assert_eq!(rows(events), 10);
    // The redemptions come in pages, each of them once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.root().get(&format!("{PATH}/{id}?limit=4{cursor}")).await.expect(200).body;
        let items = page["redemptions"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["tenant"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 10);
}

#[tokio::test]
async fn guessing_is_slowed_whether_or_not_the_guess_is_right() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    let (_, text) = code(&app, json!({})).await;
    for _ in 0..10 {
        redeem(&app, "shop", "0000").await.expect_problem(422, "INVALID_ACTIVATION_CODE");
    }
    // Nothing is looked up any more: not even a locked database holds up the answer.
    let connection = Connection::open(&app.database).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let wrong = redeem(&app, "shop", "0000").await.expect_problem(429, "RATE_LIMITED");
    assert_eq!(wrong.header("retry-after"), "60");
    let right = redeem(&app, "shop", &text).await;
    assert_eq!(bare(&right), bare(&wrong));
    // Another name in the same tenant is no way around.
    let eve = app.caller(OperatorRole::TenantAdmin, Some("shop"), "eve");
    eve.post(REDEEM, json!({"code": text})).await.expect_problem(429, "RATE_LIMITED");
    connection.execute_batch("ROLLBACK").unwrap();

    redeem(&app, "other", &text).await.expect(201);
    app.advance(Duration::from_secs(59));
    redeem(&app, "shop", &text).await.expect_problem(429, "RATE_LIMITED");
    app.advance(Duration::from_secs(1));
    redeem(&app, "shop", &text).await.expect(201);
}

#[tokio::test]
async fn what_is_right_costs_no_attempt() {
    let app = shop().await;
    for _ in 0..9 {
        redeem(&app, "shop", "0000").await.expect(422);
    }
    for _ in 0..5 {
        let (_, text) = code(&app, json!({"plan": "starter"})).await;
        let reply = redeem(&app, "shop", &text).await;
        assert!([201, 409].contains(&reply.status), "{:#}", reply.body);
    }
    redeem(&app, "shop", "0000").await.expect(422);
    redeem(&app, "shop", "0000").await.expect(429);
}

#[tokio::test]
async fn a_revoked_code_leaves_what_was_redeemed() {
    let app = shop().await;
    let (id, text) = code(&app, json!({})).await;
    redeem(&app, "shop", &text).await.expect(201);
    let there = format!("{PATH}/{id}");
    app.root().delete(&there).await.expect(204);
    app.root().delete(&there).await.expect(204);
    assert_eq!(app.module("shop", "zf").await, "allowed plan");
    let one = app.root().get(&there).await.expect(200).body;
    assert_eq!((&one["state"], &one["revoked_at"]), (&json!("revoked"), &json!(day(0))));
    let redemption = &one["redemptions"][0];
    assert_eq!(
        (&redemption["tenant"], &redemption["redeemed_by"]),
        (&json!("shop"), &json!("ada"))
    );
    assert_eq!(app.events("event=entitlement.activation_code.revoked").await.len(), 1);
    app.root().delete(&format!("{PATH}/act_none")).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_code_neither_settles_an_invoice_nor_lifts_a_suspension() {
    let app = shop().await;
    let (id, text) = code(&app, json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    for status in ["overdue", "suspended"] {
        app.change_subscription("shop", json!({"status": status})).await;
        redeem(&app, "shop", &text).await.expect_problem(409, "TENANT_BLOCKED");
    }
    app.change_subscription("shop", json!({"status": "cancelled"})).await;
    app.change_tenant("shop", json!({"status": "suspended", "reason": "fraud"})).await;
    redeem(&app, "shop", &text).await.expect_problem(409, "TENANT_BLOCKED");
    let one = app.root().get(&format!("{PATH}/{id}")).await.expect(200).body;
    assert_eq!(one["redeemed"], 0);
    app.change_tenant("shop", json!({"status": "active"})).await;
    redeem(&app, "shop", &text).await.expect(201);
}

#[tokio::test]
async fn a_code_for_the_present_plan_is_not_used_up_unless_it_lasts_longer() {
    let app = shop().await;
    app.assign("shop", "growth", json!({})).await;
    let (_, trial) = code(&app, json!({"plan": "growth", "duration_days": 30})).await;
    let (_, active) = code(&app, json!({"plan": "growth"})).await;
    for text in [&trial, &active] {
        redeem(&app, "shop", text).await.expect_problem(409, "ALREADY_ON_PLAN");
    }
    let on_trial = json!({"status": "trialing", "trial_expires_at": day(10)});
    app.tenant("trying", json!({})).await;
    app.assign("trying", "growth", on_trial).await;
    let longer = redeem(&app, "trying", &trial).await.expect(201).body;
    assert_eq!(longer["trial_expires_at"], day(30));
    assert_eq!(redeem(&app, "trying", &active).await.expect(201).body["status"], "active");
}

#[tokio::test]
async fn every_fault_of_a_new_code_is_answered_at_once_by_its_field() {
    let app = shop_with_more_plans().await;
    let body = json!({"plan": 7, "max_redemptions": 0, "duration_days": 3661, "note": " ",
                      "expires_at": "2026-01-01T00:00:00Z"});
    let reply = app.root().post(PATH, body).await.expect_problem(422, "INVALID_VALUE");
    let named: Vec<_> = reply.body["fields"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(named, ["duration_days", "expires_at", "max_redemptions", "note", "plan"]);
    let reply = app.root().post(PATH, json!({})).await.expect_problem(422, "INVALID_VALUE");
    let named: Vec<_> = reply.body["fields"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(named, ["max_redemptions", "plan"]);
    for (field, value) in [
        ("plan", json!("member")),
        ("max_redemptions", json!(1_000_001)),
        ("max_redemptions", json!(-1)),
        ("max_redemptions", json!("5")),
        ("duration_days", json!(0)),
        ("duration_days", json!(1.5)),
        ("expires_at", json!("2027-01-01T00:00:00")),
        ("expires_at", json!(day(0))),
        ("note", json!("a\nb")),
        ("code", json!("MINE")),
    ] {
        let mut body = json!({"plan": "starter", "max_redemptions": 1});
        body[field] = value.clone();
        let reply = app.root().post(PATH, body).await.expect_problem(422, "INVALID_VALUE");
        assert!(reply.body["fields"].get(field).is_some(), "{field} {value}: {:#}", reply.body);
    }
    let unknown = json!({"plan": "startre", "max_redemptions": 1});
    let unknown = app.root().post(PATH, unknown).await.expect_problem(422, "UNKNOWN_KEY");
    assert!(unknown.body["fields"]["plan"][0].as_str().unwrap().contains("“starter”"));
    assert_eq!(app.events("event=entitlement.activation_code.").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_redemption_needs_a_tenant_that_is_the_callers() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    let (_, text) = code(&app, json!({})).await;
    let theirs = json!({"tenant": "other", "code": text});
    admin(&app, "shop").post(REDEEM, theirs.clone()).await.expect_problem(404, "TENANT_NOT_FOUND");
    let nobody = app.root().post(REDEEM, json!({"code": text})).await;
    let nobody = nobody.expect_problem(422, "INVALID_VALUE");
    assert!(nobody.body["fields"].get("tenant").is_some());
    let missing = json!({"tenant": "none", "code": text});
    app.root().post(REDEEM, missing).await.expect_problem(404, "TENANT_NOT_FOUND");
    for (role, tenant) in [
        (OperatorRole::Support, None),
        (OperatorRole::Auditor, None),
        (OperatorRole::Service, Some("other")),
        (OperatorRole::TenantUser, Some("other")),
    ] {
        let caller = app.caller(role, tenant, "ada");
        caller.post(REDEEM, theirs.clone()).await.expect_problem(403, "FORBIDDEN");
    }
    app.root().post(REDEEM, theirs).await.expect(201);
}

#[tokio::test]
async fn the_list_is_narrowed_and_paged() {
    let app = shop().await;
    let (_, spent) = code(&app, json!({"max_redemptions": 1, "note": "spent"})).await;
    redeem(&app, "shop", &spent).await.expect(201);
    code(&app, json!({"note": "expired", "expires_at": day(1)})).await;
    let (revoked, _) = code(&app, json!({"note": "revoked"})).await;
    app.root().delete(&format!("{PATH}/{revoked}")).await.expect(204);
    code(&app, json!({"note": "active", "plan": "growth"})).await;
    app.move_to_day(1);
    let ask = async |query: &str| {
        let auditor = app.caller(OperatorRole::Auditor, None, "ann");
        column(&auditor.get(&format!("{PATH}?{query}")).await.expect(200).body, "note")
    };
    assert_eq!(ask("").await, ["active", "revoked", "expired", "spent"]);
    for state in ["active", "revoked", "expired", "spent"] {
        assert_eq!(ask(&format!("state={state}")).await, [state]);
    }
    assert_eq!(ask("plan=growth").await, ["active"]);
    assert_eq!(ask("plan=growth&state=spent").await, [] as [Value; 0]);
    let page = app.root().get(&format!("{PATH}?limit=3")).await.expect(200).body;
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(ask(&format!("limit=3&cursor={cursor}")).await, ["spent"]);
    app.root().get(&format!("{PATH}?state=gone")).await.expect_problem(422, "INVALID_VALUE");
}

#[tokio::test]
async fn a_plan_stays_while_a_code_for_it_can_be_redeemed() {
    let app = shop_with_more_plans().await;
    let (id, _) = code(&app, json!({"plan": "more_branches"})).await;
    let refused = app.put_catalog("", RETAIL).await.expect_problem(422, "KEY_IN_USE").body;
    let message = refused["fields"]["plans.more_branches"][0].as_str().unwrap();
    assert!(message.contains("1 activation code; revoke"), "{message}");
    let other = RETAIL.replace("plans:\n", &MORE_PLANS.replace("kind: add_on", "rank: 5"));
    let refused = app.put_catalog("", other).await.expect_problem(422, "KEY_IN_USE").body;
    assert!(refused["fields"]["plans.more_branches.kind"].is_array(), "{refused:#}");
    app.root().delete(&format!("{PATH}/{id}")).await.expect(204);
    app.put_catalog("", RETAIL).await.expect(200);
}

#[tokio::test]
async fn a_code_gives_the_version_of_the_plan_that_is_newest_when_it_is_redeemed() {
    let app = shop().await;
    let (_, text) = code(&app, json!({"plan": "starter", "expires_at": day(9)})).await;
    app.put_catalog("", RETAIL.replace("users: 5,", "users: 6,")).await.expect(200);
    app.advance(days(9) - Duration::from_micros(1));
    let made = redeem(&app, "shop", &text).await.expect(201).body;
    assert_eq!(made["plan_version"], 2);
}
