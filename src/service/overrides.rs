//! Overrides under governance (SPEC 10): made, changed and removed by support and super admins, with
//! a reason, never for ever.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    expect_revision,
    memory::Memory,
    new_id,
    once::Once,
    paging::Page,
    permissions::Permission,
    policy::{Approval, Policy},
    provisioning, requests,
    values::{Direction, fitting},
};
use crate::{
    domain::{
        audit::Event,
        callers::OperatorRole,
        catalog::value_to_json,
        keys::{EntitlementKey, TenantKey},
        overrides::{Effect, GovernedOverride, Override, OverrideEnd},
        requests::{OverrideRequest, Person},
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
    /// Whether a second person is waited for where one is wanted.
    pub way: Way,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// Whether a second person is waited for where one is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// As the setting says.
    #[default]
    Ordinary,
    /// At once, whatever the setting says; marked as such.
    BreakGlass,
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
    /// Whether a second person is waited for where one is wanted.
    pub way: Way,
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

/// What became of a change to an override.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Put {
    /// It took effect.
    Written(Written),
    /// It waits for a second person; until then nothing changes.
    Waits(OverrideRequest),
}

/// What lets a change of an override take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// One person is enough.
    OnePerson,
    /// The glass was broken.
    BrokenGlass,
    /// Somebody asked and somebody else approved.
    SecondPerson,
}

/// Whether a change takes effect now.
enum Gate {
    Opens(Leave),
    WaitsForASecond,
}

impl Service {
    /// Makes the override on a key, or changes the one that is open.
    pub async fn put_override(
        &self,
        actor: &Actor,
        once: Option<Once>,
        draft: Draft,
    ) -> Result<Put> {
        actor.reach(Permission::OverridesManage)?;
        let (gate, policy) = (self.gate(actor, draft.way)?, self.policy);
        let (memory, by) = (self.memory.clone(), Person::of(&actor.principal));
        let put = self
            .change_once(actor, once, move |tx| {
                let exception = checked(tx, &memory, draft, policy.override_horizon)?;
                let mut events = Vec::new();
                let open = open_now(tx, &exception.tenant, &exception.key, &mut events)?;
                let put = match gate {
                    Gate::Opens(leave) => Put::Written(write(
                        tx,
                        &policy,
                        open,
                        exception,
                        &by.id,
                        leave,
                        &mut events,
                    )?),
                    Gate::WaitsForASecond => {
                        propose(tx, open, exception, by, &policy, &mut events)?
                    }
                };
                Ok((put, events))
            })
            .await?;
        Ok(put)
    }

    /// Changes an override that is open.
    pub async fn update_override(
        &self,
        actor: &Actor,
        id: String,
        patch: OverridePatch,
        expected: Option<u64>,
    ) -> Result<Put> {
        actor.reach(Permission::OverridesManage)?;
        let (gate, policy) = (self.gate(actor, patch.way)?, self.policy);
        let (memory, by) = (self.memory.clone(), Person::of(&actor.principal));
        let put = self
            .change(actor, move |tx| {
                let before = store::overrides::get(tx.read(), &id)?;
                expect_revision(expected, before.revision)?;
                tx.in_time_of(&before.exception.tenant)?;
                expect_active(&before, tx.now())?;
                let draft = patched(&before.exception, patch)?;
                let exception = checked(tx, &memory, draft, policy.override_horizon)?;
                let mut events = Vec::new();
                let put = match gate {
                    Gate::Opens(leave) => {
                        let governed = replace(tx, &policy, before, exception, leave, &mut events)?;
                        Put::Written(Written { governed, is_new: false })
                    }
                    Gate::WaitsForASecond => {
                        propose(tx, Some(before), exception, by, &policy, &mut events)?
                    }
                };
                Ok((put, events))
            })
            .await?;
        Ok(put)
    }

    /// Whether a change of this caller takes effect now.
    fn gate(&self, actor: &Actor, way: Way) -> Result<Gate> {
        match (way, self.policy.approval) {
            (Way::BreakGlass, Approval::OnePerson | Approval::FourEyes) => {
                if actor.principal.role != OperatorRole::SuperAdmin {
                    return Err(Error::Forbidden(
                        "break_glass: only a super admin may break the glass; leave it out, and \
                         have a second person approve"
                            .into(),
                    ));
                }
                Ok(Gate::Opens(Leave::BrokenGlass))
            }
            (Way::Ordinary, Approval::OnePerson) => Ok(Gate::Opens(Leave::OnePerson)),
            (Way::Ordinary, Approval::FourEyes) => Ok(Gate::WaitsForASecond),
        }
    }

    /// Removes an override that is open. That takes effect at once under four eyes too: what remains
    /// is what was granted and bought.
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
            tx.in_time_of(&before.exception.tenant)?;
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
        let now = self.now_for(filter.tenant.as_ref()).await;
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

/// The override on a key that is open now. One that has ended by itself is recorded as such.
pub(super) fn open_now(
    tx: &WriteTx<'_>,
    tenant: &TenantKey,
    key: &EntitlementKey,
    events: &mut Vec<Event>,
) -> Result<Option<GovernedOverride>> {
    match store::overrides::find_open(tx.read(), tenant, key)? {
        Some(open) if open.exception.expires_at <= tx.now() => {
            events.push(end(tx, open, OverrideEnd::Expired)?);
            Ok(None)
        }
        open => Ok(open),
    }
}

/// Makes an override, or changes the one that is open.
pub(super) fn write(
    tx: &WriteTx<'_>,
    policy: &Policy,
    open: Option<GovernedOverride>,
    exception: Override,
    by: &str,
    leave: Leave,
    events: &mut Vec<Event>,
) -> Result<Written> {
    let is_new = open.is_none();
    let governed = match open {
        None => create(tx, policy, exception, by, leave, events)?,
        Some(before) => replace(tx, policy, before, exception, leave, events)?,
    };
    Ok(Written { governed, is_new })
}

/// Lets a change wait for a second person; one that changes nothing needs none.
fn propose(
    tx: &WriteTx<'_>,
    open: Option<GovernedOverride>,
    exception: Override,
    by: Person,
    policy: &Policy,
    events: &mut Vec<Event>,
) -> Result<Put> {
    let wanted = match &open {
        Some(open) => Override { id: open.exception.id.clone(), ..exception },
        None => exception,
    };
    match open {
        Some(governed) if governed.exception == wanted => {
            Ok(Put::Written(Written { governed, is_new: false }))
        }
        open => requests::propose(tx, open.as_ref(), wanted, by, policy, events).map(Put::Waits),
    }
}

/// The override that a draft describes, or all its faults.
pub(super) fn checked(
    tx: &WriteTx<'_>,
    memory: &Memory,
    draft: Draft,
    horizon: Span,
) -> Result<Override> {
    let Draft { tenant, key, direction, value, expires_at, reason, way: _, mut faults } = draft;
    tenant.as_ref().map_or(Ok(()), |tenant| tx.in_time_of(tenant))?;
    let now = tx.now();
    let mut is_unknown = false;
    let value = match (&key, direction) {
        (Some(key), Some(direction)) => {
            let catalog = provisioning::catalog(tx, memory)?;
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
    let OverridePatch { direction, value, expires_at, reason, way, mut faults } = patch;
    let says_nothing =
        direction.is_none() && value.is_none() && expires_at.is_none() && reason.is_none();
    if says_nothing && faults.is_empty() {
        let message = "change at least one of enabled, value, expires_at, reason";
        faults.push(Fault::new("", message));
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    }
    let (was, had) = said(&before.effect);
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
        way,
        faults,
    })
}

/// An effect as a caller says it.
pub(super) fn said(effect: &Effect) -> (Direction, Option<Value>) {
    match effect {
        Effect::Enable => (Direction::Given, None),
        Effect::Set(value) => (Direction::Given, Some(value_to_json(value))),
        Effect::Disable => (Direction::Withheld, None),
    }
}

fn create(
    tx: &WriteTx<'_>,
    policy: &Policy,
    exception: Override,
    by: &str,
    leave: Leave,
    events: &mut Vec<Event>,
) -> Result<GovernedOverride> {
    let exception_end = exception.expires_at;
    let governed = GovernedOverride {
        exception,
        ended: None,
        renewals: 0,
        created_at: tx.now(),
        created_by: by.to_owned(),
        updated_at: tx.now(),
        revision: 1,
        is_announced: needs_no_notice(tx, policy, exception_end),
        break_glass: leave == Leave::BrokenGlass,
        last_used_at: None,
    };
    store::overrides::insert(tx, &governed)?;
    tx.touch_tenant(&governed.exception.tenant)?;
    let name = "entitlement.override.created";
    events.extend(written(name, &governed.exception, Value::Null, leave));
    Ok(governed)
}

fn replace(
    tx: &WriteTx<'_>,
    policy: &Policy,
    before: GovernedOverride,
    exception: Override,
    leave: Leave,
    events: &mut Vec<Event>,
) -> Result<GovernedOverride> {
    let exception = Override { id: before.exception.id.clone(), ..exception };
    if exception == before.exception {
        return Ok(before);
    }
    let was = facts(&before.exception);
    let is_renewed = exception.expires_at > before.exception.expires_at;
    let is_moved = exception.expires_at != before.exception.expires_at;
    let is_announced = if is_moved {
        needs_no_notice(tx, policy, exception.expires_at)
    } else {
        before.is_announced
    };
    let governed = GovernedOverride {
        exception,
        renewals: before.renewals + u32::from(is_renewed),
        updated_at: tx.now(),
        revision: before.revision + 1,
        is_announced,
        // What one person did in haste stays marked until two agree.
        break_glass: match leave {
            Leave::OnePerson => before.break_glass,
            Leave::BrokenGlass => true,
            Leave::SecondPerson => false,
        },
        ..before
    };
    store::overrides::update(tx, &governed)?;
    tx.touch_tenant(&governed.exception.tenant)?;
    let name = "entitlement.override.updated";
    events.extend(written(name, &governed.exception, was, leave));
    Ok(governed)
}

/// Whether an override ends so soon after it is written that an announcement would say nothing new.
/// Otherwise the worker is told when to make it.
fn needs_no_notice(tx: &WriteTx<'_>, policy: &Policy, end: Timestamp) -> bool {
    let notice = end - policy.ends_soon;
    let is_near = notice <= tx.now();
    if !is_near {
        tx.ends_at(notice);
    }
    is_near
}

/// Announces the end of an override.
pub(super) fn announce(tx: &WriteTx<'_>, mut governed: GovernedOverride) -> Result<Event> {
    governed.is_announced = true;
    store::overrides::update(tx, &governed)?;
    let of = &governed.exception;
    Ok(event("entitlement.override.ends_soon", of, facts(of), facts(of)))
}

/// What the trail says of an override that was written; breaking the glass has an event of its own.
fn written(name: &'static str, of: &Override, before: Value, leave: Leave) -> Vec<Event> {
    let mut events = vec![event(name, of, before.clone(), facts(of))];
    match leave {
        Leave::BrokenGlass => {
            events.push(event("entitlement.override.break_glass", of, before, facts(of)));
        }
        Leave::OnePerson | Leave::SecondPerson => {}
    }
    events
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

/// An override as the trail shows it.
pub(super) fn facts(exception: &Override) -> Value {
    let (direction, value) = said(&exception.effect);
    json!({
        "key": exception.key,
        "enabled": direction == Direction::Given,
        "value": value,
        "expires_at": exception.expires_at,
        "reason": exception.reason,
    })
}
