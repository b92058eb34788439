//! Each override ends once, in one way: over kills of the process, removals and extensions that race
//! with the worker.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use entitled::store::{Store, audit};
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{crash::Server, harness::ROOT_KEY};

const TENANTS: usize = 50;
const FEATURES: usize = 50;
const PEOPLE: usize = 8;
const KILLS: usize = 5;
const WANTED: usize = 2_200;

/// What the callers know.
#[derive(Default)]
struct Known {
    made: Vec<String>,
    removed: HashSet<String>,
}

struct Person {
    client: reqwest::Client,
    url: String,
    rng: StdRng,
    known: Arc<Mutex<Known>>,
    dead: Arc<AtomicBool>,
}

impl Person {
    async fn send(&self, method: Method, path: &str, body: Value) -> Option<(StatusCode, Value)> {
        let url = format!("{}/api/v1/admin{path}", self.url);
        let request = self.client.request(method, url).bearer_auth(ROOT_KEY);
        // Killed while it answered: done or not, nobody knows.
        let reply = request.json(&body).send().await.ok()?;
        let status = reply.status();
        Some((status, reply.json().await.unwrap_or_default()))
    }

    fn soon(&mut self) -> String {
        let ahead = Duration::from_millis(self.rng.random_range(30..1_500));
        (Utc::now() + ahead).to_rfc3339()
    }

    async fn work(mut self) {
        while !self.dead.load(Ordering::SeqCst) {
            let known = {
                let known = self.known.lock().unwrap();
                let count = known.made.len();
                // One of the latest: the older ones have ended.
                let from = count.saturating_sub(20);
                (count > 0).then(|| known.made[self.rng.random_range(from..count)].clone())
            };
            match (self.rng.random_range(0..10), known) {
                (0 | 1, Some(id)) => self.remove(&id).await,
                (2, Some(id)) => {
                    let body = json!({"expires_at": self.soon()});
                    self.send(Method::PATCH, &format!("/overrides/{id}"), body).await;
                }
                _ => self.make().await,
            }
        }
    }

    async fn make(&mut self) {
        let (tenant, feature) =
            (self.rng.random_range(0..TENANTS), self.rng.random_range(0..FEATURES));
        let body = json!({
            "tenant": format!("t{tenant}"), "key": format!("f{feature}"), "enabled": true,
            "expires_at": self.soon(), "reason": "for a test"
        });
        if let Some((StatusCode::CREATED, made)) = self.send(Method::POST, "/overrides", body).await
        {
            let id = made["id"].as_str().unwrap().to_owned();
            self.known.lock().unwrap().made.push(id);
        }
    }

    async fn remove(&self, id: &str) {
        let answer = self.send(Method::DELETE, &format!("/overrides/{id}"), json!(null)).await;
        if let Some((StatusCode::NO_CONTENT, _)) = answer {
            let is_first = self.known.lock().unwrap().removed.insert(id.to_owned());
            assert!(is_first, "{id} was removed twice");
        }
    }
}

fn person(server: &Server, seed: u64, known: &Arc<Mutex<Known>>, dead: &Arc<AtomicBool>) -> Person {
    Person {
        client: reqwest::Client::new(),
        url: server.url.clone(),
        rng: StdRng::seed_from_u64(seed),
        known: known.clone(),
        dead: dead.clone(),
    }
}

async fn furnish(server: &Server) {
    let known = Arc::default();
    let person = person(server, 0, &known, &Arc::default());
    let features: serde_json::Map<_, _> = (0..FEATURES)
        .map(|n| (format!("f{n}"), json!({"name": format!("F{n}"), "type": "boolean"})))
        .collect();
    let catalog = json!({"features": features});
    let (status, answer) = person.send(Method::PUT, "/catalog", catalog).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    for tenant in 0..TENANTS {
        let body = json!({"key": format!("t{tenant}"), "name": "T"});
        person.send(Method::POST, "/tenants", body).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_override_ends_once_whatever_happens() {
    let dir = tempfile::tempdir().unwrap();
    let known = Arc::<Mutex<Known>>::default();
    for round in 0..=KILLS {
        let mut server = Server::start(dir.path());
        if round == 0 {
            furnish(&server).await;
        }
        let dead = Arc::new(AtomicBool::new(false));
        let people: Vec<_> = (0..PEOPLE)
            .map(|n| person(&server, (round * PEOPLE + n + 1) as u64, &known, &dead))
            .map(|person| tokio::spawn(person.work()))
            .collect();
        let enough = WANTED * (round + 1) / (KILLS + 1);
        while known.lock().unwrap().made.len() < enough {
            tokio::task::yield_now().await;
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        dead.store(true, Ordering::SeqCst);
        for person in people {
            person.await.unwrap();
        }
    }

    // The last start catches up with everything that ended while nobody was there.
    let server = Server::start(dir.path());
    let database = dir.path().join("entitled.db");
    let conn = rusqlite::Connection::open(&database).unwrap();
    let count = |sql: &str| -> i64 { conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    let open = "SELECT count(*) FROM overrides WHERE ended IS NULL";
    while count(open) > 0 {
        tokio::task::yield_now().await;
    }
    drop(server);

    let generations = count("SELECT count(*) FROM overrides");
    assert!(generations >= 2_000, "{generations}");
    assert!(count("SELECT count(*) FROM overrides WHERE ended = 'removed'") > 100);
    assert!(count("SELECT count(*) FROM overrides WHERE renewals > 0") > 20);
    // One creation, and one end, which is the one that the row tells of.
    let told =
        "(SELECT count(*) FROM audit WHERE subject = o.id AND event = 'entitlement.override.'";
    let strange = count(&format!(
        "SELECT count(*) FROM overrides o
         WHERE {told} || 'created') <> 1
            OR {told} || 'expired') + {told} || 'removed') <> 1
            OR {told} || o.ended) <> 1"
    ));
    assert_eq!(strange, 0);
    let orphans = count(
        "SELECT count(*) FROM audit WHERE event LIKE 'entitlement.override.%'
         AND subject NOT IN (SELECT id FROM overrides)",
    );
    assert_eq!(orphans, 0);
    let known = known.lock().unwrap();
    for id in &known.removed {
        let sql = "SELECT ended FROM overrides WHERE id = ?1";
        let ended: String = conn.query_row(sql, [id], |row| row.get(0)).unwrap();
        assert_eq!(ended, "removed", "{id}: its removal was acknowledged");
    }
    for id in &known.made {
        let sql = "SELECT count(*) FROM overrides WHERE id = ?1";
        let rows: i64 = conn.query_row(sql, [id], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "{id} was acknowledged");
    }
    let verified = Store::inspect(&database, |tx| audit::verify(tx, &[])).unwrap();
    assert!(matches!(verified, audit::Verification::Intact { .. }), "{verified:?}");
}
