//! A table's spec, checked beyond what CEL can: what DDL is rendered from and what a relay is configured with.

use std::collections::{BTreeMap, BTreeSet};

use crate::column::ColumnType;
use crate::expr;
use crate::relay::{
    ColumnConfig, ColumnSource, DOC_COLUMN, Deletes, Explode, OnError, OnReject, TableConfig,
};
use crate::table::StarRocksTableSpec;
use crate::template::{
    Column, DistributeBy, IDENTIFIER_MAX, Nullability, Privilege, TableTemplate, is_reserved,
};

use super::identity::KeyIdentity;
use super::layout::doc_column;
use super::partition::PartitionBy;
use super::path::Path;
use super::{FieldError, literal, source};

/// What follows a table's name where its rows are, when deleted documents keep theirs and the name itself is a view.
const ROWS_SUFFIX: &str = "__rows";

/// A table whose spec holds together: what DDL is rendered from and what a relay is configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledTable {
    pub database: String,
    /// What readers ask for: the table, or with `deletes: Soft` the view over [`Self::rows_table`].
    pub table: String,
    pub primary_key: Vec<String>,
    /// Key columns first, in key order (StarRocks wants them so), then the rest as written. Without system columns.
    pub columns: Vec<CompiledColumn>,
    pub partition_by: Option<PartitionBy>,
    pub distribute_by: Option<DistributeBy>,
    pub properties: BTreeMap<String, String>,
    pub key: KeyIdentity,
    pub explode: Option<Explode>,
    /// `where`.
    pub filter: Option<String>,
    pub deletes: Deletes,
    pub on_reject: OnReject,
}

impl CompiledTable {
    /// The physical table, which the relay writes.
    pub fn rows_table(&self) -> String {
        match self.deletes {
            Deletes::Hard => self.table.clone(),
            Deletes::Soft => format!("{}{ROWS_SUFFIX}", self.table),
        }
    }

    /// As its relay reads it.
    pub fn into_config(self, entry: &str) -> TableConfig {
        TableConfig {
            entry: entry.to_owned(),
            table: self.rows_table(),
            database: self.database,
            primary_key: self.primary_key,
            columns: self.columns.into_iter().map(|c| c.config).collect(),
            explode: self.explode,
            filter: self.filter,
            deletes: self.deletes,
            on_reject: self.on_reject,
        }
    }
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

    pub(super) fn column(&self, name: &str, rest: &str) -> String {
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
    let template = &spec.template;
    let mut check = TableCheck {
        origin,
        primary_key: &template.primary_key,
        exploded: template.rows.as_ref().is_some_and(|r| r.explode.is_some()),
        soft: template.deletes == Some(Deletes::Soft),
        errors: Vec::new(),
    };
    let table = template
        .table
        .clone()
        .unwrap_or_else(|| crate::names::sql_name(object_name));
    let database = spec.database.clone().unwrap_or_default();
    check.identifier("database", &database, 0);
    let suffix = if check.soft { ROWS_SUFFIX.len() } else { 0 };
    check.identifier("table", &table, suffix);
    let explode = check.explode(template);
    check.filter(template.filter.as_deref());
    check.grants(template);
    let columns = check.columns(&template.columns);
    let key = check.key(&columns);
    let partition_by = check.partition(template.partition_by.as_deref(), &columns);
    let distribute_by = check.distribution(template.distribute_by.as_ref(), &columns);
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
        primary_key: template.primary_key.clone(),
        columns,
        partition_by,
        distribute_by,
        properties: template.properties.clone(),
        key,
        explode,
        filter: template.filter.clone(),
        deletes: template.deletes.unwrap_or_default(),
        on_reject: template.on_reject.unwrap_or_default(),
    })
}

pub(super) struct TableCheck<'a> {
    pub(super) origin: TableOrigin<'a>,
    pub(super) primary_key: &'a [String],
    /// Rows are elements of an array.
    pub(super) exploded: bool,
    /// Deleted documents keep their rows.
    soft: bool,
    pub(super) errors: Vec<FieldError>,
}

impl TableCheck<'_> {
    pub(super) fn error(&mut self, field: &str, message: impl std::fmt::Display) {
        let field = self.origin.field(field);
        self.errors.push(FieldError::new(field, message));
    }

    pub(super) fn column_error(&mut self, column: &str, field: &str, message: impl std::fmt::Display) {
        let field = self.origin.column(column, field);
        self.errors.push(FieldError::new(field, message));
    }

    fn identifier(&mut self, field: &str, name: &str, suffix: usize) {
        let max = IDENTIFIER_MAX - suffix;
        if name.is_empty() || name.len() > max {
            self.error(field, format_args!("{name:?} must be 1 to {max} bytes long"));
        }
    }

    fn explode(&mut self, template: &TableTemplate) -> Option<Explode> {
        let text = template.rows.as_ref()?.explode.as_ref()?;
        match text.parse::<Path>() {
            Ok(path) => Some(Explode {
                path: path.to_string(),
            }),
            Err(error) => {
                self.error("rows.explode", error);
                None
            }
        }
    }

    /// With soft deletes people read a view, and a view cannot be exported.
    fn grants(&mut self, template: &TableTemplate) {
        for grant in &template.grants {
            if self.soft && grant.privileges.contains(&Privilege::Export) {
                let field = format!("grants[{}].privileges", grant.role);
                self.error(
                    &field,
                    "with deletes: Soft readers have a view, which knows SELECT alone",
                );
            }
        }
    }

    fn filter(&mut self, text: Option<&str>) {
        if let Some(text) = text
            && let Err(error) = expr::check(text, false)
        {
            self.error("where", error);
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
        if self.primary_key.iter().any(|k| k == DOC_COLUMN) {
            compiled.push(doc_column());
        }
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
        let source = match (&column.from, &column.value, &column.expr) {
            (None, Some(value), None) => return Some(ColumnSource::Value(value.clone())),
            (None, None, Some(text)) => return self.expression(column, text),
            (None, None, None) if self.exploded => {
                let message = "with rows.explode every column says where it comes from";
                self.column_error(&column.name, "from", message);
                return None;
            }
            (None, None, None) => ColumnSource::Path(Path::field(&column.name).to_string()),
            (Some(from), None, None) => match source::parse_from(from, self.exploded) {
                Ok(source) => source,
                Err(error) => {
                    self.column_error(&column.name, "from", error);
                    return None;
                }
            },
            _ => {
                self.column_error(&column.name, "from", "at most one of from, value, expr");
                return None;
            }
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

    fn expression(&mut self, column: &Column, text: &str) -> Option<ColumnSource> {
        if column.bson.is_some() {
            self.column_error(&column.name, "bson", "belongs to from: _id");
        }
        if let Err(error) = expr::check(text, self.exploded) {
            self.column_error(&column.name, "expr", error);
            return None;
        }
        Some(ColumnSource::Expr(text.to_owned()))
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
        let of_the_document = matches!(
            source,
            ColumnSource::Path(_) | ColumnSource::Element(_) | ColumnSource::Expr(_)
        );
        if of_the_document || self.soft {
            // StarRocks wants every NOT NULL column of a delete too, and a delete carries no document. With soft deletes it is
            // a row whose columns are NULL.
            let message = match self.soft {
                true => {
                    "with deletes: Soft a column must be Nullable: a deleted document's row holds its key alone"
                }
                false => "a column from a path must be Nullable: a delete carries no document",
            };
            self.column_error(&column.name, "nullability", message);
        }
        OnError::Reject
    }
}
