//! The chart: lints, installs, passes Pod Security `restricted`, and gives the operator what it needs and no more.

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

#[test]
fn a_misspelt_value_is_refused() {
    let chart = chart();
    let args = [
        "template",
        "tributary",
        &chart,
        "--kube-version",
        "1.36.0",
        "--set",
        "operator.imagee=x",
    ];
    let answer = server().helm(&args);
    assert!(
        !answer.ok && answer.stderr.contains("imagee"),
        "{}",
        answer.stderr
    );
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
