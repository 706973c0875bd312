//! Databases, tables and views by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::store::Table;

#[derive(Debug)]
pub struct View {
    pub id: i64,
    /// The query, as written.
    pub definition: String,
    /// Columns the query had at creation: `SELECT *` is frozen then (starrocks-ddl-and-schema-evolution.md §2.3).
    pub frozen: Vec<String>,
    /// Unqualified names of the query resolve here.
    pub database: String,
    /// Column names of `CREATE VIEW v (a, b)`, with comments.
    pub columns: Vec<(String, String)>,
    pub comment: String,
    pub created: jiff::Timestamp,
}

#[derive(Debug, Clone)]
pub enum Entity {
    Table(Arc<Table>),
    View(Arc<View>),
}

#[derive(Debug, Default)]
pub struct Database {
    pub id: i64,
    pub entities: BTreeMap<String, Entity>,
    /// Dropped tables, newest last, for RECOVER TABLE.
    pub recycled: Vec<(String, Arc<Table>)>,
}

/// How many dropped tables a database remembers.
const RECYCLE_BIN: usize = 100;

impl Database {
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        match self.entities.get(name) {
            Some(Entity::Table(table)) => Some(table),
            _ => None,
        }
    }

    pub fn tables(&self) -> impl Iterator<Item = (&String, &Arc<Table>)> {
        self.entities.iter().filter_map(|(name, entity)| match entity {
            Entity::Table(table) => Some((name, table)),
            Entity::View(_) => None,
        })
    }

    pub fn recycle(&mut self, name: &str, table: Arc<Table>) {
        self.recycled.push((name.to_owned(), table));
        if self.recycled.len() > RECYCLE_BIN {
            self.recycled.remove(0);
        }
    }
}

#[derive(Debug)]
pub struct Catalog {
    pub databases: BTreeMap<String, Database>,
    next_id: AtomicI64,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            databases: BTreeMap::new(),
            next_id: AtomicI64::new(10_001),
        }
    }
}

impl Catalog {
    /// Ids of databases, tables, views and jobs come from one counter, as in FE.
    pub fn next_id(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn table(&self, db: &str, name: &str) -> Option<Arc<Table>> {
        self.databases.get(db)?.table(name).cloned()
    }

    /// Database, name and view.
    pub fn all_views(&self) -> Vec<(String, String, Arc<View>)> {
        let mut views = Vec::new();
        for (db, database) in &self.databases {
            for (name, entity) in &database.entities {
                if let Entity::View(view) = entity {
                    views.push((db.clone(), name.clone(), view.clone()));
                }
            }
        }
        views
    }

    pub fn all_tables(&self) -> Vec<Arc<Table>> {
        self.databases
            .values()
            .flat_map(|db| db.tables().map(|(_, t)| t.clone()))
            .collect()
    }
}
