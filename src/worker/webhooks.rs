//! Sends what waits for webhooks.
//!
//! Invariants: an address is judged after each resolution of its name; no redirect is followed; of
//! an answer only the head is read; every wait has a deadline; a webhook has only so many messages
//! under way, and a name one lookup, so that a receiver that hangs costs nothing but its own. A
//! message whose outcome could not be recorded before the end of the program is sent again: at least
//! once, always with the same id.

use std::{
    collections::HashMap,
    error::Error as StdError,
    io,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use tokio::{net::lookup_host, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::webhooks::{Attempt, Outcome},
    service::{
        Actor, Service,
        webhooks::{
            Sending, WebhookOptions,
            address::{Networks, literal},
            deliveries::{Busy, Job},
            signing::{seconds, signatures},
        },
    },
};

/// The longest pause: a backstop.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause after a failure of our own.
const RETRY: Duration = Duration::from_secs(1);

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub async fn run(service: Service, stop: CancellationToken) {
    let options = service.webhook_options();
    if options.sending == Sending::Off {
        tracing::warn!("nothing is sent to webhooks (webhooks.send); what they are told of waits");
        return;
    }
    let client = match client(options) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(
                ?error,
                "no webhook can be told of anything; are there CA certificates?"
            );
            return;
        }
    };
    let sender = Sender { service, client, networks: options.networks };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sender.send_all() => {}
    }
}

fn client(options: WebhookOptions) -> reqwest::Result<Client> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        // Each message has its own connection, so that its address was judged just before.
        .pool_max_idle_per_host(0)
        .connect_timeout(CONNECT.min(options.deadline))
        .timeout(options.deadline)
        .user_agent(concat!("entitled/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Judge { networks: options.networks, lookups: Lookups::default() }))
        .build()
}

/// A name leads to an address that nothing may be sent to.
#[derive(Debug, thiserror::Error)]
#[error("the address is not a public one")]
struct Forbidden;

/// Resolves names, and refuses those of forbidden addresses.
struct Judge {
    networks: Networks,
    lookups: Lookups,
}

impl Resolve for Judge {
    fn resolve(&self, name: Name) -> Resolving {
        let (networks, lookups) = (self.networks, self.lookups.clone());
        Box::pin(async move {
            let host = (name.as_str().to_owned(), 0);
            let lookup = async move { io::Result::Ok(lookup_host(host).await?.collect()) };
            let found: Vec<SocketAddr> = lookups.look(name.as_str(), lookup).await??;
            let allowed = networks.of_name(found).ok_or(Forbidden)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Lookups under way, of each name one at a time. A name server that hangs keeps a thread for far
/// longer than anybody waits for it; all names must not lose their threads to one.
#[derive(Default, Clone)]
struct Lookups(Arc<Mutex<HashMap<String, Weak<Semaphore>>>>);

impl Lookups {
    fn turn(&self, name: &str) -> Arc<Semaphore> {
        let mut turns = self.0.lock();
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// It has its turn until it ends, even where nobody waits for it any more.
    async fn look<T: Send + 'static>(
        &self,
        name: &str,
        lookup: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.turn(name).acquire_owned().await.map_err(io::Error::other)?;
        let looked = tokio::spawn(async move {
            let found = lookup.await;
            drop(turn);
            found
        });
        looked.await.map_err(io::Error::other)
    }
}

#[derive(Clone)]
struct Sender {
    service: Service,
    client: Client,
    networks: Networks,
}

impl Sender {
    async fn send_all(&self) {
        let (mut busy, mut sending) = (Busy::new(), JoinSet::new());
        loop {
            let again = match self.service.due_deliveries(&busy).await {
                Ok((jobs, again)) => {
                    for job in jobs {
                        let (webhook, seq) = (job.delivery.webhook.clone(), job.delivery.seq);
                        busy.entry(webhook.clone()).or_default().insert(seq);
                        let sender = self.clone();
                        sending.spawn(async move {
                            sender.deliver(job).await;
                            (webhook, seq)
                        });
                    }
                    again
                }
                Err(error) => {
                    tracing::error!(error = error.chain(), "webhooks were not looked at");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            tokio::select! {
                ended = sending.join_next(), if !sending.is_empty() => match ended {
                    Some(Ok((webhook, seq))) => {
                        if let Some(under_way) = busy.get_mut(&webhook) {
                            under_way.remove(&seq);
                        }
                    }
                    // Its message would count as under way for ever: the program ends.
                    Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                    Some(Err(_)) | None => {}
                },
                () = self.service.deliveries_woken() => {}
                () = self.service.clock().reached(again) => {}
                () = tokio::time::sleep(MAX_PAUSE) => {}
            }
        }
    }

    async fn deliver(&self, job: Job) {
        let actor = Actor::system("webhooks");
        let at = self.service.clock().now();
        let started = tokio::time::Instant::now();
        let (outcome, status) = self.attempt(&job).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let attempt = Attempt { at, outcome, status, took_ms };
        let (jitter, mut pause) = (jitter(), RETRY);
        let record = || self.service.record_attempt(&actor, &job.delivery, attempt.clone(), jitter);
        // Its receiver isn't to be told again and again only because a disk is full.
        while let Err(error) = record().await {
            let (id, error) = (&job.delivery.id, error.chain());
            tracing::error!(id, error, "how a webhook was told was not recorded");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn attempt(&self, job: &Job) -> (Outcome, Option<u16>) {
        let Job { delivery, url, secrets } = job;
        let Ok(url) = url.parse::<Url>() else { return (Outcome::Forbidden, None) };
        // What stands in the address itself is not resolved.
        if literal(&url).is_some_and(|address| !self.networks.allow(address)) {
            return (Outcome::Forbidden, None);
        }
        let at = self.service.clock().now();
        let signed = match signatures(secrets, &delivery.id, at, &delivery.body) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(webhook = delivery.webhook, error = error.chain(), "can't sign");
                return (Outcome::Forbidden, None);
            }
        };
        let sent = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", seconds(at))
            .header("webhook-signature", signed)
            .body(delivery.body.clone())
            .send();
        match sent.await {
            // The body is not read: the connection ends here.
            Ok(answer) => {
                let status = answer.status();
                let outcome = match status.as_u16() {
                    200..=299 => Outcome::Delivered,
                    410 => Outcome::Gone,
                    _ => Outcome::Refused,
                };
                (outcome, Some(status.as_u16()))
            }
            Err(error) if is_forbidden(&error) => (Outcome::Forbidden, None),
            Err(error) if error.is_timeout() => (Outcome::Timeout, None),
            Err(_) => (Outcome::Unreachable, None),
        }
    }
}

fn is_forbidden(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn StdError> = error.source();
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn jitter() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_lookup_that_hangs_is_waited_for_by_those_of_its_name_alone() {
        let lookups = Lookups::default();
        let (end, ended) = oneshot::channel::<()>();
        let mut hangs = Box::pin(lookups.look("a", ended));
        assert!((&mut hangs).now_or_never().is_none());
        // Who asked has given up; the lookup goes on.
        drop(hangs);
        let mut next = Box::pin(lookups.look("a", async { 2 }));
        assert!((&mut next).now_or_never().is_none());
        assert_eq!(lookups.look("b", async { 3 }).await.unwrap(), 3);
        assert!((&mut next).now_or_never().is_none());
        end.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 2);
        lookups.turn("c");
        assert_eq!(lookups.0.lock().len(), 1, "what is over is forgotten");
    }
}
