//! The actor: who does something, in which request, from where. Every use case gets one.

use std::{net::IpAddr, sync::Arc};

use crate::{
    domain::{
        callers::{OperatorRole, Principal},
        checks::Mode,
        keys::TenantKey,
    },
    error::{Error, Result},
    service::permissions::{Permission, Reach, allows},
};

/// Who does something, in which request, from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The authenticated caller.
    pub principal: Arc<Principal>,
    /// The request it came with; also in the answer, the log and the audit trail.
    pub request_id: Arc<str>,
    /// The address it came from.
    pub ip: Option<IpAddr>,
}

impl Actor {
    /// The program itself, where no caller asked.
    #[must_use]
    pub fn system(id: &str) -> Self {
        let principal = Principal {
            id: id.into(),
            role: OperatorRole::SuperAdmin,
            tenant: None,
            mode: Mode::Tenant,
            impersonator: None,
        };
        Self { principal: principal.into(), request_id: id.into(), ip: None }
    }

    /// How far the caller may use `permission`; [`Error::Forbidden`] where it may not at all.
    pub fn reach(&self, permission: Permission) -> Result<Reach> {
        match allows(self.principal.role, permission) {
            Reach::None => Err(Error::Forbidden(format!(
                "The role {} does not have the permission {}.",
                self.principal.role.as_str(),
                permission.as_str()
            ))),
            reach => Ok(reach),
        }
    }

    /// That the caller may use `permission` on `tenant`. Another tenant than its own looks to it
    /// like one that doesn't exist.
    pub fn may_on(&self, permission: Permission, tenant: &TenantKey) -> Result<Reach> {
        let reach = self.reach(permission)?;
        match &self.principal.tenant {
            Some(own) if own == tenant => Ok(reach),
            None if reach == Reach::All => Ok(reach),
            Some(_) | None => Err(Error::TenantNotFound(tenant.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(role: OperatorRole, tenant: Option<&str>) -> Actor {
        let principal = Principal {
            id: "ada".into(),
            role,
            tenant: tenant.map(|key| key.parse().unwrap()),
            mode: Mode::Tenant,
            impersonator: None,
        };
        Actor { principal: principal.into(), request_id: "r".into(), ip: None }
    }

    #[test]
    fn another_tenant_looks_like_none() {
        let acme: TenantKey = "acme".parse().unwrap();
        let ask = |role, tenant| actor(role, tenant).may_on(Permission::Check, &acme);
        assert!(ask(OperatorRole::Service, None).is_ok());
        assert!(ask(OperatorRole::Service, Some("acme")).is_ok());
        assert!(ask(OperatorRole::TenantAdmin, Some("acme")).is_ok());
        for (role, tenant) in [
            (OperatorRole::Service, Some("other")),
            (OperatorRole::TenantAdmin, Some("other")),
            (OperatorRole::TenantUser, None),
        ] {
            assert!(matches!(ask(role, tenant), Err(Error::TenantNotFound(_))), "{role:?}");
        }
        let refused = actor(OperatorRole::TenantUser, Some("acme"));
        assert!(matches!(refused.reach(Permission::AuditRead), Err(Error::Forbidden(_))));
    }
}
