//! What the database promises: all or nothing, and one damaged tenant closes no other.

use entitled::{
    engine::Gating,
    store::{Store, audit::Verification, snapshots::load_world},
};
use rusqlite::Connection;
use serde_json::json;

use crate::harness::App;

pub fn tamper(app: &App, sql: &str) {
    Connection::open(&app.database).unwrap().execute_batch(sql).unwrap();
}

fn audit_rows(app: &App) -> u64 {
    match Store::inspect(&app.database, |tx| entitled::store::audit::verify(tx, &[])).unwrap() {
        Verification::Intact { rows, .. } => rows,
        broken => panic!("{broken:?}"),
    }
}

#[tokio::test]
async fn a_damaged_row_closes_its_tenant_and_no_other() {
    let app = App::retail().await;
    for tenant in ["sound", "broken"] {
        app.tenant(tenant, json!({})).await;
        app.assign(tenant, "starter", json!({})).await;
    }
    // Past the checks of the table, as a failing disk would.
    tamper(
        &app,
        "PRAGMA ignore_check_constraints = 1;
         UPDATE subscriptions SET status = 'nonsense' WHERE tenant = 'broken';",
    );
    let ask = |tenant: &str| json!({"tenant": tenant, "module": "retail"});
    let refused = app.backend().post("/api/v1/check", ask("broken")).await;
    refused.expect_problem(503, "TENANT_DAMAGED");
    let payload = app.backend().get("/api/v1/tenants/broken/entitlements").await;
    payload.expect_problem(503, "TENANT_DAMAGED");
    assert_eq!(app.check(ask("sound")).await["allowed"], true);
    // A batch answers the others.
    let batch = json!({"checks": [ask("broken"), ask("sound")]});
    let answers = app.backend().post("/api/v1/check/batch", batch).await.expect(200).body;
    assert_eq!(answers["results"][0]["problem"]["code"], "TENANT_DAMAGED");
    assert_eq!(answers["results"][1]["decision"]["allowed"], true);
    // It is shown, so that somebody repairs it.
    let list = app.root().get("/api/v1/admin/tenants?blocked_reason=any").await.expect(200);
    assert_eq!(list.body["items"][0]["key"], "broken", "{:#}", list.body);
    assert_eq!(list.body["items"][0]["damaged"], true);
}

#[tokio::test]
async fn a_repaired_tenant_opens_again() {
    let app = App::retail().await;
    app.tenant("broken", json!({})).await;
    app.assign("broken", "starter", json!({})).await;
    let damage = |word: &str| {
        format!(
            "PRAGMA ignore_check_constraints = 1;
             UPDATE subscriptions SET status = '{word}' WHERE tenant = 'broken';"
        )
    };
    tamper(&app, &damage("nonsense"));
    let ask = json!({"tenant": "broken", "module": "retail"});
    app.backend().post("/api/v1/check", ask.clone()).await.expect_problem(503, "TENANT_DAMAGED");
    tamper(&app, &damage("active"));
    app.root().post("/api/v1/admin/cache/refresh", json!({})).await.expect(200);
    assert_eq!(app.check(ask).await["allowed"], true);
}

#[tokio::test]
async fn no_change_without_its_audit_event() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    let before = audit_rows(&app);
    tamper(
        &app,
        "CREATE TRIGGER audit_fails BEFORE INSERT ON audit
         BEGIN SELECT RAISE(ABORT, 'for a test'); END;",
    );
    let root = app.root();
    let failed = [
        root.post("/api/v1/admin/tenants", json!({"key": "new", "name": "New"})).await,
        root.patch("/api/v1/admin/tenants/shop", json!({"name": "Other"})).await,
        root.post(
            "/api/v1/admin/tenants/shop/subscriptions",
            json!({"plan": "starter", "change_reason": "for a test"}),
        )
        .await,
        root.put(
            "/api/v1/admin/tenants/shop/grants/dine",
            json!({"state": "enabled", "reason": "for a test"}),
        )
        .await,
        root.put(
            "/api/v1/admin/tenants/shop/modules",
            json!({"modules": {"dine": {"state": "enabled"}}, "reason": "for a test"}),
        )
        .await,
        root.post("/api/v1/admin/api-keys", json!({"name": "k", "role": "service"})).await,
    ];
    for reply in failed {
        reply.expect_problem(500, "INTERNAL");
    }
    tamper(&app, "DROP TRIGGER audit_fails;");
    assert_eq!(audit_rows(&app), before);
    root.get("/api/v1/admin/tenants/new").await.expect_problem(404, "TENANT_NOT_FOUND");
    let shop = root.get("/api/v1/admin/tenants/shop").await.expect(200);
    assert_eq!(shop.body["name"], "shop");
    assert_eq!(shop.body["plan"], json!(null));
    let grants = root.get("/api/v1/admin/tenants/shop/grants").await.expect(200);
    assert_eq!(grants.body["items"], json!([]));
    let keys = root.get("/api/v1/admin/api-keys").await.expect(200);
    assert_eq!(keys.body["items"], json!([]));
    // And the service goes on.
    root.patch("/api/v1/admin/tenants/shop", json!({"name": "Other"})).await.expect(200);
}

#[tokio::test]
async fn the_audit_table_refuses_to_be_changed() {
    let app = App::retail().await;
    let conn = Connection::open(&app.database).unwrap();
    for sql in ["UPDATE audit SET event = 'x'", "DELETE FROM audit"] {
        let error = conn.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn checks_go_on_from_memory_without_a_read_of_the_database() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    let ask = || app.check(json!({"tenant": "shop", "module": "retail"}));
    ask().await;
    let before = app.service.cache_stats();
    for _ in 0..50 {
        ask().await;
    }
    let after = app.service.cache_stats();
    assert_eq!(after.loads, before.loads);
    assert_eq!(after.hits, before.hits + 50);
}

#[tokio::test]
async fn a_stored_condition_that_cannot_be_used_any_more_closes_its_guard_and_not_the_service() {
    let app = App::start().await;
    let catalog = "guards: {g: {conditions: [
        {unless: resource.open, reason: r, code: C, message: M},
        {unless: resource.kept, reason: r, code: C, message: M}]}}";
    app.apply_catalog(catalog).await;
    // As a version of the service would have accepted it that knew more.
    tamper(&app, "UPDATE catalogs SET document = replace(document, 'open', 'open || tenant.old')");

    let world = Store::inspect(&app.database, |tx| load_world(tx, Gating::BySettings)).unwrap();

    let unusable: Vec<_> = world.catalog.unusable_conditions().collect();
    let [(place, reason)] = unusable.as_slice() else { panic!("{unusable:?}") };
    assert_eq!(place, "guards.g.conditions[0].unless");
    assert!(reason.contains("there is no member “old” of the tenant"), "{reason}");
    let shown = app.root().get("/api/v1/admin/catalog").await.expect(200).body["document"].clone();
    assert_eq!(shown["guards"]["g"]["conditions"][0]["unless"], "resource.open || tenant.old");
    let again = app.root().put("/api/v1/admin/catalog", shown).await;
    let refused = again.expect_problem(422, "CATALOG_INVALID").body;
    assert!(refused["fields"]["guards.g.conditions[0].unless"].is_array(), "{refused:#}");
}
