//! Importing legacy maps: both formats, every fault at once, all or nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    authorization::dump,
    given::day,
    harness::{App, Reply},
    legacy::{IMPORT, differences, import, map, suite},
};

async fn csv(app: &App, query: &str, text: &str) -> Reply {
    let path = format!("{IMPORT}{query}");
    app.root().send_text(Method::POST, &path, "text/csv", text.to_owned()).await
}

/// The fields of a refusal, each with its first message.
fn faults(reply: Reply, code: &str) -> Vec<(String, String)> {
    let body = reply.expect_problem(422, code).body;
    let fields = body["fields"].as_object().unwrap().iter();
    fields.map(|(field, why)| (field.clone(), why[0].as_str().unwrap().to_owned())).collect()
}

fn fields(reply: Reply, code: &str) -> Vec<String> {
    faults(reply, code).into_iter().map(|(field, _)| field).collect()
}

#[tokio::test]
async fn the_same_maps_come_of_each_shape() {
    let expected = json!({"acme": {"crm": true, "erp": false}, "bolt": {"erp": true}});
    let listed = json!([
        {"tenant": "acme", "enabled_modules": {"crm": true, "erp": false}},
        {"tenant": "bolt", "enabled_modules": {"erp": true}}
    ]);
    for shape in ["map", "list", "wide", "long", "spreadsheet"] {
        let app = suite(&["acme", "bolt"]).await;
        let reply = match shape {
            "map" => import(&app, "", expected.clone()).await,
            "list" => import(&app, "", listed.clone()).await,
            "wide" => csv(&app, "", "tenant,crm,erp\nacme,true,false\nbolt,,true\n").await,
            "long" => {
                let text = "enabled,tenant,module\ntrue,acme,crm\ntrue,bolt,erp\nfalse,acme,erp\n";
                csv(&app, "", text).await
            }
            _ => {
                let text = "\u{feff}\"tenant\", crm ,erp\r\nacme,TRUE,FALSE\r\nbolt,,True\r\n";
                csv(&app, "", text).await
            }
        };
        let done = reply.expect(200).body;
        let counts = (&done["tenants"], &done["changed"], &done["grants"], &done["dry_run"]);
        assert_eq!(counts, (&json!(2), &json!(2), &json!(0), &json!(false)), "{shape}");
        for tenant in ["acme", "bolt"] {
            assert_eq!(map(&app, tenant).await, expected[tenant], "{shape}");
        }
        let events = app.events("event=legacy.imported").await;
        let told: Vec<_> =
            events.iter().map(|e| (&e["tenant"], &e["before"], &e["after"])).collect();
        let empty = json!({});
        assert_eq!(
            told,
            [
                (&json!("acme"), &empty, &expected["acme"]),
                (&json!("bolt"), &empty, &expected["bolt"])
            ],
            "{shape}"
        );
    }
}

#[tokio::test]
async fn an_imported_map_takes_the_place_of_the_one_before() {
    let app = suite(&["acme", "bolt"]).await;
    import(&app, "", json!({"acme": {"crm": true}, "bolt": {"crm": true}})).await.expect(200);
    let done = import(&app, "", json!({"acme": {"erp": true}})).await.expect(200).body;
    assert_eq!(
        done["changes"],
        json!([{"tenant": "acme", "before": {"crm": true}, "after": {"erp": true}, "grants": {}}])
    );
    assert_eq!(map(&app, "acme").await, json!({"erp": true}));
    assert_eq!(map(&app, "bolt").await, json!({"crm": true}));
    // It decides nothing.
    assert_eq!(app.module("acme", "erp").await, "refused not_granted MODULE_NOT_ENTITLED 403");
}

#[tokio::test]
async fn with_apply_the_modules_that_it_names_are_granted_or_taken_back_at_once() {
    let app = suite(&["acme", "bolt"]).await;
    app.grant("acme", "erp", json!({"state": "enabled"})).await.expect(201);
    let trial = json!({"state": "trial", "trial_expires_at": day(5)});
    app.grant("bolt", "erp", trial).await.expect(201);
    app.grant("bolt", "manufacturing", json!({"state": "enabled"})).await.expect(201);
    let version = app.entitlements("acme").await["version"].as_u64();
    let maps = json!({
        "acme": {"crm": true, "erp": false, "email": true, "manufacturing": false},
        "bolt": {"erp": true, "crm": false}
    });

    let preview = import(&app, "?apply=true&dry_run=true", maps.clone()).await.expect(200).body;
    assert_eq!((&preview["dry_run"], &preview["grants"]), (&json!(true), &json!(2)));
    assert_eq!(preview["changes"][0]["grants"], json!({"crm": true, "erp": false}));
    let items = preview["access"]["items"].as_array().unwrap();
    let told: Vec<_> =
        items.iter().map(|it| [&it["tenant"], &it["kind"], &it["key"], &it["change"]]).collect();
    let module = |key, change| [&json!("acme"), &json!("module"), key, change].map(Value::clone);
    let expected = [module(&json!("crm"), &json!("gained")), module(&json!("erp"), &json!("lost"))];
    for change in &expected {
        assert!(told.iter().any(|it| it.iter().copied().eq(change)), "{change:?}: {told:?}");
    }
    assert_eq!(app.events("event=legacy").await, [] as [Value; 0]);
    assert_eq!(app.module("acme", "erp").await, "allowed grant");

    let mut done = import(&app, "?apply=true", maps.clone()).await.expect(200).body;
    assert_eq!(done["dry_run"].take(), false);
    assert_eq!(done["changes"], preview["changes"], "the preview said what was done");
    assert_eq!(app.module("acme", "crm").await, "allowed grant");
    assert_eq!(app.module("acme", "erp").await, "refused not_granted MODULE_NOT_ENTITLED 403");
    // A trial that runs goes on as it was, and what isn't named stays.
    assert_eq!(app.module("bolt", "erp").await, "allowed trial");
    assert_eq!(app.module("bolt", "manufacturing").await, "allowed grant");
    assert!(app.entitlements("acme").await["version"].as_u64() > version);
    assert_eq!(differences(&app).await, ["bolt manufacturing only_grant"]);
    let events = app.events("tenant=acme").await;
    let told: Vec<_> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    let expected =
        ["tenant.created", "grant.created", "grant.created", "grant.removed", "legacy.imported"];
    assert_eq!(told, expected);

    let again = import(&app, "?apply=true", maps).await.expect(200).body;
    assert_eq!((&again["changed"], &again["grants"]), (&json!(0), &json!(0)));
    assert_eq!(app.events("tenant=acme").await.len(), expected.len());
    let off = import(&app, "?apply=true", json!({"acme": {"email": false}})).await;
    assert_eq!(fields(off, "INVALID_VALUE"), ["tenants.acme.email"]);
}

#[tokio::test]
async fn every_fault_is_named_with_its_place_and_nothing_is_written() {
    let app = suite(&["acme", "bolt"]).await;
    let before = dump(&app);
    let maps = json!({
        "acme": {"crm": "yes", "erb": true, "erp": 1},
        "acne": {"crm": true},
        "bolt": ["crm"],
        "a/b": {}
    });
    let found = faults(import(&app, "?apply=true", maps).await, "INVALID_VALUE");
    let places: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        places,
        [
            "tenants.a/b",
            "tenants.acme.crm",
            "tenants.acme.erb",
            "tenants.acme.erp",
            "tenants.acne",
            "tenants.bolt"
        ]
    );
    assert!(found[2].1.contains("did you mean “erp”"), "{}", found[2].1);
    assert!(found[4].1.contains("did you mean “acme”"), "{}", found[4].1);

    let text = "tenant,crm,erb\nacme,true,\nacme,false,\nacne,yes,true\nbolt,true\n";
    let found = faults(csv(&app, "", text).await, "INVALID_VALUE");
    let places: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        places,
        [
            "row 3, column tenant",
            "row 4, column crm",
            "row 4, column erb",
            "row 4, column tenant",
            "row 5"
        ]
    );
    let long = "tenant,module,enabled\nacme,crm,true\nacme,crm,false\nbolt,erp,\n";
    let found = fields(csv(&app, "", long).await, "INVALID_VALUE");
    assert_eq!(found, ["row 3, column module", "row 4, column enabled"]);
    for (text, field) in [
        ("", "row 1"),
        ("company,crm\nacme,true\n", "row 1"),
        ("tenant;crm\nacme;true\n", "row 1"),
        ("tenant,crm,crm\nacme,true,true\n", "row 1"),
        ("tenant,crm\n", "tenants"),
    ] {
        assert_eq!(fields(csv(&app, "", text).await, "INVALID_VALUE"), [field], "{text}");
    }
    let unknown = csv(&app, "?dry_run=true", "tenant,crm\nacne,true\n").await;
    assert_eq!(fields(unknown, "UNKNOWN_KEY"), ["row 2, column tenant"]);
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn what_is_sent_twice_or_too_much_is_refused() {
    let app = suite(&["acme"]).await;
    let before = dump(&app);
    let json = |text: &'static str| {
        let root = app.root();
        async move { root.send_text(Method::POST, IMPORT, "application/json", text).await }
    };
    let twice = json(r#"{"tenants": {"acme": {"crm": true}, "acme": {"erp": true}}}"#).await;
    assert_eq!(fields(twice, "INVALID_VALUE"), ["tenants.acme"]);
    let twice = json(r#"{"tenants": {"acme": {"crm": true, "crm": false}}}"#).await;
    assert_eq!(fields(twice, "INVALID_VALUE"), ["tenants.acme.crm"]);
    let twice = json!([{"tenant": "acme", "enabled_modules": {}},
                       {"tenant": "acme", "enabled_modules": {}}]);
    assert_eq!(fields(import(&app, "", twice).await, "INVALID_VALUE"), ["tenants[1].tenant"]);
    assert_eq!(fields(json(r#"{"tenants": {}, "x": 1}"#).await, "INVALID_VALUE"), ["x"]);
    assert_eq!(fields(json(r#"{"tenants": {}}"#).await, "INVALID_VALUE"), ["tenants"]);
    assert_eq!(fields(json(r#"{"tenants": true}"#).await, "INVALID_VALUE"), ["tenants"]);
    let other = app.root().send_text(Method::POST, IMPORT, "text/plain", "tenant,crm\n").await;
    other.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");

    let rows: String = (0..5_001).map(|n| format!("t{n},true\n")).collect();
    let many = faults(csv(&app, "", &format!("tenant,crm\n{rows}")).await, "INVALID_VALUE");
    let message = "one import names at most 5000 tenants, not 5001";
    assert_eq!(many, [("tenants".to_owned(), message.to_owned())]);
    let rows: String = (0..300).map(|n| format!("t{n},true\n")).collect();
    let many = faults(csv(&app, "", &format!("tenant,crm\n{rows}")).await, "UNKNOWN_KEY");
    assert_eq!(many.len(), 101);
    assert!(many.contains(&("tenants".to_owned(), "and 200 more faults".to_owned())));
    let large = format!("tenant,crm\n{}", "acme,true\n".repeat(110_000));
    csv(&app, "", &large).await.expect_problem(413, "BODY_TOO_LARGE");
    assert_eq!(dump(&app), before);
}

#[tokio::test]
async fn thousands_of_tenants_are_imported_in_one_change() {
    let app = suite(&[]).await;
    let connection = rusqlite::Connection::open(&app.database).unwrap();
    let fill = "INSERT INTO tenants (tenant, name, billing, demo, sandbox, attributes, created_at,
                    updated_at, version, revision)
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                SELECT printf('t%05d', i), 'T', 'direct', 0, 0, '{}', 0, 0, 1, 1 FROM n";
    connection.execute_batch(fill).unwrap();
    let rows: String = (1..=5_000).map(|n| format!("t{n:05},true,false,\n")).collect();
    let text = format!("tenant,crm,erp,manufacturing\n{rows}");
    let started = std::time::Instant::now();
    let done = csv(&app, "?apply=true", &text).await.expect(200).body;
    println!("{:?} for 5,000 tenants", started.elapsed());
    assert_eq!((&done["changed"], &done["grants"]), (&json!(5_000), &json!(5_000)));
    assert_eq!(done["changes"].as_array().unwrap().len(), 200);
    assert_eq!(app.module("t04711", "crm").await, "allowed grant");
    assert_eq!(differences(&app).await, [""; 0]);
}
