//! The API of Tributary: custom resources, the rules under them, and the contract between operator and relay.
//!
//! * [`column`]: the column types of the hot store, one enum.
//! * [`relay`]: what the operator writes for a relay to read, and what a relay answers at `/status`.
//! * [`expr`]: CEL of mappings, compiled and evaluated.
//! * [`mapping`]: path grammar, `$…` sources, and the compiler from a dataset's YAML to [`relay::DatasetConfig`].
//! * [`platform`], [`pipeline`], [`table`]: the three kinds; [`template`] is what inline and standalone tables share.
//! * [`effective()`](effective::effective): platform defaults merged under a pipeline, the one source of what is meant.
//! * [`status`]: conditions, reasons, lag buckets and how `Ready`, `reason` and `message` follow from them.
//! * [`names`]: every derived name, label and owner mark.
//! * [`validate`]: the API server's rules and the rules beyond CEL, client-side.
//! * [`crd`]: the CustomResourceDefinitions as they are installed.

// Input never ends the process: what cannot be is an error with words.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
pub mod column;
#[cfg(feature = "expr")]
pub mod expr;
pub mod mapping;
pub mod relay;

#[cfg(feature = "kube")]
pub mod crd;
#[cfg(feature = "kube")]
pub mod duration;
#[cfg(feature = "kube")]
pub mod effective;
#[cfg(feature = "kube")]
pub mod names;
#[cfg(feature = "kube")]
pub mod pipeline;
#[cfg(feature = "kube")]
pub mod platform;
#[cfg(feature = "kube")]
pub mod quantity;
#[cfg(feature = "kube")]
pub mod reference;
#[cfg(feature = "kube")]
mod shape;
#[cfg(feature = "kube")]
pub mod status;
#[cfg(feature = "kube")]
pub mod table;
#[cfg(feature = "kube")]
pub mod template;
#[cfg(feature = "kube")]
pub mod validate;

#[cfg(feature = "kube")]
pub use pipeline::TenantPipeline;
#[cfg(feature = "kube")]
pub use platform::DataPlatform;
#[cfg(feature = "kube")]
pub use table::StarRocksTable;

/// API group of every kind.
pub const GROUP: &str = "tributary.dev";
/// API version of every kind.
pub const VERSION: &str = "v1alpha1";
