//! Changes as server-sent events.

use std::fmt::Write;

use bytes::Bytes;
use futures_util::stream;
use poem::{
    Body, IntoResponse, Request, Response,
    http::{HeaderValue, header},
};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Query},
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};
use serde::Serialize;

use super::Tag;
use crate::{
    domain::{events::Change, keys::TenantKey, time::Timestamp},
    error::Error,
    http::{
        auth::{Caller, needs, right},
        failure::Answer,
    },
    service::{
        Service,
        events::stream::{EndReason, Signal, Subscription},
    },
};

/// The operations.
pub struct EventsApi(pub(super) Service);

/// What it is written as.
const KIND: &str = "text/event-stream";

const EXAMPLE: &str = "id: 16\nevent: hello\ndata: {\"seq\":16}\n\n\
                       id: 17\nevent: change\ndata: {\"seq\":17,\"at\":\"2026-03-01T12:00:00Z\",\
                       \"tenant\":\"acme\",\"version\":1842,\"keys\":[\"crm\"],\"global\":false,\
                       \"cause\":\"entitlement.override.created\"}\n\n";

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Events")]
impl EventsApi {
    /// Be told of changes
    ///
    /// A stream of server-sent events: one message for each committed change that the caller may
    /// know of, in the order of commits. With the id of the last message that was received, it goes
    /// on after it without gap or repeat. It ends when the caller's right ends.
    #[oai(path = "/events", method = "get", operation_id = "stream_events")]
    async fn stream_events(
        &self,
        caller: Caller<needs::EventsRead>,
        request: &Request,
        /// Only changes that concern this tenant.
        tenant: Query<Option<TenantKey>>,
        /// As the header `Last-Event-ID`, for who can't set it; the header counts where both are given.
        last_event_id: Query<Option<u64>>,
        /// The id of the last message that was received.
        #[oai(name = "Last-Event-ID")]
        last: Header<Option<u64>>,
    ) -> Answer<EventStream> {
        let right = right(request, &caller.actor)?;
        // A value that can't be read would count as none, and what was missed would be passed over.
        let sent = request.headers().get_all("last-event-id").iter().count();
        if sent != usize::from(last.0.is_some()) {
            let message = "must be the id of one message, once";
            return Err(Error::invalid("Last-Event-ID", message).into());
        }
        let after = last.0.or(last_event_id.0);
        Ok(EventStream(self.0.stream_events(&caller.actor, right, tenant.0, after).await?))
    }
}

/// A stream of messages.
pub struct EventStream(Subscription);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let pieces = stream::unfold(self.0, |mut subscription| async move {
            match subscription.next().await {
                Ok(Some(signals)) => Some((Ok::<_, std::io::Error>(text(&signals)), subscription)),
                Ok(None) => None,
                Err(error) => {
                    tracing::error!(error = error.chain(), "a stream of events was broken off");
                    Some((Err(std::io::Error::other("the stream was broken off")), subscription))
                }
            }
        });
        let mut response =
            Response::builder().content_type(KIND).body(Body::from_bytes_stream(pieces));
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx would hold messages back.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

fn text(signals: &[Signal]) -> Bytes {
    match signals {
        // The text is shared with everyone else who is told.
        [Signal::Change(news)] => news.text(change),
        signals => {
            let mut all = Vec::new();
            for signal in signals {
                match signal {
                    Signal::Change(news) => all.extend_from_slice(&news.text(change)),
                    Signal::Hello(seq) => all.extend(placed("hello", *seq, &At { seq: *seq })),
                    Signal::Resync(seq) => {
                        let data = Lost { seq: *seq, reason: "too_old" };
                        all.extend(placed("resync", *seq, &data));
                    }
                    Signal::KeepAlive => all.extend_from_slice(b": keep-alive\n\n"),
                    Signal::Dropped(seq) => all.extend(said("dropped", &At { seq: *seq })),
                    Signal::End(reason) => {
                        let reason = match reason {
                            EndReason::Shutdown => "shutdown",
                            EndReason::Credential => "credential",
                        };
                        all.extend(said("end", &Ended { reason }));
                    }
                }
            }
            all.into()
        }
    }
}

#[derive(Serialize)]
struct At {
    seq: u64,
}

#[derive(Serialize)]
struct Lost {
    seq: u64,
    reason: &'static str,
}

#[derive(Serialize)]
struct Ended {
    reason: &'static str,
}

/// A change as it is told. Nothing in it says who made it, or why.
#[derive(Serialize)]
struct ChangeView<'a> {
    seq: u64,
    at: Timestamp,
    tenant: Option<&'a TenantKey>,
    version: u64,
    keys: &'a [String],
    global: bool,
    cause: &'a str,
    /// Only where it is one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

fn change(change: &Change) -> Bytes {
    let global = change.is_global();
    // Of the users whom it concerns nobody else is told.
    let Change { seq, at, tenant, version, cause, keys, users: _, effect: _, sandbox } = change;
    let (seq, at, version, sandbox) = (*seq, *at, *version, *sandbox);
    let view =
        ChangeView { seq, at, tenant: tenant.as_ref(), version, keys, global, cause, sandbox };
    placed("change", seq, &view).into()
}

/// A message that a client can resume from. JSON has no line breaks of its own.
fn placed(event: &'static str, seq: u64, data: &impl Serialize) -> Vec<u8> {
    let mut text = format!("id: {seq}\n").into_bytes();
    text.extend(said(event, data));
    text
}

fn said(event: &'static str, data: &impl Serialize) -> Vec<u8> {
    let mut text = String::new();
    let data = serde_json::to_string(data).unwrap_or_default();
    let _ = write!(text, "event: {event}\ndata: {data}\n\n");
    text.into_bytes()
}

impl ApiResponse for EventStream {
    fn meta() -> MetaResponses {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema {
            example: Some(EXAMPLE.into()),
            ..MetaSchema::new("string")
        }));
        let response = MetaResponse {
            description: "Messages for as long as the caller listens",
            status: Some(200),
            status_range: None,
            content: vec![MetaMediaType { content_type: KIND, schema }],
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_: &mut Registry) {}
}
