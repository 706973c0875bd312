//! `tributary-stage`: the stage from the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tributary_stage::control::{self, Action};
use tributary_stage::images::product;
use tributary_stage::preflight::{self, Verdict};
use tributary_stage::{Options, Parts, Stage, init, serve, setup, state};

/// Raises real servers for tests and the demo.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says in seconds what this machine has and lacks, with the exact command for what it lacks.
    Preflight {
        #[arg(long, default_value = "all")]
        parts: Parts,
    },
    /// Builds and fetches everything into the cache, and raises nothing.
    Setup {
        #[arg(long, default_value = "all")]
        parts: Parts,
    },
    /// Raises the stage and keeps it up until Ctrl-C.
    Up {
        #[arg(long, default_value = "all")]
        parts: Parts,
        /// A docker archive to load onto the node; may be given again.
        #[arg(long = "image")]
        images: Vec<PathBuf>,
    },
    /// Builds the images of operator and relay as docker archives.
    Images {
        /// Where to; by default `images` in cargo's target folder.
        dir: Option<PathBuf>,
    },
    /// Takes a server of a running stage away and brings it back: stop, kill, start, restart, pause, resume.
    Control {
        action: Action,
        /// kafka or standin-mongodb; pause and resume go with every server that has a log.
        server: String,
        /// The stage's folder; not needed where only one runs.
        #[arg(long)]
        stage: Option<PathBuf>,
    },
    /// Removes what stages left that were killed.
    Clean {
        /// Also everything that set-up built and installed, and all logs.
        #[arg(long)]
        cache: bool,
    },
    /// Shows the cache, the running stages and the variables that the stage obeys.
    Env,
    /// The first process of a stage's namespace.
    #[command(hide = true)]
    Init { plan: String },
    /// The process that raises the parts.
    #[command(hide = true)]
    Serve { plan: String },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Preflight { parts } => Ok(report(parts)),
        Command::Setup { parts } => prepare(parts).map(|()| ExitCode::SUCCESS),
        Command::Up { parts, images } => up(parts, Options { images }),
        Command::Images { dir } => images(dir.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Control {
            action,
            server,
            stage,
        } => {
            let stage = stage.map_or_else(only_stage, Ok)?;
            control::order(&stage, action, &server).map(|()| ExitCode::SUCCESS)
        }
        Command::Clean { cache } => clean(cache).map(|()| ExitCode::SUCCESS),
        Command::Env => show_environment().map(|()| ExitCode::SUCCESS),
        Command::Init { plan } => Ok(init::run(&plan)?
            .try_into()
            .map_or(ExitCode::FAILURE, |code: u8| code.into())),
        // Its error was announced to the holder, who shows it.
        Command::Serve { plan } => Ok(serve::run(&plan).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)),
    }
}

fn only_stage() -> Result<PathBuf> {
    match state::running().as_slice() {
        [stage] => Ok(stage.clone()),
        [] => bail!("no stage runs"),
        several => bail!("several stages run; name one with --stage: {several:?}"),
    }
}

fn prepare(parts: Parts) -> Result<()> {
    let begun = Instant::now();
    tributary_stage::prepare(parts)?;
    println!(
        "set-up is complete after {:.1}s; cache: {}",
        begun.elapsed().as_secs_f64(),
        setup::cache_dir()?.display()
    );
    Ok(())
}

fn up(parts: Parts, options: Options) -> Result<ExitCode> {
    enum Event {
        Asked,
        Up(Box<Result<Stage>>),
    }
    let (sender, events) = mpsc::channel();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let asked = sender.clone();
    thread::spawn(move || signals.forever().try_for_each(|_| asked.send(Event::Asked)));
    thread::spawn(move || sender.send(Event::Up(Box::new(Stage::up(parts, options)))));
    let stage = match events.recv().context("both senders live")? {
        Event::Up(stage) => (*stage)?,
        // Ending here closes the pipe that the half raised stage hangs on; the next start removes its folder.
        Event::Asked => return Ok(ExitCode::from(130)),
    };
    println!("{}", serde_json::to_string_pretty(stage.info())?);
    loop {
        if events.try_recv().is_ok() {
            return Ok(ExitCode::SUCCESS);
        }
        if stage.ended_within(Duration::from_millis(200)) {
            return Ok(ExitCode::FAILURE);
        }
    }
}

fn images(dir: Option<&Path>) -> Result<()> {
    let images = product(dir)?;
    println!("{}\n{}", images.operator.display(), images.relay.display());
    Ok(())
}

fn clean(cache: bool) -> Result<()> {
    state::clean()?;
    if cache {
        let dir = setup::cache_dir()?;
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        println!("removed {}", dir.display());
    }
    Ok(())
}

fn show_environment() -> Result<()> {
    println!("cache     {}", setup::cache_dir()?.display());
    for stage in state::running() {
        println!("running   {}", stage.join("stage.json").display());
    }
    for (name, meaning) in VARIABLES {
        let value = match std::env::var(name) {
            Ok(_) if name.ends_with("PASSWORD") => "(set)".to_owned(),
            Ok(value) => value,
            Err(_) => "(unset)".to_owned(),
        };
        println!("{name}={value}\n          {meaning}");
    }
    Ok(())
}

const VARIABLES: [(&str, &str); 10] = [
    ("TRIBUTARY_CACHE", "where set-up keeps what it built or installed"),
    (
        "TRIBUTARY_TEST_KUBECONFIG",
        "a cluster marked for tests, used instead of raising one; KUBECONFIG is never read",
    ),
    (
        "KUBEBUILDER_ASSETS",
        "etcd, kube-apiserver and kubectl for tests that need no node",
    ),
    (
        "TRIBUTARY_TEST_MONGODB_URI",
        "a real MongoDB instead of the stand-in",
    ),
    (
        "TRIBUTARY_TEST_STARROCKS_FE",
        "a real StarRocks instead of the stand-in: http://host:8030",
    ),
    (
        "TRIBUTARY_TEST_STANDIN_MONGODB",
        "a built MongoDB stand-in, so that it is not compiled",
    ),
    (
        "TRIBUTARY_TEST_STANDIN_STARROCKS",
        "a built StarRocks stand-in, so that it is not compiled",
    ),
    ("TRIBUTARY_TEST_STARROCKS_MYSQL", "its MySQL protocol: host:9030"),
    ("TRIBUTARY_TEST_STARROCKS_USER", "its user, by default root"),
    (
        "TRIBUTARY_TEST_STARROCKS_PASSWORD",
        "its password, by default none",
    ),
];

fn report(parts: Parts) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for finding in preflight::check(parts) {
        match finding.verdict {
            Verdict::Found(what) => println!("found    {:<40} {what}", finding.need),
            Verdict::WillInstall(package) => {
                println!("installs {:<40} apt-get install {package}", finding.need)
            }
            Verdict::Missing(how) => {
                println!("MISSING  {:<40} {how}", finding.need);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
