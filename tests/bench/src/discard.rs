//! A Stream Load endpoint that answers Success and drops every body, noting which offsets came when. It is part of the
//! bench's own process, so its work is nobody's account.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;

/// A load as it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// When its last byte was there, Unix milliseconds.
    pub at_ms: f64,
    pub oldest_offset: i64,
    pub newest_offset: i64,
}

#[derive(Debug, Default)]
struct Seen {
    loads: Vec<Load>,
    newest: Option<i64>,
    rows: u64,
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub address: String,
    seen: Arc<Mutex<Seen>>,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}

impl Endpoint {
    pub(crate) fn serve() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = format!("http://{}", listener.local_addr()?);
        let seen = Arc::<Mutex<Seen>>::default();
        let routes = Router::new()
            .route("/api/{db}/{table}/_stream_load", put(frontend))
            .route("/be/{db}/{table}", put(backend))
            .with_state(Arc::clone(&seen));
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Ok(Self {
            address,
            seen,
            _runtime: runtime,
        })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forget(&self) {
        *self.seen() = Seen::default();
    }

    /// The newest offset that came in a row's `_ver`; -1: none.
    pub(crate) fn newest_offset(&self) -> i64 {
        self.seen().newest.unwrap_or(-1)
    }

    /// Rows that came, however often each.
    pub(crate) fn rows(&self) -> u64 {
        self.seen().rows
    }

    pub(crate) fn loads(&self) -> Vec<Load> {
        self.seen().loads.clone()
    }
}

async fn frontend(headers: HeaderMap) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    (
        StatusCode::TEMPORARY_REDIRECT,
        [(header::LOCATION, format!("http://{host}/be/bench/orders"))],
    )
        .into_response()
}

async fn backend(State(seen): State<Arc<Mutex<Seen>>>, body: Body) -> &'static str {
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return r#"{"TxnId": 1, "Status": "Fail", "Message": "receive body dont equal with body bytes"}"#;
    };
    let at_ms = now_ms();
    let (oldest, newest) = (first_offset(&bytes), last_offset(&bytes));
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    // Every row of either contender has exactly one of these.
    seen.rows += memchr::memmem::find_iter(&bytes, b"\"status\"").count() as u64;
    if let (Some(oldest_offset), Some(newest_offset)) = (oldest, newest) {
        seen.newest = seen.newest.max(Some(newest_offset));
        seen.loads.push(Load {
            at_ms,
            oldest_offset,
            newest_offset,
        });
    }
    r#"{"TxnId": 1, "Status": "Success", "Message": "OK"}"#
}

const VER: &[u8] = b"\"_ver\":";

fn first_offset(rows: &[u8]) -> Option<i64> {
    offset(&rows[memchr::memmem::find(rows, VER)? + VER.len()..])
}

fn last_offset(rows: &[u8]) -> Option<i64> {
    offset(&rows[memchr::memmem::rfind(rows, VER)? + VER.len()..])
}

/// `_ver` is generation(12) | offset(41) | mapping(10).
fn offset(text: &[u8]) -> Option<i64> {
    let digits = text.split(|byte| !byte.is_ascii_digit()).next()?;
    let ver: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((ver >> 10) & ((1 << 41) - 1))
}
