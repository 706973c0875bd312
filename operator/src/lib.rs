//! The operator of Tributary, as a library so that its binaries and tests share it.
//!
//! One folder per kind ([`platform`], [`table`], [`pipeline`]), each with the same rooms: `dereference` (all reads) →
//! `validate` (sync) → `plan` (pure) → `apply` → `status`. [`backend`] holds one client per external system, [`kubernetes`] is
//! the one door to the API server, [`controllers`] ties watches to reconcilers.

// Input never ends the process: what cannot be is an error with words.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod args;
pub mod backend;
pub mod backends;
pub mod context;
pub mod controllers;
pub mod error;
pub mod guard;
pub mod kubernetes;
pub mod leader;
pub mod ledger;
pub mod pipeline;
pub mod platform;
pub mod publish;
pub mod server;
pub mod strategic_merge;
pub mod table;
pub mod telemetry;
pub mod watch;

/// Hands off: the annotation people set while they work on something themselves.
pub(crate) fn is_disabled<K: kube::ResourceExt>(object: &K) -> bool {
    let annotation = object
        .annotations()
        .get(tributary_crds::names::ANNOTATION_RECONCILE);
    annotation.is_some_and(|value| value == "disabled")
}
