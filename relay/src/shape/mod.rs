//! Document → row: a table's mapping compiled once, then one pass over the JSON text per event.
//!
//! A row is the JSON object that goes into the load's body. Its primary-key columns come first, so the bytes up to
//! [`Shaped::key_len`] identify the row and a batch can collapse by comparing them in place.

pub mod bson;
mod compile;
pub mod convert;
mod decimal;
mod expr;
mod extra;
mod fast;
mod key;
pub mod keytext;
pub mod path;
mod rows;
pub mod time;
mod tree;
mod walk;

pub use compile::{Mapping, MappingError};
pub use rows::{DocumentRows, RowSpan};

use tributary_crds::relay::{Deletes, EXTRA_MAX_BYTES, KEY_MAX_BYTES};

use crate::envelope::{Change, Op};
use crate::json::{Cursor, JsonError, Text, write_int};
use extra::Extra;
use key::KeyValue;
use tree::Tree;
use walk::Walk;

/// One change event, as far as a mapping may look at it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub tenant: &'a str,
    pub dataset: &'a str,
    /// Canonical text of the document's `_id`.
    pub key: &'a [u8],
    pub op: Op,
    pub change: Change,
    /// The document; empty for deletes.
    pub document: Text<'a>,
    pub source_ts_ms: Option<i64>,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub ver: i64,
}

/// What shaping one event gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shaped {
    /// Length of the row's prefix that holds the primary key.
    pub key_len: usize,
    /// Values that did not fit their column and went to `_extra`.
    pub overflowed: u32,
    /// `_extra` was cut.
    pub truncated: bool,
}

/// Why an event cannot become a row: its document is parked, or stops its lane where there is no dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("key column {column}: {why}")]
    Key { column: String, why: String },
    #[error("column {column}: a {found} at {path} does not fit {ty} and onError is Reject")]
    Reject {
        column: String,
        path: String,
        found: &'static str,
        ty: String,
    },
    #[error("column {column}: {what} and onError is Reject")]
    Expr { column: String, what: String },
    #[error("where: {why}")]
    Filter { why: String },
    #[error("explode: found a {found} where the array should be")]
    Explode { found: &'static str },
    #[error("the primary key takes {bytes} bytes, StarRocks allows {KEY_MAX_BYTES}")]
    KeyTooLong { bytes: usize },
    #[error("column {column} is NOT NULL and has no default, but the document has no fitting value for it")]
    NotNull { column: String },
    #[error("the document is not Extended JSON: {0}")]
    Document(#[from] JsonError),
}

/// Buffers reused from event to event.
#[derive(Debug)]
pub struct Scratch {
    extra: Extra,
    /// Bit per leaf: its column has been written.
    seen: Vec<u64>,
    /// Path of an unmapped value, when it has to be spelled out.
    path: String,
    /// An expression's result on its way into a column.
    text: Vec<u8>,
    /// Where the array to explode stands in the document.
    exploded: Option<(usize, usize)>,
    pieces: rows::Pieces,
    element_pieces: rows::Pieces,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            extra: Extra::new(EXTRA_MAX_BYTES),
            seen: Vec::new(),
            path: String::new(),
            text: Vec::new(),
            exploded: None,
            pieces: rows::Pieces::default(),
            element_pieces: rows::Pieces::default(),
        }
    }
}

impl Scratch {
    fn see_none(&mut self, leaves: usize) {
        self.seen.clear();
        self.seen.resize(leaves.div_ceil(64), 0);
    }
}

impl Mapping {
    /// Appends the event's row to `out`. On an error `out` is as it was.
    pub fn shape(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Shaped, Refused> {
        let start = out.len();
        let result = if self.computes {
            // Expressions hand parts of the text around: it has to be plain.
            let plain = event.document.to_plain();
            let event = Event {
                document: Text::plain(&plain),
                ..*event
            };
            self.row(&event, scratch, out)
        } else {
            self.row(event, scratch, out)
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn row(&self, event: &Event<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<Shaped, Refused> {
        let start = out.len();
        for column in &self.key_columns {
            out.extend_from_slice(&column.prefix);
            let why = match column.source.write(event, &column.ty, out) {
                KeyValue::Written => continue,
                KeyValue::Null => "has no value for this key".to_owned(),
                KeyValue::Unfit(why) => why,
            };
            return Err(Refused::Key {
                column: column.name.clone(),
                why,
            });
        }
        let key_len = out.len() - start;
        if self.long_keys {
            self.key_fits(&out[start..])?;
        }
        let mut shaped = Shaped {
            key_len,
            ..Shaped::default()
        };
        let present = event.change == Change::Upsert
            && match &self.filter {
                Some(filter) => expr::holds(filter, event)?,
                None => true,
            };
        if present {
            out.extend_from_slice(match self.deletes {
                Deletes::Hard => b",\"__op\":0,\"_ver\":".as_slice(),
                Deletes::Soft => b",\"_deleted\":false,\"_ver\":",
            });
            write_int(event.ver, out);
            self.known_columns(event, out)?;
            self.document(event, scratch, &mut shaped, out)?;
        } else {
            keytext::write_gone(self.deletes, event.ver, &self.delete_fill, out);
        }
        out.push(b'}');
        Ok(shaped)
    }

    /// The row of a document that is gone, whatever the event says: nothing of a parked document is to stay visible.
    pub fn gone(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Shaped, Refused> {
        let gone = Event {
            change: Change::Delete,
            ..*event
        };
        self.shape(&gone, scratch, out)
    }

    /// Only for tables whose declared lengths do not rule it out.
    fn key_fits(&self, mut key: &[u8]) -> Result<(), Refused> {
        let mut bytes = 0;
        for (i, column) in self.key_columns.iter().enumerate() {
            let next = self.key_columns.get(i + 1).map(|next| next.prefix.as_slice());
            key = &key[column.prefix.len()..];
            let mut cursor = Cursor::new(key);
            cursor.skip()?;
            let (value, rest) = key.split_at(cursor.at());
            bytes += keytext::encoded(&column.ty, value, next.is_none());
            key = rest;
        }
        if bytes > KEY_MAX_BYTES {
            return Err(Refused::KeyTooLong { bytes });
        }
        Ok(())
    }

    /// Non-key columns that need no document.
    fn known_columns(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        for column in &self.known_columns {
            let before = out.len();
            out.extend_from_slice(&column.prefix);
            if column.source.write(event, &column.ty, out) != KeyValue::Written {
                out.truncate(before);
                column.absent.write(&column.name, out)?;
            }
        }
        Ok(())
    }

    fn document(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        shaped: &mut Shaped,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        scratch.extra.clear();
        scratch.see_none(self.level.leaves.len());
        let mut cursor = Cursor::over(event.document);
        let mut walk = Walk {
            level: &self.level,
            scratch,
            shaped,
            out,
            spans: None,
        };
        walk.object(Tree::ROOT, &mut cursor, false)?;
        cursor.end()?;
        walk.absent_leaves()?;
        for column in &self.exprs {
            expr::column(column, event, None, scratch, shaped, out)?;
        }
        shaped.truncated = scratch.extra.truncated();
        scratch
            .extra
            .append((event.topic, event.partition, event.offset), out);
        Ok(())
    }
}

#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;
