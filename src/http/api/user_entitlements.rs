//! Modules and features that are given to one user.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Tag, once, overrides::line};
use crate::{
    domain::{
        keys::{EntitlementKey, TenantKey, UserKey},
        people::{UserEntitlement, UserEntitlementFilter, UserEntitlementStatus},
        time::Timestamp,
    },
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Tagged},
        types::{IdempotencyKey, Patch},
    },
    service::{
        Service,
        user_entitlements::{Place, UserEntitlementDraft, UserEntitlementPatch},
    },
};

/// The operations.
pub struct UserEntitlementsApi(pub(super) Service);

/// A module or feature for one user of a tenant. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewUserEntitlement", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct UserEntitlementBody {
    /// Who.
    user: Lenient<UserKey>,
    /// The module or boolean feature.
    key: Lenient<EntitlementKey>,
    /// Not honoured from here on; never if left out.
    expires_at: Option<Lenient<Timestamp>>,
    /// Why, in 3 to 500 characters.
    reason: Lenient<String>,
}

impl poem_openapi::types::Example for UserEntitlementBody {
    fn example() -> Self {
        Self {
            user: Lenient::Good(UserKey::example("u-17")),
            key: Lenient::Good(EntitlementKey::example("brilliant_school")),
            expires_at: None,
            reason: Lenient::Good("Enrolled for the spring term".into()),
        }
    }
}

/// A module or feature for one user without a tenant. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewDirectEntitlement", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct DirectEntitlementBody {
    /// The module or boolean feature.
    key: Lenient<EntitlementKey>,
    /// Not honoured from here on; never if left out.
    expires_at: Option<Lenient<Timestamp>>,
    /// Why, in 3 to 500 characters.
    reason: Lenient<String>,
}

impl poem_openapi::types::Example for DirectEntitlementBody {
    fn example() -> Self {
        Self {
            key: Lenient::Good(EntitlementKey::example("wealth_with_god")),
            expires_at: None,
            reason: Lenient::Good("Bought online".into()),
        }
    }
}

/// What is to change about a user entitlement; what is left out stays.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "UserEntitlementPatch", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct UserEntitlementPatchBody {
    /// `active`, `suspended` or `revoked`.
    status: Option<Lenient<UserEntitlementStatus>>,
    /// Another end; `null` for none.
    expires_at: Patch<Value>,
    /// Why, in 3 to 500 characters.
    reason: Lenient<String>,
}

impl poem_openapi::types::Example for UserEntitlementPatchBody {
    fn example() -> Self {
        Self {
            status: Some(Lenient::Good(UserEntitlementStatus::Suspended)),
            expires_at: Patch::Absent,
            reason: Lenient::Good("Payment is late".into()),
        }
    }
}

/// A module or feature given to one user.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "UserEntitlement")]
pub struct UserEntitlementView {
    /// Its id.
    id: String,
    /// In which tenant; `null` without one.
    tenant: Option<TenantKey>,
    /// Who.
    user: UserKey,
    /// The module or feature.
    key: EntitlementKey,
    /// Where it stands.
    status: UserEntitlementStatus,
    /// Not honoured from here on.
    expires_at: Option<Timestamp>,
    /// Why it stands there.
    reason: String,
    /// When it was granted.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
    /// When it was last changed.
    updated_at: Timestamp,
    /// By whom.
    updated_by: String,
}

#[expect(clippy::too_many_arguments, reason = "each parameter is an argument")]
#[OpenApi(tag = "Tag::UserEntitlements")]
impl UserEntitlementsApi {
    /// Entitle a user of a tenant
    #[oai(
        path = "/api/v1/tenants/:tenant/user-entitlements",
        method = "post",
        operation_id = "grant_user_entitlement"
    )]
    async fn grant_user_entitlement(
        &self,
        caller: Caller<needs::UserEntitlementsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        once_key: Header<Option<IdempotencyKey>>,
        body: Json<UserEntitlementBody>,
    ) -> Answer<Created<Json<UserEntitlementView>>> {
        let about = tenant.0.to_string();
        let once = once(once_key.0.as_ref(), "grant_user_entitlement", &about, &body.0)?;
        let (place, draft) = (Place::Tenant(tenant.0), body.0.into());
        let own = self.0.grant_user_entitlement(&caller.actor, once, place, draft).await?;
        Ok(self.created(own))
    }

    /// List what single users of a tenant are entitled to
    ///
    /// Newest first, with those that have ended.
    #[oai(
        path = "/api/v1/tenants/:tenant/user-entitlements",
        method = "get",
        operation_id = "list_user_entitlements"
    )]
    async fn list_user_entitlements(
        &self,
        caller: Caller<needs::UserEntitlementsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Of this user.
        user: Query<Option<UserKey>>,
        /// On this module or feature.
        key: Query<Option<EntitlementKey>>,
        /// That stand so; all if left out.
        status: Query<Option<UserEntitlementStatus>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<UserEntitlementView>>> {
        let filter = UserEntitlementFilter { user: user.0, key: key.0, status: status.0 };
        let place = Place::Tenant(tenant.0);
        self.list(&caller.actor, place, filter, limit.0, cursor.0).await
    }

    /// Read a user entitlement
    #[oai(
        path = "/api/v1/tenants/:tenant/user-entitlements/:id",
        method = "get",
        operation_id = "get_user_entitlement"
    )]
    async fn get_user_entitlement(
        &self,
        caller: Caller<needs::UserEntitlementsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The user entitlement.
        id: Path<String>,
    ) -> Answer<Tagged<Json<UserEntitlementView>>> {
        let place = Place::Tenant(tenant.0);
        Ok(self.tagged(self.0.get_user_entitlement(&caller.actor, &place, &id).await?))
    }

    /// Suspend, resume or revoke a user entitlement, or move its end
    #[oai(
        path = "/api/v1/tenants/:tenant/user-entitlements/:id",
        method = "patch",
        operation_id = "update_user_entitlement"
    )]
    async fn update_user_entitlement(
        &self,
        caller: Caller<needs::UserEntitlementsWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The user entitlement.
        id: Path<String>,
        /// The tag of the state that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<UserEntitlementPatchBody>,
    ) -> Answer<Tagged<Json<UserEntitlementView>>> {
        let expected = IfMatch::expected(expected.0)?;
        let (actor, place, patch) = (&caller.actor, Place::Tenant(tenant.0), body.0.into());
        Ok(self.tagged(self.0.update_user_entitlement(actor, place, id.0, patch, expected).await?))
    }

    /// Entitle a user without a tenant
    ///
    /// For modules that are provisioned by `direct_user`, and their features.
    #[oai(
        path = "/api/v1/users/:user/user-entitlements",
        method = "post",
        operation_id = "grant_direct_entitlement"
    )]
    async fn grant_direct_entitlement(
        &self,
        caller: Caller<needs::DirectEntitlementsWrite>,
        /// Who.
        user: Path<UserKey>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        once_key: Header<Option<IdempotencyKey>>,
        body: Json<DirectEntitlementBody>,
    ) -> Answer<Created<Json<UserEntitlementView>>> {
        let about = user.0.to_string();
        let once = once(once_key.0.as_ref(), "grant_direct_entitlement", &about, &body.0)?;
        let (place, draft) = (Place::Direct(user.0), body.0.into());
        let own = self.0.grant_user_entitlement(&caller.actor, once, place, draft).await?;
        Ok(self.created(own))
    }

    /// List what a user is entitled to without a tenant
    ///
    /// Newest first, with those that have ended.
    #[oai(
        path = "/api/v1/users/:user/user-entitlements",
        method = "get",
        operation_id = "list_direct_entitlements"
    )]
    async fn list_direct_entitlements(
        &self,
        caller: Caller<needs::DirectEntitlementsRead>,
        /// Who.
        user: Path<UserKey>,
        /// On this module or feature.
        key: Query<Option<EntitlementKey>>,
        /// That stand so; all if left out.
        status: Query<Option<UserEntitlementStatus>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<UserEntitlementView>>> {
        let filter = UserEntitlementFilter { user: None, key: key.0, status: status.0 };
        let place = Place::Direct(user.0);
        self.list(&caller.actor, place, filter, limit.0, cursor.0).await
    }

    /// Read a user entitlement without a tenant
    #[oai(
        path = "/api/v1/users/:user/user-entitlements/:id",
        method = "get",
        operation_id = "get_direct_entitlement"
    )]
    async fn get_direct_entitlement(
        &self,
        caller: Caller<needs::DirectEntitlementsRead>,
        /// Who.
        user: Path<UserKey>,
        /// The user entitlement.
        id: Path<String>,
    ) -> Answer<Tagged<Json<UserEntitlementView>>> {
        let place = Place::Direct(user.0);
        Ok(self.tagged(self.0.get_user_entitlement(&caller.actor, &place, &id).await?))
    }

    /// Suspend, resume or revoke a user entitlement without a tenant, or move its end
    #[oai(
        path = "/api/v1/users/:user/user-entitlements/:id",
        method = "patch",
        operation_id = "update_direct_entitlement"
    )]
    async fn update_direct_entitlement(
        &self,
        caller: Caller<needs::DirectEntitlementsWrite>,
        /// Who.
        user: Path<UserKey>,
        /// The user entitlement.
        id: Path<String>,
        /// The tag of the state that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<UserEntitlementPatchBody>,
    ) -> Answer<Tagged<Json<UserEntitlementView>>> {
        let expected = IfMatch::expected(expected.0)?;
        let (actor, place, patch) = (&caller.actor, Place::Direct(user.0), body.0.into());
        Ok(self.tagged(self.0.update_user_entitlement(actor, place, id.0, patch, expected).await?))
    }
}

impl UserEntitlementsApi {
    async fn list(
        &self,
        actor: &crate::service::Actor,
        place: Place,
        filter: UserEntitlementFilter,
        limit: Option<Limit>,
        cursor: Option<Cursor>,
    ) -> Answer<Json<Page<UserEntitlementView>>> {
        let before = cursor.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.unwrap_or_default().get();
        let page = self.0.user_entitlements(actor, place, filter, before, limit).await?;
        let now = self.0.clock().now();
        Ok(Json(Page::of(page, |own| UserEntitlementView::of(own, now))?))
    }

    fn created(&self, own: UserEntitlement) -> Created<Json<UserEntitlementView>> {
        let id = &own.id;
        let location = match &own.tenant {
            Some(tenant) => format!("/api/v1/tenants/{tenant}/user-entitlements/{id}"),
            None => format!("/api/v1/users/{}/user-entitlements/{id}", own.user),
        };
        let etag = Some(ETag::of_revision(own.revision));
        let body = Json(UserEntitlementView::of(own, self.0.clock().now()));
        Created { location, etag, body }
    }

    fn tagged(&self, own: UserEntitlement) -> Tagged<Json<UserEntitlementView>> {
        let etag = ETag::of_revision(own.revision);
        Tagged::Fresh(etag, Json(UserEntitlementView::of(own, self.0.clock().now())))
    }
}

impl From<UserEntitlementBody> for UserEntitlementDraft {
    fn from(body: UserEntitlementBody) -> Self {
        let UserEntitlementBody { user, key, expires_at, reason } = body;
        let mut faults = Vec::new();
        let user = user.required("user", &mut faults);
        let draft = Self::from(DirectEntitlementBody { key, expires_at, reason });
        faults.extend(draft.faults);
        Self { user, faults, ..draft }
    }
}

impl From<DirectEntitlementBody> for UserEntitlementDraft {
    fn from(body: DirectEntitlementBody) -> Self {
        let DirectEntitlementBody { key, expires_at, reason } = body;
        let mut faults = Vec::new();
        Self {
            user: None,
            key: key.required("key", &mut faults),
            expires_at: expires_at.unwrap_or_default().optional("expires_at", &mut faults),
            reason: reason
                .required("reason", &mut faults)
                .and_then(|why| line(&why, "reason", &mut faults)),
            faults,
        }
    }
}

impl From<UserEntitlementPatchBody> for UserEntitlementPatch {
    fn from(body: UserEntitlementPatchBody) -> Self {
        let UserEntitlementPatchBody { status, expires_at, reason } = body;
        let mut faults = Vec::new();
        let end = |value: Value, faults: &mut Vec<_>| {
            let end: Lenient<Timestamp> = serde_json::from_value(value).unwrap_or_default();
            end.optional("expires_at", faults).map(Some)
        };
        Self {
            status: status.unwrap_or_default().optional("status", &mut faults),
            expires_at: match expires_at {
                Patch::Absent => None,
                Patch::Null => Some(None),
                Patch::Value(value) => end(value, &mut faults),
            },
            reason: reason
                .required("reason", &mut faults)
                .and_then(|why| line(&why, "reason", &mut faults)),
            faults,
        }
    }
}

impl UserEntitlementView {
    fn of(own: UserEntitlement, now: Timestamp) -> Self {
        let status = own.status_at(now);
        let UserEntitlement {
            id,
            tenant,
            user,
            key,
            is_delegated: _,
            status: _,
            expires_at,
            reason,
            created_at,
            created_by,
            updated_at,
            updated_by,
            revision: _,
        } = own;
        Self {
            id,
            tenant,
            user,
            key,
            status,
            expires_at,
            reason,
            created_at,
            created_by,
            updated_at,
            updated_by,
        }
    }
}
