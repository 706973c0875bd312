//! `TenantPipeline`: one tenant, its MongoDB source, its datasets and where each goes.

// `KubeSchema` copies each struct, `pub` and all, into a function, where the lint cannot be met.
#![allow(unreachable_pub)]
// Each printer column has a type and a path of its own; the lint reads them as one attribute written twice.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::quantity::Quantity;
use crate::reference::{ObjectRef, SecretKeyRef, SecretRef};
use crate::relay::OnError;
use crate::status::Condition;
use crate::template::{
    DELETES_RULE, DeletionPolicy, EXPLODE_RULE, KEY_BSON_RULE, KEY_DECLARED_RULE, ONE_SOURCE_RULE,
    TableTemplate,
};

/// Most datasets of a pipeline, tables of a dataset.
pub const DATASETS_MAX: usize = 200;
pub const TABLES_MAX: usize = 4;

/// One tenant: a MongoDB source, its datasets (collections) and the tables each goes to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tributary.dev",
    version = "v1alpha1",
    kind = "TenantPipeline",
    plural = "tenantpipelines",
    singular = "tenantpipeline",
    shortname = "tp",
    category = "tributary",
    namespaced,
    status = "TenantPipelineStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One tenant: its MongoDB source, its datasets (collections) and the StarRocks tables each goes to.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must be a DNS label of at most 40 characters: children are named <pipeline>.<dataset>.<table>"),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenant"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Fresh", type_ = "string", json_path = ".status.conditions[?(@.type=='Fresh')].status"),
    printcolumn(name = "Lag", type_ = "string", json_path = ".status.lag.hot"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Datasets", type_ = "string", json_path = ".status.datasetsFresh"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Lossless", type_ = "string", json_path = ".status.conditions[?(@.type=='Lossless')].status", priority = 1),
    printcolumn(name = "Platform", type_ = "string", json_path = ".spec.platformRef.name", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.platformRef)").message("platformRef is required"))]
#[x_kube(validation = Rule::new("self.tenant == oldSelf.tenant").message("tenant is immutable: create a new pipeline").field_path(".tenant"))]
#[x_kube(validation = Rule::new("has(self.platformRef) == has(oldSelf.platformRef) && (!has(self.platformRef) || self.platformRef == oldSelf.platformRef)")
    .message("platformRef is immutable").field_path(".platformRef"))]
#[x_kube(validation = Rule::new("has(self.datasets) && size(self.datasets) > 0").message("datasets needs at least one dataset"))]
#[x_kube(validation = Rule::new("!has(self.datasets) || self.datasets.all(d, d.name != 'gold')")
    .message("gold is a reserved dataset name: it would collide with child names").field_path(".datasets"))]
pub struct TenantPipelineSpec {
    /// The platform that carries this pipeline. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_ref: Option<ObjectRef>,
    /// The tenant's id. The platform decides which namespace may claim which tenant. Immutable.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub tenant: String,
    pub source: Source,
    /// When data counts as fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// The pod that loads StarRocks; capped by the platform's limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelaySettings>,
    /// Whether topics and own tables go with the pipeline. Default: the platform's, else Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What a deletion does about a system that does not answer. Default: the platform's, else Wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unreachable: Option<OnUnreachable>,
    /// Running (default), SinksPaused (the source is captured, nothing is loaded) or Stopped (nothing runs; a source keeps history
    /// only for so long).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<DesiredState>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub datasets: Vec<Dataset>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DesiredState {
    #[default]
    Running,
    SinksPaused,
    Stopped,
}

/// How long a deletion insists on systems that do not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.action == 'Orphan') == has(self.after)")
    .message("after belongs to action: Orphan, and is required there"))]
pub struct OnUnreachable {
    /// Wait (default), or Orphan: let go and list what is left.
    pub action: UnreachableAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Duration>,
}

impl OnUnreachable {
    /// The bound, where one is set. A duration that cannot be read was refused by the API server; should one be stored, it asks
    /// for patience.
    pub fn orphans_after(&self) -> Option<std::time::Duration> {
        match self.action {
            UnreachableAction::Wait => None,
            UnreachableAction::Orphan => self.after.as_ref()?.parse().ok(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UnreachableAction {
    #[default]
    Wait,
    Orphan,
}

/// Where changes come from: exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.mongodb)].filter(x, x).size() == 1").message("source needs exactly one of: mongodb"))]
pub struct Source {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mongodb: Option<MongoDbSource>,
}

/// A MongoDB database, read through change streams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.connectionSecretRef)").message("connectionSecretRef is required"))]
#[x_kube(validation = Rule::new("has(self.database)").message("database is required"))]
#[x_kube(validation = Rule::new("has(self.database) == has(oldSelf.database) && (!has(self.database) || self.database == oldSelf.database)")
    .message("database is immutable: it is part of every topic name").field_path(".database"))]
#[x_kube(validation = Rule::new("has(self.topicPrefix) == has(oldSelf.topicPrefix) && (!has(self.topicPrefix) || self.topicPrefix == oldSelf.topicPrefix)")
    .message("topicPrefix is immutable: it is part of every topic name").field_path(".topicPrefix"))]
pub struct MongoDbSource {
    /// Secret key with the connection string, in this namespace. It must name a replica set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_secret_ref: Option<SecretKeyRef>,
    /// Secret with username and password, in this namespace; else they are inside the connection string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
    /// Database whose collections are captured. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r#"^[^/\\. "$*<>:|?\x00]+$"#))]
    pub database: Option<String>,
    /// First part of every topic name. Immutable. Default: the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-zA-Z0-9]([-_a-zA-Z0-9]*[a-zA-Z0-9])?$")
    )]
    pub topic_prefix: Option<String>,
    /// UpdateFull (default) or UpdateFullWithPreImage (needs pre-images on the collections).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What happens when the source no longer holds the changes after the stored position. Hold (default): the connector stays stopped until a person decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_history_lost: Option<OnHistoryLost>,
    /// How often the connector polls for new events. Default: 50ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Capture {
    #[default]
    UpdateFull,
    UpdateFullWithPreImage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum OnHistoryLost {
    #[default]
    Hold,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Snapshot {
    /// Initial (default): existing documents first, then changes. NoData: changes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SnapshotMode>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SnapshotMode {
    #[default]
    Initial,
    NoData,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Freshness {
    /// Objective from a write at the source to a visible row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot: Option<Duration>,
    /// How long a better state must last before it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RelaySettings {
    /// Relays that share the topics' partitions, each a Deployment of one pod with a fixed group.instance.id. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ResourceAmounts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// When a batch closes: on whichever comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Batch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linger: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_rows: Option<i64>,
}

/// One collection and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.hot)").message("a dataset needs hot"))]
pub struct Dataset {
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Collection of the source's database. Default: the dataset's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 120),
        regex(pattern = r"^[^$,\s\x00]([^$,\x00]*[^$,\s\x00])?$")
    )]
    pub collection: Option<String>,
    /// Tables of the hot cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot: Option<Hot>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tables) && size(self.tables) > 0").message("hot needs at least one table"))]
pub struct Hot {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tables: Vec<HotTable>,
}

/// One table: a template the pipeline owns, or a reference to an existing StarRocksTable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.template) != has(self.tableRef)").message("exactly one of template, tableRef"))]
#[x_kube(validation = Rule::new("has(self.tableRef) || (!has(self.columns) && !has(self.where))")
    .message("columns and where belong to tableRef; with template write them inside it"))]
pub struct HotTable {
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<InlineTable>,
    /// A StarRocksTable that permits this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_ref: Option<ObjectRef>,
    /// How this tenant obtains columns of the referenced table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 400), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub columns: Vec<ColumnOverride>,
    /// CEL over `doc`, `key`, `meta`: this tenant's other documents have no row in the referenced table.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub filter: Option<String>,
}

/// A table the pipeline owns, in the tenant's database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.primaryKey) && size(self.primaryKey) > 0").message("primaryKey is required"))]
#[x_kube(validation = Rule::new("has(self.columns) && size(self.columns) > 0").message("columns is required"))]
#[x_kube(validation = Rule::new(DELETES_RULE).message("deletes is fixed at creation"))]
#[x_kube(validation = Rule::new(KEY_DECLARED_RULE).message("primaryKey names a column that is not declared, or one twice").field_path(".primaryKey"))]
#[x_kube(validation = Rule::new(KEY_BSON_RULE).message("a key column with from: _id declares bson").field_path(".columns"))]
#[x_kube(validation = Rule::new(EXPLODE_RULE).message("with rows.explode every column says where it comes from").field_path(".columns"))]
pub struct InlineTable {
    #[serde(flatten)]
    pub table: TableTemplate,
}

/// Another way to obtain a column's value. Name, type, nullability and key stay the table's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(ONE_SOURCE_RULE).message("at most one of from, value, expr"))]
pub struct ColumnOverride {
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// CEL, as in a table's own column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expr: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub default: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
}

/// What the operator observed. Buckets and times of change, never live figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantPipelineStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// The most severe thing that is not as it should be, in one word; else the good word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// `<fresh>/<all>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub datasets_fresh: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayDeploymentStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "atomic"))]
    pub datasets: Vec<DatasetSummary>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Lag buckets: <1s <5s <30s <1m <5m <15m <1h <6h <1d >1d.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Lag {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub hot: Option<String>,
}

/// The merged spec this status speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct EffectiveStatus {
    #[schemars(length(max = 80))]
    pub digest: String,
    pub platform_generation: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ConnectorStatus {
    #[schemars(length(max = 253))]
    pub name: String,
    #[schemars(length(max = 63))]
    pub topic_prefix: String,
    /// Restarts of it in a row since it last did its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RelayDeploymentStatus {
    /// `<namespace>/<name>`.
    #[schemars(length(max = 128))]
    pub deployment: String,
    #[schemars(length(max = 253))]
    pub consumer_group: String,
    /// Where documents go that no table can take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249))]
    pub dead_letter_topic: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct DatasetSummary {
    #[schemars(length(max = 40))]
    pub name: String,
    #[schemars(length(max = 249))]
    pub topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_generation: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping_generation: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub lag: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "atomic"))]
    pub tables: Vec<TableSummary>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct TableSummary {
    #[schemars(length(max = 40))]
    pub name: String,
    /// `<database>.<table>`.
    #[schemars(length(max = 160))]
    pub table: String,
    /// `<namespace>/<name>` of the StarRocksTable, when it is not the pipeline's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub from: Option<String>,
}
