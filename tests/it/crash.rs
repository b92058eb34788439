//! Killed under write load, again and again: no acknowledged write is lost, and the trail verifies.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use entitled::store::{Store, anchor, audit};
use serde_json::{Value, json};

use crate::harness::ROOT_KEY;

const ROUNDS: usize = 6;
const WRITERS: usize = 8;

pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    pub fn start(data: &Path) -> Self {
        Self::with(data, &[])
    }

    /// With settings, each by the end of its variable's name.
    pub fn with(data: &Path, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| (format!("ENTITLED_{name}"), value));
        let mut child = Command::new(env!("CARGO_BIN_EXE_entitled"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("ENTITLED_ROOT_KEY", ROOT_KEY)
            .env("ENTITLED_LOG__FORMAT", "json")
            .envs(settings)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find_map(|line| line["url"].as_str().map(str::to_owned))
            .expect("the server says where it listens");
        // A full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killing_the_server_under_load_loses_no_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged: Arc<Mutex<Vec<String>>> = Arc::default();
    for round in 0..ROUNDS {
        let mut server = Server::start(dir.path());
        let dead = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (url, dead, acknowledged) =
                    (server.url.clone(), dead.clone(), acknowledged.clone());
                tokio::spawn(write_until_dead(
                    url,
                    format!("r{round}-w{writer}"),
                    dead,
                    acknowledged,
                ))
            })
            .collect();
        // In the middle of the load, at another place each round.
        let enough = acknowledged.lock().unwrap().len() + 40 + 17 * round;
        while acknowledged.lock().unwrap().len() < enough {
            tokio::task::yield_now().await;
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        dead.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
    }
    let database = dir.path().join("entitled.db");
    // A start and an orderly end: what the crash left in the log is part of the database.
    drop(Server::start(dir.path()));
    let verified = Store::inspect(&database, |tx| audit::verify(tx, &[])).unwrap();
    let audit::Verification::Intact { head: Some(head), .. } = verified else {
        panic!("{verified:?}")
    };
    // The anchor is never ahead of what is there, whenever the server was killed.
    let anchor = anchor::read(&dir.path().join("audit.head")).unwrap().unwrap();
    assert!(anchor.seq <= head.seq, "{anchor} {head}");
    let verified = Store::inspect(&database, |tx| audit::verify(tx, &[anchor])).unwrap();
    assert!(matches!(verified, audit::Verification::Intact { .. }), "{verified:?}");

    let conn = rusqlite::Connection::open(&database).unwrap();
    let count =
        |sql: &str, key: &str| -> i64 { conn.query_row(sql, [key], |row| row.get(0)).unwrap() };
    let acknowledged = acknowledged.lock().unwrap();
    for key in acknowledged.iter() {
        let tenants = count("SELECT count(*) FROM tenants WHERE tenant = ?1", key);
        let events = count(
            "SELECT count(*) FROM audit WHERE event = 'tenant.created' AND subject = ?1",
            key,
        );
        assert_eq!((tenants, events), (1, 1), "{key} was acknowledged");
    }
    // Nor is there a tenant without its event.
    let orphans: i64 = conn
        .query_row(
            "SELECT count(*) FROM tenants t WHERE NOT EXISTS (
                 SELECT 1 FROM audit a WHERE a.event = 'tenant.created' AND a.subject = t.tenant)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(orphans, 0);
    assert!(acknowledged.len() >= ROUNDS * 40);
}

async fn write_until_dead(
    url: String,
    prefix: String,
    dead: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    let client = reqwest::Client::new();
    for number in 0.. {
        if dead.load(Ordering::SeqCst) {
            return;
        }
        let key = format!("{prefix}-{number}");
        let request = client.post(format!("{url}/api/v1/admin/tenants")).bearer_auth(ROOT_KEY);
        match request.json(&json!({"key": key, "name": key})).send().await {
            Ok(reply) if reply.status() == 201 => acknowledged.lock().unwrap().push(key),
            Ok(reply) => panic!("{}", reply.status()),
            // Killed while it answered: acknowledged or not, nobody knows.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
