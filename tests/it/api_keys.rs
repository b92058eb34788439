//! API keys from the first use to the last: expiry, rotation, revocation, what is shown of them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    cli::{client, ended, one_line, stdout},
    harness::{App, Reply},
};

const KEYS: &str = "/api/v1/admin/api-keys";
const HOUR: Duration = Duration::from_secs(3600);

/// A key that may read everything: its id and its whole text.
async fn auditor(app: &App, more: Value) -> (String, String) {
    let mut body = json!({"name": "k", "role": "auditor"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = app.root().post(KEYS, body).await.expect(201).body;
    (made["id"].as_str().unwrap().into(), made["key"].as_str().unwrap().into())
}

async fn rotate(app: &App, id: &str, body: Value) -> Reply {
    app.root().post(&format!("{KEYS}/{id}/rotate"), body).await
}

fn key(reply: &Reply) -> String {
    reply.body["key"].as_str().unwrap().to_owned()
}

async fn opens(app: &App, key: &str) -> bool {
    match app.bearer(key).get("/api/v1/admin/tenants").await.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_key_opens_until_it_expires_or_is_revoked_and_shows_when_it_was_used() {
    let app = App::start().await;
    let (id, text) = auditor(&app, json!({"expires_at": "2026-03-01T14:00:00Z"})).await;
    assert!(opens(&app, &text).await);
    app.service.record_uses().await.unwrap();
    let shown = app.root().get(&format!("{KEYS}/{id}")).await.expect(200).body;
    assert_eq!(shown["last_used_at"], "2026-03-01T12:00:00Z");
    assert!(!shown.to_string().contains(text.rsplit('_').next().unwrap()));
    app.advance(2 * HOUR - Duration::from_micros(1));
    assert!(opens(&app, &text).await);
    app.advance(Duration::from_micros(1));
    assert!(!opens(&app, &text).await);

    let (id, text) = auditor(&app, json!({})).await;
    assert!(opens(&app, &text).await);
    app.root().delete(&format!("{KEYS}/{id}")).await.expect(204);
    assert!(!opens(&app, &text).await);
}

#[tokio::test]
async fn both_secrets_open_until_the_overlap_is_over() {
    let app = App::start().await;
    let (id, old) = auditor(&app, json!({})).await;
    let rotated = rotate(&app, &id, json!({"overlap_seconds": 3600})).await.expect(200);
    let new = key(&rotated);
    assert_eq!(rotated.body["id"], id.as_str());
    assert_eq!(rotated.body["old_secret_until"], "2026-03-01T13:00:00Z");
    assert!(new.starts_with(&format!("ent_{id}_")) && new != old);
    app.advance(HOUR - Duration::from_micros(1));
    assert!(opens(&app, &old).await && opens(&app, &new).await);
    app.advance(Duration::from_micros(1));
    assert!(!opens(&app, &old).await && opens(&app, &new).await);
}

#[tokio::test]
async fn at_most_two_secrets_open_and_without_an_overlap_one() {
    let app = App::start().await;
    let (id, first) = auditor(&app, json!({})).await;
    let second = key(&rotate(&app, &id, json!({})).await.expect(200));
    let third = key(&rotate(&app, &id, json!({})).await.expect(200));
    assert!(!opens(&app, &first).await, "it is the one before the last");
    assert!(opens(&app, &second).await && opens(&app, &third).await);
    let rotated = rotate(&app, &id, json!({"overlap_seconds": 0})).await.expect(200);
    assert_eq!(rotated.body["old_secret_until"], Value::Null);
    assert!(!opens(&app, &second).await && !opens(&app, &third).await);
    assert!(opens(&app, &key(&rotated)).await);
    app.root().delete(&format!("{KEYS}/{id}")).await.expect(204);
    assert!(!opens(&app, &key(&rotated)).await);
}

#[tokio::test]
async fn an_overlap_does_not_outlast_the_key_and_a_later_end_is_for_the_new_secret() {
    let app = App::start().await;
    let (id, old) = auditor(&app, json!({"expires_at": "2026-03-01T13:00:00Z"})).await;
    let body = json!({"overlap_seconds": 7200, "expires_at": "2026-06-01T00:00:00Z"});
    let rotated = rotate(&app, &id, body).await.expect(200);
    assert_eq!(rotated.body["old_secret_until"], "2026-03-01T13:00:00Z");
    assert_eq!(rotated.body["expires_at"], "2026-06-01T00:00:00Z");
    app.advance(HOUR);
    assert!(!opens(&app, &old).await && opens(&app, &key(&rotated)).await);
}

#[tokio::test]
async fn what_cannot_be_rotated_is_said_and_left_alone() {
    let app = App::start().await;
    let (id, text) = auditor(&app, json!({"expires_at": "2026-03-01T13:00:00Z"})).await;
    for (body, field) in [
        (json!({"overlap_seconds": 2_592_001}), "overlap_seconds"),
        (json!({"expires_at": "2026-03-01T12:00:00Z"}), "expires_at"),
    ] {
        let refused = rotate(&app, &id, body).await.expect_problem(422, "INVALID_VALUE");
        assert!(refused.body["fields"][field].is_array(), "{}", refused.body);
    }
    assert!(opens(&app, &text).await);
    app.advance(HOUR);
    rotate(&app, &id, json!({})).await.expect_problem(409, "API_KEY_EXPIRED");
    let later = json!({"expires_at": "2026-06-01T00:00:00Z"});
    let revived = rotate(&app, &id, later.clone()).await.expect(200);
    assert_eq!(revived.body["old_secret_until"], Value::Null, "what has expired stays so");
    assert!(!opens(&app, &text).await && opens(&app, &key(&revived)).await);
    app.root().delete(&format!("{KEYS}/{id}")).await.expect(204);
    rotate(&app, &id, later).await.expect_problem(409, "API_KEY_REVOKED");
    rotate(&app, "0000000000000000", json!({})).await.expect_problem(404, "NOT_FOUND");
    let (id, text) = auditor(&app, json!({})).await;
    app.bearer(&text)
        .post(&format!("{KEYS}/{id}/rotate"), json!({}))
        .await
        .expect_problem(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_rotation_is_audited_and_happens_once() {
    let app = App::start().await;
    let (id, _) = auditor(&app, json!({})).await;
    let path = format!("{KEYS}/{id}/rotate");
    let root = app.root();
    let send = |overlap| {
        let body = Some(json!({"overlap_seconds": overlap}));
        root.send(Method::POST, &path, body, &[("idempotency-key", "rotation-1")])
    };
    let first = send(60).await.expect(200);
    let again = send(60).await.expect(200);
    assert_eq!(again.body["key"], Value::Null);
    assert_eq!(again.body["old_secret_until"], first.body["old_secret_until"]);
    send(61).await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert!(opens(&app, &key(&first)).await);
    let events = root.get("/api/v1/admin/audit?event=api_key.rotated").await.expect(200).body;
    let events = events["items"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["subject"], id.as_str());
    assert_eq!(events[0]["after"]["old_secret_until"], "2026-03-01T12:01:00Z");
    assert!(!events[0].to_string().contains(key(&first).rsplit('_').next().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_rotates_a_key_and_prints_it_alone() {
    let app = App::start().await;
    let (id, old) = auditor(&app, json!({})).await;
    let url = format!("http://{}", app.address);
    let done = tokio::task::spawn_blocking(move || {
        let on =
            |args: &[&str], code| ended(&mut client(&url, crate::harness::ROOT_KEY, args), code);
        let plain = stdout(&on(&["keys", "rotate", &id, "--overlap", "0s"], 0)).to_owned();
        let json = on(&["keys", "rotate", &id, "--overlap", "2h", "--json"], 0);
        let json: Value = serde_json::from_str(stdout(&json)).unwrap();
        let wrong = on(&["keys", "rotate", "no/id"], 2);
        assert!(one_line(&wrong).contains("isn't the id of a key"));
        assert!(
            one_line(&on(&["keys", "rotate", &id, "--overlap", "31d"], 65)).contains("overlap")
        );
        let shown = on(&["keys", "show", &id], 0);
        assert!(stdout(&shown).contains("old_secret_until"));
        let revoked = on(&["keys", "revoke", &id, "--json"], 0);
        let revoked: Value = serde_json::from_str(stdout(&revoked)).unwrap();
        assert_eq!(revoked["revoked"], id.as_str());
        (plain, json)
    });
    let (plain, json) = done.await.unwrap();
    assert!(plain.starts_with("ent_") && plain != old && json["key"] != plain.as_str());
    assert_eq!(json["old_secret_until"], "2026-03-01T14:00:00Z");
}
