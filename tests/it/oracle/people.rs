//! Rules 2, 12 and 13 of SPEC 4, with SPEC 6: what is asked about a user rather than a tenant.

use std::collections::{BTreeMap, BTreeSet};

use entitled::{
    domain::{
        catalog::{Access, Audience, Provisioning, Target},
        checks::{Mode, Question, Reason, Remedy, Source},
        contexts::ContextKey,
        keys::{EntitlementKey, ModuleKey, PermissionKey, PlanKey, RoleKey},
        people::HeldOn,
        plans::PlanVersion,
        tenants::Billing,
        time::Timestamp,
    },
    engine::people::{HeldRole, HeldSeat},
};
use serde_json::{Value, json};

use super::{
    holdings::{self, plan_source},
    judge::Twist,
    keys::{Judge, Ruling},
    wanted::Wanted,
};

/// The contexts of a tenant, each with the one above it.
pub type Tree = BTreeMap<ContextKey, Option<ContextKey>>;

/// A context and those above it, nearest first.
pub fn way_up(tree: &Tree, from: &ContextKey) -> Vec<ContextKey> {
    let mut way = vec![from.clone()];
    while let Some(Some(above)) = tree.get(&way[way.len() - 1]) {
        way.push(above.clone());
    }
    way
}

/// What rule 13 says, and what else it might as well have said: where several sources last equally
/// long, the texts don't say which is named.
pub struct Permit {
    pub ruling: Ruling,
    pub field: (&'static str, Vec<String>),
}

impl Judge<'_> {
    fn unexpired(&self, end: Option<Timestamp>) -> bool {
        self.looked_at.borrow_mut().extend(end);
        end.is_none_or(|end| self.at < end)
    }

    /// Rule 2. Reading 27: any role that lets the user pass may be named, the one that lasts longest
    /// is preferred.
    pub fn bypass(&self, question: &Question) -> Option<Ruling> {
        if question.mode != Mode::Platform && self.twist != Twist::BypassesInEveryMode {
            return None;
        }
        let mut roles: Vec<&HeldRole> = self.person?.everywhere.roles.iter().collect();
        roles.retain(|it| {
            let role = self.world.catalog.roles.get(&it.role);
            it.on == HeldOn::Platform
                && role.is_some_and(|role| role.bypass)
                && self.unexpired(it.expires_at)
        });
        let all = roles.into_iter().map(|it| {
            let source = Source::Role { role: it.role.clone(), context: None };
            (it.expires_at, Ruling::allow(Reason::SuperAdminBypass, source))
        });
        let all: Vec<_> = all.collect();
        let any = all.iter().map(|(_, it)| (it.reason, it.source.clone())).collect();
        let first = self.longest(all);
        *self.ties.borrow_mut() = any;
        first
    }

    /// The one that lasts longest; those that last as long are noted.
    fn longest(&self, mut all: Vec<(Option<Timestamp>, Ruling)>) -> Option<Ruling> {
        let forever = Timestamp::from_micros(i64::MAX);
        let end = all.iter().map(|(end, _)| end.unwrap_or(forever)).max()?;
        all.retain(|(it, _)| it.unwrap_or(forever) == end);
        let ties = all.iter().map(|(_, it)| (it.reason, it.source.clone()));
        *self.ties.borrow_mut() = ties.collect();
        all.into_iter().next().map(|(_, it)| it)
    }

    /// Rule 12: whether the user has a seat of the own tenant for that.
    pub fn has_seat(&self, key: &EntitlementKey) -> bool {
        let Some(person) = self.person else { return true };
        self.seat_of(&person.here.seats, key, self.facts.tenant.key.as_str())
    }

    fn seat_of(&self, seats: &[HeldSeat], key: &EntitlementKey, pool: &str) -> bool {
        let any = self.twist == Twist::TakesTheSeatOfAnotherKey;
        let fits = |it: &&HeldSeat| (any || it.key == *key) && it.pool.as_str() == pool;
        // All are looked at.
        seats.iter().filter(fits).filter(|it| self.unexpired(it.expires_at)).count() > 0
    }

    /// Rule 12, the seat from further up. Reading 20: of several, the nearest ancestor that allows.
    pub fn lent(&self, target: &Target) -> Option<Ruling> {
        let person = self.person?;
        let module = match target {
            Target::Module(key) => key,
            Target::Feature(key) => self.world.catalog.features[key].module.as_ref()?,
        };
        let provisioning = &self.world.catalog.modules[module].provisioning;
        if !provisioning.contains(&Provisioning::OrgHierarchy) {
            return None;
        }
        for lender in &person.lenders {
            let pool = &lender.tenant.key;
            if !self.seat_of(&person.here.seats, &module.into(), pool.as_str()) {
                continue;
            }
            let above = Judge::new(self.world, lender, None, self.tree, self.at, self.twist);
            let ruling = above.as_lender(target);
            self.looked_at.borrow_mut().extend(above.looked_at.borrow().iter());
            if let Some(ruling) = ruling.filter(|it| it.allowed) {
                let source = Source::Seat { tenant: pool.clone(), key: module.clone() };
                return Some(Ruling::allow(ruling.reason, source));
            }
        }
        None
    }

    /// What the ancestor itself, no user of it, would be told; nothing where it has no standing.
    pub fn as_lender(&self, target: &Target) -> Option<Ruling> {
        if self.facts.tenant.suspension.is_some() {
            return None;
        }
        if self.facts.tenant.demo {
            let off = match target {
                Target::Module(key) => self.kill_switch_on_module(key),
                Target::Feature(key) => self.kill_switch_on_feature(key),
            };
            return Some(off.unwrap_or_else(|| Ruling::allow(Reason::Demo, Source::Tenant)));
        }
        if self.facts.tenant.billing == Billing::Subscription {
            self.look_at_base();
            if holdings::block(self).is_some()
                && self.twist != Twist::LendsWhileTheAncestorIsBlocked
            {
                return None;
            }
        }
        Some(self.target(target, &holdings::now(self)))
    }

    /// Rule 13: the permissions, then the tiers. None where neither is asked for. Reading 33: of
    /// several that are each enough, the first that is held, as listed.
    pub fn rule_13(&self, wanted: &Wanted, on: Option<&ContextKey>) -> Option<Permit> {
        let mut last = None;
        for any in &wanted.permissions {
            let allow = any.iter().find_map(|permission| self.permission(permission, on));
            let field = ("permission", any.iter().map(ToString::to_string).collect());
            let refuse = || Ruling::refuse(Reason::PermissionDenied, Source::Nothing);
            let ruling = allow.unwrap_or_else(refuse);
            if !ruling.allowed {
                return Some(Permit { ruling, field });
            }
            last = Some(Permit { ruling, field });
        }
        for tier in &wanted.tiers {
            let ruling = self.tier_at_least(tier);
            let field = ("tier", vec![tier.to_string()]);
            if !ruling.allowed {
                return Some(Permit { ruling, field });
            }
            // Reading 21: of both, the last one judged gives the reason (D3).
            *self.ties.borrow_mut() = vec![];
            last = Some(Permit { ruling, field });
        }
        last
    }

    /// What an application is told beside `permission_denied`. Reading 34: a tier that is asked for
    /// is told where it is what's missing. None is told that takes a code, as in D10.
    pub fn data_of_rule_13(&self, field: &(&str, Vec<String>)) -> Option<Value> {
        let (kind, missing) = field;
        let tier = if *kind == "tier" {
            missing.first().cloned()
        } else {
            let mut tiers = holdings::on_offer(self, Audience::User).into_iter();
            let permits = |it: &&PlanVersion| {
                it.content.permissions.iter().any(|it| missing.contains(&it.to_string()))
            };
            tiers.find(permits).map(|it| it.plan.to_string())
        };
        tier.map(|tier| json!({ "requiredTier": tier, "upgradeRequired": true }))
    }

    pub fn permission(&self, wanted: &PermissionKey, on: Option<&ContextKey>) -> Option<Ruling> {
        let person = self.person?;
        let way = on.map(|on| way_up(self.tree, on)).unwrap_or_default();
        let roles = person.here.roles.iter().chain(&person.everywhere.roles);
        let mut all = Vec::new();
        for it in roles {
            let context = match &it.on {
                HeldOn::Platform | HeldOn::Tenant => None,
                HeldOn::Context(held) if self.covers(held, &way) => Some(held.clone()),
                HeldOn::Context(_) => continue,
            };
            if !self.permissions_of(&it.role).contains(wanted) {
                continue;
            }
            let late =
                self.twist == Twist::HonoursARoleAtItsExpiry && it.expires_at == Some(self.at);
            if self.unexpired(it.expires_at) || late {
                let source = Source::Role { role: it.role.clone(), context };
                all.push((it.expires_at, Ruling::allow(Reason::Role, source)));
            }
        }
        if let Some((tier, end)) = holdings::tier(self)
            && tier.content.permissions.contains(wanted)
        {
            all.push((end, Ruling::allow(Reason::Tier, Source::Tier(plan_source(tier)))));
        }
        self.longest(all)
    }

    fn covers(&self, held: &ContextKey, way: &[ContextKey]) -> bool {
        let parent = |key: &ContextKey| self.tree.get(key).cloned().flatten();
        match self.twist {
            Twist::LeaksARoleToSiblings => {
                way.contains(held) || way.first().is_some_and(|it| parent(it) == parent(held))
            }
            Twist::LeaksARoleUpward => {
                way.contains(held)
                    || way.first().is_some_and(|it| way_up(self.tree, held).contains(it))
            }
            _ => way.contains(held),
        }
    }

    /// Everything that a role of the newest catalog permits.
    fn permissions_of(&self, role: &RoleKey) -> BTreeSet<PermissionKey> {
        let Some(it) = self.world.catalog.roles.get(role) else { return BTreeSet::new() };
        let mut all = it.permissions.clone();
        if self.twist != Twist::ForgetsInheritedPermissions {
            for below in &it.inherits {
                all.extend(self.permissions_of(below));
            }
        }
        all
    }

    fn tier_at_least(&self, wanted: &PlanKey) -> Ruling {
        let held = holdings::tier(self);
        match held {
            Some((tier, _)) if self.passes(tier, wanted) => {
                Ruling::allow(Reason::Tier, Source::Tier(plan_source(tier)))
            }
            // Reading 24: a tier that is too low is no source, as a role without the permission is none.
            _ => Ruling::refuse(Reason::PermissionDenied, Source::Nothing),
        }
    }

    /// What is held has the rank it was pinned with; what is wanted, that of the newest catalog.
    fn passes(&self, held: &PlanVersion, wanted: &PlanKey) -> bool {
        if self.twist == Twist::ComparesTiersByName {
            return held.plan >= *wanted;
        }
        held.content.rank >= self.world.catalog.plans[wanted].rank
    }

    /// What helps where rule 13 refused for want of a tier, if of one.
    pub fn helps_rule_13(&self, tier: Option<&String>) -> Vec<Remedy> {
        let tiers = self.world.catalog.plans.keys();
        let wanted = tier.and_then(|tier| tiers.into_iter().find(|it| it.as_str() == tier));
        let Some(wanted) = wanted else { return vec![Remedy::ContactAdmin] };
        let all = holdings::on_offer(self, Audience::User).into_iter();
        let passing = all.filter(|it| self.passes(it, wanted)).map(|it| it.plan.clone());
        match passing.collect::<Vec<_>>() {
            none if none.is_empty() => vec![Remedy::ContactAdmin],
            plans => vec![Remedy::UpgradePlan(plans)],
        }
    }

    /// The seat that a module needs which the catalog, or what gives it, calls seated.
    pub fn seat_for_module(&self, key: &ModuleKey, carries_seats: bool) -> Option<EntitlementKey> {
        let it = &self.world.catalog.modules[key];
        let seated = it.access == Access::Entitled && (it.seated || carries_seats);
        seated.then(|| key.into())
    }
}
