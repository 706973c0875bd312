//! The state of stages on disk and in cgroups: where it is, and removing that of dead ones.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::progress::say;
use crate::setup;

const PREFIX: &str = "trb-";
const KEPT_LOGS: usize = 10;

/// `/tmp` and not the user's `TMPDIR`: socket paths below it have to stay under 108 bytes.
pub(crate) fn dir(id: &str) -> PathBuf {
    Path::new("/tmp").join(id)
}

/// Logs outlive their stage; the newest few are kept.
pub(crate) fn logs(id: &str) -> Result<PathBuf> {
    Ok(setup::cache_dir()?.join("stage-logs").join(id))
}

/// Makes the folders of a new stage, after removing what dead ones left. The returned lock says that it lives.
pub(crate) fn create() -> Result<(String, File)> {
    // No sweeper may see the folder before its lock is taken.
    let _guard = setup::lock("stages")?;
    if let Err(error) = sweep() {
        say(format!("an earlier stage left what cannot be removed: {error:#}"));
    }
    let id = format!(
        "{PREFIX}{:04x}",
        RandomState::new().hash_one(std::process::id()) & 0xffff
    );
    fs::create_dir(dir(&id)).with_context(|| format!("cannot create {}", dir(&id).display()))?;
    let lock = lock(&id)?;
    fs::create_dir_all(logs(&id)?)?;
    std::os::unix::fs::symlink(logs(&id)?, dir(&id).join("logs"))?;
    fs::create_dir(dir(&id).join("bin"))?;
    Ok((id, lock))
}

/// Takes a share in the stage's lock: it lives as long as anybody holds one.
pub(crate) fn lock(id: &str) -> Result<File> {
    let file = File::create(dir(id).join("lock"))?;
    file.lock_shared()?;
    Ok(file)
}

/// Removes what a stage whose processes are gone left behind, its logs aside.
pub(crate) fn remove(id: &str) -> Result<()> {
    for hierarchy in cgroup_hierarchies() {
        remove_cgroup(&hierarchy.join(id))?;
    }
    match fs::remove_dir_all(dir(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir(id).display()))
        }
        _ => Ok(()),
    }
}

/// Removes what stages left that ended without a chance to clean up. The caller holds the lock `stages`.
fn sweep() -> Result<()> {
    for id in leftovers() {
        let Ok(file) = File::open(dir(&id).join("lock")) else {
            continue;
        };
        if file.try_lock().is_ok() && is_ours(&id) {
            say(format!("removing what is left of {id}"));
            remove(&id)?;
        }
    }
    prune_logs()
}

/// Whether we may remove that stage's state: root may remove everybody's.
fn is_ours(id: &str) -> bool {
    let owner = |path: &Path| fs::metadata(path).map(|metadata| metadata.uid()).ok();
    let own = owner(Path::new("/proc/self"));
    own == Some(0) || own == owner(&dir(id))
}

/// Like [`sweep`], for the command.
pub fn clean() -> Result<()> {
    let _guard = setup::lock("stages")?;
    sweep()
}

/// State folders of stages that live.
pub fn running() -> Vec<PathBuf> {
    let lives = |id: &String| File::open(dir(id).join("lock")).is_ok_and(|file| file.try_lock().is_err());
    leftovers().into_iter().filter(lives).map(|id| dir(&id)).collect()
}

fn leftovers() -> Vec<String> {
    let entries = fs::read_dir("/tmp").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX))
        .collect()
}

fn prune_logs() -> Result<()> {
    let root = setup::cache_dir()?.join("stage-logs");
    let mut dirs: Vec<_> = fs::read_dir(&root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| !dir(&entry.file_name().to_string_lossy()).exists())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    dirs.sort();
    let excess = dirs.len().saturating_sub(KEPT_LOGS);
    for (_, dir) in dirs.drain(..excess) {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove old logs {}", dir.display()))?;
    }
    Ok(())
}

/// The mounted cgroup hierarchies: one on version 2, one per controller on version 1. Links among them are aliases.
pub(crate) fn cgroup_hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A cgroup is removed like an empty folder, once its children and processes are gone; the kernel takes a moment.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    for child in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&child.path())?;
        }
    }
    let begun = Instant::now();
    loop {
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if begun.elapsed() > Duration::from_secs(5) => {
                return Err(error).with_context(|| format!("cannot remove the cgroup {}", cgroup.display()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
            Ok(()) => return Ok(()),
        }
    }
}
