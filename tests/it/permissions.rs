//! The table of permissions, printed.

use std::fmt::Write;

use entitled::{
    domain::callers::OperatorRole,
    service::permissions::{Permission, Reach, allows},
};

use crate::openapi::expect_file;

fn printed() -> String {
    let mut text = String::from(
        "# Permissions\n\n\
         Who may use which operation: each operation of the document names the permission it needs \
         as `x-permission`. Written by `UPDATE=1 cargo test --test it permissions` from the table \
         in `src/service/permissions.rs`.\n\n\
         - **all**: every tenant; a caller that is bound to a tenant, that one.\n\
         - **own**: the caller's tenant.\n\
         - **oneself**: the caller itself, within its tenant.\n\n\
         | permission |",
    );
    for role in OperatorRole::ALL {
        write!(text, " `{}` |", role.as_str()).unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(OperatorRole::ALL.len()));
    for &permission in Permission::ALL {
        write!(text, "\n| `{}` |", permission.as_str()).unwrap();
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

#[test]
fn the_printed_table_is_the_present_one() {
    expect_file("docs/permissions.md", &printed());
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
        P::CacheManage,
        P::ExpiryRun,
        P::ActivationCodesManage,
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
    let of_applications = [P::Check, P::EntitlementsRead, P::Me];
    for &permission in Permission::ALL {
        let may = of_applications.contains(&permission);
        let expected = |reach| if may { reach } else { Reach::None };
        assert_eq!(allows(R::Service, permission), expected(Reach::All), "{permission:?}");
        // A tenant's admin may also redeem codes, ask for overrides, and read what was asked.
        let of_admins = [P::ActivationCodesRedeem, P::RequestsRead, P::RequestsWrite];
        let of_admin =
            if of_admins.contains(&permission) { Reach::Own } else { expected(Reach::Own) };
        assert_eq!(allows(R::TenantAdmin, permission), of_admin, "{permission:?}");
        assert_eq!(allows(R::TenantUser, permission), expected(Reach::Oneself), "{permission:?}");
    }
}
