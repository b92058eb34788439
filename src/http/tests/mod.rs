//! The whole front door over real sockets, with a small API behind it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::{
    app,
    auth::{AuthState, Caller, needs},
    edge::EdgeSettings,
    etag::{ETag, IfMatch, IfNoneMatch},
    failure::Answer,
    listener::{Limits, Listener},
    pages::Readiness,
    paging::{Cursor, Limit, Page},
    parse::unique,
    payload::{CatalogText, Json},
    replies::{Created, Done, Tagged},
    spec,
    types::{Patch, Text},
};
use crate::{
    clock::Clock,
    domain::{
        callers::OperatorRole,
        checks::Mode,
        keys::{PlanKey, TenantKey},
        time::Timestamp,
    },
    error::Error,
    service::{
        claims::Claims,
        keyring::{Keyring, Secret},
        permissions::Permission,
        rates::Rates,
        tokens::{Expected, TokenKeys, Tokens, issue},
    },
};

mod api;
mod door;

use api::*;
use door::*;

const GOOD: &str = r#"{"plan":"pro","name":"Pro","seats":3}"#;

#[tokio::test]
async fn a_good_request_gets_its_answer() {
    let door = open().await;
    let reply = door.post(GOOD).await;
    assert_eq!((reply.status, reply.json()), (201, json!({"plan": "pro", "seats": 3})));
    assert_eq!(reply.header("location"), Some("/api/v1/tenants/acme/plans/pro"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let reply = door.root("GET", "/api/v1/plans/a", "x-request-id: my-own-id-1\r\n", "").await;
    assert_eq!(reply.json(), json!({"plan": "a", "seats": null}));
    assert_eq!(reply.header("x-request-id"), Some("my-own-id-1"));
    let head = door.root("HEAD", "/api/v1/plans/a", "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_bad_body_is_named_by_field() {
    let door = open().await;
    for (body, status, code, field, says) in [
        ("", 400, "MALFORMED", None, "empty"),
        ("{", 400, "MALFORMED", None, "line 1 column 1"),
        ("{} x", 422, "INVALID_VALUE", Some("plan"), "missing field `plan`"),
        (r#"{"plan":"pro","name":"x"} x"#, 400, "MALFORMED", None, "trailing characters"),
        (r#"{"plan":7,"name":"x"}"#, 422, "INVALID_VALUE", Some("plan"), "expected a key"),
        (r#"{"plan":"a b","name":"x"}"#, 422, "INVALID_VALUE", Some("plan"), "letters, digits"),
        (r#"{"plan":"a","name":""}"#, 422, "INVALID_VALUE", Some("name"), "1 to 20"),
        (r#"{"plan":"a","nam":"x"}"#, 422, "INVALID_VALUE", Some("nam"), "expected one of `plan`"),
        (r#"{"plan":"a","plan":"a"}"#, 422, "INVALID_VALUE", Some("plan"), "duplicate field"),
        (r#"{"plan":"a","name":"x","seats":-1}"#, 422, "INVALID_VALUE", Some("seats"), "u32"),
        (
            r#"{"plan":"a","name":"x","labels":{"a":"b","a":"c"}}"#,
            422,
            "INVALID_VALUE",
            Some("labels.a"),
            "duplicate field",
        ),
    ] {
        let problem = door.post(body).await.problem(status, code);
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
        if let Some(field) = field {
            assert!(problem["fields"][field][0].is_string(), "{body}: {problem}");
        }
    }
}

#[tokio::test]
async fn the_framework_speaks_the_same_language() {
    let door = open().await;
    let path = "/api/v1/tenants/acme/plans";
    for media in ["", "content-type: text/plain\r\n", "content-type: application/vnd.x+json\r\n"] {
        door.root("POST", path, media, GOOD).await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let zipped = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    door.root("POST", path, zipped, GOOD).await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let utf8 = "content-type: application/json; charset=UTF-8\r\n";
    assert_eq!(door.root("POST", path, utf8, GOOD).await.status, 201);

    let problem = door.root("GET", "/nowhere/secret", "", "").await.problem(404, "UNKNOWN_PATH");
    assert_eq!(problem["instance"], "/nowhere/secret");
    let wrong = door.root("PATCH", path, "", "").await;
    wrong.problem(405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, POST"));
    door.root("OPTIONS", path, "", "").await.problem(405, "METHOD_NOT_ALLOWED");
    let wrong = door.root("POST", "/healthz", "", "").await;
    assert_eq!(wrong.header("allow"), Some("GET, HEAD"));

    let problem = door.root("GET", "/api/v1/plans/panic", "", "").await.problem(500, "INTERNAL");
    assert!(!problem.to_string().contains("on purpose"));
    let slow = door.root("GET", "/api/v1/plans/slow", "", "").await;
    slow.problem(503, "TIMEOUT");
    assert_eq!(slow.header("retry-after"), Some("1"));
    door.root("GET", "/readyz", "", "").await.problem(503, "UNAVAILABLE");
    assert_eq!(door.call("GET", "/healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn parameters_are_checked_too() {
    let door = open().await;
    let list = |query: &'static str| door.root("GET", query, "", "");
    list("/api/v1/tenants/a%2Fb/plans").await.problem(404, "TENANT_NOT_FOUND");
    list("/api/v1/tenants/%2E%2E/plans").await.problem(404, "TENANT_NOT_FOUND");
    list("/api/v1/plans/a%00b").await.problem(404, "NOT_FOUND");
    let problem = list("/api/v1/tenants/acme/plans?limit=0").await.problem(422, "INVALID_VALUE");
    assert_eq!(problem["fields"]["limit"][0], "must be a number from 1 to 200");
    let bad = list("/api/v1/tenants/acme/plans?cursor=zz").await.problem(422, "INVALID_VALUE");
    assert!(bad["fields"]["cursor"].is_array());
    let first = list("/api/v1/tenants/acme/plans?limit=200").await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 200);
    let next =
        format!("/api/v1/tenants/acme/plans?cursor={}", first["next_cursor"].as_str().unwrap());
    assert_eq!(door.root("GET", &next, "", "").await.json()["items"][0]["plan"], "p200");
}

#[tokio::test]
async fn etags_save_bodies_and_guard_changes() {
    let door = open().await;
    let path = "/api/v1/plans/a";
    assert_eq!(door.root("GET", path, "", "").await.header("etag"), Some("\"7\""));
    let known = door.root("GET", path, "if-none-match: W/\"7\"\r\n", "").await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    assert_eq!(door.root("DELETE", path, "if-match: \"7\"\r\n", "").await.status, 204);
    let stale = door.root("DELETE", path, "if-match: \"6\"\r\n", "").await;
    stale.problem(412, "PRECONDITION_FAILED");
    door.root("DELETE", path, "if-match: 7\r\n", "").await.problem(422, "INVALID_VALUE");
}

fn token(role: OperatorRole, tenant: Option<&str>, exp: f64) -> String {
    let claims = Claims {
        sub: "ada".parse().unwrap(),
        role,
        tenant: tenant.map(|key| key.parse().unwrap()),
        mode: Mode::Tenant,
        act: None,
        exp,
        nbf: None,
        iss: None,
        aud: None,
    };
    issue(&Secret::new(SECRET), &claims).unwrap()
}

#[tokio::test]
async fn a_stranger_is_refused_before_its_body_is_looked_at() {
    let door = open().await;
    let path = "/api/v1/tenants/acme/plans";
    let stranger = door.call("POST", path, "content-type: text/plain\r\n", "{").await;
    stranger.problem(401, "UNAUTHENTICATED");
    assert!(stranger.header("www-authenticate").unwrap().starts_with("Bearer"));

    let bearer = |token: String| format!("authorization: Bearer {token}\r\n");
    let user = bearer(token(OperatorRole::TenantUser, Some("acme"), 2_000.0));
    door.call("POST", path, &user, "{").await.problem(403, "FORBIDDEN");
    assert_eq!(door.call("GET", path, &user, "").await.status, 200);
    let other = "/api/v1/tenants/other/plans";
    door.call("GET", other, &user, "").await.problem(404, "TENANT_NOT_FOUND");
    let old = bearer(token(OperatorRole::TenantUser, Some("acme"), 1_000.0));
    door.call("GET", path, &old, "").await.problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_body_may_not_be_too_large() {
    let door = open().await;
    let (path, json) = ("/api/v1/tenants/acme/plans", "content-type: application/json\r\n");
    let announced = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {ROOT}\r\n{json}connection: close\r\n\
         content-length: 70000\r\n\r\n{{"
    );
    door.send(&announced).await.problem(413, "BODY_TOO_LARGE");
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {ROOT}\r\n{json}connection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(5)
    );
    door.send(&chunked).await.problem(413, "BODY_TOO_LARGE");
    let large = "a".repeat(100_000);
    let catalog = |media: &'static str| door.root("PUT", "/api/v1/admin/catalog", media, &large);
    assert_eq!(catalog("content-type: text/yaml\r\n").await.json(), json!(["Yaml", "100000"]));
    catalog("content-type: text/html\r\n").await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn nobody_holds_a_connection_by_being_slow() {
    let door = open().await;
    let pause = Duration::from_millis(100);
    assert_eq!(door.raw(&[b"GET /healthz HT"], pause).await, "", "half a head");
    let dripped: Vec<&[u8]> = "GET /healthz HTTP/1.1\r\na: ".split("").map(str::as_bytes).collect();
    assert_eq!(door.raw(&dripped, Duration::from_millis(40)).await, "", "a dripped head");
    let head = format!(
        "POST /api/v1/tenants/acme/plans HTTP/1.1\r\nhost: x\r\nx-api-key: {ROOT}\r\n\
         content-type: application/json\r\ncontent-length: 50\r\n\r\n"
    );
    let drip: Vec<&[u8]> = std::iter::once(head.as_bytes()).chain([&b"{"[..]; 8]).collect();
    parse(&door.raw(&drip, pause).await).problem(408, "TIMEOUT");
    let idle = door.raw(&[b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"], pause).await;
    assert!(idle.starts_with("HTTP/1.1 200"), "an idle connection is closed: {idle}");
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let door = open_with(limits).await;
    let held = [TcpStream::connect(door.address).await, TcpStream::connect(door.address).await];
    let reply = door.call("GET", "/healthz", "", "").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert_eq!(reply.json()["code"], "OVERLOADED");
    drop(held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(door.call("GET", "/healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish() {
    let mut door = open().await;
    let request =
        format!("GET /api/v1/plans/slow HTTP/1.1\r\nhost: x\r\nx-api-key: {ROOT}\r\n\r\n");
    let (parts, stop) = ([request.as_bytes()], door.stop.clone());
    let later = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    };
    let (text, ()) = tokio::join!(door.raw(&parts, Duration::ZERO), later);
    parse(&text).problem(503, "TIMEOUT");
    (&mut door.served).await.unwrap();
    assert!(TcpStream::connect(door.address).await.is_err());
}

#[test]
fn the_document_says_what_the_code_does() {
    let document = spec::document::<(Plans, Catalogs)>().unwrap();
    let schemas = &document["components"]["schemas"];
    let body = &schemas["PlanBody"];
    assert_eq!(body["additionalProperties"], false);
    assert_eq!(body["required"], json!(["plan", "name"]));
    assert_eq!(body["properties"]["seats"]["nullable"], true);
    assert_eq!(body["properties"]["seats"]["maximum"], u32::MAX);
    assert_eq!(body["properties"]["until"]["nullable"], true);
    assert_eq!(body["properties"]["labels"]["nullable"], Value::Null);
    assert_eq!(schemas["Plan"]["required"], json!(["plan", "seats"]));
    assert_eq!(schemas["Plan"]["properties"]["seats"]["nullable"], true);
    let post = &document["paths"]["/api/v1/tenants/{tenant}/plans"]["post"];
    assert_eq!(post["x-permission"], "catalog:write");
    assert_eq!(post["security"], json!([{"bearer": []}, {"api_key": []}]));
    for status in ["201", "400", "401", "403", "404", "413", "415", "422", "default"] {
        assert!(post["responses"][status].is_object(), "{status}");
    }
    assert!(post["responses"]["201"]["headers"]["ETag"].is_object(), "{post:#}");
    let problem = &schemas["Problem"]["required"];
    assert_eq!(problem.as_array().unwrap().len(), 8);
    assert!(!spec::to_json(&document).contains("bearer#"));
}

#[tokio::test]
async fn the_document_and_its_reader_are_served() {
    let door = open_with(Limits::default()).await;
    let json = door.call("GET", "/openapi.json", "", "").await;
    assert_eq!(json.json()["openapi"], "3.0.3");
    let docs = door.call("GET", "/docs", "", "").await;
    assert!(docs.body.contains("x-permission"), "the repaired document is in it");
    let metrics = door.call("GET", "/metrics", "", "").await;
    let line = r#"entitlement_http_requests_total{route="/docs",method="GET",status="200"}"#;
    assert!(metrics.body.contains(line), "{}", metrics.body);
    assert!(metrics.body.contains("http_request_duration_seconds_bucket"), "{}", metrics.body);
}
