//! A stand-in for a StarRocks cluster: one FE, one BE, their HTTP and MySQL doors, primary-key tables in memory.
//!
//! It speaks what clients were built against — redirects, texts, key orders, label states, publish delays — and
//! answers SELECTs for real. What it does not know it refuses by name.

pub mod cluster;
pub mod counters;
pub mod faults;
pub mod http;
pub mod load;
pub mod mysql;
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

/// Where the doors shall be; port 0 takes a free one.
#[derive(Debug, Clone)]
pub struct Config {
    pub fe_http: SocketAddr,
    pub be_http: SocketAddr,
    pub mysql: SocketAddr,
    pub admin: SocketAddr,
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
        let fe = TcpListener::bind(config.fe_http).await?;
        let be = TcpListener::bind(config.be_http).await?;
        let mysql = TcpListener::bind(config.mysql).await?;
        let admin = TcpListener::bind(config.admin).await?;
        let be_address = be.local_addr()?.to_string();
        let addresses = Addresses {
            fe_http: format!("http://{}", fe.local_addr()?),
            be_http: format!("http://{be_address}"),
            mysql: mysql.local_addr()?.to_string(),
            admin: format!("http://{}", admin.local_addr()?),
        };
        let cluster = Arc::new(Cluster::new(config.settings, config.users));
        let mut tasks = JoinSet::new();
        let door = Arc::new(http::fe::Fe {
            cluster: cluster.clone(),
            be_http: be_address.clone(),
        });
        tasks.spawn(http::serve(fe, move |request, peer| {
            door.clone().handle(request, peer)
        }));
        let door = Arc::new(http::be::Be {
            cluster: cluster.clone(),
            address: be_address,
        });
        tasks.spawn(http::serve(be, move |request, peer| {
            door.clone().handle(request, peer)
        }));
        tasks.spawn(mysql::serve(mysql, cluster.clone()));
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
