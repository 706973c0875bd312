//! Transactions and their labels. A label belongs to one database, over all kinds of load.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::config::{FrontendConfig, Key};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnState {
    Prepare,
    Prepared,
    Committed,
    Visible,
    Aborted,
}

impl TxnState {
    /// `state` of get_load_state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE",
            Self::Prepared => "PREPARED",
            Self::Committed => "COMMITTED",
            Self::Visible => "VISIBLE",
            Self::Aborted => "ABORTED",
        }
    }

    /// `ExistingJobStatus` of a duplicate label.
    pub fn existing_job_status(self) -> &'static str {
        match self {
            Self::Prepare | Self::Prepared => "RUNNING",
            Self::Committed | Self::Visible | Self::Aborted => "FINISHED",
        }
    }

    /// `STATE` of information_schema.loads.
    pub fn load_state(self) -> &'static str {
        match self {
            Self::Prepare => "LOADING",
            Self::Prepared => "PREPARED",
            Self::Committed => "COMMITTED",
            Self::Visible => "FINISHED",
            Self::Aborted => "CANCELLED",
        }
    }

    fn running(self) -> bool {
        matches!(self, Self::Prepare | Self::Prepared)
    }
}

/// What a finished load reports in information_schema.loads.
#[derive(Debug, Clone, Default)]
pub struct TxnStats {
    pub total_rows: u64,
    pub loaded_rows: u64,
    pub filtered_rows: u64,
    pub bytes: u64,
    pub reason: String,
    pub tracking_url: Option<String>,
    pub committed_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Txn {
    pub id: i64,
    pub label: String,
    pub db: String,
    pub table: String,
    pub user: String,
    /// The BE that coordinates it.
    pub backend: Option<usize>,
    pub created: Timestamp,
    state: watch::Sender<TxnState>,
    pub stats: RwLock<TxnStats>,
}

impl Txn {
    pub fn state(&self) -> TxnState {
        *self.state.borrow()
    }

    /// Moves PREPARE (or PREPARED) to COMMITTED; refused when the transaction was aborted meanwhile.
    pub fn commit(&self) -> Result<(), String> {
        self.advance(TxnState::Committed, TxnState::running)?;
        self.stats.write().committed_at = Some(Timestamp::now());
        Ok(())
    }

    pub fn prepare(&self) -> Result<(), String> {
        self.advance(TxnState::Prepared, |s| s == TxnState::Prepare)
    }

    fn make_visible(&self) {
        let done = self.advance(TxnState::Visible, |s| s == TxnState::Committed);
        if done.is_ok() {
            self.stats.write().finished_at = Some(Timestamp::now());
        }
    }

    /// Aborts a running transaction; a committed one cannot be taken back.
    fn abort(&self, reason: &str) -> Result<(), String> {
        self.advance(TxnState::Aborted, TxnState::running)?;
        let mut stats = self.stats.write();
        stats.reason = reason.to_owned();
        stats.finished_at = Some(Timestamp::now());
        Ok(())
    }

    fn advance(&self, to: TxnState, allowed: impl Fn(TxnState) -> bool) -> Result<(), String> {
        let mut refused = None;
        self.state.send_if_modified(|state| {
            if allowed(*state) {
                *state = to;
                return true;
            }
            refused = Some(*state);
            false
        });
        match refused {
            None => Ok(()),
            Some(TxnState::Aborted) => Err(format!(
                "transaction [{}] is already aborted, abort reason: {}",
                self.id,
                self.stats.read().reason
            )),
            Some(state) => Err(format!("transaction [{}] is already {}", self.id, state.as_str())),
        }
    }

    /// Waits for a state for at most `within`; true when it came.
    pub async fn wait(&self, within: Duration, wanted: impl Fn(TxnState) -> bool) -> bool {
        let mut watch = self.state.subscribe();
        let waiting = watch.wait_for(|s| wanted(*s));
        matches!(tokio::time::timeout(within, waiting).await, Ok(Ok(_)))
    }

    pub async fn aborted(&self) {
        let mut watch = self.state.subscribe();
        let _ = watch.wait_for(|s| *s == TxnState::Aborted).await;
    }
}

#[derive(Debug)]
pub enum BeginError {
    LabelUsed { status: &'static str },
    TooManyRunning(String),
}

#[derive(Debug, Default)]
struct DbTxns {
    by_label: HashMap<String, Arc<Txn>>,
    /// Finished transactions, oldest first: the label memory.
    finished: VecDeque<Arc<Txn>>,
    running: usize,
}

impl DbTxns {
    /// An aborted label may have been taken again since.
    fn forget(&mut self, txn: &Txn) {
        if self.by_label.get(&txn.label).is_some_and(|t| t.id == txn.id) {
            self.by_label.remove(&txn.label);
        }
    }
}

#[derive(Debug)]
pub struct TxnManager {
    databases: Mutex<HashMap<String, DbTxns>>,
    /// Transactions that are not finished yet.
    open: Mutex<HashMap<i64, Arc<Txn>>>,
    next_id: AtomicI64,
    config: Arc<FrontendConfig>,
}

/// What a transaction is begun with.
#[derive(Debug, Clone, Copy)]
pub struct Begin<'a> {
    pub db: &'a str,
    pub table: &'a str,
    pub label: &'a str,
    pub user: &'a str,
    /// The BE that coordinates it; none for a statement.
    pub backend: Option<usize>,
}

impl TxnManager {
    pub fn new(config: Arc<FrontendConfig>) -> Self {
        Self {
            databases: Mutex::default(),
            open: Mutex::default(),
            next_id: AtomicI64::new(1),
            config,
        }
    }

    pub fn begin(&self, begin: Begin<'_>) -> Result<Arc<Txn>, BeginError> {
        let Begin {
            db,
            table,
            label,
            user,
            backend,
        } = begin;
        let mut databases = self.databases.lock();
        let of_db = databases.entry(db.to_owned()).or_default();
        if let Some(known) = of_db.by_label.get(label)
            && known.state() != TxnState::Aborted
        {
            return Err(BeginError::LabelUsed {
                status: known.state().existing_job_status(),
            });
        }
        let limit = self.config.get(Key::MaxRunningTxnNumPerDb);
        if of_db.running as u64 >= limit {
            return Err(BeginError::TooManyRunning(running_txns(
                db,
                of_db.running as u64,
                limit,
            )));
        }
        of_db.running += 1;
        let txn = Arc::new(Txn {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            label: label.to_owned(),
            db: db.to_owned(),
            table: table.to_owned(),
            user: user.to_owned(),
            backend,
            created: Timestamp::now(),
            state: watch::Sender::new(TxnState::Prepare),
            stats: RwLock::default(),
        });
        of_db.by_label.insert(label.to_owned(), txn.clone());
        self.open.lock().insert(txn.id, txn.clone());
        Ok(txn)
    }

    /// The table has published this transaction.
    pub fn make_visible(&self, id: i64) {
        let Some(txn) = self.open.lock().get(&id).cloned() else {
            return;
        };
        txn.make_visible();
        self.finished(&txn);
    }

    pub fn abort(&self, txn: &Arc<Txn>, reason: &str) -> Result<(), String> {
        txn.abort(reason)?;
        self.finished(txn);
        Ok(())
    }

    /// VISIBLE or ABORTED: it stops counting as running and its label joins the bounded memory.
    fn finished(&self, txn: &Arc<Txn>) {
        if self.open.lock().remove(&txn.id).is_none() {
            return;
        }
        let mut databases = self.databases.lock();
        let Some(of_db) = databases.get_mut(&txn.db) else {
            return;
        };
        of_db.running = of_db.running.saturating_sub(1);
        of_db.finished.push_back(txn.clone());
    }

    /// Evicts labels by count, ignoring their age, and by age (stream-load-and-relay.md §1.6). FE does it at its clean
    /// interval, so a busy database remembers more than its limit for a while.
    pub fn clean(&self) {
        let max = usize::try_from(self.config.get(Key::LabelKeepMaxNum)).unwrap_or(usize::MAX);
        let seconds = i64::try_from(self.config.get(Key::LabelKeepMaxSecond)).unwrap_or(i64::MAX);
        let oldest = Timestamp::now().as_second().saturating_sub(seconds);
        for of_db in self.databases.lock().values_mut() {
            let expired = |txn: &Arc<Txn>| {
                txn.stats
                    .read()
                    .finished_at
                    .is_some_and(|at| at.as_second() < oldest)
            };
            while of_db.finished.len() > max || of_db.finished.front().is_some_and(expired) {
                let Some(txn) = of_db.finished.pop_front() else {
                    break;
                };
                of_db.forget(&txn);
            }
        }
    }

    /// Evicts one finished label at once; false when there is none.
    pub fn evict(&self, db: &str, label: &str) -> bool {
        let mut databases = self.databases.lock();
        let Some(of_db) = databases.get_mut(db) else {
            return false;
        };
        let Some(at) = of_db.finished.iter().position(|txn| txn.label == label) else {
            return false;
        };
        if let Some(txn) = of_db.finished.remove(at) {
            of_db.forget(&txn);
        }
        true
    }

    /// FE found a coordinating BE dead: what is still in PREPARE is aborted.
    pub fn abort_of_backend(&self, backend: usize, reason: &str) {
        let lost: Vec<Arc<Txn>> = self
            .open
            .lock()
            .values()
            .filter(|txn| txn.backend == Some(backend) && txn.state() == TxnState::Prepare)
            .cloned()
            .collect();
        for txn in lost {
            // It may have been committed or cancelled meanwhile.
            let _ = self.abort(&txn, reason);
        }
    }

    /// Ids below this one were given out before now.
    pub fn watershed(&self) -> i64 {
        self.next_id.load(Ordering::Relaxed)
    }

    /// Unfinished transactions of a table begun before `watershed`.
    pub fn open_before(&self, db: &str, table: &str, watershed: i64) -> usize {
        let open = self.open.lock();
        open.values()
            .filter(|t| t.id < watershed && t.db == db && t.table == table)
            .count()
    }

    /// A database was dropped: one of the same name starts without labels.
    pub fn forget(&self, db: &str) {
        self.databases.lock().remove(db);
    }

    pub fn by_label(&self, db: &str, label: &str) -> Option<Arc<Txn>> {
        self.databases.lock().get(db)?.by_label.get(label).cloned()
    }

    pub fn list(&self) -> Vec<Arc<Txn>> {
        let databases = self.databases.lock();
        let mut all: Vec<_> = databases
            .values()
            .flat_map(|d| {
                d.finished
                    .iter()
                    .chain(d.by_label.values().filter(|t| !is_done(t)))
            })
            .cloned()
            .collect();
        all.sort_by_key(|t| t.id);
        all.dedup_by_key(|t| t.id);
        all
    }
}

fn is_done(txn: &Txn) -> bool {
    matches!(txn.state(), TxnState::Visible | TxnState::Aborted)
}

pub fn running_txns(db: &str, running: u64, limit: u64) -> String {
    format!("current running txns on db {db} is {running}, larger than limit {limit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager() -> TxnManager {
        TxnManager::new(Arc::default())
    }

    fn begin(txns: &TxnManager, db: &str, label: &str) -> Result<Arc<Txn>, BeginError> {
        txns.begin(Begin {
            db,
            table: "t",
            label,
            user: "root",
            backend: Some(0),
        })
    }

    #[test]
    fn an_aborted_label_is_free_again() {
        let txns = manager();
        let first = begin(&txns, "d", "l").unwrap();
        assert!(matches!(
            begin(&txns, "d", "l"),
            Err(BeginError::LabelUsed { status: "RUNNING" })
        ));
        assert!(begin(&txns, "other", "l").is_ok(), "labels are per database");
        txns.abort(&first, "user cancel").unwrap();
        let second = begin(&txns, "d", "l").unwrap();
        second.commit().unwrap();
        assert!(matches!(
            begin(&txns, "d", "l"),
            Err(BeginError::LabelUsed { status: "FINISHED" })
        ));
        assert!(second.abort("too late").is_err());
    }

    /// stream-load-and-relay.md §1.6: label_keep_max_num = 1000 per DB evicts by count, ignoring age, at the cleaner's
    /// interval.
    #[test]
    fn the_cleaner_keeps_a_thousand_labels_per_database() {
        let txns = manager();
        for i in 0..=1000 {
            let txn = begin(&txns, "d", &format!("l{i}")).unwrap();
            txn.commit().unwrap();
            txns.make_visible(txn.id);
        }
        assert!(
            txns.by_label("d", "l0").is_some(),
            "remembered until the cleaner comes"
        );
        txns.clean();
        assert!(txns.by_label("d", "l0").is_none(), "evicted by count");
        assert!(txns.by_label("d", "l1").is_some());
        assert!(txns.evict("d", "l7") && !txns.evict("d", "l7"));
        assert!(
            begin(&txns, "d", "l7").is_ok(),
            "an evicted label is not known as used"
        );
    }

    #[test]
    fn a_dead_backend_aborts_what_it_was_loading_and_keeps_what_is_prepared() {
        let txns = manager();
        let (loading, prepared) = (begin(&txns, "d", "a").unwrap(), begin(&txns, "d", "b").unwrap());
        prepared.prepare().unwrap();
        txns.abort_of_backend(1, "coordinate BE is down");
        assert_eq!(loading.state(), TxnState::Prepare, "another BE's");
        txns.abort_of_backend(0, "coordinate BE is down");
        assert_eq!(
            (loading.state(), prepared.state()),
            (TxnState::Aborted, TxnState::Prepared)
        );
    }
}
