//! What observation cannot rebuild: who claimed what, generations of topics and mappings, where a removed consumer group stood.
//! One compacted Kafka topic, one partition, one writer.
//!
//! [`record`] and [`state`] are pure: records and the fold over them. [`entry`] is what they say of one pipeline. [`book`] reads the topic
//! to its end and appends; [`crate::backend::kafka`] holds the bytes.

pub mod book;
pub mod entry;
pub mod record;
pub mod state;

#[cfg(test)]
mod tests;

pub use book::{Book, Ledgers, WriteError};
pub use entry::{Entry, GenerationsUsedUp, Identity, LiveTopic, Traces, generation_in};
pub use record::{Change, Claim, DatasetRecord, Held, Key, PipelineRecord, PositionRecord, Value};
pub use state::{Conflict, State};
