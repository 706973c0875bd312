//! BE: takes the data. Every reply of a load is HTTP 200; the header phase answers before any byte of the body.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::responses::{self, HttpResponse, LoadReply};
use super::{Dropped, auth, query_value, segments, transaction};
use crate::cluster::Cluster;
use crate::faults::FaultKind;
use crate::load::headers::LoadHeaders;
use crate::load::run::{Load, Outcome, Request as LoadRequest};

/// A chunked body has no announced length; this bounds it.
const MAX_BODY: usize = 1 << 30;

#[derive(Debug)]
pub struct Be {
    pub cluster: Arc<Cluster>,
    /// Which BE this is.
    pub index: usize,
    pub address: String,
}

impl Be {
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<HttpResponse, Dropped> {
        let path = segments(request.uri().path());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (request.method(), path.as_slice()) {
            (&Method::GET, ["api", "health"]) => Ok(responses::json(
                "{\"status\": \"OK\",\"msg\": \"To Be Added\"}".into(),
            )),
            (&Method::GET, ["api", "_load_error_log"]) => {
                let file = query_value(request.uri().query(), "file").unwrap_or_default();
                Ok(match self.cluster.error_log(&file) {
                    Some(log) => responses::text(StatusCode::OK, log),
                    None => responses::text(StatusCode::NOT_FOUND, "file not found".into()),
                })
            }
            (&Method::PUT, ["api", db, table, "_stream_load"]) => {
                let (db, table) = ((*db).to_owned(), (*table).to_owned());
                self.stream_load(request, &db, &table, peer).await
            }
            (_, ["api", "transaction", operation]) => {
                let operation = (*operation).to_owned();
                transaction::be(&self, request, &operation, peer).await
            }
            _ => Ok(responses::text(StatusCode::NOT_FOUND, "404 Not Found".into())),
        }
    }

    async fn stream_load(
        &self,
        request: Request<Incoming>,
        db: &str,
        table: &str,
        peer: SocketAddr,
    ) -> Result<HttpResponse, Dropped> {
        if let Some((_, fault)) = self.cluster.faults.take(FaultKind::BeError, db, table) {
            let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(responses::text(status, "internal error".into()));
        }
        let load = match self.header_phase(request.headers(), db, table, peer) {
            Ok(load) => Arc::new(load),
            Err(reply) => return Ok(self.answer(&reply)),
        };
        // In its own task: once the body is here, the load outlives the client.
        let cluster = self.cluster.clone();
        let slow = cluster
            .faults
            .take(FaultKind::SlowBody, db, table)
            .map(|(_, fault)| fault.delay());
        let run = tokio::spawn(async move {
            match receive(request, slow).await {
                Ok(body) => load.finish(body).await,
                Err(reason) => Outcome::Reply(Box::new(load.give_up(&reason))),
            }
        });
        match run.await {
            Ok(Outcome::Reply(reply)) => Ok(self.answer(&reply)),
            Ok(Outcome::Drop) | Err(_) => {
                self.cluster.counters.load("Dropped");
                Err(Dropped)
            }
        }
    }

    fn answer(&self, reply: &LoadReply) -> HttpResponse {
        self.cluster.counters.load(reply.status);
        tracing::debug!(
            label = reply.label,
            status = reply.status,
            message = reply.message,
            "stream load"
        );
        responses::json(reply.to_json())
    }

    fn header_phase(
        &self,
        headers: &HeaderMap,
        db: &str,
        table: &str,
        peer: SocketAddr,
    ) -> Result<Load, Box<LoadReply>> {
        let label = headers
            .get("label")
            .and_then(|l| l.to_str().ok())
            .unwrap_or_default();
        let fail = |message: String| Box::new(LoadReply::fail(label, message));
        let user = self.authenticate(headers, db, table, peer).map_err(fail)?;
        self.authorize(&user, db, table).map_err(fail)?;
        Load::begin(
            &self.cluster,
            LoadRequest {
                db,
                table,
                user: &user,
                headers: LoadHeaders::parse(headers).map_err(fail)?,
                content_length: headers
                    .get(CONTENT_LENGTH)
                    .and_then(|l| l.to_str().ok()?.parse().ok()),
                be_http: &self.address,
                be: self.index,
            },
        )
    }

    /// FE checks the grants when the transaction begins.
    pub fn authorize(&self, user: &str, db: &str, table: &str) -> Result<(), String> {
        let denied = |who| {
            let accounts = self.cluster.accounts.read();
            accounts.denied(&who, "INSERT", &format!("TABLE {table}"))
        };
        self.cluster.may_load(user, db, table).map_err(denied)
    }

    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        db: &str,
        table: &str,
        peer: SocketAddr,
    ) -> Result<String, String> {
        let credentials = auth::basic(headers).ok_or("no valid Basic authorization")?;
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
            return Err(format!("Access denied for {}@{}", credentials.user, peer.ip()));
        }
        Ok(credentials.user)
    }
}

/// Reads the whole body; the first read is what sends `100 Continue`.
pub async fn receive(request: Request<Incoming>, slow: Option<std::time::Duration>) -> Result<Bytes, String> {
    let mut body = request.into_body();
    let announced = body.size_hint().exact();
    let mut received = BytesMut::with_capacity(announced.unwrap_or(0).min(64 << 20) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("receive body failed: {e}"))?;
        if let Some(data) = frame.data_ref() {
            if received.len() + data.len() > MAX_BODY {
                return Err(format!("body size exceed limit: {MAX_BODY}"));
            }
            received.extend_from_slice(data);
        }
        if let Some(pause) = slow {
            tokio::time::sleep(pause).await;
        }
    }
    match announced {
        Some(length) if length != received.len() as u64 => {
            Err("receive body don't equal with body bytes".into())
        }
        _ => Ok(received.freeze()),
    }
}
