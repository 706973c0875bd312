//! Python with exactly the packages asked for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{Tool, debian, entry, lock, program, sorted};

/// The interpreter of a cached virtual environment that holds these requirements (and what they need).
pub fn python(requirements: &[&str]) -> Result<PathBuf> {
    let requirements = sorted(requirements);
    let base = base_python()?;
    let version = version(&base)?;
    let name = requirements.first().map_or("plain", |first| {
        first.split(['=', '<', '>', '[', ' ']).next().unwrap_or("venv")
    });
    let inputs: Vec<&str> = std::iter::once(version.as_str())
        .chain(requirements.iter().copied())
        .collect();
    let dir = entry("python", name, &inputs, |dir| {
        Tool::new(&base, format!("creating a Python environment for {name}"))
            .args(["-m", "venv"])
            .args([dir])
            .run()?;
        if requirements.is_empty() {
            return Ok(());
        }
        Tool::new(
            dir.join("bin/python"),
            format!("installing {} (pip)", requirements.join(" ")),
        )
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
        ])
        .args(&requirements)
        .run()
    })?;
    Ok(dir.join("bin/python"))
}

/// A Python 3 that can make virtual environments; Debian splits that ability into a package of its own.
fn base_python() -> Result<PathBuf> {
    if let Some(found) = able_python() {
        return Ok(found);
    }
    let _held = lock("debian")?;
    if able_python().is_none() {
        debian::install(&["python3".to_owned(), "python3-venv".to_owned()])?;
    }
    able_python().context("python3 still cannot make virtual environments (modules venv and ensurepip)")
}

fn able_python() -> Option<PathBuf> {
    let python = program("python3")?;
    let able = Command::new(&python)
        .args(["-c", "import venv, ensurepip"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    able.then_some(python)
}

/// Environments of different interpreters differ, so version and place are part of the key.
fn version(python: &PathBuf) -> Result<String> {
    let out = Command::new(python)
        .args(["-c", "import sys; print(sys.version, sys.base_prefix)"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    if !out.status.success() {
        bail!(
            "{} does not run: {}",
            python.display(),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
