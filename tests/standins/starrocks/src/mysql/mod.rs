//! The MySQL door.

pub mod auth;
pub mod login;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter,
    OkResponse, ParamParser, QueryResultWriter, StatementMetaWriter, ValueInner,
};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::door;
use crate::query::engine::Answer;
use crate::sql::error::{ErrorCode, SqlError};
use crate::sql::lex::{self, Kind};
use crate::sql::session::{Outcome, Session};

/// What FE's mysql_server_version says.
const SERVER_VERSION: &str = "8.0.33";

pub async fn serve(listener: TcpListener, up: watch::Receiver<bool>, cluster: Arc<Cluster>) {
    door::serve(listener, up, |stream, peer| {
        let cluster = cluster.clone();
        async move {
            if let Err(error) = connection(stream, cluster).await {
                tracing::debug!(%error, %peer, "mysql connection ended");
            }
        }
    })
    .await;
}

async fn connection(stream: TcpStream, cluster: Arc<Cluster>) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let refusal = login::Refusal::default();
    let door = Door {
        session: Session::new(cluster),
        refusal: refusal.clone(),
        user: Mutex::default(),
        salt: auth::salt(),
        statements: HashMap::new(),
        next_statement: 0,
    };
    let writer = login::LoginWriter::new(tokio::io::BufWriter::new(writer), refusal);
    AsyncMysqlIntermediary::run_on(door, reader, writer).await
}

struct Door {
    session: Session,
    /// Who logged in; `authenticate` gets no `&mut self`.
    user: Mutex<String>,
    refusal: login::Refusal,
    salt: [u8; 20],
    statements: HashMap<u32, String>,
    next_statement: u32,
}

/// Prepared statements one connection may hold.
const MAX_STATEMENTS: usize = 1000;

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Door {
    type Error = io::Error;

    fn version(&self) -> String {
        SERVER_VERSION.into()
    }

    fn connect_id(&self) -> u32 {
        u32::try_from(self.session.connection).unwrap_or(u32::MAX)
    }

    fn salt(&self) -> [u8; 20] {
        self.salt
    }

    async fn authenticate(&self, _plugin: &str, username: &[u8], salt: &[u8], response: &[u8]) -> bool {
        let name = String::from_utf8_lossy(username).into_owned();
        let known = self
            .session
            .cluster
            .password_of(&name)
            .is_some_and(|p| auth::check(&p, salt, response));
        if !known {
            let with = if response.is_empty() { "NO" } else { "YES" };
            *self.refusal.lock() = Some(format!(
                "Access denied for user '{name}' (using password: {with})"
            ));
        }
        *self.user.lock() = name;
        known
    }

    async fn on_prepare<'a>(
        &'a mut self,
        query: &'a str,
        info: StatementMetaWriter<'a, W>,
    ) -> io::Result<()> {
        let placeholders = match placeholders(query) {
            Ok(places) => places.len(),
            Err(error) => return info.error(kind_of(error.code), error.message.as_bytes()).await,
        };
        if self.statements.len() >= MAX_STATEMENTS {
            return info
                .error(
                    ErrorKind::ER_MAX_PREPARED_STMT_COUNT_REACHED,
                    b"too many prepared statements".as_slice(),
                )
                .await;
        }
        self.next_statement += 1;
        self.statements.insert(self.next_statement, query.to_owned());
        let params = vec![column("?", ColumnType::MYSQL_TYPE_VAR_STRING); placeholders];
        info.reply(self.next_statement, &params, &[]).await
    }

    async fn on_execute<'a>(
        &'a mut self,
        id: u32,
        params: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        let Some(query) = self.statements.get(&id) else {
            return results
                .error(
                    ErrorKind::ER_UNKNOWN_STMT_HANDLER,
                    b"unknown statement".as_slice(),
                )
                .await;
        };
        let values: Vec<String> = params
            .into_iter()
            .map(|p| literal(p.value.into_inner()))
            .collect();
        let outcome = match bind(query, &values) {
            Ok(query) => self.session.execute(&query).await,
            Err(error) => Err(error),
        };
        reply(outcome, results, true).await
    }

    async fn on_close<'a>(&'a mut self, stmt: u32)
    where
        W: 'async_trait,
    {
        self.statements.remove(&stmt);
    }

    async fn on_query<'a>(&'a mut self, query: &'a str, results: QueryResultWriter<'a, W>) -> io::Result<()> {
        self.session.user.clone_from(&self.user.lock());
        let outcome = self.session.execute(query).await;
        reply(outcome, results, false).await
    }

    async fn on_init<'a>(&'a mut self, database: &'a str, writer: InitWriter<'a, W>) -> io::Result<()> {
        self.session.user.clone_from(&self.user.lock());
        match self.session.use_database(database) {
            Ok(()) => writer.ok().await,
            Err(error) => writer.error(kind_of(error.code), error.message.as_bytes()).await,
        }
    }
}

async fn reply<W: AsyncWrite + Send + Unpin>(
    outcome: Result<Outcome, SqlError>,
    results: QueryResultWriter<'_, W>,
    binary: bool,
) -> io::Result<()> {
    match outcome {
        Err(error) => {
            tracing::debug!(message = error.message, "statement refused");
            results.error(kind_of(error.code), error.message.as_bytes()).await
        }
        Ok(Outcome::Done { affected }) => {
            results
                .completed(OkResponse {
                    affected_rows: affected,
                    ..OkResponse::default()
                })
                .await
        }
        Ok(Outcome::Rows(answer)) => rows(&answer, results, binary).await,
    }
}

async fn rows<W: AsyncWrite + Send + Unpin>(
    answer: &Answer,
    results: QueryResultWriter<'_, W>,
    binary: bool,
) -> io::Result<()> {
    let columns = columns(&answer.schema, &answer.headers, binary);
    let mut writer = results.start(&columns).await?;
    for row in answer.rows() {
        writer.write_row(row).await?;
    }
    writer.finish().await
}

/// In the binary protocol every column is a string: the values are the text protocol's.
fn columns(schema: &SchemaRef, headers: &[String], binary: bool) -> Vec<Column> {
    let types = schema.fields().iter().map(|f| f.data_type());
    types
        .zip(headers)
        .map(|(ty, name)| {
            column(
                name,
                if binary {
                    ColumnType::MYSQL_TYPE_VAR_STRING
                } else {
                    mysql_type(ty)
                },
            )
        })
        .collect()
}

fn column(name: &str, coltype: ColumnType) -> Column {
    Column {
        table: String::new(),
        column: name.to_owned(),
        coltype,
        colflags: ColumnFlags::empty(),
    }
}

fn mysql_type(ty: &DataType) -> ColumnType {
    match ty {
        DataType::Boolean | DataType::Int8 => ColumnType::MYSQL_TYPE_TINY,
        DataType::Int16 | DataType::UInt8 => ColumnType::MYSQL_TYPE_SHORT,
        DataType::Int32 | DataType::UInt16 => ColumnType::MYSQL_TYPE_LONG,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ColumnType::MYSQL_TYPE_LONGLONG,
        DataType::Float32 => ColumnType::MYSQL_TYPE_FLOAT,
        DataType::Float64 => ColumnType::MYSQL_TYPE_DOUBLE,
        DataType::Decimal128(..) => ColumnType::MYSQL_TYPE_NEWDECIMAL,
        DataType::Date32 => ColumnType::MYSQL_TYPE_DATE,
        DataType::Timestamp(..) => ColumnType::MYSQL_TYPE_DATETIME,
        _ => ColumnType::MYSQL_TYPE_VAR_STRING,
    }
}

fn kind_of(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::Parse => ErrorKind::ER_PARSE_ERROR,
        ErrorCode::NoDatabase => ErrorKind::ER_NO_DB_ERROR,
        ErrorCode::BadDatabase => ErrorKind::ER_BAD_DB_ERROR,
        ErrorCode::DatabaseExists => ErrorKind::ER_DB_CREATE_EXISTS,
        ErrorCode::DropDatabase => ErrorKind::ER_DB_DROP_EXISTS,
        ErrorCode::TableExists => ErrorKind::ER_TABLE_EXISTS_ERROR,
        ErrorCode::BadTable => ErrorKind::ER_BAD_TABLE_ERROR,
        ErrorCode::NoSuchTable => ErrorKind::ER_NO_SUCH_TABLE,
        ErrorCode::DuplicateColumn => ErrorKind::ER_DUP_FIELDNAME,
        // The login writer turns it into 5203, which opensrv has no name for.
        ErrorCode::AccessDenied => ErrorKind::ER_DBACCESS_DENIED_ERROR,
        ErrorCode::Unknown => ErrorKind::ER_UNKNOWN_ERROR,
    }
}

/// Byte positions of `?` outside strings.
fn placeholders(query: &str) -> Result<Vec<usize>, SqlError> {
    let tokens = lex::tokens(query)?;
    Ok(tokens
        .into_iter()
        .filter(|t| t.kind == Kind::Symbol && t.text == "?")
        .map(|t| t.start)
        .collect())
}

fn bind(query: &str, values: &[String]) -> Result<String, SqlError> {
    let mut out = String::with_capacity(query.len() + 16 * values.len());
    let mut from = 0;
    for (place, value) in placeholders(query)?.into_iter().zip(values) {
        out.push_str(&query[from..place]);
        out.push_str(value);
        from = place + 1;
    }
    out.push_str(&query[from..]);
    Ok(out)
}

fn literal(value: ValueInner<'_>) -> String {
    match value {
        ValueInner::NULL => "NULL".into(),
        ValueInner::Int(v) => v.to_string(),
        ValueInner::UInt(v) => v.to_string(),
        ValueInner::Double(v) => v.to_string(),
        ValueInner::Bytes(bytes) => quote(&String::from_utf8_lossy(bytes)),
        ValueInner::Date(bytes) | ValueInner::Datetime(bytes) => quote(&datetime(bytes)),
        ValueInner::Time(_) => "NULL".into(),
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The binary DATETIME: year(2) month day [hour minute second [micros(4)]].
fn datetime(bytes: &[u8]) -> String {
    let at = |i: usize| u32::from(bytes.get(i).copied().unwrap_or(0));
    let micros = bytes
        .get(7..11)
        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let year = at(0) | at(1) << 8;
    format!(
        "{year:04}-{:02}-{:02} {:02}:{:02}:{:02}.{micros:06}",
        at(2),
        at(3),
        at(4),
        at(5),
        at(6)
    )
}
