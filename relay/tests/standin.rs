//! The relay as a process against a real broker and the StarRocks stand-in, asked by SQL what it holds.
//!
//! `TRIBUTARY_TEST_STANDIN_STARROCKS` names a built stand-in; without it cargo builds one.

mod support;

use support::starrocks::StarRocks;
use support::{Kafka, Relay, column, dataset, event, eventually, key, table};

const TOPIC: &str = "acme.shop.orders";

#[test]
fn documents_of_every_kind_become_rows_that_sql_reads() {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), StarRocks::start());
    starrocks.sql("CREATE DATABASE shop").unwrap();
    let ddl = "CREATE TABLE shop.orders (order_id VARCHAR(24) NOT NULL, n BIGINT NULL, total DECIMAL(38,2) NULL, placed_at DATETIME NULL, \
        day DATE NULL, paid BOOLEAN NULL, score DOUBLE NULL, big LARGEINT NULL, tags ARRAY<VARCHAR(32)> NULL, address JSON NULL, \
        city VARCHAR(64) NULL, _ver BIGINT NOT NULL, _extra JSON NULL) PRIMARY KEY (order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 1 \
        PROPERTIES (\"replication_num\"=\"1\")";
    starrocks.sql(ddl).unwrap();
    let columns = vec![
        column("n", "BIGINT", "n"),
        column("total", "DECIMAL(38,2)", "total"),
        column("placed_at", "DATETIME", "placedAt"),
        column("day", "DATE", "day"),
        column("paid", "BOOLEAN", "paid"),
        column("score", "DOUBLE", "score"),
        column("big", "LARGEINT", "big"),
        column("tags", "ARRAY<VARCHAR(32)>", "tags"),
        column("address", "JSON", "address"),
        column("city", "VARCHAR(64)", "address.city"),
    ];
    let mut relay = Relay::configure(
        &kafka,
        std::slice::from_ref(&starrocks.frontend),
        &[dataset(TOPIC, 1, vec![table("orders", columns)])],
    );
    relay.start();
    let send =
        |id, op: &str, document: Option<&str>| kafka.send(TOPIC, 0, &key(id), Some(&event(op, document)));
    let full = r#"{"_id": {"$oid": "000000000000000000000001"},"n": {"$numberLong": "9007199254740993"},"total": {"$numberDecimal": "12345678901234567890.10"},"placedAt": {"$date": 1704164645678},"day": {"$date": 1704153600000},"paid": true,"score": 1.5,"big": {"$numberDecimal": "123456789012345678901234567890"},"tags": ["a","b"],"address": {"city": "K\u00f6ln","zip": {"$numberLong": "50667"}},"spare": NaN}"#;
    send(1, "c", Some(full));
    send(2, "c", Some(r#"{"n": "seven","total": 3.999}"#));
    send(3, "c", Some(r#"{"n": 3}"#));
    kafka.flush();
    eventually("loaded", || {
        match starrocks.sql("SELECT count(*) FROM shop.orders") {
            Ok(count) if count.trim() == "3" => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    });
    let row = starrocks
        .sql("SELECT n, total, placed_at, day, paid, score, big, city FROM shop.orders WHERE n > 5")
        .unwrap();
    let cells: Vec<&str> = row.trim().split('\t').collect();
    assert_eq!(cells[0], "9007199254740993");
    assert_eq!(cells[1], "12345678901234567890.10");
    assert!(cells[2].starts_with("2024-01-02 03:04:05.678"), "{}", cells[2]);
    assert_eq!(
        &cells[3..],
        ["2024-01-02", "1", "1.5", "123456789012345678901234567890", "Köln"]
    );
    let extra = starrocks
        .sql("SELECT _extra FROM shop.orders WHERE order_id = '000000000000000000000002'")
        .unwrap();
    let extra: serde_json::Value = serde_json::from_str(extra.trim()).expect(&extra);
    assert_eq!(
        extra,
        serde_json::json!({"n": {"v": "seven", "t": "string"}, "total": {"v": 3.999, "t": "double"}})
    );

    send(3, "u", Some(r#"{"n": 33}"#));
    send(1, "d", None);
    kafka.flush();
    relay.kill();
    relay.start();
    eventually("updated and deleted", || {
        match starrocks.sql("SELECT order_id, n FROM shop.orders ORDER BY order_id") {
            Ok(rows) if rows == "000000000000000000000002\tNULL\n000000000000000000000003\t33\n" => Ok(()),
            other => Err((other, relay.get("/status"))),
        }
    });
}

/// Every way a load fails on a real cluster, one after the other: each document arrives, under one label, once.
#[test]
fn whatever_becomes_of_a_load_its_document_arrives() {
    let (kafka, starrocks) = (Kafka::start(&[(TOPIC, 1)]), StarRocks::start());
    starrocks.sql("CREATE DATABASE shop").unwrap();
    starrocks
        .sql(
            "CREATE TABLE shop.orders (order_id VARCHAR(24) NOT NULL, n BIGINT NULL, _ver BIGINT NOT NULL, _extra JSON NULL) \
             PRIMARY KEY (order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 1 PROPERTIES (\"replication_num\"=\"1\")",
        )
        .unwrap();
    let orders = dataset(TOPIC, 1, vec![table("orders", vec![column("n", "BIGINT", "n")])]);
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&starrocks.frontend), &[orders]);
    relay.reconfigure(|relay| relay.starrocks.mysql_endpoints = vec![starrocks.mysql.clone()]);
    relay.start();
    let faults = [
        serde_json::json!({"kind": "commit_then_fail", "count": 1}),
        serde_json::json!({"kind": "commit_then_drop", "count": 1}),
        serde_json::json!({"kind": "publish_timeout", "delay_ms": 300, "count": 1}),
        serde_json::json!({"kind": "slow_publish", "delay_ms": 300, "count": 1}),
        serde_json::json!({"kind": "late_commit", "delay_ms": 300, "count": 1}),
        serde_json::json!({"kind": "too_many_versions", "count": 1}),
        serde_json::json!({"kind": "running_txns", "count": 1}),
        serde_json::json!({"kind": "be_error", "status": 500, "count": 1}),
    ];
    for (id, fault) in (1..).zip(&faults) {
        starrocks.fault(fault);
        kafka.send(
            TOPIC,
            0,
            &key(id),
            Some(&event("c", Some(&format!(r#"{{"n": {id}}}"#)))),
        );
        kafka.flush();
        eventually(&fault.to_string(), || {
            match starrocks.sql("SELECT count(*), max(n) FROM shop.orders") {
                Ok(found) if found.trim() == format!("{id}\t{id}") => Ok(()),
                other => Err((other, relay.get("/status"))),
            }
        });
    }
    let visible = starrocks
        .labels("shop")
        .into_iter()
        .filter(|(_, state)| state == "VISIBLE")
        .count();
    assert_eq!(visible, faults.len(), "one load for each document");
}
