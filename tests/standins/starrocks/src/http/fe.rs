//! FE: redirects loads to a BE, answers for labels. It never reads a body, so it never sends 100.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::{Method, Request, StatusCode, Version};

use super::responses::{self, HttpResponse};
use super::{Dropped, auth, query_value, segments, transaction};
use crate::cluster::Cluster;
use crate::faults::FaultKind;
use crate::load::txn::TxnState;

#[derive(Debug)]
pub struct Fe {
    pub cluster: Arc<Cluster>,
    /// `host:port` of the BE's HTTP door.
    pub be_http: String,
}

impl Fe {
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<HttpResponse, Dropped> {
        let path = segments(request.uri().path());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = request.uri().query().map(str::to_owned);
        let method = request.method().clone();
        Ok(match (&method, path.as_slice()) {
            (&Method::GET, ["api", "health"]) => responses::json(responses::rest_result(Ok(()))),
            (&Method::PUT, ["api", db, table, "_stream_load"]) => self.stream_load(&request, db, table, peer),
            (&Method::PUT, ["api", _, "_stream_load"]) => {
                responses::fe_failed("DdlException", "No table selected.")
            }
            (&Method::GET, ["api", db, "get_load_state"]) => {
                self.authorized(&request, peer, db, "", || self.load_state(db, query.as_deref()))
            }
            (&Method::POST, ["api", db, table, "_cancel"]) => {
                self.authorized(&request, peer, db, table, || self.cancel(db, query.as_deref()))
            }
            (_, ["api", "transaction", operation]) => match self.authenticate(&request, peer, "", "") {
                Err(refused) => *refused,
                Ok(()) => transaction::fe(&self.cluster, &self.be_http, &request, operation).await,
            },
            _ => responses::text(StatusCode::NOT_FOUND, "404 Not Found".into()),
        })
    }

    fn authenticate(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        db: &str,
        table: &str,
    ) -> Result<(), Box<HttpResponse>> {
        let Some(credentials) = auth::basic(request.headers()) else {
            return Err(Box::new(responses::fe_unauthorized("Need auth information.")));
        };
        let known = self.cluster.password_of(&credentials.user) == Some(credentials.password.as_str());
        if !known
            || self
                .cluster
                .faults
                .take(FaultKind::AuthFailure, db, table)
                .is_some()
        {
            return Err(Box::new(responses::fe_unauthorized(&format!(
                "Access denied for {}@{}",
                credentials.user,
                peer.ip()
            ))));
        }
        Ok(())
    }

    fn authorized(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        db: &str,
        table: &str,
        then: impl FnOnce() -> HttpResponse,
    ) -> HttpResponse {
        match self.authenticate(request, peer, db, table) {
            Ok(()) => then(),
            Err(refused) => *refused,
        }
    }

    fn stream_load(
        &self,
        request: &Request<Incoming>,
        db: &str,
        table: &str,
        peer: SocketAddr,
    ) -> HttpResponse {
        if let Err(refused) = self.authenticate(request, peer, db, table) {
            return *refused;
        }
        if let Some((_, fault)) = self.cluster.faults.take(FaultKind::FeError, db, table) {
            let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return responses::fe_error(status, "internal error");
        }
        let expects = request
            .headers()
            .get(EXPECT)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        // HTTP/1.0 knows no Expect and is exempt.
        if !expects && request.version() != Version::HTTP_10 {
            return responses::fe_failed("DdlException", "There is no 100-continue header");
        }
        if self
            .cluster
            .faults
            .take(FaultKind::NoBackendAlive, db, table)
            .is_some()
        {
            return responses::fe_failed("DdlException", "No backend alive.");
        }
        self.cluster.counters.redirects.fetch_add(1, Ordering::Relaxed);
        let path_and_query = request.uri().path_and_query().map_or("/", |p| p.as_str());
        responses::fe_redirect(&format!("http://{}{path_and_query}", self.be_http))
    }

    fn load_state(&self, db: &str, query: Option<&str>) -> HttpResponse {
        let Some(label) = query_value(query, "label").filter(|l| !l.is_empty()) else {
            return responses::json(responses::rest_result(Err("No label selected.")));
        };
        if !self.cluster.catalog.read().databases.contains_key(db) {
            return responses::json(responses::rest_result(Err(&format!(
                "unknown database, database={db}"
            ))));
        }
        match self.cluster.txns.by_label(db, &label) {
            None => responses::json(responses::load_state("UNKNOWN", "")),
            Some(txn) => {
                let reason = txn.stats.read().reason.clone();
                responses::json(responses::load_state(txn.state().as_str(), &reason))
            }
        }
    }

    fn cancel(&self, db: &str, query: Option<&str>) -> HttpResponse {
        let Some(label) = query_value(query, "label").filter(|l| !l.is_empty()) else {
            return responses::json(responses::rest_result(Err("No label selected.")));
        };
        let result = match self.cluster.txns.by_label(db, &label) {
            Some(txn) if txn.state() != TxnState::Aborted => self.cluster.txns.abort(&txn, "user cancel"),
            _ => Err(format!("running transaction not found, label={label}")),
        };
        responses::json(responses::rest_result(
            result.as_ref().copied().map_err(String::as_str),
        ))
    }
}
