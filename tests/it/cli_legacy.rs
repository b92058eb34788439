//! `entitled legacy`, and what else of the command line shows a server: the audit trail, keys, a
//! catalog that is tried.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cli::{by, fails, json, stdout, text, told},
    harness::{App, ROOT_KEY},
};

async fn suite() -> App {
    let app = App::start().await;
    app.apply_catalog(include_str!("../../examples/suite.yaml")).await;
    for tenant in ["acme", "bolt"] {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }
    app
}

async fn is_open(app: &App, tenant: &str, module: &str) -> bool {
    app.check(json!({"tenant": tenant, "module": module})).await["allowed"] == json!(true)
}

fn file(dir: &TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    text(&path).to_owned()
}

#[tokio::test]
async fn maps_are_imported_tried_applied_and_shown() {
    let (app, dir) = (suite().await, TempDir::new().unwrap());
    let maps = r#"{"tenants": {"acme": {"crm": true, "erp": false}, "bolt": {"erp": true}}}"#;
    let maps = file(&dir, "maps.json", maps);
    let import = ["legacy", "import", &maps, "--apply"];
    let would = json(&app, &[&import[..], &["--dry-run"]].concat()).await;
    assert_eq!((&would["dry_run"], &would["changed"]), (&json!(true), &json!(2)));
    assert!(would["access"]["items"].as_array().unwrap().len() >= 2, "{would:#}");
    let table = told(&app, &[&import[..], &["--dry-run"]].concat()).await;
    assert!(table.contains("nothing was written: ") && table.contains("gained"), "{table}");
    assert!(table.contains("crm, -erp"), "{table}");
    assert!(!is_open(&app, "acme", "crm").await);

    let done = told(&app, &import).await;
    assert!(done.ends_with("2 tenants: 2 change, with 2 grants"), "{done}");
    assert!(is_open(&app, "acme", "crm").await && is_open(&app, "bolt", "erp").await);
    let shown = json(&app, &["legacy", "show", "acme"]).await;
    let found = app.root().get("/api/v1/admin/tenants/acme/legacy-modules").await.expect(200).body;
    assert_eq!(shown, found);
    let table = told(&app, &["legacy", "show", "acme"]).await;
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["crm", "true"], ["erp", "false"]]);

    let wrong = file(&dir, "wrong.csv", "tenant,crm\nacme,perhaps\nnobody,true\n");
    let faults = fails(&app, &["legacy", "import", &wrong], 65).await;
    assert_eq!(faults.lines().count(), 2, "{faults}");
    assert!(faults.contains("row 2, column crm"), "{faults}");
    assert!(
        fails(&app, &["legacy", "import", "/nowhere.json"], 74).await.contains("/nowhere.json")
    );
    assert!(fails(&app, &["legacy", "show", "nobody"], 65).await.contains("nobody"));
}

#[tokio::test]
async fn where_maps_and_grants_disagree_the_exit_code_is_one() {
    let (app, dir) = (suite().await, TempDir::new().unwrap());
    assert_eq!(told(&app, &["legacy", "consistency"]).await, "maps and grants agree");
    assert_eq!(json(&app, &["legacy", "consistency"]).await, json!([]));
    let maps = file(&dir, "maps.csv", "tenant,crm\nacme,true\n");
    told(&app, &["legacy", "import", &maps]).await;
    let report = by(&app, ROOT_KEY, &["legacy", "consistency", "--json"], 1).await;
    let report: Value = serde_json::from_str(stdout(&report)).unwrap();
    assert_eq!(report[0]["tenant"], "acme");
    let table = by(&app, ROOT_KEY, &["legacy", "consistency"], 1).await;
    let row: Vec<&str> = stdout(&table).lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["acme", "crm", "only_legacy", "true", "-"]);
    let grant =
        ["tenants", "grants", "set", "acme", "crm", "--state", "enabled", "--reason", "As mapped"];
    told(&app, &grant).await;
    assert_eq!(told(&app, &["legacy", "consistency"]).await, "maps and grants agree");
}

#[tokio::test]
async fn an_export_holds_every_page_and_can_be_imported() {
    let (app, dir) = (suite().await, TempDir::new().unwrap());
    // More than the 1,000 of a page; only the last page knows of the erp.
    let tenants: Vec<String> = (0..1_005).map(|at| format!("t{at:04}")).collect();
    for tenant in &tenants {
        app.tenant(tenant, json!({"billing": "direct"})).await;
    }
    let maps: serde_json::Map<String, Value> = tenants
        .iter()
        .map(|tenant| (tenant.clone(), json!({"crm": true})))
        .chain([("t1004".to_owned(), json!({"crm": false, "erp": true}))])
        .collect();
    let maps = json!({"tenants": maps});
    told(&app, &["legacy", "import", &file(&dir, "maps.json", &maps.to_string())]).await;

    let exported = told(&app, &["legacy", "export"]).await;
    assert_eq!(serde_json::from_str::<Value>(&exported).unwrap(), maps);
    let csv = dir.path().join("out.csv");
    told(&app, &["legacy", "export", "--format", "csv", "--output", text(&csv)]).await;
    let table = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(table.lines().next(), Some("tenant,crm,erp"));
    assert_eq!(table.lines().count(), 1_006);
    let again = json(&app, &["legacy", "import", text(&csv), "--dry-run"]).await;
    assert_eq!((&again["tenants"], &again["changed"]), (&json!(1_005), &json!(0)));
    let nowhere = ["legacy", "export", "--output", "/nowhere/out.json"];
    assert!(fails(&app, &nowhere, 74).await.contains("/nowhere/out.json"));
}

#[tokio::test]
async fn the_settings_of_legacy_maps_are_shown_and_replaced() {
    let app = suite().await;
    let tag = told(&app, &["legacy", "settings", "show", "--etag"]).await;
    let set = [
        "legacy",
        "settings",
        "set",
        "--dual-write",
        "true",
        "--name",
        "CRM_Module=crm",
        "--if-match",
        &tag,
    ];
    let made = json(&app, &set).await;
    assert_eq!(
        (&made["dual_write"], &made["names"]),
        (&json!(true), &json!({"CRM_Module": "crm"}))
    );
    assert_eq!(json(&app, &["legacy", "settings", "show"]).await, made);
    assert!(fails(&app, &set, 65).await.contains("412"));
    let unknown = ["legacy", "settings", "set", "--dual-write", "false", "--name", "X=nothing"];
    assert!(fails(&app, &unknown, 65).await.contains("nothing"));
    assert!(fails(&app, &["legacy", "settings", "set"], 2).await.contains("--dual-write"));
    let twice =
        ["legacy", "settings", "set", "--dual-write", "true", "--name", "A=crm", "--name", "A=erp"];
    assert!(fails(&app, &twice, 2).await.contains("twice"));
}

#[tokio::test]
async fn a_catalog_that_is_tried_says_who_would_lose_what() {
    let (app, dir) = (App::retail().await, TempDir::new().unwrap());
    app.tenant("shop", json!({})).await;
    app.assign("shop", "growth", json!({})).await;
    let text = include_str!("../../examples/retail.yaml");
    let off = "accounting: {name: Accounting, description: Ledgers and reports., premium: true, status: disabled}";
    let on = "accounting: {name: Accounting, description: Ledgers and reports., premium: true}";
    assert!(text.contains(on));
    let changed = file(&dir, "catalog.yaml", &text.replace(on, off));
    let table = told(&app, &["catalog", "apply", &changed, "--dry-run"]).await;
    assert!(table.starts_with("would become version 2\n"), "{table}");
    let lost = table.lines().find(|line| line.starts_with(" lost")).unwrap_or_default();
    let lost: Vec<&str> = lost.split_whitespace().collect();
    assert_eq!(lost[..5], ["lost", "shop", "-", "module", "accounting"], "{table}");
    assert!(table.ends_with("nothing was written: 0 gained, 1 lost, 0 changed"), "{table}");
    let would = json(&app, &["catalog", "apply", &changed, "--dry-run"]).await;
    assert_eq!(would["access"]["items"].as_array().unwrap().len(), 1);
    // To compare two documents nobody's access is looked at.
    assert!(!told(&app, &["catalog", "diff", &changed]).await.contains("lost"));
    assert!(is_open(&app, "shop", "accounting").await, "nothing was written");
    let late = ["catalog", "apply", &changed, "--if-match", "7"];
    assert!(fails(&app, &late, 65).await.contains("412"));
    let same = file(&dir, "same.yaml", text);
    let same = told(&app, &["catalog", "apply", &same, "--dry-run"]).await;
    assert!(same.ends_with("nobody's access would change"), "{same}");
    told(&app, &["catalog", "apply", &changed, "--if-match", "1"]).await;
    assert!(!is_open(&app, "shop", "accounting").await);
}

#[tokio::test]
async fn the_newest_events_of_the_trail_are_listed_by_filter() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    for at in 0..203 {
        let name = json!({"name": format!("Shop {at}")});
        app.root().patch("/api/v1/admin/tenants/shop", name).await.expect(200);
    }
    let all = json(&app, &["audit", "list", "--tenant", "shop", "--limit", "204"]).await;
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 204);
    assert_eq!(
        (&all[0]["after"]["name"], &all[203]["event"]),
        (&json!("Shop 202"), &json!("tenant.created"))
    );
    assert_eq!(json(&app, &["audit", "list"]).await.as_array().unwrap().len(), 50);
    let table = told(&app, &["audit", "list", "--event", "tenant.created"]).await;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let event = &all[203];
    assert_eq!(table.lines().count(), 2);
    assert_eq!(row[0], event["seq"].to_string());
    let of = |value: &Value| value.as_str().unwrap().to_owned();
    let rest = [of(&event["at"]), of(&event["event"]), "shop".into(), of(&event["actor"]["id"])];
    assert_eq!(row[1..], rest);
    let none = ["audit", "list", "--actor", "somebody", "--from", "2026-01-01T00:00:00+01:00"];
    assert_eq!(json(&app, &none).await, json!([]));
    assert!(fails(&app, &["audit", "list", "--to", "soon"], 2).await.contains("--to"));
    fails(&app, &["audit", "list", "--limit", "0"], 2).await;
}

#[tokio::test]
async fn a_key_is_made_once_and_its_list_fits_a_terminal() {
    let app = App::start().await;
    let create =
        ["keys", "create", "--name", "Shop", "--role", "service", "--idempotency-key", "once"];
    let key = told(&app, &create).await;
    assert!(key.starts_with("ent_"));
    let again = json(&app, &create).await;
    assert_eq!(again["key"], Value::Null, "it is shown once");
    let list = json(&app, &["keys", "list"]).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    let id = again["id"].as_str().unwrap();
    let rotate = ["keys", "rotate", id, "--overlap", "0s", "--idempotency-key", "again"];
    let secret = told(&app, &rotate).await;
    assert!(secret.starts_with("ent_") && secret != key);
    assert_eq!(json(&app, &rotate).await["key"], Value::Null);
    by(&app, &secret, &["check", "--tenant", "a", "--module", "b"], 65).await;
    told(&app, &["keys", "revoke", id]).await;
    let table = told(&app, &["keys", "list"]).await;
    assert!(table.contains("revoked"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}
