//! Faults on demand. A fault waits for matching requests and is spent after `count` of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What goes wrong. Every kind names the place where a real cluster fails like this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The version is committed but publishing takes this long; the reply follows the timing rules of `timeout`.
    SlowPublish { delay_ms: u64 },
    /// Reply `Publish Timeout` at once; publish after `delay_ms`.
    PublishTimeout {
        #[serde(default)]
        delay_ms: u64,
    },
    /// Commit, then close the connection without a reply.
    CommitThenDrop,
    /// Commit, then reply `Fail`: the commit RPC broke after FE had done it.
    CommitThenFail,
    /// Close the connection once the body is here, commit `delay_ms` later: the load outlives its client.
    LateCommit { delay_ms: u64 },
    /// The tablet refuses the load.
    TooManyVersions,
    /// FE knows no backend.
    NoBackendAlive,
    /// The load stays in PREPARE (label RUNNING) until the fault is removed, `delay_ms` is over, or the label cancelled;
    /// then it goes on, whether or not its client still lives.
    HoldPrepare {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
    },
    /// FE answers this status.
    FeError { status: u16 },
    /// `get_load_state` answers this status.
    StateError { status: u16 },
    /// Rows whose source holds this text are filtered, with their line in the error log.
    RejectRows { contains: String },
    /// BE answers this status.
    BeError { status: u16 },
    /// BE reads the body with this pause between chunks.
    SlowBody { delay_ms: u64 },
    /// Credentials are refused by FE (401) and BE (Fail).
    AuthFailure,
    /// FE refuses another transaction.
    RunningTxns,
    /// Visible versions become readable for SELECT only after `delay_ms`, or a `SYNC`.
    StaleRead { delay_ms: u64 },
}

impl Fault {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::SlowPublish { .. } => FaultKind::SlowPublish,
            Self::PublishTimeout { .. } => FaultKind::PublishTimeout,
            Self::CommitThenDrop => FaultKind::CommitThenDrop,
            Self::CommitThenFail => FaultKind::CommitThenFail,
            Self::LateCommit { .. } => FaultKind::LateCommit,
            Self::TooManyVersions => FaultKind::TooManyVersions,
            Self::NoBackendAlive => FaultKind::NoBackendAlive,
            Self::HoldPrepare { .. } => FaultKind::HoldPrepare,
            Self::FeError { .. } => FaultKind::FeError,
            Self::BeError { .. } => FaultKind::BeError,
            Self::StateError { .. } => FaultKind::StateError,
            Self::RejectRows { .. } => FaultKind::RejectRows,
            Self::SlowBody { .. } => FaultKind::SlowBody,
            Self::AuthFailure => FaultKind::AuthFailure,
            Self::RunningTxns => FaultKind::RunningTxns,
            Self::StaleRead { .. } => FaultKind::StaleRead,
        }
    }

    pub fn delay(&self) -> Duration {
        match self {
            Self::SlowPublish { delay_ms }
            | Self::PublishTimeout { delay_ms }
            | Self::LateCommit { delay_ms }
            | Self::SlowBody { delay_ms }
            | Self::StaleRead { delay_ms } => Duration::from_millis(*delay_ms),
            _ => Duration::ZERO,
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::FeError { status } | Self::BeError { status } | Self::StateError { status } => *status,
            _ => 500,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    SlowPublish,
    PublishTimeout,
    CommitThenDrop,
    CommitThenFail,
    LateCommit,
    TooManyVersions,
    NoBackendAlive,
    HoldPrepare,
    FeError,
    BeError,
    StateError,
    RejectRows,
    SlowBody,
    AuthFailure,
    RunningTxns,
    StaleRead,
}

/// A fault with the requests it waits for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    #[serde(flatten)]
    pub fault: Fault,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How often it strikes; absent means until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Let this many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Active {
    pub id: u64,
    pub hits: u64,
    #[serde(flatten)]
    pub order: Order,
}

#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<Vec<Active>>,
    next: AtomicU64,
    /// Told whenever the list changes, for loads that are held.
    changed: tokio::sync::Notify,
}

impl Faults {
    pub fn add(&self, order: Order) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.active.lock().push(Active { id, hits: 0, order });
        id
    }

    pub fn list(&self) -> Vec<Active> {
        self.active.lock().clone()
    }

    pub fn remove(&self, id: u64) -> bool {
        let mut active = self.active.lock();
        let before = active.len();
        active.retain(|f| f.id != id);
        let removed = active.len() != before;
        drop(active);
        self.changed.notify_waiters();
        removed
    }

    pub fn clear(&self) {
        self.active.lock().clear();
        self.changed.notify_waiters();
    }

    /// Strikes: the first matching order of this kind, its count reduced.
    pub fn take(&self, kind: FaultKind, db: &str, table: &str) -> Option<(u64, Fault)> {
        let mut active = self.active.lock();
        let fault = active.iter_mut().find(|f| {
            f.order.fault.kind() == kind
                && f.order.db.as_deref().is_none_or(|d| d == db)
                && f.order.table.as_deref().is_none_or(|t| t == table)
                && f.order.count != Some(0)
        })?;
        if fault.order.skip > 0 {
            fault.order.skip -= 1;
            return None;
        }
        fault.hits += 1;
        if let Some(count) = &mut fault.order.count {
            *count -= 1;
        }
        Some((fault.id, fault.order.fault.clone()))
    }

    /// Waits until the fault `id` is gone from the list, or its hold is over.
    pub async fn released(&self, id: u64, fault: &Fault) {
        let hold = match fault {
            Fault::HoldPrepare { delay_ms: Some(ms) } => Duration::from_millis(*ms),
            _ => Duration::MAX,
        };
        // Both ends release it.
        let _ = tokio::time::timeout(hold, self.removed(id)).await;
    }

    async fn removed(&self, id: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.active.lock().iter().any(|f| f.id == id) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_where_and_as_often_as_told() {
        let faults = Faults::default();
        let order: Order =
            serde_json::from_str(r#"{"kind":"slow_publish","delay_ms":5,"db":"a","count":1,"skip":1}"#)
                .unwrap();
        faults.add(order);
        assert!(
            faults.take(FaultKind::SlowPublish, "b", "t").is_none(),
            "another database"
        );
        assert!(
            faults.take(FaultKind::TooManyVersions, "a", "t").is_none(),
            "another kind"
        );
        assert!(faults.take(FaultKind::SlowPublish, "a", "t").is_none(), "skipped");
        let (_, fault) = faults.take(FaultKind::SlowPublish, "a", "t").unwrap();
        assert_eq!(fault.delay(), Duration::from_millis(5));
        assert!(faults.take(FaultKind::SlowPublish, "a", "t").is_none(), "spent");
    }
}
