//! `StarRocksTable`: one physical primary-key table of the hot cluster.

pub mod apply;
pub mod database;
pub mod ddl;
pub mod dereference;
pub mod grants;
pub mod jobs;
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

use crate::backend::starrocks::StarRocksClient;
use crate::context::Context;
use crate::error::{self, Error};
use crate::publish::publish;
use crate::telemetry::Kind;
use status::Seen;

const NOT_READY: Duration = Duration::from_secs(5);
/// Database and table, then columns, then the view: no plan takes more.
const ROUNDS: usize = 3;

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
            let seen = look(&valid, &refs, &context).await;
            status::status(&table, &refs, &valid, &seen, Timestamp::now())
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
    let wait = if status::is_settled(&next) {
        context.resync
    } else {
        NOT_READY
    };
    Ok(error::requeue(wait))
}

async fn look(valid: &validate::Valid, refs: &dereference::Referenced, context: &Context) -> Seen {
    match dereference::client(refs, context) {
        Ok(client) => align(valid, &client).await,
        Err(error) => Seen {
            outcome: plan::Outcome::Unavailable(error),
            granted: None,
        },
    }
}

/// Looks, runs what the difference asks for, and looks again: what is reported is what is there.
pub async fn align(valid: &validate::Valid, client: &StarRocksClient) -> Seen {
    let outcome = align_table(valid, client).await;
    let granted = match outcome.serves() {
        true => Some(grants::align(valid, client).await),
        false => None,
    };
    Seen { outcome, granted }
}

async fn align_table(valid: &validate::Valid, client: &StarRocksClient) -> plan::Outcome {
    let look = async || match dereference::live(valid, client).await {
        Ok(live) => plan::plan(valid, &live),
        Err(error) => plan::Outcome::Unavailable(error),
    };
    let mut outcome = look().await;
    // A view follows its table's new columns: what one round makes possible, the next one does.
    for _ in 0..ROUNDS {
        let plan::Outcome::Planned(planned) = &outcome else {
            return outcome;
        };
        if planned.actions.is_empty() {
            return outcome;
        }
        if let Err(error) = apply::apply(planned, client).await {
            return plan::Outcome::Failed(error);
        }
        let next = look().await;
        // What had no effect yet is told, and asked for again later.
        let again = matches!(&next, plan::Outcome::Planned(n) if n.actions == planned.actions);
        outcome = next;
        if again {
            return outcome;
        }
    }
    outcome
}
