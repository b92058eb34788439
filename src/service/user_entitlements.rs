//! User entitlements: a module or feature given to one user, inside a tenant or without one.
//!
//! Invariants: one is open for each user, key and tenant; what has ended stays as it was, and granting
//! again makes a new one.

use serde_json::{Value, json};

use super::{
    Service,
    actor::Actor,
    expect_revision,
    memory::Memory,
    new_id,
    once::Once,
    paging::Page,
    permissions::{Permission, Reach},
    provisioning::{facts, known, models, world},
};
use crate::{
    domain::{
        audit::Event,
        catalog::{Access, Catalog, FeatureKind, Provisioning, Target},
        checks::Question,
        keys::{EntitlementKey, TenantKey, UserKey},
        people::{UserEntitlement, UserEntitlementFilter, UserEntitlementStatus as Status},
        time::Timestamp,
    },
    engine::{self, World},
    error::{Error, Fault, Result},
    store::{self, WriteTx, due::Due},
};

/// Where a user entitlement holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this tenant.
    Tenant(TenantKey),
    /// For this user, without a tenant.
    Direct(UserKey),
}

/// What somebody wants a user entitlement to be.
#[derive(Debug, Clone, Default)]
pub struct UserEntitlementDraft {
    /// Who; where it is no part of the place.
    pub user: Option<UserKey>,
    /// The module or feature.
    pub key: Option<EntitlementKey>,
    /// Not honoured from here on.
    pub expires_at: Option<Timestamp>,
    /// Why, trimmed.
    pub reason: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// What is to change about a user entitlement; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct UserEntitlementPatch {
    /// Where it is to stand.
    pub status: Option<Status>,
    /// Another end, or none.
    pub expires_at: Option<Option<Timestamp>>,
    /// Why, trimmed.
    pub reason: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// Who hands out, and within which bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    /// The application, or a super admin.
    Free,
    /// An admin of the tenant.
    Delegated,
}

/// Whether a change gives a user anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Gives,
    Takes,
}

impl Place {
    fn tenant(&self) -> Option<&TenantKey> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Direct(_) => None,
        }
    }

    fn holds(&self, own: &UserEntitlement) -> bool {
        match self {
            Self::Tenant(tenant) => own.tenant.as_ref() == Some(tenant),
            Self::Direct(user) => own.tenant.is_none() && own.user == *user,
        }
    }

    fn may_read(&self, actor: &Actor) -> Result<()> {
        match self {
            Self::Tenant(tenant) => {
                actor.may_on(Permission::UserEntitlementsRead, tenant).map(drop)
            }
            Self::Direct(_) => outside(actor, Permission::DirectEntitlementsRead),
        }
    }

    fn may_write(&self, actor: &Actor) -> Result<Hand> {
        match self {
            Self::Tenant(tenant) => {
                match actor.may_on(Permission::UserEntitlementsWrite, tenant)? {
                    Reach::All => Ok(Hand::Free),
                    Reach::Own | Reach::Oneself | Reach::None => Ok(Hand::Delegated),
                }
            }
            Self::Direct(_) => {
                outside(actor, Permission::DirectEntitlementsWrite)?;
                Ok(Hand::Free)
            }
        }
    }
}

/// That the caller may act outside of all tenants.
fn outside(actor: &Actor, permission: Permission) -> Result<()> {
    actor.reach(permission)?;
    match &actor.principal.tenant {
        None => Ok(()),
        Some(own) => Err(Error::Forbidden(format!(
            "This caller is bound to the tenant “{own}”; what users have without a tenant is not \
             its matter."
        ))),
    }
}

impl Service {
    /// Gives a module or feature to one user.
    pub async fn grant_user_entitlement(
        &self,
        actor: &Actor,
        once: Option<Once>,
        place: Place,
        draft: UserEntitlementDraft,
    ) -> Result<UserEntitlement> {
        let hand = place.may_write(actor)?;
        let (memory, by) = (self.memory.clone(), actor.principal.id.to_string());
        self.change_once(actor, once, move |tx| {
            if let Some(tenant) = place.tenant() {
                store::tenants::get(tx.read(), tenant)?;
                tx.in_time_of(tenant)?;
            }
            let world = world(tx, &memory)?;
            let (user, key, expires_at, reason) = checked(&world.catalog, &place, draft, tx.now())?;
            expect_model(tx, &memory, &world, &place, &key, hand, Change::Gives)?;
            let mut events = Vec::new();
            let tenant = place.tenant().cloned();
            match store::user_entitlements::find_open(tx.read(), tenant.as_ref(), &user, &key)? {
                Some(open) if open.status_at(tx.now()) == Status::Expired => {
                    events.push(end(tx, open)?);
                }
                Some(open) => {
                    return Err(Error::Conflict {
                        code: "ALREADY_EXISTS",
                        detail: format!(
                            "“{user}” has “{key}” already, by {}; change that one.",
                            open.id
                        ),
                    });
                }
                None => {}
            }
            let own = UserEntitlement {
                id: new_id("uen"),
                tenant,
                user,
                key,
                is_delegated: hand == Hand::Delegated,
                status: Status::Active,
                expires_at,
                reason,
                created_at: tx.now(),
                created_by: by.clone(),
                updated_at: tx.now(),
                updated_by: by,
                revision: 1,
            };
            store::user_entitlements::insert(tx, &own)?;
            events.push(event("user_entitlement.granted", &own, Value::Null));
            Ok((own, events))
        })
        .await
    }

    /// Suspends, resumes or revokes a user entitlement, or moves its end.
    pub async fn update_user_entitlement(
        &self,
        actor: &Actor,
        place: Place,
        id: String,
        patch: UserEntitlementPatch,
        expected: Option<u64>,
    ) -> Result<UserEntitlement> {
        let hand = place.may_write(actor)?;
        let (memory, by) = (self.memory.clone(), actor.principal.id.to_string());
        self.change(actor, move |tx| {
            let before = found(store::user_entitlements::find(tx.read(), &id)?, &place, &id)?;
            place.tenant().map_or(Ok(()), |tenant| tx.in_time_of(tenant))?;
            expect_revision(expected, before.revision)?;
            match before.status_at(tx.now()) {
                Status::Active | Status::Suspended => {}
                Status::Revoked | Status::Expired => {
                    return Err(Error::Conflict {
                        code: "USER_ENTITLEMENT_ENDED",
                        detail: "This user entitlement has ended; grant a new one.".into(),
                    });
                }
            }
            let after = patched(&before, patch, tx.now())?;
            let world = world(tx, &memory)?;
            let change = change(&before, &after);
            expect_model(tx, &memory, &world, &place, &before.key, hand, change)?;
            if after == before {
                return Ok((before, Vec::new()));
            }
            let after = UserEntitlement {
                updated_at: tx.now(),
                updated_by: by,
                revision: before.revision + 1,
                ..after
            };
            store::user_entitlements::update(tx, &after)?;
            let name = match (before.status, after.status) {
                (Status::Active, Status::Suspended) => "user_entitlement.suspended",
                (Status::Suspended, Status::Active) => "user_entitlement.resumed",
                (_, Status::Revoked) => "user_entitlement.revoked",
                (_, Status::Expired) => "user_entitlement.expired",
                (_, Status::Active | Status::Suspended) => "user_entitlement.updated",
            };
            let events = vec![event(name, &after, shown(&before))];
            Ok((after, events))
        })
        .await
    }

    /// One user entitlement, however it stands.
    pub async fn get_user_entitlement(
        &self,
        actor: &Actor,
        place: &Place,
        id: &str,
    ) -> Result<UserEntitlement> {
        place.may_read(actor)?;
        let own = self.store.read(|tx| store::user_entitlements::find(tx, id)).await?;
        found(own, place, id)
    }

    /// A page of user entitlements, newest first, with those that have ended.
    pub async fn user_entitlements(
        &self,
        actor: &Actor,
        place: Place,
        mut filter: UserEntitlementFilter,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<UserEntitlement>> {
        place.may_read(actor)?;
        let now = self.now_for(place.tenant()).await;
        let rows = self
            .store
            .read_long(move |tx| {
                match &place {
                    Place::Tenant(tenant) => drop(store::tenants::get(tx, tenant)?),
                    Place::Direct(user) => filter.user = Some(user.clone()),
                }
                let (tenant, before) = (place.tenant(), before.as_deref());
                store::user_entitlements::list(tx, tenant, &filter, now, before, limit + 1)
            })
            .await?;
        Ok(Page::of(rows, limit, |own| own.id.clone()))
    }
}

fn found(own: Option<UserEntitlement>, place: &Place, id: &str) -> Result<UserEntitlement> {
    own.filter(|own| place.holds(own))
        .ok_or_else(|| Error::NotFound { kind: "user entitlement", key: id.to_owned() })
}

/// What a draft describes, or all its faults.
fn checked(
    catalog: &Catalog,
    place: &Place,
    draft: UserEntitlementDraft,
    now: Timestamp,
) -> Result<(UserKey, EntitlementKey, Option<Timestamp>, String)> {
    let UserEntitlementDraft { user, key, expires_at, reason, mut faults } = draft;
    let user = match place {
        Place::Tenant(_) => user,
        Place::Direct(user) => Some(user.clone()),
    };
    let mut is_unknown = false;
    if let Some(key) = &key {
        is_unknown = catalog.target(key.as_str()).is_none();
        known(catalog, key, &mut faults);
        fitting(catalog, key, &mut faults);
    }
    in_the_future(expires_at, now, &mut faults);
    let (Some(user), Some(key), Some(reason), []) = (user, key, reason, faults.as_slice()) else {
        let code = if is_unknown && faults.len() == 1 { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
        return Err(Error::Invalid { code, faults });
    };
    Ok((user, key, expires_at, reason))
}

fn in_the_future(end: Option<Timestamp>, now: Timestamp, faults: &mut Vec<Fault>) {
    if end.is_some_and(|end| end <= now) {
        let message = format!("must lie in the future; it is {now} now");
        faults.push(Fault::new("expires_at", message));
    }
}

/// Only what must be given can be given to one user.
fn fitting(catalog: &Catalog, key: &EntitlementKey, faults: &mut Vec<Fault>) {
    let wrong = match catalog.target(key.as_str()) {
        Some(Target::Module(module)) => match catalog.modules.get(&module).map(|m| m.access) {
            Some(Access::AlwaysOn) => Some("is always on"),
            Some(Access::RbacOnly) => Some("is decided by permissions alone"),
            Some(Access::Entitled) | None => None,
        },
        Some(Target::Feature(feature)) => match catalog.features.get(&feature).map(|f| &f.kind) {
            Some(FeatureKind::Limit(_) | FeatureKind::Config) => Some("is no boolean feature"),
            Some(FeatureKind::Boolean) | None => None,
        },
        None => None,
    };
    if let Some(wrong) = wrong {
        faults.push(Fault::new("key", format!("“{key}” {wrong}; it can't be given to one user")));
    }
}

/// What a patch makes of a user entitlement, or all its faults.
fn patched(
    before: &UserEntitlement,
    patch: UserEntitlementPatch,
    now: Timestamp,
) -> Result<UserEntitlement> {
    let UserEntitlementPatch { status, expires_at, reason, mut faults } = patch;
    if status.is_none() && expires_at.is_none() && reason.is_none() && faults.is_empty() {
        faults.push(Fault::new("", "change at least one of status, expires_at, reason"));
    }
    if status == Some(Status::Expired) {
        faults.push(Fault::new("status", "nobody sets “expired”; use “revoked”"));
    }
    in_the_future(expires_at.flatten(), now, &mut faults);
    if !faults.is_empty() {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults });
    }
    Ok(UserEntitlement {
        status: status.unwrap_or(before.status),
        expires_at: expires_at.unwrap_or(before.expires_at),
        reason: reason.unwrap_or_else(|| before.reason.clone()),
        ..before.clone()
    })
}

fn change(before: &UserEntitlement, after: &UserEntitlement) -> Change {
    let is_resumed = before.status != Status::Active && after.status == Status::Active;
    let is_extended = match (before.expires_at, after.expires_at) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => before < after,
    };
    let is_open = matches!(after.status, Status::Active | Status::Suspended);
    if is_resumed || (is_extended && is_open) { Change::Gives } else { Change::Takes }
}

/// That the module may be handed out this way, by this hand.
fn expect_model(
    tx: &WriteTx<'_>,
    memory: &Memory,
    world: &World,
    place: &Place,
    key: &EntitlementKey,
    hand: Hand,
    change: Change,
) -> Result<()> {
    let has = |model| models(&world.catalog, key).is_some_and(|models| models.contains(&model));
    let message = match (place, hand) {
        (Place::Direct(_), _) => {
            if change == Change::Takes || has(Provisioning::DirectUser) {
                return Ok(());
            }
            format!("“{key}” is not provisioned by direct_user: it is given within a tenant.")
        }
        (Place::Tenant(_), Hand::Free) => return Ok(()),
        (Place::Tenant(tenant), Hand::Delegated) => {
            if !has(Provisioning::DelegatedAdmin) {
                format!("“{key}” is not provisioned by delegated_admin.")
            } else if change == Change::Takes {
                return Ok(());
            } else if let Some(seated) = seated(tx, memory, world, tenant, key)? {
                format!("“{seated}” takes seats of “{tenant}”; hand out a seat instead.")
            } else if is_entitled(tx, memory, world, tenant, key)? {
                return Ok(());
            } else {
                format!("“{tenant}” itself is not entitled to “{key}” now.")
            }
        }
    };
    Err(Error::ProvisioningNotAllowed(message))
}

/// The key whose seats a tenant hands out for `key`, if it takes any: no admin goes around them.
fn seated(
    tx: &WriteTx<'_>,
    memory: &Memory,
    world: &World,
    tenant: &TenantKey,
    key: &EntitlementKey,
) -> Result<Option<EntitlementKey>> {
    let facts = facts(tx, memory, tenant)?;
    let module = match world.catalog.target(key.as_str()) {
        Some(Target::Feature(feature)) => {
            world.catalog.features.get(&feature).and_then(|feature| feature.module.clone())
        }
        Some(Target::Module(_)) | None => None,
    };
    let keys = [Some(key.clone()), module.as_ref().map(EntitlementKey::from)];
    let takes_seats = |key: &EntitlementKey| engine::pool(world, &facts, key, tx.now()).is_some();
    Ok(keys.into_iter().flatten().find(takes_seats))
}

fn is_entitled(
    tx: &WriteTx<'_>,
    memory: &Memory,
    world: &World,
    tenant: &TenantKey,
    key: &EntitlementKey,
) -> Result<bool> {
    let (module, features) = match world.catalog.target(key.as_str()) {
        Some(Target::Module(module)) => (Some(module), Vec::new()),
        Some(Target::Feature(feature)) => (None, vec![feature]),
        None => return Ok(false),
    };
    let question = Question { module, features, ..Question::blank() };
    let facts = facts(tx, memory, tenant)?;
    Ok(engine::decide(world, engine::Subject::new(&facts, None), &question, tx.now()).would_allow)
}

/// A user entitlement has ended by itself.
pub(super) fn expire(tx: &WriteTx<'_>, due: &Due) -> Result<Option<Event>> {
    let found = store::user_entitlements::find(tx.read(), &due.id)?;
    let ended = found.filter(|own| {
        matches!(own.status, Status::Active | Status::Suspended)
            && own.status_at(tx.now()) == Status::Expired
    });
    ended.map(|own| end(tx, own)).transpose()
}

fn end(tx: &WriteTx<'_>, before: UserEntitlement) -> Result<Event> {
    let was = shown(&before);
    let after = UserEntitlement {
        status: Status::Expired,
        updated_at: tx.now(),
        revision: before.revision + 1,
        ..before
    };
    store::user_entitlements::update(tx, &after)?;
    Ok(event("user_entitlement.expired", &after, was))
}

fn event(name: &'static str, own: &UserEntitlement, before: Value) -> Event {
    Event {
        name,
        tenant: own.tenant.clone(),
        subject: own.id.clone(),
        before,
        after: shown(own),
        reason: Some(own.reason.clone()),
    }
}

fn shown(own: &UserEntitlement) -> Value {
    json!({
        "user": own.user,
        "key": own.key,
        "status": own.status,
        "expires_at": own.expires_at,
        "reason": own.reason,
    })
}
