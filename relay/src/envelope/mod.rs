//! The Debezium MongoDB envelope: what one Kafka record says, read once, without a document.

mod fast;
mod key;

pub use key::{KeyError, document_key};

use crate::guard::Guard;
use crate::json::{Cursor, JsonError, Kind, Text};

/// Operations of a MongoDB event. There is no truncate and no message for MongoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// A snapshot's read.
    Read,
}

impl Op {
    pub fn code(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
        }
    }

    fn parse(code: &[u8]) -> Option<Self> {
        match code {
            b"c" => Some(Self::Create),
            b"u" => Some(Self::Update),
            b"d" => Some(Self::Delete),
            b"r" => Some(Self::Read),
            _ => None,
        }
    }
}

/// What a record means for the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The document is now what the record says.
    Upsert,
    /// The document is gone. Besides `d` this is `u` with a null `after`: with lookup it says *absent now*.
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub op: Op,
    pub change: Change,
    /// The document after the change; empty for deletes.
    pub document: Text<'a>,
    /// `source.ts_ms`: when the source made the change; in a snapshot the connector's clock.
    pub source_ts_ms: Option<i64>,
}

/// Why a record is not a MongoDB change event. None of these may be skipped: each would lose a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the value is not JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the value is not UTF-8")]
    Utf8,
    #[error(
        "the value has no \"op\": is this a Debezium envelope? (ExtractNewDocumentState must not be used)"
    )]
    NoOp,
    #[error("unknown op {0:?}: this relay knows c, u, d and r")]
    UnknownOp(String),
    #[error("\"after\" is {0}: expected a string of Extended JSON, as the MongoDB connector writes it")]
    AfterIsNotText(&'static str),
    #[error("op {0:?} without \"after\"")]
    NoAfter(&'static str),
}

/// Reads envelopes, one after another.
#[derive(Debug, Default)]
pub struct Reader {
    /// The document, when it had to be unescaped.
    unescaped: Vec<u8>,
    /// How the source's block began last time; see [`fast::read`].
    source: Vec<u8>,
}

/// Beyond this the beginning of a source's block is not worth remembering.
const SOURCE_MAX: usize = 4096;

impl Reader {
    /// Reads one. The document stays in place when it can be read there, else it is unescaped into this reader.
    ///
    /// Accepts the bare envelope and the one inside `{"schema":…,"payload":…}`.
    pub fn read<'a>(&'a mut self, value: &'a [u8]) -> Result<Envelope<'a>, EnvelopeError> {
        // StarRocks refuses a whole body for one malformed byte; seen here, it names the record.
        if simdutf8::basic::from_utf8(value).is_err() {
            return Err(EnvelopeError::Utf8);
        }
        if let Some(found) = fast::read(value, &self.source) {
            let fields = Fields {
                op: Some(found.op),
                after: found.after.map(After::InPlace),
                source_ts_ms: Some(found.source_ts_ms),
                source: None,
            };
            return fields.finish(&[]);
        }
        self.unescaped.clear();
        let mut cursor = Cursor::new(value);
        let mut fields = Fields::default();
        fields.read(&mut cursor, &mut self.unescaped)?;
        cursor.end()?;
        if let Some(source) = fields.source.filter(|source| source.len() <= SOURCE_MAX) {
            self.source.clear();
            self.source.extend_from_slice(source);
        }
        fields.finish(&self.unescaped)
    }
}

#[derive(Default)]
struct Fields<'a> {
    op: Option<Op>,
    after: Option<After<'a>>,
    source_ts_ms: Option<i64>,
    /// Text of the source's block up to the value of `ts_ms`.
    source: Option<&'a [u8]>,
}

/// Where the document is.
#[derive(Clone, Copy)]
enum After<'a> {
    InPlace(Text<'a>),
    Unescaped,
}

impl<'a> Fields<'a> {
    fn read(&mut self, cursor: &mut Cursor<'a>, document: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        if !cursor.open_object()? {
            return Ok(());
        }
        loop {
            match cursor.name()?.raw {
                b"after" => self.read_after(cursor, document)?,
                b"op" => {
                    let code = cursor.string()?.value()?;
                    self.op = Some(Op::parse(&code).ok_or_else(|| {
                        EnvelopeError::UnknownOp(String::from_utf8_lossy(&code).into_owned())
                    })?);
                }
                b"source" if cursor.kind()? == Kind::Object => self.read_source(cursor)?,
                // Only the wrapper has it: an envelope's own fields stand at its top.
                b"payload" if self.op.is_none() && cursor.kind()? == Kind::Object => {
                    self.read(cursor, document)?;
                }
                _ => cursor.skip()?,
            }
            if !cursor.next_member()? {
                return Ok(());
            }
        }
    }

    fn read_after(&mut self, cursor: &mut Cursor<'a>, document: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        match cursor.kind()? {
            Kind::String => {
                self.after = Some(match cursor.string_of_json()? {
                    Some(text) => After::InPlace(text),
                    None => {
                        document.clear();
                        cursor.string_into(document)?;
                        After::Unescaped
                    }
                });
                Ok(())
            }
            Kind::Null => Ok(cursor.literal(b"null")?),
            Kind::Object => Err(EnvelopeError::AfterIsNotText("an object")),
            _ => Err(EnvelopeError::AfterIsNotText("neither null nor a string")),
        }
    }

    fn read_source(&mut self, cursor: &mut Cursor<'a>) -> Result<(), EnvelopeError> {
        cursor.peek()?;
        let start = cursor.at();
        if !cursor.open_object()? {
            return Ok(());
        }
        loop {
            let name = cursor.name()?;
            if name.raw == b"ts_ms" && cursor.kind()? == Kind::Number {
                self.source = Some(cursor.slice(start, cursor.at()).bytes());
                let (text, _) = cursor.number()?;
                self.source_ts_ms = parse_i64(text);
                return Ok(cursor.skip_rest_of_object()?);
            } else {
                cursor.skip()?;
            }
            if !cursor.next_member()? {
                return Ok(());
            }
        }
    }

    fn finish(self, unescaped: &'a [u8]) -> Result<Envelope<'a>, EnvelopeError> {
        let op = self.op.ok_or(EnvelopeError::NoOp)?;
        let change = match (op, self.after.is_some()) {
            (Op::Delete, _) => Change::Delete,
            (Op::Update, false) if Guard::AbsentNow.holds() => Change::Delete,
            (_, true) => Change::Upsert,
            (op, false) => return Err(EnvelopeError::NoAfter(op.code())),
        };
        Ok(Envelope {
            op,
            change,
            document: match (change, self.after) {
                (Change::Upsert, Some(After::InPlace(text))) => text,
                (Change::Upsert, Some(After::Unescaped)) => Text::plain(unescaped),
                _ => Text::default(),
            },
            source_ts_ms: self.source_ts_ms,
        })
    }
}

/// `ts_ms` of a heartbeat record.
pub fn heartbeat_ts_ms(value: &[u8]) -> Option<i64> {
    let mut cursor = Cursor::new(value);
    if !cursor.open_object().ok()? {
        return None;
    }
    loop {
        let name = cursor.name().ok()?;
        match name.raw {
            b"ts_ms" => return parse_i64(cursor.number().ok()?.0),
            b"payload" => return heartbeat_ts_ms(&value[cursor.at()..]),
            _ => cursor.skip().ok()?,
        }
        if !cursor.next_member().ok()? {
            return None;
        }
    }
}

pub(crate) fn parse_i64(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
