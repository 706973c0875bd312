//! What reader, lanes and telemetry share: the layout of the configuration, and positions.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::ClientConfig;
use tributary_crds::relay::{DatasetConfig, RelayConfig, RelayPhase};

use crate::kafka::Reach;
use crate::lane::desk::CommitDesk;
use crate::lane::intent::{Progress, TableProgress};
use crate::lane::ranges::Slot;
use crate::lane::{Lane, UNASSIGNED};
use crate::shape::Mapping;
use crate::telemetry::metrics::Metrics;

pub struct Board {
    pub config: RelayConfig,
    /// What every Kafka client begins with.
    pub client: ClientConfig,
    pub reach: Reach,
    pub datasets: Vec<Dataset>,
    pub lanes: Vec<Arc<Lane>>,
    pub slots: Vec<SlotState>,
    /// Raised by lanes: the reader should look at them between two polls.
    pub attention: Arc<AtomicBool>,
    /// Bytes of rows waiting or in flight.
    pub buffered: Arc<AtomicU64>,
    /// Where lanes ask for commits.
    pub desk: Arc<CommitDesk>,
    pub metrics: Metrics,
    /// `ts_ms` of the newest heartbeat; 0: none seen.
    pub heartbeat_ms: AtomicI64,
    /// When the reader's loop last went round, Unix milliseconds.
    pub polled_ms: AtomicU64,
    /// Counts assignments: a new one knows nothing of what was paused in the one before.
    pub assignments: AtomicU64,
    phase: AtomicU8,
    config_refused: Mutex<Option<String>>,
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
    /// The lane's plan for it, when the table is its own index.
    pub plan: Option<usize>,
}

/// One partition.
pub struct SlotState {
    pub dataset: usize,
    pub partition: i32,
    /// The mapping its events are shaped by, as announced with every commit.
    pub mapping_generation: u16,
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
    pub fn new(dataset: usize, partition: i32, mapping_generation: u16) -> Self {
        Self {
            dataset,
            partition,
            mapping_generation,
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
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the board; one place puts it together"
    )]
    pub fn new(
        config: RelayConfig,
        client: ClientConfig,
        datasets: Vec<Dataset>,
        lanes: Vec<Arc<Lane>>,
        slots: Vec<SlotState>,
        desk: Arc<CommitDesk>,
        attention: Arc<AtomicBool>,
        buffered: Arc<AtomicU64>,
        metrics: Metrics,
    ) -> Self {
        Self {
            reach: Reach::new(&config.kafka),
            config,
            client,
            datasets,
            lanes,
            slots,
            desk,
            attention,
            buffered,
            metrics,
            heartbeat_ms: AtomicI64::new(0),
            polled_ms: AtomicU64::new(crate::lane::now_ms()),
            assignments: AtomicU64::new(0),
            phase: AtomicU8::new(0),
            config_refused: Mutex::new(None),
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

    /// Lets every lane finish what is in flight and take nothing more.
    pub fn quiesce(&self, deadline: std::time::Instant) {
        // All at once, then wait: each takes no new batch from the first moment on.
        for lane in &self.lanes {
            lane.quiesce(std::time::Instant::now());
        }
        for lane in &self.lanes {
            if !lane.quiesce(deadline) {
                tracing::warn!(
                    table = lane.spec.table,
                    "load left in flight: it is announced, the next owner finds out what became of it"
                );
            }
        }
    }

    /// The lanes that take a slot's records.
    pub fn lanes_of_slot(&self, slot: Slot) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes_of(self.slots[slot.0].dataset)
    }

    /// What may be committed for a slot: the offset below which everything is in every table, and how far each table is.
    pub fn committable(&self, slot: Slot) -> Option<(i64, Progress)> {
        let state = &self.slots[slot.0];
        if !state.assigned() {
            return None;
        }
        let mut progress = Progress {
            mapping_generation: state.mapping_generation,
            tables: Vec::new(),
        };
        for lane in self.lanes_of_slot(slot) {
            let (done, intent) = lane.progress(slot);
            if done == UNASSIGNED {
                return None;
            }
            // Several entries of a dataset may feed one table.
            if progress.table(lane.spec.id).is_none() {
                progress.tables.push(TableProgress {
                    table: lane.spec.id,
                    done,
                    intent,
                });
            }
        }
        let lowest = progress.tables.iter().map(|table| table.done).min()?;
        Some((lowest, progress))
    }

    /// Why the mounted files are not the ones in use.
    pub fn config_refused(&self) -> Option<String> {
        let refused = self.config_refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn refuse_config(&self, why: Option<String>) {
        *self.config_refused.lock().unwrap_or_else(PoisonError::into_inner) = why;
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
