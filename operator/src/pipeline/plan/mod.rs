//! What to do next, as a list of typed actions, from what is wanted and what exists. Pure but for pacing: restarts and repeated
//! validations are counted in the memory that is passed in.

mod connector;
pub mod deployment;
mod relay;
mod tables;
mod topics;

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tributary_crds::StarRocksTable;

use super::ledger::Ledger;
use super::memory::PipelineMemory;
use super::observe::Observed;
use super::validate::Accepted;
use crate::backend::connect::{Assessment, ConnectorConfig};
use crate::backend::kafka::TopicSpec;

pub use connector::ConnectorView;
pub use relay::RelayView;
pub use tables::{ProblemKind, TablesView};
pub use topics::TopicsView;

/// One thing to do. Controller, dry run and command line share the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Generations and claims, before anything is done in their name.
    RecordLedger(Ledger),
    CreateTopic(TopicSpec),
    ApplyTable(Box<StarRocksTable>),
    DeleteTable(String),
    MirrorCredential,
    ApplyConfigMap(Box<ConfigMap>),
    DeleteConfigMap(String),
    ApplyRelay(Box<Deployment>),
    /// Validated first, then created without being started.
    CreateConnector(ConnectorConfig),
    /// Validated first.
    ConfigureConnector(ConnectorConfig),
    StartConnector,
    RestartFailedTasks,
    RestartConnector,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordLedger(_) => f.write_str("record generations and claims"),
            Self::CreateTopic(topic) => {
                write!(f, "create topic {} ({} partitions)", topic.name, topic.partitions)
            }
            Self::ApplyTable(table) => write!(f, "apply StarRocksTable {}", table.name_any()),
            Self::DeleteTable(name) => write!(f, "delete StarRocksTable {name}"),
            Self::MirrorCredential => f.write_str("mirror the source's connection string for Kafka Connect"),
            Self::ApplyConfigMap(map) => write!(f, "apply ConfigMap {}", map.name_any()),
            Self::DeleteConfigMap(name) => write!(f, "delete ConfigMap {name}"),
            Self::ApplyRelay(relay) => write!(f, "apply Deployment {}", relay.name_any()),
            Self::CreateConnector(_) => f.write_str("create the connector, stopped"),
            Self::ConfigureConnector(_) => f.write_str("reconfigure the connector"),
            Self::StartConnector => f.write_str("start the connector"),
            Self::RestartFailedTasks => f.write_str("restart failed tasks"),
            Self::RestartConnector => f.write_str("restart the connector"),
        }
    }
}

impl Action {
    /// Whether it brings something closer to the spec (kstatus' `Reconciling`); repairs do not.
    pub fn applies_spec(&self) -> bool {
        !matches!(self, Self::RestartFailedTasks | Self::RestartConnector)
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
}

pub fn plan(accepted: &Accepted, observed: &Observed, memory: &mut PipelineMemory) -> Plan {
    let mut actions = Vec::new();
    let mut ledger = observed.ledger.clone().unwrap_or_default();

    let topics = topics::plan(accepted, observed, &mut ledger, &mut actions);
    let tables = tables::plan(accepted, observed, &mut actions);
    let mirrored = matches!(&observed.mirrored, Ok(Some(value)) if *value == accepted.connection_uri);
    if !mirrored && observed.mirrored.is_ok() {
        actions.push(Action::MirrorCredential);
    }
    let ready_below = topics == TopicsView::Ready && tables == TablesView::Ready;
    let relay = relay::plan(accepted, observed, ready_below, &mut ledger, &mut actions);
    let gates = connector::Gates {
        topics: topics == TopicsView::Ready,
        mirrored,
        downstream: ready_below && relay == RelayView::Current,
    };
    let (connector, assessment) = connector::plan(accepted, observed, gates, memory, &mut actions);

    // First of all: what is done in a generation's name must never be forgotten.
    if observed.ledger.as_ref().is_ok_and(|recorded| *recorded != ledger) {
        actions.insert(0, Action::RecordLedger(ledger));
    }
    Plan {
        actions,
        topics,
        tables,
        relay,
        connector,
        assessment,
    }
}
