//! `StarRocksTable`: one physical primary-key table of the hot cluster with the mapping of each column.

// `KubeSchema` copies each struct, `pub` and all, into a function, where the lint cannot be met.
#![allow(unreachable_pub)]
// Each printer column has a type and a path of its own; the lint reads them as one attribute written twice.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{AllowedNamespaces, NamespacesFrom, ObjectRef};
use crate::status::Condition;
use crate::template::{DELETES_RULE, EXPLODE_RULE, Grant, KEY_BSON_RULE, KEY_DECLARED_RULE, TableTemplate};

/// One primary-key table of the hot cluster: its shape, and how each column's value is obtained from a document.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tributary.dev",
    version = "v1alpha1",
    kind = "StarRocksTable",
    plural = "starrockstables",
    singular = "starrockstable",
    shortname = "srt",
    category = "tributary",
    namespaced,
    status = "StarRocksTableStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One primary-key table of the hot StarRocks cluster with the mapping of each column. Standalone, or the child of a TenantPipeline.",
    printcolumn(name = "Table", type_ = "string", json_path = ".status.table"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "InSync",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='InSync')].status"
    ),
    printcolumn(name = "Columns", type_ = "integer", json_path = ".status.columns"),
    printcolumn(name = "Writers", type_ = "integer", json_path = ".status.writers"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Job", type_ = "string", json_path = ".status.job", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.platformRef)").message("platformRef is required"))]
#[x_kube(validation = Rule::new("has(self.database)").message("database is required"))]
#[x_kube(validation = Rule::new("has(self.primaryKey) && size(self.primaryKey) > 0").message("primaryKey is required"))]
#[x_kube(validation = Rule::new("has(self.columns) && size(self.columns) > 0").message("columns is required"))]
#[x_kube(validation = Rule::new("has(self.platformRef) == has(oldSelf.platformRef) && (!has(self.platformRef) || self.platformRef == oldSelf.platformRef)")
    .message("platformRef is immutable").field_path(".platformRef"))]
#[x_kube(validation = Rule::new("has(self.database) == has(oldSelf.database) && (!has(self.database) || self.database == oldSelf.database) && has(self.table) == has(oldSelf.table) && (!has(self.table) || self.table == oldSelf.table)")
    .message("database and table are immutable"))]
#[x_kube(validation = Rule::new(DELETES_RULE).message("deletes is fixed at creation"))]
#[x_kube(validation = Rule::new(KEY_DECLARED_RULE).message("primaryKey names a column that is not declared, or one twice").field_path(".primaryKey"))]
#[x_kube(validation = Rule::new(KEY_BSON_RULE).message("a key column with from: _id declares bson").field_path(".columns"))]
#[x_kube(validation = Rule::new(EXPLODE_RULE).message("with rows.explode every column says where it comes from").field_path(".columns"))]
#[x_kube(validation = Rule::new("!has(self.allowedNamespaces) || self.allowedNamespaces.from == 'Same' || (has(self.columns) && has(self.primaryKey) && self.columns.exists(c, has(c.from) && c.from == '$tenant' && c.name in self.primaryKey))")
    .message("a shared table needs a key column with from: $tenant"))]
pub struct StarRocksTableSpec {
    /// The platform whose hot cluster holds the table. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_ref: Option<ObjectRef>,
    /// Which namespaces' pipelines may write to the table. Default: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Database of the hot cluster; created when absent. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_]*$"))]
    pub database: Option<String>,
    #[serde(flatten)]
    pub template: TableTemplate,
}

impl StarRocksTableSpec {
    /// Whether namespaces other than its own may write to the table.
    pub fn is_shared(&self) -> bool {
        self.allowed_namespaces
            .as_ref()
            .is_some_and(|a| a.from != NamespacesFrom::Same)
    }
}

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StarRocksTableStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// The most severe thing that is not as it should be, in one word; else the good word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// `<database>.<table>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160))]
    pub table: Option<String>,
    /// Columns of the live table, system columns aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<i32>,
    /// What was read from StarRocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveStatus>,
    /// What was granted; what the spec no longer names is revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub grants: Vec<Grant>,
    /// The ALTER TABLE that runs, or failed: `<job id> <state>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub job: Option<String>,
    /// Pipelines that refer to the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The physical table as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct LiveStatus {
    /// Declared columns that StarRocks was seen to have: a mapping names no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2010), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
    /// Declared columns that were there and are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2010), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub taken_away: Vec<String>,
    /// The newest generation of the spec that the table had exactly: what differs later was edited, what differs at the same
    /// generation was changed by others.
    #[serde(default)]
    pub aligned_generation: i64,
}
