//! A Stream Load endpoint for protocol tests: FE and BE on two ports, replies by script.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::{Value, json};

/// What the next load meets.
#[derive(Clone, Debug)]
pub enum Act {
    /// Committed and visible.
    Load,
    /// Committed; the connection is cut before the reply.
    CommitThenDrop,
    /// Not committed; the connection is cut.
    Drop,
    /// `Status: Fail` with this message, sent before the body is read.
    FailBeforeBody(&'static str),
    /// `Status: Fail` with this message, after the body.
    Fail(&'static str),
    PublishTimeout,
    /// FE answers 200 with `FAILED` and this message.
    FrontendFailed(&'static str),
    Unauthorized,
    /// Committed, but the counts say a row was filtered.
    Filtered,
}

#[derive(Default)]
pub struct Seen {
    script: HashMap<String, VecDeque<Act>>,
    /// (table, label, rows in the body) of every load that was committed.
    pub loads: Vec<(String, String, usize)>,
    /// Every label that reached BE, with its body.
    pub bodies: Vec<(String, Bytes)>,
    pub rows: BTreeMap<String, BTreeMap<String, Value>>,
    pub state_questions: usize,
    /// Loads that began at FE.
    pub redirected: usize,
    pub headers: Vec<HeaderMap>,
    /// What get_load_state says of a label that was not loaded here.
    pub states: HashMap<String, &'static str>,
    committed: HashMap<String, ()>,
}

#[derive(Clone)]
struct App {
    seen: Arc<Mutex<Seen>>,
    backend: SocketAddr,
}

pub struct Endpoint {
    seen: Arc<Mutex<Seen>>,
    pub frontend: String,
    runtime: tokio::runtime::Runtime,
}

impl Endpoint {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let frontend = runtime.block_on(async {
            let fe = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let be = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let app = App {
                seen: Arc::clone(&seen),
                backend: be.local_addr().unwrap(),
            };
            let address = fe.local_addr().unwrap();
            let fe_routes = Router::new()
                .route("/api/{db}/{table}/_stream_load", put(frontend))
                .route("/api/{db}/get_load_state", get(load_state))
                .with_state(app.clone());
            let be_routes = Router::new()
                .route("/api/{db}/{table}/_stream_load", put(backend))
                .with_state(app);
            tokio::spawn(async move { axum::serve(fe, fe_routes).await });
            tokio::spawn(async move { axum::serve(be, be_routes).await });
            format!("http://{address}")
        });
        Self {
            seen,
            frontend,
            runtime,
        }
    }

    pub fn script(&self, table: &str, acts: impl IntoIterator<Item = Act>) {
        self.seen
            .lock()
            .unwrap()
            .script
            .entry(table.into())
            .or_default()
            .extend(acts);
    }

    pub fn unscript(&self, table: &str) {
        self.seen.lock().unwrap().script.remove(table);
    }

    /// What is known of a label from before.
    pub fn state(&self, label: &str, state: &'static str) {
        self.seen.lock().unwrap().states.insert(label.into(), state);
    }

    pub fn see<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    pub fn rows(&self, table: &str) -> Vec<Value> {
        self.see(|seen| {
            seen.rows
                .get(table)
                .map_or_else(Vec::new, |rows| rows.values().cloned().collect())
        })
    }
}

fn next(seen: &Mutex<Seen>, table: &str, frontend: bool) -> Act {
    let mut seen = seen.lock().unwrap();
    let script = seen.script.entry(table.into()).or_default();
    let at_frontend = |act: &Act| matches!(act, Act::FrontendFailed(_) | Act::Unauthorized);
    match script.front() {
        Some(act) if at_frontend(act) == frontend => script.pop_front().unwrap(),
        _ => Act::Load,
    }
}

async fn frontend(
    State(app): State<App>,
    Path((db, table)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    assert_eq!(headers[header::EXPECT], "100-continue");
    assert_eq!(headers[header::AUTHORIZATION], "Basic cmVsYXk6c2VjcmV0");
    assert_eq!(headers[header::CONTENT_LENGTH], "0", "the first hop has no body");
    match next(&app.seen, &table, true) {
        Act::FrontendFailed(message) => {
            let body = json!({"Status": "FAILED", "Message": message}).to_string();
            (StatusCode::OK, body).into_response()
        }
        Act::Unauthorized => {
            let body = r#"{"status":"FAILED","code":"1","msg":"Access denied for relay@127.0.0.1","message":"Access denied for relay@127.0.0.1"}"#;
            (StatusCode::UNAUTHORIZED, body).into_response()
        }
        _ => {
            app.seen.lock().unwrap().redirected += 1;
            let location = format!("http://{}/api/{db}/{table}/_stream_load", app.backend);
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
        }
    }
}

async fn load_state(State(app): State<App>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut seen = app.seen.lock().unwrap();
    seen.state_questions += 1;
    let state = match seen.committed.contains_key(&query["label"]) {
        true => "VISIBLE",
        false => seen.states.get(&query["label"]).copied().unwrap_or("UNKNOWN"),
    };
    json!({"state": state, "reason": "", "status": "OK", "code": "0", "msg": "Success", "message": "OK"})
        .to_string()
        .into_response()
}

async fn backend(
    State(app): State<App>,
    Path((_db, table)): Path<(String, String)>,
    headers: HeaderMap,
    request: axum::body::Body,
) -> Response {
    let label = headers["label"].to_str().unwrap().to_owned();
    assert_eq!(headers[header::AUTHORIZATION], "Basic cmVsYXk6c2VjcmV0");
    assert_eq!(headers["timezone"], "UTC");
    app.seen.lock().unwrap().headers.push(headers);
    let act = next(&app.seen, &table, false);
    let fail =
        |message: &str| json!({"TxnId": 1, "Label": label, "Status": "Fail", "Message": message}).to_string();
    if let Act::FailBeforeBody(message) = act {
        return (StatusCode::OK, [(header::CONNECTION, "close")], fail(message)).into_response();
    }
    let body = axum::body::to_bytes(request, usize::MAX).await.unwrap();
    let mut seen = app.seen.lock().unwrap();
    seen.bodies.push((label.clone(), body.clone()));
    if seen.committed.contains_key(&label) {
        let reply = json!({"TxnId": -1, "Label": label, "Status": "Label Already Exists", "ExistingJobStatus": "FINISHED", "Message": format!("Label [{label}] has already been used.")});
        return reply.to_string().into_response();
    }
    match act {
        Act::Fail(message) => return fail(message).into_response(),
        Act::Drop => return cut(),
        _ => {}
    }
    let rows: Vec<Value> = serde_json::from_slice(&body).expect("a JSON array");
    let count = rows.len();
    for row in rows {
        let key = row["order_id"]
            .as_str()
            .expect("the full key in every row")
            .to_owned();
        let table = seen.rows.entry(table.clone()).or_default();
        if row["__op"] == 1 {
            table.remove(&key);
        } else {
            table.insert(key, row);
        }
    }
    seen.committed.insert(label.clone(), ());
    seen.loads.push((table, label.clone(), count));
    let status = match act {
        Act::CommitThenDrop => return cut(),
        Act::PublishTimeout => "Publish Timeout",
        _ => "Success",
    };
    let filtered = usize::from(matches!(act, Act::Filtered));
    json!({"TxnId": 7, "Label": label, "Status": status, "Message": "OK", "NumberTotalRows": count,
           "NumberLoadedRows": count - filtered, "NumberFilteredRows": filtered, "NumberUnselectedRows": 0,
           "LoadBytes": body.len(), "LoadTimeMs": 1})
    .to_string()
    .into_response()
}

/// A reply that breaks off: hyper closes the connection when the body fails.
fn cut() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    Response::builder()
        .header(header::CONTENT_LENGTH, "100")
        .body(axum::body::Body::from_stream(broken))
        .unwrap()
}
