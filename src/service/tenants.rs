//! Tenants: made, found, changed, suspended; and who is blocked.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    Service, actor::Actor, expect_revision, once::Once, paging::Page, permissions::Permission,
};
use crate::{
    domain::{
        audit::Event,
        checks::Reason,
        keys::{PlanKey, TenantKey},
        tenants::{Billing, Suspension, Tenant},
        time::{Span, Timestamp},
    },
    engine::{
        TenantFacts,
        entitlements::{base_plan, blocked_reason},
    },
    error::{Error, Result},
    store::{
        self, ReadTx, WriteTx,
        snapshots::{Loaded, load_tenant},
        tenants::TenantFilter,
    },
};

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Its key, for ever.
    pub key: TenantKey,
    /// Shown to people.
    pub name: String,
    /// The tenant above it.
    pub parent: Option<TenantKey>,
    /// Whether it needs a subscription.
    pub billing: Billing,
    /// Everything is open to it.
    pub demo: bool,
    /// It has a clock of its own; can't be changed later.
    pub sandbox: bool,
    /// The caller's own data about it.
    pub attributes: Map<String, Value>,
}

/// What is to change about a tenant; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct TenantPatch {
    /// Another name.
    pub name: Option<String>,
    /// Another parent, or none.
    pub parent: Option<Option<TenantKey>>,
    /// Suspended, or active again.
    pub status: Option<StatusChange>,
    /// Another billing.
    pub billing: Option<Billing>,
    /// A demo tenant or not.
    pub demo: Option<bool>,
    /// Other attributes.
    pub attributes: Option<Map<String, Value>>,
}

/// A change of a tenant's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusChange {
    /// Suspended, with why; one that is suspended already gets this reason.
    Suspend(String),
    /// Active again, perhaps with why.
    Reactivate(Option<String>),
}

/// A tenant with where it stands now.
#[derive(Debug, Clone)]
pub struct TenantStanding {
    /// The tenant.
    pub tenant: Tenant,
    /// Why it is blocked, or would be where nothing is enforced.
    pub blocked_reason: Option<Reason>,
    /// The base plan that counts.
    pub plan: Option<PlanKey>,
    /// What time it is for it; only a sandbox has a clock of its own.
    pub clock: Option<Timestamp>,
    /// Its rows can't be read; it is closed.
    pub is_damaged: bool,
}

/// Most tenants looked at for one page of blocked ones.
const MAX_LOOKED_AT: usize = 2000;

impl Service {
    /// Which of these tenants are sandboxes. Who asks has seen the tenants already.
    pub async fn sandboxes(
        &self,
        among: impl IntoIterator<Item = &TenantKey>,
    ) -> Result<HashSet<TenantKey>> {
        let among: HashSet<TenantKey> = among.into_iter().cloned().collect();
        if among.is_empty() {
            return Ok(among);
        }
        self.store
            .read(move |tx| {
                let mut sandboxes = HashSet::new();
                for tenant in among {
                    if store::tenants::is_sandbox(tx, &tenant)? {
                        sandboxes.insert(tenant);
                    }
                }
                Ok(sandboxes)
            })
            .await
    }

    /// The same for an answer to something that was done: it must not turn into a refusal where this
    /// can't be read.
    pub async fn sandbox_if_known(&self, tenant: &TenantKey) -> HashSet<TenantKey> {
        self.sandboxes([tenant]).await.unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), %tenant, "can't say whether it is a sandbox");
            HashSet::new()
        })
    }

    /// Makes a tenant.
    pub async fn create_tenant(
        &self,
        actor: &Actor,
        once: Option<Once>,
        new: NewTenant,
    ) -> Result<Tenant> {
        actor.reach(Permission::TenantsWrite)?;
        self.change_once(actor, once, move |tx| {
            let NewTenant { key, name, parent, billing, demo, sandbox, attributes } = new;
            expect_parent(tx.read(), &key, parent.as_ref())?;
            let tenant = Tenant {
                key,
                name,
                parent,
                suspension: None,
                billing,
                demo,
                sandbox,
                ahead: Span::default(),
                attributes,
                created_at: tx.now(),
                updated_at: tx.now(),
                revision: 1,
            };
            if !store::tenants::insert(tx, &tenant)? {
                let detail =
                    format!("There is a tenant “{}” already; change it with PATCH.", tenant.key);
                return Err(Error::Conflict { code: "ALREADY_EXISTS", detail });
            }
            tx.touch_tenant(&tenant.key)?;
            let event = event("tenant.created", &tenant, Value::Null, None);
            Ok((tenant, vec![event]))
        })
        .await
    }

    /// One tenant with where it stands.
    pub async fn tenant(&self, actor: &Actor, key: &TenantKey) -> Result<TenantStanding> {
        actor.may_on(Permission::TenantsRead, key)?;
        let service = self.clone();
        self.store
            .read(|tx| {
                let tenant = store::tenants::get(tx, key)?;
                service.standing(tx, tenant)
            })
            .await
    }

    /// A page of tenants, by key.
    pub async fn tenants(
        &self,
        actor: &Actor,
        filter: TenantFilter,
        blocked: Option<BlockedFilter>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<TenantStanding>> {
        actor.reach(Permission::TenantsRead)?;
        let service = self.clone();
        self.store
            .read_long(move |tx| match blocked {
                None => service.page(tx, &filter, after.as_deref(), limit),
                Some(blocked) => service.blocked_page(tx, &filter, blocked, after, limit),
            })
            .await
    }

    fn page(
        &self,
        tx: &ReadTx<'_>,
        filter: &TenantFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<TenantStanding>> {
        let rows = store::tenants::list(tx, filter, after, self.clock.now(), limit + 1)?;
        let page = Page::of(rows, limit, |tenant| tenant.key.to_string());
        let items = page.items.into_iter().map(|tenant| self.standing(tx, tenant));
        Ok(Page { items: items.collect::<Result<_>>()?, next: page.next })
    }

    /// Looks at a bounded number of tenants; a page may hold fewer than `limit` and still go on.
    fn blocked_page(
        &self,
        tx: &ReadTx<'_>,
        filter: &TenantFilter,
        blocked: BlockedFilter,
        mut after: Option<String>,
        limit: usize,
    ) -> Result<Page<TenantStanding>> {
        let (mut items, mut looked_at) = (Vec::new(), 0);
        loop {
            let page = self.page(tx, filter, after.as_deref(), limit.max(100))?;
            looked_at += page.items.len();
            for standing in page.items {
                if items.len() == limit {
                    return Ok(Page { items, next: after });
                }
                after = Some(standing.tenant.key.to_string());
                if blocked.matches(&standing) {
                    items.push(standing);
                }
            }
            if page.next.is_none() {
                return Ok(Page { items, next: None });
            }
            if looked_at >= MAX_LOOKED_AT {
                return Ok(Page { items, next: after });
            }
        }
    }

    fn standing(&self, tx: &ReadTx<'_>, tenant: Tenant) -> Result<TenantStanding> {
        let (world, now) = (self.world(), tenant.time(self.clock.now()));
        let clock = tenant.sandbox.then_some(now);
        Ok(match load_tenant(tx, &self.memory.shelf, &tenant.key, now)? {
            Loaded::Facts(facts) => TenantStanding {
                blocked_reason: blocked_reason(&world, &facts, now),
                plan: base_plan(&world, &facts, now),
                tenant,
                clock,
                is_damaged: false,
            },
            Loaded::Missing | Loaded::Damaged => {
                TenantStanding { tenant, blocked_reason: None, plan: None, clock, is_damaged: true }
            }
        })
    }

    /// Where a tenant stands that nothing was given to yet.
    #[must_use]
    pub fn standing_of_new(&self, tenant: Tenant) -> TenantStanding {
        let (facts, now) = (TenantFacts::new(tenant, Vec::new(), 0), self.clock.now());
        let blocked_reason = blocked_reason(&self.world(), &facts, now);
        let (tenant, plan) = (facts.tenant, None);
        let clock = tenant.sandbox.then_some(now);
        TenantStanding { tenant, blocked_reason, plan, clock, is_damaged: false }
    }

    /// Changes what can change about a tenant.
    pub async fn update_tenant(
        &self,
        actor: &Actor,
        key: TenantKey,
        patch: TenantPatch,
        expected: Option<u64>,
    ) -> Result<TenantStanding> {
        actor.may_on(Permission::TenantsWrite, &key)?;
        let by = actor.principal.id.clone();
        let changed = key.clone();
        self.change(actor, move |tx| {
            let before = store::tenants::get(tx.read(), &key)?;
            expect_revision(expected, before.revision)?;
            let (after, name, reason) = patched(tx, &before, patch, &by)?;
            if after == before {
                return Ok(((), Vec::new()));
            }
            store::tenants::update(tx, &after)?;
            tx.touch_tenant(&key)?;
            Ok(((), vec![event(name, &after, facts(&before), reason)]))
        })
        .await?;
        self.tenant(actor, &changed).await
    }
}

/// Which blocked tenants are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedFilter {
    /// Blocked for whatever reason, or damaged.
    Any,
    /// Blocked for this one.
    Reason(Reason),
}

impl BlockedFilter {
    fn matches(self, standing: &TenantStanding) -> bool {
        match self {
            Self::Any => standing.blocked_reason.is_some() || standing.is_damaged,
            Self::Reason(reason) => standing.blocked_reason == Some(reason),
        }
    }
}

/// The tenant after a patch, the event's name and its reason.
fn patched(
    tx: &WriteTx<'_>,
    before: &Tenant,
    patch: TenantPatch,
    by: &str,
) -> Result<(Tenant, &'static str, Option<String>)> {
    let TenantPatch { name, parent, status, billing, demo, attributes } = patch;
    let mut after = before.clone();
    let (mut event, mut why) = ("tenant.updated", None);
    after.name = name.unwrap_or(after.name);
    if let Some(parent) = parent {
        expect_parent(tx.read(), &before.key, parent.as_ref())?;
        after.parent = parent;
    }
    after.billing = billing.unwrap_or(after.billing);
    after.demo = demo.unwrap_or(after.demo);
    after.attributes = attributes.unwrap_or(after.attributes);
    match status {
        Some(StatusChange::Suspend(reason)) => {
            let (by, at) = match &before.suspension {
                Some(first) => (first.by.clone(), first.at),
                None => {
                    event = "tenant.suspended";
                    (by.to_owned(), tx.now())
                }
            };
            after.suspension = Some(Suspension { by, at, reason: reason.clone() });
            why = Some(reason);
        }
        Some(StatusChange::Reactivate(reason)) if before.suspension.is_some() => {
            after.suspension = None;
            (event, why) = ("tenant.reactivated", reason);
        }
        Some(StatusChange::Reactivate(_)) | None => {}
    }
    if after != *before {
        after.updated_at = tx.now();
        after.revision += 1;
    }
    Ok((after, event, why))
}

/// A parent exists, and is not below the tenant itself.
fn expect_parent(tx: &ReadTx<'_>, key: &TenantKey, parent: Option<&TenantKey>) -> Result<()> {
    let mut above = parent.cloned();
    // The chain is as long as the tree is deep; a bound keeps a damaged one from running for ever.
    for depth in 0..1000 {
        let Some(next) = above else { return Ok(()) };
        if next == *key {
            let message = format!("“{key}” would stand above itself");
            return Err(Error::invalid("parent", message));
        }
        let Some(found) = store::tenants::find(tx, &next)? else {
            let message = format!("there is no tenant “{next}”");
            return if depth == 0 { Err(Error::invalid("parent", message)) } else { Ok(()) };
        };
        above = found.parent;
    }
    Err(Error::invalid("parent", "the tree of tenants is deeper than 1000 levels"))
}

fn facts(tenant: &Tenant) -> Value {
    json!({
        "name": tenant.name,
        "parent": tenant.parent,
        "suspension": tenant.suspension,
        "billing": tenant.billing,
        "demo": tenant.demo,
        "sandbox": tenant.sandbox,
        "attributes": tenant.attributes,
    })
}

fn event(name: &'static str, after: &Tenant, before: Value, reason: Option<String>) -> Event {
    Event {
        name,
        tenant: Some(after.key.clone()),
        subject: after.key.to_string(),
        before,
        after: facts(after),
        reason,
    }
}
