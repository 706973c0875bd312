//! `/livez`, `/readyz` and `/metrics`.
//!
//! Live: no reconcile has been under way for longer than [`Watchdog::LIMIT`]. Every call has a timeout, so a reconcile
//! that old means a wedged process, and a restart is what helps. Ready: the watches have listed once. A backend that is down
//! makes neither red: restarting the operator would not bring it back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Knows how long each reconcile has been under way.
#[derive(Default)]
pub struct Watchdog {
    running: Mutex<HashMap<u64, Instant>>,
    next: std::sync::atomic::AtomicU64,
    ready: AtomicBool,
}

impl Watchdog {
    /// Above the sum of the timeouts of the longest reconcile (a slow DDL statement among them).
    pub const LIMIT: Duration = Duration::from_secs(600);

    /// Notes that a reconcile began; it ends when the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Running {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Instant::now());
        Running {
            watchdog: Arc::clone(self),
            id,
        }
    }

    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    pub fn oldest(&self) -> Duration {
        self.lock()
            .values()
            .map(Instant::elapsed)
            .max()
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Instant>> {
        // The map is valid after any panic: each update is one insert or remove.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reconcile under way.
pub struct Running {
    watchdog: Arc<Watchdog>,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watchdog.lock().remove(&self.id);
    }
}

#[derive(Clone)]
struct Shared {
    watchdog: Arc<Watchdog>,
    metrics: Metrics,
}

/// Serves until `shutdown` is cancelled.
pub async fn serve(
    listen: SocketAddr,
    watchdog: Arc<Watchdog>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shared { watchdog, metrics });
    let listener = tokio::net::TcpListener::bind(listen).await?;
    tracing::info!(address = %listener.local_addr()?, "serving /livez /readyz /metrics");
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn livez(State(shared): State<Shared>) -> impl IntoResponse {
    let oldest = shared.watchdog.oldest();
    if oldest > Watchdog::LIMIT {
        let text = format!("a reconcile has been under way for {}s", oldest.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    } else {
        (StatusCode::OK, "ok".to_owned())
    }
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.watchdog.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "watches not synced yet")
    }
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        shared.metrics.render(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_reconcile_leaves_the_watchdog() {
        let watchdog = Arc::new(Watchdog::default());
        let running = watchdog.enter();
        assert_eq!(watchdog.lock().len(), 1);
        drop(running);
        assert_eq!(watchdog.oldest(), Duration::ZERO);
    }
}
