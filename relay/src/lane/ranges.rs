//! Which records a batch consists of: half-open offset ranges per partition.
//!
//! A range is [previous end, end). Offsets inside it need not all hold a record: transactions leave markers in the log
//! (correctness rule 8). The next range begins where this one ended, by definition.

use std::fmt;

/// Index of a partition over all datasets of this relay; fixed by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub slot: Slot,
    pub start: i64,
    /// Exclusive.
    pub end: i64,
}

/// The ranges of one batch, ordered by slot, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Range> {
        self.0.iter()
    }

    /// Extends a slot's range to `end`; a slot not seen yet begins at `start`.
    ///
    /// Going backwards or leaving a gap is a programming error of the caller and refused: it would lose or repeat records
    /// under a label that says otherwise.
    pub fn extend(&mut self, slot: Slot, start: i64, end: i64) -> Result<(), RangeError> {
        match self.0.binary_search_by_key(&slot, |range| range.slot) {
            Ok(at) => {
                let range = &mut self.0[at];
                if start != range.end || end < range.end {
                    return Err(RangeError {
                        slot,
                        expected: range.end,
                        start,
                        end,
                    });
                }
                range.end = end;
            }
            Err(at) => {
                if end <= start {
                    return Err(RangeError {
                        slot,
                        expected: start,
                        start,
                        end,
                    });
                }
                self.0.insert(at, Range { slot, start, end });
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("range [{start}, {end}) of slot {} does not continue at {expected}", slot.0)]
pub struct RangeError {
    slot: Slot,
    expected: i64,
    start: i64,
    end: i64,
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Range { slot, start, end }) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { " " };
            write!(f, "{separator}{}:[{start},{end})", slot.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever order slots come in: the ranges cover exactly what was added, without overlap, ordered.
        #[test]
        fn ranges_are_the_union_of_what_was_added(steps in proptest::collection::vec((0usize..5, 1i64..4), 1..40)) {
            let mut next = [100i64; 5];
            let mut ranges = Ranges::default();
            for (slot, len) in steps {
                ranges.extend(Slot(slot), next[slot], next[slot] + len).unwrap();
                next[slot] += len;
            }
            let slots: Vec<_> = ranges.iter().map(|r| r.slot).collect();
            let mut sorted = slots.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(slots, sorted);
            for range in ranges.iter() {
                prop_assert_eq!((range.start, range.end), (100, next[range.slot.0]));
            }
        }
    }

    #[test]
    fn gaps_overlaps_and_empty_ranges_are_refused() {
        let mut ranges = Ranges::default();
        assert!(ranges.extend(Slot(0), 5, 5).is_err());
        ranges.extend(Slot(0), 5, 7).unwrap();
        assert!(ranges.extend(Slot(0), 8, 9).is_err());
        assert!(ranges.extend(Slot(0), 6, 9).is_err());
        ranges.extend(Slot(0), 7, 9).unwrap();
        assert_eq!(ranges.to_string(), "0:[5,9)");
    }
}
