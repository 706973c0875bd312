//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::pki::{Pki, User};
use crate::info::KubernetesInfo;
use crate::serve::Context;
use crate::{ports, setup};

const READY: Duration = Duration::from_secs(120);

/// Where the control plane's programs are.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) kubernetes: PathBuf,
    pub(super) kubectl: PathBuf,
}

impl Programs {
    /// Those of `KUBEBUILDER_ASSETS` where they suffice, else built ones.
    pub(super) fn find(whole: bool) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS")
            .map(PathBuf::from)
            .filter(|_| !whole);
        let kubernetes = match assets.filter(|dir| {
            ["etcd", "kube-apiserver", "kubectl"]
                .iter()
                .all(|p| dir.join(p).is_file())
        }) {
            Some(assets) => assets,
            None => setup::kubernetes()?,
        };
        Ok(Self {
            kubectl: kubernetes.join("kubectl"),
            kubernetes,
        })
    }

    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.kubernetes.join(name));
        command.env_remove("KUBECONFIG");
        command
    }
}

/// Raises etcd and the API server, and waits until it serves.
pub(super) fn start_api_server(context: &Context, programs: &Programs, pki: &Pki) -> Result<KubernetesInfo> {
    let etcd = ports::retrying(|| start_etcd(context, programs))?;
    let port = ports::retrying(|| start_kube_apiserver(context, programs, pki, &etcd))?;
    let server = format!("https://127.0.0.1:{port}");
    let info = KubernetesInfo {
        kubeconfig: pki.kubeconfig(User::Admin, &server)?,
        server,
        service_host: "127.0.0.1".to_owned(),
        service_port: port,
        node: None,
        external: false,
    };
    Ok(info)
}

fn start_etcd(context: &Context, programs: &Programs) -> Result<String> {
    let (client_port, peer_port) = (ports::free()?, ports::free()?);
    let (client, peer) = (
        format!("http://127.0.0.1:{client_port}"),
        format!("http://127.0.0.1:{peer_port}"),
    );
    let mut command = programs.command("etcd");
    command
        .arg("--data-dir")
        .arg(context.dir("etcd")?.join(client_port.to_string()))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args([
            "--initial-cluster",
            &format!("default={peer}"),
            "--unsafe-no-fsync",
            "--log-level",
            "warn",
        ]);
    let server = context.spawn("etcd", &mut command)?;
    server.wait_ready(READY, || Ok(listens(client_port)))?;
    context.keep(server);
    Ok(client)
}

fn start_kube_apiserver(context: &Context, programs: &Programs, pki: &Pki, etcd: &str) -> Result<u16> {
    let port = ports::free()?;
    let mut command = programs.command("kube-apiserver");
    let mut flag = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    flag("etcd-servers", etcd);
    flag("bind-address", "127.0.0.1");
    flag("advertise-address", "127.0.0.1");
    flag("secure-port", &port.to_string());
    // Endpoints may not be loopback addresses; nothing on the stage reads them.
    flag("endpoint-reconciler-type", "none");
    flag("authorization-mode", "Node,RBAC");
    flag("allow-privileged", "true");
    flag("kubelet-preferred-address-types", "InternalIP");
    flag("service-cluster-ip-range", "10.96.0.0/16");
    flag(
        "service-account-issuer",
        "https://kubernetes.default.svc.cluster.local",
    );
    // Without the node lifecycle controller nobody would ever take the not-ready taint away.
    flag("disable-admission-plugins", "TaintNodesByCondition");
    flag("profiling", "false");
    for (name, file) in [
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("service-account-signing-key-file", "service-accounts.key"),
        ("service-account-key-file", "service-accounts.pub"),
        ("token-auth-file", "tokens.csv"),
    ] {
        flag(name, &pki.path(file).to_string_lossy());
    }
    let server = context.spawn("kube-apiserver", &mut command)?;
    let kubeconfig = pki.kubeconfig(User::Admin, &format!("https://127.0.0.1:{port}"))?;
    server.wait_ready(READY, || {
        if !listens(port) {
            return Ok(false);
        }
        let mut probe = Command::new(&programs.kubectl);
        probe
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["get", "--raw", "/readyz"]);
        setup::output(&mut probe, "", Duration::from_secs(10)).map(|_| true)
    })?;
    context.keep(server);
    Ok(port)
}

/// Raises the controller manager and the scheduler. They need not be awaited: what they do is.
pub(super) fn start_controllers(
    context: &Context,
    programs: &Programs,
    pki: &Pki,
    info: &KubernetesInfo,
) -> Result<()> {
    let run = |name: &str, user: User, flags: &[(&str, String)]| {
        ports::retrying(|| {
            let port = ports::free()?;
            let mut command = programs.command(name);
            let kubeconfig = pki.kubeconfig(user, &info.server)?;
            for of in [
                "kubeconfig",
                "authentication-kubeconfig",
                "authorization-kubeconfig",
            ] {
                command.arg(format!("--{of}={}", kubeconfig.display()));
            }
            command
                .args([
                    "--bind-address=127.0.0.1",
                    "--leader-elect=false",
                    "--profiling=false",
                ])
                .arg(format!("--secure-port={port}"))
                .arg(format!(
                    "--cert-dir={}",
                    context.dir("certs")?.join(name).display()
                ))
                .args(flags.iter().map(|(flag, value)| format!("--{flag}={value}")));
            let server = context.spawn(name, &mut command)?;
            server.wait_ready(READY, || Ok(listens(port)))?;
            context.keep(server);
            Ok(())
        })
    };
    let file = |name: &str| pki.path(name).to_string_lossy().into_owned();
    std::thread::scope(|scope| {
        let scheduler = scope.spawn(|| run("kube-scheduler", User::Scheduler, &[]));
        run(
            "kube-controller-manager",
            User::ControllerManager,
            &[
                // A busy machine makes one late heartbeat; evicting every pod of the only node would help nobody.
                (
                    "controllers",
                    "*,-node-lifecycle-controller,-taint-eviction-controller".to_owned(),
                ),
                ("use-service-account-credentials", "true".to_owned()),
                ("service-account-private-key-file", file("service-accounts.key")),
                ("root-ca-file", file("ca.crt")),
                ("kube-api-qps", "200".to_owned()),
                ("kube-api-burst", "400".to_owned()),
            ],
        )?;
        scheduler
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
