//! Logs name the trace that a request belongs to.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::cli::{entitled, text};

/// A server that is told to end when its test does.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_line_of_the_log_names_the_trace_that_was_sent_or_one_that_was_made() {
    let data = tempfile::tempdir().unwrap();
    let args = ["serve", "--data", text(data.path()), "--listen", "127.0.0.1:0"];
    let mut command = entitled(&args);
    command.env("ENTITLED_LOG__REQUESTS", "true").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut server = Server(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
    let mut line_with = |what: &str| loop {
        let line = lines.next().expect("it ended").unwrap();
        if line.contains(what) {
            return serde_json::from_str::<Value>(&line).unwrap();
        }
    };
    let url = line_with("\"listening\"")["url"].as_str().unwrap().to_owned();
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let get = || client.get(format!("{url}/healthz"));

    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = get().header("traceparent", sent).header("x-request-id", "my-own-id-1");
    assert_eq!(request.send().unwrap().status(), 200);
    let line = line_with("\"answered\"");
    assert_eq!(line["request_id"], "my-own-id-1");
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let span = line["span_id"].as_str().unwrap().to_owned();
    assert!(span.len() == 16 && span != "00f067aa0ba902b7", "{span}");

    assert_eq!(get().header("traceparent", &sent[1..]).send().unwrap().status(), 200);
    let line = line_with("\"answered\"");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    assert_ne!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(line["span_id"], span.as_str());
}
