//! What ends by itself, in the order in which it does: the rows that the expiry worker looks for.

use rusqlite::{OptionalExtension, named_params};

use super::ReadTx;
use crate::{
    domain::{keys::TenantKey, time::Timestamp},
    error::Result,
};

/// Something that ends by itself and whose end was not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When it ends.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: TenantKey,
    /// Which one, within its kind and tenant.
    pub id: String,
}

/// Up to `limit` rows that `sql` finds at or before `until`, after `after`.
pub(super) fn due(
    tx: &ReadTx<'_>,
    sql: &'static str,
    until: Timestamp,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>> {
    let mut statement = tx.conn.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":until": until,
            ":at": after.map_or(-1, |due| due.at.micros()),
            ":tenant": after.map_or("", |due| due.tenant.as_str()),
            ":id": after.map_or("", |due| due.id.as_str()),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        |row| Ok(Due { at: row.get(0)?, tenant: row.get(1)?, id: row.get(2)? }),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first instant that `sql` finds.
pub(super) fn next(tx: &ReadTx<'_>, sql: &'static str) -> Result<Option<Timestamp>> {
    Ok(tx.conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}
