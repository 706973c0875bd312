//! Commits: offsets with what the next owner needs to know (correctness rules 1 and 9).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;
use crate::board::Board;
use crate::lane::desk::Ticket;
use crate::lane::ranges::Slot;

/// Without a request: how often positions are committed.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What was committed last, per slot.
#[derive(Default)]
pub(super) struct LastCommit(Mutex<Vec<Option<(i64, String)>>>);

impl LastCommit {
    /// A new assignment: whatever stands there now may be somebody else's.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Commits where something moved on, and waits for the answer. `announce`: also where a load is on its way, moved or not.
///
/// Always synchronous: rdkafka 0.39 switches librdkafka to events and then never hears of an asynchronous commit's result.
pub(super) fn commit(board: &Board, consumer: &BaseConsumer<Context>, announce: bool) -> KafkaResult<()> {
    // One at a time: of two commits on their way the older could arrive last.
    let mut last = consumer
        .context()
        .last_commit
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    last.resize(board.slots.len(), None);
    let mut list = TopicPartitionList::new();
    let mut moved = Vec::new();
    for (index, state) in board.slots.iter().enumerate() {
        let Some((offset, progress)) = board.committable(Slot(index)) else {
            continue;
        };
        let under_way = announce && progress.tables.iter().any(|table| table.intent.is_some());
        let metadata = progress.encode(offset);
        let known = last[index]
            .as_ref()
            .is_some_and(|(o, m)| *o == offset && *m == metadata);
        if known && !under_way {
            continue;
        }
        let mut element = list.add_partition(board.topic(Slot(index)), state.partition);
        element.set_offset(Offset::Offset(offset))?;
        element.set_metadata(&metadata);
        moved.push((index, offset, metadata));
    }
    if moved.is_empty() {
        return Ok(());
    }
    consumer.commit(&list, CommitMode::Sync)?;
    for (index, offset, metadata) in moved {
        let state = &board.slots[index];
        if state.assigned() {
            state
                .committed
                .store(offset, std::sync::atomic::Ordering::Release);
            last[index] = Some((offset, metadata));
        }
    }
    Ok(())
}

/// The committing thread. Of its own: a broker that answers late must not keep the reader from polling.
pub(super) fn spawn(
    board: Arc<Board>,
    consumer: &Arc<BaseConsumer<Context>>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let consumer = Arc::downgrade(consumer);
    let commits = move || {
        let mut served = Ticket::NONE;
        loop {
            let wanted = board.desk.next(served, COMMIT_EVERY);
            // The reader ended: it has committed what there was.
            let Some(consumer) = consumer.upgrade() else {
                return;
            };
            match commit(&board, &consumer, wanted > served) {
                Ok(()) => {
                    served = wanted;
                    board.desk.succeeded(wanted);
                }
                Err(error) => {
                    tracing::warn!(%error, "commit; tried again");
                    board.desk.failed(describe(&error));
                    std::thread::sleep(RETRY_AFTER);
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("committer".into())
        .spawn(commits)
}

fn describe(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => format!("{code}"),
        None => error.to_string(),
    }
}
