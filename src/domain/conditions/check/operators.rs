//! Operators and what they take.

use cel::{
    IdedExpr,
    common::ast::{Expr, LiteralValue, operators as op},
};

use super::{Checker, Known, Origin, size_of};
use crate::domain::conditions::{
    bounds::MAX_VALUES,
    types::{Record, Type},
};

/// How many names a loop may put together each time, so that no loop builds up much.
const MAX_NAMES_IN_LOOPS: u64 = 8;

impl Checker<'_> {
    pub(super) fn operator(&mut self, name: &str, args: &[IdedExpr]) -> Known {
        match (name, args) {
            (op::CONDITIONAL, [condition, yes, no]) => self.choice(condition, yes, no),
            (op::LOGICAL_AND, [a, b]) => self.logic("&&", &[a, b]),
            (op::LOGICAL_OR, [a, b]) => self.logic("||", &[a, b]),
            (op::LOGICAL_NOT, [a]) => self.logic("!", &[a]),
            (op::NEGATE, [a]) => self.negation(a),
            (op::INDEX, [of, index]) => self.index(of, index),
            (op::IN, [a, b]) => self.contained(a, b),
            (op::EQUALS, [a, b]) => self.equality("==", a, b),
            (op::NOT_EQUALS, [a, b]) => self.equality("!=", a, b),
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => {
                self.order(name, a, b)
            }
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) => {
                self.arithmetic(name, a, b)
            }
            _ => {
                self.fault(format!("there is no operator `{}`", sign(name)));
                Known::unclear()
            }
        }
    }

    fn logic(&mut self, sign: &str, args: &[&IdedExpr]) -> Known {
        for arg in args {
            let known = self.expr(arg);
            if !known.ty.is_bool() {
                self.fault(format!("`{sign}` takes what is true or false, not {}", known.ty));
            }
        }
        Known::made(Type::Bool)
    }

    fn choice(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Known {
        let condition = self.expr(condition);
        if !condition.ty.is_bool() {
            self.fault(format!("before `?` stands what is true or false, not {}", condition.ty));
        }
        let (yes, no) = (self.expr(yes), self.expr(no));
        let size = yes.size.max(no.size);
        let ty = yes.ty.join(&no.ty).unwrap_or_else(|| {
            self.fault(format!("`? :` gives {} or {}; both must be alike", yes.ty, no.ty));
            Type::Dynamic
        });
        let origin = if yes.origin == no.origin { yes.origin } else { Origin::Made };
        Known { ty, size, origin }
    }

    fn negation(&mut self, arg: &IdedExpr) -> Known {
        let known = self.expr(arg);
        match known.ty.bare() {
            ty @ (Type::Int | Type::Double | Type::Dynamic) => Known::made(ty.clone()),
            other => {
                self.fault(format!("`-` takes a number, not {other}"));
                Known::unclear()
            }
        }
    }

    fn index(&mut self, of: &IdedExpr, index: &IdedExpr) -> Known {
        let of = self.expr(of);
        if let Type::Record(record) = of.ty.bare() {
            self.spend(1);
            let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
                self.fault(match record {
                    Record::Features => {
                        "a feature is named by its key, such as features[\"branches\"]".to_owned()
                    }
                    Record::Tenant | Record::User | Record::Context | Record::Feature(_) => {
                        format!("a member of {} is named, such as [\"id\"]", of.ty)
                    }
                });
                return Known::unclear();
            };
            return self.member(of, name.inner());
        }
        let index = self.expr(index);
        let fits = match of.ty.bare() {
            Type::List(_) => matches!(index.ty.bare(), Type::Int | Type::Dynamic),
            Type::Map(_) => matches!(index.ty.bare(), Type::String | Type::Dynamic),
            Type::Dynamic => {
                matches!(index.ty.bare(), Type::Int | Type::String | Type::Dynamic)
            }
            _ => false,
        };
        if !fits {
            self.fault(format!(
                "{} can't be looked up by {}; a list takes an int, a map a string",
                of.ty, index.ty
            ));
            return Known::unclear();
        }
        let ty = match of.ty.bare() {
            Type::List(element) | Type::Map(element) => (**element).clone(),
            _ => Type::Dynamic,
        };
        Known { size: size_of(&ty), ty, origin: of.origin }
    }

    fn contained(&mut self, a: &IdedExpr, b: &IdedExpr) -> Known {
        let (a, b) = (self.expr(a), self.expr(b));
        self.spend(1 + b.size / 20);
        let message = match b.ty.bare() {
            Type::List(of) if !of.can_equal(&a.ty) => {
                Some(format!("`in` never finds {} in a list of other things", a.ty))
            }
            Type::Map(_) if !a.ty.can_equal(&Type::String) => {
                Some(format!("`in` looks for a key of the map, which is no {}", a.ty))
            }
            Type::Dynamic | Type::List(_) | Type::Map(_) => None,
            Type::String => Some("`in` takes a list or map; say text.contains(\"…\")".to_owned()),
            Type::Record(Record::Features) => {
                Some("features are known; ask features.branches.enabled and the like".to_owned())
            }
            other => Some(format!("`in` takes a list or map on its right, not {other}")),
        };
        if let Some(message) = message {
            self.fault(message);
        }
        Known::made(Type::Bool)
    }

    fn equality(&mut self, sign: &str, a: &IdedExpr, b: &IdedExpr) -> Known {
        let (a, b) = (self.expr(a), self.expr(b));
        self.spend(a.size.min(b.size) / 50);
        if !a.ty.can_equal(&b.ty) {
            self.fault(match (&a.ty, &b.ty) {
                (it, Type::Null) | (Type::Null, it) => {
                    format!("{it} is never null; leave `{sign} null` out")
                }
                (it @ Type::Record(_), _) | (_, it @ Type::Record(_)) => {
                    format!("`{sign}` compares members, not {it}; name one")
                }
                (a, b) if matches!(a.bare(), Type::Record(_)) || a == b => {
                    format!("`{sign}` compares members, not {a}; name one")
                }
                (a, b) => format!("`{sign}` compares {a} with {b}, which are never equal"),
            });
        }
        Known::made(Type::Bool)
    }

    fn order(&mut self, name: &str, a: &IdedExpr, b: &IdedExpr) -> Known {
        let (a, b) = (self.expr(a), self.expr(b));
        if !a.ty.can_order(&b.ty) {
            self.fault(format!(
                "`{}` compares two numbers, strings, timestamps or durations, not {} with {}",
                sign(name),
                a.ty,
                b.ty
            ));
        }
        Known::made(Type::Bool)
    }

    fn arithmetic(&mut self, name: &str, a: &IdedExpr, b: &IdedExpr) -> Known {
        let (a, b) = (self.expr(a), self.expr(b));
        let sign = sign(name);
        let Some(ty) = result(sign, a.ty.bare(), b.ty.bare()) else {
            self.fault(match (a.ty.bare(), b.ty.bare()) {
                (Type::Int, Type::Double) | (Type::Double, Type::Int) if sign != "%" => {
                    format!(
                        "`{sign}` takes two ints or two doubles; write double(…) around the int"
                    )
                }
                (a, b) => format!("`{sign}` can't take {a} and {b}"),
            });
            return Known::unclear();
        };
        let grows = sign == "+" && !(a.ty.is_fixed_size() || b.ty.is_fixed_size());
        let size = match (&ty, grows) {
            (Type::String, true) => self.length(&a).saturating_add(self.length(&b)),
            (Type::List(_) | Type::Dynamic, true) => a.size.saturating_add(b.size),
            (Type::Dynamic, false) => MAX_VALUES as u64,
            _ => size_of(&ty),
        };
        let is_short = matches!(ty, Type::String) && size <= MAX_NAMES_IN_LOOPS;
        if grows && !is_short && !self.loops.is_empty() {
            self.fault(
                "`+` in a loop adds numbers, and short texts or parts of the element; write \
                 int(…), double(…) or string(…) around one of them",
            );
        }
        self.spend(size / 10);
        Known { ty, size, origin: Origin::Made }
    }
}

impl Checker<'_> {
    /// How many names long a text is. Parts of the elements of a loop are together no longer than
    /// what the loop goes through, so each counts as one.
    pub(super) fn length(&self, text: &Known) -> u64 {
        match (&text.origin, self.loops.last()) {
            (Origin::Part(of), Some(innermost)) if *of == innermost.variable => 1,
            (Origin::Part(_) | Origin::Path | Origin::Made, _) => text.size,
        }
    }
}

/// What `a sign b` gives, if anything.
fn result(sign: &str, a: &Type, b: &Type) -> Option<Type> {
    use Type::{Double, Duration, Dynamic, Int, List, String, Timestamp};
    Some(match (sign, a, b) {
        ("%", Int | Dynamic, Int | Dynamic) => Int,
        ("%", _, _) => return None,
        (_, Dynamic, Dynamic) => Dynamic,
        (_, Int, Int | Dynamic) | (_, Dynamic, Int) => Int,
        (_, Double, Double | Dynamic) | (_, Dynamic, Double) => Double,
        ("+", String, String | Dynamic) | ("+", Dynamic, String) => String,
        ("+", List(a), List(b)) => Type::list(a.join(b).unwrap_or(Dynamic)),
        ("+", List(_), Dynamic) | ("+", Dynamic, List(_)) => Type::list(Dynamic),
        ("+" | "-", Timestamp, Duration) | ("+", Duration, Timestamp) => Timestamp,
        ("-", Timestamp, Timestamp) => Duration,
        ("+" | "-", Duration, Duration) => Duration,
        ("+" | "-", Timestamp | Duration, Dynamic) | ("+" | "-", Dynamic, Timestamp | Duration) => {
            Dynamic
        }
        _ => return None,
    })
}

/// An operator as it is written.
fn sign(name: &str) -> &str {
    name.trim_matches(|c| matches!(c, '_' | '@'))
}
