//! How fast a decision is: in process, and over HTTP beside a bare poem-openapi endpoint.
//!
//! `cargo bench --bench decisions`. Absolute figures depend on the machine; the ratio is taken from
//! rounds that alternate within one run, so that noise meets both sides.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{
    hint::black_box,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use self::common::ROOT_KEY;
use entitled::{
    domain::{
        catalog::{Format, parse, resolve},
        checks::Question,
        plans::PlanVersion,
        subscriptions::SubscriptionStatus,
        tenants::{Billing, Tenant},
        time::Timestamp,
    },
    engine::{Gating, Holding, Subject, TenantFacts, World, decide, entitlements::entitlements},
    store::Durability,
};
use poem_openapi::{Object, OpenApi, OpenApiService, payload::Json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RETAIL: &str = include_str!("../examples/retail.yaml");
const CONNECTIONS: usize = 32;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);

fn main() {
    in_process();
    over_http();
}

// ------------------------------------------------------------------ in process

fn in_process() {
    let (world, facts) = retail();
    let now = at();
    let ask = |module: &str, features: &[&str]| Question {
        module: module.parse().ok(),
        features: features.iter().filter_map(|f| f.parse().ok()).collect(),
        ..Question::blank()
    };
    let subject = Subject::new(&facts, None);
    let cases = [
        ("allowed by the plan", ask("retail", &[])),
        ("allowed, with two features", ask("retail", &["multi_branch", "branches"])),
        ("refused, with remedies", ask("zf", &[])),
    ];
    println!("in process, one thread:");
    for (name, question) in &cases {
        let rate = rate(|| drop(black_box(decide(&world, subject, black_box(question), now))));
        println!("  decide, {name:<28} {rate:>12.0} /s  {:>6.0} ns", 1e9 / rate);
    }
    let rate = rate(|| drop(black_box(entitlements(&world, subject, now))));
    println!("  the whole payload, not kept           {rate:>12.0} /s  {:>6.0} ns", 1e9 / rate);
}

fn at() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn retail() -> (World, TenantFacts) {
    let catalog = parse(RETAIL, Format::Yaml).unwrap();
    let plans: Vec<_> = resolve(&catalog)
        .into_iter()
        .map(|(plan, content)| {
            let name = catalog.plans[&plan].name.clone();
            Arc::new(PlanVersion { plan, version: 1, name, content })
        })
        .collect();
    let growth = plans.iter().find(|p| p.plan.as_str() == "growth").unwrap().clone();
    let tenant = Tenant {
        key: "mixed".parse().unwrap(),
        name: "Mixed".into(),
        parent: None,
        suspension: None,
        billing: Billing::Subscription,
        demo: false,
        sandbox: false,
        ahead: entitled::domain::time::Span::default(),
        attributes: Default::default(),
        created_at: at(),
        updated_at: at(),
        revision: 1,
    };
    let holding = Holding {
        id: "sub".into(),
        plan: growth,
        fallback: None,
        status: SubscriptionStatus::Active,
        from: Timestamp::EPOCH,
        to: None,
        trial_expires_at: None,
        overdue_since: None,
        quantity: 1,
    };
    let world = World::new(Arc::new(catalog), 1, plans, Gating::BySettings, 1);
    (world, TenantFacts::new(tenant, vec![holding], 2))
}

/// Calls per second, from the best of a few rounds.
fn rate(mut call: impl FnMut()) -> f64 {
    (0..5)
        .map(|_| {
            let (started, mut calls) = (Instant::now(), 0_u32);
            while started.elapsed() < Duration::from_millis(200) {
                (0..100).for_each(|_| call());
                calls += 100;
            }
            f64::from(calls) / started.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

// ------------------------------------------------------------------ over HTTP

/// What the bare endpoint takes and gives: as much as a question and its answer.
#[derive(Object)]
struct BareQuestion {
    tenant: String,
    module: String,
}

#[derive(Object)]
struct BareAnswer {
    allowed: bool,
    reason: String,
    message: String,
}

struct Bare;

#[OpenApi]
impl Bare {
    #[oai(path = "/check", method = "post")]
    async fn check(&self, question: Json<BareQuestion>) -> Json<BareAnswer> {
        let BareQuestion { tenant, module } = question.0;
        let allowed = tenant == "mixed" && module == "retail";
        Json(BareAnswer {
            allowed,
            reason: "plan".into(),
            message: "Part of the plan Growth.".into(),
        })
    }
}

fn over_http() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (bare, ours, service) = runtime.block_on(async {
        let bare = start_bare().await;
        let database = dir.path().join("entitled.db");
        let (ours, service) = common::start(&database, Durability::None).await;
        prepare(ours).await;
        (bare, ours, service)
    });
    let body = r#"{"tenant":"mixed","module":"retail"}"#;
    let bare_request = request("/check", body, "");
    let auth = format!("authorization: Bearer {ROOT_KEY}\r\n");
    let our_request = request("/api/v1/check", body, &auth);
    let before = service.cache_stats();
    let (mut ratios, mut bare_rates, mut our_rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let bare_rate = runtime.block_on(load(bare, &bare_request));
        let our_rate = runtime.block_on(load(ours, &our_request));
        ratios.push(our_rate / bare_rate);
        bare_rates.push(bare_rate);
        our_rates.push(our_rate);
    }
    let after = service.cache_stats();
    println!("over HTTP, {CONNECTIONS} connections, client and server on the same cores:");
    println!("  bare poem-openapi, JSON in and out   {:>12.0} /s", median(&mut bare_rates));
    println!("  POST /api/v1/check                   {:>12.0} /s", median(&mut our_rates));
    println!("  ratio (median of {ROUNDS} rounds)           {:>12.2}", median(&mut ratios));
    // The hot path does no SQL: a read from the database is a load of the cache.
    assert!(after.loads - before.loads <= CONNECTIONS as u64, "checks read the database");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn start_bare() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = poem::listener::TcpAcceptor::from_tokio(
        listener
            .into_std()
            .map(|l| {
                l.set_nonblocking(true).unwrap();
                tokio::net::TcpListener::from_std(l).unwrap()
            })
            .unwrap(),
    )
    .unwrap();
    let service = OpenApiService::new(Bare, "bare", "1");
    let route = poem::Route::new().nest("/", service);
    tokio::spawn(poem::Server::new_with_acceptor(acceptor).run(route));
    address
}

/// The catalog, and a tenant on Growth, by the public API.
async fn prepare(address: SocketAddr) {
    let client = reqwest::Client::new();
    let send = |method, path: &str, kind: &str, body: String| {
        let request = client.request(method, format!("http://{address}{path}"));
        let request = request.bearer_auth(ROOT_KEY).header("content-type", kind).body(body);
        async move { assert!(request.send().await.unwrap().status().is_success()) }
    };
    use reqwest::Method;
    send(Method::PUT, "/api/v1/admin/catalog", "application/yaml", RETAIL.into()).await;
    let tenant = r#"{"key": "mixed", "name": "Mixed"}"#;
    send(Method::POST, "/api/v1/admin/tenants", "application/json", tenant.into()).await;
    let plan = r#"{"plan": "growth", "change_reason": "benchmark"}"#;
    let path = "/api/v1/admin/tenants/mixed/subscriptions";
    send(Method::POST, path, "application/json", plan.into()).await;
}

fn request(path: &str, body: &str, headers: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Answers per second over a round.
async fn load(address: SocketAddr, request: &[u8]) -> f64 {
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (stop, answers, request) = (stop.clone(), answers.clone(), request.to_vec());
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(address).await.unwrap();
                socket.set_nodelay(true).unwrap();
                let mut buffer = vec![0; 16 * 1024];
                socket.write_all(&request).await.unwrap();
                let length = first_answer(&mut socket, &mut buffer).await;
                while !stop.load(Ordering::Relaxed) {
                    socket.write_all(&request).await.unwrap();
                    socket.read_exact(&mut buffer[..length]).await.unwrap();
                    assert!(buffer.starts_with(b"HTTP/1.1 200"));
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // Connections are made and caches are warm before the count begins.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (from, started) = (answers.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(ROUND).await;
    let counted = answers.load(Ordering::Relaxed) - from;
    let rate = counted as f64 / started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    rate
}

/// Reads one answer to its end, for its length. The others are as long, so that the client has
/// nothing to parse and its work doesn't count against whoever sends more headers.
async fn first_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    loop {
        filled += socket.read(&mut buffer[filled..]).await.unwrap();
        let head = &buffer[..filled];
        let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(head));
        let text = std::str::from_utf8(&head[..end]).unwrap().to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let whole = end + 4 + length.parse::<usize>().unwrap();
        if filled < whole {
            socket.read_exact(&mut buffer[filled..whole]).await.unwrap();
        }
        return whole;
    }
}
