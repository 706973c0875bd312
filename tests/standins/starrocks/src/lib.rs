//! A stand-in for a StarRocks cluster: one FE, one BE, their HTTP and MySQL doors, primary-key tables in memory.
//!
//! It speaks what clients were built against — redirects, texts, key orders, label states, publish delays — and
//! answers SELECTs for real. What it does not know it refuses by name.

pub mod accounts;
pub mod cluster;
pub mod config;
pub mod counters;
pub mod door;
pub mod faults;
pub mod http;
pub mod jobs;
pub mod load;
pub mod mysql;
pub mod nodes;
pub mod query;
pub mod sql;
pub mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use cluster::{Cluster, Settings};
use config::Key;
use nodes::{Node, Nodes};

/// Where the doors shall be; port 0 takes a free one.
#[derive(Debug, Clone)]
pub struct Config {
    pub fe_http: SocketAddr,
    pub be_http: SocketAddr,
    pub mysql: SocketAddr,
    pub admin: SocketAddr,
    /// FEs with doors of their own; the first one leads.
    pub fe_count: usize,
    pub be_count: usize,
    /// User name to password.
    pub users: BTreeMap<String, String>,
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            fe_http: any,
            be_http: any,
            mysql: any,
            admin: any,
            fe_count: 1,
            be_count: 1,
            users: BTreeMap::from([("root".to_owned(), String::new())]),
            settings: Settings::default(),
        }
    }
}

/// The ready line.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    pub fe_http: String,
    pub be_http: String,
    pub mysql: String,
    pub admin: String,
    /// Every FE's and BE's doors; the three above are the first ones.
    pub fe_http_all: Vec<String>,
    pub mysql_all: Vec<String>,
    pub be_http_all: Vec<String>,
}

/// A running cluster; dropping it closes every door.
#[derive(Debug)]
pub struct Standin {
    pub addresses: Addresses,
    pub cluster: Arc<Cluster>,
    tasks: JoinSet<()>,
}

impl Standin {
    pub async fn start(config: Config) -> std::io::Result<Self> {
        let fe = bind(config.fe_http, config.fe_count).await?;
        let mysql = bind(config.mysql, config.fe_count).await?;
        let be = bind(config.be_http, config.be_count).await?;
        let admin = TcpListener::bind(config.admin).await?;
        let frontends = fe
            .iter()
            .zip(&mysql)
            .map(|((_, http), (_, mysql))| Node::new(http.clone(), mysql.clone()));
        let backends = be.iter().map(|(_, http)| Node::new(http.clone(), String::new()));
        let nodes = Nodes::new(frontends.collect(), backends.collect());
        let addresses = Addresses::new(&nodes, format!("http://{}", admin.local_addr()?));
        let cluster = Arc::new(Cluster::new(config.settings, config.users, nodes));
        let mut tasks = JoinSet::new();
        for (index, (listener, _)) in fe.into_iter().enumerate() {
            let door = Arc::new(http::fe::Fe {
                cluster: cluster.clone(),
                index,
            });
            let up = cluster.nodes.frontends[index].watch();
            tasks.spawn(http::serve(listener, up, move |request, peer| {
                door.clone().handle(request, peer)
            }));
        }
        for (index, (listener, _)) in mysql.into_iter().enumerate() {
            let up = cluster.nodes.frontends[index].watch();
            tasks.spawn(mysql::serve(listener, up, cluster.clone()));
        }
        for (index, (listener, address)) in be.into_iter().enumerate() {
            let door = Arc::new(http::be::Be {
                cluster: cluster.clone(),
                index,
                address,
            });
            let up = cluster.nodes.backends[index].watch();
            tasks.spawn(http::serve(listener, up, move |request, peer| {
                door.clone().handle(request, peer)
            }));
        }
        tasks.spawn(clean_labels(cluster.clone()));
        tasks.spawn(run_jobs(cluster.clone()));
        let router = http::admin::router(cluster.clone());
        tasks.spawn(async move {
            if let Err(error) = axum::serve(admin, router).await {
                tracing::error!(%error, "admin door closed");
            }
        });
        Ok(Self {
            addresses,
            cluster,
            tasks,
        })
    }

    /// Runs until a door fails, which none does by itself.
    pub async fn wait(mut self) {
        self.tasks.join_next().await;
    }
}

impl Addresses {
    fn new(nodes: &Nodes, admin: String) -> Self {
        let http = |nodes: &[Node]| {
            nodes
                .iter()
                .map(|n| format!("http://{}", n.http))
                .collect::<Vec<_>>()
        };
        let (fe_http_all, be_http_all) = (http(&nodes.frontends), http(&nodes.backends));
        let mysql_all: Vec<String> = nodes.frontends.iter().map(|n| n.mysql.clone()).collect();
        Self {
            fe_http: fe_http_all[0].clone(),
            be_http: be_http_all[0].clone(),
            mysql: mysql_all[0].clone(),
            admin,
            fe_http_all,
            mysql_all,
            be_http_all,
        }
    }
}

/// The first door where it was asked for, the others on free ports of the same address.
async fn bind(first: SocketAddr, count: usize) -> std::io::Result<Vec<(TcpListener, String)>> {
    let mut doors = Vec::with_capacity(count.max(1));
    for i in 0..count.max(1) {
        let port = if i == 0 { first.port() } else { 0 };
        let listener = TcpListener::bind(SocketAddr::new(first.ip(), port)).await?;
        let address = listener.local_addr()?.to_string();
        doors.push((listener, address));
    }
    Ok(doors)
}

/// FE's cleaner: every `transaction_clean_interval_second`.
async fn clean_labels(cluster: Arc<Cluster>) {
    loop {
        let period = |c: &config::FrontendConfig| c.get(Key::TransactionCleanIntervalSecond) * 1000;
        cluster.config.period(period).await;
        cluster.txns.clean();
    }
}

/// FE's alter scheduler.
async fn run_jobs(cluster: Arc<Cluster>) {
    loop {
        let period = |c: &config::FrontendConfig| c.get(Key::AlterSchedulerIntervalMillisecond);
        cluster.config.period(period).await;
        cluster.jobs.tick(&cluster);
    }
}
