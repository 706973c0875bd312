//! A listener whose process can die and come back on the same port.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves while `up`; while not, connections are refused and the port stays reserved.
pub async fn serve<H, F>(listener: TcpListener, mut up: watch::Receiver<bool>, connection: H)
where
    H: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = Some(listener);
    let mut reserved = None;
    loop {
        if *up.borrow_and_update() {
            reserved = None;
            let open = match listener.take() {
                Some(listener) => listener,
                None => match reopen(address).await {
                    Some(listener) => listener,
                    None => return,
                },
            };
            let mut connections = JoinSet::new();
            tokio::select! {
                () = accept(&open, &mut connections, &connection) => {}
                changed = up.changed() => if changed.is_err() { return },
            }
            // Listener and connections are dropped here: the kernel answers for a process that is gone.
        } else {
            if reserved.is_none() {
                reserved = reserve(address).ok();
            }
            if up.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn accept<H, F>(listener: &TcpListener, connections: &mut JoinSet<()>, connection: &H)
where
    H: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, peer));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Bound but not listening: the kernel refuses connections and gives the port to nobody else.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Connections of the former life may hold the port for a moment.
async fn reopen(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..100 {
        match reserve(address).and_then(|socket| socket.listen(1024)) {
            Ok(listener) => return Some(listener),
            Err(error) => {
                tracing::warn!(%error, %address, "the port is not free yet");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    None
}
