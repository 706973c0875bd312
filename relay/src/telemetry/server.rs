//! `/livez /readyz /status /metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::status;
use crate::board::Board;

#[derive(Clone)]
struct App {
    current: Current,
    registry: Arc<Registry>,
}

/// The board in use; another one after a change of the configuration.
pub type Current = tokio::sync::watch::Receiver<Arc<Board>>;

impl App {
    fn board(&self) -> Arc<Board> {
        Arc::clone(&self.current.borrow())
    }
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, current: Current) -> std::io::Result<()> {
    let mut registry = Registry::default();
    current.borrow().metrics.register(&mut registry);
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route(
            "/status",
            get(|State(app): State<App>| async move { Json(status::status(&app.board())) }),
        )
        .route("/metrics", get(metrics))
        .with_state(App {
            current,
            registry: Arc::new(registry),
        });
    axum::serve(listener, app).await
}

async fn livez(State(app): State<App>) -> Response {
    let why = status::standing_still(&app.board());
    if why.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, why.join("\n") + "\n").into_response()
    }
}

async fn readyz(State(app): State<App>) -> Response {
    let why = status::not_ready(&app.board());
    if why.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, why.join("\n") + "\n").into_response()
    }
}

async fn metrics(State(app): State<App>) -> Response {
    status::refresh_gauges(&app.board());
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &app.registry) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
