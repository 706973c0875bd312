//! SHOW and DESCRIBE.

use super::account;
use super::ast::{Grantee, ObjectName, Show, ShowFilter};
use super::ddl::{self, Resolved};
use super::error::SqlError;
use super::grid::{Grid, TEXT, int, opt_text, text, timestamp};
use super::info_schema;
use super::session::Session;
use crate::cluster::Cluster;
use crate::jobs::JobState;
use crate::query::engine::{Answer, Engine};
use crate::table::catalog::Entity;
use crate::table::types::ColumnType;
use crate::table::value::Value;

pub async fn run(session: &Session, what: &Show, filter: ShowFilter) -> Result<Answer, SqlError> {
    let grid = grid(session, what).await?.like(filter.like.as_deref());
    session.answer(grid, filter.tail.as_deref()).await
}

async fn grid(session: &Session, what: &Show) -> Result<Grid, SqlError> {
    let cluster = &*session.cluster;
    Ok(match what {
        Show::Databases => databases(session),
        Show::Users => {
            let users = cluster.accounts.read();
            let names: Vec<String> = users.users.keys().map(|name| format!("'{name}'@'%'")).collect();
            one_column("User", &names)
        }
        Show::Roles => {
            let names: Vec<String> = cluster.accounts.read().roles.keys().cloned().collect();
            one_column("Name", &names)
        }
        Show::Grants(of) => {
            let own = Grantee::User(session.user.clone());
            account::show_grants(cluster, of.as_ref().unwrap_or(&own))?
        }
        Show::Tables { full, db } => tables(session, db.as_deref(), *full)?,
        Show::TableStatus { db } => table_status(session, db.as_deref())?,
        Show::Columns { full, table } => columns(session, &resolve(session, table)?, *full).await?,
        Show::CreateTable(name) => create(session, &resolve(session, name)?, false)?,
        Show::CreateView(name) => create(session, &resolve(session, name)?, true)?,
        Show::CreateDatabase(name) => {
            known_database(cluster, name)?;
            Grid::text(&["Database", "Create Database"]).row(vec![
                text(name.as_str()),
                text(format!("CREATE DATABASE `{name}`")),
            ])
        }
        Show::AlterTableColumn { db } => alter_jobs(session, db.as_deref())?,
        Show::AlterTableOptimize { .. } => Grid::text(&[
            "JobId",
            "TableName",
            "CreateTime",
            "FinishTime",
            "Operation",
            "TransactionId",
            "State",
            "Msg",
            "Progress",
            "Timeout",
        ]),
        Show::Variables => {
            let mut grid = Grid::text(&["Variable_name", "Value"]);
            for (name, value) in session.variables.iter() {
                grid.push_text([name.as_str(), value.as_str()]);
            }
            grid
        }
        Show::Warnings => Grid::text(&["Level", "Code", "Message"]),
        Show::Backends | Show::ComputeNodes => backends(cluster, matches!(what, Show::Backends)),
        Show::Frontends => frontends(cluster),
        Show::Catalogs => Grid::text(&["Catalog", "Type", "Comment"]).row(
            [
                "default_catalog",
                "Internal",
                "An internal catalog contains this cluster's self-managed tables.",
            ]
            .map(text)
            .into(),
        ),
        Show::Processlist => Grid::text(&["Id", "User", "Host", "Db", "Command", "Time", "State", "Info"]),
        Show::Proc(path) => proc(cluster, path)?,
        Show::FrontendConfig => frontend_config(cluster),
        Show::Partitions(name) => partitions(session, &resolve(session, name)?)?,
        Show::Engines => Grid::text(&["Engine", "Support", "Comment", "Transactions", "XA", "Savepoints"])
            .row(
                [
                    "OLAP",
                    "YES",
                    "Default storage engine of StarRocks",
                    "NO",
                    "NO",
                    "NO",
                ]
                .map(text)
                .into(),
            ),
        Show::Charset => Grid::text(&["Charset", "Description", "Default collation", "Maxlen"])
            .row(["utf8", "UTF-8 Unicode", "utf8_general_ci", "3"].map(text).into()),
        Show::Collation => Grid::text(&["Collation", "Charset", "Id", "Default", "Compiled", "Sortlen"]).row(
            ["utf8_general_ci", "utf8", "33", "Yes", "Yes", "1"]
                .map(text)
                .into(),
        ),
    })
}

fn resolve(session: &Session, name: &ObjectName) -> Result<Resolved, SqlError> {
    ddl::resolve(name, session.database.as_deref())
}

fn known_database(cluster: &Cluster, name: &str) -> Result<(), SqlError> {
    let known = cluster.catalog.read().databases.contains_key(name) || ddl::SYSTEM_DATABASES.contains(&name);
    if known {
        Ok(())
    } else {
        Err(SqlError::unknown_database(name))
    }
}

fn chosen_database(session: &Session, db: Option<&str>) -> Result<String, SqlError> {
    let db = db
        .or(session.database.as_deref())
        .ok_or_else(SqlError::no_database)?;
    known_database(&session.cluster, db)?;
    Ok(db.to_owned())
}

fn one_column(header: &str, names: &[String]) -> Grid {
    let mut grid = Grid::text(&[header]);
    for name in names {
        grid.push_text([name.as_str()]);
    }
    grid
}

fn databases(session: &Session) -> Grid {
    let mut names: Vec<String> = session.cluster.catalog.read().databases.keys().cloned().collect();
    names.retain(|name| session.sees_database(name));
    names.extend(ddl::SYSTEM_DATABASES.iter().map(|s| (*s).to_owned()));
    names.sort();
    one_column("Database", &names)
}

fn tables(session: &Session, db: Option<&str>, full: bool) -> Result<Grid, SqlError> {
    let db = chosen_database(session, db)?;
    let header = format!("Tables_in_{db}");
    let mut grid = if full {
        Grid::text(&[&header, "Table_type"])
    } else {
        Grid::text(&[&header])
    };
    let mut push = |name: &str, kind: &str| {
        if full {
            grid.push_text([name, kind])
        } else {
            grid.push_text([name])
        }
    };
    if db == "information_schema" {
        info_schema::NAMES
            .iter()
            .for_each(|name| push(name, "SYSTEM VIEW"));
    }
    let listed: Vec<(String, bool)> = match session.cluster.catalog.read().databases.get(&db) {
        Some(database) => {
            let entities = database.entities.iter();
            entities
                .map(|(name, e)| (name.clone(), matches!(e, Entity::Table(_))))
                .collect()
        }
        None => Vec::new(),
    };
    for (name, table) in listed.iter().filter(|(name, _)| session.sees_object(&db, name)) {
        push(name, if *table { "BASE TABLE" } else { "VIEW" });
    }
    Ok(grid)
}

fn table_status(session: &Session, db: Option<&str>) -> Result<Grid, SqlError> {
    let db = chosen_database(session, db)?;
    let mut grid = Grid::text(&["Name", "Engine", "Rows", "Comment"]);
    if let Some(database) = session.cluster.catalog.read().databases.get(&db) {
        for (name, table) in database.tables() {
            let state = table.read();
            grid.push(vec![
                text(name.as_str()),
                text("StarRocks"),
                text(state.row_count().to_string()),
                text(state.def.comment.as_str()),
            ]);
        }
    }
    Ok(grid)
}

fn entity(cluster: &Cluster, name: &Resolved) -> Result<Entity, SqlError> {
    known_database(cluster, &name.db)?;
    let catalog = cluster.catalog.read();
    let found = catalog
        .databases
        .get(&name.db)
        .and_then(|db| db.entities.get(&name.name).cloned());
    found.ok_or_else(|| SqlError::unknown_table(&name.db, &name.name))
}

fn create(session: &Session, name: &Resolved, view: bool) -> Result<Grid, SqlError> {
    let entity = entity(&session.cluster, name)?;
    let statement = info_schema::show_create(&name.name, &entity);
    Ok(match entity {
        Entity::View(_) => Grid::text(&[
            "View",
            "Create View",
            "character_set_client",
            "collation_connection",
        ])
        .row(vec![
            text(name.name.as_str()),
            text(statement),
            text("utf8"),
            text("utf8_general_ci"),
        ]),
        Entity::Table(_) if view => {
            return Err(SqlError::analysis(format!(
                "'{}.{}' is not VIEW",
                name.db, name.name
            )));
        }
        Entity::Table(_) => {
            Grid::text(&["Table", "Create Table"]).row(vec![text(name.name.as_str()), text(statement)])
        }
    })
}

pub async fn describe(session: &Session, name: &Resolved) -> Result<Answer, SqlError> {
    let grid = columns(session, name, false).await?;
    session.answer(grid, None).await
}

async fn columns(session: &Session, name: &Resolved, full: bool) -> Result<Grid, SqlError> {
    let headers: &[&str] = if full {
        &[
            "Field",
            "Type",
            "Collation",
            "Null",
            "Key",
            "Default",
            "Extra",
            "Privileges",
            "Comment",
        ]
    } else {
        &["Field", "Type", "Null", "Key", "Default", "Extra"]
    };
    let mut grid = Grid::text(headers);
    let mut push =
        |name: &str, ty: &str, nullable: bool, key: &str, default: Option<String>, comment: &str| {
            let nullable = text(if nullable { "YES" } else { "NO" });
            let default = opt_text(default);
            grid.push(if full {
                let collation = if ty.starts_with("varchar") || ty.starts_with("char") {
                    text("utf8_general_ci")
                } else {
                    Value::Null
                };
                vec![
                    text(name),
                    text(ty),
                    collation,
                    nullable,
                    text(key),
                    default,
                    text(""),
                    text(""),
                    text(comment),
                ]
            } else {
                vec![text(name), text(ty), nullable, text(key), default, text("")]
            });
        };
    match entity(&session.cluster, name)? {
        Entity::Table(table) => {
            let def = table.def();
            for (i, column) in def.columns.iter().enumerate() {
                // DESC prints `true` for keys; SHOW FULL COLUMNS the key's kind.
                let key = match (full, i < def.key_count) {
                    (true, _) => info_schema::column_key(&def, i),
                    (false, key) => {
                        if key {
                            "true"
                        } else {
                            "false"
                        }
                    }
                };
                let default = info_schema::default_text(column);
                let ty = column.ty.to_string();
                push(&column.name, &ty, column.nullable, key, default, &column.comment);
            }
        }
        Entity::View(view) => {
            let schema = Engine::new(&session.cluster, Some(&view.database), session)
                .view_schema(&view)
                .await?;
            for field in schema.fields() {
                push(field.name(), view_type(field.data_type()), true, "", None, "");
            }
        }
    }
    Ok(grid)
}

/// A view's column type, from its plan.
pub fn view_type(ty: &datafusion::arrow::datatypes::DataType) -> &'static str {
    use datafusion::arrow::datatypes::DataType as T;
    match ty {
        T::Boolean => "boolean",
        T::Int8 => "tinyint(4)",
        T::Int16 => "smallint(6)",
        T::Int32 => "int(11)",
        T::Int64 | T::UInt64 => "bigint(20)",
        T::Float32 => "float",
        T::Float64 => "double",
        T::Decimal128(..) => "decimal(38, 9)",
        T::Date32 => "date",
        T::Timestamp(..) => "datetime",
        _ => "varchar(65533)",
    }
}

fn alter_jobs(session: &Session, db: Option<&str>) -> Result<Grid, SqlError> {
    let db = chosen_database(session, db)?;
    const B: ColumnType = ColumnType::BigInt;
    const D: ColumnType = ColumnType::DateTime;
    let mut grid = Grid::typed(&[
        ("JobId", B),
        ("TableName", TEXT),
        ("CreateTime", D),
        ("FinishTime", D),
        ("IndexName", TEXT),
        ("IndexId", B),
        ("OriginIndexId", B),
        ("SchemaVersion", TEXT),
        ("TransactionId", B),
        ("State", TEXT),
        ("Msg", TEXT),
        ("Progress", TEXT),
        ("Timeout", B),
    ]);
    for job in session.cluster.jobs.list().into_iter().filter(|job| job.db == db) {
        grid.push(vec![
            int(job.id),
            text(job.table.as_str()),
            timestamp(job.created),
            job.finished.map_or(Value::Null, timestamp),
            text(job.table.as_str()),
            int(job.index_id),
            int(job.origin_index_id),
            text(format!("{}:0", job.schema_version)),
            int(job.txn_id),
            text(job.state.as_str()),
            text(job.message.as_str()),
            if job.state == JobState::Running {
                text("0%")
            } else {
                Value::Null
            },
            int(i64::try_from(job.timeout.as_secs()).unwrap_or(i64::MAX)),
        ]);
    }
    Ok(grid)
}

fn backends(cluster: &Cluster, any: bool) -> Grid {
    let mut grid = Grid::text(&[
        "BackendId",
        "IP",
        "HeartbeatPort",
        "BePort",
        "HttpPort",
        "LastStartTime",
        "Alive",
        "Version",
    ]);
    let started = timestamp(cluster.started).render(0);
    for (i, node) in cluster.nodes.backends.iter().enumerate().filter(|_| any) {
        let (id, alive) = ((10_001 + i).to_string(), node.is_alive().to_string());
        let (ip, port) = host_and_port(&node.http);
        grid.push_text([
            &id,
            ip,
            "9050",
            "9060",
            port,
            &started,
            &alive,
            &cluster.settings.version,
        ]);
    }
    grid
}

fn host_and_port(address: &str) -> (&str, &str) {
    address.rsplit_once(':').unwrap_or((address, ""))
}

fn frontends(cluster: &Cluster) -> Grid {
    let started = timestamp(cluster.started).render(0);
    let mut grid = Grid::text(&[
        "Id",
        "Name",
        "IP",
        "HttpPort",
        "QueryPort",
        "Role",
        "Join",
        "Alive",
        "StartTime",
        "Version",
    ]);
    let leader = cluster.nodes.leader();
    for (i, node) in cluster.nodes.frontends.iter().enumerate() {
        let (ip, http) = host_and_port(&node.http);
        let (id, name, alive) = (
            (i + 1).to_string(),
            format!("{ip}_{}", 9010 + i),
            node.is_up().to_string(),
        );
        let role = if i == leader { "LEADER" } else { "FOLLOWER" };
        let mysql = host_and_port(&node.mysql).1;
        let version = &cluster.settings.version;
        grid.push_text([
            &id, &name, ip, http, mysql, role, "true", &alive, &started, version,
        ]);
    }
    grid
}

fn frontend_config(cluster: &Cluster) -> Grid {
    let mut grid = Grid::text(&["Key", "AliasNames", "Value", "Type", "IsMutable", "Comment"]);
    for (key, value, kind, mutable) in [
        ("enable_fast_schema_evolution", "true", "boolean", "true"),
        ("mysql_server_version", "8.0.33", "String", "false"),
        ("run_mode", "shared_nothing", "String", "false"),
    ] {
        grid.push_text([key, "[]", value, kind, mutable, ""]);
    }
    for (key, value) in cluster.config.list() {
        grid.push_text([key, "[]", &value.to_string(), "int", "true", ""]);
    }
    grid.rows.sort_by_key(|row| row[0].render(0));
    grid
}

fn partitions(session: &Session, name: &Resolved) -> Result<Grid, SqlError> {
    let table = ddl::table(&session.cluster, name)?;
    let state = table.read();
    let buckets = state.def.buckets.unwrap_or(1);
    Ok(Grid::text(&[
        "PartitionId",
        "PartitionName",
        "VisibleVersion",
        "State",
        "PartitionKey",
        "Buckets",
        "RowCount",
    ])
    .row(vec![
        text(table.id.to_string()),
        text(name.name.as_str()),
        text(state.visible_version.to_string()),
        text("NORMAL"),
        text(state.def.partition_columns.join(", ")),
        text(buckets.to_string()),
        text(state.row_count().to_string()),
    ]))
}

/// `SHOW PROC '/transactions/<db>/running'`; other paths are refused.
fn proc(cluster: &Cluster, path: &str) -> Result<Grid, SqlError> {
    use crate::load::txn::TxnState;
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let ["transactions", db, "running"] = parts.as_slice() else {
        return Err(SqlError::analysis(format!(
            "the stand-in does not implement SHOW PROC '{path}'"
        )));
    };
    let mut grid = Grid::text(&["TransactionId", "Label", "TransactionStatus", "PrepareTime"]);
    for txn in cluster.txns.list() {
        if txn.db == *db && !matches!(txn.state(), TxnState::Visible | TxnState::Aborted) {
            let at = timestamp(txn.created).render(0);
            grid.push_text([&txn.id.to_string(), txn.label.as_str(), txn.state().as_str(), &at]);
        }
    }
    Ok(grid)
}
