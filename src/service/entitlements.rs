//! The payload of a tenant: worked out once, kept as prepared bytes for as long as it holds.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Service,
    actor::Actor,
    decisions::identity,
    permissions::{Permission, Reach},
};
use crate::{
    domain::{
        checks::Mode,
        keys::{TenantKey, UserKey},
        time::Timestamp,
    },
    engine::{
        Person, TenantFacts, World,
        entitlements::{Entitlements, entitlements},
    },
    error::{Error, Result},
};

/// A payload, ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// The body.
    pub bytes: Bytes,
    /// A digest of the body: another body has another tag.
    pub etag: String,
    world: Arc<World>,
    from: Timestamp,
    until: Option<Timestamp>,
}

impl Prepared {
    fn holds(&self, world: &Arc<World>, now: Timestamp) -> bool {
        Arc::ptr_eq(&self.world, world)
            && self.from <= now
            && self.until.is_none_or(|until| now < until)
    }
}

/// Whose entitlements are asked for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The tenant; none for a user without one.
    pub tenant: Option<TenantKey>,
    /// A user in it.
    pub user: Option<UserKey>,
    /// How the caller works.
    pub mode: Option<Mode>,
}

/// How a payload is written: the front door's part.
pub type Render = fn(&Entitlements) -> Result<Vec<u8>>;

impl Service {
    /// The payload of a tenant, or of a user in it, as `render` writes it. Every call must pass the
    /// same `render`: what is kept is what it wrote.
    pub async fn entitlements(
        &self,
        actor: &Actor,
        subject: &Subject,
        render: Render,
    ) -> Result<Arc<Prepared>> {
        let Some(tenant) = &subject.tenant else {
            return self.of_user_alone(actor, subject, render).await;
        };
        let reach = actor.may_on(Permission::EntitlementsRead, tenant)?;
        let (own, _) = identity(actor, subject.user.as_ref(), subject.mode)?;
        let user = match reach {
            // A tenant's user only ever sees what holds for itself.
            Reach::Oneself => own,
            Reach::Own | Reach::All | Reach::None => subject.user.clone(),
        };
        let (world, now) = (self.world(), self.clock.now());
        if let Some(user) = user {
            let (facts, person) = self.person(tenant, &user, None).await?;
            return prepared(render, &world, &facts, Some(&person), now).map(Arc::new);
        }
        let cached = self.cached(tenant).await?;
        if let Some(prepared) = cached.prepared.load_full()
            && prepared.holds(&world, now)
        {
            return Ok(prepared);
        }
        let prepared = prepared(render, &world, cached.get(tenant)?, None, now).map(Arc::new)?;
        cached.prepared.store(Some(prepared.clone()));
        Ok(prepared)
    }

    async fn of_user_alone(
        &self,
        actor: &Actor,
        subject: &Subject,
        render: Render,
    ) -> Result<Arc<Prepared>> {
        match (actor.reach(Permission::EntitlementsRead)?, &actor.principal.tenant) {
            (Reach::All, None) => {}
            (Reach::All | Reach::Own | Reach::Oneself | Reach::None, _) => {
                let message = "A caller that is bound to a tenant reads what holds in it.";
                return Err(Error::Forbidden(message.into()));
            }
        }
        let Some(user) = &subject.user else {
            return Err(Error::invalid("user", "name the user"));
        };
        let person = self.person_alone(user).await?;
        let (world, now) = (self.world(), self.clock.now());
        prepared(render, &world, &TenantFacts::nobody(), Some(&person), now).map(Arc::new)
    }

    /// The caller's own entitlements as facts: for views that show a part of them.
    pub async fn own_entitlements(&self, actor: &Actor, subject: &Subject) -> Result<Entitlements> {
        let Some(tenant) = &subject.tenant else {
            return Err(Error::invalid("tenant", "name the tenant"));
        };
        actor.may_on(Permission::EntitlementsRead, tenant)?;
        let (world, now) = (self.world(), self.clock.now());
        match &subject.user {
            Some(user) => {
                let (facts, person) = self.person(tenant, user, None).await?;
                Ok(entitlements(&world, &facts, Some(&person), now))
            }
            None => Ok(entitlements(&world, &*self.facts(tenant).await?, None, now)),
        }
    }
}

fn prepared(
    render: Render,
    world: &Arc<World>,
    facts: &TenantFacts,
    person: Option<&Person>,
    now: Timestamp,
) -> Result<Prepared> {
    let computed = entitlements(world, facts, person, now);
    let bytes = Bytes::from(render(&computed)?);
    let digest = Sha256::digest(&bytes);
    let etag = hex::encode(digest.get(..16).unwrap_or(&digest));
    let until = computed.valid_until;
    Ok(Prepared { bytes, etag, world: world.clone(), from: now, until })
}
