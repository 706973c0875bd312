//! Logs and metrics of the operator itself. Labels come from enums and kinds, never from object names: their number is fixed.

mod conditions;

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
use crate::context::Stores;
use conditions::Conditions;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
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
    conditions: Arc<Conditions>,
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
        let conditions = Arc::new(Conditions::default());
        registry.register_collector(Box::new(Arc::clone(&conditions)));
        Self {
            registry: Arc::new(registry),
            reconciles,
            durations,
            running,
            writes,
            leader,
            conditions,
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

    /// From now on the objects in these caches are counted by condition.
    pub fn count_conditions_in(&self, stores: Stores) {
        self.conditions.count_in(stores);
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

    const ALERTS: &str = include_str!("../../charts/tributary/files/alerts.yaml");
    const DASHBOARD: &str = include_str!("../../charts/tributary/files/dashboard.json");

    /// What a scrape names, counted objects included.
    fn scraped() -> String {
        let metrics = Metrics::default();
        metrics.started(Kind::DataPlatform);
        metrics.finished(Kind::DataPlatform, Outcome::Error, Duration::from_millis(5));
        metrics.wrote(ApiWrite::Status);
        metrics.count_conditions_in(conditions::one_object());
        metrics.render()
    }

    #[test]
    fn the_chart_asks_only_for_metrics_that_exist() {
        let scraped = scraped();
        let mut asked = 0;
        for text in [ALERTS, DASHBOARD] {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for metric in words.filter(|w| w.starts_with("tributary_operator_")) {
                let exists = ["{", " "]
                    .iter()
                    .any(|end| scraped.lines().any(|l| l.starts_with(&format!("{metric}{end}"))));
                assert!(exists, "{metric} is in the chart and not in:\n{scraped}");
                asked += 1;
            }
        }
        assert!(asked > 15, "{asked}");
    }

    /// An alert on a misspelt reason would be silent for ever.
    #[test]
    fn the_chart_asks_only_for_words_that_conditions_have() {
        use tributary_crds::status::*;
        fn words<C: ConditionType>(kinds: &mut Vec<&'static str>, reasons: &mut Vec<&'static str>) {
            kinds.extend(C::ALL.iter().map(|c| c.as_str()));
            reasons.extend(C::Reason::ALL.iter().map(|r| r.as_str()));
        }
        let (mut types, mut reasons) = (Vec::new(), Vec::new());
        words::<PlatformCondition>(&mut types, &mut reasons);
        words::<PipelineCondition>(&mut types, &mut reasons);
        words::<TableCondition>(&mut types, &mut reasons);
        let kinds = ["DataPlatform", "TenantPipeline", "StarRocksTable"];
        let statuses = ["True", "False", "Unknown"];
        let matcher = regex::Regex::new(r#"(kind|type|status|reason)(=|!=|=~|!~)\\?"([^"\\]+)\\?""#)
            .expect("a pattern");
        let selector = regex::Regex::new(r"tributary_operator_conditions\{([^}]*)\}").expect("a pattern");
        let mut asked = 0;
        for text in [ALERTS, DASHBOARD] {
            for selected in selector.captures_iter(text) {
                for label in matcher.captures_iter(&selected[1]) {
                    let known: &[&str] = match &label[1] {
                        "kind" => &kinds,
                        "type" => &types,
                        "status" => &statuses,
                        _ => &reasons,
                    };
                    let alternatives: Vec<&str> = match label[3].contains('(') {
                        true => vec![&label[3]],
                        false => label[3].split('|').collect(),
                    };
                    for word in alternatives {
                        let pattern = regex::Regex::new(&format!("^(?:{word})$")).expect("a pattern");
                        let met = known.iter().any(|k| pattern.is_match(k));
                        assert!(met, "{}: no condition has it", &label[0]);
                        asked += 1;
                    }
                }
            }
        }
        assert!(asked > 30, "{asked}");
    }
}
