//! Roles: who holds which, on what, until when.
//!
//! Invariants: a role is held on exactly the kind of thing that the catalog says; one user holds one
//! role on one thing once.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service, actor::Actor, memory::Memory, new_id, once::Once, paging::Page,
    permissions::Permission, provisioning, questions::unknown,
};
use crate::{
    domain::{
        audit::Event,
        catalog::Catalog,
        contexts::ContextKey,
        keys::{RoleKey, TenantKey, UserKey},
        people::{HeldOn, MAX_ROLES, RoleAssignment},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    store::{self, ReadTx, WriteTx, platform_roles, roles::RoleFilter},
};

/// Which role somebody is to hold. A field that could not be read stands among the faults, so that
/// all of them are answered at once.
#[derive(Debug, Clone, Default)]
pub struct NewRole {
    /// Who.
    pub user: Option<UserKey>,
    /// Which one.
    pub role: Option<RoleKey>,
    /// On which context; on the tenant as a whole, or at platform level, where unset.
    pub context: Option<ContextKey>,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// An assignment that was made, or whose expiry was changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assigned {
    /// The assignment.
    pub assignment: RoleAssignment,
    /// It is new.
    pub is_new: bool,
}

impl Service {
    /// Gives a user a role in a tenant. The same again changes when it ends.
    pub async fn assign_role(
        &self,
        actor: &Actor,
        once: Option<Once>,
        tenant: TenantKey,
        new: NewRole,
    ) -> Result<Assigned> {
        actor.may_on(Permission::RolesWrite, &tenant)?;
        self.assign(actor, once, Some(tenant), new).await
    }

    /// Gives a user a role at platform level, which covers every tenant.
    pub async fn assign_platform_role(
        &self,
        actor: &Actor,
        once: Option<Once>,
        new: NewRole,
    ) -> Result<Assigned> {
        actor.reach(Permission::PlatformRolesWrite)?;
        self.assign(actor, once, None, new).await
    }

    async fn assign(
        &self,
        actor: &Actor,
        once: Option<Once>,
        tenant: Option<TenantKey>,
        new: NewRole,
    ) -> Result<Assigned> {
        let (memory, by) = (self.memory.clone(), actor.principal.id.clone());
        self.change_once(actor, once, move |tx| {
            if let Some(tenant) = &tenant {
                store::tenants::get(tx.read(), tenant)?;
                tx.in_time_of(tenant)?;
            }
            let wanted = checked(tx, &memory, tenant, new, by)?;
            let mut events = Vec::new();
            let assigned = match open_now(tx, &wanted, &mut events)? {
                Some(open) => prolong(tx, open, wanted.expires_at, &mut events)?,
                None => create(tx, wanted, &mut events)?,
            };
            Ok((assigned, events))
        })
        .await
    }

    /// One assignment in a tenant that holds.
    pub async fn get_role_assignment(
        &self,
        actor: &Actor,
        tenant: &TenantKey,
        id: &str,
    ) -> Result<RoleAssignment> {
        actor.may_on(Permission::RolesRead, tenant)?;
        let now = self.now_in(tenant).await;
        self.store
            .read(|tx| {
                store::tenants::get(tx, tenant)?;
                holding(store::roles::find(tx, tenant, id)?, now, id)
            })
            .await
    }

    /// One assignment at platform level that holds.
    pub async fn get_platform_role(&self, actor: &Actor, id: &str) -> Result<RoleAssignment> {
        actor.reach(Permission::PlatformRolesRead)?;
        let now = self.clock.now();
        self.store.read(|tx| holding(platform_roles::find(tx, id)?, now, id)).await
    }

    /// A page of a tenant's assignments that hold, newest first.
    pub async fn role_assignments(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        filter: RoleFilter,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<RoleAssignment>> {
        actor.may_on(Permission::RolesRead, &tenant)?;
        let now = self.now_in(&tenant).await;
        let rows = self
            .store
            .read_long(move |tx| {
                store::tenants::get(tx, &tenant)?;
                store::roles::list(tx, &tenant, &filter, now, before.as_deref(), limit + 1)
            })
            .await?;
        Ok(Page::of(rows, limit, |assignment| assignment.id.clone()))
    }

    /// A page of the assignments at platform level that hold, newest first.
    pub async fn platform_roles(
        &self,
        actor: &Actor,
        filter: RoleFilter,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<RoleAssignment>> {
        actor.reach(Permission::PlatformRolesRead)?;
        let now = self.clock.now();
        let rows = self
            .store
            .read_long(move |tx| {
                platform_roles::list(tx, &filter, now, before.as_deref(), limit + 1)
            })
            .await?;
        Ok(Page::of(rows, limit, |assignment| assignment.id.clone()))
    }

    /// Takes a role in a tenant away.
    pub async fn remove_role(&self, actor: &Actor, tenant: TenantKey, id: String) -> Result<()> {
        actor.may_on(Permission::RolesWrite, &tenant)?;
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let found = store::roles::find(tx.read(), &tenant, &id)?;
            let before = holding(found, tx.now(), &id)?;
            Ok(((), vec![end(tx, &before, "role.removed")?]))
        })
        .await
    }

    /// Takes a role at platform level away.
    pub async fn remove_platform_role(&self, actor: &Actor, id: String) -> Result<()> {
        actor.reach(Permission::PlatformRolesWrite)?;
        self.change(actor, move |tx| {
            let before = holding(platform_roles::find(tx.read(), &id)?, tx.now(), &id)?;
            Ok(((), vec![end(tx, &before, "role.removed")?]))
        })
        .await
    }
}

/// What has expired is there no more, whether or not the worker has recorded it.
fn holding(found: Option<RoleAssignment>, now: Timestamp, id: &str) -> Result<RoleAssignment> {
    found
        .filter(|held| held.expires_at.is_none_or(|end| now < end))
        .ok_or_else(|| store::roles::not_found(id))
}

/// The assignment that somebody wants, or all that is wrong with it.
fn checked(
    tx: &WriteTx<'_>,
    memory: &Memory,
    tenant: Option<TenantKey>,
    new: NewRole,
    created_by: String,
) -> Result<RoleAssignment> {
    let NewRole { user, role, context, expires_at, mut faults } = new;
    let now = tx.now();
    let catalog = provisioning::catalog(tx, memory)?;
    let is_unknown = role.as_ref().is_some_and(|role| !catalog.roles.contains_key(role));
    let on = match &role {
        Some(role) => place(&catalog, tenant.as_ref(), role, context, &mut faults),
        None => None,
    };
    if let (Some(tenant), Some(HeldOn::Context(context))) = (&tenant, &on)
        && store::contexts::find(tx.read(), tenant, context)?.is_none()
    {
        let message = format!("there is no context {context} in the tenant; make it first");
        faults.push(Fault::new("context", message));
    }
    if expires_at.is_some_and(|end| end <= now) {
        let message = format!("must lie in the future; it is {now} now");
        faults.push(Fault::new("expires_at", message));
    }
    let (Some(user), Some(role), Some(on), true) = (user, role, on, faults.is_empty()) else {
        // Only where nothing else is wrong does the unknown key name the problem.
        let code = if is_unknown && faults.len() == 1 { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
        return Err(Error::Invalid { code, faults });
    };
    let id = new_id("rol");
    Ok(RoleAssignment { id, tenant, user, role, on, expires_at, created_at: now, created_by })
}

/// What a role is held on, where that is the kind of thing it can be held on.
fn place(
    catalog: &Catalog,
    tenant: Option<&TenantKey>,
    role: &RoleKey,
    context: Option<ContextKey>,
    faults: &mut Vec<Fault>,
) -> Option<HeldOn> {
    let Some(definition) = catalog.roles.get(role) else {
        let known = catalog.roles.keys().map(RoleKey::as_str);
        faults.push(unknown("role", "role", role.as_str(), known));
        return None;
    };
    let kind = &definition.context;
    let (field, message) = match (kind.as_str(), tenant, context) {
        ("platform", None, None) => return Some(HeldOn::Platform),
        ("tenant", Some(_), None) => return Some(HeldOn::Tenant),
        ("platform", None, Some(_)) | ("tenant", Some(_), Some(_)) => {
            ("context", format!("the role “{role}” is held on no context; leave it out"))
        }
        ("platform", Some(_), _) => (
            "role",
            format!(
                "the role “{role}” is held at platform level; a super admin assigns it with \
                 POST /api/v1/admin/role-assignments"
            ),
        ),
        (_, None, _) => (
            "role",
            format!(
                "the role “{role}” is held in a tenant ({kind}); assign it with \
                 POST /api/v1/tenants/{{tenant}}/role-assignments"
            ),
        ),
        (_, Some(_), None) => {
            ("context", format!("the role “{role}” is held on a context of the type “{kind}”"))
        }
        (_, Some(_), Some(given)) if given.kind == *kind => return Some(HeldOn::Context(given)),
        (_, Some(_), Some(given)) => (
            "context",
            format!(
                "the role “{role}” is held on contexts of the type “{kind}”, not on “{}”",
                given.kind
            ),
        ),
    };
    // A context that could not be read was said already.
    if faults.iter().all(|fault| fault.field != field) {
        faults.push(Fault::new(field, message));
    }
    None
}

fn find_held(tx: &ReadTx<'_>, wanted: &RoleAssignment) -> Result<Option<RoleAssignment>> {
    let RoleAssignment { tenant, user, role, on, .. } = wanted;
    match tenant {
        Some(tenant) => store::roles::find_held(tx, tenant, user, role, on),
        None => platform_roles::find_held(tx, user, role),
    }
}

/// The same assignment, if it holds now. One that has ended by itself is recorded as such.
fn open_now(
    tx: &WriteTx<'_>,
    wanted: &RoleAssignment,
    events: &mut Vec<Event>,
) -> Result<Option<RoleAssignment>> {
    match find_held(tx.read(), wanted)? {
        Some(held) if held.expires_at.is_some_and(|end| end <= tx.now()) => {
            events.push(end(tx, &held, "role.expired")?);
            Ok(None)
        }
        open => Ok(open),
    }
}

fn create(tx: &WriteTx<'_>, new: RoleAssignment, events: &mut Vec<Event>) -> Result<Assigned> {
    let count = match &new.tenant {
        Some(tenant) => store::roles::count_of(tx.read(), tenant, &new.user)?,
        None => platform_roles::count_of(tx.read(), &new.user)?,
    };
    if count >= MAX_ROLES {
        let detail = format!(
            "“{}” holds {MAX_ROLES} roles, which is the most; remove some, or assign a role higher \
             up in the tree.",
            new.user
        );
        return Err(Error::Conflict { code: "TOO_MANY_ROLES", detail });
    }
    match &new.tenant {
        Some(tenant) => store::roles::insert(tx, tenant, &new)?,
        None => platform_roles::insert(tx, &new)?,
    }
    events.push(event("role.assigned", None, Some(&new), &new));
    Ok(Assigned { assignment: new, is_new: true })
}

/// Changes when an assignment ends.
fn prolong(
    tx: &WriteTx<'_>,
    before: RoleAssignment,
    expires_at: Option<Timestamp>,
    events: &mut Vec<Event>,
) -> Result<Assigned> {
    if before.expires_at == expires_at {
        return Ok(Assigned { assignment: before, is_new: false });
    }
    let after = RoleAssignment { expires_at, ..before.clone() };
    match &after.tenant {
        Some(tenant) => store::roles::set_expiry(tx, tenant, &after)?,
        None => platform_roles::set_expiry(tx, &after)?,
    }
    events.push(event("role.assigned", Some(&before), Some(&after), &after));
    Ok(Assigned { assignment: after, is_new: false })
}

/// Ends an assignment; the event says how.
pub(super) fn end(tx: &WriteTx<'_>, held: &RoleAssignment, name: &'static str) -> Result<Event> {
    match &held.tenant {
        Some(tenant) => store::roles::delete(tx, tenant, held)?,
        None => platform_roles::delete(tx, held)?,
    }
    Ok(event(name, Some(held), None, held))
}

fn event(
    name: &'static str,
    before: Option<&RoleAssignment>,
    after: Option<&RoleAssignment>,
    about: &RoleAssignment,
) -> Event {
    let facts = |it: &RoleAssignment| {
        let context = match &it.on {
            HeldOn::Platform | HeldOn::Tenant => None,
            HeldOn::Context(context) => Some(context),
        };
        json!({
            "id": it.id,
            "user": it.user,
            "role": it.role,
            "context": context,
            "expires_at": it.expires_at,
        })
    };
    Event {
        name,
        tenant: about.tenant.clone(),
        subject: about.user.to_string(),
        before: before.map_or(Value::Null, facts),
        after: after.map_or(Value::Null, facts),
        reason: None,
    }
}
