use super::*;

fn jwt(set: impl FnOnce(&mut Jwt)) -> Result<Option<Tokens>, String> {
    let mut settings = Settings::default();
    set(&mut settings.jwt);
    settings.tokens().map_err(|error| error.0)
}

fn url(text: &str) -> Option<String> {
    Some(text.into())
}

#[test]
fn keys_have_one_source() {
    let wrong = jwt(|jwt| {
        jwt.hs256_secret = Some(Secret::new("x".repeat(32)));
        jwt.jwks_url = url("https://login.example.com/keys");
        jwt.discovery = true;
    });
    let wrong = wrong.unwrap_err();
    assert!(wrong.starts_with("jwt.hs256_secret and jwt.jwks_url and jwt.discovery are all set"));
    assert!(jwt(|_| {}).unwrap().is_none());
}

#[test]
fn an_address_that_cannot_be_used_is_named_by_its_setting() {
    let wrong = |set: fn(&mut Jwt)| jwt(set).unwrap_err();
    assert!(wrong(|jwt| jwt.discovery = true).contains("needs jwt.issuer"));
    let plain = |jwt: &mut Jwt| jwt.jwks_url = url("http://login.example.com/keys");
    assert!(wrong(plain).starts_with("jwt.jwks_url must begin with https://"));
    let no_address = |jwt: &mut Jwt| {
        jwt.discovery = true;
        jwt.issuer = url("login");
    };
    assert!(wrong(no_address).starts_with("jwt.issuer must be an address"));
}

#[test]
fn what_is_fetched_and_how_often_is_set() {
    let tokens = jwt(|jwt| {
        jwt.discovery = true;
        jwt.issuer = url("https://login.example.com/");
        jwt.jwks_refresh_seconds = 60;
        jwt.jwks_cooldown_seconds = 7;
        jwt.jwks_timeout_seconds = 3;
    });
    let tokens = tokens.unwrap().unwrap();
    let fetching = &tokens.source().unwrap().fetching;
    assert!(matches!(&fetching.place, Place::Discovery { issuer, .. } if issuer.ends_with("com/")));
    let seconds = [fetching.refresh, fetching.cooldown, fetching.deadline];
    assert_eq!(seconds.map(|time| time.as_secs()), [60, 7, 3]);
    let allowed = jwt(|jwt| {
        jwt.jwks_url = url("http://login.example.com/keys");
        jwt.allow_http = true;
    });
    assert!(allowed.unwrap().is_some());
}
