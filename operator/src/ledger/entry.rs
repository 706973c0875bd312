//! What the ledger says of one pipeline, and how its generations grow.

use std::collections::{BTreeMap, BTreeSet};

use tributary_crds::relay::{DatasetConfig, digest_of};

use crate::guard::Guard;

use super::record::{Claim, DatasetRecord, PipelineRecord, PositionRecord};

/// `_ver` has twelve bits for the generation of a topic.
pub const TOPIC_GENERATION_MAX: u16 = 0xFFF;
/// `_ver` has ten bits for it.
pub const MAPPING_GENERATION_MAX: u16 = 0x3FF;
pub const FIRST_GENERATION: u16 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `None`: the ledger has never heard of this pipeline.
    pub record: Option<PipelineRecord>,
    pub datasets: BTreeMap<String, DatasetRecord>,
    pub claims: BTreeSet<Claim>,
    /// By topic and partition; only while the pipeline is deleted and kept.
    pub positions: BTreeMap<(String, i32), PositionRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerationsUsedUp {
    #[error("dataset {0} has used up its 1023 mapping generations: its tables need a rebuild")]
    Mapping(String),
    #[error("dataset {0} has used up its 4095 topic generations: its tables need a rebuild")]
    Topic(String),
}

/// A topic as Kafka has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTopic {
    pub id: Option<String>,
    pub partitions: i32,
}

/// What is left of a dataset's generations outside of a ledger that does not know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The relay's own file: topic generation and mapping generation, and whether it is about this topic.
    pub running: Option<(u16, u16)>,
    /// The highest topic generation in any row of the dataset's tables.
    pub in_tables: Option<u16>,
}

/// Whether a topic is still the one that generations count on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Same,
    /// Nothing was recorded of it yet.
    New,
    Gone,
    /// Another topic of the same name.
    Recreated,
    PartitionsChanged {
        recorded: i32,
        live: i32,
    },
}

impl Entry {
    /// A deleted pipeline's entry that the same identity takes up again.
    pub fn is_retained(&self) -> bool {
        self.record.as_ref().is_some_and(|r| r.retained)
    }

    pub fn created_topics(&self) -> BTreeSet<String> {
        self.record
            .as_ref()
            .map(|r| r.created_topics.clone())
            .unwrap_or_default()
    }

    /// Rule 2: offsets of another topic, or of another number of partitions, must not be compared with those that rows
    /// carry already.
    pub fn identity(&self, dataset: &str, topic: &str, live: Option<&LiveTopic>) -> Identity {
        let Some(record) = self.datasets.get(dataset).filter(|r| r.topic == topic) else {
            return Identity::New;
        };
        if !Guard::TopicIdentity.holds() {
            return Identity::Same;
        }
        let Some(live) = live else {
            // Without an id it was only about to be created.
            return match record.topic_id {
                Some(_) => Identity::Gone,
                None => Identity::New,
            };
        };
        match (&record.topic_id, &live.id) {
            (Some(recorded), Some(now)) if recorded != now => return Identity::Recreated,
            (None, Some(_)) => return Identity::New,
            _ => {}
        }
        if record.partitions != live.partitions {
            return Identity::PartitionsChanged {
                recorded: record.partitions,
                live: live.partitions,
            };
        }
        Identity::Same
    }

    /// A deleted pipeline comes back. Nothing runs, so this is the drained cut at which a new generation may start: a topic that
    /// is another one by now gets the next generation, and positions in the old one mean nothing any more.
    pub fn readopt(&mut self, live: &BTreeMap<String, LiveTopic>) -> Result<(), GenerationsUsedUp> {
        let datasets: Vec<(String, String)> = self
            .datasets
            .iter()
            .map(|(name, record)| (name.clone(), record.topic.clone()))
            .collect();
        for (dataset, topic) in datasets {
            let now = live.get(&topic);
            match self.identity(&dataset, &topic, now) {
                Identity::Same | Identity::New => {}
                Identity::Gone | Identity::Recreated | Identity::PartitionsChanged { .. } => {
                    if let Some(record) = self.datasets.get_mut(&dataset) {
                        record.generation = next_topic(&dataset, record.generation)?;
                        record.mapping = 0;
                        record.digest = String::new();
                        record.topic_id = now.and_then(|t| t.id.clone());
                        record.partitions = now.map_or(record.partitions, |t| t.partitions);
                    }
                }
            }
        }
        let ids: BTreeMap<&String, &Option<String>> = live.iter().map(|(name, t)| (name, &t.id)).collect();
        self.positions
            .retain(|(topic, _), position| ids.get(topic).is_some_and(|id| **id == position.topic_id));
        if let Some(record) = &mut self.record {
            record.retained = false;
            record.left_behind.clear();
        }
        Ok(())
    }

    /// The dataset's file under the generations its topic and its content have: the recorded ones while both are the same, the
    /// next ones when they changed. Never backwards, also not when old content comes back.
    pub fn assign(
        &mut self,
        mut file: DatasetConfig,
        live: &LiveTopic,
        traces: Traces,
    ) -> Result<DatasetConfig, GenerationsUsedUp> {
        file.mapping_generation = 0;
        let digest = digest_of(&file.tables);
        let name = file.name.clone();
        let (generation, mapping) = match self.datasets.get(&name) {
            Some(record) if record.topic == file.topic.name => {
                let mapping = match record.digest == digest {
                    true => record.mapping,
                    false => next_mapping(&name, record.mapping)?,
                };
                (record.generation, mapping)
            }
            // Another topic under the same name of dataset: its offsets say nothing about the old one's.
            Some(record) => (next_topic(&name, record.generation)?, FIRST_GENERATION),
            None => first(&name, traces)?,
        };
        // A broker that does not tell an id does not make the known one wrong.
        let known = self.datasets.get(&name).filter(|r| r.topic == file.topic.name);
        let topic_id = live.id.clone().or_else(|| known?.topic_id.clone());
        file.topic.generation = generation;
        file.topic.partitions = live.partitions;
        file.mapping_generation = mapping;
        self.datasets.insert(
            name,
            DatasetRecord {
                topic: file.topic.name.clone(),
                topic_id,
                partitions: live.partitions,
                generation,
                mapping,
                digest,
            },
        );
        Ok(file.sealed())
    }
}

/// Generations of a dataset that the ledger does not know. That it is new is only one of the reasons: a ledger can be lost, with
/// Kafka or without. So what is left elsewhere decides, and the highest wins.
fn first(dataset: &str, traces: Traces) -> Result<(u16, u16), GenerationsUsedUp> {
    let in_tables = traces.in_tables.filter(|_| Guard::GenerationsAboveRows.holds());
    match (traces.running, in_tables) {
        // The relay's file is at least as new as the rows it wrote. Its content may differ: the mapping moves on.
        (Some((topic, mapping)), rows) if rows.is_none_or(|rows| topic >= rows) => {
            Ok((topic.max(FIRST_GENERATION), next_mapping(dataset, mapping)?))
        }
        (_, Some(rows)) => Ok((next_topic(dataset, rows)?, FIRST_GENERATION)),
        (_, None) => Ok((FIRST_GENERATION, FIRST_GENERATION)),
    }
}

fn next_topic(dataset: &str, generation: u16) -> Result<u16, GenerationsUsedUp> {
    match generation < TOPIC_GENERATION_MAX {
        true => Ok(generation + 1),
        false => Err(GenerationsUsedUp::Topic(dataset.to_owned())),
    }
}

fn next_mapping(dataset: &str, generation: u16) -> Result<u16, GenerationsUsedUp> {
    match generation < MAPPING_GENERATION_MAX {
        true => Ok(generation + 1),
        false => Err(GenerationsUsedUp::Mapping(dataset.to_owned())),
    }
}

/// The topic generation inside a row's `_ver`.
pub fn generation_in(ver: i64) -> u16 {
    u16::try_from((ver >> 51) & i64::from(TOPIC_GENERATION_MAX)).unwrap_or(TOPIC_GENERATION_MAX)
}
