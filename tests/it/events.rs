//! Events: each change told once, in order, to those who may know of it, for as long as they may.

use std::{collections::VecDeque, io::BufRead, time::Duration};

use entitled::{
    domain::{callers::OperatorRole, time::Span},
    service::{
        Actor,
        events::{
            EventOptions,
            audience::Right,
            stream::{Signal, Subscription},
        },
        policy::Policy,
    },
};
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    audit_failure,
    crash::Server,
    given::{day, days},
    harness::{App, Client, Given, ROOT_KEY},
};

pub const EVENTS: &str = "/api/v1/events";

/// A message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: Option<u64>,
    pub event: String,
    pub data: Value,
}

/// A stream that is read message by message.
pub struct Stream {
    response: reqwest::Response,
    text: String,
    messages: VecDeque<Message>,
}

impl Stream {
    pub fn new(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), messages: VecDeque::new() }
    }

    /// The next message; none at the end. Comments are passed over.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Some(message);
            }
            // Only so that a failing test ends.
            let piece = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            let piece = piece.await.expect("a message should have come").unwrap()?;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                self.messages.extend(parsed(message));
                self.text = rest.to_owned();
            }
        }
    }

    /// The next message, which must be of this kind.
    pub async fn expect(&mut self, event: &str) -> Message {
        let message = self.next().await.expect("the stream has ended");
        assert_eq!(message.event, event, "{message:?}");
        message
    }

    /// The causes of the next changes.
    pub async fn causes(&mut self, count: usize) -> Vec<String> {
        let mut causes = Vec::new();
        for _ in 0..count {
            let change = self.expect("change").await;
            causes.push(change.data["cause"].as_str().unwrap().to_owned());
        }
        causes
    }
}

fn parsed(text: &str) -> Option<Message> {
    let mut message = Message { id: None, event: String::new(), data: Value::Null };
    for line in text.lines() {
        match line.split_once(": ").unwrap() {
            ("", comment) => {
                assert_eq!(comment, "keep-alive");
                return None;
            }
            ("id", id) => message.id = Some(id.parse().unwrap()),
            ("event", event) => message.event = event.to_owned(),
            ("data", data) => message.data = serde_json::from_str(data).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    Some(message)
}

impl Client<'_> {
    /// Listens from now on.
    pub async fn listen(&self, query: &str) -> Stream {
        let mut stream = Stream::new(self.open(&format!("{EVENTS}{query}"), &[]).await);
        let hello = stream.expect("hello").await;
        assert_eq!(hello.id, hello.data["seq"].as_u64());
        stream
    }

    /// Listens from after a place.
    pub async fn resume(&self, after: u64) -> Stream {
        let last = after.to_string();
        Stream::new(self.open(EVENTS, &[("last-event-id", &last)]).await)
    }
}

pub async fn shop() -> App {
    let app = App::retail().await;
    app.tenant("acme", json!({})).await;
    app.tenant("other", json!({})).await;
    app
}

pub fn with(events: EventOptions) -> Given {
    Given { policy: Policy { events, ..Policy::default() }, ..Given::default() }
}

/// Gives a tenant a module, and takes it away.
pub async fn touch(app: &App, tenant: &str) {
    app.grant(tenant, "hr", json!({"state": "enabled"})).await;
}

#[tokio::test]
async fn a_change_is_told_as_it_is_documented() {
    let app = shop().await;
    let mut stream = app.root().listen("").await;
    let made = app.grant("acme", "hr", json!({"state": "enabled"})).await.expect(201).body;
    let told = stream.expect("change").await;
    let version = app.entitlements("acme").await["version"].clone();
    let expected = json!({
        "seq": told.id, "at": made["created_at"], "tenant": "acme", "version": version,
        "keys": ["hr"], "global": false, "cause": "grant.created"
    });
    assert_eq!(told.data, expected);
}

#[tokio::test]
async fn every_operation_that_changes_something_is_told() {
    let mut all = audit_failure::changing();
    all.retain(audit_failure::is_audited);
    for operation in &all {
        let id = &operation.id;
        let (app, own, _) = audit_failure::world(operation).await;
        let before = app.events("").await.len();
        let mut stream = app.root().listen("").await;
        audit_failure::send(&app, operation, &own).await;
        let events = app.events("").await;
        let first = match id.as_str() {
            // Told before it is recorded.
            "run_expiry" => json!("time"),
            _ => {
                events.get(before.min(199)).unwrap_or_else(|| panic!("{id} has no event"))["event"]
                    .clone()
            }
        };
        assert_eq!(stream.expect("change").await.data["cause"], first, "{id}");
    }
    assert!(all.len() >= 30, "{}", all.len());
}

#[tokio::test]
async fn what_is_refused_and_what_changes_nothing_is_not_told() {
    let app = shop().await;
    let mut stream = app.root().listen("").await;
    app.root()
        .put("/api/v1/admin/tenants/acme/grants/nothing", json!({"state": "enabled"}))
        .await
        .expect(422);
    let body = json!({"key": "third", "name": "Third"});
    let once = [("idempotency-key", "make-third")];
    for _ in 0..2 {
        let path = "/api/v1/admin/tenants";
        app.root().send(reqwest::Method::POST, path, Some(body.clone()), &once).await.expect(201);
    }
    touch(&app, "acme").await;
    assert_eq!(stream.causes(2).await, ["tenant.created", "grant.created"]);
}

#[tokio::test]
async fn a_caller_is_told_of_its_own_tenant_and_of_what_concerns_everyone() {
    let app = shop().await;
    let roles = [OperatorRole::Service, OperatorRole::TenantAdmin, OperatorRole::TenantUser];
    let mut bound = Vec::new();
    for role in roles {
        bound.push(app.caller(role, Some("acme"), "ada").listen("").await);
    }
    bound.push(app.root().listen("?tenant=acme").await);
    let mut all = app.backend().listen("").await;
    touch(&app, "other").await;
    touch(&app, "acme").await;
    let other = include_str!("../../examples/retail.yaml").replace("users: 5,", "users: 6,");
    app.put_catalog("", other).await.expect(200);
    for stream in &mut bound {
        let own = stream.expect("change").await.data;
        assert_eq!((&own["tenant"], &own["global"]), (&json!("acme"), &json!(false)));
        let everyone = stream.expect("change").await.data;
        assert_eq!(everyone["cause"], "catalog.applied");
        assert_eq!((&everyone["tenant"], &everyone["global"]), (&Value::Null, &json!(true)));
        assert_eq!(everyone["keys"], json!([]));
    }
    let causes = all.causes(3).await;
    assert_eq!(causes, ["grant.created", "grant.created", "catalog.applied"]);

    let ada = app.caller(OperatorRole::TenantAdmin, Some("acme"), "ada");
    ada.get("/api/v1/events?tenant=other").await.expect_problem(404, "TENANT_NOT_FOUND");
    app.root().get("/api/v1/events?tenant=none").await.expect_problem(404, "TENANT_NOT_FOUND");
    ada.get("/api/v1/events?last_event_id=x").await.expect(422);
}

#[tokio::test]
async fn who_may_not_read_the_audit_is_told_of_answers_alone() {
    let app = shop().await;
    let mut service = app.backend().listen("").await;
    let mut auditor = app.caller(OperatorRole::Auditor, None, "ann").listen("").await;
    let key = json!({"name": "k", "role": "service", "tenant": "acme"});
    app.root().post("/api/v1/admin/api-keys", key).await.expect(201);
    touch(&app, "acme").await;
    assert_eq!(service.causes(1).await, ["grant.created"]);
    assert_eq!(auditor.causes(2).await, ["api_key.created", "grant.created"]);
}

#[tokio::test]
async fn a_user_is_told_of_what_can_alter_its_own_answers() {
    let app = shop().await;
    let mut ada = app.user("acme", "ada").listen("").await;
    for user in ["bob", "ada"] {
        let path = format!("/api/v1/tenants/acme/users/{user}/tier");
        app.root().put(&path, json!({"plan": "member"})).await;
        let path = format!("/api/v1/users/{user}/tier");
        app.root().put(&path, json!({"plan": "member"})).await;
    }
    touch(&app, "acme").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let change = ada.expect("change").await.data;
        seen.push((change["cause"].clone(), change["tenant"].clone(), change["global"].clone()));
    }
    let expected = [
        (json!("tier.assigned"), json!("acme"), json!(false)),
        (json!("tier.assigned"), Value::Null, json!(true)),
        (json!("grant.created"), json!("acme"), json!(false)),
    ];
    assert_eq!(seen, expected);
}

/// So many changes after a place, with their versions and tenants, by a reader that hangs up again
/// and again.
async fn read(client: Client<'_>, start: u64, expected: usize) -> Vec<(u64, u64, Value)> {
    let (mut place, mut seen) = (start, Vec::new());
    while seen.len() < expected {
        let mut stream = client.resume(place).await;
        let few = rand::rng().random_range(1..25).min(expected - seen.len());
        for _ in 0..few {
            let Message { id, data, .. } = stream.expect("change").await;
            place = id.unwrap();
            assert_eq!(data["seq"], place);
            seen.push((place, data["version"].as_u64().unwrap(), data["tenant"].clone()));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_resumes_under_load_misses_nothing_and_gets_nothing_twice() {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    let app = shop().await;
    let hello = app.root().open(EVENTS, &[]).await;
    let start = Stream::new(hello).expect("hello").await.id.unwrap();
    let write = async {
        let writers = (0..WRITERS).map(|writer| {
            let app = &app;
            async move {
                let tenant = if writer % 2 == 0 { "acme" } else { "other" };
                for count in 0..EACH {
                    let name = json!({"name": format!("{writer} {count}")});
                    app.change_tenant(tenant, name).await;
                }
            }
        });
        futures_util::future::join_all(writers).await;
    };
    let all = WRITERS * EACH;
    let bound = app.caller(OperatorRole::Service, Some("acme"), "s");
    let (root, bound, ()) =
        tokio::join!(read(app.root(), start, all), read(bound, start, all / 2), write);
    assert!(root.iter().zip(start + 1..).all(|(seen, seq)| seen.0 == seq), "{root:?}");
    assert!(root.windows(2).all(|pair| pair[0].1 < pair[1].1), "not in the order of commits");
    let own: Vec<_> = root.iter().filter(|seen| seen.2 == "acme").cloned().collect();
    assert_eq!(bound, own);
}

/// Listens in the process itself, where nothing is read unless it is asked for.
pub async fn direct(app: &App, after: Option<u64>) -> Subscription {
    let actor = Actor::system("test");
    app.service.stream_events(&actor, Right::Root, None, after).await.unwrap()
}

pub async fn one(subscription: &mut Subscription) -> Signal {
    let mut signals = subscription.next().await.unwrap().expect("it has ended");
    assert_eq!(signals.len(), 1, "{signals:?}");
    signals.remove(0)
}

fn seq(signal: &Signal) -> u64 {
    match signal {
        Signal::Change(news) => news.change.seq,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_slow_reader_is_dropped_with_a_place_to_resume_from() {
    let events = EventOptions { queue: 3, ..EventOptions::default() };
    let app = App::given(with(events)).await;
    let mut slow = direct(&app, None).await;
    let Signal::Hello(start) = one(&mut slow).await else { panic!("no hello") };
    for tenant in ["a", "b", "c", "d", "e"] {
        app.tenant(tenant, json!({})).await;
    }
    for count in 1..=3 {
        assert_eq!(seq(&one(&mut slow).await), start + count);
    }
    let Signal::Dropped(place) = one(&mut slow).await else { panic!("not dropped") };
    assert_eq!(place, start + 3);
    assert!(slow.next().await.unwrap().is_none());

    let mut again = direct(&app, Some(place)).await;
    let rest = again.next().await.unwrap().unwrap();
    assert_eq!(rest.iter().map(seq).collect::<Vec<_>>(), [start + 4, start + 5]);
}

#[tokio::test]
async fn the_end_of_an_override_is_told_once_at_its_instant_though_nobody_records_it() {
    let app = shop().await;
    let body = json!({
        "tenant": "acme", "key": "pay", "enabled": true, "expires_at": day(3),
        "reason": "for a test"
    });
    app.root().post("/api/v1/admin/overrides", body).await.expect(201);
    let mut service = app.backend().listen("").await;
    let mut auditor = app.caller(OperatorRole::Auditor, None, "ann").listen("").await;
    let worker = Actor::system("boundaries");
    app.move_to_end_of_day(3);
    app.service.tell_boundaries(&worker).await.unwrap();
    app.move_to_day(3);
    for _ in 0..3 {
        app.service.tell_boundaries(&worker).await.unwrap();
    }
    // Recorded later: no answer changes by that.
    app.move_to_day(4);
    app.service.expire(&worker).await.unwrap();
    touch(&app, "other").await;

    let told = service.expect("change").await.data;
    assert_eq!((&told["cause"], &told["at"]), (&json!("time"), &json!(day(3))));
    assert_eq!((&told["tenant"], &told["keys"]), (&json!("acme"), &json!(["pay"])));
    assert_eq!(service.causes(1).await, ["grant.created"]);
    let all = ["time", "entitlement.override.expired", "grant.created"];
    assert_eq!(auditor.causes(3).await, all);
}

#[tokio::test]
async fn the_end_of_a_trial_is_told_at_its_instant_by_the_task_that_waits_for_it() {
    let app = shop().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let task = entitled::worker::boundaries::run(app.service.clone(), stop.clone());
    let task = tokio::spawn(task);
    let mut stream = app.caller(OperatorRole::TenantAdmin, Some("acme"), "ada").listen("").await;
    let trial = json!({"state": "trial", "trial_expires_at": day(5)});
    app.grant("acme", "hr", trial).await.expect(201);
    assert_eq!(stream.causes(1).await, ["grant.created"]);
    app.move_to_day(5);
    let told = stream.expect("change").await.data;
    assert_eq!((&told["cause"], &told["keys"]), (&json!("time"), &json!(["hr"])));
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_place_that_is_not_kept_or_never_was_is_answered_with_a_new_one() {
    let events = EventOptions { keep_rows: 2, ..EventOptions::default() };
    let app = App::given(with(events)).await;
    for tenant in ["a", "b", "c", "d", "e"] {
        app.tenant(tenant, json!({})).await;
    }
    app.service.prune_events(&Actor::system("upkeep")).await.unwrap();
    let mut stream = app.root().resume(1).await;
    let resync = stream.expect("resync").await;
    assert_eq!((resync.id, &resync.data), (Some(5), &json!({"seq": 5, "reason": "too_old"})));
    app.tenant("f", json!({})).await;
    assert_eq!(stream.causes(1).await, ["tenant.created"]);
    let mut ahead = app.root().resume(99).await;
    assert_eq!(ahead.expect("resync").await.id, Some(6));
    let mut kept = app.root().resume(4).await;
    assert_eq!(kept.expect("change").await.id, Some(5));
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_goes_but_never_the_newest() {
    let events = EventOptions { keep_for: Span::hours(1), ..EventOptions::default() };
    let app = App::given(with(events)).await;
    for tenant in ["a", "b", "c"] {
        app.tenant(tenant, json!({})).await;
    }
    app.advance(days(1));
    app.service.prune_events(&Actor::system("upkeep")).await.unwrap();
    assert_eq!(app.root().resume(1).await.expect("resync").await.id, Some(3));
    let mut stream = app.root().resume(2).await;
    assert_eq!(stream.expect("change").await.id, Some(3));
    app.tenant("d", json!({})).await;
    assert_eq!(stream.expect("change").await.id, Some(4));
}

#[tokio::test]
async fn there_are_never_more_subscribers_than_the_limit() {
    let events = EventOptions { subscribers: 2, ..EventOptions::default() };
    let app = App::given(with(events)).await;
    let _first = app.root().listen("").await;
    let second = direct(&app, None).await;
    let refused = app.root().get(EVENTS).await.expect_problem(503, "OVERLOADED");
    assert!(!refused.header("retry-after").is_empty());
    drop(second);
    app.root().listen("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_neither_loses_nor_repeats_a_change_and_ends_streams_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let make = |url: String, key: &'static str| {
        let body = json!({"key": key, "name": key});
        http.post(format!("{url}/api/v1/admin/tenants")).bearer_auth(ROOT_KEY).json(&body).send()
    };
    let open = |url: &str, last: u64| {
        let request = http.get(format!("{url}{EVENTS}")).bearer_auth(ROOT_KEY);
        request.header("last-event-id", last).send()
    };
    let server = Server::start(dir.path());
    make(server.url.clone(), "a").await.unwrap();
    let mut stream = Stream::new(open(&server.url, 0).await.unwrap());
    assert_eq!(stream.expect("change").await.id, Some(1));
    make(server.url.clone(), "b").await.unwrap();
    let id = server.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(stream.expect("change").await.id, Some(2));
    assert_eq!(stream.expect("end").await.data, json!({"reason": "shutdown"}));
    assert_eq!(stream.next().await, None);
    let mut server = server;
    assert_eq!(server.child.wait().unwrap().code(), Some(0));

    let server = Server::start(dir.path());
    make(server.url.clone(), "c").await.unwrap();
    let mut stream = Stream::new(open(&server.url, 1).await.unwrap());
    for expected in [2, 3] {
        assert_eq!(stream.expect("change").await.id, Some(expected));
    }
}

#[test]
fn the_command_line_prints_each_change_on_a_line_and_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let client = reqwest::blocking::Client::new();
    for tenant in ["a", "b"] {
        let body = json!({"key": tenant, "name": tenant});
        let made = client.post(format!("{}/api/v1/admin/tenants", server.url));
        assert_eq!(made.bearer_auth(ROOT_KEY).json(&body).send().unwrap().status(), 201);
    }
    let args = ["events", "tail", "--from", "1", "--json", "--url", &server.url, "--key", ROOT_KEY];
    let mut tail = crate::cli::entitled(&args);
    tail.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let mut lines = std::io::BufReader::new(tail.stdout.take().unwrap()).lines();
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let seen = (&line["event"], &line["seq"], &line["tenant"], &line["cause"]);
    assert_eq!(seen, (&json!("change"), &json!(2), &json!("b"), &json!("tenant.created")));
    let id = server.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let end = tail.wait_with_output().unwrap();
    assert_eq!(end.status.code(), Some(69));
    assert!(String::from_utf8(end.stderr).unwrap().contains("--from 2"));
}

#[tokio::test]
async fn a_place_that_cant_be_one_is_refused_or_answered_with_a_new_one_and_never_in_silence() {
    let app = shop().await;
    for bad in ["abc", "-1", "1.5", "0x10", "18446744073709551616", "1 2", "", "\u{661}"] {
        let value = reqwest::header::HeaderValue::from_bytes(bad.as_bytes()).unwrap();
        let url = format!("http://{}{EVENTS}", app.address);
        let sent = app.http().get(url).bearer_auth(ROOT_KEY).header("last-event-id", value);
        let answer = sent.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{bad}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["fields"].to_string().contains("Last-Event-ID"), "{bad}: {problem}");
        if !bad.is_empty() {
            app.root().get(&format!("{EVENTS}?last_event_id={bad}")).await.expect(422);
        }
    }
    let twice = [("last-event-id", "1"), ("last-event-id", "2")];
    assert_eq!(app.root().open(EVENTS, &twice).await.status(), 422);
    let newest = app.root().listen("").await;
    drop(newest);
    for ahead in [1_000, 1 << 53, 1 << 63, u64::MAX - 1, u64::MAX] {
        let mut stream = app.root().resume(ahead).await;
        let resync = stream.expect("resync").await;
        assert_eq!(resync.id, resync.data["seq"].as_u64(), "{ahead}");
        touch(&app, "acme").await;
        assert_eq!(stream.expect("change").await.id, resync.id.map(|id| id + 1), "{ahead}");
        app.root().delete("/api/v1/admin/tenants/acme/grants/hr").await;
    }
}

#[tokio::test]
async fn what_is_committed_but_not_in_force_yet_is_told_to_nobody() {
    let app = shop().await;
    let start = app.root().listen("").await;
    drop(start);
    // As between the commit and what the writer does after it.
    let connection = rusqlite::Connection::open(&app.database).unwrap();
    let last: i64 =
        connection.query_row("SELECT max(seq) FROM outbox", [], |row| row.get(0)).unwrap();
    let last = u64::try_from(last).unwrap();
    let insert = "INSERT INTO outbox (seq, at, tenant, version, cause, keys, users, effect)
                  SELECT seq + 1, at, tenant, version, 'not.yet', keys, users, effect
                  FROM outbox ORDER BY seq DESC LIMIT 1";
    connection.execute(insert, []).unwrap();
    let mut fresh = direct(&app, None).await;
    assert!(matches!(one(&mut fresh).await, Signal::Hello(place) if place == last));
    let mut resumed = direct(&app, Some(last - 1)).await;
    assert_eq!(seq(&one(&mut resumed).await), last);
    connection.execute("DELETE FROM outbox WHERE cause = 'not.yet'", []).unwrap();
    touch(&app, "acme").await;
    for stream in [&mut fresh, &mut resumed] {
        assert_eq!(seq(&one(stream).await), last + 1);
    }
}
