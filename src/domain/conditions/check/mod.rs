//! Types and cost of an expression, from its tree as it is written: loops and `has` are still the
//! calls that they look like.
//!
//! Invariants: what has a fault is dynamic from there on, so that one fault isn't told twice; the
//! steps are an upper bound of the nodes that an evaluation visits.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue},
};

use super::{
    bounds::{MAX_DEPTH, MAX_STEPS, MAX_VALUES},
    scan::too_deep,
    scope::{Needs, Scope},
    types::Type,
};

mod calls;
mod loops;
mod names;
mod operators;

use loops::Loop;
use names::unknown;

/// Length of the names and keys that the service knows: the unit of a text's size.
const NAME_LENGTH: u64 = 200;

/// What is known about a part of an expression.
pub(super) struct Known {
    ty: Type,
    /// How many elements a loop over it goes through at most, or how many names long a text is.
    size: u64,
    origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, PartialEq)]
enum Origin {
    /// Variables and members alone: its elements are parts of one fact.
    Path,
    /// The same, beginning with the variable of a loop.
    Part(String),
    /// Anything else.
    Made,
}

impl Known {
    fn made(ty: Type) -> Self {
        let size = size_of(&ty);
        Self { ty, size, origin: Origin::Made }
    }

    /// What a fault leaves behind.
    fn unclear() -> Self {
        Self::made(Type::Dynamic)
    }
}

fn size_of(ty: &Type) -> u64 {
    let size = match ty.bare() {
        Type::Dynamic | Type::Map(_) | Type::List(_) => MAX_VALUES,
        Type::Null
        | Type::Bool
        | Type::Int
        | Type::Double
        | Type::String
        | Type::Timestamp
        | Type::Duration
        | Type::Record(_) => 1,
        Type::Nullable(_) => 1,
    };
    size as u64
}

/// Checks an expression: what it reads, or its faults.
pub(super) fn check(expr: &IdedExpr, scope: &Scope) -> Result<Needs, Vec<String>> {
    let mut checker = Checker {
        scope,
        needs: Needs::default(),
        faults: Vec::new(),
        loops: Vec::new(),
        times: 1,
        steps: 0,
        depth: 0,
    };
    let result = checker.expr(expr);
    if !matches!(result.ty, Type::Bool | Type::Dynamic) {
        checker.fault(format!(
            "it gives {}; a condition must be true or false, such as `… == …`",
            result.ty
        ));
    }
    if checker.steps > MAX_STEPS {
        checker.fault(format!(
            "it could run too long: {} steps where {MAX_STEPS} are allowed; go through one list \
             alone, look things up with `in`, or split it into several conditions",
            checker.steps
        ));
    }
    if checker.faults.is_empty() { Ok(checker.needs) } else { Err(checker.faults) }
}

struct Checker<'s> {
    scope: &'s Scope,
    needs: Needs,
    faults: Vec<String>,
    /// The loops around the present place.
    loops: Vec<Loop>,
    /// How often the present place is evaluated at most.
    times: u64,
    steps: u64,
    depth: usize,
}

impl Checker<'_> {
    fn fault(&mut self, message: impl Into<String>) {
        let message = message.into();
        if !self.faults.contains(&message) {
            self.faults.push(message);
        }
    }

    /// Counts `weight` steps at the present place.
    fn spend(&mut self, weight: u64) {
        self.steps = self.steps.saturating_add(self.times.saturating_mul(weight));
    }

    fn expr(&mut self, expr: &IdedExpr) -> Known {
        self.spend(1);
        if self.depth >= MAX_DEPTH {
            self.fault(too_deep());
            return Known::unclear();
        }
        self.depth += 1;
        let known = self.node(&expr.expr);
        self.depth -= 1;
        known
    }

    fn node(&mut self, expr: &Expr) -> Known {
        match expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut of: Option<Type> = None;
                for element in &list.elements {
                    let element = self.element(element);
                    of = Some(match of {
                        None => element,
                        Some(before) => before.join(&element).unwrap_or(Type::Dynamic),
                    });
                }
                let ty = Type::list(of.unwrap_or(Type::Dynamic));
                Known { ty, size: list.elements.len() as u64, origin: Origin::Made }
            }
            Expr::Map(map) => self.map_literal(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(_) => {
                self.fault("`Name{…}` makes an object of a type, and there are no such types");
                Known::unclear()
            }
            Expr::Comprehension(_) | Expr::Unspecified => {
                self.fault("it can't be read");
                Known::unclear()
            }
        }
    }

    /// An element of a list or map that is written out, which copies it.
    fn element(&mut self, expr: &IdedExpr) -> Type {
        let known = self.expr(expr);
        self.spend(known.size / 10);
        if matches!(known.ty.bare(), Type::Record(_)) {
            self.fault(format!("{} can't stand in a list or map; take a member", known.ty));
            return Type::Dynamic;
        }
        known.ty
    }

    fn map_literal<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> Known {
        let mut of: Option<Type> = None;
        let mut keys = Vec::new();
        for entry in entries {
            let EntryExpr::MapEntry(entry) = entry else { continue };
            match &entry.key.expr {
                Expr::Literal(LiteralValue::String(key)) => {
                    let key = key.inner().to_owned();
                    if keys.contains(&key) {
                        self.fault(format!("the map has the key “{key}” twice"));
                    }
                    keys.push(key);
                }
                _ => self.fault("the keys of a map are written out as strings, such as {\"a\": 1}"),
            }
            let value = self.element(&entry.value);
            of = Some(match of {
                None => value,
                Some(before) => before.join(&value).unwrap_or(Type::Dynamic),
            });
        }
        let ty = Type::Map(Box::new(of.unwrap_or(Type::Dynamic)));
        Known { ty, size: keys.len() as u64, origin: Origin::Made }
    }

    fn literal(&mut self, literal: &LiteralValue) -> Known {
        let ty = match literal {
            LiteralValue::Boolean(_) => Type::Bool,
            LiteralValue::Int(_) => Type::Int,
            LiteralValue::Double(_) => Type::Double,
            LiteralValue::String(_) => Type::String,
            LiteralValue::Null => Type::Null,
            LiteralValue::UInt(_) => {
                self.fault("numbers are written without a `u`");
                Type::Dynamic
            }
            LiteralValue::Bytes(_) => {
                self.fault("there are no bytes; write a plain string");
                Type::Dynamic
            }
        };
        let length = match literal {
            LiteralValue::String(text) => text.inner().len(),
            LiteralValue::Boolean(_)
            | LiteralValue::Int(_)
            | LiteralValue::Double(_)
            | LiteralValue::UInt(_)
            | LiteralValue::Bytes(_)
            | LiteralValue::Null => 0,
        };
        Known { ty, size: 1 + length as u64 / NAME_LENGTH, origin: Origin::Made }
    }

    fn call(&mut self, call: &CallExpr) -> Known {
        match (call.func_name.as_str(), &call.target) {
            (name, None) if name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') => {
                self.operator(name, &call.args)
            }
            ("has", None) => self.has(&call.args),
            (name, Some(target)) if loops::is_loop(name) => self.run(name, target, &call.args),
            (name, target) => self.function(name, target.as_deref(), &call.args),
        }
    }
}
