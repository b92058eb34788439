//! The rollout: read, and changed with effect at once.

use std::collections::BTreeSet;

use super::{
    Service,
    access::{AccessPage, AccessWanted, Basis, between_worlds},
    actor::Actor,
    expect_revision,
    permissions::Permission,
    provisioning, questions,
};
use crate::{
    domain::{
        audit::Event,
        keys::{ModuleKey, TenantKey},
        rollout::{AutoRollback, Rollout, RolloutMode, RolloutSource, StoredRollout},
    },
    engine::{Gating, World},
    error::{Error, Fault, Result},
    store::{self, WriteTx},
};

/// How many unknown modules are named at once: looking for what was meant takes time.
const UNKNOWN_NAMED: usize = 20;

/// Settings that somebody wants.
#[derive(Debug, Clone, Default)]
pub struct RolloutDraft {
    /// Whether refusals are to count.
    pub mode: Option<RolloutMode>,
    /// For how many of a hundred tenants.
    pub percent: Option<u64>,
    /// Tenants for which they always count.
    pub include: BTreeSet<TenantKey>,
    /// Tenants for which they never do.
    pub exclude: BTreeSet<TenantKey>,
    /// Modules whose refusals don't, each with its place in the list.
    pub unenforced_modules: Vec<(usize, ModuleKey)>,
    /// When it is to give way by itself.
    pub auto_rollback: Option<AutoRollback>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// The settings, and whether they are what decides.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutState {
    /// As they are kept.
    pub stored: StoredRollout,
    /// What decides.
    pub source: RolloutSource,
}

impl Service {
    /// The settings of the rollout.
    pub async fn rollout(&self, actor: &Actor) -> Result<RolloutState> {
        actor.reach(Permission::RolloutRead)?;
        let stored = self.store.read(store::rollout::get).await?;
        Ok(self.rollout_state(stored))
    }

    /// Replaces the settings. Whoever asks after the answer is judged by them.
    pub async fn set_rollout(
        &self,
        actor: &Actor,
        draft: RolloutDraft,
        expected: Option<u64>,
    ) -> Result<RolloutState> {
        actor.reach(Permission::RolloutWrite)?;
        let (by, memory) = (actor.principal.id.clone(), self.memory.clone());
        let stored = self
            .change(actor, move |tx| {
                let world = provisioning::world(tx, &memory)?;
                let settings = judged(&world, draft, expected)?;
                replace(tx, world.rollout.clone(), settings, &by)
            })
            .await?;
        Ok(self.rollout_state(stored))
    }

    /// A page of what other settings would change of anybody's access. Changes nothing, and leaves
    /// the writer alone.
    pub async fn preview_rollout(
        &self,
        actor: &Actor,
        draft: RolloutDraft,
        expected: Option<u64>,
        wanted: AccessWanted,
    ) -> Result<AccessPage> {
        actor.reach(Permission::RolloutWrite)?;
        let (now, memory) = (self.clock.now(), self.memory.clone());
        self.store
            .read_long(move |tx| {
                let before = provisioning::world_in(tx, &memory)?;
                let settings = judged(&before, draft, expected)?;
                let basis = basis(&before, &settings)?;
                wanted.expect(&basis)?;
                if settings == before.rollout.settings {
                    return Ok(AccessPage::default());
                }
                let stored = StoredRollout { settings, ..before.rollout.clone() };
                let after = World::clone(&before).with_rollout(stored);
                between_worlds(tx, &memory.shelf, [&*before, &after], now, &wanted, basis)
            })
            .await
    }

    fn rollout_state(&self, stored: StoredRollout) -> RolloutState {
        let source = match self.world().gating {
            Gating::OffByEnvironment => RolloutSource::Environment,
            Gating::BySettings => RolloutSource::Settings,
        };
        RolloutState { stored, source }
    }
}

/// The settings, and what they would take the place of.
fn basis(before: &World, settings: &Rollout) -> Result<Basis> {
    let settings = serde_json::to_vec(settings).map_err(Error::internal)?;
    let revision = before.rollout.revision.to_be_bytes();
    let catalog = before.catalog_version.to_be_bytes();
    Ok(Basis::of(&[b"rollout", &settings, &revision, &catalog]))
}

/// The settings that a draft describes, made for those that are there.
fn judged(world: &World, draft: RolloutDraft, expected: Option<u64>) -> Result<Rollout> {
    expect_revision(expected, world.rollout.revision)?;
    checked(world, draft)
}

/// Writes settings that differ from those before.
fn replace(
    tx: &WriteTx<'_>,
    before: StoredRollout,
    settings: Rollout,
    by: &str,
) -> Result<(StoredRollout, Vec<Event>)> {
    if settings == before.settings {
        return Ok((before, Vec::new()));
    }
    store::rollout::update(tx, &settings, by)?;
    let shown = |it: &Rollout| serde_json::to_value(it).map_err(Error::internal);
    let event = Event {
        name: "rollout.changed",
        tenant: None,
        subject: "rollout".into(),
        before: shown(&before.settings)?,
        after: shown(&settings)?,
        reason: None,
    };
    Ok((store::rollout::get(tx.read())?, vec![event]))
}

/// The settings that a draft describes, or all its faults.
fn checked(world: &World, draft: RolloutDraft) -> Result<Rollout> {
    let RolloutDraft {
        mode,
        percent,
        include,
        exclude,
        unenforced_modules,
        auto_rollback,
        mut faults,
    } = draft;
    let known = &world.catalog.modules;
    let unknown: Vec<_> = unenforced_modules
        .iter()
        .filter(|(_, key)| !known.contains_key(key))
        .take(UNKNOWN_NAMED)
        .map(|(index, key)| {
            let field = format!("unenforced_modules[{index}]");
            let known = known.keys().map(ModuleKey::as_str);
            questions::unknown(&field, "module", key.as_str(), known)
        })
        .collect();
    let settings = Rollout {
        // Where one of them is missing, that is among the faults.
        mode: mode.unwrap_or(RolloutMode::Shadow),
        percent: percent.unwrap_or_default(),
        include,
        exclude,
        unenforced_modules: unenforced_modules.into_iter().map(|(_, key)| key).collect(),
        auto_rollback,
    };
    faults.extend(settings.faults());
    let code = if faults.is_empty() { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
    faults.extend(unknown);
    if faults.is_empty() { Ok(settings) } else { Err(Error::Invalid { code, faults }) }
}
