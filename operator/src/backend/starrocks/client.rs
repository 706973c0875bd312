//! The client: a small pool per FE, tried from the last one that worked. Text protocol only (prepared statements differ
//! between versions), one deadline per call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Row};

use super::error::backend_error;
use super::live::{LiveColumn, LiveTable, name_list, properties};
use super::types::column_type;
use crate::backend::breaker::Breaker;
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass, Redactor};
use crate::leader::Fence;
use crate::table::ddl::{Ident, Statement, TableName};
use tributary_crds::relay::VER_COLUMN;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Creating a table makes tablets on every backend. Past this the outcome is unknown: look at the schema.
const DDL_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections per FE; the operator's own concurrency towards one cluster.
const CONNECTIONS: usize = 4;
/// Rows a reply may have: a table has at most 10,000 columns.
const ROWS_MAX: usize = 20_000;

/// How to reach a cluster.
#[derive(Clone)]
pub struct StarRocksOptions {
    /// `host:port` of each FE's query port, in order of preference.
    pub endpoints: Vec<String>,
    pub user: String,
    pub password: String,
}

/// Never prints the password.
impl fmt::Debug for StarRocksOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StarRocksOptions")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How many nodes of a kind there are, and how many answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendNodes {
    pub total: usize,
    pub alive: usize,
}

/// Proof that the cluster answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// `current_version()`: parse it as `table::ddl::Version`.
    pub version: String,
    /// `None`: the user may not ask.
    pub frontends: Option<BackendNodes>,
    /// `None`: the user may not ask.
    pub backends: Option<BackendNodes>,
}

/// One StarRocks cluster. Cheap to clone.
#[derive(Clone)]
pub struct StarRocksClient {
    inner: Arc<Inner>,
    fence: Fence,
}

struct Inner {
    endpoints: Vec<Endpoint>,
    /// Where the next call starts.
    preferred: AtomicUsize,
    redactor: Redactor,
}

struct Endpoint {
    address: String,
    pool: Pool,
    breaker: Breaker,
}

impl StarRocksClient {
    /// Connects lazily. Must be called inside a tokio runtime.
    pub fn new(options: &StarRocksOptions) -> BackendResult<Self> {
        let redactor = Redactor::new([options.password.clone()]);
        let endpoints = options
            .endpoints
            .iter()
            .map(|address| {
                Ok(Endpoint {
                    address: address.clone(),
                    pool: Pool::new(connection_options(address, options)?),
                    breaker: Breaker::new(Backend::StarRocks, address.clone()),
                })
            })
            .collect::<BackendResult<Vec<_>>>()?;
        if endpoints.is_empty() {
            return Err(invalid("mysqlEndpoints is empty"));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                endpoints,
                preferred: AtomicUsize::new(0),
                redactor,
            }),
            fence: Fence::open(),
        })
    }

    /// The same client, which writes only while `fence` is open.
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }

    /// Version and nodes.
    pub async fn probe(&self) -> BackendResult<ServerInfo> {
        let rows = self
            .query("probe", "SELECT current_version()", QUERY_TIMEOUT)
            .await?;
        let version = rows
            .first()
            .and_then(|r| text(r, 0))
            .ok_or_else(|| transient("probe", "current_version() gave no row"))?;
        Ok(ServerInfo {
            version,
            frontends: self.nodes("SHOW FRONTENDS").await?,
            backends: self.nodes("SHOW BACKENDS").await?,
        })
    }

    async fn nodes(&self, sql: &str) -> BackendResult<Option<BackendNodes>> {
        let rows = match self.query("probe nodes", sql, QUERY_TIMEOUT).await {
            Ok(rows) => rows,
            Err(e) if e.class == ErrorClass::NotAuthorized => return Ok(None),
            Err(e) => return Err(e),
        };
        let alive = rows
            .iter()
            .filter(|r| named(r, "Alive").is_some_and(|v| v.eq_ignore_ascii_case("true")));
        Ok(Some(BackendNodes {
            total: rows.len(),
            alive: alive.count(),
        }))
    }

    /// Whether a database exists and may be seen.
    pub async fn database_exists(&self, name: &str) -> BackendResult<bool> {
        let sql = format!(
            "SELECT SCHEMA_NAME FROM information_schema.schemata WHERE SCHEMA_NAME = {}",
            literal(name)
        );
        let rows = self.query("look for database", &sql, QUERY_TIMEOUT).await?;
        Ok(!rows.is_empty())
    }

    /// The table as it is now; `None` when it does not exist.
    pub async fn table(&self, name: &TableName) -> BackendResult<Option<LiveTable>> {
        let op = format!("read table {name}");
        let place = format!(
            "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(&name.database),
            literal(&name.table)
        );
        let sql = format!("SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.tables WHERE {place}");
        let Some(row) = self.query(&op, &sql, QUERY_TIMEOUT).await?.into_iter().next() else {
            return Ok(None);
        };
        let mut table = LiveTable {
            database: name.database.clone(),
            table: name.table.clone(),
            comment: named(&row, "TABLE_COMMENT").unwrap_or_default(),
            ..LiveTable::default()
        };
        let sql = format!("SELECT * FROM information_schema.tables_config WHERE {place}");
        if let Some(row) = self.query(&op, &sql, QUERY_TIMEOUT).await?.first() {
            read_config(row, &mut table);
        }
        let sql = format!(
            "SELECT COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, COLUMN_TYPE, COLUMN_COMMENT, GENERATION_EXPRESSION FROM information_schema.columns WHERE {place} ORDER BY ORDINAL_POSITION"
        );
        let rows = self.query(&op, &sql, QUERY_TIMEOUT).await?;
        table.columns = rows.iter().filter_map(read_column).collect();
        // A table without columns was dropped between the questions.
        Ok((!table.columns.is_empty()).then_some(table))
    }

    /// Names and comments of a database's tables: for finding what carries an owner mark.
    pub async fn table_comments(&self, database: &str) -> BackendResult<Vec<(String, String)>> {
        let sql = format!(
            "SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.tables WHERE TABLE_SCHEMA = {}",
            literal(database)
        );
        let rows = self.query("list tables", &sql, QUERY_TIMEOUT).await?;
        let pair = |r: &Row| {
            let comment = named(r, "TABLE_COMMENT").unwrap_or_default();
            Some((named(r, "TABLE_NAME")?, comment))
        };
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// The highest `_ver` of a table's rows, or of those where a column has a value; `None` when there are none.
    pub async fn max_ver(&self, name: &TableName, only: Option<(&str, &str)>) -> BackendResult<Option<i64>> {
        let filter = only.map(|(column, value)| format!(" WHERE {} = {}", Ident(column), literal(value)));
        let sql = format!(
            "SELECT MAX({}) FROM {}.{}{}",
            Ident(VER_COLUMN),
            Ident(&name.database),
            Ident(&name.table),
            filter.unwrap_or_default()
        );
        let op = format!("read the newest version in {name}");
        let rows = self.query(&op, &sql, QUERY_TIMEOUT).await?;
        Ok(rows.first().and_then(|r| text(r, 0)).and_then(|v| v.parse().ok()))
    }

    /// Runs one statement. Its success says little: read the schema afterwards. A timeout is [`ErrorClass::Transient`]
    /// and leaves the statement running.
    pub async fn execute(&self, statement: &Statement) -> BackendResult<()> {
        let op = statement.summary();
        self.fence
            .check()
            .map_err(|e| BackendError::not_leading(Backend::StarRocks, &op, e))?;
        self.query(&op, &statement.to_string(), DDL_TIMEOUT)
            .await
            .map(drop)
    }

    /// Tries the endpoints in turn; only an unreachable one passes the question on, an answer is an answer.
    pub(super) async fn query(&self, op: &str, sql: &str, timeout: Duration) -> BackendResult<Vec<Row>> {
        let count = self.inner.endpoints.len();
        let first = self.inner.preferred.load(Ordering::Relaxed);
        let mut last = None;
        for i in 0..count {
            let index = (first + i) % count;
            let Some(endpoint) = self.inner.endpoints.get(index) else {
                continue;
            };
            let call = self.query_at(endpoint, op, sql, timeout);
            match endpoint.breaker.run(op, call).await {
                Err(e) if matches!(e.class, ErrorClass::Unreachable | ErrorClass::CircuitOpen) => {
                    tracing::debug!(endpoint = endpoint.address, error = %e, "StarRocks endpoint skipped");
                    // An endpoint that was asked says more than one that was not.
                    if last.is_none() || e.class == ErrorClass::Unreachable {
                        last = Some(e);
                    }
                }
                result => {
                    self.inner.preferred.store(index, Ordering::Relaxed);
                    return result;
                }
            }
        }
        Err(last.unwrap_or_else(|| transient(op, "no endpoint was tried")))
    }

    async fn query_at(
        &self,
        endpoint: &Endpoint,
        op: &str,
        sql: &str,
        timeout: Duration,
    ) -> BackendResult<Vec<Row>> {
        let failed = |e: mysql_async::Error| backend_error(op, &e, &self.inner.redactor);
        let mut connection: Conn = match tokio::time::timeout(CONNECT_TIMEOUT, endpoint.pool.get_conn()).await
        {
            Ok(connection) => connection.map_err(failed)?,
            Err(_) => {
                let text = format!(
                    "{} gave no connection within {} s",
                    endpoint.address,
                    CONNECT_TIMEOUT.as_secs()
                );
                return Err(unreachable(op, text));
            }
        };
        match tokio::time::timeout(timeout, collect(&mut connection, sql)).await {
            Ok(rows) => rows.map_err(failed),
            Err(_) => {
                let text = format!(
                    "no answer within {} s; it may still be carried out",
                    timeout.as_secs()
                );
                // A connection with a reply under way is not given back to the pool.
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(CONNECT_TIMEOUT, connection.disconnect()).await;
                });
                Err(transient(op, &text))
            }
        }
    }
}

impl fmt::Debug for StarRocksClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self.inner.endpoints.iter().map(|e| e.address.as_str()).collect();
        f.debug_struct("StarRocksClient")
            .field("endpoints", &addresses)
            .finish_non_exhaustive()
    }
}

async fn collect(connection: &mut Conn, sql: &str) -> Result<Vec<Row>, mysql_async::Error> {
    let mut result = connection.query_iter(sql).await?;
    let mut rows = Vec::new();
    while let Some(row) = result.next().await? {
        if rows.len() < ROWS_MAX {
            rows.push(row);
        }
    }
    result.drop_result().await?;
    Ok(rows)
}

fn connection_options(address: &str, options: &StarRocksOptions) -> BackendResult<Opts> {
    let (host, port) = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| invalid(format!("mysqlEndpoints {address:?} is not host:port")))?;
    let constraints =
        PoolConstraints::new(0, CONNECTIONS).ok_or_else(|| invalid("connection pool bounds"))?;
    let pool = PoolOpts::default()
        .with_constraints(constraints)
        .with_inactive_connection_ttl(Duration::from_secs(60));
    let builder = OptsBuilder::default()
        .ip_or_hostname(host.trim_start_matches('[').trim_end_matches(']'))
        .tcp_port(port)
        .user(Some(options.user.clone()))
        .pass(Some(options.password.clone()))
        .tcp_nodelay(true)
        // Given here, they are not asked for on every connection.
        .max_allowed_packet(Some(16 << 20))
        .wait_timeout(Some(28_800))
        .prefer_socket(false)
        .stmt_cache_size(0)
        .pool_opts(pool);
    Ok(builder.into())
}

fn read_config(row: &Row, table: &mut LiveTable) {
    let list = |column: &str| name_list(&named(row, column).unwrap_or_default());
    table.model = named(row, "TABLE_MODEL").unwrap_or_default();
    table.primary_key = list("PRIMARY_KEY");
    table.partition_key = list("PARTITION_KEY");
    table.distribute_key = list("DISTRIBUTE_KEY");
    table.sort_key = list("SORT_KEY");
    table.distribute_type = named(row, "DISTRIBUTE_TYPE").unwrap_or_default();
    table.buckets = named(row, "DISTRIBUTE_BUCKET")
        .and_then(|b| b.parse().ok())
        .unwrap_or_default();
    table.table_id = named(row, "TABLE_ID");
    table.properties = properties(&named(row, "PROPERTIES").unwrap_or_default());
}

fn read_column(row: &Row) -> Option<LiveColumn> {
    let type_text = named(row, "COLUMN_TYPE")?;
    Some(LiveColumn {
        name: named(row, "COLUMN_NAME")?,
        column_type: column_type(&type_text),
        type_text,
        nullable: named(row, "IS_NULLABLE").is_none_or(|v| v.eq_ignore_ascii_case("yes")),
        default: named(row, "COLUMN_DEFAULT"),
        comment: named(row, "COLUMN_COMMENT").unwrap_or_default(),
        generated: named(row, "GENERATION_EXPRESSION")
            .is_some_and(|e| !e.trim().is_empty() && !e.eq_ignore_ascii_case("null")),
    })
}

/// A value by column name, which servers spell in either case.
pub(super) fn named(row: &Row, column: &str) -> Option<String> {
    let index = row
        .columns_ref()
        .iter()
        .position(|c| c.name_str().eq_ignore_ascii_case(column))?;
    text(row, index)
}

pub(super) fn text(row: &Row, index: usize) -> Option<String> {
    use mysql_async::Value;
    Some(match row.as_ref(index)? {
        Value::NULL => return None,
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(n) => n.to_string(),
        Value::UInt(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Date(..) | Value::Time(..) => return None,
    })
}

pub(super) fn literal(value: &str) -> impl fmt::Display {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn invalid(text: impl Into<String>) -> BackendError {
    BackendError::new(Backend::StarRocks, ErrorClass::Invalid, "configure", text)
}

fn transient(op: &str, text: &str) -> BackendError {
    BackendError::new(Backend::StarRocks, ErrorClass::Transient, op, text)
}

fn unreachable(op: &str, text: String) -> BackendError {
    BackendError::new(Backend::StarRocks, ErrorClass::Unreachable, op, text)
}
