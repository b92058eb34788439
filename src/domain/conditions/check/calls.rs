//! Functions and what they take.

use cel::{
    Context, IdedExpr, Value,
    common::ast::{CallExpr, Expr, LiteralValue},
};

use super::{Checker, Known, Origin, loops, unknown};
use crate::domain::conditions::{evaluate, types::Type};

/// What a function takes at one place.
#[derive(Clone, Copy)]
enum Takes {
    Text,
    /// Strings, lists and maps.
    Sized,
    Timestamp,
    /// Timestamps and durations.
    Time,
    /// What `int()` takes.
    Int,
    /// What `double()` takes.
    Double,
    /// What `string()` takes.
    Plain,
    /// What `bool()` takes.
    Bool,
    /// What `timestamp()` takes.
    Moment,
    /// What `duration()` takes.
    Length,
}

impl Takes {
    fn fits(self, ty: &Type) -> bool {
        let ty = ty.bare();
        ty.is_dynamic()
            || match self {
                Self::Text => matches!(ty, Type::String),
                Self::Sized => matches!(ty, Type::String | Type::List(_) | Type::Map(_)),
                Self::Timestamp => matches!(ty, Type::Timestamp),
                Self::Time => matches!(ty, Type::Timestamp | Type::Duration),
                Self::Int => {
                    matches!(ty, Type::Int | Type::Double | Type::String | Type::Timestamp)
                }
                Self::Double => matches!(ty, Type::Int | Type::Double | Type::String),
                Self::Plain => matches!(
                    ty,
                    Type::Bool
                        | Type::Int
                        | Type::Double
                        | Type::String
                        | Type::Timestamp
                        | Type::Duration
                ),
                Self::Bool => matches!(ty, Type::Bool | Type::String),
                Self::Moment => matches!(ty, Type::Timestamp | Type::String | Type::Int),
                Self::Length => matches!(ty, Type::Duration | Type::String),
            }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Sized => "a string, list or map",
            Self::Timestamp => "a timestamp",
            Self::Time => "a timestamp or duration",
            Self::Int => "a number, string or timestamp",
            Self::Double => "a number or string",
            Self::Plain => "a bool, number, string, timestamp or duration",
            Self::Bool => "a bool or string",
            Self::Moment => "a string such as \"2026-01-31T12:00:00Z\", or seconds since 1970",
            Self::Length => "a string such as \"36h\" or \"1h30m\"",
        }
    }
}

/// `name(argument)`.
fn global(name: &str) -> Option<(Takes, Type)> {
    Some(match name {
        "size" => (Takes::Sized, Type::Int),
        "int" => (Takes::Int, Type::Int),
        "double" => (Takes::Double, Type::Double),
        "string" => (Takes::Plain, Type::String),
        "bool" => (Takes::Bool, Type::Bool),
        "timestamp" => (Takes::Moment, Type::Timestamp),
        "duration" => (Takes::Length, Type::Duration),
        _ => return None,
    })
}

/// `target.name(argument)`: what it is called on, and whether it takes a string.
fn method(name: &str) -> Option<(Takes, Argument, Type)> {
    Some(match name {
        "contains" | "startsWith" | "endsWith" => (Takes::Text, Argument::Text, Type::Bool),
        "size" => (Takes::Sized, Argument::None, Type::Int),
        "getFullYear" | "getMonth" | "getDayOfYear" | "getDayOfMonth" | "getDate"
        | "getDayOfWeek" => (Takes::Timestamp, Argument::Zone, Type::Int),
        "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds" => {
            (Takes::Time, Argument::Zone, Type::Int)
        }
        _ => return None,
    })
}

/// What a method takes between its brackets.
#[derive(Clone, Copy, PartialEq)]
enum Argument {
    None,
    Text,
    /// A time zone, if anything.
    Zone,
}

const GLOBALS: [&str; 8] =
    ["size", "int", "double", "string", "bool", "timestamp", "duration", "has"];
const METHODS: [&str; 14] = [
    "contains",
    "startsWith",
    "endsWith",
    "size",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

impl Checker<'_> {
    pub(super) fn function(
        &mut self,
        name: &str,
        target: Option<&IdedExpr>,
        args: &[IdedExpr],
    ) -> Known {
        self.spend(2);
        match target {
            None => self.global_call(name, args).unwrap_or_else(Known::unclear),
            Some(target) => {
                self.method_call(name, target, args).map_or_else(Known::unclear, Known::made)
            }
        }
    }

    fn global_call(&mut self, name: &str, args: &[IdedExpr]) -> Option<Known> {
        let known: Vec<Known> = args.iter().map(|arg| self.expr(arg)).collect();
        let Some((takes, gives)) = global(name) else {
            if method(name).is_some() || loops::is_loop(name) {
                self.fault(format!("{name}() stands behind a dot, such as text.{name}(…)"));
            } else if name == "matches" {
                self.fault("there is no matches(); use startsWith, endsWith, contains or ==");
            } else {
                self.fault(unknown("function", name, "", GLOBALS.into_iter().chain(METHODS)));
            }
            return None;
        };
        let ([arg], [expr]) = (known.as_slice(), args) else {
            self.fault(format!("{name}() takes one thing, {}", takes.words()));
            return Some(Known::made(gives));
        };
        self.spend(arg.size / 50);
        if !takes.fits(&arg.ty) {
            self.fault(format!("{name}() takes {}, not {}", takes.words(), arg.ty));
        } else if let Expr::Literal(literal) = &expr.expr {
            self.conversion(name, takes, literal, expr);
        }
        // A text stays as long as it is.
        let size = if matches!(gives, Type::String) { self.length(arg) } else { 1 };
        Some(Known { ty: gives, size, origin: Origin::Made })
    }

    /// A conversion of what is written out either always works or never.
    fn conversion(&mut self, name: &str, takes: Takes, literal: &LiteralValue, expr: &IdedExpr) {
        if let LiteralValue::String(text) = literal
            && name == "duration"
            && !is_duration(text.inner())
        {
            self.fault(format!("duration() takes {}", takes.words()));
            return;
        }
        let call = CallExpr { func_name: name.into(), target: None, args: vec![expr.clone()] };
        self.constant(name, call, takes.words());
    }

    /// Notes a fault if a call on what is written out fails.
    fn constant(&mut self, name: &str, call: CallExpr, takes: &str) {
        let call = IdedExpr { id: 0, expr: Expr::Call(call) };
        let context = Context::with_env(evaluate::environment());
        if Value::resolve(&call, &context).is_err() {
            self.fault(format!("{name}() can't read this; it takes {takes}"));
        }
    }

    fn method_call(&mut self, name: &str, target: &IdedExpr, args: &[IdedExpr]) -> Option<Type> {
        let on = self.expr(target);
        let known: Vec<Known> = args.iter().map(|arg| self.expr(arg)).collect();
        let Some((takes, argument, gives)) = method(name) else {
            if global(name).is_some() || name == "has" {
                self.fault(format!("{name}() stands alone, such as {name}(…)"));
            } else if name == "matches" {
                self.fault("there is no matches(); use startsWith, endsWith, contains or ==");
            } else {
                self.fault(unknown("function", name, "", METHODS.into_iter().chain(loops::NAMES)));
            }
            return None;
        };
        // A text can be as long as the whole of a resource.
        self.spend(8 + on.size / 50);
        if !takes.fits(&on.ty) {
            self.fault(format!("{name}() is asked of {}, not of {}", takes.words(), on.ty));
        }
        match (argument, known.as_slice()) {
            (Argument::Text, [arg]) if Takes::Text.fits(&arg.ty) => {}
            (Argument::None | Argument::Zone, []) => {}
            (Argument::Zone, [arg]) if Takes::Text.fits(&arg.ty) => {
                self.zone(name, on.ty.bare(), args);
            }
            (Argument::Text, _) => self.fault(format!("{name}() takes one string")),
            (Argument::None, _) => self.fault(format!("{name}() takes nothing")),
            (Argument::Zone, _) => self.fault(format!(
                "{name}() takes nothing, or a time zone such as \"Asia/Riyadh\" or \"+03:00\""
            )),
        }
        Some(gives)
    }

    fn zone(&mut self, name: &str, on: &Type, args: &[IdedExpr]) {
        if matches!(on, Type::Duration) {
            self.fault(format!("{name}() of a duration takes no time zone"));
            return;
        }
        let [zone @ IdedExpr { expr: Expr::Literal(_), .. }] = args else { return };
        let epoch = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(0.into())) };
        let epoch = CallExpr { func_name: "timestamp".into(), target: None, args: vec![epoch] };
        let call = CallExpr {
            func_name: name.into(),
            target: Some(Box::new(IdedExpr { id: 0, expr: Expr::Call(epoch) })),
            args: vec![zone.clone()],
        };
        self.constant(name, call, "a time zone such as \"Asia/Riyadh\" or \"+03:00\"");
    }
}

/// Numbers with units, and nothing behind them: the evaluator would leave that away.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    let is_there = !rest.is_empty();
    while !rest.is_empty() {
        let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if behind.len() == rest.len() {
            return false;
        }
        let units = ["ms", "us", "ns", "h", "m", "s"];
        let Some(next) = units.into_iter().find_map(|unit| behind.strip_prefix(unit)) else {
            return false;
        };
        rest = next;
    }
    is_there
}
