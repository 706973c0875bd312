//! The ledger of one owner ID: read to its end once per leadership, kept in memory, appended to.
//!
//! Why two operators cannot both write it: every append is a Kafka transaction under one transactional id. Opening the book
//! starts a new epoch of that id *before* it reads, and Kafka refuses every append of an older epoch from then on. So what was read to the
//! end is all there is, whoever was still alive; a decision made on it is a compare-and-swap. Opening also checks the Lease *after* the
//! epoch has begun: a process that was stopped in between throws out its successor's epoch, but writes nothing, and the
//! successor opens again. The term in each record says which opening wrote it; it is for people and for the fold, which must
//! not be the only fence: compaction keeps the last record of a key, also a stale one, and the better one would be gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kube::ResourceExt;
use tributary_crds::DataPlatform;
use tributary_crds::effective::builtin;

use super::record::{Change, Key, Unreadable, Value, decode, encode};
use super::state::{Conflict, State};
use crate::backend::kafka::{KafkaAdmin, Log, LogRecord, LogSpec};
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};
use crate::context::lock;

/// Platforms of one operator; far above what anybody runs, it only bounds what changed addresses leave behind.
const KEPT: usize = 64;

/// Every ledger this process has open.
#[derive(Default)]
pub struct Ledgers(Mutex<HashMap<String, Arc<Book>>>);

/// One owner ID's ledger.
pub struct Book {
    spec: LogSpec,
    owner_id: String,
    open: tokio::sync::Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// `None`: not open, or its last append did not surely succeed.
    log: Option<Log>,
    /// What was read and written so far. Kept while closed: a topic that was lost meanwhile is written again from it.
    state: State,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Ledgers {
    /// The ledger of `platform`'s owner ID.
    pub fn book(&self, platform: &DataPlatform) -> Arc<Book> {
        let kafka = &platform.spec.kafka;
        let spec = LogSpec {
            topic: kafka.ledger_topic().to_owned(),
            writer: format!("{}.{}", kafka.ledger_topic(), platform.spec.owner_id),
            replication_factor: platform
                .spec
                .defaults
                .as_ref()
                .and_then(|d| d.topics.as_ref()?.replication_factor)
                .unwrap_or(builtin::REPLICATION_FACTOR),
        };
        let key = format!("{}|{}", kafka.bootstrap_servers.join(","), spec.writer);
        let mut books = lock(&self.0);
        if books.len() >= KEPT && !books.contains_key(&key) {
            books.clear();
        }
        let book = books.entry(key).or_insert_with(|| {
            tracing::debug!(platform = platform.name_any(), topic = spec.topic, "ledger");
            Arc::new(Book {
                spec,
                owner_id: platform.spec.owner_id.clone(),
                open: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(book)
    }
}

impl Book {
    /// Looks at everything that is recorded. Asks Kafka only when the book is not open.
    pub async fn read<T>(&self, kafka: &KafkaAdmin, look: impl FnOnce(&State) -> T) -> BackendResult<T> {
        let mut pages = self.open.lock().await;
        self.opened(&mut pages, kafka).await?;
        Ok(look(&pages.state))
    }

    /// The ledger as it is in Kafka, for those who only look: nobody is shut out, and it may be old a moment later.
    pub async fn peek(&self, kafka: &KafkaAdmin) -> BackendResult<State> {
        self.folded(kafka.read_log(&self.spec.topic).await?)
    }

    /// Appends what `decide` makes of the state, all of it or nothing. Success means that Kafka has it.
    pub async fn write(
        &self,
        kafka: &KafkaAdmin,
        decide: impl FnOnce(&State) -> Result<Vec<Change>, Conflict>,
    ) -> Result<(), WriteError> {
        let mut pages = self.open.lock().await;
        self.opened(&mut pages, kafka).await?;
        let changes = decide(&pages.state)?;
        if !changes.is_empty() {
            let term = pages.state.term();
            self.append(&mut pages, kafka, term, changes).await?;
        }
        Ok(())
    }

    async fn opened(&self, pages: &mut Pages, kafka: &KafkaAdmin) -> BackendResult<()> {
        if pages.log.is_some() {
            return Ok(());
        }
        let (log, records) = kafka.open_log(&self.spec).await?;
        let state = self.folded(records)?;
        let lost = state.is_empty() && !pages.state.is_empty();
        let term = state.term().max(pages.state.term()) + 1;
        let mut changes = vec![Change::put(Key::Term, Value::Term)];
        if lost {
            tracing::warn!(
                topic = self.spec.topic,
                "the ledger's topic has lost its records; they are written again from memory"
            );
            changes.extend(pages.state.changes());
        }
        tracing::info!(
            topic = self.spec.topic,
            owner = self.owner_id,
            term,
            "ledger read"
        );
        pages.log = Some(log);
        if !lost {
            pages.state = state;
        }
        self.append(pages, kafka, term, changes).await
    }

    async fn append(
        &self,
        pages: &mut Pages,
        kafka: &KafkaAdmin,
        term: u64,
        changes: Vec<Change>,
    ) -> BackendResult<()> {
        let records = changes
            .iter()
            .map(|change| self.record(term, change))
            .collect::<BackendResult<Vec<_>>>()?;
        // Taken out until success is sure: after a doubtful append the topic is read again before anything is decided.
        let Some(log) = pages.log.take() else {
            return Err(self.error(ErrorClass::Transient, "the ledger is not open"));
        };
        pages.log = Some(kafka.append(log, records).await?);
        for change in changes {
            pages.state.fold(term, change);
        }
        Ok(())
    }

    fn record(&self, term: u64, change: &Change) -> BackendResult<LogRecord> {
        let value = change.value.as_ref().map(encode).transpose();
        let value =
            value.map_err(|e| self.error(ErrorClass::Invalid, &format!("cannot encode a record: {e}")))?;
        Ok(LogRecord {
            key: format!("{}/{}", self.owner_id, change.key),
            term,
            value,
        })
    }

    fn folded(&self, records: Vec<LogRecord>) -> BackendResult<State> {
        let mut state = State::default();
        for record in records {
            let term = record.term;
            if let Some(change) = self.change(record)? {
                state.fold(term, change);
            }
        }
        Ok(state)
    }

    /// `None`: another owner ID's record, none of our business.
    fn change(&self, record: LogRecord) -> BackendResult<Option<Change>> {
        let Some((owner, key)) = record.key.split_once('/') else {
            return Err(self.unreadable(&Unreadable::NotOurs(record.key)));
        };
        if owner != self.owner_id {
            return Ok(None);
        }
        let Some(key) = Key::parse(key) else {
            return Err(self.unreadable(&Unreadable::Newer(record.key)));
        };
        let value = match record.value {
            Some(bytes) => Some(decode(&key, &bytes).map_err(|e| self.unreadable(&e))?),
            None => None,
        };
        Ok(Some(Change { key, value }))
    }

    fn unreadable(&self, why: &Unreadable) -> BackendError {
        self.error(ErrorClass::Unsupported, &why.to_string())
    }

    fn error(&self, class: ErrorClass, text: &str) -> BackendError {
        let operation = format!("ledger topic {}", self.spec.topic);
        BackendError::new(Backend::Kafka, class, operation, text)
    }
}
