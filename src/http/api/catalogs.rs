//! The catalog as a document: read, checked, applied, versioned.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Tag,
    dry_run::{AccessDiffView, wanted},
};
use crate::{
    domain::{
        catalog::{CatalogDiff, Format, diff, to_json},
        keys::PlanKey,
        time::Timestamp,
    },
    http::{
        auth::{Caller, needs},
        etag::{ETag, IfMatch, IfNoneMatch},
        failure::Answer,
        paging::{Cursor, Limit, Page},
        payload::{CatalogText, Json},
        replies::Tagged,
        words::Word,
    },
    service::{
        Service,
        catalogs::{CatalogChange, CatalogDocument, PlanStep},
    },
    store::{catalogs::StoredCatalog, snapshots::read_catalog},
};

/// The operations.
pub struct CatalogsApi(pub(super) Service);

/// A version of the catalog.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Catalog")]
pub struct CatalogView {
    /// Counts from 1.
    version: u32,
    /// When it was applied.
    applied_at: Timestamp,
    /// By whom.
    applied_by: String,
    /// What it was written in: `yaml` or `json`.
    format: Word,
    /// The document as it was sent, comments and all.
    text: String,
    /// The document with defaults written out.
    document: Value,
}

/// A version of the catalog in a list.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CatalogVersion")]
pub struct CatalogVersionView {
    /// Counts from 1.
    version: u32,
    /// When it was applied.
    applied_at: Timestamp,
    /// By whom.
    applied_by: String,
    /// SHA-256 of its canonical form, in hex.
    digest: String,
}

/// What applying a document did, or would do.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CatalogChange")]
pub struct CatalogChangeView {
    /// The version afterwards.
    version: u32,
    /// False where the document says what the catalog says already.
    changed: bool,
    /// True where nothing was applied, because only a preview was asked for.
    dry_run: bool,
    /// What is different in the document.
    diff: DiffView,
    /// Plans that get a new version. Subscriptions keep theirs until they are moved.
    plans: Vec<PlanStepView>,
    /// Who would gain and lose what; null where it was applied.
    access: Option<AccessDiffView>,
}

/// What is different between two documents, by section.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "CatalogDiff")]
#[expect(missing_docs, reason = "the names are those of the sections")]
pub struct DiffView {
    pub modules: SectionView,
    pub bundles: SectionView,
    pub features: SectionView,
    pub plans: SectionView,
    pub roles: SectionView,
    pub guards: SectionView,
    /// Routes are named by `METHODS /path`.
    pub routes: SectionView,
    /// Settings that stand outside the sections.
    pub settings: Vec<FieldView>,
}

/// What is different in one section.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "SectionDiff")]
pub struct SectionView {
    /// New keys.
    added: Vec<String>,
    /// Keys that are gone.
    removed: Vec<String>,
    /// Keys that stay, with other content.
    changed: Vec<EntryView>,
}

/// What is different in one entry.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "EntryDiff")]
pub struct EntryView {
    /// Which entry.
    key: String,
    /// Its changed fields.
    fields: Vec<FieldView>,
}

/// One changed field.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "FieldDiff")]
pub struct FieldView {
    /// Its path in the entry.
    field: String,
    /// What it was; null where it was not said.
    before: Option<Value>,
    /// What it is; null where it is not said.
    after: Option<Value>,
}

/// A plan that gets a new version.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "PlanStep")]
pub struct PlanStepView {
    /// Which plan.
    plan: PlanKey,
    /// Its newest version so far; null for a new plan.
    from: Option<u32>,
    /// Its new version.
    to: u32,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Catalog")]
impl CatalogsApi {
    /// Read the catalog
    #[oai(path = "/catalog", method = "get", operation_id = "get_catalog")]
    async fn get_catalog(
        &self,
        caller: Caller<needs::CatalogRead>,
        /// The tag of the version that the caller has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<IfNoneMatch>>,
    ) -> Answer<Tagged<Json<CatalogView>>> {
        let stored = self.0.catalog(&caller.actor).await?;
        let etag = ETag::of_revision(stored.version.into());
        Ok(Tagged::unless_known(known.0.as_ref(), etag, || CatalogView::of(stored).map(Json))?)
    }

    /// Apply a catalog
    ///
    /// The whole document is checked first, and every fault is named with its place. Applying the
    /// same document again changes nothing. Removing what is still in use is refused. Send the
    /// `ETag` of the version that you edited in `If-Match`, and a change that came between is not
    /// lost.
    #[oai(path = "/catalog", method = "put", operation_id = "apply_catalog")]
    async fn apply_catalog(
        &self,
        caller: Caller<needs::CatalogWrite>,
        /// Only say what would change, and who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
        /// The tag of the version that was edited.
        #[oai(name = "If-Match")]
        expected: Header<Option<IfMatch>>,
        body: CatalogText,
    ) -> Answer<Json<CatalogChangeView>> {
        let document = CatalogDocument { text: body.text, format: body.format };
        let (actor, expected) = (&caller.actor, IfMatch::expected(expected.0)?);
        if let Some(wanted) = wanted(dry_run.0, limit.0, cursor.0)? {
            let (change, access) =
                self.0.preview_catalog(actor, document, expected, wanted).await?;
            return Ok(Json(CatalogChangeView::of(change, Some(AccessDiffView::of(access)?))));
        }
        let change = self.0.apply_catalog(actor, document, expected).await?;
        Ok(Json(CatalogChangeView::of(change, None)))
    }

    /// List the catalog's versions
    ///
    /// Newest first.
    #[oai(path = "/catalog/versions", method = "get", operation_id = "list_catalog_versions")]
    async fn list_catalog_versions(
        &self,
        caller: Caller<needs::CatalogRead>,
        /// How many at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<Page<CatalogVersionView>>> {
        let before = cursor.0.map(|cursor| cursor.key()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        let page = self.0.catalog_versions(&caller.actor, before, limit).await?;
        Ok(Json(Page::of(page, CatalogVersionView::from)?))
    }

    /// Read one version of the catalog
    #[oai(
        path = "/catalog/versions/:version",
        method = "get",
        operation_id = "get_catalog_version"
    )]
    async fn get_catalog_version(
        &self,
        caller: Caller<needs::CatalogRead>,
        /// Counts from 1.
        version: Path<u32>,
    ) -> Answer<Json<CatalogView>> {
        let stored = self.0.catalog_version(&caller.actor, version.0).await?;
        Ok(Json(CatalogView::of(stored)?))
    }

    /// Apply an older version again
    ///
    /// The catalog becomes what it was then, as a new version.
    #[oai(
        path = "/catalog/versions/:version/apply",
        method = "post",
        operation_id = "reapply_catalog_version"
    )]
    async fn reapply_catalog_version(
        &self,
        caller: Caller<needs::CatalogWrite>,
        /// Counts from 1.
        version: Path<u32>,
        /// Only say what would change, and who would gain and lose what; nothing is written.
        dry_run: Query<Option<bool>>,
        /// How many changes of a dry run at most.
        limit: Query<Option<Limit>>,
        /// The `next_cursor` of the page of the dry run before.
        cursor: Query<Option<Cursor>>,
    ) -> Answer<Json<CatalogChangeView>> {
        let (actor, version) = (&caller.actor, version.0);
        if let Some(wanted) = wanted(dry_run.0, limit.0, cursor.0)? {
            let (change, access) = self.0.preview_reapplied_catalog(actor, version, wanted).await?;
            return Ok(Json(CatalogChangeView::of(change, Some(AccessDiffView::of(access)?))));
        }
        let change = self.0.reapply_catalog(actor, version).await?;
        Ok(Json(CatalogChangeView::of(change, None)))
    }
}

impl CatalogView {
    fn of(stored: StoredCatalog) -> Result<Self, crate::error::Error> {
        let document = to_json(&read_catalog(&stored)?);
        let StoredCatalog { version, document: text, format, digest: _, applied_at, applied_by } =
            stored;
        let format = Word::of(match format {
            Format::Yaml => "yaml",
            Format::Json => "json",
        });
        Ok(Self { version, applied_at, applied_by, format, text, document })
    }
}

impl From<StoredCatalog> for CatalogVersionView {
    fn from(stored: StoredCatalog) -> Self {
        let StoredCatalog { version, document: _, format: _, digest, applied_at, applied_by } =
            stored;
        Self { version, applied_at, applied_by, digest: hex::encode(digest) }
    }
}

impl CatalogChangeView {
    /// With who would gain and lose what, where it was not applied.
    fn of(change: CatalogChange, access: Option<AccessDiffView>) -> Self {
        let CatalogChange { version, changed, diff, plans } = change;
        let step = |PlanStep { plan, from, to }| PlanStepView { plan, from, to };
        Self {
            version,
            changed,
            dry_run: access.is_some(),
            diff: diff.into(),
            plans: plans.into_iter().map(step).collect(),
            access,
        }
    }
}

impl From<CatalogDiff> for DiffView {
    fn from(found: CatalogDiff) -> Self {
        let CatalogDiff { modules, bundles, features, plans, roles, guards, routes, settings } =
            found;
        Self {
            modules: modules.into(),
            bundles: bundles.into(),
            features: features.into(),
            plans: plans.into(),
            roles: roles.into(),
            guards: guards.into(),
            routes: routes.into(),
            settings: settings.into_iter().map(FieldView::from).collect(),
        }
    }
}

impl From<diff::SectionDiff> for SectionView {
    fn from(diff::SectionDiff { added, removed, changed }: diff::SectionDiff) -> Self {
        let entry = |diff::EntryChange { key, fields }| EntryView {
            key,
            fields: fields.into_iter().map(FieldView::from).collect(),
        };
        Self { added, removed, changed: changed.into_iter().map(entry).collect() }
    }
}

impl From<diff::FieldChange> for FieldView {
    fn from(diff::FieldChange { field, before, after }: diff::FieldChange) -> Self {
        let said = |value: Value| (!value.is_null()).then_some(value);
        Self { field, before: said(before), after: said(after) }
    }
}
