//! What a closed batch needs before its load: its bad documents are parked, and the rows its documents have no more are found.

use tributary_crds::relay::RetryCause;

use super::Lane;
use super::batch::{Batch, Document};
use super::index::{ASK_MAX, Held, Index};
use super::task::Attempts;
use crate::guard::Guard;
use crate::sink::Sink;
use crate::sink::starrocks::sql::{Cells, SqlError};

/// Rows of one answer, unless it is about a single document.
const ROWS_MAX: usize = 100_000;
/// An array of a document of 16 MB has no more elements than this.
const ROWS_OF_ONE_MAX: usize = 8 << 20;

/// Parks what is to be parked, and waits for Kafka as long as it takes: the offset does not pass before.
pub(super) async fn park(lane: &Lane, batch: &mut Batch, label: &str) {
    let Some(letters) = &lane.spec.dead_letters else {
        return;
    };
    if !Guard::ParkBeforeProgress.holds() {
        batch.parked.clear();
    }
    let mut attempts = Attempts::default();
    for parked in std::mem::take(&mut batch.parked) {
        let slot = &lane.spec.names[parked.origin.slot.0];
        let (key, value) = parked.letter(
            &lane.spec.database,
            &lane.spec.table,
            slot,
            lane.spec.mapping_generation,
        );
        while let Err(why) = letters.send(&key, &value).await {
            let pause = attempts.failed();
            lane.retrying(
                label,
                RetryCause::ParkFailed,
                format!(
                    "a document of {}/{}@{} waits for the dead-letter topic: {why}",
                    slot.topic, slot.partition, parked.origin.offset
                ),
                &attempts,
            );
            tokio::time::sleep(pause).await;
        }
        tracing::warn!(
            table = lane.spec.table,
            topic = slot.topic,
            partition = slot.partition,
            offset = parked.origin.offset,
            reason = parked.reason.word(),
            message = parked.message,
            "document parked"
        );
        lane.metrics.parked();
    }
}

/// Adds the rows that go.
pub(super) async fn complete<S: Sink>(lane: &Lane, sink: &S, index: &Index, batch: &mut Batch, label: &str) {
    if batch.documents.is_empty() || !Guard::TableIsIndex.holds() {
        return;
    }
    let mut held = index.known(batch);
    let unknown: Vec<&Document> = batch
        .documents
        .iter()
        .filter(|document| !held.contains_key(&(document.plan, document.id.clone())))
        .collect();
    if !unknown.is_empty() {
        // What is committed but not visible yet would be missing from the answer.
        lane.visible(sink).await;
    }
    for plan in 0..index.plans().len() {
        let of_plan: Vec<&Document> = unknown.iter().copied().filter(|d| d.plan == plan).collect();
        for chunk in of_plan.chunks(ASK_MAX) {
            ask(lane, sink, index, chunk, label, &mut held).await;
        }
    }
    index.complete(batch, &held);
}

/// Asks about documents of one plan until there is an answer.
async fn ask<S: Sink>(
    lane: &Lane,
    sink: &S,
    index: &Index,
    documents: &[&Document],
    label: &str,
    held: &mut Held,
) {
    let Some(first) = documents.first() else {
        return;
    };
    let plan = &index.plans()[first.plan];
    let mut attempts = Attempts::default();
    let mut open = vec![documents];
    while let Some(chunk) = open.pop() {
        let max = if chunk.len() == 1 {
            ROWS_OF_ONE_MAX
        } else {
            ROWS_MAX
        };
        let select = plan.select(chunk.iter().map(|document| &*document.id));
        let failure = match sink.keys(&select, max).await {
            Ok(rows) => match hold(first.plan, index, chunk, &rows, held) {
                Ok(()) => continue,
                Err(why) => why,
            },
            Err(SqlError::TooManyRows(_)) if chunk.len() > 1 => {
                let (one, other) = chunk.split_at(chunk.len() / 2);
                open.extend([one, other]);
                continue;
            }
            Err(error) => {
                let pause = attempts.failed();
                let message = format!("cannot read which rows the table holds: {error}");
                match error.blocked() {
                    Ok(cause) => {
                        lane.blocked(label, cause, message, &attempts);
                        tokio::time::sleep(attempts.blocked()).await;
                    }
                    Err(cause) => {
                        lane.retrying(label, cause, message, &attempts);
                        tokio::time::sleep(pause).await;
                    }
                }
                open.push(chunk);
                continue;
            }
        };
        let pause = attempts.failed();
        lane.retrying(label, RetryCause::ServerError, failure, &attempts);
        tokio::time::sleep(pause).await;
        open.push(chunk);
    }
}

fn hold(
    plan: usize,
    index: &Index,
    asked: &[&Document],
    rows: &[Cells],
    held: &mut Held,
) -> Result<(), String> {
    for document in asked {
        held.insert((plan, document.id.clone()), Vec::new());
    }
    for row in rows {
        let (id, key) = index.plans()[plan].key(row).map_err(|error| error.to_string())?;
        match held.get_mut(&(plan, id.into_boxed_slice())) {
            Some(keys) => keys.push(key.into()),
            None => return Err("the table's answer names a document that was not asked about".to_owned()),
        }
    }
    Ok(())
}
