//! Everything a pipeline refers to, read in one place: its platform, its namespace's labels, the source's Secret, the tables it
//! writes to but does not own, and its siblings.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tributary_crds::pipeline::MongoDbSource;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use super::credential::{self, Credential};
use crate::context::{Context, Stores};
use crate::error::Error;

/// What a pipeline refers to, as it is now. `None` means absent; whether it may be used is `validate`'s business.
pub struct Referenced {
    pub namespace_labels: Option<BTreeMap<String, String>>,
    pub platform: Option<Arc<DataPlatform>>,
    pub connection: Connection,
    /// By `namespace/name`.
    pub tables: BTreeMap<String, ReferencedTable>,
    /// Other pipelines on the same platform.
    pub siblings: Vec<Sibling>,
    /// The relay's image, unless the platform names one.
    pub relay_image: String,
}

/// A StarRocksTable that is named by `tableRef`.
pub struct ReferencedTable {
    pub table: Arc<StarRocksTable>,
}

/// What the source's Secrets hold.
#[derive(Clone, PartialEq, Eq)]
pub enum Connection {
    NoSecret,
    NoKey,
    NotText,
    /// The credentials Secret is absent, or not a basic-auth Secret.
    NoCredentials(String),
    Found(Credential),
}

/// Never prints the connection string.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSecret => "NoSecret",
            Self::NoKey => "NoKey",
            Self::NotText => "NotText",
            Self::NoCredentials(_) => "NoCredentials",
            Self::Found(_) => "Found(***)",
        })
    }
}

/// Another pipeline of the platform. Ordered by age: where there is room for some only, the older ones have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sibling {
    pub created: Option<jiff::Timestamp>,
    pub namespace: String,
    pub name: String,
    pub tenant: String,
}

pub async fn dereference(pipeline: &TenantPipeline, context: &Context) -> Result<Referenced, Error> {
    let own = pipeline.namespace().unwrap_or_default();
    let stores = &context.stores;
    // What cannot be read is neither absent nor forbidden: nothing may be stopped because of it.
    if let Some(reference) = &pipeline.spec.platform_ref {
        stores.readable::<DataPlatform>(reference, &own)?;
    }
    for reference in super::table_refs(pipeline) {
        stores.readable::<StarRocksTable>(reference, &own)?;
    }
    let platform = stores.platform(pipeline.spec.platform_ref.as_ref(), &own);
    Ok(Referenced {
        namespace_labels: stores.namespace(&own).map(|n| n.labels().clone()),
        connection: connection(pipeline, &own, context).await?,
        tables: tables(pipeline, &own, stores),
        siblings: siblings(pipeline, stores),
        relay_image: context.relay_image.clone(),
        platform,
    })
}

async fn connection(pipeline: &TenantPipeline, own: &str, context: &Context) -> Result<Connection, Error> {
    let Some(source) = &pipeline.spec.source.mongodb else {
        return Ok(Connection::NoSecret);
    };
    let mut secrets = BTreeMap::new();
    for name in secrets_of(source) {
        let secret: Option<Secret> = context.kubernetes.get(own, name).await?;
        secrets.extend(secret.map(|secret| (name.to_owned(), secret)));
    }
    Ok(connection_of(source, &secrets))
}

/// The names of the Secrets that a source's credential is in.
pub fn secrets_of(source: &MongoDbSource) -> impl Iterator<Item = &str> {
    let connection = source.connection_secret_ref.iter().map(|r| r.name.as_str());
    let credentials = source.credentials_secret_ref.iter().map(|r| r.name.as_str());
    connection.chain(credentials)
}

/// A source's credential in its Secrets, which are given by name.
pub fn connection_of(source: &MongoDbSource, secrets: &BTreeMap<String, Secret>) -> Connection {
    let data = |name: &str| secrets.get(name).map(|s| s.data.clone().unwrap_or_default());
    // A trailing newline is what `echo … | base64` leaves behind.
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|t| t.trim().to_owned());
    let Some((reference, connection)) = source
        .connection_secret_ref
        .as_ref()
        .and_then(|r| Some((r, data(&r.name)?)))
    else {
        return Connection::NoSecret;
    };
    let Some(value) = connection.get(&reference.key) else {
        return Connection::NoKey;
    };
    let Some(uri) = text(&value.0) else {
        return Connection::NotText;
    };
    let mut fields = BTreeMap::from([(credential::URI, uri)]);
    if let Some(reference) = &source.credentials_secret_ref {
        let basic = data(&reference.name).unwrap_or_default();
        for (key, field) in [("username", credential::USER), ("password", credential::PASSWORD)] {
            match basic.get(key).and_then(|value| text(&value.0)) {
                Some(value) if !value.is_empty() => drop(fields.insert(field, value)),
                _ => return Connection::NoCredentials(reference.name.clone()),
            }
        }
    }
    Connection::Found(Credential(fields))
}

fn tables(pipeline: &TenantPipeline, own: &str, stores: &Stores) -> BTreeMap<String, ReferencedTable> {
    super::table_refs(pipeline)
        .filter_map(|reference| {
            let table = stores.table(reference, own)?;
            let key = tributary_crds::names::qualified(reference, own);
            Some((key, ReferencedTable { table }))
        })
        .collect()
}

fn siblings(pipeline: &TenantPipeline, stores: &Stores) -> Vec<Sibling> {
    let Some(platform) = claimed_platform(pipeline) else {
        return Vec::new();
    };
    stores
        .pipelines
        .state()
        .iter()
        .filter(|other| other.metadata.uid != pipeline.metadata.uid)
        .filter(|other| claimed_platform(other).as_ref() == Some(&platform))
        .map(|other| sibling(other))
        .collect()
}

fn claimed_platform(pipeline: &TenantPipeline) -> Option<String> {
    let own = pipeline.namespace().unwrap_or_default();
    let reference = pipeline.spec.platform_ref.as_ref()?;
    Some(tributary_crds::names::qualified(reference, &own))
}

/// A pipeline as its siblings see it.
pub fn sibling(pipeline: &TenantPipeline) -> Sibling {
    Sibling {
        created: pipeline.metadata.creation_timestamp.as_ref().map(|t| t.0),
        namespace: pipeline.namespace().unwrap_or_default(),
        name: pipeline.name_any(),
        tenant: pipeline.spec.tenant.clone(),
    }
}
