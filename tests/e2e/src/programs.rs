//! The Python programs beside this crate: the oracle, the workload, and single writes. Python and MongoDB's own driver on
//! purpose: what judges the relay shares no code with it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tributary_stage::{StageInfo, setup};

use crate::process::run;

/// Longest that a single write may take, its interpreter's start included.
const WRITE: Duration = Duration::from_secs(60);
/// What the oracle may take beyond the time it is told to wait.
const ORACLE_ITSELF: Duration = Duration::from_secs(300);
const PASSWORD: &str = "TRIBUTARY_ORACLE_PASSWORD";

/// An interpreter with what the programs import, and where the servers are.
#[derive(Debug, Clone)]
pub struct Programs {
    python: PathBuf,
    mongodb: String,
    starrocks: String,
    user: String,
    password: String,
}

/// What the oracle found; see `oracle/oracle.py --json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub rows: u64,
    pub missing: u64,
    pub extra: u64,
    pub differing: u64,
    pub waited_seconds: f64,
    pub tables: Vec<TableVerdict>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableVerdict {
    pub table: String,
    pub rows: u64,
    pub with_extra: u64,
    pub missing: u64,
    pub extra: u64,
    pub differing: u64,
}

impl Verdict {
    /// The sentence that tests and demo print.
    pub fn sentence(&self) -> String {
        format!(
            "oracle: {} missing, {} extra, {} differing of {} rows in {} tables ({} rows with _extra)",
            self.missing,
            self.extra,
            self.differing,
            self.rows,
            self.tables.len(),
            self.tables.iter().map(|table| table.with_extra).sum::<u64>(),
        )
    }
}

/// A progress line of the workload.
#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    pub operations: u64,
    pub insert: u64,
    pub update: u64,
    pub replace: u64,
    pub delete: u64,
    pub seconds: f64,
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// A running workload.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

/// A Python that has what the programs import.
pub fn interpreter() -> Result<PathBuf> {
    let requirements: Vec<&str> = include_str!("../requirements.txt").lines().collect();
    setup::python(&requirements)
}

impl Programs {
    pub fn new(info: &StageInfo) -> Result<Self> {
        let mongodb = info.mongodb.as_ref().context("this stage has no MongoDB")?;
        let starrocks = info.starrocks.as_ref().context("this stage has no StarRocks")?;
        Ok(Self {
            python: interpreter()?,
            mongodb: mongodb.uri.clone(),
            starrocks: starrocks.mysql.clone(),
            user: starrocks.user.clone(),
            password: starrocks.password.clone(),
        })
    }

    /// Compares until all is equal, for `within` at most. Differences are in the verdict, samples of them on stderr.
    pub fn oracle(&self, manifests: &[PathBuf], within: Duration) -> Result<Verdict> {
        let mut command = self.python("oracle/oracle.py");
        command
            .args([
                "--mongodb",
                &self.mongodb,
                "--starrocks",
                &self.starrocks,
                "--user",
                &self.user,
            ])
            .args([
                "--password-env",
                PASSWORD,
                "--json",
                "--within",
                &within.as_secs().to_string(),
            ])
            .args(manifests)
            .env(PASSWORD, &self.password);
        let output = run(&mut command, "", within + ORACLE_ITSELF)?;
        eprint!("{}", output.stderr);
        serde_json::from_str(&output.stdout).with_context(|| {
            format!(
                "the oracle gave no verdict ({})\n{}",
                output.status, output.stderr
            )
        })
    }

    /// Starts the random workload; read its progress to know when to interfere.
    pub fn workload(&self, operations: u64, seed: u64, per_second: u64) -> Result<Workload> {
        let [operations, seed, rate] = [operations, seed, per_second].map(|number| number.to_string());
        self.stream(
            "workload/workload.py",
            &["--operations", &operations, "--seed", &seed, "--rate", &rate],
        )
    }

    /// Starts a program that writes into MongoDB and prints progress lines.
    pub fn stream(&self, script: &str, arguments: &[&str]) -> Result<Workload> {
        let mut child = self
            .python(script)
            .args(["--mongodb", &self.mongodb])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {script}"))?;
        let stdout = child.stdout.take().context("its stdout was asked for")?;
        Ok(Workload {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Runs a program that works on MongoDB to its end; its stdout.
    pub fn run(&self, script: &str, arguments: &[&str], deadline: Duration) -> Result<String> {
        let mut command = self.python(script);
        command
            .args(["--mongodb", &self.mongodb])
            .args(arguments)
            .env(PASSWORD, &self.password);
        run(&mut command, "", deadline)?.ok(script)
    }

    /// Applies single writes, given as `workload/write.py` describes.
    pub fn write(&self, writes: &[Value]) -> Result<()> {
        let lines: String = writes.iter().map(|write| format!("{write}\n")).collect();
        let mut command = self.python("workload/write.py");
        command.args(["--mongodb", &self.mongodb]);
        run(&mut command, &lines, WRITE)?
            .ok("workload/write.py")
            .map(drop)
    }

    fn python(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            // No `__pycache__` in the checkout.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

impl Workload {
    /// The next progress line; `None` after the last, when the workload ended well.
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        if let Some(line) = self.lines.next() {
            return Ok(Some(serde_json::from_str(&line?)?));
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the workload ended with {status}; its errors are above");
        }
        Ok(None)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // An aborted test must not leave it writing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
