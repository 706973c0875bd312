//! What a plan or an explanation needs of a cluster, read with the rights of whoever asks into the same caches the operator has.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::watcher::Event;
use tributary_crds::reference::ObjectRef;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};
use tributary_operator::args::{Args, LogFormat};
use tributary_operator::context::{Context, Listed, Stores};
use tributary_operator::kubernetes::Kubernetes;
use tributary_operator::leader::Fence;
use tributary_operator::pipeline;
use tributary_operator::server::Watchdog;
use tributary_operator::telemetry::Metrics;
use tributary_operator::watch::Undecodable;

use crate::fetch::{FetchError, within};
use crate::output::Failure;

pub(crate) struct Cluster {
    pub(crate) pipeline: Arc<TenantPipeline>,
    pub(crate) context: Context,
    /// What may not be read, and what that leaves open.
    pub(crate) unseen: Vec<String>,
}

pub(crate) async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
    relay_image: &str,
) -> Result<Cluster, Failure> {
    let pipelines: Api<TenantPipeline> = Api::namespaced(client.clone(), namespace);
    let found = within(pipelines.get_opt(name))
        .await
        .map_err(|why| FetchError::Unreadable {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            why,
        })?;
    let pipeline = Arc::new(found.ok_or_else(|| FetchError::NotFound {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })?);
    let mut unseen = Vec::new();
    let stores = stores(client, &pipeline, namespace, &mut unseen).await;
    let metrics = Metrics::default();
    // Closed: whatever is called by mistake, nothing is written.
    let kubernetes = Kubernetes::new(client.clone(), metrics.clone(), Fence::closed());
    let args = args(relay_image);
    let context = Context::new(kubernetes, metrics, Arc::new(Watchdog::default()), stores, &args);
    Ok(Cluster {
        pipeline,
        context,
        unseen,
    })
}

async fn stores(client: &Client, pipeline: &TenantPipeline, own: &str, unseen: &mut Vec<String>) -> Stores {
    let platforms = get::<DataPlatform>(client, pipeline.spec.platform_ref.as_ref(), own).await;
    let mut tables: Vec<StarRocksTable> = Vec::new();
    for reference in pipeline::table_refs(pipeline) {
        tables.extend(get::<StarRocksTable>(client, Some(reference), own).await);
    }
    let params = ListParams::default();
    match within(Api::<StarRocksTable>::namespaced(client.clone(), own).list(&params)).await {
        Ok(list) => tables.extend(list.items),
        Err(why) => unseen.push(format!("StarRocksTables of {own}: {why}")),
    }
    let pipelines = match within(Api::<TenantPipeline>::all(client.clone()).list(&params)).await {
        Ok(list) => list.items,
        Err(why) => {
            unseen.push(format!("claims of pipelines in other namespaces: {why}"));
            vec![pipeline.clone()]
        }
    };
    let namespace = within(Api::<Namespace>::all(client.clone()).get_metadata_opt(own)).await;
    let namespace = namespace.unwrap_or_else(|why| {
        unseen.push(format!("labels of Namespace {own}: {why}"));
        None
    });
    Stores {
        platforms: filled(platforms),
        pipelines: filled(pipelines),
        tables: filled(tables),
        namespaces: filled::<PartialObjectMeta<Namespace>>(namespace),
        listed: Listed::default(),
        undecodable: Undecodable::default(),
    }
}

/// What the reference means; absent and not to be read are the same to whoever asks.
async fn get<K>(client: &Client, reference: Option<&ObjectRef>, own: &str) -> Option<K>
where
    K: tributary_operator::kubernetes::Namespaced,
{
    let reference = reference?;
    let api: Api<K> = Api::namespaced(client.clone(), reference.namespace_or(own));
    within(api.get_opt(&reference.name)).await.ok().flatten()
}

fn filled<K>(objects: impl IntoIterator<Item = K>) -> Store<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    let (store, mut writer) = store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(object));
    }
    store
}

/// Of the operator's settings only the image of relays is part of a plan.
fn args(relay_image: &str) -> Args {
    Args {
        listen: ([127, 0, 0, 1], 0).into(),
        relay_image: relay_image.to_owned(),
        platform_namespaces: vec![],
        watch_secrets: false,
        concurrency: 1,
        resync_seconds: 600,
        namespace_yield_seconds: 600,
        lease_name: String::new(),
        lease_namespace: None,
        lease_seconds: 15,
        identity: None,
        log_format: LogFormat::Text,
    }
}

/// The image that the cluster's operator gives its relays, where its Deployment may be read.
pub(crate) async fn relay_image(client: &Client) -> Option<String> {
    use k8s_openapi::api::apps::v1::Deployment;
    let labels = "app.kubernetes.io/name=tributary,app.kubernetes.io/component=operator";
    let params = ListParams::default().labels(labels);
    let found = within(Api::<Deployment>::all(client.clone()).list(&params))
        .await
        .ok()?;
    let spec = found.items.into_iter().next()?.spec?.template.spec?;
    let env = spec.containers.into_iter().next()?.env?;
    env.into_iter().find(|e| e.name == "TRIBUTARY_RELAY_IMAGE")?.value
}
