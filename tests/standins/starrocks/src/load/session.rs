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
use super::txn::{Begin, BeginError, Txn, TxnState};
use crate::cluster::Cluster;
use crate::config::Key;
use crate::faults::FaultKind;
use crate::table::schema::TableModel;
use crate::table::store::{Table, WriteSet};

/// Statuses are the names of the server's enum.
#[derive(Debug)]
pub enum TxnError {
    LabelExists(&'static str),
    NotExists(String),
    InProcessing(String),
    /// What FE or another client aborted.
    Aborted,
    Invalid(String),
    Internal(String),
}

impl TxnError {
    pub fn status(&self) -> &'static str {
        match self {
            Self::LabelExists(_) => "LABEL_ALREADY_EXISTS",
            Self::NotExists(_) => "TXN_NOT_EXISTS",
            Self::InProcessing(_) => "TXN_IN_PROCESSING",
            Self::Aborted => "ABORTED",
            Self::Invalid(_) => "INVALID_ARGUMENT",
            Self::Internal(_) => "INTERNAL_ERROR",
        }
    }

    pub fn message(&self, label: &str) -> String {
        match self {
            Self::LabelExists(_) => format!("Label [{label}] has already been used."),
            Self::NotExists(l) => format!("transaction with label {l} not exists"),
            Self::InProcessing(l) => format!("transaction with label {l} is in processing"),
            Self::Aborted => "transaction is aborted".into(),
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
    /// Jobs that had replaced the table's tablets when the data was written.
    rewrites: u64,
    /// Lines of bad rows, for the error log.
    errors: String,
    max_filter_ratio: f64,
}

#[derive(Debug)]
pub struct Session {
    pub txn: Arc<Txn>,
    table: Arc<Table>,
    gathered: Mutex<Gathered>,
    /// One request at a time per label.
    busy: tokio::sync::Mutex<()>,
    /// `idle_transaction_timeout`, and when the last request came.
    idle: Option<Duration>,
    last_request: Mutex<Instant>,
    /// From PREPARED to COMMITTED.
    prepared_timeout: Duration,
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

    /// The BE knows labels by themselves; a label of another database is a wrong argument.
    fn database_of(&self, label: &str) -> Option<String> {
        let by_label = self.by_label.lock();
        by_label
            .keys()
            .find(|(_, l)| l == label)
            .map(|(db, _)| db.clone())
    }

    fn put(&self, session: Arc<Session>) {
        let mut by_label = self.by_label.lock();
        by_label.retain(|_, s| !matches!(s.txn.state(), TxnState::Visible | TxnState::Aborted));
        by_label.insert((session.txn.db.clone(), session.txn.label.clone()), session);
    }
}

pub fn begin(
    cluster: &Arc<Cluster>,
    headers: &HeaderMap,
    user: &str,
    be: usize,
) -> Result<Arc<Session>, TxnError> {
    let (db, table, label) = names(headers)?;
    let found = cluster.catalog.read().table(db, table);
    let found = found.ok_or_else(|| TxnError::Internal(format!("unknown table \"{db}.{table}\"")))?;
    let parsed = LoadHeaders::parse(headers).map_err(TxnError::Invalid)?;
    let begin = Begin {
        db,
        table,
        label,
        user,
        backend: Some(be),
    };
    let txn = cluster.txns.begin(begin).map_err(|e| match e {
        BeginError::LabelUsed { status } => TxnError::LabelExists(status),
        BeginError::TooManyRunning(message) => TxnError::Internal(message),
    })?;
    super::run::expire(cluster, &txn, parsed.timeout.unwrap_or(DEFAULT_TIMEOUT));
    let gathered = Gathered {
        set: WriteSet::default(),
        totals: Totals::default(),
        loads: 0,
        rewrites: 0,
        errors: String::new(),
        max_filter_ratio: 0.0,
    };
    let prepared = cluster.config.get(Key::PreparedTransactionDefaultTimeoutSecond);
    let session = Arc::new(Session {
        txn,
        table: found,
        gathered: Mutex::new(gathered),
        busy: tokio::sync::Mutex::default(),
        idle: seconds(headers, "idle_transaction_timeout")?,
        last_request: Mutex::new(Instant::now()),
        prepared_timeout: seconds(headers, "prepared_timeout")?.unwrap_or(Duration::from_secs(prepared)),
        started: Instant::now(),
    });
    cluster.sessions.put(session.clone());
    if session.idle.is_some() {
        tokio::spawn(watch_idle(cluster.clone(), session.clone()));
    }
    Ok(session)
}

fn seconds(headers: &HeaderMap, name: &str) -> Result<Option<Duration>, TxnError> {
    let Some(text) = headers.get(name).and_then(|v| v.to_str().ok()) else {
        return Ok(None);
    };
    let parsed = text.trim().parse().map(|s| Some(Duration::from_secs(s)));
    parsed.map_err(|_| TxnError::Invalid(format!("Invalid {name} format: {text}")))
}

/// The BE rolls back what nobody has touched for `idle_transaction_timeout`.
async fn watch_idle(cluster: Arc<Cluster>, session: Arc<Session>) {
    let Some(limit) = session.idle else { return };
    loop {
        let left = limit.saturating_sub(session.last_request.lock().elapsed());
        if session.txn.wait(left, |s| s != TxnState::Prepare).await {
            return;
        }
        // A request that is still running is no idleness.
        if session.busy.try_lock().is_ok() && session.last_request.lock().elapsed() >= limit {
            let _ = cluster
                .txns
                .abort(&session.txn, "transaction is idle for too long");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
    let session =
        cluster
            .sessions
            .get(db, label)
            .ok_or_else(|| match cluster.sessions.database_of(label) {
                Some(other) => TxnError::Invalid(format!("request db {db} not equal transaction db {other}")),
                None => TxnError::NotExists(label.to_owned()),
            })?;
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
        let guard = self
            .busy
            .try_lock()
            .map_err(|_| TxnError::InProcessing(self.txn.label.clone()))?;
        *self.last_request.lock() = Instant::now();
        if self.txn.state() == TxnState::Aborted {
            return Err(TxnError::Aborted);
        }
        Ok(guard)
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
        let rewrites = self.table.read().def.rewrites;
        let loaded = self.convert(headers, body).await;
        match loaded {
            Ok((converted, ratio)) => {
                let mut gathered = self.gathered.lock();
                gathered.set.merge_condition = converted.set.merge_condition;
                gathered.set.partial = converted.set.partial;
                gathered.set.writes.extend(converted.set.writes);
                gathered.totals.total += converted.total;
                gathered.totals.filtered += converted.filtered;
                gathered.totals.bytes += bytes;
                gathered.loads += 1;
                gathered.rewrites = rewrites;
                gathered.errors.push_str(&converted.errors);
                gathered.max_filter_ratio = ratio;
                *self.last_request.lock() = Instant::now();
                Ok(bytes)
            }
            Err(message) => Err(self.fail(cluster, message)),
        }
    }

    /// What one body holds, and the ratio of bad rows its load allows.
    async fn convert(
        self: &Arc<Self>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<(rows::Converted, f64), String> {
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
            rows::convert_body(&plan, &headers, &body, primary, None)
        })
        .await
        .unwrap_or_else(|e| Err(format!("load worker failed: {e}")))?;
        Ok((converted, ratio))
    }

    /// Any error of begin, load or prepare rolls the transaction back.
    fn fail(&self, cluster: &Cluster, message: String) -> TxnError {
        let _ = cluster.txns.abort(&self.txn, &message);
        TxnError::Internal(message)
    }

    pub fn totals(&self) -> Totals {
        self.gathered.lock().totals.clone()
    }

    /// The id of the error log, when there are bad rows.
    pub fn error_log(&self) -> Option<String> {
        let bad = !self.gathered.lock().errors.is_empty();
        bad.then(|| format!("error_log_{:016x}", self.txn.id))
    }

    /// The end of the data: only now are the rows counted.
    fn check_data(&self, cluster: &Cluster) -> Result<(), TxnError> {
        let (loads, totals, errors, ratio) = {
            let g = self.gathered.lock();
            (g.loads, g.totals.clone(), g.errors.clone(), g.max_filter_ratio)
        };
        if loads == 0 {
            return Err(self.fail(
                cluster,
                format!("transaction {} hasn't send any data yet", self.txn.label),
            ));
        }
        if let Some(id) = self.error_log() {
            cluster.keep_error_log(&id, errors);
        }
        if totals.filtered as f64 > ratio * totals.total as f64 {
            return Err(self.fail(cluster, "too many filtered rows".into()));
        }
        Ok(())
    }

    pub fn prepare(&self, cluster: &Arc<Cluster>) -> Result<(), TxnError> {
        let _busy = self.guard()?;
        self.check_data(cluster)?;
        self.txn.prepare().map_err(TxnError::Internal)?;
        let (cluster, txn, limit) = (cluster.clone(), self.txn.clone(), self.prepared_timeout);
        tokio::spawn(async move {
            if !txn.wait(limit, |s| s != TxnState::Prepared).await {
                let _ = cluster.txns.abort(&txn, super::run::TIMED_OUT);
            }
        });
        Ok(())
    }

    /// Commits and waits for the publish; true when the rows are visible.
    pub async fn commit(&self, cluster: &Arc<Cluster>) -> Result<bool, TxnError> {
        let _busy = self.guard()?;
        if self.txn.state() == TxnState::Prepare {
            self.check_data(cluster)?;
        }
        let planned = self.gathered.lock().rewrites;
        super::run::check_tablets(&self.table, planned).map_err(|message| self.fail(cluster, message))?;
        let set = std::mem::take(&mut self.gathered.lock().set);
        let loaded = {
            let t = self.totals();
            t.total - t.filtered
        };
        let slow = cluster
            .faults
            .take(FaultKind::SlowPublish, &self.txn.db, &self.txn.table);
        let delay = slow.map_or(cluster.settings.publish_delay, |(_, fault)| fault.delay());
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
