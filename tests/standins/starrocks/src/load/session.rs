//! The transaction interface: begin, load (several), prepare, commit under one label. One table per transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::HeaderMap;
use parking_lot::Mutex;

use super::headers::{DEFAULT_TIMEOUT, LoadHeaders};
use super::plan::LoadPlan;
use super::rows;
use super::txn::{BeginError, Txn, TxnState};
use crate::cluster::Cluster;
use crate::table::schema::TableModel;
use crate::table::store::{Table, WriteSet};

/// Statuses are the names of the server's enum.
#[derive(Debug)]
pub enum TxnError {
    LabelExists(&'static str),
    NotExists(String),
    InProcessing(String),
    Invalid(String),
    Internal(String),
}

impl TxnError {
    pub fn status(&self) -> &'static str {
        match self {
            Self::LabelExists(_) => "LABEL_ALREADY_EXISTS",
            Self::NotExists(_) => "TXN_NOT_EXISTS",
            Self::InProcessing(_) => "TXN_IN_PROCESSING",
            Self::Invalid(_) => "INVALID_ARGUMENT",
            Self::Internal(_) => "INTERNAL_ERROR",
        }
    }

    pub fn message(&self, label: &str) -> String {
        match self {
            Self::LabelExists(_) => format!("Label [{label}] has already been used."),
            Self::NotExists(l) => format!("transaction with label {l} not exists"),
            Self::InProcessing(l) => format!("transaction with label {l} is in processing"),
            Self::Invalid(m) | Self::Internal(m) => m.clone(),
        }
    }
}

#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub total: u64,
    pub filtered: u64,
    pub bytes: u64,
}

#[derive(Debug)]
struct Gathered {
    set: WriteSet,
    totals: Totals,
    loads: u32,
}

#[derive(Debug)]
pub struct Session {
    pub txn: Arc<Txn>,
    table: Arc<Table>,
    gathered: Mutex<Gathered>,
    /// One request at a time per label.
    busy: tokio::sync::Mutex<()>,
    pub started: Instant,
}

#[derive(Debug, Default)]
pub struct Sessions {
    by_label: Mutex<HashMap<(String, String), Arc<Session>>>,
}

/// FE waits this long for the publish of a committed transaction.
const COMMIT_WAIT: Duration = Duration::from_secs(20);

impl Sessions {
    pub fn get(&self, db: &str, label: &str) -> Option<Arc<Session>> {
        self.by_label
            .lock()
            .get(&(db.to_owned(), label.to_owned()))
            .cloned()
    }

    fn put(&self, session: Arc<Session>) {
        let mut by_label = self.by_label.lock();
        by_label.retain(|_, s| !matches!(s.txn.state(), TxnState::Visible | TxnState::Aborted));
        by_label.insert((session.txn.db.clone(), session.txn.label.clone()), session);
    }
}

pub fn begin(cluster: &Arc<Cluster>, headers: &HeaderMap, user: &str) -> Result<Arc<Session>, TxnError> {
    let (db, table, label) = names(headers)?;
    let found = cluster.catalog.read().table(db, table);
    let found = found.ok_or_else(|| TxnError::Internal(format!("unknown table \"{db}.{table}\"")))?;
    let parsed = LoadHeaders::parse(headers).map_err(TxnError::Invalid)?;
    let txn = cluster.txns.begin(db, table, label, user).map_err(|e| match e {
        BeginError::LabelUsed { status } => TxnError::LabelExists(status),
        BeginError::TooManyRunning(message) => TxnError::Internal(message),
    })?;
    super::run::expire(cluster, &txn, parsed.timeout.unwrap_or(DEFAULT_TIMEOUT));
    let gathered = Gathered {
        set: WriteSet::default(),
        totals: Totals::default(),
        loads: 0,
    };
    let session = Arc::new(Session {
        txn,
        table: found,
        gathered: Mutex::new(gathered),
        busy: tokio::sync::Mutex::default(),
        started: Instant::now(),
    });
    cluster.sessions.put(session.clone());
    Ok(session)
}

fn names(headers: &HeaderMap) -> Result<(&str, &str, &str), TxnError> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    match (text("db"), text("table"), text("label")) {
        (_, _, "") => Err(TxnError::Invalid("Empty label.".into())),
        ("", _, _) => Err(TxnError::Invalid("No database selected.".into())),
        (_, "", _) => Err(TxnError::Invalid("No table selected.".into())),
        found => Ok(found),
    }
}

/// The open transaction a request names.
pub fn find(cluster: &Cluster, headers: &HeaderMap) -> Result<Arc<Session>, TxnError> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let (db, label) = (text("db"), text("label"));
    let session = cluster
        .sessions
        .get(db, label)
        .ok_or_else(|| TxnError::NotExists(label.to_owned()))?;
    let table = text("table");
    if !table.is_empty() && table != session.txn.table {
        return Err(TxnError::Invalid(format!(
            "request table {table} not equal transaction table {}",
            session.txn.table
        )));
    }
    Ok(session)
}

impl Session {
    fn guard(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, TxnError> {
        self.busy
            .try_lock()
            .map_err(|_| TxnError::InProcessing(self.txn.label.clone()))
    }

    /// One more body for this transaction.
    pub async fn load(
        self: &Arc<Self>,
        cluster: &Cluster,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<u64, TxnError> {
        let _busy = self.guard()?;
        let bytes = body.len() as u64;
        let loaded = self.convert(headers, body).await;
        match loaded {
            Ok(converted) => {
                let mut gathered = self.gathered.lock();
                gathered.set.merge_condition = converted.set.merge_condition;
                gathered.set.partial = converted.set.partial;
                gathered.set.writes.extend(converted.set.writes);
                gathered.totals.total += converted.total;
                gathered.totals.filtered += converted.filtered;
                gathered.totals.bytes += bytes;
                gathered.loads += 1;
                Ok(bytes)
            }
            Err(message) => Err(self.fail(cluster, message)),
        }
    }

    async fn convert(self: &Arc<Self>, headers: &HeaderMap, body: Bytes) -> Result<rows::Converted, String> {
        if self.txn.state() != TxnState::Prepare {
            return Err(format!("transaction is {}", self.txn.state().as_str()));
        }
        let headers = LoadHeaders::parse(headers)?;
        let (plan, primary) = {
            let state = self.table.read();
            (
                LoadPlan::new(&state.def, &headers)?,
                state.def.model == TableModel::Primary,
            )
        };
        let ratio = headers.max_filter_ratio;
        let converted = tokio::task::spawn_blocking(move || {
            let body = headers.compression.decode(body)?;
            rows::convert_body(&plan, &headers, &body, primary)
        })
        .await
        .unwrap_or_else(|e| Err(format!("load worker failed: {e}")))?;
        if converted.filtered as f64 > ratio * converted.total as f64 {
            return Err("too many filtered rows".into());
        }
        Ok(converted)
    }

    /// Any error of begin, load or prepare rolls the transaction back.
    fn fail(&self, cluster: &Cluster, message: String) -> TxnError {
        let _ = cluster.txns.abort(&self.txn, &message);
        TxnError::Internal(message)
    }

    pub fn totals(&self) -> Totals {
        self.gathered.lock().totals.clone()
    }

    pub fn prepare(&self, cluster: &Cluster) -> Result<(), TxnError> {
        let _busy = self.guard()?;
        if self.gathered.lock().loads == 0 {
            return Err(self.fail(
                cluster,
                format!("transaction {} hasn't send any data yet", self.txn.label),
            ));
        }
        self.txn.prepare().map_err(TxnError::Internal)
    }

    /// Commits and waits for the publish; true when the rows are visible.
    pub async fn commit(&self, cluster: &Arc<Cluster>) -> Result<bool, TxnError> {
        let _busy = self.guard()?;
        if self.gathered.lock().loads == 0 {
            return Err(self.fail(
                cluster,
                format!("transaction {} hasn't send any data yet", self.txn.label),
            ));
        }
        let set = std::mem::take(&mut self.gathered.lock().set);
        let loaded = {
            let t = self.totals();
            t.total - t.filtered
        };
        let delay = cluster.settings.publish_delay;
        cluster
            .commit(&self.txn, &self.table, set, delay)
            .map_err(TxnError::Internal)?;
        cluster
            .counters
            .rows_loaded
            .fetch_add(loaded, std::sync::atomic::Ordering::Relaxed);
        Ok(self.txn.wait(COMMIT_WAIT, |s| s == TxnState::Visible).await)
    }

    pub fn rollback(&self, cluster: &Cluster) -> Result<(), TxnError> {
        cluster
            .txns
            .abort(&self.txn, "user rollback")
            .map_err(TxnError::Internal)
    }
}
