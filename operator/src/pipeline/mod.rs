//! `TenantPipeline`: topics → tables → mirrored credential → relay → connector, and back in reverse.

pub mod apply;
pub mod claims;
pub mod conditions;
pub mod credential;
pub mod dereference;
pub mod freshness;
mod lag_cause;
mod lossless;
pub mod memory;
pub mod observe;
pub mod observe_relay;
mod observe_source;
pub mod plan;
pub mod port;
pub mod simulate;
mod simulate_relay;
pub mod status;
pub mod teardown;
pub mod uri;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tributary_crds::reference::ObjectRef;
use tributary_crds::{StarRocksTable, TenantPipeline};

use crate::context::Context;
use crate::error::{self, Error};
use crate::publish::publish;
use crate::telemetry::Kind;

/// After something was done: look at what became of it.
const PROGRESS: Duration = Duration::from_secs(1);
/// A refused pipeline: what refers to it or what it refers to brings it back sooner.
const REFUSED: Duration = Duration::from_secs(10);
/// While something is not as it should be.
const NOT_READY: Duration = Duration::from_secs(5);
/// A ready pipeline is measured this often; measuring writes nothing unless a bucket or a condition changes.
const STEADY: Duration = Duration::from_secs(15);

pub async fn reconcile(pipeline: Arc<TenantPipeline>, context: Arc<Context>) -> Result<Action, Error> {
    if pipeline.meta().deletion_timestamp.is_some() {
        return teardown::reconcile(&pipeline, &context).await;
    }
    if crate::is_disabled(pipeline.as_ref()) {
        return Ok(Action::await_change());
    }
    context.kubernetes.add_finalizer(pipeline.as_ref()).await?;
    let refs = dereference::dereference(&pipeline, &context).await?;
    let accepted = match validate::validate(&pipeline, &refs) {
        Ok(accepted) => accepted,
        Err(refused) => return refuse(&pipeline, &refused, &context).await,
    };
    let entry = match claims::look(&accepted, &context).await {
        Ok(Err(conflict)) => {
            let refused = claims::refused(&accepted, &conflict);
            return refuse(&pipeline, &refused, &context).await;
        }
        Ok(Ok(entry)) => Ok(entry),
        Err(error) => Err(error),
    };
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    let observed = observe::observe(&accepted, entry, &context).await?;
    let mut memory = context.memory.take(&namespace, &name);
    let plan = plan::plan(&accepted, &observed, &mut memory);
    let failures = apply::apply(&plan, &accepted, &context, &mut memory).await;
    let next = status::status(
        &pipeline,
        &accepted,
        &observed,
        &plan,
        &failures,
        &mut memory,
        Timestamp::now(),
    );
    context.memory.put(&namespace, &name, memory);
    publish(
        &context,
        Kind::TenantPipeline,
        pipeline.as_ref(),
        pipeline.status.as_ref(),
        &next,
    )
    .await?;
    let acted = !plan.actions.is_empty() && failures.is_empty();
    Ok(error::requeue(match (acted, status::is_calm(&next)) {
        (true, _) => PROGRESS,
        (false, true) => STEADY,
        (false, false) => NOT_READY,
    }))
}

async fn refuse(
    pipeline: &TenantPipeline,
    refused: &validate::Refused,
    context: &Context,
) -> Result<Action, Error> {
    if refused.withdraws_consent() {
        teardown::stop_writing(pipeline, context).await?;
    }
    let next = status::refused(pipeline, refused, Timestamp::now());
    publish(
        context,
        Kind::TenantPipeline,
        pipeline,
        pipeline.status.as_ref(),
        &next,
    )
    .await?;
    Ok(error::requeue(REFUSED))
}

/// Every `tableRef` of a pipeline.
pub fn table_refs(pipeline: &TenantPipeline) -> impl Iterator<Item = &ObjectRef> {
    pipeline
        .spec
        .datasets
        .iter()
        .filter_map(|d| d.hot.as_ref())
        .flat_map(|hot| &hot.tables)
        .filter_map(|t| t.table_ref.as_ref())
}

/// Name of the pipeline that owns a table, in the table's namespace.
pub fn owner_of(table: &StarRocksTable) -> Option<String> {
    let kind = TenantPipeline::kind(&());
    let owner = table
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true) && o.kind == kind)?;
    Some(owner.name.clone())
}

#[cfg(test)]
mod connector_tests;
#[cfg(test)]
mod convergence_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod relay_tests;
#[cfg(test)]
mod status_tests;
#[cfg(test)]
mod validate_tests;
