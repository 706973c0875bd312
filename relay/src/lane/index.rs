//! The table is the index (correctness rule 4): what a document has no more is found by asking the table what it holds of it,
//! and taken away in the same load that brings what the document has now.

use std::collections::{HashMap, HashSet};
use std::mem;

use super::batch::{Batch, Document, Origin};
use crate::guard::Guard;
use crate::shape::keytext::IndexPlan;

/// Documents asked about at once.
pub const ASK_MAX: usize = 1000;

type Keys = Vec<Box<[u8]>>;
/// What a table holds, per plan and document.
pub type Held = HashMap<(usize, Box<[u8]>), Keys>;

/// What is known of the table without asking. Only the lane writes the table, so what it wrote is what is there.
#[derive(Debug)]
pub struct Index {
    plans: Vec<IndexPlan>,
    /// Two generations: when the younger is full, the older is forgotten. Bounded, and what is used stays.
    young: Held,
    old: Held,
    young_bytes: usize,
    max_bytes: usize,
}

impl Index {
    pub fn new(plans: Vec<IndexPlan>, max_bytes: usize) -> Self {
        Self {
            plans,
            young: Held::new(),
            old: Held::new(),
            young_bytes: 0,
            max_bytes,
        }
    }

    pub fn plans(&self) -> &[IndexPlan] {
        &self.plans
    }

    /// Another owner may have written since.
    pub fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }

    /// What the batch's documents were known to have. Documents missing from it have to be asked for.
    pub fn known(&self, batch: &Batch) -> Held {
        let of = |document: &Document| {
            let id = (document.plan, document.id.clone());
            let keys = self.young.get(&id).or_else(|| self.old.get(&id))?.clone();
            Some((id, keys))
        };
        batch.documents.iter().filter_map(of).collect()
    }

    /// Adds the rows that go, given what the table holds of every document of the batch.
    pub fn complete(&self, batch: &mut Batch, held: &Held) {
        if !Guard::TableIsIndex.holds() {
            return;
        }
        let mut gone = Vec::new();
        for document in &batch.documents {
            let id = (document.plan, document.id.clone());
            let old = held.get(&id).map(Vec::as_slice).unwrap_or_default();
            // What a filter that asks nobody would do: rows for documents that never were.
            if old.is_empty() && document.keys.is_empty() && !Guard::Tombstones.holds() {
                let key = self.plans[document.plan].key_of(&document.id);
                let mut row = Vec::new();
                self.plans[document.plan].delete(&key, document.ver, &mut row);
                gone.push((document.origin, key.len(), row));
            }
            for key in vanished(old, &document.keys) {
                let mut row = Vec::new();
                self.plans[document.plan].delete(key, document.ver, &mut row);
                gone.push((document.origin, key.len(), row));
            }
        }
        batch.append(gone.into_iter());
    }

    /// The batch is in the table, all but the documents of some records.
    pub fn remember(&mut self, batch: &mut Batch, refused: &HashSet<Origin>) {
        for document in mem::take(&mut batch.documents) {
            let id = (document.plan, document.id);
            if refused.contains(&document.origin) {
                self.young.remove(&id);
                self.old.remove(&id);
                continue;
            }
            let bytes = |keys: &Keys| -> usize { keys.iter().map(|key| key.len() + 16).sum::<usize>() + 64 };
            self.young_bytes += id.1.len() + bytes(&document.keys);
            self.old.remove(&id);
            if let Some(before) = self.young.insert(id, document.keys) {
                self.young_bytes = self.young_bytes.saturating_sub(bytes(&before));
            }
        }
        if self.young_bytes > self.max_bytes / 2 {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

/// Old ∖ new.
pub fn vanished<'k>(old: &'k [Box<[u8]>], new: &[Box<[u8]>]) -> Vec<&'k [u8]> {
    if old.len().min(new.len()) < 16 {
        return old
            .iter()
            .filter(|key| !new.contains(key))
            .map(|key| &**key)
            .collect();
    }
    let new: HashSet<&[u8]> = new.iter().map(|key| &**key).collect();
    old.iter()
        .map(|key| &**key)
        .filter(|key| !new.contains(key))
        .collect()
}

#[cfg(test)]
mod tests;
