//! `kubectl tributary` as people run it: offline on the examples, compared with stored text (`TRIBUTARY_UPDATE_SNAPSHOTS=1` writes it
//! anew), and against a real API server whose backends nobody answers for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tributary_stage::{Options, Parts, Stage};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-tributary"));
    command
        .args(args)
        .current_dir(repository())
        .env_remove("TRIBUTARY_RELAY_IMAGE");
    command
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Without any cluster to reach.
fn offline(args: &[&str]) -> Said {
    said(
        command(args)
            .env("KUBECONFIG", "/dev/null")
            .output()
            .expect("it runs"),
    )
}

const PLATFORM: &str = "examples/0-platform.yaml";
const QUICKSTART: &str = "examples/1-quickstart.yaml";
const SHARED: &str = "examples/2-shared-table.yaml";
const TENANTS: &str = "examples/3-two-tenants.yaml";

#[test]
fn plans_and_explanations_of_the_examples_read_as_stored() {
    let cases: [(&str, i32, &[&str]); 4] = [
        ("plan-quickstart", 2, &["plan", "-f", PLATFORM, "-f", QUICKSTART]),
        (
            "plan-two-tenants",
            2,
            &["plan", "-f", PLATFORM, "-f", SHARED, "-f", TENANTS],
        ),
        (
            "explain-quickstart",
            0,
            &["explain", "-f", PLATFORM, "-f", QUICKSTART],
        ),
        (
            "explain-umbrella",
            0,
            &["explain", "umbrella", "-f", PLATFORM, "-f", SHARED, "-f", TENANTS],
        ),
    ];
    let digest = regex::Regex::new("sha256:[0-9a-f]{64}").expect("a pattern");
    for (name, code, args) in cases {
        let found = offline(args);
        assert_eq!(found.code, code, "{name}: {}{}", found.out, found.err);
        for secret in ["change-me", "tributary:secret", "mongodb://"] {
            assert!(!found.out.contains(secret), "{name} prints a credential");
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/cli/{name}.txt"));
        // Digests change with every detail of the contract; that they are there is enough.
        let text = digest.replace_all(&found.out, "sha256:…").into_owned();
        if std::env::var_os("TRIBUTARY_UPDATE_SNAPSHOTS").is_some() {
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(&file, &text).expect("written");
        }
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            text == stored,
            "{name} differs from {}; TRIBUTARY_UPDATE_SNAPSHOTS=1 stores what it says now:\n{text}",
            file.display()
        );
    }
}

#[test]
fn programs_get_the_same_as_json_and_yaml() {
    let json = offline(&["plan", "-f", PLATFORM, "-f", QUICKSTART, "-o", "json"]);
    let report: Value = serde_json::from_str(&json.out).expect("JSON");
    let steps = report[0]["steps"].as_array().expect("steps");
    let find = |what: &str| {
        steps
            .iter()
            .find(|s| s["what"].as_str().is_some_and(|w| w.contains(what)))
    };
    assert_eq!(
        find("topic initech.shop_initech.orders").expect("a topic")["properties"]["partitions"],
        "6"
    );
    let connector = find("connector prod-eu1.tenant-initech.initech").expect("a connector");
    let uri = connector["properties"]["mongodb.connection.string"]
        .as_str()
        .expect("a reference");
    assert!(uri.starts_with("${dir:"), "{uri}");
    let ddl = find("CREATE TABLE")
        .or_else(|| find("create table"))
        .expect("DDL");
    assert!(
        ddl["statement"]
            .as_str()
            .is_some_and(|s| s.contains("PRIMARY KEY (`order_id`)")),
        "{ddl}"
    );
    let yaml = offline(&["plan", "-f", PLATFORM, "-f", QUICKSTART, "-o", "yaml"]);
    let same: Value = serde_yaml::from_str(&yaml.out).expect("YAML");
    assert_eq!(same, report);
    let explained = offline(&["explain", "-f", PLATFORM, "-f", QUICKSTART, "-o", "json"]);
    let explained: Value = serde_json::from_str(&explained.out).expect("JSON");
    assert_eq!(
        explained[0]["datasets"][0]["tables"][0]["table"],
        "tenant_initech.orders"
    );
}

#[test]
fn what_is_wrong_with_a_file_is_named_by_field() {
    let refused = |file: &str, edit: &dyn Fn(&str) -> String| {
        let text = std::fs::read_to_string(repository().join(file)).expect("an example");
        let mut child = command(&["plan", "-f", PLATFORM, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        use std::io::Write as _;
        let mut stdin = child.stdin.take().expect("its stdin");
        stdin.write_all(edit(&text).as_bytes()).expect("it reads");
        drop(stdin);
        said(child.wait_with_output().expect("it ends"))
    };
    let replaced = |from: &'static str, to: &'static str| {
        move |text: &str| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        }
    };
    type Edit = Box<dyn Fn(&str) -> String>;
    let cases: [(Edit, &str, &str); 7] = [
        // the schema: pattern, unknown field, enum
        (
            Box::new(replaced("tenant: initech\n", "tenant: Initech\n")),
            "spec.tenant:",
            "should match",
        ),
        (
            Box::new(replaced("    hot:\n", "    hott: {}\n    hot:\n")),
            "spec.datasets[0].hott:",
            "unknown field",
        ),
        (
            Box::new(replaced(
                "type: VARCHAR(64)}",
                "type: VARCHAR(64), onError: Null}",
            )),
            "spec.datasets[0].hot.tables[0].template.columns[1].onError:",
            "",
        ),
        // a CEL rule
        (
            Box::new(replaced("          primaryKey: [order_id]\n", "")),
            "spec.datasets[0].hot.tables[0].template:",
            "primaryKey is required",
        ),
        // the compiler of mappings
        (
            Box::new(replaced("type: VARCHAR(64)}", "type: MONEY(64)}")),
            "datasets[orders].hot.tables[orders].columns[status].type:",
            "MONEY(64)",
        ),
        // what only the operator knows: hosts, and consent
        (
            Box::new(replaced("mongo.mongodb.svc", "mongo.elsewhere.net")),
            "Secret initech-mongodb, key uri:",
            "sourceHosts",
        ),
        (
            Box::new(replaced(
                "tributary.dev/tenant: initech",
                "tributary.dev/tenant: other",
            )),
            "TenantClaimed",
            "label",
        ),
    ];
    for (edit, field, message) in cases {
        let found = refused(QUICKSTART, &edit);
        assert_eq!(found.code, 1, "{field}: {}", found.out);
        assert!(
            found.out.contains(field) && found.out.contains(message),
            "{field} {message}: {}{}",
            found.out,
            found.err
        );
        assert!(
            !found.out.contains("tributary:secret"),
            "a credential: {}",
            found.out
        );
    }
    let found = refused(QUICKSTART, &|_| "a: [".to_owned());
    assert!(
        found.code == 1 && found.err.contains("-, document 1:"),
        "{}",
        found.err
    );
    let found = offline(&["plan", "-f", QUICKSTART]);
    assert!(
        found.code == 1 && found.out.contains("its DataPlatform is not among the files"),
        "{}",
        found.out
    );
    let found = offline(&["plan", "-f", "examples/nothing.yaml"]);
    assert!(
        found.code == 1 && found.err.contains("examples/nothing.yaml"),
        "{}",
        found.err
    );
}

/// What the README shows of files alone.
#[test]
fn the_offline_commands_of_the_readme_work() {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("the README");
    let commands: Vec<Vec<&str>> = readme
        .lines()
        .filter_map(|l| l.strip_prefix("kubectl tributary "))
        .map(|l| {
            l.split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect()
        })
        .filter(|words: &Vec<&str>| words.get(1) == Some(&"-f"))
        .collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for words in commands {
        let found = offline(&words);
        assert_ne!(found.code, 1, "{words:?}: {}{}", found.out, found.err);
    }
}

struct Cluster {
    stage: Stage,
}

impl Cluster {
    fn up() -> Self {
        let stage = Stage::up(Parts::ApiServer, Options::default()).expect("an API server");
        let cluster = Self { stage };
        cluster.kubectl(&["apply", "--server-side", "-f", "crds/yaml"], None);
        cluster.kubectl(
            &[
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                "crd",
                "--all",
            ],
            None,
        );
        // Established kinds answer "storage is (re)initializing" for a moment.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while cluster.tributary(&["doctor"]).out.contains("initializing") {
            assert!(std::time::Instant::now() < deadline, "the kinds are not served");
        }
        cluster
    }

    fn kubeconfig(&self) -> &Path {
        &self
            .stage
            .info()
            .kubernetes
            .as_ref()
            .expect("Kubernetes")
            .kubeconfig
    }

    fn kubectl(&self, args: &[&str], input: Option<Value>) -> String {
        use std::io::Write as _;
        let mut child = Command::new(self.stage.info().bin.join("kubectl"))
            .args(args)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .current_dir(repository())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut stdin = child.stdin.take().expect("its stdin");
        stdin
            .write_all(input.map(|i| i.to_string()).unwrap_or_default().as_bytes())
            .expect("it reads");
        drop(stdin);
        let said = said(child.wait_with_output().expect("it ends"));
        assert_eq!(said.code, 0, "kubectl {args:?}: {}", said.err);
        said.out
    }

    fn tributary(&self, args: &[&str]) -> Said {
        said(
            command(args)
                .env("KUBECONFIG", self.kubeconfig())
                .output()
                .expect("it runs"),
        )
    }
}

#[test]
fn against_a_cluster_whose_backends_do_not_answer() {
    let cluster = Cluster::up();
    // Nothing but the kinds: the doctor says what is missing.
    let found = cluster.tributary(&["doctor"]);
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    for line in [
        "ok      CRD tenantpipelines.tributary.dev: installed, same schema as this program",
        "BAD     operator: no Deployment carries its labels → helm install",
        "BAD     DataPlatforms: there is none",
    ] {
        assert!(found.out.contains(line), "{line}:\n{}", found.out);
    }

    // The chart, with the rights the operator needs; one taken away is named.
    let helm = tributary_stage::setup::helm().expect("helm").join("helm");
    let mut install = Command::new(helm);
    install.args([
        "template",
        "tributary",
        "charts/tributary",
        "--namespace",
        "tributary",
    ]);
    install.args([
        "--kube-version",
        "1.36.0",
        "--set",
        "crds.install=false,sourceSecrets[0].namespace=kafka,sourceSecrets[0].name=tributary-sources",
    ]);
    let rendered = said(install.current_dir(repository()).output().expect("helm"));
    assert_eq!(rendered.code, 0, "{}", rendered.err);
    for namespace in ["tributary", "kafka"] {
        cluster.kubectl(&["create", "namespace", namespace], None);
    }
    let objects: Vec<Value> = {
        use serde::Deserialize as _;
        serde_yaml::Deserializer::from_str(&rendered.out)
            .map(|d| Value::deserialize(d).expect("YAML"))
            .filter(|o| !o.is_null())
            .collect()
    };
    cluster.kubectl(
        &["apply", "-f", "-"],
        Some(json!({"apiVersion": "v1", "kind": "List", "items": objects})),
    );
    let found = cluster.tributary(&["doctor"]);
    assert!(
        found
            .out
            .contains("ok      rights of ServiceAccount tributary/tributary-operator: all"),
        "{}",
        found.out
    );
    assert!(
        found
            .out
            .contains("BAD     operator tributary/tributary-operator: no replica is available"),
        "{}",
        found.out
    );
    cluster.kubectl(
        &[
            "delete",
            "rolebinding",
            "tributary-operator-platform",
            "-n",
            "tributary",
        ],
        None,
    );
    let found = cluster.tributary(&["doctor"]);
    assert!(
        found.out.contains("missing: ") && found.out.contains("create deployments in namespace tributary"),
        "{}",
        found.out
    );

    // The examples, applied; endpoints on port 1, where nobody answers.
    cluster.kubectl(&["apply", "-f", "-"], Some(platform()));
    cluster.kubectl(&["apply", "-f", QUICKSTART], None);
    plans_of_the_cluster(&cluster);
    doctors_of_the_cluster(&cluster);
}

/// The example's platform, with endpoints where nobody answers.
fn platform() -> Value {
    use serde::Deserialize as _;
    let text = std::fs::read_to_string(repository().join(PLATFORM)).expect("the example");
    let mut objects: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
        .map(|d| Value::deserialize(d).expect("YAML"))
        .collect();
    for object in objects.iter_mut().filter(|o| o["kind"] == "DataPlatform") {
        object["spec"]["kafka"]["bootstrapServers"] = json!(["127.0.0.1:1"]);
        object["spec"]["connect"]["url"] = json!("http://127.0.0.1:1");
        object["spec"]["starrocks"]["hot"]["mysqlEndpoints"] = json!(["127.0.0.1:1"]);
        object["spec"]["starrocks"]["hot"]["httpEndpoints"] = json!(["http://127.0.0.1:1"]);
    }
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

fn plans_of_the_cluster(cluster: &Cluster) {
    let found = cluster.tributary(&["plan", "initech", "-n", "tenant-initech"]);
    assert_eq!(
        found.code, 1,
        "what is not known is no 'no change': {}{}",
        found.out, found.err
    );
    for text in [
        "TenantPipeline tenant-initech/initech",
        "unknown: topics, seen from here:",
        "unknown: connector, seen from here:",
        "unknown: ledger, seen from here:",
    ] {
        assert!(found.out.contains(text), "{text}:\n{}{}", found.out, found.err);
    }
    // As the operator: without its ledger nothing new is made, because nobody would know whose it is.
    assert!(!found.out.contains("+ StarRocksTable"), "{}", found.out);
    assert!(
        !found.out.contains("secret@") && !found.err.contains("secret@"),
        "{}",
        found.out
    );
    let found = cluster.tributary(&["explain", "initech", "-n", "tenant-initech"]);
    assert_eq!(found.code, 0, "{}", found.err);
    for text in [
        "freshness.hot",
        "2s",
        "platform",
        "consumer group",
        "tributary.prod-eu1.tenant-initech.initech",
    ] {
        assert!(found.out.contains(text), "{text}:\n{}", found.out);
    }
    let found = cluster.tributary(&["plan", "nobody", "-n", "tenant-initech"]);
    assert!(
        found.code == 1
            && found
                .err
                .contains("there is no TenantPipeline tenant-initech/nobody"),
        "{}",
        found.err
    );
}

fn doctors_of_the_cluster(cluster: &Cluster) {
    let found = cluster.tributary(&["doctor", "pipeline", "initech", "-n", "tenant-initech"]);
    assert_eq!(found.code, 1);
    for line in [
        "ok      Secret tenant-initech/initech-mongodb, key uri: a connection string that the platform permits",
        "ok      labels of Namespace tenant-initech: tributary.dev/tenant=initech",
        "BAD     relay's Deployment: there is none",
        "BAD     operator has seen the newest spec: it has seen generation -1 of 1",
    ] {
        assert!(found.out.contains(line), "{line}:\n{}{}", found.out, found.err);
    }
    let found = cluster.tributary(&["doctor", "platform", "main", "-n", "tributary"]);
    for line in [
        "ok      adminCredentialsSecretRef: Secret tributary/starrocks-hot-admin: has username and password",
        "BAD     Secret kafka/tributary-sources that Kafka Connect mounts: does not exist",
        "BAD     DataPlatform tributary/main: the operator has not looked at it",
    ] {
        assert!(found.out.contains(line), "{line}:\n{}{}", found.out, found.err);
    }
    assert!(!found.out.contains("change-me"));
    cluster.kubectl(
        &["delete", "secret", "initech-mongodb", "-n", "tenant-initech"],
        None,
    );
    let found = cluster.tributary(&["doctor", "pipeline", "initech", "-n", "tenant-initech"]);
    assert!(
        found
            .out
            .contains("BAD     Secret tenant-initech/initech-mongodb, key uri: does not exist"),
        "{}",
        found.out
    );
    let found = cluster.tributary(&["status", "initech", "-n", "tenant-initech", "-o", "json"]);
    let status: Value = serde_json::from_str(&found.out).expect("JSON");
    assert_eq!(status["name"], "initech");
}
