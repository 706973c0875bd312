//! `cargo demo`: raises the stage, installs the chart, applies `examples/web-compat` and shows what Tributary does, with figures. Fails
//! (exit code 1) when any of it does not happen. On a terminal it stays up afterwards.

mod console;
mod latency;
mod story;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tributary_stage::binary;

use console::Console;
use story::Story;

#[derive(Debug, Parser)]
#[command(
    name = "cargo demo --",
    about = "Shows Tributary on real servers raised from package registries"
)]
struct Arguments {
    /// End when the story ends, also on a terminal.
    #[arg(long)]
    exit: bool,
    /// Write what is shown into README.md.
    #[arg(long)]
    transcript: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove what dead stages left behind. The cache is removed by `cargo stage clean --cache`.
    Clean,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Clean) => tributary_stage::state::clean(),
        None => demo(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &Arguments) -> Result<()> {
    let mut console = Console::default();
    let story = Story::begin(&mut console)?;
    story.tell(&mut console)?;
    if arguments.transcript {
        console.write_transcript(&binary::workspace().join("README.md"))?;
    }
    if std::io::stdout().is_terminal() && !arguments.exit {
        story.what_to_try(&mut console);
        // Ctrl-C ends this process, and the stage ends with it.
        while !story.stage().ended_within(Duration::from_secs(1)) {}
        anyhow::bail!("a server of the stage ended; see the lines above");
    }
    Ok(())
}
