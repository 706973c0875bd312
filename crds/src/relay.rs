//! The contract between operator and relay: the files a relay reads and what it answers at `/status`.
//!
//! The operator mounts `relay.json` ([`RelayConfig`]) and one `datasets/<dataset>.json` ([`DatasetConfig`]) per dataset
//! into [`CONFIG_DIR`], and credentials and certificate authorities as files the configuration names: those of StarRocks in
//! [`CREDENTIALS_DIR`] and [`STARROCKS_TLS_DIR`], those of Kafka in [`KAFKA_CREDENTIALS_DIR`] and [`KAFKA_TLS_DIR`]. A relay
//! notices when one of them changes. It has no access to the Kubernetes API. Both sides refuse a file whose `formatVersion`
//! they do not know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::column::ColumnType;

/// The format both sides speak; raised when an older relay could misread a newer file.
pub const FORMAT_VERSION: u32 = 1;
/// Where the operator mounts the configuration (override: `--config-dir`, `TRIBUTARY_RELAY_CONFIG_DIR`).
pub const CONFIG_DIR: &str = "/etc/tributary/relay";
/// File name of [`RelayConfig`] under [`CONFIG_DIR`].
pub const RELAY_FILE: &str = "relay.json";
/// Folder of the [`DatasetConfig`] files under [`CONFIG_DIR`].
pub const DATASETS_DIR: &str = "datasets";
/// Where the operator mounts the StarRocks load credentials: files `username` and `password`.
pub const CREDENTIALS_DIR: &str = "/etc/tributary/starrocks";
/// Where the operator mounts the relay's Kafka credentials: files `username` and `password`.
pub const KAFKA_CREDENTIALS_DIR: &str = "/etc/tributary/kafka";
/// Where the operator mounts Kafka's certificate authority.
pub const KAFKA_TLS_DIR: &str = "/etc/tributary/kafka-tls";
/// Where the operator mounts StarRocks' certificate authority.
pub const STARROCKS_TLS_DIR: &str = "/etc/tributary/starrocks-tls";
/// File name of a certificate authority (PEM, one or more certificates) in these folders.
pub const CA_FILE: &str = "ca.crt";
/// Environment variable with the address of the relay's HTTP server (`/livez /readyz /status /metrics`).
pub const LISTEN_ENV: &str = "TRIBUTARY_RELAY_LISTEN";
/// Default of [`LISTEN_ENV`].
pub const DEFAULT_LISTEN: &str = "0.0.0.0:8080";

/// Column with `generation(12) | offset(41) | mapping(10)`: Kafka's own order, compared within one key.
pub const VER_COLUMN: &str = "_ver";
/// Column with unmapped and unconvertible paths, bounded by [`EXTRA_MAX_BYTES`].
pub const EXTRA_COLUMN: &str = "_extra";
/// Column of tables with `deletes: Soft`: `true` marks the row of a document that is gone.
pub const DELETED_COLUMN: &str = "_deleted";
/// Usual name of the column that holds a document's identity, where a table does not name one of its own.
pub const DOC_COLUMN: &str = "_doc";
/// StarRocks refuses primary keys whose encoded form is longer.
pub const KEY_MAX_BYTES: usize = 128;
/// Bound of one row's `_extra` text in bytes; beyond it the row keeps a marker and is counted as truncated.
pub const EXTRA_MAX_BYTES: usize = 64 * 1024;

/// `_ver` of an event. Panics never: fields wider than their bits saturate, and the operator refuses generations
/// near the bound long before.
pub fn pack_ver(topic_generation: u16, offset: i64, mapping_generation: u16) -> i64 {
    let generation = i64::from(topic_generation.min(0xFFF));
    let offset = offset.clamp(0, (1 << 41) - 1);
    let mapping = i64::from(mapping_generation.min(0x3FF));
    (generation << 51) | (offset << 10) | mapping
}

/// Whole-process part of a relay's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RelayConfig {
    pub format_version: u32,
    pub pipeline: PipelineIdentity,
    pub kafka: KafkaConfig,
    pub starrocks: StarRocksConfig,
    pub batch: BatchConfig,
}

/// Who this relay works for; part of labels, metrics and messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineIdentity {
    /// `<ownerID>/<namespace>/<name>`, the owner mark without its prefix.
    pub owner: String,
    pub namespace: String,
    pub name: String,
    pub tenant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` each.
    pub bootstrap_servers: Vec<String>,
    pub group_id: String,
    /// Static membership: one fixed id per ordinal.
    pub group_instance_id: String,
    /// Debezium's heartbeat topic; its newest record proves that an idle source is caught up.
    pub heartbeat_topic: String,
    pub heartbeat_interval_ms: u64,
    /// Where documents go that no table can take; made by the operator. Without one such a document stops its lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// How brokers are spoken to; absent: in plain text, by nobody in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,
}

/// What guards the brokers. Both members: `SASL_SSL`; one: `SSL` or `SASL_PLAINTEXT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSecurity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<KafkaSasl>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaTls {
    /// PEM file with the authorities that may have signed the brokers' certificates; absent: the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSasl {
    pub mechanism: SaslMechanism,
    /// Folder with the files `username` and `password`, usually [`KAFKA_CREDENTIALS_DIR`].
    pub credentials_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(schemars::JsonSchema))]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As Kafka's clients name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StarRocksConfig {
    /// FE HTTP endpoints, `http://host:port` or `https://host:port`, tried in order.
    pub http_endpoints: Vec<String>,
    /// FE SQL endpoints, `host:port`, tried in order. Empty: nothing that needs SQL is done, the schema is not compared.
    #[serde(default)]
    pub mysql_endpoints: Vec<String>,
    /// Whom `https` endpoints are believed by, and whether SQL is spoken by TLS; absent: the machine's authorities, and no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<StarRocksTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StarRocksTls {
    /// PEM file with the authorities that may have signed the frontends' and backends' certificates; absent: the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether [`StarRocksConfig::mysql_endpoints`] are spoken to by TLS; a server that offers none is then refused.
    #[serde(default)]
    pub mysql: bool,
}

/// When a batch closes: on whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchConfig {
    pub linger_ms: u64,
    pub max_bytes: u64,
    pub max_rows: u64,
}

/// One dataset: one topic and the tables its documents go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetConfig {
    pub format_version: u32,
    /// [`DatasetConfig::content_digest`] of everything but this field.
    pub digest: String,
    pub name: String,
    pub tenant: String,
    pub topic: TopicConfig,
    /// Grows with every change of the mapping (10 bits).
    pub mapping_generation: u16,
    pub tables: Vec<TableConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicConfig {
    pub name: String,
    /// Fixed at creation; another count stops the relay (`PartitionsChanged`).
    pub partitions: i32,
    /// Grows when the topic is re-created (12 bits).
    pub generation: u16,
}

/// One gold table: its identity and how each column is obtained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableConfig {
    /// Name of the entry in `datasets[].hot.tables[]`.
    pub entry: String,
    pub database: String,
    pub table: String,
    /// Key columns, in the table's order; each is also in `columns`.
    pub primary_key: Vec<String>,
    /// Every column but [`VER_COLUMN`] and [`EXTRA_COLUMN`], which every table has, and [`DELETED_COLUMN`], which
    /// [`Deletes::Soft`] brings.
    pub columns: Vec<ColumnConfig>,
    /// One row per element of an array instead of one per document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explode: Option<Explode>,
    /// CEL over `doc`, `key`, `meta`: a document for which it is not `true` has no row here.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletes: Deletes,
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_reject: OnReject,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `rows.explode` with `as: Rows`. (`as: View` is an array column and a view over it: nothing a relay knows of.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Explode {
    /// Path of the array. Absent, null and empty mean no rows; any other value does not fit and parks the document.
    pub path: String,
}

/// How a deleted document leaves a table; fixed at its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(schemars::JsonSchema))]
pub enum Deletes {
    /// The row goes (`__op`).
    #[default]
    Hard,
    /// The row stays with [`DELETED_COLUMN`] true; every load carries `merge_condition: _ver`.
    Soft,
}

/// What a parked document leaves visible in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(schemars::JsonSchema))]
pub enum OnReject {
    /// Its last accepted state, which is counted as stale.
    #[default]
    KeepOld,
    /// Nothing.
    Remove,
}

impl TableConfig {
    /// The key column that is the document's identity (`_doc` of the correctness rules): `$key`, or a typed `_id`.
    /// Tables that are their own index are `DISTRIBUTED BY HASH` of it.
    pub fn doc_column(&self) -> Option<&ColumnConfig> {
        self.key_columns().find(|column| column.identifies_document())
    }

    /// Whether what an event must take away can only be found by reading the table (correctness rule 4): several rows per
    /// document, or key columns that a delete does not carry.
    pub fn is_own_index(&self) -> bool {
        self.explode.is_some() || self.key_columns().any(|column| !column.known_from_key())
    }

    fn key_columns(&self) -> impl Iterator<Item = &ColumnConfig> {
        self.primary_key
            .iter()
            .filter_map(|name| self.columns.iter().find(|column| column.name == *name))
    }
}

impl ColumnConfig {
    pub fn identifies_document(&self) -> bool {
        match &self.source {
            ColumnSource::Meta(MetaSource::Key) => true,
            ColumnSource::Path(path) => path == "_id" && self.bson.is_some(),
            _ => false,
        }
    }

    /// Whether the Kafka key and the record's place alone give the value, the same for every event of a document.
    pub fn known_from_key(&self) -> bool {
        match &self.source {
            ColumnSource::Value(_) => true,
            ColumnSource::Meta(meta) => matches!(
                meta,
                MetaSource::Tenant
                    | MetaSource::Dataset
                    | MetaSource::Key
                    | MetaSource::KeyTime
                    | MetaSource::Topic
                    | MetaSource::Partition
            ),
            ColumnSource::Path(_) => self.identifies_document(),
            ColumnSource::Element(_) | ColumnSource::Expr(_) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColumnConfig {
    pub name: String,
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    pub source: ColumnSource,
    /// Declared BSON type of `_id`; required for key columns from `_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bson: Option<BsonType>,
    /// For an absent or null value; text parsed by the column's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    pub on_error: OnError,
    pub nullable: bool,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ColumnSource {
    /// Path into the document: `a.b.c`, `a[0].b`, `a["odd.name"]`; `_id` is the document's key.
    Path(String),
    /// Something known without the document.
    Meta(MetaSource),
    /// A constant, as text parsed by the column's type.
    Value(String),
    /// Path inside the exploded element (`$element.sku` is `sku`); empty: the element itself. With `explode` only.
    Element(String),
    /// CEL over `doc`, `key`, `meta` and, with `explode`, `element`.
    Expr(String),
}

/// The `$…` sources of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MetaSource {
    #[serde(rename = "$tenant")]
    Tenant,
    #[serde(rename = "$dataset")]
    Dataset,
    /// `c`, `u`, `d` or `r`.
    #[serde(rename = "$op")]
    Op,
    /// Canonical text of the Kafka key: the identity of the document.
    #[serde(rename = "$key")]
    Key,
    /// Creation second inside an ObjectId key: known for deletes too.
    #[serde(rename = "$key.time")]
    KeyTime,
    #[serde(rename = "$source.ts")]
    SourceTs,
    #[serde(rename = "$topic")]
    Topic,
    #[serde(rename = "$partition")]
    Partition,
    #[serde(rename = "$offset")]
    Offset,
    /// Place of the element in its array, from 0. With `explode` only.
    #[serde(rename = "$ordinal")]
    Ordinal,
}

/// BSON type a typed `_id` column declares. Documents whose `_id` has another type are not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(schemars::JsonSchema))]
pub enum BsonType {
    ObjectId,
    String,
    Int,
    Uuid,
    Date,
}

/// What happens to a value that does not fit its column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(schemars::JsonSchema))]
pub enum OnError {
    /// Keep it in `_extra`, store NULL.
    #[default]
    Overflow,
    SetNull,
    /// Park the document in [`KafkaConfig::dead_letter_topic`]; without one, stop the lane in front of it.
    Reject,
}

impl DatasetConfig {
    /// `sha256:<hex>` over the canonical JSON of everything but `digest` itself.
    pub fn content_digest(&self) -> String {
        let mut bare = self.clone();
        bare.digest = String::new();
        digest_of(&bare)
    }

    /// The same file with its digest filled in.
    pub fn sealed(mut self) -> Self {
        self.digest = self.content_digest();
        self
    }
}

/// `sha256:<hex>` of a value's JSON. Struct fields serialise in declaration order and maps are `BTreeMap`: canonical.
pub fn digest_of<T: Serialize>(value: &T) -> String {
    // Serialising these plain types cannot fail: no maps with non-string keys, no fallible Serialize.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let hash = Sha256::digest(&bytes);
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// What a relay answers at `GET /status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    pub format_version: u32,
    pub phase: RelayPhase,
    /// [`digest_of`] the [`RelayConfig`] in use.
    #[serde(default)]
    pub relay_digest: String,
    /// Digest per dataset of the configuration in use.
    pub config_digests: BTreeMap<String, String>,
    /// Why the mounted files are not the ones in use; absent while they are, or while they are being taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_refused: Option<String>,
    pub datasets: Vec<DatasetStatus>,
    /// What keeps the relay from Kafka; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaTrouble>,
}

/// No broker can be used. Reading goes on by itself once one can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTrouble {
    pub cause: KafkaCause,
    pub message: String,
    /// Unix milliseconds.
    pub since_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KafkaCause {
    Unreachable,
    AuthenticationFailed,
    /// The brokers' certificate is not to be trusted, or TLS is spoken by one side only.
    TlsFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelayPhase {
    /// Not all partitions assigned yet.
    Starting,
    Running,
    /// SIGTERM seen: finishing what is in flight.
    Draining,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetStatus {
    pub name: String,
    pub topic: String,
    pub mapping_generation: u16,
    /// Milliseconds behind the source; the largest of the tables'. `None`: not measured yet.
    pub lag_ms: Option<u64>,
    pub partitions: Vec<PartitionStatus>,
    pub tables: Vec<TableStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    pub partition: i32,
    /// Next offset to read.
    pub position: i64,
    /// Everything below it is in every table of the dataset.
    pub committed: Option<i64>,
    /// Newest known end of the partition (last stable offset).
    pub end: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    pub entry: String,
    pub database: String,
    pub table: String,
    /// Milliseconds: 0 at the end of all partitions with a heartbeat younger than three intervals,
    /// else now − `source.ts` of the oldest unloaded event. `None`: not measured yet.
    pub lag_ms: Option<u64>,
    pub lane: LaneState,
    /// How long a batch waits for company now; longer than configured under version pressure.
    #[serde(default)]
    pub linger_ms: u64,
    pub rows_loaded: u64,
    pub loads: u64,
    /// Values kept in `_extra` because they did not fit their column.
    pub overflowed: u64,
    /// Rows whose `_extra` was cut at [`EXTRA_MAX_BYTES`].
    pub overflow_truncated: u64,
    /// Documents in the dead-letter topic instead of the table, since this relay started.
    #[serde(default)]
    pub parked: u64,
}

/// What a table's lane is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum LaneState {
    /// Nothing to load, or filling the next batch.
    Idle,
    Loading {
        label: String,
    },
    /// The same bytes are being retried under the same label.
    Retrying {
        label: String,
        cause: RetryCause,
        message: String,
        attempts: u64,
        /// Unix milliseconds of the first failure.
        since_ms: u64,
    },
    /// No retry can help without a change by somebody.
    Blocked {
        cause: BlockedCause,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<RecordPosition>,
        since_ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPosition {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Why a load is being retried. The words of metrics, conditions and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RetryCause {
    Unreachable,
    Timeout,
    ServerError,
    NoBackendAlive,
    TooManyVersions,
    TooManyTransactions,
    LabelRunning,
    /// The newest load is committed but cannot be read yet.
    Publishing,
    /// Kafka does not take the commit that has to come before a load.
    CommitFailed,
    /// Kafka does not take a document into the dead-letter topic.
    ParkFailed,
    SchemaChanging,
    ShuttingDown,
}

/// Why a lane stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockedCause {
    AuthenticationFailed,
    /// A server's certificate is not to be trusted, or it does not speak TLS as it should.
    TlsFailed,
    UnknownTable,
    UnknownColumn,
    /// A document or a load that StarRocks or the mapping refuses.
    LoadsRejected,
    /// The position Kafka should hold is gone.
    PositionLost,
    PartitionsChanged,
    /// A relay with a newer mapping has written already, or one this image cannot read the notes of.
    ConfigurationOutdated,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, source: ColumnSource) -> ColumnConfig {
        ColumnConfig {
            name: name.into(),
            column_type: ColumnType::Varchar(24),
            source,
            bson: None,
            default: None,
            on_error: OnError::Reject,
            nullable: false,
        }
    }

    #[test]
    fn a_table_of_session_1_reads_as_before_and_keeps_its_digest() {
        let text = r#"{"entry":"t","database":"d","table":"t","primaryKey":["k"],"columns":[{"name":"k","type":"VARCHAR(24)","source":{"meta":"$key"},"onError":"Reject","nullable":false}]}"#;
        let table: TableConfig = serde_json::from_str(text).unwrap();
        assert_eq!(
            (table.deletes, table.on_reject),
            (Deletes::Hard, OnReject::KeepOld)
        );
        assert_eq!(serde_json::to_string(&table).unwrap(), text);
        assert!(!table.is_own_index());
        assert_eq!(table.doc_column().map(|c| c.name.as_str()), Some("k"));
    }

    #[test]
    fn a_table_is_its_own_index_when_its_key_needs_the_document() {
        let mut table = TableConfig {
            entry: "t".into(),
            database: "d".into(),
            table: "t".into(),
            primary_key: vec!["_doc".into(), "email".into()],
            columns: vec![
                key("email", ColumnSource::Path("email".into())),
                key(DOC_COLUMN, ColumnSource::Meta(MetaSource::Key)),
            ],
            explode: None,
            filter: None,
            deletes: Deletes::Hard,
            on_reject: OnReject::KeepOld,
        };
        assert!(table.is_own_index());
        assert_eq!(table.doc_column().map(|c| c.name.as_str()), Some(DOC_COLUMN));
        table.columns[0].source = ColumnSource::Value("x".into());
        assert!(!table.is_own_index());
        table.explode = Some(Explode { path: "items".into() });
        assert!(table.is_own_index());
    }

    #[test]
    fn ver_orders_by_generation_then_offset_then_mapping() {
        let base = pack_ver(1, 100, 1);
        assert!(pack_ver(1, 100, 2) > base);
        assert!(pack_ver(1, 101, 0) > pack_ver(1, 100, 1023));
        assert!(pack_ver(2, 0, 0) > pack_ver(1, (1 << 41) - 1, 1023));
        assert!(pack_ver(4095, i64::MAX, u16::MAX) > 0, "the sign bit stays clear");
    }
}
