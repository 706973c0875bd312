//! The YAML of the scenario. Ports are ephemeral, so the platform and the Secrets are rendered from the stage; everything
//! else is a file, applied byte for byte.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tributary_stage::{StageInfo, connect};

/// Namespace of the platform, its credentials and its relays.
pub const PLATFORM_NAMESPACE: &str = "tributary";
pub const PLATFORM: &str = "main";
pub const TENANTS: [&str; 2] = ["acme", "globex"];

/// The platform's `ownerID`: each stage's own, because relays of several stages share this machine's ports.
pub fn owner_id(info: &StageInfo) -> &str {
    &info.id
}

/// Name of the connector of a tenant's pipeline.
pub fn connector(info: &StageInfo, tenant: &str) -> String {
    format!("{}.tenant-{tenant}.{tenant}", owner_id(info))
}

/// Files under `tests/e2e/manifests`, in the order in which they are applied.
pub fn files() -> Vec<PathBuf> {
    [
        "namespaces.yaml",
        "shared-orders.yaml",
        "tenant-acme.yaml",
        "tenant-globex.yaml",
    ]
    .iter()
    .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name))
    .collect()
}

/// The `DataPlatform` and its Secrets.
pub fn platform(info: &StageInfo) -> Result<String> {
    let kafka = info.kafka.as_ref().context("this stage has no Kafka")?;
    let connect_at = info.connect.as_ref().context("this stage has no Kafka Connect")?;
    let starrocks = info.starrocks.as_ref().context("this stage has no StarRocks")?;
    let credentials = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": name, "namespace": PLATFORM_NAMESPACE},
            "stringData": {"username": starrocks.user, "password": starrocks.password},
        })
    };
    let platform = json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform",
        "metadata": {"name": PLATFORM, "namespace": PLATFORM_NAMESPACE},
        "spec": {
            "ownerID": owner_id(info),
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"tributary.dev/platform": PLATFORM}}},
            "tenancy": {"tenantNames": "NamespaceLabel", "hotDatabase": "tenant_{tenant}", "databases": [
                {"name": "shop", "namespaces": ["shop-shared"]},
                {"name": "compat", "namespaces": ["compat-shared"]},
            ]},
            "kafka": {"bootstrapServers": [kafka.bootstrap]},
            "connect": {
                "url": connect_at.url,
                "sourceSecrets": {"type": "Mirrored", "mirrored": {
                    "secretRef": {"name": connect::SOURCES_SECRET},
                    "namespace": connect::NAMESPACE,
                    "mountPath": connect::SOURCES_PATH,
                    "provider": connect::PROVIDER,
                }},
            },
            "starrocks": {"hot": {
                "httpEndpoints": [starrocks.fe_http],
                "mysqlEndpoints": [starrocks.mysql],
                "adminCredentialsSecretRef": {"name": "starrocks-hot-admin"},
                "loadCredentialsSecretRef": {"name": "starrocks-hot-load"},
                "replicationNum": 1,
            }},
            // One node without a pod network: relays share the host's.
            "relay": {"podOverrides": {"spec": {"hostNetwork": true}}},
            "defaults": {
                "topics": {"partitions": 3, "replicationFactor": 1},
                "freshness": {"hot": "2s"},
            },
        },
    });
    Ok(list(&[
        credentials("starrocks-hot-admin"),
        credentials("starrocks-hot-load"),
        platform,
    ]))
}

/// A tenant's source credential.
pub fn source_secret(tenant: &str, uri: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": format!("{tenant}-mongodb"), "namespace": format!("tenant-{tenant}"),
            // Picked up within seconds of a change.
            "labels": {"tributary.dev/watch": "true"},
        },
        "stringData": {"uri": uri},
    })
    .to_string()
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}
