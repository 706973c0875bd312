//! The nodes of the cluster: which process runs, which one FE believes alive, which FE leads.
//!
//! A node that is down refuses connections; one whose heartbeat is still believed is a dead BE that FE redirects to.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

#[derive(Debug)]
pub struct Node {
    /// `host:port` of the HTTP door.
    pub http: String,
    /// `host:port` of the MySQL door; empty for a BE.
    pub mysql: String,
    up: watch::Sender<bool>,
    heartbeat: AtomicBool,
    /// How often the process has died.
    deaths: AtomicU64,
}

impl Node {
    pub fn new(http: String, mysql: String) -> Self {
        Self {
            http,
            mysql,
            up: watch::Sender::new(true),
            heartbeat: AtomicBool::new(true),
            deaths: AtomicU64::new(0),
        }
    }

    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// What FE believes.
    pub fn is_alive(&self) -> bool {
        self.heartbeat.load(Ordering::Relaxed)
    }

    /// The life this process is in; work begun in an earlier one is lost.
    pub fn life(&self) -> u64 {
        self.deaths.load(Ordering::Relaxed)
    }

    /// Follows the process, for its doors.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    pub fn set(&self, up: bool, heartbeat: bool) {
        if self.is_up() && !up {
            self.deaths.fetch_add(1, Ordering::Relaxed);
        }
        self.heartbeat.store(heartbeat, Ordering::Relaxed);
        self.up.send_replace(up);
    }
}

#[derive(Debug)]
pub struct Nodes {
    pub frontends: Vec<Node>,
    pub backends: Vec<Node>,
    next_backend: AtomicUsize,
}

impl Nodes {
    pub fn new(frontends: Vec<Node>, backends: Vec<Node>) -> Self {
        Self {
            frontends,
            backends,
            next_backend: AtomicUsize::new(0),
        }
    }

    /// The first FE that runs: when the leader dies, the next one is elected.
    pub fn leader(&self) -> usize {
        self.frontends.iter().position(Node::is_up).unwrap_or(0)
    }

    /// A BE that FE believes alive, in turn.
    pub fn choose_backend(&self) -> Option<usize> {
        let alive: Vec<usize> = (0..self.backends.len())
            .filter(|i| self.backends[*i].is_alive())
            .collect();
        let turn = self.next_backend.fetch_add(1, Ordering::Relaxed);
        alive.get(turn % alive.len().max(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_go_to_nodes_believed_alive_and_the_next_fe_leads() {
        let node = |name: &str| Node::new(name.into(), String::new());
        let nodes = Nodes::new(vec![node("f0"), node("f1")], vec![node("b0"), node("b1")]);
        assert_eq!(nodes.leader(), 0);
        nodes.frontends[0].set(false, false);
        assert_eq!(nodes.leader(), 1);
        nodes.backends[0].set(false, false);
        assert_eq!(
            (nodes.choose_backend(), nodes.choose_backend()),
            (Some(1), Some(1))
        );
        nodes.backends[1].set(false, true);
        assert_eq!(nodes.choose_backend(), Some(1), "dead, but FE does not know");
        nodes.backends[1].set(false, false);
        assert_eq!(nodes.choose_backend(), None);
        assert_eq!(nodes.backends[1].life(), 1, "it died once");
    }
}
