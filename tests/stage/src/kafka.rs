//! Kafka: one node, broker and controller in one process, configured like a careful site where that costs nothing:
//! nobody's typo makes a topic, and topics that are made need one replica only because there is one node.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::info::{KafkaInfo, SecureInfo};
use crate::ports;
use crate::progress::say;
use crate::serve::Context;
use crate::server::Server;
use crate::setup::{self, Tool};

/// Kafka and everything that Connect needs beside it: one set of libraries, one class path.
const LIBRARIES: [&str; 5] = [
    "org.apache.kafka:kafka_2.13:4.3.1",
    "org.apache.kafka:connect-runtime:4.3.1",
    "org.apache.kafka:connect-json:4.3.1",
    "org.apache.kafka:connect-transforms:4.3.1",
    // Without a binding for slf4j nothing is logged at all.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
];
const HEAP: &str = "-Xmx512m";
/// Two idle cores need 5 s; among thirty compilers a restart has taken 100.
const READY_WITHIN: Duration = Duration::from_secs(240);
/// The storage is formatted once per cache, so every stage's cluster has the same id.
const CLUSTER_ID: &str = "VHJpYnV0YXJ5LXN0YWdlLQ";
const METADATA: i16 = 3;
/// A user of the guarded listener. In the storage from the beginning, which is made once: so it is no secret.
const USER: &str = "tributary";
const PASSWORD: &str = "stage-kafka";

/// Log to stdout; the caller knows where that goes.
pub(crate) const LOG4J2: &str = "\
status=warn
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
";

/// Fetches what Kafka and Connect run from; nothing when it is in the cache.
pub fn prepare() -> Result<()> {
    formatted_storage(&libraries()?).map(drop)
}

/// Raises the broker.
pub fn raise(context: &Context) -> Result<KafkaInfo> {
    let libraries = libraries()?;
    let storage = formatted_storage(&libraries)?;
    ports::retrying(|| start(context, &libraries, &storage))
}

fn start(context: &Context, libraries: &Path, formatted: &Path) -> Result<KafkaInfo> {
    let dir = context.dir("kafka")?;
    let logs = dir.join("data");
    fs::remove_dir_all(&logs).ok();
    copy_files(formatted, &logs)?;
    let broker = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let controller = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let config = dir.join("server.properties");
    let tls = context.tls()?;
    let guarded = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let guard = Guard {
        address: guarded,
        key_store: &tls.key_store,
    };
    fs::write(
        &config,
        server_properties(broker, controller, &logs, Some(&guard)),
    )?;
    let log4j2 = dir.join("log4j2.properties");
    fs::write(&log4j2, LOG4J2)?;
    let libraries = libraries.to_owned();
    let launch = move |context: &Context| launch(context, &libraries, &config, &log4j2, broker);
    context.keep_restartable(launch(context)?, launch);
    say(format!("Kafka answers at {broker}"));
    Ok(KafkaInfo {
        bootstrap: broker.to_string(),
        secure: Some(SecureInfo {
            address: guarded.to_string(),
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            ca: tls.ca.clone(),
        }),
    })
}

/// The listener that wants TLS and a password.
struct Guard<'a> {
    address: SocketAddr,
    key_store: &'a Path,
}

/// Starts the broker on the storage that its configuration names and waits until clients find it.
fn launch(
    context: &Context,
    libraries: &Path,
    config: &Path,
    log4j2: &Path,
    broker: SocketAddr,
) -> Result<Server> {
    let mut command = java(libraries);
    command
        .arg(format!("-Dlog4j2.configurationFile={}", log4j2.display()))
        .args([HEAP, "kafka.Kafka"])
        .arg(config);
    let server = context.spawn("kafka", &mut command)?;
    server.wait_ready(READY_WITHIN, || brokers(broker).map(|count| count == 1))?;
    Ok(server)
}

/// The folder with the libraries of Kafka and Connect.
pub(crate) fn libraries() -> Result<PathBuf> {
    let jars = setup::maven_jars(&LIBRARIES)?;
    let dir = jars.first().and_then(|jar| jar.parent());
    Ok(dir.context("Maven brought no library")?.to_owned())
}

/// `java` with a class path of all files in that folder.
fn java(libraries: &Path) -> Command {
    let mut command = Command::new("java");
    // Garbage collection by one thread: the heap is small and the cores are few.
    command
        .arg("-XX:+UseSerialGC")
        .arg("-cp")
        .arg(libraries.join("*"));
    command
}

fn server_properties(
    broker: SocketAddr,
    controller: SocketAddr,
    logs: &Path,
    guard: Option<&Guard<'_>>,
) -> String {
    let mut listeners = format!("PLAINTEXT://{broker},CONTROLLER://{controller}");
    if let Some(guard) = guard {
        listeners += &format!(",GUARDED://{}", guard.address);
    }
    let key_store = guard.map(|guard| guard.key_store.display().to_string());
    let guarded: &[(&str, &str)] = match &key_store {
        Some(key_store) => &[
            ("listener.name.guarded.sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            (
                "listener.name.guarded.scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ),
            ("listener.name.guarded.ssl.keystore.type", "PEM"),
            ("listener.name.guarded.ssl.keystore.location", key_store),
        ],
        None => &[],
    };
    let base = properties(&[
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", &format!("1@{controller}")),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", &listeners),
        ("advertised.listeners", &listeners),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL",
        ),
        ("log.dirs", &logs.display().to_string()),
        ("auto.create.topics.enable", "false"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "4"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        // There is no other broker to take over: a machine too busy for a heartbeat is no reason to fence the only one.
        ("broker.session.timeout.ms", "60000"),
        // A test's consumer is alone in its group: nobody to wait for.
        ("group.initial.rebalance.delay.ms", "0"),
    ]);
    base + &properties(guarded)
}

/// A Java properties file. Values hold no character that would need escaping beyond the backslash.
pub(crate) fn properties(entries: &[(&str, &str)]) -> String {
    entries
        .iter()
        .map(|(key, value)| format!("{key}={}\n", value.replace('\\', "\\\\")))
        .collect()
}

/// A formatted, empty storage. Formatting costs the start of a JVM, and its result depends on nothing that differs
/// between two stages as long as the voters are static: so it is made once.
fn formatted_storage(libraries: &Path) -> Result<PathBuf> {
    let user = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
    let inputs = [&LIBRARIES[..], &[CLUSTER_ID, &user]].concat();
    let dir = setup::entry("kafka", "storage", &inputs, |dir| {
        let logs = dir.join("data");
        let config = dir.join("server.properties");
        // Nobody listens there; the two only have to differ.
        let [broker, controller] = [9, 10].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        fs::write(&config, server_properties(broker, controller, &logs, None))?;
        let classes = libraries.join("*");
        Tool::new("java", "formatting Kafka's storage")
            .args(["-cp".as_ref(), classes.as_os_str()])
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .args([&config])
            .args(["--add-scram", &user])
            .run()
    })?;
    Ok(dir.join("data"))
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?.path();
        let name = file.file_name().context("a folder entry has a name")?;
        fs::copy(&file, to.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// How many brokers the cluster has, asked by Kafka's own protocol: the first moment at which clients find one.
fn brokers(address: SocketAddr) -> Result<i32> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // Metadata v1 without a client id, about no topic. The answer begins with the correlation id and the brokers.
    let mut request = Vec::from(14_i32.to_be_bytes());
    request.extend(METADATA.to_be_bytes());
    request.extend(1_i16.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    stream.write_all(&request)?;
    let mut answer = [0_u8; 12];
    stream.read_exact(&mut answer)?;
    ensure!(answer[4..8] == 7_i32.to_be_bytes(), "not Kafka: {answer:?}");
    Ok(i32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]))
}

#[cfg(test)]
mod tests {
    use super::properties;

    #[test]
    fn a_properties_file_keeps_backslashes() {
        assert_eq!(properties(&[("a", r"C:\x"), ("b", "1")]), "a=C:\\\\x\nb=1\n");
    }
}
