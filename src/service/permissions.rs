//! Who may do what: one table, after SPEC 14. Everything else asks it.
//!
//! Refuses to know: HTTP, tenants' data, how a caller was authenticated.

use crate::domain::callers::OperatorRole;

/// Calls a macro with every permission there is: its name in Rust and on the wire. The document's
/// `x-permission` and the extractor's type parameters are made from the same list.
macro_rules! for_each_permission {
    ($callback:ident) => {
        $callback! {
            /// Reading the catalog and its versions.
            CatalogRead = "catalog:read";
            /// Publishing a catalog.
            CatalogWrite = "catalog:write";
            /// Reading tenants, their subscriptions, grants and modules.
            TenantsRead = "tenants:read";
            /// Creating and changing tenants.
            TenantsWrite = "tenants:write";
            /// Assigning and changing subscriptions.
            SubscriptionsWrite = "subscriptions:write";
            /// Writing a single grant.
            GrantsWrite = "grants:write";
            /// Selecting a tenant's modules.
            ModulesWrite = "modules:write";
            /// Asking for a decision, or its explanation.
            Check = "check";
            /// Reading what a tenant is entitled to.
            EntitlementsRead = "entitlements:read";
            /// Asking about oneself.
            Me = "me";
            /// Reading the audit trail.
            AuditRead = "audit:read";
            /// Making, listing and revoking API keys.
            KeysManage = "keys:manage";
            /// Being told of changes.
            EventsRead = "events:read";
            /// Making, changing, testing and removing webhooks, and reading what they were told.
            WebhooksManage = "webhooks:manage";
            /// Looking at the cache and refreshing it.
            CacheManage = "cache:manage";
            /// Reading the rollout.
            RolloutRead = "rollout:read";
            /// Changing the rollout.
            RolloutWrite = "rollout:write";
            /// Reading legacy maps of modules, and where they differ.
            LegacyRead = "legacy:read";
            /// Importing legacy maps, and saying how they are kept.
            LegacyWrite = "legacy:write";
            /// Seeing, making, changing and removing overrides.
            OverridesManage = "overrides:manage";
            /// Reading requests for overrides.
            RequestsRead = "requests:read";
            /// Asking for an override, and taking that back.
            RequestsWrite = "requests:write";
            /// Running the expiry worker now.
            ExpiryRun = "expiry:run";
            /// Reading users' tiers.
            TiersRead = "tiers:read";
            /// Setting users' tiers and taking them away.
            TiersWrite = "tiers:write";
            /// Reading statistics of what users did.
            ActivityRead = "activity:read";
            /// Recording what users did.
            ActivityWrite = "activity:write";
            /// Reading what was used of limits.
            UsageRead = "usage:read";
            /// Recording, consuming and reserving usage.
            UsageWrite = "usage:write";
            /// Seeing activation codes and who redeemed them.
            ActivationCodesRead = "activation_codes:read";
            /// Making and revoking activation codes.
            ActivationCodesManage = "activation_codes:manage";
            /// Redeeming an activation code.
            ActivationCodesRedeem = "activation_codes:redeem";
            /// Reading seats and who has them.
            SeatsRead = "seats:read";
            /// Allocating, releasing and transferring seats.
            SeatsWrite = "seats:write";
            /// Reading what single users of a tenant are entitled to.
            UserEntitlementsRead = "user_entitlements:read";
            /// Entitling single users of a tenant.
            UserEntitlementsWrite = "user_entitlements:write";
            /// Reading what users without a tenant are entitled to.
            DirectEntitlementsRead = "direct_entitlements:read";
            /// Entitling users without a tenant.
            DirectEntitlementsWrite = "direct_entitlements:write";
            /// Reading a tenant's tree of contexts.
            ContextsRead = "contexts:read";
            /// Making, moving and removing contexts.
            ContextsWrite = "contexts:write";
            /// Seeing who holds which role in a tenant.
            RolesRead = "roles:read";
            /// Giving and taking roles in a tenant.
            RolesWrite = "roles:write";
            /// Seeing who holds which role at platform level.
            PlatformRolesRead = "platform_roles:read";
            /// Giving and taking roles at platform level.
            PlatformRolesWrite = "platform_roles:write";
        }
    };
}
pub(crate) use for_each_permission;

macro_rules! permission_enum {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// A permission of this service itself. Not to be confused with the catalog's permissions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[doc = $doc])* $name,)*
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it stands in the document and in messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it permits, as it is described above.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                let text = match self {
                    $(Self::$name => concat!($($doc),*),)*
                };
                text.trim()
            }
        }
    };
}
for_each_permission!(permission_enum);

/// How far a permission reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Nowhere.
    None,
    /// The caller itself, within its own tenant.
    Oneself,
    /// The caller's own tenant.
    Own,
    /// Every tenant; where the caller is bound to one, that one.
    All,
}

/// How far `role` may use `permission`.
#[must_use]
#[rustfmt::skip]
pub fn allows(role: OperatorRole, permission: Permission) -> Reach {
    use Permission as P;
    use Reach::{All, None as No, Oneself as Me, Own};

    let [super_admin, support, auditor, service, tenant_admin, tenant_user] = match permission {
        //                        super  support auditor service t_admin t_user
        P::CatalogRead        => [All,   All,    All,    No,     No,     No],
        P::CatalogWrite       => [All,   No,     No,     No,     No,     No],
        P::TenantsRead        => [All,   All,    All,    No,     No,     No],
        P::TenantsWrite       => [All,   No,     No,     No,     No,     No],
        P::SubscriptionsWrite => [All,   No,     No,     No,     No,     No],
        P::GrantsWrite        => [All,   No,     No,     No,     No,     No],
        P::ModulesWrite       => [All,   All,    No,     No,     No,     No],
        P::Check              => [All,   All,    All,    All,    Own,    Me],
        P::EntitlementsRead   => [All,   All,    All,    All,    Own,    Me],
        P::Me                 => [All,   All,    All,    All,    Own,    Me],
        P::AuditRead          => [All,   All,    All,    No,     No,     No],
        P::KeysManage         => [All,   No,     No,     No,     No,     No],
        P::EventsRead         => [All,   All,    All,    All,    Own,    Me],
        P::WebhooksManage     => [All,   No,     No,     No,     No,     No],
        P::CacheManage        => [All,   No,     No,     No,     No,     No],
        P::RolloutRead        => [All,   All,    All,    No,     No,     No],
        P::RolloutWrite       => [All,   No,     No,     No,     No,     No],
        P::LegacyRead         => [All,   All,    All,    No,     No,     No],
        P::LegacyWrite        => [All,   No,     No,     No,     No,     No],
        P::OverridesManage    => [All,   All,    No,     No,     No,     No],
        P::RequestsRead       => [All,   All,    No,     No,     Own,    No],
        P::RequestsWrite      => [All,   All,    No,     No,     Own,    No],
        P::ExpiryRun          => [All,   No,     No,     No,     No,     No],
        P::TiersRead          => [All,   All,    All,    All,    Own,    No],
        P::TiersWrite         => [All,   No,     No,     All,    No,     No],
        P::ActivityRead       => [All,   All,    All,    All,    Own,    No],
        P::ActivityWrite      => [All,   No,     No,     All,    Own,    No],
        P::UsageRead          => [All,   All,    All,    All,    Own,    No],
        P::UsageWrite         => [All,   No,     No,     All,    No,     No],
        P::ActivationCodesRead   => [All, All,   All,    No,     No,     No],
        P::ActivationCodesManage => [All, No,    No,     No,     No,     No],
        P::ActivationCodesRedeem => [All, No,    No,     No,     Own,    No],
        P::SeatsRead          => [All,   All,    All,    All,    Own,    No],
        P::SeatsWrite         => [All,   No,     No,     All,    Own,    No],
        P::UserEntitlementsRead    => [All, All, All,    All,    Own,    No],
        P::UserEntitlementsWrite   => [All, No,  No,     All,    Own,    No],
        P::DirectEntitlementsRead  => [All, All, All,    All,    No,     No],
        P::DirectEntitlementsWrite => [All, No,  No,     All,    No,     No],
        P::ContextsRead       => [All,   All,    All,    All,    Own,    No],
        P::ContextsWrite      => [All,   No,     No,     All,    No,     No],
        P::RolesRead          => [All,   All,    All,    All,    Own,    No],
        P::RolesWrite         => [All,   No,     No,     All,    Own,    No],
        P::PlatformRolesRead  => [All,   All,    All,    No,     No,     No],
        P::PlatformRolesWrite => [All,   No,     No,     No,     No,     No],
    };
    match role {
        OperatorRole::SuperAdmin => super_admin,
        OperatorRole::Support => support,
        OperatorRole::Auditor => auditor,
        OperatorRole::Service => service,
        OperatorRole::TenantAdmin => tenant_admin,
        OperatorRole::TenantUser => tenant_user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_super_admin_may_everything_everywhere() {
        for &permission in Permission::ALL {
            assert_eq!(allows(OperatorRole::SuperAdmin, permission), Reach::All, "{permission:?}");
        }
    }

    #[test]
    fn who_belongs_to_a_tenant_never_reaches_beyond_it() {
        for &permission in Permission::ALL {
            for role in OperatorRole::ALL.into_iter().filter(|role| role.needs_tenant()) {
                assert!(allows(role, permission) <= Reach::Own, "{role:?} {permission:?}");
            }
        }
    }

    #[test]
    fn an_auditor_changes_nothing() {
        for &permission in Permission::ALL {
            let writes =
                permission.as_str().ends_with(":write") || permission.as_str().ends_with(":manage");
            if writes {
                assert_eq!(allows(OperatorRole::Auditor, permission), Reach::None);
            }
        }
    }
}
