//! Usage of limit features: what was counted, in which period, and what is set aside.
//!
//! Invariants: a count is never below 0; a reservation counts as used until it expires, is settled or
//! released; periods of one anchor neither overlap nor leave a gap.

use chrono::{DateTime, Months, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::{
    catalog::{Limit, Reset},
    keys::{FeatureKey, TenantKey, UserKey},
    time::{DAY_US, HOUR_US, Timestamp},
};

/// Whose usage is counted: a tenant's as a whole, a user's in it, or that of a user without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountedFor {
    /// The tenant; none for a user without one.
    pub tenant: Option<TenantKey>,
    /// The user; none for the tenant as a whole.
    pub user: Option<UserKey>,
}

/// What was counted of one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUsage {
    /// How much, in the period that began at `period_start`.
    pub used: u64,
    /// The start of the period that `used` was counted in.
    pub period_start: Timestamp,
    /// What is set aside, by expiry.
    pub reserved: Vec<Reserved>,
}

/// Units set aside until they are settled, released, or the reservation expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The reservation.
    pub id: String,
    /// How many units.
    pub amount: u64,
    /// They are given back from here on.
    pub expires_at: Timestamp,
}

/// What was used of a limit in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Whose; none for the tenant as a whole.
    pub user: Option<UserKey>,
    /// The limit feature.
    pub feature: FeatureKey,
    /// When the period began.
    pub period_start: Timestamp,
    /// When it ends or ended; none for what is never reset.
    pub period_end: Option<Timestamp>,
    /// How much was counted.
    pub used: u64,
    /// The most that was counted at once.
    pub peak: u64,
    /// Units that were taken past the limit.
    pub over: u64,
    /// What is left of it; none of a period that is over.
    pub present: Option<PresentUsage>,
}

/// How a limit stands in the present period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentUsage {
    /// How much is allowed.
    pub limit: Limit,
    /// What is set aside.
    pub reserved: u64,
    /// When a counter starts again at 0.
    pub resets_at: Option<Timestamp>,
}

/// A limit as rule 14 saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// The limit feature.
    pub feature: FeatureKey,
    /// How much is allowed.
    pub limit: Limit,
    /// How much is used, reservations included.
    pub used: u64,
    /// How much was asked for.
    pub requested: u64,
    /// When a counter starts again at 0.
    pub resets_at: Option<Timestamp>,
}

impl LimitState {
    /// What is left; none where there is no limit.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.limit {
            Limit::Of(limit) => Some(limit.saturating_sub(self.used)),
            Limit::Unlimited => None,
        }
    }

    /// Whether what was asked for fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.limit {
            Limit::Of(limit) => {
                self.used.checked_add(self.requested).is_some_and(|sum| sum <= limit)
            }
            Limit::Unlimited => true,
        }
    }
}

/// A stretch of time that a counter accumulates over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first instant.
    pub start: Timestamp,
    /// The first instant after it; none for a counter that is never reset.
    pub end: Option<Timestamp>,
}

impl Period {
    /// The period of `reset` that holds `at`, counted from `anchor` on. Months and years keep the
    /// anchor's day, or take the last day of a shorter month; all of it in UTC.
    #[must_use]
    pub fn holding(reset: Reset, anchor: Timestamp, at: Timestamp) -> Self {
        match reset {
            Reset::Hour => Self::fixed(HOUR_US, anchor, at),
            Reset::Day => Self::fixed(DAY_US, anchor, at),
            Reset::Week => Self::fixed(7 * DAY_US, anchor, at),
            Reset::Month => Self::calendar(1, anchor, at),
            Reset::Year => Self::calendar(12, anchor, at),
            // Whatever it is anchored to: it never starts again.
            Reset::Never => Self { start: Timestamp::EPOCH, end: None },
        }
    }

    fn fixed(length_us: i64, anchor: Timestamp, at: Timestamp) -> Self {
        let periods = (at.micros() - anchor.micros()).div_euclid(length_us);
        let start = Timestamp::from_micros(anchor.micros() + periods * length_us);
        Self { start, end: Some(Timestamp::from_micros(start.micros() + length_us)) }
    }

    fn calendar(months: u32, anchor: Timestamp, at: Timestamp) -> Self {
        // A guess that is at most one period late, and never early by more than one.
        let days = (at.micros() - anchor.micros()).div_euclid(DAY_US);
        let mut index = days / (i64::from(months) * 31) - 1;
        while let Some(next) = shifted(anchor, months, index + 1)
            && next <= at
        {
            index += 1;
        }
        let start = shifted(anchor, months, index).unwrap_or(anchor);
        Self { start, end: shifted(anchor, months, index + 1) }
    }
}

/// `anchor`, `index` times `months` months later, or earlier.
fn shifted(anchor: Timestamp, months: u32, index: i64) -> Option<Timestamp> {
    let anchor: DateTime<Utc> = anchor.to_datetime();
    let months = Months::new(u32::try_from(index.unsigned_abs()).ok()?.checked_mul(months)?);
    let shifted = if index < 0 {
        anchor.checked_sub_months(months)?
    } else {
        anchor.checked_add_months(months)?
    };
    Some(Timestamp::from_datetime(shifted))
}

/// How full a limit is, as far as anybody is told: nothing, four fifths, or all of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Below 80 %.
    #[default]
    Below,
    /// 80 % or more.
    Near,
    /// 100 % or more.
    Full,
}

impl Level {
    /// All of them, lowest first.
    pub const ALL: [Self; 3] = [Self::Below, Self::Near, Self::Full];

    /// How full `used` of `limit` is. A limit of 0 is full once something is used.
    #[must_use]
    pub fn of(used: u64, limit: Limit) -> Self {
        match limit {
            Limit::Unlimited => Self::Below,
            Limit::Of(_) if used == 0 => Self::Below,
            Limit::Of(limit) if used >= limit => Self::Full,
            Limit::Of(limit) => {
                let (used, limit) = (u128::from(used), u128::from(limit));
                if used * 5 >= limit * 4 { Self::Near } else { Self::Below }
            }
        }
    }

    /// In percent, as it is stored and told.
    #[must_use]
    pub fn percent(self) -> u8 {
        match self {
            Self::Below => 0,
            Self::Near => 80,
            Self::Full => 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_keeps_the_day_of_its_anchor_or_ends_with_a_shorter_month() {
        let anchor = at("2026-01-31T10:00:00Z");
        let cases = [
            ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z"),
            ("2026-02-28T09:59:59Z", "2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z"),
            ("2026-02-28T10:00:00Z", "2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z"),
            ("2028-02-29T10:00:00Z", "2028-02-29T10:00:00Z", "2028-03-31T10:00:00Z"),
            ("2026-01-30T00:00:00Z", "2025-12-31T10:00:00Z", "2026-01-31T10:00:00Z"),
            ("2126-06-30T10:00:00Z", "2126-06-30T10:00:00Z", "2126-07-31T10:00:00Z"),
        ];
        for (now, start, end) in cases {
            let period = Period::holding(Reset::Month, anchor, at(now));
            assert_eq!(period, Period { start: at(start), end: Some(at(end)) }, "{now}");
        }
    }

    #[test]
    fn periods_follow_each_other_without_a_gap() {
        let anchor = at("2024-02-29T23:59:59Z");
        for reset in [Reset::Hour, Reset::Day, Reset::Week, Reset::Month, Reset::Year] {
            let mut now = at("2024-01-01T00:00:00Z");
            for _ in 0..60 {
                let period = Period::holding(reset, anchor, now);
                let end = period.end.unwrap();
                assert!(period.start <= now && now < end, "{reset:?} {now} {period:?}");
                let last = Timestamp::from_micros(end.micros() - 1);
                assert_eq!(Period::holding(reset, anchor, last), period, "{reset:?} {now}");
                assert_eq!(Period::holding(reset, anchor, end).start, end, "{reset:?} {now}");
                now = end;
            }
        }
    }

    #[test]
    fn a_limit_is_near_at_four_fifths_and_full_at_all_of_it() {
        let cases = [
            (0, Limit::Of(0), Level::Below),
            (1, Limit::Of(0), Level::Full),
            (3, Limit::Of(5), Level::Below),
            (4, Limit::Of(5), Level::Near),
            (5, Limit::Of(5), Level::Full),
            (9, Limit::Of(5), Level::Full),
            (u64::MAX - 1, Limit::Of(u64::MAX), Level::Near),
            (u64::MAX, Limit::Unlimited, Level::Below),
        ];
        for (used, limit, level) in cases {
            assert_eq!(Level::of(used, limit), level, "{used} of {limit:?}");
        }
    }
}
