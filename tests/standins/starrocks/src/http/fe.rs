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
    /// Which FE this is.
    pub index: usize,
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
            (&Method::GET, ["api", db, "get_load_state"]) => self.authorized(&request, peer, db, "", || {
                self.by_leader(&request, || self.load_state(db, query.as_deref()))
            }),
            // The route is /api/{db}/{label}/_cancel, and a parameter in the query goes before one in the path.
            (&Method::POST, ["api", db, label, "_cancel"]) => self.authorized(&request, peer, db, "", || {
                self.by_leader(&request, || {
                    let named = query_value(query.as_deref(), "label").filter(|l| !l.is_empty());
                    self.cancel(db, named.as_deref().unwrap_or(label))
                })
            }),
            (_, ["api", "transaction", operation]) => match self.authenticate(&request, peer, "", "") {
                Err(refused) => *refused,
                Ok(_) => match self.to_leader(&request) {
                    Some(redirect) => redirect,
                    None => transaction::fe(&self.cluster, &request, operation).await,
                },
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
    ) -> Result<String, Box<HttpResponse>> {
        let Some(credentials) = auth::basic(request.headers()) else {
            return Err(Box::new(responses::fe_unauthorized("Need auth information.")));
        };
        let known = self
            .cluster
            .password_of(&credentials.user)
            .is_some_and(|p| p == credentials.password);
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
        Ok(credentials.user)
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
            Ok(_) => then(),
            Err(refused) => *refused,
        }
    }

    /// A follower sends the client to the leader (stream-load-and-relay.md §1.1: get_load_state, /api/transaction/*).
    fn to_leader(&self, request: &Request<Incoming>) -> Option<HttpResponse> {
        let nodes = &self.cluster.nodes;
        let leader = nodes.leader();
        (leader != self.index).then(|| redirect_to(&nodes.frontends[leader].http, request))
    }

    fn by_leader(&self, request: &Request<Incoming>, here: impl FnOnce() -> HttpResponse) -> HttpResponse {
        self.to_leader(request).unwrap_or_else(here)
    }

    fn stream_load(
        &self,
        request: &Request<Incoming>,
        db: &str,
        table: &str,
        peer: SocketAddr,
    ) -> HttpResponse {
        let user = match self.authenticate(request, peer, db, table) {
            Ok(user) => user,
            Err(refused) => return *refused,
        };
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
        if let Err(who) = self.cluster.may_load(&user, db, table) {
            return responses::fe_unauthorized(&self.cluster.accounts.read().denied_http(&who));
        }
        let faults = &self.cluster.faults;
        let chosen = match faults.take(FaultKind::NoBackendAlive, db, table) {
            Some(_) => None,
            None => self.cluster.nodes.choose_backend(),
        };
        let Some(chosen) = chosen else {
            return responses::fe_failed("DdlException", "No backend alive.");
        };
        self.cluster.counters.redirects.fetch_add(1, Ordering::Relaxed);
        redirect_to(&self.cluster.nodes.backends[chosen].http, request)
    }

    fn load_state(&self, db: &str, query: Option<&str>) -> HttpResponse {
        let Some(label) = query_value(query, "label").filter(|l| !l.is_empty()) else {
            return responses::json(responses::rest_result(Err("No label selected.")));
        };
        if let Some((_, fault)) = self.cluster.faults.take(FaultKind::StateError, db, "") {
            let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return responses::fe_error(status, "internal error");
        }
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

    /// Only PREPARE is cancelled by label; what is PREPARED is rolled back by the transaction interface.
    fn cancel(&self, db: &str, label: &str) -> HttpResponse {
        let result = match self.cluster.txns.by_label(db, label) {
            None => Err(format!("transaction not found, label={label}")),
            Some(txn) if txn.state() == TxnState::Prepare => self.cluster.txns.abort(&txn, "user cancel"),
            Some(_) => Err(format!("running transaction not found, label={label}")),
        };
        responses::json(responses::rest_result(
            result.as_ref().copied().map_err(String::as_str),
        ))
    }
}

pub fn redirect_to(address: &str, request: &Request<Incoming>) -> HttpResponse {
    let path_and_query = request.uri().path_and_query().map_or("/", |p| p.as_str());
    responses::fe_redirect(&format!("http://{address}{path_and_query}"))
}
