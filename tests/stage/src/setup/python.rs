//! Python with exactly the packages asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Tool, debian, entry, lock, output, program, sorted};

const LIMIT: Duration = Duration::from_secs(60);

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
    let mut command = Command::new(&python);
    output(command.args(["-c", "import venv, ensurepip"]), "", LIMIT)
        .is_ok()
        .then_some(python)
}

/// Environments of different interpreters differ, so version and place are part of the key.
fn version(python: &Path) -> Result<String> {
    let mut command = Command::new(python);
    let text = output(
        command.args(["-c", "import sys; print(sys.version, sys.base_prefix)"]),
        "",
        LIMIT,
    )?;
    Ok(text.trim().to_owned())
}
