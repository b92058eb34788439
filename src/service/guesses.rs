//! How often somebody may be wrong: a bucket of attempts for each caller, and one for all together.
//!
//! Invariants: an attempt is taken before anything is looked up and given back unless it was wrong,
//! so that many at once are no way around; whether a code is right makes no difference to whether
//! it is looked at; a bounded number of callers is remembered.
//!
//! Where too many attempts fail in all, a caller has one instead of several. Nobody is shut out by
//! what others do: whoever has not been wrong lately is still heard, once.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{
    domain::time::{Span, Timestamp},
    error::{Error, Result},
};

/// How many callers are remembered; beyond, the one that was wrong the longest ago is forgotten.
const CALLERS: usize = 10_000;

/// A bucket holds `size` attempts, and one grows back with every `step`.
#[derive(Debug, Clone, Copy)]
struct Rate {
    size: i64,
    step_us: i64,
}

/// For one tenant.
const FEW: Rate = Rate { size: 10, step_us: 60_000_000 };

/// For a caller who acts for many tenants.
const MANY: Rate = Rate { size: 100, step_us: 6_000_000 };

/// For all callers together.
const ALL: Rate = Rate { size: 200, step_us: 1_000_000 };

/// Who guesses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// Anybody of this tenant: how many names they have is up to them.
    Tenant(String),
    /// A caller who acts for many tenants.
    Caller(String),
}

impl Guesser {
    fn rate(&self) -> Rate {
        match self {
            Self::Tenant(_) => FEW,
            Self::Caller(_) => MANY,
        }
    }
}

/// When all that was taken out has grown back.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at_us: i64,
}

impl Bucket {
    /// How long until there is an attempt to take; none where there is one.
    fn wait(self, rate: Rate, now: i64) -> Option<i64> {
        let taken = (self.full_at_us - now).max(0);
        let wait = taken + rate.step_us - rate.size * rate.step_us;
        Some(wait).filter(|wait| *wait > 0)
    }

    /// Never takes more than there is room for, so that it is never empty for longer than it takes
    /// to fill.
    fn take(&mut self, rate: Rate, now: i64) {
        let full_at = self.full_at_us.max(now) + rate.step_us;
        self.full_at_us = full_at.min(now + rate.size * rate.step_us);
    }

    fn give_back(&mut self, rate: Rate) {
        self.full_at_us -= rate.step_us;
    }
}

/// What is remembered about wrong attempts. Only in memory: a restart forgives.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Bucket,
    callers: HashMap<Guesser, Bucket>,
}

impl Guesses {
    /// Takes an attempt, or says when the next one will be there.
    pub fn take(&self, who: &Guesser, at: Timestamp) -> Result<()> {
        let now = at.micros();
        let mut state = self.0.lock();
        let rate = who.rate();
        let is_strained = state.all.wait(ALL, now).is_some();
        let allowed = if is_strained { Rate { size: 1, ..rate } } else { rate };
        let mut bucket = state.callers.get(who).copied().unwrap_or_default();
        if let Some(wait) = bucket.wait(allowed, now) {
            let second = Span::seconds(1).as_micros();
            let seconds = u64::try_from((wait + second - 1) / second).unwrap_or(1);
            return Err(Error::RateLimited { seconds });
        }
        bucket.take(rate, now);
        state.all.take(ALL, now);
        state.remember(who, bucket, now);
        Ok(())
    }

    /// Gives an attempt back that was not wrong.
    pub fn give_back(&self, who: &Guesser) {
        let mut state = self.0.lock();
        state.all.give_back(ALL);
        if let Some(bucket) = state.callers.get_mut(who) {
            bucket.give_back(who.rate());
        }
    }
}

impl State {
    fn remember(&mut self, who: &Guesser, bucket: Bucket, now: i64) {
        if self.callers.len() >= CALLERS && !self.callers.contains_key(who) {
            self.callers.retain(|_, bucket| bucket.full_at_us > now);
            if self.callers.len() >= CALLERS {
                let first = self.callers.iter().min_by_key(|(_, bucket)| bucket.full_at_us);
                let first = first.map(|(who, _)| who.clone());
                first.map(|who| self.callers.remove(&who));
            }
        }
        self.callers.insert(who.clone(), bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: impl ToString) -> Guesser {
        Guesser::Tenant(name.to_string())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// How many attempts are there to take, one after the other.
    fn taken(guesses: &Guesses, who: &Guesser, now: Timestamp) -> usize {
        (0..1_000).take_while(|_| guesses.take(who, now).is_ok()).count()
    }

    fn wait(guesses: &Guesses, who: &Guesser, now: Timestamp) -> u64 {
        match guesses.take(who, now) {
            Err(Error::RateLimited { seconds }) => seconds,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_caller_has_a_few_attempts_that_grow_back() {
        let (guesses, acme) = (Guesses::default(), tenant("acme"));
        assert_eq!(taken(&guesses, &acme, at(1_000)), 10);
        assert_eq!(wait(&guesses, &acme, at(1_000)), 60);
        assert_eq!(wait(&guesses, &acme, at(1_001)), 59);
        assert_eq!(taken(&guesses, &tenant("other"), at(1_001)), 10);
        assert_eq!(taken(&guesses, &acme, at(1_059)), 0);
        assert_eq!(taken(&guesses, &acme, at(1_060)), 1);
        assert_eq!(taken(&guesses, &acme, at(1_180)), 2);
        assert_eq!(taken(&guesses, &acme, at(9_999)), 10, "and no more than that");
    }

    #[test]
    fn what_was_right_costs_nothing() {
        let (guesses, acme) = (Guesses::default(), tenant("acme"));
        for _ in 0..1_000 {
            guesses.take(&acme, at(1)).unwrap();
            guesses.give_back(&acme);
        }
        assert_eq!(taken(&guesses, &acme, at(1)), 10);
    }

    #[test]
    fn nobody_is_shut_out_by_what_others_do() {
        let guesses = Guesses::default();
        for other in 0..1_000 {
            taken(&guesses, &tenant(other), at(1));
        }
        let honest = tenant("honest");
        assert_eq!(taken(&guesses, &honest, at(1)), 1, "one attempt instead of ten");
        assert!(wait(&guesses, &honest, at(1)) <= 60);
        // However much was taken, all of it has grown back after the time of a full bucket.
        assert_eq!(taken(&guesses, &tenant("later"), at(202)), 10);
    }

    #[test]
    fn a_bounded_number_of_callers_is_remembered() {
        let guesses = Guesses::default();
        let first = tenant("first");
        assert_eq!(taken(&guesses, &first, at(1)), 10);
        for other in 0..CALLERS + 500 {
            guesses.take(&tenant(other), at(1)).unwrap();
        }
        assert_eq!(guesses.0.lock().callers.len(), CALLERS);
        assert_eq!(taken(&guesses, &first, at(1)), 0, "the worst is remembered the longest");
        // What has grown back makes room.
        guesses.take(&tenant("new"), at(100_000)).unwrap();
        assert_eq!(guesses.0.lock().callers.len(), 1);
    }
}
