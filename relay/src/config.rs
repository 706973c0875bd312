//! The files the operator mounts (contract: `tributary_crds::relay`), read, checked and turned into a [`Board`].

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tributary_crds::relay::{
    BlockedCause, DATASETS_DIR, DELETED_COLUMN, DatasetConfig, Deletes, EXTRA_COLUMN, FORMAT_VERSION,
    RELAY_FILE, RelayConfig, TableConfig, VER_COLUMN,
};

use crate::access::{Access, AccessError};
use crate::board::{Board, Dataset, Route, SlotState};
use crate::budget::Budget;
use crate::kafka;
use crate::lane::batch::MAX_BODY;
use crate::lane::desk::CommitDesk;
use crate::lane::intent::{MAX_TABLES, TableId};
use crate::lane::label::Labels;
use crate::lane::park::DeadLetters;
use crate::lane::ranges::Slot;
use crate::lane::{Lane, LaneSpec, SlotName};
use crate::shape::keytext::{IndexPlan, Removal};
use crate::shape::{Mapping, MappingError};
use crate::telemetry::metrics::Metrics;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path}: formatVersion {found}, this relay speaks {FORMAT_VERSION}: upgrade the relay's image")]
    Version { path: PathBuf, found: u32 },
    #[error("{path}: digest {found} does not match its content ({computed})")]
    Digest {
        path: PathBuf,
        found: String,
        computed: String,
    },
    #[error("no dataset files in {0}")]
    NoDatasets(PathBuf),
    #[error("topic {topic} is named by datasets {first} and {second}: a topic belongs to one dataset")]
    TopicTwice {
        topic: String,
        first: String,
        second: String,
    },
    #[error("batch.maxBytes {0} is not between 1 and {MAX_BODY}")]
    BatchBytes(u64),
    #[error("batch.maxRows must be at least 1")]
    BatchRows,
    #[error(
        "dataset {dataset} feeds {tables} tables; a committed offset has room for the progress of {MAX_TABLES}"
    )]
    TooManyTables { dataset: String, tables: usize },
    #[error("the short names of two tables of dataset {0} are the same by accident: rename one")]
    TableIds(String),
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Everything the files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub relay: RelayConfig,
    pub datasets: Vec<DatasetConfig>,
    pub access: Access,
}

impl Config {
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let relay_path = dir.join(RELAY_FILE);
        let relay: RelayConfig = read(&relay_path)?;
        let datasets_dir = dir.join(DATASETS_DIR);
        let mut paths: Vec<PathBuf> = fs::read_dir(&datasets_dir)
            .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
            .map_err(|source| ConfigError::Read {
                path: datasets_dir.clone(),
                source,
            })?;
        // A mounted ConfigMap also holds links that begin with two dots.
        paths.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
        paths.sort();
        if paths.is_empty() {
            return Err(ConfigError::NoDatasets(datasets_dir));
        }
        let mut datasets = Vec::new();
        for path in &paths {
            let dataset: DatasetConfig = read(path)?;
            let computed = dataset.content_digest();
            if computed != dataset.digest {
                let found = dataset.digest;
                return Err(ConfigError::Digest {
                    path: path.clone(),
                    found,
                    computed,
                });
            }
            datasets.push(dataset);
        }
        let access = Access::read(&relay)?;
        let config = Self {
            relay,
            datasets,
            access,
        };
        config.check()?;
        Ok(config)
    }

    pub fn check(&self) -> Result<(), ConfigError> {
        let batch = &self.relay.batch;
        if !(1..=MAX_BODY as u64).contains(&batch.max_bytes) {
            return Err(ConfigError::BatchBytes(batch.max_bytes));
        }
        if batch.max_rows == 0 {
            return Err(ConfigError::BatchRows);
        }
        let mut owner: HashMap<&str, &str> = HashMap::new();
        for dataset in &self.datasets {
            if let Some(first) = owner.insert(&dataset.topic.name, &dataset.name) {
                return Err(ConfigError::TopicTwice {
                    topic: dataset.topic.name.clone(),
                    first: first.to_owned(),
                    second: dataset.name.clone(),
                });
            }
            check_tables(dataset)?;
        }
        Ok(())
    }

    /// Lays out lanes, slots and routes. A mapping that cannot be compiled blocks its own lane, not its siblings.
    pub fn board(&self, metrics: Metrics) -> Board {
        let mut names = Vec::new();
        let mut slots = Vec::new();
        let mut bases = Vec::new();
        for (index, dataset) in self.datasets.iter().enumerate() {
            bases.push(names.len());
            for partition in 0..dataset.topic.partitions.max(0) {
                names.push(SlotName {
                    topic: dataset.topic.name.clone(),
                    generation: dataset.topic.generation,
                    partition,
                });
                slots.push(SlotState::new(index, partition, dataset.mapping_generation));
            }
        }
        let attention = Arc::new(AtomicBool::new(false));
        let buffered = Arc::new(AtomicU64::new(0));
        let desk = Arc::new(CommitDesk::default());
        let client = kafka::client(&self.relay.kafka, &self.access);
        let dead_letters = self.relay.kafka.dead_letter_topic.clone();
        let dead_letters = dead_letters.map(|topic| Arc::new(DeadLetters::new(topic, client.clone())));
        let mut planned = self.plan(&bases);
        let indexed = planned.iter().filter(|plan| !plan.index.is_empty()).count();
        let index_bytes = Budget::of_process().index as usize / indexed.max(1);
        let names = Arc::new(names);
        let lanes: Vec<Arc<Lane>> = planned
            .iter_mut()
            .map(|plan| {
                let mappings: Vec<_> = plan
                    .datasets
                    .iter()
                    .map(|d| {
                        (
                            self.datasets[*d].mapping_generation,
                            self.datasets[*d].digest.as_str(),
                        )
                    })
                    .collect();
                let spec = LaneSpec {
                    id: TableId::new(&plan.database, &plan.table),
                    labels: Labels::new(&self.relay.pipeline, &plan.database, &plan.table, &mappings),
                    columns: union(&plan.columns),
                    mapped: std::mem::take(&mut plan.mapped).into_iter().collect(),
                    slots: std::mem::take(&mut plan.slots),
                    batch: self.relay.batch,
                    index: std::mem::take(&mut plan.index),
                    index_bytes,
                    removals: plan.removals(&slots),
                    soft: plan.deletes == Some(Deletes::Soft),
                    mapping_generation: mappings.iter().map(|(g, _)| *g).max().unwrap_or(0),
                    dead_letters: dead_letters.clone(),
                    names: Arc::clone(&names),
                    database: plan.database.clone(),
                    table: plan.table.clone(),
                };
                let lane_metrics = metrics.lane(&plan.database, &plan.table);
                Arc::new(Lane::new(
                    spec,
                    lane_metrics,
                    Arc::clone(&desk),
                    Arc::clone(&attention),
                    Arc::clone(&buffered),
                ))
            })
            .collect();
        for (plan, lane) in planned.iter().zip(&lanes) {
            for error in &plan.errors {
                lane.refuse(BlockedCause::LoadsRejected, format!("mapping: {error}"), None);
            }
        }
        let datasets = self.datasets.iter().enumerate().map(|(index, config)| {
            let routes = planned.iter_mut().enumerate().flat_map(|(lane, plan)| {
                let mine = std::mem::take(&mut plan.routes);
                let (taken, rest) = mine.into_iter().partition(|planned| planned.dataset == index);
                plan.routes = rest;
                let taken: Vec<PlannedRoute> = taken;
                taken.into_iter().map(move |planned| Route {
                    lane,
                    entry: planned.entry,
                    mapping: planned.mapping,
                    plan: planned.plan,
                })
            });
            Dataset {
                config: config.clone(),
                base: bases[index],
                routes: routes.collect(),
            }
        });
        Board::new(
            self.relay.clone(),
            client,
            datasets.collect(),
            lanes,
            slots,
            desk,
            attention,
            buffered,
            metrics,
        )
    }

    /// One plan per table, in the order of first mention.
    fn plan(&self, bases: &[usize]) -> Vec<LanePlan> {
        let mut plans: Vec<LanePlan> = Vec::new();
        for (index, dataset) in self.datasets.iter().enumerate() {
            for table in &dataset.tables {
                let at = plans
                    .iter()
                    .position(|p| p.database == table.database && p.table == table.table)
                    .unwrap_or_else(|| {
                        plans.push(LanePlan::new(&table.database, &table.table));
                        plans.len() - 1
                    });
                let plan = &mut plans[at];
                if !plan.datasets.contains(&index) {
                    plan.datasets.push(index);
                    plan.slots.extend(
                        (0..dataset.topic.partitions.max(0)).map(|p| Slot(bases[index] + p as usize)),
                    );
                }
                plan.mapped
                    .extend(table.columns.iter().map(|column| column.name.clone()));
                match Mapping::compile(dataset, table) {
                    Ok(mapping) => plan.add(index, table, mapping),
                    Err(error) => plan.errors.push(error),
                }
            }
        }
        plans
    }
}

/// What fits into the metadata of an offset is decided here, not when a load is on its way.
fn check_tables(dataset: &DatasetConfig) -> Result<(), ConfigError> {
    let names: BTreeSet<_> = dataset.tables.iter().map(|t| (&t.database, &t.table)).collect();
    if names.len() > MAX_TABLES {
        return Err(ConfigError::TooManyTables {
            dataset: dataset.name.clone(),
            tables: names.len(),
        });
    }
    let ids: BTreeSet<_> = names.iter().map(|(d, t)| TableId::new(d, t)).collect();
    if ids.len() < names.len() {
        return Err(ConfigError::TableIds(dataset.name.clone()));
    }
    Ok(())
}

struct LanePlan {
    database: String,
    table: String,
    datasets: Vec<usize>,
    slots: Vec<Slot>,
    columns: Vec<String>,
    /// Columns rows have values for.
    mapped: BTreeSet<String>,
    index: Vec<IndexPlan>,
    deletes: Option<Deletes>,
    routes: Vec<PlannedRoute>,
    errors: Vec<MappingError>,
}

struct PlannedRoute {
    dataset: usize,
    entry: String,
    mapping: Mapping,
    plan: Option<usize>,
}

impl LanePlan {
    fn new(database: &str, table: &str) -> Self {
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
            datasets: Vec::new(),
            slots: Vec::new(),
            columns: Vec::new(),
            mapped: [VER_COLUMN, EXTRA_COLUMN].map(str::to_owned).into(),
            index: Vec::new(),
            deletes: None,
            routes: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn add(&mut self, dataset: usize, table: &TableConfig, mapping: Mapping) {
        let deletes = mapping.deletes();
        if *self.deletes.get_or_insert(deletes) != deletes {
            let table = table.table.clone();
            self.errors.push(MappingError::DeletesDiffer { table });
            return;
        }
        if deletes == Deletes::Soft {
            self.mapped.insert(DELETED_COLUMN.to_owned());
        }
        self.columns.push(mapping.columns_header().to_owned());
        let plan = mapping.index().map(|index| {
            self.index.push(index.clone());
            self.index.len() - 1
        });
        self.routes.push(PlannedRoute {
            dataset,
            entry: table.entry.clone(),
            mapping,
            plan,
        });
    }

    /// Per slot of the relay: how its rows are taken away.
    fn removals(&self, slots: &[SlotState]) -> Vec<Option<Removal>> {
        let of = |dataset: usize| {
            let route = self.routes.iter().find(|route| route.dataset == dataset)?;
            route.mapping.removal().cloned()
        };
        slots.iter().map(|slot| of(slot.dataset)).collect()
    }
}

/// Every column some dataset maps: one load may hold rows of several datasets.
fn union(headers: &[String]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in headers.iter().flat_map(|header| header.split(',')) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let bytes = fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    // The version first: a newer file may not parse at all, and then the version is the answer.
    let parse = |source| ConfigError::Parse {
        path: path.to_owned(),
        source,
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(parse)?;
    let found = value["formatVersion"].as_u64().unwrap_or(0) as u32;
    if found != FORMAT_VERSION {
        return Err(ConfigError::Version {
            path: path.to_owned(),
            found,
        });
    }
    serde_json::from_value(value).map_err(parse)
}
