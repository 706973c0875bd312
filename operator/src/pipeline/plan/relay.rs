//! The relay: its files as ConfigMaps, its Deployment, and whether what runs is what is wanted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use tributary_crds::effective::EffectiveRelay;
use tributary_crds::relay::{
    BatchConfig, DatasetConfig, FORMAT_VERSION, KafkaConfig, PipelineIdentity, RELAY_FILE, RelayConfig,
    RelayPhase, StarRocksConfig, digest_of,
};

use super::deployment::{self, DATASET_KEY, RelayDeployment};
use super::{Action, TopicsView, live_topic, tables};
use crate::kubernetes::{is_applied, metadata};
use crate::ledger::{Entry, LiveTopic, Traces};
use crate::pipeline::observe::{Observed, RELAY_COMPONENT, RELAY_ORDINAL, RelayAnswer, held_port};
use crate::pipeline::port;
use crate::pipeline::validate::Accepted;

#[derive(Clone, Debug, PartialEq)]
pub enum RelayView {
    /// The wanted configuration runs.
    Current,
    /// It waits for topics and tables before it gets a new configuration; an older one may run meanwhile.
    Waiting,
    /// Applied and not yet running with it.
    RollingOut(String),
    Unrenderable(String),
    /// As asked.
    Paused,
    /// Loading would do harm; the topics say why.
    Halted,
}

impl RelayView {
    pub fn is_current(&self) -> bool {
        *self == Self::Current
    }
}

pub(super) fn plan(
    accepted: &Accepted,
    observed: &Observed,
    ready_below: bool,
    entry: &mut Entry,
    actions: &mut Vec<Action>,
) -> RelayView {
    if !ready_below || observed.ledger.is_err() {
        return if observed.deployment.is_some() && ready_without_change(accepted, observed) {
            RelayView::Current
        } else {
            RelayView::Waiting
        };
    }
    let files = match files(accepted, observed, entry) {
        Ok(files) => files,
        Err(Unassigned::Unknown) => return RelayView::Waiting,
        Err(Unassigned::UsedUp(why)) => return RelayView::Unrenderable(why),
    };
    let rendered =
        config_maps(accepted, &files).and_then(|maps| Ok((maps, render(accepted, observed, &files)?)));
    let (maps, deployment) = match rendered {
        Ok(rendered) => rendered,
        Err(why) => return RelayView::Unrenderable(why),
    };
    let mut current = true;
    for map in maps.values() {
        if !is_applied(observed.config_maps.get(&map.name_any()), map) {
            current = false;
            actions.push(Action::ApplyConfigMap(Box::new(map.clone())));
        }
    }
    if !is_applied(observed.deployment.as_ref(), &deployment) {
        current = false;
        actions.push(Action::ApplyRelay(Box::new(deployment)));
    }
    if !current {
        return RelayView::RollingOut("The relay's configuration is being applied.".to_owned());
    }
    match running(observed, &files) {
        Err(why) => RelayView::RollingOut(why),
        Ok(()) => {
            remove_stale(accepted, observed, &maps, actions);
            RelayView::Current
        }
    }
}

/// The relay is not to run: its Deployment goes, its position and its configuration stay.
pub(super) fn stop(
    accepted: &Accepted,
    observed: &Observed,
    topics: &TopicsView,
    actions: &mut Vec<Action>,
) -> RelayView {
    if observed.deployment.is_some() {
        actions.push(Action::StopRelay(
            accepted.effective.owner.relay_deployment(RELAY_ORDINAL),
        ));
    }
    match topics.stops_the_lane() {
        true => RelayView::Halted,
        false => RelayView::Paused,
    }
}

/// Every file a relay reads.
struct Files {
    relay: RelayConfig,
    datasets: Vec<DatasetConfig>,
}

/// Whether a relay runs at all while nothing new may be rolled out.
fn ready_without_change(accepted: &Accepted, observed: &Observed) -> bool {
    let recorded = observed.ledger.as_ref().is_ok_and(|l| {
        accepted.datasets.iter().all(|d| {
            let wanted = tables::mapped(accepted, observed, d);
            l.datasets
                .get(&d.name)
                .is_some_and(|m| m.digest == digest_of(&wanted.tables))
        })
    });
    let running = matches!(&observed.relay, RelayAnswer::Status(s) if s.phase == RelayPhase::Running);
    recorded && running
}

/// Partitions of a dataset's topic when the relay was last configured; they never change.
pub(super) fn recorded_partitions(accepted: &Accepted, observed: &Observed, dataset: &str) -> Option<i32> {
    let name = accepted.effective.owner.dataset_config_map(dataset);
    let text = observed.config_maps.get(&name)?.data.as_ref()?.get(DATASET_KEY)?;
    let file: DatasetConfig = serde_json::from_str(text).ok()?;
    let same_topic = accepted
        .datasets
        .iter()
        .any(|d| d.name == dataset && d.topic.name == file.topic.name);
    same_topic.then_some(file.topic.partitions)
}

/// Why a dataset has no generations to run under.
enum Unassigned {
    /// Not every place that may know has answered.
    Unknown,
    UsedUp(String),
}

fn files(accepted: &Accepted, observed: &Observed, entry: &mut Entry) -> Result<Files, Unassigned> {
    let live = observed.topics.as_ref().map_err(|_| Unassigned::Unknown)?;
    let mut datasets = Vec::new();
    for dataset in &accepted.datasets {
        let topic: LiveTopic = live
            .get(&dataset.topic.name)
            .map(live_topic)
            .ok_or(Unassigned::Unknown)?;
        let traces: Traces = match observed.traces.get(&dataset.name) {
            Some(Ok(traces)) => *traces,
            Some(Err(_)) => return Err(Unassigned::Unknown),
            // Only looked for where the ledger does not know.
            None => Traces::default(),
        };
        let file = entry.assign(tables::mapped(accepted, observed, dataset), &topic, traces);
        datasets.push(file.map_err(|e| Unassigned::UsedUp(e.to_string()))?);
    }
    Ok(Files {
        relay: relay_file(accepted),
        datasets,
    })
}

fn relay_file(accepted: &Accepted) -> RelayConfig {
    let effective = &accepted.effective;
    let owner = &effective.owner;
    let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    RelayConfig {
        format_version: FORMAT_VERSION,
        pipeline: PipelineIdentity {
            owner: owner.to_string(),
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
            tenant: effective.tenant.clone(),
        },
        kafka: KafkaConfig {
            bootstrap_servers: accepted.platform.spec.kafka.bootstrap_servers.clone(),
            group_id: owner.consumer_group(),
            group_instance_id: owner.relay_deployment(RELAY_ORDINAL),
            heartbeat_topic: effective.heartbeat_topic(),
            heartbeat_interval_ms: millis(effective.source.heartbeat_interval),
            dead_letter_topic: Some(effective.dead_letter_topic()),
            security: None,
        },
        starrocks: StarRocksConfig {
            http_endpoints: accepted.platform.spec.starrocks.hot.http_endpoints.clone(),
            mysql_endpoints: accepted.platform.spec.starrocks.hot.mysql_endpoints.clone(),
            tls: None,
        },
        batch: BatchConfig {
            linger_ms: millis(effective.relay.linger),
            max_bytes: effective.relay.max_bytes,
            max_rows: effective.relay.max_rows,
        },
    }
}

fn labels(accepted: &Accepted) -> BTreeMap<String, String> {
    let effective = &accepted.effective;
    effective
        .owner
        .labels(&effective.platform.name, &effective.tenant, RELAY_COMPONENT)
}

fn config_maps(accepted: &Accepted, files: &Files) -> Result<BTreeMap<String, ConfigMap>, String> {
    let owner = &accepted.effective.owner;
    let namespace = accepted.platform.namespace().unwrap_or_default();
    let map = |name: String, key: &str, text: serde_json::Result<String>| {
        let text = text.map_err(|e| e.to_string())?;
        let map = ConfigMap {
            metadata: metadata(&namespace, name.clone(), labels(accepted)),
            data: Some(BTreeMap::from([(key.to_owned(), text)])),
            ..ConfigMap::default()
        };
        Ok((name, map))
    };
    let relay = map(
        owner.relay_config_map(RELAY_ORDINAL),
        RELAY_FILE,
        serde_json::to_string_pretty(&files.relay),
    );
    let datasets = files.datasets.iter().map(|d| {
        map(
            owner.dataset_config_map(&d.name),
            DATASET_KEY,
            serde_json::to_string(d),
        )
    });
    std::iter::once(relay).chain(datasets).collect()
}

fn render(
    accepted: &Accepted,
    observed: &Observed,
    files: &Files,
) -> Result<k8s_openapi::api::apps::v1::Deployment, String> {
    let effective = &accepted.effective;
    let owner = &effective.owner;
    let name = owner.relay_deployment(RELAY_ORDINAL);
    let settings = accepted.platform.spec.relay.clone().unwrap_or_default();
    let host_port = match deployment::uses_host_network(settings.pod_overrides.as_ref()) {
        false => None,
        true => {
            // With the owner ID: two clusters that share a machine must not agree on a port.
            let identity = format!("{owner}/{RELAY_ORDINAL}");
            let held = observed.deployment.as_ref().and_then(held_port);
            let chosen = port::choose(&identity, held, &|p| observed.taken_ports.contains(&p));
            Some(chosen.ok_or("every port from 20000 to 29999 belongs to another relay")?)
        }
    };
    let digests: BTreeMap<&str, &str> = files
        .datasets
        .iter()
        .map(|d| (d.name.as_str(), d.digest.as_str()))
        .collect();
    let relay = RelayDeployment {
        namespace: accepted.platform.namespace().unwrap_or_default(),
        labels: labels(accepted),
        selector: owner.selector(RELAY_COMPONENT),
        image: settings.image.unwrap_or_else(|| accepted.relay_image.clone()),
        resources: resources(&effective.relay),
        relay_config_map: owner.relay_config_map(RELAY_ORDINAL),
        dataset_config_maps: files
            .datasets
            .iter()
            .map(|d| (d.name.clone(), owner.dataset_config_map(&d.name)))
            .collect(),
        load_credentials_secret: accepted
            .platform
            .spec
            .starrocks
            .hot
            .load_credentials_secret_ref
            .name
            .clone(),
        config_digest: digest_of(&(&files.relay, digests)),
        pod_overrides: settings.pod_overrides,
        host_port,
        name,
    };
    deployment::render(&relay).map_err(|e| format!("relay.podOverrides do not give a pod template: {e}"))
}

fn resources(relay: &EffectiveRelay) -> Value {
    let mut limits = json!({"memory": relay.limit_memory});
    if let Some(cpu) = &relay.limit_cpu {
        limits["cpu"] = json!(cpu);
    }
    json!({"requests": {"cpu": relay.requests.cpu, "memory": relay.requests.memory}, "limits": limits})
}

/// Whether a relay answers that it runs with exactly these files.
fn running(observed: &Observed, files: &Files) -> Result<(), String> {
    let status = match &observed.relay {
        RelayAnswer::Status(status) => status,
        RelayAnswer::NoPod => return Err("The relay's pod is being started.".to_owned()),
        RelayAnswer::Unreachable(_) => return Err("The relay's pod does not answer yet.".to_owned()),
    };
    if status.phase != RelayPhase::Running {
        return Err("The relay waits for its partitions.".to_owned());
    }
    let stale = files
        .datasets
        .iter()
        .find(|d| status.config_digests.get(&d.name) != Some(&d.digest));
    match stale {
        Some(dataset) => Err(format!(
            "The relay does not yet use the newest mapping of {}.",
            dataset.name
        )),
        None => Ok(()),
    }
}

/// Once the wanted configuration runs, nothing reads what older ones needed.
fn remove_stale(
    accepted: &Accepted,
    observed: &Observed,
    wanted: &BTreeMap<String, ConfigMap>,
    actions: &mut Vec<Action>,
) {
    let stale = observed
        .config_maps
        .keys()
        .filter(|name| !wanted.contains_key(*name));
    actions.extend(stale.cloned().map(Action::DeleteConfigMap));
    actions.extend(
        tables::stale(accepted, observed)
            .into_iter()
            .map(Action::DeleteTable),
    );
}
