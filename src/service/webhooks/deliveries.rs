//! Messages: written beside the change that they tell of, sent by the worker, told apart by lanes.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::{
    super::{Service, actor::Actor, new_id, paging::Page, permissions::Permission},
    disable, event,
};
use crate::{
    domain::{
        audit::Event,
        keys::TenantKey,
        time::{Span, Timestamp},
        webhooks::{
            Attempt, Delivery, DeliveryState, DisabledReason, Outcome, Webhook, next_attempt,
        },
    },
    error::{Error, Result},
    store::{self, ReadTx, WriteTx, outbox::key_of, webhooks::Secrets},
};

/// How many messages are under way to one webhook at a time.
const AT_ONCE: usize = 4;

/// How many attempts are kept of one message.
const ATTEMPTS_KEPT: usize = 20;

/// The kind of a message that only shows that messages arrive.
const TEST: &str = "webhook.test";

/// The most webhooks that are looked at.
const MOST_WEBHOOKS: usize = 10_000;

/// Writes a message for each webhook that wants to be told of these events.
pub(in crate::service) fn enqueue(tx: &WriteTx<'_>, events: &[Event]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let webhooks = store::webhooks::list(tx.read(), None, MOST_WEBHOOKS)?;
    for event in events {
        for webhook in &webhooks {
            if webhook.wants(event.name, event.tenant.as_ref()) {
                let lane = event.tenant.as_ref().map_or("", TenantKey::as_str).to_owned();
                store::deliveries::insert(tx, &message(tx, webhook, event, Some(lane))?)?;
            }
        }
    }
    Ok(())
}

/// A message about an event. Without a lane it stands outside of the order.
fn message(
    tx: &WriteTx<'_>,
    webhook: &Webhook,
    event: &Event,
    lane: Option<String>,
) -> Result<Delivery> {
    let id = new_id("msg");
    let mut data = json!({
        "tenant": event.tenant,
        "version": tx.version(),
        "keys": key_of(event).into_iter().collect::<Vec<_>>(),
        "subject": event.subject,
    });
    let of_sandbox =
        event.tenant.as_ref().map_or(Ok(false), |it| store::tenants::is_sandbox(tx.read(), it))?;
    if let (true, Some(data)) = (of_sandbox, data.as_object_mut()) {
        data.insert("sandbox".into(), true.into());
    }
    let body = json!({"type": event.name, "timestamp": tx.real_now(), "data": data});
    Ok(Delivery {
        seq: 0,
        webhook: webhook.id.clone(),
        event: event.name.to_owned(),
        tenant: event.tenant.clone(),
        lane: lane.unwrap_or_else(|| id.clone()),
        id,
        body: body.to_string(),
        created_at: tx.real_now(),
        state: DeliveryState::Waiting,
        tries: 0,
        attempts: Vec::new(),
        next_at: Some(tx.real_now()),
        ended_at: None,
    })
}

/// A message that is to be sent now, with all that is needed for it.
#[derive(Debug)]
pub struct Job {
    /// The message.
    pub delivery: Delivery,
    /// Where to.
    pub url: String,
    /// What it is signed with.
    pub secrets: Secrets,
}

/// What is under way, by webhook.
pub type Busy = HashMap<String, HashSet<u64>>;

fn enabled(tx: &ReadTx<'_>, id: &str) -> Result<Webhook> {
    let webhook = store::webhooks::get(tx, id)?;
    if webhook.disabled.is_some() {
        let detail = "The webhook is disabled; enable it first.".into();
        return Err(Error::Conflict { code: "WEBHOOK_DISABLED", detail });
    }
    Ok(webhook)
}

impl Service {
    /// Sends a webhook a message that only shows that messages arrive.
    pub async fn test_webhook(&self, actor: &Actor, id: String) -> Result<Delivery> {
        actor.reach(Permission::WebhooksManage)?;
        self.change(actor, move |tx| {
            let webhook = enabled(tx.read(), &id)?;
            let test = Event { name: TEST, ..event(TEST, &webhook, json!(null), json!(null)) };
            let delivery = message(tx, &webhook, &test, None)?;
            store::deliveries::insert(tx, &delivery)?;
            let made = store::deliveries::get(tx.read(), &id, &delivery.id)?;
            let after = json!({"delivery": delivery.id});
            Ok((made, vec![event("webhook.tested", &webhook, json!(null), after)]))
        })
        .await
    }

    /// A page of what was and is to be sent to a webhook, newest first.
    pub async fn webhook_deliveries(
        &self,
        actor: &Actor,
        id: String,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Delivery, u64>> {
        actor.reach(Permission::WebhooksManage)?;
        let rows = self.store.read_long(move |tx| {
            store::webhooks::get(tx, &id)?;
            store::deliveries::list(tx, &id, before, limit + 1)
        });
        Ok(Page::of(rows.await?, limit, |delivery| delivery.seq))
    }

    /// Sends a message once more, with the same id, whatever became of it and whatever waits.
    pub async fn resend_webhook_delivery(
        &self,
        actor: &Actor,
        webhook: String,
        id: String,
    ) -> Result<Delivery> {
        actor.reach(Permission::WebhooksManage)?;
        self.change(actor, move |tx| {
            let webhook = enabled(tx.read(), &webhook)?;
            let before = store::deliveries::get(tx.read(), &webhook.id, &id)?;
            let lane = match before.state {
                // It is its turn, or will be: it must not overtake those before it.
                DeliveryState::Waiting => before.lane.clone(),
                DeliveryState::Delivered | DeliveryState::Failed => before.id.clone(),
            };
            let next_at = match before.state {
                DeliveryState::Waiting => before.next_at.map(|_| tx.real_now()),
                DeliveryState::Delivered | DeliveryState::Failed => Some(tx.real_now()),
            };
            let state = DeliveryState::Waiting;
            let after = Delivery { lane, next_at, state, tries: 0, ended_at: None, ..before };
            store::deliveries::update(tx, &after)?;
            let said = json!({"delivery": after.id});
            let event = event("webhook.delivery_resent", &webhook, json!(null), said);
            Ok((after, vec![event]))
        })
        .await
    }

    /// What is to be sent now beside what is under way, and when to look again.
    pub async fn due_deliveries(&self, busy: &Busy) -> Result<(Vec<Job>, Timestamp)> {
        let (now, busy) = (self.clock.steady(), busy.clone());
        self.store
            .read_long(move |tx| {
                let (mut jobs, mut again) = (Vec::new(), Timestamp::MAX);
                for webhook in store::webhooks::list(tx, None, MOST_WEBHOOKS)? {
                    if webhook.disabled.is_some() {
                        continue;
                    }
                    let under_way = busy.get(&webhook.id);
                    let count = under_way.map_or(0, HashSet::len);
                    let free = AT_ONCE.saturating_sub(count);
                    if free == 0 {
                        // One of them that ends is the reason to look again.
                        continue;
                    }
                    let is_busy = |seq: &u64| under_way.is_some_and(|all| all.contains(seq));
                    let soonest = store::deliveries::soonest(tx, &webhook.id, AT_ONCE + count)?;
                    let mut secrets = None;
                    let waiting = soonest.into_iter().filter(|delivery| !is_busy(&delivery.seq));
                    for delivery in waiting.take(free) {
                        let at = delivery.next_at.unwrap_or(Timestamp::MAX);
                        if at > now {
                            again = again.min(at);
                            break;
                        }
                        let secrets = match &secrets {
                            Some(secrets) => Secrets::clone(secrets),
                            None => {
                                secrets.insert(store::webhooks::secrets(tx, &webhook.id)?).clone()
                            }
                        };
                        jobs.push(Job { delivery, url: webhook.url.clone(), secrets });
                    }
                }
                Ok((jobs, again))
            })
            .await
    }

    /// Resolves when something more may be due.
    pub async fn deliveries_woken(&self) {
        self.senders.notified().await;
    }

    /// Writes down how an attempt ended, and what comes of it. `jitter` spreads those that failed
    /// together.
    pub async fn record_attempt(
        &self,
        actor: &Actor,
        of: &Delivery,
        attempt: Attempt,
        jitter: u16,
    ) -> Result<()> {
        let outcome = attempt.outcome;
        let (webhook, id, backlog) =
            (of.webhook.clone(), of.id.clone(), self.policy.webhooks.backlog);
        let recorded = self.change(actor, move |tx| {
            let webhook = store::webhooks::get(tx.read(), &webhook)?;
            let delivery = store::deliveries::get(tx.read(), &webhook.id, &id)?;
            if delivery.state != DeliveryState::Waiting {
                return Ok(((), Vec::new()));
            }
            let event = settle(tx, webhook, delivery, attempt, jitter, backlog)?;
            Ok(((), event.into_iter().collect()))
        });
        match recorded.await {
            Ok(()) => {
                metrics::counter!("entitlement_webhook_deliveries_total", "outcome" => outcome.as_str())
                    .increment(1);
                Ok(())
            }
            // It was removed meanwhile.
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Disables webhooks for which too much waits, also those whose receivers take every message, but
    /// more slowly than they come.
    pub async fn bound_backlogs(&self, actor: &Actor) -> Result<()> {
        let most = self.policy.webhooks.backlog;
        let beyond = self.store.read_long(move |tx| {
            let mut beyond = Vec::new();
            for webhook in store::webhooks::list(tx, None, MOST_WEBHOOKS)? {
                if is_beyond(tx, &webhook, most)? {
                    beyond.push(webhook.id);
                }
            }
            Ok(beyond)
        });
        for id in beyond.await? {
            let disabled = self.change(actor, move |tx| {
                let webhook = store::webhooks::get(tx.read(), &id)?;
                let is_beyond = is_beyond(tx.read(), &webhook, most)?;
                let event = is_beyond.then(|| disable(tx, webhook, DisabledReason::Backlog));
                Ok(((), event.transpose()?.into_iter().collect()))
            });
            match disabled.await {
                // It was removed meanwhile.
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes away what was over so long ago that it isn't kept.
    pub async fn prune_deliveries(&self, actor: &Actor) -> Result<()> {
        let before = self.clock.steady() - self.policy.webhooks.keep_for;
        while self.store.read(|tx| store::deliveries::is_prunable(tx, before)).await? {
            self.change(actor, move |tx| Ok((store::deliveries::prune(tx, before)?, Vec::new())))
                .await?;
        }
        Ok(())
    }
}

fn is_beyond(tx: &ReadTx<'_>, webhook: &Webhook, most: u64) -> Result<bool> {
    Ok(webhook.disabled.is_none() && store::deliveries::is_beyond(tx, &webhook.id, most)?)
}

fn settle(
    tx: &WriteTx<'_>,
    webhook: Webhook,
    mut delivery: Delivery,
    attempt: Attempt,
    jitter: u16,
    backlog: u64,
) -> Result<Option<Event>> {
    let outcome = attempt.outcome;
    delivery.tries += 1;
    delivery.attempts.push(attempt);
    let surplus = delivery.attempts.len().saturating_sub(ATTEMPTS_KEPT);
    delivery.attempts.drain(..surplus);
    let is_disabled = webhook.disabled.is_some();
    let again = next_attempt(tx.real_now(), delivery.tries, jitter);
    let over = match (outcome, again) {
        (Outcome::Delivered, _) => Some((DeliveryState::Delivered, None)),
        (Outcome::Gone, _) => Some((DeliveryState::Failed, Some(DisabledReason::Gone))),
        (_, None) => Some((DeliveryState::Failed, Some(DisabledReason::Exhausted))),
        (_, Some(_)) => None,
    };
    let mut why = None;
    match over {
        Some((state, reason)) => {
            (delivery.state, delivery.next_at) = (state, None);
            delivery.ended_at = Some(tx.real_now());
            why = reason;
        }
        None => delivery.next_at = again.filter(|_| !is_disabled),
    }
    store::deliveries::update(tx, &delivery)?;
    if is_disabled {
        return Ok(None);
    }
    if over.is_some() {
        store::deliveries::advance(tx, &webhook.id, &delivery.lane)?;
    } else if store::deliveries::is_beyond(tx.read(), &webhook.id, backlog)? {
        why = Some(DisabledReason::Backlog);
    }
    why.map(|why| disable(tx, webhook, why)).transpose()
}

/// The longest time for which two secrets sign.
pub const LONGEST_OVERLAP: u32 = 30 * 24 * 3_600;

/// How long two secrets sign where nothing else is said.
#[must_use]
pub fn usual_overlap() -> Span {
    Span::hours(24)
}
