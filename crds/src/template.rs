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

use crate::relay::{BsonType, DOC_COLUMN, Deletes, OnError, OnReject};

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
    /// Key columns, in order; they determine the document. `_doc` needs no column: the text of the document's key.
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
    /// One row per element of an array instead of one per document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// CEL over `doc`, `key`, `meta`: other documents have no row here.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub filter: Option<String>,
    /// Hard (default) removes rows; Soft keeps them in `<table>__rows`, and `<table>` is a view of the rest. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<Deletes>,
    /// What a parked document leaves visible: KeepOld (default) or Remove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_reject: Option<OnReject>,
    /// Roles that may read the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub grants: Vec<Grant>,
    /// A table that exists and bears no mark: Never, IfIdentical (default), IfCompatible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// What others took away: Observe (default) reports it, Enforce restores it. Nothing is ever dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
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
#[x_kube(validation = Rule::new(ONE_SOURCE_RULE).message("at most one of from, value, expr"))]
#[x_kube(validation = Rule::new(RESERVED_RULE).message("reserved column name"))]
pub struct Column {
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[^\x00=<>!*`]+$"))]
    pub name: String,
    /// StarRocks type: BIGINT, VARCHAR(64), DECIMAL(38,2), ARRAY<INT>, JSON, …
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 64), regex(pattern = r"^[a-zA-Z]+ *([(<].*[)>])?$"))]
    pub column_type: Option<String>,
    /// Path (`a.b`, `a[0].b`, `a["odd.name"]`), `$element.b`, or `$tenant`, `$key`, …; default: the path named like the column.
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
    /// CEL over `doc`, `key`, `meta` and, with `rows.explode`, `element`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expr: Option<String>,
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
    DOC_COLUMN,
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

/// A column's value comes from one place. An override has the same rule.
pub(crate) const ONE_SOURCE_RULE: &str = "!(has(self.from) && has(self.value)) && !(has(self.from) && has(self.expr)) && !(has(self.value) && has(self.expr))";
/// Linear in the columns, unlike a search for each key column: an inline table is one of 800 in a pipeline. A column's name is
/// unique (list map) and cannot be `_doc` (reserved), so the counts agree exactly when each key column is declared once.
pub(crate) const KEY_DECLARED_RULE: &str = "!has(self.primaryKey) || (has(self.columns) && self.columns.filter(c, c.name in self.primaryKey).size() + ('_doc' in self.primaryKey ? 1 : 0) == size(self.primaryKey))";
pub(crate) const KEY_BSON_RULE: &str = "!has(self.primaryKey) || !has(self.columns) || self.columns.all(c, !has(c.from) || c.from != '_id' || has(c.bson) || !(c.name in self.primaryKey))";
pub(crate) const EXPLODE_RULE: &str = "!has(self.rows) || !has(self.rows.explode) || !has(self.columns) || self.columns.all(c, has(c.from) || has(c.value) || has(c.expr))";
/// Absent is Hard.
pub(crate) const DELETES_RULE: &str =
    "(has(self.deletes) ? self.deletes : 'Hard') == (has(oldSelf.deletes) ? oldSelf.deletes : 'Hard')";

/// What one document becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.explode)").message("explode is required"))]
pub struct Rows {
    /// Path of an array of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub explode: Option<String>,
    /// Rows (default): elements are stored as rows, and rows of vanished elements are removed.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<RowsAs>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RowsAs {
    #[default]
    Rows,
}

/// What a role may do with the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.privileges)").message("privileges is required"))]
pub struct Grant {
    /// A role of StarRocks; it must exist.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-zA-Z][a-zA-Z0-9_-]*$"))]
    pub role: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub privileges: Vec<Privilege>,
}

/// Reading, in its two forms: nobody but the relay writes a hot table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "UPPERCASE")]
pub enum Privilege {
    Select,
    Export,
}

impl Privilege {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Export => "EXPORT",
        }
    }
}

/// What to do with a table that exists and that nobody marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Adoption {
    Never,
    /// Only when it is exactly what would have been created.
    #[default]
    IfIdentical,
    /// Also when it differs in what does no harm: missing nullable columns, more columns, wider types.
    IfCompatible,
}

/// What to do about something that was there and that somebody took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Drift {
    #[default]
    Observe,
    Enforce,
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
