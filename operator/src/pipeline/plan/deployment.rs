//! The Deployment of one relay ordinal: one pod, replaced by deletion first, without any right in the cluster. Nothing of it depends
//! on what the mounted files say: the relay takes those up without a restart.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};
use tributary_crds::names::{LABEL_ORDINAL, RELAY_CONTAINER};
use tributary_crds::relay::{
    CONFIG_DIR, CREDENTIALS_DIR, DATASETS_DIR, DEFAULT_LISTEN, LISTEN_ENV, RELAY_FILE,
};

use crate::pipeline::port::POD_PORT;
use crate::strategic_merge::merge;

/// The port of a relay on its node's loopback, on the Deployment: what its siblings and the poller read.
pub const PORT_ANNOTATION: &str = "tributary.dev/relay-port";
/// Key of a dataset's file inside its ConfigMap.
pub const DATASET_KEY: &str = "dataset.json";
/// A pod of nobody in particular: the images declare the same.
const RELAY_UID: i64 = 65532;
/// SIGTERM to SIGKILL: a load in flight (60 s timeout at most) is awaited, anything later is settled by the successor.
const GRACE_SECONDS: i64 = 75;

/// What differs from relay to relay.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayDeployment {
    pub namespace: String,
    pub name: String,
    pub ordinal: u32,
    /// Of the pipeline's relays in general.
    pub labels: BTreeMap<String, String>,
    /// Labels that select the pipeline's relay pods; part of `labels`.
    pub selector: BTreeMap<String, String>,
    pub image: String,
    /// `spec.resources` of the container, Kubernetes form.
    pub resources: Value,
    /// ConfigMap with `relay.json`.
    pub relay_config_map: String,
    /// ConfigMap per dataset name.
    pub dataset_config_maps: BTreeMap<String, String>,
    pub load_credentials_secret: String,
    pub pod_overrides: Option<Value>,
    /// Port on the node's loopback, for relays in the host's network.
    pub host_port: Option<u16>,
}

/// Whether these overrides put pods into their node's network.
pub fn uses_host_network(pod_overrides: Option<&Value>) -> bool {
    pod_overrides.and_then(|o| o.pointer("/spec/hostNetwork")) == Some(&Value::Bool(true))
}

/// At most one relay of a pipeline is evicted at a time. For one relay alone there is none: it would only hold up its node's drain.
pub fn budget(
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    selector: &BTreeMap<String, String>,
) -> Result<PodDisruptionBudget, serde_json::Error> {
    serde_json::from_value(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
    }))
}

/// Renders the Deployment; fails when `podOverrides` make something that is not one.
pub fn render(relay: &RelayDeployment) -> Result<Deployment, serde_json::Error> {
    let ordinal = json!({LABEL_ORDINAL: relay.ordinal.to_string()});
    let with_ordinal = |labels: &BTreeMap<String, String>| {
        let mut labels = json!(labels);
        merge(&mut labels, &ordinal);
        labels
    };
    let (labels, selector) = (with_ordinal(&relay.labels), with_ordinal(&relay.selector));
    let mut template = template(relay);
    if let Some(overrides) = &relay.pod_overrides {
        merge(&mut template, overrides);
    }
    // Labels tie the pod to its Deployment and to us: nobody overrides them.
    merge(&mut template, &json!({"metadata": {"labels": labels}}));
    let mut annotations = BTreeMap::new();
    if let Some(port) = relay.host_port {
        annotations.insert(PORT_ANNOTATION, port.to_string());
    }
    serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": relay.name,
            "namespace": relay.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            // One owner per lane: the old pod is gone before the new one starts.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }))
}

fn template(relay: &RelayDeployment) -> Value {
    json!({
        "metadata": {"labels": relay.labels},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": RELAY_UID,
                "runAsGroup": RELAY_UID,
                "fsGroup": RELAY_UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container(relay)],
            "volumes": [config_volume(relay), credentials_volume(relay)],
        },
    })
}

fn container(relay: &RelayDeployment) -> Value {
    let listen = match relay.host_port {
        Some(port) => format!("127.0.0.1:{port}"),
        None => DEFAULT_LISTEN.to_owned(),
    };
    // With host networking every container port becomes a port of the node and a second pod cannot be scheduled.
    let ports = match relay.host_port {
        Some(_) => json!([]),
        None => json!([{"name": "http", "containerPort": POD_PORT, "protocol": "TCP"}]),
    };
    json!({
        "name": RELAY_CONTAINER,
        "image": relay.image,
        "env": [{"name": LISTEN_ENV, "value": listen}],
        "ports": ports,
        "resources": relay.resources,
        "startupProbe": {"httpGet": probe(relay, "/livez"), "periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 2},
        "livenessProbe": {"httpGet": probe(relay, "/livez"), "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": probe(relay, "/readyz"), "periodSeconds": 2, "failureThreshold": 3, "timeoutSeconds": 2},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIR, "readOnly": true},
            {"name": "starrocks-load", "mountPath": CREDENTIALS_DIR, "readOnly": true},
        ],
    })
}

fn probe(relay: &RelayDeployment, path: &str) -> Value {
    match relay.host_port {
        Some(port) => json!({"path": path, "host": "127.0.0.1", "port": port, "scheme": "HTTP"}),
        None => json!({"path": path, "port": POD_PORT, "scheme": "HTTP"}),
    }
}

fn config_volume(relay: &RelayDeployment) -> Value {
    let relay_file = json!({"configMap": {
        "name": relay.relay_config_map,
        "items": [{"key": RELAY_FILE, "path": RELAY_FILE}],
    }});
    let datasets = relay.dataset_config_maps.iter().map(|(dataset, config_map)| {
        json!({"configMap": {
            "name": config_map,
            "items": [{"key": DATASET_KEY, "path": format!("{DATASETS_DIR}/{dataset}.json")}],
        }})
    });
    let sources: Vec<Value> = std::iter::once(relay_file).chain(datasets).collect();
    json!({"name": "config", "projected": {"sources": sources}})
}

fn credentials_volume(relay: &RelayDeployment) -> Value {
    json!({"name": "starrocks-load", "secret": {
        "secretName": relay.load_credentials_secret,
        "items": [{"key": "username", "path": "username"}, {"key": "password", "path": "password"}],
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> RelayDeployment {
        RelayDeployment {
            namespace: "tributary".into(),
            name: "relay-acme-1f6c0a9b2e-0".into(),
            ordinal: 0,
            labels: BTreeMap::from([
                ("tributary.dev/tenant".into(), "acme".into()),
                ("tributary.dev/pipeline".into(), "acme".into()),
            ]),
            selector: BTreeMap::from([("tributary.dev/pipeline".into(), "acme".into())]),
            image: "registry.example.com/tributary/relay:1".into(),
            resources: json!({"limits": {"memory": "256Mi"}}),
            relay_config_map: "relay-acme-1f6c0a9b2e-0".into(),
            dataset_config_maps: BTreeMap::from([("orders".into(), "relay-acme-1f6c0a9b2e.orders".into())]),
            load_credentials_secret: "starrocks-hot-load".into(),
            pod_overrides: None,
            host_port: None,
        }
    }

    fn json_of(relay: &RelayDeployment) -> Value {
        serde_json::to_value(render(relay).unwrap()).unwrap()
    }

    #[test]
    fn one_pod_replaced_by_deletion_first_and_without_rights() {
        let d = json_of(&relay());
        assert_eq!(d.pointer("/spec/replicas"), Some(&json!(1)));
        assert_eq!(d.pointer("/spec/strategy/type"), Some(&json!("Recreate")));
        let selector = d.pointer("/spec/selector/matchLabels").unwrap();
        assert_eq!(
            selector["tributary.dev/ordinal"],
            json!("0"),
            "siblings' pods are not its own"
        );
        let pod = d.pointer("/spec/template/spec").unwrap();
        assert_eq!(pod["automountServiceAccountToken"], json!(false));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            json!("RuntimeDefault")
        );
        assert!(pod.get("serviceAccountName").is_none() && pod.get("hostPID").is_none());
        let volumes = pod["volumes"].as_array().unwrap().iter();
        let kinds: Vec<&String> = volumes
            .flat_map(|v| v.as_object().unwrap().keys())
            .filter(|key| *key != "name")
            .collect();
        assert_eq!(kinds, ["projected", "secret"], "nothing of the node, no token");
        let c = &pod["containers"][0];
        let restricted = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]}});
        assert_eq!(c["securityContext"], restricted);
        assert_eq!(c["env"][0], json!({"name": LISTEN_ENV, "value": DEFAULT_LISTEN}));
        let sources = pod.pointer("/volumes/0/projected/sources").unwrap();
        assert_eq!(
            sources[1]["configMap"]["items"][0]["path"],
            json!("datasets/orders.json")
        );
    }

    #[test]
    fn in_the_hosts_network_a_relay_listens_on_loopback_only_and_declares_no_port() {
        let overrides = json!({"spec": {"hostNetwork": true, "containers": [{"name": "relay", "imagePullPolicy": "Never"}]}});
        assert!(uses_host_network(Some(&overrides)));
        let d = json_of(&RelayDeployment {
            pod_overrides: Some(overrides),
            host_port: Some(20123),
            ..relay()
        });
        let c = d.pointer("/spec/template/spec/containers/0").unwrap();
        assert_eq!(c["env"][0]["value"], json!("127.0.0.1:20123"));
        assert_eq!(c["readinessProbe"]["httpGet"]["host"], json!("127.0.0.1"));
        assert_eq!(c["imagePullPolicy"], json!("Never"));
        assert!(c["ports"].as_array().is_none_or(Vec::is_empty));
        assert_eq!(
            d.pointer("/metadata/annotations/tributary.dev~1relay-port"),
            Some(&json!("20123"))
        );
    }

    #[test]
    fn overrides_cannot_cut_a_pod_from_its_deployment() {
        let overrides = json!({"metadata": {"labels": {
            "tributary.dev/pipeline": "x", "tributary.dev/ordinal": "7", "team": "a"}}});
        let d = json_of(&RelayDeployment {
            pod_overrides: Some(overrides),
            ..relay()
        });
        let labels = d.pointer("/spec/template/metadata/labels").unwrap();
        assert_eq!(labels["tributary.dev/pipeline"], json!("acme"));
        assert_eq!(labels["tributary.dev/ordinal"], json!("0"));
        assert_eq!(labels["team"], json!("a"));
    }
}
