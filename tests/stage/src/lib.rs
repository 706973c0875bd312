//! The stage: real servers for the demo, the tests and the benchmarks, raised from package registries alone.
//!
//! Everything here is blocking: raising a stage is minutes of waiting for child processes, which threads say best.
//! Call it from async code through `spawn_blocking`.

pub mod progress;
pub mod setup;
