//! What the operator must be allowed to do: the table of `operator/RBAC.md`, which a test compares with the chart.

use std::fmt;

const TABLE: &str = include_str!("../../../RBAC.md");

const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) verb: String,
    pub(crate) group: &'static str,
    pub(crate) resource: String,
    pub(crate) subresource: Option<String>,
    /// `None`: in every namespace.
    pub(crate) namespace: Option<String>,
    /// `None`: every object of the kind.
    pub(crate) name: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self
            .namespace
            .as_ref()
            .map_or_else(|| "all namespaces".to_owned(), |n| format!("namespace {n}"));
        let below = self
            .subresource
            .as_ref()
            .map(|s| format!("/{s}"))
            .unwrap_or_default();
        write!(f, "{} {}{below} in {place}", self.verb, self.resource)
    }
}

/// Rights in every namespace and in the operator's own, which holds its platforms unless told otherwise. Tenants' and Connect's
/// namespaces are named in values of the chart, which are not at hand here.
pub(crate) fn needed(operator_namespace: &str) -> Vec<Right> {
    let mut rights = Vec::new();
    for row in TABLE.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, place, resources, verbs, ..] = cells[..] else {
            continue;
        };
        let namespace = match place {
            "all namespaces" => None,
            "platforms' namespaces" | "the operator's namespace" => Some(operator_namespace.to_owned()),
            _ => continue,
        };
        let named = resources.split('(').next().unwrap_or_default().replace('`', "");
        for word in named
            .split([',', ' '])
            .filter(|w| !w.is_empty() && !w.contains('.'))
        {
            let (resource, subresource) = match word.split_once('/') {
                Some((resource, below)) => (resource, Some(below.to_owned())),
                None => (word, None),
            };
            // `create; get patch of `name``: verbs on any object, then verbs on one.
            for clause in verbs.split(';') {
                let (verbs, name) = match clause.split_once(" of ") {
                    Some((verbs, name)) => (verbs, Some(name.trim().trim_matches('`').to_owned())),
                    None => (clause, None),
                };
                let verbs = verbs
                    .split(|c: char| !c.is_ascii_alphabetic())
                    .filter(|v| VERBS.contains(v));
                rights.extend(verbs.map(|verb| Right {
                    verb: verb.to_owned(),
                    group: group(resource),
                    resource: resource.to_owned(),
                    subresource: subresource.clone(),
                    namespace: namespace.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    rights
}

fn group(resource: &str) -> &'static str {
    match resource {
        "dataplatforms" | "tenantpipelines" | "starrockstables" => "tributary.dev",
        "deployments" => "apps",
        "poddisruptionbudgets" => "policy",
        "events" => "events.k8s.io",
        "leases" => "coordination.k8s.io",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let rights = needed("tributary");
        let shown: Vec<String> = rights.iter().map(ToString::to_string).collect();
        for wanted in [
            "watch tenantpipelines in all namespaces",
            "patch starrockstables/status in all namespaces",
            "create deployments in namespace tributary",
            "get secrets in namespace tributary",
            "create leases in namespace tributary",
        ] {
            assert!(shown.iter().any(|s| s == wanted), "{wanted}: {shown:?}");
        }
        let lease = rights
            .iter()
            .find(|r| r.resource == "leases" && r.verb == "patch");
        assert_eq!(lease.and_then(|r| r.name.as_deref()), Some("tributary-operator"));
        assert!(rights.len() > 30, "{}", rights.len());
        assert!(!shown.iter().any(|s| s.contains("list secrets")), "{shown:?}");
    }
}
