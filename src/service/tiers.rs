//! Tiers: a user's place on a plan for users, in one tenant or outside of all. There is one at a
//! time for each; history is never rewritten, an ended row stays as it is.

use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    memory::Memory,
    new_id,
    permissions::{Permission, Reach},
    provisioning,
    questions::unknown,
};
use crate::{
    domain::{
        audit::Event,
        catalog::{Audience, Catalog, PlanKind},
        keys::{PlanKey, TenantKey, UserKey},
        people::Tier,
        subscriptions::PinnedPlan,
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    store::{self, WriteTx, due::Due},
};

/// Whose tier is meant.
#[derive(Debug, Clone)]
pub struct TierHolder {
    /// In this tenant; none for the tier that counts where no tenant says otherwise.
    pub tenant: Option<TenantKey>,
    /// Who.
    pub user: UserKey,
}

/// What a tier is to be. A field that could not be read stands among the faults, so that all of
/// them are answered at once.
#[derive(Debug, Clone, Default)]
pub struct TierDraft {
    /// Which plan, in its newest version.
    pub plan: Option<PlanKey>,
    /// It gives nothing from here on; open where unset.
    pub expires_at: Option<Timestamp>,
    /// Why.
    pub change_reason: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Service {
    /// The tier that a user has now.
    pub async fn tier(&self, actor: &Actor, holder: &TierHolder) -> Result<Tier> {
        may(actor, Permission::TiersRead, holder)?;
        let now = self.now_for(holder.tenant.as_ref()).await;
        self.store
            .read(|tx| {
                let TierHolder { tenant, user } = holder;
                tenant.iter().try_for_each(|tenant| store::tenants::get(tx, tenant).map(drop))?;
                let open = store::tiers::find_open(tx, tenant.as_ref(), user)?;
                open.filter(|tier| is_in_effect(tier, now)).ok_or_else(|| missing(user))
            })
            .await
    }

    /// Puts a user on a plan for users; whether there was no tier before. The former one ends in the
    /// same transaction.
    pub async fn set_tier(
        &self,
        actor: &Actor,
        holder: TierHolder,
        draft: TierDraft,
    ) -> Result<(Tier, bool)> {
        may(actor, Permission::TiersWrite, &holder)?;
        let (memory, by) = (self.memory.clone(), actor.principal.id.clone());
        self.change(actor, move |tx| set(tx, &memory, holder, draft, by)).await
    }

    /// Takes a user's tier away.
    pub async fn remove_tier(&self, actor: &Actor, holder: TierHolder) -> Result<()> {
        may(actor, Permission::TiersWrite, &holder)?;
        self.change(actor, move |tx| {
            let mut events = Vec::new();
            let Some(before) = open_now(tx, &holder, &mut events)? else {
                return Err(missing(&holder.user));
            };
            store::tiers::close(tx, &before, tx.now())?;
            tx.touch_user(holder.tenant.as_ref(), &holder.user)?;
            events.push(event("tier.removed", Some(&before), None));
            Ok(((), events))
        })
        .await
    }
}

/// What holds outside of all tenants is beyond who is bound to one.
fn may(actor: &Actor, permission: Permission, holder: &TierHolder) -> Result<()> {
    let Some(tenant) = &holder.tenant else {
        return match (actor.reach(permission)?, &actor.principal.tenant) {
            (Reach::All, None) => Ok(()),
            (Reach::All | Reach::Own | Reach::Oneself | Reach::None, _) => {
                let message = "A caller that is bound to a tenant sees and sets only tiers in it.";
                Err(Error::Forbidden(message.into()))
            }
        };
    };
    actor.may_on(permission, tenant).map(drop)
}

fn missing(user: &UserKey) -> Error {
    Error::NotFound { kind: "tier of the user", key: user.to_string() }
}

fn is_in_effect(tier: &Tier, now: Timestamp) -> bool {
    tier.effective_to.is_none_or(|end| now < end)
}

fn set(
    tx: &WriteTx<'_>,
    memory: &Memory,
    holder: TierHolder,
    draft: TierDraft,
    by: String,
) -> Result<((Tier, bool), Vec<Event>)> {
    let mut events = Vec::new();
    let before = open_now(tx, &holder, &mut events)?;
    let TierHolder { tenant, user } = holder;
    let (plan, effective_to, change_reason) = checked(tx, memory, draft)?;
    if let Some(same) = &before
        && (&same.plan, same.effective_to) == (&plan, effective_to)
    {
        return Ok(((same.clone(), false), events));
    }
    if let Some(before) = &before {
        store::tiers::close(tx, before, tx.now())?;
    }
    let tier = Tier {
        id: new_id("tier"),
        tenant,
        user,
        plan,
        effective_from: tx.now(),
        effective_to,
        change_reason,
        created_at: tx.now(),
        created_by: by,
    };
    store::tiers::insert(tx, &tier)?;
    tx.touch_user(tier.tenant.as_ref(), &tier.user)?;
    events.push(event("tier.assigned", before.as_ref(), Some(&tier)));
    Ok(((tier, before.is_none()), events))
}

/// The tier that is open now, in a tenant that exists. One that has ended by itself is recorded as
/// such.
fn open_now(
    tx: &WriteTx<'_>,
    holder: &TierHolder,
    events: &mut Vec<Event>,
) -> Result<Option<Tier>> {
    let TierHolder { tenant, user } = holder;
    tenant.iter().try_for_each(|tenant| {
        store::tenants::get(tx.read(), tenant)?;
        tx.in_time_of(tenant)
    })?;
    let Some(open) = store::tiers::find_open(tx.read(), tenant.as_ref(), user)? else {
        return Ok(None);
    };
    match open.effective_to {
        Some(end) if end <= tx.now() => {
            store::tiers::close(tx, &open, end)?;
            tx.touch_user(tenant.as_ref(), user)?;
            events.push(event("tier.expired", Some(&open), None));
            Ok(None)
        }
        Some(_) | None => Ok(Some(open)),
    }
}

/// The plan, the end and the reason of a draft, or all its faults.
fn checked(
    tx: &WriteTx<'_>,
    memory: &Memory,
    draft: TierDraft,
) -> Result<(PinnedPlan, Option<Timestamp>, String)> {
    let TierDraft { plan, expires_at, change_reason, mut faults } = draft;
    let (now, catalog) = (tx.now(), provisioning::catalog(tx, memory)?);
    let is_unknown = plan.as_ref().is_some_and(|plan| !catalog.plans.contains_key(plan));
    faults.extend(plan.as_ref().and_then(|plan| unfit(&catalog, plan)));
    if expires_at.is_some_and(|end| end <= now) {
        let message = format!("must lie in the future; it is {now} now");
        faults.push(Fault::new("expires_at", message));
    }
    let Some(plan) = plan.filter(|_| faults.is_empty()) else {
        // Only where nothing else is wrong does the unknown key name the problem.
        let code = if is_unknown && faults.len() == 1 { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
        return Err(Error::Invalid { code, faults });
    };
    let newest = store::catalogs::newest_plan(tx.read(), &plan)?;
    let newest = newest.ok_or_else(|| Error::internal(format!("plan {plan} has no version")))?;
    let pinned = PinnedPlan { plan: newest.plan, version: newest.version };
    Ok((pinned, expires_at, change_reason.unwrap_or_default()))
}

/// Why a plan can't be a tier.
fn unfit(catalog: &Catalog, key: &PlanKey) -> Option<Fault> {
    let Some(plan) = catalog.plans.get(key) else {
        let tiers = catalog.plans.iter().filter(|(_, plan)| plan.audience == Audience::User);
        return Some(unknown("plan", "plan", key.as_str(), tiers.map(|(key, _)| key.as_str())));
    };
    match (plan.audience, plan.kind) {
        (Audience::User, PlanKind::Base) => None,
        (Audience::User, PlanKind::AddOn) => {
            Some(Fault::new("plan", format!("“{key}” is an add-on; name a base plan for users")))
        }
        (Audience::Tenant, PlanKind::Base | PlanKind::AddOn) => {
            Some(Fault::new("plan", format!("“{key}” is a plan for tenants, not for users")))
        }
    }
}

/// The worker's part: a tier has ended by itself.
pub(super) fn expire(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let Some(tier) = store::tiers::take_end(tx, due)? else { return Ok(None) };
    tx.touch_user(tier.tenant.as_ref(), &tier.user)?;
    Ok(Some(event("tier.expired", Some(&tier), None)))
}

fn event(name: &'static str, before: Option<&Tier>, after: Option<&Tier>) -> Event {
    let shown = after.or(before);
    let reason = after.map(|tier| tier.change_reason.clone()).filter(|why| !why.is_empty());
    Event {
        name,
        tenant: shown.and_then(|tier| tier.tenant.clone()),
        subject: shown.map(|tier| tier.user.to_string()).unwrap_or_default(),
        before: before.map_or(Value::Null, facts),
        after: after.map_or(Value::Null, facts),
        reason,
    }
}

fn facts(tier: &Tier) -> Value {
    json!({
        "id": tier.id,
        "plan": tier.plan.plan,
        "plan_version": tier.plan.version,
        "effective_from": tier.effective_from,
        "expires_at": tier.effective_to,
    })
}
