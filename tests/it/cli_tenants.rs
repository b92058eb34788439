//! `entitled tenants`: what a command did is looked up over the API.

use entitled::domain::callers::OperatorRole;
use serde_json::{Value, json};

use crate::{
    cli::{by, client, ended, fails, json, one_line, stdout, told},
    harness::{App, ROOT_KEY},
};

async fn tenant(app: &App, key: &str) -> Value {
    app.root().get(&format!("/api/v1/admin/tenants/{key}")).await.expect(200).body
}

async fn is_open(app: &App, tenant: &str, module: &str) -> bool {
    app.check(json!({"tenant": tenant, "module": module})).await["allowed"] == json!(true)
}

/// The words of the first line of a table that begins so.
fn line<'a>(table: &'a str, start: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no {start} in\n{table}")).split_whitespace().collect()
}

#[tokio::test]
async fn a_tenant_is_made_with_all_that_the_api_takes() {
    let app = App::retail().await;
    app.tenant("group", json!({})).await;
    let made = json(
        &app,
        &[
            "tenants",
            "create",
            "shop",
            "--name",
            "Corner shop",
            "--parent",
            "group",
            "--billing",
            "direct",
            "--demo",
            "--sandbox",
            "--attributes",
            r#"{"crm_id": 7}"#,
        ],
    )
    .await;
    let found = tenant(&app, "shop").await;
    assert_eq!(made, found);
    for (name, value) in [
        ("name", json!("Corner shop")),
        ("parent", json!("group")),
        ("billing", json!("direct")),
        ("demo", json!(true)),
        ("sandbox", json!(true)),
        ("attributes", json!({"crm_id": 7})),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    told(&app, &["tenants", "create", "plain", "--name", "Plain"]).await;
    let plain = tenant(&app, "plain").await;
    assert_eq!((&plain["billing"], &plain["demo"]), (&json!("subscription"), &json!(false)));
    assert_eq!((&plain["sandbox"], &plain["parent"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn the_same_key_of_idempotency_makes_one_tenant() {
    let app = App::retail().await;
    let make = ["tenants", "create", "shop", "--name", "Shop", "--idempotency-key", "make-shop"];
    let first = json(&app, &make).await;
    assert_eq!(json(&app, &make).await, first);
    let without = fails(&app, &["tenants", "create", "shop", "--name", "Shop"], 65).await;
    assert!(without.contains("409"), "{without}");
    let bad = ["tenants", "create", "b", "--name", "B", "--idempotency-key", "a b"];
    assert!(fails(&app, &bad, 2).await.contains("--idempotency-key"));
}

#[tokio::test]
async fn every_page_of_a_list_is_read_and_filters_narrow_it() {
    let app = App::retail().await;
    for at in 0..205 {
        app.tenant(&format!("t{at:03}"), json!({"name": format!("Shop {at:03}")})).await;
    }
    app.assign("t007", "growth", json!({})).await;
    told(&app, &["tenants", "suspend", "t008", "--reason", "Fraud"]).await;

    let all = json(&app, &["tenants", "list"]).await;
    let keys: Vec<&str> =
        all.as_array().unwrap().iter().map(|tenant| tenant["key"].as_str().unwrap()).collect();
    let wanted: Vec<String> = (0..205).map(|at| format!("t{at:03}")).collect();
    assert_eq!(keys, wanted);
    let table = told(&app, &["tenants", "list"]).await;
    let rows: Vec<&str> =
        table.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(rows, wanted);

    for (filter, found) in [
        (["--plan", "growth"], json!(["t007"])),
        (["--status", "suspended"], json!(["t008"])),
        (["--blocked-reason", "suspended"], json!(["t008"])),
        (["--q", "shop 20"], json!(["t200", "t201", "t202", "t203", "t204"])),
        // What is encoded in a query.
        (["--q", "a&status=active"], json!([])),
    ] {
        let list = json(&app, &[&["tenants", "list"], &filter[..]].concat()).await;
        let keys: Value = list.as_array().unwrap().iter().map(|t| t["key"].clone()).collect();
        assert_eq!(keys, found, "{filter:?}");
    }
    let blocked = json(&app, &["tenants", "list", "--blocked-reason", "any"]).await;
    assert_eq!(blocked.as_array().unwrap().len(), 204);
    assert!(fails(&app, &["tenants", "list", "--status", "gone"], 2).await.contains("suspended"));
}

#[tokio::test]
async fn a_list_fits_a_terminal_and_names_do_not_steer_it() {
    let app = App::retail().await;
    app.tenant("shop", json!({"name": "x".repeat(150)})).await;
    let table = told(&app, &["tenants", "list"]).await;
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    app.tenant("box", json!({"sandbox": true, "demo": true})).await;
    let marked = told(&app, &["tenants", "list", "--q", "box"]).await;
    let row = ["box", "box", "active", "-", "-", "sandbox,", "demo"];
    assert_eq!(line(&marked, "box"), row);
    let attributes = json!({"note": "a\u{1b}[2Jb\u{9b}31m"}).to_string();
    told(&app, &["tenants", "update", "shop", "--attributes", &attributes]).await;
    let shown = told(&app, &["tenants", "show", "shop"]).await;
    assert!(!shown.contains('\u{1b}') && shown.contains("[2Jb"), "{shown}");
    let shown = by(&app, ROOT_KEY, &["tenants", "show", "shop", "--json"], 0).await;
    assert!(!stdout(&shown).chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

#[tokio::test]
async fn a_table_and_json_say_the_same_of_a_tenant() {
    let app = App::retail().await;
    app.tenant("shop", json!({"name": "Shop"})).await;
    let json = json(&app, &["tenants", "show", "shop"]).await;
    assert_eq!(json, tenant(&app, "shop").await);
    let table = told(&app, &["tenants", "show", "shop"]).await;
    for (name, value) in json.as_object().unwrap() {
        let shown = line(&table, &format!("{name} "))[1..].join(" ");
        let value = match value {
            Value::Null => "-".into(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(shown, value, "{name}");
    }
}

#[tokio::test]
async fn what_is_named_changes_and_the_rest_stays() {
    let app = App::retail().await;
    app.tenant("group", json!({})).await;
    let more = json!({"parent": "group", "attributes": {"a": 1}});
    app.tenant("shop", more).await;
    told(&app, &["tenants", "update", "shop", "--name", "Other", "--demo", "true"]).await;
    let found = tenant(&app, "shop").await;
    assert_eq!((&found["name"], &found["demo"]), (&json!("Other"), &json!(true)));
    assert_eq!((&found["parent"], &found["attributes"]), (&json!("group"), &json!({"a": 1})));
    told(&app, &["tenants", "update", "shop", "--no-parent", "--demo", "false"]).await;
    let found = tenant(&app, "shop").await;
    assert_eq!((&found["parent"], &found["demo"]), (&Value::Null, &json!(false)));
    told(&app, &["tenants", "update", "shop", "--parent", "group", "--billing", "direct"]).await;
    let found = tenant(&app, "shop").await;
    assert_eq!((&found["parent"], &found["billing"]), (&json!("group"), &json!("direct")));

    let nothing = fails(&app, &["tenants", "update", "shop"], 2).await;
    assert!(nothing.contains("--name") && nothing.contains("--no-parent"), "{nothing}");
}

#[tokio::test]
async fn a_change_is_refused_where_somebody_else_was_first() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    let tag = told(&app, &["tenants", "show", "shop", "--etag"]).await;
    let rename = |name: &'static str, tag: &str| {
        ["tenants", "update", "shop", "--name", name, "--if-match", tag].map(str::to_owned)
    };
    let first = rename("First", &tag);
    told(&app, &first.each_ref().map(String::as_str)).await;
    let second = rename("Second", &tag);
    let late = fails(&app, &second.each_ref().map(String::as_str), 65).await;
    assert!(late.contains("412"), "{late}");
    assert_eq!(tenant(&app, "shop").await["name"], "First");
    // As a shell that ate the quotes hands it over.
    let tag = told(&app, &["tenants", "show", "shop", "--etag"]).await;
    let third = rename("Third", tag.trim_matches('"'));
    told(&app, &third.each_ref().map(String::as_str)).await;
    let bad =
        fails(&app, &["tenants", "suspend", "shop", "--reason", "Fraud", "--if-match", "x"], 2);
    assert!(bad.await.contains("--if-match"));
}

#[tokio::test]
async fn a_tenant_is_suspended_and_activated_again() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "growth", json!({})).await;
    let suspend = ["tenants", "suspend", "shop", "--reason", "Fraud is looked into"];
    let would = json(&app, &[&suspend[..], &["--dry-run"]].concat()).await;
    assert_eq!(would["dry_run"], true);
    assert!(is_open(&app, "shop", "retail").await, "nothing was written");

    told(&app, &suspend).await;
    assert!(!is_open(&app, "shop", "retail").await);
    assert_eq!(tenant(&app, "shop").await["suspension"]["reason"], "Fraud is looked into");
    told(&app, &["tenants", "activate", "shop"]).await;
    assert!(is_open(&app, "shop", "retail").await);
    told(&app, &suspend).await;
    told(&app, &["tenants", "activate", "shop", "--reason", "It was none"]).await;
    let last = json!("It was none");
    let audit = app.root().get("/api/v1/admin/audit?tenant=shop&limit=1").await.expect(200).body;
    assert_eq!(audit["items"][0]["reason"], last, "{audit:#}");

    assert!(fails(&app, &["tenants", "suspend", "shop"], 2).await.contains("--reason"));
    let short = fails(&app, &["tenants", "suspend", "shop", "--reason", "x"], 65).await;
    assert!(short.starts_with("entitled: reason: "), "{short}");
}

#[tokio::test]
async fn a_dry_run_tells_people_and_programs_who_would_lose_what() {
    let app = App::retail().await;
    // More than a page of changes: the tenant, and users who hold something in it.
    app.tenant("shop", json!({})).await;
    app.assign("shop", "growth", json!({})).await;
    for at in 0..40 {
        let role = json!({"user": format!("u{at}"), "role": "branch_manager", "context": {"type": "branch", "id": "b1"}});
        if at == 0 {
            app.root().put("/api/v1/tenants/shop/contexts/branch/b1", json!({})).await.expect(201);
        }
        app.root().post("/api/v1/tenants/shop/role-assignments", role).await.expect(201);
    }
    let suspend = ["tenants", "suspend", "shop", "--reason", "Fraud", "--dry-run"];
    let would = json(&app, &suspend).await;
    let items = would["access"]["items"].as_array().unwrap();
    assert!(items.len() > 200, "{} fit one page", items.len());
    assert_eq!(would["access"]["next_cursor"], Value::Null);
    let table = told(&app, &suspend).await;
    assert_eq!(table.lines().count(), items.len() + 2);
    let lost = items.iter().filter(|item| item["change"] == "lost").count();
    let sum = table.lines().last().unwrap();
    assert!(
        sum.starts_with("nothing was written: 0 gained, ") && sum.contains(&format!("{lost} lost"))
    );
    let retail = table.lines().find(|line| line.contains("retail") && line.contains(" - "));
    let words: Vec<&str> = retail.unwrap().split_whitespace().collect();
    assert_eq!(
        words,
        ["lost", "shop", "-", "module", "retail", "yes", "(plan)", "no", "(suspended)"]
    );
    let nothing = told(&app, &["tenants", "update", "shop", "--name", "X", "--dry-run"]).await;
    assert_eq!(nothing, "nothing was written: nobody's access would change");
    assert_eq!(tenant(&app, "shop").await["name"], "shop");
}

#[tokio::test]
async fn the_clock_of_a_sandbox_is_shown_and_moved() {
    let app = App::retail().await;
    app.tenant("box", json!({"sandbox": true})).await;
    app.tenant("shop", json!({})).await;
    assert_eq!(told(&app, &["tenants", "clock", "show", "box"]).await, "2026-03-01T12:00:00Z");
    let moved = json(&app, &["tenants", "clock", "advance", "box", "2d"]).await;
    assert_eq!(
        (&moved["now"], &moved["ahead_seconds"]),
        (&json!("2026-03-03T12:00:00Z"), &json!(172_800))
    );
    told(&app, &["tenants", "clock", "set", "box", "2026-04-01T00:00:00Z"]).await;
    let shown = json(&app, &["tenants", "clock", "show", "box"]).await;
    assert_eq!(shown, json!({"tenant": "box", "now": "2026-04-01T00:00:00Z"}));
    assert_eq!(tenant(&app, "box").await["clock"], shown["now"]);

    let back = fails(&app, &["tenants", "clock", "set", "box", "2026-03-01T00:00:00Z"], 65).await;
    assert!(back.starts_with("entitled: now: "), "{back}");
    assert!(fails(&app, &["tenants", "clock", "set", "box", "soon"], 2).await.contains("RFC 3339"));
    assert!(fails(&app, &["tenants", "clock", "show", "shop"], 65).await.contains("sandbox"));
    assert!(
        fails(&app, &["tenants", "clock", "advance", "shop", "1d"], 65).await.contains("sandbox")
    );
}

#[tokio::test]
async fn a_selection_takes_the_place_of_the_one_before() {
    let app = App::retail().await;
    app.tenant("shop", json!({"billing": "direct"})).await;
    let set = |more: &[&'static str]| {
        [&["tenants", "modules", "set", "shop", "--reason", "Chosen"], more].concat()
    };
    let trial = "dine,state=trial,trial_expires_at=2026-04-01T00:00:00Z";
    told(&app, &set(&["--module", "retail", "--module", trial])).await;
    let listed = json(&app, &["tenants", "modules", "list", "shop"]).await;
    assert_eq!(listed["modules"]["retail"]["state"], "enabled");
    assert_eq!(listed["modules"]["dine"]["trial_expires_at"], "2026-04-01T00:00:00Z");
    assert!(is_open(&app, "shop", "retail").await && is_open(&app, "shop", "dine").await);
    let table = told(&app, &["tenants", "modules", "list", "shop"]).await;
    assert_eq!(line(&table, "dine"), ["dine", "trial", "2026-04-01T00:00:00Z", "-", "Chosen"]);

    let would = json(&app, &set(&["--module", "dine", "--dry-run"])).await;
    assert!(would["access"]["items"].to_string().contains("\"lost\""), "{would:#}");
    assert!(is_open(&app, "shop", "retail").await, "nothing was written");
    told(&app, &set(&["--module", "dine,state=disabled"])).await;
    assert!(!is_open(&app, "shop", "retail").await && !is_open(&app, "shop", "dine").await);
    // A forgotten flag must not take everything away.
    assert!(fails(&app, &set(&[]), 2).await.contains("--none"));
    told(&app, &set(&["--none"])).await;
    assert_eq!(json(&app, &["tenants", "modules", "list", "shop"]).await["modules"], json!({}));
    let unknown = fails(&app, &set(&["--module", "retial"]), 65).await;
    assert!(unknown.contains("retail"), "{unknown}");
    assert!(
        fails(&app, &set(&["--module", "dine", "--module", "dine"]), 2).await.contains("twice")
    );
}

#[tokio::test]
async fn plans_are_assigned_changed_cancelled_and_moved() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    let of = ["tenants", "subscriptions"];
    let on = |word: &'static str, more: &[&'static str]| [&of, &[word, "shop"], more].concat();
    let assign = on("assign", &["growth", "--reason", "Contract signed", "--quantity", "2"]);
    let would = json(&app, &[&assign[..], &["--dry-run"]].concat()).await;
    assert!(would["access"]["items"].to_string().contains("\"gained\""), "{would:#}");
    let made = json(&app, &assign).await;
    assert_eq!((&made["plan"], &made["quantity"]), (&json!("growth"), &json!(2)));
    assert!(is_open(&app, "shop", "retail").await);
    let id: &'static str = made["id"].as_str().unwrap().to_owned().leak();
    assert_eq!(json(&app, &on("show", &[id])).await, made);
    let tag: &'static str = told(&app, &on("show", &[id, "--etag"])).await.leak();

    let overdue =
        on("update", &[id, "--status", "overdue", "--reason", "Unpaid", "--if-match", tag]);
    assert_eq!(json(&app, &overdue).await["status"], "overdue");
    assert!(fails(&app, &overdue, 65).await.contains("412"));
    let end = ["--effective-to", "2026-06-01T00:00:00Z", "--quantity", "3"];
    let ended = json(&app, &on("update", &[&[id, "--reason", "Left"][..], &end].concat())).await;
    assert_eq!(
        (&ended["effective_to"], &ended["quantity"]),
        (&json!("2026-06-01T00:00:00Z"), &json!(3))
    );
    let open = json(&app, &on("update", &[id, "--reason", "Stays", "--no-effective-to"])).await;
    assert_eq!(open["effective_to"], Value::Null);
    let moved = told(&app, &on("migrate", &[id, "--reason", "All that is new", "--dry-run"])).await;
    assert!(moved.starts_with("version 1 -> 1\nnothing was written"), "{moved}");
    let moved = json(&app, &on("migrate", &[id, "--reason", "All that is new"])).await;
    assert_eq!((&moved["dry_run"], &moved["to_version"]), (&json!(false), &json!(1)));

    told(&app, &on("cancel", &[id, "--reason", "They left"])).await;
    assert!(!is_open(&app, "shop", "retail").await);
    let list = json(&app, &on("list", &[])).await;
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(id), &json!("cancelled")));
    assert!(told(&app, &on("list", &[])).await.contains("cancelled"));
    assert!(fails(&app, &on("update", &[id, "--reason", "Why"]), 2).await.contains("--quantity"));
    let late = ["trial_unlimited", "--reason", "A trial", "--trial-expires-at", "tomorrow"];
    assert!(fails(&app, &on("assign", &late), 2).await.contains("--trial-expires-at"));
    let short = fails(&app, &on("assign", &["growth", "--reason", "x"]), 65).await;
    assert!(short.starts_with("entitled: change_reason: "), "{short}");
}

#[tokio::test]
async fn grants_are_made_listed_and_taken_back() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    let of = ["tenants", "grants"];
    let set = |more: &[&'static str]| [&of, &["set", "shop"], more].concat();
    let pilot = ["ecom", "--state", "trial", "--trial-expires-at", "2026-04-01T00:00:00Z"];
    let pilot = set(&[&pilot[..], &["--reason", "Pilot of the web shop"]].concat());
    assert!(told(&app, &[&pilot[..], &["--dry-run"]].concat()).await.contains("gained"));
    assert!(!is_open(&app, "shop", "ecom").await);
    assert_eq!(json(&app, &pilot).await["state"], "trial");
    assert!(is_open(&app, "shop", "ecom").await);
    told(&app, &set(&["branches", "--state", "enabled", "--value", "9", "--reason", "A deal"]))
        .await;
    let list = json(&app, &[&of[..], &["list", "shop"]].concat()).await;
    assert_eq!((&list[0]["key"], &list[0]["value"]), (&json!("branches"), &json!(9)));
    let table = told(&app, &[&of[..], &["list", "shop"]].concat()).await;
    assert_eq!(line(&table, "branches"), ["branches", "enabled", "9", "-", "-", "A", "deal"]);

    let delete = [&of[..], &["delete", "shop", "ecom"]].concat();
    assert!(told(&app, &[&delete[..], &["--dry-run"]].concat()).await.contains("1 lost"));
    assert!(is_open(&app, "shop", "ecom").await, "nothing was written");
    assert_eq!(json(&app, &delete).await, json!({"deleted": "ecom"}));
    assert!(!is_open(&app, "shop", "ecom").await);
    fails(&app, &delete, 65).await;
}

#[tokio::test]
async fn whoever_may_not_is_told_so_and_nothing_happens() {
    let app = App::retail().await;
    app.tenant("shop", json!({})).await;
    let auditor =
        app.token(OperatorRole::Auditor, None, "ada", entitled::domain::checks::Mode::Tenant, None);
    by(&app, &auditor, &["tenants", "list"], 0).await;
    for args in [
        &["tenants", "create", "b", "--name", "B"] as &[&str],
        &["tenants", "update", "shop", "--name", "B"],
        &["tenants", "suspend", "shop", "--reason", "Fraud"],
        &["tenants", "modules", "set", "shop", "--none", "--reason", "Fraud"],
        &["tenants", "subscriptions", "assign", "shop", "growth", "--reason", "Fraud"],
        &["tenants", "grants", "delete", "shop", "dine"],
    ] {
        assert!(one_line(&by(&app, &auditor, args, 77).await).contains("403"), "{args:?}");
    }
    assert!(one_line(&by(&app, "wrong", &["tenants", "list"], 77).await).contains("401"));
    assert_eq!(tenant(&app, "shop").await["status"], "active");
}

#[tokio::test]
async fn a_tenant_that_is_not_there_is_named_and_so_is_a_server() {
    let app = App::retail().await;
    for args in [
        &["tenants", "show", "nobody"] as &[&str],
        &["tenants", "suspend", "nobody", "--reason", "Fraud"],
        &["tenants", "clock", "advance", "nobody", "1d"],
        &["tenants", "modules", "list", "nobody"],
        &["tenants", "subscriptions", "list", "nobody"],
        &["tenants", "grants", "list", "nobody"],
    ] {
        assert!(fails(&app, args, 65).await.contains("nobody"), "{args:?}");
    }
    assert!(fails(&app, &["tenants", "show", "no/body"], 2).await.contains("letters, digits"));
    let id = ["tenants", "subscriptions", "show", "nobody", "../x"];
    assert!(fails(&app, &id, 2).await.contains("isn't an id"));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let list =
        move || ended(&mut client(&format!("http://{free}"), ROOT_KEY, &["tenants", "list"]), 69);
    let away = tokio::task::spawn_blocking(list).await.unwrap();
    assert!(one_line(&away).contains("can't reach"));
    assert_eq!(stdout(&away), "");
}
