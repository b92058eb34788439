//! A stream of events ends with the right of whoever listens, and not before; and with the service.

use std::time::Duration;

use entitled::{
    domain::callers::OperatorRole,
    service::events::{
        EventOptions,
        stream::{EndReason, Signal},
    },
};
use serde_json::json;

use crate::{
    events::{EVENTS, direct, one, shop, touch, with},
    given::{day, days},
    harness::App,
};

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked_and_not_before() {
    let app = shop().await;
    let mut streams = Vec::new();
    for name in ["revoked", "kept"] {
        let body = json!({"name": name, "role": "service"});
        let key = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
        let stream = app.bearer(key["key"].as_str().unwrap()).listen("").await;
        streams.push((key["id"].as_str().unwrap().to_owned(), stream));
    }
    let path = format!("/api/v1/admin/api-keys/{}", streams[0].0);
    app.root().delete(&path).await.expect(204);
    touch(&app, "acme").await;
    let end = streams[0].1.next().await.unwrap();
    assert_eq!((end.event.as_str(), &end.data), ("end", &json!({"reason": "credential"})));
    assert_eq!(streams[0].1.next().await, None);
    assert_eq!(streams[1].1.causes(1).await, ["grant.created"]);
}

#[tokio::test]
async fn a_stream_ends_when_its_secret_is_rotated_away_and_not_before_the_overlap_is_over() {
    let app = shop().await;
    let body = json!({"name": "k", "role": "service"});
    let key = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
    let rotate = format!("/api/v1/admin/api-keys/{}/rotate", key["id"].as_str().unwrap());
    let mut first = app.bearer(key["key"].as_str().unwrap()).listen("").await;
    let body = json!({"overlap_seconds": 3600});
    let second = app.root().post(&rotate, body).await.expect(200).body;
    let mut second = app.bearer(second["key"].as_str().unwrap()).listen("").await;
    touch(&app, "acme").await;
    assert_eq!(first.causes(1).await, ["grant.created"]);
    assert_eq!(second.causes(1).await, ["grant.created"]);
    app.advance(Duration::from_secs(3600));
    assert_eq!(first.expect("end").await.data, json!({"reason": "credential"}));
    app.root().post(&rotate, json!({"overlap_seconds": 0})).await.expect(200);
    touch(&app, "acme").await;
    assert_eq!(second.expect("end").await.data, json!({"reason": "credential"}));
}

#[tokio::test]
async fn a_stream_ends_at_the_instant_at_which_its_key_or_token_expires() {
    let app = shop().await;
    let body = json!({"name": "k", "role": "service", "expires_at": day(2)});
    let key = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
    let mut by_key = app.bearer(key["key"].as_str().unwrap()).listen("").await;
    let mut by_token = app.backend().listen("").await;
    app.move_to_end_of_day(2);
    touch(&app, "acme").await;
    assert_eq!(by_key.causes(1).await, ["grant.created"]);
    app.move_to_day(2);
    assert_eq!(by_key.expect("end").await.data, json!({"reason": "credential"}));
    assert_eq!(by_key.next().await, None);
    // The tokens of these tests expire in the year 2100.
    assert_eq!(by_token.causes(1).await, ["grant.created"]);
    app.advance(days(75 * 366));
    assert_eq!(by_token.expect("end").await.data, json!({"reason": "credential"}));
}

#[tokio::test]
async fn a_stream_shows_that_it_is_alive_and_says_when_the_service_stops() {
    let events = EventOptions { keep_alive: Duration::from_millis(1), ..EventOptions::default() };
    let app = App::given(with(events)).await;
    let mut stream = direct(&app, None).await;
    assert!(matches!(one(&mut stream).await, Signal::Hello(0)));
    assert!(matches!(one(&mut stream).await, Signal::KeepAlive));
    app.service.hub().close();
    assert!(matches!(one(&mut stream).await, Signal::End(EndReason::Shutdown)));
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_rests_on_its_credential_alone_and_goes_on_as_long_as_one_could_be_opened() {
    let app = shop().await;
    let roles = [OperatorRole::TenantAdmin, OperatorRole::TenantUser, OperatorRole::Service];
    let mut streams = Vec::new();
    for role in roles {
        streams.push((role, app.caller(role, Some("acme"), "ada").listen("").await));
    }
    app.change_tenant("acme", json!({"status": "suspended", "reason": "unpaid"})).await;
    for (role, stream) in &mut streams {
        assert_eq!(stream.causes(1).await, ["tenant.suspended"], "{role:?}");
        // What a suspended tenant may not, it is told when it asks.
        app.caller(*role, Some("acme"), "ada").listen("").await;
    }
    app.change_tenant("acme", json!({"status": "active", "reason": "paid"})).await;
    for (role, stream) in &mut streams {
        assert_eq!(stream.causes(1).await, ["tenant.reactivated"], "{role:?}");
    }
}

#[tokio::test]
async fn a_stream_that_lags_behind_ends_when_its_key_is_revoked() {
    let events = EventOptions { queue: 2, ..EventOptions::default() };
    let app = App::given(with(events)).await;
    app.tenant("acme", json!({})).await;
    let body = json!({"name": "k", "role": "service"});
    let key = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
    let mut stream = app.bearer(key["key"].as_str().unwrap()).listen("").await;
    let path = format!("/api/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    app.root().delete(&path).await.expect(204);
    for count in 0..20 {
        app.change_tenant("acme", json!({"name": format!("after {count}")})).await;
    }
    // Nothing of what came after it, however much waits.
    assert_eq!(stream.expect("end").await.data, json!({"reason": "credential"}));
    assert_eq!(stream.next().await, None);
    app.bearer(key["key"].as_str().unwrap()).get(EVENTS).await.expect(401);
}
