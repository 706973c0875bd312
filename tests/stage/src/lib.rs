//! The stage: real servers for the demo, the tests and the benchmarks, raised from package registries alone.
//!
//! Everything here is blocking: raising a stage is minutes of waiting for child processes, which threads say best.
//! Call it from async code through `spawn_blocking`.

pub mod info;
pub mod parts;
pub mod ports;
pub mod progress;
pub mod serve;
pub mod server;
pub mod setup;

pub use info::StageInfo;
pub use parts::{Options, Part, Parts};
