//! What a failing comparison prints: enough to see why, little enough to read.

use entitled::domain::{catalog::FeatureKind, plans::PlanVersion};

use super::worlds::Case;

/// The world and the tenant, a line for each fact.
pub fn dump(case: &Case) -> String {
    let Case { world, facts, .. } = case;
    let mut text = format!(
        "gating {:?}, {:?}, grace {} days, {:?}, demo {}, suspended {}, tried {:?}\n",
        world.gating,
        world.rollout.settings,
        world.catalog.settings.overdue_grace_days,
        facts.tenant.billing,
        facts.tenant.demo,
        facts.tenant.suspension.is_some(),
        facts.tried,
    );
    text += &format!("  tree {:?}\n", case.tree);
    let (created, since) = (facts.tenant.created_at, facts.base_since);
    text += &format!("  present {} created {created} base since {since:?}\n", case.present);
    for (key, it) in &world.catalog.guards {
        text += &format!("  guard {key}: {it:?}\n");
    }
    for (key, it) in &world.catalog.roles {
        text += &format!(
            "  role {key}: on {} inherits {:?} permits {:?} bypass {}\n",
            it.context, it.inherits, it.permissions, it.bypass,
        );
    }
    for (key, it) in &world.catalog.modules {
        let blocked = if it.available_when_blocked { " available_when_blocked" } else { "" };
        text += &format!(
            "  module {key}: {:?} {:?}{blocked} seated {} {:?}\n",
            it.access, it.status, it.seated, it.provisioning,
        );
    }
    for (key, it) in &world.catalog.features {
        let kind = match &it.kind {
            FeatureKind::Limit(it) => {
                format!("limit {:?} {:?} {:?}", it.usage, it.per, it.on_limit)
            }
            FeatureKind::Boolean => "boolean".to_owned(),
            FeatureKind::Config => "config".to_owned(),
        };
        text += &format!("  feature {key}: {kind} {:?} module {:?}\n", it.status, it.module);
    }
    let show = |plan: &PlanVersion| {
        let it = &plan.content;
        let (key, version) = (&plan.plan, plan.version);
        let (kind, stack, rank) = (it.kind, it.stack, it.rank);
        let (modules, features) = (&it.modules, &it.features);
        format!(
            "{key} v{version} {kind:?} {stack:?} rank {rank} {modules:?} {features:?} seats {:?}",
            it.seats
        )
    };
    for plan in &world.plans {
        let catalog = world.catalog.plans.get(&plan.plan);
        let (code, days) =
            catalog.map_or((false, None), |p| (p.activation_code_only, p.trial_days));
        let audience = plan.content.audience;
        text += &format!("  newest {} {audience:?} code {code} trial {days:?}\n", show(plan));
    }
    for it in facts.base.iter().chain(&facts.add_ons) {
        text += &format!(
            "  holds {} ×{} {:?} from {} to {:?} trial {:?} overdue {:?}\n    {}\n",
            it.id,
            it.quantity,
            it.status,
            it.from,
            it.to,
            it.trial_expires_at,
            it.overdue_since,
            show(&it.plan),
        );
        if let Some(plan) = &it.fallback {
            text += &format!("    falls back to {}\n", show(plan));
        }
    }
    for (key, it) in &facts.grants {
        text += &format!("  grant {key}: {:?} {:?} seats {:?}\n", it.state, it.value, it.seats);
    }
    for (key, it) in &facts.overrides {
        text += &format!("  override {} {key}: {:?} until {}\n", it.id, it.effect, it.expires_at);
    }
    text
}
