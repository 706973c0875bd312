//! Kafka: the reader's thread. It polls, shapes events into the lanes' next batches, holds back when one is full, and commits
//! what has become durable. It never stops polling: a consumer that does is thrown out of its group.

mod assign;
mod commit;
mod context;
mod history;
mod position;

pub use history::Ask;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tributary_crds::relay::{
    BlockedCause, KafkaConfig, LaneState, OnReject, RecordPosition, RelayPhase, pack_ver,
};

use crate::board::{Board, Dataset, Route};
use crate::budget::Budget;
use crate::envelope::{self, EnvelopeError, KeyError};
use crate::lane::batch::{BatchBuilder, Origin, RowTimes};
use crate::lane::park::{Parked, Reason};
use crate::lane::ranges::Slot;
use crate::lane::{Pushed, UNASSIGNED, now_ms};
use crate::shape::{Event, Refused, Scratch};
use assign::{begin, position_lost};
use commit::commit;
use context::Context;
use position::{Known, Start};

const POLL: Duration = Duration::from_millis(50);
/// After Kafka failed to answer while partitions wait for their starts.
const BEGIN_RETRY: Duration = Duration::from_secs(1);
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest the loop waits for one lane's batch to be taken before it pauses the topic. A pause throws away what librdkafka
/// has fetched ahead, so a short wait is cheaper; a long one would hold up the siblings.
const ROOM_WAIT: Duration = Duration::from_millis(200);
/// A seek only moves a cursor; it waits for the fetcher to take note.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// At SIGTERM: how long loads in flight may take before they are left to the next start.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("{0}")]
    Fatal(String),
}

/// Settings of the consumer, beside what every client begins with.
fn consumer_config(client: &ClientConfig, kafka: &KafkaConfig) -> ClientConfig {
    let mut config = client.clone();
    config
        .set("group.id", &kafka.group_id)
        .set("group.instance.id", &kafka.group_instance_id)
        .set("isolation.level", "read_committed")
        // Positions are this relay's business: none is ever stored, committed or reset behind its back.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("partition.assignment.strategy", "roundrobin")
        .set("session.timeout.ms", "45000")
        .set("max.poll.interval.ms", "300000")
        // Fetched ahead: the bound on memory below the lanes.
        .set(
            "queued.max.messages.kbytes",
            (Budget::of_process().fetched / 1024).to_string(),
        )
        // The byte bound above is the one that counts; and when it is reached, fetching goes on as soon as there is room,
        // not after the default second, which alone would cap a topic at one queue per second.
        .set("queued.min.messages", "100000")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "200")
        .set("statistics.interval.ms", "500")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

pub struct Reader {
    board: Arc<Board>,
    consumer: Arc<BaseConsumer<Context>>,
    stop: Arc<AtomicBool>,
    /// Bytes all lanes together may hold before everything is paused.
    budget: u64,
    ask: Ask,
    envelopes: envelope::Reader,
    key: Vec<u8>,
    scratch: Scratch,
    /// The dataset of the last record: consecutive records nearly always share a topic.
    last: usize,
    paused: Vec<bool>,
    /// The assignment that `paused` is about.
    assignment: u64,
    /// Not before this is Kafka asked again where partitions begin.
    begin_at: Instant,
    /// A position may have vanished under the reader: they are compared with the logs, and again until Kafka answers.
    suspicious: bool,
}

impl Reader {
    /// `ask`: how tables are asked whether they have a row.
    pub fn new(board: Arc<Board>, stop: Arc<AtomicBool>, budget: u64, ask: Ask) -> Result<Self, SourceError> {
        let context = Context::new(Arc::clone(&board));
        let consumer: BaseConsumer<Context> =
            consumer_config(&board.client, &board.config.kafka).create_with_context(context)?;
        let topics: Vec<&str> = board
            .datasets
            .iter()
            .map(|d| d.config.topic.name.as_str())
            .collect();
        consumer.subscribe(&topics)?;
        Ok(Self {
            paused: vec![false; board.datasets.len()],
            board,
            consumer: Arc::new(consumer),
            stop,
            budget,
            ask,
            envelopes: envelope::Reader::default(),
            key: Vec::new(),
            scratch: Scratch::default(),
            last: 0,
            assignment: 0,
            begin_at: Instant::now(),
            suspicious: false,
        })
    }

    /// Reads until told to stop, then drains.
    pub fn run(mut self) -> Result<(), SourceError> {
        let committer = commit::spawn(Arc::clone(&self.board), &self.consumer);
        committer.map_err(|error| SourceError::Fatal(format!("cannot start a thread: {error}")))?;
        let mut since_chores = 0u32;
        while !self.stop.load(Ordering::Acquire) {
            let idle = match self.consumer.poll(POLL) {
                None => true,
                Some(Ok(message)) => {
                    // The message borrows the consumer; the handler needs the rest of self.
                    let handled = Handler {
                        board: &self.board,
                        envelopes: &mut self.envelopes,
                        key: &mut self.key,
                        scratch: &mut self.scratch,
                        last: &mut self.last,
                    }
                    .record(&message);
                    drop(message);
                    if let Some(full) = handled {
                        self.hold_back(full)?;
                    }
                    false
                }
                Some(Err(error)) => {
                    self.kafka_error(error)?;
                    true
                }
            };
            since_chores += 1;
            if idle
                || since_chores >= 256
                || self.board.attention.load(Ordering::Relaxed)
                // Few large records may exceed the budget long before it is their turn to be counted.
                || self.board.buffered.load(Ordering::Relaxed) > self.budget
            {
                since_chores = 0;
                self.chores()?;
            }
        }
        self.drain()
    }

    /// What lies between two polls, a few dozen times a second.
    fn chores(&mut self) -> Result<(), SourceError> {
        self.board.polled_ms.store(now_ms(), Ordering::Release);
        if let Some(fatal) = self.consumer.context().fatal() {
            return Err(SourceError::Fatal(fatal));
        }
        self.begin_pending();
        if self.suspicious {
            self.check_positions();
        }
        if self.board.attention.swap(false, Ordering::AcqRel) {
            self.rewind();
            self.resume()?;
        }
        if self.board.buffered.load(Ordering::Relaxed) > self.budget {
            for dataset in 0..self.paused.len() {
                self.pause(dataset)?;
            }
        }
        Ok(())
    }

    /// Begins what the group has assigned. Kafka may be slow or away: then later, and the process goes on.
    fn begin_pending(&mut self) {
        if Instant::now() < self.begin_at {
            return;
        }
        let Some(slots) = self.consumer.context().pending().take() else {
            return;
        };
        if let Err(error) = begin(&self.board, &self.consumer, &self.ask, &slots) {
            tracing::warn!(%error, "the starts of the assigned partitions are not known yet; asked again");
            self.begin_at = Instant::now() + BEGIN_RETRY;
            *self.consumer.context().pending() = Some(slots);
        }
    }

    /// Finds the partition whose position left its log: the error names none. Its dataset stops, the others go on.
    fn check_positions(&mut self) {
        self.suspicious = false;
        for (index, state) in self.board.slots.iter().enumerate() {
            let position = state.position.load(Ordering::Acquire);
            if position == UNASSIGNED {
                continue;
            }
            let topic = self.board.topic(Slot(index));
            match self
                .consumer
                .fetch_watermarks(topic, state.partition, WATERMARK_TIMEOUT)
            {
                Ok((low, high)) => {
                    let known = Known {
                        committed: Some(position),
                        forgotten: false,
                        furthest: None,
                        low,
                        high,
                    };
                    if let Start::Lost(lost) = known.start() {
                        position_lost(&self.board, Slot(index), position, &lost);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, topic, partition = state.partition, "position not checked yet; asked again");
                    self.suspicious = true;
                    return;
                }
            }
        }
    }

    /// A batch is full while another is in flight: wait a little, then pause the topic.
    fn hold_back(&mut self, lane: usize) -> Result<(), SourceError> {
        let lane = Arc::clone(&self.board.lanes[lane]);
        let hopeless = matches!(
            lane.state(),
            LaneState::Retrying { .. } | LaneState::Blocked { .. }
        );
        if !hopeless && lane.wait_for_room(ROOM_WAIT) {
            return Ok(());
        }
        for dataset in 0..self.board.datasets.len() {
            if self.board.lanes_of(dataset).any(|l| Arc::ptr_eq(l, &lane)) {
                self.pause(dataset)?;
            }
        }
        Ok(())
    }

    fn pause(&mut self, dataset: usize) -> Result<(), SourceError> {
        let assignment = self.board.assignments.load(Ordering::Acquire);
        if assignment != self.assignment {
            self.assignment = assignment;
            self.paused.fill(false);
        }
        if self.paused[dataset] {
            return Ok(());
        }
        let list = self.partitions(dataset);
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.pause(&list)?;
        self.paused[dataset] = true;
        let topic = self.board.datasets[dataset].config.topic.name.clone();
        self.board
            .metrics
            .pauses
            .get_or_create(&crate::telemetry::metrics::TopicLabels { topic })
            .inc();
        Ok(())
    }

    /// Resumes what has room again. Hysteresis comes by itself: a batch is taken whole, so room means an empty batch; the
    /// shared budget must have fallen to a half.
    fn resume(&mut self) -> Result<(), SourceError> {
        if self.board.buffered.load(Ordering::Relaxed) > self.budget / 2 && self.paused.iter().all(|p| *p) {
            return Ok(());
        }
        for dataset in 0..self.paused.len() {
            if self.paused[dataset] && !self.board.lanes_of(dataset).any(|lane| lane.full()) {
                self.consumer.resume(&self.partitions(dataset))?;
                self.paused[dataset] = false;
            }
        }
        Ok(())
    }

    fn partitions(&self, dataset: usize) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        let dataset = &self.board.datasets[dataset];
        for slot in dataset
            .slots()
            .map(|slot| &self.board.slots[slot.0])
            .filter(|slot| slot.assigned())
        {
            list.add_partition(&dataset.config.topic.name, slot.partition);
        }
        list
    }

    /// Lanes that came free read again what they dropped; their siblings skip what they have.
    fn rewind(&mut self) {
        for lane in &self.board.lanes {
            for (slot, from) in lane.take_rewind().unwrap_or_default() {
                let state = &self.board.slots[slot.0];
                if state.position.load(Ordering::Acquire) <= from {
                    continue;
                }
                let topic = self.board.topic(slot);
                let partition = state.partition;
                tracing::info!(topic, partition, from, table = lane.spec.table, "reading again");
                let sought = self
                    .consumer
                    .seek(topic, partition, Offset::Offset(from), SEEK_TIMEOUT);
                match sought {
                    Ok(()) => state.position.store(from, Ordering::Release),
                    Err(error) => {
                        tracing::warn!(%error, topic, partition, "seek; tried again");
                        lane.ask_rewind();
                        return;
                    }
                }
            }
        }
    }

    fn kafka_error(&mut self, error: KafkaError) -> Result<(), SourceError> {
        match &error {
            // Ends of partitions come with the statistics: this event names neither topic nor offset.
            KafkaError::PartitionEOF(_) => Ok(()),
            KafkaError::MessageConsumptionFatal(code) => Err(SourceError::Fatal(format!(
                "{code}: another process uses group.instance.id {:?}, or the broker refuses this client",
                self.board.config.kafka.group_instance_id
            ))),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => {
                self.suspicious = true;
                Ok(())
            }
            // Passes, and the client's own callback has said it.
            other => {
                tracing::debug!(error = %other, "kafka");
                Ok(())
            }
        }
    }

    /// Finish or abandon what is in flight, commit what is durable, leave.
    fn drain(self) -> Result<(), SourceError> {
        self.board.set_phase(RelayPhase::Draining);
        // Without Kafka no load is announced and no commit answered: waiting for either would only delay what may mend it.
        if self.board.reach.trouble().is_none() {
            self.board.quiesce(Instant::now() + DRAIN_TIMEOUT);
            if let Err(error) = commit(&self.board, &self.consumer, false) {
                tracing::warn!(%error, "last commit; the next owner repeats a little");
            }
        }
        for lane in &self.board.lanes {
            lane.stop();
        }
        // A static member does not leave its group: its successor takes over without a rebalance.
        Ok(())
    }
}

/// Deals with one record. Apart from [`Reader`], because the record borrows the consumer.
struct Handler<'r> {
    board: &'r Board,
    envelopes: &'r mut envelope::Reader,
    key: &'r mut Vec<u8>,
    scratch: &'r mut Scratch,
    last: &'r mut usize,
}

impl Handler<'_> {
    /// The lane whose batch is full now, if any.
    fn record(&mut self, message: &BorrowedMessage<'_>) -> Option<usize> {
        let topic = message.topic();
        let board = self.board;
        if board
            .datasets
            .get(*self.last)
            .is_none_or(|d| d.config.topic.name != topic)
        {
            match board.dataset_of_topic(topic) {
                Some(dataset) => *self.last = dataset,
                None => {
                    self.other_topic(topic, message.payload());
                    return None;
                }
            }
        }
        let dataset = &board.datasets[*self.last];
        let slot = dataset.slot(message.partition())?;
        let offset = message.offset();
        let kafka_ms = message.timestamp().to_millis().unwrap_or(0);
        let full = match message.payload() {
            // A tombstone follows every delete and says nothing new.
            None => {
                advance(board, dataset, slot, offset + 1);
                None
            }
            Some(value) => self.event(dataset, slot, message.key(), value, (offset, kafka_ms)),
        };
        let state = &board.slots[slot.0];
        state.position.store(offset + 1, Ordering::Release);
        state.newest_record.fetch_max(offset + 1, Ordering::AcqRel);
        full
    }

    fn other_topic(&self, topic: &str, value: Option<&[u8]>) {
        if topic == self.board.config.kafka.heartbeat_topic
            && let Some(ms) = value.and_then(envelope::heartbeat_ts_ms)
        {
            self.board.heartbeat_ms.fetch_max(ms, Ordering::AcqRel);
        }
    }

    fn event(
        &mut self,
        dataset: &Dataset,
        slot: Slot,
        key: Option<&[u8]>,
        value: &[u8],
        (offset, kafka_ms): (i64, i64),
    ) -> Option<usize> {
        let board = self.board;
        let origin = Origin { slot, offset };
        let envelope = match read(key, value, self.key, self.envelopes) {
            Ok(envelope) => envelope,
            Err(error) => {
                let mut full = None;
                for route in &dataset.routes {
                    let why = error.to_string();
                    let parked = || Parked::record(origin, Reason::Unreadable, why.clone(), (key, value));
                    if refuse(board, route.lane, origin, &why, parked, |_| {}) == Pushed::Full {
                        full = Some(route.lane);
                    }
                }
                return full;
            }
        };
        let state = &board.slots[slot.0];
        if let Some(ms) = envelope.source_ts_ms {
            state.newest_source_ms.store(ms, Ordering::Release);
        }
        let topic = &dataset.config.topic;
        let event = Event {
            tenant: &dataset.config.tenant,
            dataset: &dataset.config.name,
            key: self.key,
            op: envelope.op,
            change: envelope.change,
            document: envelope.document,
            source_ts_ms: envelope.source_ts_ms,
            topic: &topic.name,
            partition: state.partition,
            offset,
            ver: pack_ver(topic.generation, offset, dataset.config.mapping_generation),
        };
        // A snapshot's clock is the connector's: it says nothing about when the document was written.
        let source_ms = envelope
            .source_ts_ms
            .filter(|_| envelope.op != envelope::Op::Read);
        let mut full = None;
        for route in &dataset.routes {
            let times = RowTimes { source_ms, kafka_ms };
            let pushed = match offer(board, route, origin, times, &event, self.scratch) {
                Ok(pushed) => pushed,
                Err(error) => {
                    let why = error.to_string();
                    let parked = || Parked::record(origin, Reason::Refused, why.clone(), (key, value));
                    let scratch = &mut *self.scratch;
                    refuse(board, route.lane, origin, &why, parked, |builder| {
                        take_away(builder, route, origin, times, &event, scratch);
                    })
                }
            };
            if pushed == Pushed::Full {
                full = Some(route.lane);
            }
        }
        full
    }
}

/// Gives an event to one table.
fn offer(
    board: &Board,
    route: &Route,
    origin: Origin,
    times: RowTimes,
    event: &Event<'_>,
    scratch: &mut Scratch,
) -> Result<Pushed, Refused> {
    let lane = &board.lanes[route.lane];
    let Origin { slot, offset } = origin;
    match route.plan {
        None => lane.push(slot, offset, times, |out| {
            let shaped = route.mapping.shape(event, scratch, out)?;
            lane.metrics.shaped(shaped.overflowed, shaped.truncated);
            Ok(shaped.key_len)
        }),
        Some(plan) => lane.push_document(slot, offset, times, (plan, event.ver), |out, rows| {
            let document = route.mapping.rows(event, scratch, out, rows)?;
            lane.metrics
                .shaped(document.shaped.overflowed, document.shaped.truncated);
            Ok(document)
        }),
    }
}

/// `onReject: Remove`: the rows of a document that is being parked go, when its key says which.
fn take_away(
    builder: &mut BatchBuilder,
    route: &Route,
    origin: Origin,
    times: RowTimes,
    event: &Event<'_>,
    scratch: &mut Scratch,
) {
    let remove = route
        .mapping
        .removal()
        .is_some_and(|removal| removal.on_reject() == OnReject::Remove);
    if !remove {
        return;
    }
    let gone = Event {
        change: envelope::Change::Delete,
        ..*event
    };
    // A key that cannot be written is not in the table either.
    let _: Result<(), Refused> = match route.plan {
        None => builder.push(origin, times, |out| {
            route
                .mapping
                .shape(&gone, scratch, out)
                .map(|shaped| shaped.key_len)
        }),
        Some(plan) => builder.push_document(origin, times, (plan, event.ver), |out, rows| {
            route.mapping.rows(&gone, scratch, out, rows)
        }),
    };
}

/// The record's key into `id`, and what its value says.
fn read<'a>(
    key: Option<&[u8]>,
    value: &'a [u8],
    id: &mut Vec<u8>,
    envelopes: &'a mut envelope::Reader,
) -> Result<envelope::Envelope<'a>, Unreadable> {
    envelope::document_key(key, id)?;
    Ok(envelopes.read(value)?)
}

/// A document a table cannot take: parked, or the lane stops in front of it where there is no dead-letter topic.
fn refuse(
    board: &Board,
    lane: usize,
    origin: Origin,
    why: &str,
    parked: impl FnOnce() -> Parked,
    removal: impl FnOnce(&mut BatchBuilder),
) -> Pushed {
    let lane = &board.lanes[lane];
    if lane.parks() {
        return lane.park(parked(), removal);
    }
    let Origin { slot, offset } = origin;
    let at = RecordPosition {
        topic: board.topic(slot).to_owned(),
        partition: board.slots[slot.0].partition,
        offset,
    };
    let message = format!("{}/{}@{offset}: {why}", at.topic, at.partition);
    lane.refuse(BlockedCause::LoadsRejected, message, Some(at));
    Pushed::Skipped
}

fn advance(board: &Board, dataset: &Dataset, slot: Slot, end: i64) {
    for route in &dataset.routes {
        board.lanes[route.lane].advance(slot, end);
    }
}

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
}
