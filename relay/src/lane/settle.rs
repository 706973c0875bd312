//! What a new owner does first: find out what became of the loads its predecessors announced (correctness rule 1).
//!
//! A load outlives the process that began it. Until its fate is known nothing newer may be sent, or it could arrive later and
//! put an older state over a newer one.

use std::time::{Duration, Instant};

use tributary_crds::relay::{LaneState, RetryCause};

use super::desk::Announced;
use super::intent::Intent;
use super::label::{Label, Piece};
use super::ranges::{Range, Slot};
use super::{Lane, now_ms};
use crate::sink::{Durable, LabelState, Sink};

/// An announced load is certainly not begun any more this long after a rebalance: it starts within [`Announced::VALID`] of
/// its announcement, which its former owner cannot renew, and a begun one has told StarRocks its label after a hop or two.
const NOBODY_STARTS: Duration = Duration::from_secs(Announced::VALID.as_secs() + 30);
const FIRST_POLL: Duration = Duration::from_millis(100);
const MAX_POLL: Duration = Duration::from_secs(2);

/// Where a lane begins in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStart {
    pub slot: Slot,
    /// Everything below is in the table.
    pub done: i64,
    /// A load an earlier owner announced, from `done` on.
    pub intent: Option<Intent>,
}

/// An announced load whose fate is unknown here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Under which the ranges are sent, should they have to be.
    pub label: Label,
    /// The load came to several owners, each of which settles its partitions alone: the label they share, which must be known
    /// to have failed for good.
    pub origin: Option<Label>,
    pub ranges: Vec<Range>,
    /// Parts of it that may be on their way: it was rejected as a whole.
    pub pieces: Vec<Piece>,
    /// Nothing was loaded under the label: these ranges are read and sent again.
    pub free: bool,
}

impl Settlement {
    /// Where the ranges end in a slot; `None`: they do not touch it.
    pub fn fence(&self, slot: Slot) -> Option<i64> {
        let range = self.ranges.iter().find(|range| range.slot == slot);
        range.map(|range| range.end)
    }

    /// Read to the end of every range.
    pub fn complete(&self, next: &[i64]) -> bool {
        self.ranges.iter().all(|range| next[range.slot.0] >= range.end)
    }
}

/// One settlement per announced load; one per partition where not all of a load's partitions came to this owner.
pub fn settlements(starts: &[LaneStart], partition_of: impl Fn(Slot) -> i32) -> Vec<Settlement> {
    let mut settlements: Vec<(Settlement, u16)> = Vec::new();
    for start in starts {
        let Some(intent) = start.intent.filter(|intent| intent.end > start.done) else {
            continue;
        };
        let range = Range {
            slot: start.slot,
            start: start.done,
            end: intent.end,
        };
        match settlements
            .iter_mut()
            .find(|(known, _)| known.label == intent.label)
        {
            Some((known, _)) => {
                known.ranges.push(range);
                if let Some(piece) = intent.piece.filter(|piece| !known.pieces.contains(piece)) {
                    known.pieces.push(piece);
                }
            }
            None => {
                let settlement = Settlement {
                    label: intent.label,
                    origin: None,
                    ranges: vec![range],
                    pieces: intent.piece.into_iter().collect(),
                    free: false,
                };
                settlements.push((settlement, intent.partitions));
            }
        }
    }
    let mut settled = Vec::new();
    for (mut settlement, partitions) in settlements {
        settlement.ranges.sort_by_key(|range| range.slot);
        if settlement.ranges.len() == usize::from(partitions) {
            settled.push(settlement);
            continue;
        }
        settled.extend(settlement.ranges.into_iter().map(|range| Settlement {
            label: Label {
                part: Some(partition_of(range.slot)),
                ..settlement.label
            },
            origin: Some(settlement.label),
            ranges: vec![range],
            pieces: settlement.pieces.clone(),
            free: false,
        }));
    }
    settled
}

/// What became of an announced load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the table.
    Done(Durable),
    /// It is not, and will not be but by this owner.
    Free,
    /// It may still be loading.
    Running,
    /// The question has to be asked again.
    Unclear,
}

/// What a label's state means for a settlement.
pub fn verdict(state: &LabelState, alone: bool, since_assigned: Duration) -> Verdict {
    match state {
        LabelState::Durable(durable) => Verdict::Done(*durable),
        LabelState::Running => Verdict::Running,
        LabelState::Aborted => Verdict::Free,
        // Sent again under the same label, a late start of the earlier one is refused by the label. Under another it would not
        // be: then nobody may be left who could start.
        LabelState::Unknown if alone && since_assigned < NOBODY_STARTS => Verdict::Unclear,
        LabelState::Unknown => Verdict::Free,
        LabelState::Unanswered { .. } | LabelState::Refused { .. } => Verdict::Unclear,
    }
}

/// Asks until the fate is known; a running load is cancelled. Bounded by the load's own `timeout` of at most a minute, or by
/// StarRocks being away.
pub(super) async fn settle<S: Sink>(lane: &Lane, sink: &S, settlement: &Settlement) -> Option<Durable> {
    let load = lane
        .spec
        .labels
        .text(&settlement.origin.unwrap_or(settlement.label));
    let whole = fate(lane, sink, &load, settlement.origin.is_some()).await;
    if whole.is_some() {
        return whole;
    }
    // A part is sent under a label of its own, which a repetition of the whole does not share. Loaded or not: all of the
    // ranges go again, and no older part may follow them.
    for piece in &settlement.pieces {
        fate(lane, sink, &piece.label(&load), true).await;
    }
    tracing::info!(table = %lane.spec.table, label = load, "announced load was not loaded: its ranges go again");
    None
}

/// What became of a label. `alone`: what follows is sent under another, which would not refuse a late start under this one.
async fn fate<S: Sink>(lane: &Lane, sink: &S, label: &str, alone: bool) -> Option<Durable> {
    let spec = &lane.spec;
    let began = Instant::now();
    let (since_ms, mut attempts, mut pause) = (now_ms(), 0, FIRST_POLL);
    loop {
        let state = sink.label_state(&spec.database, label).await;
        match verdict(&state, alone, began.elapsed()) {
            Verdict::Done(durable) => {
                tracing::info!(table = %spec.table, label, "announced load found loaded");
                return Some(durable);
            }
            Verdict::Free => return None,
            Verdict::Running => sink.cancel(&spec.database, &spec.table, label).await,
            Verdict::Unclear => {}
        }
        attempts += 1;
        let retrying = |cause, message| LaneState::Retrying {
            label: label.to_owned(),
            cause,
            message,
            attempts,
            since_ms,
        };
        lane.set_state(match state {
            LabelState::Refused { cause, message } => LaneState::Blocked {
                cause,
                message,
                at: None,
                since_ms,
            },
            LabelState::Unanswered { cause, message } => retrying(cause, message),
            _ => retrying(
                RetryCause::LabelRunning,
                format!("load {label}, announced before this relay took over, may still be running"),
            ),
        });
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(n: u8) -> Label {
        Label {
            generation: 1,
            hash: [n; 12],
            part: None,
        }
    }

    fn start(slot: usize, done: i64, end: i64, label: Label, partitions: u16) -> LaneStart {
        let intent = Intent {
            label,
            end,
            partitions,
            piece: None,
        };
        LaneStart {
            slot: Slot(slot),
            done,
            intent: Some(intent),
        }
    }

    fn range(slot: usize, start: i64, end: i64) -> Range {
        Range {
            slot: Slot(slot),
            start,
            end,
        }
    }

    #[test]
    fn a_load_that_came_whole_is_settled_whole_and_a_divided_one_per_partition() {
        let plain = LaneStart {
            slot: Slot(9),
            done: 3,
            intent: None,
        };
        let starts = [
            start(4, 0, 5, label(1), 2),
            start(1, 10, 12, label(2), 3),
            plain,
            start(3, 7, 8, label(1), 2),
            start(2, 10, 11, label(2), 3),
        ];
        let settled = settlements(&starts, |slot| slot.0 as i32 + 100);
        let part = |n, partition| Label {
            part: Some(partition),
            ..label(n)
        };
        let expected = [
            Settlement {
                label: label(1),
                origin: None,
                ranges: vec![range(3, 7, 8), range(4, 0, 5)],
                pieces: Vec::new(),
                free: false,
            },
            Settlement {
                label: part(2, 101),
                origin: Some(label(2)),
                ranges: vec![range(1, 10, 12)],
                pieces: Vec::new(),
                free: false,
            },
            Settlement {
                label: part(2, 102),
                origin: Some(label(2)),
                ranges: vec![range(2, 10, 11)],
                pieces: Vec::new(),
                free: false,
            },
        ];
        assert_eq!(settled, expected);
        // A part that changes hands again is whole by itself.
        let again = settlements(&[start(1, 10, 12, part(2, 101), 1)], |_| 101);
        assert_eq!((again[0].label, again[0].origin), (part(2, 101), None));
    }

    #[test]
    fn a_part_that_was_on_its_way_is_settled_once_for_each_owner() {
        let piece = Piece([3; 8]);
        let with = |start: LaneStart| LaneStart {
            intent: start.intent.map(|intent| Intent {
                piece: Some(piece),
                ..intent
            }),
            ..start
        };
        let (a, b) = (
            with(start(0, 0, 5, label(1), 2)),
            with(start(1, 0, 5, label(1), 2)),
        );
        let whole = settlements(&[a, b], |_| 0);
        assert_eq!((whole.len(), &whole[0].pieces), (1, &vec![piece]));
        let divided = settlements(&[b], |_| 7);
        assert_eq!(
            (divided[0].origin, &divided[0].pieces),
            (Some(label(1)), &vec![piece])
        );
    }

    #[test]
    fn only_a_definite_end_frees_a_divided_load() {
        use LabelState as L;
        let soon = Duration::ZERO;
        let durable = Durable { visible: false };
        for split in [false, true] {
            assert_eq!(verdict(&L::Durable(durable), split, soon), Verdict::Done(durable));
            assert_eq!(verdict(&L::Running, split, soon), Verdict::Running);
            assert_eq!(verdict(&L::Aborted, split, soon), Verdict::Free);
            assert_eq!(verdict(&L::Unknown, split, NOBODY_STARTS), Verdict::Free);
        }
        assert_eq!(verdict(&L::Unknown, false, soon), Verdict::Free);
        assert_eq!(verdict(&L::Unknown, true, soon), Verdict::Unclear);
    }
}
