//! Tiers: users' places on plans, with their history.

use rusqlite::{OptionalExtension, Row, named_params};

use super::{
    ReadTx, WriteTx,
    due::{self, Due},
    usage_rechecks,
};
use crate::{
    domain::{
        keys::{TenantKey, UserKey},
        people::Tier,
        subscriptions::PinnedPlan,
        time::Timestamp,
    },
    error::Result,
};

// Takes the columns in the order in which each statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<Tier> {
    Ok(Tier {
        id: row.get(0)?,
        tenant: row.get(1)?,
        user: row.get(2)?,
        plan: PinnedPlan { plan: row.get(3)?, version: row.get(4)? },
        effective_from: row.get(5)?,
        effective_to: row.get(6)?,
        change_reason: row.get(7)?,
        created_at: row.get(8)?,
        created_by: row.get(9)?,
    })
}

/// The tier of a user whose end was not recorded, in a tenant or outside of all.
pub fn find_open(
    tx: &ReadTx<'_>,
    tenant: Option<&TenantKey>,
    user: &UserKey,
) -> Result<Option<Tier>> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT id, tenant, user, plan, plan_version, effective_from, effective_to,
                    change_reason, created_at, created_by
             FROM tiers
             WHERE user = :user AND coalesce(tenant, '') = coalesce(:tenant, '') AND is_over = 0",
        )?
        .query_row(named_params! {":user": user, ":tenant": tenant}, read)
        .optional()?;
    Ok(found)
}

/// Whose tier this is.
pub fn user_of(tx: &ReadTx<'_>, id: &str) -> Result<Option<UserKey>> {
    let mut statement = tx.conn.prepare_cached("SELECT user FROM tiers WHERE id = :id")?;
    Ok(statement.query_row(named_params! {":id": id}, |row| row.get(0)).optional()?)
}

/// Adds a tier.
pub fn insert(tx: &WriteTx<'_>, new: &Tier) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "INSERT INTO tiers (id, tenant, user, plan, plan_version, effective_from, effective_to,
                 is_over, change_reason, created_at, created_by)
             VALUES (:id, :tenant, :user, :plan, :plan_version, :effective_from, :effective_to,
                 0, :change_reason, :created_at, :created_by)",
        )?
        .execute(named_params! {
            ":id": new.id,
            ":tenant": new.tenant,
            ":user": new.user,
            ":plan": new.plan.plan,
            ":plan_version": new.plan.version,
            ":effective_from": new.effective_from,
            ":effective_to": new.effective_to,
            ":change_reason": new.change_reason,
            ":created_at": new.created_at,
            ":created_by": new.created_by,
        })?;
    new.effective_to.into_iter().for_each(|end| tx.ends_at(end));
    usage_rechecks::queue_user(tx, new.tenant.as_ref(), &new.user)?;
    Ok(())
}

/// Ends a tier at `at`; its row stays.
pub fn close(tx: &WriteTx<'_>, closed: &Tier, at: Timestamp) -> Result<()> {
    tx.read
        .conn
        .prepare_cached(
            "UPDATE tiers SET is_over = 1, effective_to = :at WHERE id = :id AND is_over = 0",
        )?
        .execute(named_params! {":id": closed.id, ":at": at})?;
    usage_rechecks::queue_user(tx, closed.tenant.as_ref(), &closed.user)?;
    Ok(())
}

/// Tiers that ended by `until` without that being recorded, oldest first.
pub fn due(
    tx: &ReadTx<'_>,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    due::due(
        tx,
        // Ids are unique beyond tenants, so the place in the order needs none.
        "SELECT effective_to, tenant, id FROM tiers INDEXED BY tiers_by_end
         WHERE is_over = 0 AND effective_to IS NOT NULL AND effective_to <= :until
           AND (effective_to, id) > (:at, :id) AND :tenant IS NOT NULL
         ORDER BY effective_to, id LIMIT :limit",
        until,
        after,
        limit,
    )
}

/// When the next tier ends.
pub fn next_due(tx: &ReadTx<'_>) -> Result<Option<Timestamp>> {
    due::next(
        tx,
        "SELECT effective_to FROM tiers INDEXED BY tiers_by_end
         WHERE is_over = 0 AND effective_to >= 0 ORDER BY effective_to LIMIT 1",
    )
}

/// The tier of `due`, its end now marked as recorded; none where that was moved.
pub fn take_end(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Tier>> {
    let taken = tx
        .read
        .conn
        .prepare_cached(
            "UPDATE tiers SET is_over = 1
             WHERE id = :id AND is_over = 0 AND effective_to <= :now
             RETURNING id, tenant, user, plan, plan_version, effective_from, effective_to,
                 change_reason, created_at, created_by",
        )?
        .query_row(named_params! {":id": due.id, ":now": tx.now()}, read)
        .optional()?;
    if let Some(tier) = &taken {
        usage_rechecks::queue_user(tx, tier.tenant.as_ref(), &tier.user)?;
    }
    Ok(taken)
}
