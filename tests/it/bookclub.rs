//! The book club product, played over HTTP against the catalog as it is shipped: staff with roles on
//! stores and clubs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    contexts::put,
    harness::App,
    roles::{assign, may, role},
};

const NO: &str = "refused permission_denied PERMISSION_DENIED 403";
const YES: &str = "allowed role";

const MODERATOR: &[&str] =
    &["CAN_MODERATE_DISCUSSIONS", "CAN_LOCK_TOPICS", "CAN_DELETE_POSTS", "CAN_WARN_MEMBERS"];
const LEAD: &[&str] = &[
    "CAN_MANAGE_CLUB",
    "CAN_APPOINT_MODERATORS",
    "CAN_REMOVE_MODERATORS",
    "CAN_MANAGE_MEMBERS",
    "CAN_SET_CURRENT_BOOK",
];
const MANAGER: &[&str] = &[
    "CAN_VIEW_ALL_MEMBERS",
    "CAN_INVITE_USERS",
    "CAN_ISSUE_WARNINGS",
    "CAN_BAN_MEMBERS",
    "CAN_UNBAN_MEMBERS",
    "CAN_VIEW_ALL_CLUBS",
    "CAN_MODERATE_CONTENT",
    "CAN_MANAGE_EVENTS",
    "CAN_POST_ANNOUNCEMENTS",
    "CAN_MANAGE_MEMBER_TIERS",
];
const STORE_OWNER: &[&str] = &[
    "CAN_MANAGE_STORE",
    "CAN_CREATE_CLUBS",
    "CAN_DELETE_CLUBS",
    "CAN_ASSIGN_STORE_MANAGERS",
    "CAN_VIEW_STORE_ANALYTICS",
];
const PLATFORM_OWNER: &[&str] = &[
    "CAN_MANAGE_PLATFORM",
    "CAN_MANAGE_ALL_STORES",
    "CAN_MANAGE_ALL_CLUBS",
    "CAN_ASSIGN_STORE_OWNERS",
    "CAN_VIEW_PLATFORM_ANALYTICS",
];

/// From the least to the most; each role includes those before it.
const LADDER: [(&str, &[&str]); 5] = [
    ("club_moderator", MODERATOR),
    ("club_lead", LEAD),
    ("store_manager", MANAGER),
    ("store_owner", STORE_OWNER),
    ("platform_owner", PLATFORM_OWNER),
];

/// Two stores with two clubs each, and staff in the first one.
pub async fn readers() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/bookclub.yaml")).await;
    for tenant in ["readers", "others"] {
        app.tenant(tenant, json!({})).await;
        app.assign(tenant, "network", json!({})).await;
        for store in ["a", "b"] {
            let at = format!("store:{store}");
            put(&app, tenant, &at, None).await.expect(201);
            for club in [1, 2] {
                let club = format!("club:{store}{club}");
                put(&app, tenant, &club, Some(&at)).await.expect(201);
            }
        }
    }
    for (user, key, on) in [
        ("mo", "club_moderator", "club:a1"),
        ("lea", "club_lead", "club:a1"),
        ("max", "store_manager", "store:a"),
        ("olga", "store_owner", "store:a"),
    ] {
        assign(&app, "readers", role(user, key, Some(on))).await.expect(201);
    }
    let body = json!({"user": "pia", "role": "platform_owner"});
    app.root().post("/api/v1/admin/role-assignments", body).await.expect(201);
    app
}

#[tokio::test]
async fn each_role_permits_its_own_and_what_the_roles_below_it_permit() {
    let app = readers().await;
    for (rung, user) in ["mo", "lea", "max", "olga", "pia"].into_iter().enumerate() {
        for (place, (_, permissions)) in LADDER.iter().enumerate() {
            let expected = if place <= rung { YES } else { NO };
            for permission in *permissions {
                let answer = may(&app, "readers", user, permission, Some("club:a1")).await;
                assert_eq!(answer, expected, "{user} {permission}");
            }
        }
    }
}

#[tokio::test]
async fn the_catalog_has_exactly_the_permissions_of_each_role() {
    let app = readers().await;
    let roles = app.root().get("/api/v1/admin/roles").await.expect(200).body;
    let roles = roles["items"].as_array().unwrap();
    assert_eq!(roles.len(), LADDER.len());
    for (key, permissions) in LADDER {
        let role = roles.iter().find(|role| role["key"] == key).unwrap();
        let listed = role["definition"]["permissions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_str().unwrap());
        assert_eq!(listed.collect::<BTreeSet<_>>(), permissions.iter().copied().collect(), "{key}");
    }
}

#[tokio::test]
async fn staff_of_one_store_have_nothing_to_say_in_another_or_above() {
    let app = readers().await;
    let what = "CAN_MODERATE_DISCUSSIONS";
    // Who, and the places where that is permitted.
    for (user, places) in [
        ("mo", vec!["club:a1"]),
        ("lea", vec!["club:a1"]),
        ("max", vec!["store:a", "club:a1", "club:a2"]),
        ("olga", vec!["store:a", "club:a1", "club:a2"]),
        ("pia", vec!["store:a", "store:b", "club:a1", "club:a2", "club:b1", "club:b2"]),
        ("reader", vec![]),
    ] {
        for on in ["store:a", "store:b", "club:a1", "club:a2", "club:b1", "club:b2"] {
            let expected = if places.contains(&on) { YES } else { NO };
            assert_eq!(may(&app, "readers", user, what, Some(on)).await, expected, "{user} {on}");
            let elsewhere = if user == "pia" { YES } else { NO };
            assert_eq!(may(&app, "others", user, what, Some(on)).await, elsewhere, "{user} {on}");
        }
    }
    assert_eq!(may(&app, "readers", "olga", what, None).await, NO);
    assert_eq!(may(&app, "readers", "pia", what, None).await, YES);
}

#[tokio::test]
async fn a_club_that_changes_its_store_changes_its_staff() {
    let app = readers().await;
    put(&app, "readers", "club:a1", Some("store:b")).await.expect(200);
    let manages = async |user| may(&app, "readers", user, "CAN_MANAGE_CLUB", Some("club:a1")).await;
    assert_eq!(manages("olga").await, NO);
    assert_eq!(manages("max").await, NO);
    assert_eq!(manages("lea").await, YES);
}

#[tokio::test]
async fn the_frontend_sees_what_a_club_lead_may_and_where_it_comes_from() {
    let app = readers().await;
    let path = "/api/v1/tenants/readers/entitlements?user=lea";
    let payload = app.backend().get(path).await.expect(200).body;
    let club = json!({"type": "club", "id": "a1"});
    assert_eq!(
        payload["roles"],
        json!([{"role": "club_lead", "context": club, "expires_at": null}])
    );
    let shown: BTreeSet<_> = payload["permissions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].as_str().unwrap(), p["context"] == club, p["inherited"] == true))
        .collect();
    let own = LEAD.iter().map(|name| (*name, true, false));
    let inherited = MODERATOR.iter().map(|name| (*name, true, true));
    assert_eq!(shown, own.chain(inherited).collect());
    assert_eq!(payload["tier"], Value::Null);
}

#[tokio::test]
async fn a_role_is_held_on_the_kind_of_thing_it_is_for() {
    let app = readers().await;
    for (key, on) in [
        ("store_owner", Some("club:a1")),
        ("club_lead", Some("store:a")),
        ("club_lead", None),
        ("platform_owner", None),
    ] {
        let refused = assign(&app, "readers", role("eve", key, on)).await;
        refused.expect_problem(422, "INVALID_VALUE");
    }
}

#[tokio::test]
async fn the_tiers_permit_what_the_catalog_says_each_including_the_one_below() {
    let app = readers().await;
    let plans = app.root().get("/api/v1/admin/plans").await.expect(200).body;
    let plans = plans["items"].as_array().unwrap();
    let permissions = |key: &str| -> BTreeSet<String> {
        let plan = plans.iter().find(|plan| plan["key"] == key).unwrap();
        assert_eq!(plan["definition"]["audience"], "user");
        let listed = plan["gives"]["permissions"].as_array().unwrap();
        listed.iter().map(|p| p.as_str().unwrap().to_owned()).collect()
    };
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let member = of(&["CAN_JOIN_LIMITED_CLUBS", "CAN_PARTICIPATE_IN_DISCUSSIONS"]);
    let privileged = of(&[
        "CAN_CREATE_LIMITED_CLUBS",
        "CAN_JOIN_UNLIMITED_CLUBS",
        "CAN_NOMINATE_BOOKS",
        "CAN_CREATE_TOPICS",
        "CAN_JOIN_PREMIUM_CLUBS",
    ]);
    let plus = of(&["CAN_CREATE_UNLIMITED_CLUBS", "CAN_SEND_DIRECT_MESSAGES"]);
    assert_eq!(permissions("member"), member);
    let privileged = &member | &privileged;
    assert_eq!(permissions("privileged"), privileged);
    assert_eq!(permissions("privileged_plus"), &privileged | &plus);
}

/// Each tier with what it adds to the one before.
const TIERS: [(&str, &[&str]); 3] = [
    ("member", &["CAN_JOIN_LIMITED_CLUBS", "CAN_PARTICIPATE_IN_DISCUSSIONS"]),
    (
        "privileged",
        &[
            "CAN_CREATE_LIMITED_CLUBS",
            "CAN_JOIN_UNLIMITED_CLUBS",
            "CAN_JOIN_PREMIUM_CLUBS",
            "CAN_NOMINATE_BOOKS",
            "CAN_CREATE_TOPICS",
        ],
    ),
    ("privileged_plus", &["CAN_CREATE_UNLIMITED_CLUBS", "CAN_SEND_DIRECT_MESSAGES"]),
];

#[tokio::test]
async fn a_reader_may_what_the_own_tier_and_those_below_permit_in_every_store() {
    let app = readers().await;
    for (rung, (tier, _)) in TIERS.iter().enumerate() {
        let path = format!("/api/v1/tenants/readers/users/r{rung}/tier");
        app.backend().put(&path, json!({"plan": tier})).await.expect(201);
        for (above, (other, permissions)) in TIERS.iter().enumerate() {
            for permission in *permissions {
                let expected = if above <= rung { "allowed tier" } else { NO };
                let question = json!({"tenant": "readers", "user": format!("r{rung}"), "permission": permission,
                           "context": {"type": "club", "id": "b1"}});
                assert_eq!(app.ask(question).await, expected, "{tier}: {permission}");
            }
            let at_least = json!({"tenant": "readers", "user": format!("r{rung}"),
                                  "tier_at_least": other});
            let expected = if above <= rung { "allowed tier" } else { NO };
            assert_eq!(app.ask(at_least).await, expected, "{tier} is at least {other}");
        }
    }
    // What it would take is said: the tiers that would pass, the least first.
    let asked = json!({"tenant": "readers", "user": "r0", "tier_at_least": "privileged"});
    let refused = app.check(asked).await;
    assert_eq!(refused["fields"], json!({"tier": ["privileged"]}));
    let upgrade = json!([{"kind": "upgrade_plan", "plans": ["privileged", "privileged_plus"]}]);
    assert_eq!(refused["remedies"], upgrade);
    // A reader of one tenant is nobody in the other.
    let there = json!({"tenant": "others", "user": "r2", "permission": "CAN_CREATE_TOPICS"});
    assert_eq!(app.ask(there).await, NO);
}

#[tokio::test]
async fn a_tier_raises_the_limits_of_its_reader_alone() {
    let app = readers().await;
    for (user, tier) in [("rea", "member"), ("pat", "privileged"), ("plu", "privileged_plus")] {
        let path = format!("/api/v1/tenants/readers/users/{user}/tier");
        app.backend().put(&path, json!({"plan": tier})).await.expect(201);
    }
    for (user, created, joined) in [
        ("rea", json!(0), json!(5)),
        ("pat", json!(3), Value::Null),
        ("plu", Value::Null, Value::Null),
    ] {
        let path = format!("/api/v1/tenants/readers/entitlements?user={user}");
        let payload = app.backend().get(&path).await.expect(200).body;
        assert_eq!(payload["limits"]["clubs_created"]["limit"], created, "{user}");
        assert_eq!(payload["limits"]["clubs_joined"]["limit"], joined, "{user}");
    }
}

#[tokio::test]
async fn what_staff_do_in_their_roles_is_counted() {
    let app = readers().await;
    for action in ["topic.locked", "topic.locked", "member.warned"] {
        let body = json!({"user": "mo", "role": "club_moderator", "action": action,
                          "context": {"type": "club", "id": "a1"}});
        app.backend().post("/api/v1/tenants/readers/activity", body).await.expect(202);
    }
    app.service.flush_activity().await.unwrap();
    let stats = app.root().get("/api/v1/tenants/readers/activity/stats?user=mo&range=week").await;
    let stats = stats.expect(200).body;
    assert_eq!(stats["total"], 3, "{stats:#}");
    let other = app.root().get("/api/v1/tenants/others/activity/stats?range=week").await;
    assert_eq!(other.expect(200).body["total"], 0);
}

#[tokio::test]
async fn a_blocked_tenant_permits_nothing_in_checks_and_in_the_payload() {
    let app = readers().await;
    let path = "/api/v1/tenants/readers/entitlements?user=mo";
    let before = app.backend().get(path).await.expect(200).body;
    assert_eq!(before["permissions"].as_array().unwrap().len(), MODERATOR.len());
    let body = json!({"status": "suspended", "reason": "unpaid"});
    app.root().patch("/api/v1/admin/tenants/readers", body).await.expect(200);
    let after = app.backend().get(path).await.expect(200).body;
    assert_eq!(after["permissions"], json!([]));
    assert_eq!(after["roles"], before["roles"]);
}
