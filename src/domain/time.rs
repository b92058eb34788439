//! Instants and durations, in microseconds, as arguments: nothing here reads a clock.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds in a day.
pub const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

/// Microseconds in an hour.
pub const HOUR_US: i64 = DAY_US / 24;

/// An instant in UTC with microsecond precision, between the years 1970 and 9999.
///
/// Read from RFC 3339 with an offset, written as RFC 3339 with `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last instant that can be written.
    pub const MAX: Self = Self(253_402_300_799_999_999);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since 1970, held within the range that can be written.
    #[must_use]
    pub fn from_micros(us: i64) -> Self {
        Self(us.clamp(0, Self::MAX.0))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// For arithmetic with the calendar.
    #[must_use]
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// Held within the range that can be written.
    #[must_use]
    pub fn from_datetime(at: DateTime<Utc>) -> Self {
        Self::from_micros(at.timestamp_micros())
    }

    /// This instant moved by `days` whole days of 24 hours.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        self + Span::days(days)
    }
}

/// A length of time in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    /// Whole days of 24 hours.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self(i64::from(days) * DAY_US)
    }

    /// Whole hours.
    #[must_use]
    pub fn hours(hours: u32) -> Self {
        Self(i64::from(hours) * DAY_US / 24)
    }

    /// How many whole days it has.
    #[must_use]
    pub fn as_days(self) -> i64 {
        self.0 / DAY_US
    }

    /// Its length in microseconds.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// From one instant to a later one; nothing where it is earlier.
    #[must_use]
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self(to.0.saturating_sub(from.0).max(0))
    }

    /// Whole seconds.
    #[must_use]
    pub fn seconds(seconds: u32) -> Self {
        Self(i64::from(seconds) * 1_000_000)
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self::from_micros(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    /// Never earlier than 1970.
    fn sub(self, span: Span) -> Self {
        Self::from_micros(self.0.saturating_sub(span.0).max(0))
    }
}

impl FromStr for Timestamp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HINT: &str =
            "must be an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z";
        // chrono also takes a space or a lower-case `t` where RFC 3339 profiles want `T`.
        if text.as_bytes().get(10) != Some(&b'T') {
            return Err(HINT);
        }
        let us = DateTime::parse_from_rfc3339(text).map_err(|_| HINT)?.timestamp_micros();
        if !(0..=Self::MAX.0).contains(&us) {
            return Err("must lie between the years 1970 and 9999");
        }
        Ok(Self(us))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 date-time")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_needs_an_offset() {
        for bad in [
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:00 +01:00",
            "2026-01-31",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad:?} was accepted");
        }
        let noon: Timestamp = "2026-01-31T13:00:00.5+01:00".parse().unwrap();
        assert_eq!(noon.to_string(), "2026-01-31T12:00:00.500Z");
    }

    proptest::proptest! {
        #[test]
        fn instants_round_trip(us in 0i64..253_402_300_799_999_999) {
            let at = Timestamp::from_micros(us);
            proptest::prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }
}
