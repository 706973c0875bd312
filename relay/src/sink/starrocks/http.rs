//! One HTTP/1.1 exchange on a connection of its own.
//!
//! No pool: an idle connection that died under a request leaves an outcome nobody knows, and a load is large enough that a
//! connect costs nothing. No automatic redirects: who may see the body and the password is decided hop by hop.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Sleep, timeout};

use super::trust::{Trust, tls_failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Answers are small; anything beyond is cut off, never buffered.
const MAX_REPLY: usize = 64 * 1024;
/// Longest wait for `100 Continue`. A server may lawfully never send it, so after this the body goes anyway.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Reply {
    /// Who answered, and whether by TLS.
    pub host: String,
    pub by_tls: bool,
    pub status: StatusCode,
    pub location: Option<String>,
    pub body: Vec<u8>,
    /// Whether any of the request's body went out before the answer.
    pub body_sent: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReply {
    /// Nothing of the request was sent.
    #[error("cannot connect to {host}: {why}")]
    Connect { host: String, why: String },
    /// Nothing of the request was sent: the server is not who it should be, or speaks no TLS.
    #[error("{host}: {why}")]
    Untrusted { host: String, why: String },
    #[error("{host}: {why}")]
    Broken {
        host: String,
        why: String,
        body_sent: bool,
    },
    #[error("{host} did not answer within {after:?}")]
    Timeout {
        host: String,
        after: Duration,
        body_sent: bool,
    },
}

pub(super) struct Call<'a> {
    pub method: Method,
    pub uri: &'a Uri,
    pub headers: &'a [(&'static str, String)],
    /// Sent only after the server says `100 Continue`.
    pub body: Option<Bytes>,
    pub timeout: Duration,
    /// For `https`.
    pub trust: Option<&'a Trust>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) async fn call(call: Call<'_>) -> Result<Reply, NoReply> {
    let host = call.uri.authority().map_or_else(String::new, ToString::to_string);
    let stream = match timeout(CONNECT_TIMEOUT, connect(&call, &host)).await {
        Ok(connected) => connected?,
        Err(_) => {
            let why = format!("no connection within {CONNECT_TIMEOUT:?}");
            return Err(NoReply::Connect { host, why });
        }
    };
    let body_sent = Arc::new(AtomicBool::new(false));
    let exchange = exchange(stream, &call, &host, &body_sent);
    match timeout(call.timeout, exchange).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(why)) => Err(NoReply::Broken {
            host,
            why,
            body_sent: body_sent.load(Ordering::Acquire),
        }),
        Err(_) => Err(NoReply::Timeout {
            host,
            after: call.timeout,
            body_sent: body_sent.load(Ordering::Acquire),
        }),
    }
}

/// A connection, by TLS where the address says so.
async fn connect(call: &Call<'_>, host: &str) -> Result<Box<dyn Stream>, NoReply> {
    let failed = |why: String| NoReply::Connect {
        host: host.to_owned(),
        why,
    };
    let secure = call.uri.scheme_str() == Some("https");
    let name = call.uri.host().unwrap_or_default();
    let port = call.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect(format!("{name}:{port}")).await;
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    // A request is headers, a wait, then one large body: Nagle's algorithm would only delay the first.
    let _ = stream.set_nodelay(true);
    if !secure {
        return Ok(Box::new(stream));
    }
    let untrusted = |why: String| NoReply::Untrusted {
        host: host.to_owned(),
        why,
    };
    let Some(trust) = call.trust else {
        return Err(untrusted(
            "it was named as https by a frontend reached without TLS: make the frontends' endpoints https"
                .into(),
        ));
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let server = ServerName::try_from(bare.to_owned()).map_err(|error| untrusted(error.to_string()))?;
    match trust.connector.connect(server, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match tls_failure(&error) {
            Some(failure) => untrusted(trust.explain(failure)),
            None => failed(format!("TLS: {error}")),
        }),
    }
}

async fn exchange(
    stream: Box<dyn Stream>,
    call: &Call<'_>,
    host: &str,
    body_sent: &Arc<AtomicBool>,
) -> Result<Reply, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| describe(&error))?;
    let request = request(call, host, body_sent)?;
    // Driven beside the request and dropped with it: no task outlives the exchange.
    let reply = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| describe(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        Ok(Reply {
            host: host.to_owned(),
            by_tls: call.uri.scheme_str() == Some("https"),
            status: head.status,
            location: head
                .headers
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            body: body.to_bytes().to_vec(),
            body_sent: body_sent.load(Ordering::Acquire),
        })
    };
    tokio::pin!(connection, reply);
    tokio::select! {
        biased;
        reply = &mut reply => reply,
        // A server that refuses a load by its headers answers and closes while the body still waits: to the connection that
        // is an error, but the answer has arrived, and it is the answer that counts.
        ended = &mut connection => {
            let answered = reply.await;
            match ended {
                Ok(()) => answered,
                Err(error) => answered.map_err(|_| describe(&error)),
            }
        }
    }
}

fn request(call: &Call<'_>, host: &str, body_sent: &Arc<AtomicBool>) -> Result<Request<Gated>, String> {
    let target = call.uri.path_and_query().map_or("/", |p| p.as_str());
    let mut builder = Request::builder()
        .method(&call.method)
        .uri(target)
        .header(header::HOST, host);
    for (name, value) in call.headers {
        builder = builder.header(*name, value);
    }
    // hyper leaves the length of an absent body out; for a PUT some servers then wait for one.
    if call.body.is_none() && call.method != Method::GET {
        builder = builder.header(header::CONTENT_LENGTH, "0");
    }
    let (go, wait) = oneshot::channel();
    let body = Gated {
        data: call.body.clone(),
        gate: call.body.is_some().then(|| Gate {
            asked: Some(wait),
            patience: Box::pin(tokio::time::sleep(CONTINUE_TIMEOUT)),
        }),
        sent: Arc::clone(body_sent),
    };
    let mut request = builder.body(body).map_err(|error| error.to_string())?;
    let go = Mutex::new(Some(go));
    hyper::ext::on_informational(&mut request, move |info| {
        if info.status() == StatusCode::CONTINUE
            && let Some(go) = go.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _ = go.send(());
        }
    });
    Ok(request)
}

fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A body held back until the server asks for it, so that a load refused by its headers never sends a byte.
struct Gated {
    data: Option<Bytes>,
    gate: Option<Gate>,
    sent: Arc<AtomicBool>,
}

struct Gate {
    /// Resolves at `100 Continue`; `None` once the answer came without one, and then only patience is left.
    asked: Option<oneshot::Receiver<()>>,
    patience: Pin<Box<Sleep>>,
}

impl Gate {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(asked) = &mut self.asked {
            match Pin::new(asked).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(()),
                Poll::Ready(Err(_)) => self.asked = None,
                Poll::Pending => {}
            }
        }
        self.patience.as_mut().poll(cx)
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(gate) = &mut self.gate {
            if gate.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.gate = None;
        }
        Poll::Ready(self.data.take().map(|data| {
            self.sent.store(true, Ordering::Release);
            Ok(Frame::data(data))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
