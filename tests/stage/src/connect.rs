//! Kafka Connect, distributed, with the Debezium MongoDB connector: a Deployment on the stage's node, as on a cluster.
//!
//! Its pod has an image without files; the JDK, the libraries and the plugin are this machine's, mounted read-only.
//! Sources' credentials reach it as they would elsewhere: through the mirrored Secret, mounted, read by a
//! DirectoryConfigProvider, so that they never pass through the REST API.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::info::{ConnectInfo, KafkaInfo, KubernetesInfo, SecureInfo};
use crate::kafka::{self, LOG4J2, properties};
use crate::ports;
use crate::progress::say;
use crate::serve::Context;
use crate::setup::{self, Tool};
use crate::tls_proxy::{self, Rules};

/// Where Connect runs.
pub const NAMESPACE: &str = "kafka";
/// Its Deployment; scale it to take Connect away.
pub const DEPLOYMENT: &str = "kafka-connect";
/// The Secret that the operator writes sources' credentials to, in [`NAMESPACE`].
pub const SOURCES_SECRET: &str = "tributary-sources";
/// Where the workers see that Secret: `${dir:<this>:<key>}` in a connector's configuration.
pub const SOURCES_PATH: &str = "/opt/tributary/sources";
/// Alias of the workers' DirectoryConfigProvider.
pub const PROVIDER: &str = "dir";

/// Who may use the REST API through its guarded door.
const USER: &str = "tributary";
const DEBEZIUM: &str = "io.debezium:debezium-connector-mongodb:3.6.1.Final:tar.gz:plugin";
const LIBRARIES_PATH: &str = "/opt/kafka/libs";
const PLUGINS_PATH: &str = "/opt/kafka/plugins";
const CONFIG_PATH: &str = "/etc/kafka-connect";
/// A worker is up in 12 s on an idle machine and in 30 s on a loaded one.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// Fetches what Connect runs from; nothing when it is in the cache.
pub fn prepare() -> Result<()> {
    kafka::libraries()?;
    plugins().map(drop)
}

/// Raises the worker and waits until its REST API answers.
pub fn raise(
    context: &Context,
    kubernetes: &KubernetesInfo,
    kafka: &KafkaInfo,
    image: &str,
) -> Result<ConnectInfo> {
    let port = ports::free()?;
    let mounts = HostMounts::find()?;
    let manifests = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        config_map(&kafka.bootstrap, port),
        deployment(image, port, &mounts),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    context.apply(kubernetes, &list.to_string())?;
    await_available(context, kubernetes)?;
    say(format!("Kafka Connect answers at 127.0.0.1:{port}"));
    let (user, password) = (USER.to_owned(), format!("{}-connect", context.id));
    let tls = context.tls()?;
    let rules = Rules {
        authorization: Some(basic(&user, &password)),
        rewrite: None,
    };
    let guarded = tls_proxy::start(
        Arc::clone(&tls.server),
        SocketAddr::from(([127, 0, 0, 1], port)),
        rules,
    )?;
    Ok(ConnectInfo {
        secure: Some(SecureInfo {
            address: format!("https://{guarded}"),
            user,
            password,
            ca: tls.ca.clone(),
        }),
        url: format!("http://127.0.0.1:{port}"),
        deployment: Some(format!("{NAMESPACE}/{DEPLOYMENT}")),
    })
}

/// The header that basic auth wants.
fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{user}:{password}");
    let encoded: String = text
        .as_bytes()
        .chunks(3)
        .flat_map(|chunk| {
            let bits = (0..3).fold(0_u32, |bits, i| {
                bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0))
            });
            (0..4).map(move |i| {
                if i <= chunk.len() {
                    char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize])
                } else {
                    '='
                }
            })
        })
        .collect();
    format!("Basic {encoded}")
}

fn await_available(context: &Context, kubernetes: &KubernetesInfo) -> Result<()> {
    let begun = Instant::now();
    let target = format!("deployment/{DEPLOYMENT}");
    // In slices shorter than the deadline of a single kubectl call.
    let wait = [
        "wait",
        "-n",
        NAMESPACE,
        "--for=condition=Available",
        "--timeout=30s",
        &target,
    ];
    while let Err(error) = context.kubectl(kubernetes, &wait) {
        if begun.elapsed() > READY_WITHIN {
            let selector = format!("app.kubernetes.io/name={DEPLOYMENT}");
            let seen = |args: &[&str]| {
                context
                    .kubectl(kubernetes, args)
                    .unwrap_or_else(|error| format!("{error:#}"))
            };
            let pod = seen(&["describe", "pod", "-n", NAMESPACE, "-l", &selector]);
            let log = seen(&["logs", "-n", NAMESPACE, "-l", &selector, "--tail=40"]);
            bail!(
                "Kafka Connect is not ready after {}s: {error:#}\n{pod}\n{log}",
                READY_WITHIN.as_secs()
            );
        }
    }
    Ok(())
}

/// The folder with the unpacked connector.
fn plugins() -> Result<PathBuf> {
    setup::entry("debezium", "mongodb", &[DEBEZIUM], |dir| {
        let files = setup::maven_jars(&[DEBEZIUM])?;
        let archive = files
            .iter()
            .find(|file| file.to_string_lossy().ends_with("-plugin.tar.gz"))
            .context("Maven did not bring the connector's archive")?;
        Tool::new("tar", "unpacking the Debezium connector")
            .args(["-xzf".as_ref(), archive.as_os_str()])
            .args(["-C".as_ref(), dir.as_os_str()])
            .run()
    })
}

/// What the pod takes from this machine.
struct HostMounts {
    /// The system's libraries, with whatever else the JDK links to.
    system: BTreeSet<PathBuf>,
    java: PathBuf,
    libraries: PathBuf,
    plugins: PathBuf,
}

impl HostMounts {
    fn find() -> Result<Self> {
        let program = setup::program("java").context("no `java` on the path: install a JDK 17 or newer")?;
        let java =
            fs::canonicalize(&program).with_context(|| format!("cannot resolve {}", program.display()))?;
        let home = java
            .parent()
            .and_then(Path::parent)
            .with_context(|| format!("{} lies in no JDK", java.display()))?;
        let mut system: BTreeSet<PathBuf> = ["/usr", "/lib", "/lib64", "/bin"].map(PathBuf::from).into();
        // Debian's JDK keeps its configuration under /etc and links to it.
        for linked in [home.join("conf"), home.join("lib/security")] {
            system.extend(fs::canonicalize(linked));
        }
        if let Ok(entries) = fs::read_dir("/etc") {
            let java = entries
                .flatten()
                .filter(|e| e.file_name().to_string_lossy().starts_with("java"));
            system.extend(java.map(|entry| entry.path()));
        }
        system.insert(home.to_owned());
        let roots = system.clone();
        system
            .retain(|path| path.is_dir() && !roots.iter().any(|root| root != path && path.starts_with(root)));
        Ok(Self {
            system,
            java,
            libraries: kafka::libraries()?,
            plugins: plugins()?,
        })
    }

    /// Pairs of (path on the node, path in the pod).
    fn pairs(&self) -> Vec<(&Path, &Path)> {
        let system = self.system.iter().map(|path| (path.as_path(), path.as_path()));
        let own = [
            (self.libraries.as_path(), Path::new(LIBRARIES_PATH)),
            (self.plugins.as_path(), Path::new(PLUGINS_PATH)),
        ];
        system.chain(own).collect()
    }
}

fn config_map(bootstrap: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE},
        "data": {"worker.properties": worker_properties(bootstrap, port), "log4j2.properties": LOG4J2},
    })
}

fn worker_properties(bootstrap: &str, port: u16) -> String {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    let provider_class = format!("config.providers.{PROVIDER}.class");
    let provider_paths = format!("config.providers.{PROVIDER}.param.allowed.paths");
    properties(&[
        ("bootstrap.servers", bootstrap),
        ("group.id", "kafka-connect"),
        ("listeners", &format!("http://127.0.0.1:{port}")),
        ("rest.advertised.host.name", "127.0.0.1"),
        ("rest.advertised.port", &port.to_string()),
        ("key.converter", converter),
        ("value.converter", converter),
        ("key.converter.schemas.enable", "false"),
        ("value.converter.schemas.enable", "false"),
        // The default turns a NULL into the column's default.
        ("value.converter.replace.null.with.default", "false"),
        ("exactly.once.source.support", "enabled"),
        ("plugin.path", PLUGINS_PATH),
        ("plugin.discovery", "service_load"),
        ("config.providers", PROVIDER),
        (
            &provider_class,
            "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
        ),
        (&provider_paths, SOURCES_PATH),
        // Connect makes its own topics; nobody else needs to.
        ("config.storage.topic", "connect-configs"),
        ("offset.storage.topic", "connect-offsets"),
        ("status.storage.topic", "connect-status"),
        ("config.storage.replication.factor", "1"),
        ("offset.storage.replication.factor", "1"),
        ("status.storage.replication.factor", "1"),
        ("offset.storage.partitions", "4"),
        ("status.storage.partitions", "1"),
        // One worker, which comes back or does not: there is no other to wait for (default: 5 minutes).
        ("scheduled.rebalance.max.delay.ms", "0"),
        ("offset.flush.interval.ms", "1000"),
        // On a machine too busy to answer in time a worker waits rather than fails its tasks for good (default: 3 s).
        ("worker.sync.timeout.ms", "30000"),
        ("session.timeout.ms", "60000"),
        ("rebalance.timeout.ms", "120000"),
    ])
}

fn deployment(image: &str, port: u16, mounts: &HostMounts) -> Value {
    let labels = json!({"app.kubernetes.io/name": DEPLOYMENT});
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": DEPLOYMENT}}),
        // Optional: the operator makes it with the first pipeline, and the kubelet then brings it in.
        json!({"name": "sources", "secret": {"secretName": SOURCES_SECRET, "optional": true}}),
        // The JVM's and Jetty's temporary files.
        json!({"name": "tmp", "emptyDir": {}}),
    ];
    let mut volume_mounts = vec![
        json!({"name": "config", "mountPath": CONFIG_PATH, "readOnly": true}),
        json!({"name": "sources", "mountPath": SOURCES_PATH, "readOnly": true}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    for (number, (host, inside)) in mounts.pairs().into_iter().enumerate() {
        let name = format!("host-{number}");
        volumes.push(json!({"name": name, "hostPath": {"path": host, "type": "Directory"}}));
        volume_mounts.push(json!({"name": name, "mountPath": inside, "readOnly": true}));
    }
    let command = [
        mounts.java.display().to_string(),
        "-XX:+UseSerialGC".into(),
        "-Xmx512m".into(),
        format!("-Dlog4j2.configurationFile={CONFIG_PATH}/log4j2.properties"),
        "-cp".into(),
        format!("{LIBRARIES_PATH}/*"),
        "org.apache.kafka.connect.cli.ConnectDistributed".into(),
        format!("{CONFIG_PATH}/worker.properties"),
    ];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            // Two workers would want the same port.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": true,
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 10,
                    "containers": [{
                        "name": "worker",
                        "image": image,
                        "imagePullPolicy": "Never",
                        "command": command,
                        // While booting it answers 404 with a page of HTML, which a probe takes for "not yet".
                        "readinessProbe": {
                            "httpGet": {"host": "127.0.0.1", "port": port, "path": "/connectors"},
                            "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3,
                        },
                        "resources": {"requests": {"cpu": "100m", "memory": "768Mi"}, "limits": {"memory": "1536Mi"}},
                        "volumeMounts": volume_mounts,
                    }],
                    "volumes": volumes,
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_auth_is_spelled_as_clients_do() {
        assert_eq!(
            basic("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(basic("a", "b"), "Basic YTpi");
        assert_eq!(basic("a", "bc"), "Basic YTpiYw==");
        assert_eq!(basic("ab", "cd"), "Basic YWI6Y2Q=");
    }

    #[test]
    fn the_pod_sees_the_secret_where_the_provider_may_read() {
        let mounts = HostMounts {
            system: [PathBuf::from("/usr")].into(),
            java: "/usr/bin/java".into(),
            libraries: "/cache/libs".into(),
            plugins: "/cache/plugins".into(),
        };
        let pod = deployment("image", 1, &mounts)["spec"]["template"]["spec"].clone();
        let at = |path: &str| {
            let mounts = pod["containers"][0]["volumeMounts"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            mounts
                .into_iter()
                .any(|mount| mount["mountPath"] == path && mount["readOnly"] == true)
        };
        assert!(at(SOURCES_PATH) && at("/usr") && at(LIBRARIES_PATH) && at(PLUGINS_PATH));
        assert!(worker_properties("b:1", 2).contains(&format!("dir.param.allowed.paths={SOURCES_PATH}\n")));
    }
}
