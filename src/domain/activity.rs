//! Activity: what users did in their roles, and how often.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{
    contexts::ContextKey,
    keys::{RoleKey, TenantKey, UserKey},
    time::{Span, Timestamp},
};

/// Something that a user did.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// In which tenant.
    pub tenant: TenantKey,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub user: UserKey,
    /// In which role, where one is known.
    pub role: Option<RoleKey>,
    /// What: a word of the application's, or what a check asked for.
    pub action: String,
    /// Where.
    pub context: Option<ContextKey>,
    /// More about it.
    pub metadata: Option<Map<String, Value>>,
}

/// How far back statistics look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// 24 hours, each by itself.
    #[default]
    Day,
    /// 7 days, each by itself.
    Week,
    /// 30 days, each by itself.
    Month,
}

/// The equal parts of a range, in UTC. The last one is the part that `now` lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// Where the first one begins.
    pub from: Timestamp,
    /// How long each is.
    pub step: Span,
    /// How many there are.
    pub count: u32,
}

impl Range {
    /// Its parts, as they are at `now`.
    #[must_use]
    pub fn buckets(self, now: Timestamp) -> Buckets {
        let (step, count) = match self {
            Self::Day => (Span::hours(1), 24),
            Self::Week => (Span::days(1), 7),
            Self::Month => (Span::days(1), 30),
        };
        let last = now.micros() - now.micros() % step.as_micros();
        let from = last - i64::from(count - 1) * step.as_micros();
        Buckets { from: Timestamp::from_micros(from), step, count }
    }
}

impl Buckets {
    /// Where the part with this number begins.
    #[must_use]
    pub fn start(&self, number: u32) -> Timestamp {
        let from = self.from.micros() + i64::from(number) * self.step.as_micros();
        Timestamp::from_micros(from)
    }

    /// Where the last one ends.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.start(self.count)
    }
}

/// How often something was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted<K> {
    /// What is counted.
    pub key: K,
    /// How often.
    pub count: u64,
}

/// How much was done in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityStats {
    /// All of it.
    pub total: u64,
    /// By role, the most frequent first; none is what was done without one.
    pub by_role: Vec<Counted<Option<RoleKey>>>,
    /// By action, the most frequent first.
    pub by_action: Vec<Counted<String>>,
    /// For each part of the range, by its beginning, empty ones too.
    pub over_time: Vec<Counted<Timestamp>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_part_of_a_range_is_the_present_one() {
        let now = at("2026-03-01T12:34:56Z");
        let day = Range::Day.buckets(now);
        assert_eq!(day.from, at("2026-02-28T13:00:00Z"));
        assert_eq!(day.until(), at("2026-03-01T13:00:00Z"));
        let week = Range::Week.buckets(now);
        assert_eq!(week.from, at("2026-02-23T00:00:00Z"));
        let month = Range::Month.buckets(now);
        assert_eq!(month.from, at("2026-01-31T00:00:00Z"));
        assert_eq!(month.until(), at("2026-03-02T00:00:00Z"));
    }
}
