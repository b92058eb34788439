//! Subscriptions: assigned, changed, ended, moved to the newest plan version. History is never
//! rewritten: an ended row stays as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service, actor::Actor, expect_revision, memory::Memory, new_id, once::Once, paging::Page,
    permissions::Permission, provisioning, questions::unknown, trials,
};
use crate::{
    domain::{
        audit::Event,
        catalog::{Audience, Catalog, Plan, PlanKind, value_to_json},
        keys::{PlanKey, TenantKey},
        plans::PlanContent,
        subscriptions::{PinnedPlan, Subscription, SubscriptionStatus as Status},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    store::{self, ReadTx, WriteTx, subscriptions as rows},
};

/// A plan to be assigned.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Which plan, in its newest version.
    pub plan: PlanKey,
    /// Where it starts; worked out from the plan if left out.
    pub status: Option<Status>,
    /// The end of a trial; worked out from the plan if left out.
    pub trial_expires_at: Option<Timestamp>,
    /// How many units.
    pub quantity: u32,
    /// Now if left out, else in the future.
    pub effective_from: Option<Timestamp>,
    /// Why.
    pub change_reason: String,
}

/// What is to change about a subscription; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionPatch {
    /// Another status.
    pub status: Option<Status>,
    /// Another end of the trial.
    pub trial_expires_at: Option<Timestamp>,
    /// Another quantity.
    pub quantity: Option<u32>,
    /// Ends at this instant, or no longer.
    pub effective_to: Option<Option<Timestamp>>,
    /// Why.
    pub change_reason: String,
}

/// A move to the newest plan version, done or previewed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Migration {
    /// The subscription afterwards.
    pub subscription: Subscription,
    /// The version it was pinned to.
    pub from_version: u32,
    /// The newest version.
    pub to_version: u32,
    /// What the plan gives differently.
    pub changes: Vec<PlanChange>,
}

/// One thing that two versions of a plan give differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanChange {
    /// `modules.zf`, `features.branches`, `permissions.CAN_X`, `rank`, `seats`.
    pub key: String,
    /// In the older version; null where it gives nothing.
    pub before: Value,
    /// In the newer version; null where it gives nothing.
    pub after: Value,
}

impl Service {
    /// The history of a tenant, newest first.
    pub async fn subscriptions(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<Subscription>> {
        actor.may_on(Permission::TenantsRead, &tenant)?;
        let items = self
            .store
            .read_long(move |tx| {
                store::tenants::get(tx, &tenant)?;
                rows::list(tx, &tenant, before.as_deref(), limit + 1)
            })
            .await?;
        Ok(Page::of(items, limit, |s| s.id.clone()))
    }

    /// One subscription.
    pub async fn subscription(
        &self,
        actor: &Actor,
        tenant: &TenantKey,
        id: &str,
    ) -> Result<Subscription> {
        actor.may_on(Permission::TenantsRead, tenant)?;
        self.store
            .read(|tx| {
                store::tenants::get(tx, tenant)?;
                rows::get(tx, tenant, id)
            })
            .await
    }

    /// Puts a tenant on a plan. A base plan ends the one before in the same transaction, and takes
    /// the place of whatever was scheduled from then on.
    pub async fn assign_plan(
        &self,
        actor: &Actor,
        once: Option<Once>,
        tenant: TenantKey,
        new: Assignment,
    ) -> Result<Subscription> {
        actor.may_on(Permission::SubscriptionsWrite, &tenant)?;
        let memory = self.memory.clone();
        self.change_once(actor, once, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            assign(tx, &memory, &tenant, &new)
        })
        .await
    }

    /// Changes a subscription that has not ended.
    pub async fn update_subscription(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        id: String,
        patch: SubscriptionPatch,
        expected: Option<u64>,
    ) -> Result<Subscription> {
        actor.may_on(Permission::SubscriptionsWrite, &tenant)?;
        let memory = self.memory.clone();
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let before = not_ended(tx.read(), &tenant, &id, tx.now())?;
            expect_revision(expected, before.revision)?;
            let mut after = patched(tx, &memory, &before, patch)?;
            after.revision += 1;
            after.updated_at = tx.now();
            rows::update(tx, &after)?;
            if after.status != before.status && after.effective_from <= tx.now() {
                trials::subscribed(tx, &after)?;
            }
            tx.touch_tenant(&tenant)?;
            let event = event("subscription.updated", Some(&before), Some(&after));
            Ok((after, vec![event]))
        })
        .await
    }

    /// Moves a subscription to the newest version of its plan.
    pub async fn migrate_subscription(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        id: String,
        change_reason: String,
        expected: Option<u64>,
    ) -> Result<Migration> {
        actor.may_on(Permission::SubscriptionsWrite, &tenant)?;
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let before = not_ended(tx.read(), &tenant, &id, tx.now())?;
            expect_revision(expected, before.revision)?;
            let mut migration = migrated(tx.read(), before.clone())?;
            if migration.subscription == before {
                return Ok((migration, Vec::new()));
            }
            let after = &mut migration.subscription;
            after.change_reason = change_reason;
            after.updated_at = tx.now();
            after.revision += 1;
            rows::update(tx, after)?;
            tx.touch_tenant(&tenant)?;
            let event = event("subscription.migrated", Some(&before), Some(after));
            Ok((migration, vec![event]))
        })
        .await
    }
}

/// Puts a tenant on a plan: what [`Service::assign_plan`] is, for whoever assigns in a change of its
/// own.
pub(super) fn assign(
    tx: &WriteTx<'_>,
    memory: &Memory,
    tenant: &TenantKey,
    new: &Assignment,
) -> Result<(Subscription, Vec<Event>)> {
    let subscription = opened(tx, memory, tenant, new)?;
    let mut events = Vec::new();
    if subscription.kind == PlanKind::Base {
        make_room(tx, &subscription, &mut events)?;
    }
    rows::insert(tx, &subscription)?;
    // A later start is for the worker.
    if subscription.effective_from <= tx.now() {
        trials::subscribed(tx, &subscription)?;
    }
    tx.touch_tenant(tenant)?;
    events.push(event("subscription.assigned", None, Some(&subscription)));
    Ok((subscription, events))
}

/// The plan for a tenant that `key` names.
pub(super) fn tenant_plan<'a>(catalog: &'a Catalog, key: &PlanKey) -> Result<&'a Plan> {
    let Some(plan) = catalog.plans.get(key) else {
        let fault =
            unknown("plan", "plan", key.as_str(), catalog.plans.keys().map(PlanKey::as_str));
        return Err(Error::Invalid { code: "UNKNOWN_KEY", faults: vec![fault] });
    };
    match plan.audience {
        Audience::Tenant => Ok(plan),
        Audience::User => {
            Err(Error::invalid("plan", format!("“{key}” is a plan for users, not for tenants")))
        }
    }
}

fn newest(tx: &ReadTx<'_>, plan: &PlanKey) -> Result<PinnedPlan> {
    let newest = store::catalogs::newest_plan(tx, plan)?;
    let newest = newest.ok_or_else(|| Error::internal(format!("plan {plan} has no version")))?;
    Ok(PinnedPlan { plan: newest.plan, version: newest.version })
}

/// The row that an assignment makes, all its faults at once.
fn opened(
    tx: &WriteTx<'_>,
    memory: &Memory,
    tenant: &TenantKey,
    new: &Assignment,
) -> Result<Subscription> {
    let catalog = provisioning::catalog(tx, memory)?;
    let plan = tenant_plan(&catalog, &new.plan)?;
    let now = tx.now();
    let from = new.effective_from.unwrap_or(now);
    let mut faults = Vec::new();
    if from < now {
        let message =
            format!("must not lie in the past, history is not rewritten; it is {now} now");
        faults.push(Fault::new("effective_from", message));
    }
    if new.quantity == 0 {
        faults.push(Fault::new("quantity", "must be at least 1"));
    }
    let tried = store::subscriptions::tried(tx.read(), tenant)?.contains(&new.plan);
    let status = match (new.status, new.trial_expires_at) {
        (Some(status), _) => status,
        (None, Some(_)) => Status::Trialing,
        (None, None) if plan.trial_days.is_some() && !tried => Status::Trialing,
        (None, None) => Status::Active,
    };
    let by_plan = plan.trial_days.map(|days| from.plus_days(days));
    let trial_expires_at = match (status, new.trial_expires_at.or(by_plan)) {
        (Status::Trialing, Some(end)) if end > from => Some(end),
        (Status::Trialing, Some(_)) => {
            faults.push(Fault::new("trial_expires_at", "must lie after the start"));
            None
        }
        (Status::Trialing, None) => {
            let message = format!("“{}” has no trial_days; say when the trial ends", new.plan);
            faults.push(Fault::new("trial_expires_at", message));
            None
        }
        (Status::Active | Status::Overdue | Status::Suspended | Status::Cancelled, _) => {
            if new.trial_expires_at.is_some() {
                let message = "only the status “trialing” has an end; leave it out";
                faults.push(Fault::new("trial_expires_at", message));
            }
            None
        }
    };
    if !faults.is_empty() {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    }
    let fallback = plan.trial_fallback.as_ref().filter(|_| status == Status::Trialing);
    Ok(Subscription {
        id: new_id("sub"),
        tenant: tenant.clone(),
        kind: plan.kind,
        plan: newest(tx.read(), &new.plan)?,
        status,
        effective_from: from,
        effective_to: None,
        trial_expires_at,
        trial_fallback: fallback.map(|plan| newest(tx.read(), plan)).transpose()?,
        overdue_since: (status == Status::Overdue).then_some(from),
        quantity: new.quantity,
        change_reason: new.change_reason.clone(),
        created_at: now,
        updated_at: now,
        revision: 1,
    })
}

/// Ends the base subscription that is in effect when `new` starts, and takes away those that were
/// scheduled for later: they never began.
fn make_room(tx: &WriteTx<'_>, new: &Subscription, events: &mut Vec<Event>) -> Result<()> {
    let start = new.effective_from;
    for before in rows::bases(tx.read(), &new.tenant, tx.now())? {
        let begun = before.effective_from <= tx.now();
        if !begun && before.effective_from >= start {
            rows::delete(tx, &before.tenant, &before.id)?;
            events.push(event("subscription.unscheduled", Some(&before), None));
        } else if before.effective_to.is_none_or(|end| end > start) {
            let mut after = before.clone();
            after.effective_to = Some(start);
            after.updated_at = tx.now();
            after.revision += 1;
            rows::update(tx, &after)?;
            events.push(event("subscription.closed", Some(&before), Some(&after)));
        }
    }
    Ok(())
}

fn not_ended(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    id: &str,
    now: Timestamp,
) -> Result<Subscription> {
    let found = rows::get(tx, tenant, id)?;
    match found.effective_to {
        Some(end) if end <= now => Err(Error::Conflict {
            code: "SUBSCRIPTION_CLOSED",
            detail: format!("This subscription ended at {end}; assign a plan instead."),
        }),
        Some(_) | None => Ok(found),
    }
}

/// The row after a patch, all its faults at once.
fn patched(
    tx: &WriteTx<'_>,
    memory: &Memory,
    before: &Subscription,
    patch: SubscriptionPatch,
) -> Result<Subscription> {
    let SubscriptionPatch { status, trial_expires_at, quantity, effective_to, change_reason } =
        patch;
    let mut after = before.clone();
    let mut faults = Vec::new();
    let nothing = status.is_none()
        && trial_expires_at.is_none()
        && quantity.is_none()
        && effective_to.is_none();
    if nothing {
        let message = "change at least one of status, trial_expires_at, quantity, effective_to";
        faults.push(Fault::new("", message));
    }
    after.change_reason = change_reason;
    after.quantity = quantity.unwrap_or(after.quantity);
    if after.quantity == 0 {
        faults.push(Fault::new("quantity", "must be at least 1"));
    }
    if let Some(status) = status {
        set_status(tx, memory, &mut after, status)?;
    }
    if let Some(end) = trial_expires_at {
        if after.status != Status::Trialing {
            let message = "only the status “trialing” has an end; leave it out";
            faults.push(Fault::new("trial_expires_at", message));
        } else if end <= tx.now().max(after.effective_from) {
            faults.push(Fault::new("trial_expires_at", "must lie in the future, after the start"));
        }
        after.trial_expires_at = Some(end);
    }
    if after.status == Status::Trialing && after.trial_expires_at.is_none() {
        faults.push(Fault::new("trial_expires_at", "say when the trial ends"));
    }
    if let Some(end) = effective_to {
        check_end(tx, before, end, &mut faults)?;
        after.effective_to = end;
    }
    if faults.is_empty() {
        Ok(after)
    } else {
        Err(Error::Invalid { code: "INVALID_VALUE", faults })
    }
}

fn set_status(
    tx: &WriteTx<'_>,
    memory: &Memory,
    after: &mut Subscription,
    status: Status,
) -> Result<()> {
    if status == after.status {
        return Ok(());
    }
    after.status = status;
    after.overdue_since = (status == Status::Overdue).then_some(tx.now());
    if status != Status::Trialing {
        after.trial_expires_at = None;
        after.trial_fallback = None;
        return Ok(());
    }
    let catalog = provisioning::catalog(tx, memory)?;
    if let Some(plan) = catalog.plans.get(&after.plan.plan) {
        let start = tx.now().max(after.effective_from);
        after.trial_expires_at = plan.trial_days.map(|days| start.plus_days(days));
        after.trial_fallback =
            plan.trial_fallback.as_ref().map(|plan| newest(tx.read(), plan)).transpose()?;
    }
    Ok(())
}

/// An end lies in the future, after the start, and not past the start of the next base plan.
fn check_end(
    tx: &WriteTx<'_>,
    before: &Subscription,
    end: Option<Timestamp>,
    faults: &mut Vec<Fault>,
) -> Result<()> {
    let mut fault = |message: String| faults.push(Fault::new("effective_to", message));
    if let Some(end) = end
        && (end < tx.now() || end < before.effective_from)
    {
        fault(format!("must not lie in the past or before the start; it is {} now", tx.now()));
    }
    if before.kind == PlanKind::AddOn {
        return Ok(());
    }
    let bases = rows::bases(tx.read(), &before.tenant, tx.now())?;
    let next = bases.iter().map(|s| s.effective_from).find(|from| *from > before.effective_from);
    if let Some(next) = next
        && end.is_none_or(|end| end > next)
    {
        fault(format!("another base plan is scheduled from {next} on; end this one by then"));
    }
    Ok(())
}

/// The subscription pinned to the newest version, and what that changes.
fn migrated(tx: &ReadTx<'_>, before: Subscription) -> Result<Migration> {
    let missing = || Error::internal("a pinned plan version is missing");
    let old = store::catalogs::find_plan(tx, &before.plan)?.ok_or_else(missing)?;
    let new = store::catalogs::newest_plan(tx, &before.plan.plan)?.ok_or_else(missing)?;
    let mut after = before.clone();
    after.plan.version = new.version;
    if let Some(fallback) = &before.trial_fallback {
        after.trial_fallback = Some(newest(tx, &fallback.plan)?);
    }
    Ok(Migration {
        from_version: before.plan.version,
        to_version: new.version,
        changes: changes(&old.content, &new.content),
        subscription: after,
    })
}

/// What two versions of a plan give differently, by key.
fn changes(old: &PlanContent, new: &PlanContent) -> Vec<PlanChange> {
    let (old, new) = (flat(old), flat(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |of: &BTreeMap<String, Value>, key| of.get(key).cloned().unwrap_or_default();
    keys.into_iter()
        .map(|key| PlanChange {
            key: key.clone(),
            before: value(&old, key),
            after: value(&new, key),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

fn flat(content: &PlanContent) -> BTreeMap<String, Value> {
    // Whether it is a base plan and for whom can't change while somebody is on it.
    let PlanContent { rank, kind: _, audience: _, stack, seats, modules, features, permissions } =
        content;
    let mut flat = BTreeMap::from([
        ("rank".to_owned(), json!(rank)),
        ("stack".to_owned(), json!(stack)),
        ("seats".to_owned(), json!(seats)),
    ]);
    flat.extend(modules.iter().map(|key| (format!("modules.{key}"), Value::Bool(true))));
    flat.extend(features.iter().map(|(key, v)| (format!("features.{key}"), value_to_json(v))));
    flat.extend(permissions.iter().map(|key| (format!("permissions.{key}"), Value::Bool(true))));
    flat
}

/// What happened to a subscription.
pub(super) fn event(
    name: &'static str,
    before: Option<&Subscription>,
    after: Option<&Subscription>,
) -> Event {
    let shown = after.or(before);
    Event {
        name,
        tenant: shown.map(|s| s.tenant.clone()),
        subject: shown.map(|s| s.id.clone()).unwrap_or_default(),
        before: before.map_or(Value::Null, facts),
        after: after.map_or(Value::Null, facts),
        reason: after.map(|s| s.change_reason.clone()),
    }
}

fn facts(subscription: &Subscription) -> Value {
    json!({
        "plan": subscription.plan.plan,
        "plan_version": subscription.plan.version,
        "status": subscription.status,
        "effective_from": subscription.effective_from,
        "effective_to": subscription.effective_to,
        "trial_expires_at": subscription.trial_expires_at,
        "trial_fallback": subscription.trial_fallback,
        "overdue_since": subscription.overdue_since,
        "quantity": subscription.quantity,
    })
}
