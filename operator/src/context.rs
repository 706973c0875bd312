//! What every reconciler shares: the API server, the caches of watched objects, the clients of external systems, and the little
//! that is kept in memory (nothing a restart could not rebuild).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Secret};
use kube::api::PartialObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tributary_crds::reference::ObjectRef as Reference;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use crate::args::Args;
use crate::backends::BackendPool;
use crate::error;
use crate::kubernetes::{Kubernetes, Namespaced};
use crate::ledger::Ledgers;
use crate::pipeline::memory::Memory;
use crate::server::Watchdog;
use crate::telemetry::{ApiWrite, Kind, Metrics};
use crate::watch::Undecodable;

pub struct Context {
    pub kubernetes: Kubernetes,
    pub metrics: Metrics,
    pub watchdog: Arc<Watchdog>,
    pub stores: Stores,
    pub backends: BackendPool,
    pub ledgers: Ledgers,
    pub attempts: Attempts,
    pub memory: Memory,
    pub relay_image: String,
    pub resync: std::time::Duration,
    namespace_yield: std::time::Duration,
    recorders: Recorders,
}

/// One recorder per kind: `kubectl describe` shows which controller spoke.
struct Recorders {
    platform: Recorder,
    pipeline: Recorder,
    table: Recorder,
}

impl Context {
    pub fn new(
        kubernetes: Kubernetes,
        metrics: Metrics,
        watchdog: Arc<Watchdog>,
        stores: Stores,
        args: &Args,
    ) -> Self {
        let instance = std::env::var("POD_NAME").ok();
        let recorder = |controller: &str| {
            let reporter = Reporter {
                controller: controller.to_owned(),
                instance: instance.clone(),
            };
            Recorder::new(kubernetes.client(), reporter)
        };
        Self {
            recorders: Recorders {
                platform: recorder("tributary.dev/platform"),
                pipeline: recorder("tributary.dev/pipeline"),
                table: recorder("tributary.dev/table"),
            },
            backends: BackendPool::new(kubernetes.fence().clone()),
            ledgers: Ledgers::default(),
            kubernetes,
            metrics,
            watchdog,
            stores,
            attempts: Attempts::default(),
            memory: Memory::default(),
            relay_image: args.relay_image.clone(),
            resync: args.resync(),
            namespace_yield: std::time::Duration::from_secs(args.namespace_yield_seconds),
        }
    }

    /// In a namespace that is being deleted (rule 25): how long its deletions insist.
    pub fn yields_after(&self, namespace: &str) -> Option<std::time::Duration> {
        let found = self.stores.namespace(namespace);
        let goes = found.is_some_and(|n| n.metadata.deletion_timestamp.is_some());
        goes.then_some(self.namespace_yield)
    }

    /// Tells people about a transition. Never an error: nothing may depend on events (a terminating namespace refuses them).
    pub async fn tell<K>(&self, kind: Kind, about: &K, severity: EventType, reason: &str, note: &str)
    where
        K: Namespaced,
    {
        self.tell_with(kind, about, None, severity, reason, note).await;
    }

    /// Something was let go of with things left behind. A namespace that goes takes no events, and keeps none: the platform's
    /// owner is told too.
    pub async fn tell_orphaned<K>(&self, kind: Kind, of: &K, platform: Option<&DataPlatform>, note: &str)
    where
        K: Namespaced,
    {
        let name = format!(
            "{} {}/{}",
            K::kind(&()),
            of.namespace().unwrap_or_default(),
            of.name_any()
        );
        tracing::warn!(object = name, note, "left behind");
        let severity = EventType::Warning;
        self.tell(kind, of, severity, "Orphaned", note).await;
        if let Some(platform) = platform {
            let (about, note) = (of.object_ref(&()), format!("{name}: {note}"));
            let kind = Kind::DataPlatform;
            self.tell_with(kind, platform, Some(about), EventType::Warning, "Orphaned", &note)
                .await;
        }
    }

    /// The same on account of another object: what is told of two of them is two events, not one that is counted.
    pub async fn tell_with<K>(
        &self,
        kind: Kind,
        about: &K,
        because_of: Option<ObjectReference>,
        severity: EventType,
        reason: &str,
        note: &str,
    ) where
        K: Namespaced,
    {
        let recorder = match kind {
            Kind::DataPlatform => &self.recorders.platform,
            Kind::TenantPipeline => &self.recorders.pipeline,
            Kind::StarRocksTable => &self.recorders.table,
        };
        let event = Event {
            type_: severity,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: because_of,
        };
        let reference = about.object_ref(&());
        let publish = recorder.publish(&event, &reference);
        if self.kubernetes.fence().check().is_err() {
            return;
        }
        match tokio::time::timeout(crate::kubernetes::CALL_TIMEOUT, publish).await {
            Ok(Ok(())) => self.metrics.wrote(ApiWrite::Event),
            Ok(Err(error)) => tracing::debug!(%error, reason, "event not published"),
            Err(_) => tracing::debug!(reason, "event not published in time"),
        }
    }
}

/// Caches of the watched kinds. Secrets and ConfigMaps are not among them: they are read on demand.
#[derive(Clone)]
pub struct Stores {
    pub platforms: Store<DataPlatform>,
    pub pipelines: Store<TenantPipeline>,
    pub tables: Store<StarRocksTable>,
    /// Labels decide who may use a platform and which tenant a namespace may claim.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    pub listed: Listed,
    pub undecodable: Undecodable,
}

/// Set when a watch has listed once. kube's own `Store::wait_until_ready` wakes only the last of several waiters (5.0.0), and
/// each controller is one already.
#[derive(Clone, Default)]
pub struct Listed {
    pub platforms: CancellationToken,
    pub pipelines: CancellationToken,
    pub tables: CancellationToken,
    pub namespaces: CancellationToken,
}

impl Stores {
    /// Waits until every cache has listed once. Before that, an absent object proves nothing: a platform that is merely not
    /// listed yet must not look like consent withdrawn.
    pub async fn synced(&self) {
        let listed = &self.listed;
        tokio::join!(
            listed.platforms.cancelled(),
            listed.pipelines.cancelled(),
            listed.tables.cancelled(),
            listed.namespaces.cancelled(),
        );
    }

    pub fn platform(&self, reference: Option<&Reference>, own: &str) -> Option<Arc<DataPlatform>> {
        let reference = reference?;
        let key = ObjectRef::new(&reference.name).within(reference.namespace_or(own));
        self.platforms.get(&key)
    }

    pub fn table(&self, reference: &Reference, own: &str) -> Option<Arc<StarRocksTable>> {
        let key = ObjectRef::new(&reference.name).within(reference.namespace_or(own));
        self.tables.get(&key)
    }

    /// An error when `reference` names an object that exists and cannot be read.
    pub fn readable<K: Namespaced>(&self, reference: &Reference, own: &str) -> Result<(), error::Error> {
        self.undecodable
            .check::<K>(reference.namespace_or(own), &reference.name)
    }

    pub fn namespace(&self, name: &str) -> Option<Arc<PartialObjectMeta<Namespace>>> {
        self.namespaces.get(&ObjectRef::new(name))
    }

    /// Pipelines whose turn comes when `platform` changes.
    pub fn pipelines_on(&self, platform: &DataPlatform) -> Vec<ObjectRef<TenantPipeline>> {
        let names = |p: &TenantPipeline| {
            refers_to(
                p.spec.platform_ref.as_ref(),
                &p.namespace().unwrap_or_default(),
                platform,
            )
        };
        references(&self.pipelines, names)
    }

    /// Pipelines whose source's credential is in this Secret.
    pub fn pipelines_reading(&self, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<TenantPipeline>> {
        let (namespace, name) = (secret.namespace(), secret.name_any());
        references(&self.pipelines, |p| {
            let mongodb = p.spec.source.mongodb.as_ref();
            let uri = mongodb
                .and_then(|m| m.connection_secret_ref.as_ref())
                .map(|r| &r.name);
            let user = mongodb
                .and_then(|m| m.credentials_secret_ref.as_ref())
                .map(|r| &r.name);
            p.namespace() == namespace && [uri, user].into_iter().flatten().any(|n| *n == name)
        })
    }

    /// Platforms one of whose credentials is in this Secret.
    pub fn platforms_reading(&self, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<DataPlatform>> {
        let (namespace, name) = (secret.namespace(), secret.name_any());
        references(&self.platforms, |p| {
            p.namespace() == namespace && p.spec.secrets().contains(&name.as_str())
        })
    }

    pub fn tables_on(&self, platform: &DataPlatform) -> Vec<ObjectRef<StarRocksTable>> {
        let names = |t: &StarRocksTable| {
            refers_to(
                t.spec.platform_ref.as_ref(),
                &t.namespace().unwrap_or_default(),
                platform,
            )
        };
        references(&self.tables, names)
    }

    /// Pipelines that own `table` or refer to it.
    pub fn pipelines_of(&self, table: &StarRocksTable) -> Vec<ObjectRef<TenantPipeline>> {
        let namespace = table.namespace().unwrap_or_default();
        let owner = crate::pipeline::owner_of(table);
        references(&self.pipelines, |p| {
            let own = p.namespace().unwrap_or_default();
            let owns = own == namespace && owner.as_deref() == Some(p.name_any().as_str());
            owns || crate::pipeline::table_refs(p).any(|r| refers_to(Some(r), &own, table))
        })
    }
}

/// Whether a reference in namespace `own` means `target`.
pub fn refers_to<K: Resource>(reference: Option<&Reference>, own: &str, target: &K) -> bool {
    let meta = target.meta();
    reference.is_some_and(|r| {
        meta.name.as_deref() == Some(&r.name) && meta.namespace.as_deref() == Some(r.namespace_or(own))
    })
}

fn references<K>(store: &Store<K>, wanted: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    store
        .state()
        .iter()
        .filter(|o| wanted(o))
        .map(|o| ObjectRef::from_obj(o.as_ref()))
        .collect()
}

/// Failed tries in a row, per object.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<(Kind, String, String), u32>>);

impl Attempts {
    /// Counts a failure; answers how many there were before it.
    pub fn failed(&self, kind: Kind, namespace: &str, name: &str) -> u32 {
        let mut attempts = lock(&self.0);
        let count = attempts
            .entry((kind, namespace.to_owned(), name.to_owned()))
            .or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    pub fn succeeded(&self, kind: Kind, namespace: &str, name: &str) {
        lock(&self.0).remove(&(kind, namespace.to_owned(), name.to_owned()));
    }
}

/// Locks a map whose every update is one operation: a panic elsewhere leaves it valid.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wait after a reconcile that found nothing to do.
pub fn steady(context: &Context) -> kube::runtime::controller::Action {
    error::requeue(context.resync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_count_up_and_start_over() {
        let attempts = Attempts::default();
        assert_eq!(attempts.failed(Kind::DataPlatform, "a", "b"), 0);
        assert_eq!(attempts.failed(Kind::DataPlatform, "a", "b"), 1);
        attempts.succeeded(Kind::DataPlatform, "a", "b");
        assert_eq!(attempts.failed(Kind::DataPlatform, "a", "b"), 0);
    }
}
