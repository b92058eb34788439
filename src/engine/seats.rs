//! How many seats a tenant has for a module or feature: its pool.

use crate::{
    domain::{
        catalog::Target,
        grants::GrantState,
        keys::{EntitlementKey, ModuleKey},
        time::Timestamp,
    },
    engine::{
        TenantFacts, World,
        standing::{Giver, GiverKind, givers},
        trace::Desk,
    },
};

/// The seats of the grant, else those of the base plan that gives the module; plus those of add-ons.
/// None where nothing about the key is seated.
#[must_use]
pub fn pool(
    world: &World,
    facts: &TenantFacts,
    key: &EntitlementKey,
    at: Timestamp,
) -> Option<u64> {
    let catalog = &world.catalog;
    let (module, is_called_seated) = match catalog.target(key.as_str())? {
        Target::Module(module) => {
            let is_seated = catalog.modules.get(&module).is_some_and(|module| module.seated);
            (Some(module), is_seated)
        }
        Target::Feature(_) => (None, false),
    };
    let granted = granted(facts, key, at);
    let givers = givers(&mut Desk::new(world, facts, at)).active;
    let (mut base, mut added, mut is_added) = (None, 0_u64, false);
    for giver in &givers {
        let Some(seats) = giver.plan.content.seats else { continue };
        let seats = seats.saturating_mul(u64::from(giver.holding.quantity));
        let gives = module.as_ref().is_some_and(|module| gives(giver, module));
        match giver.kind {
            GiverKind::Base if gives => base = Some(seats),
            GiverKind::AddOn if gives || gives_only_seats(giver) => {
                added = added.saturating_add(seats);
                is_added |= gives;
            }
            GiverKind::Base | GiverKind::AddOn | GiverKind::Tier => {}
        }
    }
    let is_seated = is_called_seated || granted.is_some() || base.is_some() || is_added;
    is_seated.then(|| granted.or(base).unwrap_or(0).saturating_add(added))
}

/// The seats of a grant that gives.
fn granted(facts: &TenantFacts, key: &EntitlementKey, at: Timestamp) -> Option<u64> {
    let grant = facts.grants.get(key)?;
    match grant.state {
        GrantState::Enabled => grant.seats,
        GrantState::Trial(end) if at < end => grant.seats,
        GrantState::Trial(_) | GrantState::Disabled => None,
    }
}

fn gives(giver: &Giver<'_>, module: &ModuleKey) -> bool {
    giver.plan.content.modules.contains(module)
}

fn gives_only_seats(giver: &Giver<'_>) -> bool {
    let content = &giver.plan.content;
    content.modules.is_empty() && content.features.is_empty() && content.permissions.is_empty()
}
