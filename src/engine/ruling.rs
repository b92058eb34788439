//! An outcome before it is put into words.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    domain::{
        checks::{Code, Reason, RefusingCondition, Source},
        keys::{FeatureKey, ModuleKey},
    },
    engine::verdict::Verdict,
};

/// An outcome before it is put into words.
#[derive(Debug, Clone)]
pub(super) struct Ruling {
    pub reason: Reason,
    pub source: Source,
    /// On a refusal.
    pub code: Option<Code>,
    pub fields: BTreeMap<&'static str, Vec<String>>,
    /// What the condition that refuses says.
    pub condition: Option<Box<Refusing>>,
}

/// A condition that refuses.
#[derive(Debug, Clone)]
pub(super) struct Refusing {
    pub words: RefusingCondition,
    /// For people.
    pub message: String,
    /// For the application.
    pub data: Option<Value>,
}

impl Ruling {
    pub fn allow(reason: Reason, source: Source) -> Self {
        Self { reason, source, code: None, fields: BTreeMap::new(), condition: None }
    }

    pub fn refuse(reason: Reason, source: Source, code: Code) -> Self {
        Self { code: Some(code), ..Self::allow(reason, source) }
    }

    /// The same, about these keys.
    pub fn about(mut self, kind: &'static str, keys: Vec<String>) -> Self {
        self.fields.insert(kind, keys);
        self
    }

    pub fn is_allow(&self) -> bool {
        self.code.is_none()
    }
}

/// A missing seat has a code of its own, whatever it is missing for.
fn code(reason: Reason, otherwise: Code) -> Code {
    if reason == Reason::SeatRequired { Code::SeatRequired } else { otherwise }
}

pub(super) fn refused_module(key: &ModuleKey, verdict: Verdict) -> Ruling {
    let code = code(verdict.reason, Code::ModuleNotEntitled);
    Ruling::refuse(verdict.reason, verdict.source, code).about("module", vec![key.to_string()])
}

/// The first gives the reason, `fields` names all, and the modules that some were refused for.
pub(super) fn refused_features(refused: &[(&FeatureKey, Verdict)]) -> Ruling {
    let (reason, source) = refused
        .first()
        .map_or((Reason::PlanLimit, Source::Nothing), |(_, v)| (v.reason, v.source.clone()));
    let code = code(reason, Code::FeatureNotEntitled);
    let features = refused.iter().map(|(key, _)| key.to_string()).collect();
    let ruling = Ruling::refuse(reason, source, code).about("feature", features);
    let mut modules: Vec<String> = Vec::new();
    for module in refused.iter().filter_map(|(_, v)| v.module.as_ref()) {
        if !modules.iter().any(|m| m == module.as_str()) {
            modules.push(module.to_string());
        }
    }
    if modules.is_empty() { ruling } else { ruling.about("module", modules) }
}

pub(super) fn denied(kind: &'static str, keys: Vec<String>) -> Ruling {
    Ruling::refuse(Reason::PermissionDenied, Source::Nothing, Code::PermissionDenied)
        .about(kind, keys)
}
