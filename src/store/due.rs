//! What ends by itself, in the order in which it does: the rows that the expiry worker looks for.

use rusqlite::{OptionalExtension, named_params, types::ValueRef};

use super::ReadTx;
use crate::{
    domain::{keys::TenantKey, time::Timestamp},
    error::{Error, Result},
};

/// Something that ends by itself and whose end was not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When it ends.
    pub at: Timestamp,
    /// Whose it is; none for what belongs to no tenant.
    pub tenant: Option<TenantKey>,
    /// Which one, within its kind and tenant.
    pub id: String,
}

impl Due {
    /// Whose it is, for what always belongs to a tenant.
    pub fn owner(&self) -> Result<&TenantKey> {
        self.tenant.as_ref().ok_or_else(|| Error::internal("what is due belongs to no tenant"))
    }
}

/// Up to `limit` rows that `sql` finds at or before `until`, after `after`. The tenant of what has
/// none is NULL or the empty text, and sorts first.
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
            ":tenant": after.and_then(|due| due.tenant.as_ref()).map_or("", TenantKey::as_str),
            ":id": after.map_or("", |due| due.id.as_str()),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        |row| {
            let nobody = matches!(row.get_ref(1)?, ValueRef::Null | ValueRef::Text(b""));
            let tenant = if nobody { None } else { Some(row.get(1)?) };
            Ok(Due { at: row.get(0)?, tenant, id: row.get(2)? })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first instant that `sql` finds.
pub(super) fn next(tx: &ReadTx<'_>, sql: &'static str) -> Result<Option<Timestamp>> {
    Ok(tx.conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}
