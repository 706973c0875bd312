//! What one contender needed, each a process of its own: CPU of all its threads, wall time, peak resident memory.

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// Longest that one contender may take for all events.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// What a contender's process used from its first event to its last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub events: u64,
    pub wall_ms: u64,
    pub cpu_ms: u64,
    /// Peak of the resident set, the whole process.
    pub peak_kib: u64,
}

impl Measured {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.events as f64 * 1000.0 / self.cpu_ms.max(1) as f64
    }

    fn cpu_seconds_per_million(&self) -> f64 {
        self.cpu_ms as f64 * 1000.0 / self.events as f64
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.0} events per CPU-second, {:>6.2} CPU-seconds per million events, {:>9.0} events per second, peak {:>4} MiB",
            self.per_cpu_second(),
            self.cpu_seconds_per_million(),
            self.events as f64 * 1000.0 / self.wall_ms.max(1) as f64,
            self.peak_kib >> 10,
        )
    }
}

/// The round with the median CPU time.
pub(crate) fn median(mut rounds: Vec<Measured>) -> Option<Measured> {
    rounds.sort_by_key(|round| round.cpu_ms);
    rounds.get(rounds.len() / 2).copied()
}

/// CPU time and peak memory of a process so far, as the kernel counts them (`/proc/<pid>/{stat,status}`).
pub(crate) fn usage(pid: u32) -> anyhow::Result<(Duration, u64)> {
    let proc = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read_to_string(proc.join("stat"))?;
    // The second field is the program's name in parentheses, which may hold anything.
    let after_name = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .context("stat has a name")?;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    let status = std::fs::read_to_string(proc.join("status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("status has VmHWM")?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok((Duration::from_millis(ticks * 1000 / per_second), peak))
}

/// Runs a contender that measures itself and prints a [`Measured`] as the last line of its stdout.
pub(crate) fn own_account(command: &mut Command) -> anyhow::Result<Measured> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{stdout}",
            command.get_program().display(),
            output.status
        );
    }
    let last = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("not an account: {last:?}"))
}

/// A process that ends with its owner.
pub(crate) struct Running(pub Child);

impl Running {
    /// Waits until `done` says so; CPU and memory of the process then.
    pub(crate) fn until(
        &mut self,
        events: u64,
        mut done: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Measured> {
        let began = Instant::now();
        while !done()? {
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended with {status}; its messages are above");
            }
            if began.elapsed() > PATIENCE {
                bail!("not done after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (cpu, peak_kib) = usage(self.0.id())?;
        Ok(Measured {
            events,
            wall_ms: began.elapsed().as_millis() as u64,
            cpu_ms: cpu.as_millis() as u64,
            peak_kib,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
