//! What a table is, apart from its rows.

use std::collections::BTreeMap;

use super::types::ColumnType;
use super::value::Value;

#[derive(Debug, Clone, PartialEq)]
pub enum DefaultValue {
    /// A literal, always written as a string in DDL.
    Literal(String),
    CurrentTimestamp,
    /// `(uuid())`, `(uuid_numeric())`.
    Function(String),
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
    pub nullable: bool,
    pub default: Option<DefaultValue>,
    pub comment: String,
    /// The expression of a generated column.
    pub generated: Option<String>,
    pub auto_increment: bool,
    /// Slot of the column in stored rows; never reused, so DROP and ADD need no rewrite.
    pub slot: usize,
    /// What rows written before ADD COLUMN hold.
    pub backfill: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableModel {
    Primary,
    Duplicate,
}

impl TableModel {
    /// TABLE_MODEL of information_schema.tables_config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY_KEYS",
            Self::Duplicate => "DUP_KEYS",
        }
    }

    pub fn ddl(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY KEY",
            Self::Duplicate => "DUPLICATE KEY",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Index {
    pub name: String,
    pub columns: Vec<String>,
    pub kind: String,
    pub comment: String,
}

#[derive(Debug, Clone)]
pub struct TableDef {
    pub model: TableModel,
    pub columns: Vec<Column>,
    /// Key columns are always the first ones.
    pub key_count: usize,
    pub comment: String,
    /// `PARTITION BY …` as SHOW CREATE TABLE repeats it.
    pub partition_by: Option<String>,
    pub partition_columns: Vec<String>,
    pub distribution: Vec<String>,
    pub buckets: Option<u32>,
    pub sort_key: Vec<String>,
    pub indexes: Vec<Index>,
    pub properties: BTreeMap<String, String>,
    pub next_slot: usize,
    /// How often a job has replaced the tablets: a load planned before finds them gone.
    pub rewrites: u64,
    /// Old names of renamed columns: they can never be added again.
    pub burnt_names: Vec<String>,
}

impl TableDef {
    /// Column names are case-insensitive.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|c| c.name.eq_ignore_ascii_case(name))
    }

    pub fn keys(&self) -> &[Column] {
        &self.columns[..self.key_count]
    }

    pub fn is_key(&self, name: &str) -> bool {
        self.position(name).is_some_and(|p| p < self.key_count)
    }

    pub fn fast_schema_evolution(&self) -> bool {
        self.properties
            .get("fast_schema_evolution")
            .is_none_or(|v| v == "true")
    }
}
