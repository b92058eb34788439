use super::*;
use crate::error::Error;

const SECOND: Duration = Duration::from_secs(60);

fn keep(cache: &Cache<String, u64>, key: &str, value: u64) {
    let ticket = cache.ticket(&key.to_owned());
    cache.keep(&key.to_owned(), ticket, value);
}

fn found(cache: &Cache<String, u64>, key: &str) -> Option<u64> {
    cache.get(&key.to_owned()).map(|entry| **entry)
}

#[test]
fn a_read_that_raced_with_a_change_is_not_kept() {
    let cache = Cache::new(100, SECOND);
    let acme = "acme".to_owned();
    let ticket = cache.ticket(&acme);
    cache.replace(&acme, |_| Ok(Some(2)));
    assert_eq!(**cache.keep(&acme, ticket, 1), 1, "its reader may use it");
    assert_eq!(found(&cache, "acme"), None, "but nobody after it");
    keep(&cache, "acme", 2);
    assert_eq!(found(&cache, "acme"), Some(2));
}

#[test]
fn a_change_replaces_what_is_in_memory_and_only_that() {
    let cache = Cache::new(100, SECOND);
    let acme = "acme".to_owned();
    cache.replace(&acme, |_| panic!("nobody asked about it"));
    keep(&cache, "acme", 1);
    cache.replace(&acme, |before| Ok(Some(before + 1)));
    assert_eq!(found(&cache, "acme"), Some(2));
    cache.replace(&acme, |_| Err(Error::Overloaded));
    assert_eq!(found(&cache, "acme"), None, "what can't be read again is forgotten");
}

#[test]
fn it_never_holds_more_than_it_may() {
    let cache = Cache::new(SHARDS, SECOND);
    for number in 0..1000 {
        keep(&cache, &format!("t{number}"), 1);
    }
    let (entries, [_, _, _, evictions]) = cache.counts();
    assert!(entries <= SHARDS as u64, "{entries}");
    assert!(evictions >= 1000 - SHARDS as u64, "{evictions}");
}

#[test]
fn what_is_too_old_is_read_again() {
    let cache = Cache::new(100, Duration::ZERO);
    keep(&cache, "acme", 1);
    assert_eq!(found(&cache, "acme"), None);
}
