//! `entitled overrides` and `entitled requests`: what a command did is looked up over the API.

use entitled::{
    domain::{callers::OperatorRole, checks::Mode},
    service::policy::{Approval, Policy},
};
use serde_json::{Value, json};

use crate::{
    cli::{by, fails, json, one_line, stdout, told},
    harness::{App, Given, ROOT_KEY},
};

const PATH: &str = "/api/v1/admin/overrides";
const END: &str = "2026-03-20T00:00:00Z";

async fn shop_given(given: Given) -> App {
    let app = App::given(given).await;
    app.apply_catalog(include_str!("../../examples/retail.yaml")).await;
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    app
}

async fn shop() -> App {
    shop_given(Given::default()).await
}

fn token(app: &App, role: OperatorRole, tenant: Option<&str>, name: &str) -> String {
    app.token(role, tenant, name, Mode::Tenant, None)
}

async fn is_open(app: &App, module: &str) -> bool {
    app.check(json!({"tenant": "shop", "module": module})).await["allowed"] == json!(true)
}

async fn found(app: &App, id: &str) -> Value {
    app.root().get(&format!("{PATH}/{id}")).await.expect(200).body
}

/// A command that opens something, with more.
fn set<'a>(on: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all =
        ["overrides", "set", "shop", on, "--expires-at", END, "--reason", "Bridges the upgrade"];
    [&all[..], more].concat()
}

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_override_is_made_with_all_that_the_api_takes_and_then_changed() {
    let app = shop().await;
    let made = json(&app, &set("dine", &["--enable"])).await;
    assert_eq!(made, found(&app, &id(&made)).await);
    assert_eq!((&made["enabled"], &made["expires_at"]), (&json!(true), &json!(END)));
    assert!(is_open(&app, "dine").await);
    // One is open for each tenant and key.
    let again = json(&app, &set("dine", &["--disable"])).await;
    assert_eq!((&again["id"], &again["enabled"]), (&made["id"], &json!(false)));
    assert!(!is_open(&app, "dine").await);
    let limit = json(&app, &set("branches", &["--enable", "--value", "9"])).await;
    assert_eq!(limit["value"], 9);
    let limit = json(&app, &set("branches", &["--enable", "--value", "unlimited"])).await;
    assert_eq!(limit["value"], "unlimited");
    let key = ["--enable", "--idempotency-key", "once"];
    let first = json(&app, &set("hr", &key)).await;
    assert_eq!(json(&app, &set("hr", &key)).await, first);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named_by_its_flag_or_field() {
    let app = shop().await;
    let without_reason = ["overrides", "set", "shop", "dine", "--enable", "--expires-at", END];
    assert!(fails(&app, &without_reason, 2).await.contains("--reason"));
    let direction = fails(&app, &set("dine", &[]), 2).await;
    assert!(direction.contains("--enable") && direction.contains("--disable"), "{direction}");
    fails(&app, &set("dine", &["--enable", "--disable"]), 2).await;
    let soon =
        ["overrides", "set", "shop", "dine", "--enable", "--expires-at", "soon", "--reason", "Why"];
    let soon = fails(&app, &soon, 2).await;
    assert!(soon.contains("--expires-at") && soon.contains("2026-01-31T12:00:00Z"), "{soon}");
    // The server's faults come all at once.
    let past = [
        "overrides",
        "set",
        "shop",
        "dine",
        "--enable",
        "--expires-at",
        "2020-01-01T00:00:00Z",
        "--reason",
        "x",
    ];
    let faults = fails(&app, &past, 65).await;
    assert!(
        faults.contains("entitled: expires_at: ") && faults.contains("entitled: reason: "),
        "{faults}"
    );
    let nobody = [
        "overrides",
        "set",
        "nobody",
        "dine",
        "--enable",
        "--expires-at",
        END,
        "--reason",
        "Why not",
    ];
    assert!(fails(&app, &nobody, 65).await.contains("nobody"));
    assert!(fails(&app, &set("dien", &["--enable"]), 65).await.contains("dine"));
    assert!(fails(&app, &set("branches", &["--enable"]), 65).await.contains("value: "));
    assert!(fails(&app, &["overrides", "show", "ovr_0"], 65).await.contains("404"));
    assert!(fails(&app, &["overrides", "show", "a/b"], 2).await.contains("isn't an id"));
    let auditor = token(&app, OperatorRole::Auditor, None, "ada");
    let refused = by(&app, &auditor, &set("dine", &["--enable"]), 77).await;
    assert!(one_line(&refused).contains("403"));
    assert_eq!(json(&app, &["overrides", "list"]).await, json!([]));
}

#[tokio::test]
async fn a_dry_run_shows_who_gains_and_loses_and_writes_nothing() {
    let app = shop().await;
    let open = set("dine", &["--enable", "--dry-run"]);
    let would = json(&app, &open).await;
    let first = &would["access"]["items"][0];
    assert_eq!((&first["change"], &first["key"]), (&json!("gained"), &json!("dine")));
    let table = told(&app, &open).await;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..8], ["gained", "shop", "-", "module", "dine", "no", "(plan_limit)", "yes"]);
    assert!(row[8..].join(" ").starts_with(&format!("(override) until {END}")), "{table}");
    assert!(table.ends_with("nothing was written: 1 gained, 0 lost, 0 changed"), "{table}");
    assert!(!is_open(&app, "dine").await);

    let made = id(&json(&app, &set("dine", &["--enable"])).await);
    let delete = ["overrides", "delete", &made];
    let would = json(&app, &[&delete[..], &["--dry-run"]].concat()).await;
    assert_eq!(would["access"]["items"][0]["change"], "lost");
    let close = ["overrides", "update", &made, "--disable", "--dry-run"];
    assert!(told(&app, &close).await.contains("0 gained, 1 lost"));
    assert!(is_open(&app, "dine").await, "nothing was written");
    assert_eq!(json(&app, &delete).await, json!({"deleted": made}));
    assert!(!is_open(&app, "dine").await);
}

#[tokio::test]
async fn an_override_is_extended_where_nobody_else_was_first() {
    let app = shop().await;
    let made = id(&json(&app, &set("dine", &["--enable"])).await);
    let tag = told(&app, &["overrides", "show", &made, "--etag"]).await;
    let later = "2026-04-20T00:00:00Z";
    let extend = ["overrides", "update", &made, "--expires-at", later, "--if-match", &tag];
    let changed = json(&app, &extend).await;
    assert_eq!((&changed["expires_at"], &changed["renewals"]), (&json!(later), &json!(1)));
    assert_eq!(changed["reason"], "Bridges the upgrade");
    assert!(fails(&app, &extend, 65).await.contains("412"));
    assert!(
        fails(&app, &["overrides", "delete", &made, "--if-match", &tag], 65).await.contains("412")
    );
    let more = ["overrides", "update", &made, "--disable", "--reason", "It was a mistake"];
    let changed = json(&app, &more).await;
    assert_eq!((&changed["enabled"], &changed["expires_at"]), (&json!(false), &json!(later)));
    assert_eq!(changed["reason"], "It was a mistake");
    assert!(fails(&app, &["overrides", "update", &made], 2).await.contains("--expires-at"));
    told(&app, &["overrides", "delete", &made]).await;
    assert_eq!(found(&app, &made).await["state"], "removed");
    assert!(fails(&app, &more, 65).await.contains("409"));
}

#[tokio::test]
async fn every_page_is_read_filters_narrow_it_and_the_table_says_what_json_says() {
    let app = shop().await;
    for at in 0..205 {
        let tenant = format!("t{at:03}");
        app.tenant(&tenant, json!({})).await;
        let body = json!({"tenant": tenant, "key": "dine", "enabled": at % 2 == 0,
                          "expires_at": END, "reason": "For a test"});
        app.root().post(PATH, body).await.expect(201);
    }
    told(&app, &set("branches", &["--enable", "--value", "9"])).await;
    let all = json(&app, &["overrides", "list"]).await;
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 206);
    let table = told(&app, &["overrides", "list"]).await;
    assert_eq!(table.lines().count(), 207);
    for (item, row) in all.iter().zip(table.lines().skip(1)) {
        let row: Vec<&str> = row.split_whitespace().collect();
        let of = |name: &str| item[name].as_str().unwrap();
        assert_eq!(row[..3], [of("id"), of("tenant"), of("key")]);
        let says = match (&item["enabled"], &item["value"]) {
            (Value::Bool(false), _) => "closed".to_owned(),
            (_, Value::Null) => "open".to_owned(),
            (_, value) => format!("open {value}"),
        };
        let rest = [says.as_str(), of("state"), of("expires_at")].join(" ");
        assert_eq!(row[3..].join(" "), rest);
    }
    let last = id(&all[0]);
    told(&app, &["overrides", "delete", &last]).await;
    for (filter, count) in [
        (&["--tenant", "t007"] as &[&str], 1),
        (&["--on", "branches"], 1),
        (&["--state", "removed"], 1),
        (&["--state", "active"], 205),
        (&["--state", "all"], 206),
        (&["--expiring-before", "2026-03-10T00:00:00+02:00"], 0),
        (&["--expiring-before", "2026-04-10T00:00:00+02:00", "--tenant", "t001"], 1),
    ] {
        let list = json(&app, &[&["overrides", "list"], filter].concat()).await;
        assert_eq!(list.as_array().unwrap().len(), count, "{filter:?}");
    }
    assert!(fails(&app, &["overrides", "list", "--state", "x"], 2).await.contains("expired"));
}

#[tokio::test]
async fn the_report_names_what_somebody_should_look_at() {
    let app = shop().await;
    told(&app, &set("retail", &["--enable"])).await;
    told(&app, &set("dine", &["--enable"])).await;
    let report = json(&app, &["overrides", "report", "--tenant", "shop"]).await;
    assert_eq!(report.as_array().unwrap().len(), 1, "{report:#}");
    assert_eq!(report[0]["override"]["key"], "retail");
    assert_eq!(report[0]["findings"], json!(["redundant"]));
    let soon = ["overrides", "report", "--ends-within-days", "30", "--unused-days", "60"];
    let table = told(&app, &soon).await;
    assert_eq!(table.lines().count(), 3, "{table}");
    let retail = table.lines().find(|line| line.contains(" retail ")).unwrap();
    assert!(retail.ends_with("redundant, ends_soon"), "{table}");
}

#[tokio::test]
async fn what_waits_for_a_second_person_is_not_taken_for_done() {
    let policy = Policy { approval: Approval::FourEyes, ..Policy::default() };
    let app = shop_given(Given { policy, ..Given::default() }).await;
    let [sue, tom] = ["sue", "tom"].map(|name| token(&app, OperatorRole::Support, None, name));
    let waits = by(&app, &sue, &set("dine", &["--enable"]), 80).await;
    let says = stdout(&waits);
    let request = says.rsplit(' ').next().unwrap();
    assert!(says.starts_with("nothing changed yet"), "{says}");
    assert!(!is_open(&app, "dine").await);

    let own = by(&app, &sue, &["requests", "approve", request], 65).await;
    assert!(one_line(&own).contains("409"));
    let would = by(&app, &tom, &["requests", "approve", request, "--dry-run"], 0).await;
    assert!(stdout(&would).contains("1 gained"));
    assert!(!is_open(&app, "dine").await);
    by(&app, &tom, &["requests", "approve", request, "--comment", "As agreed"], 0).await;
    assert!(is_open(&app, "dine").await);
    let shown = json(&app, &["requests", "show", request]).await;
    assert_eq!((&shown["state"], &shown["comment"]), (&json!("approved"), &json!("As agreed")));

    let made = shown["override_id"].as_str().unwrap();
    let close = ["overrides", "update", made, "--disable", "--json"];
    let waits: Value = serde_json::from_str(stdout(&by(&app, &sue, &close, 80).await)).unwrap();
    assert_eq!((&waits["kind"], &waits["state"]), (&json!("update"), &json!("open")));
    assert!(is_open(&app, "dine").await);
    // A super admin may go ahead alone.
    told(&app, &set("hr", &["--enable", "--break-glass"])).await;
    assert!(is_open(&app, "hr").await);
}

#[tokio::test]
async fn a_tenant_s_admin_asks_and_support_decides() {
    let app = shop().await;
    let admin = token(&app, OperatorRole::TenantAdmin, Some("shop"), "ann");
    let sue = token(&app, OperatorRole::Support, None, "sue");
    let ask = |on: &'static str| {
        [
            "requests",
            "create",
            on,
            "--expires-at",
            END,
            "--reason",
            "We open a restaurant",
            "--json",
        ]
    };
    let asked = async |on: &'static str| -> Value {
        serde_json::from_str(stdout(&by(&app, &admin, &ask(on), 0).await)).unwrap()
    };
    let (dine, hr, pay) = (asked("dine").await, asked("hr").await, asked("pay").await);
    assert_eq!((&dine["tenant"], &dine["enabled"]), (&json!("shop"), &json!(true)));
    let path = format!("/api/v1/requests/{}", id(&dine));
    assert_eq!(app.root().get(&path).await.expect(200).body, dine);

    let approve = ["requests", "approve", &id(&dine), "--expires-at", "2026-03-10T00:00:00Z"];
    by(&app, &sue, &approve, 0).await;
    let made = json(&app, &["overrides", "list", "--on", "dine"]).await;
    assert_eq!(made[0]["expires_at"], "2026-03-10T00:00:00Z");
    by(&app, &sue, &["requests", "decline", &id(&hr)], 2).await;
    by(&app, &sue, &["requests", "decline", &id(&hr), "--reason", "Not in this plan"], 0).await;
    let withdrawn = by(&app, &admin, &["requests", "withdraw", &id(&pay), "--json"], 0).await;
    assert_eq!(stdout(&withdrawn), format!("{:#}", json!({"withdrawn": id(&pay)})));
    by(&app, &admin, &["requests", "approve", &id(&hr)], 77).await;

    for (state, on) in [("approved", "dine"), ("declined", "hr"), ("withdrawn", "pay")] {
        let list = json(&app, &["requests", "list", "--state", state, "--tenant", "shop"]).await;
        assert_eq!(list.as_array().unwrap().len(), 1, "{state}");
        assert_eq!(list[0]["key"], on);
    }
    let table = told(&app, &["requests", "list", "--on", "hr"]).await;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, [&id(&hr), "shop", "hr", "open", "declined", "ann"]);
    let close = [
        "requests",
        "create",
        "dine",
        "--tenant",
        "shop",
        "--disable",
        "--expires-at",
        END,
        "--reason",
        "We close it",
    ];
    assert_eq!(json(&app, &close).await["enabled"], false);
    let reply = by(&app, ROOT_KEY, &["requests", "list", "--state", "gone"], 2).await;
    assert!(String::from_utf8_lossy(&reply.stderr).contains("withdrawn"));
}
