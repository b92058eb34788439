//! Consuming units of a limit with 64 clients, beside plain writes: what the decision in the writer
//! and the count cost.
//!
//! `cargo bench --bench usage`. Rounds alternate within one run; the ratio is what counts.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use entitled::store::Durability;
use serde_json::{Value, json};

use self::common::ROOT_KEY;

const CATALOG: &str = "
features:
  calls: {name: Calls, type: limit, unit: call, usage: counter, reset: month}
  uploads: {name: Uploads, type: limit, unit: upload, usage: counter, reset: day, per: user}
plans:
  large: {name: Large, rank: 10, features: {calls: 900000000000, uploads: 900000000000}}
";
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);
const CLIENTS: usize = 64;

/// What a client sends, again and again.
#[derive(Clone, Copy)]
enum Write {
    /// A tenant is made: one row and one audit event.
    Plain,
    /// One unit of a tenant's limit.
    OfTenant,
    /// One unit of the limit of one of 1,000 users.
    OfUser,
    /// A unit is set aside and released: two steps, counted as one.
    SetAside,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("entitled.db");
    let (address, _service) = common::start(&database, Durability::PowerCut).await;
    furnish(address).await;
    let kinds = [Write::Plain, Write::OfTenant, Write::OfUser, Write::SetAside];
    let mut rates: [Vec<f64>; 4] = Default::default();
    let mut ratios: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let mut plain = 1.0;
        for (at, kind) in kinds.into_iter().enumerate() {
            let rate = load(address, kind).await;
            if at == 0 {
                plain = rate;
            }
            rates[at].push(rate);
            ratios[at].push(rate / plain);
        }
    }
    println!("{CLIENTS} clients, medians of {ROUNDS} rounds, per second and beside plain writes:");
    let names = ["plain writes", "consume", "consume per user", "reserve and release"];
    for (at, name) in names.into_iter().enumerate() {
        let (rate, ratio) = (median(&mut rates[at]), median(&mut ratios[at]));
        println!("  {name:<22} {rate:>10.0} /s  {ratio:>6.2}");
    }
}

async fn post(client: &reqwest::Client, address: SocketAddr, path: &str, body: Value) -> Value {
    let request = client.post(format!("http://{address}/api/v1{path}")).bearer_auth(ROOT_KEY);
    let reply = request.json(&body).send().await.unwrap();
    assert!(reply.status().is_success(), "{path}: {}", reply.status());
    reply.json().await.unwrap()
}

async fn furnish(address: SocketAddr) {
    let client = reqwest::Client::new();
    let request = client.put(format!("http://{address}/api/v1/admin/catalog"));
    let request = request.bearer_auth(ROOT_KEY).header("content-type", "application/yaml");
    assert!(request.body(CATALOG).send().await.unwrap().status().is_success());
    post(&client, address, "/admin/tenants", json!({"key": "acme", "name": "Acme"})).await;
    let plan = json!({"plan": "large", "change_reason": "for a benchmark"});
    post(&client, address, "/admin/tenants/acme/subscriptions", plan).await;
}

async fn write(client: &reqwest::Client, address: SocketAddr, kind: Write) {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let consumed = |answer: Value| assert_eq!(answer["taken"], 1, "{answer:#}");
    match kind {
        Write::Plain => {
            let body = json!({"key": format!("t{number}"), "name": "T"});
            post(client, address, "/admin/tenants", body).await;
        }
        Write::OfTenant => {
            let body = json!({"tenant": "acme", "feature": "calls"});
            consumed(post(client, address, "/usage/consume", body).await);
        }
        Write::OfUser => {
            let user = format!("u{}", number % 1_000);
            let body = json!({"tenant": "acme", "user": user, "feature": "uploads"});
            consumed(post(client, address, "/usage/consume", body).await);
        }
        Write::SetAside => {
            let body = json!({"tenant": "acme", "feature": "calls", "ttl_seconds": 60});
            let made = post(client, address, "/usage/reserve", body).await;
            let id = made["reservation"]["id"].as_str().unwrap().to_owned();
            let path = format!("/usage/reservations/{id}/release");
            post(client, address, &path, json!({})).await;
        }
    }
}

/// Writes per second over a round.
async fn load(address: SocketAddr, kind: Write) -> f64 {
    let started = Instant::now();
    let until = started + ROUND;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut writes = 0_u64;
                while Instant::now() < until {
                    write(&client, address, kind).await;
                    writes += 1;
                }
                writes
            })
        })
        .collect();
    let mut writes = 0;
    for client in clients {
        writes += client.await.unwrap();
    }
    writes as f64 / started.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
