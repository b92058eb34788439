//! Rule 5: for whom and for what the rollout enforces (SPEC 9).
//!
//! Invariants: it is a function of the settings and the key alone; whoever is reached at some
//! percentage is reached at every higher one.

use sha2::{Digest, Sha256};

use super::{Gating, Person, TenantFacts, World, needs::Needs, trace::Desk};
use crate::domain::{
    keys::{FeatureKey, ModuleKey, TenantKey, UserKey},
    rollout::RolloutMode,
};

/// How many buckets there are: a hundred for each percent.
pub const BUCKETS: u16 = 10_000;

/// Where a tenant, or a user without one, stands among the buckets. It never changes: it is the first
/// eight bytes, read as a big-endian number, of the SHA-256 of a fixed prefix and the key, modulo
/// [`BUCKETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of a tenant: the prefix is `entitled:rollout:tenant:`.
    #[must_use]
    pub fn of_tenant(tenant: &TenantKey) -> Self {
        Self::of("entitled:rollout:tenant:", tenant.as_str())
    }

    /// The bucket of a user without a tenant: the prefix is `entitled:rollout:user:`.
    #[must_use]
    pub fn of_user(user: &UserKey) -> Self {
        Self::of("entitled:rollout:user:", user.as_str())
    }

    fn of(prefix: &str, key: &str) -> Self {
        let digest = Sha256::new().chain_update(prefix).chain_update(key).finalize();
        let first = digest.iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        Self(u16::try_from(first % u64::from(BUCKETS)).unwrap_or_default())
    }

    /// Whether the rollout reaches it at this percentage.
    #[must_use]
    pub fn is_within(self, percent: u64) -> bool {
        u64::from(self.0) < percent.saturating_mul(u64::from(BUCKETS) / 100)
    }
}

/// Which setting opens or closes the gates of a tenant, or of a user without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Open: the environment says so.
    OpenByEnvironment,
    /// Open: `mode` is `off`.
    Off,
    /// Open: `mode` is `shadow`.
    Shadow,
    /// Open: the tenant is in `exclude`.
    Excluded,
    /// Open: beyond the percentage.
    Beyond(u64),
    /// Enforced: the tenant is in `include`.
    Included,
    /// Enforced: within the percentage.
    Within(u64),
}

impl Gate {
    /// What holds for the tenant, or for the user where there is none.
    #[must_use]
    pub fn of(world: &World, facts: &TenantFacts, person: Option<&Person>) -> Self {
        match world.gating {
            Gating::OffByEnvironment => return Self::OpenByEnvironment,
            Gating::BySettings => {}
        }
        let settings = &world.rollout.settings;
        match settings.mode {
            RolloutMode::Off => return Self::Off,
            RolloutMode::Shadow => return Self::Shadow,
            RolloutMode::Enforce => {}
        }
        // The lists name tenants; who stands in for none has no key.
        if !facts.is_nobody {
            if settings.exclude.contains(&facts.tenant.key) {
                return Self::Excluded;
            }
            if settings.include.contains(&facts.tenant.key) {
                return Self::Included;
            }
        }
        let percent = settings.percent;
        let is_within = match (percent, person) {
            (100.., _) => true,
            (0, _) => false,
            (_, Some(person)) if facts.is_nobody => {
                Bucket::of_user(&person.user).is_within(percent)
            }
            (_, Some(_) | None) => facts.bucket.is_within(percent),
        };
        if is_within { Self::Within(percent) } else { Self::Beyond(percent) }
    }

    /// Whether refusals don't count.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::OpenByEnvironment
            | Self::Off
            | Self::Shadow
            | Self::Excluded
            | Self::Beyond(_) => true,
            Self::Included | Self::Within(_) => false,
        }
    }

    /// For the explanation: which setting it is.
    pub(super) fn told(self) -> String {
        match self {
            Self::OpenByEnvironment => "ENABLE_ENTITLEMENTS_GATING is false.".into(),
            Self::Off => "Not enforced: the rollout's mode is off.".into(),
            Self::Shadow => "Not enforced: the rollout's mode is shadow.".into(),
            Self::Excluded => "Not enforced: the rollout's exclude names the tenant.".into(),
            Self::Beyond(percent) => {
                format!("Not enforced: beyond the rollout's percent, which is {percent}.")
            }
            Self::Included => "Enforced: the rollout's include names the tenant.".into(),
            Self::Within(percent) => {
                format!("Enforced: within the rollout's percent, which is {percent}.")
            }
        }
    }
}

/// The gate that a desk stands at.
pub(super) fn gate(desk: &Desk<'_>) -> Gate {
    Gate::of(desk.world, desk.facts, desk.person)
}

impl World {
    /// Whether refusals of this module don't count, wherever the rollout enforces.
    pub(super) fn leaves_module_open(&self, module: &ModuleKey) -> bool {
        self.rollout.settings.unenforced_modules.contains(module)
    }

    /// The same for a feature: it goes with its module.
    pub(super) fn leaves_feature_open(&self, feature: &FeatureKey) -> bool {
        let module = self.catalog.features.get(feature).and_then(|feature| feature.module.as_ref());
        module.is_some_and(|module| self.leaves_module_open(module))
    }
}

/// The first module or feature of a question whose refusal doesn't count.
pub(super) fn left_open<'a>(desk: &Desk<'_>, needs: &Needs<'a>) -> Option<&'a str> {
    let world = desk.world;
    if world.rollout.settings.unenforced_modules.is_empty() {
        return None;
    }
    let module = needs.modules().find(|key| world.leaves_module_open(key)).map(ModuleKey::as_str);
    let features = || needs.features().chain(needs.limits().map(|need| need.feature));
    let feature = || features().find(|key| world.leaves_feature_open(key)).map(FeatureKey::as_str);
    module.or_else(feature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::rollout::{Rollout, StoredRollout};

    fn facts(tenant: &str) -> TenantFacts {
        let nobody = TenantFacts::nobody().tenant;
        let tenant = crate::domain::tenants::Tenant { key: tenant.parse().unwrap(), ..nobody };
        TenantFacts::new(tenant, Vec::new(), 0)
    }

    fn gate(settings: Rollout, tenant: &str) -> Gate {
        let rollout = StoredRollout { settings, ..StoredRollout::default() };
        let world = World::empty(Gating::BySettings).with_rollout(rollout);
        Gate::of(&world, &facts(tenant), None)
    }

    fn at(percent: u64) -> Rollout {
        Rollout { percent, ..Rollout::default() }
    }

    proptest! {
        #[test]
        fn raising_the_percentage_never_takes_anyone_out(
            tenant in "[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", low in 0u64..=100, high in 0u64..=100,
        ) {
            let (low, high) = (low.min(high), low.max(high));
            let is_reached = |percent| !gate(at(percent), &tenant).is_open();
            prop_assert!(!is_reached(low) || is_reached(high));
            prop_assert!(is_reached(100) && !is_reached(0));
        }

        #[test]
        fn include_always_and_exclude_never(
            tenant in "[a-z][a-z0-9]{0,20}", percent in 0u64..=100,
        ) {
            let named = || [tenant.parse().unwrap()].into();
            let included = gate(Rollout { include: named(), ..at(percent) }, &tenant);
            let excluded = gate(Rollout { exclude: named(), ..at(percent) }, &tenant);
            prop_assert_eq!((included, excluded), (Gate::Included, Gate::Excluded));
        }

        #[test]
        fn users_and_tenants_of_the_same_name_stand_apart_and_still(key in "[a-z][a-z0-9]{0,20}") {
            let (tenant, user) = (key.parse().unwrap(), key.parse().unwrap());
            prop_assert_eq!(Bucket::of_tenant(&tenant), Bucket::of_tenant(&tenant));
            prop_assert!(Bucket::of_user(&user).0 < BUCKETS);
        }
    }

    #[test]
    fn a_percentage_reaches_about_that_share() {
        for percent in [1, 5, 25, 50, 75] {
            let reached = (0..10_000)
                .filter(|n| Bucket::of_tenant(&format!("t{n}").parse().unwrap()).is_within(percent))
                .count();
            let expected = usize::try_from(percent).unwrap() * 100;
            assert!(reached.abs_diff(expected) < 150, "{percent} %: {reached}");
        }
    }

    /// A change of the hash would move every tenant: these stand for good.
    #[test]
    fn the_hash_is_the_documented_one() {
        let of = |key: &str| Bucket::of_tenant(&key.parse().unwrap()).0;
        let user = Bucket::of_user(&"acme".parse().unwrap()).0;
        assert_eq!((of("acme"), of("globex"), user), (8964, 161, 52));
    }
}
