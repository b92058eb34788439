//! Importing maps: read as a whole, every fault named at once, written in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{LOOKED_UP, unknown_tenant};
use crate::{
    domain::{
        audit::Event,
        catalog::{Access, Catalog},
        keys::{EntitlementKey, ModuleKey, TenantKey},
        legacy::{LegacyMap, LegacySettings},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    service::{
        Service,
        actor::Actor,
        grants::{self, NewGrant, NewState},
        memory::Memory,
        permissions::Permission,
        provisioning,
        questions::unknown,
    },
    store::{self, ReadTx, WriteTx},
};

/// How many tenants one import may name.
pub const MAX_TENANTS: usize = 5_000;
/// How many modules of tenants it may name.
pub const MAX_ENTRIES: usize = 50_000;

/// How many faults are named one by one.
const FAULTS_NAMED: usize = 100;

/// How many tenants around the place where an unknown one would be may have been meant.
const NEIGHBOURS: usize = 500;

const REASON: &str = "Imported from the old enabled_modules";

/// What was sent, before anybody knows whether there are such tenants and modules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    /// Maps of tenants.
    pub tenants: Vec<ImportedTenant>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// The map of a tenant, or in CSV a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedTenant {
    /// Where it stands.
    pub place: String,
    /// Whose it is.
    pub tenant: String,
    /// What it says.
    pub modules: Vec<ImportedModule>,
}

/// One module in a map.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedModule {
    /// Where it stands.
    pub place: String,
    /// Its old name or its key.
    pub name: String,
    /// Whether it is on.
    pub enabled: bool,
}

/// What an import writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The maps alone.
    Maps,
    /// The grants on the modules that it names as well.
    MapsAndGrants,
}

/// What an import did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// How many tenants were named.
    pub tenants: usize,
    /// Those for which something changes, by key.
    pub changes: Vec<TenantChange>,
    /// Maps are shown in these old names.
    pub settings: LegacySettings,
}

/// What changes for a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantChange {
    /// Which one.
    pub tenant: TenantKey,
    /// Its map before.
    pub before: LegacyMap,
    /// Its map afterwards.
    pub after: LegacyMap,
    /// Modules that are granted, or whose grant is taken back.
    pub grants: LegacyMap,
}

impl Service {
    /// Puts the maps that are named in place of those that are there, all or none.
    pub async fn import_legacy(
        &self,
        actor: &Actor,
        import: Import,
        effect: Effect,
    ) -> Result<Imported> {
        actor.reach(Permission::LegacyWrite)?;
        let (world, now, memory) = (self.world(), self.clock.now(), self.memory.clone());
        // Faults are found without holding the writer.
        let import = self
            .store
            .read_long(move |tx| {
                planned(tx, &world.catalog, now, &import, effect)?;
                Ok(import)
            })
            .await?;
        self.change(actor, move |tx| {
            let world = provisioning::world(tx, &memory)?;
            let imported = planned(tx.read(), &world.catalog, tx.real_now(), &import, effect)?;
            let mut events = Vec::new();
            for change in &imported.changes {
                write(tx, &world.catalog, &memory, change, &mut events)?;
            }
            Ok((imported, events))
        })
        .await
    }
}

/// What an import comes to, or everything that is wrong with it.
fn planned(
    tx: &ReadTx<'_>,
    catalog: &Catalog,
    now: Timestamp,
    import: &Import,
    effect: Effect,
) -> Result<Imported> {
    let settings = store::legacy::settings(tx)?.settings;
    let maps = maps(tx, catalog, &settings, import, effect)?;
    let tenants = maps.len();
    let ahead = store::tenants::all_ahead(tx)?;
    let mut changes = Vec::new();
    for (tenant, after) in maps {
        let before = store::legacy::map(tx, &tenant)?;
        let grants = match effect {
            Effect::Maps => LegacyMap::new(),
            Effect::MapsAndGrants => {
                let now = now + ahead.get(&tenant).copied().unwrap_or_default();
                granted(tx, catalog, now, &tenant, &after)?
            }
        };
        if before != after || !grants.is_empty() {
            changes.push(TenantChange { tenant, before, after, grants });
        }
    }
    Ok(Imported { tenants, changes, settings })
}

/// The maps by tenant.
fn maps(
    tx: &ReadTx<'_>,
    catalog: &Catalog,
    settings: &LegacySettings,
    import: &Import,
    effect: Effect,
) -> Result<BTreeMap<TenantKey, LegacyMap>> {
    let mut reading = Reading {
        catalog,
        settings,
        effect,
        faults: import.faults.clone(),
        unknown: Vec::new(),
        names: BTreeMap::new(),
    };
    if !reading.is_bounded(import) {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults: reading.faults });
    }
    let mut maps = BTreeMap::new();
    for sent in &import.tenants {
        match reading.tenant(tx, sent)? {
            Some(tenant) => reading.modules(sent, maps.entry(tenant).or_default()),
            // What it says is looked at all the same, so that every fault is found.
            None => reading.modules(sent, &mut LegacyMap::new()),
        }
    }
    reading.end()?;
    Ok(maps)
}

/// An import that is being understood.
struct Reading<'a> {
    catalog: &'a Catalog,
    settings: &'a LegacySettings,
    effect: Effect,
    faults: Vec<Fault>,
    unknown: Vec<Fault>,
    /// What each name means: the same few come thousands of times.
    names: BTreeMap<&'a str, Option<&'a ModuleKey>>,
}

impl<'a> Reading<'a> {
    /// Whether it is worth looking at the rest.
    fn is_bounded(&mut self, import: &Import) -> bool {
        let entries: usize = import.tenants.iter().map(|tenant| tenant.modules.len()).sum();
        let tenants: BTreeSet<_> = import.tenants.iter().map(|sent| &sent.tenant).collect();
        for (what, count, most) in
            [("tenants", tenants.len(), MAX_TENANTS), ("modules of tenants", entries, MAX_ENTRIES)]
        {
            if count > most {
                let message = format!("one import names at most {most} {what}, not {count}");
                self.faults = vec![Fault::new("tenants", message)];
                return false;
            }
        }
        if tenants.is_empty() && self.faults.is_empty() {
            self.faults.push(Fault::new("tenants", "names no tenant"));
        }
        true
    }

    fn tenant(&mut self, tx: &ReadTx<'_>, sent: &ImportedTenant) -> Result<Option<TenantKey>> {
        let ImportedTenant { place, tenant, .. } = sent;
        let key = match tenant.parse::<TenantKey>() {
            Ok(key) => key,
            Err(bad) => {
                self.faults.push(Fault::new(place, format!("“{tenant}” is no tenant: {bad}")));
                return Ok(None);
            }
        };
        if store::tenants::find(tx, &key)?.is_some() {
            return Ok(Some(key));
        }
        let known = if self.unknown.len() < LOOKED_UP { around(tx, tenant)? } else { Vec::new() };
        self.unknown.push(unknown_tenant(place, tenant, &known));
        Ok(None)
    }

    fn modules(&mut self, sent: &'a ImportedTenant, map: &mut LegacyMap) {
        for ImportedModule { place, name, enabled } in &sent.modules {
            let (settings, catalog) = (self.settings, self.catalog);
            let meant = *self.names.entry(name).or_insert_with(|| settings.module(catalog, name));
            let Some(module) = meant else {
                let known = catalog.modules.keys().map(ModuleKey::as_str);
                let names = settings.names.keys().map(|name| name.as_str());
                let known = known.chain(names).take(if self.unknown.len() < LOOKED_UP {
                    usize::MAX
                } else {
                    0
                });
                self.unknown.push(unknown(place, "module", name, known));
                continue;
            };
            let is_free = catalog.modules.get(module).is_some_and(|m| m.access != Access::Entitled);
            if is_free && !enabled && self.effect == Effect::MapsAndGrants {
                let message = format!("“{module}” needs no grant, so that none can switch it off");
                self.faults.push(Fault::new(place, message));
            }
            if map.insert(module.clone(), *enabled).is_some() {
                let message = format!("“{module}” is named twice for “{}”", sent.tenant);
                self.faults.push(Fault::new(place, message));
            }
        }
    }

    fn end(self) -> Result<()> {
        let Self { mut faults, unknown, .. } = self;
        let code = if faults.is_empty() { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
        faults.extend(unknown);
        if faults.is_empty() {
            return Ok(());
        }
        let more = faults.len().saturating_sub(FAULTS_NAMED);
        faults.truncate(FAULTS_NAMED);
        if more > 0 {
            faults.push(Fault::new("tenants", format!("and {more} more faults")));
        }
        Err(Error::Invalid { code, faults })
    }
}

/// Tenants whose keys are near in the order of keys.
fn around(tx: &ReadTx<'_>, given: &str) -> Result<Vec<TenantKey>> {
    let mut known = store::legacy::tenants(tx, given, NEIGHBOURS)?;
    known.extend(store::legacy::tenants_before(tx, given, NEIGHBOURS)?);
    Ok(known)
}

/// What becomes of the grants on the modules that a map names: those that are on are granted, unless
/// they are already; of those that are off the grant is taken back, if it gives something.
fn granted(
    tx: &ReadTx<'_>,
    catalog: &Catalog,
    now: Timestamp,
    tenant: &TenantKey,
    map: &LegacyMap,
) -> Result<LegacyMap> {
    let present = store::legacy::granted(tx, tenant, now)?;
    let differs = |module: &ModuleKey, wanted: bool| {
        let is_entitled = catalog.modules.get(module).map(|m| m.access) == Some(Access::Entitled);
        is_entitled && present.get(module.as_str()).copied().unwrap_or(false) != wanted
    };
    let changed = map.iter().filter(|(module, wanted)| differs(module, **wanted));
    Ok(changed.map(|(module, wanted)| (module.clone(), *wanted)).collect())
}

/// Writes what changes for one tenant.
fn write(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    memory: &Memory,
    change: &TenantChange,
    events: &mut Vec<Event>,
) -> Result<()> {
    let TenantChange { tenant, before, after, grants } = change;
    tx.in_time_of(tenant)?;
    for (module, is_on) in grants {
        let key = EntitlementKey::from(module);
        let present = store::grants::find(tx.read(), tenant, &key)?;
        if *is_on {
            let new = NewGrant {
                state: NewState::Enabled,
                value: None,
                seats: present.as_ref().and_then(|grant| grant.seats),
                trial_expires_at: None,
                reason: REASON.into(),
                release: None,
            };
            let grant = grants::checked(catalog, tx.now(), tenant, &key, new, present.as_ref())?;
            events.extend(grants::write(tx, catalog, memory, present, &grant, None)?);
        } else if let Some(present) = present {
            events.push(grants::remove(tx, present, Some(REASON.into()))?);
        }
    }
    // Last: with dual write on, the grants have changed the map too.
    store::legacy::replace(tx, tenant, after)?;
    if before != after {
        events.push(Event {
            name: "legacy.imported",
            tenant: Some(tenant.clone()),
            subject: "enabled_modules".into(),
            before: shown(before)?,
            after: shown(after)?,
            reason: None,
        });
    }
    Ok(())
}

fn shown(map: &LegacyMap) -> Result<Value> {
    serde_json::to_value(map).map_err(Error::internal)
}
