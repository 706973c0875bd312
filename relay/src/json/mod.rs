//! A cursor over JSON text: no document, no allocation, and lenient about what Debezium writes.
//!
//! `after` of a MongoDB event is a string of Extended JSON in which `NaN` and `Infinity` appear bare, so no strict parser
//! reads it; and the relay needs a dozen fields of a document once, so a tree of the whole would be thrown away.

mod cursor;
mod escape;
mod search;

use std::borrow::Cow;

pub use cursor::Cursor;
pub use escape::{unescape, write_escaped, write_int, write_string};
pub(crate) use search::{end_of_quoted, find, find2, natural};

/// Deepest nesting followed. BSON itself stops at 100 levels in MongoDB; text beyond it did not come from there.
pub const MAX_DEPTH: usize = 200;

/// Where and why a text could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    pub what: &'static str,
    pub at: usize,
}

/// A string literal as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStr<'a> {
    pub raw: &'a [u8],
    /// Whether `raw` contains a backslash; without one it is the value itself.
    pub escaped: bool,
}

impl<'a> RawStr<'a> {
    /// The value, borrowed when nothing had to be unescaped.
    pub fn value(&self) -> Result<Cow<'a, [u8]>, JsonError> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut out = Vec::with_capacity(self.raw.len());
        unescape(self.raw, &mut out)?;
        Ok(Cow::Owned(out))
    }
}

/// One look at the next value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    /// `NaN`, `Infinity`, `-Infinity`: not JSON, but what Debezium writes for such doubles.
    NonFinite,
    True,
    False,
    Null,
}

/// JSON text as it lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text<'a> {
    bytes: &'a [u8],
    quoted: bool,
}

impl<'a> Text<'a> {
    pub fn plain(bytes: &'a [u8]) -> Self {
        Self { bytes, quoted: false }
    }

    /// The inside of a string literal that holds JSON, not unescaped: every quote is `\"`. The caller has made sure that it
    /// has no other escape, so its strings stand there as they are. Nearly every `after` is such a text, and reading it in
    /// place spares a copy with a stop at each quote.
    pub fn quoted(bytes: &'a [u8]) -> Self {
        Self { bytes, quoted: true }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes as they lie, quotes escaped or not.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Plain JSON, for readers other than [`Cursor`].
    pub fn to_plain(self) -> Cow<'a, [u8]> {
        if !self.quoted {
            return Cow::Borrowed(self.bytes);
        }
        Cow::Owned(self.bytes.iter().copied().filter(|byte| *byte != b'\\').collect())
    }
}

/// A member's name with its colon, as it stands in either kind of text.
#[derive(Clone, Debug)]
pub struct Literal {
    plain: Box<[u8]>,
    quoted: Box<[u8]>,
}

impl Literal {
    #[inline]
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    #[inline]
    pub fn quoted(&self) -> &[u8] {
        &self.quoted
    }

    /// `None`: the name needs escapes, so there is no one way to write it.
    pub fn of_name(name: &str) -> Option<Self> {
        let simple = name
            .bytes()
            .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        simple.then(|| Self {
            plain: format!("\"{name}\":").into_bytes().into(),
            quoted: format!("\\\"{name}\\\":").into_bytes().into(),
        })
    }
}

#[cfg(test)]
mod tests;
