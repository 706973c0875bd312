//! `aggregate`: a change stream, or a pipeline over a collection as everyday clients send it (counting, above all).

use std::collections::BTreeMap;

use bson::{
    RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf,
    raw::{CString, RawArray, RawDocument, cstr},
    rawdoc,
};

use super::{
    Context,
    cursors::{Documents, FIRST_BATCH},
};
use crate::{
    changestream::{
        ChangeStream,
        pipeline::{Stage, unknown},
    },
    error::{Code, CommandError, Result, bad_value},
    store::{
        Doc, Namespace,
        collection::Query,
        expr::{Expr, as_i64, sum_of},
        matcher::Filter,
        order::{self, Key},
        projection::Sort,
    },
};

impl Context<'_> {
    pub(super) fn aggregate(&mut self) -> Result<RawDocumentBuf> {
        let stages = self.body().get_array("pipeline")?;
        let target = self.body().get("aggregate")?;
        let collection = match target {
            Some(RawBsonRef::String(name)) => Some(name),
            Some(number) if as_i64(number) == Some(1) => None,
            _ => {
                return Err(CommandError::new(
                    Code::InvalidNamespace,
                    "Invalid command format: the 'aggregate' field must specify a collection name or 1",
                ));
            }
        };
        let batch_size = self
            .document("cursor")?
            .and_then(|c| c.get("batchSize").ok().flatten())
            .and_then(as_i64);
        let batch_size = batch_size
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(FIRST_BATCH);
        let ns = format!("{}.{}", self.request.db(), collection.unwrap_or("$cmd.aggregate"));
        if starts_change_stream(stages) {
            let stream = ChangeStream::open(self.request.db(), collection, stages, &self.server.oplog)?;
            return self.open_stream(&ns, stream, batch_size);
        }
        let collection = collection.ok_or_else(|| {
            CommandError::new(
                Code::InvalidNamespace,
                "{aggregate: 1} is not valid for a pipeline that does not start with $changeStream",
            )
        })?;
        let docs = self.run_stages(&Namespace::new(self.request.db(), collection)?, stages)?;
        Ok(self.open_cursor(
            &ns,
            Documents {
                rest: docs.into(),
                projection: None,
            },
            batch_size,
            false,
        ))
    }

    fn run_stages(&self, ns: &Namespace, stages: &RawArray) -> Result<Vec<Doc>> {
        let stages = stages
            .into_iter()
            .map(|s| parse_stage(s?))
            .collect::<Result<Vec<_>>>()?;
        let everything = Filter::And(Vec::new());
        // A leading $match goes to the collection, where it can use the `_id` index.
        let (filter, rest) = match stages.split_first() {
            Some((AnyStage::EachDocument(Stage::Match(filter)), rest)) => (filter, rest),
            _ => (&everything, &stages[..]),
        };
        let query = Query {
            filter,
            sort: None,
            skip: 0,
            limit: 0,
        };
        let docs = self
            .server
            .read()
            .collection(ns)
            .map_or_else(Vec::new, |c| c.find(&query));
        rest.iter().try_fold(docs, |docs, stage| stage.apply(docs))
    }
}

fn starts_change_stream(stages: &RawArray) -> bool {
    let first = stages.get(0).ok().flatten().and_then(RawBsonRef::as_document);
    first.is_some_and(|stage| stage.get("$changeStream").ok().flatten().is_some())
}

enum AnyStage {
    EachDocument(Stage),
    Sort(Sort),
    Skip(usize),
    Limit(usize),
    Count(CString),
    Group {
        id: Expr,
        fields: Vec<(CString, Accumulator, Expr)>,
    },
}

#[derive(Clone, Copy)]
enum Accumulator {
    Sum,
    Min,
    Max,
    First,
    Last,
    Push,
}

fn parse_stage(stage: RawBsonRef<'_>) -> Result<AnyStage> {
    let stage = stage.as_document().ok_or_else(|| {
        CommandError::new(
            Code::TypeMismatch,
            "Each element of the 'pipeline' array must be an object",
        )
    })?;
    if let Some(stage) = Stage::parse(stage)? {
        return Ok(AnyStage::EachDocument(stage));
    }
    let Some((name, argument)) = stage.iter().next().transpose()? else {
        return Err(unknown(stage));
    };
    let number = || {
        as_i64(argument)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| bad_value(format!("{} needs a whole number", name.as_str())))
    };
    let document = || {
        argument
            .as_document()
            .ok_or_else(|| bad_value(format!("{} needs an object", name.as_str())))
    };
    match name.as_str() {
        "$sort" => {
            Ok(AnyStage::Sort(Sort::parse(document()?)?.ok_or_else(|| {
                bad_value("$sort must have at least one sort key")
            })?))
        }
        "$skip" => Ok(AnyStage::Skip(number()?)),
        "$limit" => Ok(AnyStage::Limit(number()?)),
        "$count" => match argument {
            RawBsonRef::String(field) => Ok(AnyStage::Count(CString::try_from(field)?)),
            _ => Err(bad_value("the count field must be a non-empty string")),
        },
        "$group" => parse_group(document()?),
        _ => Err(unknown(stage)),
    }
}

fn parse_group(spec: &RawDocument) -> Result<AnyStage> {
    let mut id = None;
    let mut fields = Vec::new();
    for element in spec {
        let (key, value) = element?;
        if key.as_str() == "_id" {
            id = Some(Expr::parse(value)?);
            continue;
        }
        let accumulator = value.as_document().and_then(|d| d.iter().next()).transpose()?;
        let (name, argument) = accumulator.ok_or_else(|| {
            bad_value(format!(
                "The field '{}' must be an accumulator object",
                key.as_str()
            ))
        })?;
        let (accumulator, expr) = match name.as_str() {
            "$sum" => (Accumulator::Sum, Expr::parse(argument)?),
            "$count" => (Accumulator::Sum, Expr::Literal(RawBson::Int32(1))),
            "$min" => (Accumulator::Min, Expr::parse(argument)?),
            "$max" => (Accumulator::Max, Expr::parse(argument)?),
            "$first" => (Accumulator::First, Expr::parse(argument)?),
            "$last" => (Accumulator::Last, Expr::parse(argument)?),
            "$push" => (Accumulator::Push, Expr::parse(argument)?),
            other => {
                return Err(bad_value(format!(
                    "unknown group operator '{other}' (this stand-in knows a subset)"
                )));
            }
        };
        fields.push((key.into(), accumulator, expr));
    }
    let id = id.ok_or_else(|| bad_value("a group specification must include an _id"))?;
    Ok(AnyStage::Group { id, fields })
}

impl AnyStage {
    fn apply(&self, mut docs: Vec<Doc>) -> Result<Vec<Doc>> {
        match self {
            Self::EachDocument(Stage::Match(filter)) => docs.retain(|doc| filter.matches(doc)),
            Self::EachDocument(stage) => {
                let out = docs.into_iter().map(|doc| stage.apply((*doc).clone()));
                return out
                    .filter_map(|doc| doc.map(|d| d.map(Doc::new)).transpose())
                    .collect();
            }
            Self::Sort(sort) => sort.sort(&mut docs),
            Self::Skip(n) => drop(docs.drain(..(*n).min(docs.len()))),
            Self::Limit(n) => docs.truncate(*n),
            Self::Count(_) if docs.is_empty() => {}
            Self::Count(field) => {
                let mut counted = RawDocumentBuf::new();
                counted.append(field, i32::try_from(docs.len()).unwrap_or(i32::MAX));
                docs = vec![Doc::new(counted)];
            }
            Self::Group { id, fields } => return group(&docs, id, fields),
        }
        Ok(docs)
    }
}

fn group(docs: &[Doc], id: &Expr, fields: &[(CString, Accumulator, Expr)]) -> Result<Vec<Doc>> {
    let mut groups: BTreeMap<Key, Vec<Option<RawBson>>> = BTreeMap::new();
    for doc in docs {
        let key = Key(id.evaluate(doc)?.unwrap_or(RawBson::Null));
        let totals = groups.entry(key).or_insert_with(|| vec![None; fields.len()]);
        for (total, (_, accumulator, expr)) in totals.iter_mut().zip(fields) {
            accumulator.add(total, expr.evaluate(doc)?)?;
        }
    }
    let rows = groups.into_iter().map(|(key, totals)| {
        let mut row = rawdoc! {};
        row.append(cstr!("_id"), key.0);
        for ((name, accumulator, _), total) in fields.iter().zip(totals) {
            row.append(name, total.unwrap_or_else(|| accumulator.of_nothing()));
        }
        Doc::new(row)
    });
    Ok(rows.collect())
}

impl Accumulator {
    fn of_nothing(self) -> RawBson {
        match self {
            Self::Sum => RawBson::Int32(0),
            Self::Push => RawBson::Array(RawArrayBuf::new()),
            Self::Min | Self::Max | Self::First | Self::Last => RawBson::Null,
        }
    }

    fn add(self, total: &mut Option<RawBson>, value: Option<RawBson>) -> Result<()> {
        let order = |a: &RawBson, b: &RawBson| order::compare(a.as_raw_bson_ref(), b.as_raw_bson_ref());
        match self {
            // What is not a number does not count.
            Self::Sum => {
                let now = total.take().unwrap_or(RawBson::Int32(0));
                let numeric = value
                    .filter(|v| order::bracket(v.as_raw_bson_ref()) == order::bracket(RawBsonRef::Int32(0)));
                *total = Some(numeric.map_or(Ok(now.clone()), |v| sum_of(&now, &v))?);
            }
            Self::First => *total = total.take().or(Some(value.unwrap_or(RawBson::Null))),
            Self::Last => *total = Some(value.unwrap_or(RawBson::Null)),
            Self::Push => {
                let items = total.get_or_insert_with(|| self.of_nothing());
                if let (RawBson::Array(items), Some(value)) = (items, value) {
                    items.push(value);
                }
            }
            Self::Min | Self::Max => {
                let Some(value) = value.filter(|v| *v != RawBson::Null) else {
                    return Ok(());
                };
                let wanted = if matches!(self, Self::Min) {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Greater
                };
                if total.as_ref().is_none_or(|t| order(&value, t) == wanted) {
                    *total = Some(value);
                }
            }
        }
        Ok(())
    }
}
