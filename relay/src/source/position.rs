//! Where a partition is read from: one pure decision.

/// What is known about a partition when it is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The group's offset; `None`: it has none.
    pub committed: Option<i64>,
    /// Without an offset: rows are there that were read from this topic, and the group has none of its offsets.
    pub forgotten: bool,
    /// How far the furthest table is: at least the offset.
    pub furthest: Option<i64>,
    /// First offset the log still has.
    pub low: i64,
    /// End of the log.
    pub high: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    At(i64),
    /// Records between what was read and what is left are gone, or the log is not the one that was read.
    Lost(Lost),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    #[error(
        "the group has no offset and the log begins at {low}: whatever stood before may never have been loaded"
    )]
    NoOffset { low: i64 },
    #[error(
        "the group has no offset, and tables have rows that were read from this topic: the position was lost, and with it the \
         word on a load that may still be on its way"
    )]
    Forgotten,
    #[error("the group's offset is {committed}, but the log begins at {low}: {} offsets are gone", low - committed)]
    Expired { committed: i64, low: i64 },
    #[error(
        "everything up to offset {committed} has been loaded, but the log ends at {high}: the topic was truncated or re-created"
    )]
    BeyondEnd { committed: i64, high: i64 },
}

impl Known {
    /// A group without an offset is new, and starts at 0, when the whole log is there and nothing was made of it yet. Everything
    /// else that does not continue exactly where it ended is a loss, and said so: `auto.offset.reset` would hide it. (Read
    /// again from 0, the tables would show older states for as long as it takes, and a load whose announcement was lost with
    /// the offset could put one there for good.)
    pub(super) fn start(self) -> Start {
        match self.committed {
            None if self.low == 0 && self.forgotten => Start::Lost(Lost::Forgotten),
            None if self.low == 0 => Start::At(0),
            None => Start::Lost(Lost::NoOffset { low: self.low }),
            Some(committed) if committed < self.low => Start::Lost(Lost::Expired {
                committed,
                low: self.low,
            }),
            Some(committed) if self.furthest.unwrap_or(committed).max(committed) > self.high => {
                Start::Lost(Lost::BeyondEnd {
                    committed: self.furthest.unwrap_or(committed).max(committed),
                    high: self.high,
                })
            }
            Some(committed) => Start::At(committed),
        }
    }
}

/// The position behind transaction markers that follow the last record read, as the statistics tell it; `None`: no news.
///
/// `app_offset` moves when a record or a marker is handed out, and not for what a pause throws away, so everything below
/// it has been dealt with (`eof_offset` is the fetcher's: it runs ahead of records still queued, or thrown away). But the
/// statistics may be older than a step back (a seek, a new assignment), hence `newest_record`, the end of the newest
/// record ever read: until the reader is there again, they say nothing.
pub(super) fn past_markers(position: i64, newest_record: i64, app_offset: i64) -> Option<i64> {
    (app_offset > position && position >= newest_record).then_some(app_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_older_than_a_step_back_move_nothing() {
        assert_eq!(
            past_markers(10, 10, 11),
            Some(11),
            "a marker behind the last record"
        );
        assert_eq!(past_markers(0, -1, 3), Some(3), "nothing but markers so far");
        assert_eq!(past_markers(10, 10, 10), None);
        assert_eq!(past_markers(10, 10, -1001), None, "not known");
        assert_eq!(
            past_markers(4, 10, 11),
            None,
            "the reader went back to 4 and has not read up to 10 again"
        );
    }

    #[test]
    fn decisions() {
        let known = |committed, low, high| {
            let furthest = committed;
            Known {
                committed,
                forgotten: false,
                furthest,
                low,
                high,
            }
            .start()
        };
        assert_eq!(known(None, 0, 0), Start::At(0));
        assert_eq!(known(None, 0, 50), Start::At(0));
        assert_eq!(known(Some(7), 0, 50), Start::At(7));
        assert_eq!(known(Some(7), 7, 7), Start::At(7));
        assert!(matches!(
            known(None, 5, 50),
            Start::Lost(Lost::NoOffset { low: 5 })
        ));
        assert!(matches!(known(Some(4), 5, 50), Start::Lost(Lost::Expired { .. })));
        assert!(matches!(
            known(Some(51), 5, 50),
            Start::Lost(Lost::BeyondEnd { .. })
        ));
        let lost = Known {
            committed: None,
            forgotten: true,
            furthest: None,
            low: 0,
            high: 50,
        };
        assert_eq!(lost.start(), Start::Lost(Lost::Forgotten));
        let ahead = Known {
            committed: Some(7),
            forgotten: false,
            furthest: Some(51),
            low: 5,
            high: 50,
        };
        assert!(matches!(ahead.start(), Start::Lost(Lost::BeyondEnd { .. })));
    }
}
