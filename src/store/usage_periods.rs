//! Usage by period: lists of what is and what was, periods that end, and pruning by age.

use rusqlite::{Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    sql::Count,
    usage::{Counted, read, subject},
};
use crate::{
    domain::{
        keys::{FeatureKey, TenantKey, UserKey},
        time::Timestamp,
        usage::{CountedFor, Level},
    },
    error::{Error, Result},
};

/// What a list of usage is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Of this feature.
    pub feature: Option<FeatureKey>,
    /// Of this user.
    pub user: Option<UserKey>,
    /// Periods that end after this instant.
    pub from: Option<Timestamp>,
    /// Periods that begin before this instant.
    pub to: Option<Timestamp>,
}

/// A place in a list of usage: the user (empty for the tenant as a whole), the feature, and the start
/// of the period in microseconds.
pub type UsageCursor = (String, String, i64);

// Takes the columns in the order in which each statement below lists them.
fn read_past(row: &Row<'_>) -> rusqlite::Result<Counted> {
    Ok(Counted {
        subject: subject(row, 0)?,
        feature: row.get(2)?,
        period_start: row.get(3)?,
        period_end: row.get(4)?,
        used: row.get::<_, Count>(5)?.0,
        peak: row.get::<_, Count>(6)?.0,
        over: row.get::<_, Count>(7)?.0,
        level: Level::Below,
        updated_at: row.get(4)?,
    })
}

/// Up to `limit` periods that are over after `after`, by user, feature and start.
pub fn past(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    filter: &UsageFilter,
    after: &UsageCursor,
    limit: usize,
) -> Result<Vec<Counted>> {
    let sql = if filter.user.is_some() {
        "SELECT tenant, user, feature, period_start, period_end, used, peak, over
         FROM usage_history
         WHERE tenant = :tenant AND user = :user
           AND (feature, period_start) > (:after_feature, :after_start)
           AND (:feature IS NULL OR feature = :feature)
           AND (:from IS NULL OR period_end > :from) AND (:to IS NULL OR period_start < :to)
           AND :after_user IS NOT NULL
         ORDER BY feature, period_start LIMIT :limit"
    } else {
        "SELECT tenant, user, feature, period_start, period_end, used, peak, over
         FROM usage_history
         WHERE tenant = :tenant
           AND (user, feature, period_start) > (:after_user, :after_feature, :after_start)
           AND (:feature IS NULL OR feature = :feature)
           AND (:from IS NULL OR period_end > :from) AND (:to IS NULL OR period_start < :to)
           AND :user IS NULL
         ORDER BY user, feature, period_start LIMIT :limit"
    };
    let (after_user, after_feature, after_start) = after;
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant.map_or("", TenantKey::as_str),
            ":user": filter.user,
            ":feature": filter.feature,
            ":from": filter.from,
            ":to": filter.to,
            ":after_user": after_user,
            ":after_feature": after_feature,
            ":after_start": after_start,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read_past,
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Up to `limit` present counts from `from` on, by user and feature.
pub fn present(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    filter: &UsageFilter,
    (from_user, from_feature): (&str, &str),
    limit: usize,
) -> Result<Vec<Counted>> {
    let sql = if filter.user.is_some() {
        "SELECT tenant, user, feature, period_start, period_end, used, peak, over, level,
                updated_at
         FROM usage
         WHERE tenant = :tenant AND user = :user AND feature >= :from_feature
           AND (:feature IS NULL OR feature = :feature)
           AND (:to IS NULL OR period_start < :to) AND :from_user IS NOT NULL
         ORDER BY feature LIMIT :limit"
    } else {
        "SELECT tenant, user, feature, period_start, period_end, used, peak, over, level,
                updated_at
         FROM usage
         WHERE tenant = :tenant AND (user, feature) >= (:from_user, :from_feature)
           AND (:feature IS NULL OR feature = :feature)
           AND (:to IS NULL OR period_start < :to) AND :user IS NULL
         ORDER BY user, feature LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant.map_or("", TenantKey::as_str),
            ":user": filter.user,
            ":feature": filter.feature,
            ":to": filter.to,
            ":from_user": from_user,
            ":from_feature": from_feature,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Counts that were told to be full and whose period ended by `until`, oldest first.
pub fn due_recoveries(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        // No key holds a space, so that user and feature stand in order and come apart again.
        "SELECT period_end, tenant, user || ' ' || feature
         FROM usage INDEXED BY usage_by_recovery
         WHERE level > 0 AND period_end IS NOT NULL AND period_end <= :until
           AND (period_end, tenant, user, feature)
               > (:at, :tenant, substr(:id, 1, instr(:id, ' ') - 1),
                  substr(:id, instr(:id, ' ') + 1))
         ORDER BY period_end, tenant, user, feature LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// Whose count of what is due to recover.
pub fn recovering(due: &Due) -> Result<(CountedFor, FeatureKey)> {
    let missing = || Error::internal("a count of nobody is due");
    let (user, feature) = due.id.split_once(' ').ok_or_else(missing)?;
    let user = if user.is_empty() { None } else { Some(user.parse().map_err(Error::internal)?) };
    let feature = feature.parse().map_err(Error::internal)?;
    Ok((CountedFor { tenant: due.tenant.clone(), user }, feature))
}

/// When the next such period ends.
pub fn next_recovery(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT period_end FROM usage INDEXED BY usage_by_recovery
         WHERE level > 0 AND period_end IS NOT NULL AND period_end >= 0
         ORDER BY period_end LIMIT 1",
    )
}

/// Takes away up to `limit` periods that ended before `before`; how many there were.
pub fn prune(tx: &WriteTx<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let pruned = tx
        .read
        .conn
        .prepare_cached(
            "DELETE FROM usage_history WHERE (tenant, user, feature, period_start) IN (
                 SELECT tenant, user, feature, period_start
                 FROM usage_history INDEXED BY usage_history_by_age
                 WHERE period_end < :before ORDER BY period_end LIMIT :limit)",
        )?
        .execute(named_params! {
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        })?;
    Ok(pruned)
}

/// Whether there is a period that ended before `before`.
pub fn is_older(tx: &ReadTx<'_>, before: Timestamp) -> Result<bool> {
    Ok(tx
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM usage_history INDEXED BY usage_history_by_age
                            WHERE period_end < :before)",
        )?
        .query_row(named_params! {":before": before}, |row| row.get(0))?)
}
