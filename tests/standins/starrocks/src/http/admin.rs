//! The admin API: faults, counters and knobs. Not part of StarRocks; on its own port.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::faults::Order;

pub fn router(cluster: Arc<Cluster>) -> Router {
    Router::new()
        .route("/faults", get(list).post(add).delete(clear))
        .route("/faults/{id}", delete(remove))
        .route("/counters", get(counters))
        .route("/labels/{db}", get(labels))
        .route("/tables/{db}/{table}/compaction", put(compaction))
        .route("/tables/{db}/{table}/versions", get(versions))
        .with_state(cluster)
}

async fn list(State(cluster): State<Arc<Cluster>>) -> Json<Value> {
    Json(json!({ "faults": cluster.faults.list() }))
}

async fn add(State(cluster): State<Arc<Cluster>>, Json(order): Json<Order>) -> (StatusCode, Json<Value>) {
    tracing::info!(?order, "fault ordered");
    (
        StatusCode::CREATED,
        Json(json!({ "id": cluster.faults.add(order) })),
    )
}

async fn clear(State(cluster): State<Arc<Cluster>>) -> StatusCode {
    cluster.faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove(State(cluster): State<Arc<Cluster>>, Path(id): Path<u64>) -> StatusCode {
    if cluster.faults.remove(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn counters(State(cluster): State<Arc<Cluster>>) -> Json<Value> {
    Json(json!(cluster.counters.snapshot()))
}

/// Every label the database still remembers, with its state.
async fn labels(State(cluster): State<Arc<Cluster>>, Path(db): Path<String>) -> Json<Value> {
    let labels: Vec<Value> = cluster
        .txns
        .list()
        .into_iter()
        .filter(|txn| txn.db == db)
        .map(|txn| {
            let stats = txn.stats.read();
            json!({
                "label": txn.label, "txnId": txn.id, "table": txn.table, "state": txn.state().as_str(),
                "rows": stats.loaded_rows, "reason": stats.reason,
            })
        })
        .collect();
    Json(json!({ "labels": labels }))
}

#[derive(Debug, Deserialize)]
struct Compaction {
    /// Versions merged per second; 0 stops compaction.
    rate: f64,
    /// `tablet_max_versions`.
    limit: Option<u32>,
}

async fn compaction(
    State(cluster): State<Arc<Cluster>>,
    Path((db, table)): Path<(String, String)>,
    Json(wanted): Json<Compaction>,
) -> StatusCode {
    let Some(table) = cluster.catalog.read().table(&db, &table) else {
        return StatusCode::NOT_FOUND;
    };
    let mut state = table.write();
    let limit = wanted.limit.unwrap_or_else(|| state.versions.limit());
    state.versions.set_compaction(wanted.rate.max(0.0), limit);
    StatusCode::NO_CONTENT
}

async fn versions(
    State(cluster): State<Arc<Cluster>>,
    Path((db, table)): Path<(String, String)>,
) -> Result<Json<Value>, StatusCode> {
    let table = cluster
        .catalog
        .read()
        .table(&db, &table)
        .ok_or(StatusCode::NOT_FOUND)?;
    let mut state = table.write();
    let (versions, limit) = (state.versions.count(), state.versions.limit());
    Ok(Json(json!({
        "versions": versions, "limit": limit, "visibleVersion": state.visible_version, "rows": state.row_count(),
    })))
}
