//! The client: one connection set per cluster, shared. librdkafka's blocking calls run on tokio's blocking threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::net::TcpStream;

use super::error::{backend_error, class_of};
use super::topic::{TopicSpec, TopicState};
use super::wire;
use crate::backend::breaker::Breaker;
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass, Redactor};
use crate::leader::Fence;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Creating and deleting waits for the controller.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long reading the end of a heartbeat topic may take.
const TAIL_TIMEOUT: Duration = Duration::from_secs(5);
/// Records read back from the end: with exactly-once the last offsets can be transaction markers.
const TAIL_RECORDS: i64 = 16;
/// How long an authentication failure told by the error callback explains later timeouts.
const AUTH_MEMORY: Duration = Duration::from_secs(60);

/// How to reach a cluster.
#[derive(Clone, Default)]
pub struct KafkaOptions {
    /// `host:port` each.
    pub bootstrap_servers: Vec<String>,
    /// librdkafka properties for TLS and SASL (`security.protocol`, `sasl.*`, `ssl.*`).
    pub security: BTreeMap<String, String>,
}

/// Never prints the security properties: they hold passwords.
impl std::fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

/// Proof that the cluster answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    pub cluster_id: Option<String>,
    pub brokers: usize,
}

/// Ends of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub low: i64,
    pub high: i64,
}

/// A group's committed offset in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub metadata: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroup {
    pub name: String,
    /// `Stable`, `Empty`, `Dead`, …
    pub state: String,
    pub members: usize,
}

/// Administration of one Kafka cluster. Cheap to clone.
#[derive(Clone)]
pub struct KafkaAdmin {
    inner: Arc<Inner>,
    fence: Fence,
}

pub(super) struct Inner {
    admin: AdminClient<Context>,
    pub(super) config: ClientConfig,
    pub(super) context: Context,
    /// Where to ask for topic ids; empty where a connection needs more than TCP.
    plain: Vec<String>,
    /// The stream such questions go over, kept between them.
    questions: tokio::sync::Mutex<Option<TcpStream>>,
    /// For reading the end of heartbeat topics; made at first use, one reader at a time.
    tail: Mutex<Option<BaseConsumer<Context>>>,
    breaker: Breaker,
    redactor: Redactor,
}

impl KafkaAdmin {
    /// Connects lazily: a wrong address shows at the first call, a wrong property here.
    pub fn new(options: &KafkaOptions) -> BackendResult<Self> {
        let secret_keys = ["sasl.password", "ssl.key.password", "ssl.key.pem"];
        let redactor = Redactor::new(
            secret_keys
                .iter()
                .filter_map(|k| options.security.get(*k).cloned()),
        );
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", options.bootstrap_servers.join(","))
            .set("client.id", "tributary-operator")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("reconnect.backoff.max.ms", "5000")
            .set("log.connection.close", "false");
        for (key, value) in &options.security {
            config.set(key, value);
        }
        let context = Context::default();
        let admin = config
            .create_with_context(context.clone())
            .map_err(|e| backend_error("configure", &e, None, &redactor))?;
        Ok(Self {
            inner: Arc::new(Inner {
                admin,
                config,
                context,
                plain: match options.security.is_empty() {
                    true => options.bootstrap_servers.clone(),
                    false => Vec::new(),
                },
                questions: tokio::sync::Mutex::default(),
                tail: Mutex::new(None),
                breaker: Breaker::new(Backend::Kafka, options.bootstrap_servers.join(",")),
                redactor,
            }),
            fence: Fence::open(),
        })
    }

    /// The same client, which writes only while `fence` is open.
    pub fn fenced(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }

    /// Asks for the cluster's metadata.
    pub async fn probe(&self) -> BackendResult<ClusterInfo> {
        self.blocking("probe", |inner| {
            let client = inner.client();
            let metadata = client.fetch_metadata(None, METADATA_TIMEOUT)?;
            Ok(ClusterInfo {
                cluster_id: client.fetch_cluster_id(METADATA_TIMEOUT),
                brokers: metadata.brokers().len(),
            })
        })
        .await
    }

    /// The named topics as they are; a topic that does not exist is absent from the answer.
    pub async fn describe_topics(&self, names: &[String]) -> BackendResult<BTreeMap<String, TopicState>> {
        let wanted: Vec<String> = names.to_vec();
        let mut topics = self
            .blocking("describe topics", move |inner| {
                // All topics: a request for named ones may make the broker create them.
                let metadata = inner.client().fetch_metadata(None, METADATA_TIMEOUT)?;
                let found = metadata
                    .topics()
                    .iter()
                    .filter(|t| t.error().is_none() && wanted.iter().any(|w| w == t.name()));
                let states = found.map(|t| TopicState {
                    name: t.name().to_owned(),
                    id: None,
                    partitions: i32::try_from(t.partitions().len()).unwrap_or(i32::MAX),
                    replication_factor: t
                        .partitions()
                        .first()
                        .map_or(0, |p| i32::try_from(p.replicas().len()).unwrap_or(i32::MAX)),
                    config: BTreeMap::new(),
                });
                Ok(states.map(|s| (s.name.clone(), s)).collect::<BTreeMap<_, _>>())
            })
            .await?;
        self.read_configs(&mut topics).await?;
        self.read_ids(&mut topics).await?;
        Ok(topics)
    }

    /// Fills in Kafka's own ids.
    async fn read_ids(&self, topics: &mut BTreeMap<String, TopicState>) -> BackendResult<()> {
        if topics.is_empty() || self.inner.plain.is_empty() {
            return Ok(());
        }
        let op = "read topic ids";
        let names: Vec<String> = topics.keys().cloned().collect();
        let mut slot = self.inner.questions.lock().await;
        // The kept stream may have been closed meanwhile: a fresh one decides.
        let kept = slot.take();
        let mut last = String::from("bootstrapServers is empty");
        for attempt in kept.map(Some).into_iter().chain([None]) {
            let asked = async {
                let mut stream = match attempt {
                    Some(stream) => stream,
                    None => connect(&self.inner.plain).await?,
                };
                let ids = wire::topic_ids(&mut stream, &names).await?;
                std::io::Result::Ok((stream, ids))
            };
            match tokio::time::timeout(METADATA_TIMEOUT, asked).await {
                Ok(Ok((stream, ids))) => {
                    *slot = Some(stream);
                    for (name, id) in ids {
                        if let Some(topic) = topics.get_mut(&name) {
                            topic.id = Some(id);
                        }
                    }
                    return Ok(());
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "no answer in time".to_owned(),
            }
        }
        Err(BackendError::new(Backend::Kafka, ErrorClass::Transient, op, last))
    }

    async fn read_configs(&self, topics: &mut BTreeMap<String, TopicState>) -> BackendResult<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let op = "describe topic configuration";
        let names: Vec<String> = topics.keys().cloned().collect();
        let resources: Vec<ResourceSpecifier<'_>> =
            names.iter().map(|n| ResourceSpecifier::Topic(n)).collect();
        let options = admin_options();
        let call = self.inner.admin.describe_configs(&resources, &options);
        let results = self.admin_call(op, call).await?;
        // Answers keep the order of the questions.
        for (name, result) in names.iter().zip(results) {
            match result {
                Ok(resource) => {
                    let entries = resource.entries.into_iter();
                    if let Some(state) = topics.get_mut(name) {
                        state.config = entries.filter_map(|e| Some((e.name, e.value?))).collect();
                    }
                }
                // Deleted between the two questions.
                Err(code) if class_of(code) == ErrorClass::NotFound => {
                    topics.remove(name);
                }
                Err(code) => return Err(self.error(op, &KafkaError::AdminOp(code))),
            }
        }
        Ok(())
    }

    /// Creates one topic; `false` when it exists already (whatever it looks like: describe it).
    pub async fn create_topic(&self, spec: &TopicSpec) -> BackendResult<bool> {
        let op = format!("create topic {}", spec.name);
        self.may_write(&op)?;
        let replication = TopicReplication::Fixed(spec.replication_factor);
        let topic = spec.config.iter().fold(
            NewTopic::new(&spec.name, spec.partitions, replication),
            |topic, (key, value)| topic.set(key, value),
        );
        let options = admin_options();
        let call = self.inner.admin.create_topics([&topic], &options);
        let results = self.admin_call(&op, call).await?;
        self.one(&op, results.into_iter().next(), Code::TopicAlreadyExists)
    }

    /// Deletes one topic; `false` when it was not there.
    pub async fn delete_topic(&self, name: &str) -> BackendResult<bool> {
        let op = format!("delete topic {name}");
        self.may_write(&op)?;
        let options = admin_options();
        let call = self.inner.admin.delete_topics(&[name], &options);
        let results = self.admin_call(&op, call).await?;
        self.one(&op, results.into_iter().next(), Code::UnknownTopicOrPartition)
    }

    /// Deletes one consumer group; `false` when it was not there. Transient while members remain: delete it after the
    /// relay is gone.
    pub async fn delete_group(&self, name: &str) -> BackendResult<bool> {
        let op = format!("delete consumer group {name}");
        self.may_write(&op)?;
        let options = admin_options();
        let call = self.inner.admin.delete_groups(&[name], &options);
        let results = self.admin_call(&op, call).await?;
        self.one(&op, results.into_iter().next(), Code::GroupIdNotFound)
    }

    /// One consumer group; `None` when the cluster does not know it.
    pub async fn consumer_group(&self, name: &str) -> BackendResult<Option<ConsumerGroup>> {
        let wanted = name.to_owned();
        self.blocking("describe consumer group", move |inner| {
            let list = inner.client().fetch_group_list(Some(&wanted), METADATA_TIMEOUT)?;
            let group = list.groups().iter().find(|g| g.name() == wanted);
            let group = group.map(|g| ConsumerGroup {
                name: g.name().to_owned(),
                state: g.state().to_owned(),
                members: g.members().len(),
            });
            // Brokers describe a group they do not know as a dead one.
            Ok(group.filter(|g| g.state != "Dead" && !g.state.is_empty()))
        })
        .await
    }

    /// What a group has committed in the given partitions, with the notes beside it; partitions without a commit are absent.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Vec<(String, i32)>,
    ) -> BackendResult<Vec<GroupOffset>> {
        let group = group.to_owned();
        self.blocking("read group offsets", move |inner| {
            let consumer = inner.group_consumer(&group)?;
            let mut list = TopicPartitionList::new();
            for (topic, partition) in &partitions {
                list.add_partition(topic, *partition);
            }
            let committed = consumer.committed_offsets(list, METADATA_TIMEOUT)?;
            let found = committed.elements().into_iter().filter_map(|e| match e.offset() {
                Offset::Offset(offset) => Some(GroupOffset {
                    topic: e.topic().to_owned(),
                    partition: e.partition(),
                    offset,
                    metadata: e.metadata().to_owned(),
                }),
                _ => None,
            });
            Ok(found.collect())
        })
        .await
    }

    /// Commits on behalf of a group that has no members.
    pub async fn set_group_offsets(&self, group: &str, offsets: Vec<GroupOffset>) -> BackendResult<()> {
        let op = "set group offsets";
        self.may_write(op)?;
        let group = group.to_owned();
        self.blocking(op, move |inner| {
            let consumer = inner.group_consumer(&group)?;
            let mut list = TopicPartitionList::new();
            for o in &offsets {
                let mut element = list.add_partition(&o.topic, o.partition);
                element.set_offset(Offset::Offset(o.offset))?;
                element.set_metadata(o.metadata.as_str());
            }
            consumer.commit(&list, CommitMode::Sync)
        })
        .await
    }

    /// Ends of the given partitions.
    pub async fn watermarks(&self, topic: &str, partition: i32) -> BackendResult<Watermarks> {
        let topic = topic.to_owned();
        self.blocking("read watermarks", move |inner| {
            let (low, high) = inner
                .client()
                .fetch_watermarks(&topic, partition, METADATA_TIMEOUT)?;
            Ok(Watermarks { low, high })
        })
        .await
    }

    /// Time of the newest record of a one-partition topic, such as a heartbeat topic; `None` when it holds none.
    /// Reads at most [`TAIL_RECORDS`] records.
    pub async fn newest_record_time(&self, topic: &str) -> BackendResult<Option<SystemTime>> {
        let topic = topic.to_owned();
        self.blocking("read newest record", move |inner| inner.newest(&topic))
            .await
    }

    /// What a per-item answer means when `harmless` is the one code that says "already so".
    fn one<T, E>(
        &self,
        op: &str,
        result: Option<Result<T, (E, Code)>>,
        harmless: Code,
    ) -> BackendResult<bool> {
        match result {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, code))) if code == harmless => Ok(false),
            Some(Err((_, code))) => Err(self.error(op, &KafkaError::AdminOp(code))),
            None => Err(self.error(op, &KafkaError::Canceled)),
        }
    }

    async fn admin_call<T>(
        &self,
        op: &str,
        call: impl Future<Output = Result<T, KafkaError>>,
    ) -> BackendResult<T> {
        let bounded = async {
            // librdkafka keeps its own deadline; ours is the net below it.
            match tokio::time::timeout(ADMIN_TIMEOUT + Duration::from_secs(5), call).await {
                Ok(result) => result.map_err(|e| self.error(op, &e)),
                Err(_) => Err(self.error(op, &KafkaError::AdminOp(Code::OperationTimedOut))),
            }
        };
        self.inner.breaker.run(op, bounded).await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, KafkaError> + Send + 'static,
    ) -> BackendResult<T> {
        let inner = self.inner.clone();
        let call = async {
            match tokio::task::spawn_blocking(move || work(&inner)).await {
                Ok(result) => result.map_err(|e| self.error(op, &e)),
                Err(_) => Err(self.error(op, &KafkaError::Canceled)),
            }
        };
        self.inner.breaker.run(op, call).await
    }

    pub(super) fn may_write(&self, op: &str) -> BackendResult<()> {
        self.fence
            .check()
            .map_err(|e| BackendError::not_leading(Backend::Kafka, op, e))
    }

    fn error(&self, op: &str, error: &KafkaError) -> BackendError {
        backend_error(op, error, self.inner.context.auth_failure(), &self.inner.redactor)
    }
}

impl std::fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaAdmin").finish_non_exhaustive()
    }
}

impl Inner {
    fn client(&self) -> &Client<Context> {
        self.admin.inner()
    }

    /// Blocking: reads the last few offsets up to the partition's end.
    fn newest(&self, topic: &str) -> Result<Option<SystemTime>, KafkaError> {
        let mut slot = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match slot.take() {
            Some(consumer) => consumer,
            None => self.tail_consumer()?,
        };
        let (low, high) = consumer.fetch_watermarks(topic, 0, METADATA_TIMEOUT)?;
        let mut newest = None;
        if high > low {
            let mut list = TopicPartitionList::new();
            let from = Offset::Offset((high - TAIL_RECORDS).max(low));
            list.add_partition_offset(topic, 0, from)?;
            consumer.assign(&list)?;
            newest = read_to_end(&consumer);
            consumer.unassign()?;
        }
        // Kept only after success: a consumer in doubt is made anew.
        *slot = Some(consumer);
        Ok(newest)
    }

    /// Speaks for a group without joining it.
    fn group_consumer(&self, group: &str) -> Result<BaseConsumer<Context>, KafkaError> {
        let mut config = self.config.clone();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false");
        config.create_with_context(self.context.clone())
    }

    pub(super) fn tail_consumer(&self) -> Result<BaseConsumer<Context>, KafkaError> {
        let mut config = self.config.clone();
        config
            .set("group.id", "tributary-operator-tail")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // The end shows as an empty fetch, which the broker holds back this long (default 500 ms).
            .set("fetch.wait.max.ms", "20")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false");
        config.create_with_context(self.context.clone())
    }
}

fn read_to_end(consumer: &BaseConsumer<Context>) -> Option<SystemTime> {
    let deadline = Instant::now() + TAIL_TIMEOUT;
    let mut newest = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.poll(left) {
            Some(Ok(record)) => {
                let millis = record.timestamp().to_millis();
                let millis = millis.and_then(|ms| u64::try_from(ms).ok());
                newest = millis
                    .map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
                    .max(newest);
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => return newest,
            // Broker hiccups pass within the deadline.
            Some(Err(_)) if left.is_zero() => return newest,
            Some(Err(_)) => {}
        }
    }
}

/// The first server that can be reached.
async fn connect(servers: &[String]) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("no server is named");
    for server in servers {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(server)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn admin_options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ADMIN_TIMEOUT))
        .operation_timeout(Some(ADMIN_TIMEOUT))
}

/// Sends librdkafka's log to `tracing` and remembers authentication failures, which calls report as timeouts.
#[derive(Clone, Default)]
pub(super) struct Context {
    auth: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Context {
    fn auth_failure(&self) -> Option<String> {
        let slot = self.auth.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .filter(|(at, _)| at.elapsed() < AUTH_MEMORY)
            .map(|(_, reason)| reason.clone())
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = log_redactor().redact(message);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                // A cluster that is down is a condition of the platform, not an error of this process.
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let class = error.rdkafka_error_code().map(class_of);
        if class == Some(ErrorClass::AuthenticationFailed) {
            let mut slot = self.auth.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some((Instant::now(), reason.to_owned()));
        }
        let reason = log_redactor().redact(reason);
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {}

fn log_redactor() -> &'static Redactor {
    static REDACTOR: OnceLock<Redactor> = OnceLock::new();
    REDACTOR.get_or_init(Redactor::default)
}
