//! Logs and metrics of the operator itself. Labels come from enums and kinds, never from object names: their number is fixed.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Starts logging to stderr; `RUST_LOG` filters, `info` without it.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => subscriber.json().init(),
        LogFormat::Text => subscriber.init(),
    }
}

/// The kinds this operator reconciles, as metrics and logs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    DataPlatform,
    TenantPipeline,
    StarRocksTable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    Ok,
    Error,
}

/// What was written to the Kubernetes API: zero per second at steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ApiWrite {
    Apply,
    Status,
    Finalizer,
    Delete,
    Event,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: Kind,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    write: ApiWrite,
}

/// Handles to every metric; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Family<KindLabels, Histogram>,
    running: Family<KindLabels, Gauge>,
    writes: Family<WriteLabels, Counter>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tributary_operator");
        let reconciles = Family::default();
        let durations = Family::<KindLabels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.002, 2.0, 14))
        });
        let running = Family::default();
        let writes = Family::default();
        registry.register("reconciles", "Finished reconciles", reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of a reconcile",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("reconciles_running", "Reconciles under way", running.clone());
        registry.register(
            "kubernetes_writes",
            "Writes to the Kubernetes API; none at steady state",
            writes.clone(),
        );
        let leader = Gauge::default();
        registry.register(
            "leader",
            "1 while this process holds the Lease and writes",
            leader.clone(),
        );
        Self {
            registry: Arc::new(registry),
            reconciles,
            durations,
            running,
            writes,
            leader,
        }
    }
}

impl Metrics {
    pub fn started(&self, kind: Kind) {
        self.running.get_or_create(&KindLabels { kind }).inc();
    }

    pub fn finished(&self, kind: Kind, outcome: Outcome, took: Duration) {
        self.running.get_or_create(&KindLabels { kind }).dec();
        self.reconciles
            .get_or_create(&ReconcileLabels { kind, outcome })
            .inc();
        self.durations
            .get_or_create(&KindLabels { kind })
            .observe(took.as_secs_f64());
    }

    /// Whether this process is the one that writes.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub fn wrote(&self, write: ApiWrite) {
        self.writes.get_or_create(&WriteLabels { write }).inc();
    }

    pub fn writes(&self, write: ApiWrite) -> u64 {
        self.writes.get_or_create(&WriteLabels { write }).get()
    }

    /// The OpenMetrics text of everything.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_kind_and_outcome() {
        let metrics = Metrics::default();
        metrics.started(Kind::DataPlatform);
        metrics.finished(Kind::DataPlatform, Outcome::Ok, Duration::from_millis(5));
        metrics.wrote(ApiWrite::Status);
        let text = metrics.render();
        assert!(
            text.contains(r#"tributary_operator_reconciles_total{kind="DataPlatform",outcome="Ok"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"tributary_operator_kubernetes_writes_total{write="Status"} 1"#));
    }
}
