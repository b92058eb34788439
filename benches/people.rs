//! Permission checks on a tenant with 100,000 users and 10,000 contexts, beside one with 10 users.
//!
//! `cargo bench --bench people`. Rounds alternate within one run; the ratio is what counts.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use entitled::store::Durability;
use rusqlite::Connection;
use serde_json::{Value, json};

use self::common::ROOT_KEY;

const CATALOG: &str = "
roles:
  club_moderator: {context: club, permissions: [CAN_LOCK_TOPICS]}
  club_lead: {context: club, inherits: [club_moderator], permissions: [CAN_MANAGE_CLUB]}
  store_manager: {context: store, inherits: [club_lead], permissions: [CAN_BAN_MEMBERS]}
";
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);
const CLIENTS: usize = 16;

/// How many users a tenant has; a tenth as many contexts, a hundredth of those are stores.
#[derive(Clone, Copy)]
struct Size {
    tenant: &'static str,
    users: usize,
    contexts: usize,
}

const SMALL: Size = Size { tenant: "small", users: 10, contexts: 10 };
const LARGE: Size = Size { tenant: "large", users: 100_000, contexts: 10_000 };

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("entitled.db");
    let (address, _service) = common::start(&database, Durability::None).await;
    furnish(address, &database).await;
    for size in [SMALL, LARGE] {
        warm(address, size).await;
    }
    let (mut small, mut large, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let few = load(address, SMALL).await;
        let many = load(address, LARGE).await;
        small.push(few);
        large.push(many);
        ratios.push(many / few);
    }
    println!("POST /api/v1/check about a permission in a context, {CLIENTS} clients:");
    println!("  10 users, 10 contexts           {:>10.0} /s", median(&mut small));
    println!("  100,000 users, 10,000 contexts  {:>10.0} /s", median(&mut large));
    println!("  ratio (median of {ROUNDS} rounds)     {:>10.2}", median(&mut ratios));
}

fn question(size: Size, user: usize) -> Value {
    let club = user % (size.contexts - size.contexts / 10);
    json!({
        "tenant": size.tenant, "user": format!("u{user}"), "permission": "CAN_LOCK_TOPICS",
        "context": {"type": "club", "id": format!("c{club}")}
    })
}

async fn ask(client: &reqwest::Client, address: SocketAddr, size: Size, user: usize) {
    let request = client.post(format!("http://{address}/api/v1/check")).bearer_auth(ROOT_KEY);
    let answer = request.json(&question(size, user)).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["allowed"], true, "{answer:#}");
}

/// Brings every user into memory, so that the rounds measure answers and not first meetings.
async fn warm(address: SocketAddr, size: Size) {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                for user in (number..size.users).step_by(CLIENTS) {
                    ask(&client, address, size, user).await;
                }
            })
        })
        .collect();
    let started = Instant::now();
    for client in clients {
        client.await.unwrap();
    }
    println!("{} users met in {:.1} s", size.users, started.elapsed().as_secs_f64());
}

/// Answers per second over a round, about users in no order that a cache would like.
async fn load(address: SocketAddr, size: Size) -> f64 {
    let until = Instant::now() + ROUND;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let (mut user, mut answers) = (number * 6_151, 0_u64);
                while Instant::now() < until {
                    user = (user + 7_919) % size.users;
                    ask(&client, address, size, user).await;
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let started = Instant::now();
    let mut answers = 0;
    for client in clients {
        answers += client.await.unwrap();
    }
    answers as f64 / started.elapsed().as_secs_f64()
}

/// Each user moderates a club; each club stands below a store.
async fn furnish(address: SocketAddr, database: &Path) {
    let request = reqwest::Client::new().put(format!("http://{address}/api/v1/admin/catalog"));
    let request = request.bearer_auth(ROOT_KEY).header("content-type", "application/yaml");
    assert!(request.body(CATALOG).send().await.unwrap().status().is_success());
    let conn = Connection::open(database).unwrap();
    for Size { tenant, users, contexts } in [SMALL, LARGE] {
        let stores = contexts / 10;
        let clubs = contexts - stores;
        conn.execute_batch(&format!(
            "BEGIN;
             INSERT INTO tenants (tenant, name, billing, demo, sandbox, attributes, created_at,
                 updated_at, revision, version)
             VALUES ('{tenant}', 'T', 'direct', 0, 0, '{{}}', 1, 1, 1, 1);
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {stores} - 1)
             INSERT INTO contexts (tenant, type, id, created_at, updated_at, revision)
             SELECT '{tenant}', 'store', 's' || i, 1, 1, 1 FROM n;
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {clubs} - 1)
             INSERT INTO contexts (tenant, type, id, parent_type, parent_id, created_at,
                 updated_at, revision)
             SELECT '{tenant}', 'club', 'c' || i, 'store', 's' || (i % {stores}), 1, 1, 1 FROM n;
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {users} - 1)
             INSERT INTO role_assignments (tenant, id, user, role, context_type, context_id,
                 created_at, created_by)
             SELECT '{tenant}', 'role_' || i, 'u' || i,
                 CASE WHEN i % 2 THEN 'club_moderator' ELSE 'store_manager' END,
                 CASE WHEN i % 2 THEN 'club' ELSE 'store' END,
                 CASE WHEN i % 2 THEN 'c' || (i % {clubs}) ELSE 's' || (i % {clubs} % {stores}) END,
                 1, 'bench' FROM n;
             COMMIT;"
        ))
        .unwrap();
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
