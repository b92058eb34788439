//! Seats: allocated by name, never oversold, given back, handed on, ended by themselves.

use std::collections::BTreeSet;

use entitled::{
    domain::callers::OperatorRole,
    error::Error,
    service::{
        Actor,
        seats::{SeatDraft, SeatName},
    },
};
use serde_json::{Value, json};

use crate::{
    given::{column, day, days},
    harness::{App, Client, Reply},
};

/// A tenant on the plan team: 5 seats of leaderforge.
async fn team() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/learning.yaml")).await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "team", json!({})).await;
    app
}

fn path(user: &str) -> String {
    format!("/api/v1/tenants/acme/seats/leaderforge/{user}")
}

async fn seat(app: &App, user: &str) -> Reply {
    app.backend().put(&path(user), json!({})).await
}

async fn list(app: &App, query: &str) -> Value {
    let path = format!("/api/v1/tenants/acme/seats{query}");
    app.backend().get(&path).await.expect(200).body
}

/// Total, allocated and available of the pool of leaderforge.
async fn pool(app: &App) -> Value {
    let list = list(app, "?key=leaderforge").await;
    let pool = &list["pools"][0];
    json!([pool["total"], pool["allocated"], pool["available"]])
}

async fn asked(app: &App, user: &str) -> String {
    app.ask(json!({"tenant": "acme", "user": user, "module": "leaderforge"})).await
}

async fn names(app: &App) -> Vec<String> {
    let events = app.events("event=seat.").await;
    events.iter().map(|e| format!("{} {}", e["event"], e["subject"]).replace('"', "")).collect()
}

fn admin(app: &App) -> Client<'_> {
    app.caller(OperatorRole::TenantAdmin, Some("acme"), "ada")
}

#[tokio::test]
async fn a_user_needs_a_seat_and_has_what_the_plan_gives_with_one() {
    let app = team().await;
    let question = json!({"tenant": "acme", "user": "u1", "module": "leaderforge"});
    let refused = app.check(question.clone()).await;
    assert_eq!((&refused["allowed"], &refused["reason"]), (&json!(false), &json!("seat_required")));
    assert_eq!(refused["remedies"], json!([{"kind": "assign_seat"}]));
    // The tenant as a whole has it.
    assert_eq!(app.module("acme", "leaderforge").await, "allowed plan");

    let made = seat(&app, "u1").await.expect(201);
    assert_eq!(made.header("location"), "/api/v1/tenants/acme/seats?key=leaderforge&user=u1");
    assert_eq!(made.body["from_tenant"], "acme");
    assert_eq!(made.body["allocated_by"], "backend");
    assert_eq!(asked(&app, "u1").await, "allowed plan");
    let feature = json!({"tenant": "acme", "user": "u1", "features": ["leaderforge_videos"]});
    assert_eq!(app.ask(feature).await, "allowed plan");
    let payload = app.backend().get("/api/v1/tenants/acme/entitlements?user=u1").await.body;
    assert_eq!(payload["module_access"]["leaderforge"]["enabled"], true);
    assert!(payload.to_string().contains("from_tenant"), "{payload:#}");

    app.backend().delete(&path("u1")).await.expect(204);
    assert_ne!(asked(&app, "u1").await, "allowed plan");
    assert_eq!(pool(&app).await, json!([5, 0, 5]), "a release doesn't shrink the pool");
    app.backend().delete(&path("u1")).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_second_call_changes_the_end_and_takes_no_second_seat() {
    let app = team().await;
    seat(&app, "u1").await.expect(201);
    let again = seat(&app, "u1").await.expect(200);
    assert_eq!(again.body["expires_at"], json!(null));
    let ends = json!({"expires_at": day(3)});
    let moved = app.backend().put(&path("u1"), ends.clone()).await.expect(200).body;
    assert_eq!(moved["expires_at"], day(3));
    app.backend().put(&path("u1"), ends).await.expect(200);
    assert_eq!(pool(&app).await, json!([5, 1, 4]));
    // The second and the last call changed nothing.
    assert_eq!(names(&app).await, ["seat.allocated u1", "seat.allocated u1"]);
    let events = app.events("event=seat.").await;
    assert_eq!(events[1]["before"]["expires_at"], json!(null));
    assert_eq!(events[1]["after"]["expires_at"], day(3));
    assert_eq!(events[1]["tenant"], "acme");
}

#[tokio::test]
async fn a_full_pool_gives_no_seat_until_one_comes_back() {
    let app = team().await;
    for user in ["a", "b", "c", "d", "e"] {
        seat(&app, user).await.expect(201);
    }
    let full = seat(&app, "f").await.expect_problem(409, "NO_SEAT_AVAILABLE");
    assert!(full.body["detail"].as_str().unwrap().contains("All 5 seats"), "{:#}", full.body);
    seat(&app, "a").await.expect(200);
    app.backend().delete(&path("c")).await.expect(204);
    seat(&app, "f").await.expect(201);
    app.assign("acme", "more_seats", json!({"quantity": 2})).await;
    assert_eq!(pool(&app).await, json!([25, 5, 20]));
    seat(&app, "c").await.expect(201);
}

#[tokio::test]
async fn the_pool_is_that_of_the_grant_or_of_the_plan_with_add_ons_in_both_cases() {
    let app = team().await;
    app.assign("acme", "organisation", json!({"quantity": 3})).await;
    assert_eq!(pool(&app).await, json!([150, 0, 150]));
    app.assign("acme", "more_seats", json!({})).await;
    assert_eq!(pool(&app).await, json!([160, 0, 160]));
    app.grant("acme", "leaderforge", json!({"state": "enabled", "seats": 7})).await.expect(201);
    assert_eq!(pool(&app).await, json!([17, 0, 17]));
    let trial = json!({"state": "trial", "trial_expires_at": day(2), "seats": 4});
    app.grant("acme", "leaderforge", trial).await.expect(200);
    assert_eq!(pool(&app).await, json!([14, 0, 14]));
    app.advance(days(2));
    assert_eq!(pool(&app).await, json!([160, 0, 160]), "an ended trial gives no seats");
}

#[tokio::test]
async fn what_is_not_seated_or_not_known_gets_no_seat() {
    let app = team().await;
    let put = async |key: &str, body: Value| {
        app.backend().put(&format!("/api/v1/tenants/acme/seats/{key}/u1"), body).await
    };
    put("leaderforg", json!({})).await.expect_problem(422, "UNKNOWN_KEY");
    let videos = put("leaderforge_videos", json!({})).await.expect_problem(422, "NOT_SEATED");
    assert!(videos.body["fields"]["key"].is_array(), "{:#}", videos.body);
    // Seated, but nothing gives any.
    let school = put("brilliant_school", json!({})).await;
    school.expect_problem(409, "NO_SEAT_AVAILABLE");
    for (body, field) in [
        (json!({"expires_at": day(0)}), "expires_at"),
        (json!({"expires_at": "2026-03-09T00:00:00"}), "expires_at"),
        (json!({"from_tenant": "a/b"}), "from_tenant"),
        (json!({"until": day(1)}), "until"),
    ] {
        let reply = put("leaderforge", body.clone()).await.expect(422);
        assert!(reply.body["fields"].get(field).is_some(), "{body}: {:#}", reply.body);
    }
    let none = app.backend().put("/api/v1/tenants/none/seats/leaderforge/u1", json!({})).await;
    none.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(names(&app).await, [] as [&str; 0]);
    // A grant with seats makes a single feature seated.
    let seats = json!({"state": "enabled", "seats": 1});
    app.grant("acme", "leaderforge_coaching", seats).await.expect(201);
    let coaching = json!({"tenant": "acme", "user": "u1", "features": ["leaderforge_coaching"]});
    assert_eq!(app.check(coaching.clone()).await["reason"], "seat_required");
    put("leaderforge_coaching", json!({})).await.expect(201);
    assert_eq!(app.ask(coaching).await, "allowed grant");
}

#[tokio::test]
async fn a_seat_goes_from_one_user_to_another_in_one_step() {
    let app = team().await;
    app.backend().put(&path("u1"), json!({"expires_at": day(9)})).await.expect(201);
    for user in ["b", "c", "d", "e"] {
        seat(&app, user).await.expect(201);
    }
    let there = format!("{}/transfer", path("u1"));
    let post = async |to: &str| app.backend().post(&there, json!({"to": to})).await;
    post("b").await.expect_problem(409, "SEAT_ALREADY_ALLOCATED");
    post("u1").await.expect_problem(409, "SEAT_ALREADY_ALLOCATED");
    app.backend().post(&there, json!({})).await.expect_problem(422, "INVALID_VALUE");
    let moved = post("u2").await.expect(200).body;
    assert_eq!((&moved["user"], &moved["expires_at"]), (&json!("u2"), &json!(day(9))));
    assert_ne!(asked(&app, "u1").await, "allowed plan");
    assert_eq!(asked(&app, "u2").await, "allowed plan");
    post("u3").await.expect_problem(404, "NOT_FOUND");
    assert_eq!(pool(&app).await, json!([5, 5, 0]));
    let events = app.events("event=seat.transferred").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["before"]["user"], "u1");
    assert_eq!(events[0]["after"]["user"], "u2");
}

#[tokio::test]
async fn a_seat_ends_at_its_instant_and_its_place_is_free_before_the_worker_ran() {
    let app = team().await;
    app.backend().put(&path("u1"), json!({"expires_at": day(1)})).await.expect(201);
    for user in ["b", "c", "d", "e"] {
        app.backend().put(&path(user), json!({"expires_at": day(2)})).await.expect(201);
    }
    let answer = json!({"tenant": "acme", "user": "u1", "module": "leaderforge"});
    assert_eq!(app.check(answer).await["valid_until"], day(1));
    app.move_to_end_of_day(1);
    assert_eq!(asked(&app, "u1").await, "allowed plan");
    app.move_to_day(1);
    assert_ne!(asked(&app, "u1").await, "allowed plan");
    assert_eq!(pool(&app).await, json!([5, 4, 1]));
    assert_eq!(list(&app, "").await["items"].as_array().unwrap().len(), 4);
    seat(&app, "f").await.expect(201);
    assert_eq!(names(&app).await[5..], ["seat.expired u1", "seat.allocated f"]);
    seat(&app, "g").await.expect_problem(409, "NO_SEAT_AVAILABLE");

    app.move_to_day(2);
    let run = async || app.root().post("/api/v1/admin/expiry/run", json!({})).await.body;
    assert_eq!(run().await, json!({"expired": 4, "failed": 0, "held": false}));
    assert_eq!(run().await, json!({"expired": 0, "failed": 0, "held": false}));
    assert_eq!(app.events("event=seat.expired").await.len(), 5);
    assert_eq!(pool(&app).await, json!([5, 1, 4]));
    // An ended seat can be given to the same user again.
    seat(&app, "b").await.expect(201);
}

#[tokio::test]
async fn a_smaller_grant_is_refused_unless_it_says_who_goes() {
    let app = team().await;
    let grant = async |more: Value| {
        let mut body = json!({"state": "enabled"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.grant("acme", "leaderforge", body).await
    };
    grant(json!({"seats": 6})).await.expect(201);
    for user in ["a", "b", "c", "d", "e"] {
        seat(&app, user).await.expect(201);
        app.advance(std::time::Duration::from_secs(1));
    }
    let refused = grant(json!({"seats": 3})).await.expect_problem(409, "SEATS_IN_USE");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("5 seats") && detail.contains("only 3"), "{detail}");
    assert_eq!(pool(&app).await, json!([6, 5, 1]), "a refused change changes nothing");
    grant(json!({"seats": 5})).await.expect(200);
    let bad = grant(json!({"seats": 3, "release": "oldest"})).await;
    assert_eq!(bad.status, 422);
    grant(json!({"seats": 3, "release": "newest"})).await.expect(200);
    assert_eq!(column(&list(&app, "").await, "user"), ["a", "b", "c"]);
    assert_eq!(pool(&app).await, json!([3, 3, 0]));
    assert_ne!(asked(&app, "e").await, "allowed grant");
    assert_eq!(asked(&app, "c").await, "allowed grant");
    assert_eq!(names(&app).await[5..], ["seat.released e", "seat.released d"]);

    // The same by the selection of modules.
    let select = async |more: Value| {
        let mut module = json!({"state": "enabled", "seats": 1});
        module.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({"modules": {"leaderforge": module}, "reason": "for a test"});
        app.root().put("/api/v1/admin/tenants/acme/modules", body).await
    };
    select(json!({})).await.expect_problem(409, "SEATS_IN_USE");
    select(json!({"release": "newest"})).await.expect(200);
    assert_eq!(column(&list(&app, "").await, "user"), ["a"]);
}

#[tokio::test]
async fn a_smaller_plan_or_a_withdrawn_grant_leaves_seats_allocated() {
    let app = team().await;
    app.change_subscription("acme", json!({"quantity": 2})).await;
    for user in ["a", "b", "c", "d", "e", "f"] {
        seat(&app, user).await.expect(201);
    }
    app.change_subscription("acme", json!({"quantity": 1})).await;
    assert_eq!(pool(&app).await, json!([5, 6, 0]));
    assert_eq!(asked(&app, "f").await, "allowed plan", "nobody loses a seat by it");
    seat(&app, "g").await.expect_problem(409, "NO_SEAT_AVAILABLE");
    app.backend().delete(&path("a")).await.expect(204);
    seat(&app, "g").await.expect_problem(409, "NO_SEAT_AVAILABLE");

    // A grant that withholds the module: the seats stay, and give nothing.
    app.grant("acme", "leaderforge", json!({"state": "disabled"})).await.expect(201);
    assert_eq!(asked(&app, "f").await, "refused disabled MODULE_NOT_ENTITLED 403");
    assert_eq!(list(&app, "").await["items"].as_array().unwrap().len(), 5);
    app.root().delete("/api/v1/admin/tenants/acme/grants/leaderforge").await.expect(204);
    assert_eq!(asked(&app, "f").await, "allowed plan");
}

#[tokio::test]
async fn the_list_is_paged_and_narrowed() {
    let app = team().await;
    for user in ["a", "b", "c", "d", "e"] {
        admin(&app).put(&path(user), json!({})).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = list(&app, &query).await;
        seen.extend(column(&page, "user"));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert_eq!(column(&list(&app, "?user=c").await, "user"), ["c"]);
    let other = list(&app, "?key=brilliant_school").await;
    assert_eq!(other["items"], json!([]));
    assert_eq!(other["pools"][0]["total"], 0);
    let all = list(&app, "").await;
    let keys: Vec<_> = all["pools"].as_array().unwrap().iter().map(|p| p["key"].clone()).collect();
    assert_eq!(keys, ["brilliant_school", "leaderforge"]);
    // A module in use by a seat can't be removed from the catalog.
    let smaller = "modules: {brilliant_school: {name: B}}";
    let refused = app.put_catalog("", smaller).await.expect_problem(422, "KEY_IN_USE");
    assert!(refused.body.to_string().contains("5 seats"), "{:#}", refused.body);
}

fn name(user: &str) -> SeatName {
    SeatName {
        tenant: "acme".parse().unwrap(),
        key: "leaderforge".parse().unwrap(),
        user: user.parse().unwrap(),
        from: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_want_the_last_seat_one_gets_it_a_thousand_times() {
    let app = team().await;
    for user in ["a", "b", "c", "d"] {
        seat(&app, user).await.expect(201);
    }
    let actor = Actor::system("test");
    let mut winners = BTreeSet::new();
    for round in 0..1000 {
        let clients = (0..64).map(|client| {
            let (service, actor) = (app.service.clone(), actor.clone());
            let user = format!("u{}", (client + round) % 64);
            tokio::spawn(async move {
                let outcome = service.allocate_seat(&actor, name(&user), SeatDraft::default());
                (user, outcome.await)
            })
        });
        let mut won = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            match client.await.unwrap() {
                (user, Ok((_, true))) => won.push(user),
                (_, Err(Error::Conflict { code: "NO_SEAT_AVAILABLE", .. })) => {}
                (user, other) => panic!("{round} {user}: {other:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        app.service.release_seat(&actor, name(&won[0])).await.unwrap();
        winners.extend(won);
    }
    println!("{} different winners", winners.len());
    assert_eq!(pool(&app).await, json!([5, 4, 1]), "no seat is lost");
    let rows = rusqlite::Connection::open(&app.database).unwrap().query_row(
        "SELECT count(*) FROM seats",
        [],
        |row| row.get::<_, i64>(0),
    );
    assert_eq!(rows.unwrap(), 4);
    assert_ne!(asked(&app, "u1").await, "allowed plan");
}
