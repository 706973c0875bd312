//! What StarRocks says about ALTER TABLE jobs, views and grants: plain data, judged elsewhere.

use jiff::civil::DateTime;
use mysql_async::Row;

use super::client::{QUERY_TIMEOUT, StarRocksClient, literal, named, text};
use crate::backend::{BackendResult, ErrorClass};
use crate::table::ddl::TableName;
use crate::table::ddl::render::{Ident, Text};

/// Rows of the job history that are read: more failures in a row make no difference.
const JOBS_MAX: usize = 20;

/// One row of `SHOW ALTER TABLE COLUMN`. No statement returns a job's id: the newest row is the newest job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterJob {
    pub id: String,
    pub state: JobState,
    /// Why it was cancelled, or what it waits for.
    pub message: String,
    /// In the server's clock, as [`StarRocksClient::clock`].
    pub created: Option<DateTime>,
    pub finished: Option<DateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    Pending,
    /// Older loads of the table must end first.
    WaitingTxn,
    Running,
    Finished,
    Cancelled,
    /// A word of a newer server: taken for under way.
    Other(String),
}

impl JobState {
    fn parse(word: &str) -> Self {
        match word.to_ascii_uppercase().as_str() {
            "PENDING" => Self::Pending,
            "WAITING_TXN" => Self::WaitingTxn,
            "RUNNING" => Self::Running,
            "FINISHED" => Self::Finished,
            "CANCELLED" => Self::Cancelled,
            other => Self::Other(other.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::WaitingTxn => "WAITING_TXN",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Cancelled => "CANCELLED",
            Self::Other(word) => word,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

/// What is under a name that should be a view's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveView {
    pub comment: String,
    pub columns: Vec<String>,
    /// As the server spells it; `None`: it is no view.
    pub definition: Option<String>,
}

impl StarRocksClient {
    /// Column jobs of a table, newest first.
    pub async fn alter_jobs(&self, table: &TableName) -> BackendResult<Vec<AlterJob>> {
        let sql = format!(
            "SHOW ALTER TABLE COLUMN FROM {} WHERE TableName = {} ORDER BY CreateTime DESC LIMIT {JOBS_MAX}",
            Ident(&table.database),
            Text(&table.table)
        );
        let op = format!("read ALTER jobs of {table}");
        let rows = self.query(&op, &sql, QUERY_TIMEOUT).await?;
        Ok(rows.iter().filter_map(read_job).collect())
    }

    /// The server's clock, in the zone its job times are printed in; `None` when it cannot be read.
    pub async fn clock(&self) -> BackendResult<Option<DateTime>> {
        let rows = self.query("read clock", "SELECT now()", QUERY_TIMEOUT).await?;
        Ok(rows.first().and_then(|r| text(r, 0)).as_deref().and_then(moment))
    }

    /// Whatever has this name.
    pub async fn view(&self, name: &TableName) -> BackendResult<Option<LiveView>> {
        let Some(entity) = self.table(name).await? else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT VIEW_DEFINITION FROM information_schema.views WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&name.database),
            literal(&name.table)
        );
        let op = format!("read view {name}");
        let rows = self.query(&op, &sql, QUERY_TIMEOUT).await?;
        Ok(Some(LiveView {
            comment: entity.comment,
            columns: entity.columns.into_iter().map(|c| c.name).collect(),
            definition: rows
                .first()
                .map(|row| named(row, "VIEW_DEFINITION").unwrap_or_default()),
        }))
    }

    /// The GRANT statements that make up a role; `Err` in the inner result: there is no such role, or it may not be read.
    pub async fn role_grants(&self, role: &str) -> BackendResult<Result<Vec<String>, String>> {
        let sql = format!("SHOW GRANTS FOR ROLE {}", Ident(role));
        let op = format!("read grants of role {role}");
        match self.query(&op, &sql, QUERY_TIMEOUT).await {
            Ok(rows) => Ok(Ok(rows.iter().filter_map(|r| named(r, "Grants")).collect())),
            Err(error) => match error.class {
                ErrorClass::Invalid | ErrorClass::NotFound | ErrorClass::NotAuthorized => {
                    Ok(Err(error.to_string()))
                }
                _ => Err(error),
            },
        }
    }
}

fn read_job(row: &Row) -> Option<AlterJob> {
    let time = |column: &str| named(row, column).as_deref().and_then(moment);
    Some(AlterJob {
        id: named(row, "JobId")?,
        state: JobState::parse(&named(row, "State")?),
        message: named(row, "Msg").unwrap_or_default(),
        created: time("CreateTime"),
        finished: time("FinishTime"),
    })
}

/// `2026-11-22 09:40:02`, with or without a fraction.
fn moment(text: &str) -> Option<DateTime> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_times_of_the_server_are_read() {
        assert_eq!(JobState::parse("waiting_txn"), JobState::WaitingTxn);
        let newer = JobState::parse("FINISHED_REWRITING");
        assert!(!newer.is_over());
        assert_eq!(newer.as_str(), "FINISHED_REWRITING");
        assert!(moment("2026-11-22 09:40:02").is_some());
        assert_eq!(moment("N/A"), None);
    }
}
