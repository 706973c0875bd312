//! What reader, lanes and telemetry share: the layout of the configuration, and positions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use tributary_crds::relay::{DatasetConfig, RelayConfig, RelayPhase};

use crate::lane::ranges::Slot;
use crate::lane::{Lane, UNASSIGNED};
use crate::shape::Mapping;
use crate::telemetry::metrics::Metrics;

pub struct Board {
    pub config: RelayConfig,
    pub datasets: Vec<Dataset>,
    pub lanes: Vec<Arc<Lane>>,
    pub slots: Vec<SlotState>,
    /// Raised by lanes: the reader should look at them between two polls.
    pub attention: Arc<AtomicBool>,
    /// Bytes of rows waiting or in flight.
    pub buffered: Arc<AtomicU64>,
    pub metrics: Metrics,
    /// `ts_ms` of the newest heartbeat; 0: none seen.
    pub heartbeat_ms: AtomicI64,
    /// When the reader's loop last went round, Unix milliseconds.
    pub polled_ms: AtomicU64,
    /// Counts assignments: a new one knows nothing of what was paused in the one before.
    pub assignments: AtomicU64,
    phase: AtomicU8,
}

/// One dataset: a topic and where its events go.
pub struct Dataset {
    pub config: DatasetConfig,
    /// Slot of partition 0.
    pub base: usize,
    pub routes: Vec<Route>,
}

/// From a dataset to one table.
pub struct Route {
    pub lane: usize,
    pub entry: String,
    pub mapping: Mapping,
}

/// One partition.
pub struct SlotState {
    pub dataset: usize,
    pub partition: i32,
    /// Next offset to read; [`UNASSIGNED`] when another relay has it.
    pub position: AtomicI64,
    pub committed: AtomicI64,
    /// Last stable offset as last heard of; -1: not yet.
    pub end: AtomicI64,
    /// One past the newest record ever read here; never goes back.
    pub newest_record: AtomicI64,
    /// Milliseconds of the newest event read: how far behind a reader is that has not reached the end.
    pub newest_source_ms: AtomicI64,
}

impl SlotState {
    pub fn new(dataset: usize, partition: i32) -> Self {
        Self {
            dataset,
            partition,
            position: AtomicI64::new(UNASSIGNED),
            committed: AtomicI64::new(UNASSIGNED),
            end: AtomicI64::new(UNASSIGNED),
            newest_record: AtomicI64::new(UNASSIGNED),
            newest_source_ms: AtomicI64::new(0),
        }
    }

    pub fn assigned(&self) -> bool {
        self.position.load(Ordering::Acquire) != UNASSIGNED
    }

    /// Read to the newest known end.
    pub fn at_end(&self) -> bool {
        let end = self.end.load(Ordering::Acquire);
        end != UNASSIGNED && self.position.load(Ordering::Acquire) >= end
    }
}

impl Dataset {
    /// The slot of a partition; `None` when the configuration does not know it.
    pub fn slot(&self, partition: i32) -> Option<Slot> {
        (0..self.config.topic.partitions)
            .contains(&partition)
            .then(|| Slot(self.base + partition as usize))
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let base = self.base;
        (0..self.config.topic.partitions.max(0) as usize).map(move |partition| Slot(base + partition))
    }
}

impl Board {
    pub fn new(
        config: RelayConfig,
        datasets: Vec<Dataset>,
        lanes: Vec<Arc<Lane>>,
        slots: Vec<SlotState>,
        attention: Arc<AtomicBool>,
        buffered: Arc<AtomicU64>,
        metrics: Metrics,
    ) -> Self {
        Self {
            config,
            datasets,
            lanes,
            slots,
            attention,
            buffered,
            metrics,
            heartbeat_ms: AtomicI64::new(0),
            polled_ms: AtomicU64::new(crate::lane::now_ms()),
            assignments: AtomicU64::new(0),
            phase: AtomicU8::new(0),
        }
    }

    pub fn dataset_of_topic(&self, topic: &str) -> Option<usize> {
        self.datasets
            .iter()
            .position(|dataset| dataset.config.topic.name == topic)
    }

    pub fn topic(&self, slot: Slot) -> &str {
        &self.datasets[self.slots[slot.0].dataset].config.topic.name
    }

    /// The lanes a dataset's events go to.
    pub fn lanes_of(&self, dataset: usize) -> impl Iterator<Item = &Arc<Lane>> {
        self.datasets[dataset]
            .routes
            .iter()
            .map(|route| &self.lanes[route.lane])
    }

    /// What may be committed for a slot: everything below is in every table.
    pub fn committable(&self, slot: Slot) -> Option<i64> {
        let state = &self.slots[slot.0];
        if !state.assigned() {
            return None;
        }
        let mut lanes = self
            .lanes
            .iter()
            .filter(|lane| lane.spec.slots.contains(&slot))
            .peekable();
        lanes.peek()?;
        let lowest = lanes.map(|lane| lane.done(slot)).min()?;
        (lowest != UNASSIGNED).then_some(lowest)
    }

    pub fn phase(&self) -> RelayPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => RelayPhase::Starting,
            1 => RelayPhase::Running,
            _ => RelayPhase::Draining,
        }
    }

    pub fn set_phase(&self, phase: RelayPhase) {
        let code = match phase {
            RelayPhase::Starting => 0,
            RelayPhase::Running => 1,
            RelayPhase::Draining => 2,
        };
        self.phase.store(code, Ordering::Release);
    }
}
