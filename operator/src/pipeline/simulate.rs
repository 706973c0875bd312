//! A world that does what it is told, at once and without fail: what follows from a plan when everything goes well. The command line
//! shows with it all that will be done, not the first step alone; tests prove with it that plans converge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use kube::ResourceExt;
use tributary_crds::StarRocksTable;
use tributary_crds::status::{Condition, ConditionStatus, TableCondition, TableReason};
use tributary_crds::table::{LiveStatus, StarRocksTableStatus};

use super::credential::Mirrored;
use super::memory::PipelineMemory;
use super::observe::{ConnectorSeen, Heartbeat, Observed, OffsetSeen, RelayAnswer, SnapshotConnector};
use super::plan::connector::is_stopped;
use super::plan::{Action, Plan, plan};
use super::simulate_relay;
use super::validate::Accepted;
use crate::backend::connect::model::{InstanceStatus, TaskStatus};
use crate::backend::connect::offsets::SourceOffset;
use crate::backend::connect::{ConnectorState, ConnectorStatus, SourcePosition};
use crate::backend::kafka::TopicState;
use crate::kubernetes::stored;
use crate::ledger::{Entry, Traces};

/// Nothing exists yet.
pub fn empty_world(accepted: &Accepted) -> Observed {
    Observed {
        topics: Ok(BTreeMap::new()),
        children: BTreeMap::new(),
        foreign_children: vec![],
        ledger: Ok(Entry::default()),
        traces: accepted
            .datasets
            .iter()
            .map(|d| (d.name.clone(), Ok(Traces::default())))
            .collect(),
        config_maps: BTreeMap::new(),
        mirrored: Ok(Mirrored::default()),
        deployments: BTreeMap::new(),
        budget: None,
        pods: vec![],
        taken_ports: BTreeMap::new(),
        relays: (0..accepted.effective.relay.replicas)
            .map(|ordinal| (ordinal, RelayAnswer::NoPod))
            .collect(),
        relay: RelayAnswer::NoPod,
        connector: Ok(ConnectorSeen::default()),
        dead_letters: Some(0),
    }
}

/// Everything that will be done, in order, when each step succeeds: the controller's own turns, one after the other. The first
/// plan also says how the layers look now.
pub struct Course {
    pub first: Plan,
    /// The rest of the turns' actions.
    pub later: Vec<Action>,
}

/// Turns until nothing is left to do; none needs more than a handful.
const TURNS: usize = 10;

pub fn course(accepted: &Accepted, mut world: Observed) -> Course {
    let mut memory = PipelineMemory::default();
    let first = plan(accepted, &world, &mut memory);
    turn(&mut world, &first.actions);
    let mut later = Vec::new();
    for _ in 1..TURNS {
        let next = plan(accepted, &world, &mut memory).actions;
        if next.is_empty() {
            break;
        }
        turn(&mut world, &next);
        later.extend(next);
    }
    Course { first, later }
}

/// What is done, and what then comes about by itself: whatever reads collections comes to their end.
fn turn(world: &mut Observed, actions: &[Action]) {
    actions.iter().for_each(|a| perform(world, a));
    let second = world
        .connector
        .as_mut()
        .ok()
        .and_then(|seen| seen.snapshot.as_mut());
    if let Some(second) = second.filter(|s| !is_stopped(s.status.as_ref())) {
        second.offset = Some(offset());
    }
}

/// What the world makes of an action. A backend that does not answer makes nothing of it.
pub fn perform(world: &mut Observed, action: &Action) {
    match action {
        Action::RecordLedger(entry) | Action::SeedPositions(_, entry) => {
            world.ledger = Ok(entry.as_ref().clone());
            world
                .traces
                .retain(|dataset, _| !entry.datasets.contains_key(dataset));
        }
        Action::StopRelay(name) => simulate_relay::stop(world, name),
        Action::TouchPod { pod, digest } => simulate_relay::touch(world, pod, digest),
        Action::ApplyBudget(budget) => world.budget = Some(stored(budget.as_ref())),
        Action::DeleteBudget(_) => world.budget = None,
        Action::CreateTopic(topic) => {
            let state = TopicState {
                name: topic.name.clone(),
                id: Some(format!("id-of-{}", topic.name)),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                config: topic.config.clone(),
            };
            if let Ok(topics) = &mut world.topics {
                topics.insert(topic.name.clone(), state);
            }
        }
        Action::ApplyTable(table) => {
            let ready = ready(stored(table.as_ref()));
            world.children.insert(table.name_any(), Arc::new(ready));
        }
        Action::DeleteTable(name) => drop(world.children.remove(name)),
        Action::MirrorCredential(keys) => world.mirrored = Ok(keys.clone()),
        Action::ApplyConfigMap(map) => drop(world.config_maps.insert(map.name_any(), stored(map.as_ref()))),
        Action::DeleteConfigMap(name) => drop(world.config_maps.remove(name)),
        Action::ApplyRelay(relay) => simulate_relay::apply(world, stored(relay.as_ref())),
        on_connector => {
            if let Ok(seen) = &mut world.connector {
                perform_on_connector(seen, on_connector);
            }
        }
    }
}

fn perform_on_connector(seen: &mut ConnectorSeen, action: &Action) {
    match action {
        Action::CreateConnector(config) | Action::ConfigureConnector(config) => {
            seen.status.get_or_insert_with(stopped);
            seen.config = Some(config.clone());
        }
        Action::StartConnector | Action::RestartFailedTasks | Action::RestartConnector => {
            seen.status = Some(running());
            seen.offset = OffsetSeen::Found(offset());
            seen.heartbeat = Heartbeat::Newest(Some(SystemTime::now()));
        }
        Action::StopConnector => seen.status = Some(stopped()),
        Action::HoldConnector(config) => seen.config = Some(config.clone()),
        Action::CreateSnapshotConnector(config) => {
            seen.snapshot = Some(SnapshotConnector {
                config: config.clone(),
                status: Some(running()),
                offset: None,
            });
        }
        Action::DeleteSnapshotConnector => seen.snapshot = None,
        on_second => {
            if let Some(second) = &mut seen.snapshot {
                second.status = Some(match on_second {
                    Action::StopSnapshotConnector => stopped(),
                    _ => running(),
                });
            }
        }
    }
}

/// A place in the source's history, behind the initial snapshot.
pub(super) fn offset() -> SourceOffset {
    SourceOffset {
        initial_snapshot: false,
        position: Some(SourcePosition {
            seconds: 1_700_000_000,
            increment: 1,
        }),
    }
}

fn stopped() -> ConnectorStatus {
    connector_status(ConnectorState::Stopped, vec![])
}

fn running() -> ConnectorStatus {
    let state = ConnectorState::Running;
    let task = TaskStatus {
        id: 0,
        state,
        worker_id: String::new(),
        trace: None,
    };
    connector_status(state, vec![task])
}

fn connector_status(state: ConnectorState, tasks: Vec<TaskStatus>) -> ConnectorStatus {
    ConnectorStatus {
        name: String::new(),
        connector: InstanceStatus {
            state,
            worker_id: String::new(),
            trace: None,
        },
        tasks,
    }
}

/// The table as its controller leaves it.
fn ready(mut table: StarRocksTable) -> StarRocksTable {
    table.metadata.generation = Some(1);
    let condition = |kind: TableCondition| Condition {
        kind: kind.as_str().to_owned(),
        status: ConditionStatus::True,
        reason: TableReason::InSync.as_str().to_owned(),
        message: String::new(),
        observed_generation: 1,
        last_transition_time: Timestamp::UNIX_EPOCH,
    };
    let columns = table
        .spec
        .template
        .columns
        .iter()
        .map(|c| c.name.clone())
        .collect();
    table.status = Some(StarRocksTableStatus {
        live: Some(LiveStatus {
            columns,
            ..LiveStatus::default()
        }),
        observed_generation: 1,
        conditions: vec![
            condition(TableCondition::Ready),
            condition(TableCondition::InSync),
        ],
        ..StarRocksTableStatus::default()
    });
    table
}
