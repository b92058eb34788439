//! The one place that counts: periods, peaks, what went past a limit, and how full it is told to be.
//!
//! Invariants: a count is never below 0; a period that is over is kept before the next one is
//! counted; each level is told once on the way up, and its end once on the way down.

use serde_json::json;

use super::super::questions::MAX_AMOUNT;
use crate::{
    domain::{
        audit::Event,
        catalog::{Limit, LimitPer, UsageKind},
        keys::{FeatureKey, TenantKey, UserKey},
        time::Timestamp,
        usage::{CountedFor, Level},
    },
    engine::Capacity,
    error::{Error, Result},
    store::{self, WriteTx, usage::Counted},
};

/// How many periods in which nothing happened are kept at once.
const MOST_IDLE: usize = 36;

/// What becomes of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It stays, and is only held against its limit.
    Stay,
    /// It goes up or down.
    Add(i64),
    /// It becomes this.
    Set(u64),
    /// It goes up by what was asked for.
    Take(u64),
}

/// A change of a count, and what it tells.
pub(super) struct Tally {
    pub before: Counted,
    pub after: Counted,
    pub events: Vec<Event>,
}

/// Whose count a feature has: each user's, or the tenant's as a whole. A user without a tenant counts
/// alone. None where a user is needed and not named.
pub(super) fn counted_for(
    capacity: &Capacity<'_>,
    tenant: Option<&TenantKey>,
    user: Option<&UserKey>,
) -> Option<CountedFor> {
    let is_per_user = capacity.spec.per == LimitPer::User || tenant.is_none();
    let user = user.filter(|_| is_per_user);
    (user.is_some() || !is_per_user)
        .then(|| CountedFor { tenant: tenant.cloned(), user: user.cloned() })
}

/// Changes what is counted for somebody, in the period of now.
pub(super) fn count(
    tx: &WriteTx<'_>,
    whose: &CountedFor,
    feature: &FeatureKey,
    capacity: &Capacity<'_>,
    change: Change,
) -> Result<Tally> {
    let now = tx.now();
    let found = store::usage::find(tx.read(), whose, feature)?;
    let is_new = found.is_none();
    let stored = found.unwrap_or_else(|| blank(whose, feature, capacity, now));
    let (past, before) = unfolded(stored.clone(), capacity, now);
    for period in past.iter().filter(|period| period.peak > 0) {
        let end = period.period_end.unwrap_or(before.period_start);
        store::usage::archive(tx, period, end)?;
    }
    let mut events = Vec::new();
    if before.level < stored.level {
        events.push(recovered(&stored, &before, capacity.limit));
    }
    let used = changed(before.used, change)?;
    let beyond = |used: u64| match capacity.limit {
        Limit::Of(limit) => used.saturating_sub(limit),
        Limit::Unlimited => 0,
    };
    let newly_over = match change {
        Change::Stay => 0,
        Change::Add(_) | Change::Set(_) | Change::Take(_) => {
            beyond(used).saturating_sub(beyond(before.used))
        }
    };
    let after = Counted {
        used,
        peak: before.peak.max(used),
        over: before.over.saturating_add(newly_over),
        level: Level::of(used, capacity.limit),
        updated_at: now,
        ..before.clone()
    };
    events.extend(told(&before, &after, capacity.limit));
    if is_new || (Counted { updated_at: stored.updated_at, ..after.clone() }) != stored {
        store::usage::put(tx, &after)?;
    }
    Ok(Tally { before, after, events })
}

fn blank(
    whose: &CountedFor,
    feature: &FeatureKey,
    capacity: &Capacity<'_>,
    now: Timestamp,
) -> Counted {
    let period = capacity.period(now);
    Counted {
        subject: whose.clone(),
        feature: feature.clone(),
        period_start: period.start,
        period_end: period.end,
        used: 0,
        peak: 0,
        over: 0,
        level: Level::Below,
        updated_at: now,
    }
}

/// What a stored count has become: the periods that are over, oldest first, and the present one, in
/// which a counter starts again and a gauge goes on.
pub(super) fn unfolded(
    stored: Counted,
    capacity: &Capacity<'_>,
    now: Timestamp,
) -> (Vec<Counted>, Counted) {
    let present = capacity.period(now);
    if stored.period_start >= present.start {
        return (Vec::new(), Counted { period_end: present.end, ..stored });
    }
    let ended = stored.period_end.map_or(present.start, |end| end.min(present.start));
    let mut past = vec![Counted { period_end: Some(ended), ..stored.clone() }];
    let (period_start, period_end) = (present.start, present.end);
    let begun = Counted { period_start, period_end, over: 0, ..stored };
    match capacity.spec.usage {
        UsageKind::Counter(_) => (past, Counted { used: 0, peak: 0, level: Level::Below, ..begun }),
        UsageKind::Gauge => {
            let begun = Counted { peak: begun.used, ..begun };
            let mut from = ended;
            while from < present.start && past.len() < MOST_IDLE {
                let end = capacity.period(from).end.map_or(present.start, |e| e.min(present.start));
                past.push(Counted { period_start: from, period_end: Some(end), ..begun.clone() });
                from = end;
            }
            (past, begun)
        }
    }
}

fn changed(used: u64, change: Change) -> Result<u64> {
    let (field, sum) = match change {
        Change::Stay => return Ok(used),
        Change::Set(value) => return Ok(value),
        Change::Add(delta) => ("delta", i128::from(used) + i128::from(delta)),
        Change::Take(amount) => ("requested", i128::from(used) + i128::from(amount)),
    };
    if sum < 0 {
        let message = format!("would leave less than 0: {used} used now; take back at most {used}");
        return Err(Error::invalid(field, message));
    }
    match u64::try_from(sum) {
        Ok(sum) if sum <= MAX_AMOUNT => Ok(sum),
        Ok(_) | Err(_) => {
            let message = format!("would count more than {MAX_AMOUNT}: {used} used now");
            Err(Error::invalid(field, message))
        }
    }
}

/// What is told of a change: each level that was reached, or that it fell.
fn told(before: &Counted, after: &Counted, limit: Limit) -> Vec<Event> {
    if after.level < before.level {
        return vec![recovered(before, after, limit)];
    }
    let passed = Level::ALL.into_iter().filter(|l| (before.level..=after.level).contains(l));
    let passed = passed.filter(|level| *level > before.level);
    passed
        .map(|level| event("usage.threshold_reached", after, serde_json::Value::Null, level, limit))
        .collect()
}

fn recovered(before: &Counted, after: &Counted, limit: Limit) -> Event {
    let from = json!({"used": before.used, "percent": before.level.percent()});
    event("usage.recovered", after, from, after.level, limit)
}

fn event(
    name: &'static str,
    counted: &Counted,
    before: serde_json::Value,
    level: Level,
    limit: Limit,
) -> Event {
    let limit = match limit {
        Limit::Of(limit) => Some(limit),
        Limit::Unlimited => None,
    };
    Event {
        name,
        tenant: counted.subject.tenant.clone(),
        subject: counted.feature.to_string(),
        before,
        after: json!({
            "feature": counted.feature,
            "user": counted.subject.user,
            "used": counted.used,
            "limit": limit,
            "percent": level.percent(),
        }),
        reason: None,
    }
}
