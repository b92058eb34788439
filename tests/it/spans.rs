//! Spans of requests reach a collector.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
};

use serde_json::Value;

use crate::cli::{Running, ended, on, one_line};

/// A collector that takes everything: its address, and what it was sent.
fn collector() -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    // Ends with the process of the test.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                socket.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
            socket.get_mut().write_all(answer).unwrap();
            if sender.send((head, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, received)
}

#[test]
fn a_request_of_a_recorded_trace_is_sent_and_one_of_a_trace_that_is_not_recorded_is_not() {
    let (collector, received) = collector();
    let data = tempfile::tempdir().unwrap();
    let variables =
        [("ENTITLED_TRACES__OTLP_URL", collector.as_str()), ("ENTITLED_TRACES__PERCENT", "0")];
    let running = Running::serve(data.path(), &variables);
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str, parent: &str| {
        let request = client.get(format!("{}{path}", running.url()));
        let request = request.header("traceparent", parent).header("tracestate", "congo=t61");
        request.header("x-request-id", "my-own-id-1").send().unwrap().status().as_u16()
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(get("/healthz", &format!("00-{trace}-00f067aa0ba902b7-00")), 200);
    assert_eq!(get("/healthz", "no trace at all"), 200);
    assert_eq!(get("/api/v1/admin/tenants", &format!("00-{trace}-00f067aa0ba902b7-01")), 401);
    // What is left is sent before it ends.
    assert_eq!(running.terminate(), Some(0));
    let (head, document) = received.recv().unwrap();
    assert!(head.starts_with("POST /v1/traces ") && head.contains("application/json"), "{head}");
    let group = &document["resourceSpans"][0];
    let service = &group["resource"]["attributes"][0];
    assert_eq!(service["value"]["stringValue"], "entitled");
    let spans = group["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 1, "{document:#}");
    let span = &spans[0];
    assert_eq!(span["traceId"], trace);
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(span["traceState"], "congo=t61");
    assert_eq!((&span["name"], &span["kind"]), (&"GET /api/v1/admin/tenants".into(), &2.into()));
    let nanos = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("startTimeUnixNano") < nanos("endTimeUnixNano"));
    let attributes = span["attributes"].as_array().unwrap();
    let attribute = |key: &str| &attributes.iter().find(|a| a["key"] == key).unwrap()["value"];
    assert_eq!(attribute("http.response.status_code")["intValue"], "401");
    assert_eq!(attribute("entitled.request_id")["stringValue"], "my-own-id-1");
    assert!(received.try_recv().is_err());
}

#[test]
fn a_collector_that_is_down_is_no_trouble_and_a_wrong_address_is_named() {
    let data = tempfile::tempdir().unwrap();
    let variables = [
        ("ENTITLED_TRACES__OTLP_URL", "http://127.0.0.1:9/v1/traces"),
        ("ENTITLED_TRACES__PERCENT", "100"),
    ];
    let running = Running::serve(data.path(), &variables);
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let get = client.get(format!("{}/healthz", running.url()));
    assert_eq!(get.send().unwrap().status(), 200);
    assert_eq!(running.terminate(), Some(0));
    let mut wrong = on(data.path(), "serve");
    wrong.env("ENTITLED_TRACES__OTLP_URL", "127.0.0.1:4318");
    assert!(one_line(&ended(&mut wrong, 78)).contains("traces.otlp_url must be an address"));
}
