//! Carries out a plan's actions, in order. What fails is reported by layer; the rest goes on where it does not depend on it.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use tributary_crds::StarRocksTable;
use tributary_crds::names::{ANNOTATION_CONFIG_DIGEST, Owner};
use tributary_crds::platform as crds;
use tributary_crds::relay::digest_of;

use super::claims;
use super::credential::Mirrored;
use super::memory::PipelineMemory;
use super::plan::{Action, Plan};
use super::validate::Accepted;
use crate::backend::connect::connector::snapshot_heartbeat_topic;
use crate::backend::connect::{ConnectClient, ConnectorConfig};
use crate::backend::kafka::TopicSpec;
use crate::backend::{BackendError, BackendResult};
use crate::context::Context;
use crate::error::Error;
use crate::kubernetes::{FIELD_MANAGER, metadata};

/// Which part of a pipeline an action belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Ledger,
    Topics,
    Tables,
    Relay,
    Connector,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Kubernetes(#[from] Error),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

#[derive(Debug)]
pub struct Failure {
    pub layer: Layer,
    pub cause: Cause,
}

fn layer(action: &Action) -> Layer {
    match action {
        Action::RecordLedger(_) => Layer::Ledger,
        Action::CreateTopic(_) => Layer::Topics,
        Action::ApplyTable(_) | Action::DeleteTable(_) => Layer::Tables,
        Action::ApplyConfigMap(_)
        | Action::DeleteConfigMap(_)
        | Action::ApplyRelay(_)
        | Action::TouchPod { .. }
        | Action::ApplyBudget(_)
        | Action::DeleteBudget(_)
        | Action::StopRelay(_)
        | Action::SeedPositions(..) => Layer::Relay,
        Action::MirrorCredential(_)
        | Action::CreateConnector(_)
        | Action::ConfigureConnector(_)
        | Action::StartConnector
        | Action::StopConnector
        | Action::HoldConnector(_)
        | Action::RestartFailedTasks
        | Action::RestartConnector
        | Action::CreateSnapshotConnector(_)
        | Action::StartSnapshotConnector
        | Action::RestartSnapshotConnector
        | Action::StopSnapshotConnector
        | Action::DeleteSnapshotConnector => Layer::Connector,
    }
}

pub async fn apply(
    plan: &Plan,
    accepted: &Accepted,
    context: &Context,
    memory: &mut PipelineMemory,
) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    for action in &plan.actions {
        let layer = layer(action);
        // Nothing is done in the name of a generation that could not be recorded, nor after a failure of the same layer.
        if failures
            .iter()
            .any(|f| f.layer == layer || f.layer == Layer::Ledger)
        {
            continue;
        }
        tracing::info!(%action, "applying");
        if let Err(cause) = carry_out(action, accepted, context, memory).await {
            tracing::warn!(%action, %cause, "not applied");
            failures.push(Failure { layer, cause });
        }
    }
    failures
}

async fn carry_out(
    action: &Action,
    accepted: &Accepted,
    context: &Context,
    memory: &mut PipelineMemory,
) -> Result<(), Cause> {
    let kubernetes = &context.kubernetes;
    let platform_namespace = accepted.platform.namespace().unwrap_or_default();
    let owner = &accepted.effective.owner;
    let connector = Connector { accepted, context };
    match action {
        Action::RecordLedger(entry) => claims::record(accepted, entry, context).await?,
        Action::SeedPositions(offsets, seeded) => {
            if !offsets.is_empty() {
                let kafka = context.backends.kafka(&accepted.platform)?;
                kafka
                    .set_group_offsets(&owner.consumer_group(), offsets.clone())
                    .await?;
            }
            claims::record(accepted, seeded, context).await?;
        }
        Action::CreateTopic(topic) => {
            context
                .backends
                .kafka(&accepted.platform)?
                .create_topic(topic)
                .await?;
        }
        Action::ApplyTable(table) => kubernetes.apply(table.as_ref(), FIELD_MANAGER).await?,
        Action::DeleteTable(name) => {
            kubernetes
                .delete::<StarRocksTable>(&owner.namespace, name)
                .await?
        }
        Action::MirrorCredential(keys) => mirror(owner, &accepted.mirrored, keys, context).await?,
        Action::ApplyConfigMap(map) => kubernetes.apply(map.as_ref(), FIELD_MANAGER).await?,
        Action::DeleteConfigMap(name) => kubernetes.delete::<ConfigMap>(&platform_namespace, name).await?,
        Action::ApplyRelay(relay) => kubernetes.apply(relay.as_ref(), FIELD_MANAGER).await?,
        Action::TouchPod { pod, digest } => {
            kubernetes
                .annotate::<Pod>(&platform_namespace, pod, ANNOTATION_CONFIG_DIGEST, digest)
                .await?
        }
        Action::ApplyBudget(budget) => kubernetes.apply(budget.as_ref(), FIELD_MANAGER).await?,
        Action::DeleteBudget(name) => {
            kubernetes
                .delete::<PodDisruptionBudget>(&platform_namespace, name)
                .await?
        }
        Action::StopRelay(name) => kubernetes.delete::<Deployment>(&platform_namespace, name).await?,
        on_connector => connector.carry_out(on_connector, memory).await?,
    }
    Ok(())
}

/// Makes these the pipeline's keys in the mirrored Secret, none to take them away. One field manager per pipeline: what others
/// wrote there stays theirs.
pub async fn mirror(
    owner: &Owner,
    mirrored: &crds::Mirrored,
    keys: &Mirrored,
    context: &Context,
) -> Result<(), Error> {
    let bytes = |value: &String| ByteString(value.as_bytes().to_vec());
    let data: BTreeMap<String, ByteString> = keys.0.iter().map(|(k, v)| (k.clone(), bytes(v))).collect();
    let secret = Secret {
        metadata: kube::core::ObjectMeta {
            labels: None,
            ..metadata(&mirrored.namespace, &mirrored.secret_ref.name, BTreeMap::new())
        },
        data: (!data.is_empty()).then_some(data),
        ..Secret::default()
    };
    context
        .kubernetes
        .apply_keys(&secret, &mirror_manager(owner))
        .await
}

/// At most 128 bytes, and unique per pipeline.
fn mirror_manager(owner: &Owner) -> String {
    format!("{FIELD_MANAGER}/{}", owner.relay_base())
}

struct Connector<'a> {
    accepted: &'a Accepted,
    context: &'a Context,
}

impl Connector<'_> {
    /// What the connection string holds is masked in everything Connect says.
    fn client(&self) -> BackendResult<ConnectClient> {
        let client = self.context.backends.connect(&self.accepted.platform)?;
        Ok(client.redacting_with(&self.accepted.credential.redactor()))
    }

    async fn carry_out(&self, action: &Action, memory: &mut PipelineMemory) -> Result<(), BackendError> {
        let owner = &self.accepted.effective.owner;
        let (main, second) = (owner.connector(), owner.snapshot_connector());
        let client = self.client()?;
        if let Action::CreateConnector(config)
        | Action::ConfigureConnector(config)
        | Action::CreateSnapshotConnector(config) = action
            && !self.validate(config, memory).await?
        {
            return Ok(());
        }
        match action {
            Action::CreateConnector(config) => client.create_stopped(&main, config).await?,
            Action::ConfigureConnector(config) => drop(client.put_config(&main, config).await?),
            Action::HoldConnector(config) => drop(client.put_config(&main, config).await?),
            Action::StartConnector => client.resume(&main).await?,
            Action::StopConnector => client.stop(&main).await?,
            Action::RestartFailedTasks => client.restart_failed(&main).await?,
            Action::RestartConnector => client.restart(&main).await?,
            Action::CreateSnapshotConnector(config) => {
                self.snapshot_heartbeats(true).await?;
                client.create_stopped(&second, config).await?;
                self.start_reading(&client, &second).await?;
            }
            Action::StartSnapshotConnector => self.start_reading(&client, &second).await?,
            Action::RestartSnapshotConnector => client.restart_failed(&second).await?,
            Action::StopSnapshotConnector => client.stop(&second).await?,
            Action::DeleteSnapshotConnector => {
                client.delete_offsets(&second).await?;
                client.delete(&second).await?;
                self.snapshot_heartbeats(false).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes the topic of the second connector's heartbeats, or takes it away: connectors make none.
    async fn snapshot_heartbeats(&self, wanted: bool) -> BackendResult<()> {
        let effective = &self.accepted.effective;
        let topic = snapshot_heartbeat_topic(&effective.source.topic_prefix);
        let kafka = self.context.backends.kafka(&self.accepted.platform)?;
        if wanted {
            let topic = TopicSpec::heartbeat(topic, effective.topics.replication_factor);
            kafka.create_topic(&topic).await?;
        } else {
            kafka.delete_topic(&topic).await?;
        }
        Ok(())
    }

    /// Offsets outlive a connector: one of this name may have read other collections before.
    async fn start_reading(&self, client: &ConnectClient, name: &str) -> BackendResult<()> {
        client.delete_offsets(name).await?;
        client.resume(name).await
    }

    /// Whether Connect would take the configuration. A real connection to the source is opened through the config provider,
    /// so success also proves that the mirrored Secret has reached Connect's pods.
    async fn validate(
        &self,
        config: &ConnectorConfig,
        memory: &mut PipelineMemory,
    ) -> Result<bool, BackendError> {
        let name = self.accepted.effective.owner.connector();
        let now = Instant::now();
        let refused = match self.client()?.validate(&name, config).await {
            Ok(validation) if validation.only_exactly_once_failed() => {
                tracing::warn!("the Connect workers have no exactly-once source support: asking for less");
                memory.connector.without_exactly_once(now);
                return Ok(false);
            }
            Ok(validation) => validation
                .message()
                .map(|m| (m, validation.only_connection_failed())),
            // An error about the configuration itself; with a file that is not there yet, Connect answers so too.
            Err(error) if !error.is_retryable() => Some((error.to_string(), false)),
            Err(error) => return Err(error),
        };
        let Some((message, source_unreachable)) = refused else {
            memory.connector.refused = None;
            return Ok(true);
        };
        tracing::info!(message, "Connect refuses the configuration");
        memory
            .connector
            .refuse(digest_of(config), message, source_unreachable, now);
        Ok(false)
    }
}
