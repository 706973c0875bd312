//! Updates: a replacement, a set of operators, or a small pipeline; and what a change stream says about each.

mod diff;
mod operators;

use bson::{
    Bson, Document, RawBsonRef, RawDocumentBuf,
    raw::{RawArray, RawDocument},
};

use super::{matcher::Filter, order, path};
use crate::{
    changestream::pipeline::Pipeline,
    error::{Code, CommandError, Result, bad_value},
};

pub use operators::Operators;

#[derive(Debug)]
pub enum Update {
    Replace(RawDocumentBuf),
    Operators(Operators),
    Pipeline(Pipeline),
}

/// What a change stream tells of an update that was not a replacement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    pub updated: Document,
    pub removed: Vec<String>,
    /// `(field, new size)`, as only pipeline updates report.
    pub truncated: Vec<(String, i32)>,
}

/// The new document and, unless it was replaced, how it differs.
#[derive(Debug)]
pub struct Applied {
    pub document: RawDocumentBuf,
    pub description: Option<Description>,
}

impl Update {
    pub fn parse(value: RawBsonRef<'_>) -> Result<Self> {
        match value {
            RawBsonRef::Array(stages) => Self::parse_pipeline(stages),
            RawBsonRef::Document(doc) => {
                let first = doc.iter().next().transpose()?.map(|(key, _)| key.as_str());
                match first {
                    Some(key) if key.starts_with('$') => Ok(Self::Operators(Operators::parse(doc)?)),
                    _ => Ok(Self::Replace(doc.to_owned())),
                }
            }
            _ => Err(CommandError::new(
                Code::FailedToParse,
                "Update argument must be either an object or an array",
            )),
        }
    }

    fn parse_pipeline(stages: &RawArray) -> Result<Self> {
        let pipeline = Pipeline::parse(stages.into_iter())?;
        if pipeline.only_reshapes() {
            Ok(Self::Pipeline(pipeline))
        } else {
            Err(CommandError::new(
                Code::InvalidOptions,
                "only $set, $addFields, $unset, $project, $replaceRoot and $replaceWith may update",
            ))
        }
    }

    pub fn is_replacement(&self) -> bool {
        matches!(self, Self::Replace(_))
    }

    /// The document after the update. `inserting` makes `$setOnInsert` count.
    pub fn apply(&self, before: &RawDocument, inserting: bool) -> Result<Applied> {
        let (document, description) = match self {
            Self::Replace(new) => (with_id_of(new, before)?, None),
            Self::Operators(operators) => {
                let old = Document::try_from(before)?;
                let mut new = old.clone();
                let touched = operators.apply(&mut new, inserting)?;
                let description = touched.describe(&old, &new);
                (RawDocumentBuf::try_from(&new)?, Some(description))
            }
            Self::Pipeline(pipeline) => {
                let reshaped = pipeline.reshape(before.to_owned())?;
                let new = with_id_of(&reshaped, before)?;
                let description = diff::describe(&Document::try_from(before)?, &Document::try_from(&*new)?);
                (new, Some(description))
            }
        };
        id_is_unchanged(before, &document)?;
        Ok(Applied {
            document,
            description,
        })
    }

    /// The document an upsert inserts: the filter's equalities, then the update.
    pub fn upsert(&self, filter: &Filter) -> Result<RawDocumentBuf> {
        let mut base = Document::new();
        for (path, value) in filter.equalities() {
            if self.is_replacement() && path != ["_id"] {
                continue;
            }
            path::set(&mut base, &path, Bson::try_from(value)?).map_err(|e| not_viable(&e))?;
        }
        Ok(self.apply(&RawDocumentBuf::try_from(&base)?, true)?.document)
    }
}

fn not_viable(error: &path::NotViable) -> CommandError {
    CommandError::new(
        Code::PathNotViable,
        format!(
            "Cannot create field '{}' in element {}",
            error.field, error.blocked_by
        ),
    )
}

/// A replacement may leave `_id` out; it keeps the old one, in front.
fn with_id_of(new: &RawDocument, before: &RawDocument) -> Result<RawDocumentBuf> {
    if let Some(key) = new
        .iter()
        .map_while(std::result::Result::ok)
        .map(|(key, _)| key.as_str())
        .find(|k| k.starts_with('$'))
    {
        return Err(bad_value(format!(
            "the replacement document must not contain atomic operators or fields like {key}"
        )));
    }
    let mut out = RawDocumentBuf::new();
    if let Some(id) = new.get("_id")?.or(before.get("_id")?) {
        out.append(bson::raw::cstr!("_id"), id);
    }
    for element in new {
        let (key, value) = element?;
        if key.as_str() != "_id" {
            out.append(key, value);
        }
    }
    Ok(out)
}

fn id_is_unchanged(before: &RawDocument, after: &RawDocument) -> Result<()> {
    match (before.get("_id")?, after.get("_id")?) {
        (Some(old), Some(new)) if order::compare(old, new).is_eq() => Ok(()),
        (None, _) => Ok(()),
        _ => Err(CommandError::new(
            Code::ImmutableField,
            "Performing an update on the path '_id' would modify the immutable field '_id'",
        )),
    }
}

#[cfg(test)]
mod tests;
