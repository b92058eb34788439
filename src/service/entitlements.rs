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
        self, Counts, Person, TenantFacts, World,
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
    counts: Counts,
    from: Timestamp,
    until: Option<Timestamp>,
}

impl Prepared {
    fn holds(&self, world: &Arc<World>, counts: &Counts, now: Timestamp) -> bool {
        Arc::ptr_eq(&self.world, world)
            && self.counts.is_same(counts)
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
            let counts = self.counts(Some(tenant), Some(&user)).await?;
            let whose = Whose { facts: &facts, person: Some(&person), counts };
            return prepared(render, &world, whose, facts.tenant.time(now)).map(Arc::new);
        }
        let counts = self.counts(Some(tenant), None).await?;
        let cached = self.cached(tenant).await?;
        let now = cached.get(tenant)?.tenant.time(now);
        if let Some(prepared) = cached.prepared.load_full()
            && prepared.holds(&world, &counts, now)
        {
            return Ok(prepared);
        }
        let whose = Whose { facts: cached.get(tenant)?, person: None, counts };
        let prepared = prepared(render, &world, whose, now).map(Arc::new)?;
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
        let counts = self.counts(None, Some(user)).await?;
        let whose = Whose { facts: &TenantFacts::nobody(), person: Some(&person), counts };
        prepared(render, &world, whose, now).map(Arc::new)
    }

    /// The caller's own entitlements as facts: for views that show a part of them.
    pub async fn own_entitlements(&self, actor: &Actor, subject: &Subject) -> Result<Entitlements> {
        let Some(tenant) = &subject.tenant else {
            return Err(Error::invalid("tenant", "name the tenant"));
        };
        actor.may_on(Permission::EntitlementsRead, tenant)?;
        let (world, now) = (self.world(), self.clock.now());
        let counts = self.counts(Some(tenant), subject.user.as_ref()).await?;
        match &subject.user {
            Some(user) => {
                let (facts, person) = self.person(tenant, user, None).await?;
                let (facts, person, counts) = (&*facts, Some(&person), &counts);
                let now = facts.tenant.time(now);
                Ok(entitlements(&world, engine::Subject { facts, person, counts }, now))
            }
            None => {
                let facts = self.facts(tenant).await?;
                let (facts, person, counts) = (&*facts, None, &counts);
                Ok(entitlements(&world, engine::Subject { facts, person, counts }, now))
            }
        }
    }
}

/// Whose payload is prepared.
struct Whose<'a> {
    facts: &'a TenantFacts,
    person: Option<&'a Person>,
    counts: Counts,
}

fn prepared(
    render: Render,
    world: &Arc<World>,
    Whose { facts, person, counts }: Whose<'_>,
    now: Timestamp,
) -> Result<Prepared> {
    let computed = entitlements(world, engine::Subject { facts, person, counts: &counts }, now);
    let bytes = Bytes::from(render(&computed)?);
    let digest = Sha256::digest(&bytes);
    let etag = hex::encode(digest.get(..16).unwrap_or(&digest));
    let until = computed.valid_until;
    Ok(Prepared { bytes, etag, world: world.clone(), counts, from: now, until })
}
