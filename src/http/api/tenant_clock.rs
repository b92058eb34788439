//! The clock of a sandbox tenant.

use poem_openapi::{Object, OpenApi, param::Path, types::Example};
use serde::{Deserialize, Serialize};

use super::Tag;
use crate::{
    domain::{
        keys::TenantKey,
        time::{Span, Timestamp},
    },
    error::{Error, Result},
    http::{
        auth::{Caller, needs},
        failure::Answer,
        payload::Json,
    },
    service::{
        Service,
        tenant_clock::{MOST_DAYS_AHEAD, Move, Moved},
    },
};

/// The operations.
pub struct TenantClockApi(pub(super) Service);

/// Where the clock is moved: to an instant, or ahead.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "TenantClockBody", example = true)]
#[serde(deny_unknown_fields)]
pub struct TenantClockBody {
    /// To this instant.
    now: Option<Timestamp>,
    /// Ahead by so many seconds, instead.
    advance_seconds: Option<u64>,
}

impl Example for TenantClockBody {
    fn example() -> Self {
        Self { now: None, advance_seconds: Some(86_400) }
    }
}

/// A clock that was moved.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "TenantClock")]
pub struct TenantClockView {
    /// Whose clock it is.
    tenant: TenantKey,
    /// What time it is there now.
    now: Timestamp,
    /// How far that is ahead of the service's clock.
    ahead_seconds: u64,
    /// How many ends were recorded at once.
    recorded: u64,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Tenants")]
impl TenantClockApi {
    /// Move the clock of a sandbox tenant
    ///
    /// Forward only. Everything about the tenant follows it: decisions, payloads, trials, grants,
    /// overrides, seats, roles, periods of usage. What has ended by then is recorded before this
    /// answers. The audit trail keeps the service's time.
    #[oai(path = "/tenants/:tenant/clock", method = "put", operation_id = "move_tenant_clock")]
    async fn move_tenant_clock(
        &self,
        caller: Caller<needs::TenantsWrite>,
        /// The tenant, which must be a sandbox.
        tenant: Path<TenantKey>,
        body: Json<TenantClockBody>,
    ) -> Answer<Json<TenantClockView>> {
        let to = body.0.try_into()?;
        let moved = self.0.move_tenant_clock(&caller.actor, tenant.0.clone(), to).await?;
        let Moved { now, ahead, recorded } = moved;
        let ahead_seconds = u64::try_from(ahead.as_micros()).unwrap_or_default() / 1_000_000;
        Ok(Json(TenantClockView { tenant: tenant.0, now, ahead_seconds, recorded }))
    }
}

impl TryFrom<TenantClockBody> for Move {
    type Error = Error;

    fn try_from(body: TenantClockBody) -> Result<Self> {
        let TenantClockBody { now, advance_seconds } = body;
        match (now, advance_seconds) {
            (Some(at), None) => Ok(Self::To(at)),
            (None, Some(seconds)) => {
                let seconds = u32::try_from(seconds).ok();
                let most = Span::days(MOST_DAYS_AHEAD);
                let span = seconds.map(Span::seconds).filter(|span| *span <= most);
                let message = || format!("must be at most {}", most.as_micros() / 1_000_000);
                span.map(Self::By).ok_or_else(|| Error::invalid("advance_seconds", message()))
            }
            (None, None) => Err(Error::invalid("now", "name an instant, or advance_seconds")),
            (Some(_), Some(_)) => {
                Err(Error::invalid("advance_seconds", "leave it out where “now” is given"))
            }
        }
    }
}
