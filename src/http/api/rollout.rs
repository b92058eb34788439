//! The rollout: how far enforcement goes.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Query},
    types::Example,
};
use serde::{Deserialize, Serialize};

use super::{
    Tag,
    dry_run::{DryRunView, wanted},
};
use crate::{
    domain::{
        keys::{ModuleKey, TenantKey},
        rollout::{AutoRollback, Rollout, RolloutMode, RolloutSource, StoredRollout},
        time::Timestamp,
    },
    error::Fault,
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        lenient::Lenient,
        paging::{Cursor, Limit},
        payload::Json,
        replies::{Rehearsed, Tagged},
    },
    service::{
        Service,
        rollout::{RolloutDraft, RolloutState},
    },
};

/// The operations.
pub struct RolloutApi(pub(super) Service);

/// How far enforcement is to go, in place of the present settings.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "RolloutBody", example = true)]
#[serde(deny_unknown_fields)]
pub struct RolloutBody {
    /// `off` and `shadow` open all gates; `enforce` refuses.
    #[serde(default)]
    mode: Lenient<RolloutMode>,
    /// For how many of a hundred tenants it enforces, from 0 to 100. A tenant that is reached stays
    /// reached at every higher percentage.
    #[serde(default)]
    percent: Lenient<u64>,
    /// Tenants for which it enforces whatever the percentage is, at most 10,000.
    include: Option<Lenient<Vec<Lenient<TenantKey>>>>,
    /// Tenants for which it never enforces, at most 10,000.
    exclude: Option<Lenient<Vec<Lenient<TenantKey>>>>,
    /// Modules whose refusals it doesn't enforce.
    unenforced_modules: Option<Lenient<Vec<Lenient<ModuleKey>>>>,
    /// When `enforce` is to give way to `shadow` by itself.
    auto_rollback: Option<Lenient<AutoRollbackBody>>,
}

impl Example for RolloutBody {
    fn example() -> Self {
        Self {
            mode: Lenient::Good(RolloutMode::Enforce),
            percent: Lenient::Good(25),
            include: Some(Lenient::Good(vec![Lenient::Good(TenantKey::example("acme"))])),
            exclude: None,
            unenforced_modules: None,
            auto_rollback: None,
        }
    }
}

/// When `enforce` is to give way to `shadow` by itself.
#[derive(Debug, Clone, Object, Serialize, Deserialize)]
#[oai(rename = "AutoRollbackBody")]
#[serde(deny_unknown_fields)]
pub struct AutoRollbackBody {
    /// The share of tenants refused among tenants checked that is too much: more than 0, at most 1.
    #[serde(default)]
    ratio: Lenient<f64>,
    /// With fewer tenants checked nothing happens; at least 1.
    #[serde(default)]
    min_tenants: Lenient<u64>,
    /// With fewer checks nothing happens; at least 1.
    #[serde(default)]
    min_checks: Lenient<u64>,
    /// How far back it looks, from 10 to 86400 seconds.
    #[serde(default)]
    window_seconds: Lenient<u64>,
}

/// How far enforcement goes.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Rollout")]
pub struct RolloutView {
    /// Whether refusals count.
    mode: RolloutMode,
    /// For how many of a hundred tenants.
    percent: u64,
    /// Tenants for which they count whatever the percentage is.
    include: Vec<TenantKey>,
    /// Tenants for which they never count.
    exclude: Vec<TenantKey>,
    /// Modules whose refusals don't count.
    unenforced_modules: Vec<ModuleKey>,
    /// When `enforce` gives way to `shadow` by itself.
    auto_rollback: Option<AutoRollbackView>,
    /// What decides: these settings, or the environment, which then opens all gates.
    source: RolloutSource,
    /// When the settings were last changed; null while they never were.
    updated_at: Option<Timestamp>,
    /// By whom.
    updated_by: Option<String>,
}

/// When `enforce` gives way to `shadow` by itself.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "AutoRollback")]
pub struct AutoRollbackView {
    /// The share of tenants refused among tenants checked that is too much.
    ratio: f64,
    /// With fewer tenants checked nothing happens.
    min_tenants: u64,
    /// With fewer checks nothing happens.
    min_checks: u64,
    /// How far back it looks.
    window_seconds: u64,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Rollout")]
impl RolloutApi {
    /// Read how far enforcement goes
    #[oai(path = "/rollout", method = "get", operation_id = "get_rollout")]
    async fn get_rollout(
        &self,
        caller: Caller<needs::RolloutRead>,
    ) -> Answer<Tagged<Json<RolloutView>>> {
        Ok(tagged(self.0.rollout(&caller.actor).await?))
    }

    /// Say how far enforcement goes
    ///
    /// Replaces all settings, and takes effect at once: what is left out is empty. The same settings
    /// again change nothing.
    #[oai(path = "/rollout", method = "put", operation_id = "set_rollout")]
    async fn set_rollout(
        &self,
        caller: Caller<needs::RolloutWrite>,
        /// Only say who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the settings that were looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<RolloutBody>,
    ) -> Answer<Rehearsed<Tagged<Json<RolloutView>>, DryRunView>> {
        let expected = IfMatch::expected(expected.0)?;
        let (actor, draft) = (&caller.actor, body.0.into());
        if let Some(wanted) = wanted(dry_run.0, limit.0, cursor.0)? {
            let page = self.0.preview_rollout(actor, draft, expected, wanted).await?;
            return Ok(Rehearsed::Would(DryRunView::of(page)?));
        }
        Ok(Rehearsed::Done(tagged(self.0.set_rollout(actor, draft, expected).await?)))
    }
}

fn tagged(state: RolloutState) -> Tagged<Json<RolloutView>> {
    Tagged::Fresh(ETag::of_revision(state.stored.revision), Json(state.into()))
}

/// The keys of a list that can be read, each with its place.
fn keys<K>(
    list: Option<Lenient<Vec<Lenient<K>>>>,
    field: &str,
    faults: &mut Vec<Fault>,
) -> Vec<(usize, K)> {
    let list = list.unwrap_or_default().optional(field, faults).unwrap_or_default();
    let mut read = Vec::new();
    for (index, key) in list.into_iter().enumerate() {
        if let Some(key) = key.required(&format!("{field}[{index}]"), faults) {
            read.push((index, key));
        }
    }
    read
}

fn auto_rollback(body: AutoRollbackBody, faults: &mut Vec<Fault>) -> Option<AutoRollback> {
    let AutoRollbackBody { ratio, min_tenants, min_checks, window_seconds } = body;
    let ratio = ratio.required("auto_rollback.ratio", faults);
    let mut count =
        |field: Lenient<u64>, name: &str| field.required(&format!("auto_rollback.{name}"), faults);
    let min_tenants = count(min_tenants, "min_tenants");
    let min_checks = count(min_checks, "min_checks");
    let window_seconds = count(window_seconds, "window_seconds");
    Some(AutoRollback {
        ratio: ratio?,
        min_tenants: min_tenants?,
        min_checks: min_checks?,
        window_seconds: window_seconds?,
    })
}

impl From<RolloutBody> for RolloutDraft {
    fn from(body: RolloutBody) -> Self {
        let RolloutBody {
            mode,
            percent,
            include,
            exclude,
            unenforced_modules,
            auto_rollback: give_way,
        } = body;
        let mut faults = Vec::new();
        let mode = mode.required("mode", &mut faults);
        let percent = percent.required("percent", &mut faults);
        let mut tenants =
            |list, field| keys(list, field, &mut faults).into_iter().map(|(_, key)| key).collect();
        let (include, exclude) = (tenants(include, "include"), tenants(exclude, "exclude"));
        let unenforced_modules = keys(unenforced_modules, "unenforced_modules", &mut faults);
        let give_way = give_way.unwrap_or_default().optional("auto_rollback", &mut faults);
        let auto_rollback = give_way.and_then(|body| auto_rollback(body, &mut faults));
        Self { mode, percent, include, exclude, unenforced_modules, auto_rollback, faults }
    }
}

impl From<RolloutState> for RolloutView {
    fn from(state: RolloutState) -> Self {
        let RolloutState { stored, source } = state;
        // The revision is the tag.
        let StoredRollout { settings, updated, revision: _ } = stored;
        let Rollout { mode, percent, include, exclude, unenforced_modules, auto_rollback } =
            settings;
        let (updated_at, updated_by) = updated.unzip();
        Self {
            mode,
            percent,
            include: include.into_iter().collect(),
            exclude: exclude.into_iter().collect(),
            unenforced_modules: unenforced_modules.into_iter().collect(),
            auto_rollback: auto_rollback.map(AutoRollbackView::from),
            source,
            updated_at,
            updated_by,
        }
    }
}

impl From<AutoRollback> for AutoRollbackView {
    fn from(settings: AutoRollback) -> Self {
        let AutoRollback { ratio, min_tenants, min_checks, window_seconds } = settings;
        Self { ratio, min_tenants, min_checks, window_seconds }
    }
}
