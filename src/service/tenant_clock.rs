//! The clock of a sandbox tenant: it only moves forward, and everything about the tenant follows it.

use serde_json::json;

use super::{Service, actor::Actor, permissions::Permission};
use crate::{
    domain::{
        audit::Event,
        keys::TenantKey,
        time::{Span, Timestamp},
    },
    error::{Error, Result},
    store,
};

/// Where a clock is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// To this instant.
    To(Timestamp),
    /// Ahead by so much.
    By(Span),
}

/// How far a clock may be ahead of the service's, in days: a hundred years.
pub const MOST_DAYS_AHEAD: u32 = 36_525;

/// A clock that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What time it is there now.
    pub now: Timestamp,
    /// How far that is ahead of the service's clock.
    pub ahead: Span,
    /// How many ends were recorded because of it.
    pub recorded: u64,
}

impl Service {
    /// Moves the clock of a sandbox forward, and records what has ended by it.
    pub async fn move_tenant_clock(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        to: Move,
    ) -> Result<Moved> {
        actor.may_on(Permission::TenantsWrite, &tenant)?;
        let (now, ahead) = self
            .change(actor, move |tx| {
                let found = store::tenants::get(tx.read(), &tenant)?;
                if !found.sandbox {
                    let detail =
                        "Only a sandbox tenant has a clock of its own; make a tenant with \
                                  “sandbox”: true for tests."
                            .into();
                    return Err(Error::Conflict { code: "NOT_A_SANDBOX", detail });
                }
                let (real, before) = (tx.real_now(), found.time(tx.real_now()));
                let (field, after) = match to {
                    Move::To(at) => ("now", at),
                    Move::By(span) => ("advance_seconds", before + span),
                };
                if after < before {
                    let message = format!("the clock only moves forward; it is {before} there now");
                    return Err(Error::invalid(field, message));
                }
                let ahead = Span::between(real, after);
                if ahead > Span::days(MOST_DAYS_AHEAD) {
                    let message = format!(
                        "may lie at most {MOST_DAYS_AHEAD} days ahead of the service, where it is \
                         {real} now"
                    );
                    return Err(Error::invalid(field, message));
                }
                if after == before {
                    return Ok(((after, ahead), Vec::new()));
                }
                store::tenants::set_ahead(tx, &tenant, ahead)?;
                tx.touch_tenant(&tenant)?;
                // The worker looks at once, also if the caller is gone by then.
                tx.ends_at(real);
                let moved = Event {
                    name: "tenant.clock_moved",
                    subject: tenant.to_string(),
                    tenant: Some(tenant),
                    before: json!({"now": before}),
                    after: json!({"now": after}),
                    reason: None,
                };
                Ok(((after, ahead), vec![moved]))
            })
            .await?;
        // Whoever moves a clock in a test wants to see at once what has ended by it. Where it fails
        // the worker tries again.
        let recorded = self.expire(&Actor::system("expiry-worker")).await;
        let recorded = recorded.map_or(0, |run| run.expired);
        Ok(Moved { now, ahead, recorded })
    }
}
