//! Where everything is: what `stage.json` holds and callers get. A part that was not asked for is absent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageInfo {
    pub id: String,
    /// Short, because socket paths below it may have 107 bytes at most.
    pub state_dir: PathBuf,
    /// One `<server>.log` each; `node/pods/` holds the logs of the node's containers. Outlives the stage.
    pub logs: PathBuf,
    /// Programs for callers: `kubectl`, `helm`, and `ctr` where there is a node.
    pub bin: PathBuf,
    pub kubernetes: Option<KubernetesInfo>,
    pub kafka: Option<KafkaInfo>,
    pub connect: Option<ConnectInfo>,
    pub mongodb: Option<MongodbInfo>,
    pub starrocks: Option<StarrocksInfo>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesInfo {
    /// Of a user who may do everything.
    pub kubeconfig: PathBuf,
    pub server: String,
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` for pods: without kube-proxy the service address leads
    /// nowhere.
    pub service_host: String,
    pub service_port: u16,
    /// The one node; absent where only the API server was asked for.
    pub node: Option<NodeInfo>,
    /// Whether it is the cluster of `TRIBUTARY_TEST_KUBECONFIG`, which outlives the stage.
    pub external: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    pub name: String,
    /// For `ctr --address … -n k8s.io`; absent on an external cluster.
    pub containerd: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaInfo {
    pub bootstrap: String,
    /// The same broker by SASL_SSL with SCRAM-SHA-512 (`host:port`).
    pub secure: Option<SecureInfo>,
}

/// A server's guarded door: TLS by the stage's own authority, and who may come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecureInfo {
    pub address: String,
    pub user: String,
    pub password: String,
    /// PEM file with the authority that signed its certificate.
    pub ca: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectInfo {
    pub url: String,
    /// The Deployment it runs as, as `namespace/name`: scale it to take Connect away.
    pub deployment: Option<String>,
    /// The same worker by TLS and basic auth (`https://host:port`).
    pub secure: Option<SecureInfo>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MongodbInfo {
    pub uri: String,
    /// Faults on demand; only the stand-in has it.
    pub admin_url: Option<String>,
    /// Figures must say so.
    pub stand_in: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StarrocksInfo {
    pub fe_http: String,
    pub be_http: Option<String>,
    /// `host:port` of the MySQL protocol.
    pub mysql: String,
    pub user: String,
    pub password: String,
    /// The frontend by TLS (`https://host:port`); its redirects lead to a backend by TLS.
    pub secure: Option<SecureInfo>,
    /// `host:port` of the MySQL protocol by TLS, for the same user and by the same authority; without TLS nobody comes in.
    pub secure_mysql: Option<String>,
    /// Faults on demand; only the stand-in has it.
    pub admin_url: Option<String>,
    /// Figures must say so.
    pub stand_in: bool,
}
