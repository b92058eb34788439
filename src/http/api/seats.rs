//! Seats of tenants, and who has them.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{Tag, once};
use crate::{
    domain::{
        keys::{EntitlementKey, TenantKey, UserKey},
        people::{Seat, SeatFilter},
        time::Timestamp,
    },
    error::{Error, Fault},
    http::{
        auth::{Caller, needs},
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit},
        payload::Json,
        replies::{Done, Named},
        types::IdempotencyKey,
    },
    service::{
        Service,
        seats::{Pool, SeatDraft, SeatName},
    },
};

/// The operations.
pub struct SeatsApi(pub(super) Service);

/// A seat for a user.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "SeatBody", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct SeatBody {
    /// Not honoured from here on; never if left out.
    expires_at: Option<Lenient<Timestamp>>,
    /// Whose seats: a tenant above the one in the path, or that one if left out.
    from_tenant: Option<Lenient<TenantKey>>,
}

impl poem_openapi::types::Example for SeatBody {
    fn example() -> Self {
        let end = Timestamp::from_micros(1_798_761_600_000_000);
        Self { expires_at: Some(Lenient::Good(end)), from_tenant: None }
    }
}

/// Who gets the seat of another user.
#[derive(Debug, Default, Object, Serialize, Deserialize)]
#[oai(rename = "SeatTransfer", example = true)]
#[serde(deny_unknown_fields, default)]
pub struct SeatTransferBody {
    /// Who gets it.
    to: Lenient<UserKey>,
    /// Whose seats: a tenant above the one in the path, or that one if left out.
    from_tenant: Option<Lenient<TenantKey>>,
}

impl poem_openapi::types::Example for SeatTransferBody {
    fn example() -> Self {
        Self { to: Lenient::Good(UserKey::example("u-18")), from_tenant: None }
    }
}

/// The right of one named user to use what a tenant has bought seats for.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Seat")]
pub struct SeatView {
    /// The module or feature.
    key: EntitlementKey,
    /// Who has it.
    user: UserKey,
    /// In which tenant the user works.
    tenant: TenantKey,
    /// Whose seat it is.
    from_tenant: TenantKey,
    /// Not honoured from here on.
    expires_at: Option<Timestamp>,
    /// When it was allocated.
    allocated_at: Timestamp,
    /// By whom.
    allocated_by: String,
}

/// The seats of a tenant for a module or feature.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "SeatPool")]
pub struct PoolView {
    /// The module or feature.
    key: EntitlementKey,
    /// How many seats there are.
    total: u64,
    /// How many are in use; more than there are where a plan was changed.
    allocated: u64,
    /// How many are left.
    available: u64,
}

/// The pools of a tenant, and a page of seats.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "SeatList")]
pub struct SeatsView {
    /// The tenant's own pools, by key.
    pools: Vec<PoolView>,
    /// Seats of the own pools, and those that its users have of tenants above.
    items: Vec<SeatView>,
    /// For the next page; `null` on the last.
    next_cursor: Option<Cursor>,
}

#[OpenApi(tag = "Tag::Seats")]
impl SeatsApi {
    /// List a tenant's seats
    ///
    /// What has expired is not among them.
    #[oai(path = "/api/v1/tenants/:tenant/seats", method = "get", operation_id = "list_seats")]
    async fn list_seats(
        &self,
        caller: Caller<needs::SeatsRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
        /// On this module or feature.
        key: Query<Option<EntitlementKey>>,
        /// Of this user.
        user: Query<Option<UserKey>>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<SeatsView>> {
        let filter = SeatFilter { key: key.0, user: user.0 };
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let (pools, page) = self.0.seats(&caller.actor, &tenant, filter, after, limit).await?;
        Ok(Json(SeatsView {
            pools: pools.into_iter().map(PoolView::from).collect(),
            items: page.items.into_iter().map(SeatView::from).collect(),
            next_cursor: page.next.as_ref().map(Cursor::after).transpose()?,
        }))
    }

    /// Give a user a seat
    ///
    /// By name: a second call changes when it ends. 201 for a new one, else 200.
    #[oai(
        path = "/api/v1/tenants/:tenant/seats/:key/:user",
        method = "put",
        operation_id = "allocate_seat"
    )]
    async fn allocate_seat(
        &self,
        caller: Caller<needs::SeatsWrite>,
        /// Where the user works.
        tenant: Path<TenantKey>,
        /// The module or feature.
        key: Path<EntitlementKey>,
        /// Who.
        user: Path<UserKey>,
        body: Json<SeatBody>,
    ) -> Answer<Named<SeatView>> {
        let SeatBody { expires_at, from_tenant } = body.0;
        let mut faults = Vec::new();
        let expires_at = expires_at.unwrap_or_default().optional("expires_at", &mut faults);
        let from = from(from_tenant, &mut faults)?;
        let name = SeatName { tenant: tenant.0, key: key.0, user: user.0, from };
        let draft = SeatDraft { expires_at, faults };
        let (seat, is_new) = self.0.allocate_seat(&caller.actor, name, draft).await?;
        let (holder, key, user) = (&seat.holder, &seat.key, &seat.user);
        let location = format!("/api/v1/tenants/{holder}/seats?key={key}&user={}", escaped(user));
        Ok(Named::new(is_new.then_some(location), seat.into()))
    }

    /// Take a user's seat back
    ///
    /// The pool stays as large as it is.
    #[oai(
        path = "/api/v1/tenants/:tenant/seats/:key/:user",
        method = "delete",
        operation_id = "release_seat"
    )]
    async fn release_seat(
        &self,
        caller: Caller<needs::SeatsWrite>,
        /// Where the user works.
        tenant: Path<TenantKey>,
        /// The module or feature.
        key: Path<EntitlementKey>,
        /// Who.
        user: Path<UserKey>,
        /// Whose seat it is, where not the tenant's own.
        from_tenant: Query<Option<TenantKey>>,
    ) -> Answer<Done> {
        let from = from_tenant.0;
        let name = SeatName { tenant: tenant.0, key: key.0, user: user.0, from };
        self.0.release_seat(&caller.actor, name).await?;
        Ok(Done)
    }

    /// Hand a seat from one user to another
    ///
    /// In one step, and until the same end.
    #[oai(
        path = "/api/v1/tenants/:tenant/seats/:key/:user/transfer",
        method = "post",
        operation_id = "transfer_seat"
    )]
    async fn transfer_seat(
        &self,
        caller: Caller<needs::SeatsWrite>,
        /// Where both users work.
        tenant: Path<TenantKey>,
        /// The module or feature.
        key: Path<EntitlementKey>,
        /// Who gives it up.
        user: Path<UserKey>,
        /// The same key and body get the first answer again.
        #[oai(name = "Idempotency-Key")]
        once_key: Header<Option<IdempotencyKey>>,
        body: Json<SeatTransferBody>,
    ) -> Answer<Json<SeatView>> {
        let about = format!("{}/{}/{}", tenant.0, key.0, user.0);
        let once = once(once_key.0.as_ref(), "transfer_seat", &about, &body.0)?;
        let SeatTransferBody { to, from_tenant } = body.0;
        let mut faults = Vec::new();
        let to = to.required("to", &mut faults);
        let from = from(from_tenant, &mut faults)?;
        let name = SeatName { tenant: tenant.0, key: key.0, user: user.0, from };
        let seat = self.0.transfer_seat(&caller.actor, once, name, to, faults).await?;
        Ok(Json(seat.into()))
    }
}

/// Whose seats. Where that can't be read, nothing else can be judged.
fn from(
    from: Option<Lenient<TenantKey>>,
    faults: &mut Vec<Fault>,
) -> Result<Option<TenantKey>, Error> {
    let before = faults.len();
    let from = from.unwrap_or_default().optional("from_tenant", faults);
    if faults.len() > before {
        return Err(Error::Invalid { code: "INVALID_VALUE", faults: std::mem::take(faults) });
    }
    Ok(from)
}

/// A user id in a query: the few characters that mean something there.
fn escaped(user: &UserKey) -> String {
    user.as_str().replace('+', "%2B").replace('=', "%3D").replace('|', "%7C")
}

impl From<Seat> for SeatView {
    fn from(seat: Seat) -> Self {
        let Seat { tenant, key, holder, user, expires_at, allocated_at, allocated_by } = seat;
        Self {
            key,
            user,
            tenant: holder,
            from_tenant: tenant,
            expires_at,
            allocated_at,
            allocated_by,
        }
    }
}

impl From<Pool> for PoolView {
    fn from(pool: Pool) -> Self {
        let Pool { key, total, allocated } = pool;
        Self { key, total, allocated, available: total.saturating_sub(allocated) }
    }
}
