//! The relay as a process, against a real broker and a scripted Stream Load endpoint.

#![allow(
    clippy::result_large_err,
    reason = "a condition that is not met shows the whole status it met"
)]

mod support;

use serde_json::json;
use support::endpoint::{Act, Endpoint};
use support::{Kafka, Relay, column, dataset, event, eventually, key, table};
use tributary_crds::relay::{BlockedCause, LaneState, OnError};

const TOPIC: &str = "acme.shop.orders";

fn orders() -> tributary_crds::relay::DatasetConfig {
    dataset(
        TOPIC,
        1,
        vec![table(
            "orders",
            vec![
                column("n", "BIGINT", "n"),
                column("city", "VARCHAR(64)", "address.city"),
            ],
        )],
    )
}

fn start(kafka: &Kafka, endpoint: &Endpoint, datasets: &[tributary_crds::relay::DatasetConfig]) -> Relay {
    let mut relay = Relay::configure(kafka, std::slice::from_ref(&endpoint.frontend), datasets);
    relay.start();
    relay
}

#[test]
fn one_record_becomes_one_row() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let relay = start(&kafka, &endpoint, &[orders()]);
    let document = r#"{"_id": {"$oid": "000000000000000000000001"},"n": {"$numberLong": "7"},"address": {"city": "Köln","zip": "50667"}}"#;
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(document))));
    kafka.flush();
    eventually("loaded", || {
        if endpoint.rows("orders").len() == 1 {
            Ok(())
        } else {
            Err(relay.get("/status"))
        }
    });
    let expected = json!({"order_id": "000000000000000000000001", "__op": 0, "_ver": (1i64 << 51) | 1,
        "n": 7, "city": "Köln", "_extra": {"address.zip": {"v": "50667", "t": "string"}}});
    assert_eq!(endpoint.rows("orders"), [expected]);
}

#[test]
fn updates_and_deletes_collapse_and_a_tombstone_says_nothing() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    for n in 0..50u64 {
        let document = format!(r#"{{"_id": {{"$oid": "{:024x}"}},"n": {n}}}"#, n % 10);
        kafka.send(
            TOPIC,
            0,
            &key(n % 10),
            Some(&event(if n < 10 { "c" } else { "u" }, Some(&document))),
        );
    }
    for id in 0..5 {
        kafka.send(TOPIC, 0, &key(id), Some(&event("d", None)));
        kafka.send(TOPIC, 0, &key(id), None);
    }
    kafka.send(TOPIC, 0, &key(5), Some(&event("u", None)));
    kafka.flush();
    let relay = start(&kafka, &endpoint, &[orders()]);
    eventually("read", || {
        let status = relay.status();
        let partition = status.datasets[0].partitions.first();
        if partition.is_some_and(|p| p.committed == Some(61)) {
            Ok(())
        } else {
            Err(status)
        }
    });
    let rows: Vec<_> = endpoint
        .rows("orders")
        .iter()
        .map(|row| row["n"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, [46, 47, 48, 49]);
}

/// Killed at random moments while events arrive: in the end every document is there once, in its last state.
#[test]
fn kill_9_loses_and_repeats_nothing() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 3)]), Endpoint::start());
    let mut relay = Relay::configure(
        &kafka,
        std::slice::from_ref(&endpoint.frontend),
        &[dataset(
            TOPIC,
            3,
            vec![table("orders", vec![column("n", "BIGINT", "n")])],
        )],
    );
    relay.start();
    let mut last = std::collections::BTreeMap::new();
    for n in 0..3000u64 {
        let id = (n * 7919) % 400;
        let partition = (id % 3) as i32;
        if n % 11 == 0 {
            kafka.send(TOPIC, partition, &key(id), Some(&event("d", None)));
            last.remove(&id);
        } else {
            let document = format!(r#"{{"_id": {{"$oid": "{id:024x}"}},"n": {n}}}"#);
            kafka.send(TOPIC, partition, &key(id), Some(&event("u", Some(&document))));
            last.insert(id, n);
        }
        if n % 700 == 699 {
            kafka.flush();
            relay.kill();
            relay.start();
        }
    }
    kafka.flush();
    let expected: Vec<u64> = last.values().copied().collect();
    eventually("equal", || {
        let rows: Vec<u64> = endpoint
            .rows("orders")
            .iter()
            .map(|row| row["n"].as_u64().unwrap())
            .collect();
        if rows == expected {
            Ok(())
        } else {
            Err((rows.len(), expected.len(), relay.get("/status").1))
        }
    });
}

#[test]
fn a_commit_whose_reply_was_lost_is_asked_about_and_not_repeated() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    endpoint.script("orders", [Act::CommitThenDrop]);
    let relay = start(&kafka, &endpoint, &[orders()]);
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    eventually("durable", || {
        if relay.status().datasets[0].tables[0].loads == 1 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    endpoint.see(|seen| {
        assert_eq!(seen.bodies.len(), 1, "the bytes went once");
        assert_eq!(seen.state_questions, 1);
    });
}

#[test]
fn the_same_bytes_go_again_under_the_same_label() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let failures = [
        Act::FrontendFailed("class com.starrocks.common.DdlException: No backend alive."),
        Act::Fail("close index channel failed, load_id=1"),
        Act::Drop,
        Act::FailBeforeBody("current running txns on db 1 is 1000, larger than limit 1000"),
        Act::PublishTimeout,
    ];
    endpoint.script("orders", failures);
    let relay = start(&kafka, &endpoint, &[orders()]);
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    eventually("durable", || {
        if relay.status().datasets[0].tables[0].loads == 1 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    endpoint.see(|seen| {
        assert_eq!(
            seen.bodies.len(),
            3,
            "a load refused by its headers sends no body"
        );
        assert!(
            seen.bodies.iter().all(|sent| *sent == seen.bodies[0]),
            "same label, same bytes"
        );
        assert_eq!(seen.loads.len(), 1);
    });
    let (_, metrics) = relay.get("/metrics");
    for outcome in [
        "NoBackendAlive",
        "TooManyVersions",
        "Unreachable",
        "TooManyTransactions",
        "Committed",
    ] {
        assert!(
            metrics.contains(&format!("outcome=\"{outcome}\"")),
            "{outcome} is not in {:?}",
            metrics
                .lines()
                .filter(|l| l.contains("outcome="))
                .collect::<Vec<_>>()
        );
    }
}

fn blocked(relay: &Relay, table: usize) -> Option<BlockedCause> {
    match &relay.status().datasets[0].tables[table].lane {
        LaneState::Blocked { cause, .. } => Some(*cause),
        _ => None,
    }
}

#[test]
fn a_rejected_document_stops_the_lane_in_front_of_it() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let strict = tributary_crds::relay::ColumnConfig {
        on_error: OnError::Reject,
        ..column("n", "BIGINT", "n")
    };
    let relay = start(
        &kafka,
        &endpoint,
        &[dataset(TOPIC, 1, vec![table("orders", vec![strict])])],
    );
    for (id, document) in [(1, r#"{"n": 1}"#), (2, r#"{"n": "two"}"#), (3, r#"{"n": 3}"#)] {
        kafka.send(TOPIC, 0, &key(id), Some(&event("c", Some(document))));
    }
    kafka.flush();
    eventually("blocked", || match &relay.status().datasets[0].tables[0].lane {
        LaneState::Blocked {
            cause: BlockedCause::LoadsRejected,
            message,
            at: Some(at),
            ..
        } if at.offset == 1 && message.contains("/0@1: column n: a string at n does not fit BIGINT") => {
            Ok(())
        }
        other => Err(other.clone()),
    });
    eventually("loaded up to it", || {
        if endpoint.rows("orders").len() == 1 {
            Ok(())
        } else {
            Err(endpoint.rows("orders"))
        }
    });
    eventually("committed up to it", || {
        match relay.status().datasets[0].partitions[0].committed {
            Some(1) => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn rows_that_were_filtered_are_no_success_and_a_wrong_password_blocks() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    endpoint.script("orders", [Act::Unauthorized]);
    let relay = start(&kafka, &endpoint, &[orders()]);
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    eventually("blocked", || match blocked(&relay, 0) {
        Some(BlockedCause::AuthenticationFailed) => Ok(()),
        other => Err(other),
    });
    eventually("healed without a restart", || {
        if endpoint.rows("orders").len() == 1 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    endpoint.script("orders", [Act::Filtered]);
    kafka.send(TOPIC, 0, &key(2), Some(&event("c", Some(r#"{"n": 2}"#))));
    kafka.flush();
    eventually("blocked", || match blocked(&relay, 0) {
        Some(BlockedCause::LoadsRejected) => Ok(()),
        other => Err(other),
    });
}

#[test]
fn sigterm_drains_commits_and_the_next_start_repeats_nothing() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let mut relay = start(&kafka, &endpoint, &[orders()]);
    let send = |id| {
        kafka.send(
            TOPIC,
            0,
            &key(id),
            Some(&event("c", Some(&format!(r#"{{"n": {id}}}"#)))),
        )
    };
    (0..100).for_each(send);
    kafka.flush();
    eventually("loaded", || {
        if endpoint.rows("orders").len() == 100 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    assert_eq!(relay.terminate(), Some(0));
    (100..150).for_each(send);
    kafka.flush();
    relay.start();
    eventually("loaded", || {
        if endpoint.rows("orders").len() == 150 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    let sent: usize = endpoint.see(|seen| seen.loads.iter().map(|l| l.2).sum());
    assert_eq!(sent, 150);
}

#[test]
fn lag_is_zero_at_the_end_with_a_fresh_heartbeat_and_grows_while_loads_wait() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    kafka.heartbeat();
    let relay = start(&kafka, &endpoint, &[orders()]);
    let lag = || relay.status().datasets[0].lag_ms;
    eventually("caught up", || {
        kafka.heartbeat();
        if lag() == Some(0) && relay.get("/readyz").0 == 200 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    endpoint.script(
        "orders",
        std::iter::repeat_n(Act::Fail("close index channel failed"), 6),
    );
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    eventually("behind", || {
        if lag().is_some_and(|lag| lag > 500) {
            Ok(())
        } else {
            Err(lag())
        }
    });
    eventually("caught up again", || {
        kafka.heartbeat();
        if lag() == Some(0) {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    assert_eq!(relay.get("/livez").0, 200);
}

#[test]
fn another_partition_count_stops_the_lanes() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 2)]), Endpoint::start());
    let relay = start(&kafka, &endpoint, &[orders()]);
    eventually("blocked", || match blocked(&relay, 0) {
        Some(BlockedCause::PartitionsChanged) => Ok(()),
        other => Err(other),
    });
}

/// A backlog far larger than any buffer, and a sink that stands still: memory stays bounded, and all arrives.
#[test]
fn a_backlog_is_held_back_not_held() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    endpoint.script(
        "orders",
        std::iter::repeat_n(Act::Fail("close index channel failed"), 4),
    );
    let padding = "x".repeat(600);
    for id in 0..5_000u64 {
        let document = format!(
            r#"{{"n": {id},"address": {{"city": "{}"}},"pad": "{padding}"}}"#,
            id % 50
        );
        kafka.send(TOPIC, 0, &key(id), Some(&event("c", Some(&document))));
    }
    kafka.flush();
    let relay = start(&kafka, &endpoint, &[orders()]);
    let buffered = || {
        let (_, metrics) = relay.get("/metrics");
        let line = metrics
            .lines()
            .find(|l| l.starts_with("tributary_relay_buffered_bytes "))
            .map(str::to_owned);
        line.and_then(|l| l.split(' ').nth(1).map(|n| n.parse::<u64>().unwrap()))
            .unwrap_or(0)
    };
    let mut most = 0;
    eventually("loaded", || {
        most = most.max(buffered());
        if endpoint.rows("orders").len() == 5_000 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    // One batch in flight and one filling, each up to 256 KiB and a row.
    assert!(most > 0 && most < 600 * 1024, "{most} bytes were buffered");
    assert_eq!(buffered(), 0, "nothing leaks from the count");
}

/// A lane that stands in front of a document goes on when the configuration makes it acceptable: without a restart.
#[test]
fn a_changed_configuration_is_taken_up_without_a_restart() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let strict = tributary_crds::relay::ColumnConfig {
        on_error: OnError::Reject,
        ..column("n", "BIGINT", "n")
    };
    let relay = start(
        &kafka,
        &endpoint,
        &[dataset(TOPIC, 1, vec![table("orders", vec![strict])])],
    );
    for (id, document) in [(1, r#"{"n": 1}"#), (2, r#"{"n": "two"}"#), (3, r#"{"n": 3}"#)] {
        kafka.send(TOPIC, 0, &key(id), Some(&event("c", Some(document))));
    }
    kafka.flush();
    eventually("blocked", || match blocked(&relay, 0) {
        Some(BlockedCause::LoadsRejected) => Ok(()),
        other => Err(other),
    });
    let before = relay.status().config_digests;
    let settings = relay.status().relay_digest;
    relay.remap("orders", |dataset| {
        dataset.mapping_generation = 2;
        for column in &mut dataset.tables[0].columns {
            column.on_error = OnError::Overflow;
        }
    });
    eventually("loaded", || {
        if endpoint.rows("orders").len() == 3 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    let status = relay.status();
    assert_ne!(status.config_digests, before);
    assert_eq!(status.datasets[0].mapping_generation, 2);
    relay.reconfigure(|relay| relay.batch.linger_ms = 60);
    eventually("settings taken up", || match relay.status().relay_digest {
        same if same == settings => Err(same),
        _ => Ok(()),
    });
    // An unusable file changes nothing, and is told.
    let usable = std::fs::read(relay.path("relay.json")).unwrap();
    std::fs::write(relay.path("relay.json"), "{").unwrap();
    eventually("refusal told", || match relay.status().config_refused {
        Some(why) if why.contains("relay.json") => Ok(()),
        other => Err(other),
    });
    kafka.send(TOPIC, 0, &key(4), Some(&event("c", Some(r#"{"n": 4}"#))));
    kafka.flush();
    eventually("loaded", || {
        if endpoint.rows("orders").len() == 4 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
    std::fs::write(relay.path("relay.json"), usable).unwrap();
    eventually("no refusal", || match relay.status().config_refused {
        None => Ok(()),
        some => Err(some),
    });
}

/// Version pressure makes batches wait longer, visibly, and the wait shrinks again.
#[test]
fn pressure_stretches_the_linger() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let relay = start(&kafka, &endpoint, &[orders()]);
    let linger = || relay.status().datasets[0].tables[0].linger_ms;
    assert_eq!(linger(), 50);
    endpoint.script(
        "orders",
        std::iter::repeat_n(Act::Fail("too many tablet versions"), 3),
    );
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    eventually(
        "stretched",
        || if linger() > 500 { Ok(()) } else { Err(linger()) },
    );
    let (_, metrics) = relay.get("/metrics");
    assert!(metrics.contains("tributary_relay_linger_seconds{"), "{metrics}");
    let at = linger();
    kafka.send(TOPIC, 0, &key(2), Some(&event("c", Some(r#"{"n": 2}"#))));
    kafka.flush();
    eventually("shrinking", || if linger() < at { Ok(()) } else { Err(linger()) });
}

/// The backend a frontend named is asked directly for a while, and forgotten at the first sign of trouble.
#[test]
fn a_known_backend_saves_the_redirect_until_it_fails() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let relay = start(&kafka, &endpoint, &[orders()]);
    let load = |id: u64| {
        kafka.send(
            TOPIC,
            0,
            &key(id),
            Some(&event("c", Some(&format!(r#"{{"n": {id}}}"#)))),
        );
        kafka.flush();
        eventually("loaded", || {
            if relay.status().datasets[0].tables[0].loads == id {
                Ok(())
            } else {
                Err(relay.status())
            }
        });
    };
    (1..=20).for_each(load);
    let redirected = endpoint.see(|seen| seen.redirected);
    assert!(redirected < 20, "some went straight to the backend");
    endpoint.script("orders", [Act::Drop]);
    load(21);
    assert!(
        endpoint.see(|seen| seen.redirected) > redirected,
        "asked a frontend again"
    );
}

#[test]
fn a_frontend_that_is_away_is_passed_over() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    // Nothing listens on port 1.
    let frontends = ["http://127.0.0.1:1".to_owned(), endpoint.frontend.clone()];
    let mut relay = Relay::configure(&kafka, &frontends, &[orders()]);
    relay.start();
    kafka.send(TOPIC, 0, &key(1), Some(&event("c", Some(r#"{"n": 1}"#))));
    kafka.flush();
    eventually("loaded", || {
        if endpoint.rows("orders").len() == 1 {
            Ok(())
        } else {
            Err(relay.status())
        }
    });
}
