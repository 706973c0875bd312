//! The lane's task: settles what earlier owners announced, then takes closed batches one at a time and stays with each until
//! its fate is known.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tributary_crds::relay::{BlockedCause, LaneState, RetryCause};

use super::batch::{Batch, BatchBuilder};
use super::desk::Announced;
use super::index::Index;
use super::intent::Intent;
use super::isolate::isolate;
use super::label::{Label, Piece};
use super::settle::{Settlement, settle};
use super::{Filling, Lane, Taken, now_ms, prepare};
use crate::guard::Guard;
use crate::sink::{Durable, LabelState, LoadOutcome, LoadRequest, Sink};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// How often a blocked lane looks whether somebody has helped: at first soon, in the end rarely.
const FIRST_BLOCKED_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BLOCKED_BACKOFF: Duration = Duration::from_secs(15);
/// The linger grows at most to this under version pressure.
const MAX_LINGER: Duration = Duration::from_secs(10);

/// What a lane has to do next.
enum Step {
    Settle(Settlement, u64),
    Load(Taken),
}

/// Runs a lane until it is stopped.
pub async fn run<S: Sink>(lane: Arc<Lane>, sink: Arc<S>) {
    let mut linger = Linger::new(Duration::from_millis(lane.spec.batch.linger_ms));
    lane.wait_for_columns(&*sink).await;
    let mut index = Index::new(lane.spec.index.clone(), lane.spec.index_bytes);
    let mut index_epoch = 0;
    while let Some(step) = lane.next_step(linger.current).await {
        match step {
            Step::Settle(settlement, epoch) => {
                let mut changes = lane.epoch.subscribe();
                if *changes.borrow_and_update() != epoch {
                    continue;
                }
                tokio::select! {
                    biased;
                    _ = changes.changed() => {}
                    found = settle(&lane, &*sink, &settlement) => lane.settled(&settlement, found, epoch),
                }
            }
            Step::Load(taken) => {
                if index_epoch != taken.epoch {
                    // Another owner may have written the table in between.
                    index.forget();
                    index_epoch = taken.epoch;
                }
                let fate = deliver(&lane, &*sink, taken, &mut index, &mut linger).await;
                if matches!(fate, Fate::Abandoned) {
                    index.forget();
                }
                lane.finished(fate);
                lane.linger_ms
                    .store(linger.current.as_millis() as u64, Ordering::Release);
            }
        }
    }
}

impl Lane {
    /// Every mapped column has to be there before anything is loaded: StarRocks ignores names it does not know, and the rows
    /// would have NULL for good (correctness rule 18).
    async fn wait_for_columns<S: Sink>(&self, sink: &S) {
        if !Guard::MappingGenerations.holds() {
            return;
        }
        let (database, table) = (&self.spec.database, &self.spec.table);
        let mut attempts = Attempts::default();
        loop {
            let found = match sink.columns(database, table).await {
                Ok(None) => break,
                Ok(Some(columns)) => missing(&self.spec.mapped, &columns, database, table),
                Err(error) => match error.blocked() {
                    Ok(cause) => Some((cause, error.to_string())),
                    Err(cause) => {
                        let pause = attempts.failed();
                        self.retrying("", cause, format!("the table's columns: {error}"), &attempts);
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                },
            };
            let Some((cause, message)) = found else { break };
            attempts.failed();
            self.blocked("", cause, message, &attempts);
            tokio::time::sleep(attempts.blocked()).await;
        }
        self.set_state(LaneState::Idle);
        self.read_again_if_missed(&mut self.filling());
    }

    /// Waits for something to do: a settlement, a full batch, or one whose linger is over. `None`: the lane was stopped.
    async fn next_step(&self, linger: Duration) -> Option<Step> {
        loop {
            let deadline = {
                let mut filling = self.filling();
                if filling.stop {
                    return None;
                }
                if filling.hold {
                    None
                } else if let Some(first) = filling.settling.front() {
                    if !first.free {
                        return Some(Step::Settle(first.clone(), *self.epoch.borrow()));
                    }
                    if first.complete(&filling.next) {
                        return Some(Step::Load(self.take(&mut filling)));
                    }
                    None
                } else {
                    let due = filling.opened.map(|opened| opened + linger);
                    let full = self.is_full(&filling);
                    if due.is_some_and(|due| full || due <= Instant::now()) {
                        return Some(Step::Load(self.take(&mut filling)));
                    }
                    due
                }
            };
            match deadline {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due.into(), self.work.notified()).await;
                }
                None => self.work.notified().await,
            }
        }
    }

    fn take(&self, filling: &mut Filling) -> Taken {
        let (bytes, rows) = (filling.builder.bytes(), filling.builder.rows());
        // The next batch is probably of this size; growing a buffer to it again would copy it several times over.
        let next = BatchBuilder::with_capacity(bytes.min(self.spec.batch.max_bytes as usize), rows);
        let batch = std::mem::replace(&mut filling.builder, next).close();
        let label = match filling.settling.pop_front() {
            Some(settlement) => {
                // What passed by meanwhile is read again once this is done; nothing may be taken in between.
                filling.dropping |= filling.missed;
                settlement.label
            }
            None => self.spec.label(&batch.ranges),
        };
        self.intend(filling, &batch, label);
        filling.opened = None;
        filling.in_flight = true;
        filling.in_flight_bytes = bytes as u64;
        self.in_flight_source_ms
            .store(batch.oldest_source_ms.unwrap_or(0), Ordering::Release);
        self.changed.notify_all();
        self.attention.store(true, Ordering::Release);
        Taken {
            batch,
            label,
            epoch: *self.epoch.borrow(),
        }
    }

    /// What the next commit says about the batch. A batch without rows is no load.
    fn intend(&self, filling: &mut Filling, batch: &Batch, label: Label) {
        if batch.is_nothing() || !Guard::Intents.holds() {
            return;
        }
        let partitions = u16::try_from(batch.ranges.iter().count()).unwrap_or(u16::MAX);
        for range in batch.ranges.iter() {
            filling.intents[range.slot.0] = Some(Intent {
                label,
                end: range.end,
                partitions,
                piece: None,
            });
        }
    }

    /// The next commit names the part that goes next: an owner that dies with it on its way leaves it to be settled.
    fn intend_piece(&self, load: &Label, piece: Piece) {
        for intent in self.filling().intents.iter_mut().flatten() {
            if intent.label == *load {
                intent.piece = Some(piece);
            }
        }
    }

    /// An earlier owner's load was looked after: it is in the table, or its ranges are free to be sent again.
    fn settled(&self, settlement: &Settlement, found: Option<Durable>, epoch: u64) {
        let mut filling = self.filling();
        if epoch != *self.epoch.borrow() {
            return;
        }
        match found {
            None => {
                if let Some(first) = filling.settling.front_mut() {
                    first.free = true;
                }
            }
            Some(durable) => {
                filling.settling.pop_front();
                for range in &settlement.ranges {
                    self.done[range.slot.0].store(range.end, Ordering::Release);
                    filling.next[range.slot.0] = range.end;
                    filling.intents[range.slot.0] = None;
                }
                self.discard(&mut filling);
                let label = settlement.origin.unwrap_or(settlement.label);
                self.loaded(&self.spec.labels.text(&label), durable);
                self.read_again_if_missed(&mut filling);
            }
        }
        drop(filling);
        self.set_state(LaneState::Idle);
        self.work.notify_one();
    }

    fn read_again_if_missed(&self, filling: &mut Filling) {
        filling.dropping |= filling.missed;
        if filling.dropping && filling.refused.is_none() {
            self.wants_rewind.store(true, Ordering::Release);
        }
        self.attention.store(true, Ordering::Release);
    }

    /// Throws the next batch away.
    fn discard(&self, filling: &mut Filling) {
        self.buffered
            .fetch_sub(filling.builder.bytes() as u64, Ordering::Relaxed);
        filling.builder = BatchBuilder::default();
        filling.opened = None;
    }

    fn finished(&self, fate: Fate) {
        let mut filling = self.filling();
        if let Fate::Durable(taken) = &fate
            && taken.epoch == *self.epoch.borrow()
        {
            for range in taken.batch.ranges.iter() {
                self.done[range.slot.0].store(range.end, Ordering::Release);
                filling.intents[range.slot.0] = None;
            }
        }
        filling.in_flight = false;
        self.buffered
            .fetch_sub(filling.in_flight_bytes, Ordering::Relaxed);
        filling.in_flight_bytes = 0;
        self.in_flight_source_ms.store(0, Ordering::Release);
        self.read_again_if_missed(&mut filling);
        drop(filling);
        self.set_state(LaneState::Idle);
        self.changed.notify_all();
    }

    /// A blocked lane keeps the batch in hand and nothing else (correctness rule 13).
    pub(super) fn drop_buffer(&self) {
        if !Guard::BlockedTables.holds() {
            return;
        }
        let mut filling = self.filling();
        filling.dropping = true;
        self.discard(&mut filling);
        drop(filling);
        self.changed.notify_all();
        self.attention.store(true, Ordering::Release);
    }

    /// Remembers whether readers see the table's newest load yet.
    fn loaded(&self, label: &str, durable: Durable) {
        let unseen = (!durable.visible).then(|| label.to_owned());
        *self
            .unseen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = unseen;
    }

    /// Waits until every load of this lane can be read: `Publish Timeout` is durable, but unreadable for a while (correctness
    /// rule 4). Not bounded: a publish that hangs is StarRocks standing still.
    pub async fn visible<S: Sink>(&self, sink: &S) {
        let label = self
            .unseen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        let Some(label) = label else { return };
        let mut attempts = Attempts::default();
        loop {
            let state = sink.label_state(&self.spec.database, &label).await;
            let pause = attempts.failed();
            let (cause, message) = match state {
                // Only finished labels are forgotten.
                LabelState::Durable(Durable { visible: true })
                | LabelState::Unknown
                | LabelState::Aborted => break,
                LabelState::Refused { cause, message } => {
                    self.blocked(&label, cause, message, &attempts);
                    tokio::time::sleep(attempts.blocked()).await;
                    continue;
                }
                LabelState::Unanswered { cause, message } => (cause, message),
                LabelState::Durable(_) | LabelState::Running => (
                    RetryCause::Publishing,
                    format!("load {label} is committed but not visible yet"),
                ),
            };
            self.set_state(LaneState::Retrying {
                label: label.clone(),
                cause,
                message,
                attempts: attempts.count,
                since_ms: attempts.since_ms,
            });
            tokio::time::sleep(pause.min(Duration::from_secs(1))).await;
        }
        self.loaded(&label, Durable { visible: true });
    }

    /// Has the lane's intents committed, and says until when the load may begin. Waits for as long as Kafka is away: without
    /// the commit nobody could tell later what was sent.
    async fn announce(&self, label: &str) -> Announced {
        let asked = Instant::now();
        if !Guard::Intents.holds() {
            return Announced::at(asked);
        }
        let mut attempts = Attempts::default();
        self.desk
            .committed(self.desk.ask(), |why| {
                attempts.failed();
                self.set_state(LaneState::Retrying {
                    label: label.to_owned(),
                    cause: RetryCause::CommitFailed,
                    message: format!("the load waits until Kafka takes its announcement: {why}"),
                    attempts: attempts.count,
                    since_ms: attempts.since_ms,
                });
            })
            .await;
        tracing::debug!(table = %self.spec.table, label, took = ?asked.elapsed(), "announced");
        // Since before the commit: a process frozen in between must not take an old announcement for a fresh one.
        Announced::at(asked)
    }
}

/// What is wrong with a table for this mapping.
fn missing(
    mapped: &[String],
    found: &[String],
    database: &str,
    table: &str,
) -> Option<(BlockedCause, String)> {
    if found.is_empty() {
        let message = format!("table {database}.{table} does not exist, or the load user may not see it");
        return Some((BlockedCause::UnknownTable, message));
    }
    let known = |name: &&String| found.iter().any(|column| column.eq_ignore_ascii_case(name));
    let missing: Vec<&str> = mapped
        .iter()
        .filter(|name| !known(name))
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| {
        let message = format!(
            "table {database}.{table} has no column {}: nothing is loaded until it is added",
            missing.join(", ")
        );
        (BlockedCause::UnknownColumn, message)
    })
}

#[expect(clippy::large_enum_variant, reason = "one at a time, handed on once")]
enum Fate {
    Durable(Taken),
    /// The lane was reset meanwhile; whoever owns the partitions now decides.
    Abandoned,
}

async fn deliver<S: Sink>(
    lane: &Lane,
    sink: &S,
    mut taken: Taken,
    index: &mut Index,
    linger: &mut Linger,
) -> Fate {
    if taken.batch.is_nothing() {
        return Fate::Durable(taken);
    }
    let mut epoch = lane.epoch.subscribe();
    if *epoch.borrow_and_update() != taken.epoch {
        return Fate::Abandoned;
    }
    tokio::select! {
        // First whether the lane was reset: an announcement may have been committed without its partitions by then.
        biased;
        _ = epoch.changed() => {
            lane.metrics.abandoned();
            Fate::Abandoned
        }
        () = load_until_durable(lane, sink, &mut taken, index, linger) => Fate::Durable(taken),
    }
}

/// Completes a batch and stays with it until all of it is durable: in the table, or in the dead-letter topic.
async fn load_until_durable<S: Sink>(
    lane: &Lane,
    sink: &S,
    taken: &mut Taken,
    index: &mut Index,
    linger: &mut Linger,
) {
    let batch = &mut taken.batch;
    let label = lane.spec.labels.text(&taken.label);
    lane.set_state(LaneState::Loading { label: label.clone() });
    prepare::complete(lane, sink, index, batch, &label).await;
    // Before the load: whoever finds its label loaded takes the whole range for done, and what was parked must be by then.
    if Guard::ParkBeforeLoad.holds() {
        prepare::park(lane, batch, &label).await;
    }
    let mut refused = HashSet::new();
    if batch.rows > 0 {
        let mut delivery = Delivery {
            lane,
            sink,
            announced: lane.announce(&label).await,
            label: label.clone(),
            load: taken.label,
            linger,
        };
        let started_ms = now_ms();
        let whole = Part {
            label: label.clone(),
            piece: None,
            body: batch.body.clone(),
            rows: batch.rows,
        };
        if let Sent::Rejected(why) = delivery.send(&whole, lane.parks()).await {
            refused = isolate(&mut delivery, batch, &why).await;
        }
        lane.metrics.loaded(batch, &refused, started_ms, now_ms());
    }
    prepare::park(lane, batch, &label).await;
    index.remember(batch, &refused);
}

/// A batch, or a part of one that StarRocks did not take as a whole.
pub(super) struct Part {
    pub label: String,
    /// `None`: the whole.
    pub piece: Option<Piece>,
    pub body: Bytes,
    pub rows: u64,
}

pub(super) enum Sent {
    Durable,
    /// StarRocks does not take these rows, now or later.
    Rejected(String),
}

/// One batch on its way.
pub(super) struct Delivery<'d, S> {
    pub lane: &'d Lane,
    sink: &'d S,
    announced: Announced,
    /// Under which the batch was announced.
    pub label: String,
    load: Label,
    linger: &'d mut Linger,
}

impl<S: Sink> Delivery<'_, S> {
    /// Sends the same bytes under the same label until they are durable, or rejected where that is an answer.
    pub(super) async fn send(&mut self, part: &Part, may_reject: bool) -> Sent {
        let (lane, spec) = (self.lane, &self.lane.spec);
        if let Some(piece) = part.piece
            && Guard::PartIntents.holds()
        {
            lane.intend_piece(&self.load, piece);
            self.announced = lane.announce(&part.label).await;
        }
        let mut request = LoadRequest {
            database: spec.database.clone(),
            table: spec.table.clone(),
            label: part.label.clone(),
            columns: spec.columns.clone(),
            body: part.body.clone(),
            rows: part.rows,
            newer_only: spec.soft,
            start_by: self.announced.start_by(),
        };
        lane.set_state(LaneState::Loading {
            label: request.label.clone(),
        });
        let mut attempts = Attempts::default();
        let mut ask_first = false;
        loop {
            if self.announced.expired() {
                self.announced = lane.announce(&self.label).await;
                request.start_by = self.announced.start_by();
            }
            let began = Instant::now();
            let outcome = attempt(self.sink, &request, ask_first).await;
            lane.metrics.attempt(&outcome, began.elapsed());
            match outcome {
                LoadOutcome::Durable(durable) => {
                    self.linger.relax();
                    tracing::debug!(
                        table = spec.table,
                        label = request.label,
                        rows = part.rows,
                        visible = durable.visible,
                        "loaded"
                    );
                    lane.loaded(&request.label, durable);
                    return Sent::Durable;
                }
                LoadOutcome::Late => {}
                LoadOutcome::Retry {
                    cause,
                    message,
                    ambiguous,
                } => {
                    self.linger.press(cause);
                    ask_first = ambiguous;
                    let pause = attempts.failed();
                    lane.retrying(&request.label, cause, message, &attempts);
                    tokio::time::sleep(pause).await;
                }
                LoadOutcome::Rejected { message } if may_reject => return Sent::Rejected(message),
                LoadOutcome::Rejected { message } => {
                    attempts.failed();
                    lane.blocked(&request.label, BlockedCause::LoadsRejected, message, &attempts);
                    tokio::time::sleep(attempts.blocked()).await;
                }
                LoadOutcome::Blocked { cause, message } => {
                    ask_first = true;
                    attempts.failed();
                    lane.blocked(&request.label, cause, message, &attempts);
                    tokio::time::sleep(attempts.blocked()).await;
                }
            }
        }
    }
}

impl Lane {
    pub(super) fn blocked(&self, label: &str, cause: BlockedCause, message: String, attempts: &Attempts) {
        if attempts.worth_a_line() {
            tracing::error!(table = self.spec.table, label, ?cause, message, "lane is blocked");
        }
        self.set_state(LaneState::Blocked {
            cause,
            message,
            at: None,
            since_ms: attempts.since_ms,
        });
        self.drop_buffer();
    }

    pub(super) fn retrying(&self, label: &str, cause: RetryCause, message: String, attempts: &Attempts) {
        if attempts.worth_a_line() {
            tracing::warn!(
                table = self.spec.table,
                label,
                ?cause,
                message,
                attempts = attempts.count,
                "load is retried"
            );
        }
        self.set_state(LaneState::Retrying {
            label: label.to_owned(),
            cause,
            message,
            attempts: attempts.count,
            since_ms: attempts.since_ms,
        });
    }
}

/// One attempt. After an ambiguous one the label's state comes first: a commit may have hidden behind a lost reply.
async fn attempt<S: Sink>(sink: &S, request: &LoadRequest, ask_first: bool) -> LoadOutcome {
    if ask_first {
        match sink.label_state(&request.database, &request.label).await {
            LabelState::Durable(durable) => return LoadOutcome::Durable(durable),
            LabelState::Aborted | LabelState::Unknown => {}
            LabelState::Running => {
                return LoadOutcome::Retry {
                    cause: RetryCause::LabelRunning,
                    message: format!("label {} is still being loaded", request.label),
                    ambiguous: true,
                };
            }
            LabelState::Unanswered { cause, message } => {
                return LoadOutcome::Retry {
                    cause,
                    message,
                    ambiguous: true,
                };
            }
            LabelState::Refused { cause, message } => return LoadOutcome::Blocked { cause, message },
        }
    }
    sink.load(request).await
}

/// Counts failures of one load and spaces its attempts: doubling, jittered, without an end.
#[derive(Default)]
pub(super) struct Attempts {
    pub count: u64,
    pub since_ms: u64,
}

impl Attempts {
    pub(super) fn failed(&mut self) -> Duration {
        if self.count == 0 {
            self.since_ms = now_ms();
        }
        self.count += 1;
        self.pause(FIRST_BACKOFF, MAX_BACKOFF)
    }

    pub(super) fn blocked(&self) -> Duration {
        self.pause(FIRST_BLOCKED_BACKOFF, MAX_BLOCKED_BACKOFF)
    }

    fn pause(&self, first: Duration, most: Duration) -> Duration {
        let doublings = self.count.saturating_sub(1).min(10) as u32;
        jittered((first * 2u32.pow(doublings)).min(most))
    }

    /// The first failure and every twentieth.
    pub(super) fn worth_a_line(&self) -> bool {
        self.count == 1 || self.count.is_multiple_of(20)
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64())
}

/// The linger adapts: every load makes a version of each tablet, and merging versions is what StarRocks falls behind with.
struct Linger {
    configured: Duration,
    current: Duration,
}

impl Linger {
    fn new(configured: Duration) -> Self {
        Self {
            configured,
            current: configured,
        }
    }

    fn press(&mut self, cause: RetryCause) {
        if matches!(
            cause,
            RetryCause::TooManyVersions | RetryCause::TooManyTransactions
        ) {
            self.current = (self.current.max(FIRST_BACKOFF) * 2).min(MAX_LINGER);
        }
    }

    fn relax(&mut self) {
        self.current = self.current.mul_f64(0.9).max(self.configured);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linger_doubles_under_pressure_and_decays() {
        let mut linger = Linger::new(Duration::from_millis(200));
        linger.press(RetryCause::Unreachable);
        assert_eq!(linger.current, linger.configured);
        for _ in 0..10 {
            linger.press(RetryCause::TooManyVersions);
        }
        assert_eq!(linger.current, MAX_LINGER);
        for _ in 0..60 {
            linger.relax();
        }
        assert_eq!(linger.current, linger.configured);
    }

    #[test]
    fn backoff_is_bounded_and_never_zero() {
        let mut attempts = Attempts::default();
        for _ in 0..100 {
            let pause = attempts.failed();
            assert!(pause >= FIRST_BACKOFF / 2 && pause <= MAX_BACKOFF * 3 / 2);
        }
    }
}
