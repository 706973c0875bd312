//! The Kafka client against librdkafka's own mock cluster, which speaks the broker's protocol in this process.

use std::time::{Duration, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tributary_operator::backend::ErrorClass;
use tributary_operator::backend::kafka::{KafkaAdmin, KafkaOptions, Watermarks};

const TOPIC: &str = "__debezium-heartbeat.acme";

fn admin(bootstrap: String) -> KafkaAdmin {
    let options = KafkaOptions {
        bootstrap_servers: vec![bootstrap],
        ..KafkaOptions::default()
    };
    KafkaAdmin::new(&options).expect("client")
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_and_newest_record_are_read() {
    let cluster = MockCluster::new(1).expect("mock cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("topic");
    let admin = admin(cluster.bootstrap_servers());
    assert_eq!(admin.probe().await.expect("probe").brokers, 1);
    assert_eq!(admin.newest_record_time(TOPIC).await.expect("empty"), None);

    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .expect("producer");
    for millis in [1_700_000_000_000_i64, 1_700_000_005_000] {
        let beat = FutureRecord::to(TOPIC).key("k").payload("{}").timestamp(millis);
        producer
            .send(beat, Duration::from_secs(10))
            .await
            .expect("produced");
    }
    let ends = admin.watermarks(TOPIC, 0).await.expect("watermarks");
    assert_eq!(ends, Watermarks { low: 0, high: 2 });
    // Twice: the reader is kept between calls.
    for _ in 0..2 {
        let newest = admin.newest_record_time(TOPIC).await.expect("read");
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_005_000);
        assert_eq!(newest, Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    drop(listener);
    let error = admin(address).probe().await.expect_err("nobody there");
    assert_eq!(error.class, ErrorClass::Unreachable, "{error}");
}
