//! What all doors share: the catalog, transactions, users, faults and counters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::accounts::{Accounts, Identity};
use crate::config::FrontendConfig;
use crate::counters::Counters;
use crate::faults::{FaultKind, Faults};
use crate::jobs::Jobs;
use crate::load::session::Sessions;
use crate::load::txn::{Txn, TxnManager};
use crate::nodes::Nodes;
use crate::table::catalog::Catalog;
use crate::table::store::{Table, WriteSet};

#[derive(Debug, Clone)]
pub struct Settings {
    /// Time from commit to visible. A real cluster takes 64–100 ms per transaction.
    pub publish_delay: Duration,
    /// The BE asks FE for a transaction's status this often after a slow publish (`get_txn_status_internal_sec`).
    pub txn_status_interval: Duration,
    /// What current_version() says.
    pub version: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            publish_delay: Duration::from_millis(100),
            txn_status_interval: Duration::from_secs(10),
            version: "3.5.0-5be9c5e".into(),
        }
    }
}

#[derive(Debug)]
pub struct Cluster {
    pub settings: Settings,
    pub config: Arc<FrontendConfig>,
    pub nodes: Nodes,
    pub catalog: RwLock<Catalog>,
    pub txns: TxnManager,
    pub sessions: Sessions,
    pub accounts: RwLock<Accounts>,
    pub faults: Faults,
    pub counters: Counters,
    pub jobs: Jobs,
    error_logs: Mutex<VecDeque<(String, String)>>,
    next_connection: AtomicU64,
    pub started: jiff::Timestamp,
}

/// Error logs kept.
const ERROR_LOGS: usize = 200;

impl Cluster {
    pub fn new(settings: Settings, users: BTreeMap<String, String>, nodes: Nodes) -> Self {
        let config = Arc::new(FrontendConfig::default());
        Self {
            settings,
            config: config.clone(),
            nodes,
            catalog: RwLock::default(),
            txns: TxnManager::new(config),
            sessions: Sessions::default(),
            accounts: RwLock::new(Accounts::new(users)),
            faults: Faults::default(),
            counters: Counters::default(),
            jobs: Jobs::default(),
            error_logs: Mutex::default(),
            next_connection: AtomicU64::new(1),
            started: jiff::Timestamp::now(),
        }
    }

    pub fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    pub fn password_of(&self, user: &str) -> Option<String> {
        self.accounts
            .read()
            .users
            .get(user)
            .map(|user| user.password.clone())
    }

    /// May the user load into this table? Default roles count. A table that does not exist is for the load to report.
    pub fn may_load(&self, user: &str, db: &str, table: &str) -> Result<(), Identity> {
        let target = self.catalog.read().target(db, table);
        let accounts = self.accounts.read();
        let who = accounts.login(user);
        match target {
            Some(target) if !accounts.allows(&who, "INSERT", target) => Err(who),
            _ => Ok(()),
        }
    }

    /// A BE's process dies or returns, and FE believes what `heartbeat` says. FE aborts what a BE it knows to be dead, or
    /// to have restarted, was loading; what is PREPARED is on disk and stays.
    pub fn set_backend(&self, index: usize, up: bool, heartbeat: bool) {
        let node = &self.nodes.backends[index];
        let returned = up && !node.is_up();
        node.set(up, heartbeat);
        if returned {
            self.txns.abort_of_backend(index, "coordinate BE restart");
        } else if !up && !heartbeat {
            self.txns.abort_of_backend(index, "coordinate BE is down");
        }
    }

    pub fn keep_error_log(&self, id: &str, text: String) {
        let mut logs = self.error_logs.lock();
        logs.push_back((id.to_owned(), text));
        if logs.len() > ERROR_LOGS {
            logs.pop_front();
        }
    }

    pub fn error_log(&self, id: &str) -> Option<String> {
        self.error_logs
            .lock()
            .iter()
            .find(|(i, _)| i == id)
            .map(|(_, text)| text.clone())
    }

    /// Commits a write set under its transaction and starts publishing it. The rows become visible `delay` later,
    /// whoever is or is not still waiting for them.
    pub fn commit(
        self: &Arc<Self>,
        txn: &Arc<Txn>,
        table: &Arc<Table>,
        set: WriteSet,
        delay: Duration,
    ) -> Result<(), String> {
        {
            // Under the table's lock, so that versions follow the order of commits.
            let mut state = table.write();
            txn.commit()?;
            state.commit(txn.id, set);
        }
        let (cluster, txn, table) = (self.clone(), txn.clone(), table.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            cluster.publish(&txn, &table);
        });
        Ok(())
    }

    fn publish(self: &Arc<Self>, txn: &Arc<Txn>, table: &Arc<Table>) {
        let lag = self
            .faults
            .take(FaultKind::StaleRead, &txn.db, &txn.table)
            .map(|(_, fault)| fault.delay());
        let visible = {
            let mut state = table.write();
            let visible = state.publish(txn.id);
            if lag.is_none() {
                state.replay_all();
            }
            visible
        };
        if let Some(lag) = lag {
            let (table, id) = (table.clone(), txn.id);
            tokio::spawn(async move {
                tokio::time::sleep(lag).await;
                table.write().replay_through(id);
            });
        }
        for id in visible {
            self.txns.make_visible(id);
        }
    }

    /// `SYNC`: this FE replays everything the leader has published.
    pub fn sync(&self) {
        for table in self.catalog.read().all_tables() {
            table.write().replay_all();
        }
    }
}
