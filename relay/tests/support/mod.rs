//! What the integration tests share: a real broker, a Stream Load endpoint that misbehaves on demand, and the
//! relay as the process it is.
//!
//! The endpoint is a protocol test tool, not a database: it answers as the reference says and keeps rows by key, so that
//! ugly sequences (a commit whose reply is lost) can be scripted to the byte.

#![allow(dead_code, unreachable_pub)] // Each test binary uses its own part.

pub mod broker;
pub mod endpoint;
pub mod starrocks;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tributary_crds::relay::{
    BatchConfig, ColumnConfig, ColumnSource, DATASETS_DIR, DatasetConfig, FORMAT_VERSION, KafkaConfig,
    OnError, PipelineIdentity, RELAY_FILE, RelayConfig, RelayStatus, StarRocksConfig, TableConfig,
    TopicConfig,
};
use tributary_relay::lane::intent::Progress;

pub const HEARTBEAT_TOPIC: &str = "__debezium-heartbeat.acme";
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One test's share of a real broker: topics and a group of its own.
pub struct Kafka {
    pub bootstrap: String,
    /// Distinguishes this test's topics and group.
    pub run: String,
    pub producer: ThreadedProducer<DefaultProducerContext>,
}

impl Kafka {
    pub fn start(topics: &[(&str, i32)]) -> Self {
        Self::at(broker::bootstrap(), topics)
    }

    pub fn at(bootstrap: String, topics: &[(&str, i32)]) -> Self {
        let run = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &bootstrap)
            .set("reconnect.backoff.max.ms", "1000");
        let kafka = Self {
            bootstrap,
            run,
            producer: config.create().expect("producer"),
        };
        let admin: AdminClient<_> = config.create().expect("admin client");
        let names: Vec<(String, i32)> = topics
            .iter()
            .copied()
            .chain([(HEARTBEAT_TOPIC, 1)])
            .map(|(t, p)| (kafka.topic(t), p))
            .collect();
        let new: Vec<_> = names
            .iter()
            .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(1)))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let made = runtime
            .block_on(admin.create_topics(&new, &AdminOptions::new()))
            .expect("create topics");
        made.into_iter()
            .for_each(|topic| drop(topic.expect("create topic")));
        kafka
    }

    /// The name on the broker of a test's topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{name}.{}", self.run)
    }

    pub fn send(&self, topic: &str, partition: i32, key: &str, value: Option<&str>) {
        let topic = self.topic(topic);
        let record = BaseRecord::to(&topic).partition(partition).key(key);
        let record = match value {
            Some(value) => record.payload(value),
            None => record,
        };
        self.producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("send");
    }

    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(10)).expect("flush");
    }

    /// How many records a topic's first partition has, transaction markers included.
    pub fn records(&self, topic: &str) -> i64 {
        let (low, high) = self
            .producer
            .client()
            .fetch_watermarks(&self.topic(topic), 0, Duration::from_secs(10))
            .expect("watermarks");
        high - low
    }

    /// Deletes a partition's records below an offset, as retention does.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let admin: AdminClient<_> = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .create()
            .expect("admin client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic(topic), partition, rdkafka::Offset::Offset(offset))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let deleted = runtime.block_on(admin.delete_records(&list, &AdminOptions::new()));
        deleted.expect("delete records");
    }

    /// Commits an offset as a relay before this one might have.
    pub fn commit(&self, topic: &str, partition: i32, offset: i64, progress: &Progress) {
        self.commit_as(&self.group(), topic, partition, offset, progress);
    }

    pub fn commit_as(&self, group: &str, topic: &str, partition: i32, offset: i64, progress: &Progress) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", group)
            .create()
            .expect("consumer");
        let mut list = TopicPartitionList::new();
        let topic = self.topic(topic);
        let mut element = list.add_partition(&topic, partition);
        element.set_offset(rdkafka::Offset::Offset(offset)).unwrap();
        element.set_metadata(progress.encode(offset));
        consumer.commit(&list, CommitMode::Sync).expect("commit");
    }

    /// What the group has committed for a partition: the offset, and what the relay says beside it.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<(i64, Progress)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", group)
            .create()
            .expect("consumer");
        let topic = self.topic(topic);
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        let list = consumer
            .committed_offsets(list, Duration::from_secs(10))
            .expect("committed");
        let element = list.find_partition(&topic, partition)?;
        let rdkafka::Offset::Offset(offset) = element.offset() else {
            return None;
        };
        Some((
            offset,
            Progress::decode(element.metadata(), offset).expect("readable")?,
        ))
    }

    /// The relay's consumer group.
    pub fn group(&self) -> String {
        format!("tributary.shop.acme.{}", self.run)
    }

    pub fn heartbeat(&self) {
        let now = tributary_relay::lane::now_ms();
        self.send(
            HEARTBEAT_TOPIC,
            0,
            r#"{"serverName":"acme"}"#,
            Some(&format!(r#"{{"ts_ms":{now}}}"#)),
        );
        self.flush();
    }
}

/// An event as Debezium writes it; `after`: None for a delete.
pub fn event(op: &str, after: Option<&str>) -> String {
    let now = tributary_relay::lane::now_ms();
    let after = after.map_or("null".to_owned(), |a| serde_json::to_string(a).unwrap());
    format!(
        r#"{{"before":null,"after":{after},"updateDescription":null,"source":{{"version":"3.6.1.Final","connector":"mongodb","name":"acme","ts_ms":{now},"snapshot":"false","db":"shop","sequence":null,"ts_us":0,"ts_ns":0,"collection":"orders","ord":1,"lsid":null,"txnNumber":null,"wallTime":{now}}},"op":"{op}","ts_ms":{now},"transaction":null}}"#
    )
}

pub fn key(id: u64) -> String {
    format!(r#"{{"id":"{{\"$oid\": \"{id:024x}\"}}"}}"#)
}

pub fn column(name: &str, ty: &str, path: &str) -> ColumnConfig {
    ColumnConfig {
        name: name.into(),
        column_type: ty.parse().unwrap(),
        source: ColumnSource::Path(path.into()),
        bson: None,
        default: None,
        on_error: OnError::Overflow,
        nullable: true,
    }
}

pub fn id_column() -> ColumnConfig {
    ColumnConfig {
        bson: Some(tributary_crds::relay::BsonType::ObjectId),
        nullable: false,
        ..column("order_id", "VARCHAR(24)", "_id")
    }
}

pub fn table(name: &str, columns: Vec<ColumnConfig>) -> TableConfig {
    let mut all = vec![id_column()];
    all.extend(columns);
    TableConfig {
        entry: name.into(),
        database: "shop".into(),
        table: name.into(),
        primary_key: vec!["order_id".into()],
        columns: all,
        explode: None,
        filter: None,
        deletes: Default::default(),
        on_reject: Default::default(),
    }
}

pub fn dataset(topic: &str, partitions: i32, tables: Vec<TableConfig>) -> DatasetConfig {
    DatasetConfig {
        format_version: FORMAT_VERSION,
        digest: String::new(),
        name: topic.rsplit('.').next().unwrap().into(),
        tenant: "acme".into(),
        topic: TopicConfig {
            name: topic.into(),
            partitions,
            generation: 1,
        },
        mapping_generation: 1,
        tables,
    }
    .sealed()
}

pub fn pipeline() -> PipelineIdentity {
    PipelineIdentity {
        owner: "test/shop/acme".into(),
        namespace: "shop".into(),
        name: "acme".into(),
        tenant: "acme".into(),
    }
}

/// A relay's folder of files, and the process that reads it.
pub struct Relay {
    dir: tempfile::TempDir,
    child: Option<Child>,
    address: Option<SocketAddr>,
    environment: Vec<(String, String)>,
    ablated: Option<tributary_relay::guard::Guard>,
}

impl Relay {
    pub fn configure(kafka: &Kafka, endpoints: &[String], datasets: &[DatasetConfig]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = RelayConfig {
            format_version: FORMAT_VERSION,
            pipeline: pipeline(),
            kafka: KafkaConfig {
                bootstrap_servers: vec![kafka.bootstrap.clone()],
                group_id: kafka.group(),
                group_instance_id: "relay-0".into(),
                heartbeat_topic: kafka.topic(HEARTBEAT_TOPIC),
                heartbeat_interval_ms: 5_000,
                dead_letter_topic: None,
                security: None,
            },
            starrocks: StarRocksConfig {
                http_endpoints: endpoints.to_vec(),
                mysql_endpoints: Vec::new(),
                tls: None,
            },
            batch: BatchConfig {
                linger_ms: 50,
                max_bytes: 256 * 1024,
                max_rows: 500,
            },
        };
        std::fs::create_dir(dir.path().join(DATASETS_DIR)).unwrap();
        std::fs::create_dir(dir.path().join("credentials")).unwrap();
        std::fs::write(dir.path().join("credentials/username"), "relay\n").unwrap();
        std::fs::write(dir.path().join("credentials/password"), "secret").unwrap();
        std::fs::write(dir.path().join(RELAY_FILE), serde_json::to_vec(&relay).unwrap()).unwrap();
        for dataset in datasets {
            let mut dataset = dataset.clone();
            dataset.topic.name = kafka.topic(&dataset.topic.name);
            let dataset = dataset.sealed();
            let path = dir
                .path()
                .join(DATASETS_DIR)
                .join(format!("{}.json", dataset.name));
            std::fs::write(path, serde_json::to_vec(&dataset).unwrap()).unwrap();
        }
        Self {
            dir,
            child: None,
            address: None,
            environment: Vec::new(),
            ablated: None,
        }
    }

    /// Without one of the rules' guards.
    pub fn ablate(&mut self, guard: Option<tributary_relay::guard::Guard>) {
        self.ablated = guard;
    }

    /// Sets a variable for every start from now on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The most memory the process ever had.
    pub fn peak_bytes(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    /// Changes relay.json.
    pub fn reconfigure(&self, change: impl FnOnce(&mut RelayConfig)) {
        let path = self.path(RELAY_FILE);
        let mut relay: RelayConfig = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut relay);
        write_whole(&path, &serde_json::to_vec(&relay).unwrap());
    }

    /// Changes a dataset's file.
    pub fn remap(&self, name: &str, change: impl FnOnce(&mut DatasetConfig)) {
        let path = self.path(DATASETS_DIR).join(format!("{name}.json"));
        let mut dataset: DatasetConfig = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut dataset);
        write_whole(&path, &serde_json::to_vec(&dataset.sealed()).unwrap());
    }

    /// Writes one of the files the configuration names.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_whole(&path, text.as_bytes());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary-relay"));
        if let Some(guard) = self.ablated {
            command.env(tributary_relay::guard::ABLATE_ENV, guard.name());
        }
        let mut child = command
            .args(["--config-dir".as_ref(), self.dir.path().as_os_str()])
            .args(["--credentials-dir".as_ref(), self.path("credentials").as_os_str()])
            .args(["--listen", "127.0.0.1:0"])
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("relay");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the relay ended: {seen:#?}")
            };
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split_whitespace().next().unwrap().parse().expect("address");
            }
            seen.push(line);
        };
        // Logs go on to the test's own output, which cargo captures.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| eprintln!("relay: {line}"))
        });
        self.child = Some(child);
        self.address = Some(address);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().unwrap();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// The exit code, once it ends.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.take().unwrap().wait().unwrap().code()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        http(&self.address.unwrap().to_string(), "GET", path, "")
    }

    pub fn status(&self) -> RelayStatus {
        let (code, body) = self.get("/status");
        assert_eq!(code, 200);
        serde_json::from_str(&body).expect(&body)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As the kubelet changes a mounted file: whole or not at all.
fn write_whole(path: &std::path::Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// One HTTP exchange.
pub fn http(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let status = reply.split_whitespace().nth(1).unwrap().parse().unwrap();
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// Waits for a condition; its last answer, should it never come.
pub fn within<T: std::fmt::Debug>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<(), T>,
) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(()) => return Ok(()),
            Err(answer) if Instant::now() > deadline => {
                return Err(format!("not {what} within {patience:?}: {answer:?}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Waits for a condition; its last answer is the failure's message.
pub fn eventually<T: std::fmt::Debug>(what: &str, ask: impl FnMut() -> Result<(), T>) {
    within(PATIENCE, what, ask).unwrap_or_else(|why| panic!("{why}"));
}
