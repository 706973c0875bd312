//! A table's spec, checked beyond what CEL can: what DDL is rendered from and what a relay is configured with.

use std::collections::{BTreeMap, BTreeSet};

use crate::column::ColumnType;
use crate::relay::{ColumnConfig, ColumnSource, OnError};
use crate::table::StarRocksTableSpec;
use crate::template::{Column, DistributeBy, IDENTIFIER_MAX, Nullability, is_reserved};

use super::identity::{self, KeyColumn, KeyIdentity};
use super::partition::PartitionBy;
use super::{FieldError, literal, source};

/// A table whose spec holds together: what DDL is rendered from and what a relay is configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledTable {
    pub database: String,
    pub table: String,
    pub primary_key: Vec<String>,
    /// Key columns first, in key order (StarRocks wants them so), then the rest as written. Without system columns.
    pub columns: Vec<CompiledColumn>,
    pub partition_by: Option<PartitionBy>,
    pub distribute_by: Option<DistributeBy>,
    pub properties: BTreeMap<String, String>,
    pub key: KeyIdentity,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CompiledColumn {
    pub config: ColumnConfig,
    pub comment: Option<String>,
    pub is_key: bool,
}

/// Where a table is written: decides how its fields are named in errors.
#[derive(Clone, Copy, Debug)]
pub enum TableOrigin<'a> {
    /// `datasets[<dataset>].hot.tables[<entry>]` of a pipeline.
    Inline { dataset: &'a str, entry: &'a str },
    /// The spec of a StarRocksTable.
    Object,
}

impl TableOrigin<'_> {
    fn field(&self, rest: &str) -> String {
        match self {
            Self::Inline { dataset, entry } => {
                format!("{}.{rest}", entry_field(dataset, entry))
            }
            Self::Object => rest.to_owned(),
        }
    }

    fn column(&self, name: &str, rest: &str) -> String {
        self.field(&format!("columns[{name}].{rest}"))
    }
}

pub(super) fn entry_field(dataset: &str, entry: &str) -> String {
    format!("datasets[{dataset}].hot.tables[{entry}]")
}

/// Checks a table's spec beyond what CEL can, all errors at once.
/// `object_name` gives the table its name when the spec does not.
pub fn compile_table(
    spec: &StarRocksTableSpec,
    object_name: &str,
    origin: TableOrigin<'_>,
) -> Result<CompiledTable, Vec<FieldError>> {
    let mut check = TableCheck {
        origin,
        primary_key: &spec.template.primary_key,
        errors: Vec::new(),
    };
    let table = spec
        .template
        .table
        .clone()
        .unwrap_or_else(|| crate::names::sql_name(object_name));
    let database = spec.database.clone().unwrap_or_default();
    check.identifier("database", &database);
    check.identifier("table", &table);
    let columns = check.columns(&spec.template.columns);
    let key = check.key(&columns);
    let partition_by = check.partition(spec.template.partition_by.as_deref(), &columns);
    check.distribution(spec.template.distribute_by.as_ref());
    if spec.is_shared() && !key.tenant {
        check.error(
            "primaryKey",
            "a shared table needs a key column with from: $tenant",
        );
    }
    if !check.errors.is_empty() {
        return Err(check.errors);
    }
    Ok(CompiledTable {
        database,
        table,
        primary_key: spec.template.primary_key.clone(),
        columns,
        partition_by,
        distribute_by: spec.template.distribute_by.clone(),
        properties: spec.template.properties.clone(),
        key,
    })
}

struct TableCheck<'a> {
    origin: TableOrigin<'a>,
    primary_key: &'a [String],
    errors: Vec<FieldError>,
}

impl TableCheck<'_> {
    fn error(&mut self, field: &str, message: impl std::fmt::Display) {
        let field = self.origin.field(field);
        self.errors.push(FieldError::new(field, message));
    }

    fn column_error(&mut self, column: &str, field: &str, message: impl std::fmt::Display) {
        let field = self.origin.column(column, field);
        self.errors.push(FieldError::new(field, message));
    }

    fn identifier(&mut self, field: &str, name: &str) {
        if name.is_empty() || name.len() > IDENTIFIER_MAX {
            self.error(
                field,
                format_args!("{name:?} must be 1 to {IDENTIFIER_MAX} bytes long"),
            );
        }
    }

    /// Key columns in key order, then the others as written.
    fn columns(&mut self, columns: &[Column]) -> Vec<CompiledColumn> {
        let mut seen = BTreeSet::new();
        for column in columns {
            if is_reserved(&column.name) {
                self.column_error(&column.name, "name", "reserved column name");
            }
            // StarRocks compares column names without case.
            if !seen.insert(column.name.to_lowercase()) {
                self.column_error(&column.name, "name", "column names must differ in more than case");
            }
        }
        let mut compiled: Vec<_> = columns.iter().filter_map(|c| self.column(c)).collect();
        let rank = |c: &CompiledColumn| {
            self.primary_key
                .iter()
                .position(|k| *k == c.config.name)
                .unwrap_or(usize::MAX)
        };
        compiled.sort_by_key(rank);
        compiled
    }

    fn column(&mut self, column: &Column) -> Option<CompiledColumn> {
        let is_key = self.primary_key.contains(&column.name);
        let column_type = self.column_type(column)?;
        let source = self.source(column, &column_type)?;
        self.literals(column, &column_type);
        let nullable = !is_key && column.nullability != Some(Nullability::NotNull);
        let on_error = self.on_error(column, &source, is_key, nullable);
        Some(CompiledColumn {
            config: ColumnConfig {
                name: column.name.clone(),
                column_type,
                source,
                bson: column.bson,
                default: column.default.clone(),
                on_error,
                nullable,
            },
            comment: column.comment.clone(),
            is_key,
        })
    }

    fn column_type(&mut self, column: &Column) -> Option<ColumnType> {
        let Some(text) = &column.column_type else {
            self.column_error(&column.name, "type", "is required");
            return None;
        };
        text.parse()
            .map_err(|error| self.column_error(&column.name, "type", error))
            .ok()
    }

    fn source(&mut self, column: &Column, column_type: &ColumnType) -> Option<ColumnSource> {
        let source = match (&column.from, &column.value) {
            (Some(_), Some(_)) => {
                self.column_error(&column.name, "from", "at most one of from, value");
                return None;
            }
            (None, Some(value)) => return Some(ColumnSource::Value(value.clone())),
            (None, None) => ColumnSource::Path(super::path::Path::field(&column.name).to_string()),
            (Some(from), None) => match source::parse_from(from) {
                Ok(source) => source,
                Err(error) => {
                    self.column_error(&column.name, "from", error);
                    return None;
                }
            },
        };
        if let ColumnSource::Meta(meta) = &source
            && let Err(wanted) = source::fits(*meta, column_type)
        {
            let from = column.from.as_deref().unwrap_or_default();
            self.column_error(
                &column.name,
                "type",
                format_args!("{from} needs a column of type {wanted}, not {column_type}"),
            );
        }
        if column.bson.is_some() && source != ColumnSource::Path("_id".to_owned()) {
            self.column_error(&column.name, "bson", "belongs to from: _id");
        }
        Some(source)
    }

    fn literals(&mut self, column: &Column, column_type: &ColumnType) {
        for (field, text) in [("value", &column.value), ("default", &column.default)] {
            if let Some(text) = text
                && let Err(error) = literal::check(text, column_type)
            {
                self.column_error(&column.name, field, error);
            }
        }
    }

    /// A key column, and a column that cannot store NULL, can only refuse a value that does not fit.
    fn on_error(&mut self, column: &Column, source: &ColumnSource, is_key: bool, nullable: bool) -> OnError {
        if is_key {
            if column.on_error.is_some_and(|e| e != OnError::Reject) {
                self.column_error(
                    &column.name,
                    "onError",
                    "a key column cannot store NULL: leave onError out",
                );
            }
            if column.default.is_some() {
                self.column_error(
                    &column.name,
                    "default",
                    "a key column takes no default: it would merge documents",
                );
            }
            return OnError::Reject;
        }
        if nullable {
            return column.on_error.unwrap_or_default();
        }
        if matches!(source, ColumnSource::Path(_)) {
            // StarRocks wants every NOT NULL column of a delete too, and a delete carries no document.
            self.column_error(
                &column.name,
                "nullability",
                "a column from a path must be Nullable: a delete carries no document",
            );
        }
        OnError::Reject
    }

    fn key(&mut self, columns: &[CompiledColumn]) -> KeyIdentity {
        let primary_key = self.primary_key;
        if primary_key.is_empty() {
            self.error("primaryKey", "is required");
            return KeyIdentity::default();
        }
        let mut seen = BTreeSet::new();
        for name in primary_key {
            if !seen.insert(name) {
                self.error("primaryKey", format_args!("{name} is named twice"));
            }
        }
        let mut fields = Vec::new();
        for name in primary_key {
            match columns.iter().find(|c| c.config.name == *name) {
                None => self.missing_key_column(name),
                Some(column) if !column.config.column_type.is_key_type() => {
                    let message = format!(
                        "StarRocks takes no {} in a primary key",
                        column.config.column_type
                    );
                    self.column_error(name, "type", message);
                }
                Some(column) => fields.push((self.origin.column(name, "from"), &column.config)),
            }
        }
        let key: Vec<_> = fields
            .iter()
            .map(|(field, config)| KeyColumn {
                name: &config.name,
                field,
                source: &config.source,
                column_type: &config.column_type,
                bson: config.bson,
            })
            .collect();
        let complete = key.len() == primary_key.len();
        let before = self.errors.len();
        let found = identity::identity(&key, &mut self.errors);
        if complete && !found.document && self.errors.len() == before {
            self.error(
                "primaryKey",
                "must determine the document: add a column with from: _id and its bson type, or with from: $key",
            );
        }
        found
    }

    /// A key column that was declared but did not compile has its own error already.
    fn missing_key_column(&mut self, name: &str) {
        let marker = self.origin.column(name, "");
        if !self.errors.iter().any(|e| e.field.starts_with(&marker)) {
            self.error(
                "primaryKey",
                format_args!("primaryKey names a column that is not declared: {name}"),
            );
        }
    }

    fn partition(&mut self, text: Option<&str>, columns: &[CompiledColumn]) -> Option<PartitionBy> {
        let parsed: PartitionBy = match text?.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                self.error("partitionBy", error);
                return None;
            }
        };
        for name in parsed.columns() {
            if !self.primary_key.contains(name) {
                self.error(
                    "partitionBy",
                    format_args!("{name} is not a column of the primary key"),
                );
            }
        }
        if let PartitionBy::DateTrunc { column, .. } = &parsed
            && let Some(found) = columns.iter().find(|c| c.config.name == *column)
            && !matches!(found.config.column_type, ColumnType::Date | ColumnType::DateTime)
        {
            let message = format!(
                "date_trunc needs a DATE or DATETIME, {column} is {}",
                found.config.column_type
            );
            self.error("partitionBy", message);
        }
        Some(parsed)
    }

    fn distribution(&mut self, distribute: Option<&DistributeBy>) {
        for name in distribute.map_or(&[][..], |d| &d.columns) {
            if !self.primary_key.contains(name) {
                self.error(
                    "distributeBy.columns",
                    format_args!("{name} is not a column of the primary key"),
                );
            }
        }
    }
}
