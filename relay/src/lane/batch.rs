//! A batch under construction: rows one after another in one buffer, only the last of each key counting.

use std::hash::BuildHasher;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::ranges::{RangeError, Ranges, Slot};

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
    times: RowTimes,
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
}

/// A closed batch: what is loaded, retried and recorded as one.
#[derive(Clone, Debug)]
pub struct Batch {
    pub ranges: Ranges,
    pub rows: u64,
    /// Kept as one buffer: a retry costs nothing.
    pub body: Bytes,
    pub times: Vec<RowTimes>,
    pub oldest_source_ms: Option<i64>,
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
        }
    }
}

impl BatchBuilder {
    /// A builder that expects a batch like one before.
    pub fn with_capacity(bytes: usize, rows: usize) -> Self {
        let mut builder = Self::default();
        builder.body.reserve(bytes);
        builder.rows.reserve(rows);
        builder
    }

    /// Bytes held, superseded rows included: what memory and limits count.
    pub fn bytes(&self) -> usize {
        self.body.len() - 1
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
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
        if self.oldest_source_ms.is_none() {
            self.oldest_source_ms = times.source_ms;
        }
        let row = self.rows.len() as u32;
        self.rows.push(Row {
            start: start as u32,
            end: self.body.len() as u32,
            key_len: key_len as u32,
            superseded: false,
            times,
        });
        self.supersede(row, start, key_len);
        Ok(())
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
        if self.superseded > 0 {
            self.compact();
        }
        self.body.push(b']');
        Batch {
            ranges: self.ranges,
            rows: self.rows.len() as u64,
            times: self.rows.iter().map(|row| row.times).collect(),
            body: Bytes::from(self.body),
            oldest_source_ms: self.oldest_source_ms,
        }
    }

    /// Moves the surviving rows together, in their order.
    fn compact(&mut self) {
        self.rows.retain(|row| !row.superseded);
        let mut to = 1;
        for row in &self.rows {
            if to > 1 {
                self.body[to] = b',';
                to += 1;
            }
            self.body.copy_within(row.start as usize..row.end as usize, to);
            to += (row.end - row.start) as usize;
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

    fn push(builder: &mut BatchBuilder, key: u8, value: u32) {
        let written = builder.push::<Infallible>(RowTimes::default(), |out| {
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
        let refused = builder.push(RowTimes::default(), |out| {
            out.extend_from_slice(b"{\"half");
            Err("no")
        });
        assert_eq!(refused, Err("no"));
        push(&mut builder, 2, 2);
        assert_eq!(&builder.close().body[..], br#"[{"k":1,"v":1},{"k":2,"v":2}]"#);
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
