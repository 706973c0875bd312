//! The ledger's state: a pure fold over its records, and the decisions that are made on it.

use std::collections::BTreeMap;

use super::entry::Entry;
use super::record::{Change, Claim, Held, Key, PipelineRecord, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    term: u64,
    records: BTreeMap<Key, Value>,
}

/// Somebody else holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{claim} is held by {}", held.by)]
pub struct Conflict {
    pub claim: Claim,
    pub held: Held,
}

impl State {
    /// Takes up one record. A record of an older term than one before it comes from an operator that had been replaced: it
    /// loses. (Kafka refuses such a record to begin with, see [`super::book`]; compaction must never choose between two
    /// terms, because it would keep the later one, whichever that is.)
    pub fn fold(&mut self, term: u64, change: Change) {
        if term < self.term {
            return;
        }
        self.term = term;
        match change.value {
            Some(value) => drop(self.records.insert(change.key, value)),
            None => drop(self.records.remove(&change.key)),
        }
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    /// Nothing was ever recorded: a new installation, or a ledger that was lost.
    pub fn is_empty(&self) -> bool {
        self.records.keys().all(|key| *key == Key::Term)
    }

    /// Everything, to be written again where it was lost.
    pub fn changes(&self) -> Vec<Change> {
        let records = self.records.iter();
        records
            .map(|(key, value)| Change::put(key.clone(), value.clone()))
            .collect()
    }

    pub fn holder(&self, claim: &Claim) -> Option<&Held> {
        match self.records.get(&Key::Claim(claim.clone())) {
            Some(Value::Held(held)) => Some(held),
            _ => None,
        }
    }

    /// Whether `by` has it or may take it. A tenant whose last pipeline went passes to whoever the platform's rule permits.
    pub fn permits(&self, claim: &Claim, by: &str, takes_retained: bool) -> Result<(), Conflict> {
        match self.holder(claim) {
            Some(held) if held.by != by && !(held.retained && takes_retained) => Err(Conflict {
                claim: claim.clone(),
                held: held.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Takes one claim outside of a pipeline's entry (a StarRocksTable's physical table). Nothing to write when it is held.
    pub fn claim(&self, claim: Claim, by: &str) -> Result<Vec<Change>, Conflict> {
        self.permits(&claim, by, false)?;
        let wanted = Held {
            by: by.to_owned(),
            retained: false,
        };
        Ok(if self.holder(&claim) == Some(&wanted) {
            Vec::new()
        } else {
            vec![Change::put(Key::Claim(claim), Value::Held(wanted))]
        })
    }

    /// Gives one claim back, or marks it as kept; nothing when somebody else has it.
    pub fn release(&self, claim: Claim, by: &str, keep: bool) -> Vec<Change> {
        let Some(held) = self.holder(&claim).filter(|held| held.by == by) else {
            return Vec::new();
        };
        if !keep {
            return vec![Change::remove(Key::Claim(claim))];
        }
        let kept = Held {
            retained: true,
            ..held.clone()
        };
        if kept == *held {
            return Vec::new();
        }
        vec![Change::put(Key::Claim(claim), Value::Held(kept))]
    }

    /// What the ledger knows of one pipeline.
    pub fn entry(&self, pipeline: &str) -> Entry {
        let mut entry = Entry {
            record: match self.records.get(&Key::Pipeline(pipeline.to_owned())) {
                Some(Value::Pipeline(record)) => Some(record.clone()),
                _ => None,
            },
            ..Entry::default()
        };
        let tenant = entry.record.as_ref().map(|r| r.tenant.clone());
        for (key, value) in &self.records {
            match (key, value) {
                (
                    Key::Dataset {
                        pipeline: id,
                        dataset,
                    },
                    Value::Dataset(record),
                ) if id == pipeline => {
                    entry.datasets.insert(dataset.clone(), record.clone());
                }
                (
                    Key::Position {
                        pipeline: id,
                        topic,
                        partition,
                    },
                    Value::Position(record),
                ) if id == pipeline => {
                    entry
                        .positions
                        .insert((topic.clone(), *partition), record.clone());
                }
                (Key::Claim(claim), Value::Held(held)) if held.by == holder_of(claim, pipeline) => {
                    let ours = match claim {
                        // Other pipelines of the namespace may work for other tenants.
                        Claim::Tenant(id) => Some(id) == tenant.as_ref(),
                        // An object's, which may be named like a pipeline.
                        Claim::Table(_) => false,
                        Claim::Topic(_) | Claim::Collection(_) | Claim::Rows(_) => true,
                    };
                    if ours {
                        entry.claims.insert(claim.clone());
                    }
                }
                _ => {}
            }
        }
        entry
    }

    /// What to write so that the ledger says of `pipeline` what `entry` says. Refused as a whole when one of its claims is
    /// somebody else's by now.
    pub fn record(
        &self,
        pipeline: &str,
        entry: &Entry,
        takes_retained: bool,
    ) -> Result<Vec<Change>, Conflict> {
        let before = self.entry(pipeline);
        let mut changes = Vec::new();
        for claim in &entry.claims {
            let by = holder_of(claim, pipeline);
            self.permits(claim, by, takes_retained && matches!(claim, Claim::Tenant(_)))?;
            let held = Held {
                by: by.to_owned(),
                retained: self.is_retained(claim, entry, pipeline),
            };
            if self.holder(claim) != Some(&held) {
                changes.push(Change::put(Key::Claim(claim.clone()), Value::Held(held)));
            }
        }
        for claim in before.claims.difference(&entry.claims) {
            changes.extend(self.give_back(claim, pipeline));
        }
        let key = |dataset: &String| Key::Dataset {
            pipeline: pipeline.to_owned(),
            dataset: dataset.clone(),
        };
        diff(
            &mut changes,
            &before.datasets,
            &entry.datasets,
            key,
            Value::Dataset,
        );
        let key = |(topic, partition): &(String, i32)| Key::Position {
            pipeline: pipeline.to_owned(),
            topic: topic.clone(),
            partition: *partition,
        };
        diff(
            &mut changes,
            &before.positions,
            &entry.positions,
            key,
            Value::Position,
        );
        let one = |record: &Option<PipelineRecord>| -> BTreeMap<String, PipelineRecord> {
            record.iter().map(|r| (pipeline.to_owned(), r.clone())).collect()
        };
        let (old, new) = (one(&before.record), one(&entry.record));
        diff(
            &mut changes,
            &old,
            &new,
            |id| Key::Pipeline(id.clone()),
            Value::Pipeline,
        );
        Ok(changes)
    }

    fn is_retained(&self, claim: &Claim, entry: &Entry, pipeline: &str) -> bool {
        let retained = entry.record.as_ref().is_some_and(|r| r.retained);
        retained && self.others(claim, pipeline) != Others::Live
    }

    /// A tenant is its namespace's while another pipeline there works for it, or has data of it.
    fn give_back(&self, claim: &Claim, pipeline: &str) -> Option<Change> {
        let key = Key::Claim(claim.clone());
        match self.others(claim, pipeline) {
            Others::None => Some(Change::remove(key)),
            Others::Live => None,
            Others::Retained => {
                let held = self.holder(claim).filter(|held| !held.retained)?;
                let kept = Held {
                    retained: true,
                    ..held.clone()
                };
                Some(Change::put(key, Value::Held(kept)))
            }
        }
    }

    fn others(&self, claim: &Claim, pipeline: &str) -> Others {
        let Claim::Tenant(tenant) = claim else {
            return Others::None;
        };
        let namespace = namespace_of(pipeline);
        let mut found = Others::None;
        for (key, value) in &self.records {
            match (key, value) {
                (Key::Pipeline(id), Value::Pipeline(record))
                    if id != pipeline && namespace_of(id) == namespace && record.tenant == *tenant =>
                {
                    if !record.retained {
                        return Others::Live;
                    }
                    found = Others::Retained;
                }
                _ => {}
            }
        }
        found
    }
}

/// Other pipelines that hold the same claim through their namespace.
#[derive(PartialEq)]
enum Others {
    None,
    Live,
    Retained,
}

/// Under which name a pipeline holds a claim.
pub fn holder_of<'a>(claim: &Claim, pipeline: &'a str) -> &'a str {
    match claim {
        Claim::Tenant(_) => namespace_of(pipeline),
        Claim::Topic(_) | Claim::Collection(_) | Claim::Table(_) | Claim::Rows(_) => pipeline,
    }
}

fn namespace_of(pipeline: &str) -> &str {
    pipeline
        .split_once('/')
        .map_or(pipeline, |(namespace, _)| namespace)
}

fn diff<K: Ord, V: Clone + PartialEq>(
    changes: &mut Vec<Change>,
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    key: impl Fn(&K) -> Key,
    value: impl Fn(V) -> Value,
) {
    for (id, new) in after {
        if before.get(id) != Some(new) {
            changes.push(Change::put(key(id), value(new.clone())));
        }
    }
    let gone = before.keys().filter(|id| !after.contains_key(id));
    changes.extend(gone.map(|id| Change::remove(key(id))));
}
