//! Activation codes: made for a plan, redeemed by tenants, taken back (SPEC 3).
//!
//! Invariants: the text of a code is shown once and kept nowhere; a wrong, spent, expired or revoked
//! code is refused in the same words after the same work; a code is never redeemed more often than
//! it says, nor twice by a tenant.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::{
    Service,
    actor::Actor,
    code_text,
    guesses::Guesser,
    keyring::{Digest, Secret},
    memory::Memory,
    new_id,
    once::Once,
    paging::Page,
    permissions::{Permission, Reach},
    provisioning,
    subscriptions::{Assignment, assign, tenant_plan},
};
use crate::{
    domain::{
        activation_codes::{ActivationCode, CodeState, Redemption},
        audit::Event,
        keys::{PlanKey, TenantKey},
        subscriptions::{Subscription, SubscriptionStatus as Status},
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    store::{self, WriteTx, activation_codes as rows},
};

/// The most often that a code can be redeemed.
pub const MOST_REDEMPTIONS: u32 = 1_000_000;

/// The longest trial that a code gives, in days.
pub const LONGEST_TRIAL: u32 = 3_660;

/// A code to be made. A field that could not be read stands among the faults, so that all of them
/// are answered at once.
#[derive(Debug, Clone, Default)]
pub struct NewCode {
    /// What it puts a tenant on.
    pub plan: Option<PlanKey>,
    /// How many tenants can redeem it.
    pub max_redemptions: Option<u32>,
    /// A trial of so many days.
    pub duration_days: Option<u32>,
    /// Not redeemed from here on.
    pub expires_at: Option<Timestamp>,
    /// For people.
    pub note: Option<String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// A code that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IssuedCode {
    /// The code without its text.
    pub code: ActivationCode,
    /// The text. Never stored, so a repeated request doesn't show it.
    #[serde(skip)]
    pub text: Option<Secret>,
}

impl Service {
    /// Makes a code.
    pub async fn create_activation_code(
        &self,
        actor: &Actor,
        once: Option<Once>,
        new: NewCode,
    ) -> Result<IssuedCode> {
        actor.reach(Permission::ActivationCodesManage)?;
        let made = code_text::generate()?;
        let (memory, by) = (self.memory.clone(), actor.principal.id.clone());
        self.change_once(actor, once, move |tx| {
            let code = checked(tx, &memory, new, by)?;
            rows::insert(tx, &code, &made.digest)?;
            let name = "entitlement.activation_code.created";
            let event = event(name, &code, Value::Null, facts(&code));
            Ok((IssuedCode { code, text: Some(made.text) }, vec![event]))
        })
        .await
    }

    /// A page of codes, newest first, whatever became of them.
    pub async fn activation_codes(
        &self,
        actor: &Actor,
        plan: Option<PlanKey>,
        state: Option<CodeState>,
        before: Option<String>,
        limit: usize,
    ) -> Result<Page<ActivationCode>> {
        actor.reach(Permission::ActivationCodesRead)?;
        let (now, filter) = (self.clock.now(), rows::CodeFilter { plan, state });
        let found = self
            .store
            .read_long(move |tx| rows::list(tx, &filter, now, before.as_deref(), limit + 1))
            .await?;
        Ok(Page::of(found, limit, |code| code.id.clone()))
    }

    /// One code with a page of those who redeemed it, newest first.
    pub async fn activation_code(
        &self,
        actor: &Actor,
        id: String,
        before: Option<(Timestamp, TenantKey)>,
        limit: usize,
    ) -> Result<(ActivationCode, Page<Redemption, (Timestamp, TenantKey)>)> {
        actor.reach(Permission::ActivationCodesRead)?;
        let (code, found) = self
            .store
            .read_long(move |tx| {
                let code = rows::get(tx, &id)?;
                let found = rows::redemptions(tx, &id, before.as_ref(), limit + 1)?;
                Ok((code, found))
            })
            .await?;
        Ok((code, Page::of(found, limit, |it| (it.at, it.tenant.clone()))))
    }

    /// Takes a code back; a second time changes nothing. What was redeemed stays.
    pub async fn revoke_activation_code(&self, actor: &Actor, id: String) -> Result<()> {
        actor.reach(Permission::ActivationCodesManage)?;
        self.change(actor, move |tx| {
            let before = rows::get(tx.read(), &id)?;
            if before.revoked_at.is_some() {
                return Ok(((), Vec::new()));
            }
            let after = ActivationCode { revoked_at: Some(tx.now()), ..before.clone() };
            rows::update(tx, &after)?;
            let name = "entitlement.activation_code.revoked";
            Ok(((), vec![event(name, &after, facts(&before), facts(&after))]))
        })
        .await
    }

    /// Puts a tenant on the plan of a code; the caller's own where none is named.
    pub async fn redeem_activation_code(
        &self,
        actor: &Actor,
        once: Option<Once>,
        tenant: Option<TenantKey>,
        typed: &str,
    ) -> Result<Subscription> {
        let permission = Permission::ActivationCodesRedeem;
        actor.reach(permission)?;
        let Some(tenant) = tenant.or_else(|| actor.principal.tenant.clone()) else {
            return Err(Error::invalid("tenant", "is missing; say who redeems the code"));
        };
        let who = match actor.may_on(permission, &tenant)? {
            Reach::All => Guesser::Caller(actor.principal.id.clone()),
            Reach::Own | Reach::Oneself | Reach::None => Guesser::Tenant(tenant.to_string()),
        };
        // Before anything is looked up, so that neither the answer nor its time tells anything.
        self.guesses.take(&who, self.clock.now())?;
        let (digest, by) = (code_text::digest_of(typed), actor.principal.id.clone());
        let memory = self.memory.clone();
        let redeemed = self
            .change_once(actor, once, move |tx| redeem(tx, &memory, &tenant, &digest, by))
            .await;
        if !matches!(redeemed, Err(Error::InvalidActivationCode)) {
            self.guesses.give_back(&who);
        }
        redeemed
    }
}

/// The code that was asked for, or all faults.
fn checked(tx: &WriteTx<'_>, memory: &Memory, new: NewCode, by: String) -> Result<ActivationCode> {
    let NewCode { plan, max_redemptions, duration_days, expires_at, note, mut faults } = new;
    let now = tx.now();
    let mut is_unknown = false;
    if let Some(key) = &plan {
        let catalog = provisioning::catalog(tx, memory)?;
        is_unknown = !catalog.plans.contains_key(key);
        if let Err(Error::Invalid { faults: found, .. }) = tenant_plan(&catalog, key) {
            faults.extend(found);
        }
    }
    let mut within = |field: &str, value: Option<u32>, most: u32| {
        if value.is_some_and(|value| !(1..=most).contains(&value)) {
            faults.push(Fault::new(field, format!("must be 1 to {most}")));
        }
    };
    within("max_redemptions", max_redemptions, MOST_REDEMPTIONS);
    within("duration_days", duration_days, LONGEST_TRIAL);
    if expires_at.is_some_and(|end| end <= now) {
        let message = format!("must lie in the future; it is {now} now");
        faults.push(Fault::new("expires_at", message));
    }
    let (Some(plan), Some(max_redemptions), true) = (plan, max_redemptions, faults.is_empty())
    else {
        // Only where nothing else is wrong does the unknown key name the problem.
        let code = if is_unknown && faults.len() == 1 { "UNKNOWN_KEY" } else { "INVALID_VALUE" };
        return Err(Error::Invalid { code, faults });
    };
    Ok(ActivationCode {
        id: new_id("act"),
        plan,
        note,
        max_redemptions,
        redeemed: 0,
        duration_days,
        expires_at,
        revoked_at: None,
        created_at: now,
        created_by: by,
    })
}

/// Everything that redeeming is, in one transaction.
fn redeem(
    tx: &WriteTx<'_>,
    memory: &Memory,
    tenant: &TenantKey,
    digest: &Digest,
    by: String,
) -> Result<(Subscription, Vec<Event>)> {
    let row = store::tenants::get(tx.read(), tenant)?;
    let code = redeemable(tx, tenant, digest)?;
    // The code ends by the service's clock; what it gives begins by the tenant's.
    tx.in_time_of(tenant)?;
    if row.suspension.is_some() {
        return Err(blocked("The tenant is suspended; the code was not used."));
    }
    expect_room(tx, tenant, &code)?;
    let trial_expires_at = code.duration_days.map(|days| tx.now().plus_days(days));
    let assignment = Assignment {
        plan: code.plan.clone(),
        status: Some(if trial_expires_at.is_some() { Status::Trialing } else { Status::Active }),
        trial_expires_at,
        quantity: 1,
        effective_from: None,
        change_reason: format!("Activation code {}", code.id),
    };
    let (subscription, mut events) = assign(tx, memory, tenant, &assignment)?;
    let after = ActivationCode { redeemed: code.redeemed + 1, ..code.clone() };
    rows::update(tx, &after)?;
    let redemption = Redemption {
        code: code.id.clone(),
        tenant: tenant.clone(),
        subscription: subscription.id.clone(),
        at: tx.now(),
        by,
    };
    rows::insert_redemption(tx, &redemption)?;
    let mut told = facts(&after);
    if let Some(told) = told.as_object_mut() {
        told.insert("subscription".into(), subscription.id.clone().into());
    }
    let redeemed = event("entitlement.activation_code.redeemed", &code, facts(&code), told);
    events.push(Event { tenant: Some(tenant.clone()), ..redeemed });
    Ok((subscription, events))
}

/// The code with this digest, if `tenant` may redeem it now.
fn redeemable(tx: &WriteTx<'_>, tenant: &TenantKey, digest: &Digest) -> Result<ActivationCode> {
    let found = rows::find(tx.read(), digest)?;
    // What doesn't exist is asked for too, so that the answer takes as long.
    let id = found.as_ref().map_or("", |(code, _)| code.id.as_str());
    let is_redeemed = rows::is_redeemed_by(tx.read(), tenant, id)?;
    let found = found.filter(|(_, stored)| bool::from(stored.ct_eq(digest)));
    let (code, _) = found.ok_or(Error::InvalidActivationCode)?;
    // Before its state: who has redeemed it knows it, and may have spent it.
    if is_redeemed {
        return Err(Error::Conflict {
            code: "ALREADY_REDEEMED",
            detail: "The tenant has redeemed this code before; each tenant can once.".into(),
        });
    }
    match code.state(tx.now()) {
        CodeState::Active => Ok(code),
        CodeState::Spent | CodeState::Expired | CodeState::Revoked => {
            Err(Error::InvalidActivationCode)
        }
    }
}

/// A code settles no invoice and lifts no suspension, and takes nothing away that lasts as long.
fn expect_room(tx: &WriteTx<'_>, tenant: &TenantKey, code: &ActivationCode) -> Result<()> {
    let now = tx.now();
    let bases = store::subscriptions::bases(tx.read(), tenant, now)?;
    let Some(base) = bases.into_iter().find(|base| base.effective_from <= now) else {
        return Ok(());
    };
    let end = base.effective_to.unwrap_or(Timestamp::MAX);
    let end = match base.status {
        Status::Overdue => {
            return Err(blocked("The subscription is overdue: pay first; the code was not used."));
        }
        Status::Suspended => {
            return Err(blocked("The subscription is suspended; the code was not used."));
        }
        Status::Cancelled => return Ok(()),
        Status::Active => end,
        Status::Trialing => base.trial_expires_at.map_or(end, |trial| trial.min(end)),
    };
    let end_by_code = code.duration_days.map_or(Timestamp::MAX, |days| now.plus_days(days));
    if base.plan.plan == code.plan && end >= end_by_code {
        return Err(Error::Conflict {
            code: "ALREADY_ON_PLAN",
            detail:
                "The tenant has this plan already, for at least as long; the code was not used."
                    .into(),
        });
    }
    Ok(())
}

fn blocked(detail: &str) -> Error {
    Error::Conflict { code: "TENANT_BLOCKED", detail: detail.into() }
}

fn event(name: &'static str, code: &ActivationCode, before: Value, after: Value) -> Event {
    Event { name, tenant: None, subject: code.id.clone(), before, after, reason: code.note.clone() }
}

fn facts(code: &ActivationCode) -> Value {
    json!({
        "plan": code.plan,
        "max_redemptions": code.max_redemptions,
        "redeemed": code.redeemed,
        "duration_days": code.duration_days,
        "expires_at": code.expires_at,
        "revoked_at": code.revoked_at,
    })
}
