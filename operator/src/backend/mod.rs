//! Clients of the external systems, one folder each. Every call has a timeout and answers with a [`BackendError`] whose
//! [`ErrorClass`] decides what a controller does; the text is redacted before it exists.

pub mod breaker;
pub mod connect;
mod error;
pub mod kafka;
mod redact;
pub mod starrocks;

pub use error::{Backend, BackendError, BackendResult, ErrorClass};
pub use redact::Redactor;
