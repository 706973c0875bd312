//! A plan as data: every action the controllers would carry out, in their order, as steps that people and programs can read. Credentials
//! are in none of them: what is mirrored is named by its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use tributary_crds::StarRocksTable;
use tributary_operator::backend::connect::ConnectorConfig;
use tributary_operator::kubernetes::{DIGEST_ANNOTATION, Namespaced};
use tributary_operator::pipeline::observe::Observed;
use tributary_operator::pipeline::plan::Action;
use tributary_operator::pipeline::validate::Accepted;
use tributary_operator::table::ddl::Statement;

/// One object's plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// `TenantPipeline namespace/name`.
    pub(crate) object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refusal>,
    /// What was not in the files and is taken for granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) assumed: Vec<String>,
    /// What could not be looked at from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unknown: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// Nothing will be done.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum System {
    Ledger,
    Kafka,
    KafkaConnect,
    Kubernetes,
    StarRocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Verb {
    Create,
    Change,
    Delete,
    Run,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) system: System,
    pub(crate) verb: Verb,
    pub(crate) what: String,
    /// Properties of what is created.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) properties: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
}

/// What exists now, as far as changes are told apart from creations.
pub(crate) struct Now {
    children: BTreeMap<String, Arc<StarRocksTable>>,
    config_maps: BTreeMap<String, ConfigMap>,
    deployments: BTreeMap<String, Deployment>,
    budget: Option<PodDisruptionBudget>,
    connector: Option<ConnectorConfig>,
}

impl Now {
    pub(crate) fn of(observed: &Observed) -> Self {
        let connector = observed.connector.as_ref().ok();
        Self {
            children: observed.children.clone(),
            config_maps: observed.config_maps.clone(),
            deployments: observed
                .deployments
                .values()
                .map(|d| (d.name_any(), d.clone()))
                .collect(),
            budget: observed.budget.clone(),
            connector: connector.and_then(|seen| seen.config.clone()),
        }
    }
}

impl Step {
    fn new(system: System, verb: Verb, what: impl Into<String>) -> Self {
        Self {
            system,
            verb,
            what: what.into(),
            properties: BTreeMap::new(),
            statement: None,
            changes: vec![],
        }
    }

    pub(crate) fn statement(statement: &Statement) -> Self {
        Self {
            statement: Some(statement.to_string()),
            ..Self::new(System::StarRocks, Verb::Run, statement.summary())
        }
    }

    pub(crate) fn of(action: &Action, accepted: &Accepted, now: &Now) -> Self {
        let owner = &accepted.effective.owner;
        let connector = format!("connector {}", owner.connector());
        match action {
            Action::CreateTopic(topic) => {
                let mut properties: BTreeMap<String, String> = topic.config.clone();
                properties.insert("partitions".to_owned(), topic.partitions.to_string());
                properties.insert("replicas".to_owned(), topic.replication_factor.to_string());
                Self {
                    properties,
                    ..Self::new(System::Kafka, Verb::Create, format!("topic {}", topic.name))
                }
            }
            Action::ApplyTable(table) => {
                let live = now.children.get(&table.name_any()).map(Arc::as_ref);
                Self::applied(live, table.as_ref())
            }
            Action::DeleteTable(name) => Self::new(
                System::Kubernetes,
                Verb::Delete,
                format!("StarRocksTable {}/{name}", owner.namespace),
            ),
            Action::MirrorCredential(keys) => Self::new(
                System::Kubernetes,
                Verb::Change,
                format!(
                    "Secret {}/{}, keys {}",
                    accepted.mirrored.namespace,
                    accepted.mirrored.secret_ref.name,
                    keys.0.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            ),
            Action::ApplyConfigMap(map) => {
                let live = now.config_maps.get(&map.name_any());
                let mut step = Self::applied(live, map.as_ref());
                step.properties = digests(map);
                step
            }
            Action::DeleteConfigMap(name) => {
                let namespace = accepted.platform.namespace().unwrap_or_default();
                Self::new(
                    System::Kubernetes,
                    Verb::Delete,
                    format!("ConfigMap {namespace}/{name}"),
                )
            }
            Action::ApplyRelay(relay) => {
                Self::applied(now.deployments.get(&relay.name_any()), relay.as_ref())
            }
            Action::ApplyBudget(budget) => Self::applied(now.budget.as_ref(), budget.as_ref()),
            Action::DeleteBudget(name) => {
                let namespace = accepted.platform.namespace().unwrap_or_default();
                Self::new(
                    System::Kubernetes,
                    Verb::Delete,
                    format!("PodDisruptionBudget {namespace}/{name}"),
                )
            }
            Action::TouchPod { .. } => Self::new(System::Kubernetes, Verb::Change, action.to_string()),
            Action::CreateConnector(config) => Self {
                properties: config.clone(),
                ..Self::new(
                    System::KafkaConnect,
                    Verb::Create,
                    format!("{connector}, stopped"),
                )
            },
            Action::CreateSnapshotConnector(config) => Self {
                properties: config.clone(),
                ..Self::new(
                    System::KafkaConnect,
                    Verb::Create,
                    format!(
                        "connector {}, which reads added collections",
                        owner.snapshot_connector()
                    ),
                )
            },
            Action::DeleteSnapshotConnector => Self::new(
                System::KafkaConnect,
                Verb::Delete,
                format!("connector {}", owner.snapshot_connector()),
            ),
            Action::ConfigureConnector(config) | Action::HoldConnector(config) => Self {
                changes: map_changes(now.connector.as_ref(), config),
                ..Self::new(System::KafkaConnect, Verb::Change, connector)
            },
            Action::RecordLedger(_) => Self::new(System::Ledger, Verb::Run, action.to_string()),
            Action::SeedPositions(..) => Self::new(System::Kafka, Verb::Run, action.to_string()),
            Action::StopRelay(name) => {
                let namespace = accepted.platform.namespace().unwrap_or_default();
                Self::new(
                    System::Kubernetes,
                    Verb::Delete,
                    format!("Deployment {namespace}/{name}"),
                )
            }
            Action::StartConnector
            | Action::StopConnector
            | Action::RestartFailedTasks
            | Action::RestartConnector
            | Action::StartSnapshotConnector
            | Action::StopSnapshotConnector
            | Action::RestartSnapshotConnector => {
                Self::new(System::KafkaConnect, Verb::Run, action.to_string())
            }
        }
    }

    fn applied<K: Namespaced>(live: Option<&K>, wanted: &K) -> Self {
        let namespace = wanted.namespace().unwrap_or_default();
        let what = format!("{} {namespace}/{}", K::kind(&()), wanted.name_any());
        let Some(live) = live else {
            return Self::new(System::Kubernetes, Verb::Create, what);
        };
        let mut changes = Vec::new();
        if let (Ok(live), Ok(wanted)) = (serde_json::to_value(live), serde_json::to_value(wanted)) {
            difference("", &live, &wanted, &mut changes);
        }
        Self {
            changes,
            ..Self::new(System::Kubernetes, Verb::Change, what)
        }
    }
}

/// What a relay's file is told apart by.
fn digests(map: &ConfigMap) -> BTreeMap<String, String> {
    let files = map.data.iter().flatten();
    let digest = |text: &str| {
        let file: Value = serde_json::from_str(text).ok()?;
        file["digest"].as_str().map(str::to_owned)
    };
    files
        .map(|(name, text)| {
            (
                name.clone(),
                digest(text).unwrap_or_else(|| tributary_crds::relay::digest_of(text)),
            )
        })
        .collect()
}

fn map_changes(live: Option<&ConnectorConfig>, wanted: &ConnectorConfig) -> Vec<Change> {
    let none = ConnectorConfig::new();
    let live = live.unwrap_or(&none);
    let keys: std::collections::BTreeSet<&String> = live.keys().chain(wanted.keys()).collect();
    keys.into_iter()
        .filter(|key| live.get(*key) != wanted.get(*key))
        .map(|key| Change {
            field: key.clone(),
            from: live.get(key).cloned(),
            to: wanted.get(key).cloned(),
        })
        .collect()
}

/// Fields of `wanted` that `live` has not: what the API server defaulted beside them is nobody's change. Text that is JSON is compared
/// as JSON, so that a relay's file shows the field and not two files.
fn difference(path: &str, live: &Value, wanted: &Value, changes: &mut Vec<Change>) {
    if path.ends_with(DIGEST_ANNOTATION) || tributary_operator::kubernetes::covers(live, wanted) {
        return;
    }
    let below = |key: &str| match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    };
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (key, value) in wanted {
                difference(&below(key), live.get(key).unwrap_or(&Value::Null), value, changes);
            }
        }
        (Value::Array(live), Value::Array(wanted)) => {
            for i in 0..live.len().max(wanted.len()) {
                let item = |list: &[Value]| list.get(i).cloned().unwrap_or_default();
                let (live, wanted) = (item(live), item(wanted));
                let key = |v: &Value| v["name"].as_str().map(str::to_owned);
                let shown = key(&wanted)
                    .or_else(|| key(&live))
                    .unwrap_or_else(|| i.to_string());
                difference(&format!("{path}[{shown}]"), &live, &wanted, changes);
            }
        }
        (Value::String(live), Value::String(wanted)) => match (json(live), json(wanted)) {
            (Some(live), Some(wanted)) => difference(path, &live, &wanted, changes),
            _ => changes.push(change(path, Some(live), Some(wanted))),
        },
        (live, wanted) => {
            let text =
                |v: &Value| (!v.is_null()).then(|| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            changes.push(change(path, text(live).as_ref(), text(wanted).as_ref()));
        }
    }
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}

fn change(field: &str, from: Option<&String>, to: Option<&String>) -> Change {
    Change {
        field: field.to_owned(),
        from: from.cloned(),
        to: to.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_the_field_and_leaves_defaults_alone() {
        let live = json!({"spec": {"replicas": 1, "paused": false, "c": [{"name": "relay", "image": "a"}]},
            "data": {"f": r#"{"linger":200,"x":1}"#}});
        let wanted = json!({"spec": {"replicas": 1, "c": [{"name": "relay", "image": "b"}]},
            "data": {"f": r#"{"linger":100,"x":1}"#}});
        let mut changes = Vec::new();
        difference("", &live, &wanted, &mut changes);
        let shown: Vec<String> = changes
            .iter()
            .map(|c| format!("{} {:?} {:?}", c.field, c.from.as_deref(), c.to.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                r#"data.f.linger Some("200") Some("100")"#,
                r#"spec.c[relay].image Some("a") Some("b")"#
            ]
        );
    }

    #[test]
    fn properties_that_come_and_go_are_changes_too() {
        let map = |pairs: &[(&str, &str)]| -> ConnectorConfig {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let found = map_changes(
            Some(&map(&[("a", "1"), ("b", "2")])),
            &map(&[("b", "3"), ("c", "4")]),
        );
        let fields: Vec<_> = found
            .iter()
            .map(|c| (c.field.as_str(), c.from.is_some(), c.to.is_some()))
            .collect();
        assert_eq!(
            fields,
            [("a", true, false), ("b", true, true), ("c", false, true)]
        );
    }
}
