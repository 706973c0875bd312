//! Everything a status shows, read with the rights of whoever asks. What they may not see is said, not fatal.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tributary_crds::names::{LABEL_PIPELINE, LABEL_PIPELINE_NAMESPACE};
use tributary_crds::{StarRocksTable, TenantPipeline};

const CALL_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Fetched {
    pub(crate) pipeline: TenantPipeline,
    pub(crate) tables: Vec<Table>,
    /// Relays and their pods live in the platform's namespace, which tenants often cannot read.
    pub(crate) relay: Result<Relay, String>,
}

/// A table the pipeline writes to.
pub(crate) struct Table {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) shared: bool,
    pub(crate) object: Result<StarRocksTable, String>,
}

#[derive(Default)]
pub(crate) struct Relay {
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) pods: Vec<Pod>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("there is no TenantPipeline {namespace}/{name}")]
    NotFound { namespace: String, name: String },
    #[error("reading TenantPipeline {namespace}/{name}: {why}")]
    Unreadable {
        namespace: String,
        name: String,
        why: String,
    },
}

impl Fetched {
    pub(crate) async fn of(client: &Client, namespace: &str, name: &str) -> Result<Self, FetchError> {
        let pipelines: Api<TenantPipeline> = Api::namespaced(client.clone(), namespace);
        let at = || (namespace.to_owned(), name.to_owned());
        let found = within(pipelines.get_opt(name)).await.map_err(|why| {
            let (namespace, name) = at();
            FetchError::Unreadable { namespace, name, why }
        })?;
        let pipeline = found.ok_or_else(|| {
            let (namespace, name) = at();
            FetchError::NotFound { namespace, name }
        })?;
        let tables = tables(client, &pipeline).await;
        let relay = relay(client, &pipeline).await;
        Ok(Self {
            pipeline,
            tables,
            relay,
        })
    }
}

impl Fetched {
    /// The statuses, for programs.
    pub(crate) fn objects(&self) -> serde_json::Result<serde_json::Value> {
        let table = |table: &Table| {
            let status = table
                .object
                .as_ref()
                .map(|o| o.status.clone())
                .map_err(Clone::clone);
            let (status, error) = (status.clone().ok().flatten(), status.err());
            serde_json::json!({"namespace": table.namespace, "name": table.name, "shared": table.shared, "status": status, "error": error})
        };
        Ok(serde_json::json!({
            "namespace": self.pipeline.namespace(),
            "name": self.pipeline.name_any(),
            "generation": self.pipeline.metadata.generation,
            "status": serde_json::to_value(&self.pipeline.status)?,
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
        }))
    }
}

async fn tables(client: &Client, pipeline: &TenantPipeline) -> Vec<Table> {
    let own = pipeline.namespace().unwrap_or_default();
    let mut wanted: Vec<(String, String, bool)> = Vec::new();
    for dataset in &pipeline.spec.datasets {
        for entry in dataset.hot.iter().flat_map(|hot| &hot.tables) {
            let (namespace, name, shared) = match &entry.table_ref {
                Some(to) => (to.namespace_or(&own).to_owned(), to.name.clone(), true),
                None => {
                    let child =
                        tributary_crds::names::child_table(&pipeline.name_any(), &dataset.name, &entry.name);
                    (own.clone(), child, false)
                }
            };
            let table = (namespace, name, shared);
            if !wanted.contains(&table) {
                wanted.push(table);
            }
        }
    }
    let mut tables = Vec::new();
    for (namespace, name, shared) in wanted {
        let api: Api<StarRocksTable> = Api::namespaced(client.clone(), &namespace);
        let object = within(api.get_opt(&name))
            .await
            .and_then(|found| found.ok_or_else(|| "does not exist".to_owned()));
        tables.push(Table {
            namespace,
            name,
            shared,
            object,
        });
    }
    tables
}

async fn relay(client: &Client, pipeline: &TenantPipeline) -> Result<Relay, String> {
    let own = pipeline.namespace().unwrap_or_default();
    let Some(platform) = &pipeline.spec.platform_ref else {
        return Ok(Relay::default());
    };
    let namespace = platform.namespace_or(&own);
    let labels = format!(
        "{LABEL_PIPELINE}={},{LABEL_PIPELINE_NAMESPACE}={own}",
        pipeline.name_any()
    );
    let params = ListParams::default().labels(&labels);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    Ok(Relay {
        deployments: within(deployments.list(&params)).await?.items,
        pods: within(pods.list(&params)).await?.items,
    })
}

pub(crate) async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err("you may not read it".to_owned()),
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}s", CALL_TIMEOUT.as_secs())),
    }
}
