//! The book club product: stores with clubs, and staff with roles on them.

use super::seed::{Seed, Shown};
use crate::{domain::subscriptions::SubscriptionStatus as Status, error::Result};

/// Fills it.
pub async fn seed(seed: &Seed) -> Result<Vec<Shown>> {
    seed.days_ago(0);
    let story = "stores harbour and market; olga owns harbour, max manages market, lea leads \
                 harbour-crime, mo moderates market-poetry; rea is a member, pat privileged";
    let readers = seed.tenant("page-turners", story).await?;
    seed.plan(&readers, "network", Status::Active, None).await?;
    for (store, clubs) in [
        ("store:harbour", ["club:harbour-crime", "club:harbour-classics"]),
        ("store:market", ["club:market-poetry", "club:market-comics"]),
    ] {
        seed.context(&readers, store, None).await?;
        for club in clubs {
            seed.context(&readers, club, Some(store)).await?;
        }
    }
    seed.role(&readers, "olga", "store_owner", Some("store:harbour")).await?;
    seed.role(&readers, "max", "store_manager", Some("store:market")).await?;
    seed.role(&readers, "lea", "club_lead", Some("club:harbour-crime")).await?;
    seed.role(&readers, "mo", "club_moderator", Some("club:market-poetry")).await?;
    seed.tier(&readers, "rea", "member").await?;
    seed.tier(&readers, "pat", "privileged").await?;

    let story = "one store, owned by olga as well; pia owns the whole platform";
    let corner = seed.tenant("corner-books", story).await?;
    seed.plan(&corner, "network", Status::Active, None).await?;
    seed.context(&corner, "store:corner", None).await?;
    seed.context(&corner, "club:corner-novels", Some("store:corner")).await?;
    seed.role(&corner, "olga", "store_owner", Some("store:corner")).await?;

    // Covers both.
    seed.platform_role("pia", "platform_owner").await?;
    Ok(vec![readers, corner])
}
