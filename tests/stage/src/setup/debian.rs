//! Debian packages: installed when we are root, else the exact command is the error. A package of which one program is wanted is
//! unpacked into the cache instead, for which nobody needs to be root and which starts no service.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Tool, entry, lock, output, program};

/// Makes sure of each `(package, program that proves it)`.
pub fn debian(packages: &[(&str, &str)]) -> Result<()> {
    let missing = |pairs: &[(&str, &str)]| -> Vec<String> {
        pairs
            .iter()
            .filter(|(_, proof)| program(proof).is_none())
            .map(|(package, _)| (*package).to_owned())
            .collect()
    };
    if missing(packages).is_empty() {
        return Ok(());
    }
    let _held = lock("debian")?;
    let wanted = missing(packages);
    if wanted.is_empty() {
        return Ok(());
    }
    install(&wanted)?;
    match missing(packages).as_slice() {
        [] => Ok(()),
        still => bail!(
            "installed, but still without the program expected of: {}",
            still.join(" ")
        ),
    }
}

/// Installs packages found missing otherwise than by a program.
pub(crate) fn debian_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let _held = lock("debian")?;
    install(
        &packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect::<Vec<_>>(),
    )
}

/// What a reader would type to install them.
pub fn debian_command(packages: &[String]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

/// The folder with promtool, the judge of the chart's alerts. Its package would run a Prometheus if it were installed.
pub fn promtool() -> Result<PathBuf> {
    Ok(unpacked("prometheus")?.join("usr/bin"))
}

/// The root of a package's files, unpacked without its dependencies.
fn unpacked(package: &str) -> Result<PathBuf> {
    let by_hand = |dir: &Path| {
        format!(
            "sudo apt-get update && cd {} && apt-get download {package} && dpkg-deb -x {package}_*.deb .",
            dir.display()
        )
    };
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        if program(tool).is_none() {
            bail!(
                "programs of the Debian package {package} are needed and there is no {tool} here; on a Debian they come by\n    {}",
                by_hand(&std::env::temp_dir())
            );
        }
    }
    let version = match candidate(package)? {
        Some(version) => version,
        // Fresh images come without package lists.
        None if is_root() => {
            let _held = lock("debian")?;
            apt("update", &[])?;
            candidate(package)?
                .with_context(|| format!("no package source has the Debian package {package}"))?
        }
        None => bail!("no package source has the Debian package {package}: run\n    sudo apt-get update"),
    };
    entry("debian", package, &[package, &version], |dir| {
        let download = || {
            Tool::new("apt-get", format!("fetching {package} {version} (Debian)"))
                .args(["download", package])
                .dir(dir)
                .deadline(Duration::from_secs(300))
                .run()
        };
        // Package lists that have aged name files that are gone.
        if let Err(error) = download() {
            if !is_root() {
                return Err(error.context(format!("run\n    {}", by_hand(&std::env::temp_dir()))));
            }
            let _held = lock("debian")?;
            apt("update", &[])?;
            download()?;
        }
        let archive = std::fs::read_dir(dir)?
            .filter_map(|file| Some(file.ok()?.path()))
            .find(|file| file.extension().is_some_and(|e| e == "deb"))
            .with_context(|| format!("apt-get left no package in {}", dir.display()))?;
        Tool::new("dpkg-deb", format!("unpacking {package} {version}"))
            .args(["-x".as_ref(), archive.as_os_str(), dir.as_os_str()])
            .run()?;
        Ok(std::fs::remove_file(archive)?)
    })
}

/// The version apt would take, by its package lists.
fn candidate(package: &str) -> Result<Option<String>> {
    let mut command = Command::new("apt-cache");
    command.args(["policy", package]).env("LC_ALL", "C");
    let policy = output(&mut command, "", Duration::from_secs(60))?;
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))
        .map(str::trim);
    Ok(version
        .filter(|version| !version.is_empty() && *version != "(none)")
        .map(str::to_owned))
}

/// Installs packages; the caller holds the lock `debian`.
pub(super) fn install(packages: &[String]) -> Result<()> {
    if program("apt-get").is_none() {
        bail!(
            "these Debian packages (or their like) are needed and there is no apt-get here: {}",
            packages.join(" ")
        );
    }
    if !is_root() {
        bail!(
            "these Debian packages are needed: run\n    {}",
            debian_command(packages)
        );
    }
    // Fresh images come without package lists; where lists are there, an update would only cost time.
    if apt("install", packages).is_err() {
        apt("update", &[])?;
        apt("install", packages)?;
    }
    Ok(())
}

fn apt(verb: &str, packages: &[String]) -> Result<()> {
    let what = match verb {
        "update" => "updating the Debian package lists".to_owned(),
        _ => format!("installing Debian packages {}", packages.join(" ")),
    };
    let mut args = vec!["-o", "DPkg::Lock::Timeout=600", verb];
    if verb == "install" {
        args.extend(["-y", "--no-install-recommends"]);
    }
    args.extend(packages.iter().map(String::as_str));
    Tool::new("apt-get", what)
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// Whether the real user is root; read from /proc because the standard library does not tell.
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}
