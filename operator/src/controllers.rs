//! Ties watches to reconcilers: which change of which object brings which object's turn.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::PredicateConfig;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline, names};

use crate::args::Args;
use crate::context::{Context, Listed, Stores};
use crate::error::{self, Error};
use crate::kubernetes::{self, Kubernetes, Namespaced};
use crate::leader::{Election, Fence};
use crate::server::{self, Watchdog};
use crate::telemetry::{Kind, Metrics, Outcome};
use crate::watch::{Undecodable, readable};
use crate::{pipeline, platform, table};

type Fatal = Box<dyn std::error::Error + Send + Sync>;

/// How long the first listing of every watch may take before the operator says that it cannot run.
const SYNC_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT, then finishes what is under way.
pub async fn run(args: Args) -> Result<(), String> {
    let client = kubernetes::connect()
        .await
        .map_err(|e| format!("no Kubernetes configuration: {e}"))?;
    let shutdown = CancellationToken::new();
    tokio::spawn(stop_on_signal(shutdown.clone()));
    run_with(args, client, shutdown).await.map_err(|e| e.to_string())
}

/// The same against a given API server, until `shutdown` is cancelled.
pub async fn run_with(args: Args, client: Client, shutdown: CancellationToken) -> Result<(), Fatal> {
    let metrics = Metrics::default();
    let watchdog = Arc::new(Watchdog::default());
    let fence = Fence::closed();
    let settings = args.election(client.default_namespace());
    let lease = format!("{}/{}", settings.namespace, settings.name);
    let mut election = Election::new(client.clone(), settings, fence.clone(), metrics.clone());
    let listen = args.listen;
    let server = server::serve(listen, watchdog.clone(), metrics.clone(), shutdown.clone());
    let work = async {
        // Who waits for another's Lease does all that is asked of it.
        if !election.win(&shutdown, || watchdog.set_ready()).await {
            return Ok(());
        }
        let kubernetes = Kubernetes::new(client, metrics.clone(), fence);
        let ended = tokio::select! {
            ended = lead(args, kubernetes, metrics, watchdog.clone(), shutdown.clone()) => ended,
            // What is under way is dropped where it stands: somebody else may be writing.
            () = election.keep() => return Err(format!(
                "Lease {lease} is lost, so another operator may be leading; this process ends and starts over as a candidate"
            ).into()),
        };
        election.release().await;
        ended
    };
    // A server that cannot listen ends everything; one that was asked to stop does not cut short what is under way.
    let server = async {
        match server.await {
            Ok(()) => std::future::pending().await,
            Err(error) => format!("cannot serve on {listen}: {error}"),
        }
    };
    tokio::select! {
        ended = work => ended,
        error = server => Err(error.into()),
    }
}

/// Runs every controller until `shutdown` is cancelled.
async fn lead(
    args: Args,
    kubernetes: Kubernetes,
    metrics: Metrics,
    watchdog: Arc<Watchdog>,
    shutdown: CancellationToken,
) -> Result<(), Fatal> {
    let client = kubernetes.client();
    let (platforms, platform_writer) = reflector::store();
    let (pipelines, pipeline_writer) = reflector::store();
    let (tables, table_writer) = reflector::store();
    let (namespaces, namespace_writer) = reflector::store();
    let stores = Stores {
        platforms,
        pipelines,
        tables,
        namespaces,
        listed: Listed::default(),
        undecodable: Undecodable::default(),
    };
    metrics.count_conditions_in(stores.clone());
    let watched_namespaces = args
        .platform_namespaces
        .iter()
        .filter(|n| !n.is_empty())
        .cloned()
        .collect::<Vec<_>>();
    let settings = Config::default().concurrency(args.concurrency);
    let context = Arc::new(Context::new(
        kubernetes,
        metrics,
        watchdog.clone(),
        stores.clone(),
        &args,
    ));

    let namespace_watch = watch_namespaces(
        &client,
        namespace_writer,
        stores.listed.namespaces.clone(),
        shutdown.clone(),
    );
    let ready = mark_ready(stores.clone(), watchdog);

    let credential_stores = stores.clone();
    let platform_stream = changes(&client, platform_writer, &stores, stores.listed.platforms.clone());
    let platform_controller = Controller::for_stream(platform_stream, stores.platforms.clone())
        .with_config(settings.clone())
        .watches_stream(triggers::<TenantPipeline>(&client), |pipeline| {
            platform_of(&pipeline)
        })
        .watches_stream(watched_secrets(&client, args.watch_secrets), move |secret| {
            credential_stores.platforms_reading(&secret)
        })
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            |object, ctx| observed(Kind::DataPlatform, object, ctx, platform::reconcile),
            |object, error, ctx| back_off(Kind::DataPlatform, object.as_ref(), error, &ctx),
            context.clone(),
        )
        .for_each(log_error);

    let table_stores = stores.clone();
    let table_stream = changes(&client, table_writer, &stores, stores.listed.tables.clone());
    let table_controller = Controller::for_stream(table_stream, stores.tables.clone())
        .with_config(settings.clone())
        .watches_stream(triggers::<DataPlatform>(&client), move |platform| {
            table_stores.tables_on(&platform)
        })
        .watches_stream(triggers::<TenantPipeline>(&client), |pipeline| {
            referenced_tables(&pipeline)
        })
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            |object, ctx| observed(Kind::StarRocksTable, object, ctx, table::reconcile),
            |object, error, ctx| back_off(Kind::StarRocksTable, object.as_ref(), error, &ctx),
            context.clone(),
        )
        .for_each(log_error);

    let platform_stores = stores.clone();
    let shared_stores = stores.clone();
    let secret_stores = stores.clone();
    let pipeline_stream = changes(&client, pipeline_writer, &stores, stores.listed.pipelines.clone());
    let mut pipeline_controller = Controller::for_stream(pipeline_stream, stores.pipelines.clone())
        .with_config(settings)
        .watches_stream(triggers::<DataPlatform>(&client), move |platform| {
            platform_stores.pipelines_on(&platform)
        })
        .watches_stream(touched::<StarRocksTable>(&client), move |table| {
            shared_stores.pipelines_of(&table)
        })
        .watches_stream(watched_secrets(&client, args.watch_secrets), move |secret| {
            secret_stores.pipelines_reading(&secret)
        });
    let managed_by = format!("app.kubernetes.io/managed-by={}", names::MANAGED_BY);
    for namespace in &watched_namespaces {
        pipeline_controller = pipeline_controller.watches(
            Api::<Deployment>::namespaced(client.clone(), namespace),
            watcher::Config::default().labels(&managed_by),
            |deployment| pipeline_of(&deployment),
        );
    }
    let pipeline_controller = pipeline_controller
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            |object, ctx| observed(Kind::TenantPipeline, object, ctx, pipeline::reconcile),
            |object, error, ctx| back_off(Kind::TenantPipeline, object.as_ref(), error, &ctx),
            context,
        )
        .for_each(log_error);

    let work = async {
        tokio::join!(
            platform_controller,
            table_controller,
            pipeline_controller,
            namespace_watch
        );
    };
    tokio::select! {
        () = work => Ok(()),
        never_synced = ready => Err(never_synced.into()),
    }
}

/// The stream of objects whose turn it is: a status write of our own is no reason.
fn changes<K: Namespaced>(
    client: &Client,
    writer: reflector::store::Writer<K>,
    stores: &Stores,
    listed: CancellationToken,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    readable(everything::<K>(client), stores.undecodable.clone())
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .inspect(move |event| note_listing(event, &listed))
        .applied_objects()
        .predicate_filter(what_matters::<K>, PredicateConfig::default())
}

/// The same for objects that concern another kind; deletions count here.
fn triggers<K: Namespaced>(
    client: &Client,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    touched::<K>(client).predicate_filter(what_matters::<K>, PredicateConfig::default())
}

/// Every change, of a status too.
fn touched<K: Namespaced>(client: &Client) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    // Who watches a kind for its own sake remembers what cannot be read of it.
    readable(everything::<K>(client), Undecodable::default()).touched_objects()
}

fn everything<K: Namespaced>(
    client: &Client,
) -> impl Stream<Item = watcher::Result<watcher::Event<DeserializeGuard<K>>>> + Send + 'static {
    watcher(Api::<DeserializeGuard<K>>::all(client.clone()), watcher_config()).default_backoff()
}

/// Secrets that asked to be watched, by their metadata alone: a rotated credential is used within seconds.
fn watched_secrets(
    client: &Client,
    wanted: bool,
) -> impl Stream<Item = Result<PartialObjectMeta<Secret>, watcher::Error>> + Send + 'static {
    let labelled = watcher_config().labels(&format!("{}=true", names::LABEL_WATCH));
    let changes = watcher(Api::<PartialObjectMeta<Secret>>::all(client.clone()), labelled)
        .default_backoff()
        .touched_objects();
    if wanted {
        changes.left_stream()
    } else {
        futures::stream::pending().right_stream()
    }
}

/// The cache holds the whole listing once this event has passed it.
fn note_listing<K>(event: &Result<watcher::Event<K>, watcher::Error>, listed: &CancellationToken) {
    if matches!(event, Ok(watcher::Event::InitDone)) {
        listed.cancel();
    }
}

fn watcher_config() -> watcher::Config {
    // Small pages: the peak of a restart is the page, not the cluster.
    watcher::Config::default().page_size(50)
}

/// Generation, deletion, finalizers, labels and annotations. `generation` alone would hide the update that adds a finalizer and
/// every annotation that asks for something.
fn what_matters<K: Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.uid.hash(&mut hasher);
    Some(hasher.finish())
}

async fn watch_namespaces(
    client: &Client,
    writer: reflector::store::Writer<PartialObjectMeta<Namespace>>,
    listed: CancellationToken,
    shutdown: CancellationToken,
) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let mut stream = std::pin::pin!(
        watcher(api, watcher_config())
            .default_backoff()
            .modify(|namespace| namespace.managed_fields_mut().clear())
            .reflect(writer)
            .inspect(move |event| note_listing(event, &listed))
            .take_until(shutdown.cancelled_owned())
    );
    while let Some(event) = stream.next().await {
        if let Err(error) = event {
            tracing::warn!(%error, "watching namespaces");
        }
    }
}

/// Reports ready once every store has listed; ends (with what is missing) only if that takes too long.
async fn mark_ready(stores: Stores, watchdog: Arc<Watchdog>) -> String {
    match tokio::time::timeout(SYNC_TIMEOUT, stores.synced()).await {
        Ok(()) => {
            watchdog.set_ready();
            tracing::info!("watches synced");
            std::future::pending().await
        }
        Err(_) => format!(
            "the first listing of DataPlatforms, TenantPipelines, StarRocksTables and Namespaces did not finish in {}s: are the CRDs installed, and may this service account list and watch them in all namespaces?",
            SYNC_TIMEOUT.as_secs()
        ),
    }
}

fn platform_of(pipeline: &TenantPipeline) -> Option<ObjectRef<DataPlatform>> {
    let reference = pipeline.spec.platform_ref.as_ref()?;
    let own = pipeline.namespace()?;
    Some(ObjectRef::new(&reference.name).within(reference.namespace_or(&own)))
}

fn referenced_tables(pipeline: &TenantPipeline) -> Vec<ObjectRef<StarRocksTable>> {
    let own = pipeline.namespace().unwrap_or_default();
    crate::pipeline::table_refs(pipeline)
        .map(|reference| ObjectRef::new(&reference.name).within(reference.namespace_or(&own)))
        .collect()
}

fn pipeline_of(deployment: &Deployment) -> Option<ObjectRef<TenantPipeline>> {
    let name = deployment.labels().get(names::LABEL_PIPELINE)?;
    let namespace = deployment.labels().get(names::LABEL_PIPELINE_NAMESPACE)?;
    Some(ObjectRef::new(name).within(namespace))
}

/// Runs one reconcile under the watchdog, with its metrics and its log span.
async fn observed<K, F>(
    kind: Kind,
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, Error>
where
    K: Namespaced,
    F: Future<Output = Result<Action, Error>>,
{
    use tracing::Instrument;
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let span = tracing::info_span!("reconcile", ?kind, namespace, name);
    context.stores.synced().await;
    let started = Instant::now();
    let _running = context.watchdog.enter();
    context.metrics.started(kind);
    let result = reconcile(object, context.clone()).instrument(span).await;
    let outcome = if result.is_ok() {
        Outcome::Ok
    } else {
        Outcome::Error
    };
    context.metrics.finished(kind, outcome, started.elapsed());
    if result.is_ok() {
        context.attempts.succeeded(kind, &namespace, &name);
    }
    result
}

fn back_off<K: Namespaced>(kind: Kind, object: &K, error: &Error, context: &Context) -> Action {
    let namespace = object.namespace().unwrap_or_default();
    let attempt = context.attempts.failed(kind, &namespace, &object.name_any());
    let wait = error::backoff(error.retry_class(), attempt);
    tracing::warn!(?kind, namespace, name = object.name_any(), %error, attempt, wait_s = wait.as_secs(), "reconcile failed");
    error::requeue(wait)
}

async fn log_error<T, E: std::error::Error>(result: Result<T, E>) {
    if let Err(error) = result {
        // Reconcile errors are logged where their wait is known; what is left are watch errors.
        tracing::debug!(%error, "controller");
    }
}

async fn stop_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping: reconciles under way finish first");
    shutdown.cancel();
}

/// Reads an object of a store by name.
pub fn stored<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}
