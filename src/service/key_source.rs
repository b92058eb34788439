//! Where the key set of an identity provider is fetched from, how often, and who waits for it.
//!
//! Invariants: at most one fetch at a time; those that tokens of unknown keys ask for come at most
//! once in a cooldown, however many tokens there are; a request waits for a fetch only so long, and
//! only so many wait at once.
//!
//! Refuses to know: how something is fetched, which is `worker::key_sets`, and what keys are, which
//! is `tokens`.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, timeout},
};

use crate::error::{Error, Result};

/// The longest time that a request waits for a fetch.
pub const WAIT: Duration = Duration::from_secs(2);
/// How many requests may wait at once; the next ones are told to come back.
const WAITING: usize = 256;
/// The first pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const NO_KEYS: Error = Error::Unavailable(
    "The keys that tokens are verified with can't be fetched at the moment; try again shortly.",
);

/// Whether keys may come over plain HTTP from another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only from this machine.
    Loopback,
    /// From anywhere.
    Allowed,
}

/// An address that keys may be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUrl(Url);

impl KeyUrl {
    /// Reads an address; says what is wrong with one that can't be used.
    pub fn parse(text: &str, plain_http: PlainHttp) -> Result<Self, &'static str> {
        let url: Url = text.parse().map_err(|_| "must be an address such as https://…")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a name or a password");
        }
        let is_local = match url.host_str() {
            Some("localhost") => true,
            Some(host) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            None => return Err("must name a host"),
        };
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_local || plain_http == PlainHttp::Allowed => Ok(Self(url)),
            "http" => Err("must begin with https:// (jwt.allow_http would let it be)"),
            _ => Err("must begin with https://"),
        }
    }

    /// For the one who fetches.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The key set itself.
    Set(KeyUrl),
    /// The discovery document of this issuer, which names the key set.
    Discovery {
        /// Where the document is.
        document: KeyUrl,
        /// What the document must call itself, to the letter.
        issuer: String,
    },
}

impl Place {
    /// The key set that an issuer's discovery document names (OpenID Connect Discovery 1.0, 4).
    pub fn of_issuer(issuer: &str, plain_http: PlainHttp) -> Result<Self, &'static str> {
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        if base.contains(['?', '#']) {
            return Err("must have no query and no fragment");
        }
        let document = KeyUrl::parse(&format!("{base}{DISCOVERY}"), plain_http)?;
        Ok(Self::Discovery { document, issuer: issuer.to_owned() })
    }
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// From where and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetching {
    /// What is fetched.
    pub place: Place,
    /// Whether what the discovery document names may be plain HTTP.
    pub plain_http: PlainHttp,
    /// The time between two fetches that nobody asked for.
    pub refresh: Duration,
    /// The shortest time between two fetches that unknown keys ask for.
    pub cooldown: Duration,
    /// The longest time that one answer may take.
    pub deadline: Duration,
}

/// Why no key set came. Anyone may read it, so it names no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// No connection.
    #[error("the provider can't be reached")]
    Unreachable,
    /// Nothing, or not all, in time.
    #[error("the provider didn't answer in time")]
    Late,
    /// Another status than 200.
    #[error("the provider answered {0}")]
    Status(u16),
    /// More than is read.
    #[error("the answer is too large")]
    TooLarge,
    /// The connection broke, or what came is no HTTP.
    #[error("the answer broke off")]
    Broken,
    /// No JSON, or without a `jwks_uri`.
    #[error("the answer isn't a discovery document")]
    NotDiscovery,
    /// It is the document of somebody else.
    #[error("the discovery document names another issuer")]
    WrongIssuer,
    /// It names a place that may not be used.
    #[error("the discovery document names a key set that may not be fetched from there")]
    WrongPlace,
    /// What came is no set of keys.
    #[error("the answer isn't a key set")]
    NotKeys,
}

/// What is known about the fetches so far.
#[derive(Debug, Clone, Default)]
struct State {
    /// How many have ended.
    rounds: u64,
    is_fetching: bool,
    /// Whether one ever ended well.
    has_keys: bool,
    /// When an unknown key last asked for one.
    asked_at: Option<Instant>,
    /// Of those since the last one that ended well.
    fault: Option<FetchFault>,
    failures: u32,
}

/// Where keys come from.
#[derive(Debug)]
pub struct KeySource {
    /// From where and how often.
    pub fetching: Fetching,
    state: watch::Sender<State>,
    wanted: Notify,
    waiting: Semaphore,
}

impl KeySource {
    /// Nothing is fetched before somebody runs `worker::key_sets`.
    #[must_use]
    pub fn new(fetching: Fetching) -> Self {
        Self {
            fetching,
            // Somebody will fetch at once; the first requests wait for that.
            state: watch::Sender::new(State { is_fetching: true, ..State::default() }),
            wanted: Notify::new(),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// Waits for newer keys where it is time for some, for at most `wait`. An error means that
    /// nobody can say whether the token is good.
    pub async fn newer(&self, now: Instant, wait: Duration) -> Result<()> {
        let Ok(_place) = self.waiting.try_acquire() else { return Err(NO_KEYS) };
        let mut states = self.state.subscribe();
        if let Some(seen) = self.ask(now) {
            // Where time runs out, the state says so.
            let _ = timeout(wait, states.wait_for(|state| state.rounds > seen)).await;
        }
        let state = self.state.borrow();
        let is_current = state.has_keys && state.fault.is_none() && !state.is_fetching;
        if is_current { Ok(()) } else { Err(NO_KEYS) }
    }

    /// Asks for a fetch, if it is time for one. How many had ended before the one to wait for.
    fn ask(&self, now: Instant) -> Option<u64> {
        let mut to_wait_for = None;
        let begins = self.state.send_if_modified(|state| {
            let may = |at: Instant| now.saturating_duration_since(at) >= self.fetching.cooldown;
            let begins = !state.is_fetching && state.asked_at.is_none_or(may);
            if begins {
                state.is_fetching = true;
                state.asked_at = Some(now);
            }
            to_wait_for = state.is_fetching.then_some(state.rounds);
            begins
        });
        if begins {
            self.wanted.notify_one();
        }
        to_wait_for
    }

    /// Until somebody asks for a fetch.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A fetch begins.
    pub fn begin(&self) {
        self.state.send_modify(|state| state.is_fetching = true);
    }

    /// A fetch has ended, so; the pause until the next.
    pub fn end(&self, outcome: Result<(), FetchFault>) -> Duration {
        let mut pause = self.fetching.refresh;
        self.state.send_modify(|state| {
            state.rounds += 1;
            state.is_fetching = false;
            state.fault = outcome.err();
            match state.fault {
                None => {
                    state.has_keys = true;
                    state.failures = 0;
                }
                Some(_) => {
                    let doubled = FIRST_PAUSE.saturating_mul(1 << state.failures.min(16));
                    pause = doubled.min(LONGEST_PAUSE).min(self.fetching.refresh);
                    state.failures = state.failures.saturating_add(1);
                }
            }
        });
        pause
    }

    /// How it stands, for anyone.
    #[must_use]
    pub fn health(&self) -> String {
        let state = self.state.borrow();
        let failures = state.failures;
        match (state.has_keys, state.fault) {
            (true, None) => "ok".into(),
            (false, None) => "no key set yet".into(),
            (true, Some(fault)) => {
                format!("{fault}, {failures} times in a row; the last key set is used")
            }
            (false, Some(fault)) => {
                format!("no key set yet: {fault}, {failures} times in a row; tokens wait")
            }
        }
    }
}

#[cfg(test)]
#[path = "key_source_tests.rs"]
mod tests;
