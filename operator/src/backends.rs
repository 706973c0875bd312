//! Clients of external systems, made once per endpoint and shared by everything that uses it: one circuit breaker, one write
//! queue, one pool of connections each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tributary_crds::DataPlatform;

use crate::backend::connect::ConnectClient;
use crate::backend::kafka::{KafkaAdmin, KafkaOptions};
use crate::backend::starrocks::{StarRocksClient, StarRocksOptions};
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};
use crate::context::lock;
use crate::error::Error;
use crate::kubernetes::Kubernetes;
use crate::leader::Fence;

/// Clients kept per system; far above the number of platforms, it only bounds what rotated passwords leave behind.
const KEPT: usize = 64;
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// Endpoints, user and password.
type StarRocksKey = (Vec<String>, String, String);

pub struct BackendPool {
    fence: Fence,
    kafka: Mutex<HashMap<Vec<String>, KafkaAdmin>>,
    connect: Mutex<HashMap<String, ConnectClient>>,
    starrocks: Mutex<HashMap<StarRocksKey, StarRocksClient>>,
    http: Mutex<Option<reqwest::Client>>,
}

/// A username and a password; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

impl BackendPool {
    /// Clients that write only while `fence` is open.
    pub fn new(fence: Fence) -> Self {
        Self {
            fence,
            kafka: Mutex::default(),
            connect: Mutex::default(),
            starrocks: Mutex::default(),
            http: Mutex::default(),
        }
    }

    pub fn kafka(&self, platform: &DataPlatform) -> BackendResult<KafkaAdmin> {
        let servers = platform.spec.kafka.bootstrap_servers.clone();
        cached(&self.kafka, servers.clone(), || {
            KafkaAdmin::new(&KafkaOptions {
                bootstrap_servers: servers,
                ..KafkaOptions::default()
            })
            .map(|client| client.fenced(self.fence.clone()))
        })
    }

    pub fn connect(&self, platform: &DataPlatform) -> BackendResult<ConnectClient> {
        let url = &platform.spec.connect.url;
        cached(&self.connect, url.clone(), || {
            ConnectClient::new(url).map(|client| client.fenced(self.fence.clone()))
        })
    }

    pub fn starrocks(
        &self,
        platform: &DataPlatform,
        credentials: &Credentials,
    ) -> BackendResult<StarRocksClient> {
        let options = StarRocksOptions {
            endpoints: platform.spec.starrocks.hot.mysql_endpoints.clone(),
            user: credentials.username.clone(),
            password: credentials.password.clone(),
        };
        let key = (
            options.endpoints.clone(),
            options.user.clone(),
            options.password.clone(),
        );
        cached(&self.starrocks, key, || {
            StarRocksClient::new(&options).map(|client| client.fenced(self.fence.clone()))
        })
    }

    /// A client for plain HTTP questions (relays' `/status`, FE health).
    pub fn http(&self) -> Option<reqwest::Client> {
        let mut slot = lock(&self.http);
        if slot.is_none() {
            let built = reqwest::Client::builder()
                .connect_timeout(HTTP_TIMEOUT)
                .timeout(HTTP_TIMEOUT)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build();
            *slot = built.ok();
        }
        slot.clone()
    }

    /// Asks the FEs' HTTP ports whether somebody is there; any answer of an HTTP server is one.
    pub async fn probe_http(&self, endpoints: &[String]) -> BackendResult<()> {
        let unreachable =
            |text: String| BackendError::new(Backend::StarRocks, ErrorClass::Unreachable, "probe HTTP", text);
        let Some(client) = self.http() else {
            return Err(unreachable("no HTTP client could be made".to_owned()));
        };
        let mut last = String::from("httpEndpoints is empty");
        for endpoint in endpoints {
            let url = format!("{}/api/health", endpoint.trim_end_matches('/'));
            match client.get(&url).send().await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_timeout() => last = format!("{endpoint} did not answer in time"),
                Err(_) => last = format!("nobody answers at {endpoint}"),
            }
        }
        Err(unreachable(last))
    }
}

fn cached<K: Eq + Hash, V: Clone>(
    map: &Mutex<HashMap<K, V>>,
    key: K,
    make: impl FnOnce() -> BackendResult<V>,
) -> BackendResult<V> {
    let mut map = lock(map);
    if let Some(found) = map.get(&key) {
        return Ok(found.clone());
    }
    let made = make()?;
    if map.len() >= KEPT {
        map.clear();
    }
    map.insert(key, made.clone());
    Ok(made)
}

/// A basic-auth Secret beside the platform. `Ok(None)`: absent or without both keys.
pub async fn credentials(
    kubernetes: &Kubernetes,
    platform: &DataPlatform,
    secret: &str,
) -> Result<Option<Credentials>, Error> {
    let namespace = platform.namespace().unwrap_or_default();
    let secret: Option<Secret> = kubernetes.get(&namespace, secret).await?;
    let data = secret.and_then(|s| s.data).unwrap_or_default();
    let text = |key: &str| {
        let value = data.get(key)?;
        Some(
            String::from_utf8_lossy(&value.0)
                .trim_end_matches('\n')
                .to_owned(),
        )
    };
    Ok(match (text("username"), text("password")) {
        (Some(username), Some(password)) => Some(Credentials { username, password }),
        _ => None,
    })
}
