//! Tributary's relay: Debezium change events from Kafka become rows of StarRocks.
//!
//! One way through the rooms: [`source`] reads committed records, [`envelope`] tells what a record says, [`shape`] makes a
//! row of it, [`lane`] collects rows per table into batches and owns their fate, [`sink`] loads a batch and names the
//! outcome, and only a durable outcome moves positions. [`telemetry`] shows all of it; [`board`] is what they share.

#![forbid(unsafe_code)]
// Input never ends the process: what cannot be is an error with words.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod access;
pub mod board;
pub mod budget;
pub mod config;
pub mod envelope;
pub mod guard;
pub mod json;
pub mod kafka;
pub mod lane;
pub mod shape;
pub mod sink;
pub mod source;
pub mod telemetry;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use board::Board;
use config::Config;
use sink::starrocks::{Credentials, StarRocks};

/// How often the mounted files are compared with what is in use. Kubernetes itself takes about a minute to renew a mount.
const CONFIG_EVERY: Duration = Duration::from_secs(1);

/// Runs a relay until SIGTERM or SIGINT, or until it cannot go on. A change of the mounted files is taken up at a batch
/// boundary: lanes finish what is in flight, positions are committed, and everything is laid out anew.
pub fn run(
    config_dir: &Path,
    credentials: Credentials,
    listen: SocketAddr,
    buffer_bytes: u64,
) -> anyhow::Result<()> {
    let mut config = Config::load(config_dir)?;
    // The reader has its own thread; these carry loads and probes.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let metrics = telemetry::metrics::Metrics::default();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .with_context(|| format!("listen on {listen}"))?;
        let (current, watched) = tokio::sync::watch::channel(Arc::new(config.board(metrics.clone())));
        tracing::info!(address = %listener.local_addr()?, tables = watched.borrow().lanes.len(), "relay");
        tokio::spawn(telemetry::server::serve(listener, watched));
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let board = Arc::clone(&current.borrow());
            let sink = Arc::new(StarRocks::new(
                &config.relay.starrocks,
                config.access.starrocks_authority.as_ref(),
                credentials.clone(),
            )?);
            let stop = Arc::new(AtomicBool::new(false));
            let mut lanes = spawn_lanes(&board, &sink);
            let ask = {
                let (sink, runtime) = (Arc::clone(&sink), tokio::runtime::Handle::current());
                Box::new(move |select: &str| runtime.block_on(sink.has_a_row(select)))
            };
            let reader = spawn_reader(Arc::clone(&board), Arc::clone(&stop), buffer_bytes, ask)?;
            tokio::pin!(reader);
            tokio::select! {
                ended = &mut reader => return outcome(ended),
                // A lane ends only when told to: without it its table would stand still in silence.
                Some(Err(panic)) = lanes.join_next() => anyhow::bail!("a lane ended: {panic}"),
                _ = terminate.recv() => return outcome(drain(&stop, reader).await),
                _ = interrupt.recv() => return outcome(drain(&stop, reader).await),
                changed = changed(config_dir, &config, &board) => {
                    outcome(drain(&stop, reader).await)?;
                    lanes.shutdown().await;
                    config = changed;
                    metrics.forget_gauges();
                    tracing::info!("going on with the changed configuration");
                    current.send_replace(Arc::new(config.board(metrics.clone())));
                }
            }
        }
    })
}

/// Waits for files that say something else and can be used.
async fn changed(dir: &Path, current: &Config, board: &Board) -> Config {
    loop {
        tokio::time::sleep(CONFIG_EVERY).await;
        match Config::load(dir) {
            Ok(found) if found == *current => board.refuse_config(None),
            Ok(found) => return found,
            // Half of a change, or a wrong one: what is in use stays in use.
            Err(error) => {
                let text = error.to_string();
                if board.config_refused().as_ref() != Some(&text) {
                    tracing::error!(
                        error = text,
                        "the mounted configuration cannot be used; the one before stays in use"
                    );
                    board.refuse_config(Some(text));
                }
            }
        }
    }
}

type ReaderEnd = Result<Result<(), source::SourceError>, tokio::sync::oneshot::error::RecvError>;

fn outcome(ended: ReaderEnd) -> anyhow::Result<()> {
    ended
        .context("the reader's thread panicked")?
        .map_err(anyhow::Error::from)
}

async fn drain(
    stop: &AtomicBool,
    reader: std::pin::Pin<&mut tokio::sync::oneshot::Receiver<Result<(), source::SourceError>>>,
) -> ReaderEnd {
    tracing::info!("draining");
    stop.store(true, Ordering::Release);
    reader.await
}

/// One task per table.
pub fn spawn_lanes<S: sink::Sink>(board: &Board, sink: &Arc<S>) -> tokio::task::JoinSet<()> {
    board
        .lanes
        .iter()
        .map(|lane| lane::run(Arc::clone(lane), Arc::clone(sink)))
        .collect()
}

/// The reader in a thread of its own: polling blocks, and shaping is the part that needs a core.
pub fn spawn_reader(
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    buffer_bytes: u64,
    ask: source::Ask,
) -> anyhow::Result<tokio::sync::oneshot::Receiver<Result<(), source::SourceError>>> {
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("reader".into()).spawn(move || {
        let result = source::Reader::new(board, stop, buffer_bytes, ask).and_then(source::Reader::run);
        let _ = done.send(result);
    })?;
    Ok(ended)
}
