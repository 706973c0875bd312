//! The chart: lints, installs, passes Pod Security `restricted`, and gives the operator what it needs and no more.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::server::{Server, repository, server};

const NAMESPACE: &str = "tributary-chart";
const OPERATOR: &str = "system:serviceaccount:tributary-chart:tributary-operator";

fn chart() -> String {
    repository().join("charts/tributary").to_str().unwrap().to_owned()
}

/// The rendered objects with these `--set` values.
fn rendered(server: &Server, sets: &[&str]) -> Vec<Value> {
    let chart = chart();
    let mut args = vec![
        "template",
        "tributary",
        &chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.36.0",
    ];
    for set in sets {
        args.extend(["--set", set]);
    }
    let answer = server.helm(&args);
    assert!(answer.ok, "{}", answer.stderr);
    serde_yaml::Deserializer::from_str(&answer.stdout)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

#[test]
fn the_chart_lints() {
    let answer = server().helm(&["lint", "--strict", &chart()]);
    assert!(
        answer.ok && answer.stdout.contains("0 chart(s) failed"),
        "{}{}",
        answer.stdout,
        answer.stderr
    );
}

/// Wrong values, and what the refusal must name.
const REFUSED: [(&str, &str); 9] = [
    ("operator.imagee=x", "additional properties 'imagee' not allowed"),
    ("operator.port=70000", "/operator/port"),
    ("operator.concurrency=0", "/operator/concurrency"),
    ("operator.logFormat=json", "must be one of 'Json', 'Text'"),
    ("operator.resources.limitss.memory=1Gi", "'limitss' not allowed"),
    ("sourceSecrets[0].namespace=Kafka_1", "/sourceSecrets/0/namespace"),
    ("platformNamespaces={a,a}", "/platformNamespaces"),
    ("monitoring.alerts.type=On", "/monitoring/alerts/type"),
    (
        "networkPolicy.kafka.ports={plaintext}",
        "/networkPolicy/kafka/ports/0",
    ),
];

#[test]
fn wrong_values_are_refused_and_named_by_lint_and_template() {
    let (server, chart) = (server(), chart());
    for (value, named) in REFUSED {
        for verb in [
            &["lint", &chart][..],
            &["template", "tributary", &chart, "--kube-version", "1.36.0"],
        ] {
            let mut args = verb.to_vec();
            args.extend(["--set", value]);
            let answer = server.helm(&args);
            let said = format!("{}{}", answer.stdout, answer.stderr);
            assert!(!answer.ok && said.contains(named), "{} {value}: {said}", verb[0]);
        }
    }
    // Every value there is passes its own schema, with everything switched on too.
    rendered(&server, &EVERYTHING);
}

/// What is off or waits for a kind of the cluster.
const EVERYTHING: [&str; 9] = [
    "networkPolicy.enabled=true",
    "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus",
    "networkPolicy.kafka.to[0].ipBlock.cidr=10.0.0.0/8",
    "networkPolicy.extraEgress[0].ports[0].port=4317",
    "monitoring.alerts.type=ConfigMap",
    "monitoring.podMonitor.interval=30s",
    "platformNamespaces={platform-b}",
    "tenantNamespaces={tenant-chart}",
    "operator.podLabels.team=data",
];

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |o| o["kind"] == kind)
}

#[test]
fn what_is_optional_is_made_when_asked_for_or_when_the_cluster_has_its_kind() {
    let server = server();
    let plain = rendered(&server, &[]);
    for kind in ["PodMonitor", "PrometheusRule", "NetworkPolicy"] {
        assert_eq!(of_kind(&plain, kind).count(), 0, "{kind}");
    }
    assert_eq!(of_kind(&plain, "PodDisruptionBudget").count(), 1);
    assert_eq!(of_kind(&plain, "ConfigMap").count(), 1, "the dashboard");
    let less = [
        "podDisruptionBudget.enabled=false",
        "monitoring.dashboard.type=None",
    ];
    let less = rendered(&server, &less);
    assert_eq!(of_kind(&less, "PodDisruptionBudget").count(), 0);
    assert_eq!(of_kind(&less, "ConfigMap").count(), 0);

    // One policy for the operator, one for the relays of each platform namespace; the API server takes all of them.
    for namespace in ["platform-b", "tenant-chart", "kafka", NAMESPACE] {
        server.namespace(namespace);
    }
    let all = rendered(&server, &EVERYTHING);
    assert_eq!(of_kind(&all, "NetworkPolicy").count(), 3);
    assert_eq!(of_kind(&all, "ConfigMap").count(), 2, "dashboard and rules");
    let ours: Vec<Value> = all
        .into_iter()
        .filter(|o| o["kind"] != "CustomResourceDefinition")
        .collect();
    let dry_run = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    server.must(&dry_run, Some(&crate::server::list(&ours)));

    let prometheus = server.helm(&[
        "template",
        "tributary",
        &chart(),
        "--kube-version",
        "1.36.0",
        "--api-versions",
        "monitoring.coreos.com/v1",
    ]);
    for kind in ["kind: PodMonitor", "kind: PrometheusRule"] {
        assert!(prometheus.stdout.contains(kind), "{kind}: {}", prometheus.stderr);
    }
}

/// `operator/RBAC.md` says for what each right is; here both are compared, in both directions.
#[test]
fn the_chart_grants_what_rbac_md_explains_and_nothing_else() {
    const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
    const PLACES: [&str; 4] = [
        "all namespaces",
        "platforms' namespaces",
        "tenants' namespaces",
        "Connect's namespace",
    ];
    let text = std::fs::read_to_string(repository().join("operator/RBAC.md")).unwrap();
    let mut explained = BTreeSet::new();
    for row in text.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // Platforms live in the operator's namespace unless told otherwise.
        let place = cells[1].replace("the operator's namespace", "platforms' namespaces");
        if !PLACES.contains(&place.as_str()) {
            continue;
        }
        let named = cells[2].split('(').next().unwrap_or_default().replace('`', "");
        for resource in named
            .split([',', ' '])
            .filter(|r| !r.is_empty() && !r.contains('.'))
        {
            let verbs = cells[3].split(|c: char| !c.is_ascii_alphabetic());
            for verb in verbs.filter(|v| VERBS.contains(v)) {
                explained.insert(format!("{place}: {verb} {resource}"));
            }
        }
    }
    let objects = rendered(&server(), &["tenantNamespaces={tenant-chart}"]);
    let mut granted = BTreeSet::new();
    for role in objects
        .iter()
        .filter(|o| matches!(o["kind"].as_str(), Some("Role" | "ClusterRole")))
    {
        if !role["metadata"]["name"]
            .as_str()
            .is_some_and(|n| n.contains("operator"))
        {
            continue;
        }
        let place = match role["metadata"]["namespace"].as_str() {
            None => PLACES[0],
            Some("tenant-chart") => PLACES[2],
            Some("kafka") => PLACES[3],
            Some(_) => PLACES[1],
        };
        for rule in role["rules"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                for verb in rule["verbs"].as_array().unwrap() {
                    let (verb, resource) = (verb.as_str().unwrap(), resource.as_str().unwrap());
                    granted.insert(format!("{place}: {verb} {resource}"));
                }
            }
        }
    }
    assert!(granted.len() > 30, "{granted:?}");
    assert_eq!(granted, explained);
}

#[test]
fn people_with_view_look_and_people_with_edit_change_their_own() {
    let server = server();
    let objects = rendered(&server, &[]);
    for (role, label) in [("tributary-view", "view"), ("tributary-edit", "edit")] {
        let found = of_kind(&objects, "ClusterRole")
            .find(|o| o["metadata"]["name"] == role)
            .unwrap();
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{label}");
        assert_eq!(found["metadata"]["labels"][&label], "true", "{role}");
        // Under another name: the chart is installed here too.
        let mut copy = found.clone();
        copy["metadata"]["name"] = json!(format!("people-{role}"));
        server.must(&["apply", "-f", "-"], Some(&copy));
    }
    let apart = rendered(&server, &["rbac.aggregate=false"]);
    let aggregated = |o: &&Value| o["metadata"]["labels"].to_string().contains("aggregate-to");
    assert_eq!(of_kind(&apart, "ClusterRole").filter(aggregated).count(), 0);

    server.namespace("tenant-people");
    for (user, role) in [("viewer", "tributary-view"), ("editor", "tributary-edit")] {
        let clusterrole = format!("--clusterrole=people-{role}");
        let name = format!("people-{user}");
        let user = format!("--user={user}");
        server.must(
            &[
                "create",
                "rolebinding",
                &name,
                "-n",
                "tenant-people",
                &clusterrole,
                &user,
            ],
            None,
        );
    }
    let may = |user: &str, verb: &str, resource: &str, namespace: &str| {
        let args = ["auth", "can-i", verb, resource, "-n", namespace, "--as", user];
        server.kubectl(&args, None).stdout.trim() == "yes"
    };
    assert!(may(
        "viewer",
        "watch",
        "tenantpipelines.tributary.dev",
        "tenant-people"
    ));
    assert!(!may(
        "viewer",
        "delete",
        "tenantpipelines.tributary.dev",
        "tenant-people"
    ));
    assert!(!may("viewer", "get", "tenantpipelines.tributary.dev", "default"));
    assert!(may(
        "editor",
        "create",
        "tenantpipelines.tributary.dev",
        "tenant-people"
    ));
    assert!(!may(
        "editor",
        "create",
        "dataplatforms.tributary.dev",
        "tenant-people"
    ));
    let status = [
        "auth",
        "can-i",
        "patch",
        "tenantpipelines.tributary.dev",
        "--subresource=status",
        "-n",
        "tenant-people",
        "--as",
        "editor",
    ];
    assert_eq!(server.kubectl(&status, None).stdout.trim(), "no");
}

#[test]
fn the_defaults_pass_pod_security_restricted_and_host_networking_would_not() {
    let server = server();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }});
    server.must(&["apply", "-f", "-"], Some(&namespace));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tributary-operator", "namespace": "restricted"}});
    server.must(&["apply", "-f", "-"], Some(&account));
    let pod = |sets: &[&str]| {
        let objects = rendered(&server, sets);
        let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("operator");
        pod["metadata"]["namespace"] = json!("restricted");
        server.kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&pod))
    };
    let default = pod(&[]);
    assert!(default.ok, "{}", default.stderr);
    let host = pod(&["operator.hostNetwork=true"]);
    assert!(
        !host.ok && host.stderr.contains("violates PodSecurity"),
        "{}",
        host.stderr
    );
}

#[test]
fn the_crds_in_the_chart_are_ours_and_stay_when_it_goes() {
    let objects = rendered(&server(), &[]);
    let crds: Vec<_> = objects
        .iter()
        .filter(|o| o["kind"] == "CustomResourceDefinition")
        .collect();
    assert_eq!(crds.len(), 3);
    for crd in crds {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let ours = serde_json::to_value(tributary_crds::crd::of_kind(kind).unwrap()).unwrap();
        assert!(
            as_floats(&crd["spec"]) == as_floats(&ours["spec"]),
            "{kind} differs after Helm's own YAML"
        );
    }
}

#[test]
fn the_operator_may_do_what_it_needs_and_no_more() {
    let server = server();
    for namespace in ["kafka", "tenant-chart"] {
        server.namespace(namespace);
    }
    let chart = chart();
    let args = [
        "install",
        "tributary",
        &chart,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--set",
        "crds.install=false",
    ];
    let answer = server.helm(&args);
    assert!(answer.ok, "{}", answer.stderr);
    let may = |verb: &str, resource: &str, namespace: &str| {
        let mut args = vec!["auth", "can-i", verb, resource, "--as", OPERATOR];
        match namespace {
            "" => args.push("--all-namespaces"),
            namespace => args.extend(["-n", namespace]),
        }
        server.kubectl(&args, None).stdout.trim() == "yes"
    };
    for (verb, resource, namespace) in [
        ("watch", "tenantpipelines.tributary.dev", ""),
        ("patch", "tenantpipelines.tributary.dev/status", ""),
        ("create", "starrockstables.tributary.dev", ""),
        ("watch", "namespaces", ""),
        ("create", "events.events.k8s.io", ""),
        ("patch", "events.events.k8s.io", ""),
        ("get", "secret/acme-mongodb", "tenant-chart"),
        ("patch", "secret/tributary-sources", "kafka"),
        ("create", "deployments.apps", NAMESPACE),
        ("watch", "deployments.apps", NAMESPACE),
        ("delete", "configmaps", NAMESPACE),
        ("list", "pods", NAMESPACE),
    ] {
        assert!(
            may(verb, resource, namespace),
            "needs {verb} {resource} in {namespace:?}"
        );
    }
    for (verb, resource, namespace) in [
        ("*", "*", ""),
        ("list", "secrets", ""),
        ("watch", "secrets", "tenant-chart"),
        ("patch", "secret/other", "kafka"),
        ("delete", "secret/tributary-sources", "kafka"),
        ("create", "secrets", NAMESPACE),
        ("create", "deployments.apps", "tenant-chart"),
        ("get", "configmaps", "tenant-chart"),
        ("create", "tenantpipelines.tributary.dev", ""),
        ("delete", "dataplatforms.tributary.dev", ""),
        ("create", "pods/exec", NAMESPACE),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", ""),
        ("impersonate", "users", ""),
    ] {
        assert!(
            !may(verb, resource, namespace),
            "must not {verb} {resource} in {namespace:?}"
        );
    }
}

/// Helm reads every number as a float and writes whole ones as integers.
fn as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(as_floats).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), as_floats(v))).collect(),
        other => other.clone(),
    }
}
