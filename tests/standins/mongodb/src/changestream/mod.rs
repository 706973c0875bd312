//! Change streams: where one starts, which entries it sees, and what it makes of them.

mod event;
pub mod pipeline;

use std::sync::Arc;

use bson::{
    RawArrayBuf, RawBsonRef, RawDocumentBuf, Timestamp,
    raw::{RawArray, RawDocument},
};

use self::pipeline::Pipeline;
use crate::{
    error::{Code, CommandError, Result, bad_value},
    oplog::{
        Change, Entry, HistoryLost, Oplog,
        token::{self, Token},
    },
    store::Store,
};

/// How many entries are looked at under one hold of the locks.
const SCAN: usize = 512;

/// A batch must fit one reply; some room is left for the reply around it.
pub const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// The largest event: a document of the largest size and what is said about it (MongoDB's internal limit for BSON).
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024 + 16 * 1024;

/// What one batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub events: usize,
    /// An event beyond it fails the stream, again and again until somebody deals with it.
    pub event_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Database(Arc<str>),
    Collection(Arc<str>, Arc<str>),
}

impl Scope {
    fn sees(&self, entry: &Entry) -> bool {
        match self {
            Self::Cluster => !matches!(&*entry.db, "admin" | "local" | "config"),
            Self::Database(db) => entry.db == *db && !entry.collection.starts_with("system."),
            Self::Collection(db, collection) => {
                entry.db == *db
                    && entry.collection == *collection
                    && !matches!(entry.change, Change::DropDatabase)
            }
        }
    }

    /// The change that ends a stream of this scope.
    fn invalidated_by(&self, entry: &Entry) -> bool {
        match self {
            Self::Cluster => false,
            Self::Database(_) => matches!(entry.change, Change::DropDatabase),
            Self::Collection(..) => matches!(entry.change, Change::DropCollection),
        }
    }
}

/// `fullDocument` of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FullDocument {
    Default,
    UpdateLookup,
    WhenAvailable,
    Required,
}

/// `fullDocumentBeforeChange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BeforeChange {
    Off,
    WhenAvailable,
    Required,
}

pub struct ChangeStream {
    scope: Scope,
    full_document: FullDocument,
    before_change: BeforeChange,
    pipeline: Pipeline,
    position: u64,
    /// Entries before this time are passed over: a stream may start in the future.
    floor: Timestamp,
    /// The drop whose `invalidate` is still to be told.
    invalidate: Option<Arc<Entry>>,
    ended: bool,
}

pub struct Batch {
    pub events: Vec<RawDocumentBuf>,
    pub resume_token: RawDocumentBuf,
    /// The stream was invalidated: no batch follows.
    pub last: bool,
}

impl ChangeStream {
    /// `stages` is the whole pipeline; its first stage is `$changeStream`.
    pub fn open(db: &str, collection: Option<&str>, stages: &RawArray, oplog: &Oplog) -> Result<Self> {
        let mut stages = stages.into_iter();
        let first = stages.next().transpose()?.and_then(RawBsonRef::as_document);
        let spec = first
            .map(|stage| stage.get_document("$changeStream"))
            .transpose()
            .map_err(|e| bad_value(e.to_string()))?;
        let spec = spec.ok_or_else(|| bad_value("$changeStream must be the first stage"))?;
        check_options(spec)?;

        let whole_cluster = matches!(spec.get("allChangesForCluster")?, Some(RawBsonRef::Boolean(true)));
        let scope = match collection {
            None if whole_cluster && db == "admin" => Scope::Cluster,
            _ if whole_cluster => {
                return Err(CommandError::new(
                    Code::InvalidOptions,
                    "allChangesForCluster is only for aggregate: 1 on the admin database",
                ));
            }
            None => Scope::Database(db.into()),
            Some(collection) => Scope::Collection(db.into(), collection.into()),
        };
        let mut stream = Self {
            scope,
            full_document: full_document(spec)?,
            before_change: before_change(spec)?,
            pipeline: Pipeline::parse(stages)?,
            position: oplog.end(),
            floor: Timestamp {
                time: 0,
                increment: 0,
            },
            invalidate: None,
            ended: false,
        };
        stream.start(spec, oplog)?;
        Ok(stream)
    }

    fn start(&mut self, spec: &RawDocument, oplog: &Oplog) -> Result<()> {
        let resume_after = optional_document(spec, "resumeAfter")?;
        let start_after = optional_document(spec, "startAfter")?;
        let at_time = match spec.get("startAtOperationTime")? {
            Some(RawBsonRef::Timestamp(at)) => Some(at),
            None => None,
            Some(_) => {
                return Err(CommandError::new(
                    Code::TypeMismatch,
                    "startAtOperationTime must be a timestamp",
                ));
            }
        };
        match (resume_after, start_after, at_time) {
            (None, None, None) => Ok(()),
            (None, None, Some(at)) => self.start_at(at, oplog),
            (Some(token), None, None) => match token::parse(token)? {
                Token::Event {
                    from_invalidate: true,
                    ..
                } => Err(CommandError::new(
                    Code::InvalidResumeToken,
                    "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.",
                )),
                token => self.start_after(token, oplog),
            },
            (None, Some(token), None) => self.start_after(token::parse(token)?, oplog),
            _ => Err(bad_value(
                "Only one type of resume option is allowed, but multiple were found",
            )),
        }
    }

    fn start_at(&mut self, at: Timestamp, oplog: &Oplog) -> Result<()> {
        self.floor = at;
        self.position = oplog.seek(at).map_err(lost)?;
        Ok(())
    }

    fn start_after(&mut self, token: Token, oplog: &Oplog) -> Result<()> {
        let (at, from_invalidate) = match token {
            Token::HighWater { at } => return self.start_at(at, oplog),
            Token::Event { at, from_invalidate } => (at, from_invalidate),
        };
        let Some((entry, next)) = oplog.find(at).map_err(lost)? else {
            return Err(CommandError::new(
                Code::ChangeStreamFatalError,
                "cannot resume stream; the resume token was not found.",
            )
            .label("NonResumableChangeStreamError"));
        };
        self.position = next;
        if !from_invalidate && self.scope.sees(&entry) && self.scope.invalidated_by(&entry) {
            self.invalidate = Some(entry);
        }
        Ok(())
    }

    /// What is there now; never waits. An empty batch carries a high-water mark, so a quiet stream's token keeps up.
    pub fn poll(&mut self, oplog: &Oplog, store: &std::sync::RwLock<Store>, limits: Limits) -> Result<Batch> {
        let mut events = Vec::new();
        let mut bytes = 0;
        loop {
            if let Some(drop) = self.invalidate.take() {
                self.ended = true;
                events.extend(self.pipeline.apply(event::invalidate(&drop))?);
            }
            if self.ended {
                break;
            }
            let (entries, high_water) = oplog.read(self.position, SCAN).map_err(lost)?;
            if entries.is_empty() {
                if events.is_empty() {
                    return Ok(Batch {
                        events,
                        resume_token: token_document(token::high_water(high_water)),
                        last: false,
                    });
                }
                break;
            }
            for entry in entries {
                if let Some(event) = self.tell(&entry, store)? {
                    let size = event.as_bytes().len();
                    bytes += size;
                    if !events.is_empty() && (bytes > MAX_BATCH_BYTES || size > limits.event_bytes) {
                        return Ok(self.batch(events, oplog)); // told, or refused, at the next poll
                    }
                    if size > limits.event_bytes {
                        return Err(too_large(size, limits.event_bytes, &event));
                    }
                    events.push(event);
                }
                self.position += 1;
                if self.scope.sees(&entry) && self.scope.invalidated_by(&entry) {
                    self.invalidate = Some(entry);
                    break;
                }
                if events.len() >= limits.events {
                    return Ok(self.batch(events, oplog));
                }
            }
        }
        Ok(self.batch(events, oplog))
    }

    fn batch(&self, events: Vec<RawDocumentBuf>, oplog: &Oplog) -> Batch {
        let token = events
            .last()
            .and_then(|e| e.get_document("_id").ok())
            .map(ToOwned::to_owned);
        let resume_token = token.unwrap_or_else(|| token_document(token::high_water(oplog.high_water())));
        Batch {
            resume_token,
            events,
            last: self.ended,
        }
    }

    fn tell(&self, entry: &Entry, store: &std::sync::RwLock<Store>) -> Result<Option<RawDocumentBuf>> {
        if entry.at < self.floor || !self.scope.sees(entry) {
            return Ok(None);
        }
        let event = event::build(entry, self.full_document, self.before_change, store)?;
        let id = event.get("_id")?.map(bson::RawBson::from);
        let Some(event) = self.pipeline.apply(event)? else {
            return Ok(None);
        };
        if event.get("_id")?.map(bson::RawBson::from) != id {
            return Err(CommandError::new(
                Code::ChangeStreamFatalError,
                "Encountered an event whose _id field, which contains the resume token, was modified by the pipeline.",
            )
            .label("NonResumableChangeStreamError"));
        }
        Ok(Some(event))
    }
}

fn token_document(data: String) -> RawDocumentBuf {
    bson::rawdoc! { "_data": data }
}

fn too_large(size: usize, limit: usize, event: &RawDocument) -> CommandError {
    let id = event.get("_id").ok().flatten();
    let message = format!(
        "BSONObj size: {size} (0x{size:X}) is invalid. Size must be between 0 and {limit} First element: _id: {id:?}"
    );
    CommandError::new(Code::BSONObjectTooLarge, message)
}

pub fn lost(lost: HistoryLost) -> CommandError {
    let message = format!(
        "Resume of change stream was not possible, as the resume point may no longer be in the oplog. (asked for {:?}, lost through {:?})",
        lost.asked, lost.lost_through
    );
    CommandError::new(Code::ChangeStreamHistoryLost, message).label("NonResumableChangeStreamError")
}

fn check_options(spec: &RawDocument) -> Result<()> {
    const KNOWN: [&str; 7] = [
        "fullDocument",
        "fullDocumentBeforeChange",
        "resumeAfter",
        "startAfter",
        "startAtOperationTime",
        "allChangesForCluster",
        // Accepted when false: the events it adds (create, createIndexes, …) are not told here.
        "showExpandedEvents",
    ];
    for element in spec {
        let (key, value) = element?;
        if !KNOWN.contains(&key.as_str()) {
            return Err(CommandError::new(
                Code::Location40415,
                format!("BSON field '$changeStream.{}' is an unknown field.", key.as_str()),
            ));
        }
        if key.as_str() == "showExpandedEvents" && value == RawBsonRef::Boolean(true) {
            return Err(CommandError::new(
                Code::InvalidOptions,
                "showExpandedEvents is not supported by this stand-in",
            ));
        }
    }
    Ok(())
}

fn optional_document<'a>(spec: &'a RawDocument, name: &str) -> Result<Option<&'a RawDocument>> {
    match spec.get(name)? {
        None => Ok(None),
        Some(RawBsonRef::Document(doc)) => Ok(Some(doc)),
        Some(_) => Err(CommandError::new(
            Code::TypeMismatch,
            format!("BSON field '$changeStream.{name}' is the wrong type, expected object"),
        )),
    }
}

fn full_document(spec: &RawDocument) -> Result<FullDocument> {
    match spec.get_str("fullDocument").unwrap_or("default") {
        "default" => Ok(FullDocument::Default),
        "updateLookup" => Ok(FullDocument::UpdateLookup),
        "whenAvailable" => Ok(FullDocument::WhenAvailable),
        "required" => Ok(FullDocument::Required),
        other => Err(bad_value(format!(
            "Enumeration value '{other}' for field '$changeStream.fullDocument' is not a valid value."
        ))),
    }
}

fn before_change(spec: &RawDocument) -> Result<BeforeChange> {
    match spec.get_str("fullDocumentBeforeChange").unwrap_or("off") {
        "off" => Ok(BeforeChange::Off),
        "whenAvailable" => Ok(BeforeChange::WhenAvailable),
        "required" => Ok(BeforeChange::Required),
        other => Err(bad_value(format!(
            "Enumeration value '{other}' for field '$changeStream.fullDocumentBeforeChange' is not a valid value."
        ))),
    }
}

/// Names of removed fields and the like, as an array.
fn array_of<'a>(items: impl Iterator<Item = &'a str>) -> RawArrayBuf {
    items.collect()
}

#[cfg(test)]
mod tests;
