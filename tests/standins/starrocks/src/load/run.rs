//! One Stream Load from its headers to its reply.
//!
//! `begin` is the header phase: no byte of the body has been asked for. `finish` gets the whole body. It runs in a task
//! of its own, so a client that hangs up after the last byte does not stop the load.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::headers::{DEFAULT_TIMEOUT, Format, LoadHeaders};
use super::plan::LoadPlan;
use super::rows::{self, Converted};
use super::txn::{Begin, BeginError, Txn, TxnState, running_txns};
use crate::cluster::Cluster;
use crate::config::Key;
use crate::faults::{Fault, FaultKind};
use crate::http::responses::LoadReply;
use crate::table::compaction::{TABLET_MAX_VERSIONS, too_many_versions};
use crate::table::schema::TableModel;
use crate::table::store::Table;

/// `streaming_load_max_batch_size_mb`.
pub const MAX_JSON_BYTES: u64 = 104_857_600;

#[derive(Debug)]
pub struct Load {
    cluster: Arc<Cluster>,
    pub txn: Arc<Txn>,
    table: Arc<Table>,
    plan: LoadPlan,
    headers: LoadHeaders,
    be_http: String,
    /// The BE and the life of its process this load is part of.
    be: (usize, u64),
    started: Instant,
    begin_ms: u64,
    plan_ms: u64,
}

#[derive(Debug)]
pub enum Outcome {
    Reply(Box<LoadReply>),
    /// The connection is closed without a reply.
    Drop,
}

pub struct Request<'a> {
    pub db: &'a str,
    pub table: &'a str,
    pub user: &'a str,
    pub headers: LoadHeaders,
    pub content_length: Option<u64>,
    /// Host and port of this BE, for ErrorURL.
    pub be_http: &'a str,
    pub be: usize,
}

impl Load {
    pub fn begin(cluster: &Arc<Cluster>, request: Request<'_>) -> Result<Self, Box<LoadReply>> {
        let started = Instant::now();
        let life = cluster.nodes.backends[request.be].life();
        let label = request
            .headers
            .label
            .clone()
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let fail = |message: String| Box::new(LoadReply::fail(&label, message));
        check_size(&request).map_err(fail)?;
        let txn = begin_txn(cluster, &request, &label)?;
        let begin_ms = millis(started);
        let planned = plan(cluster, &request);
        let plan_ms = millis(started) - begin_ms;
        match planned {
            Ok((table, plan)) => {
                let timeout = request.headers.timeout.unwrap_or(DEFAULT_TIMEOUT);
                expire(cluster, &txn, timeout);
                cluster.counters.loads_started.fetch_add(1, Ordering::Relaxed);
                let headers = request.headers;
                let be_http = request.be_http.to_owned();
                Ok(Self {
                    cluster: cluster.clone(),
                    txn,
                    table,
                    plan,
                    headers,
                    be_http,
                    be: (request.be, life),
                    started,
                    begin_ms,
                    plan_ms,
                })
            }
            Err(message) => {
                // Only a cancel could have been faster, and then the transaction is aborted already.
                let _ = cluster.txns.abort(&txn, &message);
                let mut reply = fail(message);
                reply.txn_id = txn.id;
                (reply.begin_txn_ms, reply.plan_ms) = (begin_ms, plan_ms);
                Err(reply)
            }
        }
    }

    /// The client vanished or sent too little: nothing is written.
    pub fn give_up(&self, reason: &str) -> LoadReply {
        let _ = self.cluster.txns.abort(&self.txn, reason);
        self.reply("Fail", reason, 0)
    }

    fn reply(&self, status: &'static str, message: impl Into<String>, bytes: u64) -> LoadReply {
        LoadReply {
            txn_id: self.txn.id,
            label: self.txn.label.clone(),
            status,
            message: message.into(),
            load_bytes: bytes,
            load_ms: millis(self.started),
            begin_txn_ms: self.begin_ms,
            plan_ms: self.plan_ms,
            ..LoadReply::default()
        }
    }

    fn fail(&self, message: impl Into<String>, bytes: u64) -> Outcome {
        let message = message.into();
        let _ = self.cluster.txns.abort(&self.txn, &message);
        Outcome::Reply(Box::new(self.reply("Fail", message, bytes)))
    }

    fn fault(&self, kind: FaultKind) -> Option<(u64, Fault)> {
        self.cluster.faults.take(kind, &self.txn.db, &self.txn.table)
    }

    pub async fn finish(self: Arc<Self>, body: Bytes) -> Outcome {
        let bytes = body.len() as u64;
        let read_ms = millis(self.started);
        self.cluster
            .counters
            .bytes_received
            .fetch_add(bytes, Ordering::Relaxed);
        if let Some((id, fault)) = self.fault(FaultKind::HoldPrepare) {
            tokio::select! {
                () = self.cluster.faults.released(id, &fault) => {}
                () = self.txn.aborted() => {}
            }
        }
        if let Some((_, fault)) = self.fault(FaultKind::LateCommit) {
            tokio::spawn(async move {
                tokio::time::sleep(fault.delay()).await;
                self.write(body, read_ms).await
            });
            return Outcome::Drop;
        }
        self.write(body, read_ms).await
    }

    async fn write(self: Arc<Self>, body: Bytes, read_ms: u64) -> Outcome {
        let bytes = body.len() as u64;
        if self.is_lost() {
            return Outcome::Drop;
        }
        if let Err(message) = self.check_versions() {
            return self.fail(message, bytes);
        }
        let converted = match self.clone().convert(body).await {
            Ok(converted) => converted,
            Err(message) => return self.fail(message, bytes),
        };
        let mut reply = self.reply("Success", "OK", bytes);
        reply.read_ms = read_ms;
        reply.write_ms = millis(self.started).saturating_sub(read_ms);
        if let Some(refused) = self.judge(&converted, &mut reply) {
            let _ = self.cluster.txns.abort(&self.txn, &refused);
            reply.status = "Fail";
            reply.message = refused;
            return Outcome::Reply(Box::new(reply));
        }
        self.commit(converted, reply).await
    }

    /// The BE died since: its work died with it, and the transaction stays open until FE aborts it.
    fn is_lost(&self) -> bool {
        self.cluster.nodes.backends[self.be.0].life() != self.be.1
    }

    fn check_versions(&self) -> Result<(), String> {
        if self.fault(FaultKind::TooManyVersions).is_some() {
            return Err(too_many_versions(
                self.table.id,
                TABLET_MAX_VERSIONS + 1,
                TABLET_MAX_VERSIONS,
            ));
        }
        self.table.write().versions.check(self.table.id)
    }

    /// Off the runtime's threads: a body may hold 100 MB.
    async fn convert(self: Arc<Self>, body: Bytes) -> Result<Converted, String> {
        let tablet = self.table.id.to_string();
        let primary = self.table.read().def.model == TableModel::Primary;
        let rejected = match self.fault(FaultKind::RejectRows) {
            Some((_, Fault::RejectRows { contains })) => Some(contains),
            _ => None,
        };
        tokio::task::spawn_blocking(move || {
            let body = self.headers.compression.decode(body)?;
            rows::convert_body(&self.plan, &self.headers, &body, primary, rejected.as_deref())
        })
        .await
        .unwrap_or_else(|e| Err(format!("load worker failed: {e}")))
        .map_err(|e| e.replace("{}", &tablet))
    }

    /// Fills the row counts; the reason when too many rows were filtered.
    fn judge(&self, converted: &Converted, reply: &mut LoadReply) -> Option<String> {
        reply.total_rows = converted.total;
        reply.filtered_rows = converted.filtered;
        reply.loaded_rows = converted.total - converted.filtered;
        if converted.filtered > 0 {
            let id = format!("error_log_{:016x}", self.txn.id);
            self.cluster.keep_error_log(&id, converted.errors.clone());
            reply.error_url = Some(format!("http://{}/api/_load_error_log?file={id}", self.be_http));
        }
        self.cluster
            .counters
            .rows_filtered
            .fetch_add(converted.filtered, Ordering::Relaxed);
        let mut stats = self.txn.stats.write();
        stats.total_rows = converted.total;
        stats.filtered_rows = converted.filtered;
        stats.loaded_rows = reply.loaded_rows;
        stats.bytes = reply.load_bytes;
        stats.tracking_url = reply.error_url.clone();
        let ratio = converted.filtered as f64 / (converted.total.max(1)) as f64;
        (ratio > self.headers.max_filter_ratio).then(|| "too many filtered rows".to_owned())
    }

    /// A load planned before a job finished finds its tablets deleted (starrocks-ddl-and-schema-evolution.md §1.5).
    fn check_schema(&self) -> Result<(), String> {
        check_tablets(&self.table, self.plan.rewrites)
    }

    async fn commit(&self, converted: Converted, mut reply: LoadReply) -> Outcome {
        let at = Instant::now();
        if self.is_lost() {
            return Outcome::Drop;
        }
        if let Err(message) = self.check_schema() {
            let _ = self.cluster.txns.abort(&self.txn, &message);
            reply.status = "Fail";
            reply.message = message;
            return Outcome::Reply(Box::new(reply));
        }
        let instant_timeout = self.fault(FaultKind::PublishTimeout).map(|(_, f)| f.delay());
        let slow = self.fault(FaultKind::SlowPublish).map(|(_, f)| f.delay());
        let delay = instant_timeout
            .or(slow)
            .unwrap_or(self.cluster.settings.publish_delay);
        if let Err(message) = self.cluster.commit(&self.txn, &self.table, converted.set, delay) {
            reply.status = "Fail";
            reply.message = message;
            return Outcome::Reply(Box::new(reply));
        }
        self.cluster
            .counters
            .rows_loaded
            .fetch_add(reply.loaded_rows, Ordering::Relaxed);
        if self.fault(FaultKind::CommitThenDrop).is_some() {
            return Outcome::Drop;
        }
        if self.fault(FaultKind::CommitThenFail).is_some() {
            reply.status = "Fail";
            reply.message =
                "call frontend service failed, address=TNetworkAddress(hostname=127.0.0.1, port=9020), \
                             reason=No more data to read."
                    .into();
            return Outcome::Reply(Box::new(reply));
        }
        let visible = instant_timeout.is_none() && self.wait_for_publish().await;
        if !visible {
            reply.status = "Publish Timeout";
            reply.message = format!(
                "Publish timeout. The data will be visible after a while, transaction id: {}, table: {}",
                self.txn.id, self.txn.table
            );
        }
        reply.commit_publish_ms = millis(at);
        reply.load_ms = millis(self.started);
        Outcome::Reply(Box::new(reply))
    }

    /// FE waits 3/4 of the commit RPC's timeout; then the BE polls until the load's own deadline.
    async fn wait_for_publish(&self) -> bool {
        let visible = |s| s == TxnState::Visible;
        if self.txn.wait(commit_wait(self.headers.timeout), visible).await {
            return true;
        }
        let deadline = self.started + self.headers.timeout.unwrap_or(DEFAULT_TIMEOUT);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.txn.state() == TxnState::Visible;
            }
            // The state is looked at only at the polls, as the BE does it.
            tokio::time::sleep(left.min(self.cluster.settings.txn_status_interval)).await;
            if self.txn.state() == TxnState::Visible {
                return true;
            }
        }
    }
}

/// R = 60 s, or max(T/4, min(T/2, 60 s)) with a `timeout` header; FE waits 3/4 of it.
fn commit_wait(timeout: Option<Duration>) -> Duration {
    const RPC: Duration = Duration::from_secs(60);
    let rpc = timeout.map_or(RPC, |t| (t / 4).max((t / 2).min(RPC)));
    rpc * 3 / 4
}

fn check_size(request: &Request<'_>) -> Result<(), String> {
    let Some(length) = request.content_length else {
        return Ok(());
    };
    if request.headers.format == Format::Json && length > MAX_JSON_BYTES && !request.headers.ignore_json_size
    {
        return Err(format!(
            "The size of this batch exceed the max size [{MAX_JSON_BYTES}]  of json type data  data [ {length} ]. Set \
             ignore_json_size to skip the check, although it may lead huge memory consuming."
        ));
    }
    Ok(())
}

fn begin_txn(cluster: &Arc<Cluster>, request: &Request<'_>, label: &str) -> Result<Arc<Txn>, Box<LoadReply>> {
    let fail = |message: String| Box::new(LoadReply::fail(label, message));
    if !cluster.catalog.read().databases.contains_key(request.db) {
        return Err(fail(format!("unknown database, database={}", request.db)));
    }
    if cluster
        .faults
        .take(FaultKind::RunningTxns, request.db, request.table)
        .is_some()
    {
        let limit = cluster.config.get(Key::MaxRunningTxnNumPerDb);
        return Err(fail(running_txns(request.db, limit, limit)));
    }
    cluster
        .txns
        .begin(Begin {
            db: request.db,
            table: request.table,
            label,
            user: request.user,
            backend: Some(request.be),
        })
        .map_err(|e| match e {
            BeginError::TooManyRunning(message) => fail(message),
            BeginError::LabelUsed { status } => Box::new(LoadReply {
                status: "Label Already Exists",
                existing_job_status: Some(status),
                ..LoadReply::fail(label, format!("Label [{label}] has already been used."))
            }),
        })
}

fn plan(cluster: &Cluster, request: &Request<'_>) -> Result<(Arc<Table>, LoadPlan), String> {
    let table = cluster.catalog.read().table(request.db, request.table);
    let table = table.ok_or_else(|| format!("unknown table, table={}", request.table))?;
    let plan = LoadPlan::new(&table.read().def, &request.headers)?;
    Ok((table, plan))
}

pub(super) fn check_tablets(table: &Table, planned: u64) -> Result<(), String> {
    if table.read().def.rewrites == planned {
        return Ok(());
    }
    Err(format!(
        "Fail to get tablet, perhaps this table is doing schema change, or it has already been deleted. Please try again. \
         tablet: {}",
        table.id
    ))
}

/// FE aborts what is still in PREPARE when its timeout is over.
pub(super) fn expire(cluster: &Arc<Cluster>, txn: &Arc<Txn>, timeout: Duration) {
    let (cluster, txn) = (cluster.clone(), txn.clone());
    tokio::spawn(async move {
        if !txn.wait(timeout, |s| s != TxnState::Prepare).await {
            let _ = cluster.txns.abort(&txn, TIMED_OUT);
        }
    });
}

/// Why FE's transaction manager aborts what took too long.
pub(super) const TIMED_OUT: &str = "timeout by txn manager";

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_wait_follows_the_timeout_header() {
        assert_eq!(commit_wait(None), Duration::from_secs(45));
        assert_eq!(
            commit_wait(Some(Duration::from_secs(20))),
            Duration::from_millis(7500)
        );
        assert_eq!(
            commit_wait(Some(Duration::from_secs(600))),
            Duration::from_millis(112_500)
        );
    }
}
