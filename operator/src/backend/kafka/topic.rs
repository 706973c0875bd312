//! What a topic should be, what it is, and how the two differ. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A topic as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    /// Fixed at creation: another count would re-order keys (correctness.md rule 2).
    pub partitions: i32,
    pub replication_factor: i32,
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A change topic: never compacted, because replay reads history (correctness.md rule 14).
    pub fn changes(
        name: impl Into<String>,
        partitions: i32,
        replication_factor: i32,
        retention: Duration,
        max_message_bytes: u64,
    ) -> Self {
        let config = [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention.as_millis().to_string()),
            ("max.message.bytes", max_message_bytes.to_string()),
        ];
        Self {
            name: name.into(),
            partitions,
            replication_factor,
            config: config.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        }
    }

    /// A connector's heartbeat topic: one partition, an hour of beats.
    pub fn heartbeat(name: impl Into<String>, replication_factor: i32) -> Self {
        let mut spec = Self::changes(name, 1, replication_factor, Duration::from_secs(3600), 1 << 20);
        // The default segment (7 days) would keep a week of beats.
        let segment = Duration::from_secs(600).as_millis().to_string();
        spec.config.insert("segment.ms".to_owned(), segment);
        spec
    }

    /// A compacted topic with one partition: the last record of every key stays.
    pub fn log(name: impl Into<String>, replication_factor: i32) -> Self {
        let config = [
            ("cleanup.policy", "compact".to_owned()),
            // Readers look at all of it: let little pile up beside what counts.
            ("min.cleanable.dirty.ratio", "0.1".to_owned()),
            ("segment.bytes", (16 << 20).to_string()),
        ];
        Self {
            name: name.into(),
            partitions: 1,
            replication_factor,
            config: config.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        }
    }

    /// How the live topic differs from this; empty when it is as wanted.
    pub fn differences(&self, live: &TopicState) -> Vec<TopicDifference> {
        let mut found = Vec::new();
        if live.partitions != self.partitions {
            found.push(TopicDifference::Partitions {
                wanted: self.partitions,
                live: live.partitions,
            });
        }
        if live.replication_factor != self.replication_factor {
            found.push(TopicDifference::ReplicationFactor {
                wanted: self.replication_factor,
                live: live.replication_factor,
            });
        }
        for (key, wanted) in &self.config {
            let value = live.config.get(key);
            if value != Some(wanted) {
                found.push(TopicDifference::Config {
                    key: key.clone(),
                    wanted: wanted.clone(),
                    live: value.cloned(),
                });
            }
        }
        found
    }
}

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub name: String,
    /// Kafka's own id, in its usual spelling; another one is another topic. `None`: the brokers did not tell.
    pub id: Option<String>,
    pub partitions: i32,
    /// Of the first partition.
    pub replication_factor: i32,
    /// Every configuration entry in force, defaults too.
    pub config: BTreeMap<String, String>,
}

/// One way in which a live topic is not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicDifference {
    Partitions {
        wanted: i32,
        live: i32,
    },
    ReplicationFactor {
        wanted: i32,
        live: i32,
    },
    Config {
        key: String,
        wanted: String,
        live: Option<String>,
    },
}

impl fmt::Display for TopicDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partitions { wanted, live } => write!(f, "{live} partitions instead of {wanted}"),
            Self::ReplicationFactor { wanted, live } => {
                write!(f, "replication factor {live} instead of {wanted}")
            }
            Self::Config { key, wanted, live } => write!(
                f,
                "{key}={} instead of {wanted}",
                live.as_deref().unwrap_or("(unset)")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_one_by_one() {
        let spec = TopicSpec::changes("a.b.c", 6, 3, Duration::from_secs(3600), 1000);
        let mut live = TopicState {
            name: spec.name.clone(),
            id: None,
            partitions: 6,
            replication_factor: 3,
            config: spec.config.clone(),
        };
        live.config.insert("segment.bytes".to_owned(), "1".to_owned());
        assert_eq!(spec.differences(&live), []);

        live.partitions = 12;
        live.config
            .insert("cleanup.policy".to_owned(), "compact".to_owned());
        let texts: Vec<String> = spec.differences(&live).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "12 partitions instead of 6",
                "cleanup.policy=compact instead of delete"
            ]
        );
    }
}
