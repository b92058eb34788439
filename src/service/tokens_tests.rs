use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::domain::callers::OperatorRole;

const SECRET: &str = "a-shared-secret-of-at-least-32-bytes";

// The keys of RFC 8037, appendix A: for tests, known to everyone.
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_TOKEN_KEY: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn claims() -> Value {
    json!({"sub": "ada", "role": "tenant_user", "tenant": "acme", "exp": 100})
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    all
}

fn signed(claims: &Value) -> String {
    signed_with(&Header::new(Algorithm::HS256), claims)
}

fn signed_with(header: &Header, claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

fn by_secret(issuer: Option<&str>, audience: Option<&str>) -> Tokens {
    let keys = TokenKeys::Secret(Secret::new(SECRET));
    let (issuer, audience) = (issuer.map(str::to_owned), audience.map(str::to_owned));
    Tokens::new(&keys, Expected { issuer, audience, ..Expected::default() }).unwrap()
}

fn why(tokens: &Tokens, token: &str, now: i64) -> &'static str {
    match verify(tokens, token, at(now)) {
        Err(Error::Unauthenticated(why)) => why,
        Err(Error::UnknownSigner) => "unknown key",
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_holds_until_the_instant_of_its_expiry() {
    let (tokens, token) = (by_secret(None, None), signed(&claims()));
    for _ in ["first", "cached"] {
        let principal = verify(&tokens, &token, at(99)).unwrap();
        assert_eq!((principal.id.as_str(), principal.role), ("ada", OperatorRole::TenantUser));
        assert!(why(&tokens, &token, 100).contains("expired"));
    }
    let early = signed(&with(json!({"nbf": 50})));
    assert!(why(&tokens, &early, 49).contains("not valid yet"));
    assert!(verify(&tokens, &early, at(50)).is_ok());
}

#[test]
fn a_token_says_all_it_must_and_nothing_odd() {
    let tokens = by_secret(None, None);
    for bad in [
        json!({"exp": null}),
        json!({"exp": "100"}),
        json!({"exp": -1}),
        json!({"sub": null}),
        json!({"sub": "a b"}),
        json!({"role": "root"}),
        json!({"tenant": null}),
        json!({"role": "super_admin"}),
        json!({"mode": "god"}),
        json!({"act": 7}),
    ] {
        let token = signed(&with(bad.clone()));
        assert!(verify(&tokens, &token, at(1)).is_err(), "{bad}");
    }
    for (good, impersonator) in [
        (json!({"act": "eve"}), Some("eve")),
        (json!({"act": {"sub": "eve"}, "mode": "impersonation"}), Some("eve")),
        (json!({"role": "super_admin", "tenant": null, "more": [1]}), None),
    ] {
        let principal = verify(&tokens, &signed(&with(good)), at(1)).unwrap();
        assert_eq!(principal.impersonator.as_deref(), impersonator);
    }
}

#[test]
fn issuer_and_audience_count_where_they_are_configured() {
    let tokens = by_secret(Some("idp"), Some("entitled"));
    let good = with(json!({"iss": "idp", "aud": ["other", "entitled"]}));
    assert!(verify(&tokens, &signed(&good), at(1)).is_ok());
    for bad in [json!({}), json!({"iss": "idp"}), json!({"iss": "x", "aud": "entitled"})] {
        assert!(verify(&tokens, &signed(&with(bad.clone())), at(1)).is_err(), "{bad}");
    }
    let open = by_secret(None, None);
    assert!(verify(&open, &signed(&with(json!({"aud": "any"}))), at(1)).is_ok());
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    let tokens = by_secret(None, None);
    let other = signed_with(&Header::new(Algorithm::HS512), &claims());
    assert!(verify(&tokens, &other, at(1)).is_err());
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", encode(json!({"alg": "none"})), encode(claims()));
    assert!(verify(&tokens, &none, at(1)).is_err());
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["exp".into()]);
    assert!(why(&tokens, &signed_with(&critical, &claims()), 1).contains("critical"));
    let token = signed(&claims());
    assert!(verify(&tokens, &token[..token.len() - 2], at(1)).is_err());
}

fn ed_token(kid: Option<&str>) -> String {
    // PKCS 8 around the 32 bytes of the private key.
    let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
    der.extend(URL_SAFE_NO_PAD.decode(ED_TOKEN_KEY).unwrap());
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_ed_der(&der)).unwrap()
}

fn jwks(kid: &str) -> TokenKeys {
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": kid});
    let symmetric = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": "s"});
    TokenKeys::Jwks(json!({"keys": [ed, symmetric]}).to_string())
}

#[test]
fn a_key_set_verifies_by_id_and_never_by_a_shared_secret() {
    let tokens = Tokens::new(&jwks("one"), Expected::default()).unwrap();
    assert!(verify(&tokens, &ed_token(Some("one")), at(1)).is_ok());
    assert!(verify(&tokens, &ed_token(None), at(1)).is_ok(), "there is only one key");
    assert!(why(&tokens, &ed_token(Some("two")), 1).contains("unknown key"));
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("s".into());
    assert!(why(&tokens, &signed_with(&header, &claims()), 1).contains("unknown key"));
    // The public key as a shared secret.
    header.kid = Some("one".into());
    let key = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(ED_X).unwrap());
    let forged = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
    assert!(verify(&tokens, &forged, at(1)).is_err());
}

#[test]
fn new_keys_forget_old_tokens() {
    let tokens = Tokens::new(&jwks("one"), Expected::default()).unwrap();
    let token = ed_token(Some("one"));
    assert!(verify(&tokens, &token, at(1)).is_ok());
    tokens.replace_keys(&jwks("two")).unwrap();
    assert!(why(&tokens, &token, 1).contains("unknown key"));
    assert!(tokens.replace_keys(&TokenKeys::Jwks("{}".into())).is_err());
    assert!(verify(&tokens, &ed_token(Some("two")), at(1)).is_ok(), "the old ones stay");
}

#[test]
fn what_is_known_is_bounded() {
    let tokens = by_secret(None, None);
    let shard = tokens.shard(&[0; 32]).unwrap();
    let known = verified(serde_json::from_value(claims()).unwrap(), 1).unwrap();
    for at in 0..TOKENS_PER_SHARD {
        let mut hash = [0; 32];
        hash[1..9].copy_from_slice(&at.to_be_bytes());
        shard.write().insert(hash, known.clone());
    }
    tokens.verify(&signed(&claims()), &[0; 32], at(1)).unwrap();
    assert!(shard.read().len() <= TOKENS_PER_SHARD);
    assert!(Tokens::new(&TokenKeys::Secret(Secret::new("short")), Expected::default()).is_err());
}

fn only(names: &str) -> Expected {
    Expected { algorithms: names.parse().unwrap(), ..Expected::default() }
}

#[test]
fn a_key_for_an_algorithm_that_is_not_allowed_is_passed_over() {
    assert!(Tokens::new(&jwks("one"), only("RS256, ES256")).is_err());
    let tokens = Tokens::new(&jwks("one"), only("EdDSA")).unwrap();
    assert!(verify(&tokens, &ed_token(Some("one")), at(1)).is_ok());
}

#[test]
fn a_key_that_nobody_here_knows_spoils_no_other() {
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "one"});
    for odd in [
        json!({"kty": "OKP", "crv": "X448", "x": "AA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!("no key at all"),
    ] {
        let set = json!({"keys": [odd, ed]}).to_string();
        let tokens = Tokens::new(&TokenKeys::Jwks(set), Expected::default()).unwrap();
        assert!(verify(&tokens, &ed_token(Some("one")), at(1)).is_ok(), "{odd}");
    }
}

#[test]
fn a_fetched_set_takes_the_place_of_the_last_one_and_garbage_does_not() {
    let set = |keys| match keys {
        TokenKeys::Jwks(text) => text,
        TokenKeys::Secret(_) => unreachable!(),
    };
    let tokens = Tokens::empty(Expected::default(), None);
    assert_eq!(why(&tokens, &ed_token(Some("one")), 1), "unknown key");
    assert_eq!(tokens.take_set(&set(jwks("one"))), Ok(1));
    assert!(verify(&tokens, &ed_token(Some("one")), at(1)).is_ok());
    for garbage in ["", "[]", "{}", "{\"keys\": 1}", "<html>"] {
        assert_eq!(tokens.take_set(garbage), Err(FetchFault::NotKeys), "{garbage}");
    }
    assert!(verify(&tokens, &ed_token(Some("one")), at(1)).is_ok());
    let generation = tokens.keys.load().generation;
    assert_eq!(tokens.take_set(&set(jwks("one"))), Ok(1));
    assert_eq!(tokens.keys.load().generation, generation, "the same set forgets no token");
    assert_eq!(tokens.take_set("{\"keys\": []}"), Ok(0));
    assert_eq!(why(&tokens, &ed_token(Some("one")), 1), "unknown key");
}
