//! What every part of the stage is raised with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use crate::control::Action;
use crate::info::KubernetesInfo;
use crate::parts::{Options, Parts};
use crate::server::Server;
use crate::setup::output;
use crate::tls::Tls;

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
    servers: Mutex<Vec<Kept>>,
    tls: OnceLock<Arc<Tls>>,
}

/// Starts a server again: on the same ports, with the data it had, and waits until it is ready.
type Again = dyn Fn(&Context) -> Result<Server> + Send + Sync;

/// A server that the stage watches.
pub(super) struct Kept {
    pub(super) server: Arc<Server>,
    /// Absent for one that would come back with nothing.
    again: Option<Arc<Again>>,
    /// Taken away on purpose.
    pub(super) away: bool,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} (away: {})", self.server, self.away)
    }
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
            tls: OnceLock::new(),
        }
    }

    /// A folder of the state for one part.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.state_dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// The authority of the stage's own servers.
    pub(crate) fn tls(&self) -> Result<Arc<Tls>> {
        let _one_at_a_time = self.servers();
        if let Some(tls) = self.tls.get() {
            return Ok(Arc::clone(tls));
        }
        let tls = Arc::new(Tls::create(&self.dir("tls")?)?);
        Ok(Arc::clone(self.tls.get_or_init(|| tls)))
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
        self.watch(server, None);
    }

    /// Like [`Context::keep`], for a server that may be taken away and brought back.
    pub fn keep_restartable(
        &self,
        server: Server,
        again: impl Fn(&Self) -> Result<Server> + Send + Sync + 'static,
    ) {
        self.watch(server, Some(Arc::new(again)));
    }

    fn watch(&self, server: Server, again: Option<Arc<Again>>) {
        self.servers().push(Kept {
            server: Arc::new(server),
            again,
            away: false,
        });
    }

    pub(super) fn servers(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out an order about one server.
    pub(crate) fn act(&self, action: Action, name: &str) -> Result<()> {
        let (server, again) = {
            let mut servers = self.servers();
            let names: Vec<String> = servers.iter().map(|kept| kept.server.name.clone()).collect();
            let kept = servers.iter_mut().find(|kept| kept.server.name == name);
            let kept = kept.with_context(|| format!("no such server; there are {}", names.join(", ")))?;
            let takes_away = matches!(action, Action::Stop | Action::Kill | Action::Restart);
            if (takes_away || action == Action::Start) && kept.again.is_none() {
                bail!("it cannot be brought back: it keeps nothing across a restart");
            }
            if action == Action::Start && !kept.away {
                bail!("it is running");
            }
            kept.away |= takes_away;
            (Arc::clone(&kept.server), kept.again.clone())
        };
        match action {
            Action::Pause => return server.freeze(true),
            Action::Resume => return server.freeze(false),
            Action::Stop => return server.terminate(),
            Action::Kill => return server.stop(),
            Action::Start => {}
            Action::Restart => server.terminate()?,
        }
        let started = match again {
            Some(again) => Arc::new(again(self)?),
            None => bail!("it cannot be brought back"),
        };
        if let Some(kept) = self.servers().iter_mut().find(|kept| kept.server.name == name) {
            kept.server = started;
            kept.away = false;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(context: &Context) -> Result<Server> {
        let script = r#"echo "{}"; exec sleep 600"#;
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let limit = Duration::from_secs(10);
        let (server, _) = context.spawn_announcing::<serde_json::Value>("sleeper", &mut command, limit)?;
        Ok(server)
    }

    #[test]
    fn a_server_is_taken_away_and_brought_back_while_the_stage_goes_on() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().to_owned();
        let context = Arc::new(Context::new(
            "trb-test".into(),
            Parts::Data,
            Options::default(),
            dir.clone(),
            dir.clone(),
        ));
        context.keep_restartable(launch(&context)?, launch);
        crate::control::serve(&context)?;
        let order = |action| crate::control::order(&dir, action, "sleeper");
        let seen = || {
            let servers = context.servers();
            let kept = servers.first().context("it is kept")?;
            anyhow::Ok((kept.server.pid(), kept.away, kept.server.ended().is_some()))
        };
        let (first, ..) = seen()?;
        assert!(order(Action::Start).is_err_and(|error| format!("{error:#}").contains("it is running")));
        order(Action::Kill)?;
        assert_eq!(seen()?, (first, true, true));
        order(Action::Start)?;
        let (second, away, ended) = seen()?;
        assert!(second != first && !away && !ended);
        order(Action::Restart)?;
        let (third, away, ended) = seen()?;
        assert!(third != second && !away && !ended);
        order(Action::Pause)?;
        // The signal is delivered when the process is next scheduled.
        let begun = std::time::Instant::now();
        while !std::fs::read_to_string(format!("/proc/{third}/stat"))?.contains(") T ") {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is not frozen");
            std::thread::yield_now();
        }
        order(Action::Resume)?;
        let unknown = crate::control::order(&dir, Action::Stop, "nobody");
        assert!(unknown.is_err_and(|error| format!("{error:#}").contains("there are sleeper")));
        context.servers().iter().try_for_each(|kept| kept.server.stop())
    }
}
