//! Webhooks, and what was sent to them.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Tag, once};
use crate::{
    domain::{
        keys::TenantKey,
        time::{Span, Timestamp},
        webhooks::{Attempt, Delivery, Webhook},
    },
    error::Error,
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Done, Tagged},
        types::{IdempotencyKey, Text},
        words::Word,
    },
    service::{
        Service,
        keyring::Secret,
        webhooks::{
            IssuedWebhook, NewWebhook, WebhookPatch,
            deliveries::{LONGEST_OVERLAP, usual_overlap},
        },
    },
};

/// The operations.
pub struct WebhooksApi(pub(super) Service);

/// A webhook to be made.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "NewWebhook", example = true)]
#[serde(deny_unknown_fields)]
pub struct WebhookBody {
    /// Where messages are sent.
    url: Text<1, 2000>,
    /// For people.
    description: Option<Text<1, 500>>,
    /// Beginnings of names of audit events; all events where there is none.
    events: Option<Vec<String>>,
    /// Only events about this tenant.
    tenant: Option<TenantKey>,
}

impl poem_openapi::types::Example for WebhookBody {
    fn example() -> Self {
        Self {
            url: Text::example("https://hooks.example.com/entitled"),
            description: Some(Text::example("Billing")),
            events: Some(vec!["subscription.".into(), "entitlement.override.".into()]),
            tenant: None,
        }
    }
}

/// What is to change about a webhook; what is left out stays.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "WebhookPatch", example = true)]
#[serde(deny_unknown_fields)]
pub struct WebhookPatchBody {
    /// Another address.
    url: Option<Text<1, 2000>>,
    /// Another description.
    description: Option<Text<1, 500>>,
    /// Other events, in place of the present ones.
    events: Option<Vec<String>>,
    /// Whether messages are sent. One that is enabled again goes on with what waits.
    enabled: Option<bool>,
}

impl poem_openapi::types::Example for WebhookPatchBody {
    fn example() -> Self {
        Self { url: None, description: None, events: None, enabled: Some(true) }
    }
}

/// How a secret is replaced.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "SecretRotation", example = true)]
#[serde(deny_unknown_fields)]
pub struct RotationBody {
    /// How long the present secret signs too, in seconds: 86400 if left out.
    #[oai(validator(maximum(value = "2592000")))]
    overlap_seconds: Option<u32>,
}

impl poem_openapi::types::Example for RotationBody {
    fn example() -> Self {
        Self { overlap_seconds: Some(86_400) }
    }
}

/// A webhook without its secret.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Webhook")]
pub struct WebhookView {
    /// Its id.
    id: String,
    /// Where messages are sent.
    url: String,
    /// For people.
    description: String,
    /// Beginnings of names of audit events; all events where there is none.
    events: Vec<String>,
    /// Only events about this tenant.
    tenant: Option<TenantKey>,
    /// Whether messages are sent.
    enabled: bool,
    /// Since when not.
    disabled_at: Option<Timestamp>,
    /// Why not: `by_hand`, `exhausted`, `gone` or `backlog`.
    disabled_reason: Option<Word>,
    /// Until when the secret before the present one signs too.
    old_secret_until: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// A webhook with a secret that was just made.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "IssuedWebhook")]
pub struct IssuedWebhookView {
    /// The webhook.
    webhook: WebhookView,
    /// What its messages are signed with, shown this once; null where the same request was answered
    /// before.
    secret: Option<String>,
}

/// One message, and what became of it.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "WebhookDelivery")]
pub struct DeliveryView {
    /// Its `webhook-id`, the same in each attempt.
    id: String,
    /// The name of the audit event.
    event: String,
    /// Whose tenant it is about.
    tenant: Option<TenantKey>,
    /// `waiting`, `delivered` or `failed`.
    state: Word,
    /// What is sent.
    payload: Value,
    /// The latest attempts, oldest first.
    attempts: Vec<AttemptView>,
    /// When it was made.
    created_at: Timestamp,
    /// When it is tried next; null where it is over, or waits for one before it.
    next_attempt_at: Option<Timestamp>,
    /// When it was over.
    ended_at: Option<Timestamp>,
}

/// One attempt.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "WebhookAttempt")]
pub struct AttemptView {
    /// When it began.
    at: Timestamp,
    /// `delivered`, `refused`, `gone`, `timeout`, `unreachable` or `forbidden`.
    outcome: Word,
    /// What the receiver answered.
    status: Option<u16>,
    /// How long it took, in milliseconds.
    took_ms: u64,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Webhooks")]
impl WebhooksApi {
    /// Make a webhook
    ///
    /// Its secret is shown this once.
    #[oai(path = "/webhooks", method = "post", operation_id = "create_webhook")]
    async fn create_webhook(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The same key and body get the first answer again, without the secret.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<WebhookBody>,
    ) -> Answer<Created<Json<IssuedWebhookView>>> {
        let once = once(key.0.as_ref(), "create_webhook", "", &body.0)?;
        let WebhookBody { url, description, events, tenant } = body.0;
        let new = NewWebhook {
            url: url.into_string(),
            description: description.map(Text::into_string).unwrap_or_default(),
            events: events.unwrap_or_default(),
            tenant,
        };
        let issued = self.0.create_webhook(&caller.actor, once, new).await?;
        let location = format!("/api/v1/admin/webhooks/{}", issued.webhook.id);
        let etag = Some(ETag::of_revision(issued.webhook.revision));
        Ok(Created { location, etag, body: Json(issued.into()) })
    }

    /// List webhooks
    #[oai(path = "/webhooks", method = "get", operation_id = "list_webhooks")]
    async fn list_webhooks(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<WebhookView>>> {
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.webhooks(&caller.actor, after, limit).await?;
        Ok(Json(Page::of(page, WebhookView::from)?))
    }

    /// Read a webhook
    #[oai(path = "/webhooks/:id", method = "get", operation_id = "get_webhook")]
    async fn get_webhook(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
    ) -> Answer<Tagged<Json<WebhookView>>> {
        Ok(tagged(self.0.webhook(&caller.actor, &id).await?))
    }

    /// Change a webhook
    #[oai(path = "/webhooks/:id", method = "patch", operation_id = "update_webhook")]
    async fn update_webhook(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
        /// The tag of the state that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<WebhookPatchBody>,
    ) -> Answer<Tagged<Json<WebhookView>>> {
        let expected = IfMatch::expected(expected.0)?;
        let WebhookPatchBody { url, description, events, enabled } = body.0;
        let patch = WebhookPatch {
            url: url.map(Text::into_string),
            description: description.map(Text::into_string),
            events,
            is_enabled: enabled,
        };
        Ok(tagged(self.0.update_webhook(&caller.actor, id.0, patch, expected).await?))
    }

    /// Remove a webhook
    ///
    /// What waits for it is not sent any more.
    #[oai(path = "/webhooks/:id", method = "delete", operation_id = "delete_webhook")]
    async fn delete_webhook(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
        /// The tag of the state that was looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
    ) -> Answer<Done> {
        let expected = IfMatch::expected(expected.0)?;
        self.0.delete_webhook(&caller.actor, id.0, expected).await?;
        Ok(Done)
    }

    /// Replace a webhook's secret
    ///
    /// Messages are signed with both for a while, so that the receiver can change over.
    #[oai(path = "/webhooks/:id/secret", method = "post", operation_id = "rotate_webhook_secret")]
    async fn rotate_webhook_secret(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
        body: Json<RotationBody>,
    ) -> Answer<Json<IssuedWebhookView>> {
        let overlap = match body.0.overlap_seconds {
            Some(seconds) if seconds > LONGEST_OVERLAP => {
                let message = format!("must be at most {LONGEST_OVERLAP}");
                return Err(Error::invalid("overlap_seconds", message).into());
            }
            Some(seconds) => Span::seconds(seconds),
            None => usual_overlap(),
        };
        Ok(Json(self.0.rotate_webhook_secret(&caller.actor, id.0, overlap).await?.into()))
    }

    /// Send a test message
    ///
    /// Of the type `webhook.test`, whatever events the webhook names.
    #[oai(path = "/webhooks/:id/test", method = "post", operation_id = "test_webhook")]
    async fn test_webhook(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
    ) -> Answer<Json<DeliveryView>> {
        Ok(Json(self.0.test_webhook(&caller.actor, id.0).await?.into()))
    }

    /// List what was sent to a webhook, and what waits
    ///
    /// Newest first.
    #[oai(
        path = "/webhooks/:id/deliveries",
        method = "get",
        operation_id = "list_webhook_deliveries"
    )]
    async fn list_webhook_deliveries(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<DeliveryView>>> {
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.webhook_deliveries(&caller.actor, id.0, before, limit).await?;
        Ok(Json(Page::of(page, DeliveryView::from)?))
    }

    /// Send a message once more
    ///
    /// With the same `webhook-id`, whatever became of it.
    #[oai(
        path = "/webhooks/:id/deliveries/:delivery/resend",
        method = "post",
        operation_id = "resend_webhook_delivery"
    )]
    async fn resend_webhook_delivery(
        &self,
        caller: Caller<needs::WebhooksManage>,
        /// The webhook.
        id: Path<String>,
        /// The message.
        delivery: Path<String>,
    ) -> Answer<Json<DeliveryView>> {
        let sent = self.0.resend_webhook_delivery(&caller.actor, id.0, delivery.0).await?;
        Ok(Json(sent.into()))
    }
}

fn tagged(webhook: Webhook) -> Tagged<Json<WebhookView>> {
    Tagged::Fresh(ETag::of_revision(webhook.revision), Json(webhook.into()))
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        let Webhook {
            id,
            url,
            description,
            events,
            tenant,
            disabled,
            old_secret_until,
            created_at,
            created_by,
            updated_at,
            revision: _,
        } = webhook;
        Self {
            id,
            url,
            description,
            events,
            tenant,
            enabled: disabled.is_none(),
            disabled_at: disabled.map(|(at, _)| at),
            disabled_reason: disabled.map(|(_, why)| Word::of(why.as_str())),
            old_secret_until,
            created_at,
            created_by,
            updated_at,
        }
    }
}

impl From<IssuedWebhook> for IssuedWebhookView {
    fn from(IssuedWebhook { webhook, secret }: IssuedWebhook) -> Self {
        let secret = secret.as_ref().map(Secret::reveal).map(str::to_owned);
        Self { webhook: webhook.into(), secret }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let Delivery {
            seq: _,
            id,
            webhook: _,
            event,
            tenant,
            lane: _,
            body,
            created_at,
            state,
            tries: _,
            attempts,
            next_at,
            ended_at,
        } = delivery;
        Self {
            id,
            event,
            tenant,
            state: Word::of(state.as_str()),
            payload: serde_json::from_str(&body).unwrap_or_default(),
            attempts: attempts.into_iter().map(AttemptView::from).collect(),
            created_at,
            next_attempt_at: next_at,
            ended_at,
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(Attempt { at, outcome, status, took_ms }: Attempt) -> Self {
        Self { at, outcome: Word::of(outcome.as_str()), status, took_ms }
    }
}
