//! Every name Tributary derives, in one place: objects, labels, owner marks, topics, groups, connectors.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::reference::ObjectRef;

/// Finalizer on pipelines and tables.
pub const FINALIZER: &str = "tributary.dev/teardown";
/// Value `disabled`: the operator leaves the object alone.
pub const ANNOTATION_RECONCILE: &str = "tributary.dev/reconcile";
/// On relay pods, never on their template: digest of the configuration that should be in use. Changing it makes the kubelet
/// re-sync the mount at once; the pod goes on.
pub const ANNOTATION_CONFIG_DIGEST: &str = "tributary.dev/config-digest";
/// Label of a namespace with the tenant it may claim.
pub const LABEL_TENANT: &str = "tributary.dev/tenant";
/// Label of a Secret, `true`: its changes are looked at at once instead of at the next resync.
pub const LABEL_WATCH: &str = "tributary.dev/watch";
pub const LABEL_PLATFORM: &str = "tributary.dev/platform";
pub const LABEL_PIPELINE: &str = "tributary.dev/pipeline";
pub const LABEL_PIPELINE_NAMESPACE: &str = "tributary.dev/pipeline-namespace";
/// Which of a pipeline's relays a Deployment and its pods are.
pub const LABEL_ORDINAL: &str = "tributary.dev/ordinal";
/// On child StarRocksTables: their dataset and entry.
pub const LABEL_DATASET: &str = "tributary.dev/dataset";
pub const LABEL_ENTRY: &str = "tributary.dev/entry";
/// `app.kubernetes.io/managed-by` of everything the operator makes.
pub const MANAGED_BY: &str = "tributary-operator";
/// Name of the relay's container, which `podOverrides` merge onto.
pub const RELAY_CONTAINER: &str = "relay";

/// Longest topic name Kafka takes.
pub const TOPIC_MAX: usize = 249;
/// Longest DNS label: names of Deployments and their pods' labels.
pub const LABEL_MAX: usize = 63;
/// How much of a pipeline's name a runtime object's name shows.
const SHOWN_MAX: usize = 30;
/// Property of a connector's configuration that carries the owner mark.
pub const CONNECTOR_OWNER_PROPERTY: &str = "tributary.owner";

/// The identity under which external objects are owned. It survives a rebuild of the cluster, unlike a UID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub owner_id: String,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Owner {
    /// `<ownerID>/<namespace>/<name>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.owner_id, self.namespace, self.name)
    }
}

/// Whose an external object is, read from its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    Ours,
    /// Another identity's mark.
    Theirs(String),
    /// No mark of Tributary.
    Unmarked,
}

impl Owner {
    pub fn new(owner_id: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            owner_id: owner_id.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The mark on table comments and connector configurations.
    pub fn mark(&self) -> String {
        format!("{MARK_PREFIX}{self}")
    }

    /// Whose the object with this mark (a comment, a property) is. Text around the mark is allowed: a table comment may
    /// say more.
    pub fn ownership(&self, text: &str) -> Ownership {
        let found = text
            .split(|c: char| c.is_whitespace() || matches!(c, ';' | ',' | '"' | '\''))
            .find_map(|word| word.strip_prefix(MARK_PREFIX));
        match found {
            None => Ownership::Unmarked,
            Some(owner) if owner == self.to_string() => Ownership::Ours,
            Some(owner) => Ownership::Theirs(owner.to_owned()),
        }
    }

    /// `<ownerID>.<namespace>.<pipeline>`: unambiguous, no part contains a dot.
    pub fn connector(&self) -> String {
        format!("{}.{}.{}", self.owner_id, self.namespace, self.name)
    }

    /// The connector that reads collections which joined a running pipeline, while it exists.
    pub fn snapshot_connector(&self) -> String {
        format!("{}.snapshot", self.connector())
    }

    /// `tributary.<ownerID>.<namespace>.<pipeline>`.
    pub fn consumer_group(&self) -> String {
        format!("tributary.{}", self.connector())
    }

    /// `<namespace>.<pipeline>.<field>`: a key of the mirrored Secret, the name of a file in Connect's pods.
    pub fn mirrored_key(&self, field: &str) -> String {
        format!("{}.{}.{field}", self.namespace, self.name)
    }

    /// `relay-<pipeline cut to 30>-<10 hex of namespace/name>`: what a pipeline's runtime objects start with.
    pub fn relay_base(&self) -> String {
        let shown = self.name.get(..SHOWN_MAX).unwrap_or(&self.name);
        let shown = shown.trim_end_matches(['-', '.']);
        let identity = short_hash(&format!("{}/{}", self.namespace, self.name));
        format!("relay-{shown}-{identity}")
    }

    /// Deployment of one relay ordinal; also its `group.instance.id`.
    pub fn relay_deployment(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.relay_base())
    }

    /// ConfigMap with `relay.json` of one ordinal.
    pub fn relay_config_map(&self, ordinal: u32) -> String {
        self.relay_deployment(ordinal)
    }

    /// ConfigMap with one dataset's compiled mapping.
    pub fn dataset_config_map(&self, dataset: &str) -> String {
        format!("{}.{dataset}", self.relay_base())
    }

    /// Labels on what the operator makes for a pipeline, outside its namespace too.
    pub fn labels(&self, platform: &str, tenant: &str, component: &str) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "tributary".to_owned()),
            ("app.kubernetes.io/instance", self.name.clone()),
            ("app.kubernetes.io/component", component.to_owned()),
            ("app.kubernetes.io/managed-by", MANAGED_BY.to_owned()),
            (LABEL_PLATFORM, cut_label(platform)),
            (LABEL_PIPELINE, self.name.clone()),
            (LABEL_PIPELINE_NAMESPACE, self.namespace.clone()),
            (LABEL_TENANT, tenant.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// The labels that select a pipeline's relay pods.
    pub fn selector(&self, component: &str) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/component", component),
            (LABEL_PIPELINE, &self.name),
            (LABEL_PIPELINE_NAMESPACE, &self.namespace),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

const MARK_PREFIX: &str = "tributary:";

/// `<pipeline>.<dataset>.<entry>`: each part is a DNS label, so the name is unambiguous.
pub fn child_table(pipeline: &str, dataset: &str, entry: &str) -> String {
    format!("{pipeline}.{dataset}.{entry}")
}

/// `<topicPrefix>.<database>.<collection>` as Debezium writes it: what Kafka does not take becomes `_`.
pub fn topic(prefix: &str, database: &str, collection: &str) -> String {
    format!("{prefix}.{database}.{collection}")
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '_',
        })
        .collect()
}

/// Debezium's heartbeat topic of a connector.
pub fn heartbeat_topic(prefix: &str) -> String {
    format!("__debezium-heartbeat.{prefix}")
}

/// Where a pipeline's relay parks documents that no table can take.
pub fn dead_letter_topic(prefix: &str) -> String {
    format!("tributary-dead-letters.{prefix}")
}

/// The tenant's database: `{tenant}` in the platform's pattern, `-` as `_` (tenants hold no `_`: one-to-one).
pub fn hot_database(pattern: &str, tenant: &str) -> String {
    pattern.replace("{tenant}", &sql_name(tenant))
}

/// A name of Kubernetes as an SQL name: `-` and `.` become `_`.
pub fn sql_name(name: &str) -> String {
    name.replace(['-', '.'], "_")
}

/// `namespace/name`.
pub fn qualified(reference: &ObjectRef, own_namespace: &str) -> String {
    format!("{}/{}", reference.namespace_or(own_namespace), reference.name)
}

/// The first ten hex digits of a text's SHA-256.
fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A label value of at most 63 bytes: names of platforms may be longer.
fn cut_label(name: &str) -> String {
    let cut = name.get(..LABEL_MAX).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner::new("prod-eu1", "tenant-acme", "acme")
    }

    #[test]
    fn names_are_as_the_api_page_says() {
        let o = owner();
        assert_eq!(o.mark(), "tributary:prod-eu1/tenant-acme/acme");
        assert_eq!(o.connector(), "prod-eu1.tenant-acme.acme");
        assert_eq!(o.consumer_group(), "tributary.prod-eu1.tenant-acme.acme");
        assert_eq!(o.mirrored_key("uri"), "tenant-acme.acme.uri");
        assert_eq!(
            child_table("acme", "orders", "order-lines"),
            "acme.orders.order-lines"
        );
        assert_eq!(topic("acme", "shop_acme", "orders"), "acme.shop_acme.orders");
        assert_eq!(topic("acme", "shop", "my orders/1"), "acme.shop.my_orders_1");
        assert_eq!(hot_database("tenant_{tenant}", "big-corp"), "tenant_big_corp");
        assert_eq!(sql_name("acme.orders.order-lines"), "acme_orders_order_lines");
        assert!(o.relay_deployment(0).starts_with("relay-acme-"));
    }

    #[test]
    fn the_longest_names_fit() {
        let long = "a".repeat(29) + "-" + &"b".repeat(10);
        let o = Owner::new("o".repeat(32), "n".repeat(63), long);
        let deployment = o.relay_deployment(9);
        assert!(deployment.len() <= LABEL_MAX, "{deployment}");
        assert!(!deployment.contains("--"), "{deployment}");
        assert!(o.dataset_config_map(&"d".repeat(40)).len() <= 253);
        assert!(child_table(&o.name, &"d".repeat(40), &"t".repeat(40)).len() <= 122);
    }

    #[test]
    fn objects_of_the_same_name_in_two_namespaces_differ() {
        let other = Owner::new("prod-eu1", "tenant-b", "acme");
        assert_ne!(owner().relay_base(), other.relay_base());
    }

    #[test]
    fn a_mark_is_ours_theirs_or_absent() {
        let o = owner();
        assert_eq!(o.ownership(&o.mark()), Ownership::Ours);
        assert_eq!(
            o.ownership("orders; tributary:prod-eu1/tenant-acme/acme"),
            Ownership::Ours
        );
        assert_eq!(
            o.ownership("tributary:prod-eu1/tenant-acme/acme2"),
            Ownership::Theirs("prod-eu1/tenant-acme/acme2".into())
        );
        assert_eq!(o.ownership("a table made by hand"), Ownership::Unmarked);
        assert_eq!(o.ownership(""), Ownership::Unmarked);
    }
}
