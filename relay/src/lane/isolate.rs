//! A load that StarRocks rejects is taken apart until the documents are found that it does not take: those are parked, all
//! others are loaded (correctness rule 12). A document's rows stay together, and a part's label names its very bytes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use tributary_crds::relay::{BlockedCause, OnReject, pack_ver};

use super::batch::{Batch, BatchRow, Origin};
use super::label::Piece;
use super::park::{Parked, Reason};
use super::task::{Attempts, Delivery, Part, Sent};
use crate::guard::Guard;
use crate::sink::Sink;

/// When this many documents are rejected and not one is taken, it is the table that is wrong, not the documents.
const ALL_WRONG: usize = 16;

/// Loads what can be loaded. Answers the records whose documents were rejected; those wait in the batch to be parked.
pub(super) async fn isolate<S: Sink>(
    delivery: &mut Delivery<'_, S>,
    batch: &mut Batch,
    why: &str,
) -> HashSet<Origin> {
    let documents = documents(batch);
    tracing::warn!(
        table = delivery.lane.spec.table,
        label = delivery.label,
        documents = documents.len(),
        why,
        "load rejected: looking for the documents"
    );
    let mut attempts = Attempts::default();
    let rejected = loop {
        match divide(delivery, batch, &documents).await {
            Ok(rejected) => break rejected,
            Err(why) => {
                attempts.failed();
                let message =
                    format!("every document is rejected, so it is the table that does not fit: {why}");
                delivery
                    .lane
                    .blocked(&delivery.label, BlockedCause::LoadsRejected, message, &attempts);
                tokio::time::sleep(attempts.blocked()).await;
            }
        }
    };
    remove(delivery, batch, &documents, &rejected).await;
    let mut origins = HashSet::new();
    for (document, why) in rejected {
        let rows = &documents[document];
        let origin = rows[0].origin;
        origins.insert(origin);
        batch.parked.push(Parked {
            origin,
            reason: Reason::Rejected,
            message: why,
            key: None,
            value: None,
            rows: rows.iter().map(|row| text(batch, row).to_vec()).collect(),
        });
    }
    origins
}

/// The rows of each document, in the order of their first.
fn documents(batch: &Batch) -> Vec<Vec<BatchRow>> {
    let mut place: HashMap<Origin, usize> = HashMap::new();
    let mut documents: Vec<Vec<BatchRow>> = Vec::new();
    for row in &batch.spans {
        let at = *place.entry(row.origin).or_insert_with(|| {
            documents.push(Vec::new());
            documents.len() - 1
        });
        documents[at].push(*row);
    }
    documents
}

/// Halves what is rejected until single documents are left. `Err`: all of them are.
async fn divide<S: Sink>(
    delivery: &mut Delivery<'_, S>,
    batch: &Batch,
    documents: &[Vec<BatchRow>],
) -> Result<Vec<(usize, String)>, String> {
    let mut rejected = Vec::new();
    let mut taken = false;
    let mut open = halves(0..documents.len());
    while let Some(range) = open.pop() {
        let rows = documents[range.clone()].iter().flatten();
        let part = part(&delivery.label, rows.map(|row| text(batch, row)));
        match delivery.send(&part, true).await {
            Sent::Durable => taken = true,
            Sent::Rejected(why) if range.len() <= 1 || !Guard::Isolation.holds() => {
                rejected.extend(range.map(|document| (document, why.clone())));
                if !taken && rejected.len() >= ALL_WRONG && documents.len() > ALL_WRONG {
                    return Err(why);
                }
            }
            Sent::Rejected(_) => open.extend(halves(range)),
        }
    }
    Ok(rejected)
}

/// The later half first: the stack gives the earlier one back first.
fn halves(range: Range<usize>) -> Vec<Range<usize>> {
    if range.len() <= 1 {
        return vec![range];
    }
    let middle = range.start + range.len() / 2;
    vec![middle..range.end, range.start..middle]
}

/// `onReject: Remove`: nothing of a rejected document stays visible. Its rows in the batch name every key it has or had.
async fn remove<S: Sink>(
    delivery: &mut Delivery<'_, S>,
    batch: &Batch,
    documents: &[Vec<BatchRow>],
    rejected: &[(usize, String)],
) {
    let spec = &delivery.lane.spec;
    let mut gone: Vec<Vec<u8>> = Vec::new();
    for row in rejected.iter().flat_map(|(document, _)| &documents[*document]) {
        let slot = &spec.names[row.origin.slot.0];
        let Some(removal) = &spec.removals[row.origin.slot.0] else {
            continue;
        };
        if removal.on_reject() == OnReject::Remove {
            let ver = pack_ver(slot.generation, row.origin.offset, spec.mapping_generation);
            let mut text = Vec::new();
            removal.write(&text_key(batch, row), ver, &mut text);
            gone.push(text);
        }
    }
    if gone.is_empty() {
        return;
    }
    let all = part(&delivery.label, gone.iter().map(Vec::as_slice));
    if let Sent::Rejected(_) = delivery.send(&all, true).await {
        // A key that cannot be stored is not there either; the others go one by one.
        for row in &gone {
            let one = part(&delivery.label, std::iter::once(row.as_slice()));
            delivery.send(&one, true).await;
        }
    }
}

fn text<'b>(batch: &'b Batch, row: &BatchRow) -> &'b [u8] {
    &batch.body[row.start as usize..row.end as usize]
}

fn text_key(batch: &Batch, row: &BatchRow) -> Vec<u8> {
    text(batch, row)[..row.key_len as usize].to_vec()
}

fn part<'r>(label: &str, rows: impl Iterator<Item = &'r [u8]>) -> Part {
    let mut body = vec![b'['];
    let mut count = 0;
    for row in rows {
        if count > 0 {
            body.push(b',');
        }
        body.extend_from_slice(row);
        count += 1;
    }
    body.push(b']');
    let piece = Piece::of(&body);
    Part {
        label: piece.label(label),
        piece: Some(piece),
        body: Bytes::from(body),
        rows: count,
    }
}
