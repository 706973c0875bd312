//! Quantiles of the relay's own histograms between two scrapes: where the time between a write and its row goes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// Name of the relay's histogram; its label `stage` is `source`, `relay` or `sink`.
const HISTOGRAM: &str = "tributary_relay_write_to_visible_seconds_bucket";

/// Cumulative bucket counts by upper bound, for one table, by stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stages(BTreeMap<String, Vec<(f64, f64)>>);

impl Stages {
    /// Reads a table's histograms out of a relay's `/metrics` page.
    pub(crate) fn parse(page: &str, database: &str, table: &str) -> Result<Self> {
        let mut stages = Self::default();
        for line in page.lines().filter(|line| line.starts_with(HISTOGRAM)) {
            let (labels, value) = line.rsplit_once("} ").context("a sample without a value")?;
            // With what stands before a name: `le="` is also the end of `table="`.
            let label = |name: &str| {
                let [first, later] = ['{', ','].map(|before| format!("{before}{name}=\""));
                let rest = labels.split_once(&first).or_else(|| labels.split_once(&later))?.1;
                rest.split('"').next()
            };
            if label("database") != Some(database) || label("table") != Some(table) {
                continue;
            }
            let (Some(stage), Some(bound)) = (label("stage"), label("le")) else {
                bail!("a bucket without stage or le: {line}");
            };
            let bound = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse()?
            };
            let count = value
                .split_whitespace()
                .next()
                .context("a sample without a value")?
                .parse()?;
            stages.0.entry(stage.to_owned()).or_default().push((bound, count));
        }
        Ok(stages)
    }

    /// What was observed since `earlier`: (stage, p50, p99) in milliseconds.
    pub(crate) fn since(&self, earlier: &Self, stage: &str) -> Option<(f64, f64)> {
        let now = self.0.get(stage)?;
        let before = earlier.0.get(stage);
        let difference: Vec<(f64, f64)> = now
            .iter()
            .enumerate()
            .map(|(index, (bound, count))| {
                let was = before
                    .and_then(|buckets| buckets.get(index))
                    .map_or(0.0, |(_, was)| *was);
                (*bound, count - was)
            })
            .collect();
        Some((
            quantile(&difference, 0.5)? * 1000.0,
            quantile(&difference, 0.99)? * 1000.0,
        ))
    }
}

/// Quantile of cumulative buckets, linear inside a bucket as Prometheus does it.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets
        .last()
        .map(|(_, count)| *count)
        .filter(|count| *count > 0.0)?;
    let rank = quantile * total;
    let mut below = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= rank {
            if bound.is_infinite() {
                return Some(below.0);
            }
            let width = count - below.1;
            let inside = if width > 0.0 {
                (rank - below.1) / width
            } else {
                1.0
            };
            return Some(below.0 + (bound - below.0) * inside);
        }
        below = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(first: u32, second: u32) -> String {
        let bucket = |le: &str, count: u32, table: &str| {
            format!("{HISTOGRAM}{{database=\"d\",table=\"{table}\",stage=\"sink\",le=\"{le}\"}} {count}\n")
        };
        bucket("0.1", first, "t")
            + &bucket("0.2", second, "t")
            + &bucket("+Inf", second, "t")
            + &bucket("0.1", 9, "other")
    }

    #[test]
    fn quantiles_are_of_the_difference_and_interpolated() -> Result<()> {
        let (before, after) = (
            Stages::parse(&page(50, 50), "d", "t")?,
            Stages::parse(&page(50, 150), "d", "t")?,
        );
        let (p50, p99) = after
            .since(&before, "sink")
            .context("100 samples between 0.1 and 0.2")?;
        assert!(
            (p50 - 150.0).abs() < 1e-6 && (p99 - 199.0).abs() < 1e-6,
            "{p50} {p99}"
        );
        assert!(
            after.since(&after, "sink").is_none(),
            "nothing was observed in between"
        );
        assert!(after.since(&before, "relay").is_none());
        Ok(())
    }
}
