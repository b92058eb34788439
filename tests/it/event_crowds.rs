//! A thousand subscribers of a real server: each change once, and what each of them costs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::{crash::Server, harness::ROOT_KEY};

const SUBSCRIBERS: usize = 1_000;
const CHANGES: u64 = 20;

/// More than one subscriber costs: what the kernel keeps of a connection isn't among it.
const MOST_BYTES: u64 = 64 * 1024;

pub fn resident(process: u32) -> u64 {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    let status = status.unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A subscriber at its own connection, and the place at which it begins.
fn subscribe(address: &str) -> (BufReader<TcpStream>, u64) {
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ROOT_KEY}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    // As small as it may be: there are many of them in this process.
    let mut reader = BufReader::with_capacity(512, socket);
    let hello = next(&mut reader);
    (reader, hello["seq"].as_u64().unwrap())
}

/// The data of the next message.
fn next(reader: &mut impl BufRead) -> Value {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

fn make_tenant(address: &str, key: &str) {
    let body = json!({"key": key, "name": key}).to_string();
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /api/v1/admin/tenants HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {ROOT_KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn a_thousand_subscribers_get_each_change_once_and_cost_little() {
    let limit = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    let limit = String::from_utf8(limit.stdout).unwrap();
    let files = limit.trim().parse().unwrap_or(usize::MAX);
    assert!(files > SUBSCRIBERS + 200, "only {files} files can be open here: raise `ulimit -n`");
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let address = server.url.trim_start_matches("http://").to_owned();
    make_tenant(&address, "first");
    // What the first of them costs is not theirs alone.
    let warm: Vec<_> = (0..20).map(|_| subscribe(&address)).collect();
    let before = resident(server.child.id());
    let mut all: Vec<_> = (0..SUBSCRIBERS).map(|_| subscribe(&address)).collect();
    let idle = resident(server.child.id());
    for count in 0..CHANGES {
        make_tenant(&address, &format!("t{count}"));
    }
    for (reader, start) in &mut all {
        for count in 1..=CHANGES {
            assert_eq!(next(reader)["seq"], *start + count);
        }
    }
    let busy = resident(server.child.id());
    // Nothing else comes: the next message is the next change.
    make_tenant(&address, "last");
    for (reader, start) in &mut all {
        assert_eq!(next(reader)["seq"], *start + CHANGES + 1);
    }
    drop(warm);
    let each = |bytes: u64| bytes.saturating_sub(before) / SUBSCRIBERS as u64;
    println!(
        "{} bytes for each subscriber at rest, {} after {CHANGES} changes",
        each(idle),
        each(busy)
    );
    assert!(each(busy) < MOST_BYTES, "{} bytes for each subscriber", each(busy));
}
