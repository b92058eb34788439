//! What a user has beside the tenant: entitlements of their own (rule 10), seats of the tenant (rule
//! 12), and seats that a tenant further up lends.

use crate::{
    domain::{
        catalog::{Module, Provisioning, Target},
        checks::{Outcome, Reason, Source},
        keys::{EntitlementKey, FeatureKey, ModuleKey},
    },
    engine::{
        TenantFacts,
        people::{HeldSeat, OwnEntitlement, Person},
        standing,
        trace::Desk,
        verdict::{self, Verdict},
    },
};

/// The entitlement of a user on a key: that in the tenant, else the one without a tenant.
pub(super) fn own_entitlement<'a>(person: &'a Person, key: &str) -> Option<&'a OwnEntitlement> {
    person.here.entitlements.get(key).or_else(|| person.everywhere.entitlements.get(key))
}

/// Rule 10 for the user alone.
pub(super) fn by_own_entitlement(desk: &mut Desk<'_>, key: &str) -> Option<Verdict> {
    let person = desk.person?;
    for facts in [&person.here, &person.everywhere] {
        let Some(own) = facts.entitlements.get(key) else { continue };
        if !desk.before(own.expires_at) || (own.is_delegated && !tenant_has(desk, key)) {
            continue;
        }
        desk.step(10, Some(key), Outcome::Allow, || format!("Given to the user: {}.", own.id));
        let source = Source::UserEntitlement(own.id.clone());
        return Some(Verdict::new(true, Reason::UserEntitlement, source).until(own.expires_at));
    }
    None
}

/// Whether the tenant itself is entitled to a key, whoever of its users asks.
fn tenant_has(desk: &mut Desk<'_>, key: &str) -> bool {
    let mut aside = Desk::new(desk.world, desk.facts, desk.at);
    let verdict = match desk.world.catalog.target(key) {
        Some(Target::Module(module)) => verdict::module(&mut aside, &module),
        Some(Target::Feature(feature)) => verdict::feature(&mut aside, &feature),
        None => return false,
    };
    desk.note(aside.next);
    verdict.allowed
}

/// Rule 12: what an allow becomes where it takes a seat. A seat of the tenant's own satisfies it, or
/// one that a tenant further up lends.
pub(super) fn seated(
    desk: &mut Desk<'_>,
    verdict: Verdict,
    judge: impl Fn(&mut Desk<'_>) -> Verdict,
) -> Verdict {
    let (Some(person), Some(key)) = (desk.person, verdict.seat.clone()) else { return verdict };
    let own = person.here.seats.iter().find(|seat| {
        seat.key == key && seat.pool == desk.facts.tenant.key && desk.before(seat.expires_at)
    });
    if own.is_some() {
        desk.step(12, Some(key.as_str()), Outcome::Pass, || "The user has a seat.".into());
        return verdict;
    }
    if let Some(lent) = lent(desk, &key, judge) {
        return lent;
    }
    desk.step(12, Some(key.as_str()), Outcome::Refuse, || {
        "It takes a seat, and the user has none.".into()
    });
    Verdict { allowed: false, reason: Reason::SeatRequired, value: None, until: None, ..verdict }
}

/// What a tenant further up allows a user who has one of its seats for `key`: judged as that tenant
/// itself would be.
pub(super) fn lent(
    desk: &mut Desk<'_>,
    key: &EntitlementKey,
    judge: impl Fn(&mut Desk<'_>) -> Verdict,
) -> Option<Verdict> {
    let person = desk.person?;
    let catalog = &desk.world.catalog;
    let (module, _) = catalog.modules.get_key_value(key.as_str()).filter(|(_, m)| may_lend(m))?;
    let own = &desk.facts.tenant.key;
    let held: Vec<&HeldSeat> =
        person.here.seats.iter().filter(|seat| seat.key == *key && seat.pool != *own).collect();
    for seat in held {
        if !desk.before(seat.expires_at) {
            continue;
        }
        let Some(lender) = person.lenders.iter().find(|l| l.tenant.key == seat.pool) else {
            continue;
        };
        if let Some(verdict) = by_lender(desk, lender, &judge) {
            desk.step(12, Some(key.as_str()), Outcome::Allow, || {
                format!("The user has a seat of the tenant “{}”.", seat.pool)
            });
            let source = Source::Seat { tenant: seat.pool.clone(), key: module.clone() };
            let until = [verdict.until, seat.expires_at].into_iter().flatten().min();
            return Some(Verdict { source, seat: None, until, ..verdict });
        }
    }
    None
}

/// The same in a tenant that its subscription blocks: what an override or grant of its own refuses
/// stays refused.
pub(super) fn while_blocked(
    desk: &mut Desk<'_>,
    key: &EntitlementKey,
    judge: impl Fn(&mut Desk<'_>) -> Verdict,
) -> Option<Verdict> {
    // Without a seat from further up nothing of the tenant's own matters here.
    let lent = lent(desk, key, &judge)?;
    let own = judge(desk);
    (own.allowed || may_be_lent(&own)).then_some(lent)
}

/// What a lender itself is allowed, if it is.
fn by_lender(
    desk: &mut Desk<'_>,
    lender: &TenantFacts,
    judge: impl Fn(&mut Desk<'_>) -> Verdict,
) -> Option<Verdict> {
    let mut theirs = Desk::new(desk.world, lender, desk.at);
    let stands = lender.tenant.suspension.is_none()
        && (lender.tenant.demo || standing::block(&mut theirs).is_none());
    let verdict = if !stands {
        None
    } else if lender.tenant.demo {
        Some(Verdict::new(true, Reason::Demo, Source::Tenant))
    } else {
        Some(judge(&mut theirs)).filter(|verdict| verdict.allowed)
    };
    desk.note(theirs.next);
    verdict
}

/// Whether a refusal is one that a lent seat may answer: nothing gives it here, and nobody said no.
pub(super) fn may_be_lent(verdict: &Verdict) -> bool {
    matches!(
        verdict.reason,
        Reason::PlanLimit | Reason::NotGranted | Reason::TrialExpired | Reason::SeatRequired
    )
}

/// Whether the seats of a module may be used below the tenant that bought them.
fn may_lend(module: &Module) -> bool {
    module.provisioning.contains(&Provisioning::OrgHierarchy)
}

/// Rules 8 to 12 for a module.
pub(super) fn module(desk: &mut Desk<'_>, key: &ModuleKey) -> Verdict {
    let judge = |desk: &mut Desk<'_>| verdict::module(desk, key);
    let verdict = judge(desk);
    if verdict.allowed {
        return seated(desk, verdict, judge);
    }
    if may_be_lent(&verdict)
        && let Some(lent) = lent(desk, &key.into(), judge)
    {
        return lent;
    }
    verdict
}

/// Rules 8 to 12 for a feature.
pub(super) fn feature(desk: &mut Desk<'_>, key: &FeatureKey) -> Verdict {
    let judge = |desk: &mut Desk<'_>| verdict::feature(desk, key);
    let mut verdict = judge(desk);
    if verdict.allowed {
        verdict = seated(desk, verdict, judge);
    }
    if verdict.allowed {
        return verdict;
    }
    // Also where it takes a seat for itself: the seat of its module is lent for all of it.
    let module = desk.world.catalog.features.get(key).and_then(|feature| feature.module.clone());
    if let Some(module) = module
        && may_be_lent(&verdict)
        && let Some(lent) = lent(desk, &(&module).into(), judge)
    {
        return lent;
    }
    verdict
}
