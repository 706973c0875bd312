//! Runs statements that change the catalog.

use std::sync::Arc;
use std::time::Duration;

use super::alter;
use super::ast::*;
use super::error::{ErrorCode, SqlError};
use super::rules;
use crate::cluster::Cluster;
use crate::config::Key;
use crate::jobs::{AlterJob, Change, JobState};
use crate::table::catalog::{Database, Entity, View};
use crate::table::schema::{TableDef, TableModel};
use crate::table::store::Table;

/// A name with its database filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub db: String,
    pub name: String,
}

/// Databases that are there before anybody creates one.
pub const SYSTEM_DATABASES: &[&str] = &["_statistics_", "information_schema", "sys"];

pub fn resolve(name: &ObjectName, current: Option<&str>) -> Result<Resolved, SqlError> {
    let db = name.db.as_deref().or(current).ok_or_else(SqlError::no_database)?;
    Ok(Resolved {
        db: db.to_owned(),
        name: name.name.clone(),
    })
}

pub fn create_database(cluster: &Cluster, name: &str, if_not_exists: bool) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    if catalog.databases.contains_key(name) || SYSTEM_DATABASES.contains(&name) {
        if if_not_exists {
            return Ok(());
        }
        return Err(SqlError::new(
            ErrorCode::DatabaseExists,
            format!("Can't create database '{name}'; database exists"),
        ));
    }
    let legal = !name.is_empty()
        && name.len() <= 256
        && name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if !legal {
        return Err(SqlError::analysis(format!("Incorrect database name '{name}'")));
    }
    let id = catalog.next_id();
    catalog.databases.insert(
        name.to_owned(),
        Database {
            id,
            ..Database::default()
        },
    );
    Ok(())
}

pub fn drop_database(cluster: &Cluster, name: &str, if_exists: bool) -> Result<(), SqlError> {
    let removed = cluster.catalog.write().databases.remove(name);
    if removed.is_some() {
        cluster.txns.forget(name);
    }
    if removed.is_none() && !if_exists {
        return Err(SqlError::new(
            ErrorCode::DropDatabase,
            format!("Can't drop database '{name}'; database doesn't exist"),
        ));
    }
    Ok(())
}

pub fn create_table(cluster: &Cluster, create: &CreateTable, current: Option<&str>) -> Result<(), SqlError> {
    let name = resolve(&create.name, current)?;
    let def = rules::table_def(create)?;
    insert_table(cluster, &name, def, create.if_not_exists)
}

pub fn create_like(
    cluster: &Cluster,
    name: &Resolved,
    like: &Resolved,
    if_not_exists: bool,
) -> Result<(), SqlError> {
    let def = table(cluster, like)?.def();
    insert_table(cluster, name, def, if_not_exists)
}

fn insert_table(
    cluster: &Cluster,
    name: &Resolved,
    def: TableDef,
    if_not_exists: bool,
) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    let id = catalog.next_id();
    let database = catalog
        .databases
        .get_mut(&name.db)
        .ok_or_else(|| SqlError::unknown_database(&name.db))?;
    if database.entities.contains_key(&name.name) {
        if if_not_exists {
            return Ok(());
        }
        return Err(table_exists(&name.name));
    }
    database
        .entities
        .insert(name.name.clone(), Entity::Table(Arc::new(Table::new(id, def))));
    Ok(())
}

fn table_exists(name: &str) -> SqlError {
    SqlError::new(
        ErrorCode::TableExists,
        format!("Getting analyzing error. Detail message: Table '{name}' already exists."),
    )
}

pub fn table(cluster: &Cluster, name: &Resolved) -> Result<Arc<Table>, SqlError> {
    let catalog = cluster.catalog.read();
    if !catalog.databases.contains_key(&name.db) {
        return Err(SqlError::unknown_database(&name.db));
    }
    catalog
        .table(&name.db, &name.name)
        .ok_or_else(|| SqlError::unknown_table(&name.db, &name.name))
}

pub fn drop_entity(
    cluster: &Cluster,
    name: &Resolved,
    if_exists: bool,
    force: bool,
    view: bool,
) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    let database = catalog
        .databases
        .get_mut(&name.db)
        .ok_or_else(|| SqlError::unknown_database(&name.db))?;
    match database.entities.get(&name.name) {
        Some(Entity::View(_)) if view => {
            database.entities.remove(&name.name);
            Ok(())
        }
        Some(Entity::Table(table)) if !view => {
            let table = table.clone();
            database.entities.remove(&name.name);
            if !force {
                database.recycle(&name.name, table);
            }
            Ok(())
        }
        _ if if_exists => Ok(()),
        _ => Err(SqlError::new(
            ErrorCode::BadTable,
            format!("Unknown table '{}.{}'", name.db, name.name),
        )),
    }
}

pub fn recover(cluster: &Cluster, name: &Resolved) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    let database = catalog
        .databases
        .get_mut(&name.db)
        .ok_or_else(|| SqlError::unknown_database(&name.db))?;
    if database.entities.contains_key(&name.name) {
        return Err(table_exists(&name.name));
    }
    let at = database.recycled.iter().rposition(|(n, _)| *n == name.name);
    let at = at.ok_or_else(|| SqlError::analysis(format!("Unknown table '{}' in recycle bin", name.name)))?;
    let (_, table) = database.recycled.remove(at);
    database.entities.insert(name.name.clone(), Entity::Table(table));
    Ok(())
}

pub fn alter_table(cluster: &Cluster, name: &Resolved, clauses: &[AlterClause]) -> Result<(), SqlError> {
    match clauses {
        [AlterClause::RenameTable(to)] => {
            check_normal(cluster, name)?;
            rename_table(cluster, name, to)
        }
        [AlterClause::SwapWith(other)] => {
            let second = Resolved {
                db: name.db.clone(),
                name: other.clone(),
            };
            check_normal(cluster, name)?;
            check_normal(cluster, &second)?;
            swap(cluster, name, other)
        }
        clauses => alter_definition(cluster, name, clauses),
    }
}

fn check_normal(cluster: &Cluster, name: &Resolved) -> Result<(), SqlError> {
    cluster.jobs.check_normal(table(cluster, name)?.id, &name.name)
}

fn alter_definition(cluster: &Cluster, name: &Resolved, clauses: &[AlterClause]) -> Result<(), SqlError> {
    let table = table(cluster, name)?;
    cluster.jobs.check_normal(table.id, &name.name)?;
    // Ids are taken first: the catalog's lock comes before a table's.
    let ids = {
        let catalog = cluster.catalog.read();
        [catalog.next_id(), catalog.next_id(), catalog.next_id()]
    };
    let mut state = table.write();
    let (def, changed) = alter::apply(&state.def, clauses)?;
    let job = changed
        .schema
        .then(|| job(cluster, name, table.id, ids, &changed));
    if changed.slow {
        drop(state);
        return job.map_or(Ok(()), |mut job| {
            job.change = Some(Arc::new(Change {
                def,
                rewrite: changed.rewrite,
            }));
            cluster.jobs.add(job)
        });
    }
    state.def = def;
    state.epoch += 1;
    drop(state);
    // A fast change leaves a row that is FINISHED at once; comments, names and properties leave none.
    match job {
        Some(mut job) => {
            job.state = JobState::Finished;
            job.finished = Some(job.created);
            job.txn_id = job.id;
            cluster.jobs.add(job)
        }
        None => Ok(()),
    }
}

fn job(
    cluster: &Cluster,
    name: &Resolved,
    table_id: i64,
    ids: [i64; 3],
    changed: &alter::Changed,
) -> AlterJob {
    let [id, index_id, shadow] = ids;
    let timeout = changed
        .timeout
        .unwrap_or_else(|| cluster.config.get(Key::AlterTableTimeoutSecond));
    AlterJob {
        id,
        db: name.db.clone(),
        table: name.name.clone(),
        table_id,
        created: jiff::Timestamp::now(),
        finished: None,
        index_id: if changed.slow { shadow } else { index_id },
        origin_index_id: index_id,
        schema_version: 1,
        txn_id: -1,
        state: JobState::Pending,
        message: String::new(),
        timeout: Duration::from_secs(timeout),
        change: None,
    }
}

fn rename_table(cluster: &Cluster, name: &Resolved, to: &str) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    let database = catalog
        .databases
        .get_mut(&name.db)
        .ok_or_else(|| SqlError::unknown_database(&name.db))?;
    if database.entities.contains_key(to) {
        return Err(table_exists(to));
    }
    match database.entities.remove(&name.name) {
        Some(entity @ Entity::Table(_)) => {
            database.entities.insert(to.to_owned(), entity);
            Ok(())
        }
        other => {
            if let Some(view) = other {
                database.entities.insert(name.name.clone(), view);
            }
            Err(SqlError::unknown_table(&name.db, &name.name))
        }
    }
}

/// Both tables keep their ids; only the names change places. Loads planned before go to the old id.
fn swap(cluster: &Cluster, name: &Resolved, other: &str) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    let database = catalog
        .databases
        .get_mut(&name.db)
        .ok_or_else(|| SqlError::unknown_database(&name.db))?;
    let one = database
        .table(&name.name)
        .cloned()
        .ok_or_else(|| SqlError::unknown_table(&name.db, &name.name))?;
    let two = database
        .table(other)
        .cloned()
        .ok_or_else(|| SqlError::unknown_table(&name.db, other))?;
    database.entities.insert(name.name.clone(), Entity::Table(two));
    database.entities.insert(other.to_owned(), Entity::Table(one));
    Ok(())
}

pub fn truncate(cluster: &Cluster, name: &Resolved) -> Result<(), SqlError> {
    table(cluster, name)?.write().truncate();
    Ok(())
}

pub struct NewView {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub columns: Vec<(String, String)>,
    pub comment: String,
    pub query: String,
    /// What the query's columns are called now.
    pub headers: Vec<String>,
}

pub fn create_view(
    cluster: &Cluster,
    name: &Resolved,
    new: NewView,
    current: Option<&str>,
) -> Result<(), SqlError> {
    let mut catalog = cluster.catalog.write();
    let id = catalog.next_id();
    let database = catalog
        .databases
        .get_mut(&name.db)
        .ok_or_else(|| SqlError::unknown_database(&name.db))?;
    match database.entities.get(&name.name) {
        Some(Entity::Table(_)) => return Err(table_exists(&name.name)),
        Some(Entity::View(_)) if new.if_not_exists => return Ok(()),
        Some(Entity::View(_)) if !new.or_replace => return Err(table_exists(&name.name)),
        _ => {}
    }
    let view = View {
        id,
        definition: new.query,
        frozen: new.headers,
        database: current.unwrap_or(&name.db).to_owned(),
        columns: new.columns,
        comment: new.comment,
        created: jiff::Timestamp::now(),
    };
    database
        .entities
        .insert(name.name.clone(), Entity::View(Arc::new(view)));
    Ok(())
}

/// A load by statement needs a primary key or a duplicate-key table alike; DELETE needs a primary key.
pub fn require_primary(def: &TableDef) -> Result<(), SqlError> {
    if def.model == TableModel::Primary {
        return Ok(());
    }
    Err(SqlError::analysis(
        "the stand-in deletes from primary key tables only",
    ))
}
