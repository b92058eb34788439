//! Whom something concerns that ends or begins by itself, for each kind of thing.

use crate::{
    error::Result,
    store::{self, ReadTx, due::Due, outbox::Passed},
};

/// All of its tenant.
pub fn of_tenant(_: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    Ok(vec![Passed { tenant: due.tenant.clone(), key: None, user: None }])
}

/// An override.
pub fn of_override(tx: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    let key = store::overrides::get(tx, &due.id)?.exception.key.to_string();
    Ok(vec![Passed { tenant: due.tenant.clone(), key: Some(key), user: None }])
}

/// The trial of a grant, whose id is its key.
pub fn of_grant(_: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    Ok(vec![Passed { tenant: due.tenant.clone(), key: Some(due.id.clone()), user: None }])
}

/// A tier.
pub fn of_tier(tx: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    let user = store::tiers::user_of(tx, &due.id)?;
    Ok(vec![Passed { tenant: due.tenant.clone(), key: None, user }])
}

/// A seat: of the tenant whose it is, and of the one in which its user works.
pub fn of_seat(tx: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    let Some(seat) = store::seats::find_due(tx, due.owner()?, &due.id)? else {
        return Ok(Vec::new());
    };
    let of = |tenant| Passed {
        tenant: Some(tenant),
        key: Some(seat.key.to_string()),
        user: Some(seat.user.clone()),
    };
    Ok(vec![of(seat.tenant.clone()), of(seat.holder.clone())])
}

/// What one user is entitled to.
pub fn of_user_entitlement(tx: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    let own = store::user_entitlements::find(tx, &due.id)?;
    let own = own.map(|own| Passed {
        tenant: own.tenant,
        key: Some(own.key.to_string()),
        user: Some(own.user),
    });
    Ok(own.into_iter().collect())
}

/// A role in a tenant.
pub fn of_role(tx: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    let held = store::roles::find(tx, due.owner()?, &due.id)?;
    let user = held.map(|held| held.user);
    Ok(vec![Passed { tenant: due.tenant.clone(), key: None, user }])
}

/// A role at platform level.
pub fn of_platform_role(tx: &ReadTx<'_>, due: &Due) -> Result<Vec<Passed>> {
    let user = store::platform_roles::find(tx, &due.id)?.map(|held| held.user);
    Ok(vec![Passed { tenant: None, key: None, user }])
}
