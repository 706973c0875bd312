//! What CREATE TABLE accepts, in the server's words: a parsed statement to a table definition.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::ast::{ColumnSpec, CreateTable, Distribution};
use super::error::{ErrorCode, SqlError};
use crate::load::convert;
use crate::table::schema::{Column, DefaultValue, TableDef, TableModel};
use crate::table::types::{ColumnType, MAX_VARCHAR_LENGTH};
use crate::table::value::Value;

const MAX_COLUMNS: usize = 10_000;

pub fn table_def(create: &CreateTable) -> Result<TableDef, SqlError> {
    if let Some(engine) = &create.engine
        && !engine.eq_ignore_ascii_case("olap")
    {
        return Err(SqlError::analysis(format!("the stand-in has no engine {engine}")));
    }
    check_names(&create.columns)?;
    let (model, keys) = model_and_keys(create)?;
    check_keys(model, &keys, &create.columns)?;
    let mut columns = Vec::with_capacity(create.columns.len());
    for (slot, spec) in create.columns.iter().enumerate() {
        columns.push(column(
            spec,
            slot,
            slot < keys.len() && model == TableModel::Primary,
        )?);
    }
    let (distribution, buckets) = distribution(model, create.distribution.as_ref(), &keys)?;
    let def = TableDef {
        model,
        key_count: keys.len(),
        comment: create.comment.clone(),
        partition_by: create.partition.as_ref().map(|p| p.text.clone()),
        partition_columns: create
            .partition
            .as_ref()
            .map(|p| p.columns.clone())
            .unwrap_or_default(),
        distribution,
        buckets,
        sort_key: create.order_by.clone().unwrap_or_default(),
        indexes: create.indexes.clone(),
        properties: properties(model, &create.properties)?,
        next_slot: columns.len(),
        columns,
        rewrites: 0,
        burnt_names: Vec::new(),
    };
    check_references(&def)?;
    Ok(def)
}

fn check_names(columns: &[ColumnSpec]) -> Result<(), SqlError> {
    if columns.len() > MAX_COLUMNS {
        return Err(SqlError::analysis(format!(
            "The number of columns exceeds {MAX_COLUMNS}"
        )));
    }
    for (i, column) in columns.iter().enumerate() {
        check_column_name(&column.name)?;
        if columns[..i]
            .iter()
            .any(|c| c.name.eq_ignore_ascii_case(&column.name))
        {
            return Err(duplicate_column(&column.name));
        }
    }
    Ok(())
}

pub fn duplicate_column(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::DuplicateColumn,
        format!("Getting analyzing error. Detail message: Duplicate column name '{name}'."),
    )
}

/// `^[^\0=<>!\*]{1,1024}$`, minus what the server keeps for itself.
pub fn check_column_name(name: &str) -> Result<(), SqlError> {
    let legal = (1..=1024).contains(&name.chars().count()) && !name.contains(['\0', '=', '<', '>', '!', '*']);
    let reserved = matches!(name, "__op" | "__row") || name.starts_with("__starrocks_shadow_");
    if legal && !reserved {
        Ok(())
    } else {
        Err(SqlError::analysis(format!("Incorrect column name '{name}'")))
    }
}

fn model_and_keys(create: &CreateTable) -> Result<(TableModel, Vec<String>), SqlError> {
    match &create.keys {
        Some((model, keys)) => Ok((*model, keys.clone())),
        // Without a key clause: a duplicate-key table over its first sortable columns, three at most.
        None => {
            let keys: Vec<String> = create
                .columns
                .iter()
                .take_while(|c| c.ty.allowed_in_primary_key() || matches!(c.ty, ColumnType::Decimal { .. }))
                .take(3)
                .map(|c| c.name.clone())
                .collect();
            if keys.is_empty() {
                return Err(SqlError::analysis(
                    "Data type of first column cannot be a key column type",
                ));
            }
            Ok((TableModel::Duplicate, keys))
        }
    }
}

fn check_keys(model: TableModel, keys: &[String], columns: &[ColumnSpec]) -> Result<(), SqlError> {
    for (i, key) in keys.iter().enumerate() {
        if !columns.iter().any(|c| c.name.eq_ignore_ascii_case(key)) {
            return Err(SqlError::analysis(format!("Key column({key}) doesn't exist")));
        }
        let Some(column) = columns.get(i).filter(|c| c.name.eq_ignore_ascii_case(key)) else {
            return Err(SqlError::analysis(
                "Key columns must be the first few columns of the schema and the order of the key columns must be \
                 consistent with the order of the schema",
            ));
        };
        if model == TableModel::Primary {
            if !column.ty.allowed_in_primary_key() {
                return Err(SqlError::analysis(format!(
                    "primary key column[{key}] type not supported: {}",
                    column.ty
                )));
            }
            if column.nullable == Some(true) {
                return Err(SqlError::analysis(format!(
                    "primary key column[{key}] cannot be nullable"
                )));
            }
        }
    }
    Ok(())
}

/// One column; `key` columns of primary-key tables are NOT NULL even when nothing is said.
pub fn column(spec: &ColumnSpec, slot: usize, key: bool) -> Result<Column, SqlError> {
    if spec.generated.is_some() {
        return Err(SqlError::analysis(
            "the stand-in does not evaluate generated columns",
        ));
    }
    if spec.auto_increment {
        return Err(SqlError::analysis(
            "the stand-in does not implement AUTO_INCREMENT",
        ));
    }
    check_type(&spec.ty)?;
    let nullable = !key && spec.nullable.unwrap_or(true);
    let backfill = check_default(spec)?;
    Ok(Column {
        name: spec.name.clone(),
        ty: spec.ty.clone(),
        nullable,
        default: spec.default.clone(),
        comment: spec.comment.clone(),
        generated: None,
        auto_increment: false,
        slot,
        backfill,
    })
}

fn check_type(ty: &ColumnType) -> Result<(), SqlError> {
    match ty {
        ColumnType::Decimal { precision, scale } => {
            if !(1..=38).contains(precision) {
                return Err(SqlError::analysis(
                    "DECIMAL's precision should range from 1 to 38",
                ));
            }
            if scale > precision {
                return Err(SqlError::analysis(format!(
                    "Scale of decimal must between 0 and {precision}. Scale was set to: {scale}"
                )));
            }
        }
        ColumnType::Varchar(n) if *n == 0 || *n > MAX_VARCHAR_LENGTH => {
            return Err(SqlError::analysis(format!(
                "Varchar size must be <= {MAX_VARCHAR_LENGTH}: {n}"
            )));
        }
        ColumnType::Char(n) if *n == 0 || *n > 255 => {
            return Err(SqlError::analysis(format!("Char size must be <= 255: {n}")));
        }
        ColumnType::Array(of) => check_type(of)?,
        ColumnType::Map(k, v) => {
            check_type(k)?;
            check_type(v)?;
        }
        ColumnType::Struct(fields) => {
            for (_, ty) in fields {
                check_type(ty)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The default as a value, for rows that were there before the column.
fn check_default(spec: &ColumnSpec) -> Result<Value, SqlError> {
    match &spec.default {
        None => Ok(Value::Null),
        Some(DefaultValue::Literal(text)) => {
            if spec.ty.is_complex() || matches!(spec.ty, ColumnType::Json) {
                return Err(SqlError::analysis(format!(
                    "Type '{}' does not support default value",
                    spec.ty
                )));
            }
            convert::from_text(&spec.ty, &spec.name, text, &TimeZone::UTC)
                .map_err(|_| SqlError::analysis(format!("Invalid default value for '{}'", spec.name)))
        }
        Some(DefaultValue::CurrentTimestamp) if spec.ty == ColumnType::DateTime => Ok(Value::Null),
        Some(DefaultValue::CurrentTimestamp) => Err(SqlError::analysis(format!(
            "Default function now() for type {} is not supported",
            spec.ty
        ))),
        Some(DefaultValue::Function(f)) => {
            let fits = match f.to_ascii_lowercase().trim_end_matches("()") {
                "uuid" => matches!(spec.ty, ColumnType::Varchar(n) if n >= 36),
                "uuid_numeric" => spec.ty == ColumnType::LargeInt,
                _ => false,
            };
            if fits {
                Ok(Value::Null)
            } else {
                Err(SqlError::analysis(format!(
                    "Default function {f} for type {} is not supported",
                    spec.ty
                )))
            }
        }
    }
}

fn distribution(
    model: TableModel,
    distribution: Option<&Distribution>,
    keys: &[String],
) -> Result<(Vec<String>, Option<u32>), SqlError> {
    match distribution {
        None if model == TableModel::Primary => Ok((keys.to_vec(), None)),
        None => Ok((Vec::new(), None)),
        Some(Distribution::Hash { columns, buckets }) => {
            if *buckets == Some(0) {
                return Err(SqlError::analysis(
                    "Number of hash distribution should be greater than zero",
                ));
            }
            Ok((columns.clone(), *buckets))
        }
        Some(Distribution::Random { .. }) if model == TableModel::Primary => {
            Err(SqlError::analysis("PRIMARY KEY must use hash distribution"))
        }
        Some(Distribution::Random { buckets }) => Ok((Vec::new(), *buckets)),
    }
}

/// Columns named by other clauses exist, and belong to the key where they must.
fn check_references(def: &TableDef) -> Result<(), SqlError> {
    let primary = def.model == TableModel::Primary;
    for name in &def.distribution {
        if def.column(name).is_none() {
            return Err(SqlError::analysis(format!(
                "Distribution column({name}) doesn't exist"
            )));
        }
        if primary && !def.is_key(name) {
            return Err(SqlError::analysis(format!(
                "Distribution column[{name}] is not key column"
            )));
        }
    }
    for name in &def.partition_columns {
        let column = def.column(name).ok_or_else(|| {
            SqlError::analysis(format!("Partition column[{name}] does not exist in column list"))
        })?;
        if primary && !def.is_key(name) {
            return Err(SqlError::analysis(format!(
                "The partition column[{name}] must be key column"
            )));
        }
        if column.ty.is_complex()
            || matches!(
                column.ty,
                ColumnType::Float | ColumnType::Double | ColumnType::Json
            )
        {
            return Err(SqlError::analysis(format!(
                "Column[{name}] type[{}] cannot be a partition column",
                column.ty
            )));
        }
    }
    for name in &def.sort_key {
        let column = def
            .column(name)
            .ok_or_else(|| SqlError::analysis(format!("Unknown column '{name}' does not exist")))?;
        if primary && !column.ty.allowed_in_primary_key() {
            return Err(SqlError::analysis(format!(
                "sort key column[{name}] type not supported: {}",
                column.ty
            )));
        }
    }
    Ok(())
}

/// Properties a primary-key table is created with; values it does not know are refused.
fn properties(
    model: TableModel,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, SqlError> {
    const KNOWN: &[&str] = &[
        "replication_num",
        "enable_persistent_index",
        "persistent_index_type",
        "compression",
        "fast_schema_evolution",
        "replicated_storage",
        "write_quorum",
        "colocate_with",
        "bloom_filter_columns",
        "bloom_filter_fpp",
        "partition_live_number",
        "partition_ttl",
        "partition_retention_condition",
        "primary_index_cache_expire_sec",
        "labels.location",
        "storage_medium",
        "in_memory",
        "bucket_size",
        "mutable_bucket_num",
        "base_compaction_forbidden_time_ranges",
    ];
    let mut out: BTreeMap<String, String> = [
        ("compression", "LZ4"),
        ("fast_schema_evolution", "true"),
        ("replicated_storage", "true"),
        ("replication_num", "3"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    if model == TableModel::Primary {
        out.insert("enable_persistent_index".into(), "true".into());
    }
    for (key, value) in given {
        let known = KNOWN.contains(&key.as_str())
            || key.starts_with("dynamic_partition.")
            || key.starts_with("binlog");
        if !known {
            return Err(SqlError::analysis(format!(
                "Unknown properties: {{{key}={value}}}"
            )));
        }
        if key == "enable_persistent_index" && value.eq_ignore_ascii_case("false") {
            return Err(SqlError::analysis("In-Memory index is not supported"));
        }
        if key == "replication_num" && value.parse::<u16>().is_err() {
            return Err(SqlError::analysis("Invalid replication_num"));
        }
        let value = if key == "compression" {
            value.to_ascii_uppercase()
        } else {
            value.clone()
        };
        out.insert(key.clone(), value);
    }
    Ok(out)
}
