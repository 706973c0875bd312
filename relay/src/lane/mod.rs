//! One lane per table: the only way rows reach it (invariant I1). The reader fills the next batch while the lane's task
//! loads the one before; at most one load is in flight.

pub mod batch;
pub mod desk;
pub mod index;
pub mod intent;
mod isolate;
pub mod label;
pub mod park;
mod prepare;
pub mod ranges;
pub mod settle;
mod task;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tributary_crds::relay::{BatchConfig, BlockedCause, LaneState, RecordPosition};

use crate::guard::Guard;
use crate::shape::keytext::{IndexPlan, Removal};
use crate::shape::{DocumentRows, RowSpan};
use crate::telemetry::metrics::LaneMetrics;
use batch::{Batch, BatchBuilder, Origin, RowTimes};
use desk::CommitDesk;
use intent::{Intent, TableId};
use label::{Label, Labels, NamedRange};
use park::{DeadLetters, Parked};
use ranges::{Ranges, Slot};
use settle::{LaneStart, Settlement, settlements};

pub use task::run;

/// Position of a slot this relay does not own.
pub const UNASSIGNED: i64 = -1;

/// What is fixed about a lane.
#[derive(Debug)]
pub struct LaneSpec {
    pub id: TableId,
    pub database: String,
    pub table: String,
    /// The slots whose records it takes.
    pub slots: Vec<Slot>,
    pub labels: Labels,
    /// Value of the `columns` header.
    pub columns: String,
    /// The table's columns that rows have values for.
    pub mapped: Vec<String>,
    pub batch: BatchConfig,
    /// How the table is asked what it holds, per entry whose rows are found that way.
    pub index: Vec<IndexPlan>,
    /// Memory for keys the table is known to hold.
    pub index_bytes: usize,
    /// How rows of a slot's documents are taken away, and whether those of a parked one are.
    pub removals: Vec<Option<Removal>>,
    /// `deletes: Soft`: a row gives way to a newer `_ver` only.
    pub soft: bool,
    /// The newest mapping generation that feeds the table.
    pub mapping_generation: u16,
    pub dead_letters: Option<Arc<DeadLetters>>,
    /// Name, generation and partition of every slot of the relay, for labels.
    pub names: Arc<Vec<SlotName>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotName {
    pub topic: String,
    pub generation: u16,
    pub partition: i32,
}

pub struct Lane {
    pub spec: LaneSpec,
    pub metrics: LaneMetrics,
    filling: Mutex<Filling>,
    /// Signalled when a batch is taken and when a load ends: the reader's thread may wait for either.
    changed: Condvar,
    /// Signalled when there may be a batch to take.
    work: Notify,
    /// Everything below is durable in the table, per slot.
    done: Vec<AtomicI64>,
    state: Mutex<LaneState>,
    /// `source.ts` of the oldest event in flight; 0: none.
    in_flight_source_ms: AtomicI64,
    wants_rewind: AtomicBool,
    /// The load that is committed but not known to be visible yet.
    unseen: Mutex<Option<String>>,
    desk: Arc<CommitDesk>,
    /// The linger in use, milliseconds: longer than configured under version pressure.
    linger_ms: AtomicU64,
    /// When the task last did anything, Unix milliseconds.
    stepped_ms: AtomicU64,
    /// Raised by lanes, lowered by the reader: something needs it between two polls.
    attention: Arc<AtomicBool>,
    /// Rows and bytes waiting or in flight, over all lanes.
    buffered: Arc<AtomicU64>,
    /// Counts resets; a load begun in an earlier epoch is abandoned.
    epoch: watch::Sender<u64>,
}

struct Filling {
    builder: BatchBuilder,
    /// Next offset wanted, per slot.
    next: Vec<i64>,
    /// The announced load that takes a slot further than its done position: one in flight, or one yet to be settled.
    intents: Vec<Option<Intent>>,
    /// Loads announced by earlier owners. The first is being settled; until all are, nothing else is taken.
    settling: VecDeque<Settlement>,
    /// Events passed by that could not be taken because of a settlement: they have to be read again.
    missed: bool,
    opened: Option<Instant>,
    in_flight: bool,
    in_flight_bytes: u64,
    /// No new batch is taken: a rebalance or the end of the process is near.
    hold: bool,
    stop: bool,
    /// Events are dropped: the lane is blocked and will re-read them.
    dropping: bool,
    /// An event this lane cannot take; it stands still in front of it until the configuration changes.
    refused: Option<Refusal>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub cause: BlockedCause,
    pub message: String,
    pub at: Option<RecordPosition>,
    pub since_ms: u64,
}

/// What became of an event offered to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Already in the table, or the lane is blocked.
    Skipped,
    Taken,
    /// Taken, and the next batch is full while a load is in flight: the reader should hold back.
    Full,
}

impl Lane {
    pub fn new(
        spec: LaneSpec,
        metrics: LaneMetrics,
        desk: Arc<CommitDesk>,
        attention: Arc<AtomicBool>,
        buffered: Arc<AtomicU64>,
    ) -> Self {
        let slots = spec.names.len();
        Self {
            metrics,
            filling: Mutex::new(Filling {
                builder: BatchBuilder::default(),
                next: vec![UNASSIGNED; slots],
                intents: vec![None; slots],
                settling: VecDeque::new(),
                missed: false,
                opened: None,
                in_flight: false,
                in_flight_bytes: 0,
                hold: true,
                stop: false,
                dropping: false,
                refused: None,
            }),
            changed: Condvar::new(),
            work: Notify::new(),
            done: (0..slots).map(|_| AtomicI64::new(UNASSIGNED)).collect(),
            state: Mutex::new(LaneState::Idle),
            in_flight_source_ms: AtomicI64::new(0),
            wants_rewind: AtomicBool::new(false),
            unseen: Mutex::default(),
            desk,
            linger_ms: AtomicU64::new(spec.batch.linger_ms),
            stepped_ms: AtomicU64::new(now_ms()),
            attention,
            buffered,
            epoch: watch::Sender::new(0),
            spec,
        }
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        // A panic while holding the lock ends the process (the reader's thread is watched); the data stays consistent
        // because every change under the lock is complete before the next can fail.
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the reader's side ---

    /// Offers one event. `write` appends its row and answers its key length, or refuses the event.
    pub fn push<E>(
        &self,
        slot: Slot,
        offset: i64,
        times: RowTimes,
        write: impl FnOnce(&mut Vec<u8>) -> Result<usize, E>,
    ) -> Result<Pushed, E> {
        self.offer(slot, offset, |builder, origin| builder.push(origin, times, write))
    }

    /// Offers one event of a table that is its own index: `write` appends all rows its document has now.
    pub fn push_document<E>(
        &self,
        slot: Slot,
        offset: i64,
        times: RowTimes,
        plan: (usize, i64),
        write: impl FnOnce(&mut Vec<u8>, &mut Vec<RowSpan>) -> Result<DocumentRows, E>,
    ) -> Result<Pushed, E> {
        self.offer(slot, offset, |builder, origin| {
            builder.push_document(origin, times, plan, write)
        })
    }

    /// Offers a document for the dead-letter topic instead of the table. `removal` appends the row that takes away what is
    /// there of it, when that is wanted and known.
    pub fn park(&self, parked: Parked, removal: impl FnOnce(&mut BatchBuilder)) -> Pushed {
        let Origin { slot, offset } = parked.origin;
        let offered = self.offer::<std::convert::Infallible>(slot, offset, |builder, _| {
            builder.park(parked);
            removal(builder);
            Ok(())
        });
        match offered {
            Ok(pushed) => pushed,
            Err(never) => match never {},
        }
    }

    pub fn parks(&self) -> bool {
        self.spec.dead_letters.is_some()
    }

    fn offer<E>(
        &self,
        slot: Slot,
        offset: i64,
        add: impl FnOnce(&mut BatchBuilder, Origin) -> Result<(), E>,
    ) -> Result<Pushed, E> {
        let mut filling = self.filling();
        let Some(start) = self.admit(&mut filling, slot, offset) else {
            return Ok(Pushed::Skipped);
        };
        let before = filling.builder.bytes();
        add(&mut filling.builder, Origin { slot, offset })?;
        let grown = filling.builder.bytes().saturating_sub(before) as u64;
        self.buffered.fetch_add(grown, Ordering::Relaxed);
        self.moved(&mut filling, slot, start, offset + 1);
        let full = self.is_full(&filling);
        let in_flight = filling.in_flight;
        drop(filling);
        if full && !in_flight {
            self.work.notify_one();
        }
        Ok(if full { Pushed::Full } else { Pushed::Taken })
    }

    /// Says that nothing below `end` concerns this lane any more: a tombstone, a skipped record, a transaction marker.
    pub fn advance(&self, slot: Slot, end: i64) {
        let mut filling = self.filling();
        if let Some(start) = self.admit(&mut filling, slot, end - 1) {
            self.moved(&mut filling, slot, start, end);
        }
    }

    /// Where the range that takes `offset` begins; `None` when the lane does not take it.
    ///
    /// An offset beyond `next` leaves no gap: transactions put markers between records (correctness rule 8).
    fn admit(&self, filling: &mut Filling, slot: Slot, offset: i64) -> Option<i64> {
        let next = filling.next[slot.0];
        if filling.dropping || next == UNASSIGNED || offset < next {
            return None;
        }
        if offset > next && !Guard::Holes.holds() {
            return None;
        }
        let Some(settlement) = filling.settling.front() else {
            return Some(next);
        };
        let fence = settlement.fence(slot).unwrap_or(next);
        if offset < fence {
            return Some(next);
        }
        filling.missed = true;
        // Whatever lies between, records or markers, has passed by: the range is complete.
        if next < fence {
            self.moved(filling, slot, next, fence);
        }
        None
    }

    fn moved(&self, filling: &mut Filling, slot: Slot, start: i64, end: i64) {
        if let Err(error) = filling.builder.advance(slot, start, end) {
            // Cannot happen: `next` is the end of the range by construction. Never load under a wrong label.
            tracing::error!(table = %self.spec.table, %error, "positions and ranges disagree; the lane stops");
            filling.refused = Some(Refusal {
                cause: BlockedCause::LoadsRejected,
                message: error.to_string(),
                at: None,
                since_ms: now_ms(),
            });
            filling.dropping = true;
            return;
        }
        filling.next[slot.0] = end;
        if filling.opened.is_none() {
            filling.opened = Some(Instant::now());
            self.work.notify_one();
        } else if filling
            .settling
            .front()
            .is_some_and(|first| first.complete(&filling.next))
        {
            self.work.notify_one();
        }
    }

    fn is_full(&self, filling: &Filling) -> bool {
        // A load that is repeated has the ranges it had, whatever a batch's limits are now.
        if !filling.settling.is_empty() {
            return false;
        }
        let limits = &self.spec.batch;
        filling.builder.bytes() as u64 >= limits.max_bytes || filling.builder.rows() as u64 >= limits.max_rows
    }

    pub fn full(&self) -> bool {
        let filling = self.filling();
        self.is_full(&filling)
    }

    /// Waits until the next batch has room; `false` when it has none by then.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let filling = self.filling();
        let (filling, _) = self
            .changed
            .wait_timeout_while(filling, timeout, |filling| self.is_full(filling))
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_full(&filling)
    }

    /// Stops in front of an event that cannot be taken. What was filled before it is still loaded.
    pub fn refuse(&self, cause: BlockedCause, message: String, at: Option<RecordPosition>) {
        let mut filling = self.filling();
        filling.dropping = true;
        if filling.refused.is_none() {
            tracing::error!(table = %self.spec.table, ?cause, message, "lane stops");
            filling.refused = Some(Refusal {
                cause,
                message,
                at,
                since_ms: now_ms(),
            });
        }
    }

    /// The reader could not step back yet: it tries again.
    pub fn ask_rewind(&self) {
        // Nothing may be taken from further on until it has.
        self.filling().dropping = true;
        self.wants_rewind.store(true, Ordering::Release);
        self.attention.store(true, Ordering::Release);
    }

    /// Positions to read again from, once, after a blocked lane came free.
    pub fn take_rewind(&self) -> Option<Vec<(Slot, i64)>> {
        if !self.wants_rewind.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut filling = self.filling();
        // Reset meanwhile: what is read now is what is wanted.
        if filling.refused.is_some() || !filling.dropping {
            return None;
        }
        filling.dropping = false;
        filling.missed = false;
        let mut from = Vec::new();
        for slot in &self.spec.slots {
            let done = self.done(*slot);
            if done != UNASSIGNED {
                filling.next[slot.0] = done;
                from.push((*slot, done));
            }
        }
        Some(from)
    }

    /// A load that only somebody else's doing can end.
    fn hopeless(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, LaneState::Blocked { .. })
    }

    /// Takes no new batch from now on, and waits for the one in flight unless it is blocked. `false`: it is still in flight.
    pub fn quiesce(&self, deadline: Instant) -> bool {
        let mut filling = self.filling();
        filling.hold = true;
        let timeout = deadline.saturating_duration_since(Instant::now());
        let (filling, _) = self
            .changed
            .wait_timeout_while(filling, timeout, |filling| filling.in_flight && !self.hopeless())
            .unwrap_or_else(PoisonError::into_inner);
        !filling.in_flight
    }

    /// Forgets everything and starts from the given positions; a load still in flight is abandoned.
    pub fn reset(&self, starts: &[LaneStart]) {
        let mut filling = self.filling();
        self.buffered
            .fetch_sub(filling.builder.bytes() as u64, Ordering::Relaxed);
        filling.builder = BatchBuilder::default();
        filling.opened = None;
        filling.dropping = filling.refused.is_some();
        for slot in &self.spec.slots {
            let start = starts.iter().find(|start| start.slot == *slot);
            let done = start.map_or(UNASSIGNED, |start| start.done);
            filling.next[slot.0] = done;
            filling.intents[slot.0] = start.and_then(|start| start.intent);
            self.done[slot.0].store(done, Ordering::Release);
        }
        filling.settling = settlements(starts, |slot| self.spec.names[slot.0].partition).into();
        filling.missed = false;
        filling.hold = starts.is_empty();
        self.epoch.send_modify(|epoch| *epoch += 1);
        drop(filling);
        self.work.notify_one();
    }

    /// Ends the lane's task once nothing is in flight.
    pub fn stop(&self) {
        self.filling().stop = true;
        self.work.notify_one();
    }

    // --- what others may see ---

    /// Everything below is durable.
    pub fn done(&self, slot: Slot) -> i64 {
        self.done[slot.0].load(Ordering::Acquire)
    }

    /// Done position of a slot and the load announced beyond it: what is committed for the next owner.
    pub fn progress(&self, slot: Slot) -> (i64, Option<Intent>) {
        let filling = self.filling();
        (self.done(slot), filling.intents[slot.0])
    }

    pub fn state(&self) -> LaneState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (&state, &self.filling().refused) {
            (LaneState::Idle, Some(refusal)) => LaneState::Blocked {
                cause: refusal.cause,
                message: refusal.message.clone(),
                at: refusal.at.clone(),
                since_ms: refusal.since_ms,
            },
            _ => state,
        }
    }

    fn set_state(&self, state: LaneState) {
        self.stepped_ms.store(now_ms(), Ordering::Release);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Milliseconds a batch waits for company.
    pub fn linger_ms(&self) -> u64 {
        self.linger_ms.load(Ordering::Acquire)
    }

    /// For how long, in milliseconds, the task has made no step although there is work; 0: none is due.
    ///
    /// Waiting for StarRocks or Kafka is a step each time it is tried again: this is about a task that hangs.
    pub fn idle_with_work_ms(&self, now_ms: u64) -> u64 {
        let filling = self.filling();
        let due = !filling.hold && (filling.opened.is_some() || !filling.settling.is_empty());
        match filling.in_flight || due {
            true => now_ms.saturating_sub(self.stepped_ms.load(Ordering::Acquire)),
            false => 0,
        }
    }

    /// `source.ts` of the oldest event not yet durable, and whether there is any such event.
    pub fn oldest_unloaded(&self) -> (Option<i64>, bool) {
        let filling = self.filling();
        let in_flight = Some(self.in_flight_source_ms.load(Ordering::Acquire)).filter(|ms| *ms != 0);
        (
            in_flight.or(filling.builder.oldest_source_ms()),
            filling.in_flight || filling.builder.rows() > 0,
        )
    }
}

impl LaneSpec {
    /// The label of a batch.
    pub fn label(&self, ranges: &Ranges) -> Label {
        self.labels.label(ranges.iter().map(|range| {
            let name = &self.names[range.slot.0];
            NamedRange {
                topic: &name.topic,
                generation: name.generation,
                partition: name.partition,
                start: range.start,
                end: range.end,
            }
        }))
    }
}

pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// What the task takes to load.
struct Taken {
    batch: Batch,
    label: Label,
    epoch: u64,
}

#[cfg(test)]
mod tests;
