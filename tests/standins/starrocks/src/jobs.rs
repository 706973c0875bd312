//! Asynchronous ALTER jobs (starrocks-ddl-and-schema-evolution.md §1.5): PENDING, WAITING_TXN, RUNNING, FINISHED or
//! CANCELLED, one step per scheduler tick.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::sql::alter::{self, Rewrite};
use crate::sql::error::SqlError;
use crate::table::schema::TableDef;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    Pending,
    /// Waits for the transactions of the table that began before the shadow tablets were there.
    WaitingTxn,
    Running,
    Finished,
    Cancelled,
}

impl JobState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::WaitingTxn => "WAITING_TXN",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Cancelled => "CANCELLED",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

/// A row of SHOW ALTER TABLE COLUMN.
#[derive(Debug, Clone)]
pub struct AlterJob {
    pub id: i64,
    pub db: String,
    pub table: String,
    pub table_id: i64,
    pub created: Timestamp,
    pub finished: Option<Timestamp>,
    pub index_id: i64,
    pub origin_index_id: i64,
    pub schema_version: i64,
    /// The watershed: transactions begun before it are waited for. -1 until it is taken.
    pub txn_id: i64,
    pub state: JobState,
    pub message: String,
    pub timeout: Duration,
    /// What the table becomes at FINISHED; none for a fast change, which is done when its row appears.
    pub change: Option<Arc<Change>>,
}

#[derive(Debug)]
pub struct Change {
    pub def: TableDef,
    pub rewrite: Vec<Rewrite>,
}

/// `history_job_keep_max_second` bounds the real history by time.
const KEPT: usize = 1000;
const DOCUMENT: &str =
    "https://docs.starrocks.io/en-us/latest/sql-reference/sql-statements/data-manipulation/SHOW%20ALTER";

#[derive(Debug, Default)]
pub struct Jobs {
    list: Mutex<Vec<AlterJob>>,
}

impl Jobs {
    pub fn list(&self) -> Vec<AlterJob> {
        self.list.lock().clone()
    }

    /// Any ALTER of a table whose state is not NORMAL is refused.
    pub fn check_normal(&self, table_id: i64, table: &str) -> Result<(), SqlError> {
        refuse_second(&self.list.lock(), table_id, table)
    }

    pub fn add(&self, job: AlterJob) -> Result<(), SqlError> {
        let mut list = self.list.lock();
        if !job.state.is_final() {
            refuse_second(&list, job.table_id, &job.table)?;
        }
        list.push(job);
        if list.len() > KEPT
            && let Some(oldest) = list.iter().position(|job| job.state.is_final())
        {
            list.remove(oldest);
        }
        Ok(())
    }

    /// CANCEL ALTER TABLE … FROM a table.
    pub fn cancel_of(&self, table_id: i64, table: &str, only: &[i64]) -> Result<(), SqlError> {
        let mut list = self.list.lock();
        let mut jobs = list.iter_mut().filter(|job| job.table_id == table_id);
        let running = jobs.find(|job| !job.state.is_final() && (only.is_empty() || only.contains(&job.id)));
        match running {
            Some(job) => {
                job.end(JobState::Cancelled, "user cancelled");
                Ok(())
            }
            None => Err(SqlError::ddl(format!(
                "Table[{table}] is not under SCHEMA_CHANGE."
            ))),
        }
    }

    /// What cancels a job from within: a partition created by a load, for one. False when there is no such job.
    pub fn cancel(&self, id: i64, message: &str) -> bool {
        let mut list = self.list.lock();
        match list.iter_mut().find(|job| job.id == id && !job.state.is_final()) {
            Some(job) => {
                job.end(JobState::Cancelled, message);
                true
            }
            None => false,
        }
    }

    /// One tick of the scheduler: every unfinished job does one step.
    pub fn tick(&self, cluster: &Cluster) {
        for job in self.list.lock().iter_mut().filter(|job| !job.state.is_final()) {
            job.step(cluster);
        }
    }
}

fn refuse_second(list: &[AlterJob], table_id: i64, table: &str) -> Result<(), SqlError> {
    if list
        .iter()
        .any(|job| job.table_id == table_id && !job.state.is_final())
    {
        return Err(SqlError::ddl(format!(
            "A schema change operation is in progress on the table \"{table}\". Please wait until the current operation \
             completes.\nTo check the status of the operation, see {DOCUMENT}"
        )));
    }
    Ok(())
}

impl AlterJob {
    fn end(&mut self, state: JobState, message: &str) {
        self.state = state;
        self.message = message.to_owned();
        self.finished = Some(Timestamp::now());
    }

    fn step(&mut self, cluster: &Cluster) {
        let age = Timestamp::now().duration_since(self.created);
        if age.as_secs() >= 0 && age.unsigned_abs() > self.timeout {
            return self.end(JobState::Cancelled, "Timeout");
        }
        let tables = cluster.catalog.read().all_tables();
        let Some(table) = tables.into_iter().find(|table| table.id == self.table_id) else {
            let message = format!("Table {} does not exist", self.table_id);
            return self.end(JobState::Cancelled, &message);
        };
        match self.state {
            JobState::Pending => {
                self.txn_id = cluster.txns.watershed();
                self.state = JobState::WaitingTxn;
            }
            JobState::WaitingTxn => {
                if cluster.txns.open_before(&self.db, &self.table, self.txn_id) == 0 {
                    self.state = JobState::Running;
                }
            }
            JobState::Running => {
                if let Some(change) = &self.change {
                    alter::finish(&mut table.write(), change);
                }
                self.end(JobState::Finished, "");
            }
            JobState::Finished | JobState::Cancelled => {}
        }
    }
}
