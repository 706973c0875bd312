//! A histogram that takes a whole batch of observations at once.
//!
//! The library's own locks once per observation; a lane has tens of thousands of rows to tell of when a load ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds in milliseconds. Dense where the promises are (hundreds of milliseconds), open-ended above ten minutes.
pub const BOUNDS_MS: [u64; 20] = [
    1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500, 750, 1_000, 2_000, 5_000, 10_000, 60_000, 300_000,
    600_000,
];

/// Observations of one batch.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: [u64; BOUNDS_MS.len() + 1],
    sum_ms: u64,
}

impl Tally {
    /// Clocks of different machines disagree; a negative latency counts as zero.
    pub fn observe(&mut self, ms: i64) {
        let ms = u64::try_from(ms).unwrap_or(0);
        self.counts[BOUNDS_MS.partition_point(|bound| *bound < ms)] += 1;
        self.sum_ms += ms;
    }
}

/// Latency in seconds. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Histogram {
    pub fn add(&self, tally: &Tally) {
        for (count, more) in self.0.counts.iter().zip(tally.counts) {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
        self.0.sum_ms.fetch_add(tally.sum_ms, Ordering::Relaxed);
    }

    pub fn observe(&self, ms: i64) {
        let mut tally = Tally::default();
        tally.observe(ms);
        self.add(&tally);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts: Vec<u64> = self.0.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        // The encoder makes the counts cumulative itself.
        let buckets: Vec<(f64, u64)> = counts
            .iter()
            .enumerate()
            .map(|(i, count)| {
                (
                    BOUNDS_MS.get(i).map_or(f64::INFINITY, |ms| *ms as f64 / 1000.0),
                    *count,
                )
            })
            .collect();
        let sum = self.0.sum_ms.load(Ordering::Relaxed) as f64 / 1000.0;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl prometheus_client::metrics::TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}
