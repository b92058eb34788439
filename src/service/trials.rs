//! When a trial begins, and when it becomes the real thing. Each is written in the change that makes
//! it so, and counted once that is committed.

use metrics::{Counter, counter};

use crate::{
    domain::{
        catalog::{FeatureValue, PlanKind},
        grants::{Grant, GrantState},
        keys::TenantKey,
        plans::PlanContent,
        subscriptions::{Subscription, SubscriptionStatus as Status},
        trials::{TrialKind, TrialStep, gives_all},
    },
    error::{Error, Result},
    store::{self, WriteTx},
};

/// The series of trials; they are there from the start.
pub(super) struct TrialMetrics {
    started: [Counter; 2],
    converted: [Counter; 2],
}

impl TrialMetrics {
    pub fn new() -> Self {
        Self {
            started: ["grant", "subscription"]
                .map(|kind| counter!("entitlement_trials_started_total", "kind" => kind)),
            converted: ["grant", "subscription"]
                .map(|kind| counter!("entitlement_trials_converted_total", "kind" => kind)),
        }
    }

    /// What was committed.
    pub fn count(&self, trials: &[(TrialKind, TrialStep)]) {
        for (kind, step) in trials {
            let [of_grants, of_subscriptions] = match step {
                TrialStep::Started => &self.started,
                TrialStep::Converted => &self.converted,
                // The audit trail and the report have these.
                TrialStep::Expired => continue,
            };
            match kind {
                TrialKind::Grant => of_grants.increment(1),
                TrialKind::Subscription => of_subscriptions.increment(1),
            }
        }
    }
}

/// A grant was written in place of another, or of none.
pub(super) fn granted(tx: &WriteTx<'_>, before: Option<&Grant>, after: &Grant) -> Result<()> {
    let was_trial = before.is_some_and(|before| matches!(before.state, GrantState::Trial(_)));
    let (tenant, key) = (&after.tenant, after.key.as_str());
    match after.state {
        // Another end is no other trial.
        GrantState::Trial(_) if was_trial => Ok(()),
        GrantState::Trial(_) => store::trials::start(tx, tenant, TrialKind::Grant, key),
        GrantState::Enabled => store::trials::convert(tx, tenant, TrialKind::Grant, key),
        GrantState::Disabled => Ok(()),
    }
}

/// A subscription took effect, or its status changed while it is in effect.
pub(super) fn subscribed(tx: &WriteTx<'_>, now_is: &Subscription) -> Result<()> {
    let plan = now_is.plan.plan.as_str();
    match now_is.status {
        Status::Trialing => store::trials::start(tx, &now_is.tenant, TrialKind::Subscription, plan),
        Status::Active => paid(tx, now_is),
        Status::Overdue | Status::Suspended | Status::Cancelled => Ok(()),
    }
}

/// What a tenant had on trial and its active plan gives is the real thing now.
fn paid(tx: &WriteTx<'_>, active: &Subscription) -> Result<()> {
    let open = store::trials::open(tx.read(), &active.tenant)?;
    if open.is_empty() {
        return Ok(());
    }
    let found = store::catalogs::find_plan(tx.read(), &active.plan)?;
    let content = found.ok_or_else(|| Error::internal("a pinned plan version is missing"))?.content;
    for (kind, key) in open {
        let has = match kind {
            TrialKind::Grant => gives(&content, &key),
            TrialKind::Subscription if active.plan.plan.as_str() == key => true,
            // An add-on comes beside a plan, and not in its place.
            TrialKind::Subscription => {
                active.kind == PlanKind::Base && replaces(tx, &content, &active.tenant, &key)?
            }
        };
        if has {
            store::trials::convert(tx, &active.tenant, kind, &key)?;
        }
    }
    Ok(())
}

/// Whether a plan gives a module or feature.
fn gives(content: &PlanContent, key: &str) -> bool {
    content.modules.contains(key) || content.features.get(key).is_some_and(FeatureValue::is_on)
}

/// Whether a plan gives everything that another one gave on trial.
fn replaces(
    tx: &WriteTx<'_>,
    content: &PlanContent,
    tenant: &TenantKey,
    trial: &str,
) -> Result<bool> {
    let Ok(trial) = trial.parse() else {
        return Err(Error::internal(format!("a trial of {tenant} names no plan")));
    };
    let trial = store::catalogs::newest_plan(tx.read(), &trial)?;
    Ok(trial.is_some_and(|trial| gives_all(content, &trial.content)))
}
