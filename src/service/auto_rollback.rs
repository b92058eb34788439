//! Enforcement that gives way by itself, when it refuses too many tenants (SPEC 9).
//!
//! Invariants: it goes from `enforce` to `shadow` and never back; only what happened under the
//! present settings counts; whoever changes the settings meanwhile wins.

use super::{Service, actor::Actor};
use crate::{
    domain::{
        audit::Event,
        rollout::{AutoRollback, Rollout, RolloutFigures, RolloutMode},
    },
    error::{Error, Result},
    store::{self, WriteTx},
};

/// Who changes the settings then.
const SYSTEM: &str = "auto-rollback";

/// What came of a look at the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighed {
    /// Everything stays as it is.
    Stays,
    /// The mode is `shadow` now.
    GaveWay(RolloutFigures),
}

impl Service {
    /// Has enforcement give way where the present settings say so. The program calls it every
    /// second.
    pub async fn weigh_rollout(&self) -> Result<Weighed> {
        let world = self.world();
        let revision = world.rollout.revision;
        let settings = &world.rollout.settings;
        let bounds = match (settings.mode, settings.auto_rollback) {
            (RolloutMode::Enforce, Some(bounds)) => bounds,
            (RolloutMode::Enforce | RolloutMode::Shadow | RolloutMode::Off, _) => {
                return Ok(Weighed::Stays);
            }
        };
        self.evidence.gather();
        let now = self.clock.now();
        let figures = self.evidence.recent.lock().figures(revision, now, bounds.window_seconds);
        if !bounds.is_passed(figures) {
            return Ok(Weighed::Stays);
        }
        let actor = Actor::system(SYSTEM);
        let change = self.change(&actor, move |tx| give_way(tx, revision, bounds, figures));
        if !change.await? {
            return Ok(Weighed::Stays);
        }
        self.evidence.rollbacks.increment(1);
        let RolloutFigures { checks, tenants_checked, tenants_refused } = figures;
        tracing::warn!(
            checks,
            tenants_checked,
            tenants_refused,
            ratio = bounds.ratio,
            window_seconds = bounds.window_seconds,
            "enforcement refused too many tenants: the rollout is in shadow now"
        );
        Ok(Weighed::GaveWay(figures))
    }
}

/// Changes the mode and nothing else, unless somebody has changed the settings since.
fn give_way(
    tx: &WriteTx<'_>,
    revision: u64,
    bounds: AutoRollback,
    figures: RolloutFigures,
) -> Result<(bool, Vec<Event>)> {
    let before = store::rollout::get(tx.read())?;
    if before.revision != revision {
        return Ok((false, Vec::new()));
    }
    let after = Rollout { mode: RolloutMode::Shadow, ..before.settings.clone() };
    store::rollout::update(tx, &after, SYSTEM)?;
    let mut shown = serde_json::to_value(&after).map_err(Error::internal)?;
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("seen".into(), serde_json::to_value(figures).map_err(Error::internal)?);
    }
    let RolloutFigures { checks: _, tenants_checked, tenants_refused } = figures;
    let AutoRollback { ratio, window_seconds, .. } = bounds;
    let event = Event {
        name: "rollout.auto_rolled_back",
        tenant: None,
        subject: "rollout".into(),
        before: serde_json::to_value(&before.settings).map_err(Error::internal)?,
        after: shown,
        reason: Some(format!(
            "{tenants_refused} of {tenants_checked} tenants were refused within {window_seconds} \
             seconds: more than the ratio {ratio}"
        )),
    };
    Ok((true, vec![event]))
}
