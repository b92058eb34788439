//! Errors: RFC 9457 for each, naming the field, and nothing from inside.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Given, Reply};

const TENANTS: &str = "/api/v1/admin/tenants";
const CHECK: &str = "/api/v1/check";

async fn post_text(app: &App, path: &str, text: impl Into<String>) -> Reply {
    app.root().send_text(Method::POST, path, "application/json", text.into()).await
}

/// The fields that a problem names.
#[track_caller]
fn fields(reply: Reply, status: u16, code: &str) -> Vec<String> {
    let fields = reply.expect_problem(status, code).body["fields"].clone();
    fields.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn a_problem_has_every_member() {
    let app = App::retail().await;

    let reply = app.root().get(&format!("{TENANTS}/nobody")).await;

    let reply = reply.expect_problem(404, "TENANT_NOT_FOUND");
    let id = reply.header("x-request-id");
    let expected = json!({
        "type": "urn:entitled:problem:tenant-not-found", "title": "Not Found", "status": 404,
        "detail": "There is no tenant “nobody”.", "instance": "/api/v1/admin/tenants/nobody",
        "code": "TENANT_NOT_FOUND", "fields": {}, "request_id": id,
    });
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_malformed() {
    let app = App::retail().await;
    for text in ["", "{", "{\"key\": }", r#"{"key": "a", "name": "A"} {}"#, "key=acme"] {
        post_text(&app, TENANTS, text).await.expect_problem(400, "MALFORMED");
    }
}

#[tokio::test]
async fn a_wrong_body_names_the_field() {
    let app = App::retail().await;
    for (path, text, field) in [
        (TENANTS, r#"{"key": "acme"}"#, "name"),
        (TENANTS, r#"{"key": "acme", "name": 7}"#, "name"),
        (TENANTS, r#"{"key": "a b", "name": "Acme"}"#, "key"),
        (TENANTS, r#"{"key": "acme", "name": "Acme", "colour": "red"}"#, "colour"),
        (TENANTS, r#"{"key": "acme", "name": "A", "name": "B"}"#, "name"),
        (TENANTS, r#"{"key": "acme", "name": "Acme", "billing": "free"}"#, "billing"),
        (CHECK, r#"{"tenant": "acme", "features": ["ok", "not ok"]}"#, "features[1]"),
        (CHECK, r#"{"tenant": "acme", "usage": {"feature": "users", "much": 1}}"#, "usage.much"),
        (CHECK, r#"{"tenant": "acme", "module": "retail", "at": "2027-01-01T00:00:00"}"#, "at"),
        (CHECK, r#"{"tenant": "acme", "module": "retail", "match": "some"}"#, "match"),
    ] {
        let named = fields(post_text(&app, path, text).await, 422, "INVALID_VALUE");
        assert_eq!(named, [field], "{text}");
    }
    let none = app.root().get(TENANTS).await.expect(200).body;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let app = App::retail().await;
    let body = r#"{"key": "acme", "name": "Acme"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let reply = app.root().send_text(Method::POST, TENANTS, kind, body).await;
        reply.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let app = App::retail().await;
    for path in ["/", "/api/v1/nothing", "/api/v2/check", "/api/v1/check/"] {
        app.root().get(path).await.expect_problem(404, "UNKNOWN_PATH");
    }
}

#[tokio::test]
async fn a_wrong_method_names_those_that_are_right() {
    let app = App::retail().await;
    let deleted = app.root().delete(TENANTS).await;
    let deleted = deleted.expect_problem(405, "METHOD_NOT_ALLOWED");
    let mut allowed: Vec<&str> = deleted.header("allow").split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let read = app.root().get(CHECK).await.expect_problem(405, "METHOD_NOT_ALLOWED");
    assert_eq!(read.header("allow"), "POST");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let app = App::given(Given { edge: |edge| edge.body_bytes = 1000, ..Given::default() }).await;
    let body =
        |length: usize| format!(r#"{{"key": "acme", "name": "Acme"{}}}"#, " ".repeat(length));
    post_text(&app, TENANTS, body(1000)).await.expect_problem(413, "BODY_TOO_LARGE");
    post_text(&app, TENANTS, body(900)).await.expect(201);
}

#[tokio::test]
async fn a_page_needs_a_sound_cursor_and_limit() {
    let app = App::retail().await;
    for path in [TENANTS, "/api/v1/admin/audit", "/api/v1/admin/modules", "/api/v1/admin/routes"] {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=ten", "limit"),
            ("cursor=nonsense!", "cursor"),
            ("cursor=e30", "cursor"),
        ] {
            let reply = app.root().get(&format!("{path}?{query}")).await;
            assert_eq!(fields(reply, 422, "INVALID_VALUE"), [field], "{path}?{query}");
        }
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let app = App::retail().await;
    for (path, field) in [
        ("/api/v1/admin/tenants?status=closed", "status"),
        ("/api/v1/admin/tenants?blocked_reason=gone", "blocked_reason"),
        ("/api/v1/admin/audit?from=yesterday", "from"),
        ("/api/v1/admin/audit?tenant=a%20b", "tenant"),
    ] {
        let reply = app.root().get(path).await;
        assert_eq!(fields(reply, 422, "INVALID_VALUE"), [field], "{path}");
    }
}

#[tokio::test]
async fn an_ill_formed_key_in_a_path_names_nothing() {
    let app = App::retail().await;
    for path in ["/api/v1/admin/tenants/a%20b", "/api/v1/tenants/a%20b/entitlements"] {
        app.root().get(path).await.expect_problem(404, "TENANT_NOT_FOUND");
    }
    app.tenant("acme", json!({})).await;
    let path = format!("{TENANTS}/acme/grants/a%20b");
    app.root().delete(&path).await.expect_problem(404, "NOT_FOUND");
    let version = "/api/v1/admin/catalog/versions/first";
    app.root().get(version).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_stranger_is_told_how_to_identify_and_nothing_else() {
    let app = App::retail().await;
    for client in [app.nobody(), app.bearer("not-a-key"), app.bearer("not.a.token")] {
        // A bad body or an unknown tenant doesn't matter before it is clear who asks.
        for path in [CHECK, "/api/v1/admin/tenants"] {
            let reply = client.post(path, json!({"nonsense": true})).await;
            let reply = reply.expect_problem(401, "UNAUTHENTICATED");
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn a_request_keeps_a_harmless_id_and_is_given_one_otherwise() {
    let app = App::retail().await;
    let get = async |id: &str| {
        let root = app.root();
        root.send(Method::GET, "/api/v1/nothing", None, &[("X-Request-Id", id)]).await
    };
    let kept = get("order-4711.a_b").await;
    assert_eq!(kept.header("x-request-id"), "order-4711.a_b");
    assert_eq!(kept.body["request_id"], "order-4711.a_b");
    for bad in ["short", "with space inside", &"x".repeat(65)] {
        let given = get(bad).await;
        assert_eq!(given.header("x-request-id").len(), 32, "{bad}");
        assert_eq!(given.body["request_id"], given.header("x-request-id"));
    }
    let (first, second) = (app.root().get(TENANTS).await, app.root().get(TENANTS).await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn no_problem_says_anything_about_the_inside() {
    let app = App::retail().await;
    let quotes = "'; DROP TABLE tenants; --";
    let long = "x".repeat(3000);
    let replies = [
        app.root().get("/api/v1/admin/tenants?cursor=MTIz").await,
        app.root().get(&format!("/api/v1/admin/audit?actor={long}")).await,
        app.root().post(TENANTS, json!({"key": quotes, "name": quotes})).await,
        app.root().post(CHECK, json!({"tenant": "acme", "module": quotes})).await,
        app.root().get("/api/v1/admin/tenants/..%2f..%2fetc%2fpasswd").await,
        app.put_catalog("", "modules: {a: !!rust/type {}}").await,
        app.root().get("/api/v1/admin/catalog/versions/99999999999999999999").await,
        app.root().put("/api/v1/admin/tenants/x/grants/y", json!({"state": "enabled"})).await,
    ];
    let database = app.database.parent().unwrap().to_str().unwrap();
    for reply in replies {
        assert!((400..500).contains(&reply.status), "{:#}", reply.body);
        let text = reply.body.to_string();
        let inside = ["SELECT", "sqlite", "rusqlite", "src/", ".rs", "serde", database];
        for word in inside {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    let found = app.root().get(&format!("{TENANTS}?q=%27%20OR%201%3D1")).await.expect(200).body;
    assert_eq!((&found["items"], &found["next_cursor"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn a_parameter_that_nobody_takes_is_never_passed_over() {
    let app = App::start().await;
    let root = app.root();
    for (path, field) in [
        ("/api/v1/admin/audit?tennant=acme", "tennant"),
        ("/api/v1/admin/audit?tenant=acme&tenant=other", "tenant"),
        ("/api/v1/admin/overrides?TENANT=acme", "TENANT"),
        ("/api/v1/admin/tenants?limit=1&x", "x"),
        ("/api/v1/me?user=ana", "user"),
    ] {
        let reply = root.get(path).await.expect_problem(422, "INVALID_VALUE");
        assert!(reply.body["fields"].get(field).is_some(), "{path}: {:#}", reply.body);
    }
    let near = root.get("/api/v1/admin/audit?tennant=acme").await.body;
    assert_eq!(near["fields"]["tennant"][0], "is no parameter here; did you mean tenant?");
    root.get("/api/v1/admin/audit?tenant=acme&limit=1").await.expect(200);
    // A stranger learns nothing of it.
    app.nobody()
        .get("/api/v1/admin/audit?tennant=acme")
        .await
        .expect_problem(401, "UNAUTHENTICATED");
}
