//! What observation cannot rebuild, written before it is acted on: generations of mappings, and which topics this pipeline
//! created. One small ConfigMap per pipeline in the platform's namespace; it outlives the pipeline under `Retain`, so that the
//! same identity applied again goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use tributary_crds::names::Owner;
use tributary_crds::relay::{DatasetConfig, digest_of};

use crate::kubernetes::metadata;

const KEY: &str = "ledger.json";
/// `_ver` has twelve bits for it; this version never sees a topic re-created (`TopicRecreated` needs its id).
pub const FIRST_TOPIC_GENERATION: u16 = 1;
/// `_ver` has ten bits for it.
pub const MAPPING_GENERATION_MAX: u16 = 0x3FF;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// `<ownerID>/<namespace>/<name>`.
    pub owner: String,
    /// Topics this pipeline created, or was about to.
    #[serde(default)]
    pub created_topics: BTreeSet<String>,
    #[serde(default)]
    pub mappings: BTreeMap<String, MappingRecord>,
}

/// The newest mapping of one dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MappingRecord {
    pub generation: u16,
    /// Digest of the compiled content without its generation.
    pub digest: String,
}

/// Another identity's ledger, or one that cannot be read: nothing may be guessed from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("ConfigMap {name} belongs to {owner}, not to this pipeline")]
    Foreign { name: String, owner: String },
    #[error(
        "ConfigMap {name} cannot be read ({why}); restore it or delete it after checking max(_ver) of the tables"
    )]
    Unreadable { name: String, why: String },
    #[error("dataset {0} has used up its 1023 mapping generations: its tables need a rebuild")]
    GenerationsUsedUp(String),
}

/// The ConfigMap's name. Dataset files are `<base>.<dataset>`: a dash cannot collide with them.
pub fn name(owner: &Owner) -> String {
    format!("{}-ledger", owner.relay_base())
}

impl Ledger {
    pub fn read(owner: &Owner, config_map: Option<&ConfigMap>) -> Result<Self, LedgerError> {
        let empty = Self {
            owner: owner.to_string(),
            ..Self::default()
        };
        let Some(text) = config_map.and_then(|c| c.data.as_ref()?.get(KEY)) else {
            return Ok(empty);
        };
        let name = name(owner);
        let ledger: Self = serde_json::from_str(text).map_err(|e| LedgerError::Unreadable {
            name: name.clone(),
            why: e.to_string(),
        })?;
        if ledger.owner != empty.owner {
            return Err(LedgerError::Foreign {
                name,
                owner: ledger.owner,
            });
        }
        Ok(ledger)
    }

    pub fn config_map(
        &self,
        owner: &Owner,
        namespace: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<ConfigMap, serde_json::Error> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(ConfigMap {
            metadata: metadata(namespace, name(owner), labels),
            data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
            ..ConfigMap::default()
        })
    }

    /// The dataset's file under the generation its content has: the recorded one while the content is the same, the next one
    /// when it changed. Never backwards, also not when old content comes back.
    pub fn assign(&mut self, mut file: DatasetConfig) -> Result<DatasetConfig, LedgerError> {
        file.mapping_generation = 0;
        let digest = digest_of(&file.tables);
        let generation = match self.mappings.get(&file.name) {
            Some(record) if record.digest == digest => record.generation,
            Some(record) if record.generation >= MAPPING_GENERATION_MAX => {
                return Err(LedgerError::GenerationsUsedUp(file.name));
            }
            Some(record) => record.generation + 1,
            None => 1,
        };
        self.mappings
            .insert(file.name.clone(), MappingRecord { generation, digest });
        file.mapping_generation = generation;
        Ok(file.sealed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_crds::relay::{FORMAT_VERSION, TableConfig, TopicConfig};

    fn owner() -> Owner {
        Owner::new("prod-eu1", "tenant-acme", "acme")
    }

    fn file(table: &str) -> DatasetConfig {
        DatasetConfig {
            format_version: FORMAT_VERSION,
            digest: String::new(),
            name: "orders".into(),
            tenant: "acme".into(),
            topic: TopicConfig {
                name: "t".into(),
                partitions: 1,
                generation: 1,
            },
            mapping_generation: 0,
            tables: vec![TableConfig {
                entry: "orders".into(),
                database: "shop".into(),
                table: table.into(),
                primary_key: vec![],
                columns: vec![],
                explode: None,
                filter: None,
                deletes: Default::default(),
                on_reject: Default::default(),
            }],
        }
    }

    #[test]
    fn generations_grow_with_content_and_never_go_back() {
        let mut ledger = Ledger::read(&owner(), None).unwrap();
        let mut generation = |table| ledger.assign(file(table)).unwrap().mapping_generation;
        assert_eq!(generation("a"), 1);
        assert_eq!(generation("a"), 1);
        assert_eq!(generation("b"), 2);
        assert_eq!(generation("a"), 3, "old content is a new generation");
    }

    #[test]
    fn it_reads_back_what_it_wrote_and_refuses_what_is_not_its_own() {
        let mut ledger = Ledger::read(&owner(), None).unwrap();
        ledger.created_topics.insert("acme.shop.orders".into());
        ledger.assign(file("a")).unwrap();
        let stored = ledger.config_map(&owner(), "tributary", BTreeMap::new()).unwrap();
        assert_eq!(Ledger::read(&owner(), Some(&stored)), Ok(ledger));
        let other = Owner::new("prod-eu1", "tenant-b", "b");
        assert!(matches!(
            Ledger::read(&other, Some(&stored)),
            Err(LedgerError::Foreign { .. })
        ));
    }

    #[test]
    fn the_last_generation_is_an_error_not_an_overflow() {
        let mut ledger = Ledger::read(&owner(), None).unwrap();
        ledger.assign(file("a")).unwrap();
        ledger.mappings.get_mut("orders").unwrap().generation = MAPPING_GENERATION_MAX;
        assert!(ledger.assign(file("b")).is_err());
        assert_eq!(
            ledger.assign(file("a")).unwrap().mapping_generation,
            MAPPING_GENERATION_MAX
        );
    }
}
