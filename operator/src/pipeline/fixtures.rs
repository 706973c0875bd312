//! A platform and a pipeline for tests of plans; the world they meet is `simulate`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use tributary_crds::{DataPlatform, TenantPipeline};

use super::credential::Credential;
use super::dereference::{Connection, Referenced};
use super::observe::Observed;
pub(super) use super::simulate::{empty_world, offset, perform};
pub(super) use super::simulate_relay::answer;
use super::validate::{Accepted, validate};
use crate::backend::connect::ConnectorStatus;

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
