//! Set-up: what tests need from package registries, built or installed once per user and shared by every clone.
//!
//! All functions are blocking, idempotent and safe to call from several processes at once. An entry of the cache is a
//! folder whose name holds a hash of what it was made from; it is whole exactly when it holds the file `.complete`, so a
//! set-up killed half way is redone and never believed.

mod command;
mod debian;
mod go;
mod maven;
mod npm;
mod python;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

pub use command::{Tool, program, tail};
pub(crate) use command::{ended_within, output, read};
pub use debian::{debian, debian_command, promtool};
pub(crate) use debian::{debian_packages, is_root};
pub use go::{CONTAINERD, HELM, KUBERNETES, containerd, helm, kubernetes, pause};
pub use maven::maven_jars;
pub use npm::npm;
pub use python::python;

use crate::progress::say;

/// `TRIBUTARY_CACHE`, else `tributary` in the user's cache folder.
pub fn cache_dir() -> Result<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let dir = named("TRIBUTARY_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|dir| dir.join("tributary")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/tributary")))
        .context("no place for the cache: set TRIBUTARY_CACHE or HOME")?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create the cache {}", dir.display()))?;
    dir.canonicalize()
        .with_context(|| format!("cannot resolve the cache {}", dir.display()))
}

/// Takes the lock of that name for as long as the returned file lives, saying so when it has to wait.
pub fn lock(name: &str) -> Result<File> {
    let dir = cache_dir()?.join("locks");
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        say(format!(
            "waiting for another set-up that holds {}",
            path.display()
        ));
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The cache entry made of `inputs`, made now by `make` unless it is there. `make` is handed the final, empty folder
/// (virtual environments cannot be moved) and may print through [`say`].
pub fn entry(
    kind: &str,
    name: &str,
    inputs: &[&str],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let id = format!("{name}-{}", fingerprint(inputs));
    let dir = cache_dir()?.join(kind).join(&id);
    let complete = dir.join(".complete");
    if complete.exists() {
        return Ok(dir);
    }
    let _held = lock(&format!("{kind}-{id}"))?;
    if complete.exists() {
        return Ok(dir);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot clear the unfinished {}", dir.display()))?;
    }
    fs::create_dir_all(&dir)?;
    make(&dir).with_context(|| format!("set-up of {kind}/{name} failed"))?;
    fs::write(&complete, inputs.join("\n"))?;
    Ok(dir)
}

/// The first 12 hex digits of SHA-256 over the inputs and their lengths.
pub fn fingerprint(inputs: &[&str]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update((input.len() as u64).to_le_bytes());
        hash.update(input.as_bytes());
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What is asked for, in an order that does not depend on the caller.
fn sorted<'a>(list: &[&'a str]) -> Vec<&'a str> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_lists_apart_that_join_to_the_same_text() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["ab", "c"]).len(), 12);
        assert_eq!(sorted(&["b", "a", "b"]), ["a", "b"]);
    }
}
