//! What to raise.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A useful set of servers; each names what a kind of test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parts {
    /// etcd and kube-apiserver: enough for CRDs, CEL rules, server-side apply, dry runs. Needs no root.
    ApiServer,
    /// Kafka alone.
    Kafka,
    /// A whole Kubernetes with one node.
    Cluster,
    /// Kafka and StarRocks: what a relay stands between.
    Relay,
    /// Kafka, MongoDB and StarRocks, and no Kubernetes.
    Data,
    /// Everything, Kafka Connect included, which runs as a pod.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    ApiServer,
    Node,
    Kafka,
    Connect,
    Mongodb,
    Starrocks,
}

impl Parts {
    pub const NAMES: [(&str, Parts); 6] = [
        ("api-server", Parts::ApiServer),
        ("kafka", Parts::Kafka),
        ("cluster", Parts::Cluster),
        ("relay", Parts::Relay),
        ("data", Parts::Data),
        ("all", Parts::All),
    ];

    pub fn has(self, part: Part) -> bool {
        match part {
            Part::ApiServer => !matches!(self, Parts::Data | Parts::Relay | Parts::Kafka),
            Part::Node => matches!(self, Parts::Cluster | Parts::All),
            Part::Kafka => matches!(self, Parts::Kafka | Parts::Relay | Parts::Data | Parts::All),
            Part::Mongodb => matches!(self, Parts::Data | Parts::All),
            Part::Starrocks => matches!(self, Parts::Relay | Parts::Data | Parts::All),
            Part::Connect => self == Parts::All,
        }
    }
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, parts)| *parts);
        found.ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            format!("no such parts: {text:?}; there are {names}")
        })
    }
}

/// How to raise it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Docker archives to load onto the node (see [`crate::images`]).
    pub images: Vec<PathBuf>,
}
