//! A batch under construction: rows one after another in one buffer, only the last of each key counting.

use std::collections::HashMap;
use std::hash::BuildHasher;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::park::Parked;
use super::ranges::{RangeError, Ranges, Slot};
use crate::shape::{DocumentRows, RowSpan};

/// Times a row carries for the latency figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowTimes {
    /// When the source made the change; `None`: unknown, or a snapshot's read, whose clock is the connector's.
    pub source_ms: Option<i64>,
    /// The record's timestamp in Kafka.
    pub kafka_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    start: u32,
    end: u32,
    key_len: u32,
    /// A later row of the batch has the same key.
    superseded: bool,
    origin: Origin,
    times: RowTimes,
}

/// The record a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub slot: Slot,
    pub offset: i64,
}

/// Rows and ranges of the next load. The body is `[row,row,…]`.
///
/// Collapsing to the last row per key is not an optimisation: StarRocks has lost the upsert of a delete + upsert in one load
/// (StarRocks#75014), and its order inside a load is an implementation detail.
#[derive(Debug)]
pub struct BatchBuilder {
    body: Vec<u8>,
    rows: Vec<Row>,
    /// Row index by key bytes.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    superseded: usize,
    ranges: Ranges,
    /// `source.ts` of the first event, whatever became of its row.
    oldest_source_ms: Option<i64>,
    /// Per plan and identity: only the last event of a document counts, with all its rows.
    documents: HashMap<(usize, Box<[u8]>), PendingDocument>,
    documents_bytes: usize,
    parked: Vec<Parked>,
    parked_bytes: usize,
    /// Rows of one document before they join the body.
    scratch: (Vec<u8>, Vec<RowSpan>),
}

#[derive(Debug)]
struct PendingDocument {
    rows: Vec<u32>,
    ver: i64,
    origin: Origin,
}

/// A document of a table that is its own index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The lane's plan for the dataset it comes from.
    pub plan: usize,
    pub id: Box<[u8]>,
    pub ver: i64,
    pub origin: Origin,
    /// The keys it has now.
    pub keys: Vec<Box<[u8]>>,
}

/// A row of a closed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow {
    pub start: u32,
    pub end: u32,
    pub key_len: u32,
    pub origin: Origin,
}

/// A closed batch: what is loaded, retried and recorded as one.
#[derive(Clone, Debug)]
pub struct Batch {
    pub ranges: Ranges,
    pub rows: u64,
    /// Kept as one buffer: a retry costs nothing.
    pub body: Bytes,
    /// Where each row stands in the body.
    pub spans: Vec<BatchRow>,
    pub times: Vec<RowTimes>,
    pub oldest_source_ms: Option<i64>,
    pub documents: Vec<Document>,
    pub parked: Vec<Parked>,
}

impl Batch {
    /// Neither a row to load, nor a document to compare with the table, nor one to park.
    pub fn is_nothing(&self) -> bool {
        self.rows == 0 && self.documents.is_empty() && self.parked.is_empty()
    }

    /// Appends a row to a closed batch: what the table holds and a document has no more.
    pub fn append(&mut self, rows: impl Iterator<Item = (Origin, usize, Vec<u8>)>) {
        let mut body = Vec::from(std::mem::take(&mut self.body));
        body.pop();
        for (origin, key_len, row) in rows {
            if body.len() > 1 {
                body.push(b',');
            }
            let start = body.len() as u32;
            body.extend_from_slice(&row);
            self.spans.push(BatchRow {
                start,
                end: body.len() as u32,
                key_len: key_len as u32,
                origin,
            });
            self.rows += 1;
        }
        body.push(b']');
        self.body = Bytes::from(body);
    }
}

/// Offsets into the body are 32 bits; a batch closes long before (its limit is checked at start-up).
pub const MAX_BODY: usize = 1 << 30;

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            body: vec![b'['],
            rows: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            superseded: 0,
            ranges: Ranges::default(),
            oldest_source_ms: None,
            documents: HashMap::new(),
            documents_bytes: 0,
            parked: Vec::new(),
            parked_bytes: 0,
            scratch: (Vec::new(), Vec::new()),
        }
    }
}

impl BatchBuilder {
    /// A builder that expects a batch like one before.
    pub fn with_capacity(bytes: usize, rows: usize) -> Self {
        let mut builder = Self::default();
        builder.body.reserve(bytes);
        builder.rows.reserve(rows);
        builder.index = HashTable::with_capacity(rows);
        builder
    }

    /// Bytes held, superseded rows included: what memory and limits count.
    pub fn bytes(&self) -> usize {
        self.body.len() - 1 + self.documents_bytes + self.parked_bytes
    }

    /// Rows held, and documents without any: each may mean rows to take away.
    pub fn rows(&self) -> usize {
        self.rows.len().max(self.documents.len()) + self.parked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn oldest_source_ms(&self) -> Option<i64> {
        self.oldest_source_ms
    }

    /// Moves a slot's range on without a row: tombstones, skipped events, transaction markers.
    pub fn advance(&mut self, slot: Slot, start: i64, end: i64) -> Result<(), RangeError> {
        self.ranges.extend(slot, start, end)
    }

    /// Adds a row that `write` appends to the body; `write` answers the length of the row's key prefix.
    pub fn push<E>(
        &mut self,
        origin: Origin,
        times: RowTimes,
        write: impl FnOnce(&mut Vec<u8>) -> Result<usize, E>,
    ) -> Result<(), E> {
        let before = self.body.len();
        if before > 1 {
            self.body.push(b',');
        }
        let start = self.body.len();
        let key_len = match write(&mut self.body) {
            Ok(key_len) => key_len,
            Err(error) => {
                self.body.truncate(before);
                return Err(error);
            }
        };
        self.seen(times);
        self.add(start, key_len, origin, times);
        Ok(())
    }

    /// Adds what a document is now: all its rows, which replace those of its earlier events in this batch.
    pub fn push_document<E>(
        &mut self,
        origin: Origin,
        times: RowTimes,
        (plan, ver): (usize, i64),
        write: impl FnOnce(&mut Vec<u8>, &mut Vec<RowSpan>) -> Result<DocumentRows, E>,
    ) -> Result<(), E> {
        let (mut text, mut spans) = std::mem::take(&mut self.scratch);
        text.clear();
        spans.clear();
        let result = write(&mut text, &mut spans);
        if let Ok(document) = &result {
            self.seen(times);
            let mut rows = Vec::with_capacity(spans.len());
            for span in &spans {
                if self.body.len() > 1 {
                    self.body.push(b',');
                }
                let start = self.body.len();
                self.body.extend_from_slice(&text[span.start..span.end]);
                rows.push(self.add(start, span.key_len, origin, times));
            }
            let added = PendingDocument { rows, ver, origin };
            let id: Box<[u8]> = document.id.as_slice().into();
            let bytes = id.len() + std::mem::size_of::<PendingDocument>();
            match self.documents.insert((plan, id), added) {
                Some(earlier) => {
                    for row in earlier.rows {
                        self.rows[row as usize].superseded = true;
                        self.superseded += 1;
                    }
                }
                None => self.documents_bytes += bytes,
            }
        }
        self.scratch = (text, spans);
        result.map(drop)
    }

    /// Adds a document that cannot become rows.
    pub fn park(&mut self, parked: Parked) {
        self.parked_bytes += parked.bytes();
        self.parked.push(parked);
    }

    fn seen(&mut self, times: RowTimes) {
        if self.oldest_source_ms.is_none() {
            self.oldest_source_ms = times.source_ms;
        }
    }

    fn add(&mut self, start: usize, key_len: usize, origin: Origin, times: RowTimes) -> u32 {
        let row = self.rows.len() as u32;
        self.rows.push(Row {
            start: start as u32,
            end: self.body.len() as u32,
            key_len: key_len as u32,
            superseded: false,
            origin,
            times,
        });
        self.supersede(row, start, key_len);
        row
    }

    fn supersede(&mut self, row: u32, start: usize, key_len: usize) {
        let (body, rows, hasher) = (&self.body, &mut self.rows, &self.hasher);
        let key = &body[start..start + key_len];
        let key_of = |rows: &[Row], index: u32| {
            let row = rows[index as usize];
            row.start as usize..(row.start + row.key_len) as usize
        };
        let hash = hasher.hash_one(key);
        let entry = self.index.entry(
            hash,
            |other| body[key_of(rows, *other)] == *key,
            |other| hasher.hash_one(&body[key_of(rows, *other)]),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut occupied) => {
                let older = std::mem::replace(occupied.get_mut(), row);
                rows[older as usize].superseded = true;
                self.superseded += 1;
            }
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                vacant.insert(row);
            }
        }
    }

    /// Closes the batch.
    pub fn close(mut self) -> Batch {
        let documents = self.close_documents();
        if self.superseded > 0 {
            self.compact();
        }
        self.body.push(b']');
        Batch {
            ranges: self.ranges,
            rows: self.rows.len() as u64,
            spans: self
                .rows
                .iter()
                .map(|row| BatchRow {
                    start: row.start,
                    end: row.end,
                    key_len: row.key_len,
                    origin: row.origin,
                })
                .collect(),
            times: self.rows.iter().map(|row| row.times).collect(),
            body: Bytes::from(self.body),
            oldest_source_ms: self.oldest_source_ms,
            documents,
            parked: self.parked,
        }
    }

    fn close_documents(&mut self) -> Vec<Document> {
        let key = |row: &u32| {
            let row = self.rows[*row as usize];
            // Two elements with one key: the later has it.
            let at = row.start as usize..(row.start + row.key_len) as usize;
            (!row.superseded).then(|| Box::from(&self.body[at]))
        };
        let mut documents: Vec<_> = self
            .documents
            .drain()
            .map(|((plan, id), document)| Document {
                plan,
                id,
                ver: document.ver,
                origin: document.origin,
                keys: document.rows.iter().filter_map(key).collect(),
            })
            .collect();
        documents.sort_unstable_by_key(|document| (document.origin.slot.0, document.origin.offset));
        documents
    }

    /// Moves the surviving rows together, in their order.
    fn compact(&mut self) {
        self.rows.retain(|row| !row.superseded);
        let mut to = 1;
        for row in &mut self.rows {
            if to > 1 {
                self.body[to] = b',';
                to += 1;
            }
            self.body.copy_within(row.start as usize..row.end as usize, to);
            let len = row.end - row.start;
            row.start = to as u32;
            row.end = row.start + len;
            to += len as usize;
        }
        self.body.truncate(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    fn origin(offset: i64) -> Origin {
        Origin {
            slot: Slot(0),
            offset,
        }
    }

    fn push(builder: &mut BatchBuilder, key: u8, value: u32) {
        let written = builder.push::<Infallible>(origin(i64::from(value)), RowTimes::default(), |out| {
            out.extend_from_slice(format!("{{\"k\":{key}").as_bytes());
            let key_len = format!("{{\"k\":{key}").len();
            out.extend_from_slice(format!(",\"v\":{value}}}").as_bytes());
            Ok(key_len)
        });
        assert_eq!(written, Ok(()));
    }

    proptest! {
        /// Against the naive reference: a map of key to its last value, in order of last writes.
        #[test]
        fn only_the_last_row_of_a_key_survives(keys in proptest::collection::vec(0u8..12, 0..80)) {
            let mut builder = BatchBuilder::default();
            let mut last = BTreeMap::new();
            for (i, key) in keys.iter().enumerate() {
                push(&mut builder, *key, i as u32);
                last.insert(*key, i as u32);
            }
            let batch = builder.close();
            let rows: Vec<serde_json::Value> = serde_json::from_slice(&batch.body).unwrap();
            let mut expected: Vec<(u32, u8)> = last.into_iter().map(|(k, v)| (v, k)).collect();
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(v, k)| serde_json::json!({"k": k, "v": v})).collect();
            prop_assert_eq!(batch.rows as usize, expected.len());
            prop_assert_eq!(rows, expected);
        }
    }

    #[test]
    fn a_refused_row_leaves_nothing_behind() {
        let mut builder = BatchBuilder::default();
        push(&mut builder, 1, 1);
        let refused = builder.push(origin(1), RowTimes::default(), |out| {
            out.extend_from_slice(b"{\"half");
            Err("no")
        });
        assert_eq!(refused, Err("no"));
        push(&mut builder, 2, 2);
        assert_eq!(&builder.close().body[..], br#"[{"k":1,"v":1},{"k":2,"v":2}]"#);
    }

    fn push_document(builder: &mut BatchBuilder, offset: i64, id: u8, elements: &[u8]) {
        let written = builder.push_document::<Infallible>(
            origin(offset),
            RowTimes::default(),
            (0, offset),
            |out, rows| {
                for element in elements {
                    let start = out.len();
                    out.extend_from_slice(format!("{{\"d\":{id},\"e\":{element}").as_bytes());
                    let key_len = out.len() - start;
                    out.extend_from_slice(format!(",\"v\":{offset}}}").as_bytes());
                    rows.push(RowSpan {
                        start,
                        end: out.len(),
                        key_len,
                    });
                }
                Ok(DocumentRows {
                    id: vec![id],
                    ..DocumentRows::default()
                })
            },
        );
        assert_eq!(written, Ok(()));
    }

    proptest! {
        /// Against the naive reference: the last element list of each document, the last of equal elements.
        #[test]
        fn only_the_last_event_of_a_document_survives(
            events in proptest::collection::vec((0u8..4, proptest::collection::vec(0u8..5, 0..4)), 0..30),
        ) {
            let mut builder = BatchBuilder::default();
            let mut last = BTreeMap::new();
            for (i, (id, elements)) in events.iter().enumerate() {
                push_document(&mut builder, i as i64, *id, elements);
                last.insert(*id, (i as i64, elements.clone()));
            }
            let batch = builder.close();
            let mut rows: Vec<(u64, u64, i64)> = serde_json::from_slice::<Vec<serde_json::Value>>(&batch.body)
                .unwrap()
                .iter()
                .map(|r| (r["d"].as_u64().unwrap(), r["e"].as_u64().unwrap(), r["v"].as_i64().unwrap()))
                .collect();
            rows.sort_unstable();
            let mut expected: Vec<_> = last
                .iter()
                .flat_map(|(id, (ver, elements))| {
                    let mut distinct = elements.clone();
                    distinct.sort_unstable();
                    distinct.dedup();
                    distinct.into_iter().map(|e| (u64::from(*id), u64::from(e), *ver)).collect::<Vec<_>>()
                })
                .collect();
            expected.sort_unstable();
            prop_assert_eq!(&rows, &expected);
            prop_assert_eq!(batch.documents.len(), last.len());
            for span in &batch.spans {
                let row: serde_json::Value = serde_json::from_slice(&batch.body[span.start as usize..span.end as usize]).unwrap();
                prop_assert_eq!(row["v"].as_i64(), Some(span.origin.offset));
            }
        }
    }

    #[test]
    fn ranges_without_rows_are_a_batch_too() {
        let mut builder = BatchBuilder::default();
        builder.advance(Slot(3), 7, 9).unwrap();
        let batch = builder.close();
        assert_eq!((batch.rows, &batch.body[..]), (0, &b"[]"[..]));
        assert_eq!(batch.ranges.to_string(), "3:[7,9)");
    }
}
