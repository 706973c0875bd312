//! Lag in buckets: exact figures would write to the API server as often as rows land.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// How far behind, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LagBucket {
    Under1s,
    Under5s,
    Under30s,
    Under1m,
    Under5m,
    Under15m,
    Under1h,
    Under6h,
    Under1d,
    Over1d,
}

impl LagBucket {
    const BOUNDS: [(u64, Self, &'static str); 9] = [
        (1, Self::Under1s, "<1s"),
        (5, Self::Under5s, "<5s"),
        (30, Self::Under30s, "<30s"),
        (60, Self::Under1m, "<1m"),
        (5 * 60, Self::Under5m, "<5m"),
        (15 * 60, Self::Under15m, "<15m"),
        (3600, Self::Under1h, "<1h"),
        (6 * 3600, Self::Under6h, "<6h"),
        (24 * 3600, Self::Under1d, "<1d"),
    ];

    pub fn of(lag: Duration) -> Self {
        Self::BOUNDS
            .iter()
            .find(|(seconds, _, _)| lag < Duration::from_secs(*seconds))
            .map_or(Self::Over1d, |(_, bucket, _)| *bucket)
    }

    pub fn as_str(self) -> &'static str {
        Self::BOUNDS
            .iter()
            .find(|(_, bucket, _)| *bucket == self)
            .map_or(">1d", |(_, _, text)| *text)
    }

    /// The bucket a status shows.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            ">1d" => Some(Self::Over1d),
            _ => Self::BOUNDS
                .iter()
                .find(|(_, _, t)| *t == text)
                .map(|(_, bucket, _)| *bucket),
        }
    }
}

impl fmt::Display for LagBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is shown of a measured lag: a worse bucket at once, a better one only after it lasted a window.
/// Lives in the operator's memory; after a restart it starts from the bucket in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagGauge {
    shown: Option<LagBucket>,
    /// Since when every measurement was below `shown`, and the worst of them.
    better: Option<(Timestamp, LagBucket)>,
}

impl LagGauge {
    /// A gauge that goes on where a status left off.
    pub fn resume(shown: Option<LagBucket>) -> Self {
        Self { shown, better: None }
    }

    pub fn shown(&self) -> Option<LagBucket> {
        self.shown
    }

    /// Takes a measurement and answers what to show.
    pub fn measure(&mut self, lag: Duration, now: Timestamp, window: Duration) -> LagBucket {
        let measured = LagBucket::of(lag);
        let shown = *self.shown.get_or_insert(measured);
        if measured >= shown {
            self.better = None;
            self.shown = Some(measured);
            return measured;
        }
        let (since, worst) = self.better.unwrap_or((now, measured));
        let worst = worst.max(measured);
        if now.duration_since(since).unsigned_abs() >= window {
            self.better = None;
            self.shown = Some(worst);
            return worst;
        }
        self.better = Some((since, worst));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_reads_back_and_bounds_are_exclusive() {
        for (seconds, bucket, text) in LagBucket::BOUNDS {
            assert_eq!(LagBucket::parse(text), Some(bucket));
            assert_eq!(bucket.to_string(), text);
            assert_eq!(LagBucket::of(Duration::from_millis(seconds * 1000 - 1)), bucket);
            assert!(LagBucket::of(Duration::from_secs(seconds)) > bucket);
        }
        assert_eq!(LagBucket::parse(">1d"), Some(LagBucket::Over1d));
        assert_eq!(LagBucket::of(Duration::from_secs(1_000_000)).as_str(), ">1d");
    }

    #[test]
    fn a_bucket_rises_at_once_and_falls_after_a_window() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let window = Duration::from_secs(60);
        let lag = Duration::from_secs;
        let mut gauge = LagGauge::default();
        assert_eq!(gauge.measure(lag(0), at(0), window), LagBucket::Under1s);
        assert_eq!(gauge.measure(lag(70), at(1), window), LagBucket::Under5m);
        assert_eq!(gauge.measure(lag(0), at(2), window), LagBucket::Under5m);
        assert_eq!(gauge.measure(lag(2), at(30), window), LagBucket::Under5m);
        // The worst of the window is shown, not the last.
        assert_eq!(gauge.measure(lag(0), at(62), window), LagBucket::Under5s);
        assert_eq!(gauge.measure(lag(0), at(63), window), LagBucket::Under5s);
        // A relapse starts the window again.
        assert_eq!(gauge.measure(lag(3), at(100), window), LagBucket::Under5s);
        assert_eq!(gauge.measure(lag(0), at(130), window), LagBucket::Under5s);
        assert_eq!(gauge.measure(lag(0), at(190), window), LagBucket::Under1s);
    }

    #[test]
    fn a_restarted_operator_shows_what_the_status_showed() {
        let mut gauge = LagGauge::resume(LagBucket::parse("<5m"));
        let shown = gauge.measure(Duration::ZERO, Timestamp::UNIX_EPOCH, Duration::from_secs(60));
        assert_eq!(shown, LagBucket::Under5m);
    }
}
