//! Receivers of webhooks that hang, drip, lie, flood and break off: each costs its own messages alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, TcpStream},
};

use crate::{
    crash::Server,
    event_crowds::resident,
    harness::ROOT_KEY,
    webhooks::{Answer, Receiver, Sending, WEBHOOKS, tenants},
};

/// What a bad receiver does with each connection, once it has read something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Reads nothing and says nothing.
    IsDeaf,
    /// Says this, and waits for the other side to end.
    Says(&'static str),
    /// Says this, and closes.
    Breaks(&'static str),
    /// Says this again and again, as fast as it can.
    Repeats(&'static str, &'static str),
    /// Says this, a byte now and then.
    Drips(&'static str),
    /// Closes without a word.
    Closes,
}

/// How many connections a receiver has open, and had at most.
#[derive(Debug, Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn bad(does: Does) -> (String, Arc<Open>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let open = Arc::<Open>::default();
    let counted = open.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let open = counted.clone();
            tokio::spawn(async move {
                let now = open.now.fetch_add(1, Ordering::SeqCst) + 1;
                open.most.fetch_max(now, Ordering::SeqCst);
                let _ = serve(socket, does).await;
                open.now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, open)
}

async fn serve(mut socket: TcpStream, does: Does) -> std::io::Result<()> {
    let mut ignored = vec![0; 64 * 1024];
    if does != Does::IsDeaf && socket.read(&mut ignored).await? == 0 {
        return Ok(());
    }
    match does {
        Does::IsDeaf => {
            // Until the other side is gone: what it sent stays unread.
            while !socket.ready(Interest::READABLE).await?.is_read_closed() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Does::Says(text) => {
            socket.write_all(text.as_bytes()).await?;
            while socket.read(&mut ignored).await? > 0 {}
        }
        Does::Breaks(text) => {
            socket.write_all(text.as_bytes()).await?;
            socket.shutdown().await?;
            // Closing with unread bytes would take back what was said.
            while socket.read(&mut ignored).await? > 0 {}
        }
        Does::Repeats(first, text) => {
            socket.write_all(first.as_bytes()).await?;
            let text = text.repeat(64);
            loop {
                socket.write_all(text.as_bytes()).await?;
            }
        }
        Does::Drips(text) => {
            for byte in text.bytes() {
                socket.write_all(&[byte]).await?;
                // As slow as it takes to outlast the deadline.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Does::Closes => {}
    }
    Ok(())
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nserver: a-receiver-that-takes-its-time\r\n\r\n";

/// Each kind of bad receiver, and how an attempt to reach it ends.
const KINDS: [(Does, &str); 16] = [
    (Does::IsDeaf, "timeout"),
    (Does::Says(""), "timeout"),
    (Does::Says("HTTP/1.1 200 OK\r\n"), "timeout"),
    (Does::Drips(HEAD), "timeout"),
    (Does::Repeats("", "HTTP/1.1 100 Continue\r\n\r\n"), "timeout"),
    (
        Does::Repeats("HTTP/1.1 200 OK\r\n", "x-more: and more, and more, and more\r\n"),
        "unreachable",
    ),
    (Does::Repeats("HTTP/1.1 200 OK\r\n\r\n", "a gigabyte and more of it"), "delivered"),
    (Does::Repeats("", "no end of what is no HTTP"), "unreachable"),
    (Does::Breaks("hello, this is HTTP/0.9\r\n"), "unreachable"),
    (Does::Breaks("HTTP/1.1 20"), "unreachable"),
    (Does::Breaks("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nfew"), "delivered"),
    (
        Does::Breaks("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
        "unreachable",
    ),
    (Does::Breaks("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"), "unreachable"),
    (Does::Breaks("HTTP/1.1 999 What\r\n\r\n"), "refused"),
    (
        Does::Breaks(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        ),
        "refused",
    ),
    (Does::Closes, "unreachable"),
];

fn outcome(delivery: &Value) -> &str {
    delivery["attempts"][0]["outcome"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_receivers_cost_their_own_messages_alone_and_a_bounded_number_of_connections() {
    const TENANTS: usize = 12;
    let sending = Sending::with(|options| options.deadline = Duration::from_secs(2)).await;
    let mut kinds = Vec::new();
    for (does, expected) in KINDS {
        let (url, open) = bad(does).await;
        kinds.push((does, expected, sending.webhook(&url, tenants()).await.0, open));
    }
    let mut good = Receiver::start(vec![Answer::Status(200)]).await;
    sending.webhook(&good.url, tenants()).await;
    let before = resident(std::process::id());
    for count in 0..TENANTS {
        sending.tenant(&format!("t{count}")).await;
    }
    for _ in 0..TENANTS {
        good.next().await;
    }
    for (does, expected, id, open) in &kinds {
        let delivery = sending.attempts(id, 1).await;
        assert_eq!(outcome(&delivery), *expected, "{does:?}");
        let most = open.most.load(Ordering::SeqCst);
        // One more than are under way: it may not have seen yet that one of them ended.
        assert!((1..=8).contains(&most), "{most} connections at once, {does:?}");
        // The others go on meanwhile, one after the other.
        sending.tenant(&format!("again-{}", id.replace('_', "-"))).await;
        good.next().await;
    }
    let grown = resident(std::process::id()).saturating_sub(before) / 1024 / 1024;
    assert!(grown < 128, "{grown} MiB more");
}

#[tokio::test]
async fn no_kind_of_redirect_is_followed() {
    let sending = Sending::start().await;
    let mut elsewhere = Receiver::start(vec![Answer::Status(200)]).await;
    for status in [300, 301, 302, 303, 304, 305, 307, 308] {
        let to = Answer::To(status, elsewhere.url.clone());
        let mut receiver = Receiver::start(vec![to]).await;
        let (id, _) = sending.webhook(&receiver.url, tenants()).await;
        sending.app.root().post(&format!("{WEBHOOKS}/{id}/test"), json!({})).await.expect(200);
        receiver.next().await;
        let delivery = sending.attempts(&id, 1).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!((outcome(&delivery), &attempt["status"]), ("refused", &json!(status)));
    }
    assert!(elsewhere.is_idle(), "a redirect was followed");
}

#[tokio::test]
async fn a_webhook_that_takes_all_but_too_slowly_is_disabled_as_well() {
    let mut sending = Sending::with(|options| options.backlog = 2).await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    let upkeep = entitled::service::Actor::system("upkeep");
    let path = format!("{WEBHOOKS}/{id}");
    sending.stop.cancel();
    sending.tenant("acme").await;
    sending.app.change_tenant("acme", json!({"name": "A"})).await;
    sending.app.service.bound_backlogs(&upkeep).await.unwrap();
    assert_eq!(sending.app.root().get(&path).await.body["enabled"], true, "two may wait");
    sending.app.change_tenant("acme", json!({"name": "B"})).await;
    for _ in 0..2 {
        sending.app.service.bound_backlogs(&upkeep).await.unwrap();
        let webhook = sending.app.root().get(&path).await.body;
        assert_eq!(webhook["disabled_reason"], "backlog");
    }
    assert_eq!(sending.app.events("event=webhook.disabled").await.len(), 1);
    // What waited is not lost.
    sending.app.root().patch(&path, json!({"enabled": true})).await.expect(200);
    sending.go();
    for _ in 0..3 {
        receiver.next().await;
    }
}

#[tokio::test]
async fn the_log_of_deliveries_comes_page_by_page_newest_first() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    let (other, _) = sending.webhook(&receiver.url, json!({"events": ["webhook.none"]})).await;
    for count in 0..5 {
        sending.tenant(&format!("t{count}")).await;
        receiver.next().await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    let path = format!("{WEBHOOKS}/{id}/deliveries?limit=2");
    loop {
        let page = sending.app.root().get(&format!("{path}{cursor}")).await.expect(200).body;
        let items = page["items"].as_array().unwrap();
        assert!((1..=2).contains(&items.len()));
        seen.extend(items.iter().map(|item| item["tenant"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["t4", "t3", "t2", "t1", "t0"]);
    let none = sending.app.root().get(&format!("{WEBHOOKS}/{other}/deliveries")).await.body;
    assert_eq!(none["items"], json!([]));
    // A message belongs to its webhook.
    let list = sending.app.root().get(&path).await.body;
    let message = list["items"][0]["id"].as_str().unwrap();
    let path = format!("{WEBHOOKS}/{other}/deliveries/{message}/resend");
    sending.app.root().post(&path, json!({})).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_message_that_failed_for_good_can_be_sent_again_once_its_webhook_is_enabled() {
    let sending = Sending::start().await;
    let answers = vec![Answer::Status(410), Answer::Status(200)];
    let mut receiver = Receiver::start(answers).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    sending.tenant("acme").await;
    let first = receiver.next().await;
    sending.deliveries(&id, |list| list[0]["state"] == "failed").await;
    let (path, root) = (format!("{WEBHOOKS}/{id}"), sending.app.root());
    let resend = format!("{path}/deliveries/{}/resend", first.id());
    root.post(&resend, json!({})).await.expect_problem(409, "WEBHOOK_DISABLED");
    root.patch(&path, json!({"enabled": true})).await.expect(200);
    root.post(&resend, json!({})).await.expect(200);
    let again = receiver.next().await;
    assert_eq!((again.id(), &again.body), (first.id(), &first.body));
    let list = sending.deliveries(&id, |list| list[0]["state"] == "delivered").await;
    let outcomes: Vec<_> =
        list[0]["attempts"].as_array().unwrap().iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!(outcomes, ["gone", "delivered"]);
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again_only_because_it_cant_be_written_down() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let (id, _) = sending.webhook(&receiver.url, tenants()).await;
    let connection = rusqlite::Connection::open(&sending.app.database).unwrap();
    let fault = "CREATE TRIGGER fault BEFORE UPDATE ON webhook_deliveries
                 BEGIN SELECT RAISE(ABORT, 'no'); END";
    connection.execute_batch(fault).unwrap();
    sending.tenant("acme").await;
    receiver.next().await;
    // For longer than a pause.
    for _ in 0..1_500 {
        sending.app.root().get(WEBHOOKS).await.expect(200);
    }
    assert!(receiver.is_idle(), "it was sent again");
    connection.execute_batch("DROP TRIGGER fault").unwrap();
    let delivery = sending.attempts(&id, 1).await;
    assert_eq!((&delivery["state"], outcome(&delivery)), (&json!("delivered"), "delivered"));
    assert!(receiver.is_idle(), "it was sent again");
}

#[tokio::test]
async fn never_more_than_two_secrets_sign_and_without_an_overlap_only_one_does() {
    let sending = Sending::start().await;
    let mut receiver = Receiver::start(vec![Answer::Status(200)]).await;
    let (id, first) = sending.webhook(&receiver.url, tenants()).await;
    let mut secrets = vec![first];
    for (tenant, overlap, signing) in [("a", 3_600, [0, 1]), ("b", 3_600, [1, 2]), ("c", 0, [3, 3])]
    {
        let body = json!({"overlap_seconds": overlap});
        let rotated = sending.app.root().post(&format!("{WEBHOOKS}/{id}/secret"), body).await;
        secrets.push(rotated.expect(200).body["secret"].as_str().unwrap().to_owned());
        sending.tenant(tenant).await;
        let got = receiver.next().await;
        for (number, secret) in secrets.iter().enumerate() {
            let is_meant = signing.contains(&number);
            assert_eq!(got.is_signed_with(secret), is_meant, "{tenant}: secret {number}");
        }
    }
    let too_long = json!({"overlap_seconds": 2_592_001});
    sending.app.root().post(&format!("{WEBHOOKS}/{id}/secret"), too_long).await.expect(422);
}

/// For a copy of the database that is started to look at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_while_nothing_is_sent_waits_until_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(vec![Answer::Status(204)]).await;
    let open = [("WEBHOOKS__ALLOW_HTTP", "true"), ("WEBHOOKS__ALLOW_PRIVATE_NETWORKS", "true")];
    let off = [open[0], open[1], ("WEBHOOKS__SEND", "false")];
    let http = reqwest::Client::new();
    let server = Server::with(dir.path(), &off);
    let post = async |path: &str, body: Value| {
        let request = http.post(format!("{}{path}", server.url)).bearer_auth(ROOT_KEY);
        request.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let made = post(WEBHOOKS, json!({"url": receiver.url, "events": ["tenant."]})).await;
    let id = made["webhook"]["id"].as_str().unwrap().to_owned();
    post("/api/v1/admin/tenants", json!({"key": "acme", "name": "Acme"})).await;
    let url = format!("{}{WEBHOOKS}/{id}/deliveries", server.url);
    // Long enough for what would be sent at once.
    for _ in 0..50 {
        let log = http.get(&url).bearer_auth(ROOT_KEY).send().await.unwrap();
        let log = log.json::<Value>().await.unwrap();
        assert_eq!(log["items"][0]["attempts"], json!([]), "{log:#}");
    }
    assert!(receiver.is_idle());
    drop(server);

    let _server = Server::with(dir.path(), &open);
    let got = receiver.next().await;
    assert!(got.body.contains("acme"), "{}", got.body);
}
