//! The one door to the Kubernetes API: every call has a timeout, every write is server-side apply or a patch, and nothing is
//! sent that would change nothing.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams, Patch, PatchParams, PropagationPolicy};
use kube::core::ObjectMeta;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use tributary_crds::names::FINALIZER;

use crate::error::Error;
use crate::leader::Fence;
use crate::telemetry::{ApiWrite, Metrics};

/// One Kubernetes call may take this long. kube's own retry (15 tries, up to 1000 s apart) is switched off: an object's turn
/// must end, and the controller's backoff brings it back.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Manager of everything applied on behalf of one object kind; the mirrored Secret has one per pipeline.
pub const FIELD_MANAGER: &str = "tributary-operator";
/// Manager of statuses: distinct, so that applying an object never touches its status fields.
pub const STATUS_MANAGER: &str = "tributary-operator-status";
/// Digest of an object as it was asked for, on the object: tells a removed field from one that never was.
pub const DIGEST_ANNOTATION: &str = "tributary.dev/applied-digest";

/// Kinds in a namespace whose type is known at compile time.
pub trait Namespaced:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Namespaced for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Connects with the settings every call relies on.
pub async fn connect() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    metrics: Metrics,
    fence: Fence,
}

impl Kubernetes {
    pub fn new(client: Client, metrics: Metrics, fence: Fence) -> Self {
        Self {
            client,
            metrics,
            fence,
        }
    }

    /// Whether this process may write; asked right before every write.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn api<K: Namespaced>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub async fn get<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        let what = || format!("get {} {namespace}/{name}", K::kind(&()));
        within(what, self.api::<K>(namespace).get_opt(name)).await
    }

    /// A cluster-scoped object (namespaces are the only ones read).
    pub async fn get_namespace(
        &self,
        name: &str,
    ) -> Result<Option<k8s_openapi::api::core::v1::Namespace>, Error> {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        within(|| format!("get Namespace {name}"), api.get_opt(name)).await
    }

    pub async fn list<K: Namespaced>(&self, namespace: &str, labels: &str) -> Result<Vec<K>, Error> {
        let what = || format!("list {} in {namespace} ({labels})", K::kind(&()));
        let api = self.api::<K>(namespace);
        let params = ListParams::default().labels(labels);
        Ok(within(what, api.list(&params)).await?.items)
    }

    pub async fn list_all<K: Namespaced>(&self) -> Result<Vec<K>, Error> {
        let what = || format!("list {} in all namespaces", K::kind(&()));
        let api: Api<K> = Api::all(self.client.clone());
        Ok(within(what, api.list(&ListParams::default())).await?.items)
    }

    /// Applies `desired`. Whether it is needed at all is a plan's decision: see [`is_applied`].
    pub async fn apply<K: Namespaced>(&self, desired: &K, manager: &str) -> Result<(), Error> {
        let namespace = desired.namespace().unwrap_or_default();
        let name = desired.name_any();
        let what = || format!("apply {} {namespace}/{name}", K::kind(&()));
        let body = sealed(&typed(desired).map_err(|e| Error::serialise(what(), e))?);
        let params = PatchParams::apply(manager).force();
        let api = self.api::<K>(&namespace);
        self.write(what, api.patch(&name, &params, &Patch::Apply(&body)))
            .await?;
        self.metrics.wrote(ApiWrite::Apply);
        Ok(())
    }

    /// Applies exactly what `desired` says, without marking the object as ours: for an object that many managers share.
    pub async fn apply_keys<K: Namespaced>(&self, desired: &K, manager: &str) -> Result<(), Error> {
        let namespace = desired.namespace().unwrap_or_default();
        let name = desired.name_any();
        let what = || format!("apply keys of {} {namespace}/{name}", K::kind(&()));
        let body = typed(desired).map_err(|e| Error::serialise(what(), e))?;
        let params = PatchParams::apply(manager).force();
        let api = self.api::<K>(&namespace);
        self.write(what, api.patch(&name, &params, &Patch::Apply(&body)))
            .await?;
        self.metrics.wrote(ApiWrite::Apply);
        Ok(())
    }

    /// Asks the API server whether an apply would be allowed and valid, without writing.
    pub async fn dry_run_secret(&self, namespace: &str, name: &str, manager: &str) -> Result<(), Error> {
        let api: Api<k8s_openapi::api::core::v1::Secret> = self.api(namespace);
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        let mut params = PatchParams::apply(manager).force();
        params.dry_run = true;
        let what = || format!("dry-run apply of Secret {namespace}/{name}");
        within(what, api.patch(name, &params, &Patch::Apply(&body))).await?;
        Ok(())
    }

    /// Writes the whole status as ours.
    pub async fn apply_status<K: Namespaced>(&self, of: &K, status: &Value) -> Result<(), Error> {
        let namespace = of.namespace().unwrap_or_default();
        let name = of.name_any();
        let what = || format!("status of {} {namespace}/{name}", K::kind(&()));
        let body = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        let api = self.api::<K>(&namespace);
        self.write(what, api.patch_status(&name, &params, &Patch::Apply(&body)))
            .await?;
        self.metrics.wrote(ApiWrite::Status);
        Ok(())
    }

    /// Sets one annotation of an object that somebody else made; an absent object is success.
    pub async fn annotate<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), Error> {
        let what = || format!("annotate {} {namespace}/{name}", K::kind(&()));
        let body = json!({"metadata": {"annotations": {key: value}}});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        let api = self.api::<K>(namespace);
        match self
            .write(what, api.patch_metadata(name, &params, &Patch::Merge(&body)))
            .await
        {
            Err(error) if error.is_not_found() => Ok(()),
            done => {
                done?;
                self.metrics.wrote(ApiWrite::Apply);
                Ok(())
            }
        }
    }

    /// Background deletion; an absent object is success.
    pub async fn delete<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let what = || format!("delete {} {namespace}/{name}", K::kind(&()));
        let params = kube::api::DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..Default::default()
        };
        let api = self.api::<K>(namespace);
        match self.write(what, api.delete(name, &params)).await {
            Ok(_) => {
                self.metrics.wrote(ApiWrite::Delete);
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds our finalizer; fails with a conflict when the object changed since it was read.
    pub async fn add_finalizer<K: Namespaced>(&self, of: &K) -> Result<(), Error> {
        if of.finalizers().iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        let mut finalizers = of.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(of, finalizers).await
    }

    /// Lets the object go; an absent object is success.
    pub async fn remove_finalizer<K: Namespaced>(&self, of: &K) -> Result<(), Error> {
        if !of.finalizers().iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        let rest = of.finalizers().iter().filter(|f| *f != FINALIZER);
        match self.set_finalizers(of, rest.cloned().collect()).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn set_finalizers<K: Namespaced>(&self, of: &K, finalizers: Vec<String>) -> Result<(), Error> {
        let namespace = of.namespace().unwrap_or_default();
        let name = of.name_any();
        let what = || format!("finalizers of {} {namespace}/{name}", K::kind(&()));
        // The resourceVersion makes it a compare-and-swap: another party's finalizer is never lost.
        let body = json!({"metadata": {"resourceVersion": of.resource_version(), "finalizers": finalizers}});
        let api = self.api::<K>(&namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        self.write(what, api.patch_metadata(&name, &params, &Patch::Merge(&body)))
            .await?;
        self.metrics.wrote(ApiWrite::Finalizer);
        Ok(())
    }

    /// A call that changes something: only while this process leads.
    async fn write<T>(
        &self,
        what: impl Fn() -> String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        self.fence
            .check()
            .map_err(|source| Error::NotLeading { call: what(), source })?;
        within(what, call).await
    }
}

async fn within<T>(
    what: impl Fn() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::kubernetes(what(), source)),
        Err(_) => Err(Error::KubernetesTimeout {
            call: what(),
            after: CALL_TIMEOUT,
        }),
    }
}

/// Whether `live` already holds all of `desired`, so that applying it would change nothing.
pub fn is_applied<K: Namespaced>(live: Option<&K>, desired: &K) -> bool {
    let (Some(live), Ok(body)) = (live, typed(desired)) else {
        return false;
    };
    serde_json::to_value(live).is_ok_and(|live| covers(&live, &without_type(&sealed(&body))))
}

/// The object's JSON with its type, which typed Kubernetes objects do not carry.
fn typed<K: Namespaced>(object: &K) -> Result<Value, serde_json::Error> {
    let mut body = serde_json::to_value(object)?;
    body["apiVersion"] = json!(K::api_version(&()));
    body["kind"] = json!(K::kind(&()));
    Ok(body)
}

fn without_type(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(map) = body.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    body
}

/// The object with the digest of itself as an annotation.
fn sealed(body: &Value) -> Value {
    let digest = tributary_crds::relay::digest_of(body);
    let mut body = body.clone();
    body["metadata"]["annotations"][DIGEST_ANNOTATION] = json!(digest);
    body
}

/// Whether `live` holds everything `desired` says. Lists match element by element; what the API server defaulted beside is
/// of no concern, and what is empty may be absent.
pub fn covers(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, value)| {
            live.get(key)
                .map_or_else(|| is_empty(value), |l| covers(l, value))
        }),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len() && live.iter().zip(desired).all(|(l, d)| covers(l, d))
        }
        (Value::String(live), Value::String(desired)) => live == desired || same_quantity(live, desired),
        (live, desired) => live == desired,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The API server rewrites quantities (`0.5` becomes `500m`): the same amount is no difference.
fn same_quantity(a: &str, b: &str) -> bool {
    matches!((amount(a), amount(b)), (Some(a), Some(b)) if (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()))
}

fn amount(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 12] = [
        ("m", 1e-3),
        ("", 1.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
    ];
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    Some(number.parse::<f64>().ok()? * factor)
}

/// The object as the API server would store it after [`Kubernetes::apply`].
pub fn stored<K: Namespaced>(desired: &K) -> K {
    let body = typed(desired).map(|body| sealed(&body));
    // What serialises reads back; if it ever should not, the object as asked for is the better answer than none.
    body.and_then(serde_json::from_value)
        .unwrap_or_else(|_| desired.clone())
}

/// Metadata for an object we make.
pub fn metadata(
    namespace: &str,
    name: impl Into<String>,
    labels: std::collections::BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.into()),
        labels: Some(labels),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_beside_what_we_asked_do_not_count_as_a_difference() {
        let live = json!({"spec": {"replicas": 1, "paused": false, "c": [{"name": "a", "x": 1}]}});
        assert!(covers(
            &live,
            &json!({"spec": {"replicas": 1, "c": [{"name": "a"}]}})
        ));
        assert!(!covers(&live, &json!({"spec": {"replicas": 0}})));
        assert!(!covers(&live, &json!({"spec": {"c": []}})));
        assert!(covers(
            &live,
            &json!({"status": null, "ports": [], "metadata": {"annotations": {}}})
        ));
    }

    #[test]
    fn quantities_compare_by_amount() {
        assert!(covers(&json!("500m"), &json!("0.5")));
        assert!(covers(&json!("1Gi"), &json!("1024Mi")));
        assert!(!covers(&json!("1G"), &json!("1Gi")));
        assert!(!covers(&json!("relay"), &json!("other")));
    }

    #[test]
    fn the_digest_changes_when_a_field_is_removed() {
        let with = sealed(&json!({"metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}}));
        let less = sealed(&json!({"metadata": {"name": "a"}, "spec": {"x": 1}}));
        assert!(!covers(&with, &less), "y was dropped: the digest must tell");
    }
}
