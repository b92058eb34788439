//! The suite product: organisations that are billed directly and get their modules by grants.

use super::seed::{Seed, Shown};
use crate::error::Result;

/// Fills it, the oldest story first: the clock only goes forward.
pub async fn seed(seed: &Seed) -> Result<Vec<Shown>> {
    seed.days_ago(10);
    let story = "a trial of manufacturing that has ended";
    let past = seed.direct_tenant("manufacturing-past", story).await?;
    seed.trial(&past, "manufacturing", seed.in_days(0)).await?;

    seed.days_ago(0);
    let crm = seed.direct_tenant("crm-only", "crm, and what is always on").await?;
    seed.select(&crm, &["sales"]).await?;
    let story = "no module: email works, and settings for ada, its admin; not for bob";
    let nothing = seed.direct_tenant("nothing-enabled", story).await?;
    seed.role(&nothing, "ada", "org_admin", None).await?;
    seed.role(&nothing, "bob", "member", None).await?;
    let story = "a trial of manufacturing for 14 days";
    let trial = seed.direct_tenant("manufacturing-trial", story).await?;
    seed.trial(&trial, "manufacturing", seed.in_days(14)).await?;
    let office = seed.direct_tenant("crm-and-erp", "the bundles sales and back_office").await?;
    seed.select(&office, &["sales", "back_office"]).await?;
    let story = "the bundle everything; sue, a super admin of the platform, passes everywhere";
    let everything = seed.direct_tenant("everything", story).await?;
    seed.select(&everything, &["everything"]).await?;

    // Passes in `mode: platform`, which is written down each time.
    seed.platform_role("sue", "super_admin").await?;
    Ok(vec![crm, nothing, trial, past, office, everything])
}
