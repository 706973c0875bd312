//! Kafka goes away and comes back: its tests restart the broker, so they have one of their own.

mod support;

use support::endpoint::Endpoint;
use support::{Kafka, Relay, broker, column, dataset, event, eventually, key, table};

const TOPIC: &str = "acme.shop.orders";

/// Neither a running relay nor one that starts meanwhile ends because Kafka is away; both go on when it is back.
#[test]
fn a_restarted_broker_is_waited_for() {
    let (kafka, endpoint) = (Kafka::start(&[(TOPIC, 1)]), Endpoint::start());
    let orders = dataset(TOPIC, 1, vec![table("orders", vec![column("n", "BIGINT", "n")])]);
    let mut relay = Relay::configure(&kafka, std::slice::from_ref(&endpoint.frontend), &[orders]);
    relay.start();
    let load = |relay: &Relay, id: u64| {
        kafka.send(
            TOPIC,
            0,
            &key(id),
            Some(&event("c", Some(&format!(r#"{{"n": {id}}}"#)))),
        );
        kafka.flush();
        eventually("loaded", || {
            if endpoint.rows("orders").len() as u64 == id {
                Ok(())
            } else {
                Err(relay.get("/status"))
            }
        });
    };
    load(&relay, 1);
    if !broker::restart(|| {}) {
        eprintln!("TRIBUTARY_TEST_KAFKA names a broker that is not this test's to restart");
        return;
    }
    load(&relay, 2);
    broker::restart(|| {
        relay.kill();
        relay.start();
    });
    load(&relay, 3);
    assert_eq!(relay.get("/livez").0, 200);
}
