//! The end-to-end scenario, step by step: what the test checks and the demo shows.
//!
//! Everything is done as a user would: kubectl, helm, SQL by a stock client, documents by MongoDB's own driver. All of
//! it blocks, and every wait has a deadline.

pub mod bad_input;
pub mod bad_manifests;
pub mod bad_records;
pub mod chaos;
pub mod chart;
pub mod checks;
pub mod http;
pub mod kubectl;
pub mod manifests;
pub mod outages;
pub mod process;
pub mod programs;
pub mod relay;
pub mod scenario;
pub mod secrets;
pub mod sql;
pub mod wait;
