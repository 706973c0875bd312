//! The topic: events in the very form of a recorded Debezium MongoDB connector, about 700 bytes each.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

pub(crate) struct Topic {
    pub name: String,
    /// Keys and values together.
    pub bytes: u64,
}

pub(crate) fn fill(kafka: &str, count: u64) -> anyhow::Result<Topic> {
    let name = format!("bench.shop.orders.{:.0}", crate::discard::now_ms());
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("linger.ms", "50")
        .set("batch.size", "1000000");
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let topics = [
        NewTopic::new(&name, 1, TopicReplication::Fixed(1)),
        NewTopic::new("bench.heartbeat", 1, TopicReplication::Fixed(1)),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for made in runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()))? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => anyhow::bail!("create {topic}: {error}"),
        }
    }
    let producer: ThreadedProducer<_> = config.create()?;
    let mut bytes = 0;
    for n in 0..count {
        let (key, value) = (key(n), value(n));
        bytes += (key.len() + value.len()) as u64;
        let mut record = BaseRecord::to(&name).key(&key).payload(&value);
        // The local queue is bounded; wait for room.
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(Topic { name, bytes })
}

fn id(n: u64) -> String {
    // Half as many documents as events: every other event finds its key in the batch or in the table.
    format!(
        "{:08x}{:016x}",
        0x64b7_f0a1u32,
        (n / 2).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    )
}

pub(crate) fn key(n: u64) -> String {
    format!(r#"{{"id":"{{\"$oid\": \"{}\"}}"}}"#, id(n))
}

pub(crate) fn value(n: u64) -> String {
    let ms = 1_795_362_420_598 + n;
    let op = if n.is_multiple_of(2) { "c" } else { "u" };
    format!(
        r#"{{"before":null,"after":"{{\"_id\": {{\"$oid\": \"{id}\"}},\"status\": \"{status}\",\"channel\": \"web\",\"qty\": {qty},\"total\": {{\"$numberDecimal\": \"{total}.90\"}},\"placedAt\": {{\"$date\": {ms}}},\"customer\": {{\"id\": {{\"$numberLong\": \"{customer}\"}},\"city\": \"Köln\",\"zip\": \"50667\"}},\"paid\": true,\"score\": 0.{qty}5,\"note\": \"order number {n}\"}}","updateDescription":null,"source":{{"version":"3.6.1.Final","connector":"mongodb","name":"acme","ts_ms":{ms},"snapshot":"false","db":"t_acme","sequence":null,"ts_us":{ms}000,"ts_ns":{ms}000000,"collection":"orders","ord":2,"lsid":null,"txnNumber":null,"wallTime":{ms}}},"op":"{op}","ts_ms":{ms},"transaction":null}}"#,
        id = id(n),
        status = ["open", "paid", "shipped", "returned"][(n % 4) as usize],
        qty = n % 10,
        total = n % 1000,
        customer = n % 5000,
    )
}
