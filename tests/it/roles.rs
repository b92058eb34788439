//! Roles: who may do what where, from the assignment to the answer.

use entitled::domain::{callers::OperatorRole, checks::Mode};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    contexts::{named, put},
    given::{column, day, shown},
    harness::{App, Client, Reply},
};

const ROLES: &str = "/api/v1/tenants/shop/role-assignments";
const STAFF: &str = "/api/v1/admin/role-assignments";
const NO: &str = "refused permission_denied PERMISSION_DENIED 403";
const YES: &str = "allowed role";

/// A role on a context (`type:id`), or on the tenant as a whole.
pub fn role(user: &str, role: &str, on: Option<&str>) -> Value {
    json!({"user": user, "role": role, "context": on.map(named)})
}

/// Gives a user a role in a tenant.
pub async fn assign(app: &App, tenant: &str, body: Value) -> Reply {
    let path = format!("/api/v1/tenants/{tenant}/role-assignments");
    app.backend().post(&path, body).await
}

/// Whether a user has a permission, on a context or on the tenant as a whole.
pub async fn may(app: &App, tenant: &str, user: &str, what: &str, on: Option<&str>) -> String {
    let question = json!({
        "tenant": tenant, "user": user, "permission": what, "context": on.map(named)
    });
    app.ask(question).await
}

fn until(mut body: Value, end: &str) -> Value {
    body["expires_at"] = end.into();
    body
}

/// Two regions with a branch each, and a till in the first branch.
async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({"status": "active"})).await;
    for (context, parent) in [
        ("branch:a", None),
        ("till:a1", Some("branch:a")),
        ("branch:inner", Some("till:a1")),
        ("branch:b", None),
    ] {
        put(&app, "shop", context, parent).await.expect(201);
    }
    app
}

async fn sells(app: &App, user: &str, on: Option<&str>) -> String {
    may(app, "shop", user, "pos.sales.create", on).await
}

#[tokio::test]
async fn a_role_permits_on_its_context_and_below_and_nowhere_else() {
    let app = shop().await;
    assign(&app, "shop", role("max", "branch_manager", Some("branch:a"))).await.expect(201);
    for (on, expected) in [
        (Some("branch:a"), YES),
        (Some("till:a1"), YES),
        (Some("branch:inner"), YES),
        (Some("branch:b"), NO),
        (Some("branch:unknown"), NO),
        (None, NO),
    ] {
        assert_eq!(sells(&app, "max", on).await, expected, "{on:?}");
        assert_eq!(may(&app, "shop", "max", "pos.refunds.create", on).await, expected, "{on:?}");
        assert_eq!(may(&app, "shop", "max", "users.manage", on).await, NO, "{on:?}");
        assert_eq!(sells(&app, "eve", on).await, NO, "{on:?}");
    }
    // A role below gives nothing above.
    assign(&app, "shop", role("lea", "cashier", Some("branch:inner"))).await.expect(201);
    assert_eq!(sells(&app, "lea", Some("branch:inner")).await, YES);
    assert_eq!(sells(&app, "lea", Some("branch:a")).await, NO);
    let answer = app
        .check(json!({"tenant": "shop", "user": "max", "permission": "pos.sales.create",
                      "context": named("till:a1")}))
        .await;
    assert_eq!(answer["source"]["role"], "branch_manager");
    assert_eq!(answer["source"]["context"], named("branch:a"));
}

#[tokio::test]
async fn a_role_of_the_tenant_covers_all_of_it_and_no_other_tenant() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    app.assign("other", "starter", json!({"status": "active"})).await;
    assign(&app, "shop", role("ana", "shop_admin", None)).await.expect(201);
    for on in [None, Some("branch:a"), Some("branch:inner"), Some("thing:unknown")] {
        assert_eq!(may(&app, "shop", "ana", "users.manage", on).await, YES);
        assert_eq!(may(&app, "other", "ana", "users.manage", on).await, NO);
    }
}

#[tokio::test]
async fn moving_a_context_changes_the_answers_at_once() {
    let app = shop().await;
    assign(&app, "shop", role("max", "cashier", Some("branch:a"))).await.expect(201);
    assert_eq!(sells(&app, "max", Some("branch:inner")).await, YES);
    put(&app, "shop", "till:a1", Some("branch:b")).await.expect(200);
    assert_eq!(sells(&app, "max", Some("branch:inner")).await, NO);
    put(&app, "shop", "branch:b", Some("branch:a")).await.expect(200);
    assert_eq!(sells(&app, "max", Some("branch:inner")).await, YES);
}

#[tokio::test]
async fn giving_and_taking_a_role_changes_the_answers_at_once() {
    let app = shop().await;
    assert_eq!(sells(&app, "max", Some("branch:a")).await, NO);
    let made = assign(&app, "shop", role("max", "cashier", Some("branch:a"))).await.expect(201);
    let path = format!("{ROLES}/{}", made.body["id"].as_str().unwrap());
    assert_eq!(made.header("location"), path);
    assert_eq!(app.backend().get(&path).await.expect(200).body, made.body);
    assert_eq!(sells(&app, "max", Some("branch:a")).await, YES);
    app.backend().delete(&path).await.expect(204);
    assert_eq!(sells(&app, "max", Some("branch:a")).await, NO);
    app.backend().delete(&path).await.expect_problem(404, "NOT_FOUND");
    app.backend().get(&path).await.expect_problem(404, "NOT_FOUND");
    let events = app.events("tenant=shop&event=role.").await;
    let told: Vec<_> = events.iter().map(|e| (&e["event"], &e["subject"])).collect();
    assert_eq!(
        told,
        [(&json!("role.assigned"), &json!("max")), (&json!("role.removed"), &json!("max"))]
    );
    assert_eq!(events[1]["before"]["context"], named("branch:a"));
}

#[tokio::test]
async fn the_same_role_again_changes_when_it_ends() {
    let app = shop().await;
    let body = role("max", "cashier", Some("branch:a"));
    let made = assign(&app, "shop", body.clone()).await.expect(201).body;
    assert_eq!(made["expires_at"], Value::Null);
    assert_eq!(assign(&app, "shop", body.clone()).await.expect(200).body, made);
    let ends = assign(&app, "shop", until(body.clone(), &day(2))).await.expect(200).body;
    assert_eq!((&ends["id"], &ends["expires_at"]), (&made["id"], &json!(day(2))));
    assert_eq!(app.events("tenant=shop&event=role.").await.len(), 2);
    // The same on another context is another one.
    assign(&app, "shop", role("max", "cashier", Some("branch:b"))).await.expect(201);

    // What was answered once is answered again.
    let once = [("Idempotency-Key", "k")];
    let backend = app.backend();
    let send = |body: Value| backend.send(Method::POST, ROLES, Some(body), &once);
    let first = send(role("lea", "shop_admin", None)).await.expect(201).body;
    assert_eq!(send(role("lea", "shop_admin", None)).await.expect(201).body, first);
    send(role("mo", "shop_admin", None)).await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn a_role_ends_at_its_instant_and_the_worker_records_that_once() {
    let app = shop().await;
    let body = role("max", "cashier", Some("branch:a"));
    let made = assign(&app, "shop", until(body.clone(), &day(2))).await.expect(201).body;
    let staff = until(json!({"user": "sue", "role": "super_admin"}), &day(2));
    app.root().post(STAFF, staff).await.expect(201);
    let question = json!({"tenant": "shop", "user": "max", "permission": "pos.sales.create",
                          "context": named("branch:a")});
    assert_eq!(app.check(question.clone()).await["valid_until"], day(2));
    app.move_to_end_of_day(2);
    assert_eq!(sells(&app, "max", Some("branch:a")).await, YES);
    app.move_to_day(2);
    // No worker has run.
    assert_eq!(sells(&app, "max", Some("branch:a")).await, NO);
    let path = format!("{ROLES}/{}", made["id"].as_str().unwrap());
    app.backend().get(&path).await.expect_problem(404, "NOT_FOUND");
    app.backend().delete(&path).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(app.backend().get(ROLES).await.expect(200).body["items"], json!([]));
    assert_eq!(app.root().get(STAFF).await.expect(200).body["items"], json!([]));

    let run = async || {
        let root = app.root();
        root.send(Method::POST, "/api/v1/admin/expiry/run", None, &[]).await.expect(200).body
    };
    // The two roles and nothing else.
    assert_eq!(run().await, json!({"expired": 2, "failed": 0, "held": false}));
    assert_eq!(run().await["expired"], 0);
    let ended = app.events("event=role.expired").await;
    let mut told: Vec<_> =
        ended.iter().map(|e| format!("{} {}", e["tenant"], e["subject"])).collect();
    told.sort();
    assert_eq!(told, [r#""shop" "max""#, r#"null "sue""#]);

    // Given again it is a new one; where nobody recorded the end, that is done on the way.
    let again = assign(&app, "shop", until(body.clone(), &day(3))).await.expect(201).body;
    assert_ne!(again["id"], made["id"]);
    app.move_to_day(3);
    assign(&app, "shop", body).await.expect(201);
    assert_eq!(app.events("tenant=shop&event=role.expired").await.len(), 2);
    assert_eq!(run().await["expired"], 0);
    assert_eq!(sells(&app, "max", Some("branch:a")).await, YES);
}

#[tokio::test]
async fn every_fault_of_an_assignment_is_named_and_nothing_changes() {
    let app = shop().await;
    let before = dump(&app);
    let past = "2026-03-01T12:00:00Z";
    let cases = [
        (json!({}), vec!["user", "role"], ""),
        (role("a b", "cashier", None), vec!["user", "context"], "type “branch”"),
        (role("max", "cashier", None), vec!["context"], "type “branch”"),
        (role("max", "cashier", Some("till:a1")), vec!["context"], "“branch”, not on “till”"),
        (role("max", "cashier", Some("branch:x")), vec!["context"], "make it first"),
        (role("max", "shop_admin", Some("branch:a")), vec!["context"], "leave it out"),
        (role("max", "super_admin", None), vec!["role"], "platform level"),
        (until(role("max", "shop_admin", None), past), vec!["expires_at"], "in the future"),
        (until(role("max", "cashir", None), "soon"), vec!["role", "expires_at"], "cashier"),
        (
            json!({"user": "max", "role": "cashier", "context": ["branch", "a"]}),
            vec!["context"],
            "",
        ),
        (json!({"user": "max", "role": "shop_admin", "since": 1}), vec!["since"], ""),
    ];
    for (body, fields, words) in cases {
        let reply = assign(&app, "shop", body.clone()).await;
        let reply = reply.expect_problem(422, "INVALID_VALUE").body;
        let mut named: Vec<_> = reply["fields"].as_object().unwrap().keys().collect();
        let mut fields = fields;
        named.sort();
        fields.sort_unstable();
        assert_eq!(named, fields, "{body}");
        assert!(reply["fields"].to_string().contains(words), "{reply:#}");
    }
    let unknown = assign(&app, "shop", role("max", "cashir", None)).await;
    let unknown = unknown.expect_problem(422, "UNKNOWN_KEY");
    assert!(unknown.body["fields"]["role"].to_string().contains("“cashier”"));
    assign(&app, "nobody", role("max", "shop_admin", None)).await.expect(404);

    let staff = async |body: Value| app.root().post(STAFF, body).await;
    let of_tenant = staff(json!({"user": "sue", "role": "shop_admin"})).await;
    let of_tenant = of_tenant.expect_problem(422, "INVALID_VALUE");
    assert!(of_tenant.body["fields"]["role"].to_string().contains("held in a tenant (tenant)"));
    staff(json!({"user": "sue", "role": "sper_admin"})).await.expect_problem(422, "UNKNOWN_KEY");
    let body = json!({"user": "sue", "role": "super_admin", "context": named("branch:a")});
    staff(body).await.expect_problem(422, "INVALID_VALUE");
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn assignments_are_listed_by_user_role_and_context_in_pages() {
    let app = shop().await;
    for (user, key, on) in [
        ("max", "cashier", Some("branch:a")),
        ("max", "cashier", Some("branch:b")),
        ("lea", "branch_manager", Some("branch:a")),
        ("max", "shop_admin", None),
    ] {
        assign(&app, "shop", role(user, key, on)).await.expect(201);
    }
    let backend = app.backend();
    let list = async |query: &str| {
        let page = backend.get(&format!("{ROLES}?{query}")).await.expect(200).body;
        column(&page, "role")
    };
    assert_eq!(list("").await, ["shop_admin", "branch_manager", "cashier", "cashier"]);
    assert_eq!(list("user=max").await, ["shop_admin", "cashier", "cashier"]);
    assert_eq!(list("user=max&role=cashier").await, ["cashier", "cashier"]);
    assert_eq!(list("role=branch_manager").await, ["branch_manager"]);
    assert_eq!(list("context_type=branch").await, ["branch_manager", "cashier", "cashier"]);
    assert_eq!(list("context_type=branch&context_id=a").await, ["branch_manager", "cashier"]);
    assert_eq!(list("context_type=branch&context_id=b&user=max").await, ["cashier"]);
    assert_eq!(list("user=nobody").await, [] as [&str; 0]);
    backend.get(&format!("{ROLES}?context_id=a")).await.expect_problem(422, "INVALID_VALUE");
    for filter in ["", "&user=max", "&context_type=branch"] {
        let first = backend.get(&format!("{ROLES}?limit=2{filter}")).await.expect(200).body;
        let cursor = first["next_cursor"].as_str().unwrap();
        let rest = list(&format!("cursor={cursor}{filter}")).await;
        assert_eq!([column(&first, "role"), rest].concat(), list(&filter.replace('&', "")).await);
    }
    for user in ["sue", "sam"] {
        let body = json!({"user": user, "role": "super_admin"});
        app.root().post(STAFF, body).await.expect(201);
    }
    let root = app.root();
    let staff = root.get(&format!("{STAFF}?limit=1")).await.expect(200).body;
    assert_eq!(column(&staff, "user"), ["sam"]);
    let next = format!("{STAFF}?cursor={}", staff["next_cursor"].as_str().unwrap());
    assert_eq!(column(&root.get(&next).await.expect(200).body, "user"), ["sue"]);
    let mine = root.get(&format!("{STAFF}?user=sue&role=super_admin")).await.expect(200).body;
    assert_eq!(column(&mine, "user"), ["sue"]);
}

#[tokio::test]
async fn the_payload_shows_roles_and_permissions_with_their_context() {
    let app = shop().await;
    assign(&app, "shop", until(role("max", "branch_manager", Some("branch:a")), &day(2)))
        .await
        .expect(201);
    let path = "/api/v1/tenants/shop/entitlements?user=max";
    let payload = app.backend().get(path).await.expect(200).body;
    let on = named("branch:a");
    let roles = json!([{"role": "branch_manager", "context": on, "expires_at": day(2)}]);
    assert_eq!(payload["roles"], roles);
    let permissions = json!([
        {"name": "pos.refunds.create", "context": on, "inherited": false},
        {"name": "pos.sales.create", "context": on, "inherited": true},
    ]);
    assert_eq!(payload["permissions"], permissions);
    let me = app.user("shop", "max").get("/api/v1/me").await.expect(200).body;
    assert_eq!(me["entitlements"]["roles"], roles);
    app.move_to_day(2);
    let payload = app.backend().get(path).await.expect(200).body;
    assert_eq!((&payload["roles"], &payload["permissions"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn a_tenants_admin_gives_roles_in_its_own_tenant_only() {
    let app = shop().await;
    app.tenant("other", json!({})).await;
    let theirs = assign(&app, "other", role("eve", "shop_admin", None)).await.expect(201);
    let theirs = theirs.body["id"].as_str().unwrap().to_owned();
    let other = "/api/v1/tenants/other/role-assignments";
    let bound = [
        app.caller(OperatorRole::TenantAdmin, Some("shop"), "ada"),
        app.caller(OperatorRole::Service, Some("shop"), "key"),
    ];
    for (at, caller) in bound.iter().enumerate() {
        let user = format!("u{at}");
        let made = caller.post(ROLES, role(&user, "cashier", Some("branch:a"))).await.expect(201);
        let path = format!("{ROLES}/{}", made.body["id"].as_str().unwrap());
        caller.get(&path).await.expect(200);
        caller.delete(&path).await.expect(204);
        let before = dump(&app);
        for foreign in [
            caller.post(other, role("ada", "shop_admin", None)).await,
            caller.get(other).await,
            caller.get(&format!("{other}/{theirs}")).await,
            caller.delete(&format!("{other}/{theirs}")).await,
        ] {
            foreign.expect_problem(404, "TENANT_NOT_FOUND");
        }
        // Another tenant's id means nothing in the own one.
        caller.delete(&format!("{ROLES}/{theirs}")).await.expect_problem(404, "NOT_FOUND");
        // Never a role of the platform, on neither way.
        let body = role("ada", "super_admin", None);
        caller.post(ROLES, body).await.expect_problem(422, "INVALID_VALUE");
        let body = json!({"user": "ada", "role": "super_admin"});
        caller.post(STAFF, body).await.expect_problem(403, "FORBIDDEN");
        caller.get(STAFF).await.expect_problem(403, "FORBIDDEN");
        assert_eq!(dump(&app), before);
    }
    for reader in [OperatorRole::Support, OperatorRole::Auditor] {
        let reader = app.caller(reader, None, "sue");
        reader.get(STAFF).await.expect(200);
        reader.get(ROLES).await.expect(200);
        reader.post(ROLES, role("x", "shop_admin", None)).await.expect_problem(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_role_in_use_stays_in_the_catalog_on_the_same_kind_of_thing() {
    let app = shop().await;
    assign(&app, "shop", role("max", "branch_manager", Some("branch:a"))).await.expect(201);
    app.root().post(STAFF, json!({"user": "sue", "role": "super_admin"})).await.expect(201);
    let retail = include_str!("../../examples/retail.yaml");
    let without = |start: &str| -> String {
        retail
            .lines()
            .filter(|line| !line.trim_start().starts_with(start))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (document, field) in [
        (without("branch_manager:"), "roles.branch_manager"),
        (without("super_admin:"), "roles.super_admin"),
        (
            retail.replace("name: Branch manager, context: branch", "name: M, context: tenant"),
            "roles.branch_manager.context",
        ),
    ] {
        let refused = app.put_catalog("", document).await.expect_problem(422, "KEY_IN_USE");
        assert!(
            refused.body["fields"][field].is_string() || refused.body["fields"][field].is_array(),
            "{:#}",
            refused.body
        );
    }
    app.put_catalog("", without("shop_admin:")).await.expect(200);
}

/// The trail's events of bypasses.
async fn bypasses(app: &App) -> Vec<Value> {
    app.events("event=entitlement.super_admin_bypass").await
}

async fn ask(by: &Client<'_>, question: Value) -> String {
    shown(&by.post("/api/v1/check", question).await.expect(200).body)
}

#[tokio::test]
async fn a_bypass_waits_for_its_event() {
    let app = shop().await;
    app.root().post(STAFF, json!({"user": "sue", "role": "super_admin"})).await.expect(201);
    let question = |mode: &str| {
        json!({"tenant": "shop", "user": "sue", "mode": mode, "module": "zf",
               "permission": "pos.sales.create", "context": named("branch:b")})
    };
    let backend = app.backend();
    assert_eq!(
        ask(&backend, question("tenant")).await,
        "refused plan_limit MODULE_NOT_ENTITLED 403"
    );
    assert!(bypasses(&app).await.is_empty());
    assert_eq!(ask(&backend, question("platform")).await, "allowed super_admin_bypass");
    let written = bypasses(&app).await;
    assert_eq!(written.len(), 1);
    assert_eq!((&written[0]["tenant"], &written[0]["subject"]), (&json!("shop"), &json!("sue")));
    assert_eq!(written[0]["after"]["module"], "zf");

    let connection = Connection::open(&app.database).unwrap();
    let break_it = "CREATE TRIGGER audit_fails BEFORE INSERT ON audit
                    BEGIN SELECT RAISE(ABORT, 'for a test'); END;";
    connection.execute_batch(break_it).unwrap();
    let refused = backend.post("/api/v1/check", question("platform")).await;
    assert_eq!(refused.status, 503, "{:#}", refused.body);
    assert!(!refused.body.to_string().contains("for a test"));
    // What is no bypass writes nothing, and is answered.
    assert_eq!(
        ask(&backend, question("tenant")).await,
        "refused plan_limit MODULE_NOT_ENTITLED 403"
    );
    connection.execute_batch("DROP TRIGGER audit_fails").unwrap();
    assert_eq!(ask(&backend, question("platform")).await, "allowed super_admin_bypass");
    assert_eq!(bypasses(&app).await.len(), 2);
    // Who does not hold the role bypasses nothing.
    let mut other = question("platform");
    other["user"] = "max".into();
    assert_eq!(ask(&backend, other).await, "refused plan_limit MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn a_mode_counts_only_from_those_who_may_name_one() {
    let app = shop().await;
    app.root().post(STAFF, json!({"user": "ana", "role": "super_admin"})).await.expect(201);
    let named_in_body =
        json!({"tenant": "shop", "user": "ana", "mode": "platform", "module": "zf"});
    for (role, tenant) in [
        (OperatorRole::TenantAdmin, Some("shop")),
        (OperatorRole::TenantUser, Some("shop")),
        (OperatorRole::Service, Some("shop")),
        (OperatorRole::Auditor, None),
    ] {
        let caller = app.caller(role, tenant, "ana");
        let refused = caller.post("/api/v1/check", named_in_body.clone()).await;
        assert_eq!(refused.status, 403, "{role:?} {:#}", refused.body);
    }
    for role in [OperatorRole::Service, OperatorRole::Support, OperatorRole::SuperAdmin] {
        let caller = app.caller(role, None, "x");
        assert_eq!(ask(&caller, named_in_body.clone()).await, "allowed super_admin_bypass");
    }
    // In impersonation staff are judged as anybody else.
    let mut impersonating = named_in_body.clone();
    impersonating["mode"] = "impersonation".into();
    let refused = "refused plan_limit MODULE_NOT_ENTITLED 403";
    assert_eq!(ask(&app.backend(), impersonating).await, refused);
    // From a token the mode counts as it stands there.
    let staff = app.working_as(OperatorRole::Support, None, Mode::Platform);
    let about_oneself = json!({"tenant": "shop", "module": "zf"});
    assert_eq!(ask(&staff, about_oneself).await, "allowed super_admin_bypass");
}

/// A few numbers that look random, the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[tokio::test]
async fn in_random_trees_a_role_covers_exactly_its_subtree() {
    const NODES: usize = 25;
    for seed in 1..=3 {
        let app = App::retail().await;
        app.tenant("shop", json!({})).await;
        app.assign("shop", "starter", json!({"status": "active"})).await;
        let mut dice = Dice(seed);
        let mut above: Vec<Option<usize>> = Vec::new();
        let name = |node: usize| format!("branch:n{node}");
        for node in 0..NODES {
            let parent = (node > 0 && dice.roll(4) > 0).then(|| dice.roll(node.max(1)));
            put(&app, "shop", &name(node), parent.map(name).as_deref()).await.expect(201);
            above.push(parent);
        }
        let held: Vec<usize> = (0..5).map(|_| dice.roll(NODES)).collect();
        for (user, on) in held.iter().enumerate() {
            let body = role(&format!("u{user}"), "cashier", Some(&name(*on)));
            assign(&app, "shop", body).await.expect(201);
        }
        let covers = |above: &[Option<usize>], on: usize, asked: usize| {
            std::iter::successors(Some(asked), |at| above[*at]).any(|at| at == on)
        };
        for round in 0..2 {
            for (user, on) in held.iter().enumerate() {
                let checks: Vec<_> = (0..NODES)
                    .map(|asked| {
                        json!({"tenant": "shop", "user": format!("u{user}"),
                               "permission": "pos.sales.create", "context": named(&name(asked))})
                    })
                    .collect();
                let body = json!({"checks": checks});
                let reply = app.backend().post("/api/v1/check/batch", body).await.expect(200).body;
                for asked in 0..NODES {
                    let allowed = &reply["results"][asked]["decision"]["allowed"];
                    let expected = covers(&above, *on, asked);
                    assert_eq!(*allowed, expected, "{seed} {round} u{user} on {on}: {asked}");
                }
            }
            // Some nodes move, wherever that makes no circle.
            for _ in 0..8 {
                let (node, parent) = (dice.roll(NODES), dice.roll(NODES));
                let moved = put(&app, "shop", &name(node), Some(&name(parent))).await;
                if covers(&above, node, parent) {
                    moved.expect_problem(422, "INVALID_VALUE");
                } else {
                    moved.expect(200);
                    above[node] = Some(parent);
                }
            }
        }
    }
}
