//! No check that began after a write was answered sees the state before it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use entitled::service::memory::CacheOptions;
use reqwest::Method;
use serde_json::json;

use crate::harness::{App, Given};

const RETAIL: &str = include_str!("../../examples/retail.yaml");

/// Writers count up; each reader remembers what was answered before it asks, and must not get less.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_check_after_an_answered_write_is_stale() {
    // A cache that is far too small, so that tenants leave it and are read again all the time.
    let cache = CacheOptions { tenants: 1, ..CacheOptions::default() };
    let app = Arc::new(App::given(Given { cache, ..Given::default() }).await);
    app.apply_catalog(RETAIL).await;
    let tenants = ["one", "two", "three", "four"];
    for tenant in tenants {
        app.tenant(tenant, json!({})).await;
        app.assign(tenant, "starter", json!({})).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let answered: Arc<Vec<AtomicU64>> =
        Arc::new(tenants.iter().map(|_| AtomicU64::new(0)).collect());

    let mut readers = Vec::new();
    for reader in 0..8 {
        let (app, done, answered) = (app.clone(), done.clone(), answered.clone());
        readers.push(tokio::spawn(async move {
            let mut asked = 0_u64;
            while !done.load(Ordering::SeqCst) {
                let at = (asked as usize + reader) % tenants.len();
                let before = answered[at].load(Ordering::SeqCst);
                let payload = app.entitlements(tenants[at]).await;
                let seen = payload["limits"]["branches"]["limit"].as_u64().unwrap();
                // Nothing was written yet: the plan's own 1.
                assert!(seen >= before || before == 0, "saw {seen} after {before} was answered");
                if asked.is_multiple_of(50) {
                    app.service.refresh_cache();
                }
                asked += 1;
            }
            asked
        }));
    }
    let mut writers = Vec::new();
    for (at, tenant) in tenants.into_iter().enumerate() {
        let (app, answered) = (app.clone(), answered.clone());
        writers.push(tokio::spawn(async move {
            for value in 1..=150_u64 {
                let path = format!("/api/v1/admin/tenants/{tenant}/grants/branches");
                let body = json!({"state": "enabled", "value": value, "reason": "for a test"});
                let reply = app.root().put(&path, body).await;
                assert!(matches!(reply.status, 200 | 201), "{:#}", reply.body);
                answered[at].store(value, Ordering::SeqCst);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let mut asked = 0;
    for reader in readers {
        asked += reader.await.unwrap();
    }
    assert!(asked > 200, "only {asked} questions were asked");
}

/// The catalog concerns every tenant; what is kept of any of them must follow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_check_after_an_applied_catalog_sees_the_old_one() {
    let app = Arc::new(App::retail().await);
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (app, done, answered) = (app.clone(), done.clone(), answered.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let before = answered.load(Ordering::SeqCst);
                    let question = json!({"tenant": "shop", "module": "retail"});
                    let version = app.check(question).await["version"].as_u64().unwrap();
                    assert!(version >= before, "version {version} after {before} was answered");
                }
            })
        })
        .collect();
    for round in 0..40 {
        let status = if round % 2 == 0 { "disabled" } else { "active" };
        let catalog =
            RETAIL.replacen("name: Retail", &format!("name: Retail, status: {status}"), 1);
        let root = app.root();
        root.send_text(Method::PUT, "/api/v1/admin/catalog", "application/yaml", catalog)
            .await
            .expect(200);
        let answer = app.check(json!({"tenant": "shop", "module": "retail"})).await;
        assert_eq!(answer["allowed"], status == "active", "{answer:#}");
        let payload = app.entitlements("shop").await;
        assert_eq!(payload["module_access"]["retail"]["enabled"], status == "active");
        answered.store(answer["version"].as_u64().unwrap(), Ordering::SeqCst);
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// A client that goes away in the middle of its write leaves either everything or nothing, and what
/// it leaves is seen at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_goes_away_leaves_no_stale_tenant() {
    let app = Arc::new(App::retail().await);
    app.tenant("shop", json!({})).await;
    app.assign("shop", "starter", json!({})).await;
    for value in 1..=100_u64 {
        let path = "/api/v1/admin/tenants/shop/grants/branches";
        let body = json!({"state": "enabled", "value": value, "reason": "for a test"});
        let write = {
            let app = app.clone();
            tokio::spawn(async move { app.root().put(path, body).await })
        };
        // Sometimes before the request is out, sometimes while it waits for its commit.
        for _ in 0..value % 7 {
            tokio::task::yield_now().await;
        }
        write.abort();
        let _ = write.await;
        let grants = app.root().get("/api/v1/admin/tenants/shop/grants").await.expect(200);
        // What a reader of the disk saw was committed before this, so it is published before this
        // is answered.
        let marker = json!({"name": format!("Shop {value}")});
        app.root().patch("/api/v1/admin/tenants/shop", marker).await.expect(200);
        let stored = grants.body["items"].as_array().unwrap().first().map(|g| g["value"].clone());
        let seen = app.entitlements("shop").await["limits"]["branches"]["limit"].as_u64();
        let floor = stored.and_then(|v| v.as_u64()).unwrap_or(1);
        assert!(seen.unwrap() >= floor, "saw {seen:?}, but the disk had {floor} before");
    }
}
