//! The Helm chart, installed with the values that only the stage needs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tributary_stage::images::{OPERATOR, RELAY};
use tributary_stage::{StageInfo, binary, connect, ports};

use crate::kubectl::Kubectl;
use crate::manifests::PLATFORM_NAMESPACE;

/// Name of the Helm release.
pub const RELEASE: &str = "tributary";
const INSTALL: Duration = Duration::from_secs(300);

/// Installs the chart and waits until the operator is available.
pub fn install(kubectl: &Kubectl, info: &StageInfo) -> Result<String> {
    let values = values(info)?;
    let chart = binary::workspace().join("charts/tributary");
    let mut args = vec![
        "install",
        RELEASE,
        path(&chart)?,
        "--namespace",
        PLATFORM_NAMESPACE,
    ];
    args.extend(["--create-namespace", "--wait", "--timeout", "4m"]);
    for value in &values {
        args.extend(["--set-string", value.as_str()]);
    }
    let port = format!("operator.port={}", ports::free()?);
    args.extend(["--set", "operator.hostNetwork=true", "--set", &port]);
    args.extend(["--set", "sourceSecrets[0].create=true"]);
    kubectl.helm(&args, INSTALL)?;
    Ok(format!("release {RELEASE} in namespace {PLATFORM_NAMESPACE}"))
}

/// There is no service network on the stage's node, so the operator is told where the API server is.
fn values(info: &StageInfo) -> Result<Vec<String>> {
    let kubernetes = info.kubernetes.as_ref().context("this stage has no Kubernetes")?;
    Ok(vec![
        format!("operator.image={OPERATOR}"),
        format!("relay.image={RELAY}"),
        "imagePullPolicy=Never".to_owned(),
        format!("operator.kubernetesService.host={}", kubernetes.service_host),
        format!("operator.kubernetesService.port={}", kubernetes.service_port),
        // The operator may write this one Secret, not make it: RBAC cannot allow creation by name.
        format!("sourceSecrets[0].namespace={}", connect::NAMESPACE),
        format!("sourceSecrets[0].name={}", connect::SOURCES_SECRET),
    ])
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not text", path.display()))
}
