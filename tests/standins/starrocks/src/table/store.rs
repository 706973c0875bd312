//! The rows of a table: committed versions wait in order, published ones are visible, replayed ones are readable.
//!
//! A version passes three gates, as in a cluster with a follower FE: *committed* (durable, label COMMITTED), *visible*
//! (published; needs all earlier versions), *readable* (this FE has replayed the publish; `SYNC` forces it).

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::compaction::Versions;
use super::key;
use super::schema::{TableDef, TableModel};
use super::value::Value;

/// Cells by column slot; a row written before ADD COLUMN is shorter than the table is wide.
pub type Row = Arc<[Value]>;

#[derive(Debug, Clone)]
pub enum Write {
    Upsert(Row),
    Delete(Box<[Value]>),
}

/// What one load (or statement) writes to one table.
#[derive(Debug, Default, Clone)]
pub struct WriteSet {
    pub writes: Vec<Write>,
    /// Slot of the merge_condition column: a row replaces when new >= stored.
    pub merge_condition: Option<usize>,
    /// Slots written by a partial update; None means whole rows.
    pub partial: Option<Vec<usize>>,
}

#[derive(Debug)]
struct Pending {
    txn_id: i64,
    writes: WriteSet,
    published: bool,
}

#[derive(Debug)]
pub struct TableState {
    pub def: TableDef,
    rows: BTreeMap<Box<[u8]>, Row>,
    pending: VecDeque<Pending>,
    /// Entries at the head of `pending` that are visible but not yet readable.
    visible: usize,
    pub visible_version: u64,
    pub versions: Versions,
    /// Row ids of duplicate-key tables.
    next_row: u64,
    /// Raised whenever what a reader sees changes.
    pub epoch: u64,
}

#[derive(Debug)]
pub struct Table {
    pub id: i64,
    pub created: jiff::Timestamp,
    state: RwLock<TableState>,
}

impl Table {
    pub fn new(id: i64, def: TableDef) -> Self {
        let state = TableState {
            def,
            rows: BTreeMap::new(),
            pending: VecDeque::new(),
            visible: 0,
            visible_version: 1,
            versions: Versions::default(),
            next_row: 0,
            epoch: 0,
        };
        Self {
            id,
            created: jiff::Timestamp::now(),
            state: RwLock::new(state),
        }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, TableState> {
        self.state.read()
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, TableState> {
        self.state.write()
    }

    pub fn def(&self) -> TableDef {
        self.state.read().def.clone()
    }
}

impl TableState {
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub fn commit(&mut self, txn_id: i64, writes: WriteSet) {
        self.pending.push_back(Pending {
            txn_id,
            writes,
            published: false,
        });
        self.versions.add();
    }

    /// Publishes `txn_id`; returns the transactions that became visible, in order. Publishing out of order waits for
    /// the earlier versions.
    pub fn publish(&mut self, txn_id: i64) -> Vec<i64> {
        if let Some(entry) = self.pending.iter_mut().find(|p| p.txn_id == txn_id) {
            entry.published = true;
        }
        let mut now_visible = Vec::new();
        while let Some(entry) = self.pending.get(self.visible)
            && entry.published
        {
            now_visible.push(entry.txn_id);
            self.visible += 1;
            self.visible_version += 1;
        }
        now_visible
    }

    /// Makes everything visible readable: the follower has replayed the journal.
    pub fn replay_all(&mut self) {
        while self.visible > 0 {
            self.replay_one();
        }
    }

    /// Replays up to and including `txn_id`, when it is visible.
    pub fn replay_through(&mut self, txn_id: i64) {
        let Some(at) = self
            .pending
            .iter()
            .take(self.visible)
            .position(|p| p.txn_id == txn_id)
        else {
            return;
        };
        for _ in 0..=at {
            self.replay_one();
        }
    }

    fn replay_one(&mut self) {
        if let Some(entry) = self.pending.pop_front() {
            self.visible -= 1;
            self.apply(entry.writes);
        }
    }

    /// Rewrites the cells of one column, those of waiting versions included.
    pub fn rewrite(&mut self, slot: usize, convert: impl Fn(&Value) -> Value) {
        let change = |row: &mut Row| {
            if row.get(slot).is_some_and(|v| !v.is_null()) {
                let mut cells = row.to_vec();
                cells[slot] = convert(&cells[slot]);
                *row = cells.into();
            }
        };
        self.rows.values_mut().for_each(change);
        for pending in &mut self.pending {
            for write in &mut pending.writes.writes {
                if let Write::Upsert(row) = write {
                    change(row);
                }
            }
        }
        self.epoch += 1;
    }

    pub fn truncate(&mut self) {
        self.replay_all();
        self.rows.clear();
        self.epoch += 1;
    }

    fn apply(&mut self, set: WriteSet) {
        self.epoch += 1;
        for write in set.writes {
            match (self.def.model, write) {
                (TableModel::Duplicate, Write::Upsert(row)) => {
                    self.next_row += 1;
                    self.rows.insert(Box::new(self.next_row.to_be_bytes()), row);
                }
                (TableModel::Duplicate, Write::Delete(_)) => {}
                (TableModel::Primary, Write::Delete(row)) => {
                    self.rows.remove(&key::encode(self.def.keys(), &row));
                }
                (TableModel::Primary, Write::Upsert(row)) => {
                    self.upsert(row, set.merge_condition, set.partial.as_deref());
                }
            }
        }
    }

    fn upsert(&mut self, row: Row, merge_condition: Option<usize>, partial: Option<&[usize]>) {
        let key = key::encode(self.def.keys(), &row);
        let Some(stored) = self.rows.get(&key) else {
            self.rows.insert(key, row);
            return;
        };
        if let Some(slot) = merge_condition {
            let null = Value::Null;
            let (new, old) = (row.get(slot).unwrap_or(&null), stored.get(slot).unwrap_or(&null));
            if new.compare(old) == Ordering::Less {
                return;
            }
        }
        let row = match partial {
            None => row,
            Some(slots) => {
                let mut merged: Vec<Value> = stored.to_vec();
                merged.resize(merged.len().max(row.len()), Value::Null);
                for &slot in slots {
                    merged[slot] = row[slot].clone();
                }
                merged.into()
            }
        };
        self.rows.insert(key, row);
    }
}
