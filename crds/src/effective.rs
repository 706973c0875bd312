//! What a pipeline means once its platform's defaults are merged under it. Everything downstream reads this, never the
//! specs: no `Option` is left where a value must exist.
//!
//! Built-in < `DataPlatform.spec.defaults` < `TenantPipeline.spec`; objects merge by field, scalars and atomic lists
//! replace. A class between the last two can join later without a change for readers.

use std::time::Duration;

use serde::Serialize;

use crate::duration;
use crate::mapping::FieldError;
use crate::names::{self, Owner};
use crate::pipeline::{
    Capture, ColumnOverride, Dataset, DesiredState, HotTable, MongoDbSource, RelaySettings, ResourceAmounts,
    SnapshotMode, TenantPipeline,
};
use crate::platform::{DataPlatform, Defaults};
use crate::quantity::Quantity;
use crate::reference::ObjectRef;
use crate::relay::digest_of;
use crate::table::StarRocksTableSpec;
use crate::template::DeletionPolicy;

/// Debezium writes a heartbeat this often; lag is judged by it.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The values nobody has to write.
pub mod builtin {
    use std::time::Duration;

    pub const PARTITIONS: i32 = 6;
    pub const REPLICATION_FACTOR: i32 = 3;
    pub const RETENTION: Duration = Duration::from_secs(168 * 3600);
    pub const FRESHNESS_WINDOW: Duration = Duration::from_secs(60);
    pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
    pub const LINGER: Duration = Duration::from_millis(200);
    pub const BATCH_BYTES: u64 = 4 << 20;
    pub const BATCH_ROWS: u64 = 50_000;
    pub const RELAY_REPLICAS: u32 = 1;
    pub const RELAY_CPU: &str = "250m";
    pub const RELAY_MEMORY: &str = "128Mi";
    pub const RELAY_MEMORY_LIMIT: &str = "256Mi";
    pub const HOT_DATABASE: &str = "tenant_{tenant}";
    pub const MAX_CONNECTORS: i32 = 100;
    pub const REPLICATION_NUM: i32 = 3;
}

/// A pipeline with every default in place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePipeline {
    #[serde(serialize_with = "as_text")]
    pub owner: Owner,
    pub platform: ObjectRef,
    pub tenant: String,
    pub source: EffectiveSource,
    pub topics: EffectiveTopics,
    pub freshness: EffectiveFreshness,
    pub relay: EffectiveRelay,
    pub deletion_policy: DeletionPolicy,
    pub desired_state: DesiredState,
    pub datasets: Vec<EffectiveDataset>,
}

/// The source's connector settings, credentials by reference only.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSource {
    /// Secret and key of the connection string, in the pipeline's namespace.
    pub secret_name: String,
    pub secret_key: String,
    /// Secret with user and password, when they are not inside the connection string.
    pub credentials_secret: Option<String>,
    pub database: String,
    pub topic_prefix: String,
    pub capture: Capture,
    pub snapshot_mode: SnapshotMode,
    pub poll_interval: Duration,
    pub heartbeat_interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveTopics {
    pub partitions: i32,
    pub replication_factor: i32,
    pub retention: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveFreshness {
    /// `None`: no objective was set by anybody (`Fresh=True/NoObjective`).
    pub hot: Option<Duration>,
    pub window: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveRelay {
    /// Relays that share the partitions; ordinals are `0..replicas`.
    pub replicas: u32,
    pub requests: EffectiveAmounts,
    /// `cpu: None`: no CPU limit, which throttles latency for nothing.
    pub limit_cpu: Option<Quantity>,
    pub limit_memory: Quantity,
    pub linger: Duration,
    pub max_bytes: u64,
    pub max_rows: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveAmounts {
    pub cpu: Quantity,
    pub memory: Quantity,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveDataset {
    pub name: String,
    pub collection: String,
    pub topic: String,
    pub tables: Vec<EffectiveTable>,
}

/// One entry of `datasets[].hot.tables[]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EffectiveTable {
    /// A child the pipeline owns.
    Own {
        entry: String,
        /// Name of the child object, in the pipeline's namespace.
        child: String,
        /// The child's whole spec.
        spec: Box<StarRocksTableSpec>,
    },
    /// Somebody's StarRocksTable.
    Referenced {
        entry: String,
        namespace: String,
        name: String,
        overrides: Vec<ColumnOverride>,
        /// Beside the table's own.
        filter: Option<String>,
    },
}

impl EffectiveTable {
    pub fn entry(&self) -> &str {
        match self {
            Self::Own { entry, .. } | Self::Referenced { entry, .. } => entry,
        }
    }
}

impl EffectivePipeline {
    /// `sha256:<hex>` over everything that was merged.
    pub fn digest(&self) -> String {
        digest_of(self)
    }

    pub fn heartbeat_topic(&self) -> String {
        names::heartbeat_topic(&self.source.topic_prefix)
    }

    pub fn dead_letter_topic(&self) -> String {
        names::dead_letter_topic(&self.source.topic_prefix)
    }

    /// Every table the pipeline owns: (child name, spec).
    pub fn own_tables(&self) -> impl Iterator<Item = (&str, &StarRocksTableSpec)> {
        self.datasets
            .iter()
            .flat_map(|d| &d.tables)
            .filter_map(|t| match t {
                EffectiveTable::Own { child, spec, .. } => Some((child.as_str(), spec.as_ref())),
                EffectiveTable::Referenced { .. } => None,
            })
    }
}

fn as_text<S: serde::Serializer>(owner: &Owner, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(owner)
}

/// Merges a platform's defaults under a pipeline. Errors are what CEL refuses too: they show when an object was stored
/// before a rule existed.
pub fn effective(
    platform: &DataPlatform,
    pipeline: &TenantPipeline,
) -> Result<EffectivePipeline, Vec<FieldError>> {
    let mut errors = Errors::default();
    let spec = &pipeline.spec;
    let namespace = pipeline.metadata.namespace.clone().unwrap_or_default();
    let name = pipeline.metadata.name.clone().unwrap_or_default();
    let owner = Owner::new(&platform.spec.owner_id, namespace, name);
    let defaults = platform.spec.defaults.clone().unwrap_or_default();

    let platform_ref = errors.required("platformRef", spec.platform_ref.as_ref());
    let mongodb = errors.required("source.mongodb", spec.source.mongodb.as_ref());
    let source = mongodb.and_then(|mongodb| source(&mut errors, mongodb, &spec.tenant));
    let merged = Merged {
        topics: topics(&mut errors, &defaults),
        freshness: freshness(&mut errors, pipeline, &defaults),
        relay: relay(&mut errors, pipeline, &defaults),
        deletion_policy: spec
            .deletion_policy
            .or(defaults.deletion_policy)
            .unwrap_or_default(),
    };
    let (Some(platform_ref), Some(source)) = (platform_ref, source) else {
        return Err(errors.0);
    };
    let room = Room {
        owner: &owner,
        platform: ObjectRef {
            name: platform_ref.name.clone(),
            namespace: Some(platform_ref.namespace_or(&owner.namespace).to_owned()),
        },
        database: names::hot_database(hot_database_pattern(platform), &spec.tenant),
        source: &source,
        deletion_policy: merged.deletion_policy,
    };
    let datasets = spec
        .datasets
        .iter()
        .map(|dataset| room.dataset(&mut errors, dataset))
        .collect();
    let platform = room.platform.clone();
    errors.done(EffectivePipeline {
        platform,
        tenant: spec.tenant.clone(),
        topics: merged.topics,
        freshness: merged.freshness,
        relay: merged.relay,
        deletion_policy: merged.deletion_policy,
        desired_state: spec.desired_state.unwrap_or_default(),
        datasets,
        source,
        owner,
    })
}

/// The platform's pattern for the database of a pipeline's own tables.
pub fn hot_database_pattern(platform: &DataPlatform) -> &str {
    platform
        .spec
        .tenancy
        .as_ref()
        .and_then(|t| t.hot_database.as_deref())
        .unwrap_or(builtin::HOT_DATABASE)
}

struct Merged {
    topics: EffectiveTopics,
    freshness: EffectiveFreshness,
    relay: EffectiveRelay,
    deletion_policy: DeletionPolicy,
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn required<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.0.push(FieldError::new(field, "is required"));
        }
        value
    }

    /// The first duration that is set, else the built-in one.
    fn duration(
        &mut self,
        candidates: [(&str, Option<&duration::Duration>); 2],
        builtin: Duration,
    ) -> Duration {
        self.objective(candidates).unwrap_or(builtin)
    }

    fn objective(&mut self, candidates: [(&str, Option<&duration::Duration>); 2]) -> Option<Duration> {
        let (field, value) = candidates
            .into_iter()
            .find_map(|(field, value)| value.map(|v| (field, v)))?;
        match value.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.0.push(FieldError::new(field, error));
                None
            }
        }
    }

    fn done<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

fn source(errors: &mut Errors, mongodb: &MongoDbSource, tenant: &str) -> Option<EffectiveSource> {
    let secret = errors.required(
        "source.mongodb.connectionSecretRef",
        mongodb.connection_secret_ref.as_ref(),
    );
    let database = errors.required("source.mongodb.database", mongodb.database.clone());
    let poll = ("source.mongodb.pollInterval", mongodb.poll_interval.as_ref());
    let poll_interval = errors.duration([poll, ("", None)], builtin::POLL_INTERVAL);
    let (secret, database) = (secret?, database?);
    Some(EffectiveSource {
        secret_name: secret.name.clone(),
        secret_key: secret.key.clone(),
        credentials_secret: mongodb.credentials_secret_ref.as_ref().map(|s| s.name.clone()),
        database,
        topic_prefix: mongodb.topic_prefix.clone().unwrap_or_else(|| tenant.to_owned()),
        capture: mongodb.capture.unwrap_or_default(),
        snapshot_mode: mongodb.snapshot.as_ref().and_then(|s| s.mode).unwrap_or_default(),
        poll_interval,
        heartbeat_interval: HEARTBEAT_INTERVAL,
    })
}

fn topics(errors: &mut Errors, defaults: &Defaults) -> EffectiveTopics {
    let topics = defaults.topics.clone().unwrap_or_default();
    let retention = ("defaults.topics.retention", topics.retention.as_ref());
    EffectiveTopics {
        partitions: topics.partitions.unwrap_or(builtin::PARTITIONS),
        replication_factor: topics.replication_factor.unwrap_or(builtin::REPLICATION_FACTOR),
        retention: errors.duration([retention, ("", None)], builtin::RETENTION),
    }
}

fn freshness(errors: &mut Errors, pipeline: &TenantPipeline, defaults: &Defaults) -> EffectiveFreshness {
    let own = pipeline.spec.freshness.clone().unwrap_or_default();
    let base = defaults.freshness.clone().unwrap_or_default();
    EffectiveFreshness {
        hot: errors.objective([
            ("freshness.hot", own.hot.as_ref()),
            ("defaults.freshness.hot", base.hot.as_ref()),
        ]),
        window: errors.duration(
            [
                ("freshness.window", own.window.as_ref()),
                ("defaults.freshness.window", base.window.as_ref()),
            ],
            builtin::FRESHNESS_WINDOW,
        ),
    }
}

fn relay(errors: &mut Errors, pipeline: &TenantPipeline, defaults: &Defaults) -> EffectiveRelay {
    let own = Layer::new(pipeline.spec.relay.as_ref());
    let base = Layer::new(defaults.relay.as_ref());
    let or = |own: &Option<Quantity>, base: &Option<Quantity>, builtin: &str| {
        own.clone()
            .or_else(|| base.clone())
            .unwrap_or_else(|| Quantity::new(builtin))
    };
    let limit_memory = or(
        &own.limits.memory,
        &base.limits.memory,
        builtin::RELAY_MEMORY_LIMIT,
    );
    EffectiveRelay {
        replicas: own
            .replicas
            .or(base.replicas)
            .and_then(|replicas| u32::try_from(replicas).ok())
            .unwrap_or(builtin::RELAY_REPLICAS),
        requests: EffectiveAmounts {
            cpu: or(&own.requests.cpu, &base.requests.cpu, builtin::RELAY_CPU),
            memory: or(&own.requests.memory, &base.requests.memory, builtin::RELAY_MEMORY),
        },
        limit_cpu: own.limits.cpu.clone().or_else(|| base.limits.cpu.clone()),
        limit_memory,
        linger: errors.duration(
            [
                ("relay.batch.linger", own.batch.linger.as_ref()),
                ("defaults.relay.batch.linger", base.batch.linger.as_ref()),
            ],
            builtin::LINGER,
        ),
        max_bytes: batch_bytes(errors, &own, &base),
        max_rows: own
            .batch
            .max_rows
            .or(base.batch.max_rows)
            .and_then(|rows| u64::try_from(rows).ok())
            .unwrap_or(builtin::BATCH_ROWS),
    }
}

fn batch_bytes(errors: &mut Errors, own: &Layer, base: &Layer) -> u64 {
    let candidates = [
        ("relay.batch.maxBytes", own.batch.max_bytes.as_ref()),
        ("defaults.relay.batch.maxBytes", base.batch.max_bytes.as_ref()),
    ];
    let Some((field, value)) = candidates
        .into_iter()
        .find_map(|(field, value)| value.map(|v| (field, v)))
    else {
        return builtin::BATCH_BYTES;
    };
    value.bytes().unwrap_or_else(|error| {
        errors.0.push(FieldError::new(field, error));
        builtin::BATCH_BYTES
    })
}

/// One level's relay settings with its absent objects as empty ones.
struct Layer {
    replicas: Option<i32>,
    requests: ResourceAmounts,
    limits: ResourceAmounts,
    batch: crate::pipeline::Batch,
}

impl Layer {
    fn new(settings: Option<&RelaySettings>) -> Self {
        let settings = settings.cloned().unwrap_or_default();
        let resources = settings.resources.unwrap_or_default();
        Self {
            replicas: settings.replicas,
            requests: resources.requests.unwrap_or_default(),
            limits: resources.limits.unwrap_or_default(),
            batch: settings.batch.unwrap_or_default(),
        }
    }
}

/// What every dataset of a pipeline has in common.
struct Room<'a> {
    owner: &'a Owner,
    platform: ObjectRef,
    database: String,
    source: &'a EffectiveSource,
    deletion_policy: DeletionPolicy,
}

impl Room<'_> {
    fn dataset(&self, errors: &mut Errors, dataset: &Dataset) -> EffectiveDataset {
        let collection = dataset.collection.as_ref().unwrap_or(&dataset.name);
        let tables = dataset.hot.as_ref().map_or(&[][..], |hot| &hot.tables);
        EffectiveDataset {
            name: dataset.name.clone(),
            collection: collection.clone(),
            topic: names::topic(&self.source.topic_prefix, &self.source.database, collection),
            tables: tables
                .iter()
                .filter_map(|table| self.table(errors, dataset, table))
                .collect(),
        }
    }

    fn table(&self, errors: &mut Errors, dataset: &Dataset, table: &HotTable) -> Option<EffectiveTable> {
        let field = || format!("datasets[{}].hot.tables[{}]", dataset.name, table.name);
        match (&table.template, &table.table_ref) {
            (Some(template), None) => {
                let mut template = template.table.clone();
                template.table.get_or_insert_with(|| names::sql_name(&table.name));
                template.deletion_policy.get_or_insert(self.deletion_policy);
                Some(EffectiveTable::Own {
                    entry: table.name.clone(),
                    child: names::child_table(&self.owner.name, &dataset.name, &table.name),
                    spec: Box::new(StarRocksTableSpec {
                        platform_ref: Some(self.platform.clone()),
                        allowed_namespaces: None,
                        database: Some(self.database.clone()),
                        template,
                    }),
                })
            }
            (None, Some(reference)) => Some(EffectiveTable::Referenced {
                entry: table.name.clone(),
                namespace: reference.namespace_or(&self.owner.namespace).to_owned(),
                name: reference.name.clone(),
                overrides: table.columns.clone(),
                filter: table.filter.clone(),
            }),
            _ => {
                errors
                    .0
                    .push(FieldError::new(field(), "exactly one of template, tableRef"));
                None
            }
        }
    }
}

#[cfg(test)]
#[path = "effective_tests.rs"]
mod tests;
