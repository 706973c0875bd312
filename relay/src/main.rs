//! `tributary-relay`: reads its mounted configuration, relays until SIGTERM, drains.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use tributary_crds::relay::{CONFIG_DIR, CREDENTIALS_DIR, DEFAULT_LISTEN};

/// Relays Debezium change events from Kafka into StarRocks.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Folder with relay.json and datasets/*.json.
    #[arg(long, env = "TRIBUTARY_RELAY_CONFIG_DIR", default_value = CONFIG_DIR)]
    config_dir: PathBuf,
    /// Folder with the files username and password.
    #[arg(long, env = "TRIBUTARY_RELAY_CREDENTIALS_DIR", default_value = CREDENTIALS_DIR)]
    credentials_dir: PathBuf,
    /// Address of /livez, /readyz, /status and /metrics.
    #[arg(long, env = "TRIBUTARY_RELAY_LISTEN", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Bytes of rows all tables together may hold in memory; derived from the cgroup's memory limit when not given.
    #[arg(long, env = "TRIBUTARY_RELAY_BUFFER_BYTES")]
    buffer_bytes: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let credentials = tributary_relay::sink::starrocks::Credentials::Files(args.credentials_dir);
    let buffer_bytes = args
        .buffer_bytes
        .unwrap_or_else(|| tributary_relay::budget::Budget::of_process().buffered);
    tributary_relay::run(&args.config_dir, credentials, args.listen, buffer_bytes)
}
