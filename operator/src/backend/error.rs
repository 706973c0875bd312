//! One error type for all backends: the class is for machines (retry, condition reason), the message for operators.

use std::fmt;

use crate::leader::NotLeading;

/// Which system answered, or failed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    Kafka,
    Connect,
    StarRocks,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Connect => "Kafka Connect",
            Self::StarRocks => "StarRocks",
        })
    }
}

/// What kind of failure it was. Retry policy, condition reasons and metric labels are derived from this enum alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Nobody answered, or something that is not the server yet (Connect's HTML 404 while it boots).
    Unreachable,
    /// The breaker is open: the endpoint was not even asked.
    CircuitOpen,
    /// The server does not know us.
    AuthenticationFailed,
    /// The server knows us and says no.
    NotAuthorized,
    /// The server is sure that the thing does not exist.
    NotFound,
    /// The thing exists already, or belongs to somebody else.
    Conflict,
    /// The request itself is wrong: the same request can never succeed.
    Invalid,
    /// The server lacks what is needed (version, plugin).
    Unsupported,
    /// Expected to pass: rebalance, timeout, another schema change running. The outcome of a write may be unknown.
    Transient,
}

impl ErrorClass {
    /// Whether repeating the same call later can succeed without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unreachable | Self::CircuitOpen | Self::Transient)
    }

    /// Whether the failure says that the endpoint as a whole is down (what a breaker counts).
    pub fn is_outage(self) -> bool {
        matches!(self, Self::Unreachable)
    }

    /// Fixed word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::CircuitOpen => "CircuitOpen",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::NotAuthorized => "NotAuthorized",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::Invalid => "Invalid",
            Self::Unsupported => "Unsupported",
            Self::Transient => "Transient",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed call. `message` is one sentence, already redacted and bounded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{backend}: {operation}: {message}")]
pub struct BackendError {
    pub backend: Backend,
    pub class: ErrorClass,
    /// What was tried, such as `create topic acme.shop.orders`.
    pub operation: String,
    pub message: String,
}

pub type BackendResult<T> = Result<T, BackendError>;

/// Longest message kept: a condition message holds 512 characters, its sentence needs some of them.
const MESSAGE_MAX: usize = 400;

impl BackendError {
    pub fn new(
        backend: Backend,
        class: ErrorClass,
        operation: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            backend,
            class,
            operation: operation.into(),
            message: bounded(message.into()),
        }
    }

    /// Nothing was sent.
    pub fn not_leading(backend: Backend, operation: &str, why: NotLeading) -> Self {
        Self::new(backend, ErrorClass::Transient, operation, why.to_string())
    }

    pub fn is_retryable(&self) -> bool {
        self.class.is_retryable()
    }
}

/// Cuts at a character boundary; servers echo whole configurations or grammars in their errors.
fn bounded(mut message: String) -> String {
    if message.len() <= MESSAGE_MAX {
        return message;
    }
    let cut = (0..=MESSAGE_MAX)
        .rev()
        .find(|&i| message.is_char_boundary(i))
        .unwrap_or(0);
    message.truncate(cut);
    message.push('…');
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let error = BackendError::new(Backend::Kafka, ErrorClass::Transient, "x", "é".repeat(1000));
        assert!(error.message.len() <= MESSAGE_MAX + '…'.len_utf8());
        assert!(error.message.ends_with('…'));
    }
}
