//! What was used, by period: the present one with what is left, and those that are over.

use std::collections::BTreeMap;

use super::{
    super::{
        Service,
        actor::Actor,
        paging::Page,
        permissions::{Permission, Reach},
    },
    count::unfolded,
};
use crate::{
    domain::{
        catalog::UsageKind,
        keys::{FeatureKey, TenantKey, UserKey},
        time::Timestamp,
        usage::{CountedFor, PresentUsage, UsageReport},
    },
    engine::{self, Capacity, Person, Subject, TenantFacts, World},
    error::{Error, Result},
    store::{
        self, ReadTx,
        usage::Counted,
        usage_periods::{UsageCursor, UsageFilter},
    },
};

/// A place in a list of usage.
pub type Place = UsageCursor;

/// What a list of usage is narrowed to.
pub type Narrowed = UsageFilter;

impl Service {
    /// A page of what a tenant and its users have used, by user, feature and period; the tenant as a
    /// whole first.
    pub async fn usage(
        &self,
        actor: &Actor,
        tenant: TenantKey,
        filter: Narrowed,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page<UsageReport, Place>> {
        actor.may_on(Permission::UsageRead, &tenant)?;
        let facts = self.facts(&tenant).await?;
        self.usage_page(Whose { tenant: Some(tenant), facts, alone: None }, filter, after, limit)
            .await
    }

    /// A page of what a user without a tenant has used.
    pub async fn user_usage(
        &self,
        actor: &Actor,
        user: UserKey,
        filter: Narrowed,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page<UsageReport, Place>> {
        match (actor.reach(Permission::UsageRead)?, &actor.principal.tenant) {
            (Reach::All, None) => {}
            (Reach::All | Reach::Own | Reach::Oneself | Reach::None, _) => {
                let message = "A caller that is bound to a tenant sees only usage in it.";
                return Err(Error::Forbidden(message.into()));
            }
        }
        let alone = Some(self.person_alone(&user).await?);
        let filter = Narrowed { user: Some(user), ..filter };
        let whose = Whose { tenant: None, facts: TenantFacts::nobody().into(), alone };
        self.usage_page(whose, filter, after, limit).await
    }

    async fn usage_page(
        &self,
        whose: Whose,
        filter: Narrowed,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page<UsageReport, Place>> {
        let (world, now) = (self.world(), whose.facts.tenant.time(self.clock.now()));
        let tenant = whose.tenant.clone();
        let rows = {
            let (world, whose) = (world.clone(), whose.clone());
            self.store
                .read_long(move |tx| whose.rows(tx, &world, &filter, after, limit + 1, now))
                .await?
        };
        let page = Page::of(rows, limit, |row| place(&row.counted));
        let mut items = Vec::with_capacity(page.items.len());
        let mut met: Option<Person> = None;
        for Row { counted, reserved, is_present } in page.items {
            if !is_present {
                items.push(past(counted));
                continue;
            }
            let person = match (&whose.alone, &tenant, &counted.subject.user) {
                (Some(alone), _, _) => Some(alone),
                (None, Some(tenant), Some(user)) => {
                    if met.as_ref().is_none_or(|met| met.user != *user) {
                        met = Some(self.person(tenant, user, None).await?.1);
                    }
                    met.as_ref()
                }
                (None, _, _) => None,
            };
            let subject = Subject::new(&whose.facts, person);
            let capacity = engine::limits::capacity(&world, subject, &counted.feature, now);
            items.push(match capacity {
                Some(capacity) => present(counted, &capacity, reserved),
                None => past(counted),
            });
        }
        Ok(Page { items, next: page.next })
    }
}

/// Whose usage is listed.
#[derive(Clone)]
struct Whose {
    tenant: Option<TenantKey>,
    facts: std::sync::Arc<TenantFacts>,
    /// The user, where there is no tenant.
    alone: Option<Person>,
}

/// One period of one count.
struct Row {
    counted: Counted,
    reserved: u64,
    is_present: bool,
}

fn place(counted: &Counted) -> Place {
    let user = counted.subject.user.as_ref().map_or("", UserKey::as_str);
    (user.to_owned(), counted.feature.to_string(), counted.period_start.micros())
}

impl Whose {
    /// Up to `limit` periods after a place: what is stored as history, and what the present counts
    /// have become by now.
    fn rows(
        &self,
        tx: &ReadTx<'_>,
        world: &World,
        filter: &Narrowed,
        after: Option<Place>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Row>> {
        let after = after.unwrap_or_else(|| (String::new(), String::new(), -1));
        let tenant = self.tenant.as_ref();
        let stored = store::usage_periods::past(tx, tenant, filter, &after, limit)?;
        let mut rows: BTreeMap<Place, Row> = BTreeMap::new();
        let mut from = (after.0.clone(), after.1.clone());
        loop {
            let at = (from.0.as_str(), from.1.as_str());
            let counts = store::usage_periods::present(tx, tenant, filter, at, limit + 1)?;
            let is_last = counts.len() <= limit;
            for counted in counts {
                from = (place(&counted).0, counted.feature.to_string());
                // The last count of one look is the first of the next.
                let unfolded = self.unfolded(tx, world, counted, now)?;
                let fitting = unfolded.into_iter().filter(|row| overlaps(&row.counted, filter));
                let placed = fitting.map(|row| (place(&row.counted), row));
                rows.extend(placed.filter(|(place, _)| *place > after));
            }
            if is_last || rows.len() >= limit {
                break;
            }
        }
        for counted in stored {
            let row = Row { counted, reserved: 0, is_present: false };
            rows.entry(place(&row.counted)).or_insert(row);
        }
        Ok(rows.into_values().take(limit).collect())
    }

    fn unfolded(
        &self,
        tx: &ReadTx<'_>,
        world: &World,
        counted: Counted,
        now: Timestamp,
    ) -> Result<Vec<Row>> {
        // Periods depend on the tenant, or on the user where there is none.
        let subject = Subject::new(&self.facts, self.alone.as_ref());
        let Some(capacity) = engine::limits::capacity(world, subject, &counted.feature, now) else {
            return Ok(vec![Row { counted, reserved: 0, is_present: false }]);
        };
        let (past, present) = unfolded(counted, &capacity, now);
        let over = |counted| Row { counted, reserved: 0, is_present: false };
        let mut rows: Vec<Row> =
            past.into_iter().filter(|period| period.peak > 0).map(over).collect();
        let reserved = reserved(tx, &present.subject, &present.feature, now)?;
        rows.push(Row { counted: present, reserved, is_present: true });
        Ok(rows)
    }
}

fn overlaps(counted: &Counted, filter: &Narrowed) -> bool {
    filter.from.is_none_or(|from| counted.period_end.is_none_or(|end| end > from))
        && filter.to.is_none_or(|to| counted.period_start < to)
}

/// What is set aside of a feature at an instant.
pub(super) fn reserved(
    tx: &ReadTx<'_>,
    whose: &CountedFor,
    feature: &FeatureKey,
    at: Timestamp,
) -> Result<u64> {
    let usage = store::usage::facts_of(tx, whose, feature)?;
    let open = usage.reserved.iter().filter(|reserved| at < reserved.expires_at);
    Ok(open.fold(0, |sum: u64, reserved| sum.saturating_add(reserved.amount)))
}

fn past(counted: Counted) -> UsageReport {
    let Counted { subject, feature, period_start, period_end, used, peak, over, .. } = counted;
    let user = subject.user;
    UsageReport { user, feature, period_start, period_end, used, peak, over, present: None }
}

/// The present period, with what is left.
pub(super) fn present(counted: Counted, capacity: &Capacity<'_>, reserved: u64) -> UsageReport {
    let resets_at = match capacity.spec.usage {
        UsageKind::Gauge => None,
        UsageKind::Counter(_) => counted.period_end,
    };
    let present = PresentUsage { limit: capacity.limit, reserved, resets_at };
    UsageReport { present: Some(present), ..past(counted) }
}
