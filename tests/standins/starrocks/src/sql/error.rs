//! Errors with the codes MySQL clients look at.

use super::parse::ParseError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 1064: syntax and most analysis errors.
    Parse,
    /// 1046
    NoDatabase,
    /// 1049
    BadDatabase,
    /// 1007
    DatabaseExists,
    /// 1008
    DropDatabase,
    /// 1050
    TableExists,
    /// 1051 for DROP, 1146 elsewhere.
    BadTable,
    NoSuchTable,
    /// 1060
    DuplicateColumn,
    /// 5203: what the grants do not allow.
    AccessDenied,
    /// 1105
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    pub code: ErrorCode,
    pub message: String,
}

impl SqlError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// What the analyzer refuses.
    pub fn analysis(detail: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorCode::Parse,
            format!(
                "Getting analyzing error. Detail message: {}.",
                detail.to_string().trim_end_matches('.')
            ),
        )
    }

    /// What running a statement refuses: the text alone.
    pub fn ddl(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Parse, message)
    }

    pub fn unknown_table(db: &str, table: &str) -> Self {
        Self::new(
            ErrorCode::NoSuchTable,
            format!("Getting analyzing error. Detail message: Unknown table '{db}.{table}'."),
        )
    }

    pub fn unknown_database(db: &str) -> Self {
        Self::new(
            ErrorCode::BadDatabase,
            format!("Getting analyzing error. Detail message: Unknown database '{db}'."),
        )
    }

    pub fn no_database() -> Self {
        Self::new(
            ErrorCode::NoDatabase,
            "Getting analyzing error. Detail message: No database selected.",
        )
    }

    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Unknown, error.to_string())
    }
}

impl From<ParseError> for SqlError {
    fn from(error: ParseError) -> Self {
        Self::new(ErrorCode::Parse, error.to_string())
    }
}

impl From<super::lex::SyntaxError> for SqlError {
    fn from(error: super::lex::SyntaxError) -> Self {
        Self::new(ErrorCode::Parse, error.to_string())
    }
}
