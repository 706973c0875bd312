//! Kafka: topics, consumer groups and positions, through librdkafka. What librdkafka says goes to `tracing`.

mod client;
mod error;
mod topic;

pub use client::{ClusterInfo, ConsumerGroup, KafkaAdmin, KafkaOptions, Watermarks};
pub use topic::{TopicDifference, TopicSpec, TopicState};
