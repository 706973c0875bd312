//! Write-to-visible latency: the time from the acknowledged write in MongoDB to the first SELECT that shows it.

use std::fmt;
use std::time::Duration;

/// Latencies of one run, sorted.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Nearest-rank percentile; `None` without samples.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percentile(50.0), self.percentile(99.0), self.0.last()) {
            (Some(p50), Some(p99), Some(max)) => write!(
                f,
                "p50 {} ms, p99 {} ms, max {} ms, N = {}",
                p50.as_millis(),
                p99.as_millis(),
                max.as_millis(),
                self.count()
            ),
            _ => f.write_str("no samples"),
        }
    }
}

/// Quantile of a Prometheus histogram between two scrapes: `buckets` are (upper bound in seconds, cumulative count) of the
/// difference. Linear inside a bucket, as Prometheus does it.
pub fn histogram_quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = quantile * total;
    let mut below = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= rank {
            if bound.is_infinite() {
                return Some(below.0);
            }
            let width = count - below.1;
            let inside = if width > 0.0 { (rank - below.1) / width } else { 1.0 };
            return Some(below.0 + (bound - below.0) * inside);
        }
        below = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let latencies = Latencies::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(latencies.percentile(50.0), Some(Duration::from_millis(50)));
        assert_eq!(latencies.percentile(99.0), Some(Duration::from_millis(99)));
        assert_eq!(Latencies::new(vec![]).percentile(50.0), None);
        assert_eq!(Latencies::new(vec![Duration::from_millis(7)]).percentile(1.0), Some(Duration::from_millis(7)));
    }

    #[test]
    fn quantiles_interpolate_inside_a_bucket() {
        let buckets = [(0.1, 0.0), (0.2, 100.0), (f64::INFINITY, 100.0)];
        let median = histogram_quantile(&buckets, 0.5).expect("samples");
        assert!((median - 0.15).abs() < 1e-9, "{median}");
        assert_eq!(histogram_quantile(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
    }
}
