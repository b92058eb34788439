//! What must hold for every decision, whatever the facts: cheap enough to be asked each time.
//!
//! A violation is a fault in the engine. It is counted and logged where it happens; the tests hold
//! the same conditions over random worlds.

use crate::{
    domain::{
        checks::{Decision, Reason, Source},
        time::Timestamp,
    },
    engine::TenantFacts,
};

/// The first invariant that a decision breaks, if it breaks one.
#[must_use]
pub fn violated(decision: &Decision, facts: &TenantFacts, at: Timestamp) -> Option<&'static str> {
    let allowed = decision.allowed;
    if allowed && decision.source == Source::Nothing {
        return Some("an allow names its source");
    }
    if allowed == decision.code.is_some() {
        return Some("a refusal has a code, an allow has none");
    }
    if allowed && !decision.remedies.is_empty() {
        return Some("an allow needs no remedy");
    }
    let bypassed = decision.reason == Reason::SuperAdminBypass;
    if allowed && !bypassed && facts.tenant.suspension.is_some() {
        return Some("a suspended tenant is refused");
    }
    if allowed && decision.reason != Reason::GatingDisabled && !decision.would_allow {
        return Some("only the rollout opens what enforcement refuses");
    }
    if decision.valid_until.is_some_and(|until| until <= at) {
        return Some("an answer is valid for a while");
    }
    if decision.version < facts.version {
        return Some("an answer is as new as its facts");
    }
    None
}
