//! The command line of the operator; every option has an environment variable, which is what the chart sets.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Runs CDC analytics pipelines as custom resources.
#[derive(Clone, Debug, Parser)]
#[command(name = "tributary-operator", version)]
pub struct Args {
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "TRIBUTARY_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Image of the relay that pipelines run; a DataPlatform may override it through podOverrides.
    #[arg(long, env = "TRIBUTARY_RELAY_IMAGE")]
    pub relay_image: String,

    /// Namespaces whose Deployments are watched: those that hold a DataPlatform. Elsewhere a change of a relay is seen at
    /// the next poll instead of at once.
    #[arg(long, env = "TRIBUTARY_PLATFORM_NAMESPACES", value_delimiter = ',')]
    pub platform_namespaces: Vec<String>,

    /// Reconciles of one kind that may run at the same time.
    #[arg(long, env = "TRIBUTARY_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// How often an object that never changes is looked at again, in seconds (±10 %).
    #[arg(long, env = "TRIBUTARY_RESYNC_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub resync_seconds: u64,

    #[arg(long, env = "TRIBUTARY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl Args {
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds)
    }
}
