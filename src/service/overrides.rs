//! Overrides under governance (SPEC 10): made, changed and removed by support and super admins, with
//! a reason, never for ever.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    expect_revision,
    grants::current_catalog,
    new_id,
    once::Once,
    paging::Page,
    permissions::Permission,
    values::{Direction, fitting},
};
use crate::{
    domain::{
        audit::Event,
        catalog::value_to_json,
        keys::{EntitlementKey, TenantKey},
        overrides::{Effect, GovernedOverride, Override, OverrideEnd},
        time::{Span, Timestamp},
    },
    error::{Error, Fault, Result},
    store::{
        self, WriteTx,
        overrides::{OverrideFilter, OverrideState},
    },
};

/// What somebody wants an override to be. A field that could not be read stands among the faults, so
/// that all of them are answered at once.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Whose.
    pub tenant: Option<TenantKey>,
    /// The module or feature.
    pub key: Option<EntitlementKey>,
    /// Opened or closed.
    pub direction: Option<Direction>,
    /// The value of a limit or config feature.
    pub value: Option<Value>,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// Why, trimmed.
    pub reason: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// What is to change about an override; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct OverridePatch {
    /// Opened or closed.
    pub direction: Option<Direction>,
    /// Another value.
    pub value: Option<Value>,
    /// Another expiry.
    pub expires_at: Option<Timestamp>,
    /// Another reason, trimmed.
    pub reason: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// An override that was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Written {
    /// The override.
    pub governed: GovernedOverride,
    /// It is new, and did not change one that was open.
    pub is_new: bool,
}

impl Service {
    /// Makes the override on a key, or changes the one that is open.
    pub async fn put_override(
        &self,
        actor: &Actor,
        once: Option<Once>,
        draft: Draft,
    ) -> Result<Written> {
        actor.reach(Permission::OverridesManage)?;
        let by = actor.principal.id.clone();
        let horizon = self.policy.override_horizon;
        let written = self
            .change_once(actor, once, move |tx| {
                let (exception, mut events) = (checked(tx, draft, horizon)?, Vec::new());
                let open =
                    store::overrides::find_open(tx.read(), &exception.tenant, &exception.key)?;
                let open = match open {
                    // It has ended by itself, and nobody has recorded that yet.
                    Some(open) if open.exception.expires_at <= tx.now() => {
                        events.push(end(tx, open, OverrideEnd::Expired)?);
                        None
                    }
                    open => open,
                };
                let is_new = open.is_none();
                let governed = match open {
                    None => create(tx, exception, &by, &mut events)?,
                    Some(before) => replace(tx, before, exception, &mut events)?,
                };
                Ok((Written { governed, is_new }, events))
            })
            .await?;
        self.expiry.wake();
        Ok(written)
    }

    /// Changes an override that is open.
    pub async fn update_override(
        &self,
        actor: &Actor,
        id: String,
        patch: OverridePatch,
        expected: Option<u64>,
    ) -> Result<GovernedOverride> {
        actor.reach(Permission::OverridesManage)?;
        let horizon = self.policy.override_horizon;
        let changed = self
            .change(actor, move |tx| {
                let before = store::overrides::get(tx.read(), &id)?;
                expect_revision(expected, before.revision)?;
                expect_active(&before, tx.now())?;
                let exception = checked(tx, patched(&before.exception, patch)?, horizon)?;
                let mut events = Vec::new();
                let governed = replace(tx, before, exception, &mut events)?;
                Ok((governed, events))
            })
            .await?;
        self.expiry.wake();
        Ok(changed)
    }

    /// Removes an override that is open.
    pub async fn remove_override(
        &self,
        actor: &Actor,
        id: String,
        expected: Option<u64>,
    ) -> Result<()> {
        actor.reach(Permission::OverridesManage)?;
        self.change(actor, move |tx| {
            let before = store::overrides::get(tx.read(), &id)?;
            expect_revision(expected, before.revision)?;
            expect_active(&before, tx.now())?;
            Ok(((), vec![end(tx, before, OverrideEnd::Removed)?]))
        })
        .await
    }

    /// One override, open or ended.
    pub async fn get_override(&self, actor: &Actor, id: &str) -> Result<GovernedOverride> {
        actor.reach(Permission::OverridesManage)?;
        self.store.read(|tx| store::overrides::get(tx, id)).await
    }

    /// A page of overrides, newest first.
    pub async fn overrides(
        &self,
        actor: &Actor,
        filter: OverrideFilter,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<GovernedOverride>> {
        actor.reach(Permission::OverridesManage)?;
        let now = self.clock.now();
        let rows = self
            .store
            .read_long(move |tx| {
                store::overrides::list(tx, &filter, now, before.as_deref(), limit + 1)
            })
            .await?;
        Ok(Page::of(rows, limit, |governed| governed.exception.id.clone()))
    }
}

/// Where an override stands: what the worker has not recorded yet has ended all the same.
#[must_use]
pub fn state(governed: &GovernedOverride, now: Timestamp) -> OverrideState {
    match governed.ended {
        Some((OverrideEnd::Removed, _)) => OverrideState::Removed,
        Some((OverrideEnd::Expired, _)) => OverrideState::Expired,
        None if governed.exception.expires_at <= now => OverrideState::Expired,
        None => OverrideState::Active,
    }
}

fn expect_active(governed: &GovernedOverride, now: Timestamp) -> Result<()> {
    match state(governed, now) {
        OverrideState::Active => Ok(()),
        OverrideState::Expired | OverrideState::Removed => Err(Error::Conflict {
            code: "OVERRIDE_ENDED",
            detail: "This override has ended; make a new one.".into(),
        }),
    }
}

/// The override that a draft describes, or all its faults.
fn checked(tx: &WriteTx<'_>, draft: Draft, horizon: Span) -> Result<Override> {
    let Draft { tenant, key, direction, value, expires_at, reason, mut faults } = draft;
    let now = tx.now();
    let mut is_unknown = false;
    let value = match (&key, direction) {
        (Some(key), Some(direction)) => {
            let catalog = current_catalog(tx)?;
            is_unknown = catalog.target(key.as_str()).is_none();
            fitting(&catalog, key.as_str(), direction, value.as_ref(), &mut faults)
        }
        (Some(_), None) | (None, _) => None,
    };
    if let Some(end) = expires_at {
        if end <= now {
            let message = format!("must lie in the future; it is {now} now");
            faults.push(Fault::new("expires_at", message));
        } else if end > now + horizon {
            let days = horizon.as_days();
            let message = format!("must lie at most {days} days ahead, by {}", now + horizon);
            faults.push(Fault::new("expires_at", message));
        }
    }
    let all = (tenant, key, direction, expires_at, reason);
    let (Some(tenant), Some(key), Some(direction), Some(expires_at), Some(reason)) = all else {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    };
    if !faults.is_empty() {
        // Only where nothing else is wrong does the unknown key name the problem.
        let code = if is_unknown && faults.len() == 1 { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
        return Err(Error::Invalid { code, faults });
    }
    store::tenants::get(tx.read(), &tenant)?;
    let effect = match (direction, value) {
        (Direction::Withheld, _) => Effect::Disable,
        (Direction::Given, None) => Effect::Enable,
        (Direction::Given, Some(value)) => Effect::Set(value),
    };
    Ok(Override { id: new_id("ovr"), tenant, key, effect, expires_at, reason })
}

/// The draft that a patch makes of an override.
fn patched(before: &Override, patch: OverridePatch) -> Result<Draft> {
    let OverridePatch { direction, value, expires_at, reason, mut faults } = patch;
    let says_nothing =
        direction.is_none() && value.is_none() && expires_at.is_none() && reason.is_none();
    if says_nothing && faults.is_empty() {
        let message = "change at least one of enabled, value, expires_at, reason";
        faults.push(Fault::new("", message));
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    }
    let (was, had) = match &before.effect {
        Effect::Enable => (Direction::Given, None),
        Effect::Set(value) => (Direction::Given, Some(value_to_json(value))),
        Effect::Disable => (Direction::Withheld, None),
    };
    let direction = direction.unwrap_or(was);
    // What is closed has no value any more, unless one is insisted on, which is a fault.
    let value = value.or_else(|| had.filter(|_| direction == Direction::Given));
    Ok(Draft {
        tenant: Some(before.tenant.clone()),
        key: Some(before.key.clone()),
        direction: Some(direction),
        value,
        expires_at: Some(expires_at.unwrap_or(before.expires_at)),
        reason: Some(reason.unwrap_or_else(|| before.reason.clone())),
        faults,
    })
}

fn create(
    tx: &WriteTx<'_>,
    exception: Override,
    by: &str,
    events: &mut Vec<Event>,
) -> Result<GovernedOverride> {
    let governed = GovernedOverride {
        exception,
        ended: None,
        renewals: 0,
        created_at: tx.now(),
        created_by: by.to_owned(),
        updated_at: tx.now(),
        revision: 1,
    };
    store::overrides::insert(tx, &governed)?;
    tx.touch_tenant(&governed.exception.tenant)?;
    let after = facts(&governed.exception);
    events.push(event("entitlement.override.created", &governed.exception, Value::Null, after));
    Ok(governed)
}

fn replace(
    tx: &WriteTx<'_>,
    before: GovernedOverride,
    exception: Override,
    events: &mut Vec<Event>,
) -> Result<GovernedOverride> {
    let exception = Override { id: before.exception.id.clone(), ..exception };
    if exception == before.exception {
        return Ok(before);
    }
    let was = facts(&before.exception);
    let is_renewed = exception.expires_at > before.exception.expires_at;
    let governed = GovernedOverride {
        exception,
        renewals: before.renewals + u32::from(is_renewed),
        updated_at: tx.now(),
        revision: before.revision + 1,
        ..before
    };
    store::overrides::update(tx, &governed)?;
    tx.touch_tenant(&governed.exception.tenant)?;
    let after = facts(&governed.exception);
    events.push(event("entitlement.override.updated", &governed.exception, was, after));
    Ok(governed)
}

/// Ends an override, in the one transaction that says so.
pub(super) fn end(
    tx: &WriteTx<'_>,
    mut governed: GovernedOverride,
    how: OverrideEnd,
) -> Result<Event> {
    governed.ended = Some((how, tx.now()));
    governed.updated_at = tx.now();
    governed.revision += 1;
    store::overrides::update(tx, &governed)?;
    tx.touch_tenant(&governed.exception.tenant)?;
    let name = match how {
        OverrideEnd::Expired => "entitlement.override.expired",
        OverrideEnd::Removed => "entitlement.override.removed",
    };
    let before = facts(&governed.exception);
    Ok(event(name, &governed.exception, before, Value::Null))
}

fn event(name: &'static str, of: &Override, before: Value, after: Value) -> Event {
    Event {
        name,
        tenant: Some(of.tenant.clone()),
        subject: of.id.clone(),
        before,
        after,
        reason: Some(of.reason.clone()),
    }
}

fn facts(exception: &Override) -> Value {
    let (enabled, value) = match &exception.effect {
        Effect::Enable => (true, None),
        Effect::Set(value) => (true, Some(value_to_json(value))),
        Effect::Disable => (false, None),
    };
    json!({
        "key": exception.key,
        "enabled": enabled,
        "value": value,
        "expires_at": exception.expires_at,
        "reason": exception.reason,
    })
}
