//! Whose counts have to be held against their limits again, because those may have changed.

use rusqlite::{OptionalExtension, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    usage::{Counted, read, tenant_text, user_text},
};
use crate::{
    domain::{
        keys::{TenantKey, UserKey},
        time::Timestamp,
        usage::CountedFor,
    },
    error::Result,
};

/// The limits of a tenant may have changed, and with them those of its users.
pub(super) fn queue_tenant(tx: &WriteTx<'_>, tenant: &TenantKey) -> rusqlite::Result<()> {
    let queued = tx
        .read
        .conn
        .prepare_cached(
            "INSERT INTO usage_rechecks (tenant, user, queued_at, after_user, after_feature)
             SELECT :tenant, '', :now, '', ''
             WHERE EXISTS (SELECT 1 FROM usage WHERE tenant = :tenant AND user >= '')
             ON CONFLICT (tenant, user) DO UPDATE
             SET queued_at = excluded.queued_at, after_user = '', after_feature = ''",
        )?
        .execute(named_params! {":tenant": tenant, ":now": tx.now()})?;
    wake(tx, queued);
    Ok(())
}

/// The limits of a user may have changed, in a tenant or outside of all.
pub(super) fn queue_user(
    tx: &WriteTx<'_>,
    tenant: Option<&TenantKey>,
    user: &UserKey,
) -> rusqlite::Result<()> {
    let queued = tx
        .read
        .conn
        .prepare_cached(
            "INSERT INTO usage_rechecks (tenant, user, queued_at, after_user, after_feature)
             SELECT :tenant, :user, :now, '', ''
             WHERE EXISTS (SELECT 1 FROM usage WHERE tenant = :tenant AND user = :user)
             ON CONFLICT (tenant, user) DO UPDATE
             SET queued_at = excluded.queued_at, after_user = '', after_feature = ''",
        )?
        .execute(named_params! {
            ":tenant": tenant.map_or("", TenantKey::as_str), ":user": user, ":now": tx.now(),
        })?;
    wake(tx, queued);
    Ok(())
}

fn wake(tx: &WriteTx<'_>, queued: usize) {
    if queued > 0 {
        tx.ends_at(tx.now());
    }
}

/// Up to `limit` rows of usage that a recheck has not come to yet: of a user, or of a tenant with
/// all its users. None where nothing is to be rechecked any more.
pub fn rows(tx: &ReadTx<'_>, whose: &CountedFor, limit: usize) -> Result<Option<Vec<Counted>>> {
    let (tenant, user) = (tenant_text(whose), user_text(whose));
    let place: Option<(String, String)> = tx
        .conn
        .prepare_cached(
            "SELECT after_user, after_feature FROM usage_rechecks
             WHERE tenant = :tenant AND user = :user",
        )?
        .query_row(named_params! {":tenant": tenant, ":user": user}, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((after_user, after_feature)) = place else { return Ok(None) };
    let sql = if whose.user.is_some() {
        "SELECT tenant, user, feature, period_start, period_end, used, peak, over, level,
                updated_at
         FROM usage
         WHERE tenant = :tenant AND user = :user AND feature > :after_feature
           AND :after_user IS NOT NULL
         ORDER BY feature LIMIT :limit"
    } else {
        "SELECT tenant, user, feature, period_start, period_end, used, peak, over, level,
                updated_at
         FROM usage
         WHERE tenant = :tenant AND (user, feature) > (:after_user, :after_feature)
           AND :user = ''
         ORDER BY user, feature LIMIT :limit"
    };
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":tenant": tenant,
            ":user": user,
            ":after_user": after_user,
            ":after_feature": after_feature,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        read,
    )?;
    Ok(Some(rows.collect::<rusqlite::Result<_>>()?))
}

/// A recheck has come as far as this row.
pub fn advance(tx: &WriteTx<'_>, whose: &CountedFor, last: &Counted) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE usage_rechecks SET after_user = :after_user, after_feature = :after_feature
             WHERE tenant = :tenant AND user = :user",
        )?
        .execute(named_params! {
            ":tenant": tenant_text(whose),
            ":user": user_text(whose),
            ":after_user": user_text(&last.subject),
            ":after_feature": last.feature,
        })?;
    Ok(())
}

/// A recheck is done.
pub fn finish(tx: &WriteTx<'_>, whose: &CountedFor) -> Result<()> {
    tx.read
        .conn
        .prepare_cached("DELETE FROM usage_rechecks WHERE tenant = :tenant AND user = :user")?
        .execute(named_params! {":tenant": tenant_text(whose), ":user": user_text(whose)})?;
    Ok(())
}

/// Rechecks that were queued by `until`, oldest first; the id is the user, empty for a tenant.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        "SELECT queued_at, tenant, user FROM usage_rechecks INDEXED BY usage_rechecks_by_age
         WHERE queued_at <= :until AND (queued_at, tenant, user) > (:at, :tenant, :id)
         ORDER BY queued_at, tenant, user LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the oldest recheck was queued.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT queued_at FROM usage_rechecks INDEXED BY usage_rechecks_by_age
         WHERE queued_at >= 0 ORDER BY queued_at LIMIT 1",
    )
}
