//! What a hot table is, wherever it is written: inline in a pipeline or as a StarRocksTable.
//!
//! Flattened into both, so that a template and its standalone object cannot drift apart. Doc comments stay short here:
//! every one of them is part of two CRDs.

// `KubeSchema` copies each struct, `pub` and all, into a function, where the lint cannot be met.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::relay::{BsonType, OnError};

/// Longest name of a database, table or column that Tributary writes.
pub const IDENTIFIER_MAX: usize = 64;
/// Most columns of one table: inline, where a pipeline may hold many tables, and standalone.
pub const INLINE_COLUMNS_MAX: usize = 400;
pub const STANDALONE_COLUMNS_MAX: usize = 2000;

/// Shape of a primary-key table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableTemplate {
    /// Name of the table. Default: the entry's or object's name with '-' and '.' as '_'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_]*$"))]
    pub table: Option<String>,
    /// Key columns, in order; they determine the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub primary_key: Vec<String>,
    /// `date_trunc('month', c)` or key columns `a, b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub partition_by: Option<String>,
    /// Default: hash of the primary key, buckets chosen by StarRocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribute_by: Option<DistributeBy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub columns: Vec<Column>,
    /// Table properties, passed to StarRocks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "property_map")]
    pub properties: BTreeMap<String, String>,
    /// Retain (default) keeps the table when its object goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// One column: its type and where its value comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.type)").message("type is required"))]
#[x_kube(validation = Rule::new("!(has(self.from) && has(self.value))").message("at most one of from, value"))]
#[x_kube(validation = Rule::new(RESERVED_RULE).message("reserved column name"))]
pub struct Column {
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[^\x00=<>!*`]+$"))]
    pub name: String,
    /// StarRocks type: BIGINT, VARCHAR(64), DECIMAL(38,2), ARRAY<INT>, JSON, …
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 64), regex(pattern = r"^[a-zA-Z]+ *([(<].*[)>])?$"))]
    pub column_type: Option<String>,
    /// Path (`a.b`, `a[0].b`, `a["odd.name"]`) or `$tenant`, `$key`, …; default: the path named like the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub from: Option<String>,
    /// BSON type of `_id`; required for a key column from `_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bson: Option<BsonType>,
    /// A constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// For an absent or null value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub default: Option<String>,
    /// For a value that does not fit: Overflow (default; kept in `_extra`), SetNull, Reject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// Default: Nullable; key columns are always NotNull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nullability: Option<Nullability>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub comment: Option<String>,
}

/// Names that Tributary or StarRocks give a meaning of their own, in any case (see [`is_reserved`]).
const RESERVED: [&str; 7] = [
    "__op",
    "__row",
    "_doc",
    "_ver",
    "_extra",
    "_deleted",
    "_schema_gen",
];
/// Columns of a schema change under way.
const RESERVED_PREFIX: &str = "__starrocks_shadow_";
/// As far as a rule's budget goes: one `lowerAscii` per column would be 1.6 times what a CRD may cost at 320,000 columns.
/// Other cases of the same names are refused by the operator and by `kubectl tributary`.
const RESERVED_RULE: &str = "!(self.name in ['__op','__row','_doc','_ver','_extra','_deleted','_schema_gen']) && !self.name.startsWith('__starrocks_shadow_')";

/// Whether a column may not have this name: StarRocks compares column names without case.
pub fn is_reserved(name: &str) -> bool {
    let name = name.to_lowercase();
    RESERVED.contains(&name.as_str()) || name.starts_with(RESERVED_PREFIX)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Nullability {
    #[default]
    Nullable,
    NotNull,
}

/// Hash distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct DistributeBy {
    /// Key columns.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
    /// Default: chosen by StarRocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub buckets: Option<i32>,
}

/// What happens to data when its object goes. Moving parts (connector, relay) always go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

fn property_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 256},
    })
}
