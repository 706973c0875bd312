//! The relay as a process, against librdkafka's mock cluster and a scripted Stream Load endpoint.

mod support;

use serde_json::json;
use support::endpoint::{Act, Endpoint};
use support::{Kafka, Relay, column, dataset, event, eventually, key, table};
use tributary_crds::relay::{BlockedCause, LaneState, OnError};

const TOPIC: &str = "acme.shop.orders";

fn orders() -> tributary_crds::relay::DatasetConfig {
    dataset(TOPIC, 1, vec![table("orders", vec![column("n", "BIGINT", "n"), column("city", "VARCHAR(64)", "address.city")])])
}

fn start(kafka: &Kafka, endpoint: &Endpoint, datasets: &[tributary_crds::relay::DatasetConfig]) -> Relay {
    let mut relay = Relay::configure(&kafka.cluster.bootstrap_servers(), &[endpoint.frontend.clone()], datasets);
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
    eventually("loaded", || if endpoint.rows("orders").len() == 1 { Ok(()) } else { Err(relay.get("/status")) });
    let expected = json!({"order_id": "000000000000000000000001", "__op": 0, "_ver": (1i64 << 51) | 1,
        "n": 7, "city": "Köln", "_extra": {"address.zip": {"v": "50667", "t": "string"}}});
    assert_eq!(endpoint.rows("orders"), [expected]);
}
