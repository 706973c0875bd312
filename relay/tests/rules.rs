//! The binding rules of `correctness.md` that the relay's delivery keeps: each as a scenario that holds, and does not hold
//! once the rule's guard is taken away.

#![allow(
    clippy::result_large_err,
    reason = "a condition that is not met shows the whole status it met"
)]

mod support;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use support::endpoint::{Act, Endpoint};
use support::starrocks::StarRocks;
use support::{Kafka, PATIENCE, Relay, column, dataset, event, key, table, within};
use tributary_crds::relay::{BlockedCause, DatasetConfig, LaneState, RetryCause};
use tributary_relay::guard::Guard;
use tributary_relay::lane::intent::{Intent, Progress, TableId, TableProgress};
use tributary_relay::lane::label::{HASH_LEN, Label, Labels};

const TOPIC: &str = "acme.shop.orders";
const LETTERS: &str = "dead-letters";
/// What the red runs wait for something that will not come.
const SOON: Duration = Duration::from_secs(8);

type Scenario = fn(Option<Guard>) -> Result<(), String>;

/// The rule holds; without its guard it does not.
fn guarded(guard: Guard, scenario: Scenario) {
    scenario(None).unwrap_or_else(|why| panic!("{why}"));
    let red = scenario(Some(guard)).expect_err("the scenario must not hold without its guard");
    eprintln!("without {}: {red}", guard.name());
}

fn documents() -> DatasetConfig {
    dataset(TOPIC, 1, vec![table("orders", vec![column("n", "BIGINT", "n")])])
}

fn offer(kafka: &Kafka, partition: i32, id: u64, n: u64) {
    let document = format!(r#"{{"_id": {{"$oid": "{id:024x}"}},"n": {n}}}"#);
    kafka.send(TOPIC, partition, &key(id), Some(&event("u", Some(&document))));
}

fn send(kafka: &Kafka, id: u64, n: u64) {
    offer(kafka, 0, id, n);
    kafka.flush();
}

fn starrocks(columns: &str) -> StarRocks {
    let starrocks = StarRocks::start();
    starrocks.sql("CREATE DATABASE shop").unwrap();
    let ddl = format!(
        "CREATE TABLE shop.orders (order_id VARCHAR(24) NOT NULL, {columns} _ver BIGINT NOT NULL, _extra JSON NULL) \
         PRIMARY KEY (order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 1 PROPERTIES (\"replication_num\"=\"1\")"
    );
    starrocks.sql(&ddl).unwrap();
    starrocks
}

fn relay(kafka: &Kafka, starrocks: &StarRocks, guard: Option<Guard>, datasets: &[DatasetConfig]) -> Relay {
    let mut relay = Relay::configure(kafka, std::slice::from_ref(&starrocks.frontend), datasets);
    relay.reconfigure(|relay| relay.starrocks.mysql_endpoints = vec![starrocks.mysql.clone()]);
    relay.ablate(guard);
    relay
}

/// The newest value of the one document, whatever is still on its way having arrived.
fn settled_value(starrocks: &StarRocks, patience: Duration) -> Result<String, String> {
    within(patience, "settled", || {
        let open = |(_, state): &(String, String)| !matches!(state.as_str(), "VISIBLE" | "ABORTED");
        let labels = starrocks.labels("shop");
        if labels.iter().any(open) {
            Err(labels)
        } else {
            Ok(())
        }
    })?;
    value_of(starrocks, 1)
}

fn value_of(starrocks: &StarRocks, id: u64) -> Result<String, String> {
    starrocks
        .sql(&format!("SELECT n FROM shop.orders WHERE order_id = '{id:024x}'"))
        .map(|n| n.trim().to_owned())
}

/// Rule 1: a load outlives its owner, and must not put an older state over what its successor loads.
fn a_load_outlives_its_owner(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), starrocks("n BIGINT NULL,"));
    let held = starrocks.fault(&json!({"kind": "hold_prepare", "count": 1}));
    let mut relay = relay(&kafka, &starrocks, guard, &[documents()]);
    relay.start();
    send(&kafka, 1, 5);
    within(PATIENCE, "on its way", || starrocks.struck(held))?;
    relay.kill();
    send(&kafka, 1, 6);
    relay.start();
    within(PATIENCE, "loaded by the successor", || {
        match starrocks.sql("SELECT n FROM shop.orders") {
            Ok(n) if n.trim() == "6" => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    })?;
    starrocks.release(held);
    match settled_value(&starrocks, PATIENCE)?.as_str() {
        "6" => Ok(()),
        older => Err(format!("the late load put {older} over 6")),
    }
}

#[test]
fn rule_1_intents() {
    guarded(Guard::Intents, a_load_outlives_its_owner);
}

/// Rule 1: the parts of a load that was taken apart outlive their owner too.
fn a_part_outlives_its_owner(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, starrocks) = (
        Kafka::start(&[(TOPIC, 1), (LETTERS, 1)]),
        starrocks("n BIGINT NULL,"),
    );
    // The whole is rejected, its first part held.
    starrocks.fault(&json!({"kind": "reject_rows", "contains": "order_id", "count": 1}));
    let held = starrocks.fault(&json!({"kind": "hold_prepare", "skip": 1, "count": 1}));
    let mut relay = relay(&kafka, &starrocks, guard, &[documents()]);
    relay.reconfigure(|relay| relay.kafka.dead_letter_topic = Some(kafka.topic(LETTERS)));
    offer(&kafka, 0, 1, 5);
    send(&kafka, 2, 0);
    relay.start();
    within(PATIENCE, "a part on its way", || starrocks.struck(held))?;
    let labels = starrocks.labels("shop");
    if !labels
        .iter()
        .any(|(label, state)| label.contains("-s") && state == "PREPARE")
    {
        return Err(format!("no part is held: {labels:?}"));
    }
    relay.kill();
    send(&kafka, 1, 6);
    relay.start();
    within(PATIENCE, "loaded by the successor", || {
        match value_of(&starrocks, 1) {
            Ok(n) if n == "6" => Ok(()),
            other => Err((other, starrocks.labels("shop"), relay.get("/status"))),
        }
    })?;
    starrocks.release(held);
    match settled_value(&starrocks, PATIENCE)?.as_str() {
        "6" => Ok(()),
        older => Err(format!("the late part put {older} over 6")),
    }
}

#[test]
fn rule_1_parts() {
    guarded(Guard::PartIntents, a_part_outlives_its_owner);
}

/// Rule 12: what a batch parks is in the dead-letter topic before the batch's load begins: a load found loaded says that its
/// range is done.
fn parked_before_its_load(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, starrocks) = (
        Kafka::start(&[(TOPIC, 1), (LETTERS, 1)]),
        starrocks("n BIGINT NULL,"),
    );
    let held = starrocks.fault(&json!({"kind": "hold_prepare", "count": 1}));
    let mut relay = relay(&kafka, &starrocks, guard, &[documents()]);
    relay.reconfigure(|relay| relay.kafka.dead_letter_topic = Some(kafka.topic(LETTERS)));
    kafka.send(TOPIC, 0, &key(2), Some("not JSON"));
    send(&kafka, 1, 5);
    relay.start();
    within(PATIENCE, "on its way", || starrocks.struck(held))?;
    relay.kill();
    starrocks.release(held);
    settled_value(&starrocks, PATIENCE)?;
    relay.start();
    within(PATIENCE, "taken over", || {
        match kafka.committed(&kafka.group(), TOPIC, 0) {
            Some((2, progress)) if progress.tables[0].intent.is_none() => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    })?;
    match kafka.records(LETTERS) {
        1 => Ok(()),
        letters => Err(format!("{letters} dead letters of one unreadable record")),
    }
}

#[test]
fn rule_12_parked_before_the_load() {
    guarded(Guard::ParkBeforeLoad, parked_before_its_load);
}

/// Rule 3: an ObjectId and a string of the same digits are two documents, and the key column declares which of them it holds.
fn another_type_of_id_is_another_document(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1), (LETTERS, 1)]), Endpoint::start());
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[documents()]);
    relay.reconfigure(|relay| relay.kafka.dead_letter_topic = Some(kafka.topic(LETTERS)));
    relay.ablate(guard);
    relay.start();
    let digits = format!("{:024x}", 43);
    for (id, n) in [(json!({ "$oid": &digits }), 1), (json!(&digits), 2)] {
        let id = id.to_string();
        let document = format!(r#"{{"_id": {id},"n": {n}}}"#);
        let key = json!({ "id": id }).to_string();
        kafka.send(TOPIC, 0, &key, Some(&event("c", Some(&document))));
    }
    kafka.flush();
    within(PATIENCE, "both dealt with", || {
        match kafka.committed(&kafka.group(), TOPIC, 0) {
            Some((2, progress)) if progress.tables[0].intent.is_none() => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    })?;
    let rows = endpoint.rows("orders");
    match &rows[..] {
        [row] if row["order_id"] == digits && row["n"] == 1 && kafka.records(LETTERS) == 1 => Ok(()),
        _ => Err(format!("{rows:?}")),
    }
}

#[test]
fn rule_3_document_keys() {
    guarded(Guard::DocumentKeys, another_type_of_id_is_another_document);
}

/// Rule 1, the other end: what was committed while nobody watched is found, and not sent again.
#[test]
fn a_load_that_committed_after_its_owner_died_is_not_repeated() {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), starrocks("n BIGINT NULL,"));
    starrocks.fault(&json!({"kind": "late_commit", "delay_ms": 1500, "count": 1}));
    let mut relay = relay(&kafka, &starrocks, None, &[documents()]);
    relay.start();
    send(&kafka, 1, 5);
    within(PATIENCE, "announced and on its way", || {
        match (
            starrocks.labels("shop").len(),
            kafka.committed(&kafka.group(), TOPIC, 0),
        ) {
            (1, Some((0, progress))) if progress.tables[0].intent.is_some() => Ok(()),
            other => Err(other),
        }
    })
    .unwrap();
    relay.kill();
    assert_eq!(settled_value(&starrocks, PATIENCE).unwrap(), "5");
    relay.start();
    within(PATIENCE, "taken over", || {
        match kafka.committed(&kafka.group(), TOPIC, 0) {
            Some((1, progress)) if progress.tables[0].intent.is_none() => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    })
    .unwrap();
    assert_eq!(starrocks.labels("shop").len(), 1, "one load, its own");
}

/// Rule 1: two owners of one group, each killed and started again while events arrive.
#[test]
fn two_relays_at_once_lose_and_repeat_nothing() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 4)]), Endpoint::start());
    let orders = dataset(TOPIC, 4, vec![table("orders", vec![column("n", "BIGINT", "n")])]);
    let mut relays = ["relay-0", "relay-1"].map(|instance| {
        let mut relay = Relay::configure(
            &kafka,
            std::slice::from_ref(&endpoint.frontend),
            std::slice::from_ref(&orders),
        );
        relay.reconfigure(|relay| relay.kafka.group_instance_id = instance.into());
        relay.start();
        relay
    });
    let mut last = std::collections::BTreeMap::new();
    for n in 0..2000u64 {
        let id = (n * 7919) % 300;
        offer(&kafka, (id % 4) as i32, id, n);
        last.insert(id, n);
        if n % 400 == 399 {
            kafka.flush();
            let relay = &mut relays[(n / 400) as usize % 2];
            relay.kill();
            relay.start();
        }
    }
    kafka.flush();
    let expected: Vec<u64> = last.values().copied().collect();
    within(PATIENCE, "equal", || {
        let rows: Vec<u64> = endpoint
            .rows("orders")
            .iter()
            .map(|row| row["n"].as_u64().unwrap())
            .collect();
        if rows == expected {
            Ok(())
        } else {
            Err((
                rows.len(),
                expected.len(),
                relays.each_ref().map(|relay| relay.get("/status").1),
            ))
        }
    })
    .unwrap();
    within(PATIENCE, "shared", || {
        let owned = relays
            .each_ref()
            .map(|relay| relay.status().datasets[0].partitions.len());
        if owned == [2, 2] { Ok(()) } else { Err(owned) }
    })
    .unwrap();
}

/// Rule 1: a frozen owner that wakes up after its successor took over ends, and changes nothing.
#[test]
fn a_frozen_owner_is_fenced() {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), starrocks("n BIGINT NULL,"));
    let mut frozen = relay(&kafka, &starrocks, None, &[documents()]);
    frozen.start();
    send(&kafka, 1, 5);
    let value = |wanted: &str| {
        within(PATIENCE, "loaded", || {
            match starrocks.sql("SELECT n FROM shop.orders") {
                Ok(n) if n.trim() == wanted => Ok(()),
                other => Err(other),
            }
        })
        .unwrap();
    };
    value("5");
    frozen.signal("STOP");
    let mut successor = relay(&kafka, &starrocks, None, &[documents()]);
    successor.start();
    send(&kafka, 1, 6);
    value("6");
    frozen.signal("CONT");
    assert_ne!(frozen.wait(), Some(0), "it says that it was fenced");
    send(&kafka, 1, 7);
    value("7");
    assert_eq!(successor.get("/livez").0, 200);
}

/// Rule 1: half of an announced load came to this owner. Sent under another label, it must not cross with the first: so only
/// after that has failed for good.
#[test]
fn a_divided_load_is_settled_for_its_own_partition() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let labels = Labels::new(&support::pipeline(), "shop", "orders", &[(1, "")]);
    let label = Label {
        generation: 1,
        hash: [7; HASH_LEN],
        part: None,
    };
    let part = labels.text(&Label {
        part: Some(0),
        ..label
    });
    let progress = Progress {
        mapping_generation: 1,
        tables: vec![TableProgress {
            table: TableId::new("shop", "orders"),
            done: 0,
            intent: Some(Intent {
                label,
                end: 2,
                partitions: 2,
                piece: None,
            }),
        }],
    };
    (0..3).for_each(|id| offer(&kafka, 0, id, id));
    kafka.flush();
    kafka.commit(TOPIC, 0, 0, &progress);
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[documents()]);
    relay.start();
    within(PATIENCE, "waiting for a definite end", || {
        match &relay.status().datasets[0].tables[0].lane {
            LaneState::Retrying {
                cause: RetryCause::LabelRunning,
                attempts,
                ..
            } if *attempts > 2 => Ok(()),
            other => Err(other.clone()),
        }
    })
    .unwrap();
    endpoint.see(|seen| assert!(seen.bodies.is_empty(), "nothing newer is sent meanwhile"));
    endpoint.state(&labels.text(&label), "ABORTED");
    within(PATIENCE, "loaded", || match endpoint.rows("orders").len() {
        3 => Ok(()),
        _ => Err(relay.get("/status")),
    })
    .unwrap();
    endpoint.see(|seen| {
        assert_eq!(
            (&seen.loads[0].1, seen.loads[0].2),
            (&part, 2),
            "exactly the announced range"
        );
        assert_eq!(seen.loads.len(), 2);
    });
}

/// Rule 9: records vanish under a reader that lags. Its dataset stops and says what repairs it; others go on, and so does the
/// process.
#[test]
fn a_position_lost_while_running_stops_its_dataset_only() {
    const OTHER: &str = "acme.shop.audit";
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1), (OTHER, 1)]), Endpoint::start());
    let other = dataset(OTHER, 1, vec![table("audit", vec![column("n", "BIGINT", "n")])]);
    let mut relay = Relay::configure(
        &kafka,
        std::slice::from_ref(&endpoint.frontend),
        &[other, documents()],
    );
    relay.reconfigure(|relay| relay.batch.max_rows = 5);
    endpoint.script("orders", std::iter::repeat_n(Act::Fail("try again"), 1000));
    relay.start();
    (0..40).for_each(|id| offer(&kafka, 0, id, id));
    kafka.flush();
    within(PATIENCE, "held back", || {
        let (_, metrics) = relay.get("/metrics");
        let paused =
            |line: &str| line.starts_with("tributary_relay_pauses_total{") && line.contains("orders");
        if metrics.lines().any(paused) {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .unwrap();
    kafka.delete_before(TOPIC, 0, 40);
    endpoint.unscript("orders");
    let lane = |dataset: usize| relay.status().datasets[dataset].tables[0].lane.clone();
    within(PATIENCE, "blocked", || match lane(1) {
        LaneState::Blocked {
            cause: BlockedCause::PositionLost,
            message,
            ..
        } if message.contains("Replay") => Ok(()),
        other => Err(other),
    })
    .unwrap();
    kafka.send(OTHER, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    within(PATIENCE, "the other dataset served", || {
        match endpoint.rows("audit").len() {
            1 => Ok(()),
            _ => Err(lane(0)),
        }
    })
    .unwrap();
    assert_eq!(relay.get("/livez").0, 200);
}

/// All of it at once: two owners killed in turn while loads outlive them, fail, hide their commits and publish late.
#[test]
fn under_kills_and_faults_the_table_ends_as_the_source() {
    let seed = std::env::var("TRIBUTARY_TEST_SEED").map_or(4, |seed| seed.parse().expect("a number"));
    let mut rng = fastrand::Rng::with_seed(seed);
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 4)]), starrocks("n BIGINT NULL,"));
    let orders = dataset(TOPIC, 4, vec![table("orders", vec![column("n", "BIGINT", "n")])]);
    let mut relays = ["relay-0", "relay-1"].map(|instance| {
        let mut relay = relay(&kafka, &starrocks, None, std::slice::from_ref(&orders));
        relay.reconfigure(|relay| relay.kafka.group_instance_id = instance.into());
        relay.start();
        relay
    });
    let mut last = std::collections::BTreeMap::new();
    for round in 0..12 {
        let kind = [
            "late_commit",
            "commit_then_drop",
            "commit_then_fail",
            "publish_timeout",
            "too_many_versions",
        ];
        for _ in 0..2 {
            let delay = rng.u64(100..2500);
            starrocks.fault(&json!({"kind": kind[rng.usize(..kind.len())], "delay_ms": delay, "count": 1}));
        }
        for n in 0..120 {
            let id = rng.u64(..150);
            let partition = (id % 4) as i32;
            if rng.u8(..6) == 0 {
                kafka.send(TOPIC, partition, &key(id), Some(&event("d", None)));
                last.remove(&id);
            } else {
                offer(&kafka, partition, id, round * 1000 + n);
                last.insert(id, round * 1000 + n);
            }
        }
        kafka.flush();
        // Some loads have begun by then, some not.
        std::thread::sleep(Duration::from_millis(rng.u64(..400)));
        let relay = &mut relays[rng.usize(..2)];
        relay.kill();
        relay.start();
    }
    let expected: Vec<String> = last.iter().map(|(id, n)| format!("{id:024x}\t{n}")).collect();
    within(PATIENCE * 2, "equal, and stays so", || {
        let open = |(_, state): &(String, String)| !matches!(state.as_str(), "VISIBLE" | "ABORTED");
        let on_its_way = starrocks.labels("shop").iter().any(open);
        let found = starrocks
            .sql("SELECT order_id, n FROM shop.orders ORDER BY order_id")
            .unwrap();
        if !on_its_way && found.lines().eq(expected.iter()) {
            return Ok(());
        }
        let wrong = found
            .lines()
            .zip(&expected)
            .filter(|(found, expected)| found != expected)
            .count();
        Err((
            found.lines().count(),
            expected.len(),
            wrong,
            relays.each_ref().map(|r| r.get("/status").1),
        ))
    })
    .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
}

/// Rule 8: a transaction ends in a marker that is no record, and aborted records do not exist.
fn markers_are_no_gaps(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.bootstrap)
        .set("transactional.id", &kafka.run)
        .create()
        .unwrap();
    let wait = Duration::from_secs(30);
    producer.init_transactions(wait).unwrap();
    for (id, keep) in [(1u64, true), (2, false), (3, true)] {
        producer.begin_transaction().unwrap();
        let (topic, key, value) = (
            kafka.topic(TOPIC),
            key(id),
            event("c", Some(&format!(r#"{{"n": {id}}}"#))),
        );
        producer
            .send(BaseRecord::to(&topic).key(&key).payload(&value))
            .map_err(|(e, _)| e)
            .unwrap();
        producer.flush(wait).unwrap();
        if keep {
            producer.commit_transaction(wait).unwrap()
        } else {
            producer.abort_transaction(wait).unwrap()
        }
    }
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[documents()]);
    relay.ablate(guard);
    relay.start();
    let patience = if guard.is_some() { SOON } else { PATIENCE };
    within(patience, "at the end, behind the last marker", || {
        kafka.heartbeat();
        let status = relay.status();
        let partition = status.datasets[0].partitions.first();
        let done = partition.is_some_and(|p| p.committed == Some(6) && p.end == Some(6) && p.position == 6);
        if done && status.datasets[0].lag_ms == Some(0) {
            Ok(())
        } else {
            Err(status)
        }
    })?;
    let rows: Vec<_> = endpoint
        .rows("orders")
        .iter()
        .map(|row| row["n"].as_u64().unwrap())
        .collect();
    if rows == [1, 3] {
        Ok(())
    } else {
        Err(format!("{rows:?}"))
    }
}

#[test]
fn rule_8_holes() {
    guarded(Guard::Holes, markers_are_no_gaps);
}

fn two_tables() -> DatasetConfig {
    let both = ["orders", "audit"].map(|name| table(name, vec![column("n", "BIGINT", "n")]));
    dataset(TOPIC, 1, both.into())
}

fn blocked(relay: &Relay, table: usize) -> Option<BlockedCause> {
    match &relay.status().datasets[0].tables[table].lane {
        LaneState::Blocked { cause, .. } => Some(*cause),
        _ => None,
    }
}

fn rows_sent(endpoint: &Endpoint, table: &str) -> usize {
    endpoint.see(|seen| seen.loads.iter().filter(|l| l.0 == table).map(|l| l.2).sum())
}

/// Rule 9: the commit is the slowest table's; the faster one gets nothing again after a crash.
fn positions_are_per_table(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    endpoint.script(
        "orders",
        std::iter::repeat_n(Act::FailBeforeBody("unknown table \"orders\""), 1000),
    );
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[two_tables()]);
    relay.ablate(guard);
    relay.start();
    (0..50).for_each(|id| offer(&kafka, 0, id, id));
    kafka.flush();
    within(PATIENCE, "ahead, and committed as such", || {
        let committed = kafka.committed(&kafka.group(), TOPIC, 0);
        match &committed {
            Some((offset, progress)) if *offset < 50 && progress.tables.iter().any(|t| t.done == 50) => {
                Ok(())
            }
            _ => Err((committed, relay.get("/status"))),
        }
    })?;
    relay.kill();
    relay.start();
    send(&kafka, 50, 50);
    within(PATIENCE, "served", || {
        let rows = endpoint.rows("audit").len();
        if rows == 51 {
            Ok(())
        } else {
            Err((rows, relay.get("/status")))
        }
    })?;
    match rows_sent(&endpoint, "audit") {
        51 => Ok(()),
        more => Err(format!("{more} rows were sent for 51 events")),
    }
}

/// Rule 9: a group that has lost its offsets is not a new one: the table has rows that somebody read.
fn lost_offsets_are_missed(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), starrocks("n BIGINT NULL,"));
    let mut relay = relay(&kafka, &starrocks, guard, &[documents()]);
    relay.start();
    send(&kafka, 1, 5);
    within(PATIENCE, "loaded", || match value_of(&starrocks, 1) {
        Ok(n) if n == "5" => Ok(()),
        other => Err((other, relay.get("/status"))),
    })?;
    relay.kill();
    // As after a week of silence: the same topic, the same table, and a group that Kafka knows nothing of.
    relay.reconfigure(|relay| relay.kafka.group_id += ".forgotten");
    relay.start();
    send(&kafka, 1, 6);
    within(PATIENCE, "missed, or read from the beginning", || {
        match (blocked(&relay, 0), value_of(&starrocks, 1)) {
            (Some(BlockedCause::PositionLost), _) => Ok(()),
            (_, Ok(n)) if n == "6" => Ok(()),
            other => Err(other),
        }
    })?;
    match &relay.status().datasets[0].tables[0].lane {
        LaneState::Blocked { message, .. } if message.contains("Replay") => Ok(()),
        other => Err(format!("read again from 0: {other:?}")),
    }
}

#[test]
fn rule_9_lost_offsets() {
    guarded(Guard::LostOffsets, lost_offsets_are_missed);
}

/// Rule 9, the other way: beside a sibling that has committed and loaded, a partition without an offset is one that nobody has
/// come to yet.
#[test]
fn a_partition_that_nobody_has_come_to_is_not_lost() {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 2)]), starrocks("n BIGINT NULL,"));
    let mut both = documents();
    both.topic.partitions = 2;
    let mut relay = relay(&kafka, &starrocks, None, &[both]);
    relay.start();
    let value = |relay: &Relay, id, wanted: &str| {
        within(PATIENCE, "loaded", || match value_of(&starrocks, id) {
            Ok(n) if n == wanted => Ok(()),
            other => Err((other, relay.get("/status"))),
        })
        .unwrap();
    };
    send(&kafka, 1, 5);
    value(&relay, 1, "5");
    relay.kill();
    // As two relays that start together leave it when one of them dies: the table has rows, one partition an offset.
    let group = format!("{}.second", kafka.group());
    let progress = Progress {
        mapping_generation: 1,
        tables: vec![TableProgress {
            table: TableId::new("shop", "orders"),
            done: 1,
            intent: None,
        }],
    };
    kafka.commit_as(&group, TOPIC, 0, 1, &progress);
    relay.reconfigure(|relay| relay.kafka.group_id = group);
    relay.start();
    offer(&kafka, 1, 2, 7);
    kafka.flush();
    value(&relay, 2, "7");
}

#[test]
fn rule_9_positions_per_table() {
    guarded(Guard::TablePositions, positions_are_per_table);
}

/// Rule 13: the sibling goes on, and the blocked table reads again what it dropped.
fn a_blocked_table_stops_nobody(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    endpoint.script(
        "orders",
        std::iter::repeat_n(Act::FailBeforeBody("unknown table \"orders\""), 4),
    );
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[two_tables()]);
    // Two batches are far less than what follows.
    relay.reconfigure(|relay| relay.batch.max_rows = 50);
    relay.ablate(guard);
    relay.start();
    send(&kafka, 0, 0);
    within(PATIENCE, "blocked", || match blocked(&relay, 0) {
        Some(BlockedCause::UnknownTable) => Ok(()),
        other => Err(other),
    })?;
    (1..400).for_each(|id| offer(&kafka, 0, id, id));
    kafka.flush();
    // While the other is still blocked.
    within(SOON, "the sibling is served", || {
        let (rows, orders) = (endpoint.rows("audit").len(), endpoint.rows("orders").len());
        match orders {
            0 if rows == 400 => Ok(()),
            _ => Err((rows, orders)),
        }
    })?;
    let status = relay.status();
    assert!(
        status.datasets[0].partitions[0].committed < Some(2),
        "the commit waits for the blocked table: {status:?}"
    );
    assert_eq!(relay.get("/readyz").0, 503);
    within(PATIENCE, "caught up", || {
        if endpoint.rows("orders").len() == 400 {
            Ok(())
        } else {
            Err(relay.status())
        }
    })?;
    match rows_sent(&endpoint, "audit") {
        400 => Ok(()),
        more => Err(format!("the sibling was sent {more} rows for 400 events")),
    }
}

#[test]
fn rule_13_head_of_line() {
    guarded(Guard::BlockedTables, a_blocked_table_stops_nobody);
}

/// Rule 18: nothing is loaded before every mapped column exists: StarRocks would ignore the unknown name in silence.
fn a_mapping_waits_for_its_columns(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), starrocks("n BIGINT NULL,"));
    let mut wider = documents();
    wider.tables[0]
        .columns
        .push(column("city", "VARCHAR(64)", "city"));
    let mut relay = relay(&kafka, &starrocks, guard, &[wider]);
    relay.start();
    kafka.send(
        TOPIC,
        0,
        &key(1),
        Some(&event("c", Some(r#"{"n": 1,"city": "Bonn"}"#))),
    );
    kafka.flush();
    within(SOON, "waiting, with the column's name", || {
        match &relay.status().datasets[0].tables[0].lane {
            LaneState::Blocked {
                cause: BlockedCause::UnknownColumn,
                message,
                ..
            } if message.contains("city") => Ok(()),
            other => Err(other.clone()),
        }
    })?;
    starrocks.sql("ALTER TABLE shop.orders ADD COLUMN city VARCHAR(64) NULL")?;
    within(PATIENCE, "loaded with its column", || {
        match starrocks.sql("SELECT city FROM shop.orders") {
            Ok(city) if city.trim() == "Bonn" => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    })
}

/// Rule 18: generations only grow. A relay that comes back with an older mapping touches nothing.
fn an_older_mapping_touches_nothing(guard: Option<Guard>) -> Result<(), String> {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let mut newer = documents();
    newer.mapping_generation = 2;
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[newer]);
    relay.ablate(guard);
    relay.start();
    send(&kafka, 1, 1);
    within(PATIENCE, "loaded and committed", || {
        match kafka.committed(&kafka.group(), TOPIC, 0) {
            Some((1, progress)) if progress.mapping_generation == 2 => Ok(()),
            other => Err(other),
        }
    })?;
    relay.kill();
    relay.remap("orders", |dataset| dataset.mapping_generation = 1);
    relay.start();
    send(&kafka, 1, 2);
    within(SOON, "held", || match blocked(&relay, 0) {
        Some(BlockedCause::ConfigurationOutdated) => Ok(()),
        other => Err(other),
    })?;
    // Going back is a generation more.
    relay.remap("orders", |dataset| dataset.mapping_generation = 3);
    within(PATIENCE, "going on", || match endpoint.rows("orders").first() {
        Some(row) if row["n"] == 2 => Ok(()),
        other => Err((other.cloned(), relay.get("/status"))),
    })
}

#[test]
fn rule_18_columns_first() {
    guarded(Guard::MappingGenerations, a_mapping_waits_for_its_columns);
}

#[test]
fn rule_18_generations_only_grow() {
    guarded(Guard::MappingGenerations, an_older_mapping_touches_nothing);
}
