//! What Kubernetes runs for a pipeline: one Deployment of one pod per relay, so that each has a fixed `group.instance.id` and the
//! successor of a killed one takes over without a rebalance (api-sketch, section 10); their files; their disruption budget.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde_json::{Value, json};
use tributary_crds::effective::EffectiveRelay;
use tributary_crds::relay::RELAY_FILE;

use super::deployment::{self, DATASET_KEY, RelayDeployment};
use super::relay::Files;
use crate::kubernetes::metadata;
use crate::pipeline::observe::{Observed, RELAY_COMPONENT, held_port};
use crate::pipeline::port;
use crate::pipeline::validate::Accepted;

pub(super) struct Workload {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub deployments: BTreeMap<u32, Deployment>,
    pub budget: Option<PodDisruptionBudget>,
}

pub(super) fn render(accepted: &Accepted, observed: &Observed, files: &Files) -> Result<Workload, String> {
    Ok(Workload {
        config_maps: config_maps(accepted, files)?,
        deployments: deployments(accepted, observed, files)?,
        budget: budget(accepted)?,
    })
}

fn labels(accepted: &Accepted) -> BTreeMap<String, String> {
    let effective = &accepted.effective;
    effective
        .owner
        .labels(&effective.platform.name, &effective.tenant, RELAY_COMPONENT)
}

fn namespace(accepted: &Accepted) -> String {
    accepted.platform.namespace().unwrap_or_default()
}

fn config_maps(accepted: &Accepted, files: &Files) -> Result<BTreeMap<String, ConfigMap>, String> {
    let owner = &accepted.effective.owner;
    let map = |name: String, key: &str, text: serde_json::Result<String>| {
        let text = text.map_err(|e| e.to_string())?;
        let map = ConfigMap {
            metadata: metadata(&namespace(accepted), name.clone(), labels(accepted)),
            data: Some(BTreeMap::from([(key.to_owned(), text)])),
            ..ConfigMap::default()
        };
        Ok((name, map))
    };
    let relays = (0..).zip(&files.relays).map(|(ordinal, relay)| {
        map(
            owner.relay_config_map(ordinal),
            RELAY_FILE,
            serde_json::to_string_pretty(relay),
        )
    });
    let datasets = files.datasets.iter().map(|d| {
        map(
            owner.dataset_config_map(&d.name),
            DATASET_KEY,
            serde_json::to_string(d),
        )
    });
    relays.chain(datasets).collect()
}

fn deployments(
    accepted: &Accepted,
    observed: &Observed,
    files: &Files,
) -> Result<BTreeMap<u32, Deployment>, String> {
    let ports = ports(accepted, observed)?;
    let one = |ordinal: u32| {
        let relay = relay(accepted, files, ordinal, ports.get(&ordinal).copied());
        let deployment = deployment::render(&relay)
            .map_err(|e| format!("relay.podOverrides do not give a pod template: {e}"))?;
        Ok((ordinal, deployment))
    };
    (0..accepted.effective.relay.replicas).map(one).collect()
}

fn relay(accepted: &Accepted, files: &Files, ordinal: u32, host_port: Option<u16>) -> RelayDeployment {
    let effective = &accepted.effective;
    let owner = &effective.owner;
    let platform = &accepted.platform.spec;
    let settings = platform.relay.clone().unwrap_or_default();
    let load = &platform.starrocks.hot.load_credentials_secret_ref;
    RelayDeployment {
        namespace: namespace(accepted),
        name: owner.relay_deployment(ordinal),
        ordinal,
        labels: labels(accepted),
        selector: owner.selector(RELAY_COMPONENT),
        image: settings.image.unwrap_or_else(|| accepted.relay_image.clone()),
        resources: resources(&effective.relay),
        relay_config_map: owner.relay_config_map(ordinal),
        dataset_config_maps: files
            .datasets
            .iter()
            .map(|d| (d.name.clone(), owner.dataset_config_map(&d.name)))
            .collect(),
        load_credentials_secret: load.name.clone(),
        pod_overrides: settings.pod_overrides,
        host_port,
    }
}

/// Ports on the nodes' loopback, for relays in their node's network.
fn ports(accepted: &Accepted, observed: &Observed) -> Result<BTreeMap<u32, u16>, String> {
    let settings = accepted.platform.spec.relay.as_ref();
    let mut ports = BTreeMap::new();
    if !deployment::uses_host_network(settings.and_then(|s| s.pod_overrides.as_ref())) {
        return Ok(ports);
    }
    let mut siblings = BTreeSet::new();
    for ordinal in 0..accepted.effective.relay.replicas {
        // With the owner ID: two clusters that share a machine must not agree on a port.
        let identity = format!("{}/{ordinal}", accepted.effective.owner);
        let held = observed.deployments.get(&ordinal).and_then(held_port);
        let others = observed.taken_ports.get(&ordinal);
        let taken = |p: u16| siblings.contains(&p) || others.is_some_and(|o| o.contains(&p));
        let chosen = port::choose(&identity, held, &taken);
        let chosen = chosen.ok_or("every port from 20000 to 29999 belongs to another relay")?;
        siblings.insert(chosen);
        ports.insert(ordinal, chosen);
    }
    Ok(ports)
}

fn budget(accepted: &Accepted) -> Result<Option<PodDisruptionBudget>, String> {
    let owner = &accepted.effective.owner;
    if accepted.effective.relay.replicas < 2 {
        return Ok(None);
    }
    let budget = deployment::budget(
        &namespace(accepted),
        &owner.relay_base(),
        &labels(accepted),
        &owner.selector(RELAY_COMPONENT),
    );
    budget.map(Some).map_err(|e| e.to_string())
}

fn resources(relay: &EffectiveRelay) -> Value {
    let mut limits = json!({"memory": relay.limit_memory});
    if let Some(cpu) = &relay.limit_cpu {
        limits["cpu"] = json!(cpu);
    }
    json!({"requests": {"cpu": relay.requests.cpu, "memory": relay.requests.memory}, "limits": limits})
}
