//! The guards of the book club product, each outcome played over HTTP against the catalog as it is
//! shipped.

use serde_json::{Value, json};

use crate::{bookclub::readers, harness::App};

/// The book club with a reader on each tier.
async fn with_tiers() -> App {
    let app = readers().await;
    for (user, tier) in [("rea", "member"), ("pat", "privileged"), ("plu", "privileged_plus")] {
        let path = format!("/api/v1/tenants/readers/users/{user}/tier");
        app.backend().put(&path, json!({"plan": tier})).await.expect(201);
    }
    app
}

/// Asks a guard for a user who has `current` clubs already.
async fn ask(app: &App, user: &str, guard: &str, current: u64, resource: Value) -> Value {
    let feature = if guard == "clubs.create" { "clubs_created" } else { "clubs_joined" };
    app.check(json!({
        "tenant": "readers", "user": user, "guard": guard, "resource": resource,
        "usage": {"feature": feature, "current": current}
    }))
    .await
}

/// Reason, code and status of an answer.
fn refusal(answer: &Value) -> (&str, &str, u64) {
    let text = |member: &str| answer[member].as_str().unwrap_or_default();
    (text("reason"), text("code"), answer["status"].as_u64().unwrap())
}

fn open_store() -> Value {
    json!({"store": {"allow_public_club_creation": true}})
}

fn club(already_member: bool, is_premium: bool) -> Value {
    json!({"club": {"already_member": already_member, "is_premium": is_premium}})
}

#[tokio::test]
async fn a_privileged_reader_creates_three_clubs_and_no_fourth() {
    let app = with_tiers().await;
    for current in 0..3 {
        let answer = ask(&app, "pat", "clubs.create", current, open_store()).await;
        assert_eq!((&answer["allowed"], &answer["code"]), (&json!(true), &Value::Null));
        assert_eq!(answer["limit"]["remaining"], 3 - current, "{answer:#}");
    }
    let answer = ask(&app, "pat", "clubs.create", 3, open_store()).await;
    assert_eq!(refusal(&answer), ("limit_reached", "LIMIT_REACHED", 403), "{answer:#}");
    let data = json!({"currentCount": 3, "limit": 3, "upgradeRequired": true});
    assert_eq!(answer["data"], data);
    let limit = json!({
        "feature": "clubs_created", "limit": 3, "unlimited": false, "used": 3, "requested": 1,
        "remaining": 0, "resets_at": null
    });
    assert_eq!(answer["limit"], limit);
    let upgrade = json!([{"kind": "upgrade_plan", "plans": ["privileged_plus"]}]);
    assert_eq!(answer["remedies"], upgrade);
    assert_eq!(answer["fields"], json!({"feature": ["clubs_created"]}));
}

#[tokio::test]
async fn a_store_may_be_closed_to_clubs_of_its_readers_but_not_to_unlimited_creators() {
    let app = with_tiers().await;
    let closed = || json!({"store": {"allow_public_club_creation": false}});
    let answer = ask(&app, "pat", "clubs.create", 0, closed()).await;
    assert_eq!(refusal(&answer), ("store_restriction", "STORE_RESTRICTION", 403), "{answer:#}");
    assert_eq!(answer["data"], json!({"storeRestriction": true}));
    assert_eq!(answer["message"], "This store does not allow public club creation.");
    assert_eq!(answer["source"], json!({"kind": "catalog"}));
    assert_eq!(answer["remedies"], json!([]));
    // The limit is asked first, so that both together read as the limit.
    let answer = ask(&app, "pat", "clubs.create", 3, closed()).await;
    assert_eq!(answer["reason"], "limit_reached");
    for (current, resource) in [(0, closed()), (5_000, closed()), (5_000, json!({}))] {
        let answer = ask(&app, "plu", "clubs.create", current, resource).await;
        assert_eq!(answer["allowed"], true, "{answer:#}");
        assert_eq!(answer["limit"]["unlimited"], true);
    }
}

#[tokio::test]
async fn who_may_not_create_clubs_at_all_hears_which_tier_would_do() {
    let app = with_tiers().await;
    for user in ["rea", "nobody"] {
        let answer = ask(&app, user, "clubs.create", 0, open_store()).await;
        assert_eq!(refusal(&answer), ("permission_denied", "PERMISSION_DENIED", 403));
        let all = json!({"permission": ["CAN_CREATE_UNLIMITED_CLUBS", "CAN_CREATE_LIMITED_CLUBS"]});
        assert_eq!(answer["fields"], all);
        let data = json!({"requiredTier": "privileged", "upgradeRequired": true});
        assert_eq!(answer["data"], data);
    }
}

#[tokio::test]
async fn a_member_joins_five_clubs_and_hears_of_a_membership_before_the_limit() {
    let app = with_tiers().await;
    let answer = ask(&app, "rea", "clubs.join", 4, club(false, false)).await;
    assert_eq!(answer["allowed"], true, "{answer:#}");
    let answer = ask(&app, "rea", "clubs.join", 5, club(false, false)).await;
    assert_eq!(refusal(&answer), ("limit_reached", "LIMIT_REACHED", 403));
    let data = json!({"currentCount": 5, "limit": 5, "upgradeRequired": true});
    assert_eq!(answer["data"], data);
    let upgrade = json!([{"kind": "upgrade_plan", "plans": ["privileged", "privileged_plus"]}]);
    assert_eq!(answer["remedies"], upgrade);
    for current in [0, 5] {
        let answer = ask(&app, "rea", "clubs.join", current, club(true, true)).await;
        assert_eq!(refusal(&answer), ("already_member", "ALREADY_MEMBER", 400), "{answer:#}");
        assert_eq!(answer["data"], json!({"alreadyMember": true}));
        assert_eq!(answer["limit"], Value::Null);
    }
    let answer = ask(&app, "pat", "clubs.join", 5_000, club(false, true)).await;
    assert_eq!(answer["allowed"], true, "{answer:#}");
}

#[tokio::test]
async fn a_premium_club_takes_the_permission_that_privileged_brings() {
    let app = with_tiers().await;
    let answer = ask(&app, "rea", "clubs.join", 0, club(false, true)).await;
    assert_eq!(refusal(&answer), ("premium_club", "PREMIUM_CLUB", 403), "{answer:#}");
    assert_eq!(answer["data"]["requiredTier"], "privileged");
    app.backend()
        .put("/api/v1/tenants/readers/users/rea/tier", json!({"plan": "privileged"}))
        .await
        .expect(200);
    let answer = ask(&app, "rea", "clubs.join", 0, club(false, true)).await;
    assert_eq!(answer["allowed"], true, "{answer:#}");
    assert_eq!(answer["reason"], "plan");
}

#[tokio::test]
async fn what_the_application_forgets_to_say_refuses() {
    let app = with_tiers().await;
    for resource in [json!({}), json!({"club": {}}), json!({"club": {"already_member": "no"}})] {
        let answer = ask(&app, "rea", "clubs.join", 0, resource).await;
        assert_eq!(answer["reason"], "already_member", "{answer:#}");
    }
    let explained = app
        .root()
        .post(
            "/api/v1/check",
            json!({"tenant": "readers", "user": "rea", "guard": "clubs.join", "explain": true}),
        )
        .await
        .expect(200)
        .body;
    let trace = explained["trace"].as_array().unwrap();
    let last = trace.iter().rfind(|step| step["rule"] == 15).unwrap();
    assert_eq!(last["outcome"], "refuse");
    assert!(last["fact"].as_str().unwrap().contains("can't be answered"), "{last:#}");
}

#[tokio::test]
async fn a_guard_holds_while_nothing_is_enforced_but_for_its_limit() {
    use entitled::engine::Gating;

    use crate::harness::Given;
    let given = Given { gating: Gating::OffByEnvironment, ..Given::default() };
    let app = App::given(given).await;
    app.apply_catalog(include_str!("../../examples/bookclub.yaml")).await;
    app.tenant("readers", json!({})).await;
    let path = "/api/v1/tenants/readers/users/rea/tier";
    app.backend().put(path, json!({"plan": "member"})).await.expect(201);
    let answer = ask(&app, "rea", "clubs.join", 5, club(false, false)).await;
    assert_eq!((&answer["allowed"], &answer["would_allow"]), (&json!(true), &json!(false)));
    assert_eq!(
        (&answer["reason"], &answer["enforced"]),
        (&json!("gating_disabled"), &json!(false))
    );
    let answer = ask(&app, "rea", "clubs.join", 5, club(false, true)).await;
    assert_eq!(refusal(&answer), ("premium_club", "PREMIUM_CLUB", 403), "{answer:#}");
    let answer = ask(&app, "rea", "clubs.create", 0, json!({})).await;
    assert_eq!(answer["reason"], "permission_denied");
}

#[tokio::test]
async fn clubs_are_created_and_counted_in_one_step_until_there_is_no_room() {
    let app = with_tiers().await;
    let create = async || {
        let body = json!({"tenant": "readers", "user": "pat", "guard": "clubs.create"});
        app.backend().post("/api/v1/usage/consume", body).await.expect(200).body
    };
    for used in 1..=3 {
        let answer = create().await;
        assert_eq!((&answer["allowed"], &answer["taken"]), (&json!(true), &json!(1)));
        assert_eq!(answer["limit"]["used"], used, "{answer:#}");
    }
    let answer = create().await;
    assert_eq!(refusal(&answer), ("limit_reached", "LIMIT_REACHED", 403), "{answer:#}");
    assert_eq!(answer["taken"], 0);
    // A club is closed: there is room for one again, and a better tier has room for any number.
    let closed =
        json!({"tenant": "readers", "user": "pat", "feature": "clubs_created", "delta": -1});
    app.backend().post("/api/v1/usage", closed).await.expect(200);
    assert_eq!(create().await["allowed"], true);
    assert_eq!(create().await["allowed"], false);
    app.backend()
        .put("/api/v1/tenants/readers/users/pat/tier", json!({"plan": "privileged_plus"}))
        .await
        .expect(200);
    assert_eq!(create().await["limit"]["unlimited"], true);
}
