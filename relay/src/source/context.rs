//! What librdkafka calls back for: assignments, statistics, errors. All of it runs in the reader's thread, inside `poll`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tributary_crds::relay::{BlockedCause, RecordPosition, RelayPhase};

use super::position::{Known, Start, past_markers};
use crate::board::Board;
use crate::lane::UNASSIGNED;
use crate::lane::ranges::Slot;

const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a revoked lane may finish its load. Far below `max.poll.interval.ms`, within which the callback must return.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(20);
/// How far back the heartbeat topic is read: a few records and the transaction markers between them.
const HEARTBEAT_TAIL: i64 = 10;
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct Context {
    board: Arc<Board>,
    /// Set when the relay cannot go on; the loop ends with it and the process is started anew.
    fatal: Mutex<Option<String>>,
    committing: Mutex<()>,
}

impl Context {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            fatal: Mutex::new(None),
            committing: Mutex::new(()),
        }
    }

    pub(super) fn fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, message: String) {
        tracing::error!(message, "cannot go on");
        *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        self.board.metrics.rebalances.inc();
        self.board.assignments.fetch_add(1, Ordering::AcqRel);
        let slots = self.slots(assigned);
        tracing::info!(partitions = slots.len(), "assigned");
        let starts = match self.starts(consumer, &slots) {
            Ok(starts) => starts,
            Err(error) => return self.fail(format!("positions of the assigned partitions: {error}")),
        };
        for lane in &self.board.lanes {
            let mine: Vec<_> = starts
                .iter()
                .filter(|(slot, _)| lane.spec.slots.contains(slot))
                .copied()
                .collect();
            lane.reset(&mine);
        }
        for (slot, start) in &starts {
            let state = &self.board.slots[slot.0];
            state.position.store(*start, Ordering::Release);
            state.committed.store(*start, Ordering::Release);
        }
        if let Err(error) = self.assign(consumer, &starts) {
            return self.fail(format!("assign: {error}"));
        }
        // No partition at all: the topics are not there yet, or other members have them.
        self.board.set_phase(if slots.is_empty() {
            RelayPhase::Starting
        } else {
            RelayPhase::Running
        });
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, starts: &[(Slot, i64)]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (slot, start) in starts {
            let partition = self.board.slots[slot.0].partition;
            list.add_partition_offset(self.board.topic(*slot), partition, Offset::Offset(*start))?;
        }
        // Beside the group's assignment: every relay needs the heartbeat, whoever of them would be given its partition.
        let heartbeat = &self.board.config.kafka.heartbeat_topic;
        list.add_partition_offset(heartbeat, 0, heartbeat_start(consumer, heartbeat))?;
        consumer.assign(&list)
    }

    fn slots(&self, list: &TopicPartitionList) -> Vec<Slot> {
        list.elements()
            .iter()
            .filter_map(|element| {
                let dataset = self.board.dataset_of_topic(element.topic())?;
                let slot = self.board.datasets[dataset].slot(element.partition());
                if slot.is_none() {
                    self.partitions_changed(dataset, None);
                }
                slot
            })
            .collect()
    }

    /// Decides every slot's start. Lost positions block their dataset's lanes and are left out.
    fn starts(&self, consumer: &BaseConsumer<Self>, slots: &[Slot]) -> KafkaResult<Vec<(Slot, i64)>> {
        let committed = self.committed(consumer, slots)?;
        let mut starts = Vec::new();
        let mut checked = None;
        for (slot, committed) in slots.iter().zip(committed) {
            let state = &self.board.slots[slot.0];
            if checked != Some(state.dataset) {
                self.check_partition_count(consumer, state.dataset)?;
                checked = Some(state.dataset);
            }
            let topic = self.board.topic(*slot);
            let (low, high) = consumer.fetch_watermarks(topic, state.partition, QUERY_TIMEOUT)?;
            match (Known { committed, low, high }).start() {
                Start::At(start) => starts.push((*slot, start)),
                Start::Lost(lost) => {
                    let message = format!(
                        "{topic}/{}: {lost}. A Replay with from: snapshot (or earliest, for what is left) repairs the tables",
                        state.partition
                    );
                    let at = committed.unwrap_or(low);
                    self.block(
                        state.dataset,
                        BlockedCause::PositionLost,
                        &message,
                        Some((*slot, at)),
                    );
                }
            }
        }
        Ok(starts)
    }

    fn committed(&self, consumer: &BaseConsumer<Self>, slots: &[Slot]) -> KafkaResult<Vec<Option<i64>>> {
        let mut list = TopicPartitionList::new();
        for slot in slots {
            list.add_partition(self.board.topic(*slot), self.board.slots[slot.0].partition);
        }
        let committed = consumer.committed_offsets(list, QUERY_TIMEOUT)?;
        Ok(slots
            .iter()
            .map(|slot| {
                let partition = self.board.slots[slot.0].partition;
                match committed
                    .find_partition(self.board.topic(*slot), partition)?
                    .offset()
                {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                }
            })
            .collect())
    }

    fn check_partition_count(&self, consumer: &BaseConsumer<Self>, dataset: usize) -> KafkaResult<()> {
        let topic = &self.board.datasets[dataset].config.topic;
        let metadata = consumer.fetch_metadata(Some(&topic.name), QUERY_TIMEOUT)?;
        let described = metadata.topics().first();
        if let Some(error) = described.and_then(|topic| topic.error()) {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error)));
        }
        let found = described.map_or(0, |topic| topic.partitions().len());
        if found != topic.partitions as usize {
            self.partitions_changed(dataset, Some(found));
        }
        Ok(())
    }

    /// More partitions would move keys between them and break the order within a key (correctness rule 2).
    fn partitions_changed(&self, dataset: usize, found: Option<usize>) {
        let topic = &self.board.datasets[dataset].config.topic;
        let found = found.map_or("another number of".to_owned(), |n| n.to_string());
        let message = format!(
            "topic {} has {found} partitions, {} when it was created: the order of changes to a document is no longer known",
            topic.name, topic.partitions
        );
        self.block(dataset, BlockedCause::PartitionsChanged, &message, None);
    }

    fn block(&self, dataset: usize, cause: BlockedCause, message: &str, at: Option<(Slot, i64)>) {
        let at = at.map(|(slot, offset)| RecordPosition {
            topic: self.board.topic(slot).to_owned(),
            partition: self.board.slots[slot.0].partition,
            offset,
        });
        for lane in self.board.lanes_of(dataset) {
            lane.refuse(cause, message.to_owned(), at.clone());
        }
    }

    /// Eager protocol: everything is given back. Lanes finish what is in flight, what is durable is committed.
    fn revoked(&self, consumer: &BaseConsumer<Self>) {
        let lost = consumer.assignment_lost();
        tracing::info!(lost, "revoked");
        let deadline = Instant::now() + REVOKE_TIMEOUT;
        // After a loss another relay may own the partitions already: commit nothing, wait for nothing.
        if !lost {
            for lane in &self.board.lanes {
                if !lane.quiesce(deadline) {
                    tracing::warn!(table = lane.spec.table, "load abandoned at revocation");
                }
            }
            if let Err(error) = commit(&self.board, consumer) {
                tracing::warn!(%error, "commit at revocation; the next owner repeats a little");
            }
        }
        for lane in &self.board.lanes {
            lane.reset(&[]);
        }
        for slot in &self.board.slots {
            slot.position.store(UNASSIGNED, Ordering::Release);
            slot.committed.store(UNASSIGNED, Ordering::Release);
            slot.end.store(UNASSIGNED, Ordering::Release);
        }
        self.board.set_phase(RelayPhase::Starting);
        if let Err(error) = consumer.unassign() {
            self.fail(format!("unassign: {error}"));
        }
    }
}

/// A few records back, but never before the log's start: an offset out of range would be an error like any other.
fn heartbeat_start(consumer: &BaseConsumer<Context>, topic: &str) -> Offset {
    match consumer.fetch_watermarks(topic, 0, HEARTBEAT_TIMEOUT) {
        Ok((low, high)) => Offset::Offset((high - HEARTBEAT_TAIL).max(low)),
        // The connector makes the topic with its first heartbeat.
        Err(_) => Offset::End,
    }
}

/// Commits what is durable in every table, where that moved on, and waits for the answer.
///
/// Always synchronous: rdkafka 0.39 switches librdkafka to events and then never hears of an asynchronous commit's result.
pub(super) fn commit(board: &Board, consumer: &BaseConsumer<Context>) -> KafkaResult<()> {
    // One at a time: of two commits on their way the older could arrive last.
    let _turn = consumer
        .context()
        .committing
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut list = TopicPartitionList::new();
    let mut moved = Vec::new();
    for (index, state) in board.slots.iter().enumerate() {
        let Some(offset) = board.committable(Slot(index)) else {
            continue;
        };
        if offset != state.committed.load(Ordering::Acquire) {
            list.add_partition_offset(board.topic(Slot(index)), state.partition, Offset::Offset(offset))?;
            moved.push((index, offset));
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    consumer.commit(&list, CommitMode::Sync)?;
    for (index, offset) in moved {
        let state = &board.slots[index];
        if state.assigned() {
            state.committed.store(offset, Ordering::Release);
        }
    }
    Ok(())
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(facility, message, "kafka"),
            RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka"),
            _ => tracing::debug!(facility, message, "kafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // librdkafka reports the end of a partition this way too; that is no error.
        if !reason.contains("reached end of partition") {
            tracing::warn!(%error, reason, "kafka");
        }
    }

    /// Ends of partitions, and positions behind transaction markers, which never arrive as records.
    fn stats(&self, statistics: Statistics) {
        for dataset in 0..self.board.datasets.len() {
            let dataset = &self.board.datasets[dataset];
            let Some(topic) = statistics.topics.get(&dataset.config.topic.name) else {
                continue;
            };
            for slot in dataset.slots() {
                let state = &self.board.slots[slot.0];
                let Some(partition) = topic.partitions.get(&state.partition) else {
                    continue;
                };
                let position = state.position.load(Ordering::Acquire);
                if position == UNASSIGNED {
                    continue;
                }
                if partition.ls_offset >= 0 {
                    state
                        .end
                        .store(partition.ls_offset.max(position), Ordering::Release);
                }
                let newest = state.newest_record.load(Ordering::Acquire);
                if let Some(end) = past_markers(position, newest, partition.app_offset) {
                    state.position.store(end, Ordering::Release);
                    for route in &dataset.routes {
                        self.board.lanes[route.lane].advance(slot, end);
                    }
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    /// Eager assignment on purpose: with static membership rebalances are rare, and "everything is given back, everything
    /// is decided anew" is one path to get right instead of two.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoked(consumer),
            other => self.fail(format!("rebalance: {other:?}")),
        }
    }
}
