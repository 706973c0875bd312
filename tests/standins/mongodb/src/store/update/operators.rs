//! The update operators. Each one changes the tree and says which paths it touched; the description of the change is
//! read off afterwards, because a path that had to be created is reported from its first new step.

use std::cmp::Ordering;

use bson::{Bson, Document, RawBson, RawBsonRef, raw::RawDocument};

use super::{Description, not_viable};
use crate::{
    error::{Code, CommandError, Result, bad_value},
    store::{
        expr::{as_i64, sum_of},
        matcher::Filter,
        order::{self, Key},
        path::{self, Path},
    },
};

#[derive(Debug)]
pub struct Operators(Vec<(Path, Operator)>);

#[derive(Debug)]
enum Operator {
    Set(Bson),
    SetOnInsert(Bson),
    Unset,
    Inc(RawBson),
    /// Keep the least (`$min`) or the greatest (`$max`).
    Extreme(Ordering, Bson),
    Rename(Path),
    CurrentDate {
        timestamp: bool,
    },
    Push(Push),
    AddToSet(Vec<Bson>),
    Pop {
        first: bool,
    },
    Pull(Pull),
    PullAll(Vec<Bson>),
}

#[derive(Debug, Default)]
struct Push {
    each: Vec<Bson>,
    position: Option<i64>,
    slice: Option<i64>,
}

#[derive(Debug)]
enum Pull {
    Equal(Bson),
    /// Documents that match a filter.
    Matching(Filter),
    /// Scalars that fulfil operators, wrapped as the field `v`.
    Fulfilling(Filter),
}

/// The paths an update wrote or removed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    written: Vec<Path>,
    removed: Vec<Path>,
}

impl Touched {
    pub(super) fn describe(&self, old: &Document, new: &Document) -> Description {
        let mut description = Description::default();
        for path in &self.written {
            let first_new = (1..path.len())
                .find(|n| path::get(old, &path[..*n]).is_none())
                .unwrap_or(path.len());
            if let Some(value) = path::get(new, &path[..first_new]) {
                description
                    .updated
                    .insert(path[..first_new].join("."), value.clone());
            }
        }
        description.removed = self.removed.iter().map(|p| p.join(".")).collect();
        description
    }
}

impl Operators {
    pub(super) fn parse(doc: &RawDocument) -> Result<Self> {
        let mut parsed: Vec<(Path, Operator)> = Vec::new();
        for element in doc {
            let (name, fields) = element?;
            let RawBsonRef::Document(fields) = fields else {
                return Err(CommandError::new(
                    Code::FailedToParse,
                    format!(
                        "Modifiers operate on fields but we found another type for {}",
                        name.as_str()
                    ),
                ));
            };
            for field in fields {
                let (field, argument) = field?;
                let path = checked_path(field.as_str())?;
                let operator = Operator::parse(name.as_str(), argument)?;
                let second = if let Operator::Rename(to) = &operator {
                    Some(to.clone())
                } else {
                    None
                };
                for taken in [Some(&path), second.as_ref()].into_iter().flatten() {
                    if parsed
                        .iter()
                        .any(|(other, _)| other.starts_with(taken) || taken.starts_with(other))
                    {
                        return Err(CommandError::new(
                            Code::ConflictingUpdateOperators,
                            format!("Updating the path '{}' would create a conflict", taken.join(".")),
                        ));
                    }
                }
                parsed.push((path, operator));
            }
        }
        Ok(Self(parsed))
    }

    pub(super) fn apply(&self, doc: &mut Document, inserting: bool) -> Result<Touched> {
        let mut touched = Touched::default();
        for (path, operator) in &self.0 {
            operator.apply(path, doc, inserting, &mut touched)?;
        }
        Ok(touched)
    }
}

fn checked_path(field: &str) -> Result<Path> {
    let path = path::split(field);
    if path.iter().any(|part| part == "$" || part.starts_with("$[")) {
        return Err(bad_value(format!(
            "'{field}': positional operators are not supported by this stand-in"
        )));
    }
    if path.iter().any(String::is_empty) {
        return Err(CommandError::new(
            Code::BadValue,
            format!("The update path '{field}' contains an empty field name"),
        ));
    }
    Ok(path)
}

impl Operator {
    fn parse(name: &str, argument: RawBsonRef<'_>) -> Result<Self> {
        let value = || Bson::try_from(argument).map_err(CommandError::from);
        Ok(match name {
            "$set" => Self::Set(value()?),
            "$setOnInsert" => Self::SetOnInsert(value()?),
            "$unset" => Self::Unset,
            "$inc" if order::bracket(argument) == order::bracket(RawBsonRef::Int32(0)) => {
                Self::Inc(argument.into())
            }
            "$inc" => {
                return Err(CommandError::new(
                    Code::TypeMismatch,
                    "Cannot increment with non-numeric argument",
                ));
            }
            "$min" => Self::Extreme(Ordering::Less, value()?),
            "$max" => Self::Extreme(Ordering::Greater, value()?),
            "$rename" => match argument {
                RawBsonRef::String(to) => Self::Rename(checked_path(to)?),
                _ => return Err(bad_value("The 'to' field for $rename must be a string")),
            },
            "$currentDate" => Self::CurrentDate {
                timestamp: argument.as_document().and_then(|d| d.get_str("$type").ok()) == Some("timestamp"),
            },
            "$push" => Self::Push(Push::parse(argument)?),
            "$addToSet" => Self::AddToSet(each(argument)?.unwrap_or(vec![value()?])),
            "$pop" => Self::Pop {
                first: as_i64(argument) == Some(-1),
            },
            "$pull" => Self::Pull(Pull::parse(argument)?),
            "$pullAll" => match value()? {
                Bson::Array(values) => Self::PullAll(values),
                _ => return Err(bad_value("$pullAll requires an array argument")),
            },
            other => {
                return Err(CommandError::new(
                    Code::FailedToParse,
                    format!("Unknown modifier: {other} (this stand-in knows a subset)"),
                ));
            }
        })
    }

    fn apply(&self, path: &Path, doc: &mut Document, inserting: bool, touched: &mut Touched) -> Result<()> {
        match self {
            Self::Set(value) => write(doc, path, value.clone(), touched),
            Self::SetOnInsert(value) if inserting => write(doc, path, value.clone(), touched),
            Self::SetOnInsert(_) => Ok(()),
            Self::Unset => {
                if path::unset(doc, path) {
                    touched.removed.push(path.clone());
                }
                Ok(())
            }
            Self::Inc(by) => {
                let sum = match path::get(doc, path) {
                    None => by.clone(),
                    Some(now) => sum_of(&RawBson::try_from(now.clone())?, by).map_err(|e| about(path, e))?,
                };
                write(doc, path, Bson::try_from(sum)?, touched)
            }
            Self::Extreme(wanted, value) => {
                let replaces = match path::get(doc, path) {
                    None => true,
                    Some(now) => key(value)?.cmp(&key(now)?) == *wanted,
                };
                if replaces {
                    write(doc, path, value.clone(), touched)
                } else {
                    Ok(())
                }
            }
            Self::Rename(to) => match path::get(doc, path).cloned() {
                None => Ok(()),
                Some(value) => {
                    path::unset(doc, path);
                    touched.removed.push(path.clone());
                    write(doc, to, value, touched)
                }
            },
            Self::CurrentDate { timestamp } => {
                let now = bson::DateTime::now();
                let seconds = u32::try_from(now.timestamp_millis() / 1000).unwrap_or(u32::MAX);
                let stamp = bson::Timestamp {
                    time: seconds,
                    increment: 1,
                };
                write(
                    doc,
                    path,
                    if *timestamp {
                        Bson::Timestamp(stamp)
                    } else {
                        Bson::DateTime(now)
                    },
                    touched,
                )
            }
            Self::Push(push) => push.apply(path, doc, touched),
            Self::AddToSet(values) => add_to_set(path, doc, values, touched),
            Self::Pop { first } => shrink(path, doc, touched, |items| {
                if items.is_empty() {
                    return Ok(());
                }
                items.remove(if *first { 0 } else { items.len() - 1 });
                Ok(())
            }),
            Self::Pull(pull) => shrink(path, doc, touched, |items| pull.apply(items)),
            Self::PullAll(values) => shrink(path, doc, touched, |items| {
                let unwanted = values.iter().map(key).collect::<Result<Vec<_>>>()?;
                retain(items, |item| Ok(!unwanted.contains(&key(item)?)))
            }),
        }
    }
}

fn about(path: &Path, mut error: CommandError) -> CommandError {
    error.message = format!("{}: {}", path.join("."), error.message);
    error
}

fn key(value: &Bson) -> Result<Key> {
    Ok(Key(RawBson::try_from(value.clone())?))
}

/// Writes a value unless it is there already, to the bit.
fn write(doc: &mut Document, path: &Path, value: Bson, touched: &mut Touched) -> Result<()> {
    let unchanged = path::get(doc, path).is_some_and(|now| match (now, &value) {
        (Bson::Double(x), Bson::Double(y)) => x.to_bits() == y.to_bits(),
        (now, value) => now == value,
    });
    if unchanged {
        return Ok(());
    }
    path::set(doc, path, value).map_err(|e| not_viable(&e))?;
    touched.written.push(path.clone());
    Ok(())
}

/// The array at a path; `None` when nothing is there.
fn array_at<'a>(doc: &'a mut Document, path: &Path) -> Result<Option<&'a mut Vec<Bson>>> {
    match path::get_mut(doc, path) {
        None => Ok(None),
        Some(Bson::Array(items)) => Ok(Some(items)),
        Some(other) => Err(bad_value(format!(
            "The field '{}' must be an array but is of type {:?}",
            path.join("."),
            other.element_type()
        ))),
    }
}

fn each(argument: RawBsonRef<'_>) -> Result<Option<Vec<Bson>>> {
    let Some(array) = argument
        .as_document()
        .and_then(|doc| doc.get("$each").ok().flatten())
    else {
        return Ok(None);
    };
    match Bson::try_from(array)? {
        Bson::Array(items) => Ok(Some(items)),
        _ => Err(bad_value("The argument to $each must be an array")),
    }
}

impl Push {
    fn parse(argument: RawBsonRef<'_>) -> Result<Self> {
        let Some(each) = each(argument)? else {
            return Ok(Self {
                each: vec![Bson::try_from(argument)?],
                ..Self::default()
            });
        };
        let mut push = Self {
            each,
            ..Self::default()
        };
        for element in argument.as_document().into_iter().flatten() {
            let (name, value) = element?;
            let number = || {
                as_i64(value)
                    .map(Some)
                    .ok_or_else(|| bad_value(format!("{} needs a whole number", name.as_str())))
            };
            match name.as_str() {
                "$each" => {}
                "$position" => push.position = number()?,
                "$slice" => push.slice = number()?,
                other => {
                    return Err(bad_value(format!(
                        "$push: {other} is not supported by this stand-in"
                    )));
                }
            }
        }
        Ok(push)
    }

    fn apply(&self, path: &Path, doc: &mut Document, touched: &mut Touched) -> Result<()> {
        let Some(items) = array_at(doc, path)? else {
            let mut items = Vec::new();
            self.splice(&mut items);
            return write(doc, path, Bson::Array(items), touched);
        };
        let appends_at = items.len();
        self.splice(items);
        // Plain appends are told one by one; anything that moves elements tells the whole array.
        if self.position.is_none() && self.slice.is_none() {
            let indexes = appends_at..items.len();
            touched
                .written
                .extend(indexes.map(|i| path.iter().cloned().chain([i.to_string()]).collect()));
        } else {
            touched.written.push(path.clone());
        }
        Ok(())
    }

    fn splice(&self, items: &mut Vec<Bson>) {
        let length = items.len();
        let distance = |n: i64| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let at = match self.position {
            None => length,
            Some(p) if p < 0 => length.saturating_sub(distance(p)),
            Some(p) => distance(p).min(length),
        };
        items.splice(at..at, self.each.iter().cloned());
        match self.slice {
            Some(n) if n < 0 => drop(items.drain(..items.len().saturating_sub(distance(n)))),
            Some(n) => items.truncate(distance(n)),
            None => {}
        }
    }
}

fn add_to_set(path: &Path, doc: &mut Document, values: &[Bson], touched: &mut Touched) -> Result<()> {
    let mut missing: Vec<Bson> = Vec::new();
    let present = array_at(doc, path)?.map_or(Vec::new(), |items| items.clone());
    for value in values {
        let wanted = key(value)?;
        let mut known = present.iter().chain(&missing).map(key);
        if !known.any(|k| k.is_ok_and(|k| k == wanted)) {
            missing.push(value.clone());
        }
    }
    if missing.is_empty() && path::get(doc, path).is_some() {
        return Ok(());
    }
    Push {
        each: missing,
        ..Push::default()
    }
    .apply(path, doc, touched)
}

/// Runs an operator that takes elements away; the whole array is told when it did.
fn shrink(
    path: &Path,
    doc: &mut Document,
    touched: &mut Touched,
    change: impl FnOnce(&mut Vec<Bson>) -> Result<()>,
) -> Result<()> {
    let Some(items) = array_at(doc, path)? else {
        return Ok(());
    };
    let before = items.len();
    change(items)?;
    if items.len() != before {
        touched.written.push(path.clone());
    }
    Ok(())
}

fn retain(items: &mut Vec<Bson>, mut keep: impl FnMut(&Bson) -> Result<bool>) -> Result<()> {
    let mut kept = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if keep(&item)? {
            kept.push(item);
        }
    }
    *items = kept;
    Ok(())
}

impl Pull {
    fn parse(argument: RawBsonRef<'_>) -> Result<Self> {
        let RawBsonRef::Document(doc) = argument else {
            return Ok(Self::Equal(Bson::try_from(argument)?));
        };
        let first = doc.iter().next().transpose()?.map(|(k, _)| k.as_str());
        if first.is_some_and(|k| k.starts_with('$') && !matches!(k, "$and" | "$or" | "$nor")) {
            return Ok(Self::Fulfilling(Filter::parse(
                &bson::rawdoc! { "v": (doc.to_owned()) },
            )?));
        }
        Ok(Self::Matching(Filter::parse(doc)?))
    }

    fn apply(&self, items: &mut Vec<Bson>) -> Result<()> {
        match self {
            Self::Equal(value) => {
                let unwanted = key(value)?;
                retain(items, |item| Ok(key(item)? != unwanted))
            }
            Self::Matching(filter) => retain(items, |item| match item {
                Bson::Document(doc) => Ok(!filter.matches(&bson::RawDocumentBuf::try_from(doc)?)),
                _ => Ok(true),
            }),
            Self::Fulfilling(filter) => retain(items, |item| {
                let wrapped = bson::doc! { "v": item.clone() };
                Ok(!filter.matches(&bson::RawDocumentBuf::try_from(&wrapped)?))
            }),
        }
    }
}
