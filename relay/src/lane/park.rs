//! Documents that no load takes: kept in the dead-letter topic, with their reason, before their offset passes (correctness
//! rule 12).

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::SlotName;
use super::batch::Origin;

/// A record's own bytes beyond this stay out of its dead letter, which then only names the record.
const KEEP_MAX: usize = 512 * 1024;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a document was parked: the word in dead letters and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not a change event this relay understands.
    Unreadable,
    /// The mapping has no row for it.
    Refused,
    /// StarRocks does not take its rows.
    Rejected,
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "Unreadable",
            Self::Refused => "Refused",
            Self::Rejected => "Rejected",
        }
    }
}

/// One document of one table.
#[derive(Clone, Debug)]
pub struct Parked {
    pub origin: Origin,
    pub reason: Reason,
    pub message: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The rows that were made of it.
    pub rows: Vec<Vec<u8>>,
}

impl Parked {
    pub fn bytes(&self) -> usize {
        let kept = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let rows: usize = self.rows.iter().map(Vec::len).sum();
        kept(&self.key) + kept(&self.value) + rows + self.message.len() + 64
    }

    /// A record as it was read; one too large to be kept is only named.
    pub fn record(origin: Origin, reason: Reason, message: String, record: (Option<&[u8]>, &[u8])) -> Self {
        let keep = |bytes: &[u8]| (bytes.len() <= KEEP_MAX).then(|| bytes.to_vec());
        Self {
            origin,
            reason,
            message,
            key: record.0.and_then(keep),
            value: keep(record.1),
            rows: Vec::new(),
        }
    }

    /// Key and value of its dead letter. The key names the record and the table, so parking it twice is once.
    pub fn letter(
        &self,
        database: &str,
        table: &str,
        slot: &SlotName,
        mapping_generation: u16,
    ) -> (Vec<u8>, Vec<u8>) {
        let key = json!({
            "database": database,
            "table": table,
            "topic": slot.topic,
            "topicGeneration": slot.generation,
            "partition": slot.partition,
            "offset": self.origin.offset,
        });
        let value = json!({
            "formatVersion": 1,
            "reason": self.reason.word(),
            "message": self.message,
            "mappingGeneration": mapping_generation,
            "parkedAtMs": super::now_ms(),
            "record": {"key": text(self.key.as_deref()), "value": text(self.value.as_deref())},
            "rows": self.rows.iter().map(|row| String::from_utf8_lossy(row)).collect::<Vec<_>>(),
        });
        (key.to_string().into_bytes(), value.to_string().into_bytes())
    }
}

/// Bytes as JSON: text where they are text, else base64.
fn text(bytes: Option<&[u8]>) -> Value {
    use base64::Engine as _;
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!({"text": text}),
            Err(_) => json!({"base64": base64::engine::general_purpose::STANDARD.encode(bytes)}),
        },
    }
}

/// The way into the dead-letter topic. Connects when there is something to park.
pub struct DeadLetters {
    topic: String,
    config: ClientConfig,
    producer: Mutex<Option<ThreadedProducer<Acknowledge>>>,
}

struct Acknowledge;

impl ClientContext for Acknowledge {}

impl ProducerContext for Acknowledge {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody waits any more: the lane was reset, and the next owner parks it again.
        let _ = waiting.send(outcome);
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish()
    }
}

impl DeadLetters {
    /// `config`: what every Kafka client begins with.
    pub fn new(topic: String, mut config: ClientConfig) -> Self {
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .set("message.max.bytes", "8388608")
            .set("queue.buffering.max.kbytes", "16384");
        Self {
            topic,
            config,
            producer: Mutex::new(None),
        }
    }

    /// Writes one letter and waits until Kafka has it.
    pub async fn send(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        match self.try_send(key, value).await {
            // The topic takes less than the letter has: better a letter without the record than none.
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                let mut short: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
                short["record"] = Value::Null;
                short["rows"] = Value::Null;
                short["omitted"] = json!(value.len());
                let short = short.to_string();
                self.try_send(key, short.as_bytes())
                    .await
                    .map_err(|error| error.to_string())
            }
            result => result.map_err(|error| error.to_string()),
        }
    }

    async fn try_send(&self, key: &[u8], value: &[u8]) -> Result<(), KafkaError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        {
            let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
            if producer.is_none() {
                *producer = Some(self.config.create_with_context(Acknowledge)?);
            }
            if let Some(producer) = producer.as_ref() {
                producer
                    .send(
                        BaseRecord::with_opaque_to(&self.topic, Box::new(acknowledge))
                            .key(key)
                            .payload(value),
                    )
                    .map_err(|(error, _)| error)?;
            }
        }
        let waited = tokio::time::timeout(2 * DELIVERY_TIMEOUT, acknowledged).await;
        waited
            .ok()
            .and_then(Result::ok)
            .unwrap_or(Err(KafkaError::MessageProduction(
                RDKafkaErrorCode::MessageTimedOut,
            )))
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        if let Ok(producer) = self.producer.get_mut()
            && let Some(producer) = producer.take()
        {
            // What was not acknowledged is parked again by the next owner.
            producer.purge(rdkafka::producer::PurgeConfig::default().queue());
        }
    }
}
