//! The pages of a dry run: bounded in what they hold and in what they look at, of one write alone.

use std::collections::BTreeSet;

use entitled::{
    domain::{access::Place, tenants::Billing},
    service::{
        Actor,
        access::AccessWanted,
        tenants::{NewTenant, StatusChange, TenantPatch},
    },
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Reply};

const PATH: &str = "/api/v1/admin/catalog";

fn document(name: &str, status: &str) -> Value {
    json!({
        "modules": {
            "base": {"name": name, "access": "always_on"},
            "extra": {"name": "Extra", "status": status}
        }
    })
}

/// Tenants without a subscription to need: all of them have `base`, none has `extra`.
async fn world(tenants: usize) -> App {
    let app = App::start().await;
    app.root().put(PATH, document("Base", "active")).await.expect(200);
    let actor = Actor::system("test");
    for number in 0..tenants {
        let key = format!("t{number:04}");
        let tenant = NewTenant {
            name: key.clone(),
            key: key.parse().unwrap(),
            parent: None,
            billing: Billing::Direct,
            demo: false,
            sandbox: false,
            attributes: serde_json::Map::new(),
        };
        app.service.create_tenant(&actor, None, tenant).await.unwrap();
    }
    app
}

async fn page(app: &App, document: &Value, query: &str) -> Reply {
    page_of(app, PATH, document, query).await
}

async fn page_of(app: &App, path: &str, body: &Value, query: &str) -> Reply {
    let path = format!("{path}?dry_run=true{query}");
    app.root().send(Method::PUT, &path, Some(body.clone()), &[]).await
}

/// How many items each page holds, and the tenants that they name.
async fn pages(app: &App, document: &Value, limit: usize) -> (Vec<usize>, Vec<String>) {
    all_pages(app, PATH, document, limit).await
}

async fn all_pages(app: &App, path: &str, body: &Value, limit: usize) -> (Vec<usize>, Vec<String>) {
    let (mut counts, mut tenants, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let query = format!("&limit={limit}{cursor}");
        let body = page_of(app, path, body, &query).await.expect(200).body;
        let items = body["access"]["items"].as_array().unwrap();
        counts.push(items.len());
        tenants.extend(items.iter().map(|item| item["tenant"].as_str().unwrap().to_owned()));
        match body["access"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (counts, tenants),
        }
    }
}

#[tokio::test]
async fn a_catalog_over_many_tenants_is_told_in_pages_that_miss_and_repeat_nobody() {
    let app = world(450).await;
    let mut without = document("Base", "active");
    without["modules"]["base"]["status"] = "disabled".into();

    let (counts, tenants) = pages(&app, &without, 200).await;

    assert_eq!(counts, [200, 200, 50]);
    let each: BTreeSet<_> = tenants.iter().collect();
    assert_eq!((tenants.len(), each.len()), (450, 450));
    assert!(tenants.is_sorted());
    // Those of one tenant don't fit into one page: they go on in the next.
    let extra = json!({"modules": {
        "base": {"name": "Base", "access": "entitled"},
        "extra": {"name": "Extra", "access": "always_on"}
    }});
    let (counts, tenants) = pages(&app, &extra, 7).await;
    assert_eq!(tenants.len(), 900);
    assert_eq!(counts.iter().filter(|count| **count == 7).count(), 128);
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_tenants() {
    let app = world(1100).await;
    // The one for whom something changes comes last.
    let body = json!({"mode": "enforce", "percent": 100, "exclude": ["t1099"]});

    let (counts, tenants) = all_pages(&app, "/api/v1/admin/rollout", &body, 200).await;

    assert_eq!(counts, [0, 0, 1], "500 are looked at for each page");
    assert_eq!(tenants, ["t1099"]);
}

#[tokio::test]
async fn a_page_is_only_told_of_the_document_and_the_version_that_it_began_with() {
    let app = world(30).await;
    let mut disabled = document("Base", "active");
    disabled["modules"]["base"]["status"] = "disabled".into();
    let first = page(&app, &disabled, "&limit=10").await.expect(200).body;
    let cursor = format!("&cursor={}", first["access"]["next_cursor"].as_str().unwrap());
    page(&app, &disabled, &cursor).await.expect(200);

    let other = document("Another", "active");
    page(&app, &other, &cursor).await.expect_problem(409, "DRY_RUN_OUTDATED");
    let rollout = "/api/v1/admin/rollout?dry_run=true&limit=10";
    let body = json!({"mode": "off", "percent": 0});
    let path = format!("{rollout}{cursor}");
    app.root().put(&path, body).await.expect_problem(409, "DRY_RUN_OUTDATED");
    let tenant = format!("/api/v1/admin/tenants/t0001?dry_run=true{cursor}");
    app.root().patch(&tenant, json!({"demo": true})).await.expect_problem(409, "DRY_RUN_OUTDATED");
    app.root().put(PATH, other).await.expect(200);
    page(&app, &disabled, &cursor).await.expect_problem(409, "DRY_RUN_OUTDATED");
    page(&app, &disabled, "&cursor=nonsense").await.expect_problem(422, "INVALID_VALUE");
}

#[tokio::test]
async fn the_users_of_a_tenant_are_told_in_pages() {
    let app = world(2).await;
    for number in 0..230 {
        let own = json!({"user": format!("u{number:03}"), "key": "extra", "reason": "for a test"});
        app.root().post("/api/v1/tenants/t0001/user-entitlements", own).await.expect(201);
    }
    let actor = Actor::system("test");
    let (mut users, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let rehearsal = app.service.rehearsal(AccessWanted { after, limit: 200 });
        let key = "t0001".parse().unwrap();
        let status = Some(StatusChange::Suspend("for a test".into()));
        let patch = TenantPatch { status, ..TenantPatch::default() };
        rehearsal.service().update_tenant(&actor, key, patch, None).await.unwrap();
        let page = rehearsal.access().await.unwrap();
        let lost = page.items.iter().filter(|item| item.key.key == "extra");
        users.extend(lost.filter_map(|item| {
            let Place { user, .. } = &item.place;
            user.as_ref().map(ToString::to_string)
        }));
        pages += 1;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let each: BTreeSet<_> = users.iter().collect();
    assert_eq!((users.len(), each.len()), (230, 230));
    assert!(pages >= 3, "100 places are looked at for each page: {pages}");
}
