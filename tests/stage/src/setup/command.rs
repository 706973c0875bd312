//! Running a tool of the set-up: output kept in a log, a sign of life while it works, a deadline, and an error that
//! shows the end of the log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use wait_timeout::ChildExt as _;

use super::cache_dir;
use crate::progress::say;

const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// One call of a tool.
pub struct Tool {
    command: Command,
    what: String,
    deadline: Duration,
}

impl Tool {
    /// `what` names the step to the reader, such as "building kubernetes 1.36.3".
    pub fn new(program: impl AsRef<OsStr>, what: impl Into<String>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self {
            command,
            what: what.into(),
            deadline: Duration::from_secs(1800),
        }
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end. A run that lasts says so every [`SIGN_OF_LIFE`], with the last line of its output.
    pub fn run(mut self) -> Result<()> {
        say(&self.what);
        let log = self.log_path()?;
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        self.command.stdout(out.try_clone()?).stderr(out);
        let program = self.command.get_program().to_string_lossy().into_owned();
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.wait_timeout(SIGN_OF_LIFE)? {
                break status;
            }
            if begun.elapsed() > self.deadline {
                child.kill()?;
                child.wait()?;
                bail!(
                    "{}: not done after {}s; its log: {}",
                    self.what,
                    self.deadline.as_secs(),
                    log.display()
                );
            }
            say(format!(
                "{} … {}s {}",
                self.what,
                begun.elapsed().as_secs(),
                tail(&log, 1).trim()
            ));
        };
        if !status.success() {
            bail!(
                "{}: {program} ended with {status}\n{}\nfull log: {}",
                self.what,
                tail(&log, 20),
                log.display()
            );
        }
        fs::remove_file(&log).ok();
        Ok(())
    }

    fn log_path(&self) -> Result<PathBuf> {
        let dir = cache_dir()?.join("logs");
        fs::create_dir_all(&dir)?;
        let name: String = self
            .what
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(60)
            .collect();
        Ok(dir.join(format!("{name}-{}.log", std::process::id())))
    }
}

/// The output of a short command; its stderr becomes the error.
pub(crate) fn output(command: &mut Command, stdin: &str, deadline: Duration) -> Result<String> {
    let shown = format!("{command:?}");
    let stdout = tempfile::tempfile()?;
    let stderr = tempfile::tempfile()?;
    command
        .stdin(Stdio::piped())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that ends without reading is judged by its status, not by the broken pipe.
        pipe.write_all(stdin.as_bytes()).ok();
    }
    let Some(status) = ended_within(&mut child, deadline)? else {
        bail!("not done after {}s: {shown}", deadline.as_secs());
    };
    if !status.success() {
        bail!("{shown}: {status}\n{}", read(stderr)?.trim());
    }
    read(stdout)
}

/// How it ended, or nothing and it was killed.
pub(crate) fn ended_within(child: &mut Child, deadline: Duration) -> Result<Option<ExitStatus>> {
    let status = child.wait_timeout(deadline)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(status)
}

/// All of a file that was just written.
pub(crate) fn read(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Where a program is on the path; Debian keeps some in folders that a plain user's path lacks.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
