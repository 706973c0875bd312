//! How many objects are in which condition, counted in the watches' caches when somebody scrapes: no controller keeps books, and an
//! object that is gone is no longer counted. Labels are words of enums, so their number is fixed; `kubectl get` says which objects.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tributary_crds::status::Condition;

use super::Kind;
use crate::context::Stores;
use crate::kubernetes::Namespaced;
use crate::publish::Headline;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Labels {
    kind: Kind,
    r#type: String,
    status: String,
    reason: String,
}

/// Reads the caches once there are any.
#[derive(Default)]
pub(super) struct Conditions(OnceLock<Stores>);

impl Conditions {
    pub(super) fn count_in(&self, stores: Stores) {
        // A second call would be the same stores.
        let _ = self.0.set(stores);
    }

    fn counts(&self) -> BTreeMap<Labels, i64> {
        let mut counts = BTreeMap::new();
        if let Some(stores) = self.0.get() {
            add(&mut counts, Kind::DataPlatform, &stores.platforms, |o| {
                o.status.as_ref()
            });
            add(&mut counts, Kind::TenantPipeline, &stores.pipelines, |o| {
                o.status.as_ref()
            });
            add(&mut counts, Kind::StarRocksTable, &stores.tables, |o| {
                o.status.as_ref()
            });
        }
        counts
    }
}

fn add<K: Namespaced, S: Headline>(
    counts: &mut BTreeMap<Labels, i64>,
    kind: Kind,
    store: &Store<K>,
    status: impl Fn(&K) -> Option<&S>,
) {
    for object in store.state() {
        for condition in status(&object).map(Headline::conditions).unwrap_or_default() {
            *counts.entry(labels(kind, condition)).or_default() += 1;
        }
    }
}

fn labels(kind: Kind, condition: &Condition) -> Labels {
    Labels {
        kind,
        r#type: condition.kind.clone(),
        status: condition.status.to_string(),
        reason: condition.reason.clone(),
    }
}

impl std::fmt::Debug for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conditions")
    }
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.counts();
        if counts.is_empty() {
            return Ok(());
        }
        let mut metric =
            encoder.encode_descriptor("conditions", "Objects in this condition", None, MetricType::Gauge)?;
        for (labels, count) in &counts {
            ConstGauge::new(*count).encode(metric.encode_family(labels)?)?;
        }
        Ok(())
    }
}

/// Caches with one pipeline in them.
#[cfg(test)]
pub(super) fn one_object() -> Stores {
    let (stores, mut writer) = tests::stores();
    writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(tests::pipeline(
        "a", "True", "Flowing",
    )));
    stores
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::{reflector, watcher};
    use tributary_crds::TenantPipeline;

    use super::*;
    use crate::context::Listed;
    use crate::telemetry::Metrics;

    pub(super) fn stores() -> (Stores, Writer<TenantPipeline>) {
        let (pipelines, writer) = reflector::store();
        let stores = Stores {
            platforms: reflector::store().0,
            pipelines,
            tables: reflector::store().0,
            namespaces: reflector::store().0,
            listed: Listed::default(),
            undecodable: crate::watch::Undecodable::default(),
        };
        (stores, writer)
    }

    pub(super) fn pipeline(name: &str, ready: &str, reason: &str) -> TenantPipeline {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "tenant"},
            "spec": {"tenant": "t", "source": {}},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": ready, "reason": reason,
                "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-10-12T07:31:02Z"}]},
        }))
        .expect("a pipeline")
    }

    #[test]
    fn objects_are_counted_by_condition_and_forgotten_when_they_go() {
        let (stores, mut writer) = stores();
        let metrics = Metrics::default();
        assert!(!metrics.render().contains("tributary_operator_conditions"));
        metrics.count_conditions_in(stores);
        let broken = pipeline("c", "False", "TaskFailed");
        for object in [
            pipeline("a", "True", "Flowing"),
            pipeline("b", "True", "Flowing"),
            broken.clone(),
        ] {
            writer.apply_watcher_event(&watcher::Event::Apply(object));
        }
        let line = |status: &str, reason: &str, count: u32| {
            format!(
                r#"tributary_operator_conditions{{kind="TenantPipeline",type="Ready",status="{status}",reason="{reason}"}} {count}"#
            )
        };
        let text = metrics.render();
        assert!(text.contains(&line("True", "Flowing", 2)), "{text}");
        assert!(text.contains(&line("False", "TaskFailed", 1)), "{text}");
        writer.apply_watcher_event(&watcher::Event::Delete(broken));
        assert!(!metrics.render().contains("TaskFailed"));
    }
}
