//! Whether the freshness objective counts as missed: only when it was missed, or met again, throughout a window. Pure: time
//! comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tributary_crds::status::{LagBucket, LagGauge};

/// What one pipeline's measurements have shown so far. Lives in the operator's memory; after a restart it goes on where the
/// status left off.
#[derive(Debug, Default)]
pub struct Freshness {
    datasets: BTreeMap<String, Dataset>,
}

#[derive(Debug, Default)]
struct Dataset {
    gauge: LagGauge,
    objective: Objective,
}

/// The shown side and since when every measurement was on the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Objective {
    missed: Option<bool>,
    differs_since: Option<Timestamp>,
}

impl Objective {
    /// The first measurement decides at once; afterwards a side must last a window.
    fn measure(&mut self, missed: bool, now: Timestamp, window: Duration) -> bool {
        let shown = *self.missed.get_or_insert(missed);
        if shown == missed {
            self.differs_since = None;
            return shown;
        }
        let since = *self.differs_since.get_or_insert(now);
        if now.duration_since(since).unsigned_abs() < window {
            return shown;
        }
        *self = Self {
            missed: Some(missed),
            differs_since: None,
        };
        missed
    }
}

/// What is shown of one dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub bucket: LagBucket,
    pub missed: bool,
}

impl Freshness {
    /// Takes up what a status showed before this process started.
    pub fn resume<'a>(
        shown: impl IntoIterator<Item = (&'a str, Option<LagBucket>)>,
        missed: Option<bool>,
    ) -> Self {
        let datasets = shown
            .into_iter()
            .map(|(name, bucket)| {
                let objective = Objective {
                    missed: bucket.and(missed),
                    differs_since: None,
                };
                (
                    name.to_owned(),
                    Dataset {
                        gauge: LagGauge::resume(bucket),
                        objective,
                    },
                )
            })
            .collect();
        Self { datasets }
    }

    /// Takes a measurement of one dataset and answers what to show.
    pub fn measure(
        &mut self,
        dataset: &str,
        lag: Duration,
        objective: Option<Duration>,
        now: Timestamp,
        window: Duration,
    ) -> Shown {
        let entry = self.datasets.entry(dataset.to_owned()).or_default();
        let missed = objective.is_some_and(|limit| lag > limit);
        Shown {
            bucket: entry.gauge.measure(lag, now, window),
            missed: entry.objective.measure(missed, now, window),
        }
    }

    /// What was shown last, when there is no new measurement.
    pub fn last(&self, dataset: &str) -> Option<LagBucket> {
        self.datasets.get(dataset)?.gauge.shown()
    }

    /// Forgets datasets that are no longer in the spec.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.datasets.retain(|name, _| keep(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_single_slow_measurement_does_not_miss_the_objective() {
        let mut freshness = Freshness::default();
        let mut measure = |lag, second| {
            freshness
                .measure(
                    "orders",
                    Duration::from_secs(lag),
                    Some(Duration::from_secs(2)),
                    at(second),
                    WINDOW,
                )
                .missed
        };
        assert!(!measure(0, 0));
        assert!(!measure(9, 15));
        assert!(!measure(0, 30), "met again: the window starts over");
        assert!(!measure(9, 45));
        assert!(!measure(9, 90));
        assert!(measure(9, 105), "missed for a whole window");
        assert!(measure(0, 120));
        assert!(!measure(0, 180), "met for a whole window");
    }

    #[test]
    fn a_restarted_operator_does_not_jump() {
        let mut freshness = Freshness::resume([("orders", LagBucket::parse("<5m"))], Some(true));
        let shown = freshness.measure(
            "orders",
            Duration::ZERO,
            Some(Duration::from_secs(2)),
            at(0),
            WINDOW,
        );
        assert_eq!(
            shown,
            Shown {
                bucket: LagBucket::Under5m,
                missed: true
            }
        );
    }
}
