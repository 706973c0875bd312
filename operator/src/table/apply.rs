//! Runs the statements of a plan, in order, up to the first that fails.

use super::dereference::{Referenced, client};
use super::plan::Planned;
use crate::backend::BackendResult;
use crate::context::Context;

pub async fn apply(planned: &Planned, refs: &Referenced, context: &Context) -> BackendResult<()> {
    let client = client(refs, context)?;
    for statement in &planned.actions {
        tracing::info!(statement = statement.summary(), "DDL");
        client.execute(statement).await?;
    }
    Ok(())
}
