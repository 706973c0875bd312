//! Document → any number of rows, for tables that are their own index (correctness rule 4): one row per element of an array,
//! keys that change with the document, documents that stop matching. What was there before is not known here: the lane
//! compares with the table.

use tributary_crds::column::ColumnType;
use tributary_crds::expr::Program;
use tributary_crds::relay::{Deletes, KEY_MAX_BYTES};

use super::compile::{ExprColumn, Level};
use super::expr::{self, At};
use super::key::{KeySource, KeyValue};
use super::keytext::{self, IndexPlan};
use super::{Change, Cursor, Event, Mapping, Refused, Scratch, Shaped, Text, Walk, write_int};

/// What such a table needs beside a plain mapping.
#[derive(Debug)]
pub(super) struct Indexed {
    pub keys: Vec<IndexedKey>,
    /// Which of the keys is the document's identity.
    pub doc: usize,
    /// One row per element of the array at the node marked `explode`.
    pub element: Option<Element>,
    pub plan: IndexPlan,
}

#[derive(Debug)]
pub(super) struct IndexedKey {
    pub name: String,
    pub prefix: Vec<u8>,
    pub ty: ColumnType,
    pub from: KeyFrom,
}

#[derive(Debug)]
pub(super) enum KeyFrom {
    Known(KeySource),
    Ordinal,
    /// A leaf of the document.
    Document(usize),
    /// A leaf of the element.
    Element(usize),
    Expr(Program),
}

/// Columns that differ from element to element.
#[derive(Debug)]
pub(super) struct Element {
    pub level: Level,
    /// Prefixes of non-key columns from `$ordinal`.
    pub ordinals: Vec<Vec<u8>>,
    pub exprs: Vec<ExprColumn>,
}

impl Element {
    pub(super) fn new() -> Self {
        let mut level = Level::default();
        level.tree.nodes[super::tree::Tree::ROOT].path = "$element".to_owned();
        Self {
            level,
            ordinals: Vec::new(),
            exprs: Vec::new(),
        }
    }
}

/// One row in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSpan {
    pub start: usize,
    pub end: usize,
    pub key_len: usize,
}

/// What one event says of its document, besides the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentRows {
    /// The document's identity, as its key column's text.
    pub id: Vec<u8>,
    pub shaped: Shaped,
}

/// A document's columns, each as `,"name":value` (a key's: the value alone), before they become rows.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    text: Vec<u8>,
    /// Per leaf of the level.
    spans: Vec<(u32, u32)>,
}

impl Pieces {
    fn leaf(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index];
        &self.text[start as usize..end as usize]
    }

    fn append_values(&self, level: &Level, out: &mut Vec<u8>) {
        for (i, leaf) in level.leaves.iter().enumerate() {
            if !leaf.is_key {
                out.extend_from_slice(self.leaf(i));
            }
        }
    }
}

impl Mapping {
    /// Appends the rows the document has now, none when it is gone or does not match. On an error both buffers are as they were.
    pub fn rows(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        rows: &mut Vec<RowSpan>,
    ) -> Result<DocumentRows, Refused> {
        let (bytes, count) = (out.len(), rows.len());
        // Parts of the text are handed around: it has to be plain.
        let plain = event.document.to_plain();
        let event = Event {
            document: Text::plain(&plain),
            ..*event
        };
        let result = self.document_rows(&event, scratch, out, rows);
        if result.is_err() {
            out.truncate(bytes);
            rows.truncate(count);
        }
        result
    }

    /// The identity alone: for a document whose rows go although it could not be shaped.
    pub fn identity(&self, event: &Event<'_>) -> Result<Vec<u8>, Refused> {
        let Some(indexed) = &self.indexed else {
            return Ok(Vec::new());
        };
        let key = &indexed.keys[indexed.doc];
        let mut id = Vec::new();
        let unfit = match &key.from {
            KeyFrom::Known(source) => match source.write(event, &key.ty, &mut id) {
                KeyValue::Written => None,
                KeyValue::Null => Some("has no value".to_owned()),
                KeyValue::Unfit(why) => Some(why),
            },
            _ => Some("does not identify a document".to_owned()),
        };
        if let Some(why) = unfit {
            return Err(key.refused(why));
        }
        keytext::canonical(&key.ty, 0, &mut id);
        Ok(id)
    }

    fn document_rows(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        rows: &mut Vec<RowSpan>,
    ) -> Result<DocumentRows, Refused> {
        let mut found = DocumentRows {
            id: self.identity(event)?,
            shaped: Shaped::default(),
        };
        let Some(indexed) = self.indexed.as_deref() else {
            return Ok(found);
        };
        if event.change == Change::Delete {
            return Ok(found);
        }
        if let Some(filter) = &self.filter
            && !expr::holds(filter, event)?
        {
            return Ok(found);
        }
        let mut pieces = std::mem::take(&mut scratch.pieces);
        let mut of_element = std::mem::take(&mut scratch.element_pieces);
        let mut shaping = Shaping {
            mapping: self,
            indexed,
            event,
            scratch,
            shaped: &mut found.shaped,
            pieces: &mut pieces,
            of_element: &mut of_element,
        };
        let result = shaping.run(out, rows);
        scratch.pieces = pieces;
        scratch.element_pieces = of_element;
        result.map(|()| found)
    }
}

impl IndexedKey {
    fn refused(&self, why: String) -> Refused {
        Refused::Key {
            column: self.name.clone(),
            why,
        }
    }
}

struct Shaping<'m, 's> {
    mapping: &'m Mapping,
    indexed: &'m Indexed,
    event: &'m Event<'m>,
    scratch: &'s mut Scratch,
    shaped: &'s mut Shaped,
    pieces: &'s mut Pieces,
    of_element: &'s mut Pieces,
}

impl Shaping<'_, '_> {
    fn run(&mut self, out: &mut Vec<u8>, rows: &mut Vec<RowSpan>) -> Result<(), Refused> {
        self.document()?;
        let Some(element) = &self.indexed.element else {
            return self.row(None, out, rows);
        };
        let Some((start, end)) = self.scratch.exploded else {
            return Ok(());
        };
        let event = self.event;
        let array = &event.document.bytes()[start..end];
        match expr::is_array(array)? {
            None => return Ok(()),
            Some(true) => {}
            Some(false) => {
                return Err(Refused::Explode {
                    found: super::bson::read(&mut Cursor::new(array))?.type_name(),
                });
            }
        }
        let mut elements = Vec::new();
        expr::each_element(array, |text| elements.push(text))?;
        let shared = self.scratch.extra.mark();
        for (ordinal, text) in elements.into_iter().enumerate() {
            let at = At {
                element: text,
                ordinal: ordinal as i64,
            };
            self.scratch.extra.back_to(shared);
            self.element(element, at)?;
            self.row(Some(at), out, rows)?;
        }
        Ok(())
    }

    /// Reads the document once, its columns into `pieces`.
    fn document(&mut self) -> Result<(), Refused> {
        self.scratch.extra.clear();
        self.scratch.exploded = None;
        self.pieces.text.clear();
        self.mapping.known_columns(self.event, &mut self.pieces.text)?;
        let mut cursor = Cursor::over(self.event.document);
        // Fields of an exploded document that no column wants are kept by the table that has the document, not once per
        // element.
        let covered = self.indexed.element.is_some();
        self.level(&self.mapping.level, true, |walk| {
            walk.object(super::tree::Tree::ROOT, &mut cursor, covered)
        })?;
        cursor.end()?;
        let mut text = std::mem::take(&mut self.pieces.text);
        let mut result = Ok(());
        for column in &self.mapping.exprs {
            result = expr::column(column, self.event, None, self.scratch, self.shaped, &mut text);
            if result.is_err() {
                break;
            }
        }
        self.pieces.text = text;
        result
    }

    fn element(&mut self, element: &Element, at: At<'_>) -> Result<(), Refused> {
        self.of_element.text.clear();
        let mut cursor = Cursor::new(at.element);
        self.level(&element.level, false, |walk| {
            walk.value(super::tree::Tree::ROOT, &mut cursor, false)
        })
    }

    fn level(
        &mut self,
        level: &Level,
        document: bool,
        read: impl FnOnce(&mut Walk<'_, '_>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let pieces = if document {
            &mut *self.pieces
        } else {
            &mut *self.of_element
        };
        pieces.spans.clear();
        pieces.spans.resize(level.leaves.len(), (0, 0));
        self.scratch.see_none(level.leaves.len());
        let mut walk = Walk {
            level,
            scratch: self.scratch,
            shaped: self.shaped,
            out: &mut pieces.text,
            spans: Some(&mut pieces.spans),
        };
        read(&mut walk)?;
        walk.absent_leaves()
    }

    fn row(&mut self, at: Option<At<'_>>, out: &mut Vec<u8>, rows: &mut Vec<RowSpan>) -> Result<(), Refused> {
        let start = out.len();
        let key_len = self.key(at, out)?;
        out.extend_from_slice(match self.mapping.deletes {
            Deletes::Hard => b",\"__op\":0,\"_ver\":".as_slice(),
            Deletes::Soft => b",\"_deleted\":false,\"_ver\":",
        });
        write_int(self.event.ver, out);
        // Known columns and document-level expressions stand around the leaves in one text.
        let leaves = self.pieces.spans.iter().map(|(s, _)| *s).min();
        let ends = self.pieces.spans.iter().map(|(_, e)| *e).max();
        let (first, last) = match (leaves, ends) {
            (Some(first), Some(last)) => (first as usize, last as usize),
            _ => (self.pieces.text.len(), self.pieces.text.len()),
        };
        out.extend_from_slice(&self.pieces.text[..first]);
        self.pieces.append_values(&self.mapping.level, out);
        out.extend_from_slice(&self.pieces.text[last..]);
        if let (Some(element), Some(at)) = (&self.indexed.element, at) {
            for prefix in &element.ordinals {
                out.extend_from_slice(prefix);
                write_int(at.ordinal, out);
            }
            self.of_element.append_values(&element.level, out);
            for column in &element.exprs {
                expr::column(column, self.event, Some(at), self.scratch, self.shaped, out)?;
            }
        }
        self.shaped.truncated |= self.scratch.extra.truncated();
        let event = self.event;
        self.scratch
            .extra
            .append((event.topic, event.partition, event.offset), out);
        out.push(b'}');
        rows.push(RowSpan {
            start,
            end: out.len(),
            key_len,
        });
        Ok(())
    }

    fn key(&self, at: Option<At<'_>>, out: &mut Vec<u8>) -> Result<usize, Refused> {
        let start = out.len();
        let mut encoded = 0;
        let last = self.indexed.keys.len() - 1;
        for (i, key) in self.indexed.keys.iter().enumerate() {
            out.extend_from_slice(&key.prefix);
            let value = out.len();
            self.key_value(key, at, out)?;
            keytext::canonical(&key.ty, value, out);
            encoded += keytext::encoded(&key.ty, &out[value..], i == last);
        }
        if encoded > KEY_MAX_BYTES {
            return Err(Refused::KeyTooLong { bytes: encoded });
        }
        Ok(out.len() - start)
    }

    fn key_value(&self, key: &IndexedKey, at: Option<At<'_>>, out: &mut Vec<u8>) -> Result<(), Refused> {
        match &key.from {
            KeyFrom::Known(source) => match source.write(self.event, &key.ty, out) {
                KeyValue::Written => {}
                KeyValue::Null => return Err(key.refused("has no value for this key".to_owned())),
                KeyValue::Unfit(why) => return Err(key.refused(why)),
            },
            KeyFrom::Ordinal => write_int(at.map_or(0, |at| at.ordinal), out),
            KeyFrom::Document(leaf) => out.extend_from_slice(self.pieces.leaf(*leaf)),
            KeyFrom::Element(leaf) => out.extend_from_slice(self.of_element.leaf(*leaf)),
            KeyFrom::Expr(program) => {
                expr::key(program, self.event, at, &key.ty, out).map_err(|why| key.refused(why))?;
            }
        }
        Ok(())
    }
}
