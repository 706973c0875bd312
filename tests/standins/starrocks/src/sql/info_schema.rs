//! information_schema: the real column lists, from the catalog as it is now.

use super::grid::{Grid, TEXT, int, opt_int, opt_text, text, timestamp};
use super::render;
use crate::cluster::Cluster;
use crate::load::txn::{Txn, TxnState};
use crate::table::catalog::Entity;
use crate::table::schema::{Column, DefaultValue, TableDef};
use crate::table::types::ColumnType;
use crate::table::value::Value;

const CATALOG: &str = "def";
const B: ColumnType = ColumnType::BigInt;
const D: ColumnType = ColumnType::DateTime;

/// A table of information_schema by its lower-case name.
pub fn table(cluster: &Cluster, name: &str) -> Option<Grid> {
    Some(match name {
        "schemata" => schemata(cluster),
        "tables" => tables(cluster),
        "columns" => columns(cluster),
        "tables_config" => tables_config(cluster),
        "views" => views(cluster),
        "loads" => loads(cluster),
        "materialized_views" => Grid::text(MATERIALIZED_VIEWS),
        "task_runs" => Grid::text(TASK_RUNS),
        _ => return None,
    })
}

pub const NAMES: &[&str] = &[
    "columns",
    "loads",
    "materialized_views",
    "schemata",
    "tables",
    "tables_config",
    "task_runs",
    "views",
];

const MATERIALIZED_VIEWS: &[&str] = &[
    "MATERIALIZED_VIEW_ID",
    "TABLE_SCHEMA",
    "TABLE_NAME",
    "REFRESH_TYPE",
    "IS_ACTIVE",
    "INACTIVE_REASON",
    "PARTITION_TYPE",
    "TASK_ID",
    "TASK_NAME",
    "LAST_REFRESH_START_TIME",
    "LAST_REFRESH_FINISHED_TIME",
    "LAST_REFRESH_DURATION",
    "LAST_REFRESH_STATE",
    "LAST_REFRESH_FORCE_REFRESH",
    "LAST_REFRESH_START_PARTITION",
    "LAST_REFRESH_END_PARTITION",
    "LAST_REFRESH_BASE_REFRESH_PARTITIONS",
    "LAST_REFRESH_MV_REFRESH_PARTITIONS",
    "LAST_REFRESH_ERROR_CODE",
    "LAST_REFRESH_ERROR_MESSAGE",
    "TABLE_ROWS",
    "MATERIALIZED_VIEW_DEFINITION",
    "EXTRA_MESSAGE",
    "QUERY_REWRITE_STATUS",
    "CREATOR",
    "LAST_REFRESH_PROCESS_TIME",
    "LAST_REFRESH_JOB_ID",
];

const TASK_RUNS: &[&str] = &[
    "QUERY_ID",
    "TASK_NAME",
    "CREATE_TIME",
    "FINISH_TIME",
    "STATE",
    "CATALOG",
    "DATABASE",
    "DEFINITION",
    "EXPIRE_TIME",
    "ERROR_CODE",
    "ERROR_MESSAGE",
    "PROGRESS",
    "EXTRA_MESSAGE",
    "PROPERTIES",
    "JOB_ID",
    "PROCESS_TIME",
];

fn schemata(cluster: &Cluster) -> Grid {
    let mut grid = Grid::text(&[
        "CATALOG_NAME",
        "SCHEMA_NAME",
        "DEFAULT_CHARACTER_SET_NAME",
        "DEFAULT_COLLATION_NAME",
        "SQL_PATH",
    ]);
    let catalog = cluster.catalog.read();
    let system = super::ddl::SYSTEM_DATABASES.iter().copied();
    for name in catalog.databases.keys().map(String::as_str).chain(system) {
        grid.push(vec![
            text(CATALOG),
            text(name),
            text("utf8"),
            text("utf8_general_ci"),
            Value::Null,
        ]);
    }
    grid
}

fn tables(cluster: &Cluster) -> Grid {
    let mut grid = Grid::typed(&[
        ("TABLE_CATALOG", TEXT),
        ("TABLE_SCHEMA", TEXT),
        ("TABLE_NAME", TEXT),
        ("TABLE_TYPE", TEXT),
        ("ENGINE", TEXT),
        ("VERSION", B),
        ("ROW_FORMAT", TEXT),
        ("TABLE_ROWS", B),
        ("AVG_ROW_LENGTH", B),
        ("DATA_LENGTH", B),
        ("MAX_DATA_LENGTH", B),
        ("INDEX_LENGTH", B),
        ("DATA_FREE", B),
        ("AUTO_INCREMENT", B),
        ("CREATE_TIME", D),
        ("UPDATE_TIME", D),
        ("CHECK_TIME", D),
        ("TABLE_COLLATION", TEXT),
        ("CHECKSUM", B),
        ("CREATE_OPTIONS", TEXT),
        ("TABLE_COMMENT", TEXT),
    ]);
    for (db, database) in &cluster.catalog.read().databases {
        for (name, entity) in &database.entities {
            let (kind, engine, rows, comment, created) = match entity {
                Entity::Table(table) => {
                    let state = table.read();
                    let rows = i64::try_from(state.row_count()).unwrap_or(i64::MAX);
                    (
                        "BASE TABLE",
                        "StarRocks",
                        Some(rows),
                        state.def.comment.clone(),
                        table.created,
                    )
                }
                Entity::View(view) => ("VIEW", "", None, view.comment.clone(), view.created),
            };
            grid.push(vec![
                text(CATALOG),
                text(db.as_str()),
                text(name.as_str()),
                text(kind),
                text(engine),
                Value::Null,
                text(""),
                opt_int(rows),
                opt_int(rows.map(|_| 0)),
                opt_int(rows.map(|_| 0)),
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Null,
                timestamp(created),
                timestamp(created),
                Value::Null,
                text("utf8_general_ci"),
                Value::Null,
                text(""),
                text(comment),
            ]);
        }
    }
    for name in NAMES {
        let mut row = vec![Value::Null; grid.columns.len()];
        for (i, cell) in [CATALOG, "information_schema", name, "SYSTEM VIEW", ""]
            .into_iter()
            .enumerate()
        {
            row[i] = text(cell);
        }
        row[20] = text("");
        grid.push(row);
    }
    grid
}

fn columns(cluster: &Cluster) -> Grid {
    let mut grid = Grid::typed(&[
        ("TABLE_CATALOG", TEXT),
        ("TABLE_SCHEMA", TEXT),
        ("TABLE_NAME", TEXT),
        ("COLUMN_NAME", TEXT),
        ("ORDINAL_POSITION", B),
        ("COLUMN_DEFAULT", TEXT),
        ("IS_NULLABLE", TEXT),
        ("DATA_TYPE", TEXT),
        ("CHARACTER_MAXIMUM_LENGTH", B),
        ("CHARACTER_OCTET_LENGTH", B),
        ("NUMERIC_PRECISION", B),
        ("NUMERIC_SCALE", B),
        ("DATETIME_PRECISION", B),
        ("CHARACTER_SET_NAME", TEXT),
        ("COLLATION_NAME", TEXT),
        ("COLUMN_TYPE", TEXT),
        ("COLUMN_KEY", TEXT),
        ("EXTRA", TEXT),
        ("PRIVILEGES", TEXT),
        ("COLUMN_COMMENT", TEXT),
        ("COLUMN_SIZE", B),
        ("DECIMAL_DIGITS", B),
        ("GENERATION_EXPRESSION", TEXT),
        ("SRS_ID", B),
    ]);
    for (db, database) in &cluster.catalog.read().databases {
        for (name, table) in database.tables() {
            let state = table.read();
            for (i, column) in state.def.columns.iter().enumerate() {
                grid.push(column_row(db, name, &state.def, i, column));
            }
        }
    }
    grid
}

/// Rows about databases and tables the session does not see are left out.
pub fn retain_visible(grid: &mut Grid, sees: impl Fn(&str, Option<&str>) -> bool) {
    let at = |names: &[&str]| {
        grid.columns
            .iter()
            .position(|(name, _)| names.contains(&name.as_str()))
    };
    let Some(db) = at(&["TABLE_SCHEMA", "SCHEMA_NAME", "DB_NAME"]) else {
        return;
    };
    let table = at(&["TABLE_NAME"]);
    grid.rows.retain(|row| {
        let name = table.map(|at| row[at].render(0));
        sees(&row[db].render(0), name.as_deref())
    });
}

pub fn push_view_columns(
    grid: &mut Grid,
    db: &str,
    view: &str,
    schema: &datafusion::arrow::datatypes::Schema,
) {
    for (i, field) in schema.fields().iter().enumerate() {
        let ty = super::show::view_type(field.data_type());
        let mut row = vec![Value::Null; grid.columns.len()];
        let data_type = ty.split('(').next().unwrap_or(ty);
        for (name, cell) in [
            ("TABLE_CATALOG", CATALOG),
            ("TABLE_SCHEMA", db),
            ("TABLE_NAME", view),
            ("COLUMN_NAME", field.name().as_str()),
            ("IS_NULLABLE", "YES"),
            ("DATA_TYPE", data_type),
            ("COLUMN_TYPE", ty),
            ("COLUMN_KEY", ""),
            ("EXTRA", ""),
            ("PRIVILEGES", ""),
            ("COLUMN_COMMENT", ""),
        ] {
            if let Some(at) = grid.columns.iter().position(|(n, _)| n == name) {
                row[at] = text(cell);
            }
        }
        row[4] = int(i as i64 + 1);
        grid.push(row);
    }
}

fn column_row(db: &str, table: &str, def: &TableDef, i: usize, column: &Column) -> Vec<Value> {
    let ty = &column.ty;
    let numeric = ty.decimal_digits().is_some();
    vec![
        text(CATALOG),
        text(db),
        text(table),
        text(column.name.as_str()),
        int(i as i64 + 1),
        opt_text(default_text(column)),
        text(if column.nullable { "YES" } else { "NO" }),
        text(ty.data_type()),
        opt_int(ty.string_length()),
        opt_int(ty.string_length()),
        opt_int(ty.column_size().filter(|_| numeric)),
        opt_int(ty.decimal_digits()),
        Value::Null,
        Value::Null,
        Value::Null,
        text(ty.column_type()),
        text(column_key(def, i)),
        text(""),
        text(""),
        text(column.comment.as_str()),
        opt_int(ty.column_size()),
        opt_int(ty.decimal_digits()),
        opt_text(column.generated.clone()),
        Value::Null,
    ]
}

pub fn column_key(def: &TableDef, position: usize) -> &'static str {
    match (position < def.key_count, def.model) {
        (false, _) => "",
        (true, crate::table::schema::TableModel::Primary) => "PRI",
        (true, crate::table::schema::TableModel::Duplicate) => "DUP",
    }
}

pub fn default_text(column: &Column) -> Option<String> {
    column.default.as_ref().map(|default| match default {
        DefaultValue::Literal(text) => text.clone(),
        DefaultValue::CurrentTimestamp => "CURRENT_TIMESTAMP".into(),
        DefaultValue::Function(f) => f.clone(),
    })
}

fn tables_config(cluster: &Cluster) -> Grid {
    let mut grid = Grid::typed(&[
        ("TABLE_SCHEMA", TEXT),
        ("TABLE_NAME", TEXT),
        ("TABLE_ENGINE", TEXT),
        ("TABLE_MODEL", TEXT),
        ("PRIMARY_KEY", TEXT),
        ("PARTITION_KEY", TEXT),
        ("DISTRIBUTE_KEY", TEXT),
        ("DISTRIBUTE_TYPE", TEXT),
        ("DISTRIBUTE_BUCKET", B),
        ("SORT_KEY", TEXT),
        ("PROPERTIES", TEXT),
        ("TABLE_ID", B),
    ]);
    let quoted = |names: &[String]| {
        names
            .iter()
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (db, database) in &cluster.catalog.read().databases {
        for (name, table) in database.tables() {
            let def = table.def();
            let keys: Vec<String> = def.keys().iter().map(|k| k.name.clone()).collect();
            let sort = if def.sort_key.is_empty() {
                &keys
            } else {
                &def.sort_key
            };
            let properties = serde_json::to_string(&def.properties).unwrap_or_default();
            grid.push(vec![
                text(db.as_str()),
                text(name.as_str()),
                text("OLAP"),
                text(def.model.as_str()),
                text(quoted(&keys)),
                text(quoted(&def.partition_columns)),
                text(quoted(&def.distribution)),
                text(if def.distribution.is_empty() {
                    "RANDOM"
                } else {
                    "HASH"
                }),
                int(def.buckets.unwrap_or(0)),
                text(quoted(sort)),
                text(properties),
                int(table.id),
            ]);
        }
    }
    grid
}

fn views(cluster: &Cluster) -> Grid {
    let mut grid = Grid::text(&[
        "TABLE_CATALOG",
        "TABLE_SCHEMA",
        "TABLE_NAME",
        "VIEW_DEFINITION",
        "CHECK_OPTION",
        "IS_UPDATABLE",
        "DEFINER",
        "SECURITY_TYPE",
        "CHARACTER_SET_CLIENT",
        "COLLATION_CONNECTION",
    ]);
    for (db, database) in &cluster.catalog.read().databases {
        for (name, entity) in &database.entities {
            if let Entity::View(view) = entity {
                // SECURITY_TYPE is always empty.
                grid.push_text([
                    CATALOG,
                    db,
                    name,
                    &view.definition,
                    "NONE",
                    "NO",
                    "",
                    "",
                    "utf8",
                    "utf8_general_ci",
                ]);
            }
        }
    }
    grid
}

fn loads(cluster: &Cluster) -> Grid {
    let mut grid = Grid::typed(&[
        ("ID", B),
        ("LABEL", TEXT),
        ("PROFILE_ID", TEXT),
        ("DB_NAME", TEXT),
        ("TABLE_NAME", TEXT),
        ("USER", TEXT),
        ("WAREHOUSE", TEXT),
        ("STATE", TEXT),
        ("PROGRESS", TEXT),
        ("TYPE", TEXT),
        ("PRIORITY", TEXT),
        ("SCAN_ROWS", B),
        ("SCAN_BYTES", B),
        ("FILTERED_ROWS", B),
        ("UNSELECTED_ROWS", B),
        ("SINK_ROWS", B),
        ("RUNTIME_DETAILS", TEXT),
        ("CREATE_TIME", D),
        ("LOAD_START_TIME", D),
        ("LOAD_COMMIT_TIME", D),
        ("LOAD_FINISH_TIME", D),
        ("PROPERTIES", TEXT),
        ("ERROR_MSG", TEXT),
        ("TRACKING_SQL", TEXT),
        ("REJECTED_RECORD_PATH", TEXT),
        ("JOB_ID", B),
    ]);
    for txn in cluster.txns.list() {
        grid.push(load_row(&txn));
    }
    grid
}

fn load_row(txn: &Txn) -> Vec<Value> {
    let stats = txn.stats.read();
    let state = txn.state();
    let count = |n: u64| int(i64::try_from(n).unwrap_or(i64::MAX));
    let at = |t: Option<jiff::Timestamp>| t.map_or(Value::Null, timestamp);
    let progress = if state == TxnState::Visible { "100%" } else { "0%" };
    vec![
        int(txn.id),
        text(txn.label.as_str()),
        Value::Null,
        text(txn.db.as_str()),
        text(txn.table.as_str()),
        text(txn.user.as_str()),
        text(""),
        text(state.load_state()),
        text(progress),
        text("STREAM_LOAD"),
        text("NORMAL"),
        count(stats.total_rows),
        count(stats.bytes),
        count(stats.filtered_rows),
        int(0),
        count(stats.loaded_rows),
        text(""),
        timestamp(txn.created),
        timestamp(txn.created),
        at(stats.committed_at),
        at(stats.finished_at),
        text(""),
        text(stats.reason.as_str()),
        opt_text(stats.tracking_url.clone()),
        Value::Null,
        int(txn.id),
    ]
}

/// SHOW CREATE TABLE needs the same catalog.
pub fn show_create(name: &str, entity: &Entity) -> String {
    match entity {
        Entity::Table(table) => render::create_table(name, &table.read().def),
        Entity::View(view) => render::create_view(name, view),
    }
}
