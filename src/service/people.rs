//! What a question about a user looks at: found in memory, read where it isn't there.

use std::sync::Arc;

use super::{
    Service,
    memory::{Cached, UserIn},
};
use crate::{
    domain::{
        contexts::ContextKey,
        keys::{TenantKey, UserKey},
        time::Timestamp,
        usage::CountedFor,
    },
    engine::{Counts, Person, TenantFacts, UsageFacts, UserFacts},
    error::{Error, Result},
    store::{self, snapshots::Loaded},
};

use super::cache::Entry;

/// How often a question looks again because a change was published while it looked.
const LOOKS: usize = 16;

/// How many tenants may stand above another.
const MAX_HEIGHT: usize = 1000;

impl Service {
    /// A tenant as it stands in memory, read from the database where it doesn't.
    pub(super) async fn cached(&self, tenant: &TenantKey) -> Result<Arc<Entry<Cached>>> {
        let tenants = &self.memory.tenants;
        if let Some(cached) = tenants.get(tenant) {
            return Ok(cached);
        }
        // Taken before the read: a write that is published meanwhile makes it stale.
        let ticket = tenants.ticket(tenant);
        let now = self.clock.steady();
        let shelf = &self.memory.shelf;
        match self.store.read(|tx| store::snapshots::load_tenant(tx, shelf, tenant, now)).await? {
            Loaded::Facts(facts) => Ok(tenants.keep(tenant, ticket, Cached::facts(facts))),
            Loaded::Damaged => Ok(tenants.keep(tenant, ticket, Cached::damaged())),
            Loaded::Missing => Err(Error::TenantNotFound(tenant.to_string())),
        }
    }

    /// What time it is for a tenant, whose clock may be ahead if it is a sandbox.
    pub async fn now_in(&self, tenant: &TenantKey) -> Timestamp {
        let now = self.clock.now();
        // Of one that isn't there, or can't be read, nothing is told that depends on it.
        self.facts(tenant).await.map_or(now, |facts| facts.tenant.time(now))
    }

    /// The same for what may belong to no tenant.
    pub async fn now_for(&self, tenant: Option<&TenantKey>) -> Timestamp {
        match tenant {
            Some(tenant) => self.now_in(tenant).await,
            None => self.clock.now(),
        }
    }

    /// The facts of a tenant.
    pub(super) async fn facts(&self, tenant: &TenantKey) -> Result<Arc<TenantFacts>> {
        self.cached(tenant).await?.get(tenant).cloned()
    }

    /// What is known of a user in a tenant, or outside of all.
    async fn user_facts(&self, key: &UserIn) -> Result<Arc<UserFacts>> {
        let users = &self.memory.users;
        let entry = match users.get(key) {
            Some(entry) => entry,
            None => {
                let ticket = users.ticket(key);
                let (now, shelf) = (self.clock.steady(), &self.memory.shelf);
                let UserIn { tenant, user } = key;
                let load = |tx: &store::ReadTx<'_>| {
                    store::people::load_user(tx, shelf, tenant.as_ref(), user, now)
                };
                users.keep(key, ticket, self.store.read(load).await?)
            }
        };
        (**entry).clone().ok_or_else(|| Error::internal("a row of the user is damaged"))
    }

    /// What was counted for a tenant and for a user in it, or for a user without one.
    pub(super) async fn counts(
        &self,
        tenant: Option<&TenantKey>,
        user: Option<&UserKey>,
    ) -> Result<Counts> {
        let of_tenant =
            tenant.map(|tenant| CountedFor { tenant: Some(tenant.clone()), user: None });
        let of_user =
            user.map(|user| CountedFor { tenant: tenant.cloned(), user: Some(user.clone()) });
        let mut counts = Counts::default();
        if let Some(subject) = &of_tenant {
            counts.tenant = Some(self.counted(subject).await?);
        }
        if let Some(subject) = &of_user {
            counts.user = Some(self.counted(subject).await?);
        }
        Ok(counts)
    }

    async fn counted(&self, subject: &CountedFor) -> Result<Arc<UsageFacts>> {
        let usage = &self.memory.usage;
        if let Some(entry) = usage.get(subject) {
            return Ok((**entry).clone());
        }
        let ticket = usage.ticket(subject);
        let facts = self.store.read(|tx| store::usage::load(tx, subject)).await?;
        Ok((**usage.keep(subject, ticket, Arc::new(facts))).clone())
    }

    /// The way up from a context of a tenant.
    async fn path(&self, tenant: &TenantKey, context: &ContextKey) -> Result<Vec<ContextKey>> {
        let trees = &self.memory.trees;
        if let Some(tree) = trees.get(tenant) {
            return Ok(tree.path(context));
        }
        let ticket = trees.ticket(tenant);
        let tree = self.store.read(|tx| store::contexts::tree(tx, tenant)).await?;
        Ok(trees.keep(tenant, ticket, tree).path(context))
    }

    /// Everything beside the tenant that a question about a user looks at, and the tenant as it stood
    /// then: no change is seen in one and not in the other.
    pub(super) async fn person(
        &self,
        tenant: &TenantKey,
        user: &UserKey,
        context: Option<&ContextKey>,
    ) -> Result<(Arc<TenantFacts>, Person)> {
        let in_tenant = UserIn { tenant: Some(tenant.clone()), user: user.clone() };
        let mut facts = self.facts(tenant).await?;
        let mut here = self.user_facts(&in_tenant).await?;
        for _ in 0..LOOKS {
            if here.version <= facts.version {
                break;
            }
            // What belongs to the tenant is published before the tenant: that is on its way.
            tokio::task::yield_now().await;
            facts = self.facts(tenant).await?;
            here = self.user_facts(&in_tenant).await?;
        }
        let path = match context {
            Some(context) => self.path(tenant, context).await?,
            None => Vec::new(),
        };
        let lenders = self.lenders(&facts, &here).await?;
        let everywhere = self.everywhere(user).await?;
        Ok((facts, Person { user: user.clone(), here, everywhere, path, lenders }))
    }

    /// A user outside of all tenants.
    pub(super) async fn person_alone(&self, user: &UserKey) -> Result<Person> {
        let everywhere = self.everywhere(user).await?;
        Ok(Person { everywhere, ..Person::unknown(user.clone()) })
    }

    async fn everywhere(&self, user: &UserKey) -> Result<Arc<UserFacts>> {
        self.user_facts(&UserIn { tenant: None, user: user.clone() }).await
    }

    /// Tenants above this one whose seats the user has.
    async fn lenders(
        &self,
        facts: &TenantFacts,
        here: &UserFacts,
    ) -> Result<Vec<Arc<TenantFacts>>> {
        let own = &facts.tenant.key;
        let mut lenders = Vec::new();
        if here.seats.iter().all(|seat| seat.pool == *own) {
            return Ok(lenders);
        }
        let mut above = facts.tenant.parent.clone();
        for _ in 0..MAX_HEIGHT {
            let Some(key) = above else { break };
            let tenant = self.facts(&key).await?;
            above = tenant.tenant.parent.clone();
            if here.seats.iter().any(|seat| seat.pool == key) {
                lenders.push(tenant);
            }
        }
        Ok(lenders)
    }
}
