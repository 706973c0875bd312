//! The admin API: faults on demand and a look inside, as JSON over HTTP on a port of its own.

use std::sync::{Arc, PoisonError};

use axum::{
    Json, Router,
    extract::State,
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
        .route("/connections/cut", post(cut))
        .route("/cursors/kill", post(kill_cursors))
        .route("/oplog/truncate", post(truncate))
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
        "DELETE /faults": "forget all of the above",
        "POST /connections/cut": "{scope: all|changeStreams}: cut open connections now",
        "POST /cursors/kill": "{scope: all|changeStreams}: the next getMore, and one that waits, answers CursorNotFound",
        "POST /oplog/truncate": "forget history: resuming from before answers ChangeStreamHistoryLost (286)",
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
    }))
}

async fn clear(State(server): Shared) -> StatusCode {
    server.faults.clear();
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

async fn truncate(State(server): Shared) -> Json<Value> {
    Json(json!({ "dropped": server.oplog.truncate() }))
}
