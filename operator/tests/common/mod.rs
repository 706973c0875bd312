//! What the tests against a real API server share.
#![allow(dead_code, unreachable_pub)]

pub mod proxy;

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource, ResourceExt};
use serde_json::json;
use tributary_crds::status::{Condition, find};
use tributary_stage::{Options, Parts, Stage};

/// Patience, not a claim of speed: CI compiles images meanwhile.
pub const WAIT: Duration = Duration::from_secs(300);

pub async fn raise(parts: Parts) -> Stage {
    tokio::task::spawn_blocking(move || Stage::up(parts, Options::default()))
        .await
        .expect("a thread")
        .expect("a stage")
}

/// Asks until the answer is right.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `status/reason` of a condition.
pub fn word(conditions: &[Condition], kind: &str) -> String {
    find(conditions, kind)
        .map(|c| format!("{}/{}", c.status, c.reason))
        .unwrap_or_default()
}

pub async fn client(stage: &Stage) -> Client {
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

pub async fn install_crds(client: &Client) {
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

pub async fn namespace(client: &Client, name: &str, labels: serde_json::Value) {
    let api: Api<Namespace> = Api::all(client.clone());
    let object =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a namespace");
    api.create(&PostParams::default(), &object)
        .await
        .expect("created");
}

pub async fn create<K>(client: &Client, namespace: &str, object: serde_json::Value) -> Api<K>
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
