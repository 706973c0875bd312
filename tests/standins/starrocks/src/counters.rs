//! Counters of the admin API.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

#[derive(Debug, Default)]
pub struct Counters {
    pub redirects: AtomicU64,
    pub queries: AtomicU64,
    pub loads_started: AtomicU64,
    pub rows_loaded: AtomicU64,
    pub rows_filtered: AtomicU64,
    pub bytes_received: AtomicU64,
    /// By the reply's Status, and `Dropped` for loads whose reply was never sent.
    loads: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Serialize)]
pub struct Snapshot {
    pub redirects: u64,
    pub queries: u64,
    pub loads_started: u64,
    pub rows_loaded: u64,
    pub rows_filtered: u64,
    pub bytes_received: u64,
    pub loads: BTreeMap<String, u64>,
}

impl Counters {
    pub fn load(&self, outcome: &str) {
        *self.loads.lock().entry(outcome.to_owned()).or_default() += 1;
    }

    pub fn snapshot(&self) -> Snapshot {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Snapshot {
            redirects: get(&self.redirects),
            queries: get(&self.queries),
            loads_started: get(&self.loads_started),
            rows_loaded: get(&self.rows_loaded),
            rows_filtered: get(&self.rows_filtered),
            bytes_received: get(&self.bytes_received),
            loads: self.loads.lock().clone(),
        }
    }
}
