//! `DataPlatform`: probes of what pipelines depend on, as conditions; and protection while something names it.

pub mod apply;
pub mod dereference;
pub mod plan;
pub mod status;
pub mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tributary_crds::platform::DataPlatform;

use crate::context::Context;
use crate::error::{self, Error};
use crate::pipeline::teardown::plan::{Patience, patience};
use crate::publish::publish;
use crate::telemetry::Kind;

/// A platform that is not ready is probed this often; the breakers see to it that an endpoint is not.
const NOT_READY: std::time::Duration = std::time::Duration::from_secs(10);
/// A ready one, so that an outage shows without anybody's reconcile.
const READY: std::time::Duration = std::time::Duration::from_secs(30);

pub async fn reconcile(platform: Arc<DataPlatform>, context: Arc<Context>) -> Result<Action, Error> {
    if platform.meta().deletion_timestamp.is_some() {
        return delete(&platform, &context).await;
    }
    if crate::is_disabled(platform.as_ref()) {
        return Ok(Action::await_change());
    }
    context.kubernetes.add_finalizer(platform.as_ref()).await?;
    let seen = dereference::dereference(&platform, &context).await?;
    let valid = validate::validate(&platform);
    let plan = plan::plan(&platform, valid.as_ref().err().map(String::as_str), &seen);
    let answers = apply::apply(&plan, &platform, &context).await;
    let next = status::status(&platform, &plan, &answers, &seen, Timestamp::now());
    publish(
        &context,
        Kind::DataPlatform,
        platform.as_ref(),
        platform.status.as_ref(),
        &next,
    )
    .await?;
    let ready = status::is_ready(&next);
    Ok(error::requeue(if ready { READY } else { NOT_READY }))
}

/// Deletion waits while anything names the platform: without it nobody could take those objects down in order.
async fn delete(platform: &DataPlatform, context: &Context) -> Result<Action, Error> {
    let users = dereference::users_live(platform, context).await?;
    if users.is_empty() || guard_yields(platform, context) {
        context.kubernetes.remove_finalizer(platform).await?;
        return Ok(Action::await_change());
    }
    tracing::info!(
        platform = platform.name_any(),
        users = users.len(),
        "deletion waits"
    );
    let next = status::in_use(platform, &users, Timestamp::now());
    publish(
        context,
        Kind::DataPlatform,
        platform,
        platform.status.as_ref(),
        &next,
    )
    .await?;
    Ok(error::requeue(NOT_READY))
}

/// Rule 25: a namespace that goes takes the platform with it, bounded, whoever names it. Its relays and Secrets are there too: what
/// named it can do nothing any more but be deleted.
fn guard_yields(platform: &DataPlatform, context: &Context) -> bool {
    let since = platform.metadata.deletion_timestamp.as_ref().map(|t| t.0);
    let waited = since.map_or(std::time::Duration::ZERO, |t| {
        Timestamp::now().duration_since(t).unsigned_abs()
    });
    let namespace = context.yields_after(&platform.namespace().unwrap_or_default());
    patience(waited, None, namespace) != Patience::Wait
}
