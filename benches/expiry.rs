//! A hundred thousand overrides that end in the same second: how checks answer while the worker
//! records them, beside how they answer when it has nothing to do.
//!
//! `cargo bench --bench expiry`. The figures that count are the ratios of one run.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use entitled::{
    service::{Actor, expiry::ExpiryRun},
    store::Durability,
};
use rusqlite::Connection;
use serde_json::json;

use self::common::ROOT_KEY;

const TENANTS: usize = 2_000;
const KEYS: usize = 50;
/// A caller that asks now and then: latency is measured, not how much the machine can take.
const PAUSE: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("entitled.db");
    let (address, service) = common::start(&database, Durability::PowerCut).await;
    let end = furnish(address, &database).await;
    while SystemTime::now() <= end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    ask(address, |asked| asked < TENANTS).await;
    let mut idle = ask(address, |asked| asked < 4 * TENANTS).await;
    let actor = Actor::system("benchmark");
    let started = Instant::now();
    let worker = tokio::spawn({
        let service = service.clone();
        async move { service.expire(&actor).await }
    });
    let mut busy = ask(address, |_| !worker.is_finished()).await;
    let took = started.elapsed();
    let run = worker.await.unwrap().unwrap();
    let expired = (TENANTS * KEYS) as u64;
    assert_eq!(run, ExpiryRun { expired, failed: 0, is_held: false });

    println!("{expired} overrides that end in one second, recorded in {took:.1?}");
    println!("POST /api/v1/check          idle       meanwhile      ratio");
    for (name, share) in [("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999)] {
        let (idle, busy) = (quantile(&mut idle, share), quantile(&mut busy, share));
        let ratio = busy.as_secs_f64() / idle.as_secs_f64();
        println!("  {name:<18} {idle:>12.1?} {busy:>15.1?} {ratio:>10.2}");
    }
    println!(
        "  longest            {:>12.1?} {:>15.1?}",
        idle.last().unwrap(),
        busy.last().unwrap()
    );
}

/// A catalog, tenants and their overrides, all of which end at the answered instant.
async fn furnish(address: SocketAddr, database: &std::path::Path) -> SystemTime {
    let features: serde_json::Map<_, _> =
        (0..KEYS).map(|n| (format!("f{n}"), json!({"name": "F", "type": "boolean"}))).collect();
    let request = reqwest::Client::new().put(format!("http://{address}/api/v1/admin/catalog"));
    let request = request.bearer_auth(ROOT_KEY).json(&json!({"features": features}));
    assert!(request.send().await.unwrap().status().is_success());
    let end = SystemTime::now() + Duration::from_secs(15);
    let us = i64::try_from(end.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let conn = Connection::open(database).unwrap();
    conn.execute_batch(&format!(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {TENANTS} - 1)
         INSERT INTO tenants (tenant, name, billing, demo, sandbox, attributes, created_at,
             updated_at, revision, version)
         SELECT 't' || i, 'T', 'direct', 0, 0, '{{}}', 1, 1, 1, 1 FROM n;
         WITH RECURSIVE n(i) AS (
             SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {TENANTS} * {KEYS} - 1)
         INSERT INTO overrides (tenant, id, key, enabled, expires_at, reason, renewals, created_at,
             created_by, updated_at, revision, announced)
         SELECT 't' || (i % {TENANTS}), 'ovr_' || i, 'f' || (i / {TENANTS}), 1, {us}, 'bench', 0, 1,
             'bench', 1, 1, 1 FROM n;
         COMMIT;"
    ))
    .unwrap();
    end
}

/// Asks about one tenant after the other while `goes_on`; how long each answer took.
async fn ask(address: SocketAddr, goes_on: impl Fn(usize) -> bool) -> Vec<Duration> {
    let client = reqwest::Client::new();
    let url = format!("http://{address}/api/v1/check");
    let mut took = Vec::new();
    while goes_on(took.len()) {
        let tenant = format!("t{}", took.len() % TENANTS);
        let request = client.post(&url).bearer_auth(ROOT_KEY);
        let request = request.json(&json!({"tenant": tenant, "features": ["f7"]}));
        let started = Instant::now();
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success());
        let _ = answer.bytes().await.unwrap();
        took.push(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    took
}

fn quantile(sorted: &mut [Duration], share: f64) -> Duration {
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
