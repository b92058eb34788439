//! The use cases: who may do what, what must hold, and what is written beside it.
//!
//! Invariants: nothing changes without its audit event, because [`Service::change`] takes the events
//! from the closure that makes the change, and `Store::write` has no other caller than it and
//! what only takes notes: [`Service::record_uses`] of keys and overrides, [`activity`] and
//! [`evidence`] (`tests/it/tidy.rs`); memory follows the disk in the writer, before a change is answered; a check
//! does no SQL while its tenant is in memory.
//!
//! Refuses to know: HTTP, JSON bodies, SQL.

pub mod access;
pub mod activation_codes;
pub mod activity;
pub mod actor;
pub mod algorithms;
pub mod api_keys;
pub mod audit;
pub mod audit_export;
pub mod authorize;
pub mod auto_rollback;
mod cache;
pub mod catalogs;
pub mod claims;
pub mod code_text;
pub mod contexts;
pub mod decisions;
mod endings;
pub mod entitlements;
pub mod events;
pub mod evidence;
pub mod evidence_report;
pub mod expiry;
pub mod grants;
pub mod guesses;
pub mod key_source;
pub mod keyring;
pub mod legacy;
pub mod memory;
mod meters;
pub mod metrics;
pub mod once;
pub mod overrides;
pub mod overrides_report;
pub mod paging;
pub mod people;
pub mod permissions;
pub mod policy;
mod provisioning;
pub mod questions;
pub mod rates;
mod recent;
pub mod rehearsals;
pub mod requests;
pub mod restore;
pub mod roles;
pub mod rollout;
pub mod seats;
pub mod subscriptions;
pub mod tenant_clock;
pub mod tenants;
pub mod tiers;
pub mod tokens;
mod trials;
pub mod usage;
pub mod user_entitlements;
mod uses;
pub mod values;
pub mod webhooks;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

pub use self::actor::Actor;
use self::{
    activity::ActivityQueue,
    events::{boundaries::Alarm, hub::Hub},
    evidence::Evidence,
    expiry::ExpiryState,
    guesses::Guesses,
    keyring::Keyring,
    memory::{CacheOptions, Memory, stored_keys},
    metrics::Metrics,
    once::Once,
    policy::Policy,
    rehearsals::Run,
    trials::TrialMetrics,
    uses::Uses,
};
use crate::{
    clock::Clock,
    domain::{
        audit::{AuditActor, Event},
        keys::TenantKey,
        time::Timestamp,
    },
    engine::{Gating, World},
    error::{Error, Result},
    store::{
        self, OpenError, ReadTx, Store, StoreOptions, Touched, WriteTx, audit::Provenance,
        snapshots::load_world,
    },
};

/// The whole service behind the front doors. Cheap to clone; all clones are one service.
#[derive(Clone)]
pub struct Service {
    store: Store,
    clock: Clock,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    keyring: Arc<Keyring>,
    expiry: Arc<ExpiryState>,
    guesses: Arc<Guesses>,
    uses: Arc<Uses>,
    activity: Arc<ActivityQueue>,
    hub: Arc<Hub>,
    alarm: Arc<Alarm>,
    senders: Arc<Notify>,
    evidence: Arc<Evidence>,
    policy: Policy,
    run: Run,
}

/// How many uses are written in one change, so that others get their turn.
const USES_AT_ONCE: usize = 500;

/// Something that was used, and when.
enum Use {
    Key(String, Timestamp),
    Override(String, Timestamp),
}

impl Service {
    /// Opens the database and reads what every request needs.
    pub fn open(
        options: &StoreOptions,
        cache: CacheOptions,
        gating: Gating,
        policy: Policy,
        clock: Clock,
        keyring: Arc<Keyring>,
    ) -> Result<Self, OpenError> {
        let memory = Arc::new(Memory::new(cache, gating));
        let expiry = Arc::<ExpiryState>::default();
        let hub = Arc::new(Hub::new(policy.events.subscribers, policy.events.queue));
        let alarm = Arc::<Alarm>::default();
        let senders = Arc::<Notify>::default();
        clock.set_hold(policy.hold);
        let publish = {
            let (memory, keyring, clock) = (memory.clone(), keyring.clone(), clock.clone());
            let (expiry, hub, alarm) = (expiry.clone(), hub.clone(), alarm.clone());
            let senders = senders.clone();
            let trials = TrialMetrics::new();
            move |tx: &ReadTx<'_>, touched: &Touched| {
                memory.follow(tx, touched, gating, &keyring, &clock)?;
                if let Some(at) = touched.ends_at {
                    expiry.expect(at);
                    alarm.expect(at);
                }
                trials.count(&touched.trials);
                // Last: whoever is told of a change finds it in memory.
                if touched.keys {
                    hub.keys_changed();
                }
                hub.publish(&touched.changes);
                if touched.deliveries {
                    senders.notify_one();
                }
                Ok(())
            }
        };
        let store = Store::open(options, clock.clone(), Box::new(publish))?;
        store.read_now(|tx| {
            let world = load_world(tx, gating)?;
            for (place, reason) in world.catalog.unusable_conditions() {
                tracing::error!(place, reason, "a condition of the catalog never holds");
            }
            memory.world.store(Arc::new(world));
            keyring.replace(stored_keys(tx)?);
            hub.begin_after(store::outbox::places(tx)?.newest);
            Ok(())
        })?;
        let metrics = Metrics::new();
        metrics.know(&memory.world.load().catalog);
        Ok(Self {
            store,
            clock,
            memory,
            metrics: Arc::new(metrics),
            keyring,
            expiry,
            guesses: Arc::default(),
            uses: Arc::default(),
            activity: Arc::new(ActivityQueue::new(policy.activity_queue)),
            hub,
            alarm,
            senders,
            evidence: Arc::new(Evidence::new(policy.evidence_keys)),
            policy,
            run: Run::ForReal,
        })
    }

    /// Whether its changes are made, and not only rehearsed.
    fn is_for_real(&self) -> bool {
        matches!(self.run, Run::ForReal)
    }

    /// Changes something: in one transaction, with its audit events, published before it returns.
    async fn change<T: Send + 'static>(
        &self,
        actor: &Actor,
        body: impl FnOnce(&WriteTx<'_>) -> Result<(T, Vec<Event>)> + Send + 'static,
    ) -> Result<T> {
        let provenance = provenance(actor);
        let change = move |tx: &WriteTx<'_>| {
            let (value, events) = body(tx)?;
            for event in &events {
                store::audit::append(tx, &provenance, event)?;
            }
            store::outbox::record(tx, &events)?;
            webhooks::deliveries::enqueue(tx, &events)?;
            Ok(value)
        };
        match &self.run {
            Run::ForReal => self.store.write(change).await,
            Run::Rehearsed(notes) => self.rehearse(notes.clone(), change).await,
        }
    }

    /// As [`Service::change`], for what must happen once however often it is sent: where the same
    /// request was answered before, the first answer again.
    async fn change_once<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: impl FnOnce(&WriteTx<'_>) -> Result<(T, Vec<Event>)> + Send + 'static,
    ) -> Result<T> {
        let Some(once) = once else { return self.change(actor, body).await };
        let caller = caller(actor);
        self.change(actor, move |tx| {
            if let Some(first) = once.replay(tx, &caller)? {
                return Ok((first, Vec::new()));
            }
            let (value, events) = body(tx)?;
            once.keep(tx, &caller, &value)?;
            Ok((value, events))
        })
        .await
    }

    /// Writes down which keys and overrides were used since the last time, a few at once. The
    /// program calls it now and then: a request must not wait for it.
    pub async fn record_uses(&self) -> Result<()> {
        let keys = self.keyring.drain_uses().into_iter().map(|(id, at)| Use::Key(id, at));
        let overrides = self.uses.drain().into_iter().map(|(id, at)| Use::Override(id, at));
        let mut uses: Vec<_> = keys.chain(overrides).collect();
        while !uses.is_empty() {
            let few = uses.split_off(uses.len().saturating_sub(USES_AT_ONCE));
            // Not a change of anything that is audited: it notes that something was read.
            self.store
                .write(move |tx| {
                    few.iter().try_for_each(|used| match used {
                        Use::Key(id, at) => store::api_keys::used(tx, id, *at),
                        Use::Override(id, at) => store::overrides::used(tx, id, *at),
                    })
                })
                .await?;
        }
        Ok(())
    }

    /// What is the same for every tenant, now.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        self.memory.world.load_full()
    }

    /// The clock that every use case reads.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The API keys in memory.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The database, for what the program itself does with it: readiness, checkpoints, the end.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// Whose idempotency keys these are. An id is only unique together with who it belongs to.
fn caller(actor: &Actor) -> String {
    let principal = &actor.principal;
    let tenant = principal.tenant.as_ref().map_or("", TenantKey::as_str);
    format!("{}/{tenant}/{}", principal.role.as_str(), principal.id)
}

fn provenance(actor: &Actor) -> Provenance {
    let principal = &actor.principal;
    let mode = serde_json::to_value(principal.mode).ok();
    Provenance {
        actor: AuditActor {
            id: principal.id.clone(),
            role: principal.role.as_str().to_owned(),
            mode: mode.as_ref().and_then(|m| m.as_str()).unwrap_or("tenant").to_owned(),
            impersonator: principal.impersonator.clone(),
        },
        request_id: Some(actor.request_id.to_string()),
        ip: actor.ip.map(|ip| ip.to_string()),
    }
}

/// What a change that makes or replaces something was made for (`If-Match`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there, or nothing.
    Anything,
    /// Whatever is there, but something.
    Something,
    /// This revision.
    Revision(u64),
}

impl Expected {
    /// Refuses where something else is found.
    fn check(self, found: Option<u64>) -> Result<()> {
        match (self, found) {
            (Self::Anything, _) | (Self::Something, Some(_)) => Ok(()),
            (Self::Revision(expected), Some(found)) if expected == found => Ok(()),
            (Self::Something | Self::Revision(_), _) => Err(Error::PreconditionFailed),
        }
    }
}

/// Refuses a change that was made for another revision than the one at hand.
fn expect_revision(expected: Option<u64>, found: u64) -> Result<()> {
    match expected {
        Some(expected) if expected != found => Err(Error::PreconditionFailed),
        Some(_) | None => Ok(()),
    }
}

/// A new id: sorts by the time it was made.
fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}
