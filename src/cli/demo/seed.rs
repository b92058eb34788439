//! Filling a product: tenants, plans, grants, through the same use cases that every caller uses.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use parking_lot::Mutex;

use super::{Product, now};
use crate::{
    cli::{Failure, instance},
    clock::Clock,
    config::Settings,
    domain::{
        callers::OperatorRole,
        catalog::Format,
        contexts::ContextKey,
        keys::{EntitlementKey, TenantKey},
        subscriptions::SubscriptionStatus,
        tenants::Billing,
        time::{DAY_US, Timestamp},
    },
    error::{Error, Result},
    service::{
        Actor, Expected, Service,
        activation_codes::NewCode,
        api_keys::NewApiKey,
        catalogs::CatalogDocument,
        grants::{NewGrant, NewState, Selection},
        keyring::{Keyring, Secret},
        overrides::Draft,
        roles::NewRole,
        seats::{SeatDraft, SeatName},
        subscriptions::Assignment,
        tenants::{NewTenant, StatusChange, TenantPatch},
        tiers::{TierDraft, TierHolder},
        user_entitlements::{Place, UserEntitlementDraft},
        values::Direction,
    },
    store::StoreOptions,
};

/// A tenant to look at.
pub struct Shown {
    /// Its key.
    pub tenant: &'static str,
    /// What it shows.
    pub story: &'static str,
    /// The key of its tenant admin.
    pub key: Secret,
}

/// What filling a product is.
pub type Seeding<'a> = Pin<Box<dyn Future<Output = Result<Vec<Shown>>> + Send + 'a>>;

/// A product that is being filled, on a clock that can be set.
pub struct Seed {
    service: Service,
    actor: Actor,
    clock: Clock,
    now: Timestamp,
    codes: Mutex<Vec<ShownCode>>,
}

/// An activation code to redeem.
pub struct ShownCode {
    /// The code.
    pub code: Secret,
    /// What it does.
    pub story: &'static str,
}

/// How far back the story of a product begins.
const DAYS_BACK: u32 = 30;

impl Seed {
    /// Fills a new database and closes it again.
    pub async fn plant(
        settings: &Settings,
        options: &StoreOptions,
        product: &Product,
    ) -> Result<(Vec<Shown>, Vec<ShownCode>), Failure> {
        let now = now();
        let clock = Clock::manual(days_before(now, DAYS_BACK));
        let keyring = Arc::new(Keyring::default());
        let service = instance::open(settings, options, clock.clone(), keyring)?;
        let actor = Actor::system("demo");
        let seed = Self { service, actor, clock, now, codes: Mutex::default() };
        let document = CatalogDocument { text: product.catalog.into(), format: Format::Yaml };
        seed.service.apply_catalog(&seed.actor, document, None).await?;
        let shown = (product.seed)(&seed).await?;
        seed.service.store().stop().await;
        Ok((shown, seed.codes.into_inner()))
    }

    /// What follows happens so many days ago. Time only goes forward.
    pub fn days_ago(&self, days: u32) {
        self.clock.set(days_before(self.now, days));
    }

    /// The end of what ends in so many days from now.
    pub fn in_days(&self, days: u32) -> Timestamp {
        self.now.plus_days(days)
    }

    /// Makes a tenant, and a key for its admin.
    pub async fn tenant(&self, tenant: &'static str, story: &'static str) -> Result<Shown> {
        self.make(tenant, story, Openness::AsBought, None).await
    }

    /// Makes a tenant that needs no subscription, and a key for its admin.
    pub async fn direct_tenant(&self, tenant: &'static str, story: &'static str) -> Result<Shown> {
        self.make(tenant, story, Openness::AsGranted, None).await
    }

    /// Makes a tenant below another, and a key for its admin.
    pub async fn tenant_below(
        &self,
        tenant: &'static str,
        story: &'static str,
        parent: &str,
    ) -> Result<Shown> {
        self.make(tenant, story, Openness::AsBought, Some(parsed(parent)?)).await
    }

    /// Makes a demo tenant, and a key for its admin.
    pub async fn demo_tenant(&self, tenant: &'static str, story: &'static str) -> Result<Shown> {
        self.make(tenant, story, Openness::Everything, None).await
    }

    async fn make(
        &self,
        tenant: &'static str,
        story: &'static str,
        openness: Openness,
        parent: Option<TenantKey>,
    ) -> Result<Shown> {
        let key = parsed(tenant)?;
        let (billing, demo) = match openness {
            Openness::AsBought => (Billing::Subscription, false),
            Openness::AsGranted => (Billing::Direct, false),
            Openness::Everything => (Billing::Subscription, true),
        };
        let new = NewTenant {
            key: parsed(tenant)?,
            name: title(tenant),
            parent,
            billing,
            demo,
            sandbox: false,
            attributes: serde_json::Map::new(),
        };
        self.service.create_tenant(&self.actor, None, new).await?;
        let new = NewApiKey {
            name: format!("demo admin of {tenant}"),
            role: OperatorRole::TenantAdmin,
            tenant: Some(key),
            expires_at: None,
            rate: None,
        };
        let issued = self.service.create_api_key(&self.actor, None, new).await?;
        let key = issued.secret.ok_or_else(|| Error::internal("a new key has no secret"))?;
        Ok(Shown { tenant, story, key })
    }

    /// Puts a tenant on a plan.
    pub async fn plan(
        &self,
        tenant: &Shown,
        plan: &str,
        status: SubscriptionStatus,
        trial_expires_at: Option<Timestamp>,
    ) -> Result<()> {
        let plan = plan.parse().map_err(|_| Error::internal("a plan of the demo"))?;
        let new = Assignment {
            plan,
            status: Some(status),
            trial_expires_at,
            quantity: 1,
            effective_from: None,
            change_reason: "demo".into(),
        };
        let tenant = parsed(tenant.tenant)?;
        self.service.assign_plan(&self.actor, None, tenant, new).await.map(|_| ())
    }

    /// Gives or withholds one key.
    pub async fn grant(&self, tenant: &Shown, key: &str, state: NewState) -> Result<()> {
        self.give(tenant, key, state, None).await
    }

    /// Gives one key until an instant.
    pub async fn trial(&self, tenant: &Shown, key: &str, end: Timestamp) -> Result<()> {
        self.give(tenant, key, NewState::Trial, Some(end)).await
    }

    async fn give(
        &self,
        tenant: &Shown,
        key: &str,
        state: NewState,
        trial_expires_at: Option<Timestamp>,
    ) -> Result<()> {
        let key: EntitlementKey = key.parse().map_err(|_| Error::internal("a key of the demo"))?;
        let new = NewGrant {
            state,
            value: None,
            seats: None,
            trial_expires_at,
            reason: "demo".into(),
            release: None,
        };
        let tenant = parsed(tenant.tenant)?;
        self.service.set_grant(&self.actor, tenant, key, new, Expected::Anything).await.map(|_| ())
    }

    /// Selects a tenant's modules by their bundles.
    pub async fn select(&self, tenant: &Shown, bundles: &[&str]) -> Result<()> {
        let bundles = bundles.iter().map(|bundle| bundle.parse());
        let selection = Selection {
            modules: BTreeMap::new(),
            bundles: bundles
                .collect::<Result<_, _>>()
                .map_err(|_| Error::internal("a bundle of the demo"))?,
            reason: "demo".into(),
        };
        let tenant = parsed(tenant.tenant)?;
        self.service.select_modules(&self.actor, tenant, selection).await.map(|_| ())
    }

    /// Gives a user a seat, of the own tenant or of one above.
    pub async fn seat(
        &self,
        tenant: &str,
        key: &str,
        user: &str,
        from: Option<&str>,
    ) -> Result<()> {
        let name = SeatName {
            tenant: parsed(tenant)?,
            key: key.parse().map_err(|_| Error::internal("a key of the demo"))?,
            user: user.parse().map_err(|_| Error::internal("a user of the demo"))?,
            from: from.map(parsed).transpose()?,
        };
        self.service.allocate_seat(&self.actor, name, SeatDraft::default()).await.map(|_| ())
    }

    /// Entitles a user without a tenant.
    pub async fn entitle(&self, user: &str, key: &str) -> Result<()> {
        let user = user.parse().map_err(|_| Error::internal("a user of the demo"))?;
        let draft = UserEntitlementDraft {
            key: Some(key.parse().map_err(|_| Error::internal("a key of the demo"))?),
            reason: Some("demo".into()),
            ..UserEntitlementDraft::default()
        };
        let place = Place::Direct(user);
        self.service.grant_user_entitlement(&self.actor, None, place, draft).await.map(|_| ())
    }

    /// Opens or closes one key for a while.
    pub async fn exception(
        &self,
        tenant: &Shown,
        key: &str,
        direction: Direction,
        expires_at: Timestamp,
    ) -> Result<()> {
        let draft = Draft {
            tenant: Some(parsed(tenant.tenant)?),
            key: Some(key.parse().map_err(|_| Error::internal("a key of the demo"))?),
            direction: Some(direction),
            expires_at: Some(expires_at),
            reason: Some("demo".into()),
            ..Draft::default()
        };
        self.service.put_override(&self.actor, None, draft).await.map(|_| ())
    }

    /// Puts a context (`type:id`) below another, or at the top of a tenant's tree.
    pub async fn context(&self, tenant: &Shown, key: &str, parent: Option<&str>) -> Result<()> {
        let parent = parent.map(context).transpose()?;
        let (tenant, key) = (parsed(tenant.tenant)?, context(key)?);
        self.service
            .put_context(&self.actor, tenant, key, parent, Expected::Anything)
            .await
            .map(|_| ())
    }

    /// Gives a user a role on a context of a tenant, or on the tenant itself.
    pub async fn role(
        &self,
        tenant: &Shown,
        user: &str,
        role: &str,
        on: Option<&str>,
    ) -> Result<()> {
        let new = NewRole { context: on.map(context).transpose()?, ..held(user, role)? };
        let tenant = parsed(tenant.tenant)?;
        self.service.assign_role(&self.actor, None, tenant, new).await.map(|_| ())
    }

    /// Puts a user on a tier.
    pub async fn tier(&self, tenant: &Shown, user: &str, plan: &str) -> Result<()> {
        let bad = || Error::internal("a tier of the demo");
        let holder = TierHolder {
            tenant: Some(parsed(tenant.tenant)?),
            user: user.parse().map_err(|_| bad())?,
        };
        let draft =
            TierDraft { plan: Some(plan.parse().map_err(|_| bad())?), ..TierDraft::default() };
        self.service.set_tier(&self.actor, holder, draft).await.map(|_| ())
    }

    /// Gives one of the own staff a role.
    pub async fn platform_role(&self, user: &str, role: &str) -> Result<()> {
        let new = held(user, role)?;
        self.service.assign_platform_role(&self.actor, None, new).await.map(|_| ())
    }

    /// Makes an activation code that one tenant can redeem, to be printed.
    pub async fn code(&self, plan: &str, trial_days: u32, story: &'static str) -> Result<()> {
        let new = NewCode {
            plan: Some(plan.parse().map_err(|_| Error::internal("a plan of the demo"))?),
            max_redemptions: Some(1),
            duration_days: Some(trial_days),
            ..NewCode::default()
        };
        let issued = self.service.create_activation_code(&self.actor, None, new).await?;
        let code = issued.text.ok_or_else(|| Error::internal("a new code has no text"))?;
        self.codes.lock().push(ShownCode { code, story });
        Ok(())
    }

    /// Suspends a tenant.
    pub async fn suspend(&self, tenant: &Shown, reason: &str) -> Result<()> {
        let status = Some(StatusChange::Suspend(reason.to_owned()));
        let patch = TenantPatch { status, ..TenantPatch::default() };
        let tenant = parsed(tenant.tenant)?;
        self.service.update_tenant(&self.actor, tenant, patch, None).await.map(|_| ())
    }
}

/// What a tenant may use.
#[derive(Clone, Copy)]
enum Openness {
    AsBought,
    AsGranted,
    Everything,
}

fn held(user: &str, role: &str) -> Result<NewRole> {
    Ok(NewRole {
        user: Some(user.parse().map_err(|_| Error::internal("a user of the demo"))?),
        role: Some(role.parse().map_err(|_| Error::internal("a role of the demo"))?),
        ..NewRole::default()
    })
}

fn context(key: &str) -> Result<ContextKey> {
    let bad = || Error::internal("a context of the demo");
    let (kind, id) = key.split_once(':').ok_or_else(bad)?;
    Ok(ContextKey { kind: kind.parse().map_err(|_| bad())?, id: id.parse().map_err(|_| bad())? })
}

fn parsed(tenant: &str) -> Result<TenantKey> {
    tenant.parse().map_err(|_| Error::internal("a tenant of the demo"))
}

fn days_before(now: Timestamp, days: u32) -> Timestamp {
    Timestamp::from_micros(now.micros() - i64::from(days) * DAY_US)
}

/// `Retail only` for `retail-only`.
fn title(key: &str) -> String {
    let mut letters = key.chars().map(|c| if c == '-' { ' ' } else { c });
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
