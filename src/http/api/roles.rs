//! Role assignments, in a tenant and at platform level.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{Tag, once, personal::ContextRef};
use crate::{
    domain::{
        contexts::ContextKey,
        keys::{ContextId, ContextType, RoleKey, TenantKey, UserKey},
        people::{HeldOn, RoleAssignment},
        time::Timestamp,
    },
    error::Error,
    http::{
        auth::{Caller, needs},
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Done, Named},
        types::IdempotencyKey,
    },
    service::{
        Service,
        roles::{Assigned, NewRole},
    },
    store::roles::RoleFilter,
};

/// The operations.
pub struct RolesApi(pub(super) Service);

/// A role for a user in a tenant. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewRoleAssignment", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct RoleBody {
    /// Who gets it.
    user: Lenient<UserKey>,
    /// Which role of the catalog.
    role: Lenient<RoleKey>,
    /// The context that it is held on, of the type that the catalog says; left out for a role of the
    /// tenant.
    context: Option<Lenient<ContextRef>>,
    /// Not honoured from here on; without an end if left out.
    expires_at: Option<Lenient<Timestamp>>,
}

impl poem_openapi::types::Example for RoleBody {
    fn example() -> Self {
        let (kind, id) = (ContextType::example("store"), ContextId::example("s1"));
        Self {
            user: Lenient::Good(UserKey::example("u-17")),
            role: Lenient::Good(RoleKey::example("store_manager")),
            context: Some(Lenient::Good(ContextRef { kind, id })),
            expires_at: None,
        }
    }
}

/// A role for one of the application's own staff. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewPlatformRole", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformRoleBody {
    /// Who gets it.
    user: Lenient<UserKey>,
    /// Which role of the catalog.
    role: Lenient<RoleKey>,
    /// Not honoured from here on; without an end if left out.
    expires_at: Option<Lenient<Timestamp>>,
}

impl poem_openapi::types::Example for PlatformRoleBody {
    fn example() -> Self {
        Self {
            user: Lenient::Good(UserKey::example("sue")),
            role: Lenient::Good(RoleKey::example("super_admin")),
            expires_at: Some(Lenient::Good(Timestamp::from_micros(1_798_761_600_000_000))),
        }
    }
}

/// A role that a user holds.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "RoleAssignment")]
pub struct RoleAssignmentView {
    /// Its id.
    id: String,
    /// In which tenant; null at platform level, which covers every tenant.
    tenant: Option<TenantKey>,
    /// Who holds it.
    user: UserKey,
    /// Which role of the catalog.
    role: RoleKey,
    /// The context that it is held on; null for the tenant as a whole, or for all tenants.
    context: Option<ContextRef>,
    /// Not honoured from here on; null without an end.
    expires_at: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
}

#[expect(clippy::too_many_arguments, reason = "each query parameter is an argument")]
#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Roles")]
impl RolesApi {
    /// Give a user a role in a tenant
    ///
    /// It permits what it permits on its context and below. A user holds a role on one thing once:
    /// the same again changes when it ends. 201 for a new one, else 200.
    #[oai(
        path = "/tenants/:tenant/role-assignments",
        method = "post",
        operation_id = "assign_role"
    )]
    async fn assign_role(
        &self,
        caller: Caller<needs::RolesWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<RoleBody>,
    ) -> Answer<Named<RoleAssignmentView>> {
        let once = once(key.0.as_ref(), "assign_role", tenant.as_str(), &body.0)?;
        let location = format!("/api/v1/tenants/{}/role-assignments", tenant.as_str());
        let new = body.0.into();
        let assigned = self.0.assign_role(&caller.actor, once, tenant.0, new).await?;
        Ok(kept(&location, assigned))
    }

    /// List a tenant's role assignments
    ///
    /// Those that hold, newest first.
    #[oai(
        path = "/tenants/:tenant/role-assignments",
        method = "get",
        operation_id = "list_role_assignments"
    )]
    async fn list_role_assignments(
        &self,
        caller: Caller<needs::RolesRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Of this user.
        user: Query<Option<UserKey>>,
        /// Of this role.
        role: Query<Option<RoleKey>>,
        /// On contexts of this type.
        context_type: Query<Option<ContextType>>,
        /// On the context with this id; together with `context_type`.
        context_id: Query<Option<ContextId>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<RoleAssignmentView>>> {
        if context_type.0.is_none() && context_id.0.is_some() {
            return Err(Error::invalid("context_type", "goes with context_id").into());
        }
        let filter = RoleFilter {
            user: user.0,
            role: role.0,
            context_type: context_type.0,
            context_id: context_id.0,
        };
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.role_assignments(&caller.actor, tenant.0, filter, before, limit).await?;
        Ok(Json(Page::of(page, RoleAssignmentView::from)?))
    }

    /// Read a role assignment in a tenant
    #[oai(
        path = "/tenants/:tenant/role-assignments/:id",
        method = "get",
        operation_id = "get_role_assignment"
    )]
    async fn get_role_assignment(
        &self,
        caller: Caller<needs::RolesRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The assignment.
        id: Path<String>,
    ) -> Answer<Json<RoleAssignmentView>> {
        let found = self.0.get_role_assignment(&caller.actor, &tenant, &id).await?;
        Ok(Json(found.into()))
    }

    /// Take a role in a tenant away
    #[oai(
        path = "/tenants/:tenant/role-assignments/:id",
        method = "delete",
        operation_id = "delete_role_assignment"
    )]
    async fn delete_role_assignment(
        &self,
        caller: Caller<needs::RolesWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The assignment.
        id: Path<String>,
    ) -> Answer<Done> {
        self.0.remove_role(&caller.actor, tenant.0, id.0).await?;
        Ok(Done)
    }

    /// Give one of the own staff a role
    ///
    /// It covers every tenant. A user holds a role once: the same again changes when it ends. 201 for
    /// a new one, else 200.
    #[oai(path = "/admin/role-assignments", method = "post", operation_id = "assign_platform_role")]
    async fn assign_platform_role(
        &self,
        caller: Caller<needs::PlatformRolesWrite>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<PlatformRoleBody>,
    ) -> Answer<Named<RoleAssignmentView>> {
        let once = once(key.0.as_ref(), "assign_platform_role", "", &body.0)?;
        let assigned = self.0.assign_platform_role(&caller.actor, once, body.0.into()).await?;
        Ok(kept("/api/v1/admin/role-assignments", assigned))
    }

    /// List roles of the own staff
    ///
    /// Those that hold, newest first.
    #[oai(path = "/admin/role-assignments", method = "get", operation_id = "list_platform_roles")]
    async fn list_platform_roles(
        &self,
        caller: Caller<needs::PlatformRolesRead>,
        /// Of this user.
        user: Query<Option<UserKey>>,
        /// Of this role.
        role: Query<Option<RoleKey>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<RoleAssignmentView>>> {
        let filter = RoleFilter { user: user.0, role: role.0, ..RoleFilter::default() };
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.platform_roles(&caller.actor, filter, before, limit).await?;
        Ok(Json(Page::of(page, RoleAssignmentView::from)?))
    }

    /// Read a role assignment of the own staff
    #[oai(path = "/admin/role-assignments/:id", method = "get", operation_id = "get_platform_role")]
    async fn get_platform_role(
        &self,
        caller: Caller<needs::PlatformRolesRead>,
        /// The assignment.
        id: Path<String>,
    ) -> Answer<Json<RoleAssignmentView>> {
        Ok(Json(self.0.get_platform_role(&caller.actor, &id).await?.into()))
    }

    /// Take a role of the own staff away
    #[oai(
        path = "/admin/role-assignments/:id",
        method = "delete",
        operation_id = "delete_platform_role"
    )]
    async fn delete_platform_role(
        &self,
        caller: Caller<needs::PlatformRolesWrite>,
        /// The assignment.
        id: Path<String>,
    ) -> Answer<Done> {
        self.0.remove_platform_role(&caller.actor, id.0).await?;
        Ok(Done)
    }
}

fn kept(list: &str, Assigned { assignment, is_new }: Assigned) -> Named<RoleAssignmentView> {
    let location = format!("{list}/{}", assignment.id);
    Named::new(is_new.then_some(location), assignment.into())
}

impl From<RoleBody> for NewRole {
    fn from(body: RoleBody) -> Self {
        let RoleBody { user, role, context, expires_at } = body;
        let mut faults = Vec::new();
        Self {
            user: user.required("user", &mut faults),
            role: role.required("role", &mut faults),
            context: context
                .unwrap_or_default()
                .optional("context", &mut faults)
                .map(ContextKey::from),
            expires_at: expires_at.unwrap_or_default().optional("expires_at", &mut faults),
            faults,
        }
    }
}

impl From<PlatformRoleBody> for NewRole {
    fn from(body: PlatformRoleBody) -> Self {
        let PlatformRoleBody { user, role, expires_at } = body;
        let mut faults = Vec::new();
        Self {
            user: user.required("user", &mut faults),
            role: role.required("role", &mut faults),
            context: None,
            expires_at: expires_at.unwrap_or_default().optional("expires_at", &mut faults),
            faults,
        }
    }
}

impl From<RoleAssignment> for RoleAssignmentView {
    fn from(assignment: RoleAssignment) -> Self {
        let RoleAssignment { id, tenant, user, role, on, expires_at, created_at, created_by } =
            assignment;
        let context = match on {
            HeldOn::Platform | HeldOn::Tenant => None,
            HeldOn::Context(context) => Some(ContextRef::from(context)),
        };
        Self { id, tenant, user, role, context, expires_at, created_at, created_by }
    }
}
