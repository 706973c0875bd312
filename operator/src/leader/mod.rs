//! One operator writes. Whoever holds the Lease reconciles; the others wait.
//!
//! Why this is safe: the holder counts from *before* it asked for a renewal and stops writing a margin before the
//! Lease can be taken; a candidate counts from when it *saw* the last renewal and takes the Lease only after its whole duration. Both use
//! their own clock, so clocks need not agree. Every write asks the [`Fence`] at the last moment, so a process that was
//! stopped and goes on much later refuses its own pending writes before it learns of its successor. What stays is a request that was
//! already on the wire when the margin ran out; the ledger closes that too, because Kafka itself refuses a fenced producer
//! (see [`crate::ledger`]), and Kubernetes writes that must not race carry a resourceVersion.

mod election;
mod fence;
mod lease;

pub use election::{Election, Settings};
pub use fence::{Fence, NotLeading};
