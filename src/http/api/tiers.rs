//! Tiers: a user's place on a plan for users.

use poem_openapi::{Object, OpenApi, param::Path, types::Example};
use serde::{Deserialize, Serialize};

use super::{Tag, overrides::line};
use crate::{
    domain::{
        keys::{PlanKey, TenantKey, UserKey},
        people::Tier,
        subscriptions::PinnedPlan,
        time::Timestamp,
    },
    http::{
        auth::{Caller, needs},
        etag::ETag,
        failure::Answer,
        lenient::Lenient,
        payload::Json,
        replies::{Done, Stored},
    },
    service::{
        Service,
        tiers::{TierDraft, TierHolder},
    },
};

/// The operations.
pub struct TiersApi(pub(super) Service);

/// What a tier is to be.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "TierBody", example = true)]
#[serde(deny_unknown_fields)]
pub struct TierBody {
    /// A base plan for users; the newest version of it counts.
    #[serde(default)]
    plan: Lenient<PlanKey>,
    /// When it ends by itself; open if left out.
    expires_at: Option<Lenient<Timestamp>>,
    /// Why, in 3 to 500 characters.
    change_reason: Option<Lenient<String>>,
}

impl Example for TierBody {
    fn example() -> Self {
        Self {
            plan: "member".parse().map_or(Lenient::Absent, Lenient::Good),
            expires_at: None,
            change_reason: Some(Lenient::Good("Bought a membership".into())),
        }
    }
}

/// A user's place on a plan for users.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Tier")]
pub struct TierView {
    /// Opaque id. Another plan or end makes a new tier.
    id: String,
    /// In which tenant; null for the one that counts where no tenant says otherwise.
    tenant: Option<TenantKey>,
    /// Whose.
    user: UserKey,
    /// The plan.
    plan: PlanKey,
    /// The version of the plan that it is pinned to.
    plan_version: u32,
    /// When it began.
    effective_from: Timestamp,
    /// When it ends by itself.
    expires_at: Option<Timestamp>,
    /// Why it was set.
    change_reason: Option<String>,
    /// By whom.
    created_by: String,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::People")]
impl TiersApi {
    /// Read a user's tier in a tenant
    #[oai(path = "/tenants/:tenant/users/:user/tier", method = "get", operation_id = "get_tier")]
    async fn get_tier(
        &self,
        caller: Caller<needs::TiersRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The user.
        user: Path<UserKey>,
    ) -> Answer<Json<TierView>> {
        let holder = TierHolder { tenant: Some(tenant.0), user: user.0 };
        Ok(Json(self.0.tier(&caller.actor, &holder).await?.into()))
    }

    /// Put a user on a tier in a tenant
    ///
    /// The former tier ends in the same transaction. The same plan and end again changes nothing.
    #[oai(path = "/tenants/:tenant/users/:user/tier", method = "put", operation_id = "set_tier")]
    async fn set_tier(
        &self,
        caller: Caller<needs::TiersWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The user.
        user: Path<UserKey>,
        body: Json<TierBody>,
    ) -> Answer<Stored<TierView>> {
        let location = format!("/api/v1/tenants/{}/users/{}/tier", tenant.0, encoded(&user.0));
        let holder = TierHolder { tenant: Some(tenant.0), user: user.0 };
        let (tier, is_new) = self.0.set_tier(&caller.actor, holder, body.0.into()).await?;
        Ok(stored(tier, is_new.then_some(location)))
    }

    /// Take a user's tier in a tenant away
    #[oai(
        path = "/tenants/:tenant/users/:user/tier",
        method = "delete",
        operation_id = "remove_tier"
    )]
    async fn remove_tier(
        &self,
        caller: Caller<needs::TiersWrite>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// The user.
        user: Path<UserKey>,
    ) -> Answer<Done> {
        let holder = TierHolder { tenant: Some(tenant.0), user: user.0 };
        self.0.remove_tier(&caller.actor, holder).await?;
        Ok(Done)
    }

    /// Read a user's tier outside of tenants
    #[oai(path = "/users/:user/tier", method = "get", operation_id = "get_user_tier")]
    async fn get_user_tier(
        &self,
        caller: Caller<needs::TiersRead>,
        /// The user.
        user: Path<UserKey>,
    ) -> Answer<Json<TierView>> {
        let holder = TierHolder { tenant: None, user: user.0 };
        Ok(Json(self.0.tier(&caller.actor, &holder).await?.into()))
    }

    /// Put a user on a tier outside of tenants
    ///
    /// It counts without a tenant, and in each tenant that says nothing else. The former tier ends
    /// in the same transaction. The same plan and end again changes nothing.
    #[oai(path = "/users/:user/tier", method = "put", operation_id = "set_user_tier")]
    async fn set_user_tier(
        &self,
        caller: Caller<needs::TiersWrite>,
        /// The user.
        user: Path<UserKey>,
        body: Json<TierBody>,
    ) -> Answer<Stored<TierView>> {
        let location = format!("/api/v1/users/{}/tier", encoded(&user.0));
        let holder = TierHolder { tenant: None, user: user.0 };
        let (tier, is_new) = self.0.set_tier(&caller.actor, holder, body.0.into()).await?;
        Ok(stored(tier, is_new.then_some(location)))
    }

    /// Take a user's tier outside of tenants away
    #[oai(path = "/users/:user/tier", method = "delete", operation_id = "remove_user_tier")]
    async fn remove_user_tier(
        &self,
        caller: Caller<needs::TiersWrite>,
        /// The user.
        user: Path<UserKey>,
    ) -> Answer<Done> {
        let holder = TierHolder { tenant: None, user: user.0 };
        self.0.remove_tier(&caller.actor, holder).await?;
        Ok(Done)
    }
}

fn stored(tier: Tier, location: Option<String>) -> Stored<TierView> {
    // Each change makes another row, so its id is its state.
    let etag = ETag::of_parts(&[&tier.id]);
    Stored::new(location, etag, tier.into())
}

/// A user in a path: of the characters that a user may have only `|` must not stand there.
fn encoded(user: &UserKey) -> String {
    user.as_str().replace('|', "%7C")
}

impl From<TierBody> for TierDraft {
    fn from(body: TierBody) -> Self {
        let TierBody { plan, expires_at, change_reason } = body;
        let mut faults = Vec::new();
        Self {
            plan: plan.required("plan", &mut faults),
            expires_at: expires_at.unwrap_or_default().optional("expires_at", &mut faults),
            change_reason: change_reason
                .unwrap_or_default()
                .optional("change_reason", &mut faults)
                .and_then(|why| line(&why, "change_reason", &mut faults)),
            faults,
        }
    }
}

impl From<Tier> for TierView {
    fn from(tier: Tier) -> Self {
        let Tier {
            id,
            tenant,
            user,
            plan: PinnedPlan { plan, version },
            effective_from,
            effective_to,
            change_reason,
            // The same as `effective_from`.
            created_at: _,
            created_by,
        } = tier;
        Self {
            id,
            tenant,
            user,
            plan,
            plan_version: version,
            effective_from,
            expires_at: effective_to,
            change_reason: Some(change_reason).filter(|why| !why.is_empty()),
            created_by,
        }
    }
}
