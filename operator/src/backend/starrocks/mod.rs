//! StarRocks' MySQL side: probe, live schema, DDL. Loading is the relay's business.

mod client;
mod error;
pub mod live;
pub mod types;

pub use client::{BackendNodes, ServerInfo, StarRocksClient, StarRocksOptions};
pub use live::{LiveColumn, LiveTable};
