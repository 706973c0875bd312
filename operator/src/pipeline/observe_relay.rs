//! The relays of one pipeline: what Kubernetes has of each, what each answers, and what they say together.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use tributary_crds::names::{LABEL_ORDINAL, MANAGED_BY, Owner};
use tributary_crds::relay::{DatasetStatus, FORMAT_VERSION, LaneState, RelayPhase, RelayStatus, TableStatus};

use super::plan::deployment::{PORT_ANNOTATION, uses_host_network};
use super::port::POD_PORT;
use super::validate::Accepted;
use crate::context::Context;
use crate::error::Error;

/// Component label of what belongs to a relay.
pub const RELAY_COMPONENT: &str = "relay";
/// The first relay of a pipeline.
pub const RELAY_ORDINAL: u32 = 0;

/// What a relay's `/status` said.
#[derive(Clone, Debug)]
pub enum RelayAnswer {
    /// There is no running pod to ask.
    NoPod,
    Unreachable(String),
    Status(Box<RelayStatus>),
}

/// Everything of a pipeline in the platform's namespace.
pub(super) struct Runtime {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub deployments: BTreeMap<u32, Deployment>,
    pub budget: Option<PodDisruptionBudget>,
    pub pods: Vec<Pod>,
    pub taken_ports: BTreeMap<u32, BTreeSet<u16>>,
}

pub(super) async fn runtime(
    accepted: &Accepted,
    context: &Context,
    namespace: &str,
) -> Result<Runtime, Error> {
    let effective = &accepted.effective;
    let owner = &effective.owner;
    let kubernetes = &context.kubernetes;
    let config_maps: Vec<ConfigMap> = kubernetes.list(namespace, &selector(owner)).await?;
    let deployments: Vec<Deployment> = kubernetes.list(namespace, &selector(owner)).await?;
    let deployments: BTreeMap<u32, Deployment> = deployments
        .into_iter()
        .filter_map(|d| Some((ordinal_of(owner, &d.name_any())?, d)))
        .collect();
    let pods = match deployments.is_empty() {
        true => Vec::new(),
        false => kubernetes.list(namespace, &selector(owner)).await?,
    };
    // One relay alone has none, and of two it goes first.
    let budget = match effective.relay.replicas > 1 || deployments.len() > 1 {
        true => kubernetes.list(namespace, &selector(owner)).await?.pop(),
        false => None,
    };
    let settings = accepted.platform.spec.relay.as_ref();
    let taken_ports = match uses_host_network(settings.and_then(|r| r.pod_overrides.as_ref())) {
        true => taken_ports(context, namespace, owner, effective.relay.replicas).await?,
        false => BTreeMap::new(),
    };
    Ok(Runtime {
        config_maps: config_maps.into_iter().map(|c| (c.name_any(), c)).collect(),
        deployments,
        budget,
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

fn ordinal_of(owner: &Owner, deployment: &str) -> Option<u32> {
    let rest = deployment.strip_prefix(&owner.relay_base())?;
    rest.strip_prefix('-')?.parse().ok()
}

/// Ports of relays that have the older claim on them, by ordinal of ours: of two that chose the same one at the same moment,
/// one moves.
async fn taken_ports(
    context: &Context,
    namespace: &str,
    owner: &Owner,
    replicas: u32,
) -> Result<BTreeMap<u32, BTreeSet<u16>>, Error> {
    let labels =
        format!("app.kubernetes.io/managed-by={MANAGED_BY},app.kubernetes.io/component={RELAY_COMPONENT}");
    let all: Vec<Deployment> = context.kubernetes.list(namespace, &labels).await?;
    let age = |d: &Deployment| (d.creation_timestamp().map(|t| t.0), d.name_any());
    let taken = |ordinal: u32| {
        let own = owner.relay_deployment(ordinal);
        let mine = all.iter().find(|d| d.name_any() == own).map(age);
        all.iter()
            .filter(|d| d.name_any() != own && mine.as_ref().is_none_or(|mine| age(d) < *mine))
            .filter_map(held_port)
            .collect()
    };
    Ok((0..replicas).map(|ordinal| (ordinal, taken(ordinal))).collect())
}

pub fn held_port(deployment: &Deployment) -> Option<u16> {
    deployment.annotations().get(PORT_ANNOTATION)?.parse().ok()
}

/// The pod of one relay that runs and is not on its way out.
pub fn running_pod(pods: &[Pod], ordinal: u32) -> Option<&Pod> {
    pods.iter().find(|pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.labels().get(LABEL_ORDINAL) == Some(&ordinal.to_string())
            && pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
    })
}

/// Asks every wanted relay, all at the same time.
pub(super) async fn ask(replicas: u32, runtime: &Runtime, context: &Context) -> BTreeMap<u32, RelayAnswer> {
    let ask = |ordinal| async move {
        let address = running_pod(&runtime.pods, ordinal)
            .and_then(|pod| address(pod, runtime.deployments.get(&ordinal)));
        let answer = match address {
            Some(address) => ask_one(&address, context).await,
            None => RelayAnswer::NoPod,
        };
        (ordinal, answer)
    };
    join_all((0..replicas).map(ask)).await.into_iter().collect()
}

/// Where a relay answers: on the node's loopback when it has a port there, else at its pod's address.
fn address(pod: &Pod, deployment: Option<&Deployment>) -> Option<String> {
    if let Some(port) = deployment.and_then(held_port) {
        return Some(format!("127.0.0.1:{port}"));
    }
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?;
    Some(if ip.contains(':') {
        format!("[{ip}]:{POD_PORT}")
    } else {
        format!("{ip}:{POD_PORT}")
    })
}

async fn ask_one(address: &str, context: &Context) -> RelayAnswer {
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

/// What all of them say together: they run when each does, are as late as the latest, and stand still where one does.
pub fn together(relays: &BTreeMap<u32, RelayAnswer>) -> RelayAnswer {
    let mut merged: Option<RelayStatus> = None;
    let mut missing = false;
    for (ordinal, answer) in relays {
        match answer {
            RelayAnswer::NoPod => missing = true,
            RelayAnswer::Unreachable(why) if relays.len() == 1 => {
                return RelayAnswer::Unreachable(why.clone());
            }
            RelayAnswer::Unreachable(why) => {
                return RelayAnswer::Unreachable(format!("relay {ordinal}: {why}"));
            }
            RelayAnswer::Status(status) => match &mut merged {
                None => merged = Some(status.as_ref().clone()),
                Some(merged) => join_status(merged, status),
            },
        }
    }
    let Some(mut merged) = merged else {
        return RelayAnswer::NoPod;
    };
    if missing {
        // Nobody says how late its partitions are.
        merged.phase = RelayPhase::Starting;
        for dataset in &mut merged.datasets {
            dataset.lag_ms = None;
            dataset.tables.iter_mut().for_each(|table| table.lag_ms = None);
        }
    }
    RelayAnswer::Status(Box::new(merged))
}

fn join_status(merged: &mut RelayStatus, other: &RelayStatus) {
    if other.phase != RelayPhase::Running {
        merged.phase = other.phase;
    }
    merged
        .config_digests
        .retain(|dataset, digest| other.config_digests.get(dataset) == Some(digest));
    merged.config_refused = merged
        .config_refused
        .take()
        .or_else(|| other.config_refused.clone());
    merged.kafka = merged.kafka.take().or_else(|| other.kafka.clone());
    for dataset in &other.datasets {
        match merged.datasets.iter_mut().find(|d| d.name == dataset.name) {
            Some(mine) => join_dataset(mine, dataset),
            None => merged.datasets.push(dataset.clone()),
        }
    }
}

fn join_dataset(mine: &mut DatasetStatus, other: &DatasetStatus) {
    // A relay without a partition of the dataset measures nothing of it.
    let idle = (mine.partitions.is_empty(), other.partitions.is_empty());
    let lag = |a: Option<u64>, b: Option<u64>| match idle {
        (true, _) => b,
        (_, true) => a,
        (false, false) => a.zip(b).map(|(a, b)| a.max(b)),
    };
    mine.lag_ms = lag(mine.lag_ms, other.lag_ms);
    mine.mapping_generation = mine.mapping_generation.min(other.mapping_generation);
    for table in &other.tables {
        let Some(same) = mine.tables.iter_mut().find(|t| t.entry == table.entry) else {
            mine.tables.push(table.clone());
            continue;
        };
        same.lag_ms = lag(same.lag_ms, table.lag_ms);
        join_table(same, table);
    }
    mine.partitions.extend(other.partitions.iter().cloned());
}

fn join_table(mine: &mut TableStatus, other: &TableStatus) {
    if severity(&other.lane) > severity(&mine.lane) {
        mine.lane = other.lane.clone();
    }
    mine.linger_ms = mine.linger_ms.max(other.linger_ms);
    mine.rows_loaded += other.rows_loaded;
    mine.loads += other.loads;
    mine.overflowed += other.overflowed;
    mine.overflow_truncated += other.overflow_truncated;
    mine.parked += other.parked;
}

/// The worse, the higher; of two that retry, the one that has for longer.
fn severity(lane: &LaneState) -> (u8, std::cmp::Reverse<u64>) {
    let reverse = std::cmp::Reverse;
    match lane {
        LaneState::Idle => (0, reverse(0)),
        LaneState::Loading { .. } => (1, reverse(0)),
        LaneState::Retrying { since_ms, .. } => (2, reverse(*since_ms)),
        LaneState::Blocked { since_ms, .. } => (3, reverse(*since_ms)),
    }
}
