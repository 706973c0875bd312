//! What the relay shows: metrics, probes and `/status`.

pub mod histogram;
pub mod metrics;
pub mod server;
pub mod status;
