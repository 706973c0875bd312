//! Plans and runs one query.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::datasource::ViewTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::MySqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::future::BoxFuture;

use super::provider::Provider;
use super::rewrite::{self, Relation, SessionValues};
use super::{cells, functions};
use crate::cluster::Cluster;
use crate::sql::error::{ErrorCode, SqlError};
use crate::sql::grid::Grid;
use crate::sql::info_schema;
use crate::table::catalog::{Entity, View};

/// What a query returned.
#[derive(Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub headers: Vec<String>,
    pub batches: Vec<RecordBatch>,
}

impl Answer {
    pub fn rows(&self) -> Vec<Vec<cells::Cell>> {
        self.batches.iter().flat_map(cells::rows).collect()
    }
}

/// A query that runs longer is cancelled, as `query_timeout` does.
const QUERY_TIMEOUT: Duration = Duration::from_secs(300);
/// Views of views of views …
const MAX_VIEW_DEPTH: usize = 16;

pub struct Engine<'a> {
    cluster: &'a Cluster,
    database: Option<String>,
    session: &'a (dyn SessionValues + Sync),
    /// Grids the query may name without a database.
    extra: Vec<(String, Grid)>,
}

impl<'a> Engine<'a> {
    pub fn new(
        cluster: &'a Cluster,
        database: Option<&str>,
        session: &'a (dyn SessionValues + Sync),
    ) -> Self {
        Self {
            cluster,
            database: database.map(str::to_owned),
            session,
            extra: Vec::new(),
        }
    }

    /// Lets the query read `grid` as a table called `name`.
    pub fn with(mut self, name: &str, grid: Grid) -> Self {
        self.extra.push((name.to_owned(), grid));
        self
    }

    pub async fn run(&self, sql: &str) -> Result<Answer, SqlError> {
        let mut statement = parse(sql)?;
        let headers = rewrite::headers(&mut statement);
        let context = self.prepare(&mut statement, self.database.as_deref(), 0).await?;
        let run = async {
            let plan = context
                .state()
                .statement_to_plan(DfStatement::Statement(Box::new(statement)))
                .await?;
            let frame = context.execute_logical_plan(plan).await?;
            let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
            Ok::<_, datafusion::error::DataFusionError>((schema, frame.collect().await?))
        };
        let (schema, batches) = tokio::time::timeout(QUERY_TIMEOUT, run)
            .await
            .map_err(|_| SqlError::internal("Query reached its timeout of 300 seconds"))?
            .map_err(|e| SqlError::analysis(e.strip_backtrace()))?;
        let headers = headers.unwrap_or_else(|| {
            schema
                .fields()
                .iter()
                .map(|f| f.name().split('\u{1}').next().unwrap_or_default().to_owned())
                .collect()
        });
        Ok(Answer {
            schema,
            headers,
            batches,
        })
    }

    /// Registers what the statement reads and rewrites it; returns the context to plan it in.
    fn prepare<'b>(
        &'b self,
        statement: &'b mut Statement,
        database: Option<&'b str>,
        depth: usize,
    ) -> BoxFuture<'b, Result<SessionContext, SqlError>> {
        Box::pin(async move {
            if depth > MAX_VIEW_DEPTH {
                return Err(SqlError::analysis("views are nested too deeply"));
            }
            let relations = rewrite::relations(statement);
            let mut known: Vec<(Relation, String)> = Vec::with_capacity(relations.len());
            let mut schemas: BTreeMap<String, MemorySchemaProvider> = BTreeMap::new();
            let mut columns = Vec::new();
            for relation in relations {
                let (db, provider) = self.provider(&relation, database, depth).await?;
                columns.extend(provider.schema().fields().iter().map(|f| f.name().clone()));
                schemas
                    .entry(db.clone())
                    .or_default()
                    .register_table(relation.name.clone(), provider)
                    .map_err(SqlError::internal)?;
                known.push((relation, db));
            }
            rewrite::qualify(statement, &known);
            rewrite::expressions(statement, &columns, self.session).map_err(SqlError::analysis)?;
            context(schemas)
        })
    }

    async fn provider(
        &self,
        relation: &Relation,
        database: Option<&str>,
        depth: usize,
    ) -> Result<(String, Arc<dyn TableProvider>), SqlError> {
        if relation.db.is_none()
            && let Some((_, grid)) = self.extra.iter().find(|(name, _)| *name == relation.name)
        {
            return Ok(("__extra".into(), Arc::new(Provider::grid(grid.clone()))));
        }
        let db = relation
            .db
            .as_deref()
            .or(database)
            .ok_or_else(SqlError::no_database)?
            .to_owned();
        if db == "information_schema" {
            let name = relation.name.to_ascii_lowercase();
            let grid = info_schema::table(self.cluster, &name);
            let mut grid = grid.ok_or_else(|| SqlError::unknown_table(&db, &relation.name))?;
            if name == "columns" && depth == 0 {
                self.view_columns(&mut grid).await;
            }
            info_schema::retain_visible(&mut grid, |db, name| self.session.sees(db, name));
            return Ok((db, Arc::new(Provider::grid(grid))));
        }
        let entity = {
            let catalog = self.cluster.catalog.read();
            let found = catalog
                .databases
                .get(&db)
                .ok_or_else(|| SqlError::unknown_database(&db))?;
            found.entities.get(&relation.name).cloned()
        };
        // A view reads what it reads in its own right.
        if depth == 0 && entity.is_some() {
            self.session.may_read(&db, &relation.name)?;
        }
        match entity {
            None => Err(SqlError::unknown_table(&db, &relation.name)),
            Some(Entity::Table(table)) => Ok((db, Arc::new(Provider::table(table)))),
            Some(Entity::View(view)) => Ok((db, self.view(&view, depth + 1).await?)),
        }
    }

    /// Columns of views, whose types only a plan tells; a view that no longer plans has none.
    async fn view_columns(&self, grid: &mut Grid) {
        let views = self.cluster.catalog.read().all_views();
        for (db, name, view) in views {
            if let Ok(schema) = self.view_schema(&view).await {
                info_schema::push_view_columns(grid, &db, &name, &schema);
            }
        }
    }

    async fn view(&self, view: &View, depth: usize) -> Result<Arc<dyn TableProvider>, SqlError> {
        let mut statement = parse(&view.definition)?;
        rewrite::headers(&mut statement);
        let context = self.prepare(&mut statement, Some(&view.database), depth).await?;
        let plan = context
            .state()
            .statement_to_plan(DfStatement::Statement(Box::new(statement)))
            .await;
        let plan = plan.map_err(|e| SqlError::analysis(e.strip_backtrace()))?;
        let plan = freeze(plan, view)?;
        let plan = if view.columns.is_empty() {
            plan
        } else {
            rename(plan, &view.columns)?
        };
        Ok(Arc::new(ViewTable::new(plan, Some(view.definition.clone()))))
    }

    /// Names and types of a view's columns.
    pub async fn view_schema(&self, view: &View) -> Result<SchemaRef, SqlError> {
        // Not at depth 0: what the view reads is not read here, and its own columns are not asked for again.
        Ok(self.view(view, 1).await?.schema())
    }
}

/// Only the columns the query had when the view was made.
fn freeze(
    plan: datafusion::logical_expr::LogicalPlan,
    view: &View,
) -> Result<datafusion::logical_expr::LogicalPlan, SqlError> {
    use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
    let columns = plan.schema().columns();
    if columns.len() == view.frozen.len() {
        return Ok(plan);
    }
    let kept = view.frozen.iter().map(|name| {
        let found = columns.iter().find(|c| c.name.eq_ignore_ascii_case(name));
        found.map(|c| Expr::Column(c.clone())).ok_or_else(|| {
            SqlError::analysis(format!("View references invalid table(s) or column(s): {name}"))
        })
    });
    let kept: Vec<Expr> = kept.collect::<Result<_, _>>()?;
    LogicalPlanBuilder::from(plan)
        .project(kept)
        .and_then(LogicalPlanBuilder::build)
        .map_err(SqlError::internal)
}

fn rename(
    plan: datafusion::logical_expr::LogicalPlan,
    names: &[(String, String)],
) -> Result<datafusion::logical_expr::LogicalPlan, SqlError> {
    use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
    if plan.schema().fields().len() != names.len() {
        return Err(SqlError::analysis(
            "View's SELECT and view's field list have different column counts",
        ));
    }
    let renamed: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(names)
        .map(|(c, (name, _))| Expr::Column(c).alias(name))
        .collect();
    LogicalPlanBuilder::from(plan)
        .project(renamed)
        .and_then(LogicalPlanBuilder::build)
        .map_err(SqlError::internal)
}

fn parse(sql: &str) -> Result<Statement, SqlError> {
    let mut statements = Parser::parse_sql(&MySqlDialect {}, sql).map_err(|e| {
        SqlError::new(
            ErrorCode::Parse,
            format!("Getting syntax error. Detail message: {e}."),
        )
    })?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(SqlError::new(
            ErrorCode::Parse,
            "Getting syntax error. Detail message: one statement expected.",
        )),
    }
}

/// A fresh context per query: the registered tables are a snapshot of the catalog at planning.
fn context(schemas: BTreeMap<String, MemorySchemaProvider>) -> Result<SessionContext, SqlError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema("default_catalog", "information_schema")
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(2)
        .with_information_schema(false);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    let catalog = MemoryCatalogProvider::new();
    for (name, schema) in schemas {
        catalog
            .register_schema(&name, Arc::new(schema))
            .map_err(SqlError::internal)?;
    }
    context.register_catalog("default_catalog", Arc::new(catalog));
    for function in functions::all() {
        context.register_udf(function);
    }
    Ok(context)
}
