//! The maps `enabled_modules` of an older application: kept beside the grants while both are read.
//!
//! Invariants: with dual write on, a change of a tenant's module grants and that of its map are one
//! transaction; a map decides nothing.

pub mod import;
pub mod report;
pub mod table;

use super::{
    Service, actor::Actor, expect_revision, permissions::Permission, provisioning, questions,
};
use crate::{
    domain::{
        audit::Event,
        catalog::{Access, Catalog},
        grants::{Grant, GrantState},
        keys::{EntitlementKey, ModuleKey, TenantKey},
        legacy::{DualWrite, LegacySettings, StoredLegacy},
    },
    error::{Error, Fault, Result},
    store::{self, WriteTx},
};

/// How many unknown keys are looked up for what was meant: that takes time.
const LOOKED_UP: usize = 20;

impl Service {
    /// How the maps are kept.
    pub async fn legacy_settings(&self, actor: &Actor) -> Result<StoredLegacy> {
        actor.reach(Permission::LegacyRead)?;
        self.store.read(store::legacy::settings).await
    }

    /// Says how the maps are kept from now on.
    pub async fn set_legacy_settings(
        &self,
        actor: &Actor,
        settings: LegacySettings,
        expected: Option<u64>,
    ) -> Result<StoredLegacy> {
        actor.reach(Permission::LegacyWrite)?;
        let (by, memory) = (actor.principal.id.clone(), self.memory.clone());
        self.change(actor, move |tx| {
            let before = store::legacy::settings(tx.read())?;
            expect_revision(expected, before.revision)?;
            check(&settings, &provisioning::world(tx, &memory)?.catalog)?;
            if settings == before.settings {
                return Ok((before, Vec::new()));
            }
            store::legacy::update_settings(tx, &settings, &by)?;
            let event = Event {
                name: "legacy.changed",
                tenant: None,
                subject: "legacy".into(),
                before: facts(&before.settings),
                after: facts(&settings),
                reason: None,
            };
            Ok((store::legacy::settings(tx.read())?, vec![event]))
        })
        .await
    }
}

fn facts(settings: &LegacySettings) -> serde_json::Value {
    let LegacySettings { dual_write, names } = settings;
    serde_json::json!({"dual_write": *dual_write == DualWrite::On, "names": names})
}

fn check(settings: &LegacySettings, catalog: &Catalog) -> Result<()> {
    let mut faults = settings.faults(catalog);
    let code = if faults.is_empty() { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
    let unknown = settings.names.iter().filter(|(_, key)| !catalog.modules.contains_key(*key));
    faults.extend(unknown.take(LOOKED_UP).map(|(name, key)| {
        let known = catalog.modules.keys().map(ModuleKey::as_str);
        questions::unknown(&format!("names.{name}"), "module", key.as_str(), known)
    }));
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code, faults }) }
}

fn is_kept(tx: &WriteTx<'_>) -> Result<bool> {
    Ok(store::legacy::is_kept(tx.read())? == DualWrite::On)
}

/// A grant was written: with dual write on, the map of its tenant says the same.
pub(super) fn follow(tx: &WriteTx<'_>, catalog: &Catalog, grant: &Grant) -> Result<()> {
    // Grants on features are nothing that the old application knows.
    if !catalog.modules.contains_key(grant.key.as_str()) || !is_kept(tx)? {
        return Ok(());
    }
    let is_on = match grant.state {
        GrantState::Enabled => true,
        GrantState::Disabled => false,
        GrantState::Trial(end) => end > tx.now(),
    };
    if is_on {
        store::legacy::switch_on(tx, &grant.tenant, &grant.key)
    } else {
        store::legacy::switch_off(tx, &grant.tenant, &grant.key)
    }
}

/// A grant is gone, or its trial is over.
pub(super) fn follow_end(tx: &WriteTx<'_>, grant: &Grant) -> Result<()> {
    if is_kept(tx)? {
        store::legacy::switch_off(tx, &grant.tenant, &grant.key)?;
    }
    Ok(())
}

/// A tenant's modules were selected: its map says the same as its grants, about all of them.
pub(super) fn follow_selection(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    tenant: &TenantKey,
) -> Result<()> {
    if !is_kept(tx)? {
        return Ok(());
    }
    let granted = store::legacy::granted(tx.read(), tenant, tx.now())?;
    let map = store::legacy::map(tx.read(), tenant)?;
    let needs_grant = |module: &&ModuleKey| {
        catalog.modules.get(*module).is_some_and(|module| module.access == Access::Entitled)
    };
    for module in catalog.modules.keys().filter(needs_grant) {
        let key = EntitlementKey::from(module);
        match (map.get(module), granted.get(module.as_str())) {
            (Some(false) | None, Some(true)) => store::legacy::switch_on(tx, tenant, &key)?,
            (Some(true), Some(false) | None) => store::legacy::switch_off(tx, tenant, &key)?,
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    Ok(())
}

/// A tenant that isn't there, with those that were probably meant.
fn unknown_tenant(field: &str, given: &str, known: &[TenantKey]) -> Fault {
    let near = crate::domain::keys::nearest(given, known.iter().map(TenantKey::as_str));
    let quoted: Vec<_> = near.iter().map(|key| format!("“{key}”")).collect();
    let hint = if quoted.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", quoted.join(" or "))
    };
    Fault::new(field, format!("there is no tenant “{given}”{hint}"))
}
