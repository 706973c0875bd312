//! The stage: real servers for the demo, the tests and the benchmarks, raised from package registries alone.
//!
//! Everything here is blocking: raising a stage is minutes of waiting for child processes, which threads say best.
//! Call it from async code through `spawn_blocking`.

pub mod binary;
pub mod connect;
pub mod control;
pub mod images;
pub mod info;
pub mod init;
pub mod kafka;
mod kubernetes;
mod mysql_tls;
pub mod parts;
pub mod ports;
pub mod preflight;
pub mod progress;
pub mod serve;
pub mod server;
pub mod setup;
pub mod stage;
pub mod standins;
pub mod starrocks;
pub mod state;
mod tls;
mod tls_proxy;

pub use info::StageInfo;
pub use parts::{Options, Part, Parts};
pub use stage::Stage;

/// Builds and fetches everything the parts are raised from, Debian packages included, and raises nothing.
pub fn prepare(parts: Parts) -> anyhow::Result<()> {
    preflight::require(parts)?;
    if parts.has(Part::ApiServer) {
        kubernetes::prepare(parts)?;
    }
    if parts.has(Part::Kafka) {
        kafka::prepare()?;
    }
    if parts.has(Part::Connect) {
        connect::prepare()?;
    }
    standins::prepare(parts).map(drop)
}
