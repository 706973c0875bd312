//! The server as a whole: what the commands share, and the tasks that listen.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    admin, commands,
    commands::{cursors::Cursors, login::Login, sessions::Sessions},
    faults::{Connections, Cut, Faults},
    oplog::{
        Oplog, Window,
        journal::{Journal, Record},
    },
    role::Role,
    scram::Users,
    store::Store,
    wire,
};

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub replica_set: String,
    /// The `host:port` clients are told to use; the listening address when left out.
    pub advertise: Option<String>,
    pub window: Window,
    /// `name` and password of users of the database `admin`; with none, nobody needs to log in.
    pub users: Vec<(String, String)>,
    /// Where everything is kept across a restart; without it nothing is.
    pub data: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: any,
            admin: any,
            replica_set: "rs0".to_owned(),
            advertise: None,
            window: Window::default(),
            users: Vec::new(),
            data: None,
        }
    }
}

/// What every command can reach.
pub(crate) struct Server {
    pub(crate) replica_set: String,
    pub(crate) address: String,
    pub(crate) role: Role,
    pub(crate) users: Users,
    pub(crate) oplog: Arc<Oplog>,
    pub(crate) store: RwLock<Store>,
    pub(crate) cursors: Cursors,
    pub(crate) sessions: Sessions,
    pub(crate) faults: Faults,
    pub(crate) connections: Connections,
    pub(crate) counters: Mutex<BTreeMap<String, u64>>,
    next_connection: AtomicU64,
    next_reply: AtomicI32,
}

impl Server {
    fn new(config: &Config, address: String) -> anyhow::Result<Self> {
        let oplog = Arc::new(Oplog::new(config.window));
        let mut store = Store::new(oplog.clone());
        let sessions = Sessions::default();
        if let Some(dir) = &config.data {
            let (unopened, records) = Journal::open(dir)?;
            for record in records {
                match record {
                    Record::Reply {
                        session,
                        transaction,
                        reply,
                    } => sessions.remember(session, transaction, reply),
                    other => store.restore(other),
                }
            }
            oplog.attach(unopened, store.records().chain(sessions.records()))?;
        }
        let users = Users::default();
        for (name, password) in &config.users {
            users.put(&format!("admin.{name}"), password);
        }
        Ok(Self {
            replica_set: config.replica_set.clone(),
            address,
            role: Role::default(),
            users,
            store: RwLock::new(store),
            oplog,
            cursors: Cursors::default(),
            sessions,
            faults: Faults::default(),
            connections: Connections::default(),
            counters: Mutex::default(),
            next_connection: AtomicU64::new(1),
            next_reply: AtomicI32::new(1),
        })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, command: &str) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        match counters.get_mut(command) {
            Some(count) => *count += 1,
            None => drop(counters.insert(command.to_owned(), 1)),
        }
    }
}

/// One client connection, as its commands see it.
pub(crate) struct Connection {
    pub(crate) id: u64,
    /// Its last cursor command was on a change stream.
    pub(crate) streams: Arc<AtomicBool>,
    pub(crate) login: Mutex<Login>,
}

/// A running stand-in; dropping it stops it.
pub struct Standin {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    replica_set: String,
    advertised: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Standin {
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let clients = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listening for clients on {}", config.listen))?;
        let admin_listener = TcpListener::bind(config.admin)
            .await
            .with_context(|| format!("listening for the admin API on {}", config.admin))?;
        let (address, admin) = (clients.local_addr()?, admin_listener.local_addr()?);
        let advertised = config.advertise.clone().unwrap_or_else(|| address.to_string());
        let server = Arc::new(Server::new(&config, advertised.clone())?);
        let tasks = vec![
            tokio::spawn(accept(clients, server.clone())),
            tokio::spawn(admin::serve(admin_listener, server)),
        ];
        Ok(Self {
            address,
            admin,
            replica_set: config.replica_set,
            advertised,
            tasks,
        })
    }

    pub fn uri(&self) -> String {
        format!("mongodb://{}/?replicaSet={}", self.advertised, self.replica_set)
    }

    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    // Owned here, so that aborting this task closes every connection.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: let some close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        if server.faults.refuses_connections() {
            continue;
        }
        let id = server.next_connection.fetch_add(1, Ordering::Relaxed);
        let streams = Arc::new(AtomicBool::new(false));
        let connection = Connection {
            id,
            streams: streams.clone(),
            login: Mutex::default(),
        };
        let shared = server.clone();
        let task = clients.spawn(async move {
            if let Err(error) = converse(stream, &shared, &connection).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            shared.connections.remove(id);
        });
        server.connections.add(id, task, streams);
    }
}

async fn converse(
    mut stream: TcpStream,
    server: &Arc<Server>,
    connection: &Connection,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(mut request) = wire::read_request(&mut stream).await? {
        let name = request.name().to_owned();
        server.count(&name);
        let verdict = server.faults.judge(&name);
        if !verdict.delay.is_zero() {
            tokio::time::sleep(verdict.delay).await;
        }
        if verdict.cut == Some(Cut::BeforeExecution) {
            tracing::info!(
                connection = connection.id,
                command = name,
                "cut before execution, as asked"
            );
            return Ok(());
        }
        let reply = match verdict.error {
            Some(error) => commands::finish(server, Err(error)),
            None => commands::run(server, connection, &mut request).await,
        };
        if verdict.cut == Some(Cut::AfterExecution) {
            tracing::info!(
                connection = connection.id,
                command = name,
                "cut after execution, as asked"
            );
            return Ok(());
        }
        let id = server.next_reply.fetch_add(1, Ordering::Relaxed);
        wire::write_reply(&mut stream, &request, id, &reply).await?;
    }
    Ok(())
}
