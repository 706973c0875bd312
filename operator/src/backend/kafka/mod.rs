//! Kafka: topics, consumer groups and positions, through librdkafka. What librdkafka says goes to `tracing`.

mod client;
mod error;
mod log;
mod topic;
mod wire;

pub use client::{ClusterInfo, ConsumerGroup, GroupOffset, KafkaAdmin, KafkaOptions, Watermarks};
pub use log::{Log, LogRecord, LogSpec};
pub use topic::{TopicDifference, TopicSpec, TopicState};
