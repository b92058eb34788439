//! The retail product: a tenant for each way in which a customer can stand.

use super::seed::{Seed, Shown};
use crate::{
    domain::subscriptions::SubscriptionStatus as Status, error::Result, service::grants::NewState,
};

/// Fills it, the oldest story first: the clock only goes forward.
pub async fn seed(seed: &Seed) -> Result<Vec<Shown>> {
    // The grace period of the catalog has 7 days.
    let overdue = seed.tenant("overdue", "unpaid for 30 days: blocked").await?;
    seed.plan(&overdue, "growth", Status::Overdue, None).await?;
    seed.days_ago(2);
    let grace = seed.tenant("overdue-grace", "unpaid for 2 days: works on for 5 more").await?;
    seed.plan(&grace, "growth", Status::Overdue, None).await?;

    seed.days_ago(0);
    let retail = seed.tenant("retail-only", "plan starter").await?;
    seed.plan(&retail, "starter", Status::Active, None).await?;
    // No plan has dine without retail: so starter, with two exceptions.
    let dine = seed.tenant("dine-only", "plan starter; dine granted, retail withheld").await?;
    seed.plan(&dine, "starter", Status::Active, None).await?;
    seed.grant(&dine, "dine", NewState::Enabled).await?;
    seed.grant(&dine, "retail", NewState::Disabled).await?;
    let mixed = seed.tenant("mixed", "plan growth").await?;
    seed.plan(&mixed, "growth", Status::Active, None).await?;
    let enterprise = seed.tenant("enterprise", "plan enterprise").await?;
    seed.plan(&enterprise, "enterprise", Status::Active, None).await?;
    let trial = seed.tenant("trial", "plan enterprise on trial for 14 days").await?;
    seed.plan(&trial, "enterprise", Status::Trialing, Some(seed.in_days(14))).await?;
    let acme = seed.demo_tenant("acme", "a demo tenant: everything is open").await?;
    let none = seed.tenant("no-subscription", "no plan at all: blocked").await?;
    let cancelled = seed.tenant("cancelled", "a cancelled subscription: blocked").await?;
    seed.plan(&cancelled, "starter", Status::Cancelled, None).await?;
    let story = "a suspended subscription: blocked";
    let subscription = seed.tenant("suspended-subscription", story).await?;
    seed.plan(&subscription, "growth", Status::Suspended, None).await?;
    let suspended = seed.tenant("suspended", "suspended itself: nothing works").await?;
    seed.plan(&suspended, "growth", Status::Active, None).await?;
    seed.suspend(&suspended, "demo").await?;

    let story = "everything for 30 days; redeem it as the tenant_admin of no-subscription";
    seed.code("trial_unlimited", 30, story).await?;

    Ok(vec![
        retail,
        dine,
        mixed,
        enterprise,
        trial,
        acme,
        grace,
        overdue,
        none,
        cancelled,
        subscription,
        suspended,
    ])
}
