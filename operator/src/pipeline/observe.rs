//! Everything that exists of a pipeline, read in one place. What a backend does not answer is an observation too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use tributary_crds::StarRocksTable;
use tributary_crds::relay::{ColumnSource, DatasetConfig, MetaSource};

use super::credential::Mirrored;
use super::observe_relay::{ask, runtime};
pub use super::observe_source::{ConnectorSeen, Heartbeat, OffsetSeen, SnapshotConnector};
use super::observe_source::{connector, mirrored};
use super::plan::deployment::DATASET_KEY;
use super::validate::Accepted;
use crate::backend::kafka::TopicState;
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};
use crate::backends::credentials;
use crate::context::Context;
use crate::error::Error;
use crate::ledger::{Entry, Traces, generation_in};
use crate::table::ddl::TableName;

pub use super::observe_relay::{
    RELAY_COMPONENT, RELAY_ORDINAL, RelayAnswer, held_port, running_pod, selector, together,
};

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
    /// Relays by ordinal; also those that are no longer wanted.
    pub deployments: BTreeMap<u32, Deployment>,
    pub budget: Option<PodDisruptionBudget>,
    pub pods: Vec<Pod>,
    /// Ports that other relays hold on their nodes' loopback, by ordinal of ours; looked up only when these need such ports.
    pub taken_ports: BTreeMap<u32, BTreeSet<u16>>,
    /// What each wanted relay says.
    pub relays: BTreeMap<u32, RelayAnswer>,
    /// What they say together.
    pub relay: RelayAnswer,
    pub connector: BackendResult<ConnectorSeen>,
    /// Records in the dead-letter topic; `None`: Kafka did not say.
    pub dead_letters: Option<u64>,
}

pub async fn observe(
    accepted: &Accepted,
    ledger: BackendResult<Entry>,
    context: &Context,
) -> Result<Observed, Error> {
    let platform_namespace = accepted.platform.namespace().unwrap_or_default();
    let backends = join(topics(accepted, context), connector(accepted, context));
    let (kubernetes, (topics, connector)) =
        join(runtime(accepted, context, &platform_namespace), backends).await;
    let runtime = kubernetes?;
    let (children, foreign_children) = children(accepted, context);
    let traces = match &ledger {
        Ok(entry) => traces(accepted, entry, &runtime.config_maps, context).await?,
        Err(_) => BTreeMap::new(),
    };
    let mirrored = mirrored(accepted, context).await;
    let dead_letters = dead_letters(accepted, &topics, context).await;
    let relays = ask(accepted.effective.relay.replicas, &runtime, context).await;
    Ok(Observed {
        topics,
        children,
        foreign_children,
        ledger,
        traces,
        config_maps: runtime.config_maps,
        mirrored,
        deployments: runtime.deployments,
        budget: runtime.budget,
        pods: runtime.pods,
        taken_ports: runtime.taken_ports,
        relay: together(&relays),
        relays,
        connector,
        dead_letters,
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

async fn dead_letters(
    accepted: &Accepted,
    topics: &BackendResult<BTreeMap<String, TopicState>>,
    context: &Context,
) -> Option<u64> {
    let topic = accepted.effective.dead_letter_topic();
    if !topics.as_ref().ok()?.contains_key(&topic) {
        return Some(0);
    }
    let kafka = context.backends.kafka(&accepted.platform).ok()?;
    // One partition: [`super::validate`] makes it so.
    let marks = kafka.watermarks(&topic, 0).await.ok()?;
    u64::try_from(marks.high - marks.low).ok()
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
