//! The object tree as text: pipeline → connector, topics, tables, relay, each with its condition and why.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::ResourceExt;
use tributary_crds::pipeline::{DatasetSummary, TenantPipelineStatus};
use tributary_crds::status::{Condition, ConditionStatus, find};

use crate::fetch::{Fetched, Table};

/// One line of the tree and what is below it.
struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn leaf(text: impl Into<String>) -> Self {
        Self::new(text, vec![])
    }

    fn new(text: impl Into<String>, children: Vec<Self>) -> Self {
        Self {
            text: text.into(),
            children,
        }
    }
}

/// The whole text, ending in a line break.
pub(crate) fn render(fetched: &Fetched, now: Timestamp) -> String {
    let status = fetched.pipeline.status.clone().unwrap_or_default();
    let mut out = header(fetched, &status);
    out.push_str(&conditions(&status.conditions, now));
    for (i, node) in nodes(fetched, &status).iter().enumerate() {
        draw(node, "", i == 3, &mut out);
    }
    out
}

fn header(fetched: &Fetched, status: &TenantPipelineStatus) -> String {
    let pipeline = &fetched.pipeline;
    let own = pipeline.namespace().unwrap_or_default();
    let platform = pipeline
        .spec
        .platform_ref
        .as_ref()
        .map(|to| tributary_crds::names::qualified(to, &own))
        .unwrap_or_default();
    let mut text = format!(
        "TenantPipeline {own}/{} · tenant {} · platform {platform} · {}\n",
        pipeline.name_any(),
        pipeline.spec.tenant,
        status.reason.as_deref().unwrap_or("not looked at yet"),
    );
    if let Some(message) = status.message.as_deref().filter(|m| !m.is_empty()) {
        text.push_str(&format!("│ {message}\n"));
    }
    let generation = pipeline.metadata.generation.unwrap_or_default();
    if status.observed_generation != generation {
        text.push_str(&format!(
            "│ The operator has not seen generation {generation} yet; what follows is about generation {}.\n",
            status.observed_generation
        ));
    }
    text
}

fn conditions(conditions: &[Condition], now: Timestamp) -> String {
    let width = |cell: fn(&Condition) -> usize| conditions.iter().map(cell).max().unwrap_or_default();
    let kinds = width(|c| c.kind.len());
    let reasons = width(|c| c.reason.len());
    conditions
        .iter()
        .map(|c| {
            let line = format!(
                "│   {:kinds$}  {:7}  {:reasons$}  {:>4}  {}",
                c.kind,
                c.status.to_string(),
                c.reason,
                age(c.last_transition_time, now),
                c.message
            );
            format!("{}\n", line.trim_end())
        })
        .collect()
}

fn nodes(fetched: &Fetched, status: &TenantPipelineStatus) -> [Node; 4] {
    let connector = match &status.connector {
        Some(connector) => format!("Connector {}", connector.name),
        None => "Connector".to_owned(),
    };
    let topics = status.datasets.iter().map(topic).collect();
    let tables = fetched.tables.iter().map(table).collect();
    [
        Node::leaf(with_condition(connector, &status.conditions, "ConnectorReady")),
        Node::new(
            with_condition("Topics".to_owned(), &status.conditions, "TopicsReady"),
            topics,
        ),
        Node::new(
            with_condition("Tables".to_owned(), &status.conditions, "TablesReady"),
            tables,
        ),
        relay(fetched, status),
    ]
}

fn with_condition(what: String, conditions: &[Condition], kind: &str) -> String {
    match find(conditions, kind) {
        Some(condition) => format!("{what}: {}", verdict(condition)),
        None => what,
    }
}

/// The reason; a message only where something is not as it should be.
fn verdict(condition: &Condition) -> String {
    match condition.status {
        ConditionStatus::True => condition.reason.clone(),
        status if condition.message.is_empty() => format!("{} ({status})", condition.reason),
        status => format!("{} ({status}) - {}", condition.reason, condition.message),
    }
}

fn topic(dataset: &DatasetSummary) -> Node {
    let mut text = format!("{} (dataset {}", dataset.topic, dataset.name);
    if let Some(generation) = dataset.topic_generation {
        text.push_str(&format!(", topic generation {generation}"));
    }
    if let Some(generation) = dataset.mapping_generation {
        text.push_str(&format!(", mapping generation {generation}"));
    }
    text.push(')');
    if let Some(lag) = &dataset.lag {
        text.push_str(&format!(", lag {lag}"));
    }
    Node::leaf(text)
}

fn table(table: &Table) -> Node {
    let shared = if table.shared { " (referenced)" } else { "" };
    let name = format!("StarRocksTable {}/{}{shared}", table.namespace, table.name);
    Node::leaf(match &table.object {
        Err(why) => format!("{name}: {why}"),
        Ok(object) => {
            let status = object.status.clone().unwrap_or_default();
            let physical = status.table.map(|t| format!(" → {t}")).unwrap_or_default();
            with_condition(format!("{name}{physical}"), &status.conditions, "Ready")
        }
    })
}

fn relay(fetched: &Fetched, status: &TenantPipelineStatus) -> Node {
    let name = status.relay.as_ref().map(|r| format!("Relay {}", r.deployment));
    let title = name.unwrap_or_else(|| "Relay".to_owned());
    let title = with_condition(title, &status.conditions, "RelayReady");
    match &fetched.relay {
        Err(why) => Node::new(title, vec![Node::leaf(format!("pods: {why}"))]),
        Ok(relay) => {
            let deployments = relay
                .deployments
                .iter()
                .map(|d| deployment(d, &relay.pods))
                .collect();
            Node::new(title, deployments)
        }
    }
}

fn deployment(deployment: &Deployment, pods: &[Pod]) -> Node {
    let name = deployment.name_any();
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let available = deployment
        .status
        .as_ref()
        .and_then(|s| s.available_replicas)
        .unwrap_or(0);
    let own = pods
        .iter()
        .filter(|pod| pod.name_any().starts_with(&format!("{name}-")));
    Node::new(
        format!("Deployment {name}: {available}/{wanted} available"),
        own.map(pod).collect(),
    )
}

fn pod(pod: &Pod) -> Node {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let restarts: i32 = containers.iter().map(|c| c.restart_count).sum();
    let ready = !containers.is_empty() && containers.iter().all(|c| c.ready);
    let trouble = containers
        .iter()
        .find_map(|c| trouble(c.state.as_ref()?))
        .map(|why| format!(", {why}"))
        .unwrap_or_default();
    Node::leaf(format!(
        "Pod {}: {}, {}, {restarts} restarts{trouble}",
        pod.name_any(),
        status.phase.unwrap_or_else(|| "Unknown".to_owned()),
        if ready { "ready" } else { "not ready" },
    ))
}

/// Why a container does not run.
fn trouble(state: &ContainerState) -> Option<String> {
    let (reason, message) = match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => (waiting.reason.clone(), waiting.message.clone()),
        (None, Some(ended)) => (ended.reason.clone(), ended.message.clone()),
        (None, None) => return None,
    };
    let reason = reason.unwrap_or_else(|| "waiting".to_owned());
    Some(match message {
        Some(message) => format!("{reason} ({message})"),
        None => reason,
    })
}

fn draw(node: &Node, indent: &str, last: bool, out: &mut String) {
    let (branch, below) = if last {
        ("└─ ", "   ")
    } else {
        ("├─ ", "│  ")
    };
    out.push_str(&format!("{indent}{branch}{}\n", node.text));
    let indent = format!("{indent}{below}");
    for (i, child) in node.children.iter().enumerate() {
        draw(child, &indent, i + 1 == node.children.len(), out);
    }
}

/// As kubectl prints ages, in one unit.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Relay;
    use serde_json::json;

    fn fetched() -> Fetched {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "observedGeneration": 2, "lastTransitionTime": "2026-11-22T10:00:00Z",
            })
        };
        let pipeline = serde_json::from_value(json!({
            "apiVersion": "tributary.dev/v1alpha1", "kind": "TenantPipeline",
            "metadata": {"name": "acme", "namespace": "tenant-acme", "generation": 2},
            "spec": {
                "platformRef": {"name": "main", "namespace": "tributary"}, "tenant": "acme",
                "source": {"mongodb": {}},
                "datasets": [{"name": "orders", "hot": {"tables": [
                    {"name": "orders", "tableRef": {"name": "orders", "namespace": "shop-shared"}},
                ]}}],
            },
            "status": {
                "observedGeneration": 2, "reason": "BackendUnavailable", "message": "Kafka Connect does not answer.",
                "connector": {"name": "test.tenant-acme.acme", "topicPrefix": "acme"},
                "relay": {"deployment": "tributary/relay-acme-1f6c0a9b2e-0", "consumerGroup": "g"},
                "datasets": [{"name": "orders", "topic": "acme.shop.orders", "topicGeneration": 1, "lag": "<1s"}],
                "conditions": [
                    condition("Ready", "True", "Flowing", ""),
                    condition("TopicsReady", "True", "InSync", ""),
                    condition("ConnectorReady", "Unknown", "BackendUnavailable", "Kafka Connect does not answer."),
                ],
            },
        }))
        .expect("a pipeline");
        let deployment = serde_json::from_value(json!({
            "metadata": {"name": "relay-acme-1f6c0a9b2e-0"}, "spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": {"availableReplicas": 1},
        }))
        .expect("a Deployment");
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "relay-acme-1f6c0a9b2e-0-abc"},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "relay", "ready": true, "restartCount": 1, "image": "i", "imageID": "i"},
            ]},
        }))
        .expect("a Pod");
        Fetched {
            pipeline,
            tables: vec![Table {
                namespace: "shop-shared".into(),
                name: "orders".into(),
                shared: true,
                object: Err("you may not read it".into()),
            }],
            relay: Ok(Relay {
                deployments: vec![deployment],
                pods: vec![pod],
            }),
        }
    }

    #[test]
    fn the_tree_shows_every_part_with_its_reason() {
        let now = "2026-11-22T10:05:00Z".parse().expect("a time");
        assert_eq!(
            render(&fetched(), now),
            "\
TenantPipeline tenant-acme/acme · tenant acme · platform tributary/main · BackendUnavailable
│ Kafka Connect does not answer.
│   Ready           True     Flowing               5m
│   TopicsReady     True     InSync                5m
│   ConnectorReady  Unknown  BackendUnavailable    5m  Kafka Connect does not answer.
├─ Connector test.tenant-acme.acme: BackendUnavailable (Unknown) - Kafka Connect does not answer.
├─ Topics: InSync
│  └─ acme.shop.orders (dataset orders, topic generation 1), lag <1s
├─ Tables
│  └─ StarRocksTable shop-shared/orders (referenced): you may not read it
└─ Relay tributary/relay-acme-1f6c0a9b2e-0
   └─ Deployment relay-acme-1f6c0a9b2e-0: 1/1 available
      └─ Pod relay-acme-1f6c0a9b2e-0-abc: Running, ready, 1 restarts
"
        );
    }

    #[test]
    fn an_unseen_generation_is_said() {
        let mut fetched = fetched();
        fetched.pipeline.metadata.generation = Some(3);
        fetched.relay = Err("you may not read it".into());
        let text = render(&fetched, Timestamp::UNIX_EPOCH);
        assert!(
            text.contains("has not seen generation 3 yet; what follows is about generation 2"),
            "{text}"
        );
        assert!(text.contains("└─ pods: you may not read it"), "{text}");
    }

    #[test]
    fn a_container_that_does_not_run_says_why() {
        let state =
            serde_json::from_value(json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}));
        assert_eq!(
            trouble(&state.expect("a state")).as_deref(),
            Some("CrashLoopBackOff (back-off)")
        );
        assert_eq!(trouble(&ContainerState::default()), None);
    }
}
