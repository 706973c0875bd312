//! One measurement each of reading alone and of the whole relay.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use tributary_crds::relay::{
    BatchConfig, BsonType, ColumnConfig, ColumnSource, DatasetConfig, FORMAT_VERSION, KafkaConfig,
    MetaSource, OnError, PipelineIdentity, RelayConfig, StarRocksConfig, TableConfig, TopicConfig,
};
use tributary_relay::config::Config;
use tributary_relay::sink::starrocks::{Credentials, StarRocks};

const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Measured {
    events: u64,
    wall: Duration,
    cpu: Duration,
}

impl Measured {
    fn per_cpu_second(&self) -> f64 {
        self.events as f64 / self.cpu.as_secs_f64()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.events as f64 / self.wall.as_secs_f64();
        write!(
            f,
            "{:>9.0} events per CPU-second, {per_second:>9.0} per second ({:.2} s CPU, {:.2} s wall)",
            self.per_cpu_second(),
            self.cpu.as_secs_f64(),
            self.wall.as_secs_f64()
        )
    }
}

pub(crate) fn median(all: &[Measured]) -> f64 {
    let mut figures: Vec<f64> = all.iter().map(Measured::per_cpu_second).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU time of the whole process, librdkafka's threads included.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn kafka_config(kafka: &str, topic: &str) -> KafkaConfig {
    let run = tributary_relay::lane::now_ms();
    KafkaConfig {
        bootstrap_servers: vec![kafka.to_owned()],
        group_id: format!("bench.{topic}.{run}"),
        group_instance_id: "bench-0".into(),
        heartbeat_topic: "bench.heartbeat".into(),
        heartbeat_interval_ms: 5_000,
        dead_letter_topic: None,
    }
}

/// The relay's own consumer settings, the relay's own way of polling, and nothing done with a message.
pub(crate) fn raw(kafka: &str, topic: &str, events: u64) -> anyhow::Result<Measured> {
    let consumer: BaseConsumer =
        tributary_relay::source::client_config(&kafka_config(kafka, topic)).create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    let (cpu_before, began) = (cpu(), Instant::now());
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
    let measured = Measured {
        events,
        wall: began.elapsed(),
        cpu: cpu() - cpu_before,
    };
    std::hint::black_box(bytes);
    Ok(measured)
}

/// The relay as it is: group, envelope, shape, batches, Stream Load over TCP, commits.
pub(crate) fn relay(kafka: &str, topic: &str, events: u64, endpoint: &str) -> anyhow::Result<Measured> {
    let config = config(kafka, topic, endpoint);
    config.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let credentials = Credentials::Fixed {
        username: "bench".into(),
        password: String::new(),
    };
    let sink = Arc::new(StarRocks::new(&config.relay.starrocks, credentials)?);
    let board = Arc::new(config.board(tributary_relay::telemetry::metrics::Metrics::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let lanes = runtime.block_on(async { tributary_relay::spawn_lanes(&board, &sink) });
    let (cpu_before, began) = (cpu(), Instant::now());
    let reader = tributary_relay::spawn_reader(
        Arc::clone(&board),
        Arc::clone(&stop),
        tributary_relay::DEFAULT_BUFFER_BYTES,
    )?;
    let slot = tributary_relay::lane::ranges::Slot(0);
    while board.lanes[0].done(slot) < events as i64 {
        std::thread::sleep(Duration::from_millis(2));
        if began.elapsed() > PATIENCE {
            bail!(
                "{} of {events} events within {PATIENCE:?}: {:?}",
                board.lanes[0].done(slot),
                board.lanes[0].state()
            );
        }
    }
    let measured = Measured {
        events,
        wall: began.elapsed(),
        cpu: cpu() - cpu_before,
    };
    stop.store(true, Ordering::Release);
    runtime.block_on(reader)??;
    drop(lanes);
    Ok(measured)
}

fn config(kafka: &str, topic: &str, endpoint: &str) -> Config {
    Config {
        relay: RelayConfig {
            format_version: FORMAT_VERSION,
            pipeline: PipelineIdentity {
                owner: "bench/bench/bench".into(),
                namespace: "bench".into(),
                name: "bench".into(),
                tenant: "acme".into(),
            },
            kafka: kafka_config(kafka, topic),
            starrocks: StarRocksConfig {
                http_endpoints: vec![endpoint.to_owned()],
                mysql_endpoints: Vec::new(),
            },
            batch: BatchConfig {
                linger_ms: 200,
                max_bytes: 8 << 20,
                max_rows: 100_000,
            },
        },
        datasets: vec![dataset(topic)],
    }
}

pub(crate) fn dataset(topic: &str) -> DatasetConfig {
    let path = |name: &str, ty: &str, path: &str| column(name, ty, ColumnSource::Path(path.into()));
    let id = ColumnConfig {
        bson: Some(BsonType::ObjectId),
        nullable: false,
        ..path("order_id", "VARCHAR(24)", "_id")
    };
    let columns = vec![
        id,
        path("status", "VARCHAR(64)", "status"),
        path("channel", "VARCHAR(64)", "channel"),
        path("qty", "BIGINT", "qty"),
        path("total", "DECIMAL(38,2)", "total"),
        path("placed_at", "DATETIME", "placedAt"),
        path("customer_id", "BIGINT", "customer.id"),
        path("city", "VARCHAR(64)", "customer.city"),
        path("zip", "VARCHAR(16)", "customer.zip"),
        path("paid", "BOOLEAN", "paid"),
        path("note", "VARCHAR(256)", "note"),
        column("event_at", "DATETIME", ColumnSource::Meta(MetaSource::SourceTs)),
    ];
    DatasetConfig {
        format_version: FORMAT_VERSION,
        digest: String::new(),
        name: "orders".into(),
        tenant: "acme".into(),
        topic: TopicConfig {
            name: topic.into(),
            partitions: 1,
            generation: 1,
        },
        mapping_generation: 1,
        tables: vec![TableConfig {
            entry: "orders".into(),
            database: "bench".into(),
            table: "orders".into(),
            primary_key: vec!["order_id".into()],
            columns,
            explode: None,
            filter: None,
            deletes: Default::default(),
            on_reject: Default::default(),
        }],
    }
    .sealed()
}

fn column(name: &str, ty: &str, source: ColumnSource) -> ColumnConfig {
    ColumnConfig {
        name: name.into(),
        column_type: ty.parse().expect("a column type"),
        source,
        bson: None,
        default: None,
        on_error: OnError::Overflow,
        nullable: true,
    }
}
