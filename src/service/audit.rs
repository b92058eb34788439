//! The audit trail: reading it, pruning it, and keeping its end outside the database.

use serde_json::{Value, json};

use super::{
    Service, actor::Actor, audit_export::AuditExport, paging::Page, permissions::Permission,
};
use crate::{
    clock::Trust,
    domain::{
        audit::{AuditRecord, Checkpoint, Event, Head},
        time::DAY_US,
        time::Timestamp,
    },
    error::Result,
    store::{
        self,
        anchor::Rollback,
        audit::AuditFilter,
        retention::{Prunable, due, prune},
    },
};

/// How many rows one change prunes: the writer is held for some milliseconds.
const BATCH: usize = 500;

impl Service {
    /// A page of the trail, newest first, before place `before`.
    pub async fn audit(
        &self,
        actor: &Actor,
        filter: AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<AuditRecord, u64>> {
        actor.reach(Permission::AuditRead)?;
        let rows = self
            .store
            .read_long(move |tx| store::audit::list(tx, &filter, before, limit + 1))
            .await?;
        Ok(Page::of(rows, limit, |record| record.seq))
    }

    /// Everything that the filter selects up to now, oldest first, to be read page by page.
    pub async fn export_audit(&self, actor: &Actor, filter: AuditFilter) -> Result<AuditExport> {
        actor.reach(Permission::AuditRead)?;
        AuditExport::begin(self.store.clone(), filter).await
    }

    /// Prunes what is older than the policy keeps, whole days of UTC at once; how many rows. What
    /// the anchor names is kept, and so is everything from a row on that doesn't match its hash.
    pub async fn prune_audit(&self, actor: &Actor) -> Result<u64> {
        let Some(retention) = self.policy.audit_retention else { return Ok(0) };
        let before = (self.clock.steady() - retention).micros();
        let before = Timestamp::from_micros(before - before % DAY_US);
        let mut pruned = 0;
        loop {
            // What is pruned is gone: no clock in doubt decides about it.
            if matches!(self.clock.trust(), Trust::Ahead(_)) {
                return Ok(pruned);
            }
            let prunable = Prunable { before, below: self.store.prunable_below(), limit: BATCH };
            let is_due = self.store.read_long(move |tx| due(tx, prunable)).await?.is_some();
            if !is_due {
                return Ok(pruned);
            }
            pruned += self
                .change(actor, move |tx| match prune(tx, prunable)? {
                    Some((earlier, checkpoint)) => {
                        Ok((checkpoint.rows, vec![pruning(earlier, checkpoint)]))
                    }
                    None => Ok((0, Vec::new())),
                })
                .await?;
        }
    }

    /// Writes down that an operator took a database which doesn't hold its anchor.
    pub async fn record_rollback(&self, actor: &Actor) -> Result<()> {
        let Some(rollback) = self.store.rollback() else { return Ok(()) };
        let event = rollback_accepted(rollback);
        self.change(actor, move |tx| {
            store::outbox::start_over(tx)?;
            Ok(((), vec![event]))
        })
        .await
    }

    /// Writes the end of the trail into its anchor, if it has moved.
    pub async fn keep_anchor(&self) -> Result<()> {
        self.store.keep_anchor().await
    }
}

/// That an operator took a database which doesn't hold its anchor.
pub(super) fn rollback_accepted(rollback: &Rollback) -> Event {
    let facts = |head: Option<Head>| head.map_or(Value::Null, |head| head.facts());
    Event {
        name: "entitlement.audit.rollback_accepted",
        tenant: None,
        subject: "audit".into(),
        before: json!({"anchor": facts(rollback.anchor)}),
        after: json!({"head": facts(rollback.found)}),
        reason: None,
    }
}

fn pruning(earlier: Option<Checkpoint>, checkpoint: Checkpoint) -> Event {
    Event {
        name: Checkpoint::EVENT,
        tenant: None,
        subject: "audit".into(),
        before: earlier.map_or(Value::Null, |earlier| earlier.facts()),
        after: checkpoint.facts(),
        reason: None,
    }
}
