//! What commands make of pages that a server seldom gives: of a server that is played here.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Output,
    thread::JoinHandle,
};

use serde_json::{Value, json};

use crate::cli::{client, ended, stdout};

/// One request: its first line, its headers in small letters, its body.
struct Asked {
    target: String,
    headers: Vec<String>,
    body: String,
}

/// Gives each request the next of these answers, ends with the last, and says what was asked.
fn server(answers: Vec<(u16, Value)>) -> (String, JoinHandle<Vec<Asked>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let mut asked = Vec::new();
        for (status, answer) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let target = lines.remove(0);
            let headers: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
            let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            asked.push(Asked { target, headers, body: String::from_utf8(body).unwrap() });
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n",
                text.len()
            );
            (&stream).write_all(format!("{head}{text}").as_bytes()).unwrap();
        }
        asked
    };
    (url, std::thread::spawn(serve))
}

fn change(key: &str) -> Value {
    let access = |enabled: bool| json!({"enabled": enabled, "reason": "plan"});
    json!({"tenant": "shop", "user": null, "kind": "module", "key": key, "context": null,
           "change": "lost", "before": access(true), "after": access(false)})
}

fn page(keys: &[&str], next: Option<&str>, truncated: bool) -> (u16, Value) {
    let items: Vec<Value> = keys.iter().map(|key| change(key)).collect();
    let access = json!({"items": items, "next_cursor": next, "truncated": truncated});
    (200, json!({"dry_run": true, "access": access}))
}

const SUSPEND: [&str; 8] =
    ["tenants", "suspend", "shop", "--reason", "Fraud", "--if-match", "7", "--dry-run"];

fn said(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stderr).unwrap().lines().collect()
}

#[test]
fn a_dry_run_goes_on_with_the_same_request() {
    let pages = vec![
        page(&["a"], Some("c/1&x=y"), true),
        page(&[], Some("c2"), false),
        page(&["b"], None, false),
    ];
    let (url, asked) = server(pages);
    let json_args = [&SUSPEND[..], &["--json"]].concat();
    let would = ended(&mut client(&url, "key", &json_args), 0);
    let would: Value = serde_json::from_str(stdout(&would)).unwrap();
    let access =
        json!({"items": [change("a"), change("b")], "next_cursor": null, "truncated": true});
    assert_eq!(would, json!({"dry_run": true, "access": access}));
    let asked = asked.join().unwrap();
    let start = "PATCH /api/v1/admin/tenants/shop?dry_run=true&limit=200";
    let targets: Vec<&str> = asked.iter().map(|asked| asked.target.as_str()).collect();
    let next =
        [format!("{start}&cursor=c%2F1%26x%3Dy HTTP/1.1"), format!("{start}&cursor=c2 HTTP/1.1")];
    assert_eq!(targets, [&format!("{start} HTTP/1.1"), &next[0], &next[1]]);
    for asked in &asked {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body, json!({"status": "suspended", "reason": "Fraud"}));
        assert!(asked.headers.contains(&"if-match: \"7\"".to_owned()), "{:?}", asked.headers);
    }
}

#[test]
fn a_dry_run_that_was_cut_says_so_to_people() {
    let (url, asked) = server(vec![page(&["a"], None, true)]);
    let table = ended(&mut client(&url, "key", &SUSPEND), 0);
    assert!(stdout(&table).ends_with(
        "nothing was written: 0 gained, 1 lost, 0 changed\n\
         more tenants stand below this one than were looked at"
    ));
    asked.join().unwrap();
}

#[test]
fn half_a_dry_run_is_not_shown() {
    let outdated = json!({"code": "DRY_RUN_OUTDATED", "detail": "It has changed in the meantime."});
    let (url, asked) = server(vec![page(&["a"], Some("c"), false), (409, outdated)]);
    let failed = ended(&mut client(&url, "key", &SUSPEND), 65);
    assert_eq!(stdout(&failed), "");
    assert_eq!(
        said(&failed),
        [
            "entitled: the server answered 409: It has changed in the meantime.",
            "entitled: the dry run was not read to its end; run it again"
        ]
    );
    asked.join().unwrap();
}

#[test]
fn half_a_list_is_not_shown() {
    let first = json!({"items": [{"key": "a"}], "next_cursor": "c"});
    let (url, asked) = server(vec![(200, first), (503, json!({"detail": "It is stopping."}))]);
    let list = ["tenants", "list", "--q", "a b&c"];
    let failed = ended(&mut client(&url, "key", &list), 69);
    assert_eq!(stdout(&failed), "");
    assert_eq!(said(&failed), ["entitled: the server answered 503: It is stopping."]);
    let asked = asked.join().unwrap();
    assert_eq!(asked[1].target, "GET /api/v1/admin/tenants?q=a+b%26c&limit=200&cursor=c HTTP/1.1");
}
