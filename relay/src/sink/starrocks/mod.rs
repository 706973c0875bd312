//! Stream Load: bodiless first hop to FE, redirects by hand, the body to BE when it asks for it.

mod http;
mod response;
pub mod sql;
pub mod trust;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use hyper::{Method, StatusCode, Uri};
use tributary_crds::relay::{BlockedCause, RetryCause, StarRocksConfig, VER_COLUMN};

use super::{LabelState, LoadOutcome, LoadRequest, Sink};
use crate::access::{Authority, Login};
use sql::{Cells, Sql, SqlError};

use http::{Call, NoReply, Reply, call};
use trust::Trust;

/// client → follower FE → leader FE → BE is the longest chain there is.
const MAX_HOPS: usize = 3;
/// Frontends spread loads over backends; asked this often they still do, and a slow loader saves nothing by more.
const BACKEND_VALID: Duration = Duration::from_secs(5);
const FE_TIMEOUT: Duration = Duration::from_secs(10);
/// `timeout` header in seconds. At most 60 (correctness rule 1); it also bounds how long one slow publish holds the lane:
/// StarRocks answers `Publish Timeout`, which is durable, after about a quarter to a half of it.
const LOAD_TIMEOUT_S: u64 = 60;
/// Longer than the server's own limit: giving up earlier would make clear outcomes unclear.
const CALL_TIMEOUT: Duration = Duration::from_secs(LOAD_TIMEOUT_S + 10);

/// Where the user and password come from. Read for every load: a rotated Secret needs no restart.
#[derive(Clone, Debug)]
pub enum Credentials {
    Files(PathBuf),
    Fixed { username: String, password: String },
}

impl Credentials {
    async fn read(&self) -> Result<Login, String> {
        match self {
            Self::Fixed { username, password } => Ok(Login {
                username: username.clone(),
                password: password.clone(),
            }),
            Self::Files(dir) => {
                let dir = dir.clone();
                let read = tokio::task::spawn_blocking(move || Login::read(&dir)).await;
                read.map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())
            }
        }
    }

    async fn header(&self) -> Result<String, String> {
        let Login { username, password } = self.read().await?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Ok(format!("Basic {pair}"))
    }
}

pub struct StarRocks {
    frontends: Vec<Uri>,
    /// For questions beside the loads.
    pub sql: Sql,
    credentials: Credentials,
    /// The frontend that answered last.
    preferred: AtomicUsize,
    /// The backend a frontend named last, and when.
    backend: Mutex<Option<(Uri, Instant)>>,
    /// Whom `https` servers are believed by; `None`: none is asked by TLS.
    trust: Option<Trust>,
}

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("StarRocks endpoint {0:?}: expected http(s)://host:port (Stream Load) or host:port (SQL)")]
    Endpoint(String),
    #[error("StarRocks by TLS: {0}")]
    Trust(String),
}

impl StarRocks {
    /// `authority`: what `tls.caFile` holds.
    pub fn new(
        config: &StarRocksConfig,
        authority: Option<&Authority>,
        credentials: Credentials,
    ) -> Result<Self, EndpointError> {
        let frontends = config
            .http_endpoints
            .iter()
            .map(|text| {
                let uri: Option<Uri> = text.parse().ok();
                uri.filter(by_http)
                    .ok_or_else(|| EndpointError::Endpoint(text.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if frontends.is_empty() {
            return Err(EndpointError::Endpoint("(none)".into()));
        }
        let secure = config.tls.is_some() || frontends.iter().any(|uri| uri.scheme_str() == Some("https"));
        let trust = secure
            .then(|| Trust::new(authority))
            .transpose()
            .map_err(EndpointError::Trust)?;
        let sql_trust = trust
            .clone()
            .filter(|_| config.tls.as_ref().is_some_and(|tls| tls.mysql));
        let sql = Sql::new(&config.mysql_endpoints, sql_trust, credentials.clone())?;
        if !sql.configured() {
            tracing::warn!(
                "no SQL endpoints are configured: mapped columns are not looked up before they are loaded"
            );
        }
        Ok(Self {
            frontends,
            sql,
            credentials,
            preferred: AtomicUsize::new(0),
            backend: Mutex::default(),
            trust,
        })
    }

    /// Whether a SELECT has a row. A table that is not there has none; without SQL nobody can tell, and it is taken for none.
    pub async fn has_a_row(&self, select: &str) -> Result<bool, String> {
        if !self.sql.configured() {
            return Ok(false);
        }
        match self.sql.select_after_sync(select, 1).await {
            Ok(rows) => Ok(!rows.is_empty()),
            Err(error) => match error.blocked() {
                Ok(BlockedCause::UnknownTable) => Ok(false),
                _ => Err(error.to_string()),
            },
        }
    }

    /// Asks frontends in turn, the one that answered last first. Only "no answer" moves on to the next.
    async fn frontend(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Reply, NoReply> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failure = None;
        for i in 0..self.frontends.len() {
            let index = (first + i) % self.frontends.len();
            let uri = at(&self.frontends[index], path);
            let reply = match uri {
                Ok(uri) => {
                    call(Call {
                        method: method.clone(),
                        uri: &uri,
                        headers,
                        body: None,
                        timeout: FE_TIMEOUT,
                        trust: self.trust.as_ref(),
                    })
                    .await
                }
                Err(why) => {
                    return Err(NoReply::Broken {
                        host: path.to_owned(),
                        why,
                        body_sent: false,
                    });
                }
            };
            match reply {
                Ok(reply) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(reply);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(NoReply::Connect {
            host: "(none)".into(),
            why: "no frontends".into(),
        }))
    }

    /// A small question, redirects followed without a body.
    async fn ask(&self, method: Method, path: &str) -> Result<Reply, LabelState> {
        let authorization = self
            .credentials
            .header()
            .await
            .map_err(|message| LabelState::Refused {
                cause: BlockedCause::AuthenticationFailed,
                message,
            })?;
        let headers = [("Authorization", authorization)];
        let mut reply = self
            .frontend(&method, path, &headers)
            .await
            .map_err(|e| unanswered(&e))?;
        for _ in 0..MAX_HOPS {
            let Some(target) = redirect(&reply).map_err(Astray::unanswered)? else {
                return Ok(reply);
            };
            reply = call(Call {
                method: method.clone(),
                uri: &target,
                headers: &headers,
                body: None,
                timeout: FE_TIMEOUT,
                trust: self.trust.as_ref(),
            })
            .await
            .map_err(|e| unanswered(&e))?;
        }
        Ok(reply)
    }

    async fn stream_load(&self, request: &LoadRequest) -> LoadOutcome {
        let authorization = match self.credentials.header().await {
            Ok(header) => header,
            Err(message) => {
                return LoadOutcome::Blocked {
                    cause: BlockedCause::AuthenticationFailed,
                    message,
                };
            }
        };
        let headers = load_headers(request, authorization);
        let path = format!("/api/{}/{}/_stream_load", request.database, request.table);
        if let Some(outcome) = self.known_backend(&path, &headers, request).await {
            return outcome;
        }
        let mut reply = match self.frontend(&Method::PUT, &path, &headers).await {
            Ok(reply) => reply,
            Err(error) => return failed(&error),
        };
        for _ in 0..MAX_HOPS {
            let target = match redirect(&reply) {
                Ok(Some(target)) => target,
                Ok(None) => break,
                Err(astray) => return astray.unloaded(),
            };
            // A frontend may have taken its time. From here on the label gets known.
            if Instant::now() >= request.start_by {
                return LoadOutcome::Late;
            }
            // Authorization goes along: the host was named by a frontend the operator configured, or by one it named.
            reply = match call(Call {
                method: Method::PUT,
                uri: &target,
                headers: &headers,
                body: Some(request.body.clone()),
                timeout: CALL_TIMEOUT,
                trust: self.trust.as_ref(),
            })
            .await
            {
                Ok(reply) => reply,
                Err(error) => return failed(&error),
            };
            if reply.status == StatusCode::OK {
                self.remember(Some(target));
            }
        }
        self.outcome(&reply, request).await
    }

    /// The load without the way over a frontend, as long as the backend it named last is fresh and takes loads. Anything but a
    /// clean answer forgets it; `None`: nothing was sent, a frontend may name another.
    async fn known_backend(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        request: &LoadRequest,
    ) -> Option<LoadOutcome> {
        let (backend, since) = self.backend().clone()?;
        let target = at(&backend, path).ok()?;
        if since.elapsed() >= BACKEND_VALID {
            self.remember(None);
            return None;
        }
        if Instant::now() >= request.start_by {
            return Some(LoadOutcome::Late);
        }
        let reply = call(Call {
            method: Method::PUT,
            uri: &target,
            headers,
            body: Some(request.body.clone()),
            timeout: CALL_TIMEOUT,
            trust: self.trust.as_ref(),
        })
        .await;
        let outcome = match reply {
            Ok(reply) if reply.status == StatusCode::OK => Some(self.outcome(&reply, request).await),
            Ok(reply) if reply.body_sent => Some(self.outcome(&reply, request).await),
            Ok(_) => None,
            Err(error) => match failed(&error) {
                unsent @ (LoadOutcome::Retry { ambiguous: false, .. } | LoadOutcome::Blocked { .. }) => {
                    tracing::debug!(?unsent, "backend forgotten");
                    None
                }
                outcome => Some(outcome),
            },
        };
        if !matches!(outcome, Some(LoadOutcome::Durable(_))) {
            self.remember(None);
        }
        outcome
    }

    fn remember(&self, backend: Option<Uri>) {
        *self.backend() = backend.map(|uri| (uri, Instant::now()));
    }

    fn backend(&self) -> std::sync::MutexGuard<'_, Option<(Uri, Instant)>> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn outcome(&self, reply: &Reply, request: &LoadRequest) -> LoadOutcome {
        let (outcome, error_url) =
            response::load_outcome(reply.status.as_u16(), &reply.body, reply.body_sent, request.rows);
        match (outcome, error_url) {
            (LoadOutcome::Rejected { message }, Some(url)) => {
                let rows = rejected_rows(&url, self.trust.as_ref()).await;
                LoadOutcome::Rejected {
                    message: format!("{message}; {rows}"),
                }
            }
            (outcome, _) => outcome,
        }
    }
}

impl Sink for StarRocks {
    async fn load(&self, request: &LoadRequest) -> LoadOutcome {
        self.stream_load(request).await
    }

    async fn label_state(&self, database: &str, label: &str) -> LabelState {
        match self
            .ask(
                Method::GET,
                &format!("/api/{database}/get_load_state?label={label}"),
            )
            .await
        {
            Ok(reply) => response::label_state(reply.status.as_u16(), &reply.body),
            Err(unanswered) => unanswered,
        }
    }

    async fn columns(&self, database: &str, table: &str) -> Result<Option<Vec<String>>, SqlError> {
        if !self.sql.configured() {
            return Ok(None);
        }
        self.sql.columns(database, table).await.map(Some)
    }

    async fn keys(&self, select: &str, max_rows: usize) -> Result<Vec<Cells>, SqlError> {
        self.sql.select_after_sync(select, max_rows).await
    }

    async fn cancel(&self, database: &str, table: &str, label: &str) {
        let path = format!("/api/{database}/{table}/_cancel?label={label}");
        match self.ask(Method::POST, &path).await {
            Ok(reply) => tracing::info!(label, answer = response::excerpt(&reply.body), "cancel"),
            Err(unanswered) => tracing::warn!(label, ?unanswered, "cancel"),
        }
    }
}

/// Headers of every load. FE looks only at `Expect` and `Authorization`, BE at the rest; both get them all, as from any client.
fn load_headers(request: &LoadRequest, authorization: String) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("Authorization", authorization),
        ("Expect", "100-continue".into()),
        ("label", request.label.clone()),
        ("format", "json".into()),
        // One array rather than lines: the form the official connectors send.
        ("strip_outer_array", "true".into()),
        ("columns", request.columns.clone()),
        ("strict_mode", "true".into()),
        ("max_filter_ratio", "0".into()),
        // The server's default is Asia/Shanghai.
        ("timezone", "UTC".into()),
        ("timeout", LOAD_TIMEOUT_S.to_string()),
    ];
    if request.newer_only {
        headers.push(("merge_condition", VER_COLUMN.into()));
    }
    headers
}

/// Another path of the same server.
fn at(base: &Uri, path: &str) -> Result<Uri, String> {
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |a| a.as_str());
    format!("{scheme}://{authority}{path}")
        .parse()
        .map_err(|error| format!("{authority}{path}: {error}"))
}

fn by_http(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
}

/// Why a redirect is not followed.
enum Astray {
    Unreadable(String),
    /// Out of TLS: the password and the rows would go in plain text.
    OutOfTls(String),
}

impl Astray {
    fn unanswered(self) -> LabelState {
        match self {
            Self::Unreadable(message) => LabelState::Unanswered {
                cause: RetryCause::ServerError,
                message,
            },
            Self::OutOfTls(message) => LabelState::Refused {
                cause: BlockedCause::TlsFailed,
                message,
            },
        }
    }

    fn unloaded(self) -> LoadOutcome {
        match self {
            Self::Unreadable(message) => LoadOutcome::Retry {
                cause: RetryCause::ServerError,
                message,
                ambiguous: false,
            },
            Self::OutOfTls(message) => LoadOutcome::Blocked {
                cause: BlockedCause::TlsFailed,
                message,
            },
        }
    }
}

/// Where a reply points to; `None`: it is final.
fn redirect(reply: &Reply) -> Result<Option<Uri>, Astray> {
    if !reply.status.is_redirection() {
        return Ok(None);
    }
    let location = reply.location.as_deref().unwrap_or_default();
    let target = location.parse::<Uri>().ok().filter(by_http);
    match target {
        Some(uri) if reply.by_tls && uri.scheme_str() == Some("http") => Err(Astray::OutOfTls(format!(
            "{} redirects out of TLS, to {location}: the password and the rows would travel in plain text. \
                 Give the backends TLS, or make the frontends' endpoints http",
            reply.host
        ))),
        Some(uri) => Ok(Some(uri)),
        None => Err(Astray::Unreadable(format!(
            "HTTP {} with Location {location:?}",
            reply.status
        ))),
    }
}

fn no_reply(error: &NoReply) -> (RetryCause, String) {
    let cause = match error {
        NoReply::Timeout { .. } => RetryCause::Timeout,
        NoReply::Connect { .. } | NoReply::Untrusted { .. } | NoReply::Broken { .. } => {
            RetryCause::Unreachable
        }
    };
    (cause, error.to_string())
}

fn unanswered(error: &NoReply) -> LabelState {
    let (cause, message) = no_reply(error);
    match error {
        NoReply::Untrusted { .. } => LabelState::Refused {
            cause: BlockedCause::TlsFailed,
            message,
        },
        _ => LabelState::Unanswered { cause, message },
    }
}

fn failed(error: &NoReply) -> LoadOutcome {
    let (cause, message) = no_reply(error);
    let ambiguous = match error {
        NoReply::Untrusted { .. } => {
            return LoadOutcome::Blocked {
                cause: BlockedCause::TlsFailed,
                message,
            };
        }
        NoReply::Connect { .. } => false,
        NoReply::Broken { body_sent, .. } | NoReply::Timeout { body_sent, .. } => *body_sent,
    };
    LoadOutcome::Retry {
        cause,
        message,
        ambiguous,
    }
}

/// First lines of the list of rejected rows. Without credentials: the URL came from a reply's body, not from a frontend's
/// redirect.
async fn rejected_rows(url: &str, trust: Option<&Trust>) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return format!("rejected rows: {url}");
    };
    let reply = call(Call {
        method: Method::GET,
        uri: &uri,
        headers: &[],
        body: None,
        timeout: FE_TIMEOUT,
        trust,
    })
    .await;
    match reply {
        Ok(reply) => format!("rejected rows: {}", response::excerpt(&reply.body)),
        Err(error) => format!("rejected rows at {url}: {error}"),
    }
}
