//! What the expiry worker does for each kind of thing: the one change and the one event.
//!
//! Invariants: each marks its row in the same transaction, so that it is recorded once; a row that
//! was ended or moved in the meantime gives no event.

use super::{grants, legacy, overrides, roles, subscriptions::event, trials};
use crate::{
    domain::{audit::Event, overrides::OverrideEnd, people::RoleAssignment, trials::TrialKind},
    error::{Error, Result},
    store::{self, WriteTx, due::Due, subscription_ends},
};

/// An override has ended by itself.
pub(super) fn expire_override(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let found = store::overrides::get(tx.read(), &due.id)?;
    if found.ended.is_some() || found.exception.expires_at > tx.now() {
        return Ok(None);
    }
    overrides::end(tx, found, OverrideEnd::Expired).map(Some)
}

/// An override ends soon.
pub(super) fn announce_override(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let found = store::overrides::get(tx.read(), &due.id)?;
    let is_as_seen = found.ended.is_none() && found.exception.expires_at == due.at;
    if !is_as_seen || found.is_announced || due.at <= tx.now() {
        return Ok(None);
    }
    overrides::announce(tx, found).map(Some)
}

/// The trial of a grant has ended.
pub(super) fn end_trial_of_grant(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let Some(grant) = store::grants::take_trial(tx, due)? else { return Ok(None) };
    store::trials::expire(tx, &grant.tenant, TrialKind::Grant, grant.key.as_str())?;
    legacy::follow_end(tx, &grant)?;
    Ok(Some(grants::trial_expired(&grant)))
}

/// The trial of a subscription has ended.
pub(super) fn end_trial_of_subscription(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let Some(ended) = subscription_ends::take_trial(tx, due)? else { return Ok(None) };
    let plan = ended.plan.plan.as_str();
    store::trials::expire(tx, &ended.tenant, TrialKind::Subscription, plan)?;
    Ok(Some(event("subscription.trial_expired", Some(&ended), Some(&ended))))
}

/// A subscription has ended.
pub(super) fn end_subscription(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let subscription = subscription_ends::take_end(tx, due)?;
    Ok(subscription.map(|s| event("subscription.ended", Some(&s), None)))
}

/// A scheduled subscription has begun.
pub(super) fn start_subscription(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let Some(begun) = subscription_ends::take_start(tx, due)? else { return Ok(None) };
    trials::subscribed(tx, &begun)?;
    Ok(Some(event("subscription.started", None, Some(&begun))))
}

/// A role in a tenant has ended.
pub(super) fn expire_role(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let tenant = due.tenant.as_ref().ok_or_else(|| Error::internal("a role of no tenant"))?;
    end_role(tx, store::roles::find(tx.read(), tenant, &due.id)?)
}

/// A role at platform level has ended.
pub(super) fn expire_platform_role(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    end_role(tx, store::platform_roles::find(tx.read(), &due.id)?)
}

fn end_role(tx: &WriteTx<'_>, found: Option<RoleAssignment>) -> Result<Option<Event>> {
    let ended = found.filter(|held| held.expires_at.is_some_and(|end| end <= tx.now()));
    ended.map(|held| roles::end(tx, &held, "role.expired")).transpose()
}
