//! What the relay costs beside what reading costs: events per CPU-second of the whole relay pipeline as a share of raw
//! librdkafka consume, measured in one run, in turns, over one topic.

#![forbid(unsafe_code)]

mod discard;
mod events;
mod hot;
mod measure;

use clap::{Parser, Subcommand};

/// Measures the relay's share of raw consume.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Events in the topic.
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// Rounds of (raw, relay); the median of each is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Broker to use (host:port); without it the stage raises one.
    #[arg(long, env = "TRIBUTARY_BENCH_KAFKA")]
    kafka: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A Stream Load endpoint that answers Success and drops every body. The bench runs it as a process of its own, so that
    /// its work is not counted as the relay's.
    #[command(hide = true)]
    Discard,
    /// Nanoseconds of the relay's own work per event, in memory.
    Hot,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Discard) => return discard::serve(),
        Some(Command::Hot) => return hot::run(args.events, args.rounds),
        None => {}
    }
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
        "{} events, {} bytes each (key and value), 12 columns, 1 partition, real broker, discarding Stream Load endpoint in a process of its own",
        args.events,
        topic.bytes / args.events
    );
    let endpoint = discard::Endpoint::spawn()?;
    let mut raw = Vec::new();
    let mut relay = Vec::new();
    for round in 1..=args.rounds {
        let one = measure::raw(&kafka, &topic.name, args.events)?;
        println!("round {round}: raw    {one}");
        raw.push(one);
        let one = measure::relay(&kafka, &topic.name, args.events, &endpoint.address)?;
        println!("round {round}: relay  {one}");
        relay.push(one);
    }
    let (raw, relay) = (measure::median(&raw), measure::median(&relay));
    println!("median raw   {:>9.0} events per CPU-second", raw);
    println!("median relay {:>9.0} events per CPU-second", relay);
    println!(
        "relay's share of raw consume: {:.1} %  (N = {}, rounds = {})",
        100.0 * relay / raw,
        args.events,
        args.rounds
    );
    Ok(())
}
