//! Evidence: what checks were answered, counted by hour, so that an operator sees what enforcement
//! refuses or would refuse (SPEC 9).

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::domain::{
    checks::{Decision, Reason},
    keys::{BadKey, ModuleKey, TenantKey},
    time::{Span, Timestamp},
};

const HOUR_US: i64 = 3_600_000_000;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// Allowed.
    Allowed,
    /// Refused.
    Refused,
    /// Allowed only because the rollout doesn't enforce.
    WouldBeRefused,
}

impl CheckOutcome {
    /// What became of it, and why: for what would be refused, the reason that it would have.
    #[must_use]
    pub fn of(decision: &Decision) -> (Self, Reason) {
        match (decision.allowed, decision.would_allow) {
            (false, _) => (Self::Refused, decision.reason),
            (true, true) => (Self::Allowed, decision.reason),
            (true, false) => (Self::WouldBeRefused, decision.would_reason),
        }
    }
}

/// Who was asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// A user without a tenant.
    Nobody,
    /// What found no room under a tenant of its own.
    Others,
    /// A tenant, or a user in it.
    Tenant(TenantKey),
}

impl Whose {
    /// As it is kept. No tenant's key reads like one of the other two.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Nobody => "",
            Self::Others => "*",
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EvidenceKey {
    /// Who was asked about.
    pub whose: Whose,
    /// The start of the hour.
    pub hour: Timestamp,
    /// The module of the requirement that decided.
    pub module: Option<ModuleKey>,
    /// Why.
    pub reason: Reason,
    /// What became of it.
    pub outcome: CheckOutcome,
}

/// The start of the hour that an instant lies in.
#[must_use]
pub fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros() - at.micros() % HOUR_US)
}

/// How many checks there were, and how many of them were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckCounts {
    /// All of them.
    pub checks: u64,
    /// Refused.
    pub refusals: u64,
    /// Allowed only because the rollout doesn't enforce.
    pub would_be_refusals: u64,
}

impl CheckCounts {
    /// Adds so many that ended alike.
    pub fn add(&mut self, outcome: CheckOutcome, checks: u64) {
        self.checks += checks;
        match outcome {
            CheckOutcome::Allowed => {}
            CheckOutcome::Refused => self.refusals += checks,
            CheckOutcome::WouldBeRefused => self.would_be_refusals += checks,
        }
    }
}

/// Evidence added up in every way that a report shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Everything.
    pub total: CheckCounts,
    /// By reason; for what would be refused, by the reason that it would have.
    pub by_reason: BTreeMap<Reason, CheckCounts>,
    /// By the module of the requirement that decided.
    pub by_module: BTreeMap<ModuleKey, CheckCounts>,
    /// What was about no module.
    pub without_module: CheckCounts,
    /// By tenant.
    pub by_tenant: BTreeMap<TenantKey, CheckCounts>,
    /// Users without a tenant.
    pub without_tenant: CheckCounts,
    /// What found no room under a tenant of its own.
    pub beyond_limit: CheckCounts,
}

impl Summary {
    /// Adds so many checks that are counted together. Keys are taken as they are kept: whose, and
    /// the module, which is empty for none. There may be millions of them for a few thousand keys.
    pub fn add(
        &mut self,
        whose: &str,
        module: &str,
        (reason, outcome): (Reason, CheckOutcome),
        checks: u64,
    ) -> Result<(), BadKey> {
        let of_module = match module {
            "" => &mut self.without_module,
            key => match self.by_module.get_mut(key) {
                Some(counts) => counts,
                None => self.by_module.entry(key.parse()?).or_default(),
            },
        };
        let of_tenant = match whose {
            "" => &mut self.without_tenant,
            "*" => &mut self.beyond_limit,
            key => match self.by_tenant.get_mut(key) {
                Some(counts) => counts,
                None => self.by_tenant.entry(key.parse()?).or_default(),
            },
        };
        let of_reason = self.by_reason.entry(reason).or_default();
        for counts in [&mut self.total, of_module, of_tenant, of_reason] {
            counts.add(outcome, checks);
        }
        Ok(())
    }
}

/// How far back a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window(Span);

/// Why a text is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be from one hour to 90 days: such as 24h, 7d, or a number of seconds")]
pub struct BadWindow;

impl Default for Window {
    /// A day.
    fn default() -> Self {
        Self(Span::days(1))
    }
}

impl Window {
    /// The start of the first hour that lies in it: hours are never cut.
    #[must_use]
    pub fn start(self, now: Timestamp) -> Timestamp {
        hour_of(now - self.0)
    }

    /// How long it is.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.as_micros() / 1_000_000
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seconds().fmt(f)
    }
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        let (number, unit) = match text.strip_suffix('h') {
            Some(hours) => (hours, 3_600),
            None => text.strip_suffix('d').map_or((text, 1), |days| (days, 86_400)),
        };
        // Without the sign that a number may have elsewhere.
        let number = number.bytes().all(|b| b.is_ascii_digit()).then_some(number);
        let number: Option<u32> = number.and_then(|number| number.parse().ok());
        let seconds = number.and_then(|number| number.checked_mul(unit));
        let seconds = seconds.filter(|seconds| (3_600..=90 * 86_400).contains(seconds));
        seconds.map(|seconds| Self(Span::seconds(seconds))).ok_or(BadWindow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_hours_days_or_seconds_within_its_bounds() {
        let seconds = |text: &str| text.parse::<Window>().map(Window::seconds);
        for (text, expected) in
            [("24h", 86_400), ("7d", 604_800), ("3600", 3_600), ("1h", 3_600), ("90d", 7_776_000)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "h", "d", "+1h", "-1d", "1.5h", "1w", "3599", "91d", "2161h", "99999999999"]
        {
            assert_eq!(seconds(bad), Err(BadWindow), "{bad}");
        }
    }

    #[test]
    fn a_window_begins_with_a_whole_hour() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let day = Window::default();
        let start = day.start(at("2026-03-02T12:59:59.999999Z"));
        assert_eq!(start, at("2026-03-01T12:00:00Z"));
        assert_eq!(day.start(at("2026-03-02T13:00:00Z")), at("2026-03-01T13:00:00Z"));
    }
}
