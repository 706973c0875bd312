//! Watches that outlive what they cannot read: an object written under a newer schema is left out and remembered, and everything
//! else goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};

use crate::context::lock;
use crate::error::Error;
use crate::kubernetes::Namespaced;

/// Objects that exist and cannot be read, by kind, namespace and name, with the reason. What refers to one waits: it is neither
/// absent nor without consent.
#[derive(Clone, Default)]
pub struct Undecodable(Arc<Mutex<BTreeMap<ObjectKey, String>>>);

/// Kind, namespace and name.
type ObjectKey = (String, String, String);

impl Undecodable {
    /// An error when that object exists and cannot be read.
    pub fn check<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let key = (K::kind(&()).into_owned(), namespace.to_owned(), name.to_owned());
        match lock(&self.0).get(&key) {
            None => Ok(()),
            Some(why) => Err(Error::Undecodable {
                object: format!("{} {namespace}/{name}", key.0),
                why: why.clone(),
            }),
        }
    }

    /// The object when it can be read.
    fn sort<K: Namespaced>(&self, guarded: DeserializeGuard<K>) -> Option<K> {
        let meta = kube::Resource::meta(&guarded);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let key = (K::kind(&()).into_owned(), text(&meta.namespace), text(&meta.name));
        match guarded.0 {
            Ok(object) => {
                lock(&self.0).remove(&key);
                Some(object)
            }
            Err(invalid) => {
                let known = lock(&self.0).insert(key.clone(), invalid.error.clone());
                if known.as_ref() != Some(&invalid.error) {
                    let (kind, namespace, name) = key;
                    tracing::error!(
                        kind,
                        namespace,
                        name,
                        error = invalid.error,
                        "this version cannot read the object: it is left as it is until it can; are the CRDs newer than the operator?"
                    );
                }
                None
            }
        }
    }

    fn forget<K: Namespaced>(&self, guarded: &DeserializeGuard<K>) {
        let meta = kube::Resource::meta(guarded);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        lock(&self.0).remove(&(K::kind(&()).into_owned(), text(&meta.namespace), text(&meta.name)));
    }
}

/// The stream without what cannot be read. A readable object that becomes unreadable keeps its last state in a reflector.
pub fn readable<K: Namespaced>(
    stream: impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>>,
    undecodable: Undecodable,
) -> impl Stream<Item = watcher::Result<Event<K>>> {
    stream.filter_map(move |event| {
        let event = event.map(|event| pass(event, &undecodable)).transpose();
        futures::future::ready(event)
    })
}

fn pass<K: Namespaced>(event: Event<DeserializeGuard<K>>, undecodable: &Undecodable) -> Option<Event<K>> {
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::Apply(guarded) => Event::Apply(undecodable.sort(guarded)?),
        Event::InitApply(guarded) => Event::InitApply(undecodable.sort(guarded)?),
        Event::Delete(guarded) => {
            undecodable.forget(&guarded);
            Event::Delete(guarded.0.ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tributary_crds::TenantPipeline;

    fn guarded(name: &str, tenant: serde_json::Value) -> DeserializeGuard<TenantPipeline> {
        serde_json::from_value(json!({
            "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
            "metadata": {"name": name, "namespace": "tenant-acme"},
            "spec": {"tenant": tenant, "source": {}},
        }))
        .expect("metadata at least")
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_stops_nothing_and_is_not_absent() {
        let undecodable = Undecodable::default();
        let events = [
            Event::Init,
            Event::InitApply(guarded("newer", json!({"id": "acme"}))),
            Event::InitApply(guarded("good", json!("acme"))),
            Event::InitDone,
        ];
        let stream = futures::stream::iter(events.map(Ok));
        let seen: Vec<_> = readable(stream, undecodable.clone()).collect().await;
        assert!(
            matches!(&seen[..], [Ok(Event::Init), Ok(Event::InitApply(p)), Ok(Event::InitDone)] if p.metadata.name.as_deref() == Some("good")),
            "{seen:?}"
        );
        let check = |name| undecodable.check::<TenantPipeline>("tenant-acme", name);
        assert!(check("good").is_ok());
        let error = check("newer").expect_err("it exists").to_string();
        assert!(error.contains("tenant-acme/newer"), "{error}");
        // Mended, or gone.
        pass(Event::Apply(guarded("newer", json!("acme"))), &undecodable).expect("readable");
        assert!(check("newer").is_ok());
        assert!(pass(Event::Apply(guarded("newer", json!(1))), &undecodable).is_none());
        assert!(pass(Event::Delete(guarded("newer", json!(1))), &undecodable).is_none());
        assert!(check("newer").is_ok());
    }
}
