//! Loops over lists and maps: `all`, `exists`, `exists_one`, `filter`, `map`.

use cel::{IdedExpr, common::ast::Expr};

use super::{Checker, Known, Origin};
use crate::domain::conditions::{
    bounds::{LOOP_DEPTH, MAX_LOOPS, MAX_VALUES},
    scope::Variable,
    types::{Record, Type},
};

/// The loops there are.
pub(super) const NAMES: [&str; 5] = ["all", "exists", "exists_one", "filter", "map"];

pub(super) fn is_loop(name: &str) -> bool {
    NAMES.contains(&name) || name == "existsOne"
}

/// A loop around the present place.
pub(super) struct Loop {
    pub variable: String,
    /// What the variable is.
    pub of: Type,
    /// How often the whole loop runs.
    runs: u64,
    /// Its elements are parts of one fact, so all loops over parts of them together go through
    /// that fact once.
    is_of_one_fact: IsOfOneFact,
}

#[derive(PartialEq)]
enum IsOfOneFact {
    Yes,
    No,
}

impl Checker<'_> {
    /// A loop `target.name(variable, …)`.
    pub(super) fn run(&mut self, name: &str, target: &IdedExpr, args: &[IdedExpr]) -> Known {
        let range = self.expr(target);
        let (variable, test, step) = match (name, args) {
            ("map", [variable, test, step]) => (variable, Some(test), step),
            (_, [variable, step]) => (variable, None, step),
            _ => {
                self.fault(format!(
                    "{name}() takes a name and an expression, such as list.{name}(x, …)"
                ));
                return Known::unclear();
            }
        };
        let of = self.element_of(&range.ty);
        let Some(variable) = self.loop_variable(name, variable) else { return Known::unclear() };
        if self.loops.len() >= MAX_LOOPS {
            self.fault(format!("at most {MAX_LOOPS} loops stand within each other"));
            return Known::unclear();
        }
        let runs = self.times;
        let is_of_one_fact = match range.origin {
            Origin::Path | Origin::Part(_) => IsOfOneFact::Yes,
            Origin::Made => IsOfOneFact::No,
        };
        let times = self.times_within(&range);
        self.loops.push(Loop { variable: variable.clone(), of, runs, is_of_one_fact });
        self.times = times;
        self.depth += LOOP_DEPTH;
        // What a loop does itself: its condition, the step, and the names of each round.
        self.spend(4);
        if let Some(test) = test {
            let test = self.expr(test);
            self.asks(name, &test);
        }
        let body = self.expr(step);
        let result = match name {
            "map" => self.mapped(variable, body, range.size),
            "filter" => {
                self.asks(name, &body);
                let ty = match range.ty.bare() {
                    Type::List(of) => Type::List(of.clone()),
                    Type::Map(_) => Type::list(Type::String),
                    _ => Type::list(Type::Dynamic),
                };
                Known { ty, size: range.size, origin: Origin::Made }
            }
            _ => {
                self.asks(name, &body);
                Known::made(Type::Bool)
            }
        };
        self.loops.pop();
        self.times = runs;
        self.depth -= LOOP_DEPTH;
        result
    }

    /// What a loop asks of each element must be true or false.
    fn asks(&mut self, name: &str, test: &Known) {
        if !test.ty.is_bool() {
            self.fault(format!("{name}() asks what is true or false, not {}", test.ty));
        }
    }

    /// What `map` collects must not add up to more than what it goes through.
    fn mapped(&mut self, variable: String, body: Known, size: u64) -> Known {
        let is_small = body.ty.is_fixed_size() || matches!(body.ty.bare(), Type::String);
        if !is_small && body.origin != Origin::Part(variable) {
            self.fault(
                "map() collects numbers, strings, or parts of each element, such as \
                 list.map(x, x.id)",
            );
        }
        Known { ty: Type::list(body.ty), size, origin: Origin::Made }
    }

    /// How often the body of a loop over `range` is evaluated at most.
    fn times_within(&self, range: &Known) -> u64 {
        let every = self.times.saturating_mul(range.size);
        let Origin::Part(of) = &range.origin else { return every };
        let around = self
            .loops
            .iter()
            .find(|it| it.variable == *of && it.is_of_one_fact == IsOfOneFact::Yes);
        around.map_or(every, |it| every.min(it.runs.saturating_mul(MAX_VALUES as u64)))
    }

    fn element_of(&mut self, range: &Type) -> Type {
        match range.bare() {
            Type::List(of) => (**of).clone(),
            Type::Map(_) => Type::String,
            Type::Dynamic => Type::Dynamic,
            Type::Record(Record::Features) => {
                self.fault("a loop can't go through all features; name each one");
                Type::Dynamic
            }
            other => {
                self.fault(format!("a loop goes through a list or map, not {other}"));
                Type::Dynamic
            }
        }
    }

    fn loop_variable(&mut self, name: &str, variable: &IdedExpr) -> Option<String> {
        let Expr::Ident(variable) = &variable.expr else {
            self.fault(format!("{name}() begins with a name of its own, such as {name}(x, …)"));
            return None;
        };
        let is_taken = Variable::named(variable).is_some()
            || self.loops.iter().any(|it| it.variable == *variable);
        if is_taken || variable.starts_with('.') {
            self.fault(format!("{name}() can't call its variable “{variable}”; that is taken"));
            return None;
        }
        Some(variable.clone())
    }
}
