//! Webhooks: signed, in order, tried again, logged; and receivers of every kind.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use entitled::{
    domain::time::Timestamp,
    service::{
        policy::Policy,
        webhooks::{
            WebhookOptions,
            address::{Networks, Schemes},
            signing::signatures,
        },
    },
    store::webhooks::Secrets,
    worker,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    given::day,
    harness::{App, Given},
};

pub const WEBHOOKS: &str = "/api/v1/admin/webhooks";

/// What a receiver got.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Received {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn kind(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["type"].as_str().unwrap().to_owned()
    }

    /// What the header must be by this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let secret = secret.strip_prefix("whsec_").unwrap().to_owned();
        let at: i64 = self.headers["webhook-timestamp"].parse().unwrap();
        let at = Timestamp::from_micros(at * 1_000_000);
        let wanted = signatures(&Secrets { secret, old: None }, self.id(), at, &self.body).unwrap();
        self.headers["webhook-signature"].split(' ').any(|signature| signature == wanted)
    }
}

/// How a receiver answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    To(u16, String),
    /// Nothing, for as long as somebody waits.
    Silence,
    /// A head, and then a body that never ends.
    Endless,
}

/// A receiver on a port of its own.
pub struct Receiver {
    pub url: String,
    got: mpsc::UnboundedReceiver<Received>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Answers the first requests so, and every other one like the last of them.
    pub async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let (sender, got) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            for count in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let answer = answers.get(count).or(answers.last()).unwrap().clone();
                tokio::spawn(serve(socket, answer, sender.clone()));
            }
        });
        Self { url, got, task }
    }

    pub async fn next(&mut self) -> Received {
        // Only so that a failing test ends.
        let got = tokio::time::timeout(Duration::from_secs(20), self.got.recv()).await;
        got.expect("a message should have come").unwrap()
    }

    pub fn is_idle(&mut self) -> bool {
        self.got.try_recv().is_err()
    }
}

async fn serve(mut socket: TcpStream, answer: Answer, sender: mpsc::UnboundedSender<Received>) {
    let mut bytes = Vec::new();
    let received = loop {
        if let Some(received) = parsed(&bytes) {
            break received;
        }
        if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let _ = sender.send(received);
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} x\r\n{more}\r\n");
    let text = match &answer {
        Answer::Status(status) => head(*status, "content-length: 0\r\n"),
        Answer::To(status, place) => {
            head(*status, &format!("location: {place}\r\ncontent-length: 0\r\n"))
        }
        Answer::Endless => head(200, "content-length: 1000000000000\r\n"),
        Answer::Silence => {
            let _ = socket.read_buf(&mut bytes).await;
            return;
        }
    };
    let _ = socket.write_all(text.as_bytes()).await;
    if matches!(answer, Answer::Endless) {
        while socket.write_all(&[b'x'; 4096]).await.is_ok() {}
    }
}

fn parsed(bytes: &[u8]) -> Option<Received> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let headers: HashMap<_, _> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    (body.len() >= length).then(|| Received { headers, body: body.to_owned() })
}

fn given(change: fn(&mut WebhookOptions)) -> Given {
    let mut webhooks = WebhookOptions {
        schemes: Schemes::HttpToo,
        networks: Networks::Any,
        ..WebhookOptions::default()
    };
    change(&mut webhooks);
    Given { policy: Policy { webhooks, ..Policy::default() }, ..Given::default() }
}

/// A server that sends.
pub struct Sending {
    pub app: App,
    pub stop: CancellationToken,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sending {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: fn(&mut WebhookOptions)) -> Self {
        let app = App::given(given(change)).await;
        let mut sending = Self { app, stop: CancellationToken::new() };
        sending.go();
        sending
    }

    pub fn go(&mut self) {
        self.stop = CancellationToken::new();
        tokio::spawn(worker::webhooks::run(self.app.service.clone(), self.stop.clone()));
    }

    /// Makes a webhook; its id and secret.
    pub async fn webhook(&self, url: &str, more: Value) -> (String, String) {
        let mut body = json!({"url": url});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.app.root().post(WEBHOOKS, body).await.expect(201).body;
        let id = made["webhook"]["id"].as_str().unwrap().to_owned();
        (id, made["secret"].as_str().unwrap().to_owned())
    }

    pub async fn tenant(&self, key: &str) {
        self.app.tenant(key, json!({})).await;
    }

    /// What was sent to a webhook, newest first, once `is_enough`.
    pub async fn deliveries(&self, id: &str, is_enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let path = format!("{WEBHOOKS}/{id}/deliveries");
        // Only so that a failing test ends.
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let list = self.app.root().get(&path).await.expect(200).body;
            let list = list["items"].as_array().unwrap().clone();
            if is_enough(&list) {
                return list;
            }
            tokio::task::yield_now().await;
        }
        panic!("{:#}", self.app.root().get(&path).await.body);
    }

    /// Until the oldest message had so many attempts.
    pub async fn attempts(&self, id: &str, count: usize) -> Value {
        let has = |list: &[Value]| {
            let attempts = list.last().and_then(|oldest| oldest["attempts"].as_array());
            attempts.is_some_and(|attempts| attempts.len() >= count)
        };
        self.deliveries(id, has).await.pop().unwrap()
    }
}

pub fn tenants() -> Value {
    json!({"events": ["tenant."]})
}

#[tokio::test]
async fn a_change_is_delivered_signed_and_logged() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(204)]).await;
    let (id, secret) = sending.webhook(&receiver.url, tenants()).await;
    sending.tenant("acme").await;
    let got = receiver.next().await;
    assert!(got.is_signed_with(&secret));
    assert_eq!(got.headers["content-type"], "application/json");
    assert!(got.headers["user-agent"].starts_with("entitled/"));
    let body: Value = serde_json::from_str(&got.body).unwrap();
    let data = json!({"tenant": "acme", "version": 2, "keys": [], "subject": "acme"});
    let expected =
        json!({"type": "tenant.created", "timestamp": "2026-03-01T12:00:00Z", "data": data});
    assert_eq!(body, expected);

    let logged = sending.attempts(&id, 1).await;
    assert_eq!((&logged["id"], &logged["state"]), (&json!(got.id()), &json!("delivered")));
    assert_eq!((&logged["payload"], &logged["event"]), (&body, &json!("tenant.created")));
    let attempt = &logged["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("delivered"), &json!(204)));
}

#[tokio::test]
async fn a_webhook_is_told_of_the_events_and_the_tenant_that_it_names() {
    let sending = Sending::start().await;
    sending.tenant("acme").await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let of_acme = json!({"events": ["tenant.u", "api_key."], "tenant": "acme"});
    sending.webhook(&receiver.url, of_acme).await;
    sending.tenant("other").await;
    sending.app.change_tenant("other", json!({"name": "Other"})).await;
    sending.app.change_tenant("acme", json!({"name": "Acme"})).await;
    let key = json!({"name": "k", "role": "service", "tenant": "acme"});
    sending.app.root().post("/api/v1/admin/api-keys", key).await.expect(201);
    let kinds = [receiver.next().await.kind(), receiver.next().await.kind()];
    assert_eq!(kinds, ["tenant.updated", "api_key.created"]);
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn what_fails_is_tried_again_by_the_schedule_with_the_same_id_and_in_order() {
    let sending = Sending::start().await;
    let answers = [500, 503, 200, 200, 200].map(Answer::Status).to_vec();
    let mut receiver = Receiver::start(answers).await;
    let (id, secret) = sending.webhook(&receiver.url, tenants()).await;
    sending.tenant("acme").await;
    let first = receiver.next().await;
    sending.attempts(&id, 1).await;
    // What comes after it waits, and what concerns another tenant doesn't.
    sending.app.change_tenant("acme", json!({"name": "A"})).await;
    sending.app.change_tenant("acme", json!({"name": "B"})).await;
    sending.app.advance(Duration::from_secs(6));
    let second = receiver.next().await;
    assert_eq!((second.id(), &second.body), (first.id(), &first.body));
    assert_ne!(second.headers["webhook-timestamp"], first.headers["webhook-timestamp"]);
    assert!(second.is_signed_with(&secret));
    let waiting = sending.attempts(&id, 2).await;
    assert_eq!(waiting["state"], "waiting");
    assert!(receiver.is_idle());
    sending.tenant("other").await;
    assert_eq!(receiver.next().await.kind(), "tenant.created");
    sending.app.advance(Duration::from_secs(331));
    let third = receiver.next().await;
    assert_eq!(third.id(), first.id());
    let rest = [receiver.next().await, receiver.next().await];
    let names = rest.map(|got| got.body);
    let updated =
        sending.deliveries(&id, |list| list.iter().all(|d| d["state"] == "delivered")).await;
    let mut expected: Vec<_> = updated
        .iter()
        .filter(|d| d["event"] == "tenant.updated")
        .map(|d| d["payload"].to_string())
        .collect();
    expected.reverse();
    assert_eq!(names.to_vec(), expected);
}

#[tokio::test]
async fn a_webhook_is_disabled_when_all_attempts_of_a_message_have_failed() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(500)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    sending.tenant("acme").await;
    sending.app.change_tenant("acme", json!({"name": "A"})).await;
    for count in 1..=10 {
        receiver.next().await;
        sending.attempts(&id, count).await;
        sending.app.advance(Duration::from_secs(27 * 3_600));
    }
    let failed = sending.attempts(&id, 10).await;
    assert_eq!((&failed["state"], &failed["next_attempt_at"]), (&json!("failed"), &Value::Null));
    let path = format!("{WEBHOOKS}/{id}");
    let webhook = sending.app.root().get(&path).await.expect(200).body;
    assert_eq!(
        (&webhook["enabled"], &webhook["disabled_reason"]),
        (&json!(false), &json!("exhausted"))
    );
    let told = sending.app.events("event=webhook.disabled").await;
    assert_eq!((told.len(), &told[0]["actor"]["id"]), (1, &json!("webhooks")));
    // Nothing is sent, and nothing of what happens is kept for later.
    sending.app.change_tenant("acme", json!({"name": "B"})).await;
    sending
        .app
        .root()
        .post(&format!("{path}/test"), json!({}))
        .await
        .expect_problem(409, "WEBHOOK_DISABLED");
    assert!(receiver.is_idle());
    // What waited behind the failed one goes on.
    sending.app.root().patch(&path, json!({"enabled": true})).await.expect(200);
    let next = receiver.next().await;
    assert!(next.kind() == "tenant.updated" && next.body.contains("acme"), "{}", next.body);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_asked_again() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(410)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    sending.tenant("acme").await;
    receiver.next().await;
    let failed = sending.attempts(&id, 1).await;
    assert_eq!(
        (&failed["state"], &failed["attempts"][0]["outcome"]),
        (&json!("failed"), &json!("gone"))
    );
    let webhook = sending.app.root().get(&format!("{WEBHOOKS}/{id}")).await.expect(200).body;
    assert_eq!(webhook["disabled_reason"], "gone");
}

#[tokio::test]
async fn a_receiver_that_hangs_redirects_or_never_ends_costs_only_its_own() {
    let sending = Sending::with(|options| options.deadline = Duration::from_secs(2)).await;
    let mut elsewhere = Receiver::start(vec![Answer::Status(200)]).await;
    let mut silent = Receiver::start(vec![Answer::Silence]).await;
    let mut lying = Receiver::start(vec![Answer::To(302, elsewhere.url.clone())]).await;
    let mut endless = Receiver::start(vec![Answer::Endless]).await;
    let mut good = Receiver::start(vec![Answer::Status(200)]).await;
    let mut ids = Vec::new();
    for url in [&silent.url, &lying.url, &endless.url, &good.url] {
        ids.push(sending.webhook(url, tenants()).await.0);
    }
    for count in 0..20 {
        sending.tenant(&format!("t{count}")).await;
    }
    for _ in 0..20 {
        good.next().await;
        endless.next().await;
        lying.next().await;
    }
    silent.next().await;
    let outcome = |delivery: Value| delivery["attempts"][0]["outcome"].as_str().unwrap().to_owned();
    let mut outcomes = Vec::new();
    for id in &ids {
        outcomes.push(outcome(sending.attempts(id, 1).await));
    }
    assert_eq!(outcomes, ["timeout", "refused", "delivered", "delivered"]);
    assert!(elsewhere.is_idle(), "a redirect was followed");
}

#[tokio::test]
async fn nothing_is_sent_into_the_operators_own_network() {
    let sending = Sending::with(|options| options.networks = Networks::PublicAlone).await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    for url in [&receiver.url, "http://localhost/in", "http://[::1]/", "http://10.0.0.1/"] {
        let refused = sending.app.root().post(WEBHOOKS, json!({"url": url})).await;
        let refused = refused.expect_problem(422, "INVALID_VALUE");
        assert!(refused.body["fields"]["url"][0].as_str().unwrap().contains("private"), "{url}");
    }
    // A name that led elsewhere when it was given, and an address that somebody wrote in.
    let port = receiver.url.split(':').next_back().unwrap().to_owned();
    for (key, host) in [("a", "localhost"), ("b", "127.0.0.1")] {
        let (id, _) = sending
            .webhook("https://hooks.example.com/", json!({"events": ["webhook.none"]}))
            .await;
        let connection = Connection::open(&sending.app.database).unwrap();
        let url = format!("http://{host}:{port}");
        connection.execute("UPDATE webhooks SET url = ?1 WHERE id = ?2", [&url, &id]).unwrap();
        sending.app.root().post(&format!("{WEBHOOKS}/{id}/test"), json!({})).await.expect(200);
        let logged = sending.attempts(&id, 1).await;
        assert_eq!(logged["attempts"][0]["outcome"], "forbidden", "{key} {host}");
    }
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn both_secrets_sign_until_the_old_one_ends() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let (id, old) = sending.webhook(&receiver.url, tenants()).await;
    let path = format!("{WEBHOOKS}/{id}/secret");
    let rotated =
        sending.app.root().post(&path, json!({"overlap_seconds": 86_400})).await.expect(200).body;
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!(rotated["webhook"]["old_secret_until"], day(1));
    assert_ne!(new, old);
    sending.tenant("acme").await;
    let both = receiver.next().await;
    assert!(both.is_signed_with(&old) && both.is_signed_with(new));
    sending.app.move_to_day(1);
    sending.tenant("other").await;
    let one = receiver.next().await;
    assert!(!one.is_signed_with(&old) && one.is_signed_with(new));
}

#[tokio::test]
async fn what_waits_survives_a_stop_and_anything_can_be_sent_again() {
    let mut sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    sending.stop.cancel();
    sending.tenant("acme").await;
    sending.go();
    let first = receiver.next().await;
    sending.attempts(&id, 1).await;
    let path = format!("{WEBHOOKS}/{id}/deliveries/{}/resend", first.id());
    sending.app.root().post(&path, json!({})).await.expect(200);
    let again = receiver.next().await;
    assert_eq!((again.id(), &again.body), (first.id(), &first.body));
    sending.app.root().post(&format!("{WEBHOOKS}/{id}/test"), json!({})).await.expect(200);
    assert_eq!(receiver.next().await.kind(), "webhook.test");
    let missing = format!("{WEBHOOKS}/{id}/deliveries/none/resend");
    sending.app.root().post(&missing, json!({})).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_stands_nowhere_else() {
    let sending = Sending::start().await;
    let body = json!({"url": "https://hooks.example.com/in"});
    let once = [("idempotency-key", "make-it")];
    let root = sending.app.root();
    let post = || root.send(reqwest::Method::POST, WEBHOOKS, Some(body.clone()), &once);
    let made = post().await.expect(201).body;
    let secret = made["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap().to_owned();
    let again = post().await.expect(201).body;
    assert_eq!((&again["secret"], &again["webhook"]), (&Value::Null, &made["webhook"]));
    let id = made["webhook"]["id"].as_str().unwrap();
    let list = sending.app.root().get(WEBHOOKS).await.expect(200).body;
    let one = sending.app.root().get(&format!("{WEBHOOKS}/{id}")).await.expect(200).body;
    let trail = sending.app.events("event=webhook.").await;
    let all = format!("{list} {one} {trail:?}");
    assert!(!all.contains(&secret) && all.contains(id));
    // In the one column that it is signed from.
    let dump = crate::authorization::dump(&sending.app);
    assert_eq!(dump.matches(&secret).count(), 1);
}

#[tokio::test]
async fn bad_webhooks_are_refused_with_all_that_is_wrong() {
    let sending = Sending::with(|options| options.endpoints = 1).await;
    let bad = json!({"url": "ftp://x", "events": ["No Such"], "tenant": "none"});
    let refused = sending.app.root().post(WEBHOOKS, bad).await.expect_problem(422, "INVALID_VALUE");
    let fields: Vec<_> = refused.body["fields"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["events", "tenant", "url"]);
    sending.webhook("https://hooks.example.com/", json!({})).await;
    let more = json!({"url": "https://hooks.example.com/"});
    sending.app.root().post(WEBHOOKS, more).await.expect_problem(409, "TOO_MANY_WEBHOOKS");
}

#[tokio::test]
async fn a_webhook_for_which_too_much_waits_is_disabled_and_what_is_over_is_pruned() {
    let sending = Sending::with(|options| options.backlog = 2).await;
    let mut receiver = Receiver::start(vec![Answer::Status(500)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    sending.tenant("acme").await;
    receiver.next().await;
    sending.attempts(&id, 1).await;
    for name in ["A", "B", "C"] {
        sending.app.change_tenant("acme", json!({"name": name})).await;
    }
    sending.app.advance(Duration::from_secs(6));
    receiver.next().await;
    sending.attempts(&id, 2).await;
    let path = format!("{WEBHOOKS}/{id}");
    assert_eq!(sending.app.root().get(&path).await.body["disabled_reason"], "backlog");

    let mut good = Receiver::start(vec![Answer::Status(200)]).await;
    let (other, _) = sending.webhook(&good.url, tenants()).await;
    sending.tenant("beta").await;
    good.next().await;
    sending.attempts(&other, 1).await;
    let worker = entitled::service::Actor::system("upkeep");
    sending.app.service.prune_deliveries(&worker).await.unwrap();
    assert_eq!(sending.deliveries(&other, |_| true).await.len(), 1);
    sending.app.move_to_day(31);
    sending.app.service.prune_deliveries(&worker).await.unwrap();
    assert!(sending.deliveries(&other, |_| true).await.is_empty());
    // What waits is kept.
    assert_eq!(sending.deliveries(&id, |_| true).await.len(), 4);
    sending.app.root().delete(&path).await.expect(204);
    sending.app.root().get(&path).await.expect_problem(404, "NOT_FOUND");
}
