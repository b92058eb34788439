//! The old way to switch modules (SPEC 9): for each tenant a map `enabled_modules` of names to
//! booleans, which an older application still reads.
//!
//! Invariants: an old name can be a cell of a spreadsheet and a member of a JSON object; one old name
//! stands for one module, and one module has one old name.
//!
//! Refuses to know: where the map is kept, and which tenants there are.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        catalog::{Access, Catalog},
        keys::ModuleKey,
        time::Timestamp,
    },
    error::Fault,
};

/// How many old names there may be.
pub const MAX_NAMES: usize = 1_000;

/// The map of one tenant. A module that it doesn't name is off.
pub type LegacyMap = BTreeMap<ModuleKey, bool>;

/// What an older application calls a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OldName(String);

impl OldName {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OldName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Whatever begins so is no formula to a spreadsheet.
        let begins = text.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let goes_on = text.chars().all(|c| c.is_alphanumeric() || " _.:-/".contains(c));
        if begins && goes_on && !text.ends_with(' ') && text.chars().count() <= 128 {
            return Ok(Self(text.to_owned()));
        }
        Err("must be 1 to 128 letters, digits or any of `_ . : - /` and spaces, starting with a \
             letter, a digit or `_`")
    }
}

impl TryFrom<String> for OldName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<OldName> for String {
    fn from(name: OldName) -> Self {
        name.0
    }
}

impl fmt::Display for OldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether changes of a tenant's modules are written into its map too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DualWrite {
    /// The map stays as it was imported.
    #[default]
    Off,
    /// In the same transaction.
    On,
}

/// How the maps are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LegacySettings {
    /// Whether they follow changes.
    pub dual_write: DualWrite,
    /// Old names of modules, where they are others than the keys.
    pub names: BTreeMap<OldName, ModuleKey>,
}

impl LegacySettings {
    /// The module that an old application means: by its old name or its key.
    #[must_use]
    pub fn module<'a>(&'a self, catalog: &'a Catalog, name: &str) -> Option<&'a ModuleKey> {
        let renamed = self.names.iter().find(|(old, _)| old.as_str() == name);
        let key = || catalog.modules.get_key_value(name).map(|(key, _)| key);
        renamed.map(|(_, module)| module).or_else(key)
    }

    /// The old name of each module that has one.
    #[must_use]
    pub fn by_module(&self) -> BTreeMap<&ModuleKey, &OldName> {
        self.names.iter().map(|(name, module)| (module, name)).collect()
    }

    /// A map in the old shape.
    #[must_use]
    pub fn in_old_names(&self, map: &LegacyMap) -> BTreeMap<String, bool> {
        let names = self.by_module();
        let name = |module: &ModuleKey| {
            names.get(module).map_or_else(|| module.to_string(), |name| name.to_string())
        };
        map.iter().map(|(module, is_on)| (name(module), *is_on)).collect()
    }

    /// Everything that is unsound in it, apart from modules that the catalog doesn't hold.
    #[must_use]
    pub fn faults(&self, catalog: &Catalog) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.names.len() > MAX_NAMES {
            let message = format!("must hold at most {MAX_NAMES} names, not {}", self.names.len());
            faults.push(Fault::new("names", message));
        }
        let mut first = BTreeMap::new();
        for (name, module) in &self.names {
            let field = format!("names.{name}");
            if let Some(other) = first.insert(module, name) {
                let message = format!("“{module}” is called “{other}” already");
                faults.push(Fault::new(field, message));
            } else if catalog.modules.contains_key(name.as_str())
                && name.as_str() != module.as_str()
            {
                let message = format!("“{name}” is the key of another module");
                faults.push(Fault::new(field, message));
            }
        }
        faults
    }
}

/// The settings as they are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLegacy {
    /// What they say.
    pub settings: LegacySettings,
    /// When and by whom they were last changed.
    pub updated: Option<(Timestamp, String)>,
    /// The version of the row, for `ETag`.
    pub revision: u64,
}

/// In which way the map of a tenant and its grants disagree about a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The map has it on, and no grant is there.
    OnlyLegacy,
    /// A grant gives it, and the map doesn't name it.
    OnlyGrant,
    /// Both speak about it, and say the opposite.
    ValueDiffers,
}

/// A module that the map of a tenant and its grants disagree about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which one.
    pub module: ModuleKey,
    /// In which way.
    pub kind: DifferenceKind,
    /// What the map says.
    pub legacy: Option<bool>,
    /// What the grant says; a module that needs none is on.
    pub granted: Option<bool>,
}

/// Where a tenant's map and its module grants disagree. Off and not named are the same.
#[must_use]
pub fn differences(catalog: &Catalog, map: &LegacyMap, granted: &LegacyMap) -> Vec<Difference> {
    let is_free = |module: &ModuleKey| {
        catalog.modules.get(module).is_some_and(|module| match module.access {
            Access::Entitled => false,
            Access::AlwaysOn | Access::RbacOnly => true,
        })
    };
    let mut modules: Vec<&ModuleKey> = map.keys().chain(granted.keys()).collect();
    modules.sort_unstable();
    modules.dedup();
    let mut found = Vec::new();
    for module in modules {
        let legacy = map.get(module).copied();
        let granted = if is_free(module) { Some(true) } else { granted.get(module).copied() };
        let kind = match (legacy, granted) {
            (Some(true), None) => DifferenceKind::OnlyLegacy,
            (None, Some(true)) => DifferenceKind::OnlyGrant,
            (Some(legacy), Some(granted)) if legacy != granted => DifferenceKind::ValueDiffers,
            (Some(_) | None, Some(_) | None) => continue,
        };
        found.push(Difference { module: module.clone(), kind, legacy, granted });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_is_harmless_in_a_spreadsheet() {
        for good in ["crm", "CRM Module", "_x", "9", "sales/crm", "größe"] {
            assert!(good.parse::<OldName>().is_ok(), "{good}");
        }
        for bad in ["", "=1", "-x", "+x", "@x", " x", "x ", "a,b", "a;b", "a\tb", "a\"b", "a\nb"] {
            assert!(bad.parse::<OldName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn off_and_not_named_are_the_same() {
        let catalog = Catalog::default();
        let map = |entries: &[(&str, bool)]| -> LegacyMap {
            entries.iter().map(|(key, is_on)| (key.parse().unwrap(), *is_on)).collect()
        };
        let kinds = |legacy: &[(&str, bool)], granted: &[(&str, bool)]| -> Vec<DifferenceKind> {
            differences(&catalog, &map(legacy), &map(granted)).iter().map(|d| d.kind).collect()
        };
        assert_eq!(kinds(&[("a", false)], &[]), []);
        assert_eq!(kinds(&[], &[("a", false)]), []);
        assert_eq!(kinds(&[("a", true)], &[("a", true)]), []);
        assert_eq!(kinds(&[("a", true)], &[]), [DifferenceKind::OnlyLegacy]);
        assert_eq!(kinds(&[], &[("a", true)]), [DifferenceKind::OnlyGrant]);
        assert_eq!(kinds(&[("a", true)], &[("a", false)]), [DifferenceKind::ValueDiffers]);
        assert_eq!(kinds(&[("a", false)], &[("a", true)]), [DifferenceKind::ValueDiffers]);
    }
}
