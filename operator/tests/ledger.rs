//! The ledger on a real broker: one writer whoever else is alive, nothing forgotten, and what Kafka itself tells of topics and
//! consumer groups.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::raise;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tributary_crds::DataPlatform;
use tributary_operator::backend::ErrorClass;
use tributary_operator::backend::kafka::{GroupOffset, KafkaAdmin, KafkaOptions, TopicSpec};
use tributary_operator::ledger::{Claim, Entry, Ledgers, PipelineRecord, State, WriteError};
use tributary_stage::Parts;

const TOPIC: &str = "tributary-ledger";

fn platform(bootstrap: &str, ledger: &str) -> DataPlatform {
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "DataPlatform",
        "metadata": {"name": "main", "namespace": "tributary"},
        "spec": {
            "ownerID": "test",
            "kafka": {"bootstrapServers": [bootstrap], "ledgerTopic": ledger},
            "connect": {"url": "http://127.0.0.1:1", "sourceSecrets": {"type": "Mirrored"}},
            "starrocks": {"hot": {"httpEndpoints": ["http://127.0.0.1:1"], "mysqlEndpoints": ["127.0.0.1:1"],
                "adminCredentialsSecretRef": {"name": "a"}, "loadCredentialsSecretRef": {"name": "l"}}},
            "defaults": {"topics": {"replicationFactor": 1}},
        },
    }))
    .expect("a platform")
}

fn entry(tenant: &str) -> Entry {
    Entry {
        record: Some(PipelineRecord {
            tenant: tenant.to_owned(),
            ..PipelineRecord::default()
        }),
        claims: BTreeSet::from([Claim::Tenant(tenant.to_owned())]),
        ..Entry::default()
    }
}

/// One operator's view: its own clients, its own books.
struct Operator {
    kafka: KafkaAdmin,
    ledgers: Ledgers,
    platform: DataPlatform,
}

impl Operator {
    fn new(bootstrap: &str, ledger: &str) -> Self {
        let options = KafkaOptions {
            bootstrap_servers: vec![bootstrap.to_owned()],
            ..KafkaOptions::default()
        };
        Self {
            kafka: KafkaAdmin::new(&options).expect("a client"),
            ledgers: Ledgers::default(),
            platform: platform(bootstrap, ledger),
        }
    }

    async fn record(&self, pipeline: &str, entry: &Entry) -> Result<(), WriteError> {
        let book = self.ledgers.book(&self.platform);
        book.write(&self.kafka, |state| state.record(pipeline, entry, false))
            .await
    }

    async fn entry(&self, pipeline: &str) -> Entry {
        let book = self.ledgers.book(&self.platform);
        book.read(&self.kafka, |state| state.entry(pipeline))
            .await
            .expect("read")
    }

    async fn term(&self) -> u64 {
        let book = self.ledgers.book(&self.platform);
        book.read(&self.kafka, State::term).await.expect("read")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_writer_and_nothing_forgotten() {
    let stage = raise(Parts::Kafka).await;
    let bootstrap = stage.info().kafka.as_ref().expect("Kafka").bootstrap.clone();
    two_operators(&bootstrap).await;
    a_lost_topic_is_written_again(&bootstrap).await;
    a_topic_that_forgets_is_refused(&bootstrap).await;
    a_topic_made_again_has_another_id(&bootstrap).await;
    positions_are_kept_with_their_notes(&bootstrap).await;
}

async fn two_operators(bootstrap: &str) {
    let first = Operator::new(bootstrap, TOPIC);
    first.record("one/p", &entry("acme")).await.expect("recorded");
    assert_eq!(first.entry("one/p").await, entry("acme"));

    // The second opens the ledger: from then on Kafka refuses what the first appends.
    let second = Operator::new(bootstrap, TOPIC);
    assert_eq!(second.entry("one/p").await, entry("acme"));
    assert!(second.term().await > 1);
    let late = first.record("two/p", &entry("globex")).await;
    assert!(matches!(late, Err(WriteError::Backend(_))), "{late:?}");
    second
        .record("three/p", &entry("globex"))
        .await
        .expect("recorded");
    assert_eq!(second.entry("two/p").await, Entry::default());

    // Should the first lead again, it reads what happened meanwhile before it decides.
    let refused = first.record("two/p", &entry("globex")).await;
    assert!(matches!(refused, Err(WriteError::Conflict(_))), "{refused:?}");
    let third = Operator::new(bootstrap, TOPIC);
    assert_eq!(third.entry("three/p").await, entry("globex"));
    assert_eq!(third.entry("two/p").await, Entry::default());
    let live = third
        .kafka
        .describe_topics(&[TOPIC.to_owned()])
        .await
        .expect("described");
    assert_eq!(live[TOPIC].partitions, 1);
    assert_eq!(live[TOPIC].config["cleanup.policy"], "compact");
}

async fn a_lost_topic_is_written_again(bootstrap: &str) {
    let operator = Operator::new(bootstrap, "lost-ledger");
    operator.record("one/p", &entry("acme")).await.expect("recorded");
    operator.kafka.delete_topic("lost-ledger").await.expect("deleted");
    // The append that finds the topic gone fails; the next one opens a new topic.
    let mut tries = 0;
    while operator.record("two/p", &entry("globex")).await.is_err() {
        tries += 1;
        assert!(tries < 20, "the ledger never came back");
    }
    let other = Operator::new(bootstrap, "lost-ledger");
    assert_eq!(other.entry("one/p").await, entry("acme"), "from memory");
    assert_eq!(other.entry("two/p").await, entry("globex"));
}

async fn a_topic_that_forgets_is_refused(bootstrap: &str) {
    let operator = Operator::new(bootstrap, "not-a-ledger");
    let spec = TopicSpec::changes("not-a-ledger", 1, 1, Duration::from_secs(3600), 1 << 20);
    operator.kafka.create_topic(&spec).await.expect("created");
    match operator.record("one/p", &entry("acme")).await {
        Err(WriteError::Backend(error)) => {
            assert_eq!(error.class, ErrorClass::Conflict, "{error}");
            assert!(error.message.contains("kafka.ledgerTopic"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

async fn a_topic_made_again_has_another_id(bootstrap: &str) {
    let kafka = Operator::new(bootstrap, TOPIC).kafka;
    let name = "acme.shop.orders".to_owned();
    let spec = TopicSpec::changes(&name, 2, 1, Duration::from_secs(3600), 1 << 20);
    let id = async || {
        let live = kafka
            .describe_topics(std::slice::from_ref(&name))
            .await
            .expect("described");
        live.get(&name).and_then(|t| t.id.clone())
    };
    kafka.create_topic(&spec).await.expect("created");
    let first = common::until("the first topic", || async { id().await }).await;
    assert_eq!(
        id().await.as_ref(),
        Some(&first),
        "asked twice over one connection"
    );
    kafka.delete_topic(&name).await.expect("deleted");
    common::until("it is gone", || async { id().await.is_none().then_some(()) }).await;
    kafka.create_topic(&spec).await.expect("created");
    let second = common::until("the second topic", || async { id().await }).await;
    assert_ne!(first, second);
    println!("topic ids: {first}, then {second}");
}

async fn positions_are_kept_with_their_notes(bootstrap: &str) {
    let kafka = Operator::new(bootstrap, TOPIC).kafka;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("a producer");
    let record = FutureRecord::to("acme.shop.orders")
        .key("k")
        .payload("{}")
        .partition(1);
    producer
        .send(record, Duration::from_secs(10))
        .await
        .expect("produced");
    let stood = GroupOffset {
        topic: "acme.shop.orders".into(),
        partition: 1,
        offset: 1,
        metadata: r#"{"done":{"orders":1}}"#.into(),
    };
    kafka
        .set_group_offsets("tributary.test", vec![stood.clone()])
        .await
        .expect("committed");
    let both = vec![
        ("acme.shop.orders".to_owned(), 0),
        ("acme.shop.orders".to_owned(), 1),
    ];
    let read = kafka.group_offsets("tributary.test", both).await.expect("read");
    assert_eq!(read, [stood]);
    assert!(kafka.delete_group("tributary.test").await.expect("deleted"));
}
