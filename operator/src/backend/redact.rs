//! Keeps secrets out of errors, conditions, events and logs. Servers echo what they were given (Connect's validation
//! repeats a connection string), so every text from outside passes here before it is stored or shown.

use std::fmt;
use std::sync::LazyLock;

use regex::{Captures, Regex};

const MASK: &str = "***";

/// Credentials inside a URI: everything between `//` and the last `@` before the path.
static USER_INFO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/?\s]*@").ok());
/// `password=…`, `"token": "…"` and friends, in query strings, properties and JSON.
static KEY_VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?P<key>\b[a-z0-9_.-]*(?:password|passwd|secret|token|credential|authmechanismproperties)["']?\s*[=:]\s*)(?P<value>"[^"]*"|'[^']*'|[^\s,;&})]+)"#,
    )
    .ok()
});
/// `IDENTIFIED BY '…'`: StarRocks repeats the statement in a syntax error.
static IDENTIFIED_BY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?i)(?P<key>identified\s+by\s+(?:password\s+)?)(?:'[^']*'|"[^"]*")"#).ok()
});

/// Masks known secret values wherever they appear, and whatever looks like a credential.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// Values shorter than four characters are ignored: masking `a` would mangle every sentence.
    pub fn new<I, S>(secrets: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut secrets: Vec<String> = secrets
            .into_iter()
            .map(Into::into)
            .filter(|s: &String| s.len() >= 4)
            .collect();
        // The longest first, so that a secret containing another is masked whole.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Self { secrets }
    }

    /// A redactor that knows these secrets too.
    pub fn with<I, S>(&self, more: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self::new(
            self.secrets
                .iter()
                .cloned()
                .chain(more.into_iter().map(Into::into)),
        )
    }

    /// The text without secrets, on one line: for messages.
    pub fn redact(&self, text: &str) -> String {
        let masked = self.mask(text);
        masked.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The text without secrets, its lines kept: for stack traces, which are read by line.
    pub fn mask(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in &self.secrets {
            out = out.replace(secret.as_str(), MASK);
        }
        if let Some(pattern) = USER_INFO.as_ref() {
            out = pattern
                .replace_all(&out, |c: &Captures<'_>| format!("{}{MASK}@", &c["scheme"]))
                .into_owned();
        }
        for pattern in [KEY_VALUE.as_ref(), IDENTIFIED_BY.as_ref()].into_iter().flatten() {
            out = pattern
                .replace_all(&out, |c: &Captures<'_>| format!("{}{MASK}", &c["key"]))
                .into_owned();
        }
        out
    }
}

/// Never prints what it hides.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(USER_INFO.is_some() && KEY_VALUE.is_some() && IDENTIFIED_BY.is_some());
    }

    #[test]
    fn credentials_are_masked_in_uris_properties_and_statements() {
        let r = Redactor::default();
        assert_eq!(
            r.redact("cannot reach mongodb://user:p@ss@host:27017/db?x=1"),
            "cannot reach mongodb://***@host:27017/db?x=1"
        );
        assert_eq!(
            r.redact("mongodb.password = hunter22, next"),
            "mongodb.password = ***, next"
        );
        assert_eq!(
            r.redact(r#"{"sasl.password":"hunter22","a":1}"#),
            r#"{"sasl.password":***,"a":1}"#
        );
        assert_eq!(
            r.redact("near 'CREATE USER x IDENTIFIED BY 'hunter22''"),
            "near 'CREATE USER x IDENTIFIED BY ***'"
        );
    }

    #[test]
    fn known_values_are_masked_anywhere_and_debug_shows_none() {
        let r = Redactor::new(["hunter22", "ab", "hunter22-longer"]);
        assert_eq!(
            r.redact("got hunter22-longer and\n hunter22, ab"),
            "got *** and ***, ab"
        );
        assert_eq!(format!("{r:?}"), "Redactor(2 secrets)");
    }
}
