//! References between objects, and the consent of the referenced one.

// `KubeSchema` copies each struct, `pub` and all, into a function, where the lint cannot be met.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Another object of this API.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ObjectRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Default: the namespace of the object that refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

impl ObjectRef {
    /// The namespace meant when the reference stands in an object of `own`.
    pub fn namespace_or<'a>(&'a self, own: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(own)
    }
}

/// One key of a Secret in the namespace of the object that names it. There is no `namespace` field on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SecretKeyRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A Secret of type `kubernetes.io/basic-auth` (keys `username`, `password`) in the namespace of the object that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SecretRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Which namespaces may refer to this object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("selector belongs to from: Selector, and is required there"))]
pub struct AllowedNamespaces {
    pub from: NamespacesFrom,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NamespacesFrom {
    #[default]
    Same,
    All,
    Selector,
}

/// Labels a namespace must carry, all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_map")]
    pub match_labels: BTreeMap<String, String>,
}

fn label_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// Whether an object in `own` namespace with this consent may be referred to from namespace `from`, whose labels are given.
/// `None` for labels: the namespace is not known.
pub fn is_permitted(
    allowed: Option<&AllowedNamespaces>,
    own: &str,
    from: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    if own == from {
        return true;
    }
    match allowed.map(|a| a.from).unwrap_or_default() {
        NamespacesFrom::Same => false,
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => {
            let wanted = allowed.and_then(|a| a.selector.as_ref()).map(|s| &s.match_labels);
            match (wanted, labels) {
                // An empty selector selects everything in Kubernetes; here consent is said, never implied.
                (Some(wanted), Some(labels)) if !wanted.is_empty() => {
                    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
                }
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn consent_is_said_never_implied() {
        let selector = |pairs| AllowedNamespaces {
            from: NamespacesFrom::Selector,
            selector: Some(NamespaceSelector {
                match_labels: labels(pairs),
            }),
        };
        let main = selector(&[("tributary.dev/platform", "main")]);
        let carries = labels(&[("tributary.dev/platform", "main"), ("x", "y")]);
        assert!(is_permitted(None, "a", "a", None));
        assert!(!is_permitted(None, "a", "b", Some(&carries)));
        assert!(is_permitted(Some(&main), "a", "b", Some(&carries)));
        assert!(!is_permitted(Some(&main), "a", "b", Some(&labels(&[]))));
        assert!(!is_permitted(Some(&main), "a", "b", None));
        assert!(!is_permitted(Some(&selector(&[])), "a", "b", Some(&carries)));
    }
}
