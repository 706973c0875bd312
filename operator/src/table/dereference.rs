//! What a table refers to, who refers to it, and the physical table as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::DateTime;
use kube::ResourceExt;
use tributary_crds::status::{ConditionStatus, find};
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use super::ddl::Version;
use super::validate::Valid;
use crate::backend::starrocks::{AlterJob, LiveTable, LiveView, StarRocksClient};
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};
use crate::backends::{Credentials, credentials};
use crate::context::{Context, Stores, refers_to};
use crate::error::Error;

pub struct Referenced {
    pub platform: Option<Arc<DataPlatform>>,
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Tenants of the accepted pipelines in the table's namespace on the same platform.
    pub tenants: BTreeSet<String>,
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
    /// Whatever has the view's name, when a view is wanted.
    pub view: Option<LiveView>,
    /// Looked up only while columns are missing, with the server's clock.
    pub jobs: Vec<AlterJob>,
    pub clock: Option<DateTime>,
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
        tenants: tenants(platform.as_deref(), &own, &context.stores),
        writers: context.stores.pipelines_of(table).len(),
        platform,
        admin,
    })
}

fn tenants(platform: Option<&DataPlatform>, own: &str, stores: &Stores) -> BTreeSet<String> {
    let Some(platform) = platform else {
        return BTreeSet::new();
    };
    let accepted = |pipeline: &TenantPipeline| {
        let status = pipeline.status.as_ref();
        status
            .and_then(|s| find(&s.conditions, "Accepted"))
            .is_some_and(|c| c.status == ConditionStatus::True)
    };
    stores
        .pipelines
        .state()
        .iter()
        .filter(|p| p.namespace().as_deref() == Some(own))
        .filter(|p| refers_to(p.spec.platform_ref.as_ref(), own, platform) && accepted(p))
        .map(|p| p.spec.tenant.clone())
        .collect()
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

pub async fn live(valid: &Valid, client: &StarRocksClient) -> BackendResult<Live> {
    let version = client.probe().await?.version;
    let version = version.parse().map_err(|_| {
        BackendError::new(
            Backend::StarRocks,
            ErrorClass::Unsupported,
            "read version",
            format!("{version:?} is not a version this operator knows"),
        )
    })?;
    let name = &valid.desired.name;
    let table = client.table(name).await?;
    let view = match &valid.view {
        Some(view) => client.view(&view.name).await?,
        None => None,
    };
    let missing = |live: &LiveTable| {
        valid
            .desired
            .columns
            .iter()
            .any(|c| live.column(&c.name).is_none())
    };
    let (jobs, clock) = match table.as_ref().is_some_and(missing) {
        true => (client.alter_jobs(name).await?, client.clock().await?),
        false => (Vec::new(), None),
    };
    Ok(Live {
        version,
        database_exists: client.database_exists(&name.database).await?,
        table,
        view,
        jobs,
        clock,
    })
}
