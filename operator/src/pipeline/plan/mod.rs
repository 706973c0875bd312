//! What to do next, as a list of typed actions, from what is wanted and what exists. Pure but for pacing: restarts and repeated
//! validations are counted in the memory that is passed in.

pub mod collections;
pub(super) mod connector;
pub mod deployment;
mod relay;
mod tables;
mod topics;
mod workload;

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use tributary_crds::StarRocksTable;
use tributary_crds::pipeline::DesiredState;

use super::claims;
use super::credential::{self, Mirrored};
use super::memory::PipelineMemory;
use super::observe::Observed;
use super::validate::Accepted;
use crate::backend::connect::connector::ExactlyOnce;
use crate::backend::connect::{Assessment, ConnectorConfig};
use crate::backend::kafka::{GroupOffset, TopicSpec, TopicState};
use crate::ledger::{Entry, LiveTopic, PositionRecord};

pub use collections::Added;
pub use connector::ConnectorView;
pub use relay::RelayView;
pub use tables::{ProblemKind, TablesView};
pub use topics::TopicsView;

/// One thing to do. Controller, dry run and command line share the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Generations and claims, before anything is done in their name.
    RecordLedger(Box<Entry>),
    /// A pipeline comes back: its new consumer group starts where the old one stood. The entry is the one without positions.
    SeedPositions(Vec<GroupOffset>, Box<Entry>),
    CreateTopic(TopicSpec),
    ApplyTable(Box<StarRocksTable>),
    DeleteTable(String),
    /// All keys of this pipeline in the mirrored Secret.
    MirrorCredential(Mirrored),
    ApplyConfigMap(Box<ConfigMap>),
    DeleteConfigMap(String),
    ApplyRelay(Box<Deployment>),
    /// Its kubelet looks at the mounted files now instead of in a minute.
    TouchPod {
        pod: String,
        digest: String,
    },
    ApplyBudget(Box<PodDisruptionBudget>),
    DeleteBudget(String),
    /// Its position stays; configuration too.
    StopRelay(String),
    /// Validated first, then created without being started.
    CreateConnector(ConnectorConfig),
    /// Validated first.
    ConfigureConnector(ConnectorConfig),
    StartConnector,
    StopConnector,
    /// The live configuration with the mark of lost history.
    HoldConnector(ConnectorConfig),
    RestartFailedTasks,
    RestartConnector,
    /// Validated first, then created without an offset and started.
    CreateSnapshotConnector(ConnectorConfig),
    StartSnapshotConnector,
    RestartSnapshotConnector,
    StopSnapshotConnector,
    /// With its offsets, once it is stopped.
    DeleteSnapshotConnector,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordLedger(_) => f.write_str("record generations and claims"),
            Self::SeedPositions(offsets, _) => {
                write!(f, "resume at {} kept position(s)", offsets.len())
            }
            Self::CreateTopic(topic) => {
                write!(f, "create topic {} ({} partitions)", topic.name, topic.partitions)
            }
            Self::ApplyTable(table) => write!(f, "apply StarRocksTable {}", table.name_any()),
            Self::DeleteTable(name) => write!(f, "delete StarRocksTable {name}"),
            Self::MirrorCredential(_) => {
                f.write_str("mirror the source's connection string for Kafka Connect")
            }
            Self::ApplyConfigMap(map) => write!(f, "apply ConfigMap {}", map.name_any()),
            Self::DeleteConfigMap(name) => write!(f, "delete ConfigMap {name}"),
            Self::ApplyRelay(relay) => write!(f, "apply Deployment {}", relay.name_any()),
            Self::TouchPod { pod, .. } => write!(f, "tell pod {pod} of its changed configuration"),
            Self::ApplyBudget(budget) => write!(f, "apply PodDisruptionBudget {}", budget.name_any()),
            Self::DeleteBudget(name) => write!(f, "delete PodDisruptionBudget {name}"),
            Self::StopRelay(name) => write!(f, "stop the relay {name}"),
            Self::CreateConnector(_) => f.write_str("create the connector, stopped"),
            Self::ConfigureConnector(_) => f.write_str("reconfigure the connector"),
            Self::StartConnector => f.write_str("start the connector"),
            Self::StopConnector => f.write_str("stop the connector"),
            Self::HoldConnector(_) => f.write_str("mark the connector as held: its history is lost"),
            Self::CreateSnapshotConnector(_) => {
                f.write_str("create the connector that reads added collections")
            }
            Self::StartSnapshotConnector => f.write_str("start the connector that reads added collections"),
            Self::RestartSnapshotConnector => {
                f.write_str("restart the connector that reads added collections")
            }
            Self::StopSnapshotConnector => f.write_str("stop the connector that read added collections"),
            Self::DeleteSnapshotConnector => f.write_str("delete the connector that read added collections"),
            Self::RestartFailedTasks => f.write_str("restart failed tasks"),
            Self::RestartConnector => f.write_str("restart the connector"),
        }
    }
}

impl Action {
    /// Whether it brings something closer to the spec (kstatus' `Reconciling`); repairs do not.
    pub fn applies_spec(&self) -> bool {
        !matches!(
            self,
            Self::RestartFailedTasks
                | Self::RestartConnector
                | Self::RestartSnapshotConnector
                | Self::HoldConnector(_)
        )
    }
}

/// The actions, and how each layer looked when they were decided.
pub struct Plan {
    pub actions: Vec<Action>,
    pub topics: TopicsView,
    pub tables: TablesView,
    pub relay: RelayView,
    pub connector: ConnectorView,
    pub assessment: Option<Assessment>,
    /// Whether the connector's records and offsets commit together; `None` while there is none to say.
    pub exactly_once: Option<ExactlyOnce>,
    pub added: Option<Added>,
}

pub fn plan(accepted: &Accepted, observed: &Observed, memory: &mut PipelineMemory) -> Plan {
    let mut actions = Vec::new();
    // Without its ledger a pipeline keeps what it has and gets nothing new: nobody would know whose it is.
    let mut entry = observed.ledger.clone().unwrap_or_default();
    let mut nothing = Vec::new();
    let allowed = match &observed.ledger {
        Ok(_) => &mut actions,
        Err(_) => &mut nothing,
    };
    let taken_up = take_up(accepted, observed, &mut entry);

    let (topics, kept) = match taken_up {
        Err(why) => (TopicsView::Conflict(why), None),
        Ok(kept) => (topics::plan(accepted, observed, &mut entry, allowed), kept),
    };
    let tables = tables::plan(accepted, observed, allowed);
    let (generation, mirrored) = mirror(accepted, observed, allowed);
    let run = run_of(accepted, &topics);
    let ready_below = topics == TopicsView::Ready && tables == TablesView::Ready && kept.is_none();
    let relay = match run {
        Run::All => relay::plan(accepted, observed, ready_below, &mut entry, allowed),
        Run::Source | Run::Nothing => relay::stop(observed, &topics, allowed),
    };
    let gates = connector::Gates {
        topics: topics == TopicsView::Ready && observed.ledger.is_ok(),
        mirrored,
        generation,
        downstream: ready_below && matches!(relay, RelayView::Current | RelayView::Paused),
        run,
    };
    let planned = connector::plan(accepted, observed, gates, memory, &mut actions);

    if let Some(offsets) = kept {
        let seeded = Entry {
            positions: Default::default(),
            ..entry.clone()
        };
        actions.insert(0, Action::SeedPositions(offsets, Box::new(seeded)));
    }
    // First of all: what is done in a generation's name must never be forgotten.
    if observed.ledger.as_ref().is_ok_and(|recorded| *recorded != entry) {
        actions.insert(0, Action::RecordLedger(Box::new(entry)));
    }
    Plan {
        actions,
        topics,
        tables,
        relay,
        connector: planned.view,
        assessment: planned.assessment,
        exactly_once: planned.exactly_once,
        added: planned.added,
    }
}

/// What of a pipeline is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    All,
    /// The connector alone: changes wait in Kafka.
    Source,
    Nothing,
}

fn run_of(accepted: &Accepted, topics: &TopicsView) -> Run {
    match (topics.stops_the_lane(), accepted.effective.desired_state) {
        (true, _) | (false, DesiredState::Stopped) => Run::Nothing,
        (false, DesiredState::SinksPaused) => Run::Source,
        (false, DesiredState::Running) => Run::All,
    }
}

/// Brings the entry up to the spec. A pipeline that was deleted and comes back goes on where it stood: its kept positions, if
/// there are any.
fn take_up(
    accepted: &Accepted,
    observed: &Observed,
    entry: &mut Entry,
) -> Result<Option<Vec<GroupOffset>>, String> {
    if observed.ledger.is_err() {
        return Ok(None);
    }
    if entry.is_retained() {
        // Which topics are still the same ones decides; until Kafka tells, nothing is taken up.
        let Ok(live) = &observed.topics else {
            return Ok(None);
        };
        let live = live.iter().map(|(name, topic)| (name.clone(), live_topic(topic)));
        entry.readopt(&live.collect()).map_err(|e| format!("{e}."))?;
    }
    claims::refresh(entry, accepted, &observed.config_maps);
    if entry.positions.is_empty() {
        return Ok(None);
    }
    let offset = |((topic, partition), kept): (&(String, i32), &PositionRecord)| GroupOffset {
        topic: topic.clone(),
        partition: *partition,
        offset: kept.offset,
        metadata: kept.metadata.clone(),
    };
    // A relay that runs has a position of its own.
    Ok(Some(match observed.deployments.is_empty() {
        true => entry.positions.iter().map(offset).collect(),
        false => Vec::new(),
    }))
}

pub(crate) fn live_topic(topic: &TopicState) -> LiveTopic {
    LiveTopic {
        id: topic.id.clone(),
        partitions: topic.partitions,
    }
}

/// The credential's generation, and whether it is where Connect can read it.
fn mirror(accepted: &Accepted, observed: &Observed, actions: &mut Vec<Action>) -> (u32, bool) {
    let live = observed
        .connector
        .as_ref()
        .ok()
        .and_then(|seen| seen.config.as_ref());
    let live = live.and_then(credential::generation_of);
    let owner = &accepted.effective.owner;
    let Ok(mirrored) = &observed.mirrored else {
        return (live.unwrap_or(1), false);
    };
    let decision = credential::decide(owner, &accepted.credential, mirrored, live);
    // While Connect cannot be asked, nobody knows which generation it reads: nothing is taken away.
    if let Some(keys) = decision.write
        && (observed.connector.is_ok() || !decision.mirrored)
    {
        let mut keys = keys;
        if observed.connector.is_err() {
            keys.0.extend(mirrored.0.clone());
        }
        actions.push(Action::MirrorCredential(keys));
    }
    (decision.generation, decision.mirrored)
}
