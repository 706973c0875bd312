//! What the ledger holds: one small record per thing, keyed by kind and identity. Every key begins with the owner ID, so
//! that two clusters that were given the same topic by mistake do not read each other's records as their own.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Raised when an older operator could misread a newer record.
pub const FORMAT_VERSION: u32 = 1;

/// Something that only one may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// A tenant's id; held by a namespace, whose pipelines share it.
    Tenant(String),
    /// A topic, by name.
    Topic(String),
    /// A source's collection, by digest (hosts are nobody else's business).
    Collection(String),
    /// A physical table, `<database>.<table>`; held by the StarRocksTable that makes it.
    Table(String),
    /// Rows of one tenant (and dataset) in a shared table, `<database>.<table>/<tenant>[/<dataset>]`.
    Rows(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Which term wrote last.
    Term,
    Claim(Claim),
    /// `<namespace>/<name>`.
    Pipeline(String),
    Dataset {
        pipeline: String,
        dataset: String,
    },
    /// Where a removed consumer group stood.
    Position {
        pipeline: String,
        topic: String,
        partition: i32,
    },
}

/// A record's content. One variant per kind of key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Value {
    Term,
    Held(Held),
    Pipeline(PipelineRecord),
    Dataset(DatasetRecord),
    Position(PositionRecord),
}

/// Who has what a claim is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// A namespace for a tenant, else `<namespace>/<name>`.
    pub by: String,
    /// The holder was deleted and what it claimed was kept.
    #[serde(default)]
    pub retained: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineRecord {
    pub tenant: String,
    pub connector: String,
    pub topic_prefix: String,
    /// Topics this pipeline created, or was about to.
    #[serde(default)]
    pub created_topics: BTreeSet<String>,
    /// Deleted, and what it had was kept: the same identity takes it up again.
    #[serde(default)]
    pub retained: bool,
    /// What a deletion could not reach and let go of.
    #[serde(default)]
    pub left_behind: Vec<String>,
}

/// Generations of one dataset. They only grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetRecord {
    pub topic: String,
    /// Kafka's id of the topic these generations count on; unknown where the brokers do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    pub partitions: i32,
    /// Twelve bits of `_ver`.
    pub generation: u16,
    /// Ten bits of `_ver`, counted within `generation`; 0: none was assigned yet.
    pub mapping: u16,
    /// Digest of the compiled mapping without its generation.
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    pub offset: i64,
    /// The relay's own note beside the offset (done positions per table), kept as it was.
    #[serde(default)]
    pub metadata: String,
}

/// What is appended: a value, or the end of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Key,
    pub value: Option<Value>,
}

impl Change {
    pub fn put(key: Key, value: Value) -> Self {
        Self {
            key,
            value: Some(value),
        }
    }

    pub fn remove(key: Key) -> Self {
        Self { key, value: None }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(id) => write!(f, "tenant/{id}"),
            Self::Topic(id) => write!(f, "topic/{id}"),
            Self::Collection(id) => write!(f, "collection/{id}"),
            Self::Table(id) => write!(f, "table/{id}"),
            Self::Rows(id) => write!(f, "rows/{id}"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term => f.write_str("term"),
            Self::Claim(claim) => write!(f, "{claim}"),
            Self::Pipeline(id) => write!(f, "pipeline/{id}"),
            Self::Dataset { pipeline, dataset } => write!(f, "dataset/{pipeline}/{dataset}"),
            Self::Position {
                pipeline,
                topic,
                partition,
            } => write!(f, "position/{pipeline}/{topic}/{partition}"),
        }
    }
}

impl Key {
    /// Reads what [`fmt::Display`] wrote: namespaces, names, topics and partitions hold no slash.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "term" {
            return Some(Self::Term);
        }
        let (kind, rest) = text.split_once('/')?;
        let id = rest.to_owned();
        let claim = |claim: Claim| Some(Self::Claim(claim));
        match kind {
            "tenant" => claim(Claim::Tenant(id)),
            "topic" => claim(Claim::Topic(id)),
            "collection" => claim(Claim::Collection(id)),
            "table" => claim(Claim::Table(id)),
            "rows" => claim(Claim::Rows(id)),
            "pipeline" => Some(Self::Pipeline(id)),
            "dataset" => {
                let (pipeline, dataset) = rest.rsplit_once('/')?;
                Some(Self::Dataset {
                    pipeline: pipeline.to_owned(),
                    dataset: dataset.to_owned(),
                })
            }
            "position" => {
                let (rest, partition) = rest.rsplit_once('/')?;
                let (pipeline, topic) = rest.rsplit_once('/')?;
                Some(Self::Position {
                    pipeline: pipeline.to_owned(),
                    topic: topic.to_owned(),
                    partition: partition.parse().ok()?,
                })
            }
            _ => None,
        }
    }

    /// Whether a value of this kind belongs under this key.
    pub fn takes(&self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Term, Value::Term)
                | (Self::Claim(_), Value::Held(_))
                | (Self::Pipeline(_), Value::Pipeline(_))
                | (Self::Dataset { .. }, Value::Dataset(_))
                | (Self::Position { .. }, Value::Position(_))
        )
    }
}

/// A value as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    format_version: u32,
    #[serde(flatten)]
    value: Value,
}

pub fn encode(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Stored {
        format_version: FORMAT_VERSION,
        value: value.clone(),
    })
}

/// Why a record cannot be read. Guessing from the rest would forget a generation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("record {0} was written by a newer operator: run that version or a later one")]
    Newer(String),
    #[error("record {0} is not one of Tributary's: is this topic used by something else?")]
    NotOurs(String),
}

pub fn decode(key: &Key, bytes: &[u8]) -> Result<Value, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        format_version: u32,
    }
    match serde_json::from_slice::<Stored>(bytes) {
        Ok(stored) if stored.format_version == FORMAT_VERSION && key.takes(&stored.value) => Ok(stored.value),
        _ => Err(match serde_json::from_slice::<Version>(bytes) {
            Ok(version) if version.format_version > FORMAT_VERSION => Unreadable::Newer(key.to_string()),
            _ => Unreadable::NotOurs(key.to_string()),
        }),
    }
}
