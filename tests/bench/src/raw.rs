//! The baseline: the relay's own consumer settings and nothing done with a message.

use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::measure::{Measured, PATIENCE, usage};

/// Reads all events of the topic's one partition; runs in a process of its own.
pub(crate) fn consume(kafka: &str, topic: &str, events: u64) -> anyhow::Result<Measured> {
    // What matters for throughput as the relay has it; see `source::client_config`.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "bench.raw")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("queued.max.messages.kbytes", "32768")
        .set("queued.min.messages", "100000")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "200")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    let began = Instant::now();
    consumer.assign(&list)?;
    let (mut seen, mut bytes) = (0, 0usize);
    while seen < events {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                bytes += message.payload().map_or(0, <[u8]>::len);
                seen += 1;
            }
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => bail!(error),
        }
        if began.elapsed() > PATIENCE {
            bail!("{seen} of {events} events within {PATIENCE:?}");
        }
    }
    std::hint::black_box(bytes);
    let (cpu, peak_kib) = usage(std::process::id())?;
    Ok(Measured {
        events,
        wall_ms: began.elapsed().as_millis() as u64,
        cpu_ms: cpu.as_millis() as u64,
        peak_kib,
    })
}
