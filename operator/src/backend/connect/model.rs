//! The JSON of Connect's REST API, as far as it is used. Unknown fields are ignored: newer workers add some.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A connector's configuration. Ordered, so that two of them compare and print the same way.
pub type ConnectorConfig = BTreeMap<String, String>;

/// State of a connector or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectorState {
    Unassigned,
    Running,
    Paused,
    Stopped,
    Failed,
    Restarting,
    Destroyed,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConnectorStatus {
    pub name: String,
    pub connector: InstanceStatus,
    #[serde(default)]
    pub tasks: Vec<TaskStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InstanceStatus {
    pub state: ConnectorState,
    #[serde(default)]
    pub worker_id: String,
    /// Java stack trace when `FAILED`; redacted by the client.
    #[serde(default)]
    pub trace: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TaskStatus {
    pub id: u32,
    pub state: ConnectorState,
    #[serde(default)]
    pub worker_id: String,
    /// Java stack trace when `FAILED`; redacted by the client.
    #[serde(default)]
    pub trace: Option<String>,
}

/// One entry of `GET /connectors?expand=status&expand=info`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConnectorSummary {
    /// Absent for a moment after creation: the status topic lags.
    pub status: Option<ConnectorStatus>,
    pub info: Option<ConnectorInfo>,
}

impl ConnectorSummary {
    /// Whose connector this is, if anybody marked it.
    pub fn owner(&self) -> Option<&str> {
        self.info
            .as_ref()?
            .config
            .get(super::connector::OWNER_KEY)
            .map(String::as_str)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConnectorInfo {
    pub name: String,
    /// Values may be null when somebody else created the connector so.
    #[serde(deserialize_with = "without_nulls")]
    pub config: ConnectorConfig,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Plugin {
    pub class: String,
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WorkerInfo {
    pub version: String,
    #[serde(default)]
    pub kafka_cluster_id: Option<String>,
}

/// What `config/validate` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Errors by configuration key, redacted.
    pub errors: BTreeMap<String, Vec<String>>,
}

impl Validation {
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// One sentence an operator can act on; `None` when valid.
    pub fn message(&self) -> Option<String> {
        if self.is_valid() {
            return None;
        }
        let parts: Vec<String> = self
            .errors
            .iter()
            .map(|(key, errors)| format!("{key}: {}", errors.join(" ")))
            .collect();
        Some(format!(
            "Kafka Connect refuses the connector's configuration: {}",
            parts.join("; ")
        ))
    }

    /// Whether the connection to the source is what failed: the one key where an error may pass by itself.
    pub fn only_connection_failed(&self) -> bool {
        !self.errors.is_empty()
            && self
                .errors
                .keys()
                .all(|k| k == super::connector::CONNECTION_STRING_KEY)
    }
}

impl Validation {
    /// Whether all that is missing is exactly-once on the workers.
    pub fn only_exactly_once_failed(&self) -> bool {
        !self.errors.is_empty()
            && self
                .errors
                .keys()
                .all(|k| k == super::connector::EXACTLY_ONCE_KEY)
    }
}

/// Reply of `config/validate`. `value` is null for deprecated aliases (3.6.1), which is why Connect's own PUT fails.
#[derive(Debug, Deserialize)]
pub(super) struct ValidateReply {
    #[serde(default)]
    pub(super) error_count: u32,
    #[serde(default)]
    pub(super) configs: Vec<ValidatedKey>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ValidatedKey {
    pub(super) value: Option<ValidatedValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ValidatedValue {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) errors: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OffsetsReply {
    #[serde(default)]
    pub(super) offsets: Vec<OffsetEntry>,
}

/// One source partition and its committed offset.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OffsetEntry {
    #[serde(default)]
    pub partition: serde_json::Map<String, serde_json::Value>,
    pub offset: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HealthReply {
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorReply {
    #[serde(default)]
    pub(super) message: String,
}

/// Drops null values: `{"key": null}` and an absent key mean the same to Connect.
pub(super) fn without_nulls<'de, D>(deserializer: D) -> Result<ConnectorConfig, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let raw: BTreeMap<String, Option<String>> = BTreeMap::deserialize(deserializer)?;
    Ok(raw.into_iter().filter_map(|(k, v)| Some((k, v?))).collect())
}
