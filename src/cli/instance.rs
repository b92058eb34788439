//! One running service: a database, its use cases and a listener.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure};
use crate::{
    clock::{Clock, Trust},
    config::Settings,
    error::Error,
    http::{self, auth::AuthState, listener::Listener, pages::Readiness},
    service::{
        Actor, Service,
        api_keys::NewApiKey,
        keyring::{Keyring, Secret},
        tokens::Tokens,
    },
    store::StoreOptions,
    telemetry::{self, spans::Spans},
    worker::{
        self,
        backup::{BackupState, Schedule},
    },
};

const TICK: Duration = Duration::from_secs(60);
/// Every so many ticks the write-ahead log is emptied, also where nothing is written any more.
const TICKS_PER_CHECKPOINT: u32 = 10;
/// After the writer gave up: time for the answers that say so, and no more.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A service that is open and bound, and not served yet.
pub struct Instance {
    /// Its use cases.
    pub service: Service,
    listener: Listener,
    tokens: Option<Arc<Tokens>>,
    /// When it makes backups of itself.
    schedule: Option<Schedule>,
}

/// What identifies callers, read before anything is touched.
pub struct Doors {
    /// With the root key.
    pub keyring: Arc<Keyring>,
    /// Where they are configured.
    pub tokens: Option<Arc<Tokens>>,
}

impl Doors {
    /// From the settings.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        // Looked at before anything is touched, as all settings are.
        settings.collector()?;
        let keyring = Arc::new(settings.keyring()?);
        Ok(Self { keyring, tokens: settings.tokens()?.map(Arc::new) })
    }
}

/// Binds `address`.
pub async fn bind(address: SocketAddr) -> Result<Listener, Failure> {
    Listener::bind(address).await.map_err(|error| {
        let line = format!(
            "can't listen on {address}: {error}; end what listens there, or give another address \
             with --listen"
        );
        Failure::new(Exit::Io, line)
    })
}

/// Opens the service on a database.
pub fn open(
    settings: &Settings,
    options: &StoreOptions,
    clock: Clock,
    keyring: Arc<Keyring>,
) -> Result<Service, Failure> {
    // The service takes its handles when it is made.
    let _ = telemetry::metrics();
    let (cache, gating, policy) = (settings.cache(), settings.gating(), settings.policy());
    Service::open(options, cache, gating, policy, clock, keyring)
        .map_err(|error| Failure::database(&options.path, &error))
}

/// Makes an API key.
pub async fn make_key(service: &Service, actor: &Actor, new: NewApiKey) -> Result<Secret, Failure> {
    let issued = service.create_api_key(actor, None, new).await?;
    issued.secret.ok_or_else(|| Error::internal("a new key has no secret").into())
}

impl Instance {
    /// Puts an open service behind a bound listener.
    pub fn new(service: Service, listener: Listener, tokens: Option<Arc<Tokens>>) -> Self {
        Self { service, listener, tokens, schedule: None }
    }

    /// As it is, with backups by this schedule.
    pub fn with_backups(self, schedule: Option<Schedule>) -> Self {
        Self { schedule, ..self }
    }

    /// Where it can be reached from this machine.
    pub fn url(&self) -> String {
        let mut address = self.listener.local_addr();
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}")
    }

    /// Serves until `stop`, lets running requests finish, closes the database.
    pub async fn run(self, settings: Settings, stop: CancellationToken) -> Result<Exit, Failure> {
        let Self { service, listener, tokens, schedule } = self;
        let backups = Arc::<BackupState>::default();
        let auth = AuthState {
            tokens: tokens.clone(),
            keyring: service.keyring().clone(),
            rates: settings.rates(),
            clock: service.clock().clone(),
        };
        let readiness = {
            let (service, tokens, stop) = (service.clone(), tokens.clone(), stop.clone());
            let backups = schedule.as_ref().map(|_| backups.clone());
            move || readiness(&service, tokens.as_deref(), backups.as_deref(), &stop)
        };
        // Spans go on until the last request is answered.
        let all_answered = CancellationToken::new();
        let mut edge = settings.edge();
        let spans = settings.collector()?.map(|url| {
            let (spans, recorded) = Spans::new(settings.traces.percent);
            edge.spans = Some(spans);
            tokio::spawn(worker::spans::run(recorded, url, all_answered.clone()))
        });
        let app = http::front(service.clone(), Arc::new(auth), edge, readiness)?;
        let gauges = service.clone();
        telemetry::before_scrape(move || gauges.refresh_gauges());
        let mut server = tokio::spawn(listener.serve(app, settings.listener(), stop.clone()));
        let mut workers = workers(&service, tokens, schedule.map(|it| (it, backups)), &stop);
        let is_broken = tokio::select! {
            ended = &mut server => {
                ended.map_err(Error::internal)?;
                false
            }
            fatal = service.store().failed() => {
                tracing::error!(?fatal, "the writer gave up; the next start reads the disk");
                true
            }
            () = panicked(&mut workers) => {
                tracing::error!("a worker panicked; the next start begins anew");
                true
            }
        };
        if is_broken {
            stop.cancel();
            let _ = tokio::time::timeout(LAST_WORDS, server).await;
            return Ok(Exit::Internal);
        }
        while workers.join_next().await.is_some() {}
        all_answered.cancel();
        if let Some(spans) = spans {
            let _ = spans.await;
        }
        // No request adds to it any more.
        worker::activity::finish(&service).await;
        worker::evidence::finish(&service).await;
        if let Err(error) = service.record_uses().await {
            tracing::warn!(error = error.chain(), "uses were not recorded");
        }
        service.store().stop().await;
        // What was queued until now is committed.
        if let Err(error) = service.keep_anchor().await {
            tracing::warn!(error = error.chain(), "the anchor was not written");
        }
        tracing::info!("stopped");
        Ok(Exit::Ok)
    }
}

/// Everything that runs beside the requests, until `stop`.
fn workers(
    service: &Service,
    tokens: Option<Arc<Tokens>>,
    backups: Option<(Schedule, Arc<BackupState>)>,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut all = JoinSet::new();
    let (service, stop) = (|| service.clone(), || stop.clone());
    all.spawn(upkeep(service(), stop()));
    all.spawn(worker::expiry::run(service(), stop()));
    all.spawn(worker::clock::run(service().clock().clone(), stop()));
    all.spawn(worker::activity::run(service(), stop()));
    all.spawn(worker::boundaries::run(service(), stop()));
    all.spawn(worker::webhooks::run(service(), stop()));
    all.spawn(worker::evidence::run(service(), stop()));
    all.spawn(worker::auto_rollback::run(service(), stop()));
    all.spawn(worker::anchor::run(service(), stop()));
    all.spawn(close_streams(service(), stop()));
    if let Some(tokens) = tokens {
        let stop = stop();
        all.spawn(async move { worker::key_sets::run(&tokens, stop).await });
    }
    if let Some((schedule, state)) = backups {
        all.spawn(worker::backup::run(service(), schedule, state, stop()));
    }
    all
}

/// Subscribers are told when the service stops.
async fn close_streams(service: Service, stop: CancellationToken) {
    stop.cancelled().await;
    service.hub().close();
}

/// Until a worker panics, which must not limp on without it. One that ends has ended in order.
async fn panicked(workers: &mut JoinSet<()>) {
    while let Some(ended) = workers.join_next().await {
        if ended.is_err() {
            return;
        }
    }
    std::future::pending().await
}

fn readiness(
    service: &Service,
    tokens: Option<&Tokens>,
    backups: Option<&BackupState>,
    stop: &CancellationToken,
) -> Readiness {
    let (is_writable, is_draining) = (service.store().is_writable(), stop.is_cancelled());
    let database = match (is_writable, service.store().fault()) {
        (false, _) => "takes no writes".to_owned(),
        (true, Some(fault)) => format!("the latest change was refused: {}", fault.as_text()),
        (true, None) => "ok".to_owned(),
    };
    let server = if is_draining { "stopping" } else { "ok" };
    let expiry = match service.expiry().failures_in_a_row() {
        0 => "ok".to_owned(),
        failures => format!("{failures} runs failed in a row"),
    };
    let clock = match service.clock().trust() {
        Trust::Sure => "ok".to_owned(),
        Trust::Ahead(by) => format!("has jumped ahead by {} s; ends wait", by.as_secs()),
        Trust::Behind(by) => format!("is behind by {} s; time stands still", by.as_secs()),
    };
    let checks =
        [("database", &*database), ("server", server), ("expiry", &expiry), ("clock", &clock)];
    let mut checks: BTreeMap<_, _> = checks.map(|(name, text)| (name, text.to_owned())).into();
    // Without keys API keys go on, and a restart would bring none.
    if let Some(source) = tokens.and_then(Tokens::source) {
        checks.insert("key_set", source.health());
    }
    // For whoever looks: decisions don't wait for backups.
    checks.extend(backups.map(|backups| ("backup", backups.summary())));
    Readiness { ready: is_writable && !is_draining, checks }
}

/// What has to be done now and then, until `stop`.
async fn upkeep(service: Service, stop: CancellationToken) {
    let actor = Actor::system("upkeep");
    let mut ticks = tokio::time::interval(TICK);
    // The first one comes at once, when there is nothing to do yet.
    ticks.tick().await;
    for count in 1_u32.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut outcome = service.record_uses().await;
        if count % TICKS_PER_CHECKPOINT == 0 {
            outcome = outcome.and(service.store().checkpoint().await);
        }
        let outcome = outcome.and(service.prune_audit(&actor).await.map(drop));
        let outcome = outcome.and(service.prune_activity().await.map(drop));
        let outcome = outcome.and(service.prune_usage(&actor).await.map(drop));
        let outcome = outcome.and(service.prune_events(&actor).await);
        let outcome = outcome.and(service.prune_deliveries(&actor).await);
        let outcome = outcome.and(service.bound_backlogs(&actor).await);
        let outcome = outcome.and(service.prune_evidence().await.map(drop));
        if let Err(error) = outcome {
            tracing::warn!(error = error.chain(), "upkeep failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_is_noticed_and_one_that_ends_is_not() {
        let mut workers = JoinSet::new();
        workers.spawn(async {});
        workers.spawn(std::future::pending());
        for _ in 0..10 {
            tokio::task::yield_now().await;
            assert!(panicked(&mut workers).now_or_never().is_none());
        }
        workers.spawn(async { panic!("as it is meant to") });
        panicked(&mut workers).await;
    }
}
