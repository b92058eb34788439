//! Spans of requests, on their way to an OpenTelemetry collector.
//!
//! Invariants: a request never waits for them; what doesn't fit into the queue is dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc;

/// How many spans wait to be sent.
const QUEUE: usize = 4096;

/// One request.
#[derive(Debug, Clone)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span that it was sent from.
    pub parent_id: Option<String>,
    /// `tracestate`, as it came.
    pub state: Option<String>,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Its method.
    pub method: String,
    /// The template of its path.
    pub route: String,
    /// How it was answered.
    pub status: u16,
    /// The id that its caller saw.
    pub request_id: String,
}

/// What the caller of a request does about its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// It records its part.
    Recorded,
    /// It doesn't.
    Left,
    /// It said nothing.
    Open,
}

/// Takes spans.
#[derive(Debug, Clone)]
pub struct Spans {
    sender: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
    percent: u32,
}

/// Gives them out.
#[derive(Debug)]
pub struct Recorded {
    /// One after the other.
    pub spans: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
}

impl Spans {
    /// Records so many of a hundred traces that nobody has decided about.
    #[must_use]
    pub fn new(percent: u32) -> (Self, Recorded) {
        let (sender, spans) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        (Self { sender, dropped: dropped.clone(), percent }, Recorded { spans, dropped })
    }

    /// Whether a request is recorded: as its caller does it, else by its trace, so that all who look
    /// at the trace decide alike. `lot` is random and belongs to the trace.
    #[must_use]
    pub fn want(&self, sampling: Sampling, lot: u64) -> bool {
        match sampling {
            Sampling::Recorded => true,
            Sampling::Left => false,
            Sampling::Open => lot % 100 < u64::from(self.percent),
        }
    }

    /// Takes one, if there is room.
    pub fn record(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Recorded {
    /// How many found no room since the last time.
    pub fn drain_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace_id: String::new(),
            span_id: String::new(),
            parent_id: None,
            state: None,
            began: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            method: "GET".into(),
            route: "/healthz".into(),
            status: 200,
            request_id: String::new(),
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let (spans, recorded) = Spans::new(100);
        (0..QUEUE + 7).for_each(|_| spans.record(span()));
        assert_eq!(recorded.spans.len(), QUEUE);
        assert_eq!((recorded.drain_dropped(), recorded.drain_dropped()), (7, 0));
    }

    #[test]
    fn the_caller_decides_and_else_the_lot() {
        let (spans, _recorded) = Spans::new(10);
        assert!(spans.want(Sampling::Recorded, 99) && !spans.want(Sampling::Left, 0));
        let open = (0..1_000).filter(|lot| spans.want(Sampling::Open, *lot)).count();
        assert_eq!(open, 100);
    }
}
