//! Questions to StarRocks over the MySQL protocol: what columns a table has, and what keys it holds.
//!
//! Read only. Text protocol (prepared statements differ between versions), one deadline per question, sessions kept and
//! reused, frontends tried from the one that answered last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, IoError, Opts, OptsBuilder, Value};
use tributary_crds::relay::{BlockedCause, RetryCause};

use super::trust::{Trust, tls_failure};
use super::{Credentials, EndpointError};
use crate::access::Login;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle sessions kept. More lanes than this may ask at once; the surplus connects and leaves again.
const IDLE_MAX: usize = 8;
/// A table has at most 10,000 columns.
const COLUMNS_MAX: usize = 20_000;

/// One row of an answer: every cell as text, `None` for NULL.
pub type Cells = Vec<Option<Vec<u8>>>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// No frontend gave a session, or the session broke twice.
    #[error("SQL: {0}")]
    Unreachable(String),
    #[error("SQL: no answer within {0:?}")]
    Timeout(Duration),
    #[error("SQL: access denied: {0}")]
    Denied(String),
    /// The server is not who it should be, or speaks no TLS.
    #[error("SQL: {0}")]
    Untrusted(String),
    /// The server understood and said no.
    #[error("SQL: error {code}: {message}")]
    Refused { code: u16, message: String },
    #[error("SQL: more than {0} rows")]
    TooManyRows(usize),
}

impl SqlError {
    /// What a lane waiting for the answer shows: most failures pass, credentials and missing tables do not by themselves.
    pub fn blocked(&self) -> Result<BlockedCause, RetryCause> {
        match self {
            Self::Denied(_) => Ok(BlockedCause::AuthenticationFailed),
            Self::Untrusted(_) => Ok(BlockedCause::TlsFailed),
            Self::Refused {
                code: ER_NO_SUCH_TABLE | ER_BAD_TABLE | ER_BAD_DB,
                ..
            } => Ok(BlockedCause::UnknownTable),
            Self::Refused {
                code: ER_BAD_FIELD, ..
            } => Ok(BlockedCause::UnknownColumn),
            Self::Unreachable(_) => Err(RetryCause::Unreachable),
            Self::Timeout(_) => Err(RetryCause::Timeout),
            Self::Refused { .. } | Self::TooManyRows(_) => Err(RetryCause::ServerError),
        }
    }
}

const ER_BAD_DB: u16 = 1049;
const ER_BAD_TABLE: u16 = 1051;
const ER_BAD_FIELD: u16 = 1054;
const ER_NO_SUCH_TABLE: u16 = 1146;
/// 1044 database, 1045 login, 1142 table, 1227 privilege, 5203 StarRocks' own.
const DENIED: [u16; 5] = [1044, 1045, 1142, 1227, 5203];

pub struct Sql {
    /// `host`, `port`.
    frontends: Vec<(String, u16)>,
    credentials: Credentials,
    /// Sessions are by TLS, with servers believed by this.
    trust: Option<Trust>,
    preferred: AtomicUsize,
    idle: Mutex<Vec<Conn>>,
}

impl Sql {
    /// Connects when first asked. An empty list is lawful: every question is then answered with [`SqlError::Unreachable`].
    /// `trust`: sessions are by TLS.
    pub fn new(
        endpoints: &[String],
        trust: Option<Trust>,
        credentials: Credentials,
    ) -> Result<Self, EndpointError> {
        let parse = |text: &String| {
            let (host, port) = text.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
        };
        let frontends = endpoints
            .iter()
            .map(|text| parse(text).ok_or_else(|| EndpointError::Endpoint(text.clone())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            frontends,
            credentials,
            trust,
            preferred: AtomicUsize::new(0),
            idle: Mutex::default(),
        })
    }

    /// Whether there is anybody to ask.
    pub fn configured(&self) -> bool {
        !self.frontends.is_empty()
    }

    /// The table's column names as StarRocks spells them; empty: there is no such table, or it may not be seen.
    pub async fn columns(&self, database: &str, table: &str) -> Result<Vec<String>, SqlError> {
        let select = format!(
            "SELECT COLUMN_NAME FROM information_schema.columns WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(database),
            literal(table)
        );
        let rows = self.ask(&[&select], COLUMNS_MAX).await?;
        let name = |row: Cells| row.into_iter().next().flatten();
        Ok(rows
            .into_iter()
            .filter_map(name)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect())
    }

    /// A SELECT that sees every load visible so far: StarRocks gives read-your-write only within a session, and `SYNC`
    /// brings the session up to date (correctness rule 4).
    pub async fn select_after_sync(&self, select: &str, max_rows: usize) -> Result<Vec<Cells>, SqlError> {
        self.ask(&["SYNC", select], max_rows).await
    }

    /// Runs statements in one session and answers with the rows of the last. Tried once more on a new session when one kept
    /// idle turns out to be dead: these are questions, asking twice changes nothing.
    async fn ask(&self, statements: &[&str], max_rows: usize) -> Result<Vec<Cells>, SqlError> {
        let kept = self.idle().pop();
        let reused = kept.is_some();
        let session = match kept {
            Some(session) => session,
            None => self.connect().await?,
        };
        match self.ask_on(session, statements, max_rows).await {
            Err(SqlError::Unreachable(_)) if reused => {
                // The others were opened to the same frontend, which is probably gone.
                self.idle().clear();
                let session = self.connect().await?;
                self.ask_on(session, statements, max_rows).await
            }
            answer => answer,
        }
    }

    /// The session goes back only after a complete answer: one with a reply under way would give it to the next question.
    async fn ask_on(
        &self,
        mut session: Conn,
        statements: &[&str],
        max_rows: usize,
    ) -> Result<Vec<Cells>, SqlError> {
        let asked = async {
            let mut rows = Vec::new();
            for statement in statements {
                rows = collect(&mut session, statement, max_rows).await?;
            }
            Ok(rows)
        };
        let answer = match tokio::time::timeout(QUERY_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(SqlError::Timeout(QUERY_TIMEOUT)),
        };
        if matches!(
            answer,
            Ok(_) | Err(SqlError::Refused { .. } | SqlError::Denied(_))
        ) {
            let mut idle = self.idle();
            if idle.len() < IDLE_MAX {
                idle.push(session);
            }
        }
        answer
    }

    async fn connect(&self) -> Result<Conn, SqlError> {
        let login = self.credentials.read().await.map_err(SqlError::Denied)?;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure =
            SqlError::Unreachable("no SQL endpoints are configured (starrocks.mysqlEndpoints)".into());
        for i in 0..self.frontends.len() {
            let index = (first + i) % self.frontends.len();
            let (host, port) = &self.frontends[index];
            let connecting = Conn::new(options(host, *port, &login, self.trust.as_ref()));
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(session)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(session);
                }
                Ok(Err(error)) => match self.session_error(&error, &format!("{host}:{port}")) {
                    untrusted @ SqlError::Untrusted(_) => failure = untrusted,
                    // An answer is an answer: another frontend knows the same users.
                    refused @ (SqlError::Denied(_) | SqlError::Refused { .. }) => return Err(refused),
                    other => failure = SqlError::Unreachable(format!("{host}:{port}: {other}")),
                },
                Err(_) => {
                    failure = SqlError::Unreachable(format!(
                        "{host}:{port}: no session within {CONNECT_TIMEOUT:?}"
                    ));
                }
            }
        }
        Err(failure)
    }

    /// Why there is no session. By TLS it may be the server that is wrong.
    fn session_error(&self, error: &mysql_async::Error, server: &str) -> SqlError {
        let Some(trust) = &self.trust else {
            return sql_error(error);
        };
        match error {
            mysql_async::Error::Io(IoError::Io(io)) => match tls_failure(io) {
                Some(failure) => SqlError::Untrusted(format!("{server}: {}", trust.explain(failure))),
                None => sql_error(error),
            },
            mysql_async::Error::Io(IoError::Tls(failure)) => {
                SqlError::Untrusted(format!("{server}: {failure}"))
            }
            mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
                SqlError::Untrusted(format!(
                    "{server} offers no TLS for SQL: switch it on there, or set starrocks.tls.mysql to false"
                ))
            }
            other => sql_error(other),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn options(host: &str, port: u16, login: &Login, trust: Option<&Trust>) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port)
        .user(Some(&login.username))
        .pass(Some(&login.password))
        .ssl_opts(trust.map(Trust::mysql))
        .tcp_nodelay(true)
        // Given here, they are not asked for on every connection.
        .max_allowed_packet(Some(16 << 20))
        .wait_timeout(Some(28_800))
        .prefer_socket(false)
        .stmt_cache_size(0)
        .into()
}

async fn collect(session: &mut Conn, statement: &str, max_rows: usize) -> Result<Vec<Cells>, SqlError> {
    let failed = |error: mysql_async::Error| sql_error(&error);
    let mut result = session.query_iter(statement).await.map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(row) = result.next().await.map_err(failed)? {
        if rows.len() == max_rows {
            return Err(SqlError::TooManyRows(max_rows));
        }
        rows.push(row.unwrap().into_iter().map(cell).collect());
    }
    result.drop_result().await.map_err(failed)?;
    Ok(rows)
}

/// The text protocol gives bytes; the rest is for completeness.
fn cell(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        Value::Int(n) => Some(n.to_string().into_bytes()),
        Value::UInt(n) => Some(n.to_string().into_bytes()),
        Value::Float(n) => Some(n.to_string().into_bytes()),
        Value::Double(n) => Some(n.to_string().into_bytes()),
        other @ (Value::Date(..) | Value::Time(..)) => {
            Some(other.as_sql(true).trim_matches('\'').to_owned().into_bytes())
        }
    }
}

fn sql_error(error: &mysql_async::Error) -> SqlError {
    match error {
        mysql_async::Error::Server(server) if DENIED.contains(&server.code) => {
            SqlError::Denied(server.message.clone())
        }
        mysql_async::Error::Server(server) => SqlError::Refused {
            code: server.code,
            message: server.message.clone(),
        },
        other => SqlError::Unreachable(other.to_string()),
    }
}

/// A string literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A quoted name.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        let credentials = || Credentials::Fixed {
            username: "u".into(),
            password: "p".into(),
        };
        assert!(Sql::new(&["fe:9030".into(), "[::1]:9030".into()], None, credentials()).is_ok());
        for wrong in ["fe", ":9030", "fe:", "fe:x", "fe:99999"] {
            assert!(Sql::new(&[wrong.into()], None, credentials()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quoting_survives_quotes_and_backslashes() {
        assert_eq!(literal(r"it's a \ "), r"'it''s a \\ '");
        assert_eq!(identifier("odd`name"), "`odd``name`");
    }
}
