//! The API of Tributary: custom resources, the rules under them, and the contract between operator and relay.
//!
//! * [`column`]: the column types of the hot store, one enum.
//! * [`relay`]: what the operator writes for a relay to read, and what a relay answers at `/status`.

pub mod column;
pub mod relay;
