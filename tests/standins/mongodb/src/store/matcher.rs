//! Query filters: parsed once, then asked of raw documents.

use std::{cmp::Ordering, ops::Bound};

use bson::{
    RawBson, RawBsonRef,
    raw::{RawArray, RawDocument},
};
use fancy_regex::Regex;

use super::{
    expr::{Expr, as_i64},
    order::{self, Key},
    path,
};
use crate::error::{Code, CommandError, Result, bad_value};

#[derive(Debug, Clone)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Nor(Vec<Filter>),
    Field {
        path: path::Path,
        predicates: Vec<Predicate>,
    },
    Expr(Expr),
}

#[derive(Debug, Clone)]
pub enum Predicate {
    Eq(RawBson),
    Compare(Comparison, RawBson),
    In(Vec<Predicate>),
    Exists(bool),
    Type(Vec<TypeTest>),
    Regex(Regex),
    Size(i64),
    Mod {
        divisor: i64,
        remainder: i64,
    },
    All(Vec<Predicate>),
    /// One element of an array fulfils all of these at once.
    ElementMatches(Filter),
    ElementFulfils(Vec<Predicate>),
    Not(Vec<Predicate>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

#[derive(Debug, Clone, Copy)]
pub enum TypeTest {
    Number,
    Element(u8),
}

/// The part of the `_id` order a filter can possibly match: lets point and range reads skip the scan.
#[derive(Debug)]
pub enum IdAccess {
    Points(Vec<Key>),
    Range(Bound<Key>, Bound<Key>),
    All,
}

impl Filter {
    pub fn parse(doc: &RawDocument) -> Result<Self> {
        let mut clauses = Vec::new();
        for element in doc {
            let (key, value) = element?;
            clauses.push(match key.as_str() {
                "$and" => Self::And(parse_list(key.as_str(), value)?),
                "$or" => Self::Or(parse_list(key.as_str(), value)?),
                "$nor" => Self::Nor(parse_list(key.as_str(), value)?),
                "$expr" => Self::Expr(Expr::parse(value)?),
                "$comment" => continue,
                name if name.starts_with('$') => {
                    return Err(bad_value(format!("unknown top level operator: {name}")));
                }
                name => Self::Field {
                    path: path::split(name),
                    predicates: parse_predicates(value)?,
                },
            });
        }
        Ok(if clauses.len() == 1 {
            clauses.remove(0)
        } else {
            Self::And(clauses)
        })
    }

    pub fn matches(&self, doc: &RawDocument) -> bool {
        match self {
            Self::And(all) => all.iter().all(|f| f.matches(doc)),
            Self::Or(any) => any.iter().any(|f| f.matches(doc)),
            Self::Nor(none) => !none.iter().any(|f| f.matches(doc)),
            Self::Field { path, predicates } => {
                let mut found = Vec::new();
                path::candidates(doc, path, &mut found);
                predicates.iter().all(|p| p.holds(&found))
            }
            Self::Expr(expr) => expr.is_true(doc).unwrap_or_else(|error| {
                tracing::warn!(%error, "$expr could not be evaluated; the document does not match");
                false
            }),
        }
    }

    /// Values the filter fixes by equality: what an upsert starts its new document from.
    pub fn equalities(&self) -> Vec<(path::Path, RawBson)> {
        match self {
            Self::And(all) => all.iter().flat_map(Self::equalities).collect(),
            Self::Field { path, predicates } => {
                let value = predicates.iter().find_map(|p| {
                    if let Predicate::Eq(v) = p {
                        Some(v.clone())
                    } else {
                        None
                    }
                });
                value.map(|v| (path.clone(), v)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    pub fn id_access(&self) -> IdAccess {
        let mut range = (Bound::Unbounded, Bound::Unbounded);
        match self.narrow_ids(&mut range) {
            Some(points) => IdAccess::Points(points),
            None if matches!(range, (Bound::Unbounded, Bound::Unbounded)) => IdAccess::All,
            // An empty range would make BTreeMap panic; no id lies in it anyway.
            None if is_empty(&range) => IdAccess::Points(Vec::new()),
            None => IdAccess::Range(range.0, range.1),
        }
    }

    fn narrow_ids(&self, range: &mut (Bound<Key>, Bound<Key>)) -> Option<Vec<Key>> {
        match self {
            Self::And(all) => all
                .iter()
                .filter_map(|f| f.narrow_ids(range))
                .min_by_key(Vec::len),
            Self::Field { path, predicates } if path.len() == 1 && path[0] == "_id" => {
                predicates.iter().find_map(|p| p.narrow_ids(range))
            }
            _ => None,
        }
    }
}

fn is_empty(range: &(Bound<Key>, Bound<Key>)) -> bool {
    match range {
        (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
            low > high
        }
        _ => false,
    }
}

impl Predicate {
    fn narrow_ids(&self, range: &mut (Bound<Key>, Bound<Key>)) -> Option<Vec<Key>> {
        match self {
            Self::Eq(value) => return Some(vec![Key(value.clone())]),
            Self::In(any) => {
                let mut keys: Vec<Key> = any
                    .iter()
                    .map(|p| {
                        if let Self::Eq(v) = p {
                            Some(Key(v.clone()))
                        } else {
                            None
                        }
                    })
                    .collect::<Option<_>>()?;
                keys.sort();
                keys.dedup();
                return Some(keys);
            }
            // The tighter of two bounds is not sought: the matcher has the last word anyway.
            Self::Compare(Comparison::Gt, v) => range.0 = Bound::Excluded(Key(v.clone())),
            Self::Compare(Comparison::Gte, v) => range.0 = Bound::Included(Key(v.clone())),
            Self::Compare(Comparison::Lt, v) => range.1 = Bound::Excluded(Key(v.clone())),
            Self::Compare(Comparison::Lte, v) => range.1 = Bound::Included(Key(v.clone())),
            _ => {}
        }
        None
    }

    /// Whether any of the values found at the path fulfils the predicate. Negations ask for none.
    fn holds(&self, found: &[Option<RawBsonRef<'_>>]) -> bool {
        match self {
            Self::Exists(wanted) => found.iter().any(Option::is_some) == *wanted,
            Self::Not(inner) => !inner.iter().all(|p| p.holds(found)),
            Self::In(any) => any.iter().any(|p| p.holds(found)),
            Self::All(all) => !all.is_empty() && all.iter().all(|p| p.holds(found)),
            Self::Eq(RawBson::Null) if found.iter().any(Option::is_none) => true,
            Self::Compare(Comparison::Gte | Comparison::Lte, RawBson::Null)
                if found.iter().any(Option::is_none) =>
            {
                true
            }
            Self::Size(_) | Self::ElementMatches(_) | Self::ElementFulfils(_) => {
                found.iter().flatten().any(|v| self.accepts(*v))
            }
            _ => found
                .iter()
                .flatten()
                .any(|v| self.accepts(*v) || array_of(*v).is_some_and(|a| self.accepts_an_element(a))),
        }
    }

    fn accepts_an_element(&self, array: &RawArray) -> bool {
        array
            .into_iter()
            .map_while(std::result::Result::ok)
            .any(|v| self.accepts(v))
    }

    fn accepts(&self, value: RawBsonRef<'_>) -> bool {
        match self {
            Self::Eq(wanted) => order::compare(value, wanted.as_raw_bson_ref()).is_eq(),
            Self::Compare(comparison, bound) => compares(*comparison, value, bound.as_raw_bson_ref()),
            Self::Type(tests) => tests.iter().any(|t| match t {
                TypeTest::Number => order::bracket(value) == order::bracket(RawBsonRef::Int32(0)),
                TypeTest::Element(code) => value.element_type() as u8 == *code,
            }),
            Self::Regex(regex) => match value {
                RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
                    regex.is_match(text).unwrap_or_else(|error| {
                        tracing::warn!(%error, %regex, "a pattern gave up; the value does not match");
                        false
                    })
                }
                _ => false,
            },
            Self::Size(size) => {
                array_of(value).is_some_and(|a| i64::try_from(a.into_iter().count()) == Ok(*size))
            }
            Self::Mod { divisor, remainder } => match value {
                #[allow(clippy::cast_possible_truncation)] // $mod truncates
                RawBsonRef::Double(d) if d.is_finite() => d as i64 % divisor == *remainder,
                other => as_i64(other).is_some_and(|n| n % divisor == *remainder),
            },
            Self::ElementMatches(filter) => array_of(value).is_some_and(|a| {
                a.into_iter()
                    .map_while(std::result::Result::ok)
                    .any(|v| v.as_document().is_some_and(|d| filter.matches(d)))
            }),
            Self::ElementFulfils(predicates) => array_of(value).is_some_and(|a| {
                a.into_iter()
                    .map_while(std::result::Result::ok)
                    .any(|v| predicates.iter().all(|p| p.holds(&[Some(v)])))
            }),
            Self::Exists(_) | Self::Not(_) | Self::In(_) | Self::All(_) => self.holds(&[Some(value)]),
        }
    }
}

fn array_of(value: RawBsonRef<'_>) -> Option<&RawArray> {
    match value {
        RawBsonRef::Array(array) => Some(array),
        _ => None,
    }
}

fn compares(comparison: Comparison, value: RawBsonRef<'_>, bound: RawBsonRef<'_>) -> bool {
    let extreme = matches!(bound, RawBsonRef::MinKey | RawBsonRef::MaxKey);
    if !extreme && order::bracket(value) != order::bracket(bound) {
        return false;
    }
    let ordering = order::compare(value, bound);
    if order::is_nan(value) != order::is_nan(bound) {
        return false; // NaN is neither below nor above a number
    }
    match comparison {
        Comparison::Gt => ordering == Ordering::Greater,
        Comparison::Gte => ordering != Ordering::Less,
        Comparison::Lt => ordering == Ordering::Less,
        Comparison::Lte => ordering != Ordering::Greater,
    }
}

fn parse_list(name: &str, value: RawBsonRef<'_>) -> Result<Vec<Filter>> {
    let RawBsonRef::Array(items) = value else {
        return Err(bad_value(format!("{name} must be an array")));
    };
    let filters = items
        .into_iter()
        .map(|item| match item? {
            RawBsonRef::Document(doc) => Filter::parse(doc),
            _ => Err(bad_value(format!("{name} argument's entries must be objects"))),
        })
        .collect::<Result<Vec<_>>>()?;
    if filters.is_empty() {
        Err(bad_value(format!("{name} argument must be a non-empty array")))
    } else {
        Ok(filters)
    }
}

/// The predicates on one field: operators when the document's first key is one, else equality.
fn parse_predicates(value: RawBsonRef<'_>) -> Result<Vec<Predicate>> {
    match value {
        RawBsonRef::RegularExpression(regex) => Ok(vec![Predicate::Regex(compile(
            regex.pattern.as_str(),
            regex.options.as_str(),
        )?)]),
        RawBsonRef::Document(doc) if is_operators(doc) => parse_operators(doc),
        other => Ok(vec![Predicate::Eq(other.into())]),
    }
}

/// `{$ref, $id}` is a value (a DBRef), not an operator.
fn is_operators(doc: &RawDocument) -> bool {
    let first = doc
        .iter()
        .next()
        .and_then(std::result::Result::ok)
        .map(|(key, _)| key.as_str());
    first.is_some_and(|key| key.starts_with('$') && !matches!(key, "$ref" | "$id" | "$db"))
}

fn parse_operators(doc: &RawDocument) -> Result<Vec<Predicate>> {
    let mut predicates = Vec::new();
    for element in doc {
        let (key, value) = element?;
        predicates.push(match key.as_str() {
            "$eq" => Predicate::Eq(value.into()),
            "$ne" => Predicate::Not(vec![equality(value)?]),
            "$gt" => Predicate::Compare(Comparison::Gt, value.into()),
            "$gte" => Predicate::Compare(Comparison::Gte, value.into()),
            "$lt" => Predicate::Compare(Comparison::Lt, value.into()),
            "$lte" => Predicate::Compare(Comparison::Lte, value.into()),
            "$in" => Predicate::In(equalities("$in", value)?),
            "$nin" => Predicate::Not(vec![Predicate::In(equalities("$nin", value)?)]),
            "$all" => Predicate::All(equalities("$all", value)?),
            "$exists" => Predicate::Exists(!matches!(
                value,
                RawBsonRef::Boolean(false) | RawBsonRef::Int32(0) | RawBsonRef::Null
            )),
            "$type" => Predicate::Type(parse_types(value)?),
            "$regex" => Predicate::Regex(parse_regex(value, doc.get_str("$options").unwrap_or(""))?),
            "$options" if doc.get("$regex").ok().flatten().is_some() => continue,
            "$size" => Predicate::Size(as_i64(value).ok_or_else(|| bad_value("$size needs a whole number"))?),
            "$mod" => parse_mod(value)?,
            "$elemMatch" => parse_elem_match(value)?,
            "$not" => match value {
                RawBsonRef::RegularExpression(_) => Predicate::Not(parse_predicates(value)?),
                RawBsonRef::Document(inner) if is_operators(inner) => Predicate::Not(parse_operators(inner)?),
                _ => return Err(bad_value("$not needs a regex or a document of operators")),
            },
            other => return Err(bad_value(format!("unknown operator: {other}"))),
        });
    }
    Ok(predicates)
}

/// `$in`, `$all` and `$ne` take a regular expression for a pattern, everything else literally.
fn equality(value: RawBsonRef<'_>) -> Result<Predicate> {
    match value {
        RawBsonRef::RegularExpression(regex) => Ok(Predicate::Regex(compile(
            regex.pattern.as_str(),
            regex.options.as_str(),
        )?)),
        other => Ok(Predicate::Eq(other.into())),
    }
}

fn equalities(name: &str, value: RawBsonRef<'_>) -> Result<Vec<Predicate>> {
    let array = array_of(value).ok_or_else(|| bad_value(format!("{name} needs an array")))?;
    array.into_iter().map(|v| equality(v?)).collect()
}

fn parse_regex(value: RawBsonRef<'_>, options: &str) -> Result<Regex> {
    match value {
        RawBsonRef::String(pattern) => compile(pattern, options),
        RawBsonRef::RegularExpression(r) => compile(
            r.pattern.as_str(),
            if options.is_empty() {
                r.options.as_str()
            } else {
                options
            },
        ),
        _ => Err(bad_value("$regex has to be a string")),
    }
}

fn compile(pattern: &str, options: &str) -> Result<Regex> {
    if let Some(unknown) = options.chars().find(|c| !"imsxu".contains(*c)) {
        return Err(bad_value(format!("invalid flag in regex options: {unknown}")));
    }
    let flags: String = options.chars().filter(|c| *c != 'u').collect();
    let pattern = if flags.is_empty() {
        pattern.to_owned()
    } else {
        format!("(?{flags}){pattern}")
    };
    Regex::new(&pattern)
        .map_err(|e| CommandError::new(Code::BadValue, format!("Regular expression is invalid: {e}")))
}

fn parse_mod(value: RawBsonRef<'_>) -> Result<Predicate> {
    let numbers: Vec<i64> = array_of(value)
        .map(|a| {
            a.into_iter()
                .map_while(std::result::Result::ok)
                .filter_map(as_i64)
                .collect()
        })
        .unwrap_or_default();
    match numbers[..] {
        [divisor, remainder] if divisor != 0 => Ok(Predicate::Mod { divisor, remainder }),
        _ => Err(bad_value("malformed mod: it needs [divisor, remainder]")),
    }
}

fn parse_elem_match(value: RawBsonRef<'_>) -> Result<Predicate> {
    let RawBsonRef::Document(doc) = value else {
        return Err(bad_value("$elemMatch needs an Object"));
    };
    let first = doc
        .iter()
        .next()
        .and_then(std::result::Result::ok)
        .map(|(key, _)| key.as_str());
    if is_operators(doc) && !matches!(first, Some("$and" | "$or" | "$nor" | "$expr")) {
        return Ok(Predicate::ElementFulfils(parse_operators(doc)?));
    }
    Ok(Predicate::ElementMatches(Filter::parse(doc)?))
}

fn parse_types(value: RawBsonRef<'_>) -> Result<Vec<TypeTest>> {
    match value {
        RawBsonRef::Array(items) => items.into_iter().map(|v| parse_type(v?)).collect(),
        single => Ok(vec![parse_type(single)?]),
    }
}

fn parse_type(value: RawBsonRef<'_>) -> Result<TypeTest> {
    const NAMES: [(&str, u8); 19] = [
        ("double", 1),
        ("string", 2),
        ("object", 3),
        ("array", 4),
        ("binData", 5),
        ("undefined", 6),
        ("objectId", 7),
        ("bool", 8),
        ("date", 9),
        ("null", 10),
        ("regex", 11),
        ("javascript", 13),
        ("symbol", 14),
        ("javascriptWithScope", 15),
        ("int", 16),
        ("timestamp", 17),
        ("long", 18),
        ("decimal", 19),
        ("maxKey", 127),
    ];
    match value {
        RawBsonRef::String("number") => Ok(TypeTest::Number),
        RawBsonRef::String("minKey") => Ok(TypeTest::Element(255)),
        RawBsonRef::String(name) => NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, code)| TypeTest::Element(*code))
            .ok_or_else(|| bad_value(format!("Unknown type name alias: {name}"))),
        number => as_i64(number)
            .and_then(|n| u8::try_from(n.rem_euclid(256)).ok())
            .map(TypeTest::Element)
            .ok_or_else(|| bad_value("type must be represented as a number or a string")),
    }
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
