//! Where batches go. A sink answers with a [`LoadOutcome`]; only [`LoadOutcome::Durable`] moves positions.

pub mod starrocks;

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;
use tributary_crds::relay::{BlockedCause, RetryCause};

use starrocks::sql::{Cells, SqlError};

/// One load: everything a sink needs, the same on every attempt.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    pub database: String,
    pub table: String,
    pub label: String,
    /// Value of the `columns` header.
    pub columns: String,
    pub body: Bytes,
    pub rows: u64,
    /// `merge_condition: _ver`: a row does not replace a newer one.
    pub newer_only: bool,
    /// Not begun later than this: another owner may have settled the label by then (correctness rule 1).
    pub start_by: Instant,
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// Committed: `Success`, `Publish Timeout`, or a label found COMMITTED or VISIBLE. Never sent again.
    Durable(Durable),
    /// The same bytes go again under the same label.
    Retry {
        cause: RetryCause,
        message: String,
        /// The attempt may have been committed all the same: ask for the label's state before the next one.
        ambiguous: bool,
    },
    /// Not begun: `start_by` had passed. Nothing was sent.
    Late,
    /// StarRocks does not take some of these rows, now or later.
    Rejected { message: String },
    /// No retry helps before somebody changes something; tried again rarely.
    Blocked { cause: BlockedCause, message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Readers see it already.
    pub visible: bool,
}

/// What StarRocks knows of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelState {
    Durable(Durable),
    /// PREPARE or PREPARED: a load under it runs, or its client died and its timeout has not passed.
    Running,
    /// Failed for good; the label may be used again.
    Aborted,
    /// Never heard of, or forgotten: StarRocks keeps the newest thousand finished labels of a database.
    Unknown,
    /// The question could not be answered.
    Unanswered {
        cause: RetryCause,
        message: String,
    },
    /// Nor will it be before somebody changes something.
    Refused {
        cause: BlockedCause,
        message: String,
    },
}

pub trait Sink: Send + Sync + 'static {
    fn load(&self, request: &LoadRequest) -> impl Future<Output = LoadOutcome> + Send;

    fn label_state(&self, database: &str, label: &str) -> impl Future<Output = LabelState> + Send;

    /// The table's columns; `Ok(None)`: this sink was not told how to ask.
    fn columns(
        &self,
        database: &str,
        table: &str,
    ) -> impl Future<Output = Result<Option<Vec<String>>, SqlError>> + Send;

    /// Rows of a SELECT that sees every load visible so far.
    fn keys(
        &self,
        select: &str,
        max_rows: usize,
    ) -> impl Future<Output = Result<Vec<Cells>, SqlError>> + Send;

    /// Asks for a running load to be aborted. Whether it was is what [`Sink::label_state`] says afterwards.
    fn cancel(&self, database: &str, table: &str, label: &str) -> impl Future<Output = ()> + Send;
}
