//! One subscriber's stream: what it missed, read from the outbox, then what is committed.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    audience::{Audience, Right},
    hub::{Hub, News, Place, Seat},
};
use crate::{
    clock::Clock,
    domain::time::Timestamp,
    error::Result,
    service::keyring::Keyring,
    store::{
        self, Store,
        outbox::{Places, Range},
    },
};

/// How many rows of the outbox are read at once.
const PAGE: usize = 500;

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub enum Signal {
    /// It listens, from after this place.
    Hello(u64),
    /// Its place is not kept any more, or never was: it must read everything anew, and listens from
    /// after this place.
    Resync(u64),
    /// Something has changed.
    Change(Arc<News>),
    /// Nothing has changed for a while.
    KeepAlive,
    /// It read too slowly; it can resume from after this place.
    Dropped(u64),
    /// There is nothing more to come.
    End(EndReason),
}

/// Why the service ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The service stops.
    Shutdown,
    /// The right of the caller has ended.
    Credential,
}

/// What a stream works with.
pub(super) struct Parts {
    pub hub: Arc<Hub>,
    pub store: Store,
    pub clock: Clock,
    pub keyring: Arc<Keyring>,
    pub keep_alive: Duration,
}

/// One subscriber's stream.
pub struct Subscription {
    parts: Parts,
    _place: Place,
    audience: Audience,
    right: Right,
    keys: watch::Receiver<()>,
    token_keys: Option<watch::Receiver<()>>,
    closing: CancellationToken,
    /// Everything up to here was told, or is not for this subscriber.
    place: u64,
    phase: Phase,
}

enum Phase {
    /// Nothing was told yet.
    Fresh {
        after: Option<u64>,
    },
    /// Reads what it missed; it listens already once it has nearly caught up, to what comes after
    /// that place.
    CatchingUp(Option<(Seat, u64)>),
    /// Is told what is committed.
    Live(Seat),
    Over,
}

impl Subscription {
    pub(super) fn new(
        parts: Parts,
        place: Place,
        audience: Audience,
        right: Right,
        after: Option<u64>,
    ) -> Self {
        let (keys, closing) = (parts.hub.watch_keys(), parts.hub.closing());
        let token_keys = right.watch();
        let phase = Phase::Fresh { after };
        Self { parts, _place: place, audience, right, keys, token_keys, closing, place: 0, phase }
    }

    /// What is to be told next, at least one thing; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Signal>>> {
        loop {
            if matches!(self.phase, Phase::Over) {
                return Ok(None);
            }
            if let Some(reason) = self.is_over() {
                return Ok(Some(self.end(Signal::End(reason))));
            }
            let signals = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Fresh { after } => self.begin(after).await?,
                Phase::CatchingUp(seat) => self.catch_up(seat).await?,
                Phase::Live(seat) => self.listen(seat).await,
                Phase::Over => return Ok(None),
            };
            if !signals.is_empty() {
                return Ok(Some(signals));
            }
        }
    }

    fn is_over(&mut self) -> Option<EndReason> {
        if self.closing.is_cancelled() {
            return Some(EndReason::Shutdown);
        }
        (self.parts.clock.now() >= self.right_until()).then_some(EndReason::Credential)
    }

    fn right_until(&mut self) -> Timestamp {
        let ends_at = self.right.ends_at(&self.parts.keyring, &self.audience.principal);
        ends_at.unwrap_or(Timestamp::EPOCH)
    }

    fn end(&mut self, last: Signal) -> Vec<Signal> {
        self.phase = Phase::Over;
        vec![last]
    }

    async fn begin(&mut self, after: Option<u64>) -> Result<Vec<Signal>> {
        if let Some(after) = after {
            let newest = self.parts.hub.in_force();
            let Places { oldest, .. } = self.parts.store.read(store::outbox::places).await?;
            if after <= newest && after + 1 >= oldest {
                self.place = after;
                self.phase = Phase::CatchingUp(None);
                return Ok(Vec::new());
            }
        }
        Ok(self.start_here(if after.is_some() { Signal::Resync } else { Signal::Hello }))
    }

    fn start_here(&mut self, say: fn(u64) -> Signal) -> Vec<Signal> {
        let (seat, place) = self.parts.hub.sit(self.audience.tenant.clone());
        self.place = place;
        self.phase = Phase::Live(seat);
        vec![say(place)]
    }

    async fn catch_up(&mut self, seat: Option<(Seat, u64)>) -> Result<Vec<Signal>> {
        let (after, tenant) = (self.place, self.audience.tenant.clone());
        let until = seat.as_ref().map_or_else(|| self.parts.hub.in_force(), |(_, place)| *place);
        let page = self.parts.store.read_long(move |tx| {
            let places = store::outbox::places(tx)?;
            // What is pruned in the meantime would be a gap.
            if after + 1 < places.oldest {
                return Ok(None);
            }
            let range = Range { after, until };
            Ok(Some(store::outbox::page(tx, tenant.as_ref(), range, PAGE)?))
        });
        let Some((rows, next)) = page.await? else {
            return Ok(self.start_here(Signal::Resync));
        };
        self.place = next;
        self.phase = match (next >= until, seat) {
            // What is after that place comes through the queue.
            (true, Some((seat, _))) => Phase::Live(seat),
            // Once more, now that nothing can slip through between the reading and the listening.
            (true, None) => {
                Phase::CatchingUp(Some(self.parts.hub.sit(self.audience.tenant.clone())))
            }
            (false, seat) => Phase::CatchingUp(seat),
        };
        let seen = rows.into_iter().filter(|change| self.audience.may_see(change));
        Ok(seen.map(|change| Signal::Change(Arc::new(News::new(Arc::new(change))))).collect())
    }

    async fn listen(&mut self, mut seat: Seat) -> Vec<Signal> {
        let until = self.right_until();
        let news = tokio::select! {
            biased;
            // What has ended is said by the next look.
            () = self.closing.cancelled() => Some(None),
            () = self.parts.clock.reached(until) => Some(None),
            _ = self.keys.changed() => Some(None),
            () = replaced(&mut self.token_keys) => Some(None),
            news = seat.next() => news.map(Some),
            () = tokio::time::sleep(self.parts.keep_alive) => {
                self.phase = Phase::Live(seat);
                return vec![Signal::KeepAlive];
            }
        };
        let Some(news) = news else {
            let place = self.place;
            return self.end(Signal::Dropped(place));
        };
        self.phase = Phase::Live(seat);
        let mut signals = Vec::new();
        for news in news.iter().flat_map(|group| group.iter()) {
            let change = &news.change;
            if change.seq > self.place {
                self.place = change.seq;
                if self.audience.may_see(change) {
                    signals.push(Signal::Change(news.clone()));
                }
            }
        }
        signals
    }
}

/// Until the keys of tokens are replaced, where that matters.
async fn replaced(keys: &mut Option<watch::Receiver<()>>) {
    if let Some(keys) = keys
        && keys.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
