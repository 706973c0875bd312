//! What librdkafka calls back for: assignments, statistics, errors. All of it runs in the reader's thread, inside `poll`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use tributary_crds::relay::RelayPhase;

use super::assign::partitions_changed;
use super::commit::{LastCommit, commit};
use super::position::past_markers;
use crate::board::Board;
use crate::lane::UNASSIGNED;
use crate::lane::ranges::Slot;

/// How long a revoked lane may finish its load. Far below `max.poll.interval.ms`, within which the callback must return.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Context {
    board: Arc<Board>,
    /// Set when the relay cannot go on; the loop ends with it and the process is started anew.
    fatal: Mutex<Option<String>>,
    /// Assigned by the group, not begun yet.
    pending: Mutex<Option<Vec<Slot>>>,
    pub(super) last_commit: LastCommit,
    complaints: Complaints,
}

/// Without a broker librdkafka complains twenty times a second: each kind is worth a line now and then.
#[derive(Default)]
struct Complaints(Mutex<Vec<(Option<RDKafkaErrorCode>, Instant)>>);

impl Complaints {
    const AGAIN_AFTER: Duration = Duration::from_secs(10);

    fn first(&self, code: Option<RDKafkaErrorCode>) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(_, when)| when.elapsed() < Self::AGAIN_AFTER);
        let new = !said.iter().any(|(known, _)| *known == code);
        if new {
            said.push((code, Instant::now()));
        }
        new
    }
}

impl Context {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            fatal: Mutex::new(None),
            pending: Mutex::new(None),
            last_commit: LastCommit::default(),
            complaints: Complaints::default(),
        }
    }

    pub(super) fn fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, message: String) {
        tracing::error!(message, "cannot go on");
        *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    /// Partitions whose starts have to be found out.
    pub(super) fn pending(&self) -> MutexGuard<'_, Option<Vec<Slot>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note. Nothing is read until the starts are known; asking for them may take long and belongs outside the callback.
    fn assigned(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) {
        self.board.metrics.rebalances.inc();
        self.board.assignments.fetch_add(1, Ordering::AcqRel);
        let slots = self.slots(assigned);
        tracing::info!(partitions = slots.len(), "assigned");
        self.last_commit.forget();
        *self.pending() = Some(slots);
        self.board.attention.store(true, Ordering::Release);
        if let Err(error) = consumer.assign(&TopicPartitionList::new()) {
            self.fail(format!("assign: {error}"));
        }
    }

    fn slots(&self, list: &TopicPartitionList) -> Vec<Slot> {
        list.elements()
            .iter()
            .filter_map(|element| {
                let dataset = self.board.dataset_of_topic(element.topic())?;
                let slot = self.board.datasets[dataset].slot(element.partition());
                if slot.is_none() {
                    partitions_changed(&self.board, dataset, None);
                }
                slot
            })
            .collect()
    }

    /// Eager protocol: everything is given back. Lanes finish what is in flight, what is durable is committed, and what is
    /// not stays announced for the next owner.
    fn revoked(&self, consumer: &BaseConsumer<Self>) {
        let lost = consumer.assignment_lost();
        tracing::info!(lost, "revoked");
        *self.pending() = None;
        // After a loss another relay may own the partitions already: commit nothing, wait for nothing. Nor without Kafka.
        if !lost && self.board.reach.trouble().is_none() {
            self.board.quiesce(Instant::now() + REVOKE_TIMEOUT);
            if let Err(error) = commit(&self.board, consumer, false) {
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
        self.board.reach.failed(error.rdkafka_error_code(), reason);
        if !reason.contains("reached end of partition") && self.complaints.first(error.rdkafka_error_code()) {
            tracing::warn!(%error, reason, "kafka");
        }
    }

    /// Ends of partitions, and positions behind transaction markers, which never arrive as records.
    fn stats(&self, statistics: Statistics) {
        self.board.reach.heard(&statistics);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_heard_once_and_another_too() {
        let complaints = Complaints::default();
        let (down, fail) = (
            Some(RDKafkaErrorCode::AllBrokersDown),
            Some(RDKafkaErrorCode::BrokerTransportFailure),
        );
        let heard = [down, fail, down, fail, None, None].map(|code| complaints.first(code));
        assert_eq!(heard, [true, true, false, false, true, false]);
    }
}
