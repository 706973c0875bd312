//! One collection: documents in the order they came, and the `_id` index over them.

use std::{collections::BTreeMap, ops::Bound};

use bson::{RawDocumentBuf, Uuid};

use super::{
    Doc,
    matcher::{Filter, IdAccess},
    order::Key,
    projection::Sort,
};

pub struct Collection {
    pub uuid: [u8; 16],
    /// `changeStreamPreAndPostImages` is on.
    pub images: bool,
    /// Specifications only: reads use the `_id` index or scan.
    pub indexes: Vec<RawDocumentBuf>,
    records: BTreeMap<u64, (Key, Doc)>,
    ids: BTreeMap<Key, u64>,
    next_record: u64,
    bytes: usize,
}

/// What a read wants, in the order it is worked off.
pub struct Query<'a> {
    pub filter: &'a Filter,
    pub sort: Option<&'a Sort>,
    pub skip: usize,
    pub limit: usize,
}

impl Collection {
    pub fn new() -> Self {
        Self {
            uuid: Uuid::new().bytes(),
            images: false,
            indexes: Vec::new(),
            records: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_record: 0,
            bytes: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, id: &Key) -> Option<&Doc> {
        self.records.get(self.ids.get(id)?).map(|(_, doc)| doc)
    }

    /// Refuses, with `false`, when the key is taken.
    #[must_use]
    pub fn insert(&mut self, id: Key, doc: Doc) -> bool {
        if self.ids.contains_key(&id) {
            return false;
        }
        self.bytes += doc.as_bytes().len();
        self.ids.insert(id.clone(), self.next_record);
        self.records.insert(self.next_record, (id, doc));
        self.next_record += 1;
        true
    }

    pub fn replace(&mut self, id: &Key, doc: Doc) {
        if let Some((_, slot)) = self.ids.get(id).and_then(|record| self.records.get_mut(record)) {
            self.bytes = self.bytes - slot.as_bytes().len() + doc.as_bytes().len();
            *slot = doc;
        }
    }

    pub fn remove(&mut self, id: &Key) -> Option<Doc> {
        let record = self.ids.remove(id)?;
        let (_, doc) = self.records.remove(&record)?;
        self.bytes -= doc.as_bytes().len();
        Some(doc)
    }

    /// All of them, in the order they were inserted.
    pub fn documents(&self) -> impl Iterator<Item = &Doc> {
        self.records.values().map(|(_, doc)| doc)
    }

    /// The documents of a query, a stable picture however long its cursor lives.
    pub fn find(&self, query: &Query<'_>) -> Vec<Doc> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let by_id = query.sort.map(Sort::by_id);
        if let (Some(sort), Some(None)) = (query.sort, by_id) {
            let mut found: Vec<Doc> = self
                .matching(query.filter, None)
                .map(|(_, doc)| doc.clone())
                .collect();
            sort.sort(&mut found);
            return found.into_iter().skip(query.skip).take(limit).collect();
        }
        self.matching(query.filter, by_id.flatten())
            .skip(query.skip)
            .take(limit)
            .map(|(_, doc)| doc.clone())
            .collect()
    }

    /// The keys of matching documents, for writes.
    pub fn matching_ids(&self, filter: &Filter, limit: usize) -> Vec<Key> {
        self.matching(filter, None)
            .take(limit)
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub fn count(&self, filter: &Filter) -> usize {
        self.matching(filter, None).count()
    }

    /// Matching documents, in `_id` order when asked (`Some(descending)`) or when the filter narrows the `_id`s, else in
    /// the order they were inserted.
    fn matching<'a>(
        &'a self,
        filter: &'a Filter,
        by_id: Option<bool>,
    ) -> Box<dyn Iterator<Item = &'a (Key, Doc)> + 'a> {
        let range = |low, high| {
            self.ids
                .range((low, high))
                .filter_map(|(_, record)| self.records.get(record))
        };
        let candidates: Box<dyn DoubleEndedIterator<Item = &'a (Key, Doc)> + 'a> = match filter.id_access() {
            IdAccess::Points(keys) => {
                let records: Vec<_> = keys
                    .iter()
                    .filter_map(|k| self.records.get(self.ids.get(k)?))
                    .collect();
                Box::new(records.into_iter())
            }
            IdAccess::Range(low, high) => Box::new(range(low, high)),
            IdAccess::All if by_id.is_some() => Box::new(range(Bound::Unbounded, Bound::Unbounded)),
            IdAccess::All => Box::new(self.records.values()),
        };
        let matches = |(_, doc): &&(Key, Doc)| filter.matches(doc);
        if by_id == Some(true) {
            Box::new(candidates.rev().filter(matches))
        } else {
            Box::new(candidates.filter(matches))
        }
    }
}

impl Default for Collection {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, rawdoc};

    use super::*;

    fn filled(ids: &[i32]) -> Collection {
        let mut collection = Collection::new();
        for id in ids {
            let doc = Doc::new(rawdoc! { "_id": *id, "even": id % 2 == 0 });
            assert!(collection.insert(Key(RawBson::Int32(*id)), doc));
        }
        collection
    }

    fn ids(collection: &Collection, filter: RawDocumentBuf, sort: RawDocumentBuf, limit: usize) -> Vec<i32> {
        let filter = Filter::parse(&filter).unwrap();
        let sort = Sort::parse(&sort).unwrap();
        let query = Query {
            filter: &filter,
            sort: sort.as_ref(),
            skip: 0,
            limit,
        };
        collection
            .find(&query)
            .iter()
            .map(|d| d.get_i32("_id").unwrap())
            .collect()
    }

    #[test]
    fn reads_keep_insertion_order_unless_told_otherwise() {
        let collection = filled(&[3, 1, 2, 4]);
        assert_eq!(ids(&collection, rawdoc! {}, rawdoc! {}, 0), [3, 1, 2, 4]);
        assert_eq!(ids(&collection, rawdoc! {}, rawdoc! { "_id": -1 }, 2), [4, 3]);
        assert_eq!(
            ids(&collection, rawdoc! { "even": true }, rawdoc! { "_id": 1 }, 0),
            [2, 4]
        );
        assert_eq!(
            ids(
                &collection,
                rawdoc! { "_id": { "$gt": 1, "$lte": 3 } },
                rawdoc! { "_id": 1 },
                1
            ),
            [2]
        );
    }

    #[test]
    fn one_key_whatever_the_numeric_type() {
        let mut collection = filled(&[43]);
        assert!(!collection.insert(Key(RawBson::Int64(43)), Doc::new(rawdoc! { "_id": 43_i64 })));
        assert!(collection.get(&Key(RawBson::Double(43.0))).is_some());
        assert!(
            collection.remove(&Key(RawBson::Int64(43))).is_some()
                && collection.is_empty()
                && collection.bytes() == 0
        );
    }
}
