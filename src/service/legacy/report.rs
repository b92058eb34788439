//! What the maps say: beside the grants, for one tenant, and all of them in the old shape.

use std::collections::BTreeMap;

use crate::{
    domain::{
        catalog::Catalog,
        keys::TenantKey,
        legacy::{self, Difference, LegacyMap, LegacySettings},
        time::Timestamp,
    },
    error::Result,
    service::{Service, actor::Actor, paging::Page, permissions::Permission},
    store::{self, ReadTx},
};

/// How many tenants one page looks at: most have no difference.
const EXAMINED: usize = 1_000;

/// How many tenants one page of an export holds.
const EXPORTED: usize = 1_000;

/// How many bytes of JSON it holds at most, about: an import takes 1 MiB.
const EXPORTED_BYTES: usize = 900_000;

/// Maps in the old shape: names of modules by tenant.
pub type OldMaps = BTreeMap<TenantKey, BTreeMap<String, bool>>;

/// The differences of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantDifferences {
    /// Whose.
    pub tenant: TenantKey,
    /// By module; at least one.
    pub differences: Vec<Difference>,
}

/// A page of an export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LegacyExport {
    /// By tenant.
    pub maps: OldMaps,
    /// The last tenant of it, where more follow.
    pub next: Option<TenantKey>,
}

impl Service {
    /// Where maps and grants disagree, tenant by tenant. A page may hold fewer than `limit`, and none
    /// at all, where it has looked at many tenants.
    pub async fn legacy_consistency(
        &self,
        actor: &Actor,
        after: Option<TenantKey>,
        limit: usize,
    ) -> Result<(Page<TenantDifferences, TenantKey>, LegacySettings)> {
        actor.reach(Permission::LegacyRead)?;
        let (world, now) = (self.world(), self.clock.now());
        self.store
            .read_long(move |tx| {
                let settings = store::legacy::settings(tx)?.settings;
                let page = disagreeing(tx, &world.catalog, now, after, limit)?;
                Ok((page, settings))
            })
            .await
    }

    /// The map of a tenant in the old shape.
    pub async fn legacy_modules(
        &self,
        actor: &Actor,
        tenant: &TenantKey,
    ) -> Result<BTreeMap<String, bool>> {
        actor.may_on(Permission::LegacyRead, tenant)?;
        self.store
            .read(|tx| {
                store::tenants::get(tx, tenant)?;
                let settings = store::legacy::settings(tx)?.settings;
                Ok(settings.in_old_names(&store::legacy::map(tx, tenant)?))
            })
            .await
    }

    /// The maps of all tenants that have one, in the old shape, page by page.
    pub async fn export_legacy(
        &self,
        actor: &Actor,
        after: Option<TenantKey>,
    ) -> Result<LegacyExport> {
        actor.reach(Permission::LegacyRead)?;
        self.store.read_long(move |tx| exported(tx, after)).await
    }
}

fn disagreeing(
    tx: &ReadTx<'_>,
    catalog: &Catalog,
    now: Timestamp,
    after: Option<TenantKey>,
    limit: usize,
) -> Result<Page<TenantDifferences, TenantKey>> {
    let from = after.as_ref().map_or("", TenantKey::as_str);
    let ahead = store::tenants::all_ahead(tx)?;
    let looked_at = store::legacy::tenants(tx, from, EXAMINED + 1)?;
    let mut page = Page { items: Vec::new(), next: None };
    let mut last: Option<TenantKey> = None;
    for (count, tenant) in looked_at.into_iter().enumerate() {
        // There is at least this one more.
        if count == EXAMINED || page.items.len() == limit {
            page.next = last;
            return Ok(page);
        }
        let now = now + ahead.get(&tenant).copied().unwrap_or_default();
        let granted: LegacyMap = store::legacy::granted(tx, &tenant, now)?
            .into_iter()
            .filter_map(|(key, is_on)| {
                catalog.modules.get_key_value(key.as_str()).map(|(key, _)| (key.clone(), is_on))
            })
            .collect();
        let map = store::legacy::map(tx, &tenant)?;
        let differences = legacy::differences(catalog, &map, &granted);
        if !differences.is_empty() {
            page.items.push(TenantDifferences { tenant: tenant.clone(), differences });
        }
        last = Some(tenant);
    }
    Ok(page)
}

fn exported(tx: &ReadTx<'_>, after: Option<TenantKey>) -> Result<LegacyExport> {
    let settings = store::legacy::settings(tx)?.settings;
    let from = after.as_ref().map_or("", TenantKey::as_str);
    let mut export = LegacyExport::default();
    let mut bytes = 0;
    for (count, tenant) in store::legacy::mapped(tx, from, EXPORTED + 1)?.into_iter().enumerate() {
        let map = settings.in_old_names(&store::legacy::map(tx, &tenant)?);
        bytes += map.keys().map(|name| name.len() + 12).sum::<usize>() + tenant.as_str().len() + 8;
        if count == EXPORTED || (count > 0 && bytes > EXPORTED_BYTES) {
            export.next = export.maps.last_key_value().map(|(tenant, _)| tenant.clone());
            break;
        }
        export.maps.insert(tenant, map);
    }
    Ok(export)
}
