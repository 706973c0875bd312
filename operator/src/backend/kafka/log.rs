//! A compacted topic with one partition and one writer at a time.

use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Context, Inner, KafkaAdmin};
use super::topic::{TopicSpec, TopicState};
use crate::backend::{Backend, BackendError, BackendResult, ErrorClass};

/// Fencing an older writer waits for the coordinator to end its transaction.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Reading everything; a ledger of 100,000 records takes about a second.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Which opening of the log wrote a record. A header, because the end of a key has no value.
const TERM: &str = "term";
/// Bound of one record: the operator's own are far smaller.
const RECORD_MAX: usize = 512 << 10;

/// Which log, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    pub topic: String,
    /// Transactional id: of two processes that use it, the one that opened last may append.
    pub writer: String,
    pub replication_factor: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub key: String,
    pub term: u64,
    pub value: Option<Vec<u8>>,
}

/// An open log.
pub struct Log {
    topic: String,
    producer: FutureProducer<Context>,
}

impl KafkaAdmin {
    /// Creates the topic if need be, shuts out every other writer, then reads it to its end.
    pub async fn open_log(&self, spec: &LogSpec) -> BackendResult<(Log, Vec<LogRecord>)> {
        let op = "open ledger";
        self.may_write(op)?;
        self.log_topic(spec).await?;
        let begin = spec.clone();
        let log = self.blocking(op, move |inner| inner.begin(&begin)).await?;
        // In this order: see the ledger's own reasons.
        self.may_write(op)?;
        let records = self.read_log(&spec.topic).await?;
        Ok((log, records))
    }

    /// Everything in the log, up to its end.
    pub async fn read_log(&self, topic: &str) -> BackendResult<Vec<LogRecord>> {
        let topic = topic.to_owned();
        self.blocking("read ledger", move |inner| inner.read(&topic))
            .await
    }

    /// Appends all or nothing. The log is handed back only when Kafka has surely taken them.
    pub async fn append(&self, log: Log, records: Vec<LogRecord>) -> BackendResult<Log> {
        let op = "append to ledger";
        let oversized = |r: &&LogRecord| r.value.as_ref().is_some_and(|v| v.len() > RECORD_MAX);
        if let Some(record) = records.iter().find(oversized) {
            let text = format!("record {} is larger than {RECORD_MAX} bytes", record.key);
            return Err(BackendError::new(Backend::Kafka, ErrorClass::Invalid, op, text));
        }
        self.may_write(op)?;
        self.blocking(op, move |_| {
            log.transact(&records)?;
            Ok(log)
        })
        .await
    }

    async fn log_topic(&self, spec: &LogSpec) -> BackendResult<()> {
        let wanted = TopicSpec::log(&spec.topic, spec.replication_factor);
        let names = [spec.topic.clone()];
        if self.describe_topics(&names).await?.is_empty() {
            self.create_topic(&wanted).await?;
        }
        match self.describe_topics(&names).await?.get(&spec.topic) {
            // Created a moment ago: metadata may lag behind.
            None => Ok(()),
            Some(live) => usable(live),
        }
    }
}

fn usable(live: &TopicState) -> BackendResult<()> {
    let policy = live.config.get("cleanup.policy").map_or("", String::as_str);
    if live.partitions == 1 && policy == "compact" {
        return Ok(());
    }
    let text = format!(
        "topic {} has {} partition(s) and cleanup.policy={policy}; a ledger needs one partition and compact, else it forgets. Set kafka.ledgerTopic to another name, or repair the topic",
        live.name, live.partitions
    );
    Err(BackendError::new(
        Backend::Kafka,
        ErrorClass::Conflict,
        "open ledger",
        text,
    ))
}

impl Inner {
    fn begin(&self, spec: &LogSpec) -> Result<Log, KafkaError> {
        let mut config = self.config.clone();
        config
            .set("transactional.id", &spec.writer)
            .set("transaction.timeout.ms", "30000")
            .set("message.timeout.ms", "20000")
            .set("allow.auto.create.topics", "false")
            // A topic that is gone is gone: do not wait for it to appear.
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("linger.ms", "0");
        let producer: FutureProducer<Context> = config.create_with_context(self.context.clone())?;
        producer.init_transactions(BEGIN_TIMEOUT)?;
        Ok(Log {
            topic: spec.topic.clone(),
            producer,
        })
    }

    fn read(&self, topic: &str) -> Result<Vec<LogRecord>, KafkaError> {
        let consumer = self.tail_consumer()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&list)?;
        read_to_end(&consumer)
    }
}

fn read_to_end<C: ClientContext + rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
) -> Result<Vec<LogRecord>, KafkaError> {
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut records = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.poll(left) {
            Some(Ok(record)) => records.push(log_record(&record)),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
            // Half a ledger is none.
            None => return Err(KafkaError::MessageConsumption(Code::OperationTimedOut)),
            Some(Err(error)) if left.is_zero() => return Err(error),
            Some(Err(_)) => {}
        }
    }
}

fn log_record(record: &impl Message) -> LogRecord {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let term = record.headers().and_then(|headers| {
        let header = headers.iter().find(|h| h.key == TERM)?;
        text(header.value?).parse().ok()
    });
    LogRecord {
        key: record.key().map(text).unwrap_or_default(),
        term: term.unwrap_or_default(),
        value: record.payload().map(<[u8]>::to_vec),
    }
}

impl Log {
    fn transact(&self, records: &[LogRecord]) -> Result<(), KafkaError> {
        self.producer.begin_transaction()?;
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let term = record.term.to_string();
            let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
                key: TERM,
                value: Some(&term),
            });
            let mut message = FutureRecord::<str, [u8]>::to(&self.topic)
                .partition(0)
                .key(&record.key)
                .headers(headers);
            if let Some(value) = &record.value {
                message = message.payload(value);
            }
            let sent = self.producer.send_result(message);
            deliveries.push(sent.map_err(|(error, _)| error)?);
        }
        // Waits for every delivery; a message that was not delivered fails it.
        self.producer.commit_transaction(COMMIT_TIMEOUT)
    }
}
