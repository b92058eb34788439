//! The catalog: applied as a whole, versioned, and never pulled from under who uses it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    given::{column, day},
    harness::{App, Reply},
};

const PATH: &str = "/api/v1/admin/catalog";

const CATALOG: &str = "
modules:
  crm: {name: CRM}
  erp: {name: ERP}
  retail: {name: Retail}
bundles:
  office: {name: Office, modules: [erp]}
features:
  branches: {name: Branches, type: limit}
  reports: {name: Reports, type: boolean}
  tone: {name: Tone, type: config}
plans:
  basic: {name: Basic, rank: 1, modules: [retail], features: {branches: 1}}
  plus: {name: Plus, rank: 2, inherits: basic, modules: [crm], features: {reports: true}}
roles:
  lead: {context: club, permissions: [CAN_LEAD]}
  member: {context: club, permissions: [CAN_READ]}
guards:
  clubs.create: {module: crm}
routes:
  - {path: /crm, module: crm}
  - {path: \"/pos/**\", module: retail}
  - {path: /healthz, public: true}
";

async fn app() -> App {
    let app = App::start().await;
    app.apply_catalog(CATALOG).await;
    app
}

async fn put(app: &App, query: &str, document: impl Into<String>) -> Reply {
    app.put_catalog(query, document).await
}

async fn version(app: &App) -> Value {
    app.root().get(PATH).await.expect(200).body["version"].clone()
}

/// The catalog with one line left out, or said differently.
fn changed(from: &str, to: &str) -> String {
    assert!(CATALOG.contains(from), "{from}");
    CATALOG.replace(from, to)
}

/// The faults of a catalog that is refused, by place.
#[track_caller]
fn faults(reply: Reply, code: &str) -> Vec<(String, String)> {
    let fields = reply.expect_problem(422, code).body["fields"].clone();
    let first = |list: &Value| list[0].as_str().unwrap().to_owned();
    fields.as_object().unwrap().iter().map(|(place, of)| (place.clone(), first(of))).collect()
}

/// The one fault.
#[track_caller]
fn fault(reply: Reply, code: &str) -> (String, String) {
    let mut all = faults(reply, code);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[tokio::test]
async fn the_first_catalog_adds_everything() {
    let app = App::start().await;
    app.root().get(PATH).await.expect_problem(404, "NOT_FOUND");

    let change = put(&app, "", CATALOG).await.expect(200).body;

    let said = (&change["version"], &change["changed"], &change["dry_run"]);
    assert_eq!(said, (&json!(1), &json!(true), &json!(false)));
    let plans = json!([{"plan": "basic", "from": null, "to": 1},
                       {"plan": "plus", "from": null, "to": 1}]);
    assert_eq!(change["plans"], plans);
    assert_eq!(change["diff"]["modules"]["added"], json!(["crm", "erp", "retail"]));
    let read = app.root().get(PATH).await.expect(200);
    assert_eq!((read.header("etag"), &read.body["text"]), ("\"1\"", &json!(CATALOG)));
    assert_eq!((&read.body["format"], &read.body["applied_at"]), (&json!("yaml"), &json!(day(0))));
}

#[tokio::test]
async fn the_same_catalog_again_changes_nothing() {
    let app = app().await;

    let again = put(&app, "", CATALOG).await.expect(200).body;

    assert_eq!((&again["version"], &again["changed"]), (&json!(1), &json!(false)));
    assert_eq!(again["plans"], json!([]));
    assert_eq!(app.events("event=catalog.").await.len(), 1);
}

#[tokio::test]
async fn the_same_catalog_as_json_changes_nothing_either() {
    let app = app().await;
    let document = app.root().get(PATH).await.expect(200).body["document"].clone();

    let again = app.root().put(PATH, document).await.expect(200).body;

    assert_eq!(again["changed"], false, "{again:#}");
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let app = app().await;
    let document = changed("features: {branches: 1}", "features: {branches: 3}");

    let preview = put(&app, "?dry_run=true", document.clone()).await.expect(200).body;

    assert_eq!((&preview["dry_run"], &preview["version"]), (&json!(true), &json!(2)));
    let fields = &preview["diff"]["plans"]["changed"][0];
    let branches = json!([{"field": "features.branches", "before": 1, "after": 3}]);
    assert_eq!((&fields["key"], &fields["fields"]), (&json!("basic"), &branches));
    // Plus inherits it.
    let plans =
        json!([{"plan": "basic", "from": 1, "to": 2}, {"plan": "plus", "from": 1, "to": 2}]);
    assert_eq!(preview["plans"], plans);
    assert_eq!(version(&app).await, 1);
    assert_eq!(app.events("event=catalog.").await.len(), 1);
    let mut applied = put(&app, "", document).await.expect(200).body;
    assert_eq!((&applied["dry_run"], &applied["access"]), (&json!(false), &json!(null)));
    (applied["dry_run"], applied["access"]) = (json!(true), preview["access"].clone());
    assert_eq!(applied, preview);
}

#[tokio::test]
async fn every_fault_is_named_at_its_place_at_once() {
    let app = app().await;
    let bad = "
modules:
  retail: {name: Retail, acces: always_on}
bundles:
  office: {name: Office, modules: [retial]}
features:
  branches: {name: Branches, type: limits}
plans:
  a: {name: A, inherits: b}
  b: {name: B, inherits: a, features: {branch: 1}}
  c: {name: C, modules: [retail, crm], rank: high}
";
    let found = faults(put(&app, "", bad).await, "CATALOG_INVALID");

    let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    let expected = [
        "bundles.office.modules[0]",
        "features.branches.type",
        "modules.retail.acces",
        "plans.a.inherits",
        "plans.b.features.branch",
        "plans.c.modules[1]",
        "plans.c.rank",
    ];
    assert_eq!(places, expected, "{found:#?}");
    assert!(found[0].1.contains("“retail”"), "{found:#?}");
    assert_eq!(version(&app).await, 1);
}

#[tokio::test]
async fn a_key_that_stands_twice_is_a_fault() {
    let app = App::start().await;
    let yaml = "modules:\n  crm: {name: A}\n  crm: {name: B}\n";
    let (place, _) = fault(put(&app, "", yaml).await, "CATALOG_INVALID");
    assert_eq!(place, "modules.crm");

    let text = r#"{"modules": {"crm": {"name": "A"}, "crm": {"name": "B"}}}"#;
    let reply = app.root().send_text(Method::PUT, PATH, "application/json", text).await;
    assert_eq!(fault(reply, "CATALOG_INVALID").0, "modules.crm");
}

#[tokio::test]
async fn a_catalog_is_yaml_or_json_and_nothing_else() {
    let app = App::start().await;
    for kind in ["text/plain", "application/xml", "application/yaml; charset=latin1"] {
        let reply = app.root().send_text(Method::PUT, PATH, kind, CATALOG).await;
        reply.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for kind in ["application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"] {
        app.root().send_text(Method::PUT, PATH, kind, CATALOG).await.expect(200);
    }
}

#[tokio::test]
async fn older_versions_can_be_listed_and_read() {
    let app = app().await;
    put(&app, "", changed("name: CRM", "name: Customers")).await.expect(200);
    put(&app, "", changed("name: CRM", "name: Contacts")).await.expect(200);

    let path = format!("{PATH}/versions");
    let first = app.root().get(&format!("{path}?limit=2")).await.expect(200).body;
    assert_eq!(column(&first, "version"), [json!(3), json!(2)]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let last = app.root().get(&format!("{path}?limit=2&cursor={cursor}")).await.expect(200).body;
    assert_eq!(column(&last, "version"), [json!(1)]);
    assert_eq!(last["next_cursor"], Value::Null);
    let second = app.root().get(&format!("{path}/2")).await.expect(200).body;
    assert_eq!(second["document"]["modules"]["crm"]["name"], "Customers");
    app.root().get(&format!("{path}/4")).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn an_older_version_applied_again_is_a_new_version() {
    let app = app().await;
    put(&app, "", changed("features: {branches: 1}", "features: {branches: 3}")).await.expect(200);

    let path = format!("{PATH}/versions/1/apply");
    let back = app.root().send(Method::POST, &path, None, &[]).await.expect(200).body;

    assert_eq!((&back["version"], &back["changed"]), (&json!(3), &json!(true)));
    // A plan version that was once handed out is never handed out again for something else.
    assert_eq!(back["plans"][0], json!({"plan": "basic", "from": 2, "to": 3}));
    app.tenant("acme", json!({})).await;
    assert_eq!(app.assign("acme", "basic", json!({})).await.body["plan_version"], 3);
    let limits = app.entitlements("acme").await["limits"].clone();
    assert_eq!(limits["branches"]["limit"], 1);
}

#[tokio::test]
async fn a_change_made_for_another_version_is_refused() {
    let app = app().await;
    let edit = async |tag: &'static str, to: &str| {
        let headers = [("If-Match", tag), ("Content-Type", "application/json")];
        let mut document = app.root().get(PATH).await.body["document"].clone();
        document["modules"]["crm"]["name"] = json!(to);
        app.root().send(Method::PUT, PATH, Some(document), &headers[..1]).await
    };
    edit("\"1\"", "Customers").await.expect(200);
    edit("\"1\"", "Contacts").await.expect_problem(412, "PRECONDITION_FAILED");
    edit("W/\"2\"", "Contacts").await.expect_problem(412, "PRECONDITION_FAILED");
    edit("\"2\"", "Contacts").await.expect(200);
    assert_eq!(version(&app).await, 3);
}

#[tokio::test]
async fn a_plan_that_somebody_is_on_stays() {
    let app = app().await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "plus", json!({})).await;
    let plus = "  plus: {name: Plus, rank: 2, inherits: basic, modules: [crm], features: {reports: true}}\n";

    let (place, why) = fault(put(&app, "", changed(plus, "")).await, "KEY_IN_USE");

    assert_eq!(place, "plans.plus");
    assert!(why.contains("1 subscription") && why.contains("“acme”"), "{why}");
    app.assign("acme", "basic", json!({})).await;
    put(&app, "", changed(plus, "")).await.expect(200);
}

#[tokio::test]
async fn a_plan_that_is_only_scheduled_stays_too() {
    let app = app().await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "basic", json!({"effective_from": day(5)})).await;
    app.assign("acme", "plus", json!({"effective_from": day(9)})).await;
    let basic_and_heir = "inherits: basic, ";
    let document = changed(basic_and_heir, "").replace(
        "  basic: {name: Basic, rank: 1, modules: [retail], features: {branches: 1}}\n",
        "",
    );

    assert_eq!(fault(put(&app, "", document.clone()).await, "KEY_IN_USE").0, "plans.basic");
    app.move_to_day(9);
    put(&app, "", document).await.expect(200);
}

#[tokio::test]
async fn a_module_in_a_plan_that_somebody_is_on_stays() {
    let app = app().await;
    app.tenant("acme", json!({})).await;
    app.assign("acme", "plus", json!({})).await;
    let document = changed("  crm: {name: CRM}\n", "")
        .replace(", modules: [crm]", "")
        .replace("  clubs.create: {module: crm}", "  clubs.create: {module: erp}")
        .replace("  - {path: /crm, module: crm}\n", "");

    let (place, why) = fault(put(&app, "", document).await, "KEY_IN_USE");

    assert_eq!(place, "modules.crm");
    assert!(why.contains("1 subscription on “plus” version 1, “acme”"), "{why}");
}

#[tokio::test]
async fn a_granted_module_or_feature_stays() {
    let app = app().await;
    app.tenant("acme", json!({})).await;
    app.tenant("zeta", json!({})).await;
    for tenant in ["acme", "zeta"] {
        app.grant(tenant, "erp", json!({"state": "enabled"})).await.expect(201);
    }
    app.grant("zeta", "tone", json!({"state": "disabled"})).await.expect(201);
    let document = changed("  erp: {name: ERP}\n", "")
        .replace("bundles:\n  office: {name: Office, modules: [erp]}\n", "")
        .replace("  tone: {name: Tone, type: config}\n", "");

    let found = faults(put(&app, "", document.clone()).await, "KEY_IN_USE");

    let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["features.tone", "modules.erp"]);
    assert!(found[0].1.contains("1 grant, “zeta”"), "{found:?}");
    assert!(found[1].1.contains("2 grants, “acme”"), "{found:?}");
    for (tenant, key) in [("acme", "erp"), ("zeta", "erp"), ("zeta", "tone")] {
        let path = format!("/api/v1/admin/tenants/{tenant}/grants/{key}");
        app.root().delete(&path).await.expect(204);
    }
    put(&app, "", document).await.expect(200);
}

#[tokio::test]
async fn a_used_feature_keeps_its_type() {
    let app = app().await;
    app.tenant("acme", json!({})).await;
    app.grant("acme", "tone", json!({"state": "enabled", "value": "calm"})).await.expect(201);

    let document = changed("tone: {name: Tone, type: config}", "tone: {name: Tone, type: boolean}");

    assert_eq!(fault(put(&app, "", document).await, "KEY_IN_USE").0, "features.tone");
}

#[tokio::test]
async fn the_parts_of_the_catalog_are_listed_in_pages() {
    let app = app().await;
    let list =
        async |path: &str| app.root().get(&format!("/api/v1/admin/{path}")).await.expect(200).body;
    let first = list("modules?limit=2").await;
    assert_eq!(column(&first, "key"), [json!("crm"), json!("erp")]);
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    let last = list(&format!("modules?limit=2&cursor={cursor}")).await;
    assert_eq!((column(&last, "key"), &last["next_cursor"]), (vec![json!("retail")], &Value::Null));
    assert_eq!(column(&list("bundles").await, "key"), [json!("office")]);
    let features = list("features").await;
    assert_eq!(column(&features, "key"), [json!("branches"), json!("reports"), json!("tone")]);
    assert_eq!(features["items"][0]["definition"]["type"], "limit");
    assert_eq!(column(&list("roles").await, "key"), [json!("lead"), json!("member")]);
    assert_eq!(column(&list("guards").await, "key"), [json!("clubs.create")]);
    let first = list("routes?limit=2").await;
    assert_eq!(column(&first, "index"), [json!(0), json!(1)]);
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    let last = list(&format!("routes?limit=2&cursor={cursor}")).await;
    assert_eq!(last["items"][0]["definition"]["path"], "/healthz");
}

#[tokio::test]
async fn a_plan_in_the_list_shows_all_it_gives() {
    let app = app().await;

    let plans = app.root().get("/api/v1/admin/plans").await.expect(200).body;

    let plus = &plans["items"][1];
    assert_eq!((&plus["key"], &plus["version"]), (&json!("plus"), &json!(1)));
    assert_eq!(plus["definition"]["modules"], json!(["crm"]));
    let gives = json!({"modules": ["crm", "retail"], "features": {"branches": 1, "reports": true},
                       "permissions": [], "seats": null});
    assert_eq!(plus["gives"], gives);
}

const CONDITIONS: &str = "
guards:
  clubs.create:
    module: crm
    conditions:
      - {unless: \"resource.store.open && tenant.nmae == 'x'\", reason: r, code: C, message: M}
      - {unless: resource.open, reason: r, code: C, message: M}
      - {unless: permissions + 1, reason: r, code: C, message: M}
  clubs.join:
    conditions:
      - {unless: features.branche.remaining > 0, reason: r, code: C, message: M}
      - {unless: \"features.reports.limit > 0 || tenant.key\", reason: r, code: C, message: M}
      - {unless: \"((tenant.demo)\", reason: r, code: C, message: M}
      - {unless: \"resource.a.all(x, resource.b.all(y, x == y))\", reason: r, code: C, message: M}
";

#[tokio::test]
async fn every_wrong_condition_is_named_at_its_place_and_nothing_changes() {
    let app = app().await;
    let document = changed("guards:\n  clubs.create: {module: crm}\n", CONDITIONS);

    let refused = put(&app, "", document).await.expect_problem(422, "CATALOG_INVALID").body;

    let place = |guard: &str, at: usize| format!("guards.{guard}.conditions[{at}].unless");
    let expected = [
        (place("clubs.create", 0), "did you mean “name”?"),
        (place("clubs.create", 2), "`+` can't take a list and an int"),
        (place("clubs.join", 0), "did you mean “branches”?"),
        (place("clubs.join", 1), "only a feature of type limit has `limit`"),
        (place("clubs.join", 1), "`||` takes what is true or false, not a string"),
        (place("clubs.join", 2), "a `(` is never closed"),
        (place("clubs.join", 3), "it could run too long"),
    ];
    for (place, part) in &expected {
        let faults = refused["fields"][place].as_array().unwrap_or_else(|| panic!("{refused:#}"));
        assert!(faults.iter().any(|it| it.as_str().unwrap().contains(part)), "{faults:#?}");
    }
    assert_eq!(refused["fields"].as_object().unwrap().len(), 6, "{refused:#}");
    assert_eq!(version(&app).await, 1);
    assert_eq!(app.events("event=catalog.").await.len(), 1);
}

#[tokio::test]
async fn a_condition_is_shown_as_it_was_written_and_compared_by_its_text() {
    let app = app().await;
    let guard = |unless: &str| {
        let condition = format!("{{unless: \"{unless}\", reason: r, code: C, message: M}}");
        changed("{module: crm}\nroutes", &format!("{{conditions: [{condition}]}}\nroutes"))
    };

    put(&app, "", guard("resource.open  &&  !tenant.demo")).await.expect(200);
    let again = put(&app, "", guard("resource.open  &&  !tenant.demo")).await.expect(200).body;
    let other = put(&app, "", guard("resource.open && !tenant.demo")).await.expect(200).body;

    assert_eq!((&again["changed"], &other["changed"]), (&json!(false), &json!(true)));
    let changes = &other["diff"]["guards"]["changed"][0];
    assert_eq!(changes["key"], "clubs.create", "{other:#}");
    let before = &changes["fields"][0]["before"][0]["unless"];
    assert_eq!(before, "resource.open  &&  !tenant.demo", "{other:#}");
    let read = app.root().get(PATH).await.expect(200).body;
    let shown = &read["document"]["guards"]["clubs.create"]["conditions"][0]["unless"];
    assert_eq!(shown, "resource.open && !tenant.demo");
}

/// Reading a document of some length took longer than the rest of a change, in the one writer.
#[tokio::test]
async fn no_change_reads_the_document_of_the_catalog_again() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await.expect(201);
    let conn = rusqlite::Connection::open(&app.database).unwrap();
    conn.execute("UPDATE catalogs SET document = 'no catalog'", []).unwrap();

    let (root, end) = (app.root(), "2026-03-05T12:00:00Z");
    let there = "/api/v1/admin/tenants/shop";
    let plan = json!({"plan": "growth", "change_reason": "bought"});
    let made = root.post(&format!("{there}/subscriptions"), plan).await.expect(201).body;
    let trial = json!({"status": "trialing", "trial_expires_at": end, "change_reason": "oops"});
    let one = format!("{there}/subscriptions/{}", made["id"].as_str().unwrap());
    root.patch(&one, trial).await.expect(200);
    let grant = json!({"state": "enabled", "reason": "a gift"});
    root.put(&format!("{there}/grants/pay"), grant).await.expect(201);
    let modules = json!({"modules": {"hr": {"state": "enabled"}}, "reason": "chosen"});
    root.put(&format!("{there}/modules"), modules).await.expect(200);
    let exception = json!({"tenant": "shop", "key": "ecom", "enabled": true, "expires_at": end,
                           "reason": "a fair"});
    root.post("/api/v1/admin/overrides", exception).await.expect(201);
    let tier = "/api/v1/tenants/shop/users/ann/tier";
    root.put(tier, json!({"plan": "member"})).await.expect(201);
    let role = json!({"user": "ann", "role": "shop_admin"});
    root.post("/api/v1/tenants/shop/role-assignments", role).await.expect(201);
    let code = json!({"plan": "trial_unlimited", "max_redemptions": 1});
    root.post("/api/v1/admin/activation-codes", code).await.expect(201);
}
