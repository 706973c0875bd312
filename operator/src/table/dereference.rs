//! What a table refers to, who refers to it, and the physical table as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use tributary_crds::{DataPlatform, StarRocksTable};

use super::ddl::Version;
use super::validate::Valid;
use crate::backend::starrocks::{LiveTable, StarRocksClient};
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};
use crate::backends::{Credentials, credentials};
use crate::context::Context;
use crate::error::Error;

pub struct Referenced {
    pub platform: Option<Arc<DataPlatform>>,
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// `None`: absent, or not a basic-auth Secret.
    pub admin: Option<Credentials>,
    /// Pipelines that own the table or refer to it.
    pub writers: usize,
}

/// The hot cluster's answer about one table.
pub struct Live {
    pub version: Version,
    pub database_exists: bool,
    pub table: Option<LiveTable>,
}

pub async fn dereference(table: &StarRocksTable, context: &Context) -> Result<Referenced, Error> {
    let own = table.namespace().unwrap_or_default();
    let platform = context.stores.platform(table.spec.platform_ref.as_ref(), &own);
    let admin = match &platform {
        Some(platform) => {
            let secret = &platform.spec.starrocks.hot.admin_credentials_secret_ref.name;
            credentials(&context.kubernetes, platform, secret).await?
        }
        None => None,
    };
    Ok(Referenced {
        namespace_labels: context.stores.namespace(&own).map(|n| n.labels().clone()),
        writers: context.stores.pipelines_of(table).len(),
        platform,
        admin,
    })
}

/// A client for the table's cluster.
pub fn client(refs: &Referenced, context: &Context) -> BackendResult<StarRocksClient> {
    let missing = |text: &str| {
        BackendError::new(
            Backend::StarRocks,
            ErrorClass::AuthenticationFailed,
            "connect",
            text,
        )
    };
    let platform = refs
        .platform
        .as_ref()
        .ok_or_else(|| missing("the platform is gone"))?;
    let admin = refs.admin.as_ref().ok_or_else(|| {
        missing("the Secret named by starrocks.hot.adminCredentialsSecretRef is absent or not basic-auth")
    })?;
    context.backends.starrocks(platform, admin)
}

pub async fn live(valid: &Valid, refs: &Referenced, context: &Context) -> BackendResult<Live> {
    let client = client(refs, context)?;
    let version = client.probe().await?.version;
    let version = version.parse().map_err(|_| {
        BackendError::new(
            Backend::StarRocks,
            ErrorClass::Unsupported,
            "read version",
            format!("{version:?} is not a version this operator knows"),
        )
    })?;
    Ok(Live {
        version,
        database_exists: client.database_exists(&valid.desired.name.database).await?,
        table: client.table(&valid.desired.name).await?,
    })
}
