//! Where the writer hands over what it has committed, and each subscriber gets it.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{events::Change, keys::TenantKey};

/// A change on its way to subscribers; shared by all of them, and so is its text.
#[derive(Debug)]
pub struct News {
    /// The change.
    pub change: Arc<Change>,
    text: OnceLock<Bytes>,
}

impl News {
    pub(super) fn new(change: Arc<Change>) -> Self {
        Self { change, text: OnceLock::new() }
    }

    /// What it is written as, worked out by the first who needs it.
    pub fn text(&self, write: impl FnOnce(&Change) -> Bytes) -> Bytes {
        self.text.get_or_init(|| write(&self.change)).clone()
    }
}

/// What one commit changed.
pub(super) type Group = Arc<[Arc<News>]>;

/// Whom changes are told.
pub struct Hub {
    subscribers: Mutex<Subscribers>,
    places: Arc<Semaphore>,
    queue: usize,
    next_id: AtomicU64,
    keys: watch::Sender<()>,
    closing: CancellationToken,
}

/// The queues of subscribers, by what they listen to.
#[derive(Default)]
struct Subscribers {
    /// The place of the newest change that is in force. What is committed but not yet in memory is
    /// told to nobody, from the disk neither: a check that it causes would see the old state.
    in_force: u64,
    to_all: HashMap<u64, mpsc::Sender<Group>>,
    to_one: HashMap<TenantKey, HashMap<u64, mpsc::Sender<Group>>>,
}

/// The right to one subscription.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("entitlement_event_subscribers").decrement(1);
    }
}

/// One queue in the hub; leaves it when it is dropped.
pub(super) struct Seat {
    hub: Arc<Hub>,
    tenant: Option<TenantKey>,
    id: u64,
    queue: mpsc::Receiver<Group>,
}

impl Hub {
    pub(in crate::service) fn new(subscribers: usize, queue: usize) -> Self {
        Self {
            subscribers: Mutex::default(),
            places: Arc::new(Semaphore::new(subscribers)),
            queue: queue.max(1),
            next_id: AtomicU64::new(0),
            keys: watch::Sender::new(()),
            closing: CancellationToken::new(),
        }
    }

    /// A place for one more; none where there are enough.
    pub(super) fn reserve(&self) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        metrics::gauge!("entitlement_event_subscribers").increment(1);
        Some(Place { _permit: permit })
    }

    /// What was committed before there was anybody to tell.
    pub(in crate::service) fn begin_after(&self, place: u64) {
        self.subscribers.lock().in_force = place;
    }

    /// The place of the newest change that is in force.
    pub(super) fn in_force(&self) -> u64 {
        self.subscribers.lock().in_force
    }

    /// Everything that comes into force from now on, of one tenant or of all, and the place of what
    /// did last.
    pub(super) fn sit(self: &Arc<Self>, tenant: Option<TenantKey>) -> (Seat, u64) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = mpsc::channel(self.queue);
        let mut subscribers = self.subscribers.lock();
        let place = subscribers.in_force;
        match &tenant {
            None => subscribers.to_all.insert(id, sender),
            Some(tenant) => {
                subscribers.to_one.entry(tenant.clone()).or_default().insert(id, sender)
            }
        };
        (Seat { hub: self.clone(), tenant, id, queue }, place)
    }

    /// Hands over what one commit changed. It never waits: a queue that is full is closed.
    pub(in crate::service) fn publish(&self, changes: &[Arc<Change>]) {
        let Some(last) = changes.last() else { return };
        let mut subscribers = self.subscribers.lock();
        let Subscribers { in_force, to_all, to_one } = &mut *subscribers;
        *in_force = last.seq;
        if to_all.is_empty() && to_one.is_empty() {
            return;
        }
        let news: Group =
            changes.iter().map(|change| Arc::new(News::new(change.clone()))).collect();
        let tell = |queues: &mut HashMap<u64, mpsc::Sender<Group>>, news: &Group| {
            queues.retain(|_, queue| queue.try_send(news.clone()).is_ok());
        };
        tell(to_all, &news);
        if news.iter().any(|news| news.change.tenant.is_none()) {
            to_one.values_mut().for_each(|queues| tell(queues, &news));
            return;
        }
        let mut told: Vec<&TenantKey> = Vec::new();
        for tenant in news.iter().filter_map(|news| news.change.tenant.as_ref()) {
            if let Some(queues) = to_one.get_mut(tenant).filter(|_| !told.contains(&tenant)) {
                told.push(tenant);
                tell(queues, &news);
            }
        }
    }

    /// API keys have changed: who listens with one looks whether it is still good.
    pub(in crate::service) fn keys_changed(&self) {
        self.keys.send_replace(());
    }

    pub(super) fn watch_keys(&self) -> watch::Receiver<()> {
        self.keys.subscribe()
    }

    /// Ends every stream: the service stops.
    pub fn close(&self) {
        self.closing.cancel();
    }

    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }
}

impl Seat {
    /// What the next commit changed; none where the queue was full.
    pub async fn next(&mut self) -> Option<Group> {
        self.queue.recv().await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut subscribers = self.hub.subscribers.lock();
        let Some(tenant) = &self.tenant else {
            subscribers.to_all.remove(&self.id);
            return;
        };
        let Some(queues) = subscribers.to_one.get_mut(tenant) else { return };
        queues.remove(&self.id);
        if queues.is_empty() {
            subscribers.to_one.remove(tenant);
        }
    }
}
