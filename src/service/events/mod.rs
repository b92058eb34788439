//! Events: who is told of which change, in the order of commits, without gap or repeat.
//!
//! Invariants: the writer hands over what it has committed before it replies, so that the order of
//! messages is that of commits; what is handed over is shared, so that a subscriber costs a place in
//! a queue; a queue that is full ends its stream instead of waiting; nothing is told to a caller
//! after its right has ended.

pub mod audience;
pub mod boundaries;
pub mod hub;
pub(super) mod passing;
pub mod stream;

use std::time::Duration;

use self::{
    audience::{Audience, Right},
    hub::Hub,
    stream::{Parts, Subscription},
};
use super::{Service, actor::Actor, permissions::Permission};
use crate::{
    domain::{keys::TenantKey, time::Span},
    error::{Error, Result},
    store::{self, outbox::Keep},
};

/// What bounds the events.
#[derive(Debug, Clone, Copy)]
pub struct EventOptions {
    /// Subscribers at a time.
    pub subscribers: usize,
    /// How many commits a subscriber may lag behind before it is dropped.
    pub queue: usize,
    /// How many rows are kept for those who resume.
    pub keep_rows: u64,
    /// How long they are kept.
    pub keep_for: Span,
    /// How often a stream on which nothing happens shows that it is alive.
    pub keep_alive: Duration,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self {
            subscribers: 2_000,
            queue: 256,
            keep_rows: 100_000,
            keep_for: Span::hours(72),
            keep_alive: Duration::from_secs(15),
        }
    }
}

impl Service {
    /// Subscribes to the changes that the caller may know of: those after a place, or from now on.
    pub async fn stream_events(
        &self,
        actor: &Actor,
        right: Right,
        tenant: Option<TenantKey>,
        after: Option<u64>,
    ) -> Result<Subscription> {
        actor.reach(Permission::EventsRead)?;
        if let Some(tenant) = &tenant {
            actor.may_on(Permission::EventsRead, tenant)?;
            let of = tenant.clone();
            if self.store.read(|tx| store::tenants::find(tx, &of)).await?.is_none() {
                return Err(Error::TenantNotFound(tenant.to_string()));
            }
        }
        let place = self.hub.reserve().ok_or(Error::Overloaded)?;
        let audience = Audience::of(actor, tenant);
        let parts = Parts {
            hub: self.hub.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            keyring: self.keyring.clone(),
            keep_alive: self.policy.events.keep_alive,
        };
        Ok(Subscription::new(parts, place, audience, right, after))
    }

    /// Whom changes are told.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Takes away what is kept for those who resume and is too old or too much.
    pub async fn prune_events(&self, actor: &Actor) -> Result<()> {
        let options = self.policy.events;
        let keep = Keep { rows: options.keep_rows, since: self.clock.steady() - options.keep_for };
        while self.store.read(|tx| store::outbox::is_prunable(tx, keep)).await? {
            self.change(actor, move |tx| Ok((store::outbox::prune(tx, keep)?, Vec::new()))).await?;
        }
        Ok(())
    }
}
