//! What objects refer to, found among the files that were given. What files rarely hold (Secrets, labels of namespaces) is assumed to be
//! as it must be, and said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use tributary_crds::names::{LABEL_TENANT, qualified};
use tributary_crds::pipeline::MongoDbSource;
use tributary_crds::reference::ObjectRef;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};
use tributary_operator::pipeline::dereference::{
    Connection, Referenced, ReferencedTable, Sibling, connection_of, secrets_of, sibling,
};
use tributary_operator::{pipeline, table};

use crate::manifests::Manifests;

pub(crate) struct Files {
    platforms: Vec<Arc<DataPlatform>>,
    pub(crate) pipelines: Vec<Arc<TenantPipeline>>,
    pub(crate) tables: Vec<Arc<StarRocksTable>>,
    secrets: Vec<Arc<Secret>>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    relay_image: String,
}

/// Something that was not in the files.
#[derive(Default)]
pub(crate) struct Assumed(pub(crate) Vec<String>);

impl Assumed {
    fn say(&mut self, what: String) {
        if !self.0.contains(&what) {
            self.0.push(what);
        }
    }
}

impl Files {
    pub(crate) fn new(manifests: &Manifests, relay_image: String) -> Self {
        let labels = manifests.namespaces();
        let labels = labels
            .iter()
            .map(|n| (n.name_any(), n.labels().clone()))
            .collect();
        Self {
            platforms: manifests.platforms(),
            pipelines: manifests.pipelines(),
            tables: manifests.tables(),
            secrets: manifests.secrets(),
            labels,
            relay_image,
        }
    }

    pub(crate) fn platform(&self, reference: Option<&ObjectRef>, own: &str) -> Option<Arc<DataPlatform>> {
        named(&self.platforms, reference?, own)
    }

    pub(crate) fn pipeline_refs(&self, pipeline: &TenantPipeline) -> (Referenced, Assumed) {
        let own = pipeline.namespace().unwrap_or_default();
        let mut assumed = Assumed::default();
        let platform = self.platform(pipeline.spec.platform_ref.as_ref(), &own);
        let namespace_labels = self.labels(
            &own,
            platform.as_deref(),
            Some(&pipeline.spec.tenant),
            &mut assumed,
        );
        let tables = pipeline::table_refs(pipeline)
            .filter_map(|r| {
                let table = named(&self.tables, r, &own)?;
                Some((qualified(r, &own), ReferencedTable { table }))
            })
            .collect();
        let refs = Referenced {
            namespace_labels,
            connection: self.connection(pipeline, platform.as_deref(), &mut assumed),
            tables,
            siblings: self.siblings(pipeline),
            relay_image: self.relay_image.clone(),
            platform,
        };
        (refs, assumed)
    }

    pub(crate) fn table_refs(&self, of: &StarRocksTable) -> (table::dereference::Referenced, Assumed) {
        let own = of.namespace().unwrap_or_default();
        let mut assumed = Assumed::default();
        let platform = self.platform(of.spec.platform_ref.as_ref(), &own);
        let refs = table::dereference::Referenced {
            namespace_labels: self.labels(&own, platform.as_deref(), None, &mut assumed),
            tenants: self.tenants(&own),
            platform,
            admin: None,
            writers: 0,
        };
        (refs, assumed)
    }

    /// Tenants of the files' pipelines in a namespace: taken as accepted.
    fn tenants(&self, namespace: &str) -> BTreeSet<String> {
        let here = |p: &&Arc<TenantPipeline>| p.namespace().as_deref() == Some(namespace);
        self.pipelines
            .iter()
            .filter(here)
            .map(|p| p.spec.tenant.clone())
            .collect()
    }

    /// A namespace's labels; without its manifest those that the platform asks for.
    fn labels(
        &self,
        namespace: &str,
        platform: Option<&DataPlatform>,
        tenant: Option<&String>,
        assumed: &mut Assumed,
    ) -> Option<BTreeMap<String, String>> {
        if let Some(labels) = self.labels.get(namespace) {
            return Some(labels.clone());
        }
        let platform = platform?;
        let consent = platform.spec.allowed_namespaces.as_ref();
        let selector = consent.and_then(|a| a.selector.as_ref());
        let mut labels = selector.map(|s| s.match_labels.clone()).unwrap_or_default();
        if let Some(tenant) = tenant {
            labels.insert(LABEL_TENANT.to_owned(), tenant.clone());
        }
        if platform.namespace().as_deref() != Some(namespace) || tenant.is_some() {
            let shown: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            assumed.say(format!(
                "Namespace {namespace} carries the labels {}",
                shown.join(", ")
            ));
        }
        Some(labels)
    }

    fn connection(
        &self,
        pipeline: &TenantPipeline,
        platform: Option<&DataPlatform>,
        assumed: &mut Assumed,
    ) -> Connection {
        let own = pipeline.namespace().unwrap_or_default();
        let Some(source) = &pipeline.spec.source.mongodb else {
            return Connection::NoSecret;
        };
        let mut secrets = BTreeMap::new();
        for name in secrets_of(source) {
            let here = |s: &&Arc<Secret>| s.name_any() == name && s.namespace().as_deref() == Some(&own);
            let secret = match self.secrets.iter().find(here) {
                Some(written) => as_stored(written),
                None => assumed_secret(source, name, &own, platform, assumed),
            };
            secrets.insert(name.to_owned(), secret);
        }
        connection_of(source, &secrets)
    }

    fn siblings(&self, pipeline: &TenantPipeline) -> Vec<Sibling> {
        let platform_of = |p: &TenantPipeline| {
            let own = p.namespace().unwrap_or_default();
            p.spec.platform_ref.as_ref().map(|r| qualified(r, &own))
        };
        let identity = |p: &TenantPipeline| (p.namespace(), p.name_any());
        self.pipelines
            .iter()
            .filter(|other| {
                identity(other) != identity(pipeline) && platform_of(other) == platform_of(pipeline)
            })
            .map(|other| sibling(other))
            .collect()
    }
}

/// A Secret as the API server keeps it: what was written as text is data.
fn as_stored(written: &Secret) -> Secret {
    let mut secret = written.clone();
    let text = secret.string_data.take().unwrap_or_default();
    let text = text
        .into_iter()
        .map(|(key, value)| (key, ByteString(value.into_bytes())));
    secret.data.get_or_insert_default().extend(text);
    secret
}

/// A Secret that the files have not: it holds what it must.
fn assumed_secret(
    source: &MongoDbSource,
    name: &str,
    own: &str,
    platform: Option<&DataPlatform>,
    assumed: &mut Assumed,
) -> Secret {
    let mut data = BTreeMap::new();
    if let Some(reference) = source.connection_secret_ref.as_ref().filter(|r| r.name == name) {
        assumed.say(format!(
            "Secret {own}/{name}, key {}, holds a connection string that the platform permits",
            reference.key
        ));
        data.insert(reference.key.clone(), permitted_uri(platform));
    }
    if source
        .credentials_secret_ref
        .as_ref()
        .is_some_and(|r| r.name == name)
    {
        assumed.say(format!("Secret {own}/{name} is of type kubernetes.io/basic-auth"));
        data.extend(["username", "password"].map(|key| (key.to_owned(), "assumed".to_owned())));
    }
    as_stored(&Secret {
        string_data: Some(data),
        ..Secret::default()
    })
}

/// A connection string that would be accepted; its host is never shown.
fn permitted_uri(platform: Option<&DataPlatform>) -> String {
    let limits = platform.and_then(|p| p.spec.limits.as_ref());
    let pattern = limits
        .and_then(|l| l.source_hosts.first())
        .map_or("host", String::as_str);
    let host = pattern.replacen('*', "host", 1);
    format!("mongodb://{host}/?replicaSet=assumed")
}

fn named<K: Resource>(objects: &[Arc<K>], reference: &ObjectRef, own: &str) -> Option<Arc<K>> {
    let namespace = reference.namespace_or(own);
    let meant = |o: &&Arc<K>| {
        o.meta().name.as_deref() == Some(&reference.name) && o.meta().namespace.as_deref() == Some(namespace)
    };
    objects.iter().find(meant).cloned()
}
