//! The admin API: faults, counters and knobs. Not part of StarRocks; on its own port.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::faults::Order;
use crate::nodes::Node;

pub fn router(cluster: Arc<Cluster>) -> Router {
    Router::new()
        .route("/faults", get(list).post(add).delete(clear))
        .route("/faults/{id}", delete(remove))
        .route("/counters", get(counters))
        .route("/labels/clean", post(clean))
        .route("/labels/{db}", get(labels))
        .route("/labels/{db}/{label}", delete(evict))
        .route("/config", get(config).put(configure))
        .route("/alter", get(jobs))
        .route("/alter/tick", post(tick))
        .route("/alter/{id}/cancel", post(cancel_job))
        .route("/nodes", get(nodes))
        .route("/fe/{index}", put(frontend))
        .route("/be/{index}", put(backend))
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

/// FE's cleaner, now.
async fn clean(State(cluster): State<Arc<Cluster>>) -> StatusCode {
    cluster.txns.clean();
    StatusCode::NO_CONTENT
}

async fn evict(State(cluster): State<Arc<Cluster>>, Path((db, label)): Path<(String, String)>) -> StatusCode {
    if cluster.txns.evict(&db, &label) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn config(State(cluster): State<Arc<Cluster>>) -> Json<Value> {
    let list = cluster.config.list().into_iter();
    Json(
        list.map(|(name, value)| (name.to_owned(), json!(value)))
            .collect(),
    )
}

/// `{"label_keep_max_num": 10}`: StarRocks' own names.
async fn configure(
    State(cluster): State<Arc<Cluster>>,
    Json(wanted): Json<BTreeMap<String, u64>>,
) -> (StatusCode, String) {
    for (name, value) in wanted {
        if let Err(error) = cluster.config.set_by_name(&name, &value.to_string()) {
            return (StatusCode::BAD_REQUEST, error);
        }
    }
    (StatusCode::NO_CONTENT, String::new())
}

async fn jobs(State(cluster): State<Arc<Cluster>>) -> Json<Value> {
    let jobs = cluster.jobs.list().into_iter().map(|job| {
        json!({
            "id": job.id, "db": job.db, "table": job.table, "state": job.state.as_str(), "message": job.message,
            "watershed": job.txn_id,
        })
    });
    Json(json!({ "jobs": jobs.collect::<Vec<_>>() }))
}

/// One step of every job, now; answers what they are then.
async fn tick(State(cluster): State<Arc<Cluster>>) -> Json<Value> {
    cluster.jobs.tick(&cluster);
    jobs(State(cluster)).await
}

#[derive(Debug, Deserialize)]
struct Cancel {
    /// `Msg` of the job.
    message: String,
}

/// What cancels a job from within.
async fn cancel_job(
    State(cluster): State<Arc<Cluster>>,
    Path(id): Path<i64>,
    Json(wanted): Json<Cancel>,
) -> StatusCode {
    if cluster.jobs.cancel(id, &wanted.message) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn nodes(State(cluster): State<Arc<Cluster>>) -> Json<Value> {
    let list = |nodes: &[Node]| -> Vec<Value> {
        let show =
            |n: &Node| json!({"http": n.http, "mysql": n.mysql, "up": n.is_up(), "heartbeat": n.is_alive()});
        nodes.iter().map(show).collect()
    };
    let nodes = &cluster.nodes;
    Json(json!({"leader": nodes.leader(), "fe": list(&nodes.frontends), "be": list(&nodes.backends)}))
}

#[derive(Debug, Deserialize)]
struct Process {
    up: bool,
    /// What FE believes; as it is unless said.
    heartbeat: Option<bool>,
}

/// Waits until the node's doors are what they shall be: open, or refusing.
async fn settled(node: &Node) {
    for address in [&node.http, &node.mysql].into_iter().filter(|a| !a.is_empty()) {
        for _ in 0..1000 {
            if tokio::net::TcpStream::connect(address).await.is_ok() == node.is_up() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn frontend(
    State(cluster): State<Arc<Cluster>>,
    Path(index): Path<usize>,
    Json(wanted): Json<Process>,
) -> StatusCode {
    let Some(node) = cluster.nodes.frontends.get(index) else {
        return StatusCode::NOT_FOUND;
    };
    node.set(wanted.up, wanted.heartbeat.unwrap_or(wanted.up));
    settled(node).await;
    StatusCode::NO_CONTENT
}

async fn backend(
    State(cluster): State<Arc<Cluster>>,
    Path(index): Path<usize>,
    Json(wanted): Json<Process>,
) -> StatusCode {
    if index >= cluster.nodes.backends.len() {
        return StatusCode::NOT_FOUND;
    }
    cluster.set_backend(index, wanted.up, wanted.heartbeat.unwrap_or(wanted.up));
    settled(&cluster.nodes.backends[index]).await;
    StatusCode::NO_CONTENT
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
