//! Holding a stage: it lives in PID and mount namespaces of its own whose first process ends when the holder's end of a
//! pipe closes, however the holder ended; the kernel then ends everything in there, containers included.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use wait_timeout::ChildExt as _;

use crate::control::{self, Action};
use crate::info::StageInfo;
use crate::parts::{Options, Part, Parts};
use crate::progress::{self, say};
use crate::setup::is_root;
use crate::{binary, preflight, state};

/// A cold set-up compiles Kubernetes and DataFusion on what may be two cores.
const LONGEST_SETUP: Duration = Duration::from_secs(2 * 3600);

/// A running stage; it ends when this is dropped, and also when the process that holds it is killed.
#[derive(Debug)]
pub struct Stage {
    info: StageInfo,
    namespace: Child,
    /// Nothing is ever sent: the channel closes when the stage ended.
    end: Receiver<()>,
    /// Tells sweepers that the state folder is in use.
    _lock: File,
}

/// What the process inside the namespace is asked to raise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub id: String,
    pub parts: Parts,
    pub options: Options,
}

/// The one line the namespace prints on its stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Announcement {
    Ready(Box<StageInfo>),
    Failed(String),
}

impl Stage {
    /// Does all set-up, raises the parts and returns once they are ready. Blocking; progress goes to stderr.
    pub fn up(parts: Parts, options: Options) -> Result<Self> {
        preflight::require(parts)?;
        let binary = binary::stage()?;
        let (id, lock) = state::create()?;
        let plan = serde_json::to_string(&Plan {
            id: id.clone(),
            parts,
            options,
        })?;
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args([
                "--pid",
                "--mount",
                "--fork",
                "--kill-child=SIGKILL",
                "--mount-proc",
            ])
            .arg(binary)
            .args(["init", &plan])
            .env(progress::STARTED, progress::started_ms())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the holder, which then ends the stage in order.
            .process_group(0);
        let mut namespace = command
            .spawn()
            .context("cannot run unshare (Debian package util-linux)")?;
        let stdout = namespace.stdout.take().context("its stdout was asked for")?;
        let (announced, end) = listen(stdout);
        let mut stage = Starting {
            id,
            namespace: Some(namespace),
            lock: Some(lock),
        };
        match announced.recv_timeout(LONGEST_SETUP) {
            Ok(Announcement::Ready(info)) => {
                say("the stage is ready");
                stage.finish(*info, end)
            }
            Ok(Announcement::Failed(error)) => bail!(error),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the stage was not ready after {}s", LONGEST_SETUP.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the stage ended without a word; see the lines above")
            }
        }
    }

    pub fn info(&self) -> &StageInfo {
        &self.info
    }

    /// Takes a part's server away, brings it back, or freezes it; the stage goes on. Returns when that is done.
    pub fn control(&self, action: Action, part: Part) -> Result<()> {
        control::order(&self.info.state_dir, action, control::server_of(part)?)
    }

    /// Whether it still runs; waits that long for its end. It ends by itself only when one of its servers did, which it
    /// has then said on stderr.
    pub fn ended_within(&self, wait: Duration) -> bool {
        self.end.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        shut(&self.info.id, &mut self.namespace);
    }
}

/// A stage that is not ready yet: dropped on every error, it takes the namespace with it.
struct Starting {
    id: String,
    namespace: Option<Child>,
    lock: Option<File>,
}

impl Starting {
    fn finish(&mut self, info: StageInfo, end: Receiver<()>) -> Result<Stage> {
        let namespace = self.namespace.take().context("it was just started")?;
        let lock = self.lock.take().context("it was just taken")?;
        Ok(Stage {
            info,
            namespace,
            end,
            _lock: lock,
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(namespace) = &mut self.namespace {
            shut(&self.id, namespace);
        }
    }
}

/// Reads the announcement; the second channel closes when the namespace's stdout does.
fn listen(stdout: ChildStdout) -> (Receiver<Announcement>, Receiver<()>) {
    let (announce, announced) = mpsc::channel();
    let (alive, end) = mpsc::channel();
    thread::spawn(move || {
        let _alive: mpsc::Sender<()> = alive;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(Ok(line)) = lines.next() {
            match serde_json::from_str(&line) {
                Ok(announcement) => announce.send(announcement).unwrap_or_default(),
                Err(_) => say(line),
            }
        }
    });
    (announced, end)
}

/// Closes the pipe, awaits the end of everything inside, and removes the state.
fn shut(id: &str, namespace: &mut Child) {
    drop(namespace.stdin.take());
    if !matches!(namespace.wait_timeout(Duration::from_secs(20)), Ok(Some(_))) {
        namespace.kill().ok();
        namespace.wait().ok();
    }
    if let Err(error) = state::remove(id) {
        say(format!(
            "left behind of stage {id} (`tributary-stage clean` tries again): {error:#}"
        ));
    }
}
