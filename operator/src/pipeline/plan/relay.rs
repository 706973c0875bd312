//! The relays: their files, what Kubernetes is to run, and whether what runs is what is wanted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tributary_crds::names::ANNOTATION_CONFIG_DIGEST;
use tributary_crds::relay::{
    BatchConfig, DatasetConfig, FORMAT_VERSION, KafkaConfig, PipelineIdentity, RelayConfig, RelayPhase,
    RelayStatus, StarRocksConfig, digest_of,
};

use super::deployment::DATASET_KEY;
use super::workload::{self, Workload};
use super::{Action, TopicsView, live_topic, tables};
use crate::kubernetes::is_applied;
use crate::ledger::{Entry, LiveTopic, Traces};
use crate::pipeline::observe::{Observed, RelayAnswer, running_pod};
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
        return if !observed.deployments.is_empty() && ready_without_change(accepted, observed) {
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
    let workload = match workload::render(accepted, observed, &files) {
        Ok(workload) => workload,
        Err(why) => return RelayView::Unrenderable(why),
    };
    let before = actions.len();
    apply(&workload, accepted, observed, actions);
    if actions.len() > before {
        return RelayView::RollingOut("The relay's configuration is being applied.".to_owned());
    }
    match running(observed, &files) {
        Err(why) => {
            hurry(observed, &files, actions);
            RelayView::RollingOut(why)
        }
        Ok(()) => {
            remove_stale(accepted, observed, &workload.config_maps, actions);
            RelayView::Current
        }
    }
}

/// What differs from what is there. Files come before the pods that mount them.
fn apply(workload: &Workload, accepted: &Accepted, observed: &Observed, actions: &mut Vec<Action>) {
    for map in workload.config_maps.values() {
        if !is_applied(observed.config_maps.get(&map.name_any()), map) {
            actions.push(Action::ApplyConfigMap(Box::new(map.clone())));
        }
    }
    match &workload.budget {
        Some(budget) if !is_applied(observed.budget.as_ref(), budget) => {
            actions.push(Action::ApplyBudget(Box::new(budget.clone())));
        }
        Some(_) => {}
        None => actions.extend(observed.budget.iter().map(|b| Action::DeleteBudget(b.name_any()))),
    }
    for (ordinal, deployment) in &workload.deployments {
        let live = observed.deployments.get(ordinal);
        let selector =
            |d: &k8s_openapi::api::apps::v1::Deployment| d.spec.as_ref().map(|s| s.selector.clone());
        if live.is_some_and(|live| selector(live) != selector(deployment)) {
            // A selector is immutable: it is made anew.
            actions.push(Action::StopRelay(deployment.name_any()));
        } else if !is_applied(live, deployment) {
            actions.push(Action::ApplyRelay(Box::new(deployment.clone())));
        }
    }
    let wanted = accepted.effective.relay.replicas;
    let surplus = observed.deployments.range(wanted..);
    actions.extend(surplus.map(|(_, d)| Action::StopRelay(d.name_any())));
}

/// A changed file reaches a pod when its kubelet looks next, which takes a minute or more; a touched pod it looks at now.
fn hurry(observed: &Observed, files: &Files, actions: &mut Vec<Action>) {
    for (ordinal, answer) in &observed.relays {
        let (RelayAnswer::Status(status), Some(pod)) = (answer, running_pod(&observed.pods, *ordinal)) else {
            continue;
        };
        let Some(wanted) = files
            .digest(*ordinal)
            .filter(|_| files.stale(*ordinal, status).is_some())
        else {
            continue;
        };
        if pod.annotations().get(ANNOTATION_CONFIG_DIGEST) != Some(&wanted) {
            actions.push(Action::TouchPod {
                pod: pod.name_any(),
                digest: wanted,
            });
        }
    }
}

/// No relay is to run: their Deployments go, position and configuration stay.
pub(super) fn stop(observed: &Observed, topics: &TopicsView, actions: &mut Vec<Action>) -> RelayView {
    let running = observed.deployments.values();
    actions.extend(running.map(|d| Action::StopRelay(d.name_any())));
    match topics.stops_the_lane() {
        true => RelayView::Halted,
        false => RelayView::Paused,
    }
}

/// Every file the relays read.
pub(super) struct Files {
    /// By ordinal.
    pub relays: Vec<RelayConfig>,
    pub datasets: Vec<DatasetConfig>,
}

/// A file that a relay does not use as it is wanted.
enum Stale<'a> {
    Settings,
    Mapping(&'a str),
}

impl Files {
    fn relay(&self, ordinal: u32) -> Option<&RelayConfig> {
        self.relays.get(usize::try_from(ordinal).ok()?)
    }

    /// Of everything one relay reads.
    fn digest(&self, ordinal: u32) -> Option<String> {
        let datasets: Vec<&String> = self.datasets.iter().map(|d| &d.digest).collect();
        Some(digest_of(&(self.relay(ordinal)?, datasets)))
    }

    /// What a relay does not use yet.
    fn stale(&self, ordinal: u32, status: &RelayStatus) -> Option<Stale<'_>> {
        if Some(&status.relay_digest) != self.relay(ordinal).map(digest_of).as_ref() {
            return Some(Stale::Settings);
        }
        let used = |d: &&DatasetConfig| status.config_digests.get(&d.name) == Some(&d.digest);
        let stale = self.datasets.iter().find(|d| !used(d))?;
        Some(Stale::Mapping(&stale.name))
    }
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
        relays: (0..accepted.effective.relay.replicas)
            .map(|ordinal| relay_file(accepted, ordinal))
            .collect(),
        datasets,
    })
}

fn relay_file(accepted: &Accepted, ordinal: u32) -> RelayConfig {
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
            group_instance_id: owner.relay_deployment(ordinal),
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

/// Whether every relay answers that it runs with exactly these files.
fn running(observed: &Observed, files: &Files) -> Result<(), String> {
    for (ordinal, answer) in &observed.relays {
        let name = match observed.relays.len() {
            1 => "The relay".to_owned(),
            _ => format!("Relay {ordinal}"),
        };
        let status = match answer {
            RelayAnswer::Status(status) => status,
            RelayAnswer::NoPod => return Err(format!("{name}: its pod is being started.")),
            RelayAnswer::Unreachable(_) => return Err(format!("{name}: its pod does not answer yet.")),
        };
        let stale = files.stale(*ordinal, status);
        if let (Some(why), Some(_)) = (&status.config_refused, &stale) {
            return Err(format!(
                "{name} cannot use its newest configuration and goes on with the one before: {why}."
            ));
        }
        match stale {
            None if status.phase == RelayPhase::Running => {}
            None => return Err(format!("{name} waits for its partitions.")),
            Some(Stale::Settings) => return Err(format!("{name} does not yet use its newest settings.")),
            Some(Stale::Mapping(dataset)) => {
                return Err(format!(
                    "{name} does not yet use the newest mapping of {dataset}."
                ));
            }
        }
    }
    Ok(())
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
