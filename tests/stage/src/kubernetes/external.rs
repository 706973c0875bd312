//! A cluster that somebody else runs, used only when it is marked for tests.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::info::{KubernetesInfo, NodeInfo};
use crate::serve::Context;

const MARK: &str = "tributary-test-cluster";

/// Checks the mark and reads where the cluster is.
pub(super) fn adopt(context: &Context, kubeconfig: PathBuf) -> Result<KubernetesInfo> {
    let kubeconfig = fs::canonicalize(&kubeconfig).with_context(|| {
        format!(
            "TRIBUTARY_TEST_KUBECONFIG names {}, which cannot be read",
            kubeconfig.display()
        )
    })?;
    let mut info = KubernetesInfo {
        kubeconfig,
        server: String::new(),
        service_host: String::new(),
        service_port: 443,
        node: None,
        external: true,
    };
    context.kubectl(&info, &["get", "configmap", "-n", "kube-system", MARK]).with_context(|| {
        format!(
            "the cluster of TRIBUTARY_TEST_KUBECONFIG is not marked for tests; if it may be changed at will, run \
             `kubectl create configmap -n kube-system {MARK}`"
        )
    })?;
    let text = context.kubectl(
        &info,
        &[
            "config",
            "view",
            "--minify",
            "-o",
            "jsonpath={.clusters[0].cluster.server}",
        ],
    )?;
    info.server = text.trim().to_owned();
    let service: Service = serde_json::from_str(&context.kubectl(
        &info,
        &["get", "service", "-n", "default", "kubernetes", "-o", "json"],
    )?)?;
    info.service_host = service.spec.cluster_ip;
    let names = context.kubectl(
        &info,
        &["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"],
    )?;
    let first = names.split_whitespace().next();
    info.node = first.map(|name| NodeInfo {
        name: name.to_owned(),
        containerd: None,
    });
    Ok(info)
}

/// As much of a Service as we read.
#[derive(Deserialize)]
struct Service {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
}
