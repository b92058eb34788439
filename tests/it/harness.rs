//! One real server for a test: a real database file, a real socket, its own clock, gone at the end.
//!
//! `KEEP_DB=1` keeps the database of a failing test and prints where it lies.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use entitled::{
    clock::Clock,
    domain::{callers::OperatorRole, checks::Mode, time::Timestamp},
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
        claims::{Act, Claims},
        keyring::{Keyring, Secret},
        memory::CacheOptions,
        policy::Policy,
        rates::{Quota, Rates},
        tokens::{Expected, TokenKeys, Tokens, issue},
    },
    store::{Durability, StoreOptions, anchor::Anchoring},
};
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub const ROOT_KEY: &str = "root-key-for-tests-0123456789abcdef";
pub const JWT_SECRET: &str = "a-shared-secret-for-tests-0123456789";

/// 2026-03-01T12:00:00Z: when every test begins.
pub fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// How a server of a test differs from the usual one.
#[derive(Debug, Clone)]
pub struct Given {
    pub gating: Gating,
    pub cache: CacheOptions,
    pub policy: Policy,
    pub edge: fn(&mut EdgeSettings),
    /// From the directory of the database.
    pub anchoring: fn(&Path) -> Anchoring,
    /// Else those that are signed with `JWT_SECRET`.
    pub tokens: Option<Arc<Tokens>>,
    /// How much each caller may send.
    pub quota: Option<Quota>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            gating: Gating::BySettings,
            cache: CacheOptions::default(),
            policy: Policy::default(),
            edge: |_| {},
            anchoring: |_| Anchoring::Off,
            tokens: None,
            quota: None,
        }
    }
}

pub struct App {
    pub address: SocketAddr,
    pub clock: Clock,
    pub service: Service,
    pub database: PathBuf,
    client: reqwest::Client,
    stop: CancellationToken,
    dir: Option<tempfile::TempDir>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Fails unless the status is this one, showing the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:#}", self.body);
        self
    }

    /// Fails unless it is a problem with this status and code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.body["code"], code, "{:#}", reply.body);
        assert_eq!(reply.body["status"], status);
        assert!(!reply.body["request_id"].as_str().unwrap().is_empty());
        reply
    }
}

/// A request by somebody.
#[derive(Clone)]
pub struct Client<'a> {
    app: &'a App,
    credential: Option<String>,
}

impl App {
    /// An empty server.
    pub async fn start() -> Self {
        Self::given(Given::default()).await
    }

    /// A server with the retail catalog as it is shipped.
    pub async fn retail() -> Self {
        let app = Self::start().await;
        app.apply_catalog(include_str!("../../examples/retail.yaml")).await;
        app
    }

    pub async fn given(given: Given) -> Self {
        let clock = Clock::manual(start());
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("entitled.db");
        let root = Keyring::new(Some(&Secret::new(ROOT_KEY))).unwrap();
        let keyring = Arc::new(root);
        let options = StoreOptions {
            durability: Durability::None,
            anchoring: (given.anchoring)(dir.path()),
            ..StoreOptions::at(database.clone())
        };
        let Given { gating, cache, policy, .. } = given.clone();
        let service =
            Service::open(&options, cache, gating, policy, clock.clone(), keyring.clone()).unwrap();
        let secret = TokenKeys::Secret(Secret::new(JWT_SECRET));
        let by_secret = || Arc::new(Tokens::new(&secret, Expected::default()).unwrap());
        let tokens = Some(given.tokens.unwrap_or_else(by_secret));
        let auth = Arc::new(AuthState {
            tokens,
            keyring,
            rates: Rates::new(given.quota),
            clock: clock.clone(),
        });
        let mut edge = EdgeSettings {
            body_bytes: 64 * 1024,
            large_body_bytes: 1024 * 1024,
            large_paths: EdgeSettings::default().large_paths,
            body_deadline: Duration::from_secs(5),
            handler_deadline: Duration::from_secs(10),
            trusted_proxies: TrustedProxies::default(),
            log: RequestLog::Off,
            spans: None,
        };
        (given.edge)(&mut edge);
        let readiness = || Readiness { ready: true, checks: Default::default() };
        let endpoint = http::front(service.clone(), auth, edge, readiness).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr();
        let stop = CancellationToken::new();
        let limits = listener::Limits {
            connections: 256,
            head_deadline: Duration::from_secs(5),
            write_stall: Duration::from_secs(5),
            head_bytes: 64 * 1024,
            drain_deadline: Duration::from_secs(2),
        };
        tokio::spawn(listener.serve(endpoint, limits, stop.clone()));
        let client = reqwest::Client::new();
        Self { address, clock, service, database, client, stop, dir: Some(dir) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let us = self.clock.now().micros() + i64::try_from(by.as_micros()).unwrap();
        self.clock.set(Timestamp::from_micros(us));
    }

    /// For requests that no [`Client`] would send.
    pub fn http(&self) -> &reqwest::Client {
        &self.client
    }

    /// Somebody without a credential.
    pub fn nobody(&self) -> Client<'_> {
        Client { app: self, credential: None }
    }

    /// The super admin.
    pub fn root(&self) -> Client<'_> {
        self.bearer(ROOT_KEY)
    }

    /// The bearer of a token or key.
    pub fn bearer(&self, credential: &str) -> Client<'_> {
        Client { app: self, credential: Some(credential.to_owned()) }
    }

    /// A caller of this role, bound to this tenant, by token.
    pub fn caller(&self, role: OperatorRole, tenant: Option<&str>, sub: &str) -> Client<'_> {
        self.bearer(&self.token(role, tenant, sub, Mode::Tenant, None))
    }

    pub fn token(
        &self,
        role: OperatorRole,
        tenant: Option<&str>,
        sub: &str,
        mode: Mode,
        act: Option<&str>,
    ) -> String {
        let claims = Claims {
            sub: sub.parse().unwrap(),
            role,
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            mode,
            act: act.map(|act| Act::Id(act.parse().unwrap())),
            // In the year 2100: tests move the clock.
            exp: 4_102_444_800.0,
            nbf: None,
            iss: None,
            aud: None,
        };
        issue(&Secret::new(JWT_SECRET), &claims).unwrap()
    }

    /// The backend of the application: an unbound service.
    pub fn backend(&self) -> Client<'_> {
        self.caller(OperatorRole::Service, None, "backend")
    }

    #[track_caller]
    pub fn apply_catalog(&self, yaml: &'static str) -> impl Future<Output = Reply> + '_ {
        let root = self.root();
        async move {
            let reply =
                root.send_text(Method::PUT, "/api/v1/admin/catalog", "application/yaml", yaml);
            reply.await.expect(200)
        }
    }

    /// Makes a tenant; `more` is merged into the body.
    pub async fn tenant(&self, key: &str, more: Value) -> Reply {
        let mut body = serde_json::json!({"key": key, "name": key});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.root().post("/api/v1/admin/tenants", body).await.expect(201)
    }

    /// Puts a tenant on a plan; `more` is merged into the body.
    pub async fn assign(&self, tenant: &str, plan: &str, more: Value) -> Reply {
        let mut body = serde_json::json!({"plan": plan, "change_reason": "for a test"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/api/v1/admin/tenants/{tenant}/subscriptions");
        self.root().post(&path, body).await.expect(201)
    }

    /// What `check` answers the application's backend.
    pub async fn check(&self, question: Value) -> Value {
        self.backend().post("/api/v1/check", question).await.expect(200).body
    }

    /// The payload of a tenant.
    pub async fn entitlements(&self, tenant: &str) -> Value {
        let path = format!("/api/v1/tenants/{tenant}/entitlements");
        self.backend().get(&path).await.expect(200).body
    }
}

impl Client<'_> {
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, Some(body), &[]).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None, &[]).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        reply(request).await
    }

    pub async fn send_text(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        text: impl Into<reqwest::Body>,
    ) -> Reply {
        reply(self.request(method, path).header("content-type", content_type).body(text)).await
    }

    /// An answer that is read piece by piece.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = self.request(Method::GET, path);
        let add = |request: reqwest::RequestBuilder, header: &(&str, &str)| {
            request.header(header.0, header.1)
        };
        headers.iter().fold(request, add).send().await.unwrap()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.app.address);
        let request = self.app.client.request(method, url);
        match &self.credential {
            Some(credential) => request.bearer_auth(credential),
            None => request,
        }
    }
}

async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let mut response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let is_endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let text = if is_endless {
        // Of what never ends, the beginning.
        let piece = response.chunk().await.unwrap().unwrap();
        String::from_utf8(piece.to_vec()).unwrap()
    } else {
        response.text().await.unwrap()
    };
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Reply { status, headers, body }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.cancel();
        if std::thread::panicking()
            && std::env::var_os("KEEP_DB").is_some()
            && let Some(dir) = self.dir.take()
        {
            println!("the database is kept in {}", dir.keep().display());
        }
    }
}
