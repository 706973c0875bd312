//! The first process of the stage's namespace. It ends when the holder's end of its stdin closes, and with it, by the
//! kernel's hand, every process of the stage; meanwhile it reaps orphans, as containerd's shims become.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, WaitOptions, wait};

use crate::stage::Plan;
use crate::state;

/// Runs until the stage is over and returns its exit code.
pub fn run(plan: &str) -> Result<i32> {
    let Plan { id, .. } = serde_json::from_str(plan).context("cannot read the plan")?;
    let _lock = state::lock(&id)?;
    thread::spawn(|| {
        let mut byte = [0; 1];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        std::process::exit(0);
    });
    // Shared among ourselves only: unshare cut the ties to the outer namespace, and kubelet wants mounts that propagate.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("cannot share mounts")?;
    let serve = Command::new(std::env::current_exe()?)
        .args(["serve", plan])
        .stdin(Stdio::null())
        .spawn()?;
    let serve = Pid::from_child(&serve);
    loop {
        let ended = wait(WaitOptions::empty()).context("cannot await children")?;
        if let Some((pid, status)) = ended
            && pid == serve
        {
            return Ok(status.exit_status().unwrap_or(1));
        }
    }
}
