//! Webhooks, after the specification of Standard Webhooks: made, changed, tested and removed.
//!
//! Invariants: a message is written in the transaction of the change that it tells of, so that none
//! is lost and none tells of what did not happen; a secret is shown once, when it is made.

pub mod address;
pub mod deliveries;
pub mod signing;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    address::{Networks, Schemes, check_url},
    signing::{generate, shown},
};
use super::{
    Service, actor::Actor, expect_revision, keyring::Secret, new_id, once::Once, paging::Page,
    permissions::Permission,
};
use crate::{
    domain::{
        audit::Event,
        keys::TenantKey,
        time::Span,
        webhooks::{DisabledReason, Webhook},
    },
    error::{Error, Fault, Result},
    store::{self, WriteTx},
};

/// Whether what waits for webhooks is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// As soon as it is due.
    On,
    /// It waits, as it does while the service is down.
    Off,
}

/// What bounds webhooks.
#[derive(Debug, Clone, Copy)]
pub struct WebhookOptions {
    /// Whether anything is sent.
    pub sending: Sending,
    /// What they may be reached by.
    pub schemes: Schemes,
    /// Where they may be.
    pub networks: Networks,
    /// How many there may be.
    pub endpoints: usize,
    /// How many messages may wait for one before it is disabled.
    pub backlog: u64,
    /// The longest wait for an answer.
    pub deadline: std::time::Duration,
    /// How long messages are kept that are over.
    pub keep_for: Span,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            sending: Sending::On,
            schemes: Schemes::HttpsAlone,
            networks: Networks::PublicAlone,
            endpoints: 100,
            backlog: 100_000,
            deadline: std::time::Duration::from_secs(15),
            keep_for: Span::days(30),
        }
    }
}

/// A webhook to be made.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where messages are sent.
    pub url: String,
    /// For people.
    pub description: String,
    /// Beginnings of names of audit events; all events where there is none.
    pub events: Vec<String>,
    /// Only events about this tenant.
    pub tenant: Option<TenantKey>,
}

/// What is to change about a webhook; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct WebhookPatch {
    /// Another address.
    pub url: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Other events.
    pub events: Option<Vec<String>>,
    /// Whether messages are sent.
    pub is_enabled: Option<bool>,
}

/// A webhook with the secret that was just made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IssuedWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// Its secret. It isn't in what is kept of the answer, so a repeated request doesn't show it.
    #[serde(skip)]
    pub secret: Option<Secret>,
}

impl Service {
    /// What bounds webhooks.
    #[must_use]
    pub fn webhook_options(&self) -> WebhookOptions {
        self.policy.webhooks
    }

    /// Makes a webhook.
    pub async fn create_webhook(
        &self,
        actor: &Actor,
        once: Option<Once>,
        new: NewWebhook,
    ) -> Result<IssuedWebhook> {
        actor.reach(Permission::WebhooksManage)?;
        let options = self.policy.webhooks;
        let secret = generate()?;
        let by = actor.principal.id.clone();
        self.change_once(actor, once, move |tx| {
            let NewWebhook { url, description, events, tenant } = new;
            let mut faults = Vec::new();
            check_url(&url, options).unwrap_or_else(|why| faults.push(Fault::new("url", why)));
            check_events(&events, &mut faults);
            if let Some(tenant) = &tenant
                && store::tenants::find(tx.read(), tenant)?.is_none()
            {
                faults.push(Fault::new("tenant", format!("there is no tenant “{tenant}”")));
            }
            refuse(faults)?;
            if store::webhooks::count(tx.read())? >= options.endpoints as u64 {
                let detail = format!(
                    "There are {} webhooks already; remove one, or raise webhooks.endpoints.",
                    options.endpoints
                );
                return Err(Error::Conflict { code: "TOO_MANY_WEBHOOKS", detail });
            }
            let webhook = Webhook {
                id: new_id("whk"),
                url,
                description,
                events,
                tenant,
                disabled: None,
                old_secret_until: None,
                created_at: tx.real_now(),
                created_by: by,
                updated_at: tx.real_now(),
                revision: 1,
            };
            store::webhooks::insert(tx, &webhook, secret.reveal())?;
            let event = event("webhook.created", &webhook, Value::Null, facts(&webhook));
            Ok((IssuedWebhook { webhook, secret: Some(shown(&secret)) }, vec![event]))
        })
        .await
    }

    /// A page of webhooks.
    pub async fn webhooks(
        &self,
        actor: &Actor,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<Webhook>> {
        actor.reach(Permission::WebhooksManage)?;
        let rows = self
            .store
            .read_long(move |tx| store::webhooks::list(tx, after.as_deref(), limit + 1))
            .await?;
        Ok(Page::of(rows, limit, |webhook| webhook.id.clone()))
    }

    /// One webhook.
    pub async fn webhook(&self, actor: &Actor, id: &str) -> Result<Webhook> {
        actor.reach(Permission::WebhooksManage)?;
        self.store.read(|tx| store::webhooks::get(tx, id)).await
    }

    /// Changes what can change about a webhook. One that is enabled again goes on with what waits.
    pub async fn update_webhook(
        &self,
        actor: &Actor,
        id: String,
        patch: WebhookPatch,
        expected: Option<u64>,
    ) -> Result<Webhook> {
        actor.reach(Permission::WebhooksManage)?;
        let options = self.policy.webhooks;
        self.change(actor, move |tx| {
            let before = store::webhooks::get(tx.read(), &id)?;
            expect_revision(expected, before.revision)?;
            let WebhookPatch { url, description, events, is_enabled } = patch;
            let mut faults = Vec::new();
            if let Some(url) = &url {
                check_url(url, options).unwrap_or_else(|why| faults.push(Fault::new("url", why)));
            }
            check_events(events.as_deref().unwrap_or_default(), &mut faults);
            refuse(faults)?;
            let mut after = before.clone();
            after.url = url.unwrap_or(after.url);
            after.description = description.unwrap_or(after.description);
            after.events = events.unwrap_or(after.events);
            after.disabled = match (is_enabled, after.disabled) {
                (Some(true), _) => None,
                (Some(false), None) => Some((tx.real_now(), DisabledReason::ByHand)),
                (Some(false) | None, same) => same,
            };
            if after == before {
                return Ok((before, Vec::new()));
            }
            write(tx, &mut after)?;
            match (before.disabled, after.disabled) {
                (None, Some(_)) => store::deliveries::park(tx, &id)?,
                (Some(_), None) => store::deliveries::go_on(tx, &id)?,
                (None, None) | (Some(_), Some(_)) => {}
            }
            let event = event("webhook.updated", &after, facts(&before), facts(&after));
            Ok((after, vec![event]))
        })
        .await
    }

    /// Gives a webhook a new secret; the one before signs too for `overlap`.
    pub async fn rotate_webhook_secret(
        &self,
        actor: &Actor,
        id: String,
        overlap: Span,
    ) -> Result<IssuedWebhook> {
        actor.reach(Permission::WebhooksManage)?;
        let secret = generate()?;
        self.change(actor, move |tx| {
            let mut webhook = store::webhooks::get(tx.read(), &id)?;
            let until = tx.real_now() + overlap;
            webhook.revision += 1;
            webhook.updated_at = tx.real_now();
            webhook.old_secret_until = Some(until);
            store::webhooks::rotate(tx, &webhook, secret.reveal(), until)?;
            let after = json!({"old_secret_until": until});
            let event = event("webhook.secret_rotated", &webhook, Value::Null, after);
            Ok((IssuedWebhook { webhook, secret: Some(shown(&secret)) }, vec![event]))
        })
        .await
    }

    /// Removes a webhook with its deliveries.
    pub async fn delete_webhook(
        &self,
        actor: &Actor,
        id: String,
        expected: Option<u64>,
    ) -> Result<()> {
        actor.reach(Permission::WebhooksManage)?;
        self.change(actor, move |tx| {
            let webhook = store::webhooks::get(tx.read(), &id)?;
            expect_revision(expected, webhook.revision)?;
            store::webhooks::delete(tx, &id)?;
            let event = event("webhook.deleted", &webhook, facts(&webhook), Value::Null);
            Ok(((), vec![event]))
        })
        .await
    }
}

fn refuse(faults: Vec<Fault>) -> Result<()> {
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
}

/// Writes a webhook that was changed.
fn write(tx: &WriteTx<'_>, webhook: &mut Webhook) -> Result<()> {
    webhook.revision += 1;
    webhook.updated_at = tx.real_now();
    store::webhooks::update(tx, webhook)
}

/// Sends nothing more to a webhook.
fn disable(tx: &WriteTx<'_>, mut webhook: Webhook, why: DisabledReason) -> Result<Event> {
    let before = facts(&webhook);
    webhook.disabled = Some((tx.real_now(), why));
    write(tx, &mut webhook)?;
    store::deliveries::park(tx, &webhook.id)?;
    Ok(event("webhook.disabled", &webhook, before, facts(&webhook)))
}

fn check_events(events: &[String], faults: &mut Vec<Fault>) {
    const MOST: usize = 50;
    let is_start = |text: &String| {
        (1..=100).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte))
    };
    if events.len() > MOST || !events.iter().all(is_start) {
        let message =
            "must be at most 50 beginnings of names of audit events, such as “subscription.”";
        faults.push(Fault::new("events", message));
    }
}

/// A webhook as the trail shows it: never with a secret.
fn facts(webhook: &Webhook) -> Value {
    json!({
        "url": webhook.url,
        "description": webhook.description,
        "events": webhook.events,
        "tenant": webhook.tenant,
        "disabled": webhook.disabled.map(|(_, why)| why),
    })
}

fn event(name: &'static str, webhook: &Webhook, before: Value, after: Value) -> Event {
    let tenant = webhook.tenant.clone();
    Event { name, tenant, subject: webhook.id.clone(), before, after, reason: None }
}
