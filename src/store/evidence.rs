//! Evidence: how checks were answered, one row for each hour and what is counted together in it.

use rusqlite::named_params;

use super::{
    ReadTx, WriteTx,
    sql::{Count, Word},
};
use crate::{
    domain::{
        checks::Reason,
        evidence::{CheckOutcome, EvidenceKey, Summary},
        keys::{ModuleKey, TenantKey},
        time::Timestamp,
    },
    error::{Error, Result},
};

/// Adds checks to their hour.
pub fn add(tx: &WriteTx<'_>, key: &EvidenceKey, checks: u64) -> Result<()> {
    let EvidenceKey { whose, hour, module, reason, outcome } = key;
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO check_hours (tenant, hour, module, reason, outcome, checks)
             VALUES (:tenant, :hour, :module, :reason, :outcome, :checks)
             ON CONFLICT (tenant, hour, module, reason, outcome)
             DO UPDATE SET checks = checks + excluded.checks",
        )?
        .execute(named_params! {
            ":tenant": whose.as_str(),
            ":hour": hour,
            ":module": module.as_ref().map_or("", ModuleKey::as_str),
            ":reason": Word(*reason),
            ":outcome": Word(*outcome),
            ":checks": Count(checks),
        })?;
    Ok(())
}

/// Adds everything since `from` to a summary: of all, of one tenant, of one module.
pub fn summarize(
    tx: &ReadTx<'_>,
    from: Timestamp,
    tenant: Option<&TenantKey>,
    module: Option<&ModuleKey>,
    summary: &mut Summary,
) -> Result<()> {
    let (of_all, of_one) = (
        "SELECT tenant, module, reason, outcome, checks
         FROM check_hours INDEXED BY check_hours_by_hour
         WHERE hour >= :from AND :tenant IS NULL AND (:module IS NULL OR module = :module)",
        "SELECT tenant, module, reason, outcome, checks FROM check_hours
         WHERE tenant = :tenant AND hour >= :from AND (:module IS NULL OR module = :module)",
    );
    let sql = if tenant.is_some() { of_one } else { of_all };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query(named_params! {
        ":from": from,
        ":tenant": tenant,
        ":module": module.map(ModuleKey::as_str),
    })?;
    while let Some(row) = rows.next()? {
        // Borrowed: there may be millions of rows for a few thousand keys.
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let (tenant, module) = (text(0)?, text(1)?);
        let reason = row.get::<_, Word<Reason>>(2)?.0;
        let outcome = row.get::<_, Word<CheckOutcome>>(3)?.0;
        let checks = row.get::<_, Count>(4)?.0;
        summary.add(tenant, module, (reason, outcome), checks).map_err(Error::internal)?;
    }
    Ok(())
}

/// Takes away up to `limit` rows of hours before `before`; how many there were.
pub fn prune(tx: &WriteTx<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let pruned = tx
        .read
        .conn
        .prepare_cached(
            "DELETE FROM check_hours WHERE (tenant, hour, module, reason, outcome) IN (
                 SELECT tenant, hour, module, reason, outcome
                 FROM check_hours INDEXED BY check_hours_by_hour
                 WHERE hour < :before ORDER BY hour LIMIT :limit)",
        )?
        .execute(named_params! {
            ":before": before,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        })?;
    Ok(pruned)
}

/// Whether there is an hour before `before`.
pub fn is_older(tx: &ReadTx<'_>, before: Timestamp) -> Result<bool> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM check_hours INDEXED BY check_hours_by_hour
                            WHERE hour < :before)",
        )?
        .query_row(named_params! {":before": before}, |row| row.get(0))?;
    Ok(found)
}
