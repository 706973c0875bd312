//! What is seen of a pipeline's source: its credential in the mirrored Secret, its connectors, and their progress.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;

use super::credential::Mirrored;
use super::validate::Accepted;
use crate::backend::BackendResult;
use crate::backend::connect::health::STALL;
use crate::backend::connect::offsets::{SourceOffset, source_offset};
use crate::backend::connect::{ConnectClient, ConnectorConfig, ConnectorState, ConnectorStatus, Connectors};
use crate::context::Context;
use crate::error::Error;

#[derive(Debug, Default)]
pub struct ConnectorSeen {
    /// `None`: the connector does not exist.
    pub config: Option<ConnectorConfig>,
    pub status: Option<ConnectorStatus>,
    pub offset: OffsetSeen,
    pub heartbeat: Heartbeat,
    /// The connector that reads collections which joined later.
    pub snapshot: Option<SnapshotConnector>,
}

/// A committed offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OffsetSeen {
    /// Connect was asked and has none.
    #[default]
    Absent,
    Found(SourceOffset),
    /// Not asked: heartbeats prove that it streams, and its snapshot was complete with this one.
    Complete(SourceOffset),
}

impl OffsetSeen {
    pub fn get(&self) -> Option<&SourceOffset> {
        match self {
            Self::Absent => None,
            Self::Found(offset) | Self::Complete(offset) => Some(offset),
        }
    }

    pub fn is_complete(&self) -> bool {
        self.get().is_some_and(|offset| !offset.initial_snapshot)
    }
}

/// The newest record of the heartbeat topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heartbeat {
    /// Kafka did not answer.
    #[default]
    Unknown,
    Newest(Option<SystemTime>),
}

/// What is seen of a pipeline's second connector.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotConnector {
    pub config: ConnectorConfig,
    pub status: Option<ConnectorStatus>,
    pub offset: Option<SourceOffset>,
}

pub(super) async fn connector(accepted: &Accepted, context: &Context) -> BackendResult<ConnectorSeen> {
    let owner = &accepted.effective.owner;
    let client = context
        .backends
        .connect(&accepted.platform)?
        .redacting_with(&accepted.credential.redactor());
    let all = client.connectors().await?;
    let name = owner.connector();
    let Some((config, status)) = one(&client, &all, &name).await? else {
        return Ok(ConnectorSeen::default());
    };
    let heartbeat = heartbeat(accepted, context).await;
    let snapshot = match one(&client, &all, &owner.snapshot_connector()).await? {
        None => None,
        Some((config, status)) => Some(SnapshotConnector {
            offset: offset(accepted, &client, &owner.snapshot_connector()).await?,
            config,
            status,
        }),
    };
    let known = context.memory.complete(&owner.namespace, &owner.name);
    let offset = match known.filter(|_| streams(status.as_ref(), heartbeat)) {
        Some(complete) => OffsetSeen::Complete(complete),
        None => match offset(accepted, &client, &name).await? {
            Some(found) => OffsetSeen::Found(found),
            None => OffsetSeen::Absent,
        },
    };
    Ok(ConnectorSeen {
        config: Some(config),
        status,
        offset,
        heartbeat,
        snapshot,
    })
}

/// A connector from the shared list; asked for by name when it is not in there, because the list leaves out one without a status.
async fn one(
    client: &ConnectClient,
    all: &Connectors,
    name: &str,
) -> BackendResult<Option<(ConnectorConfig, Option<ConnectorStatus>)>> {
    if let Some(summary) = all.get(name)
        && let Some(info) = &summary.info
    {
        let status = summary.status.as_ref().map(|s| client.masked(s));
        return Ok(Some((info.config.clone(), status)));
    }
    let Some(config) = client.config(name).await? else {
        return Ok(None);
    };
    Ok(Some((config, client.status(name).await?)))
}

/// Whether heartbeats and state prove that the connector streams: then its offset can only have moved on.
fn streams(status: Option<&ConnectorStatus>, heartbeat: Heartbeat) -> bool {
    let Heartbeat::Newest(Some(newest)) = heartbeat else {
        return false;
    };
    let running = status.is_some_and(|s| {
        s.connector.state == ConnectorState::Running
            && !s.tasks.is_empty()
            && s.tasks.iter().all(|t| t.state == ConnectorState::Running)
    });
    running && newest.elapsed().unwrap_or_default() < STALL
}

async fn heartbeat(accepted: &Accepted, context: &Context) -> Heartbeat {
    let Ok(kafka) = context.backends.kafka(&accepted.platform) else {
        return Heartbeat::Unknown;
    };
    let topic = accepted.effective.heartbeat_topic();
    match kafka.newest_record_time(&topic).await {
        Ok(newest) => Heartbeat::Newest(newest),
        Err(_) => Heartbeat::Unknown,
    }
}

async fn offset(
    accepted: &Accepted,
    client: &ConnectClient,
    name: &str,
) -> BackendResult<Option<SourceOffset>> {
    let entries = client.offsets(name).await?.unwrap_or_default();
    // Connect stores `{}` before the snapshot has begun: that is no offset yet.
    Ok(source_offset(&entries, &accepted.effective.source.topic_prefix)
        .filter(|offset| offset.initial_snapshot || offset.position.is_some()))
}

pub(super) async fn mirrored(accepted: &Accepted, context: &Context) -> Result<Mirrored, Error> {
    let mirrored = &accepted.mirrored;
    let secret: Option<Secret> = context
        .kubernetes
        .get(&mirrored.namespace, &mirrored.secret_ref.name)
        .await?;
    let ours = accepted.effective.owner.mirrored_key("");
    let data = secret.and_then(|s| s.data).unwrap_or_default().into_iter();
    let keys = data.filter(|(key, _)| key.starts_with(&ours));
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    Ok(Mirrored(keys.map(|(key, value)| (key, text(value.0))).collect()))
}
