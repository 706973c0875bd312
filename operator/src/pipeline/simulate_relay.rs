//! Relays of the world that does what it is told.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use kube::ResourceExt;
use tributary_crds::names::{ANNOTATION_CONFIG_DIGEST, LABEL_ORDINAL};
use tributary_crds::relay::{
    DatasetConfig, DatasetStatus, FORMAT_VERSION, LaneState, PartitionStatus, RELAY_FILE, RelayConfig,
    RelayPhase, RelayStatus, TableConfig, TableStatus, digest_of,
};

use super::observe::{Observed, RelayAnswer, together};
use super::plan::deployment::DATASET_KEY;

fn ordinal_of(labels: &BTreeMap<String, String>) -> Option<u32> {
    labels.get(LABEL_ORDINAL)?.parse().ok()
}

/// A new template is a new pod, which reads its files as it starts.
pub(super) fn apply(world: &mut Observed, deployment: Deployment) {
    let Some(ordinal) = ordinal_of(deployment.labels()) else {
        return;
    };
    let template = deployment.spec.as_ref().map(|s| s.template.clone());
    let live = world.deployments.get(&ordinal).and_then(|d| d.spec.as_ref());
    let same = live.map(|s| &s.template) == template.as_ref();
    let name = format!("{}-{}", deployment.name_any(), digest_of(&template));
    world.deployments.insert(ordinal, deployment);
    if same && super::observe::running_pod(&world.pods, ordinal).is_some() {
        return;
    }
    world.pods.retain(|pod| ordinal_of(pod.labels()) != Some(ordinal));
    let ready = PodCondition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        ..PodCondition::default()
    };
    let mut metadata = template.and_then(|t| t.metadata).unwrap_or_default();
    metadata.name = Some(name);
    world.pods.push(Pod {
        metadata,
        spec: None,
        status: Some(PodStatus {
            phase: Some("Running".to_owned()),
            conditions: Some(vec![ready]),
            ..PodStatus::default()
        }),
    });
    answer(world, ordinal);
}

/// Its kubelet shows it the newest files, and it takes them up.
pub(super) fn touch(world: &mut Observed, name: &str, digest: &str) {
    let Some(pod) = world.pods.iter_mut().find(|pod| pod.name_any() == name) else {
        return;
    };
    pod.annotations_mut()
        .insert(ANNOTATION_CONFIG_DIGEST.to_owned(), digest.to_owned());
    if let Some(ordinal) = ordinal_of(pod.labels()) {
        answer(world, ordinal);
    }
}

pub(super) fn stop(world: &mut Observed, deployment: &str) {
    world.deployments.retain(|_, d| d.name_any() != deployment);
    let left = &world.deployments;
    world
        .pods
        .retain(|pod| ordinal_of(pod.labels()).is_some_and(|o| left.contains_key(&o)));
    world.relays.retain(|ordinal, _| left.contains_key(ordinal));
    world.relay = together(&world.relays);
}

pub(super) fn answer(world: &mut Observed, ordinal: u32) {
    let answer = match status(world, ordinal) {
        Some(status) => RelayAnswer::Status(Box::new(status)),
        None => RelayAnswer::NoPod,
    };
    world.relays.insert(ordinal, answer);
    world.relay = together(&world.relays);
}

/// A relay that runs with the files that are in its ConfigMaps.
fn status(world: &Observed, ordinal: u32) -> Option<RelayStatus> {
    let files: Vec<DatasetConfig> = world
        .config_maps
        .values()
        .filter_map(|m| serde_json::from_str(m.data.as_ref()?.get(DATASET_KEY)?).ok())
        .collect();
    let name = world.deployments.get(&ordinal)?.name_any();
    let settings = world.config_maps.get(&name)?.data.as_ref()?.get(RELAY_FILE)?;
    let settings: RelayConfig = serde_json::from_str(settings).ok()?;
    Some(RelayStatus {
        format_version: FORMAT_VERSION,
        phase: RelayPhase::Running,
        relay_digest: digest_of(&settings),
        config_refused: None,
        config_digests: files.iter().map(|f| (f.name.clone(), f.digest.clone())).collect(),
        datasets: files.iter().map(|f| dataset(f, ordinal)).collect(),
        kafka: None,
    })
}

fn dataset(file: &DatasetConfig, ordinal: u32) -> DatasetStatus {
    DatasetStatus {
        name: file.name.clone(),
        topic: file.topic.name.clone(),
        mapping_generation: file.mapping_generation,
        lag_ms: Some(40),
        partitions: vec![PartitionStatus {
            partition: ordinal.cast_signed(),
            position: 0,
            committed: Some(0),
            end: Some(0),
        }],
        tables: file.tables.iter().map(table).collect(),
    }
}

fn table(table: &TableConfig) -> TableStatus {
    TableStatus {
        entry: table.entry.clone(),
        database: table.database.clone(),
        table: table.table.clone(),
        lag_ms: Some(40),
        lane: LaneState::Idle,
        linger_ms: 200,
        rows_loaded: 0,
        loads: 0,
        overflowed: 0,
        overflow_truncated: 0,
        parked: 0,
    }
}
