//! The HTTP doors: FE, BE and the admin API, each on its own port.

pub mod admin;
pub mod auth;
pub mod be;
pub mod fe;
pub mod responses;
pub mod transaction;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::door;
use responses::HttpResponse;

/// The handler asks for the connection to be closed without a reply.
#[derive(Debug, thiserror::Error)]
#[error("connection dropped on purpose")]
pub struct Dropped;

impl From<Infallible> for Dropped {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Serves HTTP/1 until the listener fails. hyper sends `100 Continue` when a handler first asks for the body, which is
/// what the BE does after its header phase.
pub async fn serve<H, F>(listener: TcpListener, up: watch::Receiver<bool>, handler: H)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<HttpResponse, Dropped>> + Send + 'static,
{
    door::serve(listener, up, |stream, peer| {
        let handler = handler.clone();
        async move {
            let service = service_fn(move |request| handler(request, peer));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "connection ended");
            }
        }
    })
    .await;
}

/// The decoded segments of a path.
pub fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|s| !s.is_empty())
        .map(percent_decode)
        .collect()
}

pub fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decode(value))
    })
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
