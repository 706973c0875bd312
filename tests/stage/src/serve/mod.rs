//! What runs inside the stage's namespace: raises the parts, announces them, and watches over them.

mod context;

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use context::Context;

use crate::info::{MongodbInfo, StageInfo, StarrocksInfo};
use crate::parts::Part;
use crate::progress::say;
use crate::stage::{Announcement, Plan};
use crate::{connect, control, images, kafka, kubernetes, standins, state};

/// Raises the plan's parts and watches over them; returns only with the error that ended the stage.
pub fn run(plan: &str) -> Result<()> {
    let Plan { id, parts, options } = serde_json::from_str(plan).context("cannot read the plan")?;
    let context = Context::new(id.clone(), parts, options, state::dir(&id), state::logs(&id)?);
    let context = Arc::new(context);
    let info = raise(&context);
    or_end(control::serve(&context));
    let info = or_end(publish(&context, info));
    announce(&Announcement::Ready(Box::new(info)))?;
    watch(&context)
}

/// Raises everything that was asked for, independent parts side by side.
fn raise(context: &Context) -> StageInfo {
    let has = |part| context.parts.has(part);
    thread::scope(|scope| {
        let kafka = has(Part::Kafka).then(|| scope.spawn(|| or_end(kafka::raise(context))));
        let fetched = has(Part::Connect).then(|| scope.spawn(|| or_end(connect::prepare())));
        let standins = scope.spawn(|| or_end(raise_standins(context)));
        let kubernetes = has(Part::ApiServer).then(|| or_end(kubernetes::start(context)));
        let kafka = kafka.map(joined);
        if let Some(fetched) = fetched {
            joined(fetched);
        }
        let connect = match (&kubernetes, &kafka) {
            (Some(kubernetes), Some(kafka)) if has(Part::Connect) => {
                Some(or_end(connect::raise(context, kubernetes, kafka, images::EMPTY)))
            }
            _ => None,
        };
        let (mongodb, starrocks) = joined(standins);
        StageInfo {
            id: context.id.clone(),
            state_dir: context.state_dir.clone(),
            logs: context.logs.clone(),
            bin: context.bin.clone(),
            kubernetes,
            kafka,
            connect,
            mongodb,
            starrocks,
        }
    })
}

fn raise_standins(context: &Context) -> Result<(Option<MongodbInfo>, Option<StarrocksInfo>)> {
    let programs = standins::prepare(context.parts)?;
    let has = |part| context.parts.has(part);
    let mongodb = has(Part::Mongodb)
        .then(|| standins::start_mongodb(context, &programs))
        .transpose()?;
    let starrocks = has(Part::Starrocks)
        .then(|| standins::start_starrocks(context, &programs))
        .transpose()?;
    Ok((mongodb, starrocks))
}

/// The value, or the end: the holder hears of the first error at once, not after the other threads gave up too.
pub(crate) fn or_end<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        if announce(&Announcement::Failed(format!("{error:#}"))).is_err() {
            say(format!("{error:#}"));
        }
        std::process::exit(1)
    })
}

/// The result of a thread; its panic becomes ours.
pub(crate) fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
        if let Some(dead) = context
            .servers()
            .iter()
            .find(|kept| !kept.away && kept.server.ended().is_some())
        {
            let error = dead.server.failure("ended, and the stage with it");
            say(format!("{error:#}"));
            bail!("a server ended");
        }
        thread::sleep(Duration::from_millis(500));
    }
}
