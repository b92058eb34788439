//! Usage of limit features: recorded, consumed, set aside, reported.
//!
//! Invariants: every count changes in the writer, by [`count::count`] alone; what was set aside counts
//! as used until it is settled, released or expires, so that no limit is ever passed by two who ask
//! at once; usage steps no version, and no tenant is read again because of it.

mod count;
mod current;
pub mod reports;
pub mod reservations;
pub mod take;
mod upkeep;

use serde_json::json;

pub(super) use self::upkeep::{expire_reservation, recheck, recover};
use self::{
    count::{Change, count, counted_for},
    current::Current,
};
use super::{
    Service,
    actor::Actor,
    once::Once,
    permissions::{Permission, Reach},
    questions::{MAX_AMOUNT, is_limit, limit_fault},
};
use crate::{
    domain::{
        audit::Event,
        catalog::Catalog,
        keys::{FeatureKey, TenantKey, UserKey},
        usage::{CountedFor, UsageReport},
    },
    engine::{self, Capacity, Subject},
    error::{Error, Fault, Result},
    store::WriteTx,
};

/// What somebody says was used. A field that could not be read stands among the faults, so that all
/// of them are answered at once.
#[derive(Debug, Clone, Default)]
pub struct UsageDraft {
    /// Whose; a caller that is bound to a tenant may leave its own out.
    pub tenant: Option<TenantKey>,
    /// Whose of the tenant's users, or of those without one.
    pub user: Option<UserKey>,
    /// Of which limit.
    pub feature: Option<FeatureKey>,
    /// How much more, or less.
    pub delta: Option<i64>,
    /// How much it is from now on.
    pub set: Option<u64>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Service {
    /// Counts what was used, without judging it.
    pub async fn record_usage(
        &self,
        actor: &Actor,
        once: Option<Once>,
        draft: UsageDraft,
    ) -> Result<UsageReport> {
        let tenant = tenant_of(actor, Permission::UsageWrite, draft.tenant.as_ref(), &draft.user)?;
        let memory = self.memory.clone();
        self.change_once(actor, once, move |tx| {
            let whose = CountedFor { tenant, user: draft.user.clone() };
            let current = Current::of(tx, &memory, &whose, None)?;
            let (feature, change) = checked(&current.world.catalog, draft)?;
            let (counted, capacity) = measured(tx, &current, &whose, &feature)?;
            let tally = count(tx, &counted, &feature, &capacity, change)?;
            let mut events = Vec::new();
            if let (Change::Set(_), true) = (change, tally.before.used != tally.after.used) {
                events.push(set(&counted, &feature, tally.before.used, tally.after.used));
            }
            events.extend(tally.events);
            let reserved = reports::reserved(tx.read(), &counted, &feature, tx.now())?;
            Ok((reports::present(tally.after, &capacity, reserved), events))
        })
        .await
    }
}

/// The tenant whose usage is meant, if the caller may; none for a user without one.
fn tenant_of(
    actor: &Actor,
    permission: Permission,
    tenant: Option<&TenantKey>,
    user: &Option<UserKey>,
) -> Result<Option<TenantKey>> {
    let reach = actor.reach(permission)?;
    match (tenant, &actor.principal.tenant) {
        (Some(tenant), _) | (None, Some(tenant)) => {
            actor.may_on(permission, tenant)?;
            Ok(Some(tenant.clone()))
        }
        (None, None) if user.is_some() && reach == Reach::All => Ok(None),
        (None, None) => Err(Error::invalid("tenant", "name the tenant, or a user without one")),
    }
}

/// The feature and the change of a draft, or all its faults.
fn checked(catalog: &Catalog, draft: UsageDraft) -> Result<(FeatureKey, Change)> {
    let UsageDraft { feature, delta, set, mut faults, tenant: _, user: _ } = draft;
    let change = match (delta, set) {
        (Some(delta), None) => Some(Change::Add(delta)),
        (None, Some(set)) => Some(Change::Set(set)),
        (None, None) | (Some(_), Some(_)) => None,
    };
    let unreadable = |fault: &Fault| fault.field == "delta" || fault.field == "set";
    if change.is_none() && !faults.iter().any(unreadable) {
        faults.push(Fault::new("delta", "say either “delta” or “set”, and not both"));
    }
    if set.is_some_and(|set| set > MAX_AMOUNT) {
        faults.push(Fault::new("set", format!("must be at most {MAX_AMOUNT}")));
    }
    if delta.is_some_and(|delta| delta == 0 || delta.unsigned_abs() > MAX_AMOUNT) {
        let message = format!("must be between -{MAX_AMOUNT} and {MAX_AMOUNT}, and not 0");
        faults.push(Fault::new("delta", message));
    }
    let wrong = faults.len();
    if let Some(feature) = &feature {
        faults.extend(limit_fault("feature", feature, catalog));
        if faults.len() == wrong && !is_limit(catalog, feature) {
            let message = format!("“{feature}” is not a limit; only limits are counted");
            faults.push(Fault::new("feature", message));
            return Err(Error::Invalid { code: "INVALID_VALUE", faults });
        }
    }
    match (feature, change, wrong, faults.len()) {
        (Some(feature), Some(change), _, 0) => Ok((feature, change)),
        // Only where nothing else is wrong does the unknown key name the problem.
        (_, _, 0, _) => Err(Error::Invalid { code: "UNKNOWN_KEY", faults }),
        _ => Err(Error::Invalid { code: "INVALID_VALUE", faults }),
    }
}

/// Whose count a feature has, and what it is measured against: of the tenant as a whole, what the
/// tenant itself has.
fn measured<'a>(
    tx: &WriteTx<'_>,
    current: &'a Current,
    whose: &CountedFor,
    feature: &FeatureKey,
) -> Result<(CountedFor, Capacity<'a>)> {
    let of = |person| {
        let subject = Subject { person, ..Subject::new(&current.facts, None) };
        engine::limits::capacity(&current.world, subject, feature, tx.now())
    };
    let missing = || Error::internal(format!("“{feature}” is no limit any more"));
    let capacity = of(current.person.as_ref()).ok_or_else(missing)?;
    let counted = counted_for(&capacity, whose.tenant.as_ref(), whose.user.as_ref());
    let counted = counted.ok_or_else(|| {
        Error::invalid("user", format!("“{feature}” counts for each user; name the user"))
    })?;
    match counted.user {
        Some(_) => Ok((counted, capacity)),
        None => Ok((counted, of(None).ok_or_else(missing)?)),
    }
}

/// The event of a count that was set.
fn set(whose: &CountedFor, feature: &FeatureKey, before: u64, after: u64) -> Event {
    let facts = |used| json!({"feature": feature, "user": whose.user, "used": used});
    Event {
        name: "usage.set",
        tenant: whose.tenant.clone(),
        subject: feature.to_string(),
        before: facts(before),
        after: facts(after),
        reason: None,
    }
}
