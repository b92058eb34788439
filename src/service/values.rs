//! Whether a value fits what it is given to: the same for grants and overrides (SPEC 2).

use serde_json::Value;

use crate::{
    domain::catalog::{Access, Catalog, FeatureKind, FeatureValue, Target, value_for},
    error::Fault,
    service::questions::unknown,
};

/// Whether something is given or withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It is opened, with a value where its kind has one.
    Given,
    /// It is closed.
    Withheld,
}

/// The value in its type; faults are added to `faults`, by field.
pub(super) fn fitting(
    catalog: &Catalog,
    key: &str,
    direction: Direction,
    value: Option<&Value>,
    faults: &mut Vec<Fault>,
) -> Option<FeatureValue> {
    let Some(target) = catalog.target(key) else {
        let known = catalog.modules.keys().map(|k| k.as_str());
        let known = known.chain(catalog.features.keys().map(|k| k.as_str()));
        faults.push(unknown("key", "module or feature", key, known));
        return None;
    };
    let feature = match &target {
        Target::Module(module) => {
            let word = match catalog.modules.get(module).map(|module| module.access) {
                Some(Access::AlwaysOn) => Some("always on"),
                Some(Access::RbacOnly) => Some("decided by permissions alone"),
                Some(Access::Entitled) | None => None,
            };
            if let Some(word) = word {
                let message = format!("“{key}” is {word}; it can't be given or withheld");
                faults.push(Fault::new("key", message));
            }
            if value.is_some() {
                faults.push(Fault::new("value", "a module has no value; leave it out"));
            }
            return None;
        }
        Target::Feature(feature) => catalog.features.get(feature)?,
    };
    let wants_value = match (&feature.kind, direction) {
        (_, Direction::Withheld) | (FeatureKind::Boolean, Direction::Given) => false,
        (FeatureKind::Limit(_) | FeatureKind::Config, Direction::Given) => true,
    };
    let message = match (value, wants_value) {
        (None, false) => return None,
        (None, true) => format!("“{key}” needs the value that is given"),
        (Some(_), false) => {
            "only a limit or config feature that is given has a value; leave it out".into()
        }
        (Some(value), true) => match value_for(feature, value) {
            Ok(value) => return Some(value),
            Err(message) => message,
        },
    };
    faults.push(Fault::new("value", message));
    None
}
