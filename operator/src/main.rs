//! `tributary-operator`: reconciles DataPlatforms, StarRocksTables and TenantPipelines until it is told to stop.

use clap::Parser;
use tributary_operator::args::Args;
use tributary_operator::{controllers, telemetry};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args = Args::parse();
    telemetry::start_logging(args.log_format);
    match controllers::run(args).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the operator cannot run");
            std::process::ExitCode::FAILURE
        }
    }
}
