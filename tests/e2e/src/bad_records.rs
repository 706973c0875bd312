//! Records and documents that no table takes: each waits in the dead-letter topic with its reason, and what comes after it
//! arrives.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tributary_stage::StageInfo;

use crate::checks::Checks;
use crate::manifests::TENANTS;
use crate::scenario::Scenario;
use crate::wait::{Look, until};

const MINUTE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(20);
const TOPIC: &str = "acme.shop_acme.customers";
const PARTITIONS: i32 = 3;
/// Whose key the foreign records carry: no document has it.
const NOBODY: &str = "65920080000000000000dead";
/// Enough of them that every partition gets one.
const AFTERWARDS: u32 = 16;

/// Runs every step; the pipelines flow before and after.
pub fn check(scenario: &Scenario, checks: &mut Checks) {
    checks.check(
        "records that are no change events wait in the dead-letter topic",
        || foreign_records(scenario),
    );
    checks.check("what comes after them arrives, in every partition", || {
        afterwards(scenario)
    });
    checks.check(
        "a key that no table takes is parked, its neighbours are not",
        || long_key(scenario),
    );
    checks.check("a document of nearly 16 MB arrives", || large_document(scenario));
}

struct Bad {
    key: Option<String>,
    value: Option<Vec<u8>>,
    /// What its dead letter says; none is written about a tombstone.
    says: Option<&'static str>,
}

fn bad_records() -> Vec<Bad> {
    let key = json!({"id": json!({"$oid": NOBODY}).to_string()}).to_string();
    let envelope = |op: &str| {
        let after = json!({"_id": {"$oid": NOBODY}, "email": "nobody@example.com"}).to_string();
        json!({"before": null, "after": after, "op": op, "source": {"ts_ms": 1_700_000_000_000_u64}})
            .to_string()
    };
    let whole = envelope("c");
    let bad = |value: &[u8], says| Bad {
        key: Some(key.clone()),
        value: Some(value.to_vec()),
        says: Some(says),
    };
    vec![
        bad(b"is this JSON?", "the value is not JSON"),
        bad(&whole.as_bytes()[..whole.len() / 2], "the value is not JSON"),
        bad(b"{\"op\":\"c\",\"after\":\"\xff\xfe\"}", "the value is not UTF-8"),
        bad(envelope("t").as_bytes(), "unknown op \"t\""),
        bad(br#"{"_id": 1, "email": "unwrapped"}"#, "the value has no \"op\""),
        bad(
            br#"{"op": "c", "after": {"email": "an object"}}"#,
            "\"after\" is an object",
        ),
        bad(br#"{"op": "c", "after": null}"#, "without \"after\""),
        Bad {
            key: None,
            value: Some(whole.clone().into_bytes()),
            says: Some("the record has no key"),
        },
        Bad {
            key: Some("not JSON either".to_owned()),
            value: Some(whole.into_bytes()),
            says: Some("the key is not JSON"),
        },
        Bad {
            key: Some(key.clone()),
            value: None,
            says: None,
        },
    ]
}

fn foreign_records(scenario: &Scenario) -> Result<String> {
    let records = bad_records();
    send(scenario.info(), &records)?;
    let tables = ["customers", "customers_by_country"];
    until("a letter about each, from each table", MINUTE, || {
        let letters = letters(scenario.info(), TENANTS[0])?;
        let missing: Vec<String> = records
            .iter()
            .filter_map(|record| record.says.map(|says| (says, shown(record.value.as_deref()))))
            .flat_map(|(says, value)| tables.map(|table| (table, says, value.clone())))
            .filter(|(table, says, value)| !letters.iter().any(|l| l.is_about(table, says, value)))
            .map(|(table, says, _)| format!("{table}: {says}"))
            .collect();
        Ok(match missing.is_empty() {
            true => Look::There(()),
            false => Look::NotYet(format!("no letter about {}", missing.join(", "))),
        })
    })?;
    let found = "SELECT COUNT(*) FROM tenant_acme.customers WHERE customer_id = ";
    scenario.await_value(&format!("{found}'{NOBODY}'"), "0", CALL)?;
    Ok(format!("{} records, {} tables", records.len(), tables.len()))
}

/// Lets every partition have its share.
fn send(info: &StageInfo, records: &[Bad]) -> Result<()> {
    let producer: BaseProducer = client(info)?.set("message.timeout.ms", "20000").create()?;
    for (record, partition) in records.iter().zip((0..PARTITIONS).cycle()) {
        let mut message = BaseRecord::<String, Vec<u8>>::to(TOPIC).partition(partition);
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        if let Some(value) = &record.value {
            message = message.payload(value);
        }
        producer.send(message).map_err(|(error, _)| error)?;
    }
    producer
        .flush(CALL)
        .with_context(|| format!("records for {TOPIC}"))
}

fn client(info: &StageInfo) -> Result<ClientConfig> {
    let kafka = info.kafka.as_ref().context("this stage has no Kafka")?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap)
        .set("allow.auto.create.topics", "false");
    Ok(config)
}

/// One dead letter, as far as it is asked about.
struct Letter {
    table: String,
    message: String,
    value: String,
}

impl Letter {
    fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let key: Value = serde_json::from_slice(key?).ok()?;
        let letter: Value = serde_json::from_slice(value?).ok()?;
        let record = &letter["record"]["value"];
        let value = record["text"].as_str().or(record["base64"].as_str());
        Some(Self {
            table: key["table"].as_str()?.to_owned(),
            message: letter["message"].as_str()?.to_owned(),
            value: value.unwrap_or_default().to_owned(),
        })
    }

    fn is_about(&self, table: &str, says: &str, value: &str) -> bool {
        self.table == table && self.message.contains(says) && (value.is_empty() || self.value == value)
    }
}

/// A value as its letter shows it; empty for what is no text.
fn shown(value: Option<&[u8]>) -> String {
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap_or_default()
}

/// Everything in a tenant's dead-letter topic.
fn letters(info: &StageInfo, tenant: &str) -> Result<Vec<Letter>> {
    let topic = format!("tributary-dead-letters.{tenant}");
    let consumer: BaseConsumer = client(info)?
        .set("group.id", "e2e")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(&topic), CALL)?;
    let partitions: BTreeSet<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    ensure!(!partitions.is_empty(), "there is no topic {topic}");
    let mut all = TopicPartitionList::new();
    for partition in &partitions {
        all.add_partition_offset(&topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let mut open = partitions;
    let mut letters = Vec::new();
    while !open.is_empty() {
        match consumer
            .poll(CALL)
            .context("the dead-letter topic does not end")?
        {
            Ok(message) => letters.extend(Letter::read(message.key(), message.payload())),
            Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => {
                open.remove(&partition);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(letters)
}

fn afterwards(scenario: &Scenario) -> Result<String> {
    let writes: Vec<Value> = (0..AFTERWARDS)
        .map(|i| {
            let id = format!("65920080000000000000{i:04x}");
            json!({"insert": "shop_acme.customers", "document": {"_id": {"$oid": id}, "email": "afterwards@example.com"}})
        })
        .collect();
    scenario.programs.write(&writes)?;
    let count = "SELECT COUNT(*) FROM tenant_acme.customers WHERE email = 'afterwards@example.com'";
    scenario.await_value(count, &AFTERWARDS.to_string(), MINUTE)?;
    Ok(format!("{AFTERWARDS} documents"))
}

/// Its key column is too narrow for one table; together with a label it is longer than StarRocks' keys may be.
fn long_key(scenario: &Scenario) -> Result<String> {
    let (id, label) = ("k".repeat(100), "l".repeat(32));
    scenario.programs.write(&[
        json!({"insert": "shop_globex.products", "document": {"_id": id, "name": "long", "labels": [label]}}),
        json!({"insert": "shop_globex.products", "document": {"_id": "neighbour", "name": "short", "labels": [label]}}),
    ])?;
    let wanted = [("products", "VARCHAR(64)"), ("labels", "128")];
    until("a letter from each table", MINUTE, || {
        let letters = letters(scenario.info(), TENANTS[1])?;
        let about = |table: &str, says: &str| letters.iter().any(|l| l.is_about(table, says, ""));
        Ok(match wanted.iter().find(|(table, says)| !about(table, says)) {
            None => Look::There(()),
            Some(missing) => Look::NotYet(format!(
                "no letter about {missing:?} among {:?}",
                letters.iter().map(|l| (&l.table, &l.message)).collect::<Vec<_>>()
            )),
        })
    })?;
    let labels = "SELECT COUNT(*) FROM tenant_globex.labels WHERE label = ";
    scenario.await_value(&format!("{labels}'{label}'"), "1", MINUTE)?;
    let name = "SELECT name FROM tenant_globex.products WHERE sku = 'neighbour'";
    scenario.await_value(name, "short", MINUTE)?;
    scenario
        .programs
        .write(&[json!({"delete": "shop_globex.products", "id": id})])?;
    Ok(String::new())
}

/// MongoDB takes 16 MiB of BSON; as text in an event it is more, a quote four times as long.
fn large_document(scenario: &Scenario) -> Result<String> {
    const SIZE: usize = (16 << 20) - 1000;
    let note = "x\"".repeat(SIZE / 2);
    let id = "6592008029c8c3e4dc762571";
    scenario.programs.write(&[json!({
        "insert": "shop_acme.customers",
        "document": {"_id": {"$oid": id}, "email": "large@example.com", "note": note},
    })])?;
    let select = format!("SELECT email FROM tenant_acme.customers WHERE customer_id = '{id}'");
    scenario.await_value(&select, "large@example.com", 2 * MINUTE)?;
    // What is cut from a row is said; the pipeline goes on, and the document goes as any other.
    scenario
        .programs
        .write(&[json!({"delete": "shop_acme.customers", "id": {"$oid": id}})])?;
    let count = format!("SELECT COUNT(*) FROM tenant_acme.customers WHERE customer_id = '{id}'");
    scenario.await_value(&count, "0", MINUTE)?;
    Ok(format!("{SIZE} bytes"))
}
