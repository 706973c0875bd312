//! A pipeline's relay pods: found, killed without warning, awaited.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tributary_stage::StageInfo;

use crate::kubectl::Kubectl;
use crate::manifests::PLATFORM_NAMESPACE;
use crate::process::run;
use crate::wait::{Look, until};

/// The container of a relay pod.
const CONTAINER: &str = "relay";
/// The variable that says where a relay listens.
const LISTEN: &str = "TRIBUTARY_RELAY_LISTEN";

/// One relay pod as the API server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPod {
    pub name: String,
    /// As containerd knows the running container; another one after each restart.
    pub container: String,
    pub restarts: u64,
    pub ready: bool,
}

/// The relay pods of a pipeline.
pub fn pods(kubectl: &Kubectl, pipeline: &str) -> Result<Vec<RelayPod>> {
    let selector = format!("app.kubernetes.io/component=relay,tributary.dev/pipeline={pipeline}");
    Ok(kubectl.list("pod", &selector)?.iter().filter_map(pod).collect())
}

/// Where the pipeline's relay answers (`host:port`): pods of the stage share the host's network, so each has a port of its own.
pub fn address(kubectl: &Kubectl, pipeline: &str) -> Result<String> {
    let selector = format!("app.kubernetes.io/component=relay,tributary.dev/pipeline={pipeline}");
    let deployments = kubectl.list("deployment", &selector)?;
    let container = deployments
        .iter()
        .filter_map(|deployment| deployment["spec"]["template"]["spec"]["containers"].as_array())
        .flatten()
        .find(|container| container["name"] == CONTAINER)
        .context("the pipeline has no relay Deployment")?;
    let listen = container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|variable| variable["name"] == LISTEN);
    let address = listen.and_then(|variable| variable["value"].as_str());
    Ok(address
        .with_context(|| format!("the relay has no {LISTEN}"))?
        .to_owned())
}

fn pod(value: &Value) -> Option<RelayPod> {
    let statuses = value["status"]["containerStatuses"].as_array()?;
    let status = statuses.iter().find(|status| status["name"] == CONTAINER)?;
    Some(RelayPod {
        name: value["metadata"]["name"].as_str()?.to_owned(),
        container: status["containerID"]
            .as_str()?
            .trim_start_matches("containerd://")
            .to_owned(),
        restarts: status["restartCount"].as_u64()?,
        ready: status["ready"].as_bool()?,
    })
}

/// Ends a relay as `kill -9` does: no SIGTERM, no drain, no last commit. On an external cluster the pod is deleted by force,
/// which is the nearest that its API offers.
pub fn kill(info: &StageInfo, kubectl: &Kubectl, pod: &RelayPod) -> Result<()> {
    let node = info
        .kubernetes
        .as_ref()
        .and_then(|kubernetes| kubernetes.node.as_ref());
    let Some(containerd) = node.and_then(|node| node.containerd.as_ref()) else {
        let args = [
            "delete",
            "pod",
            &pod.name,
            "-n",
            PLATFORM_NAMESPACE,
            "--grace-period=0",
            "--force",
        ];
        return kubectl.run(&args).map(drop);
    };
    let mut command = Command::new(info.bin.join("ctr"));
    command.arg("--address").arg(containerd).args([
        "-n",
        "k8s.io",
        "tasks",
        "kill",
        "--signal",
        "SIGKILL",
        &pod.container,
    ]);
    run(&mut command, "", Duration::from_secs(30))?
        .ok("ctr tasks kill")
        .map(drop)
}

/// Kills the pipeline's first relay and waits until another container of it is ready.
pub fn kill_and_await(
    info: &StageInfo,
    kubectl: &Kubectl,
    pipeline: &str,
    deadline: Duration,
) -> Result<String> {
    let before = pods(kubectl, pipeline)?
        .into_iter()
        .next()
        .context("the pipeline has no relay pod")?;
    ensure!(
        before.ready,
        "relay pod {} was not ready before it was killed",
        before.name
    );
    kill(info, kubectl, &before)?;
    let begun = std::time::Instant::now();
    until("another relay container ready", deadline, || {
        let now = pods(kubectl, pipeline)?;
        Ok(
            match now
                .iter()
                .find(|pod| pod.ready && pod.container != before.container)
            {
                Some(_) => Look::There(()),
                None => Look::NotYet(format!("{now:?}")),
            },
        )
    })?;
    Ok(format!(
        "{} killed -9, its successor ready after {:.1}s",
        before.name,
        begun.elapsed().as_secs_f32()
    ))
}
