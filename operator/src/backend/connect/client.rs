//! The REST client. Reads run freely; writes of one Connect cluster run one at a time, because each costs a rebalance
//! generation: share clones of one client per cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, Url, header};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use super::model::{
    ConnectorConfig, ConnectorStatus, ConnectorSummary, HealthReply, OffsetEntry, OffsetsReply, Plugin,
    ValidateReply, Validation, WorkerInfo, without_nulls,
};
use super::response::{Reply, error};
use crate::backend::breaker::Breaker;
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass, Redactor};
use crate::leader::Fence;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A write waits for a rebalance: 5.3 s were seen, the server gives up after 90 s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Validation opens real connections to the source and blocks up to `connection.validation.timeout.ms`.
const VALIDATE_TIMEOUT: Duration = Duration::from_secs(60);
/// Age up to which one list serves everybody: reconciles of hundreds of pipelines cost one request per this.
const LIST_MAX_AGE: Duration = Duration::from_secs(2);
/// Bound of a reply's body: `validate` is 52 kB, a list of 100 connectors about 1 MB.
const BODY_MAX: usize = 32 << 20;

/// What [`ConnectClient::put_config`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The live configuration is the wanted one: nothing was sent (an identical PUT would bounce the connector).
    Unchanged,
    Updated,
    Created,
}

#[derive(Clone, Debug)]
pub struct ConnectClient {
    inner: Arc<Inner>,
    redactor: Redactor,
    fence: Fence,
}

#[derive(Debug)]
struct Inner {
    base: Url,
    http: reqwest::Client,
    writes: Semaphore,
    breaker: Breaker,
    /// Counts writes: a list that was read before one of them is old.
    writes_done: AtomicU64,
    /// The last answer to [`ConnectClient::list`]; held while it is being asked again, so that many ask once.
    listed: Mutex<Option<Listed>>,
}

#[derive(Debug)]
struct Listed {
    at: Instant,
    writes_done: u64,
    answer: BackendResult<Arc<Connectors>>,
}

/// Every connector of a cluster by name.
pub type Connectors = BTreeMap<String, ConnectorSummary>;

impl ConnectClient {
    /// `url` as in `DataPlatform.spec.connect.url`, such as `http://connect.kafka.svc:8083`.
    pub fn new(url: &str) -> BackendResult<Self> {
        let invalid = |text: String| error(ErrorClass::Invalid, "configure", text);
        // A trailing slash keeps a path prefix (Connect behind a proxy) when paths are joined.
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/')))
            .map_err(|e| invalid(format!("connect.url is not a URL: {e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(invalid("connect.url must be http(s)://host:port".into()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| invalid(format!("cannot build an HTTP client: {}", e.without_url())))?;
        Ok(Self {
            inner: Arc::new(Inner {
                base,
                http,
                writes: Semaphore::new(1),
                breaker: Breaker::new(Backend::Connect, url),
                writes_done: AtomicU64::new(0),
                listed: Mutex::default(),
            }),
            redactor: Redactor::default(),
            fence: Fence::open(),
        })
    }

    /// The same client, which writes only while `fence` is open.
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }

    /// The same client (same write queue, breaker and shared list), which also masks what `redactor` knows.
    pub fn redacting_with(&self, redactor: &Redactor) -> Self {
        Self {
            inner: self.inner.clone(),
            redactor: redactor.clone(),
            fence: self.fence.clone(),
        }
    }

    /// The gate before any action: healthy JSON, or an error. Workers before 4.0 have no `/health`; their JSON 404
    /// proves a running REST server, so the root resource decides.
    pub async fn health(&self) -> BackendResult<WorkerInfo> {
        let op = "GET /health";
        let reply = self.read(op, &["health"], &[]).await?;
        if reply.status != reqwest::StatusCode::NOT_FOUND || !reply.json {
            let health: HealthReply = match reply.parse(op, &self.redactor) {
                Ok(health) => health,
                // 503 carries the reason in the same JSON shape.
                Err(e) if e.class == ErrorClass::Transient => {
                    return Err(error(ErrorClass::Unreachable, op, e.message));
                }
                Err(e) => return Err(e),
            };
            if health.status != "healthy" {
                let text = self.redactor.redact(&health.message);
                return Err(error(
                    ErrorClass::Unreachable,
                    op,
                    format!("the worker is {}: {text}", health.status),
                ));
            }
        }
        self.get("GET /", &[], &[]).await
    }

    pub async fn plugins(&self) -> BackendResult<Vec<Plugin>> {
        self.get("list connector plugins", &["connector-plugins"], &[])
            .await
    }

    /// The installed version of a connector class, or [`ErrorClass::Unsupported`].
    pub async fn plugin_version(&self, class: &str) -> BackendResult<String> {
        let plugins = self.plugins().await?;
        plugins
            .into_iter()
            .find(|p| p.class == class)
            .map(|p| p.version.unwrap_or_default())
            .ok_or_else(|| {
                error(
                    ErrorClass::Unsupported,
                    "find connector plugin",
                    format!("the workers do not have {class}: put the plugin on their plugin.path"),
                )
            })
    }

    /// Asks Connect (and through it the source) whether the configuration can work. `Err` means the question failed.
    pub async fn validate(&self, name: &str, config: &ConnectorConfig) -> BackendResult<Validation> {
        let op = format!("validate connector {name}");
        let class = config.get("connector.class").ok_or_else(|| {
            error(
                ErrorClass::Invalid,
                &op,
                "the configuration has no connector.class",
            )
        })?;
        let path = ["connector-plugins", class, "config", "validate"];
        // Without "name" the reply counts a spurious error.
        let body = serde_json::to_value(named(name, config)).unwrap_or_default();
        let reply = self
            .send(&op, Method::PUT, &path, &[], Some(&body), VALIDATE_TIMEOUT)
            .await?;
        let reply: ValidateReply = reply.parse(&op, &self.redactor)?;
        Ok(self.validation(reply))
    }

    fn validation(&self, reply: ValidateReply) -> Validation {
        let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for value in reply.configs.into_iter().filter_map(|c| c.value) {
            let texts = value.errors.unwrap_or_default();
            if texts.is_empty() {
                continue;
            }
            let key = value.name.unwrap_or_else(|| "?".to_owned());
            let texts = texts.iter().map(|t| self.redactor.redact(t));
            errors.entry(key).or_default().extend(texts);
        }
        if errors.is_empty() && reply.error_count > 0 {
            let text = format!("{} errors without a text", reply.error_count);
            errors.insert("configuration".to_owned(), vec![text]);
        }
        Validation { errors }
    }

    /// [`Self::list`], shared: asked at most once per [`LIST_MAX_AGE`] and after each of our writes, however many want it. A
    /// failure is shared too. Traces are as Connect gave them but for what looks like a credential: see [`Self::masked`].
    pub async fn connectors(&self) -> BackendResult<Arc<Connectors>> {
        let mut slot = self.inner.listed.lock().await;
        let writes_done = self.inner.writes_done.load(Ordering::Acquire);
        if let Some(listed) = slot.as_ref()
            && listed.writes_done == writes_done
            && listed.at.elapsed() < LIST_MAX_AGE
        {
            return listed.answer.clone();
        }
        let answer = self.list().await.map(Arc::new);
        *slot = Some(Listed {
            at: Instant::now(),
            writes_done,
            answer: answer.clone(),
        });
        answer
    }

    /// A status from a shared list, with this client's secrets masked too.
    pub fn masked(&self, status: &ConnectorStatus) -> ConnectorStatus {
        let mut status = status.clone();
        self.redact_traces(&mut status);
        status
    }

    /// All connectors with status and configuration, in one call. Leaves out a connector that has no status yet (for
    /// seconds after its creation): absence here proves nothing, ask [`Self::config`].
    pub async fn list(&self) -> BackendResult<BTreeMap<String, ConnectorSummary>> {
        let mut all: BTreeMap<String, ConnectorSummary> = self
            .get(
                "list connectors",
                &["connectors"],
                &[("expand", "status"), ("expand", "info")],
            )
            .await?;
        for (name, summary) in &mut all {
            if let Some(status) = summary.status.as_mut() {
                self.redact_traces(status);
            }
            if let Some(info) = summary.info.as_mut() {
                info.config = normalised(name, &info.config);
            }
        }
        Ok(all)
    }

    /// The live configuration without `name`; `None` when the connector does not exist.
    pub async fn config(&self, name: &str) -> BackendResult<Option<ConnectorConfig>> {
        let op = format!("read configuration of connector {name}");
        let live: Option<Value> = absent_as_none(self.get(&op, &["connectors", name, "config"], &[]).await)?;
        live.map(|value| {
            without_nulls(value)
                .map(|config| normalised(name, &config))
                .map_err(|_| error(ErrorClass::Transient, &op, "values are not all strings"))
        })
        .transpose()
    }

    /// Creates the connector without starting it, so that offsets and ownership can be looked at first.
    pub async fn create_stopped(&self, name: &str, config: &ConnectorConfig) -> BackendResult<()> {
        let op = format!("create connector {name}");
        let body = json!({
            "name": name,
            "config": normalised(name, config),
            "initial_state": "STOPPED",
        });
        self.write(&op, Method::POST, &["connectors"], &[], Some(&body))
            .await
            .map(drop)
    }

    /// Makes the live configuration the wanted one; sends nothing when it already is.
    pub async fn put_config(&self, name: &str, config: &ConnectorConfig) -> BackendResult<PutOutcome> {
        let wanted = normalised(name, config);
        if self.config(name).await?.as_ref() == Some(&wanted) {
            return Ok(PutOutcome::Unchanged);
        }
        let op = format!("configure connector {name}");
        let body = serde_json::to_value(&wanted).unwrap_or_default();
        let path = ["connectors", name, "config"];
        let reply = self.write(&op, Method::PUT, &path, &[], Some(&body)).await?;
        Ok(match reply.status {
            reqwest::StatusCode::CREATED => PutOutcome::Created,
            _ => PutOutcome::Updated,
        })
    }

    /// State of connector and tasks; `None` when unknown (also for a moment after creation).
    pub async fn status(&self, name: &str) -> BackendResult<Option<ConnectorStatus>> {
        let op = format!("read status of connector {name}");
        let status: Option<ConnectorStatus> =
            absent_as_none(self.get(&op, &["connectors", name, "status"], &[]).await)?;
        Ok(status.map(|mut status| {
            self.redact_traces(&mut status);
            status
        }))
    }

    /// Asks for a stop. Asynchronous: poll [`Self::status`] until it is `STOPPED` without tasks.
    pub async fn stop(&self, name: &str) -> BackendResult<()> {
        self.command(name, "stop", Method::PUT, &[]).await
    }

    pub async fn resume(&self, name: &str) -> BackendResult<()> {
        self.command(name, "resume", Method::PUT, &[]).await
    }

    /// Restarts what is `FAILED`, leaves the rest alone.
    pub async fn restart_failed(&self, name: &str) -> BackendResult<()> {
        let query = [("includeTasks", "true"), ("onlyFailed", "true")];
        self.command(name, "restart", Method::POST, &query).await
    }

    /// Restarts connector and tasks, for one that says RUNNING and makes no progress.
    pub async fn restart(&self, name: &str) -> BackendResult<()> {
        let query = [("includeTasks", "true"), ("onlyFailed", "false")];
        self.command(name, "restart", Method::POST, &query).await
    }

    /// Committed source offsets; `None` when the connector does not exist.
    pub async fn offsets(&self, name: &str) -> BackendResult<Option<Vec<OffsetEntry>>> {
        let op = format!("read offsets of connector {name}");
        let reply: Option<OffsetsReply> =
            absent_as_none(self.get(&op, &["connectors", name, "offsets"], &[]).await)?;
        Ok(reply.map(|r| r.offsets))
    }

    /// Forgets the source position: the next start takes a snapshot. Refused by Connect unless stopped.
    pub async fn delete_offsets(&self, name: &str) -> BackendResult<()> {
        let op = format!("delete offsets of connector {name}");
        let path = ["connectors", name, "offsets"];
        self.write(&op, Method::DELETE, &path, &[], None).await.map(drop)
    }

    /// Removes the connector; `false` when it was not there. Its offsets survive.
    pub async fn delete(&self, name: &str) -> BackendResult<bool> {
        let op = format!("delete connector {name}");
        let done = self
            .write(&op, Method::DELETE, &["connectors", name], &[], None)
            .await;
        Ok(absent_as_none(done)?.is_some())
    }

    fn redact_traces(&self, status: &mut ConnectorStatus) {
        let traces =
            std::iter::once(&mut status.connector.trace).chain(status.tasks.iter_mut().map(|t| &mut t.trace));
        for trace in traces.flatten() {
            *trace = self.redactor.mask(trace);
        }
    }

    async fn command(
        &self,
        name: &str,
        verb: &str,
        method: Method,
        query: &[(&str, &str)],
    ) -> BackendResult<()> {
        let op = format!("{verb} connector {name}");
        self.write(&op, method, &["connectors", name, verb], query, None)
            .await
            .map(drop)
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        op: &str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> BackendResult<T> {
        self.read(op, path, query).await?.parse(op, &self.redactor)
    }

    async fn read(&self, op: &str, path: &[&str], query: &[(&str, &str)]) -> BackendResult<Reply> {
        self.send(op, Method::GET, path, query, None, READ_TIMEOUT).await
    }

    async fn write(
        &self,
        op: &str,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> BackendResult<Reply> {
        let turn = tokio::time::timeout(WRITE_TIMEOUT, self.inner.writes.acquire());
        let _turn = match turn.await {
            Ok(Ok(permit)) => permit,
            _ => {
                return Err(error(
                    ErrorClass::Transient,
                    op,
                    "other writes to this Connect cluster took too long; trying again later",
                ));
            }
        };
        self.fence
            .check()
            .map_err(|e| BackendError::not_leading(Backend::Connect, op, e))?;
        let sent = self.send(op, method, path, query, body, WRITE_TIMEOUT).await;
        // Whatever came back: it may have been carried out.
        self.inner.writes_done.fetch_add(1, Ordering::Release);
        let reply = sent?;
        reply.check(op, &self.redactor)?;
        Ok(reply)
    }

    async fn send(
        &self,
        op: &str,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        timeout: Duration,
    ) -> BackendResult<Reply> {
        let reads = method == Method::GET;
        let mut request = self
            .inner
            .http
            .request(method, self.url(op, path, query)?)
            .timeout(timeout)
            .header(header::ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        let call = async {
            match request.send().await {
                Ok(response) => read_reply(op, response, reads).await,
                Err(e) => Err(transport(op, e, reads)),
            }
        };
        self.inner.breaker.run(op, call).await
    }

    /// Segments are encoded one by one: a name never becomes a path.
    fn url(&self, op: &str, path: &[&str], query: &[(&str, &str)]) -> BackendResult<Url> {
        let mut url = self.inner.base.clone();
        url.path_segments_mut()
            .map_err(|()| error(ErrorClass::Invalid, op, "connect.url cannot have a path"))?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

async fn read_reply(op: &str, mut response: reqwest::Response, reads: bool) -> BackendResult<Reply> {
    let status = response.status();
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("json"));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| transport(op, e, reads))? {
        if body.len() + chunk.len() > BODY_MAX {
            let text = format!("the reply is larger than {} MiB", BODY_MAX >> 20);
            return Err(error(ErrorClass::Transient, op, text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, json, body })
}

/// A request that reached nobody is an outage, as is a question without an answer in time; a write without one may have been
/// carried out.
fn transport(op: &str, e: reqwest::Error, reads: bool) -> BackendError {
    let connecting = e.is_connect();
    let timeout = e.is_timeout();
    // The cause says "connection refused"; the URL is dropped, it may hold credentials.
    let e = e.without_url();
    let cause = std::iter::successors(std::error::Error::source(&e), |s| s.source()).last();
    let cause = cause.map_or_else(|| e.to_string(), ToString::to_string);
    match (connecting, timeout) {
        (true, true) => error(
            ErrorClass::Unreachable,
            op,
            format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        ),
        (true, false) => error(ErrorClass::Unreachable, op, cause),
        (false, true) if reads => error(ErrorClass::Unreachable, op, "no answer in time"),
        (false, true) => error(ErrorClass::Transient, op, "no answer in time"),
        (false, false) => error(ErrorClass::Transient, op, cause),
    }
}

fn absent_as_none<T>(result: BackendResult<T>) -> BackendResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.class == ErrorClass::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `name` is Connect's own key: it adds it to what it returns and wants it in some requests.
fn normalised(name: &str, config: &ConnectorConfig) -> ConnectorConfig {
    let mut config = config.clone();
    if config.get("name").is_some_and(|n| n == name) {
        config.remove("name");
    }
    config
}

fn named(name: &str, config: &ConnectorConfig) -> ConnectorConfig {
    let mut config = config.clone();
    config.insert("name".to_owned(), name.to_owned());
    config
}
