//! `entitled serve`: the service itself, a throw-away one, or the demo.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    Exit, Failure, SettingsArgs, demo,
    home::{self, Home},
    instance::{self, Doors, Instance},
    output::print,
    supervisor::{self, News},
};
use crate::{
    clock::Clock,
    config::{Backup, Loaded, Settings},
    domain::callers::OperatorRole,
    error::Error,
    service::{Actor, Service, api_keys::NewApiKey},
    store::{Durability, StoreOptions, anchor::OnRollback},
    telemetry,
    worker::backup::Schedule,
};

/// Run the service
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen [env: ENTITLED_LISTEN; default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Show the products with ready tenants, in databases that are thrown away
    #[arg(long, conflicts_with = "ephemeral")]
    demo: bool,
    /// For tests: an empty database that is thrown away, on any free port; prints its url and key
    #[arg(long)]
    ephemeral: bool,
    /// Take a database whose audit trail is not the one that was written last, such as an older copy;
    /// this is audited
    #[arg(long, conflicts_with_all = ["demo", "ephemeral"])]
    accept_rollback: bool,
}

impl Serve {
    pub fn run(self, settings: SettingsArgs) -> Result<Exit, Failure> {
        let Self { listen, demo, ephemeral, accept_rollback } = self;
        let on_rollback = if accept_rollback { OnRollback::Accept } else { OnRollback::Refuse };
        let is_throw_away = demo || ephemeral;
        let any_port = ephemeral && listen.is_none();
        let Loaded { mut settings, rows } = settings.load(listen)?;
        let is_default = |name| rows.iter().any(|row| row.name == name && row.source == "default");
        if is_throw_away && is_default("log.filter") {
            // Whoever tries it out looks for keys and addresses, not for a log.
            settings.log.filter = "warn".into();
        }
        if any_port {
            settings.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        }
        telemetry::init_logs(&settings.log.filter, settings.log.format);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::from(Error::internal(error)))?;
        let outcome = runtime.block_on(async {
            let stop = stop_on_signal()?;
            tokio::spawn(telemetry::upkeep(stop.clone()));
            if demo {
                demo::run(&settings, stop).await
            } else if ephemeral {
                throw_away(settings, stop).await
            } else {
                serve(settings, on_rollback, stop).await
            }
        });
        // Nothing that matters runs any more; a stuck thread must not keep the process.
        runtime.shutdown_background();
        outcome
    }
}

/// Cancelled by SIGTERM and SIGINT.
fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let broken = |error| Failure::from(Error::internal(error));
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        supervisor::tell(News::Stopping);
        stopping.cancel();
    });
    Ok(stop)
}

async fn serve(
    settings: Settings,
    on_rollback: OnRollback,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    let Doors { keyring, tokens } = Doors::new(&settings)?;
    let home = Home::open(&settings.data)?;
    // Before the database: a start that fails must not have printed the first key.
    let listener = instance::bind(settings.listen).await?;
    let options = StoreOptions {
        anchoring: home.anchoring(on_rollback),
        ..settings.store(home.database(), Durability::PowerCut)
    };
    let service = instance::open(&settings, &options, Clock::system(), keyring)?;
    anchor(&service, &settings.data).await?;
    if settings.root_key.is_none() && settings.root_key_file.is_none() {
        first_key(&service).await?;
    }
    let schedule = schedule(&settings, options.path);
    let instance = Instance::new(service, listener, tokens).with_backups(schedule);
    tracing::info!(url = instance.url(), data = %settings.data.display(), "listening");
    supervisor::tell(News::Ready);
    instance.run(settings, stop).await
}

/// When backups are made, if they are.
fn schedule(settings: &Settings, database: PathBuf) -> Option<Schedule> {
    let Backup { directory, every_minutes, keep } = &settings.backup;
    let every = Duration::from_secs(60 * u64::from(*every_minutes));
    directory.clone().map(|directory| Schedule { database, directory, every, keep: *keep })
}

/// Writes an accepted rollback down, and then the anchor, before anything else happens.
async fn anchor(service: &Service, data: &Path) -> Result<(), Failure> {
    service.record_rollback(&Actor::system("start")).await?;
    service.keep_anchor().await.map_err(|error| {
        let cause =
            std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
        let file = home::anchor(data);
        let line =
            format!("can't write {}: {cause}; make it writable for this user", file.display());
        Failure::new(Exit::Io, line)
    })
}

/// Where nobody could come in, makes a key and shows it.
async fn first_key(service: &Service) -> Result<(), Failure> {
    let actor = Actor::system("first-start");
    if !service.api_keys(&actor, None, 1).await?.items.is_empty() {
        return Ok(());
    }
    let key = instance::make_key(service, &actor, super_admin("first key")).await?;
    eprintln!("entitled: first key, a super_admin, shown only this once: {}", key.reveal());
    Ok(())
}

async fn throw_away(settings: Settings, stop: CancellationToken) -> Result<Exit, Failure> {
    let Doors { keyring, tokens } = Doors::new(&settings)?;
    let dir = temporary_directory()?;
    let listener = instance::bind(settings.listen).await?;
    let options = settings.store(dir.path().join("entitled.db"), Durability::None);
    let service = instance::open(&settings, &options, Clock::system(), keyring)?;
    let actor = Actor::system("ephemeral");
    let key = instance::make_key(&service, &actor, super_admin("ephemeral")).await?;
    let instance = Instance::new(service, listener, tokens);
    print(&json!({"url": instance.url(), "key": key.reveal()}).to_string())?;
    let exit = instance.run(settings, stop).await;
    drop(dir);
    exit
}

/// A directory that is deleted when its value is dropped.
pub fn temporary_directory() -> Result<Arc<tempfile::TempDir>, Failure> {
    let made = tempfile::Builder::new().prefix("entitled-").tempdir();
    made.map(Arc::new).map_err(|error| {
        let line = format!("can't create a temporary directory: {error}; set TMPDIR");
        Failure::new(Exit::CantCreate, line)
    })
}

/// A key that may do everything.
pub fn super_admin(name: &str) -> NewApiKey {
    NewApiKey {
        name: name.into(),
        role: OperatorRole::SuperAdmin,
        tenant: None,
        expires_at: None,
        rate: None,
    }
}
