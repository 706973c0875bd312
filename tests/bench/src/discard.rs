//! The discarding Stream Load endpoint, and the process it runs in.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;

pub(crate) struct Endpoint {
    pub address: String,
    child: Child,
}

impl Endpoint {
    pub(crate) fn spawn() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("discard")
            // It ends when this pipe closes, however this process ended.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its stdout was asked for")?;
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self {
            address: line.trim().to_owned(),
            child,
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until stdin ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    println!("http://{}", listener.local_addr()?);
    let routes = Router::new()
        .route("/api/{db}/{table}/_stream_load", put(frontend))
        .route("/be/{db}/{table}", put(backend));
    runtime.spawn(async move { axum::serve(listener, routes).await });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
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

async fn backend(body: Body) -> &'static str {
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(_) => r#"{"TxnId": 1, "Status": "Success", "Message": "OK"}"#,
        Err(_) => r#"{"TxnId": 1, "Status": "Fail", "Message": "receive body dont equal with body bytes"}"#,
    }
}
