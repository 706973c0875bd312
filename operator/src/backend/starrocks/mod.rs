//! StarRocks' MySQL side: probe, live schema, DDL and its jobs, grants. Loading is the relay's business.

mod client;
mod error;
pub mod jobs;
pub mod live;
pub mod types;

pub use client::{BackendNodes, ServerInfo, StarRocksClient, StarRocksOptions};
pub use jobs::{AlterJob, JobState, LiveView};
pub use live::{LiveColumn, LiveTable};
