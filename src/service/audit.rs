//! Reading the audit trail.

use super::{Service, actor::Actor, paging::Page, permissions::Permission};
use crate::{
    domain::audit::AuditRecord,
    error::Result,
    store::{self, audit::AuditFilter},
};

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
}
