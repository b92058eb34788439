//! The learning product: seats over a tree of organisations, a school, and readers without a tenant.

use super::seed::{Seed, Shown};
use crate::{domain::subscriptions::SubscriptionStatus as Status, error::Result};

/// Fills it.
pub async fn seed(seed: &Seed) -> Result<Vec<Shown>> {
    seed.days_ago(0);
    let church = seed.tenant("church", "plan organisation: 50 seats of leaderforge").await?;
    seed.plan(&church, "organisation", Status::Active, None).await?;
    seed.seat("church", "leaderforge", "cleo", None).await?;
    let story = "below church, without a plan: noah has a seat of church, nia has none";
    let youth = seed.tenant_below("youth", story, "church").await?;
    seed.seat("youth", "leaderforge", "noah", Some("church")).await?;

    let school = seed.tenant("hill-school", "plan school: its admin hands out 20 seats").await?;
    seed.plan(&school, "school", Status::Active, None).await?;
    seed.seat("hill-school", "brilliant_school", "sam", None).await?;
    let exams = seed.tenant("lake-school", "plan school with the add-on exams").await?;
    seed.plan(&exams, "school", Status::Active, None).await?;
    seed.plan(&exams, "exams", Status::Active, None).await?;

    // A reader belongs to no tenant: ask `check` with the user alone.
    seed.entitle("rita", "wealth_with_god").await?;
    Ok(vec![church, youth, school, exams])
}
