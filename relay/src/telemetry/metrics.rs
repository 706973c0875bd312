//! Every metric and its name, in one place.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use tributary_crds::relay::BlockedCause;

use super::histogram::{Histogram, Tally};
use crate::lane::batch::{Batch, Origin};
use crate::sink::{Durable, LoadOutcome};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TableLabels {
    pub database: String,
    pub table: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    database: String,
    table: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    database: String,
    table: String,
    /// `source`: change made → in Kafka; `relay`: in Kafka → load begun; `sink`: load begun → durable; `total`: all three.
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TopicLabels {
    pub topic: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartitionLabels {
    pub topic: String,
    pub partition: i32,
}

/// All metrics of the process.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub records: Family<TopicLabels, Counter>,
    pub position: Family<PartitionLabels, Gauge>,
    pub committed: Family<PartitionLabels, Gauge>,
    pub end: Family<PartitionLabels, Gauge>,
    pub lag: Family<TableLabels, Gauge<f64, AtomicU64>>,
    pub blocked: Family<TableLabels, Gauge>,
    pub stalled: Family<TableLabels, Gauge>,
    pub linger: Family<TableLabels, Gauge<f64, AtomicU64>>,
    pub buffered: Gauge,
    pub pauses: Family<TopicLabels, Counter>,
    pub rebalances: Counter,
    rows: Family<TableLabels, Counter>,
    bytes: Family<TableLabels, Counter>,
    attempts: Family<OutcomeLabels, Counter>,
    overflowed: Family<TableLabels, Counter>,
    truncated: Family<TableLabels, Counter>,
    abandoned: Family<TableLabels, Counter>,
    dead_lettered: Family<TableLabels, Counter>,
    latency: Family<StageLabels, Histogram>,
    load_duration: Family<TableLabels, Histogram>,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tributary_relay");
        registry.register("records", "Records read from Kafka", self.records.clone());
        registry.register("position", "Next offset to read", self.position.clone());
        registry.register(
            "committed",
            "Offset below which every table has everything",
            self.committed.clone(),
        );
        registry.register("end", "Newest known end of the partition", self.end.clone());
        registry.register_with_unit(
            "lag",
            "Age of the oldest change not yet in the table",
            Unit::Seconds,
            self.lag.clone(),
        );
        registry.register(
            "lane_blocked",
            "1 while a table's lane is blocked",
            self.blocked.clone(),
        );
        registry.register(
            "lane_stalled",
            "1 while a table's lane makes no step although there is work",
            self.stalled.clone(),
        );
        registry.register_with_unit(
            "linger",
            "How long a batch waits for company; grows under version pressure",
            Unit::Seconds,
            self.linger.clone(),
        );
        registry.register_with_unit(
            "buffered",
            "Rows waiting or being loaded",
            Unit::Bytes,
            self.buffered.clone(),
        );
        registry.register(
            "pauses",
            "Times a topic was paused because a batch was full",
            self.pauses.clone(),
        );
        registry.register("rebalances", "Assignments received", self.rebalances.clone());
        registry.register("rows", "Rows made durable", self.rows.clone());
        registry.register_with_unit(
            "loaded",
            "Bytes of loads made durable",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register("load_attempts", "Load attempts by outcome", self.attempts.clone());
        registry.register(
            "overflowed",
            "Values kept in _extra because they did not fit their column",
            self.overflowed.clone(),
        );
        registry.register(
            "overflow_truncated",
            "Rows whose _extra was cut",
            self.truncated.clone(),
        );
        registry.register(
            "abandoned",
            "Loads abandoned at a rebalance or shutdown",
            self.abandoned.clone(),
        );
        registry.register(
            "dead_lettered",
            "Documents parked in the dead-letter topic",
            self.dead_lettered.clone(),
        );
        registry.register_with_unit(
            "write_to_visible",
            "Latency of loaded rows by stage",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register_with_unit(
            "load_duration",
            "Duration of load attempts",
            Unit::Seconds,
            self.load_duration.clone(),
        );
    }

    /// Gauges of tables and partitions that may not be there any more.
    pub fn forget_gauges(&self) {
        self.position.clear();
        self.committed.clear();
        self.end.clear();
        self.lag.clear();
        self.blocked.clear();
        self.stalled.clear();
        self.linger.clear();
    }

    pub fn lane(&self, database: &str, table: &str) -> LaneMetrics {
        let labels = TableLabels {
            database: database.to_owned(),
            table: table.to_owned(),
        };
        let stage = |stage| {
            let labels = StageLabels {
                database: database.to_owned(),
                table: table.to_owned(),
                stage,
            };
            self.latency.get_or_create(&labels).clone()
        };
        LaneMetrics {
            rows: self.rows.get_or_create(&labels).clone(),
            loads: Arc::default(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            overflowed: self.overflowed.get_or_create(&labels).clone(),
            truncated: self.truncated.get_or_create(&labels).clone(),
            abandoned: self.abandoned.get_or_create(&labels).clone(),
            dead_lettered: self.dead_lettered.get_or_create(&labels).clone(),
            load_duration: self.load_duration.get_or_create(&labels).clone(),
            source: stage("source"),
            relay: stage("relay"),
            sink: stage("sink"),
            total: stage("total"),
            attempts: self.attempts.clone(),
            labels,
        }
    }
}

/// One lane's share of the metrics, looked up once.
#[derive(Debug)]
pub struct LaneMetrics {
    labels: TableLabels,
    rows: Counter,
    loads: Arc<AtomicU64>,
    bytes: Counter,
    overflowed: Counter,
    truncated: Counter,
    abandoned: Counter,
    dead_lettered: Counter,
    load_duration: Histogram,
    source: Histogram,
    relay: Histogram,
    sink: Histogram,
    total: Histogram,
    attempts: Family<OutcomeLabels, Counter>,
}

impl LaneMetrics {
    pub fn attempt(&self, outcome: &LoadOutcome, took: Duration) {
        self.load_duration.observe(took.as_millis() as i64);
        let outcome = match outcome {
            LoadOutcome::Durable(Durable { visible: true }) => "Visible".to_owned(),
            LoadOutcome::Durable(Durable { visible: false }) => "Committed".to_owned(),
            LoadOutcome::Late => "Late".to_owned(),
            LoadOutcome::Retry { cause, .. } => word(cause),
            LoadOutcome::Rejected { .. } => word(&BlockedCause::LoadsRejected),
            LoadOutcome::Blocked { cause, .. } => word(cause),
        };
        let TableLabels { database, table } = self.labels.clone();
        self.attempts
            .get_or_create(&OutcomeLabels {
                database,
                table,
                outcome,
            })
            .inc();
    }

    /// A batch became durable.
    pub fn loaded(&self, batch: &Batch, refused: &HashSet<Origin>, started_ms: u64, ended_ms: u64) {
        let refused = match refused.is_empty() {
            true => 0,
            false => batch
                .spans
                .iter()
                .filter(|row| refused.contains(&row.origin))
                .count() as u64,
        };
        self.rows.inc_by(batch.rows - refused);
        self.loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.bytes.inc_by(batch.body.len() as u64);
        let (started, ended) = (started_ms as i64, ended_ms as i64);
        let [mut source, mut relay, mut sink, mut total] = std::array::from_fn(|_| Tally::default());
        for times in &batch.times {
            relay.observe(started - times.kafka_ms);
            sink.observe(ended - started);
            if let Some(source_ms) = times.source_ms {
                source.observe(times.kafka_ms - source_ms);
                total.observe(ended - source_ms);
            }
        }
        for (histogram, tally) in [
            (&self.source, source),
            (&self.relay, relay),
            (&self.sink, sink),
            (&self.total, total),
        ] {
            histogram.add(&tally);
        }
    }

    pub fn shaped(&self, overflowed: u32, truncated: bool) {
        if overflowed > 0 {
            self.overflowed.inc_by(u64::from(overflowed));
        }
        if truncated {
            self.truncated.inc();
        }
    }

    pub fn abandoned(&self) {
        self.abandoned.inc();
    }

    pub fn parked(&self) {
        self.dead_lettered.inc();
    }

    pub fn dead_lettered(&self) -> u64 {
        self.dead_lettered.get()
    }

    pub fn rows_loaded(&self) -> u64 {
        self.rows.get()
    }

    pub fn loads(&self) -> u64 {
        self.loads.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub fn overflow(&self) -> (u64, u64) {
        (self.overflowed.get(), self.truncated.get())
    }
}

/// The contract's own word for a cause.
fn word<T: serde::Serialize>(cause: &T) -> String {
    match serde_json::to_value(cause) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a scrape names once everything has happened once.
    fn scraped() -> String {
        let metrics = Metrics::default();
        let topic = TopicLabels { topic: "t".into() };
        let partition = PartitionLabels {
            topic: "t".into(),
            partition: 0,
        };
        let table = TableLabels {
            database: "d".into(),
            table: "t".into(),
        };
        metrics.records.get_or_create(&topic).inc();
        metrics.pauses.get_or_create(&topic).inc();
        for gauge in [&metrics.position, &metrics.committed, &metrics.end] {
            gauge.get_or_create(&partition).set(1);
        }
        metrics.lag.get_or_create(&table).set(1.0);
        metrics.blocked.get_or_create(&table).set(1);
        let lane = metrics.lane("d", "t");
        for visible in [true, false] {
            lane.attempt(
                &LoadOutcome::Durable(Durable { visible }),
                Duration::from_millis(5),
            );
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        text
    }

    #[test]
    fn the_chart_asks_only_for_metrics_that_exist() {
        let scraped = scraped();
        let mut asked = 0;
        for text in [
            include_str!("../../../charts/tributary/files/alerts.yaml"),
            include_str!("../../../charts/tributary/files/dashboard.json"),
        ] {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for metric in words.filter(|w| w.starts_with("tributary_relay_")) {
                let exists = ["{", " "]
                    .iter()
                    .any(|end| scraped.lines().any(|l| l.starts_with(&format!("{metric}{end}"))));
                assert!(exists, "{metric} is in the chart and not in:\n{scraped}");
                asked += 1;
            }
        }
        assert!(asked > 15, "{asked}");
        // The outcomes that the alert on retried loads takes for good.
        for outcome in ["Visible", "Committed"] {
            assert!(scraped.contains(&format!(r#"outcome="{outcome}""#)));
        }
    }
}
