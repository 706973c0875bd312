//! `standin-mongodb`: starts the stand-in, prints its addresses as one JSON line, serves until told to stop.

use std::{io::Write as _, net::SocketAddr};

use clap::Parser;
use standin_mongodb::{Config, Standin, Window};

#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the admin API (faults, status) listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    #[arg(long, default_value = "rs0")]
    replica_set: String,
    /// The host:port clients are told to use, when it is not the one listened on.
    #[arg(long)]
    advertise: Option<String>,
    /// History kept for change streams, in entries.
    #[arg(long, default_value_t = Window::default().entries)]
    oplog_entries: usize,
    /// History kept for change streams, in bytes.
    #[arg(long, default_value_t = Window::default().bytes)]
    oplog_bytes: usize,
    /// A user of the database `admin`, who then has to log in (SCRAM-SHA-256). Repeatable.
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = name_and_password)]
    users: Vec<(String, String)>,
    /// Keep documents, oplog and resume tokens in this folder across restarts.
    #[arg(long)]
    data: Option<std::path::PathBuf>,
    /// Exit when standard input ends: a parent that dies takes this process with it.
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .init();
    let args = Args::parse();
    let standin = Standin::start(Config {
        listen: args.listen,
        admin: args.admin,
        replica_set: args.replica_set,
        advertise: args.advertise,
        window: Window {
            entries: args.oplog_entries,
            bytes: args.oplog_bytes,
        },
        users: args.users,
        data: args.data,
    })
    .await?;
    println!(
        "{}",
        serde_json::json!({ "uri": standin.uri(), "admin": standin.admin_url() })
    );
    std::io::stdout().flush()?;

    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        () = stdin_ended(), if args.exit_on_stdin_eof => {}
    }
    drop(standin);
    Ok(())
}

fn name_and_password(text: &str) -> Result<(String, String), String> {
    let (name, password) = text.split_once(':').ok_or("NAME:PASSWORD is wanted")?;
    Ok((name.to_owned(), password.to_owned()))
}

/// Reads on a thread of its own: a blocking read of standard input cannot be cancelled.
async fn stdin_ended() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = wait.await;
}
