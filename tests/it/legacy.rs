//! Maps of an older application beside the grants: kept in the same transaction, compared, and given
//! back in the old shape.

use std::collections::BTreeMap;

use entitled::domain::callers::OperatorRole;
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    given::{day, days},
    harness::{App, Reply},
};

pub const LEGACY: &str = "/api/v1/admin/legacy";
pub const IMPORT: &str = "/api/v1/admin/legacy/import";

/// The suite product with organisations that have nothing.
pub async fn suite(tenants: &[&str]) -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/suite.yaml")).await;
    for tenant in tenants {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }
    app
}

/// Imports maps, written as JSON.
pub async fn import(app: &App, query: &str, tenants: Value) -> Reply {
    app.root().post(&format!("{IMPORT}{query}"), json!({"tenants": tenants})).await
}

/// The map of a tenant.
pub async fn map(app: &App, tenant: &str) -> Value {
    let path = format!("/api/v1/admin/tenants/{tenant}/legacy-modules");
    let view = app.root().get(&path).await.expect(200).body;
    assert_eq!(view["tenant"], tenant);
    view["enabled_modules"].clone()
}

/// Every difference, as `tenant module kind`.
pub async fn differences(app: &App) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{LEGACY}/consistency?limit=3{cursor}");
        let page = app.root().get(&path).await.expect(200).body;
        for item in page["items"].as_array().unwrap() {
            for difference in item["differences"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (tenant, module) = (text(&item["tenant"]), text(&difference["module"]));
                found.push(format!("{tenant} {module} {}", text(&difference["kind"])));
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn keep(app: &App, dual_write: bool) {
    app.root().put(LEGACY, json!({"dual_write": dual_write})).await.expect(200);
}

async fn select(app: &App, tenant: &str, modules: Value) {
    let path = format!("/api/v1/admin/tenants/{tenant}/modules");
    let body = json!({"modules": modules, "reason": "for a test"});
    app.root().put(&path, body).await.expect(200);
}

#[tokio::test]
async fn each_difference_between_map_and_grants_is_named_with_its_kind() {
    let app = suite(&["acme", "bolt", "core", "dyne"]).await;
    let maps = json!({
        "acme": {"crm": true, "erp": true, "manufacturing": false, "email": true},
        "bolt": {"crm": false, "erp": true},
        "dyne": {"email": false, "settings": true}
    });
    import(&app, "", maps).await.expect(200);
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(201);
    app.grant("acme", "manufacturing", json!({"state": "enabled"})).await.expect(201);
    app.grant("bolt", "erp", json!({"state": "disabled"})).await.expect(201);
    app.grant("bolt", "crm", json!({"state": "disabled"})).await.expect(201);
    let trial = json!({"state": "trial", "trial_expires_at": day(3)});
    app.grant("core", "erp", trial).await.expect(201);
    // What the old application never knew.
    app.grant("core", "crm_automation", json!({"state": "enabled"})).await.expect(201);

    let found = differences(&app).await;
    assert_eq!(
        found,
        [
            "acme erp only_legacy",
            "acme manufacturing value_differs",
            "bolt erp value_differs",
            "core erp only_grant",
            "dyne email value_differs"
        ]
    );
    let page = app.root().get(&format!("{LEGACY}/consistency?limit=1")).await.expect(200).body;
    assert_eq!(
        page["items"][0]["differences"][0],
        json!({"module": "erp", "name": "erp", "kind": "only_legacy", "legacy": true,
               "granted": null})
    );
    // At its end a trial gives nothing, whether or not that is recorded.
    app.move_to_day(3);
    assert!(!differences(&app).await.contains(&"core erp only_grant".to_owned()));
}

#[tokio::test]
async fn with_dual_write_each_change_of_modules_changes_the_map_too() {
    let app = suite(&["acme"]).await;
    import(&app, "", json!({"acme": {"erp": true}})).await.expect(200);
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(map(&app, "acme").await, json!({"erp": true}), "off, the map stays as it is");
    keep(&app, true).await;

    app.grant("acme", "manufacturing", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(map(&app, "acme").await, json!({"erp": true, "manufacturing": true}));
    app.grant("acme", "manufacturing", json!({"state": "disabled"})).await.expect(200);
    assert_eq!(map(&app, "acme").await, json!({"erp": true, "manufacturing": false}));
    // The selection is all that there is: what only the map had is off, and what was there is on.
    select(&app, "acme", json!({"crm": {"state": "enabled"}})).await;
    let selected = json!({"crm": true, "erp": false, "manufacturing": false});
    assert_eq!(map(&app, "acme").await, selected);
    assert_eq!(differences(&app).await, [""; 0]);

    let path = "/api/v1/admin/tenants/acme/grants/crm";
    app.root().delete(path).await.expect(204);
    assert_eq!(map(&app, "acme").await["crm"], false);
    let trial = json!({"state": "trial", "trial_expires_at": day(2)});
    app.grant("acme", "crm", trial).await.expect(201);
    assert_eq!(map(&app, "acme").await["crm"], true);
    app.advance(days(2));
    let run = app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body;
    assert_eq!(
        (&run["expired"], map(&app, "acme").await["crm"].clone()),
        (&json!(1), json!(false))
    );
    // Features are nothing that the old application knows.
    app.grant("acme", "crm_automation", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(map(&app, "acme").await.as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn with_dual_write_map_and_grants_agree_after_every_random_change() {
    let tenants = ["acme", "bolt", "core"];
    let app = suite(&tenants).await;
    keep(&app, true).await;
    let mut random = StdRng::seed_from_u64(9);
    let modules = ["crm", "erp", "manufacturing"];
    for step in 0..150 {
        let tenant = tenants[random.random_range(0..3)];
        let module = modules[random.random_range(0..3)];
        let until = app.clock.now().plus_days(random.random_range(1..4)).to_string();
        let state = match random.random_range(0..3) {
            0 => json!({"state": "enabled"}),
            1 => json!({"state": "disabled"}),
            _ => json!({"state": "trial", "trial_expires_at": until}),
        };
        match random.random_range(0..8) {
            0..=3 => {
                let reply = app.grant(tenant, module, state).await;
                assert!(reply.status < 300, "{:#}", reply.body);
            }
            4 => select(&app, tenant, json!({module: state})).await,
            5 => {
                let path = format!("/api/v1/admin/tenants/{tenant}/grants/{module}");
                app.root().delete(&path).await;
            }
            6 => {
                import(&app, "?apply=true", json!({tenant: {"crm": true, "erp": false}})).await;
                // What it doesn't name is left to the grants, so that may differ now.
                select(&app, tenant, json!({module: state})).await;
            }
            _ => {
                app.advance(days(1));
                app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200);
            }
        }
        assert_eq!(differences(&app).await, [""; 0], "after step {step}");
    }
    let events = app.events("event=grant.").await.len();
    assert!(events >= 50, "only {events} changes");
}

/// The rows of grants, maps and the trail.
fn rows(app: &App) -> Vec<String> {
    let tables = ["audit: ", "grants: ", "legacy_modules: "];
    let all = dump(app);
    let kept = all.lines().filter(|row| tables.iter().any(|table| row.starts_with(table)));
    kept.map(str::to_owned).collect()
}

#[tokio::test]
async fn map_and_grant_change_both_or_neither() {
    let app = suite(&["acme"]).await;
    keep(&app, true).await;
    let trial = json!({"state": "trial", "trial_expires_at": day(2)});
    app.grant("acme", "erp", trial).await.expect(201);
    let connection = Connection::open(&app.database).unwrap();
    let break_it = "CREATE TRIGGER audit_fails BEFORE INSERT ON audit
                    BEGIN SELECT RAISE(ABORT, 'for a test'); END;";
    connection.execute_batch(break_it).unwrap();
    app.advance(days(2));
    let before = rows(&app);

    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect_problem(500, "INTERNAL");
    let path = "/api/v1/admin/tenants/acme/modules";
    let body = json!({"modules": {"crm": {"state": "enabled"}}, "reason": "for a test"});
    app.root().put(path, body).await.expect_problem(500, "INTERNAL");
    let run = app.root().post("/api/v1/admin/expiry/run", json!({})).await.expect(200).body;
    assert_eq!((&run["expired"], &run["failed"]), (&json!(0), &json!(1)));
    let maps = json!({"acme": {"crm": true, "manufacturing": true}});
    import(&app, "?apply=true", maps).await.expect_problem(500, "INTERNAL");
    assert_eq!(rows(&app), before);

    // The other way round: where the map can't be written, no grant is.
    let break_it = "DROP TRIGGER audit_fails;
                    CREATE TRIGGER map_fails BEFORE INSERT ON legacy_modules
                    BEGIN SELECT RAISE(ABORT, 'for a test'); END;";
    connection.execute_batch(break_it).unwrap();
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect_problem(500, "INTERNAL");
    assert_eq!(rows(&app), before);
    assert_eq!(app.module("acme", "crm").await, "refused not_granted MODULE_NOT_ENTITLED 403");
    connection.execute_batch("DROP TRIGGER map_fails").unwrap();
    app.grant("acme", "crm", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(map(&app, "acme").await, json!({"crm": true, "erp": true}));
}

#[tokio::test]
async fn old_names_stand_for_modules_in_both_directions() {
    let app = suite(&["acme"]).await;
    let names = json!({"CRM Module": "crm", "mfg": "manufacturing"});
    let set = app.root().put(LEGACY, json!({"dual_write": true, "names": names})).await.expect(200);
    assert_eq!((&set.body["names"], &set.body["dual_write"]), (&names, &json!(true)));
    let sent = json!({"acme": {"CRM Module": true, "erp": true, "mfg": false}});
    import(&app, "", sent.clone()).await.expect(200);
    assert_eq!(map(&app, "acme").await, sent["acme"]);
    assert_eq!(differences(&app).await, ["acme crm only_legacy", "acme erp only_legacy"]);
    app.grant("acme", "manufacturing", json!({"state": "enabled"})).await.expect(201);
    assert_eq!(map(&app, "acme").await["mfg"], true);
    // By its key as well, but not by both.
    let twice = import(&app, "", json!({"acme": {"CRM Module": true, "crm": true}})).await;
    let twice = twice.expect_problem(422, "INVALID_VALUE").body;
    assert!(twice["fields"]["tenants.acme.crm"].is_array(), "{twice:#}");
}

#[tokio::test]
async fn settings_are_audited_and_every_fault_of_them_is_named() {
    let app = suite(&[]).await;
    let first = app.root().get(LEGACY).await.expect(200);
    assert_eq!(
        (first.header("etag"), first.body.clone()),
        (
            "\"1\"",
            json!({"dual_write": false, "names": {}, "updated_at": null, "updated_by": null})
        )
    );
    let fields = |reply: Reply, code: &str| -> Vec<String> {
        let body = reply.expect_problem(422, code).body;
        body["fields"].as_object().unwrap().keys().cloned().collect()
    };
    let put = async |body: Value| app.root().put(LEGACY, body).await;
    assert_eq!(fields(put(json!({})).await, "INVALID_VALUE"), ["dual_write"]);
    let names = json!({"=cmd": "crm", "b": "no key!"});
    let body = json!({"dual_write": "yes", "names": names});
    assert_eq!(fields(put(body).await, "INVALID_VALUE"), ["dual_write", "names.=cmd", "names.b"]);
    let names = json!({"a": "crm", "b": "crm", "erp": "crm", "erp2": "erb"});
    let body = json!({"dual_write": true, "names": names});
    let faulty = put(body).await;
    assert_eq!(fields(faulty, "INVALID_VALUE"), ["names.b", "names.erp", "names.erp2"]);
    let body = json!({"dual_write": true, "names": {"x": "erb"}});
    let unknown = put(body).await.expect_problem(422, "UNKNOWN_KEY").body;
    assert!(unknown["detail"].as_str().unwrap().contains("“erp”"), "{unknown:#}");
    assert_eq!(app.events("event=legacy").await, [] as [Value; 0]);

    let body = json!({"dual_write": true, "names": {"x": "erp"}});
    put(body.clone()).await.expect(200);
    assert_eq!(put(body.clone()).await.expect(200).header("etag"), "\"2\"");
    let stale = app.root().send(Method::PUT, LEGACY, Some(body), &[("If-Match", "\"1\"")]).await;
    stale.expect_problem(412, "PRECONDITION_FAILED");
    let events = app.events("event=legacy").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"], "legacy.changed");
    assert_eq!(events[0]["before"], json!({"dual_write": false, "names": {}}));
    assert_eq!(events[0]["after"], json!({"dual_write": true, "names": {"x": "erp"}}));
}

#[tokio::test]
async fn a_module_that_a_map_or_an_old_name_speaks_of_stays_in_the_catalog() {
    let app = suite(&["acme"]).await;
    let small = |modules: &str| format!("modules: {{{modules}}}\n");
    let catalog = small("crm: {name: CRM}, erp: {name: ERP}");
    app.put_catalog("", catalog).await.expect(200);
    import(&app, "", json!({"acme": {"erp": false}})).await.expect(200);
    app.root().put(LEGACY, json!({"dual_write": false, "names": {"old": "crm"}})).await.expect(200);
    let refused =
        app.put_catalog("", small("x: {name: X}")).await.expect_problem(422, "KEY_IN_USE");
    let fields = refused.body["fields"].as_object().unwrap();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["modules.crm", "modules.erp"]);
    // A new module is not called as another was.
    let more = small("crm: {name: CRM}, erp: {name: ERP}, old: {name: Old}");
    let refused = app.put_catalog("", more).await.expect_problem(422, "KEY_IN_USE").body;
    assert!(refused["fields"]["modules.old"].is_array(), "{refused:#}");
}

/// The header `Link` of a page, as a path.
fn next(reply: &Reply) -> Option<String> {
    let link = reply.headers.get("link")?.to_str().unwrap();
    let path = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(path.1, "; rel=\"next\"");
    Some(path.0.to_owned())
}

#[tokio::test]
async fn what_is_exported_is_imported_again_unchanged() {
    let app = suite(&["acme", "bolt", "core", "dyne"]).await;
    let names = json!({"dual_write": false, "names": {"CRM Module": "crm"}});
    app.root().put(LEGACY, names).await.expect(200);
    let maps = json!({
        "acme": {"CRM Module": true, "erp": false},
        "bolt": {"manufacturing": true},
        "core": {"CRM Module": false, "email": true, "erp": true, "settings": false}
    });
    import(&app, "", maps.clone()).await.expect(200);
    let path = format!("{LEGACY}/export");
    let as_json = app.root().get(&path).await.expect(200);
    assert_eq!(as_json.body, json!({"tenants": maps}));
    assert_eq!(next(&as_json), None);
    let csv =
        app.root().send(Method::GET, &path, None, &[("Accept", "text/csv")]).await.expect(200);
    assert_eq!(csv.header("content-type"), "text/csv");
    let text = csv.body.as_str().unwrap().to_owned();
    assert_eq!(
        text,
        "tenant,CRM Module,email,erp,manufacturing,settings\r\n\
         acme,true,,false,,\r\nbolt,,,,true,\r\ncore,false,true,true,,false\r\n"
    );
    let accept = [("Accept", "application/x-ndjson")];
    let lines = app.root().send(Method::GET, &path, None, &accept).await;
    lines.expect_problem(406, "NOT_ACCEPTABLE");

    let before = dump(&app);
    let again = app.root().post(IMPORT, as_json.body.clone()).await.expect(200).body;
    assert_eq!((&again["tenants"], &again["changed"]), (&json!(3), &json!(0)));
    let again = app.root().send_text(Method::POST, IMPORT, "text/csv", text.clone()).await;
    assert_eq!(again.expect(200).body["changed"], 0);
    assert_eq!(dump(&app), before, "importing the same changes nothing");

    // On another server the same maps come of it.
    let other = suite(&["acme", "bolt", "core", "dyne"]).await;
    let names = json!({"dual_write": false, "names": {"CRM Module": "crm"}});
    other.root().put(LEGACY, names).await.expect(200);
    other.root().send_text(Method::POST, IMPORT, "text/csv", text).await.expect(200);
    assert_eq!(other.root().get(&path).await.expect(200).body, as_json.body);
}

#[tokio::test]
async fn an_export_goes_on_page_by_page() {
    let app = suite(&[]).await;
    let connection = Connection::open(&app.database).unwrap();
    let fill = "INSERT INTO tenants (tenant, name, billing, demo, sandbox, attributes, created_at,
                    updated_at, version, revision)
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
                SELECT printf('t%05d', i), 'T', 'direct', 0, 0, '{}', 0, 0, 1, 1 FROM n;
                INSERT INTO legacy_modules SELECT tenant, 'crm', 1 FROM tenants;";
    connection.execute_batch(fill).unwrap();
    let mut path = format!("{LEGACY}/export");
    let (mut seen, mut pages) = (BTreeMap::new(), 0);
    loop {
        let page = app.root().get(&path).await.expect(200);
        pages += 1;
        for (tenant, map) in page.body["tenants"].as_object().unwrap() {
            assert!(seen.insert(tenant.clone(), map.clone()).is_none(), "{tenant} came twice");
        }
        match next(&page) {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (2_500, 3));
    // The comparison finds them all too, though it looks at a bounded number at once.
    assert_eq!(differences(&app).await.len(), 2_500);
}

#[tokio::test]
async fn super_admins_write_legacy_maps_staff_read_them_and_nobody_else_does() {
    let app = suite(&["acme"]).await;
    let reads = [
        LEGACY.to_owned(),
        format!("{LEGACY}/consistency"),
        format!("{LEGACY}/export"),
        "/api/v1/admin/tenants/acme/legacy-modules".to_owned(),
    ];
    let before = dump(&app);
    for (role, tenant, reads_it) in [
        (OperatorRole::Support, None, true),
        (OperatorRole::Auditor, None, true),
        (OperatorRole::Service, None, false),
        (OperatorRole::TenantAdmin, Some("acme"), false),
    ] {
        let caller = app.caller(role, tenant, "sam");
        for path in &reads {
            let reply = caller.get(path).await;
            assert_eq!(reply.status, if reads_it { 200 } else { 403 }, "{role:?} {path}");
        }
        let maps = json!({"tenants": {"acme": {"crm": true}}});
        caller.post(IMPORT, maps).await.expect_problem(403, "FORBIDDEN");
        let settings = json!({"dual_write": true});
        caller.put(LEGACY, settings).await.expect_problem(403, "FORBIDDEN");
    }
    assert_eq!(dump(&app), before);
    let none = app.root().get("/api/v1/admin/tenants/none/legacy-modules").await;
    none.expect_problem(404, "TENANT_NOT_FOUND");
    assert_eq!(map(&app, "acme").await, json!({}));
}
