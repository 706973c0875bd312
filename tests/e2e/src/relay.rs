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

/// Freezes a container, or lets it go on: it keeps its connections and its memory of the world.
pub fn freeze(info: &StageInfo, container: &str, frozen: bool) -> Result<()> {
    let action = if frozen { "pause" } else { "resume" };
    tasks(info, &[action, container])
}

/// Sends a signal (`SIGTERM`, `SIGKILL`) to a container.
pub fn signal(info: &StageInfo, container: &str, signal: &str) -> Result<()> {
    tasks(info, &["kill", "--signal", signal, container])
}

fn tasks(info: &StageInfo, args: &[&str]) -> Result<()> {
    let node = info
        .kubernetes
        .as_ref()
        .and_then(|kubernetes| kubernetes.node.as_ref());
    let containerd = node.and_then(|node| node.containerd.as_ref());
    let mut command = Command::new(info.bin.join("ctr"));
    command
        .arg("--address")
        .arg(containerd.context("this needs the stage's own node")?)
        .args(["-n", "k8s.io", "tasks"])
        .args(args);
    run(&mut command, "", Duration::from_secs(30))?
        .ok("ctr tasks")
        .map(drop)
}

/// The manifest of a second relay of a pipeline: the Deployment's pod once more, with a port of its own and no label by
/// which anybody would count it in.
pub fn twin(kubectl: &Kubectl, pipeline: &str, name: &str, port: u16) -> Result<Value> {
    let selector = format!("app.kubernetes.io/component=relay,tributary.dev/pipeline={pipeline}");
    let deployments = kubectl.list("deployment", &selector)?;
    let deployment = deployments
        .first()
        .context("the pipeline has no relay Deployment")?;
    let mut spec = deployment["spec"]["template"]["spec"].clone();
    spec["restartPolicy"] = "Never".into();
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        for variable in container["env"].as_array_mut().into_iter().flatten() {
            if variable["name"] == LISTEN {
                variable["value"] = format!("127.0.0.1:{port}").into();
            }
        }
        if let Some(container) = container.as_object_mut() {
            // They would ask the other one's port.
            container.retain(|field, _| !field.ends_with("Probe"));
        }
    }
    Ok(serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": PLATFORM_NAMESPACE},
        "spec": spec,
    }))
}

/// The container of a pod of that name; `None` until it runs.
pub fn container_of(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<Option<String>> {
    let found = kubectl.get(&crate::kubectl::Object::new("pod", namespace, name))?;
    Ok(found.and_then(|pod| running_container(&pod)))
}

fn running_container(pod: &Value) -> Option<String> {
    let status = &pod["status"]["containerStatuses"][0];
    status["state"]["running"].as_object()?;
    Some(
        status["containerID"]
            .as_str()?
            .trim_start_matches("containerd://")
            .to_owned(),
    )
}

/// The running containers of the pods with that label, in any namespace.
pub fn containers(kubectl: &Kubectl, selector: &str) -> Result<Vec<String>> {
    Ok(kubectl
        .list("pod", selector)?
        .iter()
        .filter_map(running_container)
        .collect())
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
