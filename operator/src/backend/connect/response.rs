//! What a reply of Connect means. Nothing that is not JSON is ever believed: while a worker boots, Jetty answers every
//! path with an HTML 404, and reading that as "absent" would re-create everything.

use reqwest::StatusCode;
use serde::de::DeserializeOwned;

use super::model::ErrorReply;
use crate::backend::{Backend, BackendError, ErrorClass, Redactor};

/// A reply read completely.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) json: bool,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The body of a successful reply, or what the failure means.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        operation: &str,
        redactor: &Redactor,
    ) -> Result<T, BackendError> {
        self.check(operation, redactor)?;
        if !self.json {
            return Err(not_connect(operation, self.status));
        }
        serde_json::from_slice(&self.body).map_err(|e| {
            // The position is enough: the body may hold anything.
            error(
                ErrorClass::Transient,
                operation,
                format!(
                    "the reply is not what this version understands (line {}, column {})",
                    e.line(),
                    e.column()
                ),
            )
        })
    }

    /// Success (2xx), whatever the body.
    pub(super) fn check(&self, operation: &str, redactor: &Redactor) -> Result<(), BackendError> {
        if self.status.is_success() {
            return Ok(());
        }
        let class = match self.status {
            StatusCode::UNAUTHORIZED => ErrorClass::AuthenticationFailed,
            StatusCode::FORBIDDEN => ErrorClass::NotAuthorized,
            _ if !self.json => return Err(not_connect(operation, self.status)),
            _ => classify(self.status, &self.message()),
        };
        let text = redactor.redact(&self.message());
        let message = match class {
            ErrorClass::Invalid if is_config_npe(&self.message()) => format!(
                "Connect {} answers an invalid configuration with an internal error (KAFKA-20693): {text}",
                self.status.as_u16()
            ),
            _ if text.is_empty() => format!("HTTP {}", self.status.as_u16()),
            _ => format!("HTTP {}: {text}", self.status.as_u16()),
        };
        Err(error(class, operation, message))
    }

    fn message(&self) -> String {
        serde_json::from_slice::<ErrorReply>(&self.body)
            .map(|r| r.message)
            .unwrap_or_default()
    }
}

pub(super) fn error(class: ErrorClass, operation: &str, message: impl Into<String>) -> BackendError {
    BackendError::new(Backend::Connect, class, operation, message)
}

fn not_connect(operation: &str, status: StatusCode) -> BackendError {
    let message = match status {
        StatusCode::NOT_FOUND => "the worker is still starting (404 without a JSON body)".to_owned(),
        _ => format!(
            "HTTP {} without a JSON body: a worker that is starting, or not Kafka Connect",
            status.as_u16()
        ),
    };
    error(ErrorClass::Unreachable, operation, message)
}

/// The 500 of Connect up to 4.3.1 for every invalid configuration of Debezium 3.6.1: permanent, unlike other 5xx.
fn is_config_npe(message: &str) -> bool {
    message.contains("ConfigValueInfo.errors()")
}

fn classify(status: StatusCode, message: &str) -> ErrorClass {
    let lower = message.to_ascii_lowercase();
    match status {
        StatusCode::NOT_FOUND => ErrorClass::NotFound,
        StatusCode::CONFLICT if lower.contains("already exists") => ErrorClass::Conflict,
        StatusCode::CONFLICT => ErrorClass::Transient,
        // A follower wraps the leader's 404 in its own 500.
        s if s.is_server_error() && lower.contains("not found") => ErrorClass::NotFound,
        s if s.is_server_error() && is_config_npe(message) => ErrorClass::Invalid,
        s if s.is_server_error() => ErrorClass::Transient,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => ErrorClass::Transient,
        // Stopping is asynchronous: offsets asked for right after it meet this.
        StatusCode::BAD_REQUEST if lower.contains("must be in the stopped state") => ErrorClass::Transient,
        _ => ErrorClass::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("status"),
            json: body.starts_with('{'),
            body: body.as_bytes().to_vec(),
        }
    }

    fn class(status: u16, body: &str) -> ErrorClass {
        reply(status, body)
            .check("x", &Redactor::default())
            .expect_err("failure")
            .class
    }

    #[test]
    fn html_is_a_starting_worker_never_an_absence() {
        assert_eq!(class(404, "<html>Not Found</html>"), ErrorClass::Unreachable);
        assert_eq!(class(404, ""), ErrorClass::Unreachable);
        assert_eq!(
            class(
                404,
                r#"{"error_code":404,"message":"No status found for connector x"}"#
            ),
            ErrorClass::NotFound
        );
        assert!(
            reply(200, "<html>")
                .parse::<serde_json::Value>("x", &Redactor::default())
                .is_err()
        );
    }

    #[test]
    fn rebalances_pass_conflicts_and_invalid_configurations_do_not() {
        let rebalance =
            r#"{"error_code":409,"message":"Request cannot be completed because a rebalance is expected"}"#;
        let exists = r#"{"error_code":409,"message":"Connector acme already exists"}"#;
        let npe = r#"{"error_code":500,"message":"Cannot invoke \"ConfigValueInfo.errors()\" because the return value of \"ConfigInfo.configValue()\" is null"}"#;
        let forwarded = r#"{"error_code":500,"message":"Connector acme not found"}"#;
        assert_eq!(class(409, rebalance), ErrorClass::Transient);
        assert_eq!(class(409, exists), ErrorClass::Conflict);
        assert_eq!(class(500, npe), ErrorClass::Invalid);
        assert_eq!(class(500, forwarded), ErrorClass::NotFound);
        assert_eq!(
            class(500, r#"{"message":"IO Error trying to forward REST request"}"#),
            ErrorClass::Transient
        );
        let running = r#"{"error_code":400,"message":"Connectors must be in the STOPPED state before their offsets can be modified."}"#;
        assert_eq!(class(400, running), ErrorClass::Transient);
        assert_eq!(class(401, ""), ErrorClass::AuthenticationFailed);
        assert_eq!(class(400, r#"{"message":"bad"}"#), ErrorClass::Invalid);
    }

    #[test]
    fn an_echoed_connection_string_is_masked() {
        let body = r#"{"message":"bad value mongodb://u:secret@h/ for mongodb.connection.string"}"#;
        let e = reply(400, body)
            .check("x", &Redactor::default())
            .expect_err("failure");
        assert!(!e.to_string().contains("secret"), "{e}");
    }
}
