//! A load of audited writes over HTTP, for tests and benchmarks: many clients live through the lives
//! of tenants, so that every table that the audit trail tells of is written, changed and emptied.
//!
//! Invariants: each write that counts was acknowledged and has at least one audit event; a client
//! waits for each answer before it sends again, so no write depends on another client's.

mod furnish;
mod life;
mod wire;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use entitled::domain::time::Timestamp;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

pub use self::furnish::{Place, furnish};
use self::wire::Wire;

/// How fast writes are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each client as soon as it has its answer.
    Unbridled,
    /// So many a second, all clients together, at instants that the answers don't move.
    PerSecond(f64),
}

/// One write that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Ack {
    /// When its answer was there.
    pub at: Instant,
    /// Since it was due to be sent: a client that is late has kept it waiting.
    pub waited: Duration,
}

struct Shared {
    place: Place,
    /// What the names of its tenants begin with.
    name: &'static str,
    pace: Pace,
    began: Instant,
    today: Timestamp,
    /// Writes that were given to a client.
    given: AtomicU64,
    /// Tenants that began to live.
    lives: AtomicU64,
    is_over: AtomicBool,
    acks: Mutex<Vec<Ack>>,
    count: watch::Sender<usize>,
}

/// The load is to end: whoever sees it says no more.
struct Over;

/// Clients that write until they are told to end.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinHandle<()>,
}

impl Load {
    /// Starts `clients` of them; `name` keeps the tenants of two loads apart.
    pub fn start(place: &Place, name: &'static str, clients: usize, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            place: place.clone(),
            name,
            pace,
            began: Instant::now(),
            today: entitled::clock::Clock::system().now(),
            given: AtomicU64::new(0),
            lives: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            acks: Mutex::default(),
            count: watch::channel(0).0,
        });
        let mut set = JoinSet::new();
        for _ in 0..clients {
            let shared = shared.clone();
            set.spawn(async move { Client::of(shared).await.run().await });
        }
        let clients = tokio::spawn(async move {
            while let Some(ended) = set.join_next().await {
                ended.expect("a client of the load failed");
            }
        });
        Self { shared, clients }
    }

    /// How many writes were acknowledged so far.
    pub fn writes(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until so many were acknowledged. Fails where the clients have ended before.
    pub async fn reaches(&mut self, writes: usize) {
        let mut count = self.shared.count.subscribe();
        tokio::select! {
            reached = count.wait_for(|count| *count >= writes) => drop(reached.unwrap()),
            ended = &mut self.clients => panic!("the load ended by itself: {ended:?}"),
        }
    }

    /// Ends after the writes that were sent already; every acknowledged write.
    pub async fn stop(self) -> Vec<Ack> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.clients.await.unwrap();
        std::mem::take(&mut *self.shared.acks.lock().unwrap())
    }
}

/// One of the clients: a connection, and whose life it is at.
struct Client {
    shared: Arc<Shared>,
    wire: Wire,
}

impl Client {
    async fn of(shared: Arc<Shared>) -> Self {
        let wire = Wire::open(shared.place.address).await;
        Self { shared, wire }
    }

    async fn run(mut self) {
        loop {
            let number = self.shared.lives.fetch_add(1, Ordering::Relaxed);
            let tenant = format!("{}-{number}", self.shared.name);
            let Ok(()) = self.live(&tenant, number).await else { return };
        }
    }

    /// Days from now, as the API writes instants.
    fn in_days(&self, days: u32) -> String {
        self.shared.today.plus_days(days).to_string()
    }

    /// Waits for its turn, and says since when it was due.
    async fn turn(&self) -> Result<Instant, Over> {
        let due = match self.shared.pace {
            Pace::Unbridled => Instant::now(),
            Pace::PerSecond(rate) => {
                let number = self.shared.given.fetch_add(1, Ordering::Relaxed);
                let due = self.shared.began + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        if self.shared.is_over.load(Ordering::SeqCst) { Err(Over) } else { Ok(due) }
    }

    /// Sends one write as the super admin, and counts it once it is acknowledged.
    async fn write(&mut self, method: &str, path: &str, body: Value) -> Result<Value, Over> {
        let key = self.shared.place.root.clone();
        self.write_by(&key, method, path, body).await
    }

    async fn write_by(
        &mut self,
        key: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Value, Over> {
        let due = self.turn().await?;
        let (status, answer) = self.wire.send(key, method, path, &body).await;
        assert!((200..300).contains(&status), "{method} {path} {body}: {status} {answer:#}");
        let at = Instant::now();
        self.shared.acks.lock().unwrap().push(Ack { at, waited: at.duration_since(due) });
        self.shared.count.send_modify(|count| *count += 1);
        Ok(answer)
    }
}

/// Where a server listens, from its address.
pub fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}
