//! Where the assigned partitions begin: asked of Kafka outside its callbacks, and again until it answers.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tributary_crds::relay::{BlockedCause, RecordPosition, RelayPhase};

use super::context::Context;
use super::history::{Ask, was_read};
use super::position::{Known, Start};
use crate::board::Board;
use crate::guard::Guard;
use crate::lane::intent::Progress;
use crate::lane::ranges::Slot;
use crate::lane::settle::LaneStart;

const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How far back the heartbeat topic is read: a few records and the transaction markers between them.
const HEARTBEAT_TAIL: i64 = 10;
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// A partition's offset as the group has it, and what was committed with it.
struct Committed {
    offset: Option<i64>,
    progress: Option<Progress>,
}

/// A partition that can be read, and how far each of its tables is.
struct SlotStart {
    slot: Slot,
    offset: i64,
    progress: Option<Progress>,
}

/// Why the starts are not known yet. It passes.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotYet {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(
        "the group has no offset for {topic}, and whether its tables were read from it before cannot be asked: {why}"
    )]
    Tables { topic: String, why: String },
}

/// Decides every slot's start, tells the lanes, and lets reading begin.
pub(super) fn begin(
    board: &Board,
    consumer: &BaseConsumer<Context>,
    ask: &Ask,
    slots: &[Slot],
) -> Result<(), NotYet> {
    let starts = starts(board, consumer, ask, slots)?;
    for lane in &board.lanes {
        let of_lane = |start: &&SlotStart| lane.spec.slots.contains(&start.slot);
        let mine: Vec<_> = starts
            .iter()
            .filter(of_lane)
            .map(|start| {
                let known = start
                    .progress
                    .as_ref()
                    .and_then(|progress| progress.table(lane.spec.id));
                let known = known.filter(|_| Guard::TablePositions.holds());
                LaneStart {
                    slot: start.slot,
                    // A table the last owner did not know begins with what is read from here on.
                    done: known.map_or(start.offset, |table| table.done.max(start.offset)),
                    intent: known.and_then(|table| table.intent),
                }
            })
            .collect();
        lane.reset(&mine);
    }
    for start in &starts {
        let state = &board.slots[start.slot.0];
        state.committed.store(start.offset, Ordering::Release);
        state.position.store(start.offset, Ordering::Release);
    }
    assign(board, consumer, &starts)?;
    // Now, not at leisure: from the first row on a missing offset is a lost one.
    board.desk.ask();
    tracing::info!(partitions = starts.len(), "reading");
    // No partition at all: the topics are not there yet, or other members have them.
    board.set_phase(match slots.is_empty() {
        true => RelayPhase::Starting,
        false => RelayPhase::Running,
    });
    Ok(())
}

fn assign(board: &Board, consumer: &BaseConsumer<Context>, starts: &[SlotStart]) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for start in starts {
        let partition = board.slots[start.slot.0].partition;
        list.add_partition_offset(board.topic(start.slot), partition, Offset::Offset(start.offset))?;
    }
    // Beside the group's assignment: every relay needs the heartbeat, whoever of them would be given its partition.
    let heartbeat = &board.config.kafka.heartbeat_topic;
    list.add_partition_offset(heartbeat, 0, heartbeat_start(consumer, heartbeat))?;
    consumer.assign(&list)
}

/// A few records back, but never before the log's start: an offset out of range would be an error like any other.
fn heartbeat_start(consumer: &BaseConsumer<Context>, topic: &str) -> Offset {
    match consumer.fetch_watermarks(topic, 0, HEARTBEAT_TIMEOUT) {
        Ok((low, high)) => Offset::Offset((high - HEARTBEAT_TAIL).max(low)),
        // The connector makes the topic with its first heartbeat.
        Err(_) => Offset::End,
    }
}

/// Lost positions and outdated configurations block their dataset's lanes and are left out.
fn starts(
    board: &Board,
    consumer: &BaseConsumer<Context>,
    ask: &Ask,
    slots: &[Slot],
) -> Result<Vec<SlotStart>, NotYet> {
    let committed = committed(board, consumer, slots)?;
    let mut starts = Vec::new();
    let mut history = History::default();
    let mut checked = None;
    for (slot, committed) in slots.iter().zip(committed) {
        let state = &board.slots[slot.0];
        if checked != Some(state.dataset) {
            check_partition_count(board, consumer, state.dataset)?;
            checked = Some(state.dataset);
        }
        let Some(Committed { offset, progress }) = committed else {
            continue;
        };
        let topic = board.topic(*slot);
        let (low, high) = consumer.fetch_watermarks(topic, state.partition, QUERY_TIMEOUT)?;
        let furthest = progress
            .iter()
            .flat_map(|p| &p.tables)
            .map(|table| table.done)
            .max();
        let known = Known {
            committed: offset,
            forgotten: offset.is_none()
                && low == 0
                && history.forgotten(board, consumer, state.dataset, ask)?,
            furthest,
            low,
            high,
        };
        match known.start() {
            Start::At(offset) => starts.push(SlotStart {
                slot: *slot,
                offset,
                progress,
            }),
            Start::Lost(lost) => position_lost(board, *slot, offset.unwrap_or(low), &lost),
        }
    }
    Ok(starts)
}

/// Whether a dataset was read before by a group that knows nothing of it now. Each is asked about once.
#[derive(Default)]
struct History(HashMap<usize, bool>);

impl History {
    fn forgotten(
        &mut self,
        board: &Board,
        consumer: &BaseConsumer<Context>,
        dataset: usize,
        ask: &Ask,
    ) -> Result<bool, NotYet> {
        if !Guard::LostOffsets.holds() {
            return Ok(false);
        }
        if let Some(known) = self.0.get(&dataset) {
            return Ok(*known);
        }
        let config = &board.datasets[dataset].config;
        let read = was_read(config, ask).map_err(|why| NotYet::Tables {
            topic: config.topic.name.clone(),
            why,
        })?;
        // In this order: a row's owner has committed before it, so a sibling that reads beside this relay shows here. Then the
        // group is not forgotten, and this partition is one that nobody has come to yet.
        let forgotten = read && !any_offset(board, consumer, dataset)?;
        self.0.insert(dataset, forgotten);
        Ok(forgotten)
    }
}

/// Whether the group has an offset of any of a dataset's partitions.
fn any_offset(board: &Board, consumer: &BaseConsumer<Context>, dataset: usize) -> KafkaResult<bool> {
    let mut list = TopicPartitionList::new();
    for slot in board.datasets[dataset].slots() {
        list.add_partition(board.topic(slot), board.slots[slot.0].partition);
    }
    let found = consumer.committed_offsets(list, QUERY_TIMEOUT)?;
    let elements = found.elements();
    for element in &elements {
        element.error()?;
    }
    Ok(elements
        .iter()
        .any(|element| matches!(element.offset(), Offset::Offset(_))))
}

pub(super) fn position_lost(board: &Board, slot: Slot, at: i64, lost: &dyn std::fmt::Display) {
    let state = &board.slots[slot.0];
    let message = format!(
        "{}/{}: {lost}. A Replay with from: snapshot (or earliest, for what is left) repairs the tables",
        board.topic(slot),
        state.partition
    );
    block(
        board,
        state.dataset,
        BlockedCause::PositionLost,
        &message,
        Some((slot, at)),
    );
}

/// `None` for a slot whose dataset must not be touched by this configuration.
fn committed(
    board: &Board,
    consumer: &BaseConsumer<Context>,
    slots: &[Slot],
) -> KafkaResult<Vec<Option<Committed>>> {
    let mut list = TopicPartitionList::new();
    for slot in slots {
        list.add_partition(board.topic(*slot), board.slots[slot.0].partition);
    }
    let found = consumer.committed_offsets(list, QUERY_TIMEOUT)?;
    let mut committed = Vec::new();
    for slot in slots {
        let partition = board.slots[slot.0].partition;
        let element = found.find_partition(board.topic(*slot), partition);
        let Some(element) = element else {
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition));
        };
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let progress = match offset {
            Some(offset) => Progress::decode(element.metadata(), offset),
            None => Ok(None),
        };
        committed.push(acceptable(board, *slot, progress).map(|progress| Committed { offset, progress }));
    }
    Ok(committed)
}

/// Generations only grow: a relay that comes back with an older mapping would put NULL over newer values (rule 18).
fn acceptable(
    board: &Board,
    slot: Slot,
    progress: Result<Option<Progress>, crate::lane::intent::ProgressError>,
) -> Option<Option<Progress>> {
    let (dataset, mine) = (
        board.slots[slot.0].dataset,
        board.slots[slot.0].mapping_generation,
    );
    let outdated = |why: &str| {
        let message = format!("{}/{}: {why}", board.topic(slot), board.slots[slot.0].partition);
        block(
            board,
            dataset,
            BlockedCause::ConfigurationOutdated,
            &message,
            None,
        );
        None
    };
    match progress {
        Ok(Some(progress)) if progress.mapping_generation > mine && Guard::MappingGenerations.holds() => {
            outdated(&format!(
                "mapping generation {} has written here already and this relay was given {mine}: it waits for a newer configuration",
                progress.mapping_generation
            ))
        }
        Ok(progress) => Some(progress),
        Err(error) => outdated(&error.to_string()),
    }
}

fn check_partition_count(board: &Board, consumer: &BaseConsumer<Context>, dataset: usize) -> KafkaResult<()> {
    let topic = &board.datasets[dataset].config.topic;
    let metadata = consumer.fetch_metadata(Some(&topic.name), QUERY_TIMEOUT)?;
    let described = metadata.topics().first();
    if let Some(error) = described.and_then(|topic| topic.error()) {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error)));
    }
    let found = described.map_or(0, |topic| topic.partitions().len());
    if found != topic.partitions as usize {
        partitions_changed(board, dataset, Some(found));
    }
    Ok(())
}

/// More partitions would move keys between them and break the order within a key (correctness rule 2).
pub(super) fn partitions_changed(board: &Board, dataset: usize, found: Option<usize>) {
    let topic = &board.datasets[dataset].config.topic;
    let found = found.map_or("another number of".to_owned(), |n| n.to_string());
    let message = format!(
        "topic {} has {found} partitions, {} when it was created: the order of changes to a document is no longer known",
        topic.name, topic.partitions
    );
    block(board, dataset, BlockedCause::PartitionsChanged, &message, None);
}

fn block(board: &Board, dataset: usize, cause: BlockedCause, message: &str, at: Option<(Slot, i64)>) {
    let at = at.map(|(slot, offset)| RecordPosition {
        topic: board.topic(slot).to_owned(),
        partition: board.slots[slot.0].partition,
        offset,
    });
    for lane in board.lanes_of(dataset) {
        lane.refuse(cause, message.to_owned(), at.clone());
    }
}
