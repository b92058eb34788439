//! The outbox: what subscribers are told, written in the transaction of the change itself.

use std::{collections::BTreeSet, sync::Arc};

use rusqlite::{OptionalExtension, Row, named_params};
use serde_json::Value;

use super::{
    ReadTx, Touched, WriteTx,
    sql::{Count, Json, Word},
    tenants,
};
use crate::{
    domain::{
        audit::Event,
        events::{Change, Effect, TIME},
        keys::{TenantKey, UserKey},
        time::Timestamp,
    },
    error::Result,
};

/// The cause of a change that has no audit event.
const UNNAMED: &str = "change";

/// Writes down whom and what a change concerns, as its transaction and its audit events say it: a
/// use case neither has to think of it nor can forget it.
pub fn record(tx: &WriteTx<'_>, events: &[Event]) -> Result<()> {
    let drafts = drafts(&tx.touched.borrow(), events);
    for Draft { tenant, keys, users, effect, cause } in drafts {
        append(tx, tenant, cause, keys, users, effect)?;
    }
    Ok(())
}

/// Something that ended or began by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passed {
    /// Whose tenant; none for everyone.
    pub tenant: Option<TenantKey>,
    /// The one key that it is about, if it is about one.
    pub key: Option<String>,
    /// The one user whom it concerns, if it concerns one.
    pub user: Option<UserKey>,
}

/// Writes down what has passed by itself until `until`: one row for each tenant.
pub fn record_passed(tx: &WriteTx<'_>, passed: &[Passed], until: Timestamp) -> Result<()> {
    let tenants: BTreeSet<_> = passed.iter().map(|one| one.tenant.clone()).collect();
    for tenant in tenants {
        let of_tenant = || passed.iter().filter(|one| one.tenant == tenant);
        let keys: Option<BTreeSet<String>> = of_tenant().map(|one| one.key.clone()).collect();
        let users: Option<BTreeSet<UserKey>> = of_tenant().map(|one| one.user.clone()).collect();
        let keys = keys.unwrap_or_default().into_iter().collect();
        let users = users.map(|users| users.into_iter().collect());
        append(tx, tenant.clone(), TIME.into(), keys, users, Effect::Answers)?;
    }
    tx.read
        .conn
        .prepare_cached("UPDATE boundaries SET told_until = :until WHERE id = 1")?
        .execute(named_params! {":until": until})?;
    Ok(())
}

/// Until when subscribers were told of what passes by itself.
pub fn told_until(tx: &ReadTx<'_>) -> Result<Timestamp> {
    let mut statement = tx.conn.prepare_cached("SELECT told_until FROM boundaries WHERE id = 1")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

fn append(
    tx: &WriteTx<'_>,
    tenant: Option<TenantKey>,
    cause: String,
    keys: Vec<String>,
    users: Option<Vec<UserKey>>,
    effect: Effect,
) -> Result<()> {
    let conn = tx.read.conn;
    conn.prepare_cached(
        "INSERT INTO outbox (at, tenant, version, cause, keys, users, effect)
         VALUES (:at, :tenant, :version, :cause, :keys, :users, :effect)",
    )?
    .execute(named_params! {
        ":at": tx.real_now(),
        ":tenant": tenant,
        ":version": Count(tx.version),
        ":cause": cause,
        ":keys": Json(&keys),
        ":users": users.as_ref().map(Json),
        ":effect": Word(effect),
    })?;
    let seq = u64::try_from(conn.last_insert_rowid()).unwrap_or_default();
    let (at, version) = (tx.real_now(), tx.version);
    let sandbox =
        tenant.as_ref().map_or(Ok(false), |tenant| tenants::is_sandbox(&tx.read, tenant))?;
    let change = Change { seq, at, tenant, version, cause, keys, users, effect, sandbox };
    tx.touched.borrow_mut().changes.push(Arc::new(change));
    Ok(())
}

/// A row that has no place yet.
struct Draft {
    tenant: Option<TenantKey>,
    keys: Vec<String>,
    users: Option<Vec<UserKey>>,
    effect: Effect,
    cause: String,
}

fn drafts(touched: &Touched, events: &[Event]) -> Vec<Draft> {
    let named = |tenant: Option<&TenantKey>| {
        let own = events.iter().find(|event| event.tenant.as_ref() == tenant);
        own.or(events.first()).map_or(UNNAMED, |event| event.name).to_owned()
    };
    if touched.world {
        let (cause, effect) = (named(None), Effect::Answers);
        return vec![Draft { tenant: None, keys: Vec::new(), users: None, effect, cause }];
    }
    let counted = touched.usage.keys().filter(|_| !events.is_empty());
    let counted: Vec<_> = counted.map(|(whose, _)| (&whose.tenant, &whose.user)).collect();
    let mut tenants: BTreeSet<Option<&TenantKey>> = touched.tenants.iter().map(Some).collect();
    tenants.extend(touched.users.iter().map(|(tenant, _)| tenant.as_ref()));
    tenants.extend(counted.iter().map(|(tenant, _)| tenant.as_ref()));
    tenants.extend(events.iter().map(|event| event.tenant.as_ref()));
    // A change of things in tenants that also has an event about none of them is told there.
    if tenants.len() > 1 && !touched.users.iter().any(|(tenant, _)| tenant.is_none()) {
        tenants.remove(&None);
    }
    let draft = |tenant: Option<&TenantKey>| {
        let users = touched.users.iter().map(|(of, user)| (of, Some(user)));
        let counts = counted.iter().map(|(of, user)| (*of, user.as_ref()));
        let altered: Vec<_> = users.chain(counts).filter(|(of, _)| of.as_ref() == tenant).collect();
        let is_whole = tenant.is_some_and(|tenant| touched.whole.contains(tenant));
        let alters =
            is_whole || !altered.is_empty() || tenant.is_some_and(|t| touched.tenants.contains(t));
        let only: Option<BTreeSet<UserKey>> =
            altered.into_iter().map(|(_, user)| user.cloned()).collect();
        Draft {
            tenant: tenant.cloned(),
            keys: keys(events.iter().filter(|event| event.tenant.as_ref() == tenant)),
            users: only.filter(|users| !is_whole && !users.is_empty()).map(Vec::from_iter),
            effect: if alters && !touched.is_told { Effect::Answers } else { Effect::Records },
            cause: named(tenant),
        }
    };
    tenants.into_iter().map(draft).collect()
}

/// The modules and features that these events are about; none where one may be about any.
fn keys<'e>(events: impl Iterator<Item = &'e Event>) -> Vec<String> {
    let keys: Option<BTreeSet<String>> = events.map(key_of).collect();
    keys.unwrap_or_default().into_iter().collect()
}

/// The one module or feature that an event is about; none where it may be about any.
pub fn key_of(event: &Event) -> Option<String> {
    let fact = |name: &str| {
        let facts = [&event.after, &event.before].map(|facts| facts.get(name));
        facts.into_iter().flatten().find_map(Value::as_str).map(str::to_owned)
    };
    let kind = event.name.split('.').next().unwrap_or_default();
    match kind {
        "grant" | "usage" => Some(event.subject.clone()),
        "seat" | "user_entitlement" => fact("key"),
        "reservation" => fact("feature"),
        _ if event.name.starts_with("entitlement.override.") => fact("key"),
        _ => None,
    }
}

/// The places of the oldest row and of the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Of the oldest; one after the newest where there is none.
    pub oldest: u64,
    /// Of the newest; 0 where there never was one.
    pub newest: u64,
}

/// What is kept.
pub fn places(tx: &ReadTx<'_>) -> Result<Places> {
    let place = |found: Option<Count>| found.map_or(0, |Count(seq)| seq);
    let mut oldest = tx.conn.prepare_cached("SELECT seq FROM outbox ORDER BY seq LIMIT 1")?;
    let oldest = oldest.query_row([], |row| row.get(0)).optional()?;
    let mut newest = tx.conn.prepare_cached("SELECT seq FROM outbox ORDER BY seq DESC LIMIT 1")?;
    let newest = place(newest.query_row([], |row| row.get(0)).optional()?);
    Ok(Places { oldest: oldest.map_or(newest + 1, |seq| place(Some(seq))), newest })
}

/// How many rows one page looks at, so that a filter that finds little holds no view open for long.
const WINDOW: u64 = 5_000;

/// What comes after one place, up to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Without this one.
    pub after: u64,
    /// With this one.
    pub until: u64,
}

/// The next rows in `range` that concern `tenant` or all (or everything, for none): at most `limit`,
/// and the place up to which there is nothing else.
pub fn page(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    range: Range,
    limit: usize,
) -> Result<(Vec<Change>, u64)> {
    let Range { after, until } = range;
    let to_seq = until.min(after.saturating_add(WINDOW));
    let mut statement = tx.conn.prepare_cached(
        "SELECT seq, at, tenant, version, cause, keys, users, effect,
                EXISTS (SELECT 1 FROM tenants WHERE tenants.tenant = outbox.tenant AND sandbox)
         FROM outbox
         WHERE seq > :after AND seq <= :to_seq
           AND (:tenant IS NULL OR tenant IS NULL OR tenant = :tenant)
         ORDER BY seq LIMIT :limit",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":after": Count(after),
            ":to_seq": Count(to_seq),
            ":tenant": tenant,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    let found = rows.collect::<Result<Vec<_>, _>>()?;
    let next = match found.last() {
        Some(last) if found.len() >= limit => last.seq,
        Some(_) | None => to_seq.max(after),
    };
    Ok((found, next))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change {
        seq: row.get::<_, Count>(0)?.0,
        at: row.get(1)?,
        tenant: row.get(2)?,
        version: row.get::<_, Count>(3)?.0,
        cause: row.get(4)?,
        keys: row.get::<_, Json<_>>(5)?.0,
        users: row.get::<_, Option<Json<_>>>(6)?.map(|Json(users)| users),
        effect: row.get::<_, Word<_>>(7)?.0,
        sandbox: row.get(8)?,
    })
}

/// What is kept of the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// At most so many rows.
    pub rows: u64,
    /// Nothing older than this.
    pub since: Timestamp,
}

/// Begins anew at a place that was never given: nobody can resume from one that was given before an
/// older copy was put back, where the same places tell another story.
///
/// The instant in microseconds is such a place: it is beyond all that were given, as long as there are
/// fewer than a million changes a second.
pub fn start_over(tx: &WriteTx<'_>) -> Result<()> {
    let conn = tx.read.conn;
    let instant = u64::try_from(tx.real_now().micros()).unwrap_or_default();
    let place = instant.max(places(&tx.read)?.newest.saturating_add(1));
    conn.prepare_cached("DELETE FROM outbox")?.execute([])?;
    conn.prepare_cached(
        "INSERT INTO outbox (seq, at, tenant, version, cause, keys, users, effect)
         VALUES (:seq, :at, NULL, :version, :cause, '[]', NULL, 'answers')",
    )?
    .execute(named_params! {
        ":seq": Count(place),
        ":at": tx.real_now(),
        ":version": Count(tx.version),
        ":cause": RESTORED,
    })?;
    Ok(())
}

/// The cause of the row at which places begin anew.
const RESTORED: &str = "entitlement.database.restored";

/// How many rows one change prunes.
const PRUNED_AT_ONCE: u64 = 1_000;

/// Whether the oldest row is one too many.
pub fn is_prunable(tx: &ReadTx<'_>, keep: Keep) -> Result<bool> {
    let Places { oldest, newest } = places(tx)?;
    let mut statement = tx.conn.prepare_cached("SELECT at FROM outbox WHERE seq = :oldest")?;
    let at: Option<Timestamp> = statement
        .query_row(named_params! {":oldest": Count(oldest)}, |row| row.get(0))
        .optional()?;
    let is_old = at.is_some_and(|at| at < keep.since);
    Ok(oldest < newest && (is_old || newest - oldest >= keep.rows))
}

/// Takes away some of the oldest rows that are too many or too old, but never the newest one.
pub fn prune(tx: &WriteTx<'_>, keep: Keep) -> Result<()> {
    let Places { oldest, newest } = places(&tx.read)?;
    tx.read
        .conn
        .prepare_cached(
            "DELETE FROM outbox
             WHERE seq < :below AND (seq <= :too_many OR at < :since)",
        )?
        .execute(named_params! {
            ":below": Count(newest.min(oldest.saturating_add(PRUNED_AT_ONCE))),
            ":too_many": Count(newest.saturating_sub(keep.rows)),
            ":since": keep.since,
        })?;
    Ok(())
}
