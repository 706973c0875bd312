//! The admin API: faults on demand and a look inside, as JSON over HTTP on a port of its own.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    faults::{DropRule, ErrorRule, LatencyRule, Scope},
    server::Server,
};

type Shared = State<Arc<Server>>;

pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>) {
    let router = Router::new()
        .route("/", get(index))
        .route("/status", get(status))
        .route("/faults", delete(clear))
        .route("/faults/error", post(error))
        .route("/faults/drop", post(drop_next))
        .route("/faults/latency", post(latency))
        .route("/faults/outage", post(outage))
        .route("/faults/oversized", post(oversized))
        .route("/faults/stepdown", post(step_down))
        .route("/connections/cut", post(cut))
        .route("/cursors/kill", post(kill_cursors))
        .route("/oplog/truncate", post(truncate))
        .route("/users", post(put_user))
        .route("/users/{db}/{name}", delete(remove_user))
        .with_state(server);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin API stopped");
    }
}

async fn index() -> Json<Value> {
    Json(json!({
        "GET /status": "connections, cursors, oplog extent, command counts, pending faults",
        "POST /faults/error": "{command?, code, message?, labels?, times?=1}: the next matching commands fail so",
        "POST /faults/drop": "{command?, when?=beforeExecution|afterExecution, times?=1}: the connection is cut at the next matching commands",
        "POST /faults/latency": "{command?, millis, times?}: matching commands are delayed; without times until cleared",
        "POST /faults/outage": "{refuse: bool}: new connections are closed at once; with true the open ones are cut too",
        "POST /faults/oversized": "{bytes}: change streams fail with BSONObjectTooLarge (10334) at an event beyond this size, not only beyond 16 MB",
        "POST /faults/stepdown": "{seconds, drop?=true}: a secondary for so long (writes answer 10107, reads 13435), open connections cut, then primary again",
        "DELETE /faults": "forget all of the above",
        "POST /connections/cut": "{scope: all|changeStreams}: cut open connections now",
        "POST /cursors/kill": "{scope: all|changeStreams}: the next getMore, and one that waits, answers CursorNotFound",
        "POST /oplog/truncate": "{keep?=0, readers?=false}: forget all but the newest entries: resuming from before answers ChangeStreamHistoryLost (286), with readers (and keep 0) the streams that run do too",
        "POST /users": "{user, password, db?=admin}: from the first on clients must log in with SCRAM-SHA-256; not kept across a restart",
        "DELETE /users/{db}/{user}": "its connections are strangers from now on",
        "command": "a command's name; left out it means any but hello, isMaster and endSessions",
    }))
}

async fn status(State(server): Shared) -> Json<Value> {
    let commands = server
        .counters
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let collections: Value = {
        let store = server.read();
        let all = store.databases().flat_map(|(db, cs)| {
            cs.iter()
                .map(move |(name, c)| (format!("{db}.{name}"), json!(c.len())))
        });
        Value::Object(all.collect())
    };
    Json(json!({
        "connections": server.connections.count(),
        "cursors": server.cursors.len(),
        "oplog": server.oplog.extent(),
        "collections": collections,
        "commands": commands,
        "faults": server.faults.pending(),
        "refusingConnections": server.faults.refuses_connections(),
        "eventLimit": server.faults.event_limit(),
        "primary": server.role.primary().is_some(),
    }))
}

async fn clear(State(server): Shared) -> StatusCode {
    server.faults.clear();
    server.role.step_up();
    StatusCode::NO_CONTENT
}

async fn error(State(server): Shared, Json(rule): Json<ErrorRule>) -> StatusCode {
    server.faults.add_error(rule);
    StatusCode::NO_CONTENT
}

async fn drop_next(State(server): Shared, Json(rule): Json<DropRule>) -> StatusCode {
    server.faults.add_drop(rule);
    StatusCode::NO_CONTENT
}

async fn latency(State(server): Shared, Json(rule): Json<LatencyRule>) -> StatusCode {
    server.faults.add_latency(rule);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Outage {
    refuse: bool,
}

async fn outage(State(server): Shared, Json(outage): Json<Outage>) -> Json<Value> {
    server.faults.refuse_connections(outage.refuse);
    let cut = if outage.refuse {
        server.connections.cut(Scope::All)
    } else {
        0
    };
    Json(json!({ "cut": cut }))
}

#[derive(Deserialize)]
struct Which {
    scope: Scope,
}

async fn cut(State(server): Shared, Json(which): Json<Which>) -> Json<Value> {
    Json(json!({ "cut": server.connections.cut(which.scope) }))
}

async fn kill_cursors(State(server): Shared, Json(which): Json<Which>) -> Json<Value> {
    Json(
        json!({ "killed": server.cursors.kill_where(|c| which.scope == Scope::All || c.is_change_stream()) }),
    )
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Truncation {
    keep: usize,
    readers: bool,
}

/// An order may come without a body.
async fn truncate(State(server): Shared, body: Bytes) -> Result<Json<Value>, (StatusCode, String)> {
    let order = if body.is_empty() {
        Truncation::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?
    };
    let dropped = server.oplog.truncate(order.keep, order.readers);
    server.oplog.publish();
    Ok(Json(json!({ "dropped": dropped })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Oversized {
    bytes: usize,
}

async fn oversized(State(server): Shared, Json(order): Json<Oversized>) -> StatusCode {
    server.faults.limit_events(order.bytes);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepDown {
    seconds: f64,
    #[serde(default = "yes")]
    drop: bool,
}

fn yes() -> bool {
    true
}

async fn step_down(State(server): Shared, Json(order): Json<StepDown>) -> Result<Json<Value>, StatusCode> {
    let wait = Duration::try_from_secs_f64(order.seconds).map_err(|_| StatusCode::BAD_REQUEST)?;
    server.role.step_down(wait);
    let cut = if order.drop {
        server.connections.cut(Scope::All)
    } else {
        0
    };
    Ok(Json(json!({ "cut": cut })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    user: String,
    password: String,
    #[serde(default = "admin_database")]
    db: String,
}

fn admin_database() -> String {
    "admin".to_owned()
}

async fn put_user(State(server): Shared, Json(new): Json<NewUser>) -> StatusCode {
    server
        .users
        .put(&format!("{}.{}", new.db, new.user), &new.password);
    StatusCode::NO_CONTENT
}

async fn remove_user(State(server): Shared, Path((db, name)): Path<(String, String)>) -> StatusCode {
    if server.users.remove(&format!("{db}.{name}")) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}
