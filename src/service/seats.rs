//! Seats: the right of named users to use what a tenant has bought for a number of them.
//!
//! Invariants: a pool is never oversold, because it is counted in the change that allocates; what has
//! expired doesn't count, and its end is recorded before its place is given away.

use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    memory::Memory,
    once::Once,
    paging::Page,
    permissions::Permission,
    provisioning::{Draw, facts, known, world},
};
use crate::{
    domain::{
        audit::Event,
        grants::Grant,
        keys::{EntitlementKey, TenantKey, UserKey},
        people::{Seat, SeatFilter},
        time::Timestamp,
    },
    engine,
    error::{Error, Fault, Result},
    store::{self, ReadTx, WriteTx, due::Due, seats::SeatCursor},
};

/// Which seat of whom.
#[derive(Debug, Clone)]
pub struct SeatName {
    /// Where the user works.
    pub tenant: TenantKey,
    /// The module or feature.
    pub key: EntitlementKey,
    /// Who.
    pub user: UserKey,
    /// Whose seats; those of `tenant` where unset.
    pub from: Option<TenantKey>,
}

/// What somebody wants a seat to be.
#[derive(Debug, Clone, Default)]
pub struct SeatDraft {
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// A pool, and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The module or feature.
    pub key: EntitlementKey,
    /// How many seats there are.
    pub total: u64,
    /// How many are in use; more than there are where a plan was changed.
    pub allocated: u64,
}

/// What becomes of seats in use for which a smaller pool has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// Those that were allocated last are released.
    Newest,
}

impl Service {
    /// Allocates a seat to a user, or changes when it ends; whether it is new.
    pub async fn allocate_seat(
        &self,
        actor: &Actor,
        name: SeatName,
        draft: SeatDraft,
    ) -> Result<(Seat, bool)> {
        let SeatName { tenant, key, user, from } = name;
        let draw = Draw::of(actor, Permission::SeatsWrite, tenant, from)?;
        let (memory, by) = (self.memory.clone(), actor.principal.id.to_string());
        self.change(actor, move |tx| {
            tx.in_time_of(&draw.pool)?;
            draw.expect_tree(tx.read())?;
            let world = world(tx, &memory)?;
            let expires_at = checked(&world.catalog, &key, draft, tx.now())?;
            draw.expect_model(&world.catalog, &key)?;
            let mut events = Vec::new();
            let Draw { holder, pool, .. } = draw;
            let seat = Seat {
                tenant: pool,
                key,
                holder,
                user,
                expires_at,
                allocated_at: tx.now(),
                allocated_by: by,
            };
            if let Some(before) = in_use(tx, &seat, &mut events)? {
                let seat = Seat { expires_at, ..before.clone() };
                if seat != before {
                    store::seats::upsert(tx, &seat)?;
                    events.push(event("seat.allocated", &seat, shown(&before), shown(&seat)));
                }
                return Ok(((seat, false), events));
            }
            let facts = facts(tx, &memory, &seat.tenant)?;
            let total = engine::pool(&world, &facts, &seat.key, tx.now());
            let total = total.ok_or_else(|| not_seated(&seat.key))?;
            expect_room(tx, &seat, total, &mut events)?;
            store::seats::upsert(tx, &seat)?;
            events.push(event("seat.allocated", &seat, Value::Null, shown(&seat)));
            Ok(((seat, true), events))
        })
        .await
    }

    /// Gives a seat back to its pool, which stays as large as it is.
    pub async fn release_seat(&self, actor: &Actor, name: SeatName) -> Result<()> {
        let SeatName { tenant, key, user, from } = name;
        let draw = Draw::of(actor, Permission::SeatsWrite, tenant, from)?;
        self.change(actor, move |tx| {
            let Draw { holder, pool, .. } = &draw;
            let Some(seat) = store::seats::find(tx.read(), pool, &key, holder, &user)? else {
                draw.expect_tree(tx.read())?;
                return Err(no_seat(&user));
            };
            // Also where the one tenant is no longer below the other: else it would be lost.
            Ok(((), vec![end(tx, &seat, "seat.released")?]))
        })
        .await
    }

    /// Takes a seat from one user and gives it to another of the same tenant, with the end it has.
    pub async fn transfer_seat(
        &self,
        actor: &Actor,
        once: Option<Once>,
        name: SeatName,
        to: Option<UserKey>,
        faults: Vec<Fault>,
    ) -> Result<Seat> {
        let SeatName { tenant, key, user, from } = name;
        let draw = Draw::of(actor, Permission::SeatsWrite, tenant, from)?;
        let (memory, by) = (self.memory.clone(), actor.principal.id.to_string());
        self.change_once(actor, once, move |tx| {
            tx.in_time_of(&draw.pool)?;
            draw.expect_tree(tx.read())?;
            let draft = SeatDraft { faults, ..SeatDraft::default() };
            let world = world(tx, &memory)?;
            checked(&world.catalog, &key, draft, tx.now())?;
            draw.expect_model(&world.catalog, &key)?;
            let to = to.ok_or_else(|| Error::invalid("to", "is missing"))?;
            let Draw { holder, pool, .. } = draw;
            let found = store::seats::find(tx.read(), &pool, &key, &holder, &user)?;
            let before = found.filter(|seat| seat.expires_at.is_none_or(|end| tx.now() < end));
            let before = before.ok_or_else(|| no_seat(&user))?;
            let seat =
                Seat { user: to, allocated_at: tx.now(), allocated_by: by, ..before.clone() };
            let mut events = Vec::new();
            if in_use(tx, &seat, &mut events)?.is_some() {
                return Err(Error::Conflict {
                    code: "SEAT_ALREADY_ALLOCATED",
                    detail: format!("“{}” has a seat already; name another user.", seat.user),
                });
            }
            store::seats::delete(tx, &before)?;
            store::seats::upsert(tx, &seat)?;
            events.push(event("seat.transferred", &before, shown(&before), shown(&seat)));
            Ok((seat, events))
        })
        .await
    }

    /// A tenant's pools, and a page of the seats of its pools and of its users.
    pub async fn seats(
        &self,
        actor: &Actor,
        tenant: &TenantKey,
        filter: SeatFilter,
        after: Option<SeatCursor>,
        limit: usize,
    ) -> Result<(Vec<Pool>, Page<Seat, SeatCursor>)> {
        actor.may_on(Permission::SeatsRead, tenant)?;
        let (world, facts) = (self.world(), self.facts(tenant).await?);
        let (now, tenant) = (self.now_in(tenant).await, tenant.clone());
        self.store
            .read_long(move |tx| {
                let mut keys = store::seats::keys_in_use(tx, &tenant)?;
                keys.extend(world.catalog.modules.keys().map(EntitlementKey::from));
                keys.extend(facts.grants.keys().cloned());
                keys.sort();
                keys.dedup();
                keys.retain(|key| filter.key.as_ref().is_none_or(|wanted| wanted == key));
                let mut pools = Vec::new();
                for key in keys {
                    let total = engine::pool(&world, &facts, &key, now);
                    let allocated = allocated(tx, &tenant, &key, now)?;
                    if total.is_some() || allocated > 0 {
                        pools.push(Pool { key, total: total.unwrap_or(0), allocated });
                    }
                }
                let after = after.as_ref();
                let rows = store::seats::list(tx, &tenant, &filter, now, after, limit + 1)?;
                let cursor = |seat: &Seat| {
                    let Seat { tenant, key, holder, user, .. } = seat.clone();
                    (key, tenant, holder, user)
                };
                Ok((pools, Page::of(rows, limit, cursor)))
            })
            .await
    }
}

fn allocated(
    tx: &ReadTx<'_>,
    pool: &TenantKey,
    key: &EntitlementKey,
    now: Timestamp,
) -> Result<u64> {
    let all = store::seats::count(tx, pool, key)?;
    Ok(all.saturating_sub(store::seats::count_expired(tx, pool, key, now)?))
}

/// The end that a draft asks for, or all its faults.
fn checked(
    catalog: &crate::domain::catalog::Catalog,
    key: &EntitlementKey,
    draft: SeatDraft,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let SeatDraft { expires_at, mut faults } = draft;
    if expires_at.is_some_and(|end| end <= now) {
        let message = format!("must lie in the future; it is {now} now");
        faults.push(Fault::new("expires_at", message));
    }
    let wrong = faults.len();
    known(catalog, key, &mut faults);
    match (wrong, faults.len()) {
        (_, 0) => Ok(expires_at),
        (0, _) => Err(Error::Invalid { code: "UNKNOWN_KEY", faults }),
        _ => Err(Error::Invalid { code: "INVALID_VALUE", faults }),
    }
}

fn not_seated(key: &EntitlementKey) -> Error {
    let message = format!("nothing about “{key}” is seated; everyone in the tenant may use it");
    Error::Invalid { code: "NOT_SEATED", faults: vec![Fault::new("key", message)] }
}

fn no_seat(user: &UserKey) -> Error {
    Error::NotFound { kind: "seat of", key: user.to_string() }
}

/// The seat as it is in use; one that has expired is recorded as such.
fn in_use(tx: &WriteTx<'_>, seat: &Seat, events: &mut Vec<Event>) -> Result<Option<Seat>> {
    let Seat { tenant, key, holder, user, .. } = seat;
    match store::seats::find(tx.read(), tenant, key, holder, user)? {
        Some(found) if found.expires_at.is_some_and(|end| end <= tx.now()) => {
            events.push(end(tx, &found, "seat.expired")?);
            Ok(None)
        }
        found => Ok(found),
    }
}

/// That the pool has room for one more, once what has expired is recorded.
fn expect_room(tx: &WriteTx<'_>, seat: &Seat, total: u64, events: &mut Vec<Event>) -> Result<()> {
    let Seat { tenant, key, .. } = seat;
    if store::seats::count(tx.read(), tenant, key)? < total {
        return Ok(());
    }
    record_expired(tx, tenant, key, events)?;
    let allocated = store::seats::count(tx.read(), tenant, key)?;
    if allocated < total {
        return Ok(());
    }
    Err(Error::Conflict {
        code: "NO_SEAT_AVAILABLE",
        detail: format!(
            "All {total} seats of “{key}” are allocated ({allocated} in use); release one, or buy \
             more."
        ),
    })
}

fn record_expired(
    tx: &WriteTx<'_>,
    pool: &TenantKey,
    key: &EntitlementKey,
    events: &mut Vec<Event>,
) -> Result<()> {
    for expired in store::seats::expired(tx.read(), pool, key, tx.now())? {
        events.push(end(tx, &expired, "seat.expired")?);
    }
    Ok(())
}

/// Makes the seats in use fit a grant that was just written. Raising the number of seats always
/// fits, also where a plan gives less than before.
pub(super) fn fit(
    tx: &WriteTx<'_>,
    memory: &Memory,
    before: Option<&Grant>,
    grant: &Grant,
    release: Option<Release>,
    events: &mut Vec<Event>,
) -> Result<()> {
    let Grant { tenant, key, .. } = grant;
    let is_raised = before.is_some_and(|before| {
        before.seats.is_some_and(|had| grant.seats.is_some_and(|has| had <= has))
    });
    if is_raised || store::seats::count(tx.read(), tenant, key)? == 0 {
        return Ok(());
    }
    let (world, facts) = (world(tx, memory)?, facts(tx, memory, tenant)?);
    let Some(total) = engine::pool(&world, &facts, key, tx.now()) else { return Ok(()) };
    let allocated = allocated(tx.read(), tenant, key, tx.now())?;
    let over = allocated.saturating_sub(total);
    if over == 0 {
        return Ok(());
    }
    match release {
        None => Err(Error::Conflict {
            code: "SEATS_IN_USE",
            detail: format!(
                "{allocated} seats of “{key}” are allocated and only {total} would be left; release \
                 {over} of them first, or send “release”: “newest” to release those that were \
                 allocated last."
            ),
        }),
        Some(Release::Newest) => {
            record_expired(tx, tenant, key, events)?;
            for seat in store::seats::newest(tx.read(), tenant, key, over)? {
                let released = end(tx, &seat, "seat.released")?;
                events.push(Event { reason: Some(grant.reason.clone()), ..released });
            }
            Ok(())
        }
    }
}

/// A seat has ended by itself.
pub(super) fn expire(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let found = store::seats::find_due(tx.read(), due.owner()?, &due.id)?;
    let ended = found.filter(|seat| seat.expires_at.is_some_and(|end| end <= tx.now()));
    ended.map(|seat| end(tx, &seat, "seat.expired")).transpose()
}

fn end(tx: &WriteTx<'_>, seat: &Seat, name: &'static str) -> Result<Event> {
    store::seats::delete(tx, seat)?;
    Ok(event(name, seat, shown(seat), Value::Null))
}

/// The trail tells it of the tenant whose seats they are.
fn event(name: &'static str, seat: &Seat, before: Value, after: Value) -> Event {
    Event {
        name,
        tenant: Some(seat.tenant.clone()),
        subject: seat.user.to_string(),
        before,
        after,
        reason: None,
    }
}

fn shown(seat: &Seat) -> Value {
    json!({
        "key": seat.key,
        "user": seat.user,
        "tenant": seat.holder,
        "from_tenant": seat.tenant,
        "expires_at": seat.expires_at,
    })
}
