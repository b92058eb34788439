//! The settings of the rollout: one row.

use std::collections::BTreeSet;

use rusqlite::{Row, named_params};

use super::{
    ReadTx, WriteTx,
    sql::{Count, Json, Word},
};
use crate::{
    domain::{
        keys::{ModuleKey, TenantKey},
        rollout::{AutoRollback, Rollout, RolloutMode, StoredRollout},
        time::Timestamp,
    },
    error::Result,
};

// Takes the columns in the order in which the statement below lists them.
fn read(row: &Row<'_>) -> rusqlite::Result<StoredRollout> {
    let at: Option<Timestamp> = row.get(6)?;
    let by: Option<String> = row.get(7)?;
    Ok(StoredRollout {
        settings: Rollout {
            mode: row.get::<_, Word<RolloutMode>>(0)?.0,
            percent: row.get::<_, Count>(1)?.0,
            include: row.get::<_, Json<BTreeSet<TenantKey>>>(2)?.0,
            exclude: row.get::<_, Json<BTreeSet<TenantKey>>>(3)?.0,
            unenforced_modules: row.get::<_, Json<BTreeSet<ModuleKey>>>(4)?.0,
            auto_rollback: row.get::<_, Option<Json<AutoRollback>>>(5)?.map(|it| it.0),
        },
        updated: at.zip(by),
        revision: row.get::<_, Count>(8)?.0,
    })
}

/// The settings.
pub fn get(tx: &ReadTx<'_>) -> Result<StoredRollout> {
    let found = tx
        .conn
        .prepare_cached(
            "SELECT mode, percent, include, exclude, unenforced_modules, auto_rollback,
                    updated_at, updated_by, revision
             FROM rollout WHERE id = 1",
        )?
        .query_row([], read)?;
    Ok(found)
}

/// The version of the settings.
pub fn revision(tx: &ReadTx<'_>) -> Result<u64> {
    let revision: Count = tx
        .conn
        .prepare_cached("SELECT revision FROM rollout WHERE id = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(revision.0)
}

/// Replaces the settings.
pub fn update(tx: &WriteTx<'_>, settings: &Rollout, by: &str) -> Result<()> {
    let Rollout { mode, percent, include, exclude, unenforced_modules, auto_rollback } = settings;
    tx.read
        .conn
        .prepare_cached(
            "UPDATE rollout
             SET mode = :mode, percent = :percent, include = :include, exclude = :exclude,
                 unenforced_modules = :unenforced_modules, auto_rollback = :auto_rollback,
                 updated_at = :now, updated_by = :by, revision = revision + 1
             WHERE id = 1",
        )?
        .execute(named_params! {
            ":mode": Word(*mode),
            ":percent": Count(*percent),
            ":include": Json(include),
            ":exclude": Json(exclude),
            ":unenforced_modules": Json(unenforced_modules),
            ":auto_rollback": auto_rollback.map(Json),
            ":now": tx.now(),
            ":by": by,
        })?;
    tx.touch_world();
    Ok(())
}
