//! Debian packages: installed when we are root, else the exact command is the error.

use anyhow::{Result, bail};

use super::{Tool, lock, program};

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
