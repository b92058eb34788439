//! The table of permissions, printed.

use std::fmt::Write;

use entitled::{
    domain::callers::OperatorRole,
    service::permissions::{Permission, Reach, allows},
};

/// `docs/permissions.md` as the table has it.
pub fn printed() -> String {
    let mut text = String::from(
        "# Permissions\n\n\
         Who may use which operation: each operation of the document names the permission it needs \
         as `x-permission`. Written by `UPDATE=1 cargo test --test it reference` from the table \
         in `src/service/permissions.rs`.\n\n\
         - **all**: every tenant; a caller that is bound to a tenant, that one.\n\
         - **own**: the caller's tenant.\n\
         - **oneself**: the caller itself, within its tenant.\n\n\
         | permission | for |",
    );
    for role in OperatorRole::ALL {
        write!(text, " `{}` |", role.as_str()).unwrap();
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(OperatorRole::ALL.len()));
    for &permission in Permission::ALL {
        let meaning = permission.meaning().trim_end_matches('.');
        write!(text, "\n| `{}` | {meaning} |", permission.as_str()).unwrap();
        for role in OperatorRole::ALL {
            let reach = match allows(role, permission) {
                Reach::None => "–",
                Reach::Oneself => "oneself",
                Reach::Own => "own",
                Reach::All => "all",
            };
            write!(text, " {reach} |").unwrap();
        }
    }
    text.push('\n');
    text
}

/// SPEC 14, said again by hand: what a mistake in the table would give away.
#[test]
fn the_table_says_what_the_specification_says() {
    use OperatorRole as R;
    use Permission as P;
    let changing = [
        P::CatalogWrite,
        P::TenantsWrite,
        P::SubscriptionsWrite,
        P::GrantsWrite,
        P::KeysManage,
        P::WebhooksManage,
        P::CacheManage,
        P::ExpiryRun,
        P::RolloutWrite,
        P::ActivationCodesManage,
        P::PlatformRolesWrite,
    ];
    for permission in changing {
        for role in OperatorRole::ALL {
            let expected = if role == R::SuperAdmin { Reach::All } else { Reach::None };
            assert_eq!(allows(role, permission), expected, "{role:?} {permission:?}");
        }
    }
    // Module selection and overrides are the changes that support makes; the auditor reads
    // everything but overrides.
    let of_overrides = [P::OverridesManage, P::RequestsRead, P::RequestsWrite];
    for permission in [P::ModulesWrite].into_iter().chain(of_overrides) {
        assert_eq!(allows(R::Support, permission), Reach::All, "{permission:?}");
        assert_eq!(allows(R::Auditor, permission), Reach::None, "{permission:?}");
    }
    // A tenant redeems a code for itself; support neither makes nor redeems one, but sees them.
    for role in [R::Support, R::Auditor] {
        assert_eq!(allows(role, P::ActivationCodesRead), Reach::All, "{role:?}");
        assert_eq!(allows(role, P::ActivationCodesRedeem), Reach::None, "{role:?}");
    }
    // Users, roles, seats and activity are the application's own; support and auditors read them.
    let of_services = [
        P::TiersRead,
        P::TiersWrite,
        P::ActivityRead,
        P::ActivityWrite,
        P::ContextsRead,
        P::ContextsWrite,
        P::RolesRead,
        P::RolesWrite,
        P::UsageRead,
        P::UsageWrite,
    ];
    for permission in of_services {
        let reads = [P::TiersRead, P::ActivityRead, P::ContextsRead, P::RolesRead, P::UsageRead];
        let reads = reads.contains(&permission);
        for role in [R::Support, R::Auditor] {
            let expected = if reads { Reach::All } else { Reach::None };
            assert_eq!(allows(role, permission), expected, "{role:?} {permission:?}");
        }
    }
    for role in [R::Support, R::Auditor] {
        assert_eq!(allows(role, P::PlatformRolesRead), Reach::All, "{role:?}");
    }
    // Users: staff read, the application and super admins write. What users have without a tenant is
    // no matter of a tenant.
    let of_users = [
        (P::SeatsRead, P::SeatsWrite, Reach::Own),
        (P::UserEntitlementsRead, P::UserEntitlementsWrite, Reach::Own),
        (P::DirectEntitlementsRead, P::DirectEntitlementsWrite, Reach::None),
    ];
    for (read, write, of_admin) in of_users {
        for role in [R::Support, R::Auditor] {
            assert_eq!(allows(role, read), Reach::All, "{role:?} {read:?}");
            assert_eq!(allows(role, write), Reach::None, "{role:?} {write:?}");
        }
        for permission in [read, write] {
            assert_eq!(allows(R::Service, permission), Reach::All, "{permission:?}");
            assert_eq!(allows(R::TenantAdmin, permission), of_admin, "{permission:?}");
            assert_eq!(allows(R::TenantUser, permission), Reach::None, "{permission:?}");
        }
    }
    let said = |permission| of_users.iter().any(|(r, w, _)| [*r, *w].contains(&permission));
    let of_applications = [P::Check, P::EntitlementsRead, P::EventsRead, P::Me];
    for &permission in Permission::ALL.iter().filter(|permission| !said(**permission)) {
        let may = of_applications.contains(&permission);
        let expected = |reach| if may { reach } else { Reach::None };
        let of_service = may || of_services.contains(&permission);
        let of_service = if of_service { Reach::All } else { Reach::None };
        assert_eq!(allows(R::Service, permission), of_service, "{permission:?}");
        // A tenant's admin may also redeem codes, ask for overrides, and read what was asked.
        let of_admins = [
            P::ActivationCodesRedeem,
            P::RequestsRead,
            P::RequestsWrite,
            P::TiersRead,
            P::ActivityRead,
            P::ActivityWrite,
            P::ContextsRead,
            P::RolesRead,
            P::RolesWrite,
            // Sees what was used, and can't set it.
            P::UsageRead,
        ];
        let of_admin =
            if of_admins.contains(&permission) { Reach::Own } else { expected(Reach::Own) };
        assert_eq!(allows(R::TenantAdmin, permission), of_admin, "{permission:?}");
        assert_eq!(allows(R::TenantUser, permission), expected(Reach::Oneself), "{permission:?}");
    }
}
