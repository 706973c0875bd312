//! Running a short program with a deadline.

use std::io::{Read, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use wait_timeout::ChildExt as _;

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The stdout of a program that succeeded; else its stderr is the error.
    pub fn ok(self, what: &str) -> Result<String> {
        if !self.status.success() {
            bail!(
                "{what}: {}\n{}{}",
                self.status,
                self.stdout,
                self.stderr.trim_end()
            );
        }
        Ok(self.stdout)
    }
}

/// Runs it to its end with `stdin` as its input; kills it at the deadline.
pub fn run(command: &mut Command, stdin: &str, deadline: Duration) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let mut input = child.stdin.take();
    let text = stdin.to_owned();
    // Its own thread: a program that prints before it has read everything must not stop both of us.
    let feeder = thread::spawn(move || {
        if let Some(mut pipe) = input.take() {
            // A program that ends without reading is judged by its status, not by the broken pipe.
            pipe.write_all(text.as_bytes()).ok();
        }
    });
    let status = child.wait_timeout(deadline)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    feeder.join().ok();
    let [stdout, stderr] = [stdout, stderr].map(|text| text.join().unwrap_or_default());
    match status {
        Some(status) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        None => bail!(
            "{program} was not done after {}s\n{stdout}{stderr}",
            deadline.as_secs()
        ),
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_its_input_and_a_deadline() -> Result<()> {
        let echoed = run(
            &mut Command::new("cat"),
            &"x".repeat(1 << 20),
            Duration::from_secs(10),
        )?
        .ok("cat")?;
        assert_eq!(echoed.len(), 1 << 20);
        let late = run(Command::new("sleep").arg("60"), "", Duration::from_millis(50));
        assert!(late.is_err_and(|error| error.to_string().contains("not done")));
        Ok(())
    }
}
