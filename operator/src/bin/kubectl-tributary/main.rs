//! `kubectl tributary`: what the columns of `kubectl get` have no room for. Found by kubectl when it is on the PATH.

mod fetch;
mod tree;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use kube::config::KubeConfigOptions;

use fetch::Fetched;

#[derive(Parser)]
#[command(
    name = "kubectl-tributary",
    bin_name = "kubectl tributary",
    version,
    about = "Looks into Tributary's pipelines"
)]
struct Cli {
    #[command(flatten)]
    cluster: Cluster,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Cluster {
    /// Namespace of the object; default: the context's.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig; default: its current one.
    #[arg(long, global = true)]
    context: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// A pipeline and everything it is made of, with conditions and messages.
    Status {
        /// Name of the TenantPipeline.
        name: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<String, Box<dyn std::error::Error>> {
    let options = KubeConfigOptions {
        context: cli.cluster.context,
        ..KubeConfigOptions::default()
    };
    let mut config = kube::Config::from_kubeconfig(&options).await?;
    // Every call has its own deadline; kube's retries would outlast it.
    config.default_retry = false;
    let namespace = cli
        .cluster
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = kube::Client::try_from(config)?;
    match cli.command {
        Command::Status { name } => {
            let fetched = Fetched::of(&client, &namespace, &name).await?;
            Ok(tree::render(&fetched, jiff::Timestamp::now()))
        }
    }
}
