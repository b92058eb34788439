use super::*;

fn source() -> KeySource {
    let place = KeyUrl::parse("https://login.example.com/keys", PlainHttp::Loopback).unwrap();
    KeySource::new(Fetching {
        place: Place::Set(place),
        plain_http: PlainHttp::Loopback,
        refresh: Duration::from_secs(300),
        cooldown: Duration::from_secs(10),
        deadline: Duration::from_secs(5),
    })
}

#[test]
fn a_flood_of_unknown_keys_asks_for_one_fetch_in_a_cooldown() {
    let (source, start) = (source(), Instant::now());
    assert_eq!(source.ask(start), Some(0), "the one of the start is waited for");
    source.end(Ok(()));
    for _ in 0..1_000 {
        assert_eq!(source.ask(start), Some(1), "all wait for the same one");
    }
    source.end(Ok(()));
    assert_eq!(source.ask(start + Duration::from_millis(9_999)), None);
    assert_eq!(source.ask(start + Duration::from_secs(10)), Some(2));
}

#[test]
fn pauses_double_and_stay_below_a_minute_and_the_period() {
    let mut source = source();
    let fault = Err(FetchFault::Unreachable);
    let pauses: Vec<_> = (0..8).map(|_| source.end(fault).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(source.end(Ok(())).as_secs(), 300);
    assert_eq!(source.end(fault).as_secs(), 1, "it begins again");
    source.fetching.refresh = Duration::from_secs(3);
    let pauses: Vec<_> = (0..3).map(|_| source.end(fault).as_secs()).collect();
    assert_eq!(pauses, [2, 3, 3]);
}

#[tokio::test]
async fn nobody_waits_for_ever_and_only_so_many_wait() {
    let source = std::sync::Arc::new(source());
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.newer(Instant::now(), Duration::MAX).await })
        })
        .collect();
    while source.waiting.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    // Would hang if it waited.
    assert!(source.newer(Instant::now(), Duration::MAX).await.is_err(), "there is no room");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    for waiting in waiting {
        let _ = waiting.await;
    }
    let outcome = source.newer(Instant::now(), Duration::from_millis(1)).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "nothing was fetched meanwhile");
}

#[tokio::test]
async fn who_waits_is_told_how_it_ended() {
    for (outcome, is_known) in [(Ok(()), true), (Err(FetchFault::Late), false)] {
        let source = std::sync::Arc::new(source());
        let waiting = source.clone();
        let waiting =
            tokio::spawn(async move { waiting.newer(Instant::now(), Duration::MAX).await });
        while source.waiting.available_permits() == WAITING {
            tokio::task::yield_now().await;
        }
        source.end(outcome);
        assert_eq!(waiting.await.unwrap().is_ok(), is_known);
    }
}

#[test]
fn health_names_the_fault_and_no_address() {
    let source = source();
    assert_eq!(source.health(), "no key set yet");
    source.end(Err(FetchFault::Status(502)));
    assert!(source.health().starts_with("no key set yet: the provider answered 502, 1 times"));
    source.end(Ok(()));
    assert_eq!(source.health(), "ok");
    source.end(Err(FetchFault::Late));
    assert!(source.health().ends_with("the last key set is used"));
    assert!(!source.health().contains("example"));
}

#[test]
fn plain_http_is_for_this_machine_alone_unless_it_is_allowed() {
    let parse = |text| KeyUrl::parse(text, PlainHttp::Loopback);
    for good in
        ["https://a.example/x?y=z", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost"]
    {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in [
        "http://a.example/",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "ftp://a.example/",
        "file:///etc/keys",
        "a.example/keys",
        "https://",
        "https://me:pw@a.example/",
        "",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(KeyUrl::parse("http://a.example/", PlainHttp::Allowed).is_ok());
}

#[test]
fn the_discovery_document_is_below_the_issuer() {
    for issuer in ["https://a.example/realms/x", "https://a.example/realms/x/"] {
        let Ok(Place::Discovery { document, issuer: kept }) =
            Place::of_issuer(issuer, PlainHttp::Loopback)
        else {
            panic!("{issuer}");
        };
        let expected = "https://a.example/realms/x/.well-known/openid-configuration";
        assert_eq!(document.url().as_str(), expected);
        assert_eq!(kept, issuer, "to the letter");
    }
    for bad in ["accounts.example", "https://a.example?x", "https://a.example/#x"] {
        assert!(Place::of_issuer(bad, PlainHttp::Loopback).is_err(), "{bad}");
    }
}
