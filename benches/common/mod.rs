//! A real server for benchmarks.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use entitled::{
    clock::Clock,
    engine::Gating,
    http::{
        self,
        auth::AuthState,
        edge::{EdgeSettings, RequestLog},
        listener::{self, Listener},
        pages::Readiness,
        proxies::TrustedProxies,
    },
    service::{
        Service,
        keyring::{Keyring, Secret},
        memory::CacheOptions,
        policy::Policy,
        rates::Rates,
    },
    store::{Durability, StoreOptions},
};
use tokio_util::sync::CancellationToken;

pub const ROOT_KEY: &str = "root-key-for-benchmarks-0123456789";

/// A service on a database, behind a listener on any free port.
pub async fn start(database: &Path, durability: Durability) -> (SocketAddr, Service) {
    let keyring = Arc::new(Keyring::new(Some(&Secret::new(ROOT_KEY))).unwrap());
    let options = StoreOptions { durability, ..StoreOptions::at(database) };
    let clock = Clock::system();
    let (cache, gating) = (CacheOptions::default(), Gating::BySettings);
    let service =
        Service::open(&options, cache, gating, Policy::default(), clock.clone(), keyring.clone())
            .unwrap();
    let auth = Arc::new(AuthState { tokens: None, keyring, rates: Rates::new(None), clock });
    let edge = EdgeSettings {
        body_bytes: 64 * 1024,
        large_body_bytes: 1024 * 1024,
        large_paths: vec!["/api/v1/admin/catalog".into()],
        body_deadline: Duration::from_secs(10),
        handler_deadline: Duration::from_secs(30),
        trusted_proxies: TrustedProxies::default(),
        log: RequestLog::Off,
        spans: None,
    };
    let readiness = || Readiness { ready: true, checks: Default::default() };
    let endpoint = http::front(service.clone(), auth, edge, readiness).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr();
    let limits = listener::Limits {
        connections: 1024,
        head_deadline: Duration::from_secs(10),
        write_stall: Duration::from_secs(10),
        head_bytes: 64 * 1024,
        drain_deadline: Duration::from_secs(1),
    };
    tokio::spawn(listener.serve(endpoint, limits, CancellationToken::new()));
    (address, service)
}
