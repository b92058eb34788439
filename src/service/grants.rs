//! Grants, one by one and as a tenant's selection of modules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Expected, Service,
    actor::Actor,
    expect_revision, legacy,
    memory::Memory,
    permissions::Permission,
    provisioning,
    questions::unknown,
    seats::{self, Release},
    trials,
    values::{Direction, fitting},
};
use crate::{
    domain::{
        audit::Event,
        catalog::{Access, Catalog, value_to_json},
        grants::{Grant, GrantState},
        keys::{BundleKey, EntitlementKey, ModuleKey, TenantKey},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    store::{self, WriteTx},
};

/// What a grant is to say.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Given, withheld or on trial.
    pub state: NewState,
    /// The value of a limit or config feature.
    pub value: Option<Value>,
    /// How many named users may use it.
    pub seats: Option<u64>,
    /// The end of a trial.
    pub trial_expires_at: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// What becomes of seats in use that it has no room for; refused where unset.
    pub release: Option<Release>,
}

/// The state of a grant without its instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum NewState {
    Enabled,
    Disabled,
    Trial,
}

/// A tenant's selection of modules: all its module grants at once.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Modules one by one; they win over bundles.
    pub modules: BTreeMap<ModuleKey, SelectedModule>,
    /// Bundles whose modules are all given.
    pub bundles: BTreeSet<BundleKey>,
    /// Why.
    pub reason: String,
}

/// One module of a selection.
#[derive(Debug, Clone)]
pub struct SelectedModule {
    /// Given, withheld or on trial.
    pub state: NewState,
    /// The end of a trial.
    pub trial_expires_at: Option<Timestamp>,
    /// How many named users may use it.
    pub seats: Option<u64>,
    /// What becomes of seats in use that it has no room for; refused where unset.
    pub release: Option<Release>,
}

impl Service {
    /// Every grant of a tenant, by key; there are at most as many as the catalog has keys.
    pub async fn grants(&self, actor: &Actor, tenant: &TenantKey) -> Result<Vec<Grant>> {
        actor.may_on(Permission::TenantsRead, tenant)?;
        self.store
            .read(|tx| {
                store::tenants::get(tx, tenant)?;
                Ok(store::grants::all(tx, tenant)?)
            })
            .await
    }

    /// Makes or replaces the grant on one key; whether it is new.
    pub async fn set_grant(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        key: EntitlementKey,
        new: NewGrant,
        expected: Expected,
    ) -> Result<(Grant, bool)> {
        actor.may_on(Permission::GrantsWrite, &tenant)?;
        let (memory, release) = (self.memory.clone(), new.release);
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let catalog = provisioning::catalog(tx, &memory)?;
            let before = store::grants::find(tx.read(), &tenant, &key)?;
            expected.check(before.as_ref().map(|grant| grant.revision))?;
            let grant = checked(&catalog, tx.now(), &tenant, &key, new, before.as_ref())?;
            let is_new = before.is_none();
            let events = write(tx, &catalog, &memory, before.clone(), &grant, release)?;
            // Where nothing was written, what is there stays, its revision too.
            let grant = before.filter(|_| events.is_empty()).unwrap_or(grant);
            Ok(((grant, is_new), events))
        })
        .await
    }

    /// Removes the grant on one key.
    pub async fn remove_grant(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        key: EntitlementKey,
        expected: Option<u64>,
    ) -> Result<()> {
        actor.may_on(Permission::GrantsWrite, &tenant)?;
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let Some(before) = store::grants::find(tx.read(), &tenant, &key)? else {
                return Err(Error::NotFound { kind: "grant", key: key.to_string() });
            };
            expect_revision(expected, before.revision)?;
            Ok(((), vec![remove(tx, before, None)?]))
        })
        .await
    }

    /// Replaces all module grants of a tenant in one transaction. Modules that are named neither by
    /// themselves nor in a bundle lose their grant; grants on features stay.
    pub async fn select_modules(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        selection: Selection,
    ) -> Result<Vec<Grant>> {
        actor.may_on(Permission::ModulesWrite, &tenant)?;
        let memory = self.memory.clone();
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let catalog = provisioning::catalog(tx, &memory)?;
            let reason = selection.reason.clone();
            let wanted = wanted(&catalog, tx.now(), &tenant, selection)?;
            let mut events = Vec::new();
            for grant in store::grants::all(tx.read(), &tenant)? {
                let is_module = catalog.modules.contains_key(grant.key.as_str());
                if is_module && !wanted.iter().any(|(wanted, _)| wanted.key == grant.key) {
                    events.push(remove(tx, grant, Some(reason.clone()))?);
                }
            }
            for (grant, release) in &wanted {
                let before = store::grants::find(tx.read(), &tenant, &grant.key)?;
                events.extend(write(tx, &catalog, &memory, before, grant, *release)?);
            }
            legacy::follow_selection(tx, &catalog, &tenant)?;
            // Read back: an unchanged grant keeps its revision.
            let grants = store::grants::all(tx.read(), &tenant)?;
            Ok((grants, events))
        })
        .await
        .inspect(|_| self.metrics.module_selections.increment(u64::from(self.is_for_real())))
    }
}

/// The grants that a selection asks for, checked, all faults at once.
fn wanted(
    catalog: &Catalog,
    now: Timestamp,
    tenant: &TenantKey,
    selection: Selection,
) -> Result<Vec<(Grant, Option<Release>)>> {
    let Selection { modules, bundles, reason } = selection;
    let mut faults = Vec::new();
    let mut chosen: BTreeMap<EntitlementKey, (String, NewGrant)> = BTreeMap::new();
    let grant = |module: SelectedModule| NewGrant {
        state: module.state,
        value: None,
        seats: module.seats,
        trial_expires_at: module.trial_expires_at,
        reason: reason.clone(),
        release: module.release,
    };
    for (index, key) in bundles.iter().enumerate() {
        let Some(bundle) = catalog.bundles.get(key) else {
            let known = catalog.bundles.keys().map(BundleKey::as_str);
            faults.push(unknown(&format!("bundles[{index}]"), "bundle", key.as_str(), known));
            continue;
        };
        for module in &bundle.modules {
            let given = SelectedModule {
                state: NewState::Enabled,
                trial_expires_at: None,
                seats: None,
                release: None,
            };
            // A bundle may hold modules that need no grant; there it has nothing to give.
            let needs_grant =
                catalog.modules.get(module).is_some_and(|m| m.access == Access::Entitled);
            if needs_grant {
                chosen.insert(module.into(), (format!("bundles[{index}]"), grant(given)));
            }
        }
    }
    for (key, module) in modules {
        if catalog.modules.contains_key(&key) {
            chosen.insert((&key).into(), (format!("modules.{key}"), grant(module)));
        } else {
            let known = catalog.modules.keys().map(ModuleKey::as_str);
            faults.push(unknown(&format!("modules.{key}"), "module", key.as_str(), known));
        }
    }
    let unknown_only = !faults.is_empty();
    let mut grants = Vec::new();
    for (key, (place, new)) in chosen {
        let release = new.release;
        match checked(catalog, now, tenant, &key, new, None) {
            Ok(grant) => grants.push((grant, release)),
            Err(Error::Invalid { faults: wrong, .. }) => {
                let placed = |f: Fault| Fault::new(format!("{place}.{}", f.field), f.message);
                faults.extend(wrong.into_iter().map(placed));
            }
            Err(other) => return Err(other),
        }
    }
    if faults.is_empty() {
        return Ok(grants);
    }
    let code = if unknown_only { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
    Err(Error::Invalid { code, faults })
}

/// A grant that fits its module or feature.
pub(super) fn checked(
    catalog: &Catalog,
    now: Timestamp,
    tenant: &TenantKey,
    key: &EntitlementKey,
    new: NewGrant,
    before: Option<&Grant>,
) -> Result<Grant> {
    let direction = match new.state {
        NewState::Enabled | NewState::Trial => Direction::Given,
        NewState::Disabled => Direction::Withheld,
    };
    let mut faults = Vec::new();
    let value = fitting(catalog, key.as_str(), direction, new.value.as_ref(), &mut faults);
    if catalog.target(key.as_str()).is_none() {
        return Err(Error::Invalid { code: "UNKNOWN_KEY", faults });
    }
    let state = match (new.state, new.trial_expires_at) {
        (NewState::Trial, Some(end)) if end > now => GrantState::Trial(end),
        (NewState::Trial, Some(end)) => {
            faults.push(Fault::new("trial_expires_at", "must lie in the future"));
            GrantState::Trial(end)
        }
        (NewState::Trial, None) => {
            faults.push(Fault::new("trial_expires_at", "a trial needs its end"));
            GrantState::Disabled
        }
        (NewState::Enabled | NewState::Disabled, Some(_)) => {
            let message = "only the state “trial” has an end; leave it out";
            faults.push(Fault::new("trial_expires_at", message));
            GrantState::Disabled
        }
        (NewState::Enabled, None) => GrantState::Enabled,
        (NewState::Disabled, None) => GrantState::Disabled,
    };
    if new.state == NewState::Disabled && new.seats.is_some() {
        faults.push(Fault::new("seats", "a withheld module has no seats; leave it out"));
    }
    if new.seats.is_some_and(|seats| i64::try_from(seats).is_err()) {
        faults.push(Fault::new("seats", "must be at most 9223372036854775807"));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    }
    Ok(Grant {
        tenant: tenant.clone(),
        key: key.clone(),
        state,
        value,
        seats: new.seats,
        reason: new.reason,
        created_at: before.map_or(now, |g| g.created_at),
        updated_at: now,
        revision: before.map_or(1, |g| g.revision + 1),
    })
}

/// Writes a grant unless it says what is there already; the events that go with it.
pub(super) fn write(
    tx: &WriteTx<'_>,
    catalog: &Catalog,
    memory: &Memory,
    before: Option<Grant>,
    grant: &Grant,
    release: Option<Release>,
) -> Result<Vec<Event>> {
    let same = |b: &Grant| {
        (&b.state, &b.value, b.seats, &b.reason)
            == (&grant.state, &grant.value, grant.seats, &grant.reason)
    };
    if before.as_ref().is_some_and(same) {
        return Ok(Vec::new());
    }
    let mut grant = grant.clone();
    if let Some(before) = &before {
        (grant.created_at, grant.revision) = (before.created_at, before.revision + 1);
    }
    store::grants::upsert(tx, &grant)?;
    trials::granted(tx, before.as_ref(), &grant)?;
    legacy::follow(tx, catalog, &grant)?;
    tx.touch_tenant(&grant.tenant)?;
    let mut events = vec![Event {
        name: if before.is_some() { "grant.updated" } else { "grant.created" },
        tenant: Some(grant.tenant.clone()),
        subject: grant.key.to_string(),
        before: before.as_ref().map_or(Value::Null, facts),
        after: facts(&grant),
        reason: Some(grant.reason.clone()),
    }];
    match grant.state {
        GrantState::Enabled | GrantState::Trial(_) => {
            seats::fit(tx, memory, before.as_ref(), &grant, release, &mut events)?;
        }
        // As where a plan is changed: the seats stay allocated, and give nothing.
        GrantState::Disabled => {}
    }
    Ok(events)
}

pub(super) fn remove(tx: &WriteTx<'_>, before: Grant, reason: Option<String>) -> Result<Event> {
    store::grants::delete(tx, &before.tenant, &before.key)?;
    legacy::follow_end(tx, &before)?;
    tx.touch_tenant(&before.tenant)?;
    Ok(Event {
        name: "grant.removed",
        subject: before.key.to_string(),
        before: facts(&before),
        after: Value::Null,
        tenant: Some(before.tenant),
        reason,
    })
}

/// The trial of a grant has ended; the grant stays as it is.
pub(super) fn trial_expired(grant: &Grant) -> Event {
    Event {
        name: "grant.trial_expired",
        tenant: Some(grant.tenant.clone()),
        subject: grant.key.to_string(),
        before: facts(grant),
        after: facts(grant),
        reason: Some(grant.reason.clone()),
    }
}

fn facts(grant: &Grant) -> Value {
    let (state, trial_expires_at) = match grant.state {
        GrantState::Enabled => ("enabled", None),
        GrantState::Disabled => ("disabled", None),
        GrantState::Trial(end) => ("trial", Some(end)),
    };
    json!({
        "state": state,
        "value": grant.value.as_ref().map(value_to_json),
        "seats": grant.seats,
        "trial_expires_at": trial_expires_at,
    })
}
