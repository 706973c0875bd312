//! Where a partition is read from: one pure decision.

/// What is known about a partition when it is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The group's offset; `None`: it has none.
    pub committed: Option<i64>,
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
    #[error("the group's offset is {committed}, but the log begins at {low}: {} offsets are gone", low - committed)]
    Expired { committed: i64, low: i64 },
    #[error(
        "the group's offset is {committed}, but the log ends at {high}: the topic was truncated or re-created"
    )]
    BeyondEnd { committed: i64, high: i64 },
}

impl Known {
    /// A group without an offset starts at 0 when the whole log is still there: nothing can be missed, whether the group is
    /// new or its offsets expired (then older states pass by once more and converge). Everything else that does not
    /// continue exactly where it ended is a loss, and said so: `auto.offset.reset` would hide it.
    pub(super) fn start(self) -> Start {
        match self.committed {
            None if self.low == 0 => Start::At(0),
            None => Start::Lost(Lost::NoOffset { low: self.low }),
            Some(committed) if committed < self.low => Start::Lost(Lost::Expired {
                committed,
                low: self.low,
            }),
            Some(committed) if committed > self.high => Start::Lost(Lost::BeyondEnd {
                committed,
                high: self.high,
            }),
            Some(committed) => Start::At(committed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let known = |committed, low, high| Known { committed, low, high }.start();
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
    }
}
