//! From a raw pipeline and what it refers to, to what is wanted of every system, or the reason why nothing is.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use tributary_crds::effective::{EffectivePipeline, EffectiveTable, builtin, effective};
use tributary_crds::mapping::{FieldError, compile_dataset, summary};
use tributary_crds::names::LABEL_TENANT;
use tributary_crds::pipeline::{Capture, SnapshotMode};
use tributary_crds::platform::{Mirrored, TenantNames};
use tributary_crds::reference::is_permitted;
use tributary_crds::relay::{DatasetConfig, TopicConfig};
use tributary_crds::status::PipelineReason as R;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use super::credential::{self, Credential};
use super::dereference::{Connection, Referenced, Sibling, sibling};
use super::uri;
use crate::backend::connect::connector::{self, ConnectorSpec, ExactlyOnce};
use crate::backend::kafka::TopicSpec;
use crate::ledger::entry::FIRST_GENERATION;

/// A document has at most 16 MiB of BSON. As JSON inside the event's JSON a quote or a line's end takes up to four bytes for one;
/// brokers take requests of up to 100 MiB (`socket.request.max.bytes`).
const MAX_MESSAGE_BYTES: u64 = 80 << 20;

/// A pipeline that may run, with everything it wants.
#[derive(Clone)]
pub struct Accepted {
    pub pipeline: Arc<TenantPipeline>,
    pub platform: Arc<DataPlatform>,
    pub effective: EffectivePipeline,
    pub credential: Credential,
    /// Compiled, without generations: topic partitions and generations come from what exists.
    pub datasets: Vec<DatasetConfig>,
    /// One per dataset, the connector's heartbeat topic, and the dead letters'.
    pub topics: Vec<TopicSpec>,
    /// Checked; which generation of the credential it reads is decided from what is mirrored.
    pub connector: ConnectorSpec,
    pub mirrored: Mirrored,
    /// For relays whose platform names none.
    pub relay_image: String,
    /// Referenced tables by `namespace/name`.
    pub shared_tables: BTreeMap<String, Arc<StarRocksTable>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: R,
    pub message: String,
}

impl Refused {
    /// Somebody's consent is missing: what was written under an earlier one must stop, at once and without losing anything.
    pub fn withdraws_consent(&self) -> bool {
        matches!(self.reason, R::RefNotPermitted | R::TenantClaimed)
    }
}

fn refuse<T>(reason: R, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        reason,
        message: message.into(),
    })
}

fn fields(reason: R, errors: &[FieldError]) -> Refused {
    Refused {
        reason,
        message: summary(errors),
    }
}

pub fn validate(pipeline: &Arc<TenantPipeline>, refs: &Referenced) -> Result<Accepted, Refused> {
    let platform = permitted_platform(pipeline, refs)?;
    let effective = effective(&platform, pipeline).map_err(|e| fields(R::InvalidSpec, &e))?;
    claims(pipeline, &platform, refs)?;
    limits(&effective, &platform)?;
    let credential = connection(&effective, &platform, &refs.connection)?;
    let shared_tables = shared_tables(&effective, refs)?;
    let datasets = compile(&effective, &shared_tables)?;
    let mirrored = match &platform.spec.connect.source_secrets.mirrored {
        Some(mirrored) => mirrored.clone(),
        None => {
            return refuse(
                R::InvalidSpec,
                "The platform sets no connect.sourceSecrets.mirrored.",
            );
        }
    };
    let connector = connector(&effective, &mirrored, &credential)?;
    Ok(Accepted {
        pipeline: Arc::clone(pipeline),
        topics: topics(&effective),
        platform,
        credential,
        datasets,
        connector,
        mirrored,
        relay_image: refs.relay_image.clone(),
        shared_tables,
        effective,
    })
}

fn permitted_platform(pipeline: &TenantPipeline, refs: &Referenced) -> Result<Arc<DataPlatform>, Refused> {
    let own = pipeline.namespace().unwrap_or_default();
    let permitted = refs.platform.as_ref().filter(|platform| {
        let theirs = platform.namespace().unwrap_or_default();
        let consent = platform.spec.allowed_namespaces.as_ref();
        is_permitted(consent, &theirs, &own, refs.namespace_labels.as_ref())
    });
    match permitted {
        Some(platform) => Ok(Arc::clone(platform)),
        // One sentence for both cases: a tenant must not learn which platforms exist.
        None => refuse(
            R::RefNotPermitted,
            "platformRef: there is no such DataPlatform, or it does not permit this namespace.",
        ),
    }
}

/// Whether the platform's owner lets this namespace speak for the tenant, and whether there is room. Who claimed what first is the
/// ledger's to say ([`super::claims`]).
fn claims(pipeline: &TenantPipeline, platform: &DataPlatform, refs: &Referenced) -> Result<(), Refused> {
    let mine = sibling(pipeline);
    let older = || refs.siblings.iter().filter(|other| **other < mine);
    tenant(&mine, platform, refs)?;
    let limit = platform
        .spec
        .connect
        .max_connectors
        .unwrap_or(builtin::MAX_CONNECTORS);
    if usize::try_from(limit).is_ok_and(|limit| older().count() >= limit) {
        let message = format!("The platform carries {limit} pipelines already (connect.maxConnectors).");
        return refuse(R::CapacityExceeded, message);
    }
    Ok(())
}

fn tenant(mine: &Sibling, platform: &DataPlatform, refs: &Referenced) -> Result<(), Refused> {
    let rule = platform
        .spec
        .tenancy
        .as_ref()
        .and_then(|t| t.tenant_names)
        .unwrap_or_default();
    let (allowed, how) = match rule {
        TenantNames::NamespaceLabel => {
            let label = refs.namespace_labels.as_ref().and_then(|l| l.get(LABEL_TENANT));
            (
                label == Some(&mine.tenant),
                format!("its label {LABEL_TENANT} must name the tenant"),
            )
        }
        TenantNames::NamespaceName => (
            mine.namespace == mine.tenant,
            "the namespace must be named like the tenant".to_owned(),
        ),
        // The first one wins: the ledger knows.
        TenantNames::Any => (true, String::new()),
    };
    if allowed {
        return Ok(());
    }
    let message = format!(
        "Namespace {} may not claim tenant {}: {how}.",
        mine.namespace, mine.tenant
    );
    refuse(R::TenantClaimed, message)
}

fn limits(effective: &EffectivePipeline, platform: &DataPlatform) -> Result<(), Refused> {
    replicas(effective, platform)?;
    let limit = platform
        .spec
        .limits
        .as_ref()
        .and_then(|l| l.relay_memory.as_ref());
    let Some(limit) = limit else {
        return Ok(());
    };
    let asked = &effective.relay.limit_memory;
    match (asked.bytes(), limit.bytes()) {
        (Ok(asked_bytes), Ok(bytes)) if asked_bytes > bytes => refuse(
            R::LimitExceeded,
            format!("relay.resources.limits.memory: {asked} is more than the platform permits ({limit})."),
        ),
        (Err(error), _) => refuse(R::InvalidSpec, format!("relay.resources.limits.memory: {error}")),
        _ => Ok(()),
    }
}

fn replicas(effective: &EffectivePipeline, platform: &DataPlatform) -> Result<(), Refused> {
    let asked = effective.relay.replicas;
    let limit = platform.spec.limits.as_ref().and_then(|l| l.relay_replicas);
    if let Some(limit) = limit.and_then(|limit| u32::try_from(limit).ok())
        && asked > limit
    {
        let message = format!("relay.replicas: {asked} is more than the platform permits ({limit}).");
        return refuse(R::LimitExceeded, message);
    }
    let topics: std::collections::BTreeSet<&String> = effective.datasets.iter().map(|d| &d.topic).collect();
    let partitions = topics.len() * usize::try_from(effective.topics.partitions).unwrap_or_default();
    if usize::try_from(asked).is_ok_and(|asked| asked > 1 && asked > partitions) {
        let message = format!(
            "relay.replicas: {asked} is more than there are partitions ({partitions}): a relay without one does nothing."
        );
        return refuse(R::InvalidSpec, message);
    }
    Ok(())
}

fn connection(
    effective: &EffectivePipeline,
    platform: &DataPlatform,
    connection: &Connection,
) -> Result<Credential, Refused> {
    let (secret, key) = (&effective.source.secret_name, &effective.source.secret_key);
    let missing = |what: String| {
        refuse(
            R::SecretNotFound,
            format!("source.mongodb.connectionSecretRef: {what}."),
        )
    };
    let found = match connection {
        Connection::NoSecret => return missing(format!("there is no Secret {secret} in this namespace")),
        Connection::NoKey => return missing(format!("Secret {secret} has no key {key}")),
        Connection::NotText => return missing(format!("key {key} of Secret {secret} is not text")),
        Connection::NoCredentials(name) => {
            return refuse(
                R::SecretNotFound,
                format!(
                    "source.mongodb.credentialsSecretRef: there is no Secret {name} with username and password in this namespace."
                ),
            );
        }
        Connection::Found(credential) => credential,
    };
    let text = found.uri();
    if found.0.values().any(|value| value.contains("${")) {
        return refuse(
            R::InvalidSpec,
            format!("Secret {secret}: {}.", uri::UriError::Substitution),
        );
    }
    let permitted = platform.spec.limits.as_ref().map_or(&[][..], |l| &l.source_hosts);
    uri::hosts(text)
        .and_then(|hosts| uri::permitted(&hosts, permitted))
        .map(|()| found.clone())
        .or_else(|error| refuse(R::InvalidSpec, format!("Secret {secret}, key {key}: {error}.")))
}

fn shared_tables(
    effective: &EffectivePipeline,
    refs: &Referenced,
) -> Result<BTreeMap<String, Arc<StarRocksTable>>, Refused> {
    let mut found = BTreeMap::new();
    for dataset in &effective.datasets {
        for table in &dataset.tables {
            let EffectiveTable::Referenced {
                entry,
                namespace,
                name,
                ..
            } = table
            else {
                continue;
            };
            let key = format!("{namespace}/{name}");
            let usable = refs
                .tables
                .get(&key)
                .filter(|r| may_use(effective, refs, &r.table));
            let Some(usable) = usable else {
                let message = format!(
                    "datasets[{}].hot.tables[{entry}].tableRef: there is no StarRocksTable {key} on this platform, or it does not permit this namespace.",
                    dataset.name
                );
                return refuse(R::RefNotPermitted, message);
            };
            found.insert(key, Arc::clone(&usable.table));
        }
    }
    Ok(found)
}

fn may_use(effective: &EffectivePipeline, refs: &Referenced, table: &StarRocksTable) -> bool {
    let theirs = table.namespace().unwrap_or_default();
    let consent = table.spec.allowed_namespaces.as_ref();
    let same_platform = table.spec.platform_ref.as_ref().is_some_and(|p| {
        p.name == effective.platform.name
            && Some(p.namespace_or(&theirs)) == effective.platform.namespace.as_deref()
    });
    same_platform
        && is_permitted(
            consent,
            &theirs,
            &effective.owner.namespace,
            refs.namespace_labels.as_ref(),
        )
}

fn compile(
    effective: &EffectivePipeline,
    shared: &BTreeMap<String, Arc<StarRocksTable>>,
) -> Result<Vec<DatasetConfig>, Refused> {
    let mut compiled = Vec::new();
    let mut errors = Vec::new();
    for dataset in &effective.datasets {
        let referenced = dataset
            .tables
            .iter()
            .filter_map(|table| match table {
                EffectiveTable::Own { .. } => None,
                EffectiveTable::Referenced {
                    entry,
                    namespace,
                    name,
                    ..
                } => {
                    let table = shared.get(&format!("{namespace}/{name}"))?;
                    Some((entry.clone(), (name.clone(), table.spec.clone())))
                }
            })
            .collect();
        let topic = TopicConfig {
            name: dataset.topic.clone(),
            partitions: effective.topics.partitions,
            generation: FIRST_GENERATION,
        };
        match compile_dataset(effective, dataset, &referenced, topic, 0) {
            Ok(config) => compiled.push(config),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        Ok(compiled)
    } else {
        Err(fields(R::MappingInvalid, &errors))
    }
}

fn topics(effective: &EffectivePipeline) -> Vec<TopicSpec> {
    let wanted = &effective.topics;
    let mut names: Vec<&String> = effective.datasets.iter().map(|d| &d.topic).collect();
    // Two datasets may read one collection.
    names.sort();
    names.dedup();
    let changes = names.into_iter().map(|name| {
        TopicSpec::changes(
            name,
            wanted.partitions,
            wanted.replication_factor,
            wanted.retention,
            MAX_MESSAGE_BYTES,
        )
    });
    let heartbeat = TopicSpec::heartbeat(effective.heartbeat_topic(), wanted.replication_factor);
    // One partition: few records, and people read them in order.
    let dead_letters = TopicSpec::changes(
        effective.dead_letter_topic(),
        1,
        wanted.replication_factor,
        wanted.retention,
        MAX_MESSAGE_BYTES,
    );
    changes.chain([heartbeat, dead_letters]).collect()
}

fn connector(
    effective: &EffectivePipeline,
    mirrored: &Mirrored,
    credential: &Credential,
) -> Result<ConnectorSpec, Refused> {
    let source = &effective.source;
    let mut collections: Vec<String> = effective.datasets.iter().map(|d| d.collection.clone()).collect();
    collections.sort();
    collections.dedup();
    let spec = ConnectorSpec {
        name: effective.owner.connector(),
        owner: effective.owner.mark(),
        topic_prefix: source.topic_prefix.clone(),
        database: source.database.clone(),
        collections,
        credentials: credential::files(
            &effective.owner,
            &mirrored.provider,
            &mirrored.mount_path,
            credential,
            1,
        ),
        capture: match source.capture {
            Capture::UpdateFull => connector::Capture::UpdateFull,
            Capture::UpdateFullWithPreImage => connector::Capture::UpdateFullWithPreImage,
        },
        snapshot: snapshot_mode(source.snapshot_mode),
        exactly_once: ExactlyOnce::Required,
        poll_interval: source.poll_interval,
        max_message_bytes: MAX_MESSAGE_BYTES,
    };
    match connector::check(&spec) {
        Ok(()) => Ok(spec),
        Err(error) => refuse(R::InvalidSpec, format!("{error}.")),
    }
}

/// The same word for the connector.
pub fn snapshot_mode(mode: SnapshotMode) -> connector::SnapshotMode {
    match mode {
        SnapshotMode::Initial => connector::SnapshotMode::Initial,
        SnapshotMode::NoData => connector::SnapshotMode::NoData,
    }
}
