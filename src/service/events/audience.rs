//! Who may be told of which change, and until when.

use std::sync::Arc;

use tokio::sync::watch;

use super::super::{
    actor::Actor,
    keyring::{Digest, Keyring},
    permissions::{Permission, Reach, allows},
    tokens::Vouched,
};
use crate::domain::{
    callers::Principal,
    events::{Change, Effect},
    keys::TenantKey,
    time::Timestamp,
};

/// What a caller's right to listen rests on.
#[derive(Debug, Clone)]
pub enum Right {
    /// The root key, which ends with the program.
    Root,
    /// An API key: until it expires or is revoked, or until its secret is refused.
    Key(String, Digest),
    /// A token: until it expires, or its key is not believed any more.
    Token(Vouched),
}

impl Right {
    /// When it ends; none where it is over, or is not the right of this caller any more.
    pub(super) fn ends_at(
        &mut self,
        keyring: &Keyring,
        whose: &Arc<Principal>,
    ) -> Option<Timestamp> {
        match self {
            Self::Root => Some(Timestamp::MAX),
            Self::Token(token) => token.until(),
            Self::Key(id, secret) => {
                let (principal, until) = keyring.standing(id, secret)?;
                (principal == *whose).then(|| until.unwrap_or(Timestamp::MAX))
            }
        }
    }

    /// Tells when the keys of tokens were replaced, where that matters.
    pub(super) fn watch(&self) -> Option<watch::Receiver<()>> {
        match self {
            Self::Token(token) => Some(token.watch()),
            Self::Root | Self::Key(..) => None,
        }
    }
}

/// A caller who listens, to one tenant or to all.
#[derive(Debug, Clone)]
pub struct Audience {
    pub(super) principal: Arc<Principal>,
    /// The one that the caller is bound to, or asked for.
    pub(super) tenant: Option<TenantKey>,
    reads_audit: bool,
    is_one_user: bool,
}

impl Audience {
    pub(super) fn of(actor: &Actor, tenant: Option<TenantKey>) -> Self {
        let principal = actor.principal.clone();
        let role = principal.role;
        Self {
            tenant: principal.tenant.clone().or(tenant),
            reads_audit: allows(role, Permission::AuditRead) != Reach::None,
            is_one_user: allows(role, Permission::EventsRead) == Reach::Oneself,
            principal,
        }
    }

    /// Whether it may be told of this.
    pub(super) fn may_see(&self, change: &Change) -> bool {
        let concerns = match (&self.tenant, &change.tenant) {
            (None, _) => true,
            (Some(own), Some(tenant)) => own == tenant,
            (Some(_), None) => change.is_global(),
        };
        let knows = match change.effect {
            Effect::Answers => true,
            Effect::Records => self.reads_audit,
        };
        let is_own = match &change.users {
            Some(users) if self.is_one_user => {
                users.iter().any(|user| user.as_str() == self.principal.id)
            }
            Some(_) | None => true,
        };
        concerns && knows && is_own
    }
}
