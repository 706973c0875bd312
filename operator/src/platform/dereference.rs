//! What a platform refers to, and who refers to it.

use kube::ResourceExt;
use tributary_crds::{DataPlatform, StarRocksTable, TenantPipeline};

use crate::backends::{Credentials, credentials};
use crate::context::{Context, refers_to};
use crate::error::Error;

pub struct Referenced {
    /// `None`: absent, or not a basic-auth Secret.
    pub admin: Option<Credentials>,
    pub load: Option<Credentials>,
    pub pipelines: usize,
}

pub async fn dereference(platform: &DataPlatform, context: &Context) -> Result<Referenced, Error> {
    let hot = &platform.spec.starrocks.hot;
    let kubernetes = &context.kubernetes;
    Ok(Referenced {
        admin: credentials(kubernetes, platform, &hot.admin_credentials_secret_ref.name).await?,
        load: credentials(kubernetes, platform, &hot.load_credentials_secret_ref.name).await?,
        pipelines: context.stores.pipelines_on(platform).len(),
    })
}

/// Everything that names the platform, asked from the API server: a cache could miss what was created a moment ago.
pub async fn users_live(platform: &DataPlatform, context: &Context) -> Result<Vec<String>, Error> {
    let mut users = Vec::new();
    for pipeline in context.kubernetes.list_all::<TenantPipeline>().await? {
        let own = pipeline.namespace().unwrap_or_default();
        if refers_to(pipeline.spec.platform_ref.as_ref(), &own, platform) {
            users.push(format!("TenantPipeline {own}/{}", pipeline.name_any()));
        }
    }
    for table in context.kubernetes.list_all::<StarRocksTable>().await? {
        let own = table.namespace().unwrap_or_default();
        if refers_to(table.spec.platform_ref.as_ref(), &own, platform) {
            users.push(format!("StarRocksTable {own}/{}", table.name_any()));
        }
    }
    Ok(users)
}
