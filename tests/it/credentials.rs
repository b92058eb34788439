//! What is no credential, on every operation of the document: 401, before anything else is looked
//! at.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use entitled::domain::{callers::OperatorRole, checks::Mode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    harness::{App, JWT_SECRET, ROOT_KEY},
    operations::{Body, Operation, Subject, operations, subject},
};

/// The headers of a request that is refused, and what is wrong with them.
struct Bad {
    why: &'static str,
    headers: Vec<(&'static str, String)>,
}

fn bad(why: &'static str, headers: &[(&'static str, &str)]) -> Bad {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Bad { why, headers: headers.collect() }
}

fn bearer(why: &'static str, credential: &str) -> Bad {
    bad(why, &[("authorization", &format!("Bearer {credential}"))])
}

/// The claims of a super admin, good until 2100.
fn claims() -> Value {
    json!({"sub": "eve", "role": "super_admin", "exp": 4_102_444_800_u64})
}

fn with(more: Value) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

fn signed(header: &Header, claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

/// Signed as HS256, whatever the header says.
fn signed_with_header(header: &Value, claims: &Value) -> String {
    let good = signed(&Header::new(Algorithm::HS256), claims, JWT_SECRET);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    assert_eq!(good.split('.').count(), 3);
    format!("{message}.{}", signature.unwrap())
}

fn token_faults(good: &str) -> Vec<Bad> {
    let hs256 = Header::new(Algorithm::HS256);
    let ours = |claims: &Value| signed(&hs256, claims, JWT_SECRET);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let [_, body, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let none = |alg: &str| part(&json!({"alg": alg, "typ": "JWT"}));
    let without = |claim: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(claim);
        claims
    };
    let other_secret = "another-secret-for-tests-0123456789";
    let crit = json!({"alg": "HS256", "typ": "JWT", "crit": ["exp"]});
    vec![
        bearer("expired", &ours(&with(json!({"exp": 1_700_000_000})))),
        bearer("expired this instant", &ours(&with(json!({"exp": 1_772_366_401})))),
        bearer("not valid yet", &ours(&with(json!({"nbf": 4_000_000_000_u64})))),
        bearer("signed with another secret", &signed(&hs256, &claims(), other_secret)),
        bearer("a signature of other claims", &{
            let [head, _, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
            format!("{head}.{}.{signature}", part(&with(json!({"sub": "root"}))))
        }),
        bearer("no signature", &format!("{}.{body}.", good.split('.').next().unwrap())),
        bearer("alg none", &format!("{}.{body}.", none("none"))),
        bearer("alg none with a signature", &format!("{}.{body}.{signature}", none("none"))),
        bearer("alg None", &format!("{}.{body}.", none("None"))),
        bearer("no alg", &signed_with_header(&json!({"typ": "JWT"}), &claims())),
        bearer("HS512", &signed(&Header::new(Algorithm::HS512), &claims(), JWT_SECRET)),
        bearer("says RS256", &signed_with_header(&json!({"alg": "RS256"}), &claims())),
        bearer("says ES256", &signed_with_header(&json!({"alg": "ES256"}), &claims())),
        bearer("critical header", &signed_with_header(&crit, &claims())),
        bearer("no exp", &ours(&without("exp"))),
        bearer("no sub", &ours(&without("sub"))),
        bearer("no role", &ours(&without("role"))),
        bearer("unknown role", &ours(&with(json!({"role": "root"})))),
        bearer("exp is text", &ours(&with(json!({"exp": "4102444800"})))),
        bearer("negative exp", &ours(&with(json!({"exp": -1})))),
        bearer("sub is no id", &ours(&with(json!({"sub": "a/../b"})))),
        bearer("sub is that of the root key", &ours(&with(json!({"sub": "root"})))),
        bearer("sub is that of an API key", &ours(&with(json!({"sub": "key:key_1"})))),
        bearer("a bound super admin", &ours(&with(json!({"tenant": "own"})))),
        bearer("a tenant admin of nothing", &ours(&with(json!({"role": "tenant_admin"})))),
        bearer("a tenant user of nothing", &ours(&with(json!({"role": "tenant_user"})))),
        bearer("cut short", &good[..good.len() - 4]),
        bearer("a fourth part", &format!("{good}.x")),
        bearer("three empty parts", ".."),
    ]
}

fn header_faults(good: &str, revoked: &str, expired: &str) -> Vec<Bad> {
    let (good_bearer, root) = (format!("Bearer {good}"), format!("Bearer {ROOT_KEY}"));
    vec![
        bad("nothing", &[]),
        bad("empty Authorization", &[("authorization", "")]),
        bad("Bearer alone", &[("authorization", "Bearer")]),
        bad("another scheme", &[("authorization", &format!("Basic {ROOT_KEY}"))]),
        bad("no scheme", &[("authorization", ROOT_KEY)]),
        bad("empty key", &[("x-api-key", "")]),
        bad("a token as key", &[("x-api-key", good)]),
        bad("a key that is too long by a character", &[("x-api-key", &format!("{ROOT_KEY}x"))]),
        bad("a key that is too short", &[("x-api-key", &ROOT_KEY[1..])]),
        bad("a token and a key", &[("authorization", &good_bearer), ("x-api-key", ROOT_KEY)]),
        bad("the same key twice", &[("x-api-key", ROOT_KEY), ("x-api-key", ROOT_KEY)]),
        bad("two tokens", &[("authorization", &good_bearer), ("authorization", &root)]),
        bad("two in one", &[("authorization", &format!("{good_bearer}, {root}"))]),
        bad("a key in the query's stead", &[("cookie", &format!("x-api-key={ROOT_KEY}"))]),
        bad("a header of a proxy", &[("x-forwarded-user", "root"), ("x-user", "root")]),
        bearer("garbage", "garbage"),
        bearer("a key of ours that never was", "ent_0123456789abcdef_0123456789abcdef"),
        bearer("revoked", revoked),
        bad("revoked as key", &[("x-api-key", revoked)]),
        bearer("expired key", expired),
    ]
}

/// What is sent beside the headers.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Example,
    BrokenBody,
    WrongContentType,
}

async fn send(app: &App, operation: &Operation, own: &Subject, bad: &Bad, sent: Sent) {
    let url = format!("http://{}{}", app.address, operation.path(own));
    let mut request = app.http().request(operation.method.clone(), url);
    for (name, value) in &bad.headers {
        request = request.header(*name, value);
    }
    let kind = |json: bool| if json { "application/json" } else { "application/yaml" };
    request = match (sent, operation.body(&own.tenant)) {
        (Sent::Example, Body::None) => request,
        (Sent::Example, Body::Json(body)) => request.json(&body),
        (Sent::Example, Body::Yaml(text)) => request.header("content-type", kind(false)).body(text),
        (Sent::BrokenBody, body) => {
            let json = !matches!(body, Body::Yaml(_));
            request.header("content-type", kind(json)).body("{\"tenant\": [[[\u{0}")
        }
        (Sent::WrongContentType, _) => request.header("content-type", "text/html").body("<p>"),
    };
    let reply = request.send().await.unwrap();
    let what = format!("{} with {}, {sent:?}", operation.id, bad.why);
    assert_eq!(reply.status(), 401, "{what}");
    let headers = reply.headers().clone();
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"entitled\"", "{what}");
    assert_eq!(headers["content-type"], "application/problem+json", "{what}");
    let text = reply.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["code"], "UNAUTHENTICATED", "{what}");
    for (_, value) in bad.headers.iter().filter(|(_, value)| value.len() > 12) {
        assert!(!text.contains(value.as_str()), "{what}: a credential comes back");
    }
}

/// The text of a key that was made.
async fn key(app: &App, more: Value) -> (String, String) {
    let mut body = json!({"name": "k", "role": "super_admin"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = app.root().post("/api/v1/admin/api-keys", body).await.expect(201).body;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[tokio::test]
async fn without_a_good_credential_every_operation_says_401_and_looks_at_nothing_else() {
    let app = App::retail().await;
    let own = subject(&app, "own").await;
    let (id, revoked) = key(&app, json!({})).await;
    let (_, expired) = key(&app, json!({"expires_at": "2026-03-01T12:00:01Z"})).await;
    for good in [&revoked, &expired] {
        app.bearer(good).get("/api/v1/me").await.expect(200);
    }
    app.root().delete(&format!("/api/v1/admin/api-keys/{id}")).await.expect(204);
    // To the instant at which a key and a token expire.
    app.advance(std::time::Duration::from_secs(1));

    let good = app.token(OperatorRole::SuperAdmin, None, "ada", Mode::Tenant, None);
    app.bearer(&good).get("/api/v1/me").await.expect(200);
    let faults: Vec<_> =
        header_faults(&good, &revoked, &expired).into_iter().chain(token_faults(&good)).collect();
    let mut asked = 0;
    for operation in operations() {
        for bad in &faults {
            send(&app, &operation, &own, bad, Sent::Example).await;
            asked += 1;
        }
        for bad in faults.iter().filter(|bad| ["nothing", "expired", "garbage"].contains(&bad.why))
        {
            send(&app, &operation, &own, bad, Sent::BrokenBody).await;
            send(&app, &operation, &own, bad, Sent::WrongContentType).await;
            asked += 2;
        }
    }
    println!("{asked} requests, {} faults, {} operations", faults.len(), operations().len());
}

#[tokio::test]
async fn the_same_tokens_with_a_good_header_and_claims_are_taken() {
    // Else the faults above might all be refused for another reason than their own.
    let app = App::start().await;
    let plain = json!({"alg": "HS256", "typ": "JWT"});
    for token in [
        signed(&Header::new(Algorithm::HS256), &claims(), JWT_SECRET),
        signed_with_header(&plain, &claims()),
        signed_with_header(&plain, &with(json!({"nbf": 1, "role": "auditor"}))),
        signed_with_header(&plain, &with(json!({"tenant": "own", "role": "tenant_user"}))),
    ] {
        let reply = app.bearer(&token).get("/api/v1/me").await;
        // The last one is good, but its tenant doesn't exist.
        assert!([200, 404].contains(&reply.status), "{:#}", reply.body);
    }
}

#[tokio::test]
async fn a_malformed_path_parameter_is_no_way_around_the_credential() {
    let app = App::retail().await;
    let own = subject(&app, "own").await;
    let with_parameters = operations().into_iter().filter(|of| of.path.contains('{'));
    let mut asked = 0;
    for operation in with_parameters {
        for key in ["%00", "..%2f..", "a%2fb", "a%20b", "%ff", &"x".repeat(300)] {
            let at = operation.path.find('{').unwrap();
            let end = operation.path.find('}').unwrap() + 1;
            let rest = Operation { path: operation.path[end..].to_owned(), ..operation.clone() };
            let path = format!("{}{key}{}", &operation.path[..at], rest.path(&own));
            let nobody = operation.send_to(&app.nobody(), &path, "own").await;
            // What is no text at all is refused before anything could look at it.
            let expected = if key == "%ff" { 400 } else { 401 };
            assert_eq!(nobody.status, expected, "{path}");
            let root = operation.send_to(&app.root(), &path, "own").await;
            assert!([400, 404, 422].contains(&root.status), "{path}: {:#}", root.body);
            asked += 1;
        }
    }
    assert!(asked >= 100, "{asked}");
}
