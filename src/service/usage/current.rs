//! Facts as a change sees them: those in memory, unless something has changed since.

use std::sync::Arc;

use super::super::{
    memory::{Memory, UserIn},
    provisioning,
};
use crate::{
    domain::{
        contexts::ContextKey,
        keys::{TenantKey, UserKey},
        usage::CountedFor,
    },
    engine::{Counts, Person, Subject, TenantFacts, UserFacts, World},
    error::{Error, Result},
    store::{self, WriteTx},
};

/// How many tenants may stand above another.
const MAX_HEIGHT: usize = 1000;

/// Everything that a change which counts looks at.
pub(super) struct Current {
    pub world: Arc<World>,
    pub facts: Arc<TenantFacts>,
    pub person: Option<Person>,
}

impl Current {
    /// Of a tenant and perhaps a user in it, or of a user without one; asked in a context.
    pub fn of(
        tx: &WriteTx<'_>,
        memory: &Memory,
        whose: &CountedFor,
        context: Option<&ContextKey>,
    ) -> Result<Self> {
        let world = provisioning::world(tx, memory)?;
        let facts = match &whose.tenant {
            Some(tenant) => {
                tx.in_time_of(tenant)?;
                provisioning::facts(tx, memory, tenant)?
            }
            None => Arc::new(TenantFacts::nobody()),
        };
        let person = match &whose.user {
            Some(user) => Some(person(tx, memory, &facts, user, context)?),
            None => None,
        };
        Ok(Self { world, facts, person })
    }

    /// For the engine.
    pub fn subject<'a>(&'a self, counts: &'a Counts) -> Subject<'a> {
        Subject { facts: &self.facts, person: self.person.as_ref(), counts }
    }
}

fn person(
    tx: &WriteTx<'_>,
    memory: &Memory,
    facts: &TenantFacts,
    user: &UserKey,
    context: Option<&ContextKey>,
) -> Result<Person> {
    // What a user has outside of all tenants has no version of its own to compare.
    let everywhere = loaded(tx, memory, None, user)?;
    if facts.is_nobody {
        return Ok(Person { everywhere, ..Person::unknown(user.clone()) });
    }
    let tenant = &facts.tenant.key;
    // What belongs to a tenant never changes without the tenant.
    let known = memory.tenants.get(tenant);
    let is_current = known
        .as_ref()
        .and_then(|cached| cached.get(tenant).ok())
        .is_some_and(|known| known.version == facts.version);
    let key = UserIn { tenant: Some(tenant.clone()), user: user.clone() };
    let known = memory.users.get(&key).filter(|_| is_current).and_then(|user| (**user).clone());
    let here = match known {
        Some(here) => here,
        None => loaded(tx, memory, Some(tenant), user)?,
    };
    let path = match (context, memory.trees.get(tenant).filter(|_| is_current)) {
        (None, _) => Vec::new(),
        (Some(context), Some(tree)) => tree.path(context),
        (Some(context), None) => store::contexts::tree(tx.read(), tenant)?.path(context),
    };
    let lenders = lenders(tx, memory, facts, &here)?;
    Ok(Person { user: user.clone(), here, everywhere, path, lenders })
}

fn loaded(
    tx: &WriteTx<'_>,
    memory: &Memory,
    tenant: Option<&TenantKey>,
    user: &UserKey,
) -> Result<Arc<UserFacts>> {
    let facts = store::people::load_user(tx.read(), &memory.shelf, tenant, user, tx.now())?;
    facts.ok_or_else(|| Error::internal("a row of the user is damaged"))
}

/// Tenants above this one whose seats the user has.
fn lenders(
    tx: &WriteTx<'_>,
    memory: &Memory,
    facts: &TenantFacts,
    here: &UserFacts,
) -> Result<Vec<Arc<TenantFacts>>> {
    let mut lenders = Vec::new();
    if here.seats.iter().all(|seat| seat.pool == facts.tenant.key) {
        return Ok(lenders);
    }
    let mut above = facts.tenant.parent.clone();
    for _ in 0..MAX_HEIGHT {
        let Some(key) = above else { break };
        let tenant = provisioning::facts(tx, memory, &key)?;
        above = tenant.tenant.parent.clone();
        if here.seats.iter().any(|seat| seat.pool == key) {
            lenders.push(tenant);
        }
    }
    Ok(lenders)
}
