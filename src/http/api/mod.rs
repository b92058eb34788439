//! The operations, one file for each resource. Bodies and views stand beside their handlers: they
//! are not domain types, and each conversion takes its source apart, so that no field is forgotten.

pub mod activation_codes;
pub mod activity;
pub mod api_keys;
pub mod audit;
pub mod audit_export;
pub mod authorize;
pub mod cache;
pub mod catalogs;
pub mod checks;
pub mod contexts;
pub mod coverage;
pub mod dry_run;
pub mod entitlements;
pub mod events;
pub mod grants;
pub mod legacy;
pub mod overrides;
pub mod overrides_report;
pub mod parts;
mod personal;
pub mod requests;
pub mod roles;
pub mod rollout;
pub mod rollout_report;
pub mod seats;
pub mod subscriptions;
pub mod tenant_clock;
pub mod tenants;
pub mod tiers;
pub mod usage;
pub mod usage_reports;
pub mod user_entitlements;
pub mod webhooks;

use poem_openapi::Tags;
use serde::Serialize;

use crate::{
    error::Result,
    http::types::IdempotencyKey,
    service::{Service, once::Once},
};

/// All operations.
pub type Apis = (
    checks::ChecksApi,
    entitlements::EntitlementsApi,
    catalogs::CatalogsApi,
    parts::PartsApi,
    (tenants::TenantsApi, tenant_clock::TenantClockApi),
    subscriptions::SubscriptionsApi,
    grants::GrantsApi,
    (audit::AuditApi, events::EventsApi, webhooks::WebhooksApi),
    api_keys::ApiKeysApi,
    (cache::CacheApi, rollout::RolloutApi, rollout_report::RolloutReportApi, legacy::LegacyApi),
    overrides::OverridesApi,
    activation_codes::ActivationCodesApi,
    overrides_report::OverridesReportApi,
    requests::RequestsApi,
    coverage::CoverageApi,
    PeopleApis,
);

/// The operations about users and usage; a tuple has at most 16.
type PeopleApis = (
    contexts::ContextsApi,
    roles::RolesApi,
    tiers::TiersApi,
    seats::SeatsApi,
    user_entitlements::UserEntitlementsApi,
    activity::ActivityApi,
    usage::UsageApi,
    usage_reports::UsageReportsApi,
);

fn people(service: impl Fn() -> Service) -> PeopleApis {
    (
        contexts::ContextsApi(service()),
        roles::RolesApi(service()),
        tiers::TiersApi(service()),
        seats::SeatsApi(service()),
        user_entitlements::UserEntitlementsApi(service()),
        activity::ActivityApi(service()),
        usage::UsageApi(service()),
        usage_reports::UsageReportsApi(service()),
    )
}

/// All operations of `service`.
#[must_use]
pub fn apis(service: &Service) -> Apis {
    let service = || service.clone();
    (
        checks::ChecksApi(service()),
        entitlements::EntitlementsApi(service()),
        catalogs::CatalogsApi(service()),
        parts::PartsApi(service()),
        (tenants::TenantsApi(service()), tenant_clock::TenantClockApi(service())),
        subscriptions::SubscriptionsApi(service()),
        grants::GrantsApi(service()),
        (
            audit::AuditApi(service()),
            events::EventsApi(service()),
            webhooks::WebhooksApi(service()),
        ),
        api_keys::ApiKeysApi(service()),
        (
            cache::CacheApi(service()),
            rollout::RolloutApi(service()),
            rollout_report::RolloutReportApi(service()),
            legacy::LegacyApi(service()),
        ),
        overrides::OverridesApi(service()),
        activation_codes::ActivationCodesApi(service()),
        overrides_report::OverridesReportApi(service()),
        requests::RequestsApi(service()),
        coverage::CoverageApi(service()),
        people(service),
    )
}

#[derive(Tags)]
enum Tag {
    /// May they use it?
    Decisions,
    /// All that a tenant may use, for frontends.
    Entitlements,
    /// What there is: modules, features, plans.
    Catalog,
    /// Who there is.
    Tenants,
    /// Who is on which plan.
    Subscriptions,
    /// What is given to, or withheld from, a tenant directly.
    Grants,
    /// Users: their tiers, and what they do.
    People,
    /// How much of their limits tenants and users have used.
    Usage,
    /// Governed exceptions that always expire.
    Overrides,
    /// Codes that put a tenant on a plan.
    ActivationCodes,
    /// Overrides that somebody wants and somebody else decides about.
    Requests,
    /// What named users may use of what a tenant has bought.
    Seats,
    /// What is given to one user.
    UserEntitlements,
    /// The things in a tenant that roles are held on, as a tree.
    Contexts,
    /// Who holds which role, where.
    Roles,
    /// What happened.
    Audit,
    /// What changes, as it changes.
    Events,
    /// Who is told of audit events, by messages that are signed.
    Webhooks,
    /// How far enforcement goes.
    Rollout,
    /// Modules as an older application knows them.
    Legacy,
    /// Who may call.
    Keys,
    /// The service itself.
    Operations,
}

/// The promise of an `Idempotency-Key` header, for an operation about something.
fn once(
    key: Option<&IdempotencyKey>,
    operation: &str,
    about: &str,
    body: &impl Serialize,
) -> Result<Option<Once>> {
    key.map(|key| Once::new(key.as_str(), operation, about, body)).transpose()
}
