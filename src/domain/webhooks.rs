//! Webhooks: where an operator wants to be told of audit events, and what became of each message.

use serde::{Deserialize, Serialize};

use crate::domain::{
    keys::TenantKey,
    time::{Span, Timestamp},
};

/// Why nothing is sent to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Somebody said so.
    ByHand,
    /// A message could not be delivered in all of its attempts.
    Exhausted,
    /// The receiver answered that it is gone for good.
    Gone,
    /// Too much waits for it.
    Backlog,
}

impl DisabledReason {
    /// As it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ByHand => "by_hand",
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
            Self::Backlog => "backlog",
        }
    }
}

/// Where an operator wants to be told of audit events. Its secrets are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Where messages are sent.
    pub url: String,
    /// For people.
    pub description: String,
    /// Beginnings of names of audit events; all events where there is none.
    pub events: Vec<String>,
    /// Only events about this tenant.
    pub tenant: Option<TenantKey>,
    /// Since when and why nothing is sent.
    pub disabled: Option<(Timestamp, DisabledReason)>,
    /// Until when the secret before the present one signs too.
    pub old_secret_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The version of its row, for `ETag`.
    pub revision: u64,
}

impl Webhook {
    /// Whether it is to be told of an event.
    #[must_use]
    pub fn wants(&self, event: &str, tenant: Option<&TenantKey>) -> bool {
        let is_named =
            self.events.is_empty() || self.events.iter().any(|start| event.starts_with(start));
        let is_theirs = self.tenant.is_none() || self.tenant.as_ref() == tenant;
        self.disabled.is_none() && is_named && is_theirs
    }
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is to be sent.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// It is not tried any more.
    Failed,
}

impl DeliveryState {
    /// As it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver took it: 200 to 299.
    Delivered,
    /// The receiver answered with something else; redirects are not followed.
    Refused,
    /// The receiver is gone for good: 410.
    Gone,
    /// No whole answer came in time.
    Timeout,
    /// No connection, or it broke.
    Unreachable,
    /// The address is one that nothing may be sent to.
    Forbidden,
}

impl Outcome {
    /// As it stands in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
        }
    }
}

/// One attempt to deliver a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// How long it took.
    pub took_ms: u64,
}

/// One message to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its place: rises in the order of commits.
    pub seq: u64,
    /// The same in each attempt.
    pub id: String,
    /// To which webhook.
    pub webhook: String,
    /// The name of the audit event.
    pub event: String,
    /// Whose tenant it is about.
    pub tenant: Option<TenantKey>,
    /// Those of one lane are delivered one after the other.
    pub lane: String,
    /// What is sent.
    pub body: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts of the present round.
    pub tries: u32,
    /// What became of the latest attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is tried next; none where it is over or waits for another one.
    pub next_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// How long after each attempt the next one comes, in seconds: the schedule of Standard Webhooks.
/// The first one comes at once.
const PAUSES: [u32; 9] =
    [5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 14 * 3_600, 20 * 3_600, 24 * 3_600];

/// How many parts a pause is drawn out by at most, of a thousand.
const MOST_JITTER: i64 = 100;

/// When the next attempt comes after so many that failed; none after the last. `jitter` spreads
/// those that failed together: of 65,536 parts of a tenth.
#[must_use]
pub fn next_attempt(failed_at: Timestamp, tries: u32, jitter: u16) -> Option<Timestamp> {
    let index = usize::try_from(tries).ok()?.checked_sub(1)?;
    let pause = Span::seconds(*PAUSES.get(index)?);
    let extra = pause.as_micros() / 1_000 * MOST_JITTER / 65_536 * i64::from(jitter);
    Some(Timestamp::from_micros((failed_at + pause).micros() + extra))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_that_of_the_specification() {
        let after = |tries| next_attempt(Timestamp::EPOCH, tries, 0).map(Timestamp::micros);
        let seconds = |s: i64| Some(s * 1_000_000);
        assert_eq!(after(1), seconds(5));
        assert_eq!(after(2), seconds(300));
        assert_eq!(after(9), seconds(86_400));
        assert_eq!(after(10), None);
        assert_eq!(after(0), None);
        let latest = next_attempt(Timestamp::EPOCH, 9, u16::MAX).unwrap().micros();
        assert!((86_400_000_000..=95_040_000_000).contains(&latest), "{latest}");
    }
}
