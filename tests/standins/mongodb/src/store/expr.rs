//! The aggregation expressions this server knows: what Debezium's pipelines and everyday updates use.
//! Anything else is refused by name, never evaluated to something.

use std::cmp::Ordering;

use bson::{
    RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf,
    raw::{CString, RawDocument},
};

use super::{order, path};
use crate::error::{Code, CommandError, Result};

#[derive(Debug, Clone)]
pub enum Expr {
    Literal(RawBson),
    /// A field of the document, or the document itself when the path is empty (`$$ROOT`).
    Field(path::Path),
    Object(Vec<(CString, Expr)>),
    Array(Vec<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Concat,
    BsonSize,
    Size,
    Slice,
    IfNull,
    Cond,
    Add,
    And,
    Or,
    Not,
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Function {
    /// The operator's name and how many arguments it takes.
    fn parse(name: &str) -> Option<(Self, std::ops::RangeInclusive<usize>)> {
        Some(match name {
            "$concat" => (Self::Concat, 0..=usize::MAX),
            "$bsonSize" => (Self::BsonSize, 1..=1),
            "$size" => (Self::Size, 1..=1),
            "$slice" => (Self::Slice, 2..=3),
            "$ifNull" => (Self::IfNull, 2..=usize::MAX),
            "$cond" => (Self::Cond, 3..=3),
            "$add" => (Self::Add, 0..=usize::MAX),
            "$and" => (Self::And, 0..=usize::MAX),
            "$or" => (Self::Or, 0..=usize::MAX),
            "$not" => (Self::Not, 1..=1),
            "$eq" => (Self::Eq, 2..=2),
            "$ne" => (Self::Ne, 2..=2),
            "$gt" => (Self::Gt, 2..=2),
            "$gte" => (Self::Gte, 2..=2),
            "$lt" => (Self::Lt, 2..=2),
            "$lte" => (Self::Lte, 2..=2),
            _ => return None,
        })
    }
}

impl Expr {
    pub fn parse(value: RawBsonRef<'_>) -> Result<Self> {
        match value {
            RawBsonRef::String(text) if text.starts_with('$') => parse_field(text),
            RawBsonRef::Document(doc) => parse_document(doc),
            RawBsonRef::Array(items) => Ok(Self::Array(
                items
                    .into_iter()
                    .map(|v| Self::parse(v?))
                    .collect::<Result<_>>()?,
            )),
            other => Ok(Self::Literal(other.into())),
        }
    }

    /// The value for one document; `None` is MongoDB's "missing".
    pub fn evaluate(&self, root: &RawDocument) -> Result<Option<RawBson>> {
        Ok(match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Field(path) => field(root, path),
            Self::Object(fields) => {
                let mut built = RawDocumentBuf::new();
                for (name, expr) in fields {
                    if let Some(value) = expr.evaluate(root)? {
                        built.append(name, value);
                    }
                }
                Some(RawBson::Document(built))
            }
            Self::Array(items) => {
                let mut built = RawArrayBuf::new();
                for item in items {
                    built.push(item.evaluate(root)?.unwrap_or(RawBson::Null));
                }
                Some(RawBson::Array(built))
            }
            Self::Call(function, args) => {
                let values = args
                    .iter()
                    .map(|a| a.evaluate(root))
                    .collect::<Result<Vec<_>>>()?;
                call(*function, &values)?
            }
        })
    }

    pub fn is_true(&self, root: &RawDocument) -> Result<bool> {
        Ok(truthy(self.evaluate(root)?.as_ref()))
    }
}

fn parse_field(text: &str) -> Result<Expr> {
    match text.strip_prefix("$$") {
        None => Ok(Expr::Field(path::split(&text[1..]))),
        Some("ROOT" | "CURRENT") => Ok(Expr::Field(Vec::new())),
        Some(variable) => match variable.split_once('.') {
            Some(("ROOT" | "CURRENT", rest)) => Ok(Expr::Field(path::split(rest))),
            _ => Err(CommandError::new(
                Code::FailedToParse,
                format!("Use of undefined variable: {variable}"),
            )),
        },
    }
}

fn parse_document(doc: &RawDocument) -> Result<Expr> {
    let mut fields = Vec::new();
    for element in doc {
        let (key, value) = element?;
        let name = key.as_str();
        if !name.starts_with('$') {
            fields.push((CString::from(key), Expr::parse(value)?));
            continue;
        }
        if doc.iter().count() != 1 {
            return Err(CommandError::new(
                Code::FailedToParse,
                "an object representing an expression must have exactly one field",
            ));
        }
        return parse_call(name, value);
    }
    Ok(Expr::Object(fields))
}

fn parse_call(name: &str, value: RawBsonRef<'_>) -> Result<Expr> {
    if name == "$literal" {
        return Ok(Expr::Literal(value.into()));
    }
    let Some((function, arity)) = Function::parse(name) else {
        return Err(CommandError::new(
            Code::Location40324,
            format!("Unrecognized expression '{name}' (this stand-in knows a subset)"),
        ));
    };
    let args = match value {
        RawBsonRef::Array(items) => items
            .into_iter()
            .map(|v| Expr::parse(v?))
            .collect::<Result<Vec<_>>>()?,
        RawBsonRef::Document(parts) if function == Function::Cond => ["if", "then", "else"]
            .iter()
            .filter_map(|part| parts.get(part).ok().flatten())
            .map(Expr::parse)
            .collect::<Result<Vec<_>>>()?,
        single => vec![Expr::parse(single)?],
    };
    if !arity.contains(&args.len()) {
        return Err(CommandError::new(
            Code::FailedToParse,
            format!("Expression {name} does not take {} arguments", args.len()),
        ));
    }
    Ok(Expr::Call(function, args))
}

fn field(root: &RawDocument, path: &[String]) -> Option<RawBson> {
    let Some((first, rest)) = path.split_first() else {
        return Some(RawBson::Document(root.to_owned()));
    };
    let value = root.get(first).ok().flatten()?;
    in_value(value, rest)
}

/// Through arrays a field path collects: `$a.b` over `[{b: 1}, {b: 2}]` is `[1, 2]`.
fn in_value(value: RawBsonRef<'_>, rest: &[String]) -> Option<RawBson> {
    if rest.is_empty() {
        return Some(value.into());
    }
    match value {
        RawBsonRef::Document(inner) => field(inner, rest),
        RawBsonRef::Array(items) => {
            let found = items
                .into_iter()
                .map_while(std::result::Result::ok)
                .filter_map(|v| in_value(v, rest));
            Some(RawBson::Array(found.collect()))
        }
        _ => None,
    }
}

fn call(function: Function, args: &[Option<RawBson>]) -> Result<Option<RawBson>> {
    use Function as F;
    let arg = |i: usize| args.get(i).and_then(Option::as_ref);
    let value = match function {
        F::Concat => concat(args)?,
        F::BsonSize => bson_size(arg(0))?,
        F::Size => match arg(0) {
            Some(RawBson::Array(items)) => {
                RawBson::Int32(i32::try_from(items.into_iter().count()).unwrap_or(i32::MAX))
            }
            _ => {
                return Err(CommandError::new(
                    Code::TypeMismatch,
                    "The argument to $size must be an array",
                ));
            }
        },
        F::Slice => slice(args)?,
        F::IfNull => {
            return Ok(args
                .iter()
                .flatten()
                .find(|v| !is_nullish(Some(v)))
                .or(arg(args.len() - 1))
                .cloned());
        }
        F::Cond => {
            return Ok(if truthy(arg(0)) {
                arg(1).cloned()
            } else {
                arg(2).cloned()
            });
        }
        F::Add => add(args)?,
        F::And => RawBson::Boolean(args.iter().all(|v| truthy(v.as_ref()))),
        F::Or => RawBson::Boolean(args.iter().any(|v| truthy(v.as_ref()))),
        F::Not => RawBson::Boolean(!truthy(arg(0))),
        F::Eq => RawBson::Boolean(compare(arg(0), arg(1)).is_eq()),
        F::Ne => RawBson::Boolean(compare(arg(0), arg(1)).is_ne()),
        F::Gt => RawBson::Boolean(compare(arg(0), arg(1)).is_gt()),
        F::Gte => RawBson::Boolean(compare(arg(0), arg(1)).is_ge()),
        F::Lt => RawBson::Boolean(compare(arg(0), arg(1)).is_lt()),
        F::Lte => RawBson::Boolean(compare(arg(0), arg(1)).is_le()),
    };
    Ok(Some(value))
}

fn is_nullish(value: Option<&RawBson>) -> bool {
    matches!(value, None | Some(RawBson::Null | RawBson::Undefined))
}

fn truthy(value: Option<&RawBson>) -> bool {
    match value {
        None | Some(RawBson::Null | RawBson::Undefined | RawBson::Boolean(false)) => false,
        Some(RawBson::Int32(0) | RawBson::Int64(0)) => false,
        Some(RawBson::Double(d)) => *d != 0.0,
        Some(_) => true,
    }
}

/// Aggregation comparison crosses types, and missing sorts below null.
fn compare(a: Option<&RawBson>, b: Option<&RawBson>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn concat(args: &[Option<RawBson>]) -> Result<RawBson> {
    let mut joined = String::new();
    for value in args {
        match value {
            Some(RawBson::String(part)) => joined.push_str(part),
            other if is_nullish(other.as_ref()) => return Ok(RawBson::Null),
            _ => {
                return Err(CommandError::new(
                    Code::TypeMismatch,
                    "$concat only supports strings",
                ));
            }
        }
    }
    Ok(RawBson::String(joined))
}

fn bson_size(value: Option<&RawBson>) -> Result<RawBson> {
    match value {
        Some(RawBson::Document(doc)) => Ok(RawBson::Int32(
            i32::try_from(doc.as_bytes().len()).unwrap_or(i32::MAX),
        )),
        other if is_nullish(other) => Ok(RawBson::Null),
        _ => Err(CommandError::new(
            Code::TypeMismatch,
            "$bsonSize requires a document input",
        )),
    }
}

fn slice(args: &[Option<RawBson>]) -> Result<RawBson> {
    let Some(RawBson::Array(items)) = &args[0] else {
        return if is_nullish(args[0].as_ref()) {
            Ok(RawBson::Null)
        } else {
            Err(CommandError::new(
                Code::TypeMismatch,
                "First argument to $slice must be an array",
            ))
        };
    };
    let number = |i: usize| {
        args.get(i)
            .and_then(Option::as_ref)
            .and_then(|v| as_i64(v.as_raw_bson_ref()))
    };
    let wrong = || CommandError::new(Code::TypeMismatch, "$slice takes whole numbers");
    let items: Vec<RawBsonRef<'_>> = items.into_iter().map_while(std::result::Result::ok).collect();
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let (start, count) = match args.len() {
        2 => match number(1).ok_or_else(wrong)? {
            n if n < 0 => ((length + n).max(0), -n),
            n => (0, n),
        },
        _ => {
            let position = number(1).ok_or_else(wrong)?;
            (
                if position < 0 {
                    (length + position).max(0)
                } else {
                    position
                },
                number(2).ok_or_else(wrong)?,
            )
        }
    };
    let size = |n: i64| usize::try_from(n.max(0)).unwrap_or(usize::MAX);
    Ok(RawBson::Array(
        items.into_iter().skip(size(start)).take(size(count)).collect(),
    ))
}

fn add(args: &[Option<RawBson>]) -> Result<RawBson> {
    args.iter().try_fold(RawBson::Int32(0), |sum, value| match value {
        value if is_nullish(value.as_ref()) || sum == RawBson::Null => Ok(RawBson::Null),
        Some(value) => sum_of(&sum, value),
        None => Ok(RawBson::Null),
    })
}

/// Addition as `$inc`, `$add` and `$sum` share it: the wider type wins, int32 grows into int64 rather than wrap.
pub fn sum_of(a: &RawBson, b: &RawBson) -> Result<RawBson> {
    use RawBson as V;
    #[allow(clippy::cast_precision_loss)] // MongoDB loses it too
    let double = |v: &V| match v {
        V::Int32(i) => Some(f64::from(*i)),
        V::Int64(i) => Some(*i as f64),
        V::Double(d) => Some(*d),
        _ => None,
    };
    let overflow = || CommandError::new(Code::BadValue, "integer overflow");
    match (a, b) {
        (V::Int32(x), V::Int32(y)) => Ok(x
            .checked_add(*y)
            .map_or_else(|| V::Int64(i64::from(*x) + i64::from(*y)), V::Int32)),
        (V::Int64(x), V::Int64(y)) => x.checked_add(*y).map(V::Int64).ok_or_else(overflow),
        (V::Int32(x), V::Int64(y)) | (V::Int64(y), V::Int32(x)) => {
            y.checked_add(i64::from(*x)).map(V::Int64).ok_or_else(overflow)
        }
        _ => match (double(a), double(b)) {
            (Some(x), Some(y)) => Ok(V::Double(x + y)),
            _ => Err(CommandError::new(
                Code::TypeMismatch,
                "only int, long and double are added here, not decimal or other types",
            )),
        },
    }
}

/// A whole number in any numeric type, as commands take their counts.
pub fn as_i64(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(i) => Some(i.into()),
        RawBsonRef::Int64(i) => Some(i),
        #[allow(clippy::cast_possible_truncation)] // whole and within range, as checked
        RawBsonRef::Double(d) if d.fract() == 0.0 && d.abs() < 9e18 => Some(d as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::{rawbson, rawdoc};

    use super::*;

    fn eval(expr: RawBson, root: &RawDocumentBuf) -> Option<RawBson> {
        Expr::parse(expr.as_raw_bson_ref())
            .unwrap()
            .evaluate(root)
            .unwrap()
    }

    #[test]
    fn debeziums_namespace_wrapper() {
        let event = rawdoc! { "ns": { "db": "t_acme", "coll": "orders" } };
        let wrapped = eval(
            rawbson!({ "namespace": { "$concat": ["$ns.db", ".", "$ns.coll"] }, "event": "$$ROOT" }),
            &event,
        );
        assert_eq!(
            wrapped,
            Some(rawbson!({ "namespace": "t_acme.orders", "event": (event.clone()) }))
        );
    }

    #[test]
    fn the_size_of_nothing_is_null_and_null_is_below_every_number() {
        let root = rawdoc! { "fullDocument": { "_id": 1 } };
        assert_eq!(
            eval(rawbson!({ "$bsonSize": "$fullDocument" }), &root),
            Some(RawBson::Int32(14))
        );
        assert_eq!(
            eval(rawbson!({ "$lte": [{ "$bsonSize": "$absent" }, 5] }), &root),
            Some(RawBson::Boolean(true))
        );
        assert_eq!(
            eval(rawbson!({ "$lte": [{ "$bsonSize": "$fullDocument" }, 5] }), &root),
            Some(RawBson::Boolean(false))
        );
    }

    #[test]
    fn an_unknown_expression_is_refused_by_name() {
        let error = Expr::parse(rawbson!({ "$dateToString": {} }).as_raw_bson_ref()).unwrap_err();
        assert!(error.message.contains("$dateToString"), "{error}");
    }

    #[test]
    fn slices_take_from_both_ends() {
        let root = rawdoc! { "a": [1, 2, 3, 4] };
        assert_eq!(
            eval(rawbson!({ "$slice": ["$a", 2] }), &root),
            Some(rawbson!([1, 2]))
        );
        assert_eq!(
            eval(rawbson!({ "$slice": ["$a", -1] }), &root),
            Some(rawbson!([4]))
        );
        assert_eq!(
            eval(rawbson!({ "$slice": ["$a", 1, 2] }), &root),
            Some(rawbson!([2, 3]))
        );
    }
}
