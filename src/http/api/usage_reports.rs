//! Reports of what was used of limits, by period.

use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use super::Tag;
use crate::{
    domain::{
        catalog::Limit as Allowed,
        keys::{FeatureKey, TenantKey, UserKey},
        time::Timestamp,
        usage::UsageReport,
    },
    http::{
        auth::{Caller, needs},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::Json,
    },
    service::{Service, usage::reports::Narrowed},
};

/// The operations.
pub struct UsageReportsApi(pub(super) Service);

/// What was used of a limit in one period. What is left is only said of the present one; of a period
/// that is over these fields are null.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "UsageReport")]
pub struct ReportView {
    /// The limit feature.
    feature: FeatureKey,
    /// Which user's; null for the tenant as a whole.
    user: Option<UserKey>,
    /// When the period began. Gauges are reported by months.
    period_start: Timestamp,
    /// When it ends or ended; null for what is never reset.
    period_end: Option<Timestamp>,
    /// Whether it is the present one.
    present: bool,
    /// How much was counted, without what is set aside.
    used: u64,
    /// The most that was counted at once.
    peak: u64,
    /// Units that were taken past the limit.
    over: u64,
    /// How much is allowed, whether or not the tenant is blocked; null where there is no limit.
    limit: Option<u64>,
    /// There is no limit.
    unlimited: Option<bool>,
    /// What is left, without what is set aside; null where there is no limit.
    remaining: Option<u64>,
    /// When a counter starts again at 0.
    resets_at: Option<Timestamp>,
    /// What is set aside.
    reserved: Option<u64>,
    /// How full it is, in percent; null where there is no limit.
    percent: Option<u64>,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Usage")]
impl UsageReportsApi {
    /// List what a tenant has used
    ///
    /// By user, feature and period: the tenant as a whole first, and of each feature the oldest
    /// period first. Features of which nothing was ever counted are not listed.
    #[oai(path = "/tenants/:tenant/usage", method = "get", operation_id = "list_usage")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn list_usage(
        &self,
        caller: Caller<needs::UsageRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// Of this limit feature.
        feature: Query<Option<FeatureKey>>,
        /// Of this user.
        user: Query<Option<UserKey>>,
        /// Periods that end after this instant.
        from: Query<Option<Timestamp>>,
        /// Periods that begin before this instant.
        to: Query<Option<Timestamp>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<ReportView>>> {
        let filter = Narrowed { feature: feature.0, user: user.0, from: from.0, to: to.0 };
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.usage(&caller.actor, tenant.0, filter, after, limit).await?;
        Ok(Json(Page::of(page, ReportView::from)?))
    }

    /// List what a user without a tenant has used
    #[oai(path = "/users/:user/usage", method = "get", operation_id = "list_user_usage")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn list_user_usage(
        &self,
        caller: Caller<needs::UsageRead>,
        /// The user.
        user: Path<UserKey>,
        /// Of this limit feature.
        feature: Query<Option<FeatureKey>>,
        /// Periods that end after this instant.
        from: Query<Option<Timestamp>>,
        /// Periods that begin before this instant.
        to: Query<Option<Timestamp>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<ReportView>>> {
        let filter = Narrowed { feature: feature.0, user: None, from: from.0, to: to.0 };
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.user_usage(&caller.actor, user.0, filter, after, limit).await?;
        Ok(Json(Page::of(page, ReportView::from)?))
    }
}

impl From<UsageReport> for ReportView {
    fn from(report: UsageReport) -> Self {
        let UsageReport { user, feature, period_start, period_end, used, peak, over, present } =
            report;
        let limit = present.and_then(|present| match present.limit {
            Allowed::Of(limit) => Some(limit),
            Allowed::Unlimited => None,
        });
        let reserved = present.map(|present| present.reserved);
        let taken = used.saturating_add(reserved.unwrap_or_default());
        let percent = |limit: u64| match limit {
            0 => u64::from(used > 0) * 100,
            _ => u64::try_from(u128::from(used) * 100 / u128::from(limit)).unwrap_or(u64::MAX),
        };
        Self {
            feature,
            user,
            period_start,
            period_end,
            present: present.is_some(),
            used,
            peak,
            over,
            limit,
            unlimited: present.map(|present| present.limit == Allowed::Unlimited),
            remaining: limit.map(|limit| limit.saturating_sub(taken)),
            resets_at: present.and_then(|present| present.resets_at),
            reserved,
            percent: limit.map(percent),
        }
    }
}
