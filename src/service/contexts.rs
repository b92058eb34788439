//! Contexts: the tree of things in a tenant that roles are held on.

use serde_json::{Value, json};

use super::{
    Expected, Service, actor::Actor, expect_revision, paging::Page, permissions::Permission, roles,
};
use crate::{
    domain::{
        audit::Event,
        contexts::{Context, ContextKey, MAX_CONTEXTS, MAX_DEPTH},
        keys::TenantKey,
    },
    error::{Error, Result},
    store::{self, ReadTx, WriteTx, contexts::ContextFilter},
};

/// How many ended assignments the removal of a context takes with it; the worker does the rest.
const ENDED_AT_ONCE: usize = 100;

/// Types that stand for something else than a context.
const RESERVED: [&str; 2] = ["platform", "tenant"];

impl Service {
    /// Makes a context, or moves the one that is there; whether it is new.
    pub async fn put_context(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        key: ContextKey,
        parent: Option<ContextKey>,
        expected: Expected,
    ) -> Result<(Context, bool)> {
        actor.may_on(Permission::ContextsWrite, &tenant)?;
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let before = store::contexts::find(tx.read(), &tenant, &key)?;
            expected.check(before.as_ref().map(|found| found.revision))?;
            if RESERVED.contains(&key.kind.as_str()) {
                let message = format!(
                    "“{}” is no type of context: such roles are held without one; choose another",
                    key.kind
                );
                return Err(Error::invalid("type", message));
            }
            match before {
                Some(before) if before.parent == parent => Ok(((before, false), Vec::new())),
                before => {
                    let context = placed(tx, tenant, key, parent, before.as_ref())?;
                    store::contexts::upsert(tx, &context)?;
                    let is_new = before.is_none();
                    let name = if is_new { "context.created" } else { "context.moved" };
                    let event = event(name, &context, before.as_ref(), Some(&context));
                    Ok(((context, is_new), vec![event]))
                }
            }
        })
        .await
    }

    /// One context.
    pub async fn get_context(
        &self,
        actor: &Actor,
        tenant: &TenantKey,
        key: &ContextKey,
    ) -> Result<Context> {
        actor.may_on(Permission::ContextsRead, tenant)?;
        self.store
            .read(|tx| {
                store::tenants::get(tx, tenant)?;
                found(tx, tenant, key)
            })
            .await
    }

    /// A page of a tenant's contexts, by type and id.
    pub async fn contexts(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        filter: ContextFilter,
        after: Option<(String, String)>,
        limit: usize,
    ) -> Result<Page<Context, (String, String)>> {
        actor.may_on(Permission::ContextsRead, &tenant)?;
        let rows = self
            .store
            .read_long(move |tx| {
                store::tenants::get(tx, &tenant)?;
                store::contexts::list(tx, &tenant, &filter, after.as_ref(), limit + 1)
            })
            .await?;
        Ok(Page::of(rows, limit, |it| (it.key.kind.to_string(), it.key.id.to_string())))
    }

    /// Removes a context that has nothing below it and on which nobody holds a role.
    pub async fn remove_context(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        key: ContextKey,
        expected: Option<u64>,
    ) -> Result<()> {
        actor.may_on(Permission::ContextsWrite, &tenant)?;
        self.change(actor, move |tx| {
            store::tenants::get(tx.read(), &tenant)?;
            tx.in_time_of(&tenant)?;
            let before = found(tx.read(), &tenant, &key)?;
            expect_revision(expected, before.revision)?;
            if let Some(child) = store::contexts::child(tx.read(), &tenant, &key)? {
                let detail = format!(
                    "{child} and perhaps more stand below {key}; move or remove them first."
                );
                return Err(Error::Conflict { code: "CONTEXT_IN_USE", detail });
            }
            let mut events = end_roles(tx, &tenant, &key)?;
            store::contexts::delete(tx, &tenant, &key)?;
            events.push(event("context.removed", &before, Some(&before), None));
            Ok(((), events))
        })
        .await
    }
}

fn found(tx: &ReadTx<'_>, tenant: &TenantKey, key: &ContextKey) -> Result<Context> {
    store::contexts::find(tx, tenant, key)?
        .ok_or_else(|| Error::NotFound { kind: "context", key: key.to_string() })
}

/// The context at its new place, if it fits there.
fn placed(
    tx: &WriteTx<'_>,
    tenant: TenantKey,
    key: ContextKey,
    parent: Option<ContextKey>,
    before: Option<&Context>,
) -> Result<Context> {
    let above = match &parent {
        Some(parent) => way_up(tx.read(), &tenant, &key, parent)?,
        None => 0,
    };
    let height = match before {
        Some(_) => store::contexts::height(tx.read(), &tenant, &key)?,
        None => 1,
    };
    if above + height > MAX_DEPTH {
        let levels = above + height;
        let message =
            format!("would make the tree {levels} levels deep; at most {MAX_DEPTH} are possible");
        return Err(Error::invalid("parent", message));
    }
    if before.is_none() && store::contexts::count(tx.read(), &tenant)? >= MAX_CONTEXTS {
        let detail = format!(
            "The tenant has {MAX_CONTEXTS} contexts, which is the most; remove some that are not \
             used."
        );
        return Err(Error::Conflict { code: "TOO_MANY_CONTEXTS", detail });
    }
    Ok(Context {
        tenant,
        key,
        parent,
        created_at: before.map_or(tx.now(), |before| before.created_at),
        updated_at: tx.now(),
        revision: before.map_or(1, |before| before.revision + 1),
    })
}

/// How many levels end at `parent`; an error where there is none, or `key` is on the way up.
fn way_up(
    tx: &ReadTx<'_>,
    tenant: &TenantKey,
    key: &ContextKey,
    parent: &ContextKey,
) -> Result<usize> {
    let mut levels = 0;
    let mut next = Some(parent.clone());
    while let Some(at) = next {
        if at == *key {
            let message = if at == *parent {
                format!("{key} can't stand below itself")
            } else {
                format!("{parent} stands below {key}, which would make a circle")
            };
            return Err(Error::invalid("parent", message));
        }
        let Some(context) = store::contexts::find(tx, tenant, &at)? else {
            let message = format!("there is no context {at} in the tenant; make it first");
            return Err(Error::invalid("parent", message));
        };
        levels += 1;
        // Not to be reached: every write sees to it.
        if levels > MAX_DEPTH {
            return Err(Error::internal("a tree of contexts is too deep"));
        }
        next = context.parent;
    }
    Ok(levels)
}

/// Records the end of every role on a context that has ended by itself; a conflict where one holds.
fn end_roles(tx: &WriteTx<'_>, tenant: &TenantKey, key: &ContextKey) -> Result<Vec<Event>> {
    let held = store::roles::on_context(tx.read(), tenant, key, ENDED_AT_ONCE + 1)?;
    let has_ended = |end| end <= tx.now();
    let open = held.iter().find(|held| !held.expires_at.is_some_and(has_ended));
    if let Some(open) = open {
        let detail = format!(
            "The role “{}” of “{}” and perhaps more are held on {key}; remove the role assignments \
             first.",
            open.role, open.user
        );
        return Err(Error::Conflict { code: "CONTEXT_IN_USE", detail });
    }
    if held.len() > ENDED_AT_ONCE {
        let detail = format!(
            "Many roles on {key} have ended and wait to be recorded; try again in a moment."
        );
        return Err(Error::Conflict { code: "CONTEXT_IN_USE", detail });
    }
    held.into_iter().map(|held| roles::end(tx, &held, "role.expired")).collect()
}

fn event(
    name: &'static str,
    context: &Context,
    before: Option<&Context>,
    after: Option<&Context>,
) -> Event {
    let facts = |context: &Context| json!({"parent": context.parent});
    Event {
        name,
        tenant: Some(context.tenant.clone()),
        subject: context.key.to_string(),
        before: before.map_or(Value::Null, facts),
        after: after.map_or(Value::Null, facts),
        reason: None,
    }
}
