//! A plain HTTP door to the API server that writes down who asked for what: what an operator does *not* do can only be
//! proven by counting its requests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use kube::Client;

/// One request, in order of arrival.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
}

impl Seen {
    /// Whether it asks for a change. A dry run does not; it says so in its query.
    pub fn writes(&self) -> bool {
        self.method != "GET" && !self.path.contains("dryRun=All")
    }
}

#[derive(Clone)]
struct Shared {
    client: Client,
    log: Arc<Mutex<Vec<Seen>>>,
}

pub struct Proxy {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    pub async fn start(client: Client) -> Self {
        let log = Arc::default();
        let shared = Shared {
            client,
            log: Arc::clone(&log),
        };
        let app = axum::Router::new().fallback(forward).with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, log }
    }

    /// A client that goes through this door.
    pub fn client(&self) -> Client {
        let uri = format!("http://{}", self.address).parse().expect("a URI");
        Client::try_from(kube::Config::new(uri)).expect("a client")
    }

    /// A kubeconfig of this door, for another process.
    pub fn kubeconfig(&self, dir: &std::path::Path) -> PathBuf {
        let path = dir.join(format!("kubeconfig-{}", self.address.port()));
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "door",
            "clusters": [{"name": "door", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "door", "user": {}}],
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "door", "namespace": "tributary"}}],
        });
        std::fs::write(&path, text.to_string()).expect("a kubeconfig");
        path
    }

    pub fn log(&self) -> Vec<Seen> {
        self.log.lock().expect("no panic").clone()
    }

    /// How many requests there were so far: a mark for [`Self::since`].
    pub fn mark(&self) -> usize {
        self.log.lock().expect("no panic").len()
    }

    pub fn since(&self, mark: usize) -> Vec<Seen> {
        self.log().split_off(mark)
    }
}

async fn forward(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    shared.log.lock().expect("no panic").push(Seen {
        method: parts.method.to_string(),
        path: path.clone(),
    });
    let bytes = axum::body::to_bytes(body, 8 << 20).await.expect("a body");
    let mut onward = axum::http::Request::builder().method(parts.method).uri(path);
    let hop: [HeaderName; 4] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
    ];
    for (name, value) in parts.headers.iter().filter(|(name, _)| !hop.contains(name)) {
        onward = onward.header(name, value);
    }
    let onward = onward
        .body(kube::client::Body::from(bytes.to_vec()))
        .expect("a request");
    match shared.client.send(onward).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            for name in hop {
                parts.headers.remove(name);
            }
            Response::from_parts(parts, Body::new(body))
        }
        Err(error) => Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Body::from(error.to_string()))
            .expect("a response"),
    }
}
