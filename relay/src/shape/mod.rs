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
mod key;
pub mod keytext;
pub mod path;
mod rows;
pub mod time;
mod tree;

pub use compile::{Mapping, MappingError};
pub use rows::{DocumentRows, RowSpan};

use tributary_crds::relay::{Deletes, EXTRA_MAX_BYTES, KEY_MAX_BYTES, OnError};

use crate::envelope::{Change, Op};
use crate::json::{Cursor, JsonError, Kind, Text, write_int};
use compile::Level;
use convert::Converted;
use extra::Extra;
use key::KeyValue;
use tree::{Node, Tree};

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

/// One pass over one document.
struct Walk<'m, 's> {
    level: &'m Level,
    scratch: &'s mut Scratch,
    shaped: &'s mut Shaped,
    out: &'s mut Vec<u8>,
    /// Where each leaf's text stands in `out`, for whoever puts the row together afterwards.
    spans: Option<&'s mut Vec<(u32, u32)>>,
}

impl<'m> Walk<'m, '_> {
    fn node(&self, at: usize) -> &'m Node {
        &self.level.tree.nodes[at]
    }

    /// Columns the document had no value for.
    fn absent_leaves(&mut self) -> Result<(), Refused> {
        for (i, leaf) in self.level.leaves.iter().enumerate() {
            if self.scratch.seen[i / 64] & (1 << (i % 64)) == 0 {
                let before = self.out.len();
                leaf.absent.write(&leaf.name, self.out)?;
                self.span(i, before);
            }
        }
        Ok(())
    }

    #[inline]
    fn span(&mut self, leaf: usize, before: usize) {
        if let Some(spans) = &mut self.spans {
            spans[leaf] = (before as u32, self.out.len() as u32);
        }
    }

    /// Walks an object's members. `covered`: a column holds the whole object, so nothing of it belongs in `_extra`.
    fn object(&mut self, at: usize, cursor: &mut Cursor<'_>, covered: bool) -> Result<(), Refused> {
        let node = self.node(at);
        let mut hint = 0;
        let mut more = cursor.open_object()?;
        while more {
            if let Some(child) = node.next(cursor, &mut hint) {
                self.value(child, cursor, covered)?;
                more = cursor.next_member()?;
                continue;
            }
            let name = cursor.name()?;
            let plain = name.value()?;
            match node.find(&plain, &mut hint) {
                Some(child) => self.value(child, cursor, covered)?,
                None if covered => cursor.skip()?,
                None => {
                    self.scratch.path.clear();
                    self.scratch.path.push_str(&node.path);
                    path::push_name(&mut self.scratch.path, &String::from_utf8_lossy(&plain));
                    self.scratch.extra.take(&self.scratch.path, cursor)?;
                }
            }
            more = cursor.next_member()?;
        }
        Ok(())
    }

    fn array(&mut self, at: usize, cursor: &mut Cursor<'_>, covered: bool) -> Result<(), Refused> {
        let node = self.node(at);
        let mut index = 0;
        let mut more = cursor.open_array()?;
        while more {
            match node.elements.iter().find(|(i, _)| *i == index) {
                Some((_, element)) => self.value(*element, cursor, covered)?,
                None if covered => cursor.skip()?,
                None => {
                    self.scratch.path.clear();
                    self.scratch.path.push_str(&node.path);
                    path::push_index(&mut self.scratch.path, index);
                    self.scratch.extra.take(&self.scratch.path, cursor)?;
                }
            }
            more = cursor.next_element()?;
            index += 1;
        }
        Ok(())
    }

    /// A value that some path leads to or through.
    fn value(&mut self, at: usize, cursor: &mut Cursor<'_>, covered: bool) -> Result<(), Refused> {
        let node = self.node(at);
        if node.ignore {
            return Ok(cursor.skip()?);
        }
        cursor.peek()?;
        let start = cursor.at();
        let mut covered = covered;
        if node.explode {
            cursor.skip()?;
            self.scratch.exploded = Some((start, cursor.at()));
            covered = true;
        }
        for leaf in &node.leaves {
            cursor.seek(start);
            covered |= self.leaf(*leaf, node, cursor)?;
        }
        if node.is_leaf() {
            return match node.leaves.is_empty() && !node.explode {
                // The root of an element that no column reads into.
                true if covered => Ok(cursor.skip()?),
                true => Ok(self.scratch.extra.take(&node.path, cursor)?),
                false => Ok(()),
            };
        }
        cursor.seek(start);
        match cursor.kind()? {
            // An empty one has no parts to keep, but is not the same as none at all.
            Kind::Object if !node.children.is_empty() && cursor.clone().open_object()? => {
                self.object(at, cursor, covered)
            }
            Kind::Array if !node.elements.is_empty() && cursor.clone().open_array()? => {
                self.array(at, cursor, covered)
            }
            _ if covered => Ok(cursor.skip()?),
            _ => Ok(self.scratch.extra.take(&node.path, cursor)?),
        }
    }

    /// Writes one column. Consumes the value; `true` when the column (or `_extra`) holds it.
    fn leaf(&mut self, index: usize, node: &Node, cursor: &mut Cursor<'_>) -> Result<bool, Refused> {
        let leaf = &self.level.leaves[index];
        let start = cursor.at();
        let (word, bit) = (index / 64, 1u64 << (index % 64));
        if self.scratch.seen[word] & bit != 0 {
            // BSON allows a name twice; the column has the first, `_extra` the second.
            self.scratch.extra.take(&node.path, cursor)?;
            return Ok(true);
        }
        let before = self.out.len();
        self.out.extend_from_slice(&leaf.prefix);
        match convert::convert(cursor, &leaf.ty, self.out)? {
            Converted::Written => {
                self.scratch.seen[word] |= bit;
                self.span(index, before);
                return Ok(true);
            }
            Converted::Null => {
                self.out.truncate(before);
                return Ok(true);
            }
            Converted::Unfit => self.out.truncate(before),
        }
        cursor.seek(start);
        let keep = match leaf.on_error {
            OnError::Overflow => true,
            OnError::SetNull => false,
            OnError::Reject => {
                return Err(Refused::Reject {
                    column: leaf.name.clone(),
                    path: node.path.clone(),
                    found: bson::read(cursor)?.type_name(),
                    ty: leaf.ty.to_string(),
                });
            }
        };
        // The default is for an absent or null value; what did not fit is NULL.
        leaf.unfit.write(&leaf.name, self.out)?;
        self.scratch.seen[word] |= bit;
        self.span(index, before);
        if keep {
            self.shaped.overflowed += 1;
            self.scratch.extra.take(&node.path, cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;
