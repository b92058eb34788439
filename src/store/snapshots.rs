//! Reading whole: what the decision needs of one tenant, and what is the same for all.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rusqlite::ErrorCode;

use super::{ReadTx, catalogs, grants, overrides, rollout, sql::Count, subscriptions, tenants};
use crate::{
    domain::{
        catalog::{Catalog, parse_stored, resolve},
        keys::TenantKey,
        plans::PlanVersion,
        subscriptions::PinnedPlan,
        time::Timestamp,
    },
    engine::{Gating, Holding, TenantFacts, World},
    error::{Error, Result},
};

/// Plan versions in memory. They never change, so they are shared and kept.
#[derive(Debug, Default)]
pub struct PlanShelf(Mutex<HashMap<PinnedPlan, Arc<PlanVersion>>>);

impl PlanShelf {
    pub(super) fn get(
        &self,
        tx: &ReadTx<'_>,
        pinned: &PinnedPlan,
    ) -> rusqlite::Result<Option<Arc<PlanVersion>>> {
        if let Some(plan) = self.0.lock().get(pinned) {
            return Ok(Some(plan.clone()));
        }
        let Some(plan) = catalogs::find_plan(tx, pinned)?.map(Arc::new) else { return Ok(None) };
        self.0.lock().insert(pinned.clone(), plan.clone());
        Ok(Some(plan))
    }
}

/// What became of reading a tenant.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// Its facts.
    Facts(Arc<TenantFacts>),
    /// There is no such tenant.
    Missing,
    /// One of its rows can't be read: the tenant is closed, the service is not.
    Damaged,
}

/// Reads everything about a tenant that can decide a question from `now` on.
pub fn load_tenant(
    tx: &ReadTx<'_>,
    shelf: &PlanShelf,
    tenant: &TenantKey,
    now: Timestamp,
) -> Result<Loaded> {
    match read_facts(tx, shelf, tenant, now) {
        Ok(Some(facts)) => Ok(Loaded::Facts(Arc::new(facts))),
        Ok(None) => Ok(Loaded::Missing),
        Err(error) if is_damage(&error) => {
            metrics::counter!("damaged_tenant_loads_total").increment(1);
            tracing::error!(%tenant, error = &error as &dyn std::error::Error, "a damaged tenant");
            Ok(Loaded::Damaged)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_facts(
    tx: &ReadTx<'_>,
    shelf: &PlanShelf,
    key: &TenantKey,
    now: Timestamp,
) -> rusqlite::Result<Option<TenantFacts>> {
    let Some((tenant, version)) = tenants::find_versioned(tx, key)? else { return Ok(None) };
    let mut holdings = Vec::new();
    for subscription in subscriptions::current(tx, key, now)? {
        let plan = |pinned: &PinnedPlan| {
            shelf.get(tx, pinned)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
        };
        holdings.push(Holding {
            plan: plan(&subscription.plan)?,
            fallback: subscription.trial_fallback.as_ref().map(plan).transpose()?,
            id: subscription.id,
            status: subscription.status,
            from: subscription.effective_from,
            to: subscription.effective_to,
            trial_expires_at: subscription.trial_expires_at,
            overdue_since: subscription.overdue_since,
            quantity: subscription.quantity,
        });
    }
    let mut facts = TenantFacts::new(tenant, holdings, version);
    facts.base_since = subscriptions::base_since(tx, key, now)?;
    facts.grants = grants::all(tx, key)?.into_iter().map(|g| (g.key.clone(), g)).collect();
    facts.overrides = overrides::open(tx, key)?.into_iter().map(|o| (o.key.clone(), o)).collect();
    facts.tried = subscriptions::tried(tx, key)?.into_iter().collect();
    Ok(Some(facts))
}

/// Whether an error says that a row is damaged, and not that the database is out of reach.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
            // A pinned plan version that is not there.
            | rusqlite::Error::QueryReturnedNoRows
    ) || error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// Reads what is the same for every tenant.
pub fn load_world(tx: &ReadTx<'_>, gating: Gating) -> Result<World> {
    let version: Count = tx
        .conn
        .prepare_cached("SELECT global_version FROM service_state WHERE id = 1")?
        .query_row([], |row| row.get(0))?;
    let rollout = rollout::get(tx)?;
    let Some(stored) = catalogs::newest(tx)? else {
        let mut world = World::empty(gating);
        world.version = version.0;
        return Ok(world.with_rollout(rollout));
    };
    let catalog = read_catalog(&stored)?;
    let mut plans = Vec::new();
    for key in resolve(&catalog).into_keys() {
        let plan = catalogs::newest_plan(tx, &key)?;
        plans.push(Arc::new(plan.ok_or_else(|| Error::internal("a plan has no version"))?));
    }
    let world = World::new(Arc::new(catalog), stored.version, plans, gating, version.0);
    Ok(world.with_rollout(rollout))
}

/// A stored document as a catalog. It was valid when it was applied.
pub fn read_catalog(stored: &catalogs::StoredCatalog) -> Result<Catalog> {
    parse_stored(&stored.document, stored.format).map_err(|faults| {
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        Error::internal(format!("catalog version {} no longer parses: {first}", stored.version))
    })
}
