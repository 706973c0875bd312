//! `StarRocksTable`: one physical primary-key table of the hot cluster.

pub mod apply;
pub mod ddl;
pub mod dereference;
pub mod plan;
pub mod status;
pub mod teardown;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::Action;
use tributary_crds::table::StarRocksTable;

use crate::context::Context;
use crate::error::{self, Error};
use crate::publish::publish;
use crate::telemetry::Kind;

const NOT_READY: Duration = Duration::from_secs(5);

pub async fn reconcile(table: Arc<StarRocksTable>, context: Arc<Context>) -> Result<Action, Error> {
    if table.meta().deletion_timestamp.is_some() {
        return teardown::reconcile(&table, &context).await;
    }
    if crate::is_disabled(table.as_ref()) {
        return Ok(Action::await_change());
    }
    context.kubernetes.add_finalizer(table.as_ref()).await?;
    let refs = dereference::dereference(&table, &context).await?;
    let next = match validate::validate(&table, &refs) {
        Err(refused) => status::refused(&table, &refs, &refused, Timestamp::now()),
        Ok(valid) => {
            let outcome = align(&valid, &refs, &context).await;
            status::status(&table, &refs, &valid, &outcome, Timestamp::now())
        }
    };
    publish(
        &context,
        Kind::StarRocksTable,
        table.as_ref(),
        table.status.as_ref(),
        &next,
    )
    .await?;
    let wait = if status::is_ready(&next) {
        context.resync
    } else {
        NOT_READY
    };
    Ok(error::requeue(wait))
}

/// Looks, runs what the difference asks for, and looks again: what is reported is what is there.
async fn align(valid: &validate::Valid, refs: &dereference::Referenced, context: &Context) -> plan::Outcome {
    let first = match dereference::live(valid, refs, context).await {
        Ok(live) => plan::plan(valid, &live),
        Err(error) => return plan::Outcome::Unavailable(error),
    };
    let plan::Outcome::Planned(planned) = &first else {
        return first;
    };
    if planned.actions.is_empty() {
        return first;
    }
    if let Err(error) = apply::apply(planned, refs, context).await {
        return plan::Outcome::Failed(error);
    }
    match dereference::live(valid, refs, context).await {
        Ok(live) => plan::plan(valid, &live),
        Err(error) => plan::Outcome::Unavailable(error),
    }
}
