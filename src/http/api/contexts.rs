//! Contexts: the tree of things in a tenant that roles are held on.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{Tag, personal::ContextRef};
use crate::{
    domain::{
        contexts::{Context, ContextKey},
        keys::{ContextId, ContextType, TenantKey},
        time::Timestamp,
    },
    error::Error,
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Done, Stored, Tagged},
    },
    service::Service,
    store::contexts::ContextFilter,
};

/// The operations.
pub struct ContextsApi(pub(super) Service);

/// Where a context stands.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "ContextBody", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct ContextBody {
    /// The context right above; the top of the tree if left out.
    parent: Option<ContextRef>,
}

impl poem_openapi::types::Example for ContextBody {
    fn example() -> Self {
        let (kind, id) = (ContextType::example("store"), ContextId::example("s1"));
        Self { parent: Some(ContextRef { kind, id }) }
    }
}

/// A thing in a tenant that roles are held on.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Context")]
pub struct ContextView {
    /// Whose.
    tenant: TenantKey,
    /// What kind of thing.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: ContextType,
    /// Which one of them.
    id: ContextId,
    /// The context right above; null at the top of the tree.
    parent: Option<ContextRef>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last moved.
    updated_at: Timestamp,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Contexts")]
impl ContextsApi {
    /// List a tenant's contexts
    ///
    /// By type and id.
    #[oai(path = "/tenants/:tenant/contexts", method = "get", operation_id = "list_contexts")]
    async fn list_contexts(
        &self,
        caller: Caller<needs::ContextsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Of this type.
        #[oai(name = "type")]
        kind: Query<Option<ContextType>>,
        /// Right below a context of this type; together with `parent_id`.
        parent_type: Query<Option<ContextType>>,
        /// Right below the context with this id; together with `parent_type`.
        parent_id: Query<Option<ContextId>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<ContextView>>> {
        let parent = match (parent_type.0, parent_id.0) {
            (Some(kind), Some(id)) => Some(ContextKey { kind, id }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::invalid("parent_id", "goes with parent_type").into());
            }
            (None, Some(_)) => {
                return Err(Error::invalid("parent_type", "goes with parent_id").into());
            }
        };
        let filter = ContextFilter { kind: kind.0, parent };
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.contexts(&caller.actor, tenant.0, filter, after, limit).await?;
        Ok(Json(Page::of(page, ContextView::from)?))
    }

    /// Make or move a context
    ///
    /// What stands below it moves along. Without a `parent` it stands at the top of the tree. Roles
    /// that are held above count for it at once, and those of its old place no longer.
    #[oai(
        path = "/tenants/:tenant/contexts/:type/:id",
        method = "put",
        operation_id = "put_context"
    )]
    async fn put_context(
        &self,
        caller: Caller<needs::ContextsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// What kind of thing, such as `store`; not `tenant` or `platform`.
        #[oai(name = "type")]
        kind: Path<ContextType>,
        /// Which one of them.
        id: Path<ContextId>,
        /// The tag of the context that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<ContextBody>,
    ) -> Answer<Stored<ContextView>> {
        let expected = IfMatch::or_nothing(expected.0)?;
        let ContextBody { parent } = body.0;
        let (key, parent) = (ContextKey { kind: kind.0, id: id.0 }, parent.map(ContextKey::from));
        let actor = &caller.actor;
        let (context, is_new) = self.0.put_context(actor, tenant.0, key, parent, expected).await?;
        let Context { tenant, key: ContextKey { kind, id }, .. } = &context;
        let location = format!("/api/v1/tenants/{tenant}/contexts/{kind}/{id}");
        let etag = ETag::of_revision(context.revision);
        Ok(Stored::new(is_new.then_some(location), etag, context.into()))
    }

    /// Read a context
    #[oai(
        path = "/tenants/:tenant/contexts/:type/:id",
        method = "get",
        operation_id = "get_context"
    )]
    async fn get_context(
        &self,
        caller: Caller<needs::ContextsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// What kind of thing.
        #[oai(name = "type")]
        kind: Path<ContextType>,
        /// Which one of them.
        id: Path<ContextId>,
    ) -> Answer<Tagged<Json<ContextView>>> {
        let key = ContextKey { kind: kind.0, id: id.0 };
        let context = self.0.get_context(&caller.actor, &tenant, &key).await?;
        Ok(Tagged::Fresh(ETag::of_revision(context.revision), Json(context.into())))
    }

    /// Remove a context
    ///
    /// Refused while something stands below it or somebody holds a role on it.
    #[oai(
        path = "/tenants/:tenant/contexts/:type/:id",
        method = "delete",
        operation_id = "delete_context"
    )]
    async fn delete_context(
        &self,
        caller: Caller<needs::ContextsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// What kind of thing.
        #[oai(name = "type")]
        kind: Path<ContextType>,
        /// Which one of them.
        id: Path<ContextId>,
        /// The tag of the context that was looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
    ) -> Answer<Done> {
        let expected = IfMatch::expected(expected.0)?;
        let key = ContextKey { kind: kind.0, id: id.0 };
        self.0.remove_context(&caller.actor, tenant.0, key, expected).await?;
        Ok(Done)
    }
}

impl From<Context> for ContextView {
    fn from(context: Context) -> Self {
        let Context {
            tenant,
            key: ContextKey { kind, id },
            parent,
            created_at,
            updated_at,
            revision: _,
        } = context;
        Self { tenant, kind, id, parent: parent.map(ContextRef::from), created_at, updated_at }
    }
}
