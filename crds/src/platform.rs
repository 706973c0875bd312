//! `DataPlatform`: shared endpoints, credentials, defaults and limits, and who may use them.

// `KubeSchema` copies each struct, `pub` and all, into a function, where the lint cannot be met.
#![allow(unreachable_pub)]
// Each printer column has a type and a path of its own; the lint reads them as one attribute written twice.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::pipeline::{Freshness, OnUnreachable, RelaySettings};
use crate::quantity::Quantity;
use crate::reference::{AllowedNamespaces, SecretRef};
use crate::status::Condition;
use crate::template::DeletionPolicy;

/// Shared endpoints, credentials, defaults and limits, and which namespaces may use them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tributary.dev",
    version = "v1alpha1",
    kind = "DataPlatform",
    plural = "dataplatforms",
    singular = "dataplatform",
    shortname = "dplat",
    category = "tributary",
    namespaced,
    status = "DataPlatformStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Shared endpoints, credentials, defaults and limits of a data platform. Relays and platform credentials live in its namespace.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Kafka",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='KafkaReachable')].status"
    ),
    printcolumn(
        name = "Connect",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ConnectReachable')].status"
    ),
    printcolumn(
        name = "Hot",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='HotReachable')].status"
    ),
    printcolumn(name = "Pipelines", type_ = "integer", json_path = ".status.pipelines"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.ownerID == oldSelf.ownerID")
    .message("ownerID is immutable: every external object carries it").field_path(".ownerID"))]
pub struct DataPlatformSpec {
    /// Part of every owner mark; unique per set of backends. Immutable.
    #[serde(rename = "ownerID")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub owner_id: String,
    /// Which namespaces' objects may name this platform. Default: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<Tenancy>,
    pub kafka: Kafka,
    pub connect: Connect,
    pub starrocks: StarRocks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<PlatformRelay>,
    /// Defaults of every pipeline; a pipeline's own value wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

impl DataPlatformSpec {
    /// Names of the Secrets in the platform's namespace that it reads.
    pub fn secrets(&self) -> Vec<&str> {
        let hot = &self.starrocks.hot;
        vec![
            &hot.admin_credentials_secret_ref.name,
            &hot.load_credentials_secret_ref.name,
        ]
    }
}

/// Who may claim a tenant id, and what the tenant's things are called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.hotDatabase) || self.hotDatabase.contains('{tenant}')")
    .message("hotDatabase must contain {tenant}: every tenant has a database of its own").field_path(".hotDatabase"))]
pub struct Tenancy {
    /// NamespaceLabel (default): label tributary.dev/tenant of the namespace. NamespaceName: the namespace's name. Any: the first claim wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_names: Option<TenantNames>,
    /// Database of a pipeline's own tables; {tenant} has '-' replaced by '_'. Default: tenant_{tenant}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 24), regex(pattern = "^[a-zA-Z{][a-zA-Z0-9_{}]*$"))]
    pub hot_database: Option<String>,
    /// Databases of standalone tables, and the namespaces that may name them. A tenant's own database needs no entry, nor
    /// does anything in the platform's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub databases: Vec<SharedDatabase>,
}

/// A database and who may put tables there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SharedDatabase {
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_]*$"))]
    pub name: String,
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum TenantNames {
    #[default]
    NamespaceLabel,
    NamespaceName,
    Any,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Kafka {
    /// `host:port` each.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 260), regex(pattern = "^[^/:,${} ]+:[0-9]{1,5}$")), extend("x-kubernetes-list-type" = "atomic"))]
    pub bootstrap_servers: Vec<String>,
    /// Compacted topic with claims and generations, created by the operator. Default: tributary-ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub ledger_topic: Option<String>,
}

impl Kafka {
    pub fn ledger_topic(&self) -> &str {
        self.ledger_topic.as_deref().unwrap_or("tributary-ledger")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Connect {
    /// REST address of the Kafka Connect cluster.
    #[schemars(length(min = 1, max = 260), regex(pattern = "^https?://[^/${} ]+/?$"))]
    pub url: String,
    /// Pipelines beyond this number are refused. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connectors: Option<i32>,
    pub source_secrets: SourceSecrets,
}

/// How a tenant's credentials reach Connect without passing through its REST API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'Mirrored') == has(self.mirrored)")
    .message("mirrored belongs to type: Mirrored, and is required there"))]
pub struct SourceSecrets {
    #[serde(rename = "type")]
    pub kind: SourceSecretsType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<Mirrored>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SourceSecretsType {
    #[default]
    Mirrored,
}

/// One Secret in Connect's namespace, mounted by the Connect pods, with one key per source credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Mirrored {
    /// The operator writes keys `<namespace>.<pipeline>.<field>` here.
    pub secret_ref: SecretRef,
    /// Where Connect runs.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Where the Connect pods mount the Secret.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/[^${}:]*$"))]
    pub mount_path: String,
    /// Alias of the DirectoryConfigProvider in the worker's configuration.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-zA-Z0-9]+$"))]
    pub provider: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StarRocks {
    pub hot: HotCluster,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct HotCluster {
    /// FE addresses for Stream Load, `http://host:port`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 260), regex(pattern = "^https?://[^/ ]+/?$")), extend("x-kubernetes-list-type" = "atomic"))]
    pub http_endpoints: Vec<String>,
    /// FE addresses for SQL, `host:port`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 260), regex(pattern = "^[^/: ]+:[0-9]{1,5}$")), extend("x-kubernetes-list-type" = "atomic"))]
    pub mysql_endpoints: Vec<String>,
    /// DDL: used by the operator.
    pub admin_credentials_secret_ref: SecretRef,
    /// INSERT only: used by the relay.
    pub load_credentials_secret_ref: SecretRef,
    /// Replicas of every table. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_num: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct PlatformRelay {
    /// Default: the image the operator was built with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Strategic merge onto the relay's pod template; its container is named `relay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub pod_overrides: Option<serde_json::Value>,
}

fn free_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Defaults {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelaySettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What a deletion does about a system that does not answer. Default: Wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unreachable: Option<OnUnreachable>,
}

/// How topics are created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Topics {
    /// Fixed when a topic is created. Default: 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: Option<i32>,
    /// Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 15))]
    pub replication_factor: Option<i32>,
    /// Default: 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Limits {
    /// Most relays a pipeline may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub relay_replicas: Option<i32>,
    /// Most memory a pipeline may ask for each of its relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_memory: Option<Quantity>,
    /// Where a tenant's connection string may point: hosts, `*.` at the start matches any subdomain. Empty: anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253), regex(pattern = r"^(\*\.)?[a-zA-Z0-9]([-.a-zA-Z0-9]*[a-zA-Z0-9])?$")), extend("x-kubernetes-list-type" = "atomic"))]
    pub source_hosts: Vec<String>,
}

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlatformStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// The most severe thing that is not as it should be, in one word; else the good word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// Pipelines that name this platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipelines: Option<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
