//! What an operator decides about how the use cases work.

use std::time::Duration;

use super::{events::EventOptions, webhooks::WebhookOptions};
use crate::domain::time::Span;

/// Whether one person is enough for an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Who may write overrides writes them.
    OnePerson,
    /// A second person approves what one has written; until then nothing changes (SPEC 10).
    FourEyes,
}

/// The rules that people and the worker are held to.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How far ahead an override may expire.
    pub override_horizon: Span,
    /// Whether one person is enough for an override.
    pub approval: Approval,
    /// How long a request waits for an answer.
    pub request_lifetime: Span,
    /// Older audit events are pruned; none keeps everything.
    pub audit_retention: Option<Span>,
    /// Older activity is pruned; none keeps everything.
    pub activity_retention: Option<Span>,
    /// Older periods of usage are pruned; none keeps everything.
    pub usage_retention: Option<Span>,
    /// Older evidence is pruned; none keeps everything.
    pub evidence_retention: Option<Span>,
    /// How much evidence is counted in memory, by tenant, before it is written.
    pub evidence_keys: usize,
    /// How much activity may wait in memory to be written.
    pub activity_queue: usize,
    /// How long before its end an override is announced.
    pub ends_soon: Span,
    /// How long a clock that has jumped ahead is not believed.
    pub hold: Duration,
    /// What bounds the events.
    pub events: EventOptions,
    /// What bounds webhooks.
    pub webhooks: WebhookOptions,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            override_horizon: Span::days(366),
            approval: Approval::OnePerson,
            request_lifetime: Span::days(30),
            audit_retention: None,
            activity_retention: Some(Span::days(90)),
            usage_retention: Some(Span::days(400)),
            evidence_retention: Some(Span::days(100)),
            evidence_keys: 100_000,
            activity_queue: 50_000,
            ends_soon: Span::hours(72),
            hold: Duration::from_secs(600),
            events: EventOptions::default(),
            webhooks: WebhookOptions::default(),
        }
    }
}
