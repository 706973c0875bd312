//! The controllers before a real API server (etcd and kube-apiserver), with backends that nobody answers for: what is refused,
//! what is waited for, that a steady object is not written, and that deletion neither hangs nor runs ahead.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tributary_crds::status::{Condition, find};
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};
use tributary_operator::args::{Args, LogFormat};
use tributary_operator::controllers;
use tributary_stage::{Options, Parts, Stage};

const WAIT: Duration = Duration::from_secs(90);

/// Asks until the answer is right.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn word(conditions: &[Condition], kind: &str) -> String {
    find(conditions, kind)
        .map(|c| format!("{}/{}", c.status, c.reason))
        .unwrap_or_default()
}

async fn client(stage: &Stage) -> Client {
    let path = &stage
        .info()
        .kubernetes
        .as_ref()
        .expect("an API server")
        .kubeconfig;
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in tributary_crds::crd::all() {
        let apply = PatchParams::apply("test").force();
        api.patch(&crd.name_any(), &apply, &Patch::Apply(&crd))
            .await
            .expect("a CRD");
        let name = crd.name_any();
        until("CRD established", || async {
            let crd = api.get(&name).await.ok()?;
            let conditions = crd.status?.conditions?;
            conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True")
                .then_some(())
        })
        .await;
    }
}

async fn namespace(client: &Client, name: &str, labels: serde_json::Value) {
    let api: Api<Namespace> = Api::all(client.clone());
    let object =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a namespace");
    api.create(&PostParams::default(), &object)
        .await
        .expect("created");
}

async fn create<K>(client: &Client, namespace: &str, object: serde_json::Value) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let object: K = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object)
        .await
        .expect("created");
    api
}

fn platform() -> serde_json::Value {
    json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform", "metadata": {"name": "main"}, "spec": {
        "ownerID": "test",
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"tributary.dev/platform": "main"}}},
        // Port 1: nobody answers.
        "kafka": {"bootstrapServers": ["127.0.0.1:1"]},
        "connect": {"url": "http://127.0.0.1:1", "sourceSecrets": {"type": "Mirrored", "mirrored": {
            "secretRef": {"name": "tributary-sources"}, "namespace": "kafka", "mountPath": "/s", "provider": "dir"}}},
        "starrocks": {"hot": {"httpEndpoints": ["http://127.0.0.1:1"], "mysqlEndpoints": ["127.0.0.1:1"],
            "adminCredentialsSecretRef": {"name": "admin"}, "loadCredentialsSecretRef": {"name": "load"}}}}})
}

fn pipeline() -> serde_json::Value {
    json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline", "metadata": {"name": "acme"}, "spec": {
        "platformRef": {"name": "main", "namespace": "tributary"}, "tenant": "acme",
        "source": {"mongodb": {"connectionSecretRef": {"name": "acme-mongodb", "key": "uri"}, "database": "shop_acme"}},
        "datasets": [{"name": "orders", "hot": {"tables": [{"name": "orders", "template": {
            "primaryKey": ["order_id"],
            "columns": [{"name": "order_id", "type": "VARCHAR(24)", "from": "_id", "bson": "ObjectId"}]}}]}}]}})
}

fn args() -> Args {
    Args {
        listen: ([127, 0, 0, 1], 0).into(),
        relay_image: "relay:test".to_owned(),
        platform_namespaces: vec!["tributary".to_owned()],
        concurrency: 4,
        resync_seconds: 2,
        log_format: LogFormat::Text,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_look_to_the_last() {
    let stage = tokio::task::spawn_blocking(|| Stage::up(Parts::ApiServer, Options::default()))
        .await
        .expect("a thread")
        .expect("an API server");
    let client = client(&stage).await;
    install_crds(&client).await;
    namespace(&client, "tributary", json!({})).await;
    namespace(&client, "kafka", json!({})).await;
    let labels = json!({"tributary.dev/platform": "main", "tributary.dev/tenant": "acme"});
    namespace(&client, "tenant-acme", labels).await;
    let shutdown = CancellationToken::new();
    let operator = tokio::spawn(controllers::run_with(args(), client.clone(), shutdown.clone()));

    // A platform says what does not answer, each by its own condition.
    for name in ["admin", "load"] {
        let secret =
            json!({"metadata": {"name": name}, "stringData": {"username": "u", "password": "secret-word"}});
        create::<Secret>(&client, "tributary", secret).await;
    }
    let platforms: Api<DataPlatform> = create(&client, "tributary", platform()).await;
    let status = until("platform status", || async {
        let status = platforms.get("main").await.ok()?.status?;
        (status.observed_generation > 0).then_some(status)
    })
    .await;
    assert_eq!(word(&status.conditions, "ConnectReachable"), "False/Unreachable");
    assert_eq!(word(&status.conditions, "HotReachable"), "False/Unreachable");
    assert_eq!(word(&status.conditions, "SourceSecretsReady"), "True/Mirrored");
    assert_eq!(word(&status.conditions, "Ready").split('/').next(), Some("False"));

    // A pipeline without its Secret is refused with the field named, and makes nothing.
    let pipelines: Api<TenantPipeline> = create(&client, "tenant-acme", pipeline()).await;
    let tables: Api<StarRocksTable> = Api::namespaced(client.clone(), "tenant-acme");
    let status = until("refusal", || async {
        pipelines.get("acme").await.ok()?.status?.reason.map(|r| (r, ()))
    })
    .await;
    assert_eq!(status.0, "SecretNotFound");
    assert!(
        tables
            .list(&Default::default())
            .await
            .expect("a list")
            .items
            .is_empty()
    );

    // With it, the child table appears under its owner, and what does not answer is Unknown.
    let uri = "mongodb://u:secret-word@127.0.0.1:1/?replicaSet=rs0";
    let secret = json!({"metadata": {"name": "acme-mongodb"}, "stringData": {"uri": uri}});
    create::<Secret>(&client, "tenant-acme", secret).await;
    let child = until("child table", || async {
        tables.get_opt("acme.orders.orders").await.ok()?
    })
    .await;
    assert_eq!(child.owner_references()[0].name, "acme");
    assert_eq!(child.spec.database.as_deref(), Some("tenant_acme"));
    let status = until("backends unknown", || async {
        let status = pipelines.get("acme").await.ok()?.status?;
        let known = word(&status.conditions, "TopicsReady") == "Unknown/BackendUnavailable"
            && word(&status.conditions, "ConnectorReady") == "Unknown/BackendUnavailable"
            && word(&status.conditions, "TablesReady") != "Unknown/NotYetChecked";
        known.then_some(status)
    })
    .await;
    assert_eq!(word(&status.conditions, "Accepted"), "True/Accepted");
    let text = serde_json::to_string(&status).expect("a status");
    assert!(!text.contains("secret-word"), "a credential in a status: {text}");

    steady_objects_are_not_written(&platforms, &pipelines, &tables).await;
    deletion(&client, &platforms, &pipelines, &tables).await;

    shutdown.cancel();
    operator.await.expect("no panic").expect("a clean end");
}

/// Several forced reconciles of the pipeline (its own requeue is 5 s) change no resourceVersion.
async fn steady_objects_are_not_written(
    platforms: &Api<DataPlatform>,
    pipelines: &Api<TenantPipeline>,
    tables: &Api<StarRocksTable>,
) {
    let versions = || async {
        (
            platforms
                .get("main")
                .await
                .ok()
                .and_then(|o| o.resource_version()),
            pipelines
                .get("acme")
                .await
                .ok()
                .and_then(|o| o.resource_version()),
            tables
                .get("acme.orders.orders")
                .await
                .ok()
                .and_then(|o| o.resource_version()),
        )
    };
    // What the breakers learn in their first minute may still change a reason once.
    let steady = until("a quiet moment of 15 s", || async {
        let before = versions().await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        (before == versions().await).then_some(before)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert_eq!(versions().await, steady, "written at steady state");
}

async fn deletion(
    client: &Client,
    platforms: &Api<DataPlatform>,
    pipelines: &Api<TenantPipeline>,
    tables: &Api<StarRocksTable>,
) {
    // The platform waits for its pipelines.
    platforms
        .delete("main", &DeleteParams::default())
        .await
        .expect("deleted");
    until("platform in use", || async {
        let status = platforms.get("main").await.ok()?.status?;
        (status.reason.as_deref() == Some("InUse")).then_some(())
    })
    .await;

    // The pipeline waits for Connect, says so, and makes nothing meanwhile.
    pipelines
        .delete("acme", &DeleteParams::default())
        .await
        .expect("deleted");
    let waiting = until("pipeline waits", || async {
        let status = pipelines.get("acme").await.ok()?.status?;
        (status.reason.as_deref() == Some("Deleting")).then(|| status.message.unwrap_or_default())
    })
    .await;
    assert!(waiting.contains("Kafka Connect does not answer"), "{waiting}");

    // Whoever takes the platform away declares its backends gone: nothing hangs any more.
    let release = json!({"metadata": {"finalizers": null}});
    platforms
        .patch("main", &PatchParams::default(), &Patch::Merge(&release))
        .await
        .expect("released");
    until("pipeline gone", || async {
        pipelines.get_opt("acme").await.ok()?.is_none().then_some(())
    })
    .await;
    until("child gone", || async {
        tables
            .get_opt("acme.orders.orders")
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "tenant-acme");
    assert!(
        secrets
            .get_opt("acme-mongodb")
            .await
            .expect("an answer")
            .is_some(),
        "the tenant's Secret is the tenant's"
    );
}
