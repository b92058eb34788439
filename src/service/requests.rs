//! Requests for overrides: asked for by a tenant, or written by one person and waiting for a second;
//! decided by support and super admins (SPEC 10).
//!
//! Invariants: nobody approves their own, in whatever role or place (the database holds that too); a
//! request is decided once; an approval passes the same checks as an override that is written at
//! that moment; what runs out is not decided any more, whether or not the worker has recorded it.

use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    memory::Memory,
    new_id,
    once::Once,
    overrides::{Draft, Leave, Way, checked, facts, open_now, said, write},
    paging::Page,
    permissions::Permission,
    policy::{Approval, Policy},
    values::Direction,
};
use crate::{
    domain::{
        audit::Event,
        overrides::{GovernedOverride, Override},
        requests::{OverrideRequest, Person, RequestFilter, RequestKind, RequestState},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    store::{self, WriteTx, due::Due, requests::not_found},
};

/// Most open requests of a tenant; as many changes may wait for a second person beside them.
pub const MAX_OPEN: u64 = 100;

/// What an approver says.
#[derive(Debug, Clone, Default)]
pub struct Approving {
    /// Another expiry than the one asked for.
    pub expires_at: Option<Timestamp>,
    /// Something about it, trimmed.
    pub comment: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// What somebody who declines says.
#[derive(Debug, Clone, Default)]
pub struct Declining {
    /// Why, trimmed.
    pub reason: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Service {
    /// Asks for an override. Who is bound to a tenant asks for that one.
    pub async fn create_request(
        &self,
        actor: &Actor,
        once: Option<Once>,
        mut draft: Draft,
    ) -> Result<OverrideRequest> {
        actor.reach(Permission::RequestsWrite)?;
        let is_unreadable = draft.faults.iter().any(|fault| fault.field == "tenant");
        match (&draft.tenant, &actor.principal.tenant) {
            (Some(tenant), _) => drop(actor.may_on(Permission::RequestsWrite, tenant)?),
            (None, Some(own)) if !is_unreadable => draft.tenant = Some(own.clone()),
            (None, None) if !is_unreadable => {
                draft.faults.push(Fault::new("tenant", "is missing"));
            }
            (None, _) => {}
        }
        let (by, policy) = (Person::of(&actor.principal), self.policy);
        let memory = self.memory.clone();
        let request = self
            .change_once(actor, once, move |tx| {
                let wanted = checked(tx, &memory, draft, policy.override_horizon)?;
                let mut events = Vec::new();
                let open = open_now(tx, &wanted.tenant, &wanted.key, &mut events)?;
                let kind = RequestKind::Request;
                let request = file(tx, kind, open.as_ref(), wanted, by, &policy, &mut events)?;
                Ok((request, events))
            })
            .await?;
        Ok(request)
    }

    /// A page of requests, newest first. Who is bound to a tenant sees what was asked for it, and not
    /// what waits for a second person: that is the matter of those who govern overrides.
    pub async fn requests(
        &self,
        actor: &Actor,
        mut filter: RequestFilter,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<OverrideRequest>> {
        actor.reach(Permission::RequestsRead)?;
        if let Some(tenant) = &filter.tenant {
            actor.may_on(Permission::RequestsRead, tenant)?;
        }
        if let Some(own) = &actor.principal.tenant {
            filter.tenant = Some(own.clone());
            filter.kind = Some(RequestKind::Request);
        }
        let now = self.now_for(filter.tenant.as_ref()).await;
        let rows = self
            .store
            .read_long(move |tx| {
                store::requests::list(tx, &filter, now, before.as_deref(), limit + 1)
            })
            .await?;
        Ok(Page::of(rows, limit, |request| request.id.clone()))
    }

    /// One request, however it stands.
    pub async fn get_request(&self, actor: &Actor, id: &str) -> Result<OverrideRequest> {
        actor.reach(Permission::RequestsRead)?;
        let found = self.store.read(|tx| store::requests::get(tx, id)).await?;
        expect_visible(actor, &found)?;
        Ok(found)
    }

    /// Takes back one's own request.
    pub async fn withdraw_request(&self, actor: &Actor, id: String) -> Result<()> {
        actor.reach(Permission::RequestsWrite)?;
        let by = actor.clone();
        self.change(actor, move |tx| {
            let request = store::requests::get(tx.read(), &id)?;
            expect_visible(&by, &request)?;
            let me = Person::of(&by.principal);
            if !request.requested_by.may_be(&me) {
                return Err(Error::Forbidden(
                    "Only who asked may withdraw a request; whoever decides may decline it.".into(),
                ));
            }
            tx.in_time_of(&request.tenant)?;
            expect_open(&request, tx.now())?;
            let ended = close(tx, request, RequestState::Withdrawn, Some(me), None)?;
            let reason = ended.reason.clone();
            Ok(((), vec![refused("entitlement.override.request_withdrawn", &ended, reason)]))
        })
        .await
    }

    /// Makes an override of a request, or changes the one that is open.
    pub async fn approve_request(
        &self,
        actor: &Actor,
        once: Option<Once>,
        id: String,
        approving: Approving,
    ) -> Result<OverrideRequest> {
        actor.reach(Permission::OverridesManage)?;
        let (me, policy) = (Person::of(&actor.principal), self.policy);
        let memory = self.memory.clone();
        let approved = self
            .change_once(actor, once, move |tx| approve(tx, &memory, &id, me, approving, &policy))
            .await?;
        Ok(approved)
    }

    /// Says no to a request.
    pub async fn decline_request(
        &self,
        actor: &Actor,
        once: Option<Once>,
        id: String,
        declining: Declining,
    ) -> Result<OverrideRequest> {
        actor.reach(Permission::OverridesManage)?;
        let me = Person::of(&actor.principal);
        self.change_once(actor, once, move |tx| {
            let Declining { reason, faults } = declining;
            let Some(reason) = reason.filter(|_| faults.is_empty()) else {
                return Err(Error::Invalid { code: "INVALID_VALUE", faults });
            };
            let request = store::requests::get(tx.read(), &id)?;
            tx.in_time_of(&request.tenant)?;
            expect_open(&request, tx.now())?;
            let state = RequestState::Declined;
            let declined = close(tx, request, state, Some(me), Some(reason.clone()))?;
            let event = refused("entitlement.override.declined", &declined, reason);
            Ok((declined, vec![event]))
        })
        .await
    }
}

/// A change of one person that waits for a second: of the open override, or of none.
pub(super) fn propose(
    tx: &WriteTx<'_>,
    open: Option<&GovernedOverride>,
    wanted: Override,
    by: Person,
    policy: &Policy,
    events: &mut Vec<Event>,
) -> Result<OverrideRequest> {
    let kind = if open.is_some() { RequestKind::Update } else { RequestKind::Create };
    file(tx, kind, open, wanted, by, policy, events)
}

/// Writes a request down, if there is room for it.
fn file(
    tx: &WriteTx<'_>,
    kind: RequestKind,
    open: Option<&GovernedOverride>,
    wanted: Override,
    by: Person,
    policy: &Policy,
    events: &mut Vec<Event>,
) -> Result<OverrideRequest> {
    let now = tx.now();
    let Override { id: _, tenant, key, effect, expires_at, reason } = wanted;
    if let Some(earlier) = store::requests::find_open(tx.read(), &tenant, &key, &by)? {
        if earlier.lapses_at > now {
            let id = earlier.id;
            let detail = format!(
                "Your request {id} for “{key}” is open; withdraw it to ask for something else."
            );
            return Err(Error::Conflict { code: "REQUEST_OPEN", detail });
        }
        events.push(lapse(tx, earlier)?);
    }
    if store::requests::count_open(tx.read(), &tenant, kind, now)? >= MAX_OPEN {
        let detail = format!(
            "{MAX_OPEN} requests of the tenant “{tenant}” wait already; have some of them decided \
             or withdrawn first."
        );
        return Err(Error::Conflict { code: "TOO_MANY_REQUESTS", detail });
    }
    let base = match kind {
        RequestKind::Update => open,
        RequestKind::Request | RequestKind::Create => None,
    };
    let request = OverrideRequest {
        id: new_id("req"),
        kind,
        tenant,
        key,
        effect,
        expires_at,
        reason,
        override_id: base.map(|base| base.exception.id.clone()),
        override_revision: base.map(|base| base.revision),
        state: RequestState::Open,
        requested_by: by,
        requested_at: now,
        lapses_at: expires_at.min(now + policy.request_lifetime),
        decided_by: None,
        decided_at: None,
        comment: None,
    };
    store::requests::insert(tx, &request)?;
    let before = open.map_or(Value::Null, |open| facts(&open.exception));
    let reason = request.reason.clone();
    events.push(event("entitlement.override.requested", &request, before, shown(&request), reason));
    Ok(request)
}

fn approve(
    tx: &WriteTx<'_>,
    memory: &Memory,
    id: &str,
    me: Person,
    approving: Approving,
    policy: &Policy,
) -> Result<(OverrideRequest, Vec<Event>)> {
    let Approving { expires_at, comment, mut faults } = approving;
    let request = store::requests::get(tx.read(), id)?;
    tx.in_time_of(&request.tenant)?;
    expect_open(&request, tx.now())?;
    if request.requested_by.may_be(&me) {
        let detail = "Nobody approves their own request; have somebody else decide.".into();
        return Err(Error::Conflict { code: "OWN_REQUEST", detail });
    }
    let is_longer = expires_at.is_some_and(|end| end > request.expires_at);
    if is_longer && policy.approval == Approval::FourEyes {
        let message = format!(
            "may only be shortened where two people must agree: at most {}",
            request.expires_at
        );
        faults.push(Fault::new("expires_at", message));
    }
    let expires_at = expires_at.unwrap_or(request.expires_at);
    let (direction, value) = said(&request.effect);
    let draft = Draft {
        tenant: Some(request.tenant.clone()),
        key: Some(request.key.clone()),
        direction: Some(direction),
        value,
        expires_at: Some(expires_at),
        reason: Some(request.reason.clone()),
        way: Way::Ordinary,
        faults,
    };
    // The catalog may have changed, and time has passed.
    let exception = checked(tx, memory, draft, policy.override_horizon)?;
    let (mut events, mut written) = (Vec::new(), Vec::new());
    let open = open_now(tx, &request.tenant, &request.key, &mut events)?;
    expect_base(&request, open.as_ref())?;
    let before = open.as_ref().map_or(Value::Null, |open| facts(&open.exception));
    let by = match request.kind {
        RequestKind::Request => me.id.clone(),
        // Who wrote it made it; the second person let it pass.
        RequestKind::Create | RequestKind::Update => request.requested_by.id.clone(),
    };
    let made = write(tx, policy, open, exception, &by, Leave::SecondPerson, &mut written)?;
    let request =
        OverrideRequest { expires_at, override_id: Some(made.governed.exception.id), ..request };
    let approved = close(tx, request, RequestState::Approved, Some(me), comment)?;
    let reason = approved.reason.clone();
    let after = shown(&approved);
    events.push(event("entitlement.override.approved", &approved, before, after, reason));
    events.extend(written);
    Ok((approved, events))
}

/// That what a change was written for is still there.
fn expect_base(request: &OverrideRequest, open: Option<&GovernedOverride>) -> Result<()> {
    let changed = |what: &str| {
        let detail = format!("{what} Decline this, and have the change written anew.");
        Err(Error::Conflict { code: "OVERRIDE_CHANGED", detail })
    };
    match (request.kind, open) {
        (RequestKind::Request, _) | (RequestKind::Create, None) => Ok(()),
        (RequestKind::Create, Some(_)) => {
            changed("Another override was made for this key in the meantime.")
        }
        (RequestKind::Update, None) => Err(Error::Conflict {
            code: "OVERRIDE_ENDED",
            detail: "The override that this would change has ended. Decline this, and have a new \
                     override written."
                .into(),
        }),
        (RequestKind::Update, Some(open)) => {
            let is_same = request.override_id.as_ref() == Some(&open.exception.id)
                && request.override_revision == Some(open.revision);
            if is_same { Ok(()) } else { changed("The override was changed in the meantime.") }
        }
    }
}

fn expect_open(request: &OverrideRequest, now: Timestamp) -> Result<()> {
    let state = request.state_at(now);
    match state {
        RequestState::Open => Ok(()),
        RequestState::Approved
        | RequestState::Declined
        | RequestState::Withdrawn
        | RequestState::Expired => {
            let detail = format!("The request is {} already; make a new one.", state.as_str());
            Err(Error::Conflict { code: "REQUEST_CLOSED", detail })
        }
    }
}

/// Who is bound to a tenant can't tell what it may not see from what isn't there.
fn expect_visible(actor: &Actor, request: &OverrideRequest) -> Result<()> {
    match (&actor.principal.tenant, request.kind) {
        (None, _) => Ok(()),
        (Some(own), RequestKind::Request) if *own == request.tenant => Ok(()),
        (Some(_), RequestKind::Request | RequestKind::Create | RequestKind::Update) => {
            Err(not_found(&request.id))
        }
    }
}

/// Records that a request ran out; nothing where it was decided in the meantime.
pub(super) fn expire(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let found = store::requests::get(tx.read(), &due.id)?;
    if found.state != RequestState::Open || found.lapses_at > tx.now() {
        return Ok(None);
    }
    lapse(tx, found).map(Some)
}

fn lapse(tx: &WriteTx<'_>, request: OverrideRequest) -> Result<Event> {
    let lapsed = close(tx, request, RequestState::Expired, None, None)?;
    let reason = lapsed.reason.clone();
    Ok(refused("entitlement.override.request_expired", &lapsed, reason))
}

/// Ends an open request, in the one transaction that says so.
fn close(
    tx: &WriteTx<'_>,
    request: OverrideRequest,
    state: RequestState,
    by: Option<Person>,
    comment: Option<String>,
) -> Result<OverrideRequest> {
    let closed =
        OverrideRequest { state, decided_by: by, decided_at: Some(tx.now()), comment, ..request };
    store::requests::decide(tx, &closed)?;
    Ok(closed)
}

/// The event of a request that comes to nothing.
fn refused(name: &'static str, request: &OverrideRequest, reason: String) -> Event {
    event(name, request, shown(request), Value::Null, reason)
}

fn event(
    name: &'static str,
    request: &OverrideRequest,
    before: Value,
    after: Value,
    reason: String,
) -> Event {
    Event {
        name,
        tenant: Some(request.tenant.clone()),
        subject: request.id.clone(),
        before,
        after,
        reason: Some(reason),
    }
}

/// A request as the trail shows it.
fn shown(request: &OverrideRequest) -> Value {
    let (direction, value) = said(&request.effect);
    json!({
        "kind": request.kind,
        "key": request.key,
        "enabled": direction == Direction::Given,
        "value": value,
        "expires_at": request.expires_at,
        "reason": request.reason,
        "requested_by": request.requested_by.id,
        "override_id": request.override_id,
        "comment": request.comment,
    })
}
