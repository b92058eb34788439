//! API keys: made, listed, rotated and revoked. A secret is shown once.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    keyring::{self, Secret},
    once::Once,
    paging::Page,
    permissions::Permission,
    rates,
};
use crate::{
    domain::{
        audit::Event,
        callers::{ApiKey, OperatorRole, Rate},
        keys::TenantKey,
        time::{Span, Timestamp},
    },
    error::{Error, Fault, Result},
    store,
};

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// For people.
    pub name: String,
    /// What its bearer may do.
    pub role: OperatorRole,
    /// The one tenant its bearer is bound to.
    pub tenant: Option<TenantKey>,
    /// Refused from here on.
    pub expires_at: Option<Timestamp>,
    /// How much its bearer may send, where it differs from what all may.
    pub rate: Option<Rate>,
}

/// How a key gets another secret.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// How long the secret that it has stays good.
    pub overlap: Span,
    /// When the key ends from now on; none leaves that as it is.
    pub expires_at: Option<Timestamp>,
}

/// A key that was made, or that got another secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IssuedKey {
    /// The key without its secret.
    pub key: ApiKey,
    /// The whole key as its bearer sends it. Never stored, so a repeated request doesn't show it.
    #[serde(skip)]
    pub secret: Option<Secret>,
}

impl Service {
    /// Makes a key.
    pub async fn create_api_key(
        &self,
        actor: &Actor,
        once: Option<Once>,
        new: NewApiKey,
    ) -> Result<IssuedKey> {
        actor.reach(Permission::KeysManage)?;
        let made = keyring::generate()?;
        let by = actor.principal.id.clone();
        self.change_once(actor, once, move |tx| {
            check(&new, tx.now())?;
            if let Some(tenant) = &new.tenant
                && store::tenants::find(tx.read(), tenant)?.is_none()
            {
                let message = format!("there is no tenant “{tenant}”");
                return Err(Error::invalid("tenant", message));
            }
            let key = ApiKey {
                id: made.id.clone(),
                name: new.name,
                role: new.role,
                tenant: new.tenant,
                created_at: tx.now(),
                expires_at: new.expires_at,
                revoked_at: None,
                last_used_at: None,
                rotated_at: None,
                old_secret_until: None,
                rate: new.rate,
            };
            store::api_keys::insert(tx, &key, &made.digest, &by)?;
            tx.touch_keys();
            let event = event("api_key.created", &key, Value::Null, facts(&key));
            Ok((IssuedKey { key, secret: Some(made.text) }, vec![event]))
        })
        .await
    }

    /// A page of keys, revoked ones too.
    pub async fn api_keys(
        &self,
        actor: &Actor,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<ApiKey>> {
        actor.reach(Permission::KeysManage)?;
        let rows = self
            .store
            .read_long(move |tx| store::api_keys::list(tx, after.as_deref(), limit + 1))
            .await?;
        Ok(Page::of(rows, limit, |key| key.id.clone()))
    }

    /// One key.
    pub async fn api_key(&self, actor: &Actor, id: &str) -> Result<ApiKey> {
        actor.reach(Permission::KeysManage)?;
        self.store.read(|tx| store::api_keys::get(tx, id)).await
    }

    /// Gives a key another secret. The one that it has stays good for the overlap, but not beyond
    /// its own end; the one before that is refused from now on.
    pub async fn rotate_api_key(
        &self,
        actor: &Actor,
        once: Option<Once>,
        id: String,
        rotation: Rotation,
    ) -> Result<IssuedKey> {
        actor.reach(Permission::KeysManage)?;
        let made = keyring::regenerate(id.clone())?;
        self.change_once(actor, once, move |tx| {
            let before = store::api_keys::get(tx.read(), &id)?;
            let key = rotated(&before, rotation, tx.now())?;
            store::api_keys::rotate(tx, &key, &made.digest)?;
            tx.touch_keys();
            let event = event("api_key.rotated", &key, facts(&before), facts(&key));
            Ok((IssuedKey { key, secret: Some(made.text) }, vec![event]))
        })
        .await
    }

    /// Refuses a key from now on; a second time changes nothing.
    pub async fn revoke_api_key(&self, actor: &Actor, id: String) -> Result<()> {
        actor.reach(Permission::KeysManage)?;
        self.change(actor, move |tx| {
            let key = store::api_keys::get(tx.read(), &id)?;
            if key.revoked_at.is_some() {
                return Ok(((), Vec::new()));
            }
            store::api_keys::revoke(tx, &id)?;
            tx.touch_keys();
            let event = event("api_key.revoked", &key, facts(&key), Value::Null);
            Ok(((), vec![event]))
        })
        .await
    }
}

fn check(new: &NewApiKey, now: Timestamp) -> Result<()> {
    let mut faults = Vec::new();
    let role = new.role.as_str();
    if new.role.needs_tenant() && new.tenant.is_none() {
        faults.push(Fault::new("tenant", format!("a key of the role {role} needs a tenant")));
    }
    if new.tenant.is_some() && !new.role.may_have_tenant() {
        let message = format!("a key of the role {role} can't be bound to a tenant");
        faults.push(Fault::new("tenant", message));
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        faults.push(Fault::new("expires_at", "must lie in the future"));
    }
    if let Some(Rate { per_second, burst }) = new.rate {
        for (field, value) in [("rate_per_second", per_second), ("rate_burst", burst)] {
            if !(1..=rates::MOST).contains(&value) {
                faults.push(Fault::new(field, format!("must be from 1 to {}", rates::MOST)));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "INVALID_VALUE", faults }) }
}

fn rotated(before: &ApiKey, rotation: Rotation, now: Timestamp) -> Result<ApiKey> {
    let Rotation { overlap, expires_at } = rotation;
    let refused = |code, detail: &str| Err(Error::Conflict { code, detail: detail.into() });
    if before.revoked_at.is_some() {
        return refused("API_KEY_REVOKED", "The key is revoked; make another one.");
    }
    if expires_at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("expires_at", "must lie in the future"));
    }
    let has_expired = before.expires_at.is_some_and(|at| at <= now);
    if has_expired && expires_at.is_none() {
        return refused("API_KEY_EXPIRED", "The key has expired; give it another `expires_at`.");
    }
    let until = now + overlap;
    // A later end is for who gets the new secret.
    let until = before.expires_at.map_or(until, |end| end.min(until));
    Ok(ApiKey {
        rotated_at: Some(now),
        old_secret_until: (until > now).then_some(until),
        expires_at: expires_at.or(before.expires_at),
        ..before.clone()
    })
}

fn facts(key: &ApiKey) -> Value {
    json!({
        "name": key.name, "role": key.role, "tenant": key.tenant, "expires_at": key.expires_at,
        "old_secret_until": key.old_secret_until, "rate": key.rate,
    })
}

fn event(name: &'static str, key: &ApiKey, before: Value, after: Value) -> Event {
    Event { name, tenant: key.tenant.clone(), subject: key.id.clone(), before, after, reason: None }
}
