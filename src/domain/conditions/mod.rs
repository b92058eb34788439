//! Conditions of guards: expressions in CEL over tenant, user, permissions, features, context,
//! resource and the time.
//!
//! ```text
//! text → scan → parser → check (types, cost) → Expression → evaluate(facts) → true | false | Err
//! ```
//!
//! Invariants: an [`Expression`] that was made by [`Expression::parse`] names only what exists,
//! gives true or false wherever it doesn't touch the caller's own data, and ends within a bounded
//! number of steps. Whatever goes wrong while it is evaluated is an `Err`, never a panic, and
//! never true.
//!
//! Refuses to know: which guard asks, and what a refusal looks like.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use cel::IdedExpr;
use serde::{Serialize, Serializer};

use evaluate::{Trees, Unread};

mod bounds;
mod check;
mod evaluate;
mod facts;
mod scan;
mod scope;
mod types;

#[cfg(test)]
mod tests;

pub use bounds::{
    MAX_PERMISSIONS, MAX_RESOURCE_BYTES, MAX_ROLES, MAX_TEXT, MAX_VALUE_DEPTH, MAX_VALUES,
    resource_fault,
};
pub use facts::{ConditionFacts, FeatureFact, LimitFact, TenantFact, UserFact};
pub use scope::{Needs, Scope, Variable};

/// An expression that is true or false about facts. Equal to another with the same text.
#[derive(Clone)]
pub struct Expression(Arc<Inner>);

struct Inner {
    text: String,
    scope: Arc<Scope>,
    /// Filled when it is first asked for, where it was checked before.
    compiled: OnceLock<Compiled>,
}

struct Compiled {
    needs: Needs,
    /// Or why there is none.
    tree: Result<IdedExpr, String>,
}

impl Expression {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// All that is wrong with it, each as a sentence with the way out.
    pub fn parse(text: &str, scope: &Scope) -> Result<Self, Vec<String>> {
        let compiled = compile(text, scope).map_err(|unusable| match unusable {
            Unusable::Faults(faults) => faults,
            Unusable::Busy => vec![BUSY.to_owned()],
        })?;
        Ok(Self::of(text, Arc::default(), OnceLock::from(compiled)))
    }

    /// An expression that was accepted once, read when it is first asked for. If it can't be used
    /// any more, it never holds.
    #[must_use]
    pub fn stored(text: &str, scope: &Arc<Scope>) -> Self {
        Self::of(text, Arc::clone(scope), OnceLock::new())
    }

    fn of(text: &str, scope: Arc<Scope>, compiled: OnceLock<Compiled>) -> Self {
        Self(Arc::new(Inner { text: text.to_owned(), scope, compiled }))
    }

    fn compiled(&self) -> &Compiled {
        let Inner { text, scope, compiled } = &*self.0;
        if let Some(compiled) = compiled.get() {
            return compiled;
        }
        match compile(text, scope) {
            Ok(fresh) => compiled.get_or_init(|| fresh),
            Err(Unusable::Faults(faults)) => {
                compiled.get_or_init(|| Compiled::never(faults.join("; ")))
            }
            Err(Unusable::Busy) => &NOT_NOW,
        }
    }

    /// Whether it is true about `facts`.
    ///
    /// # Errors
    /// Why it can't be said: a member that isn't there, a type that doesn't fit, a number that is
    /// too large. Whoever asks refuses then.
    pub fn holds(&self, facts: &ConditionFacts<'_>) -> Result<bool, String> {
        let Compiled { needs, tree } = self.compiled();
        match tree {
            Ok(tree) => evaluate::evaluate(tree, &facts.context(needs)?),
            Err(reason) => Err(reason.clone()),
        }
    }

    /// What it reads.
    #[must_use]
    pub fn needs(&self) -> &Needs {
        &self.compiled().needs
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Why it never holds, if it can't be used.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.compiled().tree.as_ref().err().map(String::as_str)
    }
}

/// What an expression is until there is a thread to read it: closed.
static NOT_NOW: LazyLock<Compiled> = LazyLock::new(|| Compiled::never(BUSY.to_owned()));

const BUSY: &str = "the service is too busy to read it; try again";

impl Compiled {
    fn never(reason: String) -> Self {
        Self { needs: Needs::default(), tree: Err(reason) }
    }
}

/// Why an expression can't be used.
enum Unusable {
    Faults(Vec<String>),
    Busy,
}

fn compile(text: &str, scope: &Scope) -> Result<Compiled, Unusable> {
    let one = |message| Unusable::Faults(vec![message]);
    scan::scan(text).map_err(one)?;
    let Trees { written, expanded } = evaluate::parse(text).map_err(|unread| match unread {
        Unread::Text(message) => one(message),
        Unread::Busy => Unusable::Busy,
    })?;
    let needs = check::check(&written, scope).map_err(Unusable::Faults)?;
    Ok(Compiled { needs, tree: Ok(expanded.map_err(one)?) })
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.text, f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}
