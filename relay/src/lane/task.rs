//! The lane's task: takes closed batches one at a time and stays with each until its fate is known.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tributary_crds::relay::{LaneState, RetryCause};

use super::batch::{Batch, BatchBuilder};
use super::{Lane, Taken, now_ms};
use crate::sink::{LabelState, LoadOutcome, LoadRequest, Sink};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// How often a blocked lane looks whether somebody has helped.
const BLOCKED_BACKOFF: Duration = Duration::from_secs(15);
/// The linger grows at most to this under version pressure.
const MAX_LINGER: Duration = Duration::from_secs(10);

/// Runs a lane until it is stopped.
pub async fn run<S: Sink>(lane: Arc<Lane>, sink: Arc<S>) {
    let mut linger = Linger::new(Duration::from_millis(lane.spec.batch.linger_ms));
    while let Some(taken) = lane.next_batch(linger.current).await {
        let finished = settle(&lane, &*sink, taken, &mut linger).await;
        lane.finished(finished);
    }
}

impl Lane {
    /// Waits for a batch: full, or its linger is over. `None`: the lane was stopped.
    async fn next_batch(&self, linger: Duration) -> Option<Taken> {
        loop {
            let deadline = {
                let mut filling = self.filling();
                let due = filling.opened.map(|opened| opened + linger);
                let full = self.is_full(&filling);
                match due {
                    _ if filling.stop => return None,
                    Some(due) if !filling.hold && (full || due <= Instant::now()) => {
                        return Some(self.take(&mut filling));
                    }
                    Some(due) if !filling.hold => Some(due),
                    _ => None,
                }
            };
            match deadline {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due.into(), self.work.notified()).await;
                }
                None => self.work.notified().await,
            }
        }
    }

    fn take(&self, filling: &mut super::Filling) -> Taken {
        let (bytes, rows) = (filling.builder.bytes(), filling.builder.rows());
        // The next batch is probably of this size; growing a buffer to it again would copy it several times over.
        let next = BatchBuilder::with_capacity(bytes.min(self.spec.batch.max_bytes as usize), rows);
        let batch = std::mem::replace(&mut filling.builder, next).close();
        filling.opened = None;
        filling.in_flight = true;
        filling.in_flight_bytes = bytes as u64;
        self.in_flight_source_ms
            .store(batch.oldest_source_ms.unwrap_or(0), Ordering::Release);
        self.changed.notify_all();
        self.attention.store(true, Ordering::Release);
        Taken {
            batch,
            epoch: *self.epoch.borrow(),
        }
    }

    fn finished(&self, fate: Fate) {
        let mut filling = self.filling();
        if let Fate::Durable(taken) = &fate
            && taken.epoch == *self.epoch.borrow()
        {
            for range in taken.batch.ranges.iter() {
                self.done[range.slot.0].store(range.end, Ordering::Release);
            }
        }
        filling.in_flight = false;
        self.buffered
            .fetch_sub(filling.in_flight_bytes, Ordering::Relaxed);
        filling.in_flight_bytes = 0;
        self.in_flight_source_ms.store(0, Ordering::Release);
        if filling.dropping && filling.refused.is_none() {
            self.wants_rewind.store(true, Ordering::Release);
        }
        drop(filling);
        self.set_state(LaneState::Idle);
        self.changed.notify_all();
        self.attention.store(true, Ordering::Release);
    }

    /// A blocked lane keeps the batch in hand and nothing else (correctness rule 13).
    fn drop_buffer(&self) {
        let mut filling = self.filling();
        filling.dropping = true;
        self.buffered
            .fetch_sub(filling.builder.bytes() as u64, Ordering::Relaxed);
        filling.builder = BatchBuilder::default();
        filling.opened = None;
        drop(filling);
        self.changed.notify_all();
        self.attention.store(true, Ordering::Release);
    }
}

enum Fate {
    Durable(Taken),
    /// The lane was reset meanwhile; whoever owns the partitions now decides.
    Abandoned,
}

async fn settle<S: Sink>(lane: &Lane, sink: &S, taken: Taken, linger: &mut Linger) -> Fate {
    if taken.batch.rows == 0 {
        return Fate::Durable(taken);
    }
    let mut epoch = lane.epoch.subscribe();
    if *epoch.borrow_and_update() != taken.epoch {
        return Fate::Abandoned;
    }
    tokio::select! {
        biased;
        () = load_until_durable(lane, sink, &taken.batch, linger) => Fate::Durable(taken),
        _ = epoch.changed() => {
            lane.metrics.abandoned();
            Fate::Abandoned
        }
    }
}

/// Sends the same bytes under the same label until they are durable.
async fn load_until_durable<S: Sink>(lane: &Lane, sink: &S, batch: &Batch, linger: &mut Linger) {
    let spec = &lane.spec;
    let request = LoadRequest {
        database: spec.database.clone(),
        table: spec.table.clone(),
        label: spec.label(&batch.ranges),
        columns: spec.columns.clone(),
        body: batch.body.clone(),
        rows: batch.rows,
    };
    lane.set_state(LaneState::Loading {
        label: request.label.clone(),
    });
    let started_ms = now_ms();
    let mut attempts = Attempts::default();
    let mut ask_first = false;
    loop {
        let began = Instant::now();
        let outcome = attempt(sink, &request, ask_first).await;
        lane.metrics.attempt(&outcome, began.elapsed());
        match outcome {
            LoadOutcome::Durable(durable) => {
                linger.relax();
                tracing::debug!(
                    table = spec.table,
                    label = request.label,
                    rows = batch.rows,
                    visible = durable.visible,
                    "loaded"
                );
                lane.metrics.loaded(batch, started_ms, now_ms(), durable);
                return;
            }
            LoadOutcome::Retry {
                cause,
                message,
                ambiguous,
            } => {
                linger.press(cause);
                ask_first = ambiguous;
                let pause = attempts.failed();
                if attempts.count == 1 || attempts.count.is_multiple_of(20) {
                    tracing::warn!(
                        table = spec.table,
                        label = request.label,
                        ?cause,
                        message,
                        attempts = attempts.count,
                        "load is retried"
                    );
                }
                lane.set_state(LaneState::Retrying {
                    label: request.label.clone(),
                    cause,
                    message,
                    attempts: attempts.count,
                    since_ms: attempts.since_ms,
                });
                tokio::time::sleep(pause).await;
            }
            LoadOutcome::Blocked { cause, message } => {
                ask_first = true;
                attempts.failed();
                if attempts.count == 1 || attempts.count.is_multiple_of(20) {
                    tracing::error!(
                        table = spec.table,
                        label = request.label,
                        ?cause,
                        message,
                        "lane is blocked"
                    );
                }
                let since_ms = attempts.since_ms;
                lane.set_state(LaneState::Blocked {
                    cause,
                    message,
                    at: None,
                    since_ms,
                });
                lane.drop_buffer();
                tokio::time::sleep(jittered(BLOCKED_BACKOFF)).await;
            }
        }
    }
}

/// One attempt. After an ambiguous one the label's state comes first: a commit may have hidden behind a lost reply.
async fn attempt<S: Sink>(sink: &S, request: &LoadRequest, ask_first: bool) -> LoadOutcome {
    if ask_first {
        match sink.label_state(&request.database, &request.label).await {
            LabelState::Durable(durable) => return LoadOutcome::Durable(durable),
            LabelState::Free => {}
            LabelState::Running => {
                return LoadOutcome::Retry {
                    cause: RetryCause::LabelRunning,
                    message: format!("label {} is still being loaded", request.label),
                    ambiguous: true,
                };
            }
            LabelState::Unanswered { cause, message } => {
                return LoadOutcome::Retry {
                    cause,
                    message,
                    ambiguous: true,
                };
            }
        }
    }
    sink.load(request).await
}

/// Counts failures of one load and spaces its attempts: doubling, jittered, without an end.
#[derive(Default)]
struct Attempts {
    count: u64,
    since_ms: u64,
}

impl Attempts {
    fn failed(&mut self) -> Duration {
        if self.count == 0 {
            self.since_ms = now_ms();
        }
        self.count += 1;
        let doublings = (self.count - 1).min(10) as u32;
        jittered((FIRST_BACKOFF * 2u32.pow(doublings)).min(MAX_BACKOFF))
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64())
}

/// The linger adapts: every load makes a version of each tablet, and merging versions is what StarRocks falls behind with.
struct Linger {
    configured: Duration,
    current: Duration,
}

impl Linger {
    fn new(configured: Duration) -> Self {
        Self {
            configured,
            current: configured,
        }
    }

    fn press(&mut self, cause: RetryCause) {
        if matches!(
            cause,
            RetryCause::TooManyVersions | RetryCause::TooManyTransactions
        ) {
            self.current = (self.current.max(FIRST_BACKOFF) * 2).min(MAX_LINGER);
        }
    }

    fn relax(&mut self) {
        self.current = self.current.mul_f64(0.9).max(self.configured);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linger_doubles_under_pressure_and_decays() {
        let mut linger = Linger::new(Duration::from_millis(200));
        linger.press(RetryCause::Unreachable);
        assert_eq!(linger.current, linger.configured);
        for _ in 0..10 {
            linger.press(RetryCause::TooManyVersions);
        }
        assert_eq!(linger.current, MAX_LINGER);
        for _ in 0..60 {
            linger.relax();
        }
        assert_eq!(linger.current, linger.configured);
    }

    #[test]
    fn backoff_is_bounded_and_never_zero() {
        let mut attempts = Attempts::default();
        for _ in 0..100 {
            let pause = attempts.failed();
            assert!(pause >= FIRST_BACKOFF / 2 && pause <= MAX_BACKOFF * 3 / 2);
        }
    }
}
