//! A server process of the stage: its log, its readiness, its end.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

use crate::setup::tail;

/// What a server may take to end in order.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_PROBES: Duration = Duration::from_millis(50);

/// A running server. It is not stopped on drop: the stage's namespace ends it with everything else; [`Server::stop`]
/// ends one alone.
#[derive(Debug)]
pub struct Server {
    pub name: String,
    pub log: PathBuf,
    pid: Pid,
    ended: Arc<OnceLock<String>>,
}

impl Server {
    /// Starts it with stdout and stderr in `<logs>/<name>.log`.
    pub fn spawn(logs: &Path, name: &str, command: &mut Command) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = open_log(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let (server, _) = Self::start(name, log, command)?;
        Ok(server)
    }

    /// Starts one that prints a single JSON line on stdout when it is ready; its stderr is the log.
    pub fn spawn_announcing<T: DeserializeOwned + Send + 'static>(
        logs: &Path,
        name: &str,
        command: &mut Command,
        deadline: Duration,
    ) -> Result<(Self, T)> {
        let log = logs.join(format!("{name}.log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(open_log(&log)?);
        let (server, stdout) = Self::start(name, log, command)?;
        let stdout = stdout.context("its stdout was asked for")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            sender.send(read.map(|_| line)).ok();
        });
        let line = match receiver.recv_timeout(deadline) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(server.failure(&format!("not ready after {}s", deadline.as_secs())));
            }
        };
        match serde_json::from_str(&line) {
            Ok(ready) => Ok((server, ready)),
            Err(error) => Err(server.failure(&format!("its ready line {line:?} does not parse ({error})"))),
        }
    }

    fn start(
        name: &str,
        log: PathBuf,
        command: &mut Command,
    ) -> Result<(Self, Option<std::process::ChildStdout>)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({program})"))?;
        let pid = Pid::from_child(&child);
        let stdout = child.stdout.take();
        let ended = Arc::new(OnceLock::new());
        let end = Arc::clone(&ended);
        thread::spawn(move || {
            let status = child.wait();
            end.set(status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string()))
                .ok();
        });
        Ok((
            Self {
                name: name.to_owned(),
                log,
                pid,
                ended,
            },
            stdout,
        ))
    }

    /// Awaits readiness: `probe` answers `Ok(true)` when ready, and otherwise what it saw. Fails at once when the server
    /// ends, and with the end of its log in any case.
    pub fn wait_ready(&self, deadline: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let seen = probe();
            if matches!(seen, Ok(true)) {
                return Ok(());
            }
            if self.ended().is_some() {
                return Err(self.failure("did not get ready"));
            }
            if begun.elapsed() > deadline {
                let seen = seen.map_or_else(|error| format!(": {error:#}"), |_| String::new());
                return Err(self.failure(&format!("not ready after {}s{seen}", deadline.as_secs())));
            }
            thread::sleep(BETWEEN_PROBES);
        }
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Freezes it, or lets it go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Asks it to end and awaits that; one that takes too long is killed.
    pub fn terminate(&self) -> Result<()> {
        if self.ended().is_none() {
            kill_process(self.pid, Signal::TERM).with_context(|| format!("cannot signal {}", self.name))?;
            if self.ends_within(PATIENCE) {
                return Ok(());
            }
        }
        self.stop()
    }

    /// Kills it and awaits its end.
    pub fn stop(&self) -> Result<()> {
        if self.ended().is_none() {
            kill_process(self.pid, Signal::KILL).with_context(|| format!("cannot kill {}", self.name))?;
            if !self.ends_within(Duration::from_secs(10)) {
                bail!("{} was killed and is still there after 10s", self.name);
            }
        }
        Ok(())
    }

    fn ends_within(&self, wait: Duration) -> bool {
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > wait {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// The error that says what a reader needs: what happened, how it ended, the end of the log and where the rest is.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        let ended = self
            .ended()
            .map_or_else(String::new, |status| format!(" (ended: {status})"));
        anyhow!(
            "{} {what}{ended}\n{}\nfull log: {}",
            self.name,
            tail(&self.log, 20),
            self.log.display()
        )
    }
}

fn open_log(log: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_that_ends_early_fails_with_the_end_of_its_log() -> Result<()> {
        let logs = tempfile::tempdir()?;
        let server = Server::spawn(logs.path(), "short", &mut shell("echo no such flag >&2; exit 3"))?;
        let error = server
            .wait_ready(Duration::from_secs(10), || Ok(false))
            .expect_err("it ended")
            .to_string();
        assert!(
            error.contains("no such flag") && error.contains("exit status: 3"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn a_ready_line_is_parsed_and_a_stopped_server_is_gone() -> Result<()> {
        let logs = tempfile::tempdir()?;
        let script = r#"echo '{"port": 7}'; exec sleep 600"#;
        let limit = Duration::from_secs(10);
        let (server, ready) =
            Server::spawn_announcing::<serde_json::Value>(logs.path(), "ready", &mut shell(script), limit)?;
        assert_eq!(ready["port"], 7);
        assert!(server.ended().is_none());
        server.stop()?;
        assert!(server.ended().is_some_and(|status| status.contains("signal: 9")));
        Ok(())
    }
}
