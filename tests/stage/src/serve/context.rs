//! What every part of the stage is raised with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;

use crate::info::KubernetesInfo;
use crate::parts::{Options, Parts};
use crate::server::Server;
use crate::setup::output;

/// One stage while it is being raised. Shared by the threads that raise its parts.
#[derive(Debug)]
pub struct Context {
    pub id: String,
    pub parts: Parts,
    pub options: Options,
    /// `/tmp/trb-<id>`: short, gone with the stage.
    pub state_dir: PathBuf,
    /// Outlives the stage.
    pub logs: PathBuf,
    /// Programs for callers; see [`crate::info::StageInfo::bin`].
    pub bin: PathBuf,
    servers: Mutex<Vec<Server>>,
}

impl Context {
    pub fn new(id: String, parts: Parts, options: Options, state_dir: PathBuf, logs: PathBuf) -> Self {
        let bin = state_dir.join("bin");
        Self {
            id,
            parts,
            options,
            state_dir,
            logs,
            bin,
            servers: Mutex::default(),
        }
    }

    /// A folder of the state for one part.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.state_dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// Starts a server whose output goes to `<logs>/<name>.log`. Hand it to [`Context::keep`] once it is ready.
    pub fn spawn(&self, name: &str, command: &mut Command) -> Result<Server> {
        Server::spawn(&self.logs, name, command)
    }

    /// Starts a server that prints one JSON line when it is ready.
    pub fn spawn_announcing<T: DeserializeOwned + Send + 'static>(
        &self,
        name: &str,
        command: &mut Command,
        deadline: Duration,
    ) -> Result<(Server, T)> {
        Server::spawn_announcing(&self.logs, name, command, deadline)
    }

    /// From now on the stage watches it: when it ends, the stage ends with an error that shows its log.
    pub fn keep(&self, server: Server) {
        self.servers().push(server);
    }

    pub(super) fn servers(&self) -> MutexGuard<'_, Vec<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `kubectl` on the stage's cluster and returns its output.
    pub fn kubectl(&self, kubernetes: &KubernetesInfo, args: &[&str]) -> Result<String> {
        self.kubectl_with(kubernetes, args, "")
    }

    /// Applies manifests (YAML or JSON) on the stage's cluster.
    pub fn apply(&self, kubernetes: &KubernetesInfo, manifests: &str) -> Result<String> {
        self.kubectl_with(
            kubernetes,
            &[
                "apply",
                "--server-side",
                "--field-manager=tributary-stage",
                "-f",
                "-",
            ],
            manifests,
        )
    }

    fn kubectl_with(&self, kubernetes: &KubernetesInfo, args: &[&str], stdin: &str) -> Result<String> {
        let mut command = Command::new(self.bin.join("kubectl"));
        command
            .env_remove("KUBECONFIG")
            .arg("--kubeconfig")
            .arg(&kubernetes.kubeconfig)
            .args(args);
        output(&mut command, stdin, Duration::from_secs(60))
    }

    /// Loads a docker archive onto the stage's node.
    pub fn import_image(&self, containerd: &Path, archive: &Path) -> Result<()> {
        let mut command = Command::new(self.bin.join("ctr"));
        command
            .arg("--address")
            .arg(containerd)
            .args(["-n", "k8s.io", "images", "import", "--local"])
            .arg(archive);
        output(&mut command, "", Duration::from_secs(120)).map(drop)
    }
}
