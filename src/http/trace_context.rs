//! The trace that a request belongs to, by W3C Trace Context: taken from `traceparent` and
//! `tracestate`, or made.
//!
//! Invariants: what can't be read to the letter is as if it were not there, and then `tracestate`
//! isn't either; each request gets a span of its own.

use std::{cell::Cell, fmt};

use poem::http::{HeaderMap, HeaderName};

use crate::telemetry::spans::Sampling;

static PARENT: HeaderName = HeaderName::from_static("traceparent");
static STATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that is kept, and how many members it may have.
const STATE_LEN: usize = 512;
const STATE_MEMBERS: usize = 32;

/// The place of a request in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of this request.
    pub span_id: SpanId,
    /// The span that it was sent from.
    pub parent_id: Option<SpanId>,
    /// Whether the caller records its part of the trace.
    pub is_sampled: bool,
    /// What other systems along the way have noted, as it came.
    pub state: Option<String>,
}

/// 16 bytes, not all of them 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// 8 bytes, not all of them 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TraceContext {
    /// What its caller does about it, and a random number that belongs to the trace.
    #[must_use]
    pub fn sampling(&self) -> (Sampling, u64) {
        let sampling = match (self.parent_id, self.is_sampled) {
            (Some(_), true) => Sampling::Recorded,
            (Some(_), false) => Sampling::Left,
            (None, _) => Sampling::Open,
        };
        (sampling, self.trace_id.0 as u64)
    }

    /// That of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let span_id = SpanId((random() as u64).max(1));
        match parent(headers) {
            Some((trace_id, parent_id, is_sampled)) => Self {
                trace_id,
                span_id,
                parent_id: Some(parent_id),
                is_sampled,
                state: state(headers),
            },
            None => Self {
                trace_id: TraceId(random().max(1)),
                span_id,
                parent_id: None,
                is_sampled: false,
                state: None,
            },
        }
    }
}

/// The one `traceparent`, read strictly.
fn parent(headers: &HeaderMap) -> Option<(TraceId, SpanId, bool)> {
    let mut values = headers.get_all(&PARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = hex(parts.next()?, 32).filter(|id| *id != 0)?;
    let parent_id = hex(parts.next()?, 16).filter(|id| *id != 0)?;
    let flags = hex(parts.next()?, 2)?;
    // Later versions may say more, behind another hyphen; this one may not.
    let is_known = version < 0xff && (version > 0 || parts.next().is_none());
    let parent_id = SpanId(u64::try_from(parent_id).ok()?);
    is_known.then_some((TraceId(trace_id), parent_id, flags & 1 == 1))
}

/// So many hexadecimal digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = text.len() == digits && text.bytes().all(is_hex);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// All `tracestate` headers as one, where it is not too much.
fn state(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(&STATE).iter().map(|value| value.to_str().ok());
    let joined = values.collect::<Option<Vec<_>>>()?.join(",");
    let members = joined.split(',').map(str::trim).filter(|member| !member.is_empty());
    let are_members = members.clone().all(|member| {
        member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    });
    let fits = joined.len() <= STATE_LEN && members.clone().count() <= STATE_MEMBERS;
    let state = members.collect::<Vec<_>>().join(",");
    (are_members && fits && !state.is_empty()).then_some(state)
}

/// Random enough for names that nobody guards, without a system call for each.
pub(super) fn random() -> u128 {
    thread_local! {
        static STATE: Cell<u128> = Cell::new(
            uuid::Uuid::now_v7().as_u128() ^ (uuid::Uuid::now_v7().as_u128() << 64),
        );
    }
    STATE.with(|state| {
        // The step of a 128-bit PCG, whose upper bits are well mixed.
        const FACTOR: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
        const STEP: u128 = 0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f;
        let next = state.get().wrapping_mul(FACTOR).wrapping_add(STEP);
        state.set(next);
        // The output function of PCG XSL RR, for each half: the lower bits of the state repeat soon.
        let mixed =
            |bits: u128| ((bits >> 64) as u64 ^ bits as u64).rotate_right((bits >> 122) as u32);
        let further = next.wrapping_mul(FACTOR).wrapping_add(STEP);
        state.set(further);
        u128::from(mixed(next)) << 64 | u128::from(mixed(further))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn with(pairs: &[(&'static str, &str)]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        TraceContext::of(&headers)
    }

    #[test]
    fn a_trace_goes_on_in_a_span_of_its_own() {
        let context = with(&[("traceparent", GOOD)]);
        assert_eq!(context.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent_id.unwrap().to_string(), "00f067aa0ba902b7");
        assert_ne!(context.span_id, context.parent_id.unwrap());
        assert!(context.is_sampled);
        assert!(!with(&[("traceparent", &GOOD.replace("-01", "-02"))]).is_sampled);
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = GOOD.replacen("00", "cc", 1);
        for good in [later.clone(), format!("{later}-what-the-future-holds")] {
            assert!(with(&[("traceparent", &good)]).parent_id.is_some(), "{good}");
        }
    }

    #[test]
    fn what_cannot_be_read_to_the_letter_begins_a_new_trace() {
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace("4bf9", "4bfg"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD[..54],
            &format!("{GOOD}1"),
            &format!("{GOOD}-more"),
            &format!("+{}", &GOOD[1..]),
            &GOOD.replace('-', "_"),
        ] {
            let context = with(&[("traceparent", bad), ("tracestate", "a=b")]);
            assert_eq!((context.parent_id, context.state), (None, None), "{bad}");
            assert_ne!(context.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        }
        let twice = with(&[("traceparent", GOOD), ("traceparent", GOOD)]);
        assert_eq!(twice.parent_id, None);
    }

    #[test]
    fn the_state_is_kept_as_it_came_within_bounds() {
        let state = |text: &str| with(&[("traceparent", GOOD), ("tracestate", text)]).state;
        assert_eq!(state("congo=t61,rojo=00f0").as_deref(), Some("congo=t61,rojo=00f0"));
        let two =
            with(&[("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2, ,c=3")]);
        assert_eq!(two.state.as_deref(), Some("a=1,b=2,c=3"));
        let many = vec!["a=1"; 33].join(",");
        for bad in ["", ",", "a", "=1", "a=", &many, &format!("a={}", "x".repeat(511))] {
            assert_eq!(state(bad), None, "{bad}");
        }
    }

    #[test]
    fn made_traces_and_spans_differ() {
        let made: Vec<_> = (0..10_000).map(|_| with(&[])).collect();
        let traces: std::collections::HashSet<_> = made.iter().map(|c| c.trace_id).collect();
        let spans: std::collections::HashSet<_> = made.iter().map(|c| c.span_id).collect();
        assert_eq!((traces.len(), spans.len()), (10_000, 10_000));
    }
}
