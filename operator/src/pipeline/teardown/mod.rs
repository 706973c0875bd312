//! A pipeline goes: look at what is left, do the next step, look again. It needs nothing but the object's identity, so it works
//! from any status, for objects that were never accepted, and when the platform is gone.

pub mod plan;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use tributary_crds::names::{Owner, Ownership};
use tributary_crds::pipeline::OnUnreachable;
use tributary_crds::template::DeletionPolicy;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use self::plan::{Action, Child, ConnectorRun, LedgerEntry, Patience, Remains, Seen, Step};
use super::claims::identity;
use super::credential::Mirrored;
use super::{apply, observe, status};
use crate::backend::connect::ConnectorState;
use crate::backend::connect::connector::{OWNER_KEY, snapshot_heartbeat_topic};
use crate::backend::{BackendError, ErrorClass};
use crate::context::Context;
use crate::error::{self, Error};
use crate::ledger::{Claim, Entry, PipelineRecord, PositionRecord};
use crate::publish::publish;
use crate::telemetry::Kind;

const PROGRESS: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(3);

/// What a teardown needs to know of a pipeline.
struct Subject<'a> {
    pipeline: &'a TenantPipeline,
    owner: Owner,
    platform: Option<Arc<DataPlatform>>,
    /// Where relays run.
    platform_namespace: String,
    policy: DeletionPolicy,
    on_unreachable: OnUnreachable,
}

pub async fn reconcile(pipeline: &TenantPipeline, context: &Context) -> Result<Requeue, Error> {
    let subject = subject(pipeline, context);
    let patience = patience(&subject, context);
    let mut remains = look(&subject, context).await?;
    // Ends: what is given up is never acted on again.
    loop {
        match plan::next(&remains, subject.policy, patience) {
            Step::Act(actions) => match act(&actions, &subject, context).await {
                Ok(()) => return Ok(error::requeue(PROGRESS)),
                Err((action, why)) if patience != Patience::Wait && remains.give_up(action, &why) => {
                    tracing::warn!(?action, why, "given up: it has failed for too long");
                }
                Err((_, why)) => return wait(pipeline, context, &format!("Deletion waits: {why}")).await,
            },
            Step::Wait(what) => return wait(pipeline, context, &format!("Deletion waits: {what}")).await,
            Step::Release { left_behind } => return release(&subject, &left_behind, context).await,
        }
    }
}

/// In order; the first one that fails, and why.
async fn act<'a>(
    actions: &'a [Action],
    subject: &Subject<'_>,
    context: &Context,
) -> Result<(), (&'a Action, String)> {
    for action in actions {
        tracing::info!(?action, "teardown");
        carry_out(action, subject, context)
            .await
            .map_err(|why| (action, why))?;
    }
    Ok(())
}

async fn release(subject: &Subject<'_>, left_behind: &[String], context: &Context) -> Result<Requeue, Error> {
    let owner = &subject.owner;
    if !left_behind.is_empty() {
        note_left_behind(subject, left_behind, context).await;
        let note = format!("Released without removing {}.", left_behind.join(", "));
        let platform = subject.platform.as_deref();
        context
            .tell_orphaned(Kind::TenantPipeline, subject.pipeline, platform, &note)
            .await;
    }
    context.kubernetes.remove_finalizer(subject.pipeline).await?;
    drop(context.memory.take(&owner.namespace, &owner.name));
    Ok(Requeue::await_change())
}

/// Stops the connector and the relay and keeps everything else: positions, tables, topics, configuration.
pub async fn stop_writing(pipeline: &TenantPipeline, context: &Context) -> Result<(), Error> {
    let subject = subject(pipeline, context);
    let selector = observe::selector(&subject.owner);
    let deployments: Vec<Deployment> = context
        .kubernetes
        .list(&subject.platform_namespace, &selector)
        .await?;
    let running = matches!(
        connector(&subject, context).await,
        Seen::Ours(ConnectorRun::Running)
    );
    let stop = running.then_some(Action::StopConnector);
    let delete = deployments.iter().map(|d| Action::DeleteDeployment(d.name_any()));
    for action in stop.into_iter().chain(delete) {
        tracing::info!(?action, "consent is withdrawn");
        if let Err(error) = carry_out(&action, &subject, context).await {
            tracing::warn!(?action, error, "not stopped yet");
        }
    }
    Ok(())
}

async fn wait(pipeline: &TenantPipeline, context: &Context, message: &str) -> Result<Requeue, Error> {
    let next = status::deleting(pipeline, message, Timestamp::now());
    // A terminating namespace may refuse the write; the teardown goes on without it.
    let written = publish(
        context,
        Kind::TenantPipeline,
        pipeline,
        pipeline.status.as_ref(),
        &next,
    )
    .await;
    if let Err(error) = written {
        tracing::debug!(%error, "status of a pipeline that goes");
    }
    Ok(error::requeue(WAIT))
}

fn subject<'a>(pipeline: &'a TenantPipeline, context: &Context) -> Subject<'a> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let reference = pipeline.spec.platform_ref.as_ref();
    let platform = context.stores.platform(reference, &namespace);
    let owner_id = platform
        .as_ref()
        .map(|p| p.spec.owner_id.clone())
        .unwrap_or_default();
    let default_policy = platform
        .as_ref()
        .and_then(|p| p.spec.defaults.as_ref())
        .and_then(|d| d.deletion_policy);
    let default_unreachable = platform
        .as_ref()
        .and_then(|p| p.spec.defaults.as_ref())
        .and_then(|d| d.on_unreachable.clone());
    Subject {
        platform_namespace: reference
            .map(|r| r.namespace_or(&namespace).to_owned())
            .unwrap_or_else(|| namespace.clone()),
        owner: Owner::new(owner_id, namespace, pipeline.name_any()),
        policy: pipeline
            .spec
            .deletion_policy
            .or(default_policy)
            .unwrap_or_default(),
        on_unreachable: pipeline
            .spec
            .on_unreachable
            .clone()
            .or(default_unreachable)
            .unwrap_or_default(),
        platform,
        pipeline,
    }
}

fn patience(subject: &Subject<'_>, context: &Context) -> Patience {
    if subject.platform.is_none() {
        // Whoever deleted the platform has declared its backends gone.
        return Patience::Yield;
    }
    let since = subject.pipeline.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    let waited = since.map_or(Duration::ZERO, |t| {
        Timestamp::now().duration_since(t).unsigned_abs()
    });
    let asked = subject.on_unreachable.orphans_after();
    plan::patience(waited, asked, context.yields_after(&subject.owner.namespace))
}

async fn look(subject: &Subject<'_>, context: &Context) -> Result<Remains, Error> {
    let kubernetes = &context.kubernetes;
    let (owner, namespace) = (&subject.owner, &subject.platform_namespace);
    let selector = observe::selector(owner);
    let deployments: Vec<Deployment> = kubernetes.list(namespace, &selector).await?;
    let pods: Vec<Pod> = kubernetes.list(namespace, &selector).await?;
    let maps: Vec<ConfigMap> = kubernetes.list(namespace, &selector).await?;
    let budgets: Vec<PodDisruptionBudget> = kubernetes.list(namespace, &selector).await?;
    let children: Vec<StarRocksTable> = kubernetes.list(&owner.namespace, "").await?;
    let entry = entry(subject, context).await;
    let uid = subject.pipeline.metadata.uid.as_deref();
    Ok(Remains {
        connector: connector(subject, context).await,
        deployments: deployments
            .iter()
            .filter(|d| d.metadata.deletion_timestamp.is_none())
            .map(ResourceExt::name_any)
            .collect(),
        pods: pods.len(),
        mirrored_key: mirrored_key(subject, context).await,
        consumer_group: consumer_group(subject, context).await,
        children: children
            .iter()
            .filter(|t| t.owner_references().iter().any(|o| Some(o.uid.as_str()) == uid))
            .map(|t| Child {
                name: t.name_any(),
                deleting: t.metadata.deletion_timestamp.is_some(),
            })
            .collect(),
        topics: topics(subject, &entry, context).await,
        budgets: budgets.iter().map(ResourceExt::name_any).collect(),
        config_maps: maps.iter().map(ResourceExt::name_any).collect(),
        ledger: match &entry {
            Err(why) => Seen::Unreachable(why.clone()),
            Ok(entry) => match &entry.record {
                Some(record) if record.retained => Seen::Ours(LedgerEntry::Retained),
                Some(_) => Seen::Ours(LedgerEntry::Live),
                None => Seen::Absent,
            },
        },
    })
}

const PLATFORM_GONE: &str = "the DataPlatform is gone";

fn unreachable<T>(error: &BackendError) -> Seen<T> {
    Seen::Unreachable(why_not(error))
}

fn why_not(error: &BackendError) -> String {
    if error.is_retryable() {
        format!("{} does not answer.", error.backend)
    } else {
        format!("{error}.")
    }
}

async fn connector(subject: &Subject<'_>, context: &Context) -> Seen<ConnectorRun> {
    let Some(platform) = &subject.platform else {
        return Seen::Unreachable(PLATFORM_GONE.to_owned());
    };
    let name = subject.owner.connector();
    let look = async {
        let client = context.backends.connect(platform)?;
        let config = client.config(&name).await?;
        let status = client.status(&name).await?;
        Ok::<_, BackendError>((config, status))
    };
    match look.await {
        Err(error) => unreachable(&error),
        Ok((None, _)) => Seen::Absent,
        Ok((Some(config), status)) => {
            let mark = config.get(OWNER_KEY).map_or("", String::as_str);
            if subject.owner.ownership(mark) != Ownership::Ours {
                return Seen::Foreign;
            }
            let stopped =
                status.is_some_and(|s| s.connector.state == ConnectorState::Stopped && s.tasks.is_empty());
            Seen::Ours(if stopped {
                ConnectorRun::Stopped
            } else {
                ConnectorRun::Running
            })
        }
    }
}

async fn mirrored_key(subject: &Subject<'_>, context: &Context) -> Seen<()> {
    let Some(platform) = &subject.platform else {
        return Seen::Unreachable(PLATFORM_GONE.to_owned());
    };
    let Some(mirrored) = &platform.spec.connect.source_secrets.mirrored else {
        return Seen::Absent;
    };
    match context
        .kubernetes
        .get::<Secret>(&mirrored.namespace, &mirrored.secret_ref.name)
        .await
    {
        Err(error) => Seen::Unreachable(error.to_string()),
        Ok(secret) => {
            let ours = subject.owner.mirrored_key("");
            match secret
                .and_then(|s| s.data)
                .is_some_and(|data| data.keys().any(|key| key.starts_with(&ours)))
            {
                true => Seen::Ours(()),
                false => Seen::Absent,
            }
        }
    }
}

async fn consumer_group(subject: &Subject<'_>, context: &Context) -> Seen<()> {
    let Some(platform) = &subject.platform else {
        return Seen::Unreachable(PLATFORM_GONE.to_owned());
    };
    let look = async {
        context
            .backends
            .kafka(platform)?
            .consumer_group(&subject.owner.consumer_group())
            .await
    };
    match look.await {
        Ok(Some(_)) => Seen::Ours(()),
        Ok(None) => Seen::Absent,
        Err(error) => unreachable(&error),
    }
}

/// What the ledger says of the pipeline; else why it says nothing.
async fn entry(subject: &Subject<'_>, context: &Context) -> Result<Entry, String> {
    let platform = subject.platform.as_ref().ok_or(PLATFORM_GONE)?;
    let id = identity(&subject.owner);
    let look = async {
        let kafka = context.backends.kafka(platform)?;
        context
            .ledgers
            .book(platform)
            .read(&kafka, |state| state.entry(&id))
            .await
    };
    look.await.map_err(|error: BackendError| why_not(&error))
}

/// Topics that the ledger says this pipeline created, as far as they still exist.
async fn topics(
    subject: &Subject<'_>,
    entry: &Result<Entry, String>,
    context: &Context,
) -> Seen<Vec<String>> {
    if subject.policy == DeletionPolicy::Retain {
        return Seen::Absent;
    }
    let Some(platform) = &subject.platform else {
        return Seen::Unreachable(PLATFORM_GONE.to_owned());
    };
    let created: Vec<String> = match entry {
        Ok(entry) => entry.created_topics().into_iter().collect(),
        Err(why) => return Seen::Unreachable(why.clone()),
    };
    if created.is_empty() {
        return Seen::Absent;
    }
    let look = async { context.backends.kafka(platform)?.describe_topics(&created).await };
    match look.await {
        Ok(live) => Seen::Ours(live.into_keys().collect()),
        Err(error) => unreachable(&error),
    }
}

/// Writes what becomes of the entry.
async fn rewrite(
    subject: &Subject<'_>,
    platform: &DataPlatform,
    context: &Context,
    edit: impl FnOnce(&mut Entry),
) -> Result<(), String> {
    let id = identity(&subject.owner);
    let kafka = context.backends.kafka(platform).map_err(|e| e.to_string())?;
    let book = context.ledgers.book(platform);
    let written = book.write(&kafka, |state| {
        let mut entry = state.entry(&id);
        edit(&mut entry);
        state.record(&id, &entry, false)
    });
    written.await.map_err(|e| e.to_string())
}

/// Where the consumer group stands, into the ledger. The relay is gone by now, so nothing moves.
async fn keep_positions(
    subject: &Subject<'_>,
    platform: &DataPlatform,
    context: &Context,
) -> Result<(), String> {
    let entry = entry(subject, context).await?;
    let kafka = context.backends.kafka(platform).map_err(|e| e.to_string())?;
    let topics: Vec<String> = entry.datasets.values().map(|d| d.topic.clone()).collect();
    let live = kafka.describe_topics(&topics).await.map_err(|e| e.to_string())?;
    let partitions = live
        .values()
        .flat_map(|t| (0..t.partitions).map(|p| (t.name.clone(), p)))
        .collect();
    let group = subject.owner.consumer_group();
    let offsets = kafka.group_offsets(&group, partitions).await;
    let offsets = offsets.map_err(|e| e.to_string())?;
    let positions = offsets.into_iter().map(|o| {
        let record = PositionRecord {
            topic_id: live.get(&o.topic).and_then(|t| t.id.clone()),
            offset: o.offset,
            metadata: o.metadata,
        };
        ((o.topic, o.partition), record)
    });
    let positions = positions.collect();
    rewrite(subject, platform, context, |entry| entry.positions = positions).await
}

/// A tenant and its topics stay claimed with their data; what only a running pipeline does is free.
fn retain(entry: &mut Entry) {
    entry
        .claims
        .retain(|claim| matches!(claim, Claim::Tenant(_) | Claim::Topic(_)));
    if let Some(record) = &mut entry.record {
        record.retained = true;
    }
}

/// Best effort: it is said by an event too.
async fn note_left_behind(subject: &Subject<'_>, left_behind: &[String], context: &Context) {
    let Some(platform) = &subject.platform else {
        return;
    };
    let noted = rewrite(subject, platform, context, |entry| {
        let record = entry.record.get_or_insert_with(PipelineRecord::default);
        record.left_behind = left_behind.to_vec();
        record.retained = true;
    });
    if let Err(error) = noted.await {
        tracing::warn!(error, ?left_behind, "not noted in the ledger");
    }
}

async fn carry_out(action: &Action, subject: &Subject<'_>, context: &Context) -> Result<(), String> {
    let kubernetes = &context.kubernetes;
    let namespace = &subject.platform_namespace;
    let in_kubernetes = |e: Error| e.to_string();
    match action {
        Action::DeleteDeployment(name) => kubernetes
            .delete::<Deployment>(namespace, name)
            .await
            .map_err(in_kubernetes),
        Action::DeleteConfigMap(name) => kubernetes
            .delete::<ConfigMap>(namespace, name)
            .await
            .map_err(in_kubernetes),
        Action::DeleteBudget(name) => kubernetes
            .delete::<PodDisruptionBudget>(namespace, name)
            .await
            .map_err(in_kubernetes),
        Action::DeleteChild(name) => kubernetes
            .delete::<StarRocksTable>(&subject.owner.namespace, name)
            .await
            .map_err(in_kubernetes),
        Action::StopConnector
        | Action::DeleteConnectorOffsets
        | Action::DeleteConnector
        | Action::RemoveMirroredKey
        | Action::KeepPositions
        | Action::DeleteConsumerGroup
        | Action::RetainEntry
        | Action::ForgetEntry
        | Action::DeleteTopics(_) => {
            let Some(platform) = &subject.platform else {
                return Err(PLATFORM_GONE.to_owned());
            };
            outside(action, subject, platform, context).await
        }
    }
}

fn topic_prefix(pipeline: &TenantPipeline) -> String {
    let mongodb = pipeline.spec.source.mongodb.as_ref();
    let own = mongodb.and_then(|m| m.topic_prefix.clone());
    own.unwrap_or_else(|| pipeline.spec.tenant.clone())
}

fn absent_is_done(result: Result<(), BackendError>) -> Result<(), BackendError> {
    match result {
        Err(error) if error.class == ErrorClass::NotFound => Ok(()),
        other => other,
    }
}

/// Actions on systems that only the platform knows how to reach.
async fn outside(
    action: &Action,
    subject: &Subject<'_>,
    platform: &DataPlatform,
    context: &Context,
) -> Result<(), String> {
    let owner = &subject.owner;
    if let Action::RemoveMirroredKey = action {
        return match &platform.spec.connect.source_secrets.mirrored {
            Some(mirrored) => apply::mirror(owner, mirrored, &Mirrored::default(), context)
                .await
                .map_err(|e| e.to_string()),
            None => Ok(()),
        };
    }
    match action {
        Action::KeepPositions => return keep_positions(subject, platform, context).await,
        Action::RetainEntry => return rewrite(subject, platform, context, retain).await,
        Action::ForgetEntry => {
            return rewrite(subject, platform, context, |entry| *entry = Entry::default()).await;
        }
        _ => {}
    }
    let done = async {
        let connector = owner.connector();
        match action {
            Action::StopConnector => {
                let client = context.backends.connect(platform)?;
                // The one that reads added collections, if it exists, first: nothing is left to start it again.
                absent_is_done(client.stop(&owner.snapshot_connector()).await)?;
                client.stop(&connector).await
            }
            Action::DeleteConnectorOffsets => {
                context
                    .backends
                    .connect(platform)?
                    .delete_offsets(&connector)
                    .await
            }
            Action::DeleteConnector => {
                let client = context.backends.connect(platform)?;
                let second = owner.snapshot_connector();
                absent_is_done(client.stop(&second).await)?;
                absent_is_done(client.delete_offsets(&second).await)?;
                if client.delete(&second).await? {
                    let prefix = topic_prefix(subject.pipeline);
                    let topic = snapshot_heartbeat_topic(&prefix);
                    context.backends.kafka(platform)?.delete_topic(&topic).await?;
                }
                client.delete(&connector).await.map(drop)
            }
            Action::DeleteConsumerGroup => context
                .backends
                .kafka(platform)?
                .delete_group(&owner.consumer_group())
                .await
                .map(drop),
            Action::DeleteTopics(topics) => {
                let kafka = context.backends.kafka(platform)?;
                for topic in topics {
                    kafka.delete_topic(topic).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    };
    match done.await {
        Err(error) if error.class != ErrorClass::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}
