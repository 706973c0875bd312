//! What the relay costs: beside reading alone (librdkafka) and beside the official Java SDK, all over one topic in one run, each
//! in a process of its own, in turns.

#![forbid(unsafe_code)]

mod discard;
mod events;
mod hot;
mod latency;
mod measure;
mod raw;
mod relay;
mod sdk;

use std::process::Command;

use clap::{Parser, Subcommand};
use measure::{Measured, median, own_account};

/// Measures the relay beside its baselines.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Sub>,
    /// Events in the topic.
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// Rounds of (raw, relay, SDK); the median of each is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Broker to use (host:port); without it the stage raises one.
    #[arg(long, env = "TRIBUTARY_BENCH_KAFKA")]
    kafka: Option<String>,
    /// The relay's program; without it the one that the images have is built.
    #[arg(long, env = "TRIBUTARY_BENCH_RELAY")]
    relay: Option<std::path::PathBuf>,
    /// Without the Java SDK, whose runs take longest.
    #[arg(long)]
    without_sdk: bool,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Reads a topic with librdkafka and prints what it took.
    #[command(hide = true)]
    Raw {
        kafka: String,
        topic: String,
        events: u64,
    },
    /// Nanoseconds of the relay's own work per event, in memory.
    Hot,
}

const LINGER_MS: u64 = 200;
const MAX_BYTES: u64 = 4 << 20;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Sub::Raw { kafka, topic, events }) => {
            let measured = raw::consume(kafka, topic, *events)?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        Some(Sub::Hot) => hot::run(args.events, args.rounds),
        None => compare(args),
    }
}

fn compare(args: Args) -> anyhow::Result<()> {
    let program = args.relay.map_or_else(relay::program, Ok)?;
    let sdk = match args.without_sdk {
        true => None,
        false => Some(sdk::Sdk::compile()?),
    };
    // Held until the end: the stage goes with it.
    let (_stage, kafka) = match args.kafka.filter(|kafka| !kafka.is_empty()) {
        Some(kafka) => (None, kafka),
        None => {
            let stage = tributary_stage::Stage::up(
                tributary_stage::Parts::Data,
                tributary_stage::Options::default(),
            )?;
            let kafka = stage.info().kafka.as_ref().map(|kafka| kafka.bootstrap.clone());
            (
                Some(stage),
                kafka.ok_or_else(|| anyhow::anyhow!("the stage has no Kafka"))?,
            )
        }
    };
    let topic = events::fill(&kafka, args.events)?;
    println!(
        "{} events, {} bytes each (key and value), 12 columns, 1 partition, real broker; StarRocks is an endpoint that drops what it gets",
        args.events,
        topic.bytes / args.events
    );
    let setting = relay::Setting {
        program: &program,
        kafka: &kafka,
        topic: &topic.name,
        linger_ms: LINGER_MS,
        max_bytes: MAX_BYTES,
    };
    let endpoint = discard::Endpoint::serve()?;
    let (mut raws, mut relays, mut sdks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let mut raw = Command::new(std::env::current_exe()?);
        raw.args(["raw", &kafka, &topic.name, &args.events.to_string()]);
        keep(&mut raws, round, "raw", own_account(&mut raw)?);
        keep(
            &mut relays,
            round,
            "relay",
            setting.catch_up(&endpoint, args.events)?,
        );
        if let Some(sdk) = &sdk {
            let measured = sdk.catch_up(&endpoint, &kafka, &topic.name, args.events)?;
            keep(&mut sdks, round, "sdk", measured);
        }
    }
    let rate = Measured::per_cpu_second;
    let relay = median(relays);
    if let (Some(raw), Some(relay)) = (median(raws), relay) {
        println!("median raw    {raw}\nmedian relay  {relay}");
        println!(
            "relay's share of raw consume: {:.1} %",
            100.0 * rate(&relay) / rate(&raw)
        );
    }
    if let (Some(relay), Some(sdk)) = (relay, median(sdks)) {
        println!("median sdk    {sdk}");
        println!(
            "relay against the SDK, per CPU-second: {:.1} times",
            rate(&relay) / rate(&sdk)
        );
    }
    let empty = events::fill(&kafka, 0)?;
    let quiet = relay::Setting {
        topic: &empty.name,
        ..setting
    };
    let added = latency::added(&quiet, &endpoint, 50, 1500)?;
    println!(
        "added by the relay beyond its linger of {LINGER_MS} ms: p50 {:.1} ms, p99 {:.1} ms (N = {} loads, 50 events per second)",
        added.p50_ms, added.p99_ms, added.samples
    );
    Ok(())
}

fn keep(all: &mut Vec<Measured>, round: usize, who: &str, one: Measured) {
    println!("round {round}: {who:<6} {one}");
    all.push(one);
}
