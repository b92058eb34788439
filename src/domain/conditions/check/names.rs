//! Variables, their members, and features.

use cel::{
    IdedExpr,
    common::ast::{Expr, SelectExpr},
};

use super::{Checker, Known, Origin, size_of};
use crate::domain::{
    conditions::{
        bounds::{MAX_PERMISSIONS, MAX_ROLES},
        scope::{Variable, member, members},
        types::{Record, Type},
    },
    keys::nearest,
};

impl Checker<'_> {
    pub(super) fn variable(&mut self, name: &str) -> Known {
        if let Some(found) = self.loops.iter().rev().find(|it| it.variable == name) {
            let ty = found.of.clone();
            return Known { size: size_of(&ty), ty, origin: Origin::Part(name.to_owned()) };
        }
        let Some(variable) = Variable::named(name) else {
            let known = Variable::ALL.into_iter().map(Variable::as_str);
            self.fault(unknown("variable", name, "", known));
            return Known::unclear();
        };
        self.needs.variables.insert(variable);
        let ty = variable.of_type();
        let size = match variable {
            Variable::Permissions => MAX_PERMISSIONS as u64,
            Variable::Tenant
            | Variable::User
            | Variable::Features
            | Variable::Context
            | Variable::Resource
            | Variable::Now => size_of(&ty),
        };
        Known { ty, size, origin: Origin::Path }
    }

    pub(super) fn select(&mut self, select: &SelectExpr) -> Known {
        let operand = self.expr(&select.operand);
        self.member(operand, &select.field)
    }

    /// The member `name` of `operand`, however it was written.
    pub(super) fn member(&mut self, operand: Known, name: &str) -> Known {
        let Known { ty, origin, .. } = operand;
        let found = match ty.bare() {
            Type::Record(Record::Features) => self.feature(name),
            Type::Record(record) => self.known_member(*record, name),
            Type::Map(of) => (**of).clone(),
            Type::Dynamic => Type::Dynamic,
            other => {
                self.fault(format!("{other} has no members, so no `{name}`"));
                Type::Dynamic
            }
        };
        let size = match (&found, name) {
            (Type::List(_), "roles") => MAX_ROLES as u64,
            _ => size_of(&found),
        };
        Known { ty: found, size, origin }
    }

    fn known_member(&mut self, record: Record, name: &str) -> Type {
        member(record, name).unwrap_or_else(|| {
            let on_limits = ["limit", "unlimited", "used", "remaining"];
            let what = Type::Record(record);
            if matches!(record, Record::Feature(_)) && on_limits.contains(&name) {
                self.fault(format!(
                    "only a feature of type limit has `{name}`; this one has `enabled` and `value`"
                ));
            } else {
                let known = members(record).iter().copied();
                self.fault(unknown("member", name, &format!(" of {what}"), known));
            }
            Type::Dynamic
        })
    }

    fn feature(&mut self, key: &str) -> Type {
        if let Some((key, shape)) = self.scope.feature(key) {
            self.needs.features.insert(key.clone());
            return Type::Record(Record::Feature(shape));
        }
        let short: String = key.chars().take(128).collect();
        let near = nearest(&short, self.scope.feature_keys());
        let near = match near.as_slice() {
            [] => "define it, or name another".to_owned(),
            [first, ..] if first.contains(['.', ':', '-']) => {
                format!("write such keys as features[\"{first}\"]")
            }
            several => format!("did you mean “{}”?", several.join("”, “")),
        };
        self.fault(format!("there is no feature “{short}” in this catalog; {near}"));
        Type::Dynamic
    }

    /// `has(a.b)`: whether the caller's data has a member.
    pub(super) fn has(&mut self, args: &[IdedExpr]) -> Known {
        let [IdedExpr { expr: Expr::Select(select), .. }] = args else {
            self.fault("has() takes one member, such as has(resource.store)");
            return Known::made(Type::Bool);
        };
        let operand = self.expr(&select.operand);
        match operand.ty.bare() {
            Type::Dynamic | Type::Map(_) => {}
            Type::Record(_) => {
                let is_known = self.faults.len();
                let found = self.member(operand, &select.field);
                if self.faults.len() == is_known {
                    let way_out = match found.ty {
                        Type::Nullable(_) => "compare it with null",
                        _ => "leave has() out",
                    };
                    self.fault(format!("`{}` is always there; {way_out}", select.field));
                }
            }
            other => self.fault(format!("{other} has no members, so has() can't find one")),
        }
        Known::made(Type::Bool)
    }
}

/// Says that there is no such name, and which there are.
pub(super) fn unknown<'k>(
    what: &str,
    name: &str,
    of: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> String {
    let short: String = name.chars().take(128).collect();
    let near = nearest(&short, known.clone());
    let hint = if near.is_empty() {
        format!("there are {}", known.collect::<Vec<_>>().join(", "))
    } else {
        format!("did you mean “{}”?", near.join("”, “"))
    };
    format!("there is no {what} “{short}”{of}; {hint}")
}
