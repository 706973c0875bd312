//! What an error of the MySQL protocol means to a controller.

use mysql_async::{DriverError, Error, ServerError};

use crate::backend::{Backend, BackendError, ErrorClass, Redactor};

pub(super) fn backend_error(operation: &str, error: &Error, redactor: &Redactor) -> BackendError {
    let (class, text) = match error {
        Error::Server(server) => (class_of(server), server.message.clone()),
        Error::Io(io) => (ErrorClass::Unreachable, io.to_string()),
        Error::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
            (ErrorClass::Unreachable, "the connection was closed".to_owned())
        }
        Error::Driver(driver) => (ErrorClass::Transient, driver.to_string()),
        Error::Url(_) => (ErrorClass::Invalid, "the endpoint is not host:port".to_owned()),
        Error::Other(_) => (ErrorClass::Transient, error.to_string()),
    };
    BackendError::new(Backend::StarRocks, class, operation, redactor.redact(&text))
}

/// StarRocks uses MySQL's codes for the common errors and 1064 for most others, so the text decides there.
fn class_of(error: &ServerError) -> ErrorClass {
    match error.code {
        1045 | 1524 | 1862 => ErrorClass::AuthenticationFailed,
        1044 | 1142 | 1227 | 5203 => ErrorClass::NotAuthorized,
        1049 | 1051 | 1109 | 1146 | 5501 | 5502 => ErrorClass::NotFound,
        1007 | 1050 => ErrorClass::Conflict,
        1040 | 1203 | 1226 => ErrorClass::Transient,
        _ => by_text(&error.message),
    }
}

fn by_text(message: &str) -> ErrorClass {
    let lower = message.to_ascii_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|n| lower.contains(n));
    if has(&[
        "access denied for user",
        "authenticate failed",
        "authentication failed",
    ]) && !has(&["you need"])
    {
        ErrorClass::AuthenticationFailed
    } else if has(&["access denied", "you need"]) {
        ErrorClass::NotAuthorized
    } else if has(&[
        "schema change operation is in progress",
        "table state",
        "failed to find enough hosts",
        "failed to find enough host",
        "no alive backend",
        "backend node not found",
        "not ready",
        "timeout",
        "timed out",
        "try again",
        "has ingestion during",
    ]) {
        ErrorClass::Transient
    } else if has(&["already exists"]) {
        ErrorClass::Conflict
    } else if has(&["unknown database", "unknown table", "does not exist"]) {
        ErrorClass::NotFound
    } else {
        ErrorClass::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: u16, message: &str) -> ErrorClass {
        class_of(&ServerError {
            code,
            message: message.into(),
            state: "HY000".into(),
        })
    }

    #[test]
    fn codes_and_texts_are_told_apart() {
        assert_eq!(
            class(1045, "Access denied for user 'x'"),
            ErrorClass::AuthenticationFailed
        );
        assert_eq!(
            class(
                1064,
                "Access denied; you need (at least one of) the CREATE TABLE privilege(s)"
            ),
            ErrorClass::NotAuthorized
        );
        assert_eq!(
            class(1064, "A schema change operation is in progress on the table t"),
            ErrorClass::Transient
        );
        assert_eq!(
            class(1064, "Authenticate failed, user: root"),
            ErrorClass::AuthenticationFailed
        );
        assert_eq!(class(1050, "Table 't' already exists"), ErrorClass::Conflict);
        assert_eq!(class(5502, "Unknown table 'a.t'"), ErrorClass::NotFound);
        assert_eq!(
            class(1064, "Getting syntax error at line 1, column 3"),
            ErrorClass::Invalid
        );
    }
}
