//! Runs the statements of a plan, in order, up to the first that fails.

use super::plan::Planned;
use crate::backend::BackendResult;
use crate::backend::starrocks::StarRocksClient;

pub async fn apply(planned: &Planned, client: &StarRocksClient) -> BackendResult<()> {
    for statement in &planned.actions {
        tracing::info!(statement = statement.summary(), "DDL");
        client.execute(statement).await?;
    }
    Ok(())
}
