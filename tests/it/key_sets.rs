//! Tokens of an identity provider whose keys are fetched, from one that does as it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use entitled::{
    service::{
        events::EventOptions,
        key_source::{Fetching, KeySource, KeyUrl, Place, PlainHttp},
        policy::Policy,
        tokens::{Expected, Tokens},
    },
    worker,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{ROOT, Running},
    harness::{App, Given, Reply},
};

const RS256: &[u8] = include_bytes!("../data/keys/rs256.pem");
const ES256: &[u8] = include_bytes!("../data/keys/es256.pem");
const EDDSA: &[u8] = include_bytes!("../data/keys/eddsa.pem");

/// What the provider does next.
#[derive(Clone)]
enum Does {
    /// Answers with this status and body.
    Says(u16, String),
    /// Sends everything to another address.
    Redirects,
    /// Begins an answer that never ends.
    Stalls,
    /// Sends and sends.
    Floods,
    /// Closes without a word.
    Closes,
}

/// An identity provider: its key set at `/keys`, its discovery document where it belongs.
struct Provider {
    url: String,
    keys: Arc<Mutex<Does>>,
    discovery: Arc<Mutex<Does>>,
    fetches: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Provider {
    async fn start(keys: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let provider = Self {
            url,
            keys: Arc::new(Mutex::new(keys)),
            discovery: Arc::new(Mutex::new(Does::Says(200, document.to_string()))),
            fetches: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (keys, discovery) = (provider.keys.clone(), provider.discovery.clone());
        let (fetches, stop) = (provider.fetches.clone(), provider.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (keys, discovery, fetches) = (keys.clone(), discovery.clone(), fetches.clone());
                tokio::spawn(answer(socket, keys, discovery, fetches));
            }
        }));
        provider
    }

    fn now(&self, does: Does) {
        *self.keys.lock() = does;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn set(&self) -> Place {
        let url = format!("{}/keys", self.url);
        Place::Set(KeyUrl::parse(&url, PlainHttp::Loopback).unwrap())
    }

    fn discovered(&self) -> Place {
        Place::of_issuer(&self.url, PlainHttp::Loopback).unwrap()
    }
}

async fn answer(
    mut socket: TcpStream,
    keys: Arc<Mutex<Does>>,
    discovery: Arc<Mutex<Does>>,
    fetches: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let does = if head.starts_with(b"GET /keys ") {
        fetches.fetch_add(1, Ordering::SeqCst);
        keys.lock().clone()
    } else if head.starts_with(b"GET /.well-known/openid-configuration ") {
        discovery.lock().clone()
    } else {
        Does::Says(404, String::new())
    };
    let start =
        |status: u16, more: &str| format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{more}\r\n");
    match does {
        Does::Says(status, body) => {
            let length = format!("content-length: {}\r\n", body.len());
            socket.write_all((start(status, &length) + &body).as_bytes()).await
        }
        Does::Redirects => socket.write_all(start(302, "location: /keys\r\n").as_bytes()).await,
        Does::Stalls => {
            socket.write_all((start(200, "content-length: 100\r\n") + "{").as_bytes()).await?;
            // Until the other side has enough of it.
            socket.read_buf(&mut head).await.map(drop)
        }
        Does::Floods => {
            socket.write_all(start(200, "").as_bytes()).await?;
            loop {
                socket.write_all(&[b' '; 4096]).await?;
            }
        }
        Does::Closes => Ok(()),
    }
}

fn signer(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RS256),
        Algorithm::ES256 => EncodingKey::from_ec_pem(ES256),
        _ => EncodingKey::from_ed_pem(EDDSA),
    }
    .unwrap()
}

fn public(algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(&signer(algorithm), algorithm).unwrap();
    jwk.common.key_id = Some(kid.into());
    serde_json::to_value(jwk).unwrap()
}

fn set(keys: &[Value]) -> Does {
    Does::Says(200, json!({"keys": keys}).to_string())
}

fn token(algorithm: Algorithm, kid: &str) -> String {
    let mut header = Header::new(algorithm);
    header.kid = Some(kid.into());
    let claims = json!({"sub": "ada", "role": "super_admin", "exp": 4_102_444_800_u64});
    jsonwebtoken::encode(&header, &claims, &signer(algorithm)).unwrap()
}

/// A service that fetches its keys from `place`.
struct Fetcher {
    app: App,
    tokens: Arc<Tokens>,
    stop: CancellationToken,
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const DAY: Duration = Duration::from_secs(86_400);

impl Fetcher {
    /// It fetches by itself once, and as often as a token asks for it.
    async fn eager(place: Place) -> Self {
        Self::start(place, Duration::ZERO, Duration::from_secs(30)).await
    }

    async fn start(place: Place, cooldown: Duration, deadline: Duration) -> Self {
        let plain_http = PlainHttp::Loopback;
        let fetching = Fetching { place, plain_http, refresh: DAY, cooldown, deadline };
        let tokens = Tokens::fetched(KeySource::new(fetching), Expected::default());
        let tokens = Arc::new(tokens);
        // A sign of life is a look at the right as well: what ends a stream here must not be that.
        let events = EventOptions { keep_alive: DAY, ..EventOptions::default() };
        let policy = Policy { events, ..Policy::default() };
        let given = Given { tokens: Some(tokens.clone()), policy, ..Given::default() };
        let app = App::given(given).await;
        let (stop, fetched) = (CancellationToken::new(), tokens.clone());
        let ends = stop.clone();
        tokio::spawn(async move { worker::key_sets::run(&fetched, ends).await });
        Self { app, tokens, stop }
    }

    async fn asks(&self, token: &str) -> Reply {
        self.app.bearer(token).get("/api/v1/admin/tenants").await
    }

    fn health(&self) -> String {
        self.tokens.source().unwrap().health()
    }
}

#[tokio::test]
async fn each_algorithm_of_a_key_set_is_taken() {
    let all = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let provider = Provider::start(set(&all.map(|a| public(a, &format!("{a:?}"))))).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    for algorithm in all {
        let kid = format!("{algorithm:?}");
        fetcher.asks(&token(algorithm, &kid)).await.expect(200);
    }
    assert_eq!(provider.fetches(), 1);
    let crossed = token(Algorithm::ES256, "RS256");
    fetcher.asks(&crossed).await.expect_problem(401, "UNAUTHENTICATED");
    assert_eq!(fetcher.health(), "ok");
}

#[tokio::test]
async fn a_new_key_is_fetched_when_its_first_token_comes_and_an_old_one_is_dropped() {
    let provider = Provider::start(set(&[public(Algorithm::ES256, "old")])).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    let (old, new) = (token(Algorithm::ES256, "old"), token(Algorithm::EdDSA, "new"));
    fetcher.asks(&old).await.expect(200);
    provider.now(set(&[public(Algorithm::ES256, "old"), public(Algorithm::EdDSA, "new")]));
    fetcher.asks(&new).await.expect(200);
    fetcher.asks(&old).await.expect(200);
    provider.now(set(&[public(Algorithm::EdDSA, "new")]));
    fetcher.asks(&token(Algorithm::ES256, "unheard of")).await.expect(401);
    fetcher.asks(&old).await.expect_problem(401, "UNAUTHENTICATED");
    fetcher.asks(&new).await.expect(200);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_no_flood_of_fetches() {
    let provider = Provider::start(set(&[public(Algorithm::ES256, "one")])).await;
    let fetcher = Fetcher::start(provider.set(), DAY, DAY).await;
    fetcher.asks(&token(Algorithm::ES256, "one")).await.expect(200);
    for at in 0..50 {
        let reply = fetcher.asks(&token(Algorithm::ES256, &format!("unknown-{at}"))).await;
        assert!(reply.expect(401).header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(provider.fetches(), 2, "that of the start, and one for all of them");
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_asked_again_and_only_tokens_wait() {
    let provider = Provider::start(Does::Says(503, String::new())).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    let good = token(Algorithm::ES256, "one");
    let reply = fetcher.asks(&good).await.expect_problem(503, "UNAVAILABLE");
    assert_eq!(reply.header("retry-after"), "1");
    assert!(fetcher.health().starts_with("no key set yet: the provider answered 503"));
    fetcher.app.root().get("/api/v1/admin/tenants").await.expect(200);
    provider.now(set(&[public(Algorithm::ES256, "one")]));
    fetcher.asks(&good).await.expect(200);
    assert_eq!(fetcher.health(), "ok");
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_unknown_keys_are_told_to_come_back() {
    let provider = Provider::start(set(&[public(Algorithm::ES256, "one")])).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    let good = token(Algorithm::ES256, "one");
    fetcher.asks(&good).await.expect(200);
    for (does, fault) in [
        (Does::Says(200, "<html>".into()), "isn't a key set"),
        (Does::Says(200, String::new()), "isn't a key set"),
        (Does::Says(404, json!({"keys": []}).to_string()), "answered 404"),
        (Does::Redirects, "answered 302"),
        (Does::Floods, "too large"),
        (Does::Closes, "the provider can't be reached"),
    ] {
        provider.now(does);
        let unknown = token(Algorithm::ES256, "unknown");
        fetcher.asks(&unknown).await.expect_problem(503, "UNAVAILABLE");
        let health = fetcher.health();
        let is_broken = fault.contains("reached") && health.contains("broke off");
        assert!(health.contains(fault) || is_broken, "{health}");
        assert!(health.ends_with("the last key set is used"), "{health}");
        fetcher.asks(&good).await.expect(200);
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up() {
    let provider = Provider::start(Does::Stalls).await;
    let fetcher = Fetcher::start(provider.set(), DAY, Duration::from_millis(50)).await;
    fetcher.asks(&token(Algorithm::ES256, "one")).await.expect_problem(503, "UNAVAILABLE");
    assert!(fetcher.health().contains("didn't answer in time"), "{}", fetcher.health());
}

#[tokio::test]
async fn a_symmetric_key_of_a_set_and_a_key_for_encryption_open_nothing() {
    let secret = "a-shared-secret-for-tests-0123456789";
    let oct = json!({"kty": "oct", "kid": "s", "alg": "HS256",
                     "k": "YS1zaGFyZWQtc2VjcmV0LWZvci10ZXN0cy0wMTIzNDU2Nzg5"});
    let mut sealing = public(Algorithm::RS256, "enc");
    sealing["use"] = "enc".into();
    let provider = Provider::start(set(&[oct, sealing])).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("s".into());
    let claims = json!({"sub": "ada", "role": "super_admin", "exp": 4_102_444_800_u64});
    let key = EncodingKey::from_secret(secret.as_bytes());
    let forged = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    fetcher.asks(&forged).await.expect_problem(401, "UNAUTHENTICATED");
    fetcher.asks(&token(Algorithm::RS256, "enc")).await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn the_issuer_s_discovery_document_names_the_key_set() {
    let provider = Provider::start(set(&[public(Algorithm::EdDSA, "one")])).await;
    let fetcher = Fetcher::eager(provider.discovered()).await;
    fetcher.asks(&token(Algorithm::EdDSA, "one")).await.expect(200);
    assert_eq!((provider.fetches(), fetcher.health()), (1, "ok".into()));
}

#[tokio::test]
async fn a_discovery_document_of_somebody_else_or_to_somewhere_else_is_not_believed() {
    let provider = Provider::start(set(&[public(Algorithm::EdDSA, "one")])).await;
    let (url, keys) = (&provider.url, format!("{}/keys", provider.url));
    let fetcher = Fetcher::eager(provider.discovered()).await;
    fetcher.asks(&token(Algorithm::EdDSA, "one")).await.expect(200);
    for (document, fault) in [
        (json!({"issuer": format!("{url}/"), "jwks_uri": keys}), "names another issuer"),
        (json!({"issuer": "https://evil.example", "jwks_uri": keys}), "names another issuer"),
        (json!({"issuer": url}), "isn't a discovery document"),
        (json!({"issuer": url, "jwks_uri": "http://evil.example/keys"}), "may not be fetched"),
        (json!({"issuer": url, "jwks_uri": "file:///etc/passwd"}), "may not be fetched"),
    ] {
        *provider.discovery.lock() = Does::Says(200, document.to_string());
        fetcher.asks(&token(Algorithm::EdDSA, "unknown")).await.expect(503);
        assert!(fetcher.health().contains(fault), "{}", fetcher.health());
    }
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_fetches_what_its_settings_name_and_says_how_it_stands() {
    let provider = Provider::start(Does::Says(500, String::new())).await;
    let data = tempfile::tempdir().unwrap();
    let issuer = provider.url.clone();
    let running = tokio::task::spawn_blocking(move || {
        let variables = [
            ("ENTITLED_ROOT_KEY", ROOT),
            ("ENTITLED_JWT__DISCOVERY", "true"),
            ("ENTITLED_JWT__ISSUER", issuer.as_str()),
            ("ENTITLED_JWT__JWKS_COOLDOWN_SECONDS", "1"),
        ];
        (Running::serve(data.path(), &variables), data)
    });
    let (running, _data) = running.await.unwrap();
    let ready = reqwest::get(format!("{}/readyz", running.url())).await.unwrap();
    assert_eq!(ready.status(), 200);
    let ready: Value = ready.json().await.unwrap();
    let health = ready["checks"]["key_set"].as_str().unwrap();
    assert!(health.starts_with("no key set yet"), "{health}");

    provider.now(set(&[public(Algorithm::EdDSA, "one")]));
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("one".into());
    let claims = json!({"sub": "ada", "role": "super_admin", "exp": 4_102_444_800_u64,
                        "iss": provider.url});
    let token = jsonwebtoken::encode(&header, &claims, &signer(Algorithm::EdDSA)).unwrap();
    let url = format!("{}/api/v1/admin/tenants", running.url());
    // Whoever is told to come back comes back; the pauses after failures make it few times.
    loop {
        let request = reqwest::Client::new().get(&url).bearer_auth(&token);
        match request.send().await.unwrap().status().as_u16() {
            503 => tokio::task::yield_now().await,
            status => break assert_eq!(status, 200),
        }
    }
    assert_eq!(tokio::task::spawn_blocking(|| running.terminate()).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_stream_of_events_ends_when_the_key_of_its_token_is_no_longer_in_the_set() {
    let both = [public(Algorithm::RS256, "goes"), public(Algorithm::ES256, "stays")];
    let provider = Provider::start(set(&both)).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    let tokens = [token(Algorithm::RS256, "goes"), token(Algorithm::ES256, "stays")];
    let mut streams = Vec::new();
    for token in &tokens {
        // The first question waits for the set.
        fetcher.asks(token).await.expect(200);
        streams.push(fetcher.app.bearer(token).listen("").await);
    }
    let later = [public(Algorithm::ES256, "stays"), public(Algorithm::EdDSA, "comes")];
    provider.now(set(&later));
    fetcher.asks(&token(Algorithm::EdDSA, "comes")).await.expect(200);
    assert_eq!(streams[0].expect("end").await.data, json!({"reason": "credential"}));
    assert_eq!(streams[0].next().await, None);
    fetcher.asks(&tokens[0]).await.expect(401);
    fetcher.app.tenant("acme", json!({})).await;
    let told = streams[1].expect("change").await.data;
    assert_eq!(told["cause"], "tenant.created");
}

#[tokio::test]
async fn a_key_set_that_cant_be_fetched_ends_no_stream() {
    let provider = Provider::start(set(&[public(Algorithm::RS256, "a")])).await;
    let fetcher = Fetcher::eager(provider.set()).await;
    let known = token(Algorithm::RS256, "a");
    fetcher.asks(&known).await.expect(200);
    let mut stream = fetcher.app.bearer(&known).listen("").await;
    for bad in [Does::Closes, Does::Redirects, Does::Says(500, String::new())] {
        provider.now(bad);
        fetcher.asks(&token(Algorithm::RS256, "b")).await.expect(503);
    }
    fetcher.app.tenant("acme", json!({})).await;
    assert_eq!(stream.expect("change").await.data["cause"], "tenant.created");
}
