//! A small API to try the front door with.

use super::*;

pub(super) struct Plans;

/// What a plan is made from.
#[derive(Debug, Object, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanBody {
    plan: PlanKey,
    name: Text<1, 20>,
    seats: Option<u32>,
    #[serde(default)]
    until: Patch<Timestamp>,
    #[serde(default, deserialize_with = "unique")]
    #[oai(default)]
    labels: BTreeMap<String, String>,
}

/// A plan.
#[derive(Debug, Object, Serialize, Clone)]
#[oai(rename = "Plan")]
pub(super) struct PlanView {
    plan: PlanKey,
    seats: Option<u32>,
}

#[OpenApi(prefix_path = "/api/v1")]
impl Plans {
    /// Create a plan
    #[oai(path = "/tenants/:tenant/plans", method = "post", operation_id = "create_plan")]
    async fn create_plan(
        &self,
        caller: Caller<needs::CatalogWrite>,
        tenant: Path<TenantKey>,
        body: Json<PlanBody>,
    ) -> Answer<Created<Json<PlanView>>> {
        caller.may_on(Permission::CatalogWrite, &tenant)?;
        let PlanBody { plan, seats, .. } = body.0;
        let location = format!("/api/v1/tenants/{}/plans/{plan}", *tenant);
        let view = PlanView { plan, seats };
        Ok(Created { location, etag: Some(ETag::of_revision(1)), body: Json(view) })
    }

    /// List plans
    #[oai(path = "/tenants/:tenant/plans", method = "get", operation_id = "list_plans")]
    async fn list_plans(
        &self,
        caller: Caller<needs::Check>,
        tenant: Path<TenantKey>,
        limit: Query<Option<Limit>>,
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<PlanView>>> {
        caller.may_on(Permission::Check, &tenant)?;
        let from = cursor.0.map_or(Ok(0), |cursor| cursor.key::<u32>())?;
        let view = |at: u32| PlanView { plan: format!("p{at}").parse().unwrap(), seats: Some(at) };
        let views = (from..300).map(view).collect();
        Ok(Json(Page::cut(views, limit.0.unwrap_or_default(), |view| view.seats.unwrap() + 1)?))
    }

    /// Read a plan
    #[oai(path = "/plans/:plan", method = "get", operation_id = "get_plan")]
    async fn get_plan(
        &self,
        _caller: Caller<needs::Me>,
        plan: Path<PlanKey>,
        #[oai(name = "If-None-Match")] known: Header<Option<IfNoneMatch>>,
    ) -> Answer<Tagged<Json<PlanView>>> {
        if plan.as_str() == "panic" {
            panic!("on purpose");
        }
        if plan.as_str() == "slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let body = || Ok::<_, Error>(Json(PlanView { plan: plan.0.clone(), seats: None }));
        Ok(Tagged::unless_known(known.0.as_ref(), ETag::of_revision(7), body)?)
    }

    /// Delete a plan
    #[oai(path = "/plans/:plan", method = "delete", operation_id = "delete_plan")]
    async fn delete_plan(
        &self,
        _caller: Caller<needs::CatalogWrite>,
        _plan: Path<PlanKey>,
        #[oai(name = "If-Match")] expected: Header<Option<IfMatch>>,
    ) -> Answer<Done> {
        match IfMatch::expected(expected.0)? {
            None | Some(7) => Ok(Done),
            Some(_) => Err(Error::PreconditionFailed.into()),
        }
    }
}

pub(super) struct Catalogs;

#[OpenApi(prefix_path = "/api/v1")]
impl Catalogs {
    /// Publish the catalog
    #[oai(path = "/admin/catalog", method = "put", operation_id = "put_catalog")]
    async fn put_catalog(
        &self,
        _caller: Caller<needs::CatalogWrite>,
        catalog: CatalogText,
    ) -> Answer<Json<Vec<String>>> {
        Ok(Json(vec![format!("{:?}", catalog.format), catalog.text.len().to_string()]))
    }
}
