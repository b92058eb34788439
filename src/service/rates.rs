//! How much a caller may send: so many requests a second, and so many at once.
//!
//! Each caller has a bucket (the generic cell rate algorithm), of which one number is kept: when all
//! that was taken has grown back. So a caller who sends nothing costs nothing, and a full bucket is
//! the same as none.
//!
//! Invariants: time only counts where it passes, so that a clock that is set back shuts nobody out; a
//! bounded number of callers is remembered, and those beyond it share one bucket.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use parking_lot::Mutex;

use crate::domain::callers::{Principal, Rate};

const SHARDS: usize = 16;
/// How many callers each shard remembers.
const CALLERS: usize = 4096;
/// The bucket of all who find no room.
const OTHERS: u64 = 0;
const SECOND_NS: i64 = 1_000_000_000;

/// The most requests a second, and at once, that can be set.
pub const MOST: u32 = 1_000_000;

/// How much a caller may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    per_second: u32,
    burst: u32,
}

impl Quota {
    /// As a key has it.
    #[must_use]
    pub fn of(Rate { per_second, burst }: Rate) -> Self {
        Self::new(per_second, burst)
    }

    /// So many requests a second, and at most `burst` at once. At least one of each.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: per_second.clamp(1, MOST), burst: burst.clamp(1, MOST) }
    }

    /// How many at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// In how many seconds an empty bucket is full again.
    #[must_use]
    pub fn window_s(self) -> u64 {
        u64::from(self.burst.div_ceil(self.per_second))
    }

    /// The time that one request takes to grow back.
    fn step_ns(self) -> i64 {
        SECOND_NS / i64::from(self.per_second)
    }

    fn size_ns(self) -> i64 {
        self.step_ns() * i64::from(self.burst)
    }
}

/// How it stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What the caller may send.
    pub quota: Quota,
    /// How many requests it may send now.
    pub remaining: u64,
    /// In how many seconds it may send all that it may send at once.
    pub full_in_s: u64,
    /// In how many seconds it may send the next one; none where this one may pass.
    pub wait_s: Option<u64>,
}

/// What callers have sent lately.
#[derive(Debug)]
pub struct Rates {
    usual: Option<Quota>,
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, i64>>; SHARDS],
}

impl Rates {
    /// With a quota for who has none of its own; none where there is no limit.
    #[must_use]
    pub fn new(usual: Option<Quota>) -> Self {
        Self { usual, hasher: RandomState::new(), shards: Default::default() }
    }

    /// What callers without a quota of their own may send.
    #[must_use]
    pub fn usual(&self) -> Option<Quota> {
        self.usual
    }

    /// Takes one request of this caller, at the time that has `passed` since the start.
    pub fn take(&self, caller: &Principal, quota: Quota, passed: Duration) -> Standing {
        let now = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX / 2);
        // Two callers of one hash would share a bucket, which nobody can bring about: the hasher has
        // a secret.
        let hash = self.hasher.hash_one((&caller.tenant, &caller.id)).max(OTHERS + 1);
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        match self.shards.get(at) {
            Some(shard) => take(&mut shard.lock(), hash, quota, now),
            None => quota.standing(0, None),
        }
    }
}

fn take(buckets: &mut HashMap<u64, i64>, hash: u64, quota: Quota, now: i64) -> Standing {
    if buckets.len() >= CALLERS && !buckets.contains_key(&hash) {
        buckets.retain(|_, full_at| *full_at > now);
    }
    let is_known = buckets.len() < CALLERS || buckets.contains_key(&hash);
    let full_at = buckets.entry(if is_known { hash } else { OTHERS }).or_default();
    let before = (*full_at).max(now);
    let after = before + quota.step_ns();
    let beyond = after - now - quota.size_ns();
    if beyond > 0 {
        return quota.standing(before - now, Some(beyond));
    }
    *full_at = after;
    quota.standing(after - now, None)
}

impl Quota {
    fn standing(self, taken_ns: i64, wait_ns: Option<i64>) -> Standing {
        let left = (self.size_ns() - taken_ns).max(0) / self.step_ns();
        Standing {
            quota: self,
            remaining: u64::try_from(left).unwrap_or_default(),
            full_in_s: seconds(taken_ns),
            wait_s: wait_ns.map(|ns| seconds(ns).max(1)),
        }
    }
}

/// Rounded up: whoever waits so long doesn't come too early.
fn seconds(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or_default().div_ceil(SECOND_NS.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{callers::OperatorRole, checks::Mode};

    fn caller(id: &str, tenant: Option<&str>) -> Principal {
        Principal {
            id: id.into(),
            role: OperatorRole::Service,
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            mode: Mode::Tenant,
            impersonator: None,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_taken_at_once_and_grows_back() {
        let (rates, quota, ada) = (Rates::new(None), Quota::new(10, 3), caller("ada", None));
        let left: Vec<_> = (0..3).map(|_| rates.take(&ada, quota, ms(0)).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = rates.take(&ada, quota, ms(0));
        assert_eq!((refused.wait_s, refused.remaining, refused.full_in_s), (Some(1), 0, 1));
        assert!(rates.take(&ada, quota, ms(99)).wait_s.is_some());
        assert!(rates.take(&ada, quota, ms(100)).wait_s.is_none(), "what is refused takes nothing");
        assert!(rates.take(&ada, quota, ms(100)).wait_s.is_some());
        assert_eq!(rates.take(&ada, quota, ms(9_000)).remaining, 2, "and not beyond the burst");
    }

    #[test]
    fn nobody_pays_for_somebody_else() {
        let (rates, quota) = (Rates::new(None), Quota::new(1, 1));
        for who in [caller("a", None), caller("b", None), caller("a", Some("acme"))] {
            assert!(rates.take(&who, quota, ms(0)).wait_s.is_none());
            assert!(rates.take(&who, quota, ms(0)).wait_s.is_some());
        }
    }

    #[test]
    fn the_memory_is_bounded_and_who_is_beyond_it_shares_a_bucket() {
        let (quota, mut buckets) = (Quota::new(1, 2), HashMap::new());
        for hash in 1..=10_000 {
            let _ = take(&mut buckets, hash, quota, 0);
        }
        assert_eq!(buckets.len(), CALLERS + 1);
        assert!(take(&mut buckets, 20_000, quota, 0).wait_s.is_some());
        assert!(take(&mut buckets, 1, quota, 0).wait_s.is_none(), "who is known keeps its own");
        let later = 2 * SECOND_NS;
        assert!(take(&mut buckets, 20_000, quota, later).wait_s.is_none());
        assert_eq!(buckets.len(), 1, "a full bucket is as good as none");
    }

    #[test]
    fn a_quota_says_in_which_time_it_grows_back() {
        assert_eq!(Quota::new(10, 25).window_s(), 3);
        assert_eq!(Quota::new(1_000, 1).window_s(), 1);
        assert_eq!(Quota::new(0, 0), Quota::new(1, 1));
        let most = Quota::new(u32::MAX, u32::MAX);
        let one = Rates::new(None).take(&caller("ada", None), most, ms(0));
        assert_eq!(one.remaining, u64::from(MOST) - 1);
    }
}
