//! Lossless: dead letters are seen where they are, in Kafka.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::*;

const LETTERS: &str = "tributary-dead-letters.acme";

pub(super) async fn dead_letters_show(world: &World, bootstrap: &str) {
    lossless(world, "Unknown/NotMeasured").await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let producer: FutureProducer = config.create().expect("a producer");
    let letter = FutureRecord::to(LETTERS).key("{}").payload("{}");
    let sent = producer.send(letter, std::time::Duration::from_secs(30)).await;
    sent.expect("delivered");
    lossless(world, "False/RowsDeadLettered").await;

    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(LETTERS, 0, Offset::End)
        .expect("a partition");
    let options = AdminOptions::new().operation_timeout(Some(std::time::Duration::from_secs(30)));
    admin.delete_records(&all, &options).await.expect("deleted");
    // No relay runs here to say that nothing was cut either.
    lossless(world, "Unknown/NotMeasured").await;
}

async fn lossless(world: &World, wanted: &str) {
    until(&format!("Lossless={wanted}"), || async {
        let status = world.pipelines.get("acme").await.ok()?.status?;
        (word(&status.conditions, "Lossless") == wanted).then_some(())
    })
    .await;
}
