//! Activation codes: made by super admins, redeemed by tenants.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{Tag, once, subscriptions::SubscriptionView};
use crate::{
    domain::{
        activation_codes::{ActivationCode, CodeState, Redemption},
        keys::{PlanKey, TenantKey},
        time::Timestamp,
    },
    error::Fault,
    http::{
        auth::{Caller, needs},
        etag::ETag,
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit, Page},
        payload::Json,
        replies::{Created, Done},
        types::{IdempotencyKey, Text},
        words::Word,
    },
    service::{
        Service,
        activation_codes::{IssuedCode, NewCode},
    },
};

/// The operations.
pub struct ActivationCodesApi(pub(super) Service);

/// A code to be made. Every fault is answered at once.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "NewActivationCode", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct ActivationCodeBody {
    /// What it puts a tenant on: a base plan or an add-on for tenants.
    plan: Lenient<PlanKey>,
    /// How many tenants can redeem it, each of them once; 1 to 1000000.
    max_redemptions: Lenient<u32>,
    /// Not redeemed from here on; never if left out.
    expires_at: Option<Lenient<Timestamp>>,
    /// A trial of so many days, 1 to 3660; an active subscription if left out.
    duration_days: Option<Lenient<u32>>,
    /// For people, in 1 to 200 characters.
    note: Option<Lenient<String>>,
}

impl poem_openapi::types::Example for ActivationCodeBody {
    fn example() -> Self {
        Self {
            plan: Lenient::Good(PlanKey::example("trial_unlimited")),
            max_redemptions: Lenient::Good(50),
            expires_at: Some(Lenient::Good(Timestamp::from_micros(1_798_761_600_000_000))),
            duration_days: Some(Lenient::Good(30)),
            note: Some(Lenient::Good("Spring fair".into())),
        }
    }
}

/// A code that is redeemed.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "ActivationCodeRedemption", example = true)]
#[serde(deny_unknown_fields)]
pub struct RedemptionBody {
    /// Who redeems it; the caller's own tenant if left out.
    tenant: Option<TenantKey>,
    /// The code. Case, dashes and spaces don't count.
    code: Text<1, 64>,
}

impl poem_openapi::types::Example for RedemptionBody {
    fn example() -> Self {
        let code = Text::example("7K3M-Q9ZT-0D5W-HX2C");
        Self { tenant: Some(TenantKey::example("retail-only")), code }
    }
}

/// A code that was made.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "IssuedActivationCode")]
pub struct IssuedView {
    /// Its id.
    id: String,
    /// The code, shown this once; null where the same request was answered before.
    code: Option<String>,
    /// What it puts a tenant on.
    plan: PlanKey,
    /// For people.
    note: Option<String>,
    /// How many tenants can redeem it.
    max_redemptions: u32,
    /// A trial of so many days; an active subscription where null.
    duration_days: Option<u32>,
    /// Not redeemed from here on.
    expires_at: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
}

/// A code without its text.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ActivationCode")]
pub struct CodeView {
    /// Its id.
    id: String,
    /// What it puts a tenant on.
    plan: PlanKey,
    /// For people.
    note: Option<String>,
    /// `active`, `spent`, `expired` or `revoked`.
    state: Word,
    /// How many tenants can redeem it.
    max_redemptions: u32,
    /// How many have.
    redeemed: u32,
    /// A trial of so many days; an active subscription where null.
    duration_days: Option<u32>,
    /// Not redeemed from here on.
    expires_at: Option<Timestamp>,
    /// Not redeemed since.
    revoked_at: Option<Timestamp>,
    /// When it was made.
    created_at: Timestamp,
    /// By whom.
    created_by: String,
}

/// A code, and who redeemed it.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ActivationCodeDetail")]
pub struct DetailView {
    #[oai(flatten)]
    #[serde(flatten)]
    code: CodeView,
    /// Who redeemed it, newest first.
    redemptions: Vec<RedemptionView>,
    /// For the next page of redemptions; null on the last.
    next_cursor: Option<Cursor>,
}

/// A tenant that redeemed a code.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Redemption")]
pub struct RedemptionView {
    /// Who.
    tenant: TenantKey,
    /// The subscription that came of it.
    subscription: String,
    /// When.
    redeemed_at: Timestamp,
    /// By whom.
    redeemed_by: String,
}

/// Where a code stands, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, poem_openapi::Enum)]
#[oai(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CodeStateFilter {
    Active,
    Spent,
    Expired,
    Revoked,
    All,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::ActivationCodes")]
impl ActivationCodesApi {
    /// Make an activation code
    ///
    /// The code is shown this once and kept nowhere.
    #[oai(
        path = "/admin/activation-codes",
        method = "post",
        operation_id = "create_activation_code"
    )]
    async fn create_activation_code(
        &self,
        caller: Caller<needs::ActivationCodesManage>,
        /// The same key and body get the first answer again, without the code.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<ActivationCodeBody>,
    ) -> Answer<Created<Json<IssuedView>>> {
        let once = once(key.0.as_ref(), "create_activation_code", "", &body.0)?;
        let issued = self.0.create_activation_code(&caller.actor, once, body.0.into()).await?;
        let location = format!("/api/v1/admin/activation-codes/{}", issued.code.id);
        Ok(Created { location, etag: None, body: Json(issued.into()) })
    }

    /// List activation codes
    ///
    /// Newest first, whatever became of them.
    #[oai(path = "/admin/activation-codes", method = "get", operation_id = "list_activation_codes")]
    async fn list_activation_codes(
        &self,
        caller: Caller<needs::ActivationCodesRead>,
        /// For this plan.
        plan: Query<Option<PlanKey>>,
        /// In this state; all if left out.
        state: Query<Option<CodeStateFilter>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<CodeView>>> {
        let state = state.0.and_then(|state| match state {
            CodeStateFilter::Active => Some(CodeState::Active),
            CodeStateFilter::Spent => Some(CodeState::Spent),
            CodeStateFilter::Expired => Some(CodeState::Expired),
            CodeStateFilter::Revoked => Some(CodeState::Revoked),
            CodeStateFilter::All => None,
        });
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.activation_codes(&caller.actor, plan.0, state, before, limit).await?;
        let now = self.0.clock().now();
        Ok(Json(Page::of(page, |code| CodeView::of(code, now))?))
    }

    /// Read an activation code
    ///
    /// With the tenants that redeemed it, in pages.
    #[oai(
        path = "/admin/activation-codes/:id",
        method = "get",
        operation_id = "get_activation_code"
    )]
    async fn get_activation_code(
        &self,
        caller: Caller<needs::ActivationCodesRead>,
        /// The id of the code, not the code.
        id: Path<String>,
        /// How many redemptions at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<DetailView>> {
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let (code, page) = self.0.activation_code(&caller.actor, id.0, before, limit).await?;
        let code = CodeView::of(code, self.0.clock().now());
        let Page { items, next_cursor } = Page::of(page, RedemptionView::from)?;
        Ok(Json(DetailView { code, redemptions: items, next_cursor }))
    }

    /// Revoke an activation code
    ///
    /// Nobody can redeem it from now on; what was redeemed stays. Revoking it again changes nothing.
    #[oai(
        path = "/admin/activation-codes/:id",
        method = "delete",
        operation_id = "revoke_activation_code"
    )]
    async fn revoke_activation_code(
        &self,
        caller: Caller<needs::ActivationCodesManage>,
        /// The id of the code, not the code.
        id: Path<String>,
    ) -> Answer<Done> {
        self.0.revoke_activation_code(&caller.actor, id.0).await?;
        Ok(Done)
    }

    /// Redeem an activation code
    ///
    /// Puts the tenant on the plan of the code, once for each tenant and code. A wrong, spent,
    /// expired or revoked code gets one and the same answer, and too many of them 429.
    #[oai(
        path = "/activation-codes/redeem",
        method = "post",
        operation_id = "redeem_activation_code"
    )]
    async fn redeem_activation_code(
        &self,
        caller: Caller<needs::ActivationCodesRedeem>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
        body: Json<RedemptionBody>,
    ) -> Answer<Created<Json<SubscriptionView>>> {
        let once = once(key.0.as_ref(), "redeem_activation_code", "", &body.0)?;
        let RedemptionBody { tenant, code } = body.0;
        let (actor, code) = (&caller.actor, code.as_str());
        let made = self.0.redeem_activation_code(actor, once, tenant, code).await?;
        let location = format!("/api/v1/admin/tenants/{}/subscriptions/{}", made.tenant, made.id);
        let etag = Some(ETag::of_revision(made.revision));
        Ok(Created { location, etag, body: Json(made.into()) })
    }
}

/// A note of 1 to 200 characters after trimming, on one line.
fn note(text: String, faults: &mut Vec<Fault>) -> Option<String> {
    let trimmed = text.trim();
    if !(1..=200).contains(&trimmed.chars().count()) || trimmed.chars().any(char::is_control) {
        faults.push(Fault::new("note", "must have 1 to 200 characters on one line"));
        return None;
    }
    Some(trimmed.to_owned())
}

impl From<ActivationCodeBody> for NewCode {
    fn from(body: ActivationCodeBody) -> Self {
        let ActivationCodeBody { plan, max_redemptions, expires_at, duration_days, note: text } =
            body;
        let mut faults = Vec::new();
        Self {
            plan: plan.required("plan", &mut faults),
            max_redemptions: max_redemptions.required("max_redemptions", &mut faults),
            expires_at: expires_at.unwrap_or_default().optional("expires_at", &mut faults),
            duration_days: duration_days.unwrap_or_default().optional("duration_days", &mut faults),
            note: text
                .unwrap_or_default()
                .optional("note", &mut faults)
                .and_then(|text| note(text, &mut faults)),
            faults,
        }
    }
}

impl From<IssuedCode> for IssuedView {
    fn from(IssuedCode { code, text }: IssuedCode) -> Self {
        let ActivationCode {
            id,
            plan,
            note,
            max_redemptions,
            redeemed: _,
            duration_days,
            expires_at,
            revoked_at: _,
            created_at,
            created_by,
        } = code;
        let code = text.map(|text| text.reveal().to_owned());
        Self {
            id,
            code,
            plan,
            note,
            max_redemptions,
            duration_days,
            expires_at,
            created_at,
            created_by,
        }
    }
}

impl CodeView {
    fn of(code: ActivationCode, now: Timestamp) -> Self {
        let state = Word::of(code.state(now).as_str());
        let ActivationCode {
            id,
            plan,
            note,
            max_redemptions,
            redeemed,
            duration_days,
            expires_at,
            revoked_at,
            created_at,
            created_by,
        } = code;
        Self {
            id,
            plan,
            note,
            state,
            max_redemptions,
            redeemed,
            duration_days,
            expires_at,
            revoked_at,
            created_at,
            created_by,
        }
    }
}

impl From<Redemption> for RedemptionView {
    fn from(redemption: Redemption) -> Self {
        let Redemption { code: _, tenant, subscription, at, by } = redemption;
        Self { tenant, subscription, redeemed_at: at, redeemed_by: by }
    }
}
