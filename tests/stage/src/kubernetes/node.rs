//! The node: containerd and kubelet on this machine, in the stage's namespaces and in a cgroup of its own.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::mount::mount_bind;
use serde_json::json;

use super::control_plane::Programs;
use super::pki::{Pki, User};
use crate::images;
use crate::info::{KubernetesInfo, NodeInfo};
use crate::progress::say;
use crate::serve::Context;
use crate::{ports, setup, state};

const READY: Duration = Duration::from_secs(120);
const PAUSE: &str = "tributary.dev/stage-pause:1";

/// What kubelet wants of the kernel. It reads these and writes what differs, which would change the whole machine; so it
/// is shown files that already say what it wants.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Raises containerd and loads the images; independent of the control plane. Returns its socket.
pub(super) fn start_containerd(context: &Context) -> Result<PathBuf> {
    let programs = setup::containerd()?;
    let pause = setup::pause()?;
    separate_from_host(context)?;
    let dir = context.dir("containerd")?;
    let socket = dir.join("containerd.sock");
    let config = dir.join("config.toml");
    fs::create_dir_all(dir.join("cni"))?;
    fs::write(dir.join("cni/10-loopback.conflist"), LOOPBACK)?;
    fs::write(&config, containerd_config(&dir, &socket))?;
    symlink(programs.join("ctr"), context.bin.join("ctr"))?;

    let mut command = Command::new(programs.join("containerd"));
    // It looks its shim up on the path, and the shim runc.
    command
        .arg("--config")
        .arg(&config)
        .env("PATH", path_with(&programs));
    let server = context.spawn("containerd", &mut command)?;
    server.wait_ready(READY, || {
        let mut probe = Command::new(context.bin.join("ctr"));
        probe
            .arg("--address")
            .arg(&socket)
            .args(["--connect-timeout", "1s", "version"]);
        Ok(socket.exists() && setup::output(&mut probe, "", Duration::from_secs(10)).is_ok())
    })?;
    context.keep(server);

    let archive = context.state_dir.join("image.tar");
    images::Image::new(PAUSE, "/pause")
        .file("/pause", &pause.join("pause"))
        .write(&archive)?;
    context.import_image(&socket, &archive)?;
    images::Image::new(images::EMPTY, "/none")
        .base()
        .write(&archive)?;
    context.import_image(&socket, &archive)?;
    for archive in &context.options.images {
        say(format!("loading {} onto the node", archive.display()));
        context.import_image(&socket, archive)?;
    }
    Ok(socket)
}

/// Raises kubelet and waits until the node is ready.
pub(super) fn start_kubelet(
    context: &Context,
    programs: &Programs,
    pki: &Pki,
    info: &KubernetesInfo,
    socket: &Path,
) -> Result<NodeInfo> {
    make_cgroups(&context.id)?;
    let dir = context.dir("kubelet")?;
    let address = node_address()?;
    ports::retrying(|| {
        let config = dir.join("config.json");
        fs::write(
            &config,
            kubelet_config(context, pki, socket, &address, ports::free()?).to_string(),
        )?;
        let mut command = programs.command("kubelet");
        command
            .arg("--config")
            .arg(&config)
            .arg("--kubeconfig")
            .arg(pki.kubeconfig(User::Kubelet, &info.server)?)
            .arg("--root-dir")
            .arg(dir.join("root"))
            .arg("--cert-dir")
            .arg(dir.join("certs"))
            .args([
                "--hostname-override",
                &context.id,
                "--node-ip",
                &address,
                "-v",
                "1",
            ]);
        let server = context.spawn("kubelet", &mut command)?;
        server.wait_ready(READY, || node_is_ready(context, info))?;
        context.keep(server);
        Ok(())
    })?;
    Ok(NodeInfo {
        name: context.id.clone(),
        containerd: Some(socket.to_owned()),
    })
}

fn node_is_ready(context: &Context, info: &KubernetesInfo) -> Result<bool> {
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    Ok(context.kubectl(info, &["get", "node", &context.id, "-o", path])? == "True")
}

/// kubelet and containerd know fixed paths below /run and /var/log; here, inside our own mount namespace, these are folders
/// of this stage, so that two stages and the machine's own container runtime do not meet.
fn separate_from_host(context: &Context) -> Result<()> {
    let bind = |from: &Path, onto: &Path| {
        mount_bind(from, onto)
            .with_context(|| format!("cannot mount {} over {}", from.display(), onto.display()))
    };
    bind(&context.dir("run")?, Path::new("/run"))?;
    let var_log = context.logs.join("node");
    fs::create_dir_all(&var_log)?;
    bind(&var_log, Path::new("/var/log"))?;
    let tunables = context.dir("sysctl")?;
    for (name, value) in TUNABLES {
        let file = tunables.join(name.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        let shown = Path::new("/proc/sys").join(name);
        if shown.exists() {
            bind(&file, &shown)?;
        }
    }
    Ok(())
}

/// The parent of all pods' cgroups, in every hierarchy; kubelet insists that it exists.
fn make_cgroups(id: &str) -> Result<()> {
    for hierarchy in state::cgroup_hierarchies() {
        let dir = hierarchy.join(id);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create the cgroup {}", dir.display()));
            }
            _ => {}
        }
        // A new cpuset of version 1 is empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if dir.join(file).exists() && !hierarchy.join("cgroup.controllers").exists() {
                fs::write(dir.join(file), fs::read(hierarchy.join(file))?)?;
            }
        }
        if hierarchy.join("cgroup.controllers").exists() {
            delegate(&hierarchy)?;
            delegate(&dir)?;
        }
    }
    Ok(())
}

/// Version 2: hands every controller of a cgroup on to its children.
fn delegate(cgroup: &Path) -> Result<()> {
    // Inside a container what looks like the root is an ordinary cgroup, and such a one has either processes or children
    // with controllers: its processes move into a child, as container-in-container images do at their start.
    if cgroup.join("cgroup.type").exists() {
        let leaf = cgroup.join("tributary-moved");
        let processes = fs::read_to_string(cgroup.join("cgroup.procs"))?;
        if !processes.is_empty() {
            fs::create_dir_all(&leaf)?;
        }
        for process in processes.lines() {
            // One that has just ended cannot be moved and need not be.
            fs::write(leaf.join("cgroup.procs"), process).ok();
        }
    }
    let controllers = fs::read_to_string(cgroup.join("cgroup.controllers"))?;
    for controller in controllers.split_whitespace() {
        let handed_on = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
        // kubelet cannot do without these; the others depend on the machine.
        if ["cpu", "memory", "pids"].contains(&controller) {
            handed_on.with_context(|| {
                format!(
                    "cannot hand on {controller} below the cgroup {}",
                    cgroup.display()
                )
            })?;
        }
    }
    Ok(())
}

/// The address of this machine that kubelet listens on: Kubernetes refuses loopback. Connecting a datagram socket sends
/// nothing; it only makes the kernel choose.
fn node_address() -> Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket
        .connect("192.0.2.1:9")
        .context("this machine has no address but loopback, which Kubernetes refuses for a node; add one, such as by `ip addr add 192.0.2.10/32 dev lo`")?;
    Ok(socket.local_addr()?.ip().to_string())
}

fn path_with(dir: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [dir.to_owned(), "/usr/sbin".into(), "/sbin".into()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    std::env::join_paths(all).unwrap_or(path.clone())
}

/// Without any network configuration the runtime says it is not ready. Pods here use the machine's network: it is never
/// put to use, and its plugin need not exist.
const LOOPBACK: &str = r#"{"cniVersion": "1.0.0", "name": "loopback", "plugins": [{"type": "loopback"}]}"#;

fn containerd_config(dir: &Path, socket: &Path) -> String {
    let (dir, socket) = (dir.display(), socket.display());
    format!(
        r#"version = 3
root = '{dir}/root'
state = '{dir}/state'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.internal.v1.tracing']

[grpc]
address = '{socket}'

[ttrpc]
address = '{dir}/ttrpc.sock'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'

[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE, as in many containers and small virtual machines, nobody may lower the score.
restrict_oom_score_adj = true
cni = {{ bin_dirs = ['{dir}/cni'], conf_dir = '{dir}/cni' }}

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
options = {{ SystemdCgroup = false }}
"#
    )
}

fn kubelet_config(
    context: &Context,
    pki: &Pki,
    socket: &Path,
    address: &str,
    port: u16,
) -> serde_json::Value {
    let resolv_conf = context.state_dir.join("kubelet/resolv.conf");
    fs::write(&resolv_conf, "").ok();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": port,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false}, "x509": {"clientCAFile": pki.path("ca.crt")}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
        "volumePluginDir": context.state_dir.join("kubelet/plugins"),
        "resolvConf": resolv_conf,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", context.id),
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "oomScoreAdj": 0,
        "maxPods": 60,
        // A changed Secret reaches a pod at its next sync: a pipeline must not wait for its credential to reach Connect.
        "syncFrequency": "1s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "fileCheckFrequency": "1m",
        // Tests kill containers every few seconds; five minutes of back-off would test nothing.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "nodeStatusUpdateFrequency": "10s",
        "shutdownGracePeriod": "0s",
        "serializeImagePulls": true,
    })
}
