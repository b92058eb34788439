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
        World,
        entitlements::{Entitlements, entitlements},
    },
    error::{Error, Fault, Result},
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
    /// The tenant.
    pub tenant: TenantKey,
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
        let reach = actor.may_on(Permission::EntitlementsRead, &subject.tenant)?;
        let (own, mode) = identity(actor, subject.user.as_ref(), subject.mode)?;
        let user = match reach {
            // A tenant's user only ever sees what holds for itself.
            Reach::Oneself => own,
            Reach::Own | Reach::All | Reach::None => subject.user.clone(),
        };
        if mode == Mode::Platform {
            return Err(Error::NotAvailable(Fault::new(
                "mode",
                "platform mode is not available yet; leave it out",
            )));
        }
        let cached = self.cached(&subject.tenant).await?;
        let facts = cached.get(&subject.tenant)?;
        let (world, now) = (self.world(), self.clock.now());
        if user.is_none()
            && let Some(prepared) = cached.prepared.load_full()
            && prepared.holds(&world, now)
        {
            return Ok(prepared);
        }
        refuse_seats(&world, user.as_ref())?;
        let computed = entitlements(&world, facts, user.as_ref(), now);
        let bytes = Bytes::from(render(&computed)?);
        let digest = Sha256::digest(&bytes);
        let etag = hex::encode(digest.get(..16).unwrap_or(&digest));
        let until = computed.valid_until;
        let prepared = Arc::new(Prepared { bytes, etag, world, from: now, until });
        if user.is_none() {
            cached.prepared.store(Some(prepared.clone()));
        }
        Ok(prepared)
    }

    /// The caller's own entitlements as facts: for views that show a part of them.
    pub async fn own_entitlements(&self, actor: &Actor, subject: &Subject) -> Result<Entitlements> {
        actor.may_on(Permission::EntitlementsRead, &subject.tenant)?;
        let facts = self.facts(&subject.tenant).await?;
        let (world, user) = (self.world(), subject.user.as_ref());
        refuse_seats(&world, user)?;
        Ok(entitlements(&world, &facts, user, self.clock.now()))
    }
}

/// Whether a user has a seat is not answered yet, so neither is what one may use where some need it.
fn refuse_seats(world: &World, user: Option<&UserKey>) -> Result<()> {
    if user.is_some() && world.catalog.modules.values().any(|module| module.seated) {
        let message = "a user's seats are not available yet; leave the user out";
        return Err(Error::NotAvailable(Fault::new("user", message)));
    }
    Ok(())
}
