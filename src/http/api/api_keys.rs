//! API keys.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{Tag, once};
use crate::{
    domain::{
        callers::{ApiKey, OperatorRole, Rate},
        keys::TenantKey,
        time::{Span, Timestamp},
    },
    error::Error,
    http::{
        auth::{Caller, needs},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Done},
        types::{IdempotencyKey, Text},
    },
    service::{
        Service,
        api_keys::{IssuedKey, NewApiKey, Rotation},
    },
};

/// The operations.
pub struct ApiKeysApi(pub(super) Service);

/// A key to be made.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "NewApiKey", example = true)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyBody {
    /// For people.
    name: Text<1, 200>,
    /// What its bearer may do.
    role: OperatorRole,
    /// The one tenant its bearer is bound to; needed for `tenant_admin` and `tenant_user`, possible
    /// for `service`.
    tenant: Option<TenantKey>,
    /// Refused from here on.
    expires_at: Option<Timestamp>,
    /// How many requests a second its bearer may send, where that differs from what the settings
    /// say: 1 to 1000000.
    rate_per_second: Option<u32>,
    /// How many of them at once: 1 to 1000000, as many as in a second if left out.
    rate_burst: Option<u32>,
}

impl poem_openapi::types::Example for ApiKeyBody {
    fn example() -> Self {
        Self {
            name: Text::example("Shop backend"),
            role: OperatorRole::Service,
            tenant: None,
            expires_at: None,
            rate_per_second: None,
            rate_burst: None,
        }
    }
}

/// How a key gets another secret.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "ApiKeyRotation", example = true)]
#[serde(deny_unknown_fields)]
pub struct RotationBody {
    /// For how long the secret that it has stays good, in seconds: 0 to 2592000 (30 days), a day if
    /// left out.
    overlap_seconds: Option<u32>,
    /// When the key expires from now on; left out, that stays as it is.
    expires_at: Option<Timestamp>,
}

impl poem_openapi::types::Example for RotationBody {
    fn example() -> Self {
        Self { overlap_seconds: Some(3600), expires_at: None }
    }
}

const DAY_S: u32 = 86_400;
const LONGEST_OVERLAP_S: u32 = 30 * DAY_S;

/// A key that was made, or that got another secret.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "IssuedApiKey")]
pub struct IssuedView {
    /// The public part.
    id: String,
    /// The whole key, shown this once; null where the same request was answered before.
    key: Option<String>,
    /// For people.
    name: String,
    /// What its bearer may do.
    role: OperatorRole,
    /// The one tenant its bearer is bound to.
    tenant: Option<TenantKey>,
    /// When it was made.
    created_at: Timestamp,
    /// Refused from here on.
    expires_at: Option<Timestamp>,
    /// The secret before this one is refused from here on; null where there is none.
    old_secret_until: Option<Timestamp>,
}

/// A key without its secret.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ApiKey")]
pub struct ApiKeyView {
    /// The public part.
    id: String,
    /// For people.
    name: String,
    /// What its bearer may do.
    role: OperatorRole,
    /// The one tenant its bearer is bound to.
    tenant: Option<TenantKey>,
    /// When it was made.
    created_at: Timestamp,
    /// Refused from here on.
    expires_at: Option<Timestamp>,
    /// Refused since.
    revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    last_used_at: Option<Timestamp>,
    /// When it last got another secret.
    rotated_at: Option<Timestamp>,
    /// The secret before that one is refused from here on.
    old_secret_until: Option<Timestamp>,
    /// How many requests a second its bearer may send, where that differs from the settings.
    rate_per_second: Option<u32>,
    /// How many of them at once.
    rate_burst: Option<u32>,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Keys")]
impl ApiKeysApi {
    /// Make an API key
    ///
    /// The key is shown this once and kept nowhere.
    #[oai(path = "/api-keys", method = "post", operation_id = "create_api_key")]
    async fn create_api_key(
        &self,
        caller: Caller<needs::KeysManage>,
        /// The same key and body get the first answer again, without the secret.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<ApiKeyBody>,
    ) -> Answer<Created<Json<IssuedView>>> {
        let once = once(key.0.as_ref(), "create_api_key", "", &body.0)?;
        let ApiKeyBody { name, role, tenant, expires_at, rate_per_second, rate_burst } = body.0;
        let rate = match (rate_per_second, rate_burst) {
            (Some(per_second), burst) => {
                Some(Rate { per_second, burst: burst.unwrap_or(per_second) })
            }
            (None, Some(_)) => {
                return Err(
                    Error::invalid("rate_per_second", "must be given with rate_burst").into()
                );
            }
            (None, None) => None,
        };
        let new = NewApiKey { name: name.into_string(), role, tenant, expires_at, rate };
        let issued = self.0.create_api_key(&caller.actor, once, new).await?;
        let location = format!("/api/v1/admin/api-keys/{}", issued.key.id);
        Ok(Created { location, etag: None, body: Json(issued.into()) })
    }

    /// List API keys
    ///
    /// By id, revoked ones too.
    #[oai(path = "/api-keys", method = "get", operation_id = "list_api_keys")]
    async fn list_api_keys(
        &self,
        caller: Caller<needs::KeysManage>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<ApiKeyView>>> {
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.api_keys(&caller.actor, after, limit).await?;
        Ok(Json(Page::of(page, ApiKeyView::from)?))
    }

    /// Read an API key
    #[oai(path = "/api-keys/:id", method = "get", operation_id = "get_api_key")]
    async fn get_api_key(
        &self,
        caller: Caller<needs::KeysManage>,
        /// The public part of the key.
        id: Path<String>,
    ) -> Answer<Json<ApiKeyView>> {
        Ok(Json(self.0.api_key(&caller.actor, &id).await?.into()))
    }

    /// Rotate an API key
    ///
    /// It gets another secret, which is shown this once, and keeps its id, name and role. The secret
    /// that it has stays good for the overlap, but not beyond the key's end; the one before that is
    /// refused from now on.
    #[oai(path = "/api-keys/:id/rotate", method = "post", operation_id = "rotate_api_key")]
    async fn rotate_api_key(
        &self,
        caller: Caller<needs::KeysManage>,
        /// The public part of the key.
        id: Path<String>,
        /// The same key and body get the first answer again, without the secret.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<RotationBody>,
    ) -> Answer<Json<IssuedView>> {
        let once = once(key.0.as_ref(), "rotate_api_key", &id, &body.0)?;
        let RotationBody { overlap_seconds, expires_at } = body.0;
        let overlap = overlap_seconds.unwrap_or(DAY_S);
        if overlap > LONGEST_OVERLAP_S {
            let message = format!("must be from 0 to {LONGEST_OVERLAP_S}");
            return Err(Error::invalid("overlap_seconds", message).into());
        }
        let rotation = Rotation { overlap: Span::seconds(overlap), expires_at };
        let issued = self.0.rotate_api_key(&caller.actor, once, id.0, rotation).await?;
        Ok(Json(issued.into()))
    }

    /// Revoke an API key
    ///
    /// It is refused from now on. Revoking it again changes nothing.
    #[oai(path = "/api-keys/:id", method = "delete", operation_id = "revoke_api_key")]
    async fn revoke_api_key(
        &self,
        caller: Caller<needs::KeysManage>,
        /// The public part of the key.
        id: Path<String>,
    ) -> Answer<Done> {
        self.0.revoke_api_key(&caller.actor, id.0).await?;
        Ok(Done)
    }
}

impl From<IssuedKey> for IssuedView {
    fn from(IssuedKey { key, secret }: IssuedKey) -> Self {
        let ApiKey { id, name, role, tenant, created_at, expires_at, old_secret_until, .. } = key;
        let key = secret.map(|secret| secret.reveal().to_owned());
        Self { id, key, name, role, tenant, created_at, expires_at, old_secret_until }
    }
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        let ApiKey {
            id,
            name,
            role,
            tenant,
            created_at,
            expires_at,
            revoked_at,
            last_used_at,
            rotated_at,
            old_secret_until,
            rate,
        } = key;
        let (rate_per_second, rate_burst) =
            rate.map(|Rate { per_second, burst }| (per_second, burst)).unzip();
        Self {
            id,
            name,
            role,
            tenant,
            created_at,
            expires_at,
            revoked_at,
            last_used_at,
            rotated_at,
            old_secret_until,
            rate_per_second,
            rate_burst,
        }
    }
}
