//! Taking a server away and bringing it back while the stage goes on: orders by a socket in the stage's folder.
//!
//! The process that raised the servers listens; whoever holds the stage, or knows its folder, orders. A server that was
//! taken away on purpose does not end the stage, one that ends by itself still does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::parts::Part;
use crate::progress::say;
use crate::serve::Context;

/// A broker that was killed on a loaded machine reads its log first.
const LONGEST: Duration = Duration::from_secs(300);

/// What to do with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// In order: `SIGTERM`.
    Stop,
    /// `kill -9`. A broker that died so is taken for alive for a minute, and its successor is not let in before.
    Kill,
    /// Again, on the same ports and with the data it had. Returns when it is ready.
    Start,
    /// `Stop`, then `Start`.
    Restart,
    /// `SIGSTOP`: connections stay open and nothing answers.
    Pause,
    Resume,
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|_| {
            format!("no such action: {text:?}; there are stop, kill, start, restart, pause, resume")
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    action: Action,
    server: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    error: Option<String>,
}

/// The name by which a part's server goes, which is also its log's.
pub fn server_of(part: Part) -> Result<&'static str> {
    match part {
        Part::Kafka => Ok("kafka"),
        Part::Mongodb => Ok("standin-mongodb"),
        Part::Starrocks => Ok("standin-starrocks"),
        Part::Connect => bail!("Kafka Connect is a pod: scale its Deployment, or kill its container"),
        Part::ApiServer | Part::Node => bail!("the cluster itself is not taken away"),
    }
}

/// Orders an action from the stage with that folder and awaits its end.
pub fn order(state_dir: &Path, action: Action, server: &str) -> Result<()> {
    let path = socket(state_dir);
    let mut stream =
        UnixStream::connect(&path).with_context(|| format!("no stage listens at {}", path.display()))?;
    stream.set_read_timeout(Some(LONGEST))?;
    let order = Order {
        action,
        server: server.to_owned(),
    };
    writeln!(stream, "{}", serde_json::to_string(&order)?)?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .with_context(|| format!("{action:?} of {server}: no answer within {}s", LONGEST.as_secs()))?;
    match serde_json::from_str::<Answer>(&line)
        .context("the stage ended meanwhile")?
        .error
    {
        Some(error) => Err(anyhow!("{action:?} of {server}: {error}")),
        None => Ok(()),
    }
}

fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

/// Listens for orders, on threads of its own.
pub(crate) fn serve(context: &Arc<Context>) -> Result<()> {
    let path = socket(&context.state_dir);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
    let context = Arc::clone(context);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let context = Arc::clone(&context);
            thread::spawn(move || {
                if let Err(error) = answer(&context, stream) {
                    say(format!("an order could not be answered: {error:#}"));
                }
            });
        }
    });
    Ok(())
}

fn answer(context: &Context, mut stream: UnixStream) -> Result<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let done = serde_json::from_str::<Order>(&line)
        .map_err(Into::into)
        .and_then(|order| context.act(order.action, &order.server));
    let answer = Answer {
        error: done.err().map(|error| format!("{error:#}")),
    };
    Ok(writeln!(stream, "{}", serde_json::to_string(&answer)?)?)
}
