//! Readers of events at real sockets who read nothing, a byte at a time, or in bursts.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::Rng;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::{crash::Server, event_crowds::resident, harness::ROOT_KEY};

const WRITERS: u64 = 16;

/// What the kernel may keep for a reader here, in bytes: as little as it takes.
const RECEIVE: usize = 4096;

/// More than a slow reader may be sent that it didn't ask for by reading.
const MOST_AHEAD: usize = 400 * 1024;

fn address(server: &Server) -> SocketAddr {
    server.url.trim_start_matches("http://").parse().unwrap()
}

/// A stream of events at its own socket, from after a place or from now on.
fn subscribe(address: SocketAddr, after: Option<u64>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(RECEIVE).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    // Only so that a failing test ends.
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let last = after.map_or_else(String::new, |seq| format!("Last-Event-ID: {seq}\r\n"));
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_KEY}\r\n{last}\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

/// What a stream says: its name, and its place where it has one.
#[derive(Debug, PartialEq)]
struct Said {
    event: String,
    seq: u64,
}

/// The next whole message; none where the stream was cut off or has ended.
fn next(reader: &mut impl BufRead) -> Option<Said> {
    let (mut line, mut event) = (String::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || !line.ends_with('\n') {
            return None;
        }
        if let Some(name) = line.strip_prefix("event: ") {
            event = name.trim_end().to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            return Some(Said { event, seq: data["seq"].as_u64().unwrap_or(0) });
        }
    }
}

/// Sends one request and reads the whole answer.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {ROOT_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn make_tenant(address: SocketAddr, key: &str) {
    let body = json!({"key": key, "name": key}).to_string();
    let answer = ask(address, "POST", "/api/v1/admin/tenants", &body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// Changes a tenant so many times, by several callers, and counts the changes that were answered.
fn change(address: SocketAddr, tenant: &str, each: u64, done: &Arc<AtomicU64>) {
    let writers = (0..WRITERS).map(|writer| {
        let (path, done) = (format!("/api/v1/admin/tenants/{tenant}"), done.clone());
        thread::spawn(move || {
            for count in 0..each {
                let body = json!({"name": format!("{writer} {count}")}).to_string();
                let answer = ask(address, "PATCH", &path, &body);
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                done.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().unwrap());
}

fn subscribers(address: SocketAddr) -> u64 {
    let metrics = ask(address, "GET", "/metrics", "");
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix("entitlement_event_subscribers "));
    line.unwrap().trim().parse().unwrap()
}

/// What is left for a reader, message by message, and how many bytes that was.
fn rest(socket: TcpStream) -> (Vec<Said>, usize) {
    let mut bytes = Vec::new();
    // It may have been reset.
    let _ = BufReader::new(socket).read_to_end(&mut bytes);
    let mut reader = &*bytes;
    (std::iter::from_fn(|| next(&mut reader)).collect(), bytes.len())
}

#[test]
fn who_reads_nothing_or_a_byte_at_a_time_is_cut_off_and_costs_the_others_nothing() {
    const EACH: u64 = 250;
    const SLOW: usize = 12;
    let dir = TempDir::new().unwrap();
    let server = Server::with(dir.path(), &[("LIMITS__WRITE_STALL_SECONDS", "1")]);
    let address = address(&server);
    // Long messages: it takes fewer to fill what is between the two.
    let tenant = "t".repeat(100);
    make_tenant(address, &tenant);
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut socket = subscribe(address, None);
        let mut first = [0; 64];
        socket.read_exact(&mut first).unwrap();
        slow.push(socket);
    }
    let mut good = BufReader::new(subscribe(address, None));
    let start = next(&mut good).unwrap().seq;
    let before = resident(server.child.id());
    let done = Arc::<AtomicU64>::default();
    let all = WRITERS * EACH;
    let mut drips: Vec<_> = slow.iter().take(4).map(|socket| socket.try_clone().unwrap()).collect();
    thread::scope(|scope| {
        scope.spawn(|| change(address, &tenant, EACH, &done));
        for count in 1..=all {
            // Whoever reads is told of everything, in order, while the others don't read.
            assert_eq!(next(&mut good), Some(Said { event: "change".into(), seq: start + count }));
            for socket in &mut drips {
                let _byte = socket.read(&mut [0]);
            }
        }
    });
    let after = resident(server.child.id());
    // Only so that a failing test ends.
    let until = Instant::now() + Duration::from_secs(60);
    while subscribers(address) > 1 {
        assert!(Instant::now() < until, "who reads nothing is not cut off");
        thread::yield_now();
    }
    let grown = after.saturating_sub(before) / 1024;
    println!("{grown} KiB more for {SLOW} slow readers");
    assert!(grown < 48 * 1024, "{grown} KiB for {SLOW} slow readers");
    for socket in slow {
        let (said, bytes) = rest(socket);
        assert!(bytes < MOST_AHEAD, "{bytes} bytes lay ready for who reads nothing");
        let changes: Vec<_> = said.iter().filter(|said| said.event == "change").collect();
        let last = changes.last().map_or(start, |said| said.seq);
        assert!(last < start + all, "nothing was withheld");
        assert!(changes.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1), "a gap");
        let mut again = BufReader::new(subscribe(address, Some(last)));
        assert_eq!(next(&mut again).unwrap().seq, last + 1);
    }
}

#[test]
fn ten_thousand_changes_come_without_gap_or_repeat_to_who_reads_in_bursts() {
    const EACH: u64 = 625;
    let dir = TempDir::new().unwrap();
    let server = Server::with(dir.path(), &[("EVENTS__QUEUE", "16")]);
    let address = address(&server);
    make_tenant(address, "acme");
    let done = Arc::<AtomicU64>::default();
    let all = WRITERS * EACH;
    let mut reader = BufReader::new(subscribe(address, None));
    let start = next(&mut reader).unwrap().seq;
    let (mut place, mut drops) = (start, 0);
    thread::scope(|scope| {
        scope.spawn(|| change(address, "acme", EACH, &done));
        while place < start + all {
            for _ in 0..rand::rng().random_range(1..400) {
                match next(&mut reader) {
                    Some(Said { event, seq }) if event == "change" => {
                        assert_eq!(seq, place + 1);
                        place = seq;
                        if place == start + all {
                            return;
                        }
                    }
                    Some(Said { event, seq }) if event == "dropped" => assert_eq!(seq, place),
                    Some(other) => panic!("{other:?}"),
                    None => {
                        drops += 1;
                        reader = BufReader::new(subscribe(address, Some(place)));
                    }
                }
            }
            // A rest, for as long as so many changes take.
            let until = done.load(Ordering::SeqCst) + rand::rng().random_range(1..1_500);
            while done.load(Ordering::SeqCst) < until.min(all) {
                thread::yield_now();
            }
        }
    });
    println!("dropped {drops} times");
    assert!(drops > 0, "it was never dropped");
    make_tenant(address, "last");
    assert_eq!(next(&mut reader).map(|said| said.seq), Some(start + all + 1));
}
