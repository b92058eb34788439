//! Killed at random while changes are written, told to a subscriber and sent to a webhook: who goes
//! on where it was gets each change once and in order, and a webhook each at least once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::Rng;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{crash::Server, harness::ROOT_KEY, webhooks::WEBHOOKS};

const ROUNDS: usize = 6;
const WRITERS: usize = 6;
const SETTINGS: [(&str, &str); 2] =
    [("WEBHOOKS__ALLOW_HTTP", "true"), ("WEBHOOKS__ALLOW_PRIVATE_NETWORKS", "true")];

/// What a webhook received: the id and the body of each message, in order.
type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers everything with 204, until the test ends.
fn receiver() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let received = Received::default();
    let all = received.clone();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let all = all.clone();
            thread::spawn(move || receive(socket.unwrap(), &all));
        }
    });
    (url, received)
}

/// None where the sender was killed in the middle.
fn receive(socket: TcpStream, all: &Received) -> Option<()> {
    let mut reader = BufReader::new(socket);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("webhook-id", value)) => value.clone_into(&mut id),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None if line == "\r\n" => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    all.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
    reader.get_mut().write_all(b"HTTP/1.1 204 x\r\n\r\n").ok()
}

/// A subscriber that goes on where it was, whichever server runs.
struct Subscriber {
    place: u64,
    told: Vec<(u64, String, String)>,
}

impl Subscriber {
    /// Reads until the stream ends or everything up to `last` was told.
    fn read(&mut self, url: &str, last: Option<u64>) -> Option<()> {
        let address = url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).ok()?;
        let head = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_KEY}\r\n\
             Last-Event-ID: {}\r\n\r\n",
            self.place
        );
        socket.write_all(head.as_bytes()).ok()?;
        let mut lines = BufReader::new(socket).lines();
        while last.is_none_or(|last| self.place < last) {
            let line = lines.next()?.ok()?;
            assert!(!line.starts_with("event: resync"), "a place was lost");
            // A message that was cut off in its middle is no message.
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let Ok(data) = serde_json::from_str::<Value>(data) else { return None };
            let Some(cause) = data["cause"].as_str() else { continue };
            let tenant = data["tenant"].as_str().unwrap_or_default();
            self.place = data["seq"].as_u64().unwrap();
            self.told.push((self.place, cause.to_owned(), tenant.to_owned()));
        }
        Some(())
    }
}

fn post(client: &reqwest::blocking::Client, url: &str, body: &Value) -> Option<u16> {
    let request = client.post(url).bearer_auth(ROOT_KEY).json(body);
    request.send().ok().map(|answer| answer.status().as_u16())
}

/// Makes tenants and changes one that all share, until the server is dead.
fn write(url: &str, name: &str, acknowledged: &Mutex<Vec<String>>) {
    let client = reqwest::blocking::Client::new();
    let tenants = format!("{url}/api/v1/admin/tenants");
    for count in 0.. {
        let key = format!("{name}-{count}");
        match post(&client, &tenants, &json!({"key": key, "name": key})) {
            Some(201) => acknowledged.lock().unwrap().push(key.clone()),
            Some(status) => panic!("{status}"),
            None => return,
        }
        let request = client.patch(format!("{tenants}/shared")).bearer_auth(ROOT_KEY);
        if request.json(&json!({"name": key})).send().is_err() {
            return;
        }
    }
}

fn rows(database: &Path, sql: &str) -> Vec<(u64, String, String)> {
    let conn = Connection::open(database).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok((u64::try_from(row.get::<_, i64>(0)?).unwrap(), row.get(1)?, row.get(2)?))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn count(database: &Path, sql: &str) -> u64 {
    let conn = Connection::open(database).unwrap();
    u64::try_from(conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()).unwrap()
}

#[test]
fn kills_at_random_lose_and_repeat_no_change_for_who_resumes_and_no_message_of_a_webhook() {
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("entitled.db");
    let (receiver, received) = receiver();
    let acknowledged = Mutex::<Vec<String>>::default();
    let mut subscriber = Subscriber { place: 0, told: Vec::new() };
    for round in 0..ROUNDS {
        let mut server = Server::with(dir.path(), &SETTINGS);
        let url = server.url.clone();
        if round == 0 {
            let client = reqwest::blocking::Client::new();
            let body = json!({"url": receiver, "events": ["tenant."]});
            assert_eq!(post(&client, &format!("{url}{WEBHOOKS}"), &body), Some(201));
            let body = json!({"key": "shared", "name": "shared"});
            assert_eq!(post(&client, &format!("{url}/api/v1/admin/tenants"), &body), Some(201));
        }
        let is_dead = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (url, acknowledged) = (&url, &acknowledged);
                scope.spawn(move || write(url, &format!("r{round}-w{writer}"), acknowledged));
            }
            let (subscriber, url, is_dead) = (&mut subscriber, &url, &is_dead);
            scope.spawn(move || {
                while !is_dead.load(Ordering::SeqCst) {
                    subscriber.read(url, None);
                }
            });
            // In the middle of it all, at another place each time.
            let before = acknowledged.lock().unwrap().len();
            let enough = before + rand::rng().random_range(20..120);
            while acknowledged.lock().unwrap().len() < enough {
                thread::yield_now();
            }
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            is_dead.store(true, Ordering::SeqCst);
        });
    }

    let server = Server::with(dir.path(), &SETTINGS);
    // Only so that a failing test ends.
    let until = Instant::now() + Duration::from_secs(60);
    while count(&database, "SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting'") > 0 {
        assert!(Instant::now() < until, "a message is stuck");
        thread::yield_now();
    }
    let last = count(&database, "SELECT max(seq) FROM outbox");
    subscriber.read(&server.url, Some(last)).unwrap();
    drop(server);

    let told = rows(&database, "SELECT seq, cause, coalesce(tenant, '') FROM outbox ORDER BY seq");
    assert_eq!(subscriber.told, told, "each change once, in order");
    let made: HashSet<_> =
        told.iter().filter(|row| row.1 == "tenant.created").map(|row| &row.2).collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.iter().all(|key| made.contains(key)));

    let received = received.lock().unwrap();
    let mut first = HashMap::new();
    let mut by_tenant = BTreeMap::<String, Vec<&str>>::new();
    for (id, body) in received.iter() {
        if let Some(before) = first.insert(id.as_str(), body) {
            assert_eq!(before, body, "the same id says something else");
            continue;
        }
        by_tenant.entry(body["data"]["tenant"].to_string()).or_default().push(id);
    }
    let sent = rows(&database, "SELECT seq, id, tenant FROM webhook_deliveries ORDER BY seq");
    let mut expected = BTreeMap::<String, Vec<&str>>::new();
    for (_, id, tenant) in &sent {
        expected.entry(json!(tenant).to_string()).or_default().push(id);
    }
    assert_eq!(by_tenant, expected, "each message, and those of one tenant in order");
    let events = told.iter().filter(|row| row.1.starts_with("tenant.")).count();
    assert_eq!(sent.len(), events, "one message for each change");
    println!(
        "{} changes, {} messages, {} sent twice",
        told.len(),
        sent.len(),
        received.len() - sent.len()
    );
}
