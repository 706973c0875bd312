//! The command: doors, users, and one ready line on stdout.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use standin_starrocks::cluster::Settings;
use standin_starrocks::config::Key;
use standin_starrocks::{Config, Standin};
use tokio::io::AsyncReadExt as _;

#[derive(Debug, Parser)]
#[command(version, about = "A stand-in for a StarRocks cluster")]
struct Args {
    #[arg(long, default_value = "127.0.0.1:0")]
    fe_http: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    be_http: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    mysql: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    #[arg(long, default_value = "root")]
    user: String,
    #[arg(long, default_value = "")]
    password: String,
    /// More users, for both protocols: `name:password`.
    #[arg(long = "mysql-user", value_parser = name_and_password)]
    mysql_users: Vec<(String, String)>,
    /// Time from commit to visible: `100ms`, `2s`.
    #[arg(long, default_value = "100ms", value_parser = duration)]
    publish_delay: Duration,
    /// How often the BE asks for a transaction's state after a slow publish.
    #[arg(long, default_value = "10s", value_parser = duration)]
    txn_status_interval: Duration,
    /// FEs, each with an HTTP and a MySQL door; the first one leads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    fe_count: u8,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    be_count: u8,
    /// One step of every ALTER job per interval; a real FE takes 10s.
    #[arg(long, default_value = "10s", value_parser = duration)]
    alter_interval: Duration,
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

fn name_and_password(text: &str) -> Result<(String, String), String> {
    let (name, password) = text.split_once(':').ok_or("expected name:password")?;
    Ok((name.to_owned(), password.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let n: u64 = text[..digits]
        .parse()
        .map_err(|_| format!("not a duration: {text}"))?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(n)),
        "s" => Ok(Duration::from_secs(n)),
        "m" => Ok(Duration::from_secs(n * 60)),
        _ => Err(format!("not a duration: {text} (say 100ms, 2s or 1m)")),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let mut users: BTreeMap<String, String> = args.mysql_users.into_iter().collect();
    users.insert(args.user, args.password);
    let config = Config {
        fe_http: args.fe_http,
        be_http: args.be_http,
        mysql: args.mysql,
        admin: args.admin,
        fe_count: usize::from(args.fe_count),
        be_count: usize::from(args.be_count),
        users,
        settings: Settings {
            publish_delay: args.publish_delay,
            txn_status_interval: args.txn_status_interval,
            ..Settings::default()
        },
    };
    let standin = Standin::start(config).await.context("cannot open the doors")?;
    let interval = u64::try_from(args.alter_interval.as_millis()).unwrap_or(u64::MAX);
    standin
        .cluster
        .config
        .set(Key::AlterSchedulerIntervalMillisecond, interval);
    println!("{}", serde_json::to_string(&standin.addresses)?);
    tokio::select! {
        () = standin.wait() => anyhow::bail!("a door closed"),
        () = stdin_eof(args.exit_on_stdin_eof) => {}
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
    Ok(())
}

async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Resolves when stdin ends, if asked to watch it.
async fn stdin_eof(watch: bool) {
    if !watch {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 256];
    while matches!(stdin.read(&mut buffer).await, Ok(n) if n > 0) {}
}
