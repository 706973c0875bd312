//! A platform, a pipeline and a small world that does what it is told: for tests of plans without any server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use kube::ResourceExt;
use tributary_crds::relay::{DatasetConfig, DatasetStatus, LaneState, RelayPhase, RelayStatus, TableStatus};
use tributary_crds::table::{LiveStatus, StarRocksTableStatus};
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use super::credential::{Credential, Mirrored};
use super::dereference::{Connection, Referenced};
use super::observe::{ConnectorSeen, Heartbeat, Observed, OffsetSeen, RelayAnswer, SnapshotConnector};
use super::plan::Action;
use super::validate::{Accepted, validate};
use crate::backend::BackendResult;
use crate::backend::connect::ConnectorStatus;
use crate::backend::connect::offsets::SourceOffset;
use crate::backend::kafka::TopicState;
use crate::kubernetes::stored;
use crate::ledger::{Entry, Traces};

pub(super) const URI: &str = "mongodb://u:secret@mongo.mongodb.svc:27017/?replicaSet=rs0";

pub(super) fn credential(uri: &str) -> Credential {
    Credential(BTreeMap::from([(super::credential::URI, uri.to_owned())]))
}

pub(super) fn platform() -> DataPlatform {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform",
        "metadata": {"name": "main", "namespace": "tributary", "generation": 7},
        "spec": {
            "ownerID": "test",
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"tributary.dev/platform": "main"}}},
            "kafka": {"bootstrapServers": ["k:9092"]},
            "connect": {"url": "http://c:8083", "maxConnectors": 2, "sourceSecrets": {"type": "Mirrored", "mirrored": {
                "secretRef": {"name": "tributary-sources"}, "namespace": "kafka",
                "mountPath": "/opt/tributary/sources", "provider": "dir"}}},
            "starrocks": {"hot": {
                "httpEndpoints": ["http://f:8030"], "mysqlEndpoints": ["f:9030"],
                "adminCredentialsSecretRef": {"name": "a"}, "loadCredentialsSecretRef": {"name": "l"}}},
            "defaults": {"freshness": {"hot": "2s"}, "topics": {"partitions": 3, "replicationFactor": 1}},
            "limits": {"relayMemory": "512Mi", "sourceHosts": ["*.mongodb.svc"]},
        },
    }))
    .expect("a platform")
}

pub(super) fn pipeline() -> TenantPipeline {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
        "metadata": {"name": "acme", "namespace": "tenant-acme", "uid": "u-1", "generation": 4,
            "creationTimestamp": "2026-10-12T07:31:02Z"},
        "spec": {
            "platformRef": {"name": "main", "namespace": "tributary"}, "tenant": "acme",
            "source": {"mongodb": {"connectionSecretRef": {"name": "acme-mongodb", "key": "uri"}, "database": "shop_acme"}},
            "datasets": [{"name": "orders", "hot": {"tables": [{"name": "orders", "template": {
                "primaryKey": ["order_id"],
                "columns": [
                    {"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"},
                    {"name": "status", "type": "VARCHAR(64)"},
                ]}}]}}],
        },
    }))
    .expect("a pipeline")
}

pub(super) fn refs() -> Referenced {
    Referenced {
        namespace_labels: Some(BTreeMap::from([
            ("tributary.dev/platform".to_owned(), "main".to_owned()),
            ("tributary.dev/tenant".to_owned(), "acme".to_owned()),
        ])),
        platform: Some(Arc::new(platform())),
        connection: Connection::Found(credential(URI)),
        tables: BTreeMap::new(),
        siblings: vec![],
        relay_image: "relay:test".to_owned(),
    }
}

pub(super) fn accepted() -> Accepted {
    accepted_of(pipeline())
}

pub(super) fn accepted_of(pipeline: TenantPipeline) -> Accepted {
    validate(&Arc::new(pipeline), &refs()).expect("accepted")
}

/// Nothing exists yet.
pub(super) fn empty_world(accepted: &Accepted) -> Observed {
    Observed {
        topics: Ok(BTreeMap::new()),
        children: BTreeMap::new(),
        foreign_children: vec![],
        ledger: Ok(Entry::default()),
        traces: traces(accepted),
        config_maps: BTreeMap::new(),
        mirrored: Ok(Mirrored::default()),
        deployment: None,
        pods: vec![],
        taken_ports: BTreeSet::new(),
        relay: RelayAnswer::NoPod,
        connector: Ok(ConnectorSeen::default()),
    }
}

/// Nothing was ever written.
fn traces(accepted: &Accepted) -> BTreeMap<String, BackendResult<Traces>> {
    let datasets = accepted.datasets.iter();
    datasets
        .map(|d| (d.name.clone(), Ok(Traces::default())))
        .collect()
}

/// Everything is as it should be.
pub(super) fn settled_world(accepted: &Accepted) -> Observed {
    let mut world = empty_world(accepted);
    let mut memory = super::memory::PipelineMemory::default();
    for _ in 0..8 {
        let next = super::plan::plan(accepted, &world, &mut memory);
        next.actions.iter().for_each(|a| perform(&mut world, a));
    }
    world
}

/// What the world makes of an action.
pub(super) fn perform(world: &mut Observed, action: &Action) {
    match action {
        Action::RecordLedger(entry) | Action::SeedPositions(_, entry) => {
            world.ledger = Ok(entry.as_ref().clone());
            world
                .traces
                .retain(|dataset, _| !entry.datasets.contains_key(dataset));
        }
        Action::StopRelay(_) => {
            world.deployment = None;
            world.relay = RelayAnswer::NoPod;
        }
        Action::CreateTopic(topic) => {
            let state = TopicState {
                name: topic.name.clone(),
                id: Some(format!("id-of-{}", topic.name)),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                config: topic.config.clone(),
            };
            world
                .topics
                .as_mut()
                .expect("Kafka is up")
                .insert(topic.name.clone(), state);
        }
        Action::ApplyTable(table) => {
            world
                .children
                .insert(table.name_any(), Arc::new(ready_table(stored(table.as_ref()))));
        }
        Action::DeleteTable(name) => drop(world.children.remove(name)),
        Action::MirrorCredential(keys) => world.mirrored = Ok(keys.clone()),
        Action::ApplyConfigMap(map) => drop(world.config_maps.insert(map.name_any(), stored(map.as_ref()))),
        Action::DeleteConfigMap(name) => drop(world.config_maps.remove(name)),
        Action::ApplyRelay(relay) => {
            world.deployment = Some(stored(relay.as_ref()));
            world.relay = RelayAnswer::Status(Box::new(relay_status(world)));
        }
        Action::CreateConnector(config) | Action::ConfigureConnector(config) => {
            let seen = world.connector.as_mut().expect("Connect is up");
            if seen.config.is_none() {
                seen.status = Some(status("STOPPED", &[]));
            }
            seen.config = Some(config.clone());
        }
        on_connector => perform_on_connector(world, on_connector),
    }
}

fn perform_on_connector(world: &mut Observed, action: &Action) {
    let seen = world.connector.as_mut().expect("Connect is up");
    match action {
        Action::StartConnector | Action::RestartFailedTasks | Action::RestartConnector => {
            seen.status = Some(status("RUNNING", &["RUNNING"]));
            seen.offset = OffsetSeen::Found(offset());
            seen.heartbeat = Heartbeat::Newest(Some(SystemTime::now()));
        }
        Action::StopConnector => seen.status = Some(status("STOPPED", &[])),
        Action::HoldConnector(config) => seen.config = Some(config.clone()),
        Action::CreateSnapshotConnector(config) => {
            seen.snapshot = Some(SnapshotConnector {
                config: config.clone(),
                status: Some(status("RUNNING", &["RUNNING"])),
                offset: None,
            });
        }
        Action::StartSnapshotConnector | Action::RestartSnapshotConnector | Action::StopSnapshotConnector => {
            let second = seen.snapshot.as_mut().expect("it exists");
            second.status = Some(match action {
                Action::StopSnapshotConnector => status("STOPPED", &[]),
                _ => status("RUNNING", &["RUNNING"]),
            });
        }
        Action::DeleteSnapshotConnector => seen.snapshot = None,
        other => panic!("{other} is no action on a connector"),
    }
}

/// A place in the source's history, behind the initial snapshot.
pub(super) fn offset() -> SourceOffset {
    SourceOffset {
        initial_snapshot: false,
        position: Some(crate::backend::connect::SourcePosition {
            seconds: 1_700_000_000,
            increment: 1,
        }),
    }
}

pub(super) fn status(connector: &str, tasks: &[&str]) -> ConnectorStatus {
    let tasks: Vec<_> = tasks
        .iter()
        .enumerate()
        .map(|(id, state)| serde_json::json!({"id": id, "state": state}))
        .collect();
    serde_json::from_value(
        serde_json::json!({"name": "x", "connector": {"state": connector}, "tasks": tasks}),
    )
    .expect("a status")
}

fn ready_table(mut table: StarRocksTable) -> StarRocksTable {
    table.metadata.generation = Some(1);
    table
        .metadata
        .owner_references
        .iter_mut()
        .flatten()
        .for_each(|o| o.uid = "u-1".to_owned());
    let condition = |kind: &str| {
        serde_json::json!({"type": kind, "status": "True", "reason": "InSync", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-10-12T07:31:02Z"})
    };
    let declared = table.spec.template.columns.iter().map(|c| c.name.clone());
    table.status = Some(StarRocksTableStatus {
        live: Some(LiveStatus {
            columns: declared.collect(),
            ..LiveStatus::default()
        }),
        observed_generation: 1,
        conditions: serde_json::from_value(serde_json::json!([condition("Ready"), condition("InSync")]))
            .expect("conditions"),
        ..StarRocksTableStatus::default()
    });
    table
}

/// A relay that runs with the files that are in its ConfigMaps.
fn relay_status(world: &Observed) -> RelayStatus {
    let files: Vec<DatasetConfig> = world
        .config_maps
        .values()
        .filter_map(|m| serde_json::from_str(m.data.as_ref()?.get("dataset.json")?).ok())
        .collect();
    RelayStatus {
        format_version: 1,
        phase: RelayPhase::Running,
        config_digests: files.iter().map(|f| (f.name.clone(), f.digest.clone())).collect(),
        datasets: files
            .iter()
            .map(|f| DatasetStatus {
                name: f.name.clone(),
                topic: f.topic.name.clone(),
                mapping_generation: f.mapping_generation,
                lag_ms: Some(40),
                partitions: vec![],
                tables: f
                    .tables
                    .iter()
                    .map(|t| TableStatus {
                        entry: t.entry.clone(),
                        database: t.database.clone(),
                        table: t.table.clone(),
                        lag_ms: Some(40),
                        lane: LaneState::Idle,
                        linger_ms: 200,
                        rows_loaded: 0,
                        loads: 0,
                        overflowed: 0,
                        overflow_truncated: 0,
                        parked: 0,
                    })
                    .collect(),
            })
            .collect(),
    }
}
