//! The stages that work on one document at a time: what may follow `$changeStream`, what may update, and the plain part
//! of an aggregation.

use bson::{
    RawBson, RawBsonRef, RawDocumentBuf,
    raw::{CString, RawDocument},
};

use crate::{
    error::{Code, CommandError, Result, bad_value},
    store::{expr::Expr, matcher::Filter, projection::Projection},
};

#[derive(Debug, Clone)]
pub struct Pipeline(Vec<Stage>);

#[derive(Debug, Clone)]
pub enum Stage {
    Match(Filter),
    ReplaceRoot(Expr),
    /// Top-level fields set, in order (`$set`, `$addFields`).
    AddFields(Vec<(CString, Expr)>),
    Project(Projection),
    /// Accepted; small events pass through it as they do in MongoDB. An event over 16 MB is not split yet: it fails with
    /// BSONObjectTooLarge, as it does without the stage.
    SplitLargeEvent,
}

impl Stage {
    /// The stage named by a `{$name: argument}` document; `None` when it is not one that works on single documents.
    pub fn parse(stage: &RawDocument) -> Result<Option<Self>> {
        let mut elements = stage.iter();
        let (name, argument) = match (elements.next().transpose()?, elements.next()) {
            (Some((name, argument)), None) => (name.as_str(), argument),
            _ => {
                return Err(CommandError::new(
                    Code::Location40324,
                    "A pipeline stage specification object must contain exactly one field.",
                ));
            }
        };
        let document = || {
            argument
                .as_document()
                .ok_or_else(|| bad_value(format!("{name} needs an object")))
        };
        Ok(Some(match name {
            "$match" => Self::Match(Filter::parse(document()?)?),
            "$replaceRoot" => {
                let new_root = document()?
                    .get("newRoot")?
                    .ok_or_else(|| bad_value("$replaceRoot needs newRoot"))?;
                Self::ReplaceRoot(Expr::parse(new_root)?)
            }
            "$replaceWith" => Self::ReplaceRoot(Expr::parse(argument)?),
            "$set" | "$addFields" => Self::AddFields(parse_fields(name, document()?)?),
            "$unset" => Self::Project(parse_unset(argument)?),
            "$project" => Self::Project(
                Projection::parse(document()?)?
                    .ok_or_else(|| bad_value("$project specification must have at least one field"))?,
            ),
            "$changeStreamSplitLargeEvent" => Self::SplitLargeEvent,
            _ => return Ok(None),
        }))
    }

    pub fn apply(&self, doc: RawDocumentBuf) -> Result<Option<RawDocumentBuf>> {
        match self {
            Self::Match(filter) => Ok(filter.matches(&doc).then_some(doc)),
            Self::ReplaceRoot(expr) => match expr.evaluate(&doc)? {
                Some(RawBson::Document(root)) => Ok(Some(root)),
                _ => Err(CommandError::new(
                    Code::BadValue,
                    "'newRoot' expression must evaluate to an object",
                )),
            },
            Self::AddFields(fields) => add_fields(&doc, fields).map(Some),
            Self::Project(projection) => Ok(Some(projection.apply(&doc))),
            Self::SplitLargeEvent => Ok(Some(doc)),
        }
    }
}

impl Pipeline {
    pub fn parse<'a>(stages: impl Iterator<Item = bson::error::Result<RawBsonRef<'a>>>) -> Result<Self> {
        let mut parsed = Vec::new();
        for stage in stages {
            let RawBsonRef::Document(stage) = stage? else {
                return Err(CommandError::new(
                    Code::TypeMismatch,
                    "Each element of the 'pipeline' array must be an object",
                ));
            };
            parsed.push(Stage::parse(stage)?.ok_or_else(|| unknown(stage))?);
        }
        Ok(Self(parsed))
    }

    /// What is left of the document, if it passes.
    pub fn apply(&self, doc: RawDocumentBuf) -> Result<Option<RawDocumentBuf>> {
        let mut doc = doc;
        for stage in &self.0 {
            match stage.apply(doc)? {
                Some(next) => doc = next,
                None => return Ok(None),
            }
        }
        Ok(Some(doc))
    }

    pub fn only_reshapes(&self) -> bool {
        self.0
            .iter()
            .all(|s| matches!(s, Stage::ReplaceRoot(_) | Stage::AddFields(_) | Stage::Project(_)))
    }

    /// `apply` for a pipeline that only reshapes, so that a document always comes out.
    pub fn reshape(&self, doc: RawDocumentBuf) -> Result<RawDocumentBuf> {
        self.apply(doc)?
            .ok_or_else(|| CommandError::new(Code::InternalError, "an update pipeline dropped its document"))
    }
}

pub fn unknown(stage: &RawDocument) -> CommandError {
    let name = stage
        .iter()
        .next()
        .and_then(std::result::Result::ok)
        .map_or("", |(k, _)| k.as_str());
    CommandError::new(
        Code::Location40324,
        format!("Unrecognized pipeline stage name: '{name}' (this stand-in knows a subset)"),
    )
}

fn parse_fields(name: &str, fields: &RawDocument) -> Result<Vec<(CString, Expr)>> {
    fields
        .iter()
        .map(|element| {
            let (key, value) = element?;
            if key.as_str().contains('.') {
                return Err(bad_value(format!(
                    "{name} of the dotted path '{}' is not supported by this stand-in",
                    key.as_str()
                )));
            }
            Ok((CString::from(key), Expr::parse(value)?))
        })
        .collect()
}

fn parse_unset(argument: RawBsonRef<'_>) -> Result<Projection> {
    let names: Vec<&str> = match argument {
        RawBsonRef::String(name) => vec![name],
        RawBsonRef::Array(names) => names
            .into_iter()
            .map_while(std::result::Result::ok)
            .filter_map(RawBsonRef::as_str)
            .collect(),
        _ => Vec::new(),
    };
    let mut spec = RawDocumentBuf::new();
    for name in names {
        spec.append(CString::try_from(name)?, 0);
    }
    Projection::parse(&spec)?.ok_or_else(|| bad_value("$unset needs a field name or an array of them"))
}

fn add_fields(doc: &RawDocument, fields: &[(CString, Expr)]) -> Result<RawDocumentBuf> {
    let mut new = fields
        .iter()
        .map(|(name, expr)| Ok((name, expr.evaluate(doc)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut out = RawDocumentBuf::new();
    for element in doc {
        let (key, value) = element?;
        match new.iter().position(|(name, _)| name.as_str() == key.as_str()) {
            Some(at) => {
                if let (name, Some(value)) = new.remove(at) {
                    out.append(name, value);
                }
            }
            None => out.append(key, value),
        }
    }
    for (name, value) in new {
        if let Some(value) = value {
            out.append(name, value);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use bson::{rawbson, rawdoc};

    use super::*;

    fn pipeline(stages: RawBson) -> Pipeline {
        Pipeline::parse(stages.as_array().unwrap().into_iter()).unwrap()
    }

    #[test]
    fn debeziums_regex_pipeline_gives_the_event_back_unchanged_or_drops_it() {
        let regex = RawBson::RegularExpression(bson::Regex {
            pattern: "t_acme\\.orders".to_owned().try_into().unwrap(),
            options: "i".to_owned().try_into().unwrap(),
        });
        // Both key orders of the wrapper occur.
        for wrapper in [
            rawdoc! { "namespace": { "$concat": ["$ns.db", ".", "$ns.coll"] }, "event": "$$ROOT" },
            rawdoc! { "event": "$$ROOT", "namespace": { "$concat": ["$ns.db", ".", "$ns.coll"] } },
        ] {
            let p = pipeline(rawbson!([
                { "$replaceRoot": { "newRoot": (wrapper) } },
                { "$match": { "$and": [{ "namespace": (regex.clone()) }, { "event.operationType": { "$in": ["insert"] } }] } },
                { "$replaceRoot": { "newRoot": "$event" } },
            ]));
            let event = |coll: &str| rawdoc! { "_id": { "_data": "82" }, "operationType": "insert", "ns": { "db": "t_acme", "coll": coll } };
            assert_eq!(p.apply(event("orders")).unwrap(), Some(event("orders")));
            assert_eq!(p.apply(event("customers")).unwrap(), None);
        }
    }

    #[test]
    fn an_unknown_stage_is_refused_by_name() {
        let error =
            Pipeline::parse(rawbson!([{ "$lookup": {} }]).as_array().unwrap().into_iter()).unwrap_err();
        assert!(error.message.contains("$lookup") && error.is(Code::Location40324));
    }

    #[test]
    fn fields_are_replaced_in_place_and_appended() {
        let p = pipeline(rawbson!([{ "$set": { "b": "$a", "c": 3 } }, { "$unset": ["a"] }]));
        assert_eq!(
            p.reshape(rawdoc! { "a": 1, "b": 2, "z": 0 }).unwrap(),
            rawdoc! { "b": 1, "z": 0, "c": 3 }
        );
    }
}
