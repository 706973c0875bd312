//! Kafka Connect: REST client, the rendered MongoDB connector, and what its answers mean.
//!
//! [`client`] is the only I/O; [`connector`], [`offsets`] and [`health`] are pure.

pub mod client;
pub mod connector;
pub mod health;
pub mod model;
pub mod offsets;
mod response;
mod trace;

pub use client::{ConnectClient, Connectors, PutOutcome};
pub use connector::{ConnectorSpec, RenderError};
pub use health::{Assessment, ConnectorReason, Observation, Remedy, SnapshotState};
pub use model::{ConnectorConfig, ConnectorState, ConnectorStatus, TaskStatus, Validation};
pub use offsets::{SourceOffset, SourcePosition};
