//! Maps of modules in the old shape: imported, compared with the grants, kept, exported.

use std::collections::BTreeMap;

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
    types::Example,
};
use serde::{Deserialize, Serialize};

use super::{
    Tag,
    dry_run::{AccessDiffView, Attempt},
};
use crate::{
    domain::{
        keys::{ModuleKey, TenantKey},
        legacy::{
            Difference, DifferenceKind, DualWrite, LegacyMap, LegacySettings, OldName, StoredLegacy,
        },
        time::Timestamp,
    },
    error::{Error, Fault, Result},
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch},
        failure::Answer,
        legacy_file::{LegacyFile, LegacyFormat, LegacyPage},
        lenient::Lenient,
        paging::{Cursor, Limit, Page},
        parse::unique,
        payload::Json,
        replies::Tagged,
    },
    service::{
        Service,
        legacy::{
            import::{Effect, Imported, TenantChange},
            report::{LegacyExport, TenantDifferences},
            table,
        },
    },
};

/// The operations.
pub struct LegacyApi(pub(super) Service);

/// How many changes an answer to an import shows one by one.
const SHOWN: usize = 200;

/// How the maps are to be kept, in place of the present settings.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "LegacySettingsBody", example = true)]
#[serde(deny_unknown_fields)]
pub struct LegacySettingsBody {
    /// Whether each change of a tenant's module grants is written into its map too, in the same
    /// transaction.
    #[serde(default)]
    dual_write: Lenient<bool>,
    /// What the older application calls modules, where that is not their key: `{OLD: MODULE}`.
    #[serde(default, deserialize_with = "unique")]
    #[oai(default)]
    names: BTreeMap<String, String>,
}

impl Example for LegacySettingsBody {
    fn example() -> Self {
        let names = BTreeMap::from([("Retail_Module".to_owned(), "retail".to_owned())]);
        Self { dual_write: Lenient::Good(true), names }
    }
}

/// How the maps are kept.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "LegacySettings")]
pub struct LegacySettingsView {
    /// Whether they follow the grants.
    dual_write: bool,
    /// What the older application calls modules.
    names: BTreeMap<String, ModuleKey>,
    /// When the settings were last changed; null while they never were.
    updated_at: Option<Timestamp>,
    /// By whom.
    updated_by: Option<String>,
}

/// What an import did, or would do.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "LegacyImport")]
pub struct ImportView {
    /// True where nothing was written, because only a preview was asked for.
    dry_run: bool,
    /// Whether grants are made and taken back as well.
    apply: bool,
    /// How many tenants were named.
    tenants: u64,
    /// For how many of them something changes.
    changed: u64,
    /// How many grants are made or taken back.
    grants: u64,
    /// The first 200 of those that change.
    changes: Vec<ChangeView>,
    /// Who would gain and lose what; null where it was written.
    access: Option<AccessDiffView>,
}

/// What an import changes for a tenant, in old names.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "LegacyChange")]
pub struct ChangeView {
    /// Which one.
    tenant: TenantKey,
    /// Its map before.
    before: BTreeMap<String, bool>,
    /// Its map afterwards.
    after: BTreeMap<String, bool>,
    /// By module: true where it is granted, false where its grant is taken back.
    grants: BTreeMap<String, bool>,
}

/// The differences of a tenant.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "LegacyDifferences")]
pub struct DifferencesView {
    /// Whose.
    tenant: TenantKey,
    /// By module; at least one.
    differences: Vec<DifferenceView>,
}

/// A module that the map of a tenant and its grants disagree about.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "LegacyDifference")]
pub struct DifferenceView {
    /// The module.
    module: ModuleKey,
    /// What the older application calls it.
    name: String,
    /// In which way they disagree.
    kind: DifferenceKind,
    /// What the map says; null where it doesn't name the module.
    legacy: Option<bool>,
    /// What the grant says; null where there is none. A module that needs none is on.
    granted: Option<bool>,
}

/// The map of one tenant.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "LegacyModules")]
pub struct MapView {
    /// Whose.
    tenant: TenantKey,
    /// Whether each module is on, by its old name; what isn't named is off.
    enabled_modules: BTreeMap<String, bool>,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Legacy")]
impl LegacyApi {
    /// Read how legacy maps are kept
    #[oai(path = "/legacy", method = "get", operation_id = "get_legacy_settings")]
    async fn get_legacy_settings(
        &self,
        caller: Caller<needs::LegacyRead>,
    ) -> Answer<Tagged<Json<LegacySettingsView>>> {
        Ok(tagged(self.0.legacy_settings(&caller.actor).await?))
    }

    /// Say how legacy maps are kept
    ///
    /// Replaces all settings: without `names`, modules are called by their keys.
    #[oai(path = "/legacy", method = "put", operation_id = "set_legacy_settings")]
    async fn set_legacy_settings(
        &self,
        caller: Caller<needs::LegacyWrite>,
        /// The tag of the settings that were looked at.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: Json<LegacySettingsBody>,
    ) -> Answer<Tagged<Json<LegacySettingsView>>> {
        let expected = IfMatch::expected(expected.0)?;
        let settings = settings(body.0)?;
        Ok(tagged(self.0.set_legacy_settings(&caller.actor, settings, expected).await?))
    }

    /// Import legacy maps
    ///
    /// The maps of all tenants that it names, as JSON or CSV, up to 5,000 of them: each takes the
    /// place of the present one. All or nothing, and every fault is named with its place.
    #[oai(path = "/legacy/import", method = "post", operation_id = "import_legacy")]
    async fn import_legacy(
        &self,
        caller: Caller<needs::LegacyWrite>,
        /// Grant modules that are on, and take back grants on those that are off.
        apply: Query<Option<bool>>,
        /// Only say what would change, and who would gain and lose what.
        dry_run: Query<Option<bool>>,
        /// How many changes of access of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        body: LegacyFile,
    ) -> Answer<Json<ImportView>> {
        let apply = apply.0.unwrap_or_default();
        let effect = if apply { Effect::MapsAndGrants } else { Effect::Maps };
        let attempt = Attempt::new(&self.0, dry_run.0, limit.0, cursor.0)?;
        let imported = attempt.service().import_legacy(&caller.actor, body.0, effect).await?;
        let would = attempt.would_change().await?;
        let (dry_run, access) = (would.is_some(), would.map(|Json(would)| would.access));
        Ok(Json(ImportView { dry_run, apply, access, ..imported.into() }))
    }

    /// Compare legacy maps with grants
    ///
    /// Every module that the map of a tenant and its grants disagree about, by tenant. A page may hold
    /// fewer tenants than asked for, even none: `next_cursor` says whether there is more to look at.
    #[oai(path = "/legacy/consistency", method = "get", operation_id = "list_legacy_differences")]
    async fn list_legacy_differences(
        &self,
        caller: Caller<needs::LegacyRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<DifferencesView>>> {
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let (page, settings) = self.0.legacy_consistency(&caller.actor, after, limit).await?;
        Ok(Json(Page::of(page, |found| DifferencesView::of(found, &settings))?))
    }

    /// Export legacy maps
    ///
    /// The maps of all tenants that have one, in the old shape, up to 1,000 at once: as JSON, or as
    /// CSV where `Accept` says so. Each page can be imported as it is.
    #[oai(path = "/legacy/export", method = "get", operation_id = "export_legacy")]
    async fn export_legacy(
        &self,
        caller: Caller<needs::LegacyRead>,
        format: LegacyFormat,
        /// From the `Link` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<LegacyPage> {
        let after = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let LegacyExport { maps, next } = self.0.export_legacy(&caller.actor, after).await?;
        let bytes = match format {
            LegacyFormat::Json => serde_json::to_vec(&serde_json::json!({"tenants": maps}))
                .map_err(Error::internal)?,
            LegacyFormat::Csv => table::write(&maps)?,
        };
        let next = next.map(|tenant| Cursor::after(&tenant)).transpose()?;
        let next = next.map(|cursor| format!("/api/v1/admin/legacy/export?cursor={cursor}"));
        Ok(LegacyPage { format, bytes, next })
    }

    /// Read a tenant's legacy map
    #[oai(
        path = "/tenants/:tenant/legacy-modules",
        method = "get",
        operation_id = "get_legacy_modules"
    )]
    async fn get_legacy_modules(
        &self,
        caller: Caller<needs::LegacyRead>,
        /// The tenant.
        tenant: Path<TenantKey>,
    ) -> Answer<Json<MapView>> {
        let enabled_modules = self.0.legacy_modules(&caller.actor, &tenant).await?;
        Ok(Json(MapView { tenant: tenant.0, enabled_modules }))
    }
}

fn tagged(stored: StoredLegacy) -> Tagged<Json<LegacySettingsView>> {
    Tagged::Fresh(ETag::of_revision(stored.revision), Json(stored.into()))
}

/// The settings in a body, or all that can't be read of them.
fn settings(body: LegacySettingsBody) -> Result<LegacySettings> {
    let LegacySettingsBody { dual_write, names } = body;
    let mut faults = Vec::new();
    let dual_write = match dual_write.required("dual_write", &mut faults) {
        Some(true) => DualWrite::On,
        Some(false) | None => DualWrite::Off,
    };
    let mut read = BTreeMap::new();
    for (name, module) in names {
        let field = format!("names.{name}");
        let (old, key) = (name.parse::<OldName>(), module.parse::<ModuleKey>());
        if let Err(bad) = &old {
            faults.push(Fault::new(&field, format!("the old name {bad}")));
        }
        if let Err(bad) = &key {
            faults.push(Fault::new(&field, bad.to_string()));
        }
        if let (Ok(old), Ok(key)) = (old, key) {
            read.insert(old, key);
        }
    }
    if faults.is_empty() {
        Ok(LegacySettings { dual_write, names: read })
    } else {
        Err(Error::Invalid { code: "INVALID_VALUE", faults })
    }
}

impl From<StoredLegacy> for LegacySettingsView {
    fn from(stored: StoredLegacy) -> Self {
        // The revision is the tag.
        let StoredLegacy { settings, updated, revision: _ } = stored;
        let LegacySettings { dual_write, names } = settings;
        let (updated_at, updated_by) = updated.unzip();
        Self {
            dual_write: dual_write == DualWrite::On,
            names: names.into_iter().map(|(name, module)| (name.into(), module)).collect(),
            updated_at,
            updated_by,
        }
    }
}

impl From<Imported> for ImportView {
    fn from(imported: Imported) -> Self {
        let Imported { tenants, changes, settings } = imported;
        let grants = changes.iter().map(|change| change.grants.len()).sum::<usize>();
        Self {
            dry_run: false,
            apply: false,
            tenants: tenants as u64,
            changed: changes.len() as u64,
            grants: grants as u64,
            changes: changes
                .into_iter()
                .take(SHOWN)
                .map(|change| ChangeView::of(change, &settings))
                .collect(),
            access: None,
        }
    }
}

impl ChangeView {
    fn of(change: TenantChange, settings: &LegacySettings) -> Self {
        let TenantChange { tenant, before, after, grants } = change;
        let old = |map: &LegacyMap| settings.in_old_names(map);
        let grants = grants.into_iter().map(|(module, is_on)| (module.to_string(), is_on));
        Self { tenant, before: old(&before), after: old(&after), grants: grants.collect() }
    }
}

impl DifferencesView {
    fn of(found: TenantDifferences, settings: &LegacySettings) -> Self {
        let TenantDifferences { tenant, differences } = found;
        let names = settings.by_module();
        let view = |Difference { module, kind, legacy, granted }: Difference| DifferenceView {
            name: names.get(&module).map_or_else(|| module.to_string(), ToString::to_string),
            module,
            kind,
            legacy,
            granted,
        };
        Self { tenant, differences: differences.into_iter().map(view).collect() }
    }
}
