//! When counters start again, with arithmetic of its own: months are counted one by one from 1970.

use std::sync::LazyLock;

use entitled::domain::{catalog::Reset, time::Timestamp};

pub const HOUR: i64 = 3_600_000_000;
pub const DAY: i64 = 24 * HOUR;

/// What a counter accumulates over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub start: Timestamp,
    pub end: Option<Timestamp>,
}

/// The period around `at`, which is not before `anchor`. Without a reset there is only one, and
/// everything was counted in it.
pub fn period(reset: Reset, anchor: Timestamp, at: Timestamp) -> Period {
    assert!(anchor <= at, "nothing is anchored to the future: {anchor} at {at}");
    match reset {
        Reset::Hour => of_length(HOUR, anchor, at),
        Reset::Day => of_length(DAY, anchor, at),
        Reset::Week => of_length(7 * DAY, anchor, at),
        Reset::Month => of_months(1, anchor, at),
        Reset::Year => of_months(12, anchor, at),
        Reset::Never => Period { start: Timestamp::EPOCH, end: None },
    }
}

/// The same, reset with the first of a month or year whatever the anchor.
pub fn by_the_calendar(reset: Reset, at: Timestamp) -> Period {
    period(reset, Timestamp::EPOCH, at)
}

fn of_length(length: i64, anchor: Timestamp, at: Timestamp) -> Period {
    let since = (at.micros() - anchor.micros()) % length;
    let start = at.micros() - since;
    let end = Some(Timestamp::from_micros(start + length));
    Period { start: Timestamp::from_micros(start), end }
}

fn of_months(months: i64, anchor: Timestamp, at: Timestamp) -> Period {
    let between = month_of(at.micros() / DAY).0 - month_of(anchor.micros() / DAY).0;
    let mut begun = between / months * months;
    if later(anchor, begun) > at {
        begun -= months;
    }
    Period { start: later(anchor, begun), end: Some(later(anchor, begun + months)) }
}

/// The same day and time so many months later, or the last day of a shorter month.
fn later(anchor: Timestamp, months: i64) -> Timestamp {
    let (month, day) = month_of(anchor.micros() / DAY);
    let then = month + months;
    let day = day.min(length(then) - 1);
    Timestamp::from_micros((first_of(then) + day) * DAY + anchor.micros() % DAY)
}

/// The month that holds a day, and which day of it, both counted from 0; all since 1970.
fn month_of(day: i64) -> (i64, i64) {
    let month = FIRSTS.partition_point(|first| *first <= day) - 1;
    (i64::try_from(month).unwrap(), day - FIRSTS[month])
}

fn first_of(month: i64) -> i64 {
    FIRSTS[usize::try_from(month).unwrap()]
}

/// The first day of each month, up to 2070.
static FIRSTS: LazyLock<Vec<i64>> = LazyLock::new(|| {
    let mut firsts = vec![0];
    for month in 0..1_200 {
        firsts.push(firsts.last().unwrap() + length(month));
    }
    firsts
});

fn length(month: i64) -> i64 {
    let year = 1970 + month / 12;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month % 12 {
        1 if leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}
