//! Tenants: made, found, changed, suspended; and who is blocked.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day},
    harness::{App, Reply},
};

const PATH: &str = "/api/v1/admin/tenants";

async fn list(app: &App, query: &str) -> Value {
    app.root().get(&format!("{PATH}?{query}")).await.expect(200).body
}

/// The keys of the tenants that a list finds.
async fn found(app: &App, query: &str) -> Vec<String> {
    let keys = column(&list(app, query).await, "key");
    keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

async fn patch(app: &App, tenant: &str, change: Value) -> Reply {
    app.root().patch(&format!("{PATH}/{tenant}"), change).await
}

/// Tenants in every standing there is.
async fn neighbourhood() -> App {
    let app = App::retail().await;
    for key in ["active", "cancelled", "direct", "late", "new", "suspended"] {
        app.tenant(key, json!({"name": format!("The {key} shop")})).await;
    }
    for key in ["active", "cancelled", "late", "suspended"] {
        app.assign(key, "starter", json!({})).await;
    }
    app.change_subscription("cancelled", json!({"status": "cancelled"})).await;
    app.change_subscription("late", json!({"status": "overdue"})).await;
    app.change_tenant("direct", json!({"billing": "direct"})).await;
    app.change_tenant("suspended", json!({"status": "suspended", "reason": "fraud"})).await;
    app
}

#[tokio::test]
async fn a_new_tenant_is_shown_with_every_default() {
    let app = App::retail().await;

    let made = app.tenant("acme", json!({"name": "Acme"})).await;

    assert_eq!(made.header("location"), "/api/v1/admin/tenants/acme");
    assert_eq!(made.header("etag"), "\"1\"");
    let expected = json!({
        "key": "acme", "name": "Acme", "parent": null, "status": "active", "suspension": null,
        "billing": "subscription", "demo": false, "sandbox": false, "clock": null,
        "attributes": {}, "plan": null, "blocked_reason": "no_subscription", "damaged": false,
        "created_at": day(0), "updated_at": day(0),
    });
    assert_eq!(made.body, expected);
    let read = app.root().get(&format!("{PATH}/acme")).await.expect(200);
    assert_eq!((read.header("etag"), &read.body), ("\"1\"", &expected));
}

#[tokio::test]
async fn a_tenant_keeps_what_it_was_made_with() {
    let app = App::retail().await;
    app.tenant("group", json!({})).await;

    let more = json!({"name": "Acme", "parent": "group", "billing": "direct", "demo": true,
                      "sandbox": true, "attributes": {"region": "EU", "seats": [1, 2]}});
    let made = app.tenant("acme", more.clone()).await.body;

    for (member, value) in more.as_object().unwrap() {
        assert_eq!(&made[member], value, "{member}");
    }
    assert_eq!(made["blocked_reason"], Value::Null);
}

#[tokio::test]
async fn a_key_names_one_tenant() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;

    let again = app.root().post(PATH, json!({"key": "acme", "name": "Other"})).await;

    again.expect_problem(409, "ALREADY_EXISTS");
    assert_eq!(list(&app, "").await["items"][0]["name"], "acme");
}

#[tokio::test]
async fn tenants_are_found_by_part_of_key_or_name_in_any_case() {
    let app = neighbourhood().await;
    assert_eq!(found(&app, "q=LAT").await, ["late"]);
    assert_eq!(found(&app, "q=the%20new").await, ["new"]);
    assert_eq!(found(&app, "q=nobody").await, [] as [&str; 0]);
    // No pattern language.
    assert_eq!(found(&app, "q=%25").await, [] as [&str; 0]);
}

#[tokio::test]
async fn tenants_are_found_by_status() {
    let app = neighbourhood().await;
    assert_eq!(found(&app, "status=suspended").await, ["suspended"]);
    assert_eq!(found(&app, "status=active").await.len(), 5);
}

#[tokio::test]
async fn tenants_are_found_by_the_plan_they_are_on_now() {
    let app = neighbourhood().await;
    app.assign("active", "growth", json!({"effective_from": day(5)})).await;

    assert_eq!(found(&app, "plan=starter&status=active").await, ["active", "cancelled", "late"]);
    assert_eq!(found(&app, "plan=growth").await, [] as [&str; 0]);
    app.move_to_day(5);
    assert_eq!(found(&app, "plan=growth").await, ["active"]);
    assert_eq!(found(&app, "plan=starter&status=active").await, ["cancelled", "late"]);
}

#[tokio::test]
async fn tenants_are_found_by_why_they_are_blocked() {
    let app = neighbourhood().await;
    for reason in ["suspended", "cancelled"] {
        assert_eq!(found(&app, &format!("blocked_reason={reason}")).await, [reason]);
    }
    assert_eq!(found(&app, "blocked_reason=no_subscription").await, ["new"]);
    assert_eq!(found(&app, "blocked_reason=overdue").await, [] as [&str; 0]);
    assert_eq!(found(&app, "blocked_reason=any").await, ["cancelled", "new", "suspended"]);
    app.move_to_day(7);
    assert_eq!(found(&app, "blocked_reason=overdue").await, ["late"]);
}

#[tokio::test]
async fn a_demo_tenant_is_not_blocked() {
    let app = App::retail().await;
    app.tenant("show", json!({"demo": true})).await;
    assert_eq!(found(&app, "blocked_reason=any").await, [] as [&str; 0]);
}

#[tokio::test]
async fn tenants_are_listed_by_key_in_pages_without_gaps() {
    let app = neighbourhood().await;
    for filter in ["", "&blocked_reason=any", "&plan=starter"] {
        let whole = found(&app, &format!("limit=200{filter}")).await;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&app, &format!("limit=2{filter}{cursor}")).await;
            let keys = column(&page, "key");
            assert!(keys.len() <= 2, "{page:#}");
            seen.extend(keys);
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(json!(seen), json!(whole));
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_leaves_the_rest() {
    let app = App::retail().await;
    app.tenant("group", json!({})).await;
    app.tenant("acme", json!({"attributes": {"a": 1}})).await;
    app.move_to_day(1);

    let change = json!({"name": "Acme Ltd", "parent": "group", "attributes": {"b": 2}});
    let patched = patch(&app, "acme", change).await.expect(200);

    assert_eq!(patched.header("etag"), "\"2\"");
    let body = &patched.body;
    assert_eq!((&body["name"], &body["parent"]), (&json!("Acme Ltd"), &json!("group")));
    assert_eq!((&body["attributes"], &body["billing"]), (&json!({"b": 2}), &json!("subscription")));
    assert_eq!((&body["created_at"], &body["updated_at"]), (&json!(day(0)), &json!(day(1))));
    let cleared = patch(&app, "acme", json!({"parent": null})).await.expect(200);
    assert_eq!(
        (&cleared.body["parent"], &cleared.body["name"]),
        (&Value::Null, &json!("Acme Ltd"))
    );
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_tag_and_trail() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;

    let same = patch(&app, "acme", json!({"name": "acme", "demo": false})).await.expect(200);

    assert_eq!(same.header("etag"), "\"1\"");
    assert_eq!(app.events("tenant=acme").await.len(), 1);
}

#[tokio::test]
async fn a_parent_must_exist_and_never_stand_below_its_child() {
    let app = App::retail().await;
    let orphan = app.root().post(PATH, json!({"key": "a", "name": "A", "parent": "b"})).await;
    let orphan = orphan.expect_problem(422, "INVALID_VALUE").body;
    assert!(orphan["fields"]["parent"].is_array(), "{orphan:#}");
    for (key, parent) in [("top", None), ("middle", Some("top")), ("bottom", Some("middle"))] {
        app.tenant(key, json!({"parent": parent})).await;
    }
    for below in ["top", "middle", "bottom"] {
        let cycle = patch(&app, "top", json!({"parent": below})).await;
        let cycle = cycle.expect_problem(422, "INVALID_VALUE").body;
        assert!(cycle["fields"]["parent"].is_array(), "{cycle:#}");
    }
}

#[tokio::test]
async fn a_suspension_says_who_when_and_why() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    app.move_to_day(2);

    let suspended = json!({"status": "suspended", "reason": "unpaid for a year"});
    let body = patch(&app, "acme", suspended).await.expect(200).body;

    assert_eq!(
        (&body["status"], &body["blocked_reason"]),
        (&json!("suspended"), &json!("suspended"))
    );
    let expected = json!({"by": "root", "at": day(2), "reason": "unpaid for a year"});
    assert_eq!(body["suspension"], expected);
    let again = patch(&app, "acme", json!({"status": "active"})).await.expect(200).body;
    assert_eq!((&again["status"], &again["suspension"]), (&json!("active"), &Value::Null));
}

#[tokio::test]
async fn a_suspension_needs_a_reason() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;

    for (change, field) in [
        (json!({"status": "suspended"}), "reason"),
        (json!({"status": "suspended", "reason": "no"}), "reason"),
        (json!({"reason": "without a suspension"}), "reason"),
        (json!({"status": "closed"}), "status"),
        (json!({"sandbox": true}), "sandbox"),
    ] {
        let refused = patch(&app, "acme", change).await.expect(422).body;
        assert!(refused["fields"][field].is_array(), "{refused:#}");
    }
    assert_eq!(list(&app, "").await["items"][0]["status"], "active");
}

#[tokio::test]
async fn a_reactivated_tenant_works_again_at_once() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "starter", json!({})).await;
    patch(&app, "acme", json!({"status": "suspended", "reason": "fraud"})).await.expect(200);
    assert_eq!(app.module("acme", "retail").await, "refused suspended TENANT_BLOCKED 403");

    patch(&app, "acme", json!({"status": "active"})).await.expect(200);

    assert_eq!(app.module("acme", "retail").await, "allowed plan");
}

#[tokio::test]
async fn a_patch_made_for_another_state_is_refused() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    let rename = async |tag: &str, name: &str| {
        let body = Some(json!({"name": name}));
        let path = format!("{PATH}/acme");
        app.root().send(Method::PATCH, &path, body, &[("If-Match", tag)]).await
    };
    assert_eq!(rename("\"1\"", "Two").await.expect(200).header("etag"), "\"2\"");
    rename("\"1\"", "Three").await.expect_problem(412, "PRECONDITION_FAILED");
    rename("*", "Three").await.expect(200);
    rename("nonsense", "Four").await.expect_problem(422, "INVALID_VALUE");
    assert_eq!(list(&app, "").await["items"][0]["name"], "Three");
}

#[tokio::test]
async fn attributes_are_an_object_of_bounded_size() {
    let app = App::retail().await;
    for attributes in [json!([1]), json!({"long": "x".repeat(17 * 1024)})] {
        let body = json!({"key": "acme", "name": "Acme", "attributes": attributes});
        let refused = app.root().post(PATH, body).await.expect_problem(422, "INVALID_VALUE").body;
        assert!(refused["fields"]["attributes"].is_array(), "{refused:#}");
    }
}

#[tokio::test]
async fn the_same_request_sent_twice_makes_one_tenant_and_gets_one_answer() {
    let app = App::retail().await;
    let create = async |key: &str, body: Value| {
        app.root().send(Method::POST, PATH, Some(body), &[("Idempotency-Key", key)]).await
    };
    let body = json!({"key": "acme", "name": "Acme"});

    let first = create("once", body.clone()).await.expect(201);
    let again = create("once", body.clone()).await.expect(201);

    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(app.events("tenant=acme").await.len(), 1);
    let other = create("once", json!({"key": "other", "name": "Other"})).await;
    other.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(found(&app, "").await, ["acme"]);
    create("another", body).await.expect_problem(409, "ALREADY_EXISTS");
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_its_caller() {
    use entitled::domain::callers::OperatorRole::SuperAdmin;
    let app = App::retail().await;
    let create = async |sub: &str, key: &str| {
        let body = Some(json!({"key": key, "name": key}));
        let caller = app.caller(SuperAdmin, None, sub);
        caller.send(Method::POST, PATH, body, &[("Idempotency-Key", "once")]).await.expect(201)
    };
    assert_eq!(create("ada", "acme").await.body["key"], "acme");
    assert_eq!(create("bob", "other").await.body["key"], "other");
}

#[tokio::test]
async fn a_refused_request_leaves_its_idempotency_key_free() {
    let app = App::retail().await;
    let create = async |body: Value| {
        app.root().send(Method::POST, PATH, Some(body), &[("Idempotency-Key", "once")]).await
    };
    create(json!({"key": "acme", "name": "Acme", "parent": "none"})).await.expect(422);
    create(json!({"key": "acme", "name": "Acme"})).await.expect(201);
}

#[tokio::test]
async fn a_reactivation_may_say_why() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    patch(&app, "acme", json!({"status": "suspended", "reason": "fraud"})).await.expect(200);

    let reactivated = json!({"status": "active", "reason": "a false alarm"});
    patch(&app, "acme", reactivated).await.expect(200);

    let event = app.events("event=tenant.reactivated").await.pop().unwrap();
    assert_eq!(event["reason"], "a false alarm");
}

#[tokio::test]
async fn a_suspended_tenant_may_be_given_another_reason() {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    patch(&app, "acme", json!({"status": "suspended", "reason": "fraud"})).await.expect(200);
    app.move_to_day(1);

    let other = json!({"status": "suspended", "reason": "proven fraud"});
    let body = patch(&app, "acme", other).await.expect(200).body;

    let expected = json!({"by": "root", "at": day(0), "reason": "proven fraud"});
    assert_eq!(body["suspension"], expected);
}
