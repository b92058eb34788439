//! Sends spans to an OpenTelemetry collector: OTLP over HTTP, as JSON.
//!
//! Written by hand: one request with fixed fields needs none of the twenty crates that the
//! OpenTelemetry SDK brings along.
//!
//! Invariants: a collector that is down costs its own spans and nothing else.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::telemetry::spans::{Recorded, Span};

/// How many spans are sent at once.
const MOST: usize = 512;
/// How long spans are gathered.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the collector may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// A failure is logged once in so many.
const QUIET: u32 = 30;

/// Runs until `stop`, and sends what is left then.
pub async fn run(mut recorded: Recorded, url: reqwest::Url, stop: CancellationToken) {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(?error, "no spans can be sent; are there CA certificates?");
            return;
        }
    };
    let mut failures = 0_u32;
    loop {
        let mut batch = Vec::new();
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            count = recorded.spans.recv_many(&mut batch, MOST) => count == 0,
        };
        if !is_last && batch.len() < MOST {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        while batch.len() < MOST
            && let Ok(span) = recorded.spans.try_recv()
        {
            batch.push(span);
        }
        if !batch.is_empty() {
            match send(&client, &url, &batch).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    if failures.is_multiple_of(QUIET) {
                        let dropped = recorded.drain_dropped();
                        let lost = batch.len();
                        tracing::warn!(error, lost, dropped, "spans were not sent");
                    }
                    failures = failures.saturating_add(1);
                }
            }
        }
        if is_last {
            return;
        }
    }
}

async fn send(client: &reqwest::Client, url: &reqwest::Url, batch: &[Span]) -> Result<(), String> {
    let sent = client.post(url.clone()).json(&document(batch)).send().await;
    // Without the address, which the settings name.
    let answer = sent.map_err(|error| error.without_url().to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("{}", answer.status())) }
}

/// `ExportTraceServiceRequest` in the JSON of OTLP 1: ids in hexadecimal, 64-bit numbers as texts.
fn document(batch: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", "entitled"),
            text("service.version", version),
        ]},
        "scopeSpans": [{
            "scope": {"name": "entitled", "version": version},
            "spans": batch.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn span(span: &Span) -> Value {
    /// `SPAN_KIND_SERVER`.
    const SERVER: u8 = 2;
    /// `STATUS_CODE_ERROR`.
    const ERROR: u8 = 2;
    let Span {
        trace_id,
        span_id,
        parent_id,
        state,
        began,
        took,
        method,
        route,
        status,
        request_id,
    } = span;
    let start = began.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |time: Duration| time.as_nanos().to_string();
    let mut value = json!({
        "traceId": trace_id,
        "spanId": span_id,
        "name": format!("{method} {route}"),
        "kind": SERVER,
        "startTimeUnixNano": nanos(start),
        "endTimeUnixNano": nanos(start + *took),
        "attributes": [
            text("http.request.method", method),
            text("http.route", route),
            {"key": "http.response.status_code", "value": {"intValue": status.to_string()}},
            text("entitled.request_id", request_id),
        ],
    });
    if let Some(value) = value.as_object_mut() {
        // What a client did wrong is no error of this span.
        if *status >= 500 {
            value.insert("status".into(), json!({"code": ERROR}));
        }
        for (name, given) in [("parentSpanId", parent_id), ("traceState", state)] {
            if let Some(given) = given {
                value.insert(name.into(), json!(given));
            }
        }
    }
    value
}
