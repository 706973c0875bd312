//! What runs inside the stage's namespace: raises the parts, announces them, and watches over them.

mod context;

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use context::Context;
pub(crate) use context::output;

use crate::info::StageInfo;
use crate::parts::Part;
use crate::progress::say;
use crate::stage::{Announcement, Plan};
use crate::{kubernetes, state};

/// Raises the plan's parts and watches over them; returns only with the error that ended the stage.
pub fn run(plan: &str) -> Result<()> {
    let Plan { id, parts, options } = serde_json::from_str(plan).context("cannot read the plan")?;
    let context = Context::new(id.clone(), parts, options, state::dir(&id), state::logs(&id)?);
    match raise(&context).and_then(|info| publish(&context, info)) {
        Ok(info) => announce(&Announcement::Ready(Box::new(info)))?,
        Err(error) => {
            announce(&Announcement::Failed(format!("{error:#}")))?;
            return Err(error);
        }
    }
    watch(&context)
}

/// Raises everything that was asked for, independent parts side by side.
fn raise(context: &Context) -> Result<StageInfo> {
    let has = |part| context.parts.has(part);
    let kubernetes = has(Part::ApiServer).then(|| kubernetes::start(context)).transpose()?;
    Ok(StageInfo {
        id: context.id.clone(),
        state_dir: context.state_dir.clone(),
        logs: context.logs.clone(),
        bin: context.bin.clone(),
        kubernetes,
        kafka: None,
        connect: None,
        mongodb: None,
        starrocks: None,
    })
}

/// Writes `stage.json`, whole or not at all.
fn publish(context: &Context, info: StageInfo) -> Result<StageInfo> {
    let path = context.state_dir.join("stage.json");
    let unfinished = path.with_extension("tmp");
    fs::write(&unfinished, serde_json::to_vec_pretty(&info)?)?;
    fs::rename(&unfinished, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(info)
}

fn announce(announcement: &Announcement) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, announcement)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// A stage with a dead server is no stage: it ends, saying which and why.
fn watch(context: &Context) -> Result<()> {
    loop {
        if let Some(dead) = context.servers().iter().find(|server| server.ended().is_some()) {
            let error = dead.failure("ended, and the stage with it");
            say(format!("{error:#}"));
            bail!("a server ended");
        }
        thread::sleep(Duration::from_millis(500));
    }
}
