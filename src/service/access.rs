//! What a write would change of anybody's access: worked out by the engine on the state before it and
//! the state after it, in pages.
//!
//! Invariants: nothing is written. A page looks at a bounded number of tenants and users. What a page
//! says is what the payload of each of them would say differently.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        access::{AccessChange, AccessMap, Place, changes},
        keys::{TenantKey, UserKey},
        time::Timestamp,
    },
    engine::{self, Person, Subject, TenantFacts, World},
    error::{Error, Result},
    store::{
        ReadTx, Touched,
        people::load_user,
        places,
        snapshots::{Loaded, PlanShelf, load_tenant},
    },
};

/// How many tenants and users one page looks at where a write concerns everyone. They are read
/// beside the writer.
const LOOKED_AT: usize = 500;

/// How many of them are read before they are compared: what was read of them is in memory together.
const READ_AT_ONCE: usize = 50;

/// How many tenants below one that is written are looked at.
const MOST_BELOW: usize = 10_000;

/// How many tenants may stand above another.
const MAX_HEIGHT: usize = 1000;

/// Which page of the changes is wanted.
#[derive(Debug, Clone, Default)]
pub struct AccessWanted {
    /// Where the page before ended.
    pub after: Option<AccessCursor>,
    /// How many changes at most.
    pub limit: usize,
}

/// Where a page of changes ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessCursor {
    /// The tenant that was looked at last.
    #[serde(rename = "t")]
    tenant: Option<TenantKey>,
    /// The user that was looked at last.
    #[serde(rename = "u")]
    user: Option<UserKey>,
    /// How many changes of theirs were told; none where that was all.
    #[serde(rename = "n")]
    told: Option<usize>,
    /// Of which write, made to what.
    #[serde(rename = "b")]
    basis: Basis,
}

/// One page of what a write would change.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccessPage {
    /// By tenant and user, those without a tenant last; for each by kind, key and context.
    pub items: Vec<AccessChange>,
    /// Where the next page begins; none on the last one.
    pub next: Option<AccessCursor>,
    /// Not all tenants below the one that is written were looked at: there are too many.
    pub is_cut: bool,
}

/// What a write was and what it was made to, so that a page is only asked for of the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Basis(String);

impl Basis {
    /// Names everything that is hashed.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        Self(hex::encode(digest.get(..8).unwrap_or(&digest)))
    }
}

impl AccessWanted {
    /// Refuses to go on with a page of something else.
    pub(super) fn expect(&self, basis: &Basis) -> Result<()> {
        match &self.after {
            Some(cursor) if cursor.basis != *basis => Err(Error::Conflict {
                code: "DRY_RUN_OUTDATED",
                detail: "The cursor belongs to a dry run of another write, or what it was made to \
                         has changed in the meantime; begin again without the cursor."
                    .into(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn start(&self) -> Option<Place> {
        let cursor = self.after.as_ref()?;
        Some(Place { tenant: cursor.tenant.clone(), user: cursor.user.clone() })
    }
}

/// Who has to be looked at.
pub(super) enum Scope {
    /// Every tenant, every user of whom something is known in one, and those without one.
    Everyone,
    /// What a change has touched, and who depends on it.
    Of {
        /// Tenants, each with which of its users.
        tenants: BTreeMap<TenantKey, Users>,
        /// Users who were touched themselves: of some, nothing may be left to be found by.
        people: BTreeSet<(Option<TenantKey>, UserKey)>,
        /// There are more tenants below.
        is_cut: bool,
    },
}

/// Which users of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// The tenant as a whole, and all of whom something is known.
    All,
    /// Those who have seats of tenants further up: nothing else comes from there.
    Borrowers,
}

impl Scope {
    /// What a change that touched this concerns.
    pub fn of(tx: &ReadTx<'_>, touched: &Touched) -> Result<Self> {
        let mut tenants = BTreeMap::new();
        let mut is_cut = false;
        for tenant in &touched.tenants {
            let mut below = places::borrowing_below(tx, tenant, MOST_BELOW + 1)?;
            is_cut |= below.len() > MOST_BELOW;
            below.truncate(MOST_BELOW);
            for (child, borrows) in below {
                if borrows {
                    tenants.entry(child).or_insert(Users::Borrowers);
                }
            }
        }
        tenants.extend(touched.tenants.iter().map(|tenant| (tenant.clone(), Users::All)));
        Ok(Self::Of { tenants, people: touched.users.clone(), is_cut })
    }

    /// The tenants that were written: the same for the same write.
    pub fn basis(&self) -> Basis {
        let keys: Vec<&[u8]> = match self {
            Self::Everyone => Vec::new(),
            Self::Of { tenants, .. } => {
                let written = tenants.iter().filter(|(_, users)| **users == Users::All);
                written.map(|(tenant, _)| tenant.as_str().as_bytes()).collect()
            }
        };
        Basis::of(&keys)
    }

    /// Whether there are more tenants below than are looked at.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Everyone => false,
            Self::Of { is_cut, .. } => *is_cut,
        }
    }

    /// Up to `limit` places: from `start` on, or behind it where all of it was told.
    pub fn places(
        &self,
        tx: &ReadTx<'_>,
        wanted: &AccessWanted,
        limit: usize,
    ) -> Result<Vec<Place>> {
        let mut last = wanted.start();
        let is_told = wanted.after.as_ref().is_none_or(|cursor| cursor.told.is_none());
        let mut found: Vec<Place> = last.iter().filter(|_| !is_told).cloned().collect();
        while found.len() < limit {
            let few = self.following(tx, last.as_ref(), limit - found.len())?;
            let Some(end) = few.last() else { break };
            last = Some(end.clone());
            found.extend(few);
        }
        Ok(found)
    }

    /// A few places behind `last`; nothing where that was the end.
    fn following(&self, tx: &ReadTx<'_>, last: Option<&Place>, limit: usize) -> Result<Vec<Place>> {
        let mut tenant = match last {
            Some(Place { tenant: None, user }) => return self.alone(tx, user.as_ref(), limit),
            Some(Place { tenant: Some(tenant), user }) => {
                let users = self.users(tx, tenant, user.as_ref(), limit)?;
                if !users.is_empty() {
                    return Ok(users);
                }
                Some(tenant.clone())
            }
            None => None,
        };
        while let Some((next, users)) = self.tenant_after(tx, tenant.as_ref())? {
            match users {
                Users::All => return Ok(vec![Place { tenant: Some(next), user: None }]),
                Users::Borrowers => {
                    let users = self.users(tx, &next, None, limit)?;
                    if !users.is_empty() {
                        return Ok(users);
                    }
                }
            }
            tenant = Some(next);
        }
        self.alone(tx, None, limit)
    }

    fn tenant_after(
        &self,
        tx: &ReadTx<'_>,
        tenant: Option<&TenantKey>,
    ) -> Result<Option<(TenantKey, Users)>> {
        match self {
            Self::Everyone => {
                let found = places::tenants(tx, tenant, 1)?;
                Ok(found.into_iter().next().map(|tenant| (tenant, Users::All)))
            }
            Self::Of { tenants, .. } => {
                let from = tenant.map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = tenants.range::<TenantKey, _>((from, Bound::Unbounded));
                Ok(rest.next().map(|(tenant, users)| (tenant.clone(), *users)))
            }
        }
    }

    /// Users of a tenant behind `after`.
    fn users(
        &self,
        tx: &ReadTx<'_>,
        tenant: &TenantKey,
        after: Option<&UserKey>,
        limit: usize,
    ) -> Result<Vec<Place>> {
        let found = match self {
            Self::Everyone => places::users(tx, tenant, after, limit)?,
            Self::Of { tenants, .. } => match tenants.get(tenant) {
                Some(Users::All) => places::users(tx, tenant, after, limit)?,
                Some(Users::Borrowers) => places::borrowers(tx, tenant, after, limit)?,
                None => Vec::new(),
            },
        };
        Ok(self.with_touched(Some(tenant), found, after, limit))
    }

    /// Users without a tenant behind `after`.
    fn alone(&self, tx: &ReadTx<'_>, after: Option<&UserKey>, limit: usize) -> Result<Vec<Place>> {
        let found = match self {
            Self::Everyone => places::users_alone(tx, after, limit)?,
            Self::Of { .. } => Vec::new(),
        };
        Ok(self.with_touched(None, found, after, limit))
    }

    fn with_touched(
        &self,
        tenant: Option<&TenantKey>,
        found: Vec<UserKey>,
        after: Option<&UserKey>,
        limit: usize,
    ) -> Vec<Place> {
        let mut users: BTreeSet<UserKey> = found.into_iter().collect();
        match self {
            Self::Everyone => {}
            Self::Of { people, .. } => {
                let here = people.iter().filter(|(of, _)| of.as_ref() == tenant);
                let behind = here.filter(|(_, user)| after.is_none_or(|after| user > after));
                users.extend(behind.map(|(_, user)| user.clone()));
            }
        }
        let place = |user| Place { tenant: tenant.cloned(), user: Some(user) };
        users.into_iter().take(limit).map(place).collect()
    }
}

/// Somebody as they stand in one state.
pub(super) struct Standing {
    /// None where there is no such tenant, or its rows or those of the user are damaged: nothing is
    /// open then.
    known: Option<(Arc<TenantFacts>, Option<Person>)>,
}

impl Standing {
    /// What holds for them in a world, when it is `at` for the service.
    pub fn access(&self, world: &World, at: Timestamp) -> AccessMap {
        match &self.known {
            Some((facts, person)) => {
                engine::access(world, Subject::new(facts, person.as_ref()), facts.tenant.time(at))
            }
            None => AccessMap::new(),
        }
    }
}

/// Reads how somebody stands within one view of the database, each tenant once.
pub(super) struct Reading<'a> {
    tx: &'a ReadTx<'a>,
    shelf: &'a PlanShelf,
    now: Timestamp,
    tenants: HashMap<TenantKey, Option<Arc<TenantFacts>>>,
}

impl<'a> Reading<'a> {
    /// As of `now`.
    pub fn new(tx: &'a ReadTx<'a>, shelf: &'a PlanShelf, now: Timestamp) -> Self {
        Self { tx, shelf, now, tenants: HashMap::new() }
    }

    /// How each of these stands.
    pub fn standings(&mut self, places: &[Place]) -> Result<Vec<Standing>> {
        places.iter().map(|place| self.standing(place)).collect()
    }

    fn standing(&mut self, place: &Place) -> Result<Standing> {
        let Place { tenant, user } = place;
        let facts = match tenant {
            Some(tenant) => self.facts(tenant)?,
            None => Some(Arc::new(TenantFacts::nobody())),
        };
        let Some(facts) = facts else { return Ok(Standing { known: None }) };
        let Some(user) = user else { return Ok(Standing { known: Some((facts, None)) }) };
        let person = self.person(&facts, tenant.as_ref(), user)?;
        Ok(Standing { known: person.map(|person| (facts, Some(person))) })
    }

    fn facts(&mut self, tenant: &TenantKey) -> Result<Option<Arc<TenantFacts>>> {
        if let Some(known) = self.tenants.get(tenant) {
            return Ok(known.clone());
        }
        let facts = match load_tenant(self.tx, self.shelf, tenant, self.now)? {
            Loaded::Facts(facts) => Some(facts),
            Loaded::Missing | Loaded::Damaged => None,
        };
        self.tenants.insert(tenant.clone(), facts.clone());
        Ok(facts)
    }

    fn person(
        &mut self,
        facts: &TenantFacts,
        tenant: Option<&TenantKey>,
        user: &UserKey,
    ) -> Result<Option<Person>> {
        let Some(everywhere) = load_user(self.tx, self.shelf, None, user, self.now)? else {
            return Ok(None);
        };
        let alone = Person { everywhere, ..Person::unknown(user.clone()) };
        if tenant.is_none() {
            return Ok(Some(alone));
        }
        let Some(here) = load_user(self.tx, self.shelf, tenant, user, self.now)? else {
            return Ok(None);
        };
        let mut lenders = Vec::new();
        let own = &facts.tenant.key;
        let mut above =
            facts.tenant.parent.clone().filter(|_| here.seats.iter().any(|s| s.pool != *own));
        for _ in 0..MAX_HEIGHT {
            let Some(key) = above else { break };
            let Some(lender) = self.facts(&key)? else { return Ok(None) };
            above = lender.tenant.parent.clone();
            if here.seats.iter().any(|seat| seat.pool == key) {
                lenders.push(lender);
            }
        }
        Ok(Some(Person { here, lenders, ..alone }))
    }
}

/// A page while it is filled.
pub(super) struct Filling<'a> {
    wanted: &'a AccessWanted,
    basis: Basis,
    page: AccessPage,
    /// The place that was told last, all of it.
    told: Option<Place>,
    is_full: bool,
}

impl<'a> Filling<'a> {
    /// An empty page.
    pub fn new(wanted: &'a AccessWanted, basis: Basis) -> Self {
        Self { wanted, basis, page: AccessPage::default(), told: None, is_full: false }
    }

    /// What is different for one place, as far as there is room; what it had told before is left out.
    pub fn add(&mut self, place: &Place, before: &AccessMap, after: &AccessMap) {
        if self.is_full {
            return;
        }
        let is_first = self.told.is_none() && self.wanted.start().as_ref() == Some(place);
        let before_it = self.wanted.after.as_ref().filter(|_| is_first);
        let told = before_it.and_then(|cursor| cursor.told).unwrap_or(0);
        let room = self.wanted.limit.saturating_sub(self.page.items.len());
        let all = changes(place, before, after);
        let is_too_much = all.len().saturating_sub(told) > room;
        self.page.items.extend(all.into_iter().skip(told).take(room));
        if is_too_much {
            self.page.next = Some(self.cursor(place, Some(told + room)));
            self.is_full = true;
        } else {
            self.told = Some(place.clone());
        }
    }

    /// Whether the next change has no room.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The page, where there are more places behind the last one.
    pub fn goes_on(mut self) -> AccessPage {
        if !self.is_full
            && let Some(place) = &self.told
        {
            self.page.next = Some(self.cursor(place, None));
        }
        self.page
    }

    /// The page, where there are none.
    pub fn ends(self) -> AccessPage {
        self.page
    }

    fn cursor(&self, place: &Place, told: Option<usize>) -> AccessCursor {
        let Place { tenant, user } = place.clone();
        AccessCursor { tenant, user, told, basis: self.basis.clone() }
    }
}

/// A page of what is different for everyone between two worlds, from the same facts.
pub(super) fn between_worlds(
    tx: &ReadTx<'_>,
    shelf: &PlanShelf,
    [before, after]: [&World; 2],
    at: Timestamp,
    wanted: &AccessWanted,
    basis: Basis,
) -> Result<AccessPage> {
    wanted.expect(&basis)?;
    let mut filling = Filling::new(wanted, basis);
    let (mut from, mut looked_at) = (wanted.clone(), 0);
    while looked_at < LOOKED_AT {
        let places = Scope::Everyone.places(tx, &from, READ_AT_ONCE)?;
        looked_at += places.len();
        // Anew each time: what was read of tenants that were told is no longer needed.
        let standings = Reading::new(tx, shelf, at).standings(&places)?;
        for (place, standing) in places.iter().zip(&standings) {
            filling.add(place, &standing.access(before, at), &standing.access(after, at));
            if filling.is_full() {
                return Ok(filling.goes_on());
            }
        }
        let Some(last) = places.last().filter(|_| places.len() == READ_AT_ONCE) else {
            return Ok(filling.ends());
        };
        from.after = Some(filling.cursor(last, None));
    }
    Ok(filling.goes_on())
}
