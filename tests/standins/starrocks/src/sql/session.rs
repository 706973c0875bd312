//! One client's session: its database, its variables, and the statements it runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::account;
use super::ast::{ObjectName, Statement};
use super::ddl::{self, NewView, Resolved};
use super::dml;
use super::error::SqlError;
use super::grid::Grid;
use super::variables::Variables;
use super::{lex, parse, show};
use crate::cluster::Cluster;
use crate::query::engine::{Answer, Engine};
use crate::query::rewrite::SessionValues;

#[derive(Debug)]
pub struct Session {
    pub cluster: Arc<Cluster>,
    pub user: String,
    /// Roles of SET ROLE; the default roles otherwise.
    pub roles: Option<BTreeSet<String>>,
    pub connection: u64,
    pub database: Option<String>,
    pub variables: Variables,
}

#[derive(Debug)]
pub enum Outcome {
    Done { affected: u64 },
    Rows(Answer),
}

impl Session {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let connection = cluster.next_connection();
        Self {
            cluster,
            user: "root".into(),
            roles: None,
            connection,
            database: None,
            variables: Variables::default(),
        }
    }

    /// Runs all statements of a text; the last outcome counts.
    pub async fn execute(&mut self, source: &str) -> Result<Outcome, SqlError> {
        let mut last = Outcome::Done { affected: 0 };
        for statement in lex::split(source)? {
            self.cluster.counters.queries.fetch_add(1, Ordering::Relaxed);
            last = self.run(statement).await?;
        }
        Ok(last)
    }

    /// `USE db`, COM_INIT_DB and the database of the handshake; `catalog.db` names the default catalog.
    pub fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        let name = name.trim_matches('`');
        let name = name
            .strip_prefix("default_catalog.")
            .unwrap_or(name)
            .trim_matches('`');
        let known = self.cluster.catalog.read().databases.contains_key(name)
            || ddl::SYSTEM_DATABASES.iter().any(|s| s.eq_ignore_ascii_case(name));
        if !known {
            return Err(SqlError::unknown_database(name));
        }
        self.enter(name)?;
        self.database = Some(name.to_owned());
        Ok(())
    }

    fn resolve(&self, name: &ObjectName) -> Result<Resolved, SqlError> {
        ddl::resolve(name, self.database.as_deref())
    }

    async fn run(&mut self, source: &str) -> Result<Outcome, SqlError> {
        let statement = parse::parse(source)?;
        self.authorize(&statement)?;
        match statement {
            Statement::Query(query) => return self.query(&query).await.map(Outcome::Rows),
            Statement::Show(what, filter) => return show::run(self, &what, filter).await.map(Outcome::Rows),
            Statement::Describe(name) => {
                return show::describe(self, &self.resolve(&name)?)
                    .await
                    .map(Outcome::Rows);
            }
            Statement::Insert {
                table,
                columns,
                query,
            } => {
                let affected = dml::insert(self, &self.resolve(&table)?, columns.as_deref(), &query).await?;
                return Ok(Outcome::Done { affected });
            }
            Statement::Delete { table, filter } => {
                let affected = dml::delete(self, &self.resolve(&table)?, &filter).await?;
                return Ok(Outcome::Done { affected });
            }
            Statement::Use(name) => self.use_database(&name)?,
            Statement::Set(assignments) => self.variables.set(&assignments),
            Statement::SetConfig(values) => {
                for (name, value) in values {
                    self.cluster
                        .config
                        .set_by_name(&name, &value)
                        .map_err(SqlError::ddl)?;
                }
            }
            Statement::Sync => self.cluster.sync(),
            Statement::Account(change) => account::run(self, &change)?,
            Statement::Nothing => {}
            change => self.change(change).await?,
        }
        Ok(Outcome::Done { affected: 0 })
    }

    /// Statements that change the catalog.
    async fn change(&self, statement: Statement) -> Result<(), SqlError> {
        let cluster = &*self.cluster;
        match statement {
            Statement::CreateDatabase { if_not_exists, name } => {
                ddl::create_database(cluster, &name, if_not_exists)
            }
            Statement::DropDatabase { if_exists, name, .. } => ddl::drop_database(cluster, &name, if_exists),
            Statement::CreateTable(create) => ddl::create_table(cluster, &create, self.database.as_deref()),
            Statement::CreateTableLike {
                if_not_exists,
                name,
                like,
            } => ddl::create_like(
                cluster,
                &self.resolve(&name)?,
                &self.resolve(&like)?,
                if_not_exists,
            ),
            Statement::DropTable {
                if_exists,
                name,
                force,
            } => ddl::drop_entity(cluster, &self.resolve(&name)?, if_exists, force, false),
            Statement::DropView { if_exists, name } => {
                ddl::drop_entity(cluster, &self.resolve(&name)?, if_exists, true, true)
            }
            Statement::TruncateTable(name) => ddl::truncate(cluster, &self.resolve(&name)?),
            Statement::RecoverTable(name) => ddl::recover(cluster, &self.resolve(&name)?),
            Statement::AlterTable { name, clauses } => {
                ddl::alter_table(cluster, &self.resolve(&name)?, &clauses)
            }
            Statement::CancelAlter { name, jobs } => {
                let name = self.resolve(&name)?;
                let table = ddl::table(cluster, &name)?;
                cluster.jobs.cancel_of(table.id, &name.name, &jobs)
            }
            Statement::CreateView {
                or_replace,
                if_not_exists,
                name,
                columns,
                comment,
                query,
            } => {
                // The query must plan now; what it reads is looked up again at every use.
                let planned = Engine::new(cluster, self.database.as_deref(), self)
                    .run(&format!("SELECT * FROM ({query}) `__view` LIMIT 0"))
                    .await?;
                let new = NewView {
                    or_replace,
                    if_not_exists,
                    columns,
                    comment,
                    query,
                    headers: planned.headers,
                };
                ddl::create_view(cluster, &self.resolve(&name)?, new, self.database.as_deref())
            }
            other => Err(SqlError::internal(format!(
                "not a change of the catalog: {other:?}"
            ))),
        }
    }

    pub async fn query(&self, sql: &str) -> Result<Answer, SqlError> {
        Engine::new(&self.cluster, self.database.as_deref(), self)
            .run(sql)
            .await
    }

    /// A grid as an answer, filtered by the tail of a SHOW statement.
    pub async fn answer(&self, grid: Grid, tail: Option<&str>) -> Result<Answer, SqlError> {
        let sql = format!("SELECT * FROM `__show` {}", tail.unwrap_or_default());
        Engine::new(&self.cluster, None, self)
            .with("__show", grid)
            .run(&sql)
            .await
    }
}

impl SessionValues for Session {
    fn function(&self, name: &str) -> Option<String> {
        Some(match name {
            "database" | "schema" => self.database.clone().unwrap_or_default(),
            "version" => "8.0.33".into(),
            "current_version" => self.cluster.settings.version.clone(),
            "connection_id" => self.connection.to_string(),
            "user" | "current_user" | "session_user" => format!("'{}'@'%'", self.user),
            "catalog" => "default_catalog".into(),
            _ => return None,
        })
    }

    fn may_read(&self, db: &str, name: &str) -> Result<(), SqlError> {
        Session::may_read(self, db, name)
    }

    fn sees(&self, db: &str, name: Option<&str>) -> bool {
        match name {
            Some(name) => self.sees_object(db, name),
            None => self.sees_database(db),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(str::to_owned)
    }
}
