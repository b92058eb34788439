//! Every event of the audit trail, once: what it is about and when it is written. `docs/security.md`
//! has its table from here; webhooks choose among these names.
//!
//! Invariants: an event that the program writes stands here, and the other way round
//! (`tests/it/reference/events.rs`).

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind {
    /// As it stands in the trail.
    pub name: &'static str,
    /// What kind of thing it is about.
    pub about: &'static str,
    /// What its `subject` is.
    pub subject: &'static str,
    /// Who has it written.
    pub by: WrittenBy,
    /// What has happened.
    pub meaning: &'static str,
}

/// Who has an event written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenBy {
    /// Whoever makes the change.
    Caller,
    /// The service by itself, mostly because time has passed; where a change comes upon what is over
    /// first, it comes with the change.
    Service,
}

const fn event(
    about: &'static str,
    subject: &'static str,
    name: &'static str,
    meaning: &'static str,
) -> EventKind {
    EventKind { name, about, subject, by: WrittenBy::Caller, meaning }
}

impl EventKind {
    const fn by_service(self) -> Self {
        Self { by: WrittenBy::Service, ..self }
    }
}

/// All of them.
pub const AUDIT_EVENTS: &[EventKind] = &[
    event(
        "catalog",
        "`catalog`",
        "catalog.applied",
        "a catalog came into effect, also an older version again",
    ),
    event("tenants", "the tenant", "tenant.created", "it was made"),
    event(
        "tenants",
        "the tenant",
        "tenant.updated",
        "its name, billing, attributes or place was changed",
    ),
    event("tenants", "the tenant", "tenant.suspended", "it was suspended"),
    event("tenants", "the tenant", "tenant.reactivated", "it is suspended no longer"),
    event("tenants", "the tenant", "tenant.clock_moved", "the clock of a sandbox was moved"),
    event("subscriptions", "its id", "subscription.assigned", "a plan or add-on was assigned"),
    event("subscriptions", "its id", "subscription.updated", "its state or its end was changed"),
    event("subscriptions", "its id", "subscription.closed", "it was ended by somebody"),
    event(
        "subscriptions",
        "its id",
        "subscription.unscheduled",
        "it was taken back before it began",
    ),
    event(
        "subscriptions",
        "its id",
        "subscription.migrated",
        "it was moved to another version of its plan",
    ),
    event("subscriptions", "its id", "subscription.started", "a scheduled one has begun")
        .by_service(),
    event("subscriptions", "its id", "subscription.ended", "it has come to its end").by_service(),
    event("subscriptions", "its id", "subscription.trial_expired", "its trial is over")
        .by_service(),
    event(
        "grants",
        "the module or feature",
        "grant.created",
        "a module or feature was granted or withheld",
    ),
    event("grants", "the module or feature", "grant.updated", "the grant was changed"),
    event("grants", "the module or feature", "grant.removed", "the grant was taken back"),
    event("grants", "the module or feature", "grant.trial_expired", "its trial is over")
        .by_service(),
    event(
        "overrides",
        "its id",
        "entitlement.override.created",
        "it was made, or a request for it approved",
    ),
    event("overrides", "its id", "entitlement.override.updated", "it was changed"),
    event("overrides", "its id", "entitlement.override.removed", "it was removed"),
    event(
        "overrides",
        "its id",
        "entitlement.override.break_glass",
        "one person alone made or changed it where two are asked for",
    ),
    event(
        "overrides",
        "its id",
        "entitlement.override.ends_soon",
        "it ends within `expiry.ends_soon_hours`",
    )
    .by_service(),
    event("overrides", "its id", "entitlement.override.expired", "it has come to its end")
        .by_service(),
    event(
        "requests for overrides",
        "the id of the request",
        "entitlement.override.requested",
        "somebody asked for an override",
    ),
    event(
        "requests for overrides",
        "the id of the request",
        "entitlement.override.approved",
        "somebody else approved",
    ),
    event(
        "requests for overrides",
        "the id of the request",
        "entitlement.override.declined",
        "it was declined",
    ),
    event(
        "requests for overrides",
        "the id of the request",
        "entitlement.override.request_withdrawn",
        "who asked has taken it back",
    ),
    event(
        "requests for overrides",
        "the id of the request",
        "entitlement.override.request_expired",
        "nobody has decided in time",
    )
    .by_service(),
    event("users' tiers", "the user", "tier.assigned", "a user has a tier, or another one"),
    event("users' tiers", "the user", "tier.removed", "it was taken away"),
    event(
        "users' tiers",
        "the user",
        "tier.expired",
        "it has come to its end; also where another one replaces it after that",
    )
    .by_service(),
    event("seats", "the user", "seat.allocated", "a user has a seat, or its end was changed"),
    event("seats", "the user", "seat.released", "the seat is free again"),
    event("seats", "the user", "seat.transferred", "another user has it now"),
    event("seats", "the user", "seat.expired", "it has come to its end").by_service(),
    event("user entitlements", "its id", "user_entitlement.granted", "a user was given something"),
    event("user entitlements", "its id", "user_entitlement.suspended", "it counts no more for now"),
    event("user entitlements", "its id", "user_entitlement.resumed", "it counts again"),
    event(
        "user entitlements",
        "its id",
        "user_entitlement.updated",
        "its end or another fact was changed",
    ),
    event("user entitlements", "its id", "user_entitlement.revoked", "it was taken back"),
    event("user entitlements", "its id", "user_entitlement.expired", "it has come to its end")
        .by_service(),
    event("usage", "the limit", "usage.set", "a count was set to a value"),
    event(
        "usage",
        "the limit",
        "usage.threshold_reached",
        "a count has reached a threshold of its limit",
    ),
    event("usage", "the limit", "usage.recovered", "a count is below its thresholds again"),
    event(
        "reservations",
        "its id",
        "reservation.expired",
        "nobody has settled or released it in time",
    )
    .by_service(),
    event("the rollout", "`rollout`", "rollout.changed", "its settings were changed"),
    event(
        "the rollout",
        "`rollout`",
        "rollout.auto_rolled_back",
        "too many tenants were refused, so that it was set back; `after.seen` has the figures",
    )
    .by_service(),
    event("API keys", "its id", "api_key.created", "a key was made"),
    event("API keys", "its id", "api_key.rotated", "it has another secret"),
    event("API keys", "its id", "api_key.revoked", "it was revoked"),
    event(
        "legacy maps",
        "`legacy`, or `enabled_modules`",
        "legacy.changed",
        "how maps are kept was changed",
    ),
    event(
        "legacy maps",
        "`legacy`, or `enabled_modules`",
        "legacy.imported",
        "the map of a tenant was replaced by an import",
    ),
    event("activation codes", "its id", "entitlement.activation_code.created", "a code was made"),
    event(
        "activation codes",
        "its id",
        "entitlement.activation_code.redeemed",
        "a tenant has redeemed it",
    ),
    event("activation codes", "its id", "entitlement.activation_code.revoked", "it was revoked"),
    event("contexts", "the context", "context.created", "it was made"),
    event("contexts", "the context", "context.moved", "it is below another one"),
    event("contexts", "the context", "context.removed", "it was removed"),
    event(
        "roles, in a tenant and at platform level",
        "the user",
        "role.assigned",
        "a user has a role, or its end was changed",
    ),
    event(
        "roles, in a tenant and at platform level",
        "the user",
        "role.removed",
        "it was taken away",
    ),
    event(
        "roles, in a tenant and at platform level",
        "the user",
        "role.expired",
        "it has come to its end",
    )
    .by_service(),
    event(
        "platform staff",
        "the user",
        "entitlement.super_admin_bypass",
        "a check in platform mode was passed without being judged; `after` has the question",
    ),
    event("webhooks", "its id", "webhook.created", "it was made"),
    event("webhooks", "its id", "webhook.updated", "it was changed"),
    event("webhooks", "its id", "webhook.secret_rotated", "it has another secret"),
    event("webhooks", "its id", "webhook.deleted", "it was removed"),
    event("webhooks", "its id", "webhook.tested", "a test message was ordered"),
    event("webhooks", "its id", "webhook.delivery_resent", "a message was ordered once more"),
    event("webhooks", "its id", "webhook.disabled", "the service gave it up").by_service(),
    event(
        "the trail itself",
        "`audit`",
        "entitlement.audit.pruned",
        "old rows were pruned behind a checkpoint",
    )
    .by_service(),
    event(
        "the trail itself",
        "`audit`",
        "entitlement.audit.rollback_accepted",
        "an operator started from a database that doesn't hold its anchor",
    ),
    event(
        "the database",
        "`database`",
        "entitlement.database.restored",
        "it was restored from a backup",
    ),
];
