//! Fetches the key set that tokens are verified with: at the start, every so often, and when a
//! token names a key that is not known yet.
//!
//! Invariants: an answer that can't be used changes nothing; what the provider sends is bounded in
//! size and time; no redirect is followed, for it could lead anywhere.

use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::service::{
    key_source::{FetchFault, Fetching, KeyUrl, Place},
    tokens::Tokens,
};

/// The longest answer of a provider. Those of large ones have some 10 KiB.
const MOST_BYTES: usize = 256 * 1024;

/// The part of a discovery document that counts here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Runs until `stop`; does nothing for tokens whose keys are not fetched.
pub async fn run(tokens: &Tokens, stop: CancellationToken) {
    let Some(source) = tokens.source() else { return };
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(source.fetching.deadline)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            source.end(Err(FetchFault::Broken));
            tracing::error!(?error, "no key set can be fetched; are there CA certificates?");
            return;
        }
    };
    let mut has_failed = false;
    loop {
        source.begin();
        let fetched = tokio::select! {
            () = stop.cancelled() => return,
            fetched = fetch(&client, &source.fetching) => fetched,
        };
        let outcome = fetched.and_then(|set| tokens.take_set(&set));
        let pause = source.end(outcome.map(drop));
        match outcome {
            Ok(0) => tracing::warn!("the key set has no key that can be used"),
            Ok(keys) if has_failed => tracing::info!(keys, "the key set was fetched again"),
            Ok(keys) => tracing::debug!(keys, "the key set was fetched"),
            Err(error) => {
                let again_s = pause.as_secs();
                tracing::warn!(%error, again_s, "the key set was not fetched");
            }
        }
        has_failed = outcome.is_err();
        if !waited(pause, source.wanted(), &stop).await {
            return;
        }
    }
}

/// Until the pause is over or somebody asks; false where the service stops.
async fn waited(
    pause: Duration,
    wanted: impl Future<Output = ()>,
    stop: &CancellationToken,
) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
        () = wanted => true,
    }
}

async fn fetch(client: &reqwest::Client, fetching: &Fetching) -> Result<String, FetchFault> {
    match &fetching.place {
        Place::Set(url) => get(client, url).await,
        Place::Discovery { document, issuer } => {
            let text = get(client, document).await?;
            let found: Discovery =
                serde_json::from_str(&text).map_err(|_| FetchFault::NotDiscovery)?;
            if found.issuer != *issuer {
                return Err(FetchFault::WrongIssuer);
            }
            let url = KeyUrl::parse(&found.jwks_uri, fetching.plain_http);
            get(client, &url.map_err(|_| FetchFault::WrongPlace)?).await
        }
    }
}

async fn get(client: &reqwest::Client, url: &KeyUrl) -> Result<String, FetchFault> {
    let request = client.get(url.url().clone()).header("accept", "application/json");
    let mut response = request.send().await.map_err(|error| fault(&error))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(FetchFault::Status(status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(FetchFault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| FetchFault::NotKeys)
}

fn fault(error: &reqwest::Error) -> FetchFault {
    if error.is_timeout() {
        FetchFault::Late
    } else if error.is_connect() {
        FetchFault::Unreachable
    } else {
        FetchFault::Broken
    }
}
