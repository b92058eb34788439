//! What was counted of limit features, and what is set aside.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, named_params};

use super::{ReadTx, WriteTx, sql::Count};
use crate::{
    domain::{
        keys::{FeatureKey, TenantKey, UserKey},
        time::Timestamp,
        usage::{CountedFor, FeatureUsage, Level, Reserved},
    },
    engine::UsageFacts,
    error::Result,
};

/// What was counted of one feature in the present period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// For whom.
    pub subject: CountedFor,
    /// The limit feature.
    pub feature: FeatureKey,
    /// When the period began.
    pub period_start: Timestamp,
    /// When it ends, if it does.
    pub period_end: Option<Timestamp>,
    /// How much.
    pub used: u64,
    /// The most that was used at once in the period.
    pub peak: u64,
    /// Units that were taken past a limit that only warns.
    pub over: u64,
    /// How full it was told to be.
    pub level: Level,
    /// When it was last counted.
    pub updated_at: Timestamp,
}

/// The empty text stands for none.
pub(super) fn tenant_text(subject: &CountedFor) -> &str {
    subject.tenant.as_ref().map_or("", TenantKey::as_str)
}

pub(super) fn user_text(subject: &CountedFor) -> &str {
    subject.user.as_ref().map_or("", UserKey::as_str)
}

/// For whom a row counts, from the two columns that begin at `first`.
pub(super) fn subject(row: &Row<'_>, first: usize) -> rusqlite::Result<CountedFor> {
    let is_none = |index| row.get_ref(index).map(|value| value.as_str() == Ok(""));
    Ok(CountedFor {
        tenant: if is_none(first)? { None } else { Some(row.get(first)?) },
        user: if is_none(first + 1)? { None } else { Some(row.get(first + 1)?) },
    })
}

// Takes the columns in the order in which each statement below lists them.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Counted> {
    let level: i64 = row.get(8)?;
    let known = Level::ALL.into_iter().find(|known| i64::from(known.percent()) == level);
    Ok(Counted {
        subject: subject(row, 0)?,
        feature: row.get(2)?,
        period_start: row.get(3)?,
        period_end: row.get(4)?,
        used: row.get::<_, Count>(5)?.0,
        peak: row.get::<_, Count>(6)?.0,
        over: row.get::<_, Count>(7)?.0,
        level: known.ok_or(rusqlite::Error::IntegralValueOutOfRange(8, level))?,
        updated_at: row.get(9)?,
    })
}

/// What was counted of a feature, if anything was.
pub fn find(
    tx: &ReadTx<'_>,
    subject: &CountedFor,
    feature: &FeatureKey,
) -> Result<Option<Counted>> {
    Ok(tx
        .conn
        .prepare_cached(
            "SELECT tenant, user, feature, period_start, period_end, used, peak, over, level,
                    updated_at
             FROM usage WHERE tenant = :tenant AND user = :user AND feature = :feature",
        )?
        .query_row(
            named_params! {
                ":tenant": tenant_text(subject), ":user": user_text(subject), ":feature": feature,
            },
            read,
        )
        .optional()?)
}

/// Everything that was counted for a tenant or a user, as the decision sees it.
pub fn load(tx: &ReadTx<'_>, subject: &CountedFor) -> Result<UsageFacts> {
    let mut facts: UsageFacts = tx
        .conn
        .prepare_cached(
            "SELECT feature, used, period_start FROM usage
             WHERE tenant = :tenant AND user = :user",
        )?
        .query_map(
            named_params! {":tenant": tenant_text(subject), ":user": user_text(subject)},
            |row| {
                let (used, period_start) = (row.get::<_, Count>(1)?.0, row.get(2)?);
                Ok((row.get(0)?, FeatureUsage { used, period_start, reserved: Vec::new() }))
            },
        )?
        .collect::<rusqlite::Result<_>>()?;
    for (feature, reserved) in open_reservations(tx, subject)? {
        let usage = facts.entry(feature).or_insert_with(nothing);
        usage.reserved.push(reserved);
    }
    Ok(facts)
}

fn nothing() -> FeatureUsage {
    FeatureUsage { used: 0, period_start: Timestamp::EPOCH, reserved: Vec::new() }
}

/// What is set aside and not yet recorded as expired, by expiry.
fn open_reservations(tx: &ReadTx<'_>, subject: &CountedFor) -> Result<Vec<(FeatureKey, Reserved)>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT feature, id, amount, expires_at FROM reservations INDEXED BY reservations_open
         WHERE tenant = :tenant AND user = :user AND state = 'open'
         ORDER BY feature, expires_at, id",
    )?;
    let rows = statement.query_map(
        named_params! {":tenant": tenant_text(subject), ":user": user_text(subject)},
        |row| {
            let amount = row.get::<_, Count>(2)?.0;
            Ok((row.get(0)?, Reserved { id: row.get(1)?, amount, expires_at: row.get(3)? }))
        },
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Everything that is known of one feature, as the decision sees it.
pub fn facts_of(
    tx: &ReadTx<'_>,
    subject: &CountedFor,
    feature: &FeatureKey,
) -> Result<FeatureUsage> {
    let mut usage = match find(tx, subject, feature)? {
        Some(counted) => FeatureUsage {
            used: counted.used,
            period_start: counted.period_start,
            reserved: Vec::new(),
        },
        None => nothing(),
    };
    let mut statement = tx.conn.prepare_cached(
        "SELECT id, amount, expires_at FROM reservations INDEXED BY reservations_open
         WHERE tenant = :tenant AND user = :user AND feature = :feature AND state = 'open'
         ORDER BY expires_at, id",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant_text(subject), ":user": user_text(subject), ":feature": feature,
        },
        |row| {
            let amount = row.get::<_, Count>(1)?.0;
            Ok(Reserved { id: row.get(0)?, amount, expires_at: row.get(2)? })
        },
    )?;
    usage.reserved = rows.collect::<rusqlite::Result<_>>()?;
    Ok(usage)
}

/// Writes what is counted now.
pub fn put(tx: &WriteTx<'_>, counted: &Counted) -> Result<()> {
    let Counted { subject, feature, period_start, period_end, used, peak, over, level, updated_at } =
        counted;
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO usage (tenant, user, feature, period_start, period_end, used, peak, over,
                 level, updated_at)
             VALUES (:tenant, :user, :feature, :period_start, :period_end, :used, :peak, :over,
                 :level, :updated_at)
             ON CONFLICT (tenant, user, feature) DO UPDATE
             SET period_start = excluded.period_start, period_end = excluded.period_end,
                 used = excluded.used, peak = excluded.peak, over = excluded.over,
                 level = excluded.level, updated_at = excluded.updated_at",
        )?
        .execute(named_params! {
            ":tenant": tenant_text(subject),
            ":user": user_text(subject),
            ":feature": feature,
            ":period_start": period_start,
            ":period_end": period_end,
            ":used": Count(*used),
            ":peak": Count(*peak),
            ":over": Count(*over),
            ":level": level.percent(),
            ":updated_at": updated_at,
        })?;
    if let Some(end) = period_end.filter(|_| *level > Level::Below) {
        tx.ends_at(end);
    }
    touch(tx, subject, feature)
}

/// Keeps a period that is over, for reports.
pub fn archive(tx: &WriteTx<'_>, counted: &Counted, period_end: Timestamp) -> Result<()> {
    let Counted { subject, feature, period_start, used, peak, over, .. } = counted;
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO usage_history (tenant, user, feature, period_start, period_end, used,
                 peak, over)
             VALUES (:tenant, :user, :feature, :period_start, :period_end, :used, :peak, :over)
             ON CONFLICT (tenant, user, feature, period_start) DO UPDATE
             SET period_end = excluded.period_end, used = excluded.used, peak = excluded.peak,
                 over = excluded.over",
        )?
        .execute(named_params! {
            ":tenant": tenant_text(subject),
            ":user": user_text(subject),
            ":feature": feature,
            ":period_start": period_start,
            ":period_end": period_end,
            ":used": Count(*used),
            ":peak": Count(*peak),
            ":over": Count(*over),
        })?;
    Ok(())
}

/// What is known of a feature has changed: memory follows, without the tenant being read again.
pub(super) fn touch(tx: &WriteTx<'_>, subject: &CountedFor, feature: &FeatureKey) -> Result<()> {
    let usage = facts_of(tx.read(), subject, feature)?;
    let key = (subject.clone(), feature.clone());
    tx.touched.borrow_mut().usage.insert(key, usage);
    Ok(())
}

/// The changes of usage of a commit.
pub type TouchedUsage = HashMap<(CountedFor, FeatureKey), FeatureUsage>;
