//! INSERT and DELETE as loads of their own: a transaction, a version, a publish.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::ddl::{self, Resolved};
use super::error::SqlError;
use super::session::Session;
use crate::load::convert;
use crate::load::plan::now_in;
use crate::load::txn::{Begin, BeginError, TxnState};
use crate::query::cells::Cell;
use crate::table::key::{self, PRIMARY_KEY_LIMIT};
use crate::table::schema::{Column, DefaultValue, TableDef, TableModel};
use crate::table::store::{Table, Write, WriteSet};
use crate::table::value::Value;

/// A statement waits this long for its rows to be visible.
const INSERT_WAIT: Duration = Duration::from_secs(300);

pub async fn insert(
    session: &Session,
    name: &Resolved,
    columns: Option<&[String]>,
    query: &str,
) -> Result<u64, SqlError> {
    let table = ddl::table(&session.cluster, name)?;
    let def = table.def();
    let listed: Vec<usize> = match columns {
        None => (0..def.columns.len()).collect(),
        Some(names) => names
            .iter()
            .map(|n| {
                def.position(n)
                    .ok_or_else(|| SqlError::analysis(format!("Unknown column '{n}' in '{}'", name.name)))
            })
            .collect::<Result<_, _>>()?,
    };
    let rows = session.query(query).await?.rows();
    let mut writes = Vec::with_capacity(rows.len());
    for row in rows {
        writes.push(Write::Upsert(build(&def, &listed, &row)?.into()));
    }
    let affected = writes.len() as u64;
    commit(session, name, &table, writes).await?;
    Ok(affected)
}

fn build(def: &TableDef, listed: &[usize], cells: &[Cell]) -> Result<Vec<Value>, SqlError> {
    if cells.len() != listed.len() {
        return Err(SqlError::analysis(format!(
            "Column count doesn't match value count: {} columns, {} values",
            listed.len(),
            cells.len()
        )));
    }
    let mut row = vec![Value::Null; def.next_slot];
    for (i, column) in def.columns.iter().enumerate() {
        let value = match listed.iter().position(|l| *l == i) {
            Some(at) => match &cells[at] {
                Some(text) => convert::from_text(&column.ty, &column.name, text, &TimeZone::UTC)
                    .map_err(|e| SqlError::internal(format!("Insert has filtered data: {e}")))?,
                None => Value::Null,
            },
            None => default(column)?,
        };
        if value.is_null() && !column.nullable {
            return Err(SqlError::internal(format!(
                "Insert has filtered data: NULL value in non-nullable column '{}'",
                column.name
            )));
        }
        row[column.slot] = value;
    }
    if def.model == TableModel::Primary && key::encode(def.keys(), &row).len() > PRIMARY_KEY_LIMIT {
        return Err(SqlError::internal(
            "Cancelled: primary key size exceed the limit.",
        ));
    }
    Ok(row)
}

fn default(column: &Column) -> Result<Value, SqlError> {
    match &column.default {
        None => Ok(Value::Null),
        Some(DefaultValue::CurrentTimestamp) => Ok(now_in(&TimeZone::UTC)),
        Some(DefaultValue::Literal(text)) => {
            convert::from_text(&column.ty, &column.name, text, &TimeZone::UTC).map_err(SqlError::analysis)
        }
        Some(DefaultValue::Function(f)) => Err(SqlError::analysis(format!(
            "the stand-in does not evaluate the default {f}"
        ))),
    }
}

pub async fn delete(session: &Session, name: &Resolved, filter: &str) -> Result<u64, SqlError> {
    let table = ddl::table(&session.cluster, name)?;
    let def = table.def();
    ddl::require_primary(&def)?;
    let keys: Vec<String> = def.keys().iter().map(|k| format!("`{}`", k.name)).collect();
    let sql = format!(
        "SELECT {} FROM `{}`.`{}` WHERE {filter}",
        keys.join(", "),
        name.db,
        name.name
    );
    let listed: Vec<usize> = (0..def.key_count).collect();
    let mut writes = Vec::new();
    for cells in session.query(&sql).await?.rows() {
        let mut row = vec![Value::Null; def.next_slot];
        for (&at, cell) in listed.iter().zip(&cells) {
            let column = &def.columns[at];
            let text = cell.as_deref().unwrap_or_default();
            row[column.slot] = convert::from_text(&column.ty, &column.name, text, &TimeZone::UTC)
                .map_err(SqlError::internal)?;
        }
        writes.push(Write::Delete(row.into()));
    }
    let affected = writes.len() as u64;
    if affected > 0 {
        commit(session, name, &table, writes).await?;
    }
    Ok(affected)
}

async fn commit(
    session: &Session,
    name: &Resolved,
    table: &Arc<Table>,
    writes: Vec<Write>,
) -> Result<(), SqlError> {
    let cluster = &session.cluster;
    let label = format!("insert_{}", uuid::Uuid::new_v4());
    let txn = cluster
        .txns
        .begin(Begin {
            db: &name.db,
            table: &name.name,
            label: &label,
            user: &session.user,
            backend: None,
        })
        .map_err(|e| match e {
            BeginError::TooManyRunning(message) => SqlError::internal(message),
            BeginError::LabelUsed { .. } => {
                SqlError::internal(format!("Label [{label}] has already been used."))
            }
        })?;
    let checked = table.write().versions.check(table.id);
    let set = WriteSet {
        writes,
        ..WriteSet::default()
    };
    let done = checked.and_then(|()| cluster.commit(&txn, table, set, cluster.settings.publish_delay));
    if let Err(message) = done {
        let _ = cluster.txns.abort(&txn, &message);
        return Err(SqlError::internal(message));
    }
    txn.wait(INSERT_WAIT, |s| s == TxnState::Visible).await;
    // Read-your-writes holds inside a session.
    table.write().replay_through(txn.id);
    Ok(())
}
