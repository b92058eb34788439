//! The AI billing product: what each plan gives, and overrides in every state.

use super::seed::{Seed, Shown};
use crate::{
    domain::subscriptions::SubscriptionStatus as Status, error::Result, service::values::Direction,
};

/// Fills it, the oldest story first: the clock only goes forward.
pub async fn seed(seed: &Seed) -> Result<Vec<Shown>> {
    seed.days_ago(10);
    let lapsed = seed.tenant("lapsed", "plan free; an override on ai_actions has ended").await?;
    seed.plan(&lapsed, "free", Status::Active, None).await?;
    seed.exception(&lapsed, "ai_actions", Direction::Given, seed.in_days(0)).await?;

    seed.days_ago(0);
    let free = seed.tenant("free-plan", "plan free: no AI features").await?;
    seed.plan(&free, "free", Status::Active, None).await?;
    let pro = seed.tenant("pro-plan", "plan pro: insights and recommendations").await?;
    seed.plan(&pro, "pro", Status::Active, None).await?;
    let reports = seed.tenant("pro-reports", "plan pro with the add-on reports_pack").await?;
    seed.plan(&reports, "pro", Status::Active, None).await?;
    seed.plan(&reports, "reports_pack", Status::Active, None).await?;
    let trial = seed.tenant("pro-trial", "plan pro on trial for 14 days, then free").await?;
    seed.plan(&trial, "pro", Status::Trialing, Some(seed.in_days(14))).await?;
    let business = seed.tenant("business-plan", "plan business: everything").await?;
    seed.plan(&business, "business", Status::Active, None).await?;
    let bridged = seed.tenant("bridged", "plan pro; an override opens ai_actions").await?;
    seed.plan(&bridged, "pro", Status::Active, None).await?;
    seed.exception(&bridged, "ai_actions", Direction::Given, seed.in_days(14)).await?;
    let withheld = seed.tenant("withheld", "plan business; an override closes llm_routing").await?;
    seed.plan(&withheld, "business", Status::Active, None).await?;
    seed.exception(&withheld, "llm_routing", Direction::Withheld, seed.in_days(14)).await?;

    Ok(vec![free, pro, reports, trial, business, bridged, withheld, lapsed])
}
