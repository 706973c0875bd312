//! `tributary-stage`: the stage from the command line.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tributary_stage::preflight::{self, Verdict};
use tributary_stage::{Options, Parts, Stage, init, serve, state};

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
    /// Raises the stage and keeps it up until Ctrl-C.
    Up {
        #[arg(long, default_value = "all")]
        parts: Parts,
    },
    /// Removes what stages left that were killed.
    Clean,
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
        Command::Up { parts } => up(parts),
        Command::Clean => state::clean().map(|()| ExitCode::SUCCESS),
        Command::Init { plan } => Ok(init::run(&plan)?.try_into().map_or(ExitCode::FAILURE, |code: u8| code.into())),
        // Its error was announced to the holder, who shows it.
        Command::Serve { plan } => Ok(serve::run(&plan).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)),
    }
}

fn up(parts: Parts) -> Result<ExitCode> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, asked_to_end) = std::sync::mpsc::channel();
    std::thread::spawn(move || signals.forever().next().map(|signal| sender.send(signal)));
    let stage = Stage::up(parts, Options::default())?;
    println!("{}", serde_json::to_string_pretty(stage.info()).context("cannot show the stage")?);
    loop {
        if asked_to_end.try_recv().is_ok() {
            return Ok(ExitCode::SUCCESS);
        }
        if stage.ended_within(Duration::from_millis(200)) {
            return Ok(ExitCode::FAILURE);
        }
    }
}

fn report(parts: Parts) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for finding in preflight::check(parts) {
        match finding.verdict {
            Verdict::Found(what) => println!("found    {:<40} {what}", finding.need),
            Verdict::WillInstall(package) => println!("installs {:<40} apt-get install {package}", finding.need),
            Verdict::Missing(how) => {
                println!("MISSING  {:<40} {how}", finding.need);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
