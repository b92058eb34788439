//! The front door on a socket of its own, and a client that says anything.

use super::*;

pub(super) const ROOT: &str = "root-key-that-is-long-enough-for-us";
pub(super) const SECRET: &str = "a-shared-secret-of-at-least-32-bytes";

pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) served: tokio::task::JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) async fn open() -> Door {
    let limits = Limits {
        connections: 4,
        head_deadline: Duration::from_millis(500),
        drain_deadline: Duration::from_secs(2),
        ..Limits::default()
    };
    open_with(limits).await
}

pub(super) async fn open_with(limits: Limits) -> Door {
    let keys = TokenKeys::Secret(Secret::new(SECRET));
    let auth = AuthState {
        rates: Rates::new(None),
        tokens: Some(Arc::new(Tokens::new(&keys, Expected::default()).unwrap())),
        keyring: Arc::new(Keyring::new(Some(&Secret::new(ROOT))).unwrap()),
        clock: Clock::manual(Timestamp::from_micros(1_000_000_000)),
    };
    let settings = EdgeSettings {
        body_deadline: Duration::from_millis(500),
        handler_deadline: Duration::from_millis(900),
        ..EdgeSettings::default()
    };
    let ready = || Readiness { ready: false, checks: [("database", "locked".into())].into() };
    let app = app((Plans, Catalogs), Arc::new(auth), settings, ready).unwrap();
    let localhost = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let listener = Listener::bind(localhost).await.unwrap();
    let (address, stop) = (listener.local_addr(), CancellationToken::new());
    let served = tokio::spawn(listener.serve(app, limits, stop.clone()));
    Door { address, stop, served }
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}\n{}", self.head, self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn problem(&self, status: u16, code: &str) -> Value {
        let json = self.json();
        assert_eq!((self.status, &json["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(json.as_object().unwrap().len(), 8, "{}", self.body);
        assert_eq!(self.header("x-request-id"), json["request_id"].as_str());
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        json
    }
}

impl Door {
    /// Sends raw bytes and reads until the server hangs up.
    pub(super) async fn raw(&self, parts: &[&[u8]], pause: Duration) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        for part in parts {
            if socket.write_all(part).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let mut text = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut text));
        let _ = read.await.expect("the server hangs up");
        String::from_utf8_lossy(&text).into_owned()
    }

    pub(super) async fn send(&self, request: &str) -> Reply {
        parse(&self.raw(&[request.as_bytes()], Duration::ZERO).await)
    }

    pub(super) async fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: \
             {length}\r\n\r\n{body}"
        ))
        .await
    }

    pub(super) async fn root(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        self.call(method, path, &format!("x-api-key: {ROOT}\r\n{headers}"), body).await
    }

    pub(super) async fn post(&self, body: &str) -> Reply {
        self.root("POST", "/api/v1/tenants/acme/plans", "content-type: application/json\r\n", body)
            .await
    }
}

pub(super) fn parse(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}
