//! Everything that exists of a pipeline, read in one place. What a backend does not answer is an observation too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use tributary_crds::StarRocksTable;
use tributary_crds::names::{MANAGED_BY, Owner};
use tributary_crds::relay::{ColumnSource, DatasetConfig, FORMAT_VERSION, MetaSource, RelayStatus};

use super::credential::Mirrored;
pub use super::observe_source::{ConnectorSeen, Heartbeat, OffsetSeen, SnapshotConnector};
use super::observe_source::{connector, mirrored};
use super::plan::deployment::{DATASET_KEY, PORT_ANNOTATION, uses_host_network};
use super::port::POD_PORT;
use super::validate::Accepted;
use crate::backend::kafka::TopicState;
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};
use crate::backends::credentials;
use crate::context::Context;
use crate::error::Error;
use crate::ledger::{Entry, Traces, generation_in};
use crate::table::ddl::TableName;

/// Component label of what belongs to a relay.
pub const RELAY_COMPONENT: &str = "relay";
pub const RELAY_ORDINAL: u32 = 0;

pub struct Observed {
    pub topics: BackendResult<BTreeMap<String, TopicState>>,
    /// StarRocksTables in the pipeline's namespace that it owns, by name.
    pub children: BTreeMap<String, Arc<StarRocksTable>>,
    /// Tables in the pipeline's namespace with a wanted name and another owner.
    pub foreign_children: Vec<String>,
    /// What the ledger says of this pipeline, as of the start of this turn.
    pub ledger: BackendResult<Entry>,
    /// Of datasets whose generations the ledger does not know: what is left of them elsewhere.
    pub traces: BTreeMap<String, BackendResult<Traces>>,
    /// Everything of this pipeline in the platform's namespace, by name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// This pipeline's keys of the mirrored Secret.
    pub mirrored: Result<Mirrored, Error>,
    pub deployment: Option<Deployment>,
    pub pods: Vec<Pod>,
    /// Ports that other relays hold on their nodes' loopback; looked up only when this one needs such a port.
    pub taken_ports: BTreeSet<u16>,
    pub relay: RelayAnswer,
    pub connector: BackendResult<ConnectorSeen>,
}

/// What the relay's `/status` said.
#[derive(Debug)]
pub enum RelayAnswer {
    /// There is no running pod to ask.
    NoPod,
    Unreachable(String),
    Status(Box<RelayStatus>),
}

pub async fn observe(
    accepted: &Accepted,
    ledger: BackendResult<Entry>,
    context: &Context,
) -> Result<Observed, Error> {
    let platform_namespace = accepted.platform.namespace().unwrap_or_default();
    let backends = join(topics(accepted, context), connector(accepted, context));
    let (kubernetes, (topics, connector)) =
        join(in_kubernetes(accepted, context, &platform_namespace), backends).await;
    let Runtime {
        config_maps,
        deployment,
        pods,
        taken_ports,
    } = kubernetes?;
    let (children, foreign_children) = children(accepted, context);
    let traces = match &ledger {
        Ok(entry) => traces(accepted, entry, &config_maps, context).await?,
        Err(_) => BTreeMap::new(),
    };
    let mirrored = mirrored(accepted, context).await;
    let relay = match address(&pods, deployment.as_ref()) {
        Some(address) => ask_relay(&address, context).await,
        None => RelayAnswer::NoPod,
    };
    Ok(Observed {
        topics,
        children,
        foreign_children,
        ledger,
        traces,
        config_maps,
        mirrored,
        deployment,
        pods,
        taken_ports,
        relay,
        connector,
    })
}

async fn topics(accepted: &Accepted, context: &Context) -> BackendResult<BTreeMap<String, TopicState>> {
    let names: Vec<String> = accepted.topics.iter().map(|t| t.name.clone()).collect();
    context
        .backends
        .kafka(&accepted.platform)?
        .describe_topics(&names)
        .await
}

/// Looks for generations outside of the ledger, where it knows none: in the relay's own file and in the rows.
async fn traces(
    accepted: &Accepted,
    entry: &Entry,
    config_maps: &BTreeMap<String, ConfigMap>,
    context: &Context,
) -> Result<BTreeMap<String, BackendResult<Traces>>, Error> {
    let mut found = BTreeMap::new();
    for dataset in &accepted.datasets {
        let known = entry.datasets.get(&dataset.name);
        if known.is_some_and(|d| d.topic == dataset.topic.name) {
            continue;
        }
        let running = running_generations(accepted, dataset, config_maps);
        let in_tables = rows_generation(accepted, dataset, context).await?;
        let traces = in_tables.map(|in_tables| Traces { running, in_tables });
        found.insert(dataset.name.clone(), traces);
    }
    Ok(found)
}

/// The generations in the file that a relay was given.
fn running_generations(
    accepted: &Accepted,
    dataset: &DatasetConfig,
    config_maps: &BTreeMap<String, ConfigMap>,
) -> Option<(u16, u16)> {
    let name = accepted.effective.owner.dataset_config_map(&dataset.name);
    let text = config_maps.get(&name)?.data.as_ref()?.get(DATASET_KEY)?;
    let file: DatasetConfig = serde_json::from_str(text).ok()?;
    (file.topic.name == dataset.topic.name).then_some((file.topic.generation, file.mapping_generation))
}

/// The highest topic generation in any row that this dataset may have written.
async fn rows_generation(
    accepted: &Accepted,
    dataset: &DatasetConfig,
    context: &Context,
) -> Result<BackendResult<Option<u16>>, Error> {
    let platform = &accepted.platform;
    let secret = &platform.spec.starrocks.hot.admin_credentials_secret_ref.name;
    let Some(admin) = credentials(&context.kubernetes, platform, secret).await? else {
        return Ok(Err(BackendError::new(
            Backend::StarRocks,
            ErrorClass::AuthenticationFailed,
            "read generations",
            format!("Secret {secret} is absent or not basic-auth"),
        )));
    };
    let highest = async {
        let client = context.backends.starrocks(platform, &admin)?;
        let mut highest = None;
        for table in &dataset.tables {
            let tenant = table
                .columns
                .iter()
                .find(|c| c.source == ColumnSource::Meta(MetaSource::Tenant))
                .map(|c| (c.name.as_str(), accepted.effective.tenant.as_str()));
            let name = TableName::new(&table.database, &table.table);
            let ver = match client.max_ver(&name, tenant).await {
                // A table that is not there holds no row. Any other answer is not taken for "none".
                Err(error) if error.class == ErrorClass::NotFound => None,
                ver => ver?,
            };
            highest = highest.max(ver.map(generation_in));
        }
        Ok(highest)
    };
    Ok(highest.await)
}

struct Runtime {
    config_maps: BTreeMap<String, ConfigMap>,
    deployment: Option<Deployment>,
    pods: Vec<Pod>,
    taken_ports: BTreeSet<u16>,
}

async fn in_kubernetes(accepted: &Accepted, context: &Context, namespace: &str) -> Result<Runtime, Error> {
    let owner = &accepted.effective.owner;
    let kubernetes = &context.kubernetes;
    let config_maps: Vec<ConfigMap> = kubernetes.list(namespace, &selector(owner)).await?;
    let name = owner.relay_deployment(RELAY_ORDINAL);
    let deployment: Option<Deployment> = kubernetes.get(namespace, &name).await?;
    let pods = match &deployment {
        Some(_) => kubernetes.list(namespace, &selector(owner)).await?,
        None => Vec::new(),
    };
    let overrides = accepted
        .platform
        .spec
        .relay
        .as_ref()
        .and_then(|r| r.pod_overrides.as_ref());
    let taken_ports = match uses_host_network(overrides) {
        true => taken_ports(context, namespace, &name).await?,
        false => BTreeSet::new(),
    };
    Ok(Runtime {
        config_maps: config_maps.into_iter().map(|c| (c.name_any(), c)).collect(),
        deployment,
        pods,
        taken_ports,
    })
}

/// Selects everything the operator made for a pipeline outside its namespace.
pub fn selector(owner: &Owner) -> String {
    let mut labels: Vec<String> = owner
        .selector(RELAY_COMPONENT)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.push(format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    labels.join(",")
}

/// Ports of relays that have the older claim on them: of two that chose the same one at the same moment, one moves.
async fn taken_ports(context: &Context, namespace: &str, own: &str) -> Result<BTreeSet<u16>, Error> {
    let labels =
        format!("app.kubernetes.io/managed-by={MANAGED_BY},app.kubernetes.io/component={RELAY_COMPONENT}");
    let all: Vec<Deployment> = context.kubernetes.list(namespace, &labels).await?;
    let age = |d: &Deployment| (d.creation_timestamp().map(|t| t.0), d.name_any());
    let mine = all.iter().find(|d| d.name_any() == own).map(age);
    Ok(all
        .iter()
        .filter(|d| d.name_any() != own && mine.as_ref().is_none_or(|mine| age(d) < *mine))
        .filter_map(held_port)
        .collect())
}

pub fn held_port(deployment: &Deployment) -> Option<u16> {
    deployment.annotations().get(PORT_ANNOTATION)?.parse().ok()
}

fn children(accepted: &Accepted, context: &Context) -> (BTreeMap<String, Arc<StarRocksTable>>, Vec<String>) {
    let namespace = &accepted.effective.owner.namespace;
    let uid = accepted.pipeline.metadata.uid.as_deref();
    let in_namespace = |t: &&Arc<StarRocksTable>| t.namespace().as_deref() == Some(namespace.as_str());
    let ours = |t: &Arc<StarRocksTable>| t.owner_references().iter().any(|o| Some(o.uid.as_str()) == uid);
    let tables = context.stores.tables.state();
    let (mine, others): (Vec<_>, Vec<_>) = tables.iter().filter(in_namespace).cloned().partition(ours);
    let wanted: BTreeSet<&str> = accepted.effective.own_tables().map(|(name, _)| name).collect();
    let foreign = others
        .iter()
        .map(|t| t.name_any())
        .filter(|n| wanted.contains(n.as_str()))
        .collect();
    (mine.into_iter().map(|t| (t.name_any(), t)).collect(), foreign)
}

/// Where the relay answers: on the node's loopback when it has a port there, else at its pod's address.
fn address(pods: &[Pod], deployment: Option<&Deployment>) -> Option<String> {
    let running = pods.iter().find(|pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
    })?;
    let status = running.status.as_ref()?;
    if let Some(port) = deployment.and_then(held_port) {
        return Some(format!("127.0.0.1:{port}"));
    }
    let ip = status.pod_ip.as_ref()?;
    Some(if ip.contains(':') {
        format!("[{ip}]:{POD_PORT}")
    } else {
        format!("{ip}:{POD_PORT}")
    })
}

async fn ask_relay(address: &str, context: &Context) -> RelayAnswer {
    let Some(client) = context.backends.http() else {
        return RelayAnswer::Unreachable("no HTTP client could be made".to_owned());
    };
    let answer = async {
        let response = client
            .get(format!("http://{address}/status"))
            .send()
            .await?
            .error_for_status()?;
        response.json::<RelayStatus>().await
    };
    match answer.await {
        Ok(status) if status.format_version != FORMAT_VERSION => RelayAnswer::Unreachable(format!(
            "the relay speaks format {} and the operator {FORMAT_VERSION}: its image does not fit",
            status.format_version
        )),
        Ok(status) => RelayAnswer::Status(Box::new(status)),
        Err(error) => RelayAnswer::Unreachable(error.without_url().to_string()),
    }
}
