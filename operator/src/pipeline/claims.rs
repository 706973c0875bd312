//! What a pipeline claims for itself, and what is said when somebody else has it. The first claim wins and is recorded in the
//! ledger before anything is made in its name.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use tributary_crds::effective::EffectiveTable;
use tributary_crds::names::{Owner, Ownership, heartbeat_topic};
use tributary_crds::platform::TenantNames;
use tributary_crds::relay::{ColumnSource, MetaSource, TableConfig, digest_of};
use tributary_crds::status::PipelineReason as R;

use super::uri;
use super::validate::{Accepted, Refused};
use crate::backend::BackendResult;
use crate::backend::connect::ConnectorConfig;
use crate::backend::connect::connector::OWNER_KEY;
use crate::context::Context;
use crate::guard::Guard;
use crate::ledger::{Change, Claim, Conflict, Entry, Held, Key, PipelineRecord, State, Value, WriteError};

/// `<namespace>/<name>`: a pipeline inside an owner ID's ledger.
pub fn identity(owner: &Owner) -> String {
    format!("{}/{}", owner.namespace, owner.name)
}

/// The pipeline's entry, or whose claim stands in its way. Asks nobody once the ledger is open.
pub async fn look(accepted: &Accepted, context: &Context) -> BackendResult<Result<Entry, Conflict>> {
    let platform = &accepted.platform;
    let kafka = context.backends.kafka(platform)?;
    let book = context.ledgers.book(platform);
    let owner = &accepted.effective.owner;
    if book.read(&kafka, State::is_empty).await? {
        // A new installation, or a ledger that was lost: who has what is also marked on the connectors.
        let connectors = context.backends.connect(platform)?.list().await?;
        let found: Vec<Change> = connectors
            .into_values()
            .filter_map(|c| c.info)
            .flat_map(|info| marked(&owner.owner_id, &info.config))
            .collect();
        book.write(&kafka, |_| Ok(found)).await.map_err(backend)?;
    }
    book.read(&kafka, |state| judge(state, accepted)).await
}

/// The same for those who only look: no operator is shut out of the ledger, and nothing is recorded.
pub async fn peek(accepted: &Accepted, context: &Context) -> BackendResult<Result<Entry, Conflict>> {
    let kafka = context.backends.kafka(&accepted.platform)?;
    let state = context.ledgers.book(&accepted.platform).peek(&kafka).await?;
    Ok(judge(&state, accepted))
}

fn judge(state: &State, accepted: &Accepted) -> Result<Entry, Conflict> {
    let id = identity(&accepted.effective.owner);
    let entry = state.entry(&id);
    for claim in wanted(accepted, &entry) {
        let by = crate::ledger::state::holder_of(&claim, &id);
        state.permits(&claim, by, takes_retained(accepted, &claim))?;
    }
    Ok(entry)
}

fn backend(error: WriteError) -> crate::backend::BackendError {
    match error {
        WriteError::Backend(error) => error,
        WriteError::Conflict(conflict) => crate::backend::BackendError::new(
            crate::backend::Backend::Kafka,
            crate::backend::ErrorClass::Conflict,
            "record claims",
            format!("somebody else took {} a moment ago", conflict.claim),
        ),
    }
}

/// Records what `entry` says, claims included; all of it or nothing.
pub async fn record(accepted: &Accepted, entry: &Entry, context: &Context) -> BackendResult<()> {
    let platform = &accepted.platform;
    let kafka = context.backends.kafka(platform)?;
    let id = identity(&accepted.effective.owner);
    let takes = takes_retained(accepted, &Claim::Tenant(String::new()));
    let book = context.ledgers.book(platform);
    book.write(&kafka, |state| state.record(&id, entry, takes))
        .await
        .map_err(backend)
}

/// Where the platform's owner says which namespace may claim a tenant, that word moves a tenant whose last pipeline went.
fn takes_retained(accepted: &Accepted, claim: &Claim) -> bool {
    let rule = accepted
        .platform
        .spec
        .tenancy
        .as_ref()
        .and_then(|t| t.tenant_names);
    matches!(claim, Claim::Tenant(_)) && rule.unwrap_or_default() != TenantNames::Any
}

/// Brings an entry up to what the pipeline is now, before anything is done in its name.
pub fn refresh(entry: &mut Entry, accepted: &Accepted, config_maps: &BTreeMap<String, ConfigMap>) {
    let effective = &accepted.effective;
    let before = entry.record.take().unwrap_or_else(|| PipelineRecord {
        created_topics: older_ledger(&effective.owner, config_maps),
        ..PipelineRecord::default()
    });
    entry.record = Some(PipelineRecord {
        tenant: effective.tenant.clone(),
        connector: effective.owner.connector(),
        topic_prefix: effective.source.topic_prefix.clone(),
        ..before
    });
    entry.claims = wanted(accepted, entry);
}

/// Topics in the ledger of an operator that kept it in a ConfigMap.
fn older_ledger(owner: &Owner, config_maps: &BTreeMap<String, ConfigMap>) -> BTreeSet<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Older {
        owner: String,
        #[serde(default)]
        created_topics: BTreeSet<String>,
    }
    let map = config_maps.get(&format!("{}-ledger", owner.relay_base()));
    let text = map.and_then(|m| m.data.as_ref()?.get("ledger.json"));
    let older = text.and_then(|t| serde_json::from_str::<Older>(t).ok());
    older
        .filter(|older| older.owner == owner.to_string())
        .map(|older| older.created_topics)
        .unwrap_or_default()
}

fn wanted(accepted: &Accepted, entry: &Entry) -> BTreeSet<Claim> {
    let effective = &accepted.effective;
    let source = &effective.source;
    let mut claims = BTreeSet::from([Claim::Tenant(effective.tenant.clone())]);
    let topics = accepted.topics.iter().map(|t| t.name.clone());
    // A topic that a dataset left still holds its changes.
    claims.extend(topics.chain(entry.created_topics()).map(Claim::Topic));
    let mut hosts = uri::hosts(accepted.credential.uri()).unwrap_or_default();
    hosts.sort();
    for (dataset, compiled) in effective.datasets.iter().zip(&accepted.datasets) {
        let collection = digest_of(&(&hosts, &source.database, &dataset.collection));
        claims.insert(Claim::Collection(collection));
        for (table, compiled) in dataset.tables.iter().zip(&compiled.tables) {
            if let EffectiveTable::Referenced { .. } = table
                && Guard::OneWriterPerRow.holds()
            {
                claims.insert(rows(compiled, &effective.tenant, &dataset.name));
            }
        }
    }
    claims
}

/// Rule 3: one document per row. In a shared table a tenant's rows are told apart by dataset only where `$dataset` is in the key.
fn rows(table: &TableConfig, tenant: &str, dataset: &str) -> Claim {
    let place = format!("{}.{}/{tenant}", table.database, table.table);
    let key = |name: &String| table.columns.iter().find(|c| c.name == *name);
    let by_dataset = table
        .primary_key
        .iter()
        .filter_map(key)
        .any(|c| c.source == ColumnSource::Meta(MetaSource::Dataset));
    Claim::Rows(if by_dataset {
        format!("{place}/{dataset}")
    } else {
        place
    })
}

/// What a connector's own configuration says its pipeline has.
fn marked(owner_id: &str, config: &ConnectorConfig) -> Vec<Change> {
    let text = |key: &str| config.get(key).map(String::as_str).unwrap_or_default();
    let Some((namespace, name)) = text(OWNER_KEY)
        .strip_prefix("tributary:")
        .and_then(|mark| mark.strip_prefix(owner_id)?.strip_prefix('/')?.split_once('/'))
    else {
        return Vec::new();
    };
    let owner = Owner::new(owner_id, namespace, name);
    let prefix = text("topic.prefix");
    if owner.ownership(text(OWNER_KEY)) != Ownership::Ours || prefix.is_empty() {
        return Vec::new();
    }
    // `collection.include.list` holds regular expressions; the heartbeat topic alone reserves the prefix.
    let held = Held {
        by: identity(&owner),
        retained: false,
    };
    let claim = Claim::Topic(heartbeat_topic(prefix));
    vec![Change::put(Key::Claim(claim), Value::Held(held))]
}

/// What the loser is told: its own field, and the winner's name only where it could look it up itself.
pub fn refused(accepted: &Accepted, conflict: &Conflict) -> Refused {
    let effective = &accepted.effective;
    let neighbour = conflict
        .held
        .by
        .strip_prefix(&format!("{}/", effective.owner.namespace));
    let who = match neighbour {
        Some(name) => format!("TenantPipeline {name}"),
        None => "another pipeline of this platform".to_owned(),
    };
    let kept = match conflict.held.retained {
        true => {
            " It was deleted and its data kept; apply it again with deletionPolicy: Delete and delete it to release the claim."
        }
        false => "",
    };
    let (reason, message) = match &conflict.claim {
        Claim::Tenant(tenant) => (
            R::TenantClaimed,
            format!(
                "Namespace {} may not claim tenant {tenant}: another namespace claimed it first.",
                effective.owner.namespace
            ),
        ),
        Claim::Topic(topic) => (
            R::TopicClaimed,
            format!(
                "Topic {topic} belongs to {who}: set source.mongodb.topicPrefix (now {}) to a prefix of its own.{kept}",
                effective.source.topic_prefix
            ),
        ),
        Claim::Collection(_) => (
            R::CollectionClaimed,
            format!(
                "A collection of database {} is captured by {who} already: a second copy would load the same documents twice. Remove it from one of the two.",
                effective.source.database
            ),
        ),
        Claim::Rows(place) | Claim::Table(place) => (
            R::TableConflict,
            format!(
                "Rows of {place} are written by {who}: two writers of one tenant's rows would overwrite each other. Put a $dataset column into the table's key, or use a table of its own."
            ),
        ),
    };
    Refused { reason, message }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
