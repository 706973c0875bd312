//! A backlog of any size in a small pod: nothing is loaded, everything is paused, memory stays below the limit.

mod support;

use support::{Kafka, Relay, column, dataset, event, eventually, key, table};

const TOPIC: &str = "acme.shop.orders";
const LIMIT: u64 = 64 << 20;
const RECORDS: u64 = 40_000;

#[test]
fn a_backlog_larger_than_the_limit_fits() {
    let kafka = Kafka::start(&[(TOPIC, 2)]);
    let text = "x".repeat(2_000);
    let mut bytes = 0;
    for id in 0..RECORDS {
        let document = event("c", Some(&format!(r#"{{"n": {id},"text": "{text}"}}"#)));
        bytes += document.len() as u64;
        kafka.send(TOPIC, (id % 2) as i32, &key(id), Some(&document));
        if id % 2_000 == 0 {
            kafka.flush();
        }
    }
    kafka.flush();
    assert!(bytes > LIMIT * 5 / 4, "{bytes}");
    let tables = (0..6)
        .map(|n| {
            let columns = vec![
                column("n", "BIGINT", "n"),
                column("text", "VARCHAR(4000)", "text"),
            ];
            table(&format!("t{n}"), columns)
        })
        .collect();
    // Nobody listens there: every lane retries its first batch for ever.
    let mut relay = Relay::configure(
        &kafka,
        &["http://127.0.0.1:9".to_owned()],
        &[dataset(TOPIC, 2, tables)],
    );
    // Batches so large that only the shared budget can hold the reader back.
    relay.reconfigure(|config| {
        config.batch.max_bytes = 64 << 20;
        config.batch.max_rows = 1_000_000;
    });
    relay.environment(tributary_relay::budget::LIMIT_ENV, &LIMIT.to_string());
    relay.start();
    eventually("paused", || {
        let (_, metrics) = relay.get("/metrics");
        let paused = metrics
            .lines()
            .any(|line| line.starts_with("tributary_relay_pauses_total") && !line.ends_with(" 0"));
        if paused { Ok(()) } else { Err(metrics.len()) }
    });
    let peak = relay.peak_bytes();
    eprintln!("backlog {} MiB, peak {} MiB", bytes >> 20, peak >> 20);
    assert!(peak < LIMIT, "{} MiB", peak >> 20);
}
