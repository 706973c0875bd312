//! `/api/transaction/*` on FE and BE. FE redirects what the BE owns and answers for what is PREPARED or done.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{HeaderMap, Request};

use super::Dropped;
use super::be::{Be, receive};
use super::fe::redirect_to;
use super::responses::{self, HttpResponse, Pretty};
use crate::cluster::Cluster;
use crate::load::session::{self, Session, TxnError};
use crate::load::txn::TxnState;

/// What FE does with a request: `Ok` is its own answer, otherwise a 307 to the BE.
pub async fn fe(cluster: &Arc<Cluster>, request: &Request<Incoming>, operation: &str) -> HttpResponse {
    let headers = request.headers();
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    if !matches!(operation, "begin" | "load" | "prepare" | "commit" | "rollback") {
        return responses::fe_failed("DdlException", &format!("unknown operation: {operation}"));
    }
    let (db, label) = (text("db"), text("label"));
    if label.is_empty() {
        return responses::fe_failed("UserException", "Empty label.");
    }
    let txn = cluster.txns.by_label(db, label);
    match (operation, txn.as_ref().map(|txn| (txn.id, txn.state()))) {
        ("commit", Some((id, TxnState::Committed | TxnState::Visible))) => {
            return fe_ok(
                &format!("Transaction {id} has already committed, label is {label}"),
                label,
                id,
            );
        }
        ("commit" | "rollback", Some((_, TxnState::Prepared))) => {
            if let Ok(session) = session::find(cluster, headers) {
                return fe_finish(cluster, &session, operation).await;
            }
        }
        ("begin", Some((_, state))) if state != TxnState::Aborted => {
            return responses::json(label_exists(state.existing_job_status(), label));
        }
        ("load" | "prepare" | "commit" | "rollback", None) => {
            return responses::fe_failed(
                "StarRocksException",
                &format!("No transaction found by label {label}"),
            );
        }
        _ => {}
    }
    // Begin takes any BE; the rest goes to the BE that owns the label.
    let owner = txn.filter(|_| operation != "begin").and_then(|txn| txn.backend);
    match owner.or_else(|| cluster.nodes.choose_backend()) {
        Some(be) => redirect_to(&cluster.nodes.backends[be].http, request),
        None => responses::fe_failed("DdlException", "No backend alive."),
    }
}

async fn fe_finish(cluster: &Arc<Cluster>, session: &Session, operation: &str) -> HttpResponse {
    let done = match operation {
        "commit" => session.commit(cluster).await.map(|_| ()),
        _ => session.rollback(cluster),
    };
    match done {
        Ok(()) => fe_ok("", &session.txn.label, session.txn.id),
        Err(error) => responses::fe_failed("StarRocksException", &error.message(&session.txn.label)),
    }
}

/// FE's own reply to a used label.
fn label_exists(status: &str, label: &str) -> String {
    let message = serde_json::Value::from(format!("Label [{label}] has already been used."));
    format!(
        "{{\n  \"Status\": \"LABEL_ALREADY_EXISTS\",\n  \"ExistingJobStatus\": \"{status}\",\n  \"Message\": {message}\n}}"
    )
}

fn fe_ok(message: &str, label: &str, txn_id: i64) -> HttpResponse {
    let (message, label) = (serde_json::Value::from(message), serde_json::Value::from(label));
    responses::json(format!(
        "{{\n  \"Status\": \"OK\",\n  \"Message\": {message},\n  \"Label\": {label},\n  \"TxnId\": {txn_id}\n}}"
    ))
}

pub async fn be(
    be: &Be,
    request: Request<Incoming>,
    operation: &str,
    peer: SocketAddr,
) -> Result<HttpResponse, Dropped> {
    let headers = request.headers().clone();
    let label = headers
        .get("label")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let done = match be.authenticate(&headers, "", "", peer) {
        Ok(user) => run(be, request, &headers, operation, &user).await,
        Err(message) => Err(TxnError::Internal(message)),
    };
    Ok(responses::json(match done {
        Ok(body) => body,
        Err(error) => {
            let mut out = Pretty::default();
            out.text("Status", error.status());
            if let TxnError::LabelExists(status) = &error {
                out.text("ExistingJobStatus", status);
            }
            out.text("Message", &error.message(&label));
            if matches!(error, TxnError::InProcessing(_)) {
                out.text("Label", &label);
            }
            out.finish()
        }
    }))
}

async fn run(
    be: &Be,
    request: Request<Incoming>,
    headers: &HeaderMap,
    operation: &str,
    user: &str,
) -> Result<String, TxnError> {
    let cluster = &be.cluster;
    let mut out = Pretty::default();
    out.text("Status", "OK");
    out.text("Message", "");
    match operation {
        "begin" => {
            let text = |name: &str| {
                headers
                    .get(name)
                    .and_then(|v| v.to_str().ok())
                    .unwrap_or_default()
            };
            be.authorize(user, text("db"), text("table"))
                .map_err(TxnError::Internal)?;
            let session = session::begin(cluster, headers, user, be.index)?;
            out.text("Label", &session.txn.label);
            out.number("TxnId", session.txn.id);
            out.number("BeginTxnTimeMs", 0);
        }
        "load" => {
            let session = session::find(cluster, headers)?;
            let body = receive(request, None).await.map_err(TxnError::Internal)?;
            let bytes = session.load(cluster, headers, body).await?;
            out.text("Label", &session.txn.label);
            out.number("TxnId", session.txn.id);
            out.number("LoadBytes", bytes);
            out.number("StreamLoadPlanTimeMs", 0);
            out.number("ReceivedDataTimeMs", 0);
        }
        "prepare" => {
            let session = session::find(cluster, headers)?;
            session.prepare(cluster)?;
            figures(&mut out, &session, &be.address);
        }
        "commit" => {
            let session = session::find(cluster, headers)?;
            session.commit(cluster).await?;
            cluster.counters.load("Success");
            figures(&mut out, &session, &be.address);
        }
        "rollback" => session::find(cluster, headers)?.rollback(cluster)?,
        other => return Err(TxnError::Invalid(format!("unknown operation: {other}"))),
    }
    Ok(out.finish())
}

fn figures(out: &mut Pretty, session: &Session, be_http: &str) {
    let totals = session.totals();
    out.text("Label", &session.txn.label);
    out.number("TxnId", session.txn.id);
    for (key, value) in [
        ("NumberTotalRows", totals.total),
        ("NumberLoadedRows", totals.total - totals.filtered),
        ("NumberFilteredRows", totals.filtered),
        ("NumberUnselectedRows", 0),
        ("LoadBytes", totals.bytes),
        (
            "LoadTimeMs",
            u64::try_from(session.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ),
        ("StreamLoadPlanTimeMs", 0),
        ("ReceivedDataTimeMs", 0),
        ("WriteDataTimeMs", 0),
        ("CommitAndPublishTimeMs", 0),
    ] {
        out.number(key, value);
    }
    if let Some(id) = session.error_log() {
        out.text(
            "ErrorURL",
            &format!("http://{be_http}/api/_load_error_log?file={id}"),
        );
    }
}
