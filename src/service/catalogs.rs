//! The catalog: checked as a whole, compared, versioned, applied in one transaction.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use serde_json::{Value, json};

use super::{
    Service,
    access::{AccessPage, AccessWanted, Basis, between_worlds},
    actor::Actor,
    expect_revision,
    paging::Page,
    permissions::Permission,
    provisioning,
};
use crate::{
    domain::{
        audit::Event,
        catalog::{Catalog, CatalogDiff, Format, diff, parse, resolve, to_json},
        keys::PlanKey,
        plans::PlanVersion,
        time::Timestamp,
    },
    engine::World,
    error::{Error, Fault, Result},
    store::{
        ReadTx, WriteTx, activation_codes,
        catalogs::{self, StoredCatalog, Use},
        legacy, rollout,
        snapshots::read_catalog,
    },
};

/// A document that wants to become the catalog.
#[derive(Debug, Clone)]
pub struct CatalogDocument {
    /// As it was sent.
    pub text: String,
    /// What it is written in.
    pub format: Format,
}

/// What applying a document did, or would do.
#[derive(Debug, Clone)]
pub struct CatalogChange {
    /// The version afterwards.
    pub version: u32,
    /// False where the document says what the catalog says already.
    pub changed: bool,
    /// What is different in the document.
    pub diff: CatalogDiff,
    /// Plans that get a new version. Subscriptions keep theirs until they are moved.
    pub plans: Vec<PlanStep>,
}

/// A plan that gets a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// Which plan.
    pub plan: PlanKey,
    /// Its newest version so far.
    pub from: Option<u32>,
    /// Its new version.
    pub to: u32,
}

impl Service {
    /// Makes a document the catalog. Every fault is named at once, and nothing is half-applied.
    pub async fn apply_catalog(
        &self,
        actor: &Actor,
        document: CatalogDocument,
        expected: Option<u64>,
    ) -> Result<CatalogChange> {
        actor.reach(Permission::CatalogWrite)?;
        let by = actor.principal.id.clone();
        let candidate = Candidate::read(document).await?;
        self.change(actor, move |tx| candidate.apply(tx, &by, expected)).await
    }

    /// What applying a document would do, and a page of what that would change of anybody's access.
    /// Changes nothing, and leaves the writer alone.
    pub async fn preview_catalog(
        &self,
        actor: &Actor,
        document: CatalogDocument,
        expected: Option<u64>,
        wanted: AccessWanted,
    ) -> Result<(CatalogChange, AccessPage)> {
        actor.reach(Permission::CatalogWrite)?;
        let candidate = Candidate::read(document).await?;
        let (now, memory) = (self.clock.now(), self.memory.clone());
        self.store
            .read_long(move |tx| {
                let evaluation = candidate.expected(tx, now, expected)?;
                let before = provisioning::world_in(tx, &memory)?;
                let basis = candidate.basis(&before);
                wanted.expect(&basis)?;
                if !evaluation.change.changed {
                    return Ok((evaluation.change, AccessPage::default()));
                }
                let after = candidate.world(tx, &before, &evaluation)?;
                let worlds = [&*before, &after];
                let page = between_worlds(tx, &memory.shelf, worlds, now, &wanted, basis)?;
                Ok((evaluation.change, page))
            })
            .await
    }

    /// Applies an older version again: the catalog becomes what it was, as a new version.
    pub async fn reapply_catalog(&self, actor: &Actor, version: u32) -> Result<CatalogChange> {
        let stored = self.catalog_version(actor, version).await?;
        let document = CatalogDocument { text: stored.document, format: stored.format };
        self.apply_catalog(actor, document, None).await
    }

    /// What applying an older version again would do, as [`Service::preview_catalog`] tells it.
    pub async fn preview_reapplied_catalog(
        &self,
        actor: &Actor,
        version: u32,
        wanted: AccessWanted,
    ) -> Result<(CatalogChange, AccessPage)> {
        let stored = self.catalog_version(actor, version).await?;
        let document = CatalogDocument { text: stored.document, format: stored.format };
        self.preview_catalog(actor, document, None, wanted).await
    }

    /// The newest catalog.
    pub async fn catalog(&self, actor: &Actor) -> Result<StoredCatalog> {
        actor.reach(Permission::CatalogRead)?;
        let newest = self.store.read(catalogs::newest).await?;
        newest.ok_or_else(|| Error::NotFound { kind: "catalog", key: "newest".into() })
    }

    /// One version of the catalog.
    pub async fn catalog_version(&self, actor: &Actor, version: u32) -> Result<StoredCatalog> {
        actor.reach(Permission::CatalogRead)?;
        self.store.read(|tx| catalogs::get(tx, version)).await
    }

    /// A page of versions, newest first.
    pub async fn catalog_versions(
        &self,
        actor: &Actor,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<StoredCatalog, u32>> {
        actor.reach(Permission::CatalogRead)?;
        let rows = self.store.read_long(move |tx| catalogs::list(tx, before, limit + 1)).await?;
        Ok(Page::of(rows, limit, |stored| stored.version))
    }
}

/// A document that was read and is sound in itself.
struct Candidate {
    document: CatalogDocument,
    catalog: Catalog,
    digest: [u8; 32],
}

/// A candidate held against what is there.
struct Evaluation {
    change: CatalogChange,
    plans: Vec<PlanVersion>,
    before: u32,
}

impl Candidate {
    /// Parses on a thread that may take its time: a document can have a mebibyte.
    async fn read(document: CatalogDocument) -> Result<Self> {
        let work = tokio::task::spawn_blocking(move || {
            let catalog = parse(&document.text, document.format)
                .map_err(|faults| Error::Invalid { code: "CATALOG_INVALID", faults })?;
            let digest = Sha256::digest(to_json(&catalog).to_string()).into();
            Ok(Self { document, catalog, digest })
        });
        work.await.map_err(Error::internal)?
    }

    fn evaluate(&self, tx: &ReadTx<'_>, now: Timestamp) -> Result<Evaluation> {
        let stored = catalogs::newest(tx)?;
        let old = stored.as_ref().map(read_catalog).transpose()?.unwrap_or_default();
        let before = stored.as_ref().map_or(0, |s| s.version);
        if stored.is_some_and(|stored| stored.digest == self.digest) {
            let diff = diff(&old, &self.catalog);
            let change = CatalogChange { version: before, changed: false, diff, plans: Vec::new() };
            return Ok(Evaluation { change, plans: Vec::new(), before });
        }
        refuse_what_is_in_use(tx, &old, &self.catalog, now)?;
        let (mut plans, mut steps) = (Vec::new(), Vec::new());
        for (key, content) in resolve(&self.catalog) {
            let newest = catalogs::newest_plan(tx, &key)?;
            if newest.as_ref().is_some_and(|plan| plan.content == content) {
                continue;
            }
            let from = newest.map(|plan| plan.version);
            let to = from.unwrap_or_default() + 1;
            let name = self.catalog.plans.get(&key).map(|p| p.name.clone()).unwrap_or_default();
            steps.push(PlanStep { plan: key.clone(), from, to });
            plans.push(PlanVersion { plan: key, version: to, name, content });
        }
        let diff = diff(&old, &self.catalog);
        let change = CatalogChange { version: before + 1, changed: true, diff, plans: steps };
        Ok(Evaluation { change, plans, before })
    }

    /// The same, where what is there is what was expected.
    fn expected(
        &self,
        tx: &ReadTx<'_>,
        now: Timestamp,
        expected: Option<u64>,
    ) -> Result<Evaluation> {
        let evaluation = self.evaluate(tx, now)?;
        expect_revision(expected, u64::from(evaluation.before))?;
        Ok(evaluation)
    }

    /// The document, and what it would be applied to.
    fn basis(&self, before: &World) -> Basis {
        let version = before.catalog_version.to_be_bytes();
        let rollout = before.rollout.revision.to_be_bytes();
        Basis::of(&[b"catalog", &self.digest, &version, &rollout])
    }

    /// The world once the candidate is applied.
    fn world(&self, tx: &ReadTx<'_>, before: &World, evaluation: &Evaluation) -> Result<World> {
        let mut plans = Vec::new();
        for key in self.catalog.plans.keys() {
            let new = evaluation.plans.iter().find(|plan| plan.plan == *key).cloned();
            let newest = match new {
                Some(plan) => Some(plan),
                None => catalogs::newest_plan(tx, key)?,
            };
            plans.push(Arc::new(newest.ok_or_else(|| Error::internal("a plan has no version"))?));
        }
        let (catalog, version) = (Arc::new(self.catalog.clone()), evaluation.change.version);
        let world = World::new(catalog, version, plans, before.gating, before.version);
        Ok(world.with_rollout(before.rollout.clone()))
    }

    fn apply(
        self,
        tx: &WriteTx<'_>,
        by: &str,
        expected: Option<u64>,
    ) -> Result<(CatalogChange, Vec<Event>)> {
        let Evaluation { change, plans, before } = self.expected(tx.read(), tx.now(), expected)?;
        if !change.changed {
            return Ok((change, Vec::new()));
        }
        catalogs::insert(
            tx,
            &StoredCatalog {
                version: change.version,
                document: self.document.text,
                format: self.document.format,
                digest: self.digest,
                applied_at: tx.now(),
                applied_by: by.to_owned(),
            },
        )?;
        for plan in &plans {
            catalogs::insert_plan(tx, plan, change.version)?;
        }
        tx.touch_world();
        let diff = serde_json::to_value(&change.diff).map_err(Error::internal)?;
        let event = Event {
            name: "catalog.applied",
            tenant: None,
            subject: "catalog".into(),
            before: if before == 0 { Value::Null } else { json!({"version": before}) },
            after: json!({
                "version": change.version,
                "digest": hex::encode(self.digest),
                "diff": diff,
            }),
            reason: None,
        };
        Ok((change, vec![event]))
    }
}

/// Removing something that is still used, or giving a used feature another type or a used plan
/// another kind or audience, is refused, naming what uses it.
fn refuse_what_is_in_use(
    tx: &ReadTx<'_>,
    old: &Catalog,
    new: &Catalog,
    now: Timestamp,
) -> Result<()> {
    let pinned = catalogs::pinned(tx, now)?;
    let mut faults = Vec::new();
    for key in old.plans.keys().filter(|key| !new.plans.contains_key(*key)) {
        let users = pinned.iter().filter(|(plan, _)| plan.plan == *key);
        faults.extend(users.map(|(plan, by)| in_use("plans", key.as_str(), Some(plan), by)));
    }
    // A row is a base plan or an add-on for as long as it lives, so its plan stays one too.
    for (key, plan) in &old.plans {
        let Some(other) = new.plans.get(key) else { continue };
        let users = pinned.iter().filter(|(pinned, _)| pinned.plan == *key);
        for (pinned, by) in users {
            let key = key.as_str();
            if other.kind != plan.kind {
                faults.push(in_use("plans", &format!("{key}.kind"), Some(pinned), by));
            }
            if other.audience != plan.audience {
                faults.push(in_use("plans", &format!("{key}.audience"), Some(pinned), by));
            }
        }
    }
    faults.extend(used_by_codes(tx, old, new, now)?);
    let gone = |new_kind: Option<&_>, old_kind: &_| new_kind != Some(old_kind);
    let modules = old.modules.keys().filter(|key| !new.modules.contains_key(*key));
    let features = old.features.iter().filter(|(key, feature)| {
        let kind = |f: &crate::domain::catalog::Feature| std::mem::discriminant(&f.kind);
        gone(new.features.get(*key).map(kind).as_ref(), &kind(feature))
    });
    let left_open = rollout::get(tx)?.settings.unenforced_modules;
    let old_names = legacy::settings(tx)?.settings;
    for key in modules {
        let users = pinned.iter().filter(|(plan, _)| plan.content.modules.contains(key));
        faults.extend(users.map(|(plan, by)| in_use("modules", key.as_str(), Some(plan), by)));
        if left_open.contains(key) {
            let message = "is among the rollout's unenforced_modules; take it out there first";
            faults.push(Fault::new(format!("modules.{key}"), message));
        }
        if old_names.names.values().any(|module| module == key) {
            let message = "has an old name in the legacy settings; take it out there first";
            faults.push(Fault::new(format!("modules.{key}"), message));
        }
        let uses = catalogs::uses_of_key(tx, key.as_str())?;
        faults.extend(uses.iter().map(|by| in_use("modules", key.as_str(), None, by)));
    }
    for (key, _) in features {
        let users = pinned.iter().filter(|(plan, _)| plan.content.features.contains_key(key));
        faults.extend(users.map(|(plan, by)| in_use("features", key.as_str(), Some(plan), by)));
        let uses = catalogs::uses_of_key(tx, key.as_str())?;
        faults.extend(uses.iter().map(|by| in_use("features", key.as_str(), None, by)));
    }
    // Those that are new here: what was there was there when the names were given.
    for (name, module) in &old_names.names {
        let is_new = !old.modules.contains_key(name.as_str());
        if is_new && new.modules.contains_key(name.as_str()) && name.as_str() != module.as_str() {
            let message = format!("is the old name of “{module}” in the legacy settings");
            faults.push(Fault::new(format!("modules.{name}"), message));
        }
    }
    faults.extend(used_by_roles(tx, old, new)?);
    if faults.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "KEY_IN_USE", faults }) }
}

/// A role that somebody holds stays, and is held on the same kind of thing.
fn used_by_roles(tx: &ReadTx<'_>, old: &Catalog, new: &Catalog) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for (key, role) in &old.roles {
        let field = match new.roles.get(key) {
            None => key.to_string(),
            Some(other) if other.context != role.context => format!("{key}.context"),
            Some(_) => continue,
        };
        let uses = catalogs::uses_of_role(tx, key.as_str())?;
        faults.extend(uses.iter().map(|by| in_use("roles", &field, None, by)));
    }
    Ok(faults)
}

/// A code that was handed out must still mean what it meant.
fn used_by_codes(
    tx: &ReadTx<'_>,
    old: &Catalog,
    new: &Catalog,
    now: Timestamp,
) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for (key, plan) in &old.plans {
        let field = match new.plans.get(key) {
            None => format!("plans.{key}"),
            Some(other) if other.kind != plan.kind => format!("plans.{key}.kind"),
            Some(other) if other.audience != plan.audience => format!("plans.{key}.audience"),
            Some(_) => continue,
        };
        let count = activation_codes::count_active(tx, key, now)?;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            let message = format!("is used by {count} activation code{plural}; revoke them first");
            faults.push(Fault::new(field, message));
        }
    }
    Ok(faults)
}

fn in_use(section: &str, key: &str, plan: Option<&PlanVersion>, by: &Use) -> Fault {
    let Use { kind, count, tenant } = by;
    let plural = if *count == 1 { "" } else { "s" };
    let on = plan.map_or(String::new(), |p| format!(" on “{}” version {}", p.plan, p.version));
    let way_out = match (section, plan) {
        ("plans", _) => "move or end them first",
        (_, Some(_)) => "archive it, move them to a plan version without it, then remove it",
        (_, None) => "remove them first",
    };
    let among = match tenant.as_str() {
        "" => String::new(),
        tenant => format!(", “{tenant}” among them"),
    };
    let message = format!("is used by {count} {kind}{plural}{on}{among}; {way_out}");
    Fault::new(format!("{section}.{key}"), message)
}
