//! A cursor over JSON text: no document, no allocation, and lenient about what Debezium writes.
//!
//! `after` of a MongoDB event is a string of Extended JSON in which `NaN` and `Infinity` appear bare, so no strict parser
//! reads it; and the relay needs a dozen fields of a document once, so a tree of the whole would be thrown away.

use std::borrow::Cow;

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

#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// The text between two positions of this cursor.
    pub fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        &self.text[from..to]
    }

    pub fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { what, at: self.at })
    }

    /// Next byte that is not white space, not consumed.
    #[inline]
    pub fn peek(&mut self) -> Result<u8, JsonError> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return self.fail("unexpected end"),
            }
        }
    }

    #[inline]
    pub fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek()? == byte {
            self.at += 1;
            Ok(())
        } else {
            self.fail(what)
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => self.fail("text after the value"),
        }
    }

    #[inline]
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        Ok(match self.peek()? {
            b'"' => Kind::String,
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'-' if self.text.get(self.at + 1) == Some(&b'I') => Kind::NonFinite,
            b'-' | b'0'..=b'9' => Kind::Number,
            b't' => Kind::True,
            b'f' => Kind::False,
            b'n' => Kind::Null,
            b'N' | b'I' => Kind::NonFinite,
            _ => return self.fail("not the start of a value"),
        })
    }

    /// A string literal; the cursor stands at its opening quote (or white space before it).
    #[inline]
    pub fn string(&mut self) -> Result<RawStr<'a>, JsonError> {
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        let rest = &self.text[start..];
        // Names and most values are short: a byte loop beats the set-up of a vector search.
        for (i, &byte) in rest.iter().take(24).enumerate() {
            if byte == b'"' {
                self.at = start + i + 1;
                return Ok(RawStr {
                    raw: &rest[..i],
                    escaped: false,
                });
            }
            if byte == b'\\' {
                return self.string_tail(start, i);
            }
        }
        self.string_tail(start, rest.len().min(24))
    }

    fn string_tail(&mut self, start: usize, mut i: usize) -> Result<RawStr<'a>, JsonError> {
        let rest = &self.text[start..];
        let mut escaped = false;
        while let Some(hit) = rest.get(i..).and_then(|tail| memchr::memchr2(b'"', b'\\', tail)) {
            i += hit;
            if rest[i] == b'"' {
                self.at = start + i + 1;
                return Ok(RawStr {
                    raw: &rest[..i],
                    escaped,
                });
            }
            escaped = true;
            i += 2;
        }
        self.at = self.text.len();
        self.fail("unterminated string")
    }

    /// A string literal, unescaped into `out` in the same pass that finds its end.
    pub fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        self.expect(b'"', "expected a string")?;
        let rest = &self.text[self.at..];
        let mut i = 0;
        loop {
            let Some(hit) = rest.get(i..).and_then(|tail| memchr::memchr2(b'"', b'\\', tail)) else {
                self.at = self.text.len();
                return self.fail("unterminated string");
            };
            out.extend_from_slice(&rest[i..i + hit]);
            i += hit;
            if rest[i] == b'"' {
                self.at += i + 1;
                return Ok(());
            }
            match unescape_one(rest, i, out) {
                Ok(next) => i = next,
                Err(error) => {
                    return Err(JsonError {
                        at: self.at + error.at,
                        ..error
                    });
                }
            }
        }
    }

    /// Text of a number; `true` when it has a fraction or an exponent.
    #[inline]
    pub fn number(&mut self) -> Result<(&'a [u8], bool), JsonError> {
        self.peek()?;
        let start = self.at;
        self.at += usize::from(self.text[start] == b'-');
        self.digits()?;
        let mut fractional = false;
        if self.text.get(self.at) == Some(&b'.') {
            fractional = true;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            fractional = true;
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok((&self.text[start..self.at], fractional))
    }

    #[inline]
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            self.fail("malformed number")
        } else {
            Ok(())
        }
    }

    #[inline]
    pub fn literal(&mut self, word: &'static [u8]) -> Result<(), JsonError> {
        self.peek()?;
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail("unknown word")
        }
    }

    /// `NaN`, `Infinity` or `-Infinity`, as its text.
    pub fn non_finite(&mut self) -> Result<&'static str, JsonError> {
        self.peek()?;
        for word in ["NaN", "Infinity", "-Infinity"] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
        }
        self.fail("unknown word")
    }

    /// Skips a value of any kind. Iterative: its cost and its stack do not depend on what a document contains.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return self.fail("nested too deeply");
                    }
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    if depth == 0 {
                        return self.fail("unexpected bracket");
                    }
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.skip_scalar()?,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), JsonError> {
        match self.kind()? {
            Kind::Number => self.number().map(drop),
            Kind::True => self.literal(b"true"),
            Kind::False => self.literal(b"false"),
            Kind::Null => self.literal(b"null"),
            Kind::NonFinite => self.non_finite().map(drop),
            Kind::String | Kind::Object | Kind::Array => self.fail("not a scalar"),
        }
    }

    /// Opens an object; `false` when it is empty (and consumed).
    #[inline]
    pub fn open_object(&mut self) -> Result<bool, JsonError> {
        self.expect(b'{', "expected an object")?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// A member's name and its colon.
    #[inline]
    pub fn name(&mut self) -> Result<RawStr<'a>, JsonError> {
        let name = self.string()?;
        self.expect(b':', "expected ':'")?;
        Ok(name)
    }

    /// After a member: `true` when another follows, `false` when the object ended.
    #[inline]
    pub fn next_member(&mut self) -> Result<bool, JsonError> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            b'}' => {
                self.at += 1;
                Ok(false)
            }
            _ => self.fail("expected ',' or '}'"),
        }
    }

    pub fn open_array(&mut self) -> Result<bool, JsonError> {
        self.expect(b'[', "expected an array")?;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    pub fn next_element(&mut self) -> Result<bool, JsonError> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            b']' => {
                self.at += 1;
                Ok(false)
            }
            _ => self.fail("expected ',' or ']'"),
        }
    }
}

/// Appends the value of a string literal's inside to `out`.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut i = 0;
    while let Some(hit) = memchr::memchr(b'\\', &raw[i..]) {
        out.extend_from_slice(&raw[i..i + hit]);
        i = unescape_one(raw, i + hit, out)?;
    }
    out.extend_from_slice(&raw[i..]);
    Ok(())
}

/// Decodes the escape at `text[i] == '\\'`; answers where the text goes on.
#[inline]
fn unescape_one(text: &[u8], i: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
    let byte = match text.get(i + 1) {
        Some(b'"') => b'"',
        Some(b'\\') => b'\\',
        Some(b'/') => b'/',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unescape_unicode(text, i, out),
        _ => {
            return Err(JsonError {
                what: "unknown escape",
                at: i,
            });
        }
    };
    out.push(byte);
    Ok(i + 2)
}

#[cold]
fn unescape_unicode(text: &[u8], i: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
    let bad = |what| JsonError { what, at: i };
    let unit = |at: usize| -> Option<u32> {
        let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = unit(i + 2).ok_or(bad("malformed \\u escape"))?;
    let (code, next) = match first {
        0xD800..=0xDBFF => {
            let second = (text.get(i + 6..i + 8) == Some(b"\\u"))
                .then(|| unit(i + 8))
                .flatten();
            match second {
                Some(low @ 0xDC00..=0xDFFF) => (0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00), i + 12),
                _ => return Err(bad("lone surrogate")),
            }
        }
        code => (code, i + 6),
    };
    let c = char::from_u32(code).ok_or(bad("lone surrogate"))?;
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(next)
}

/// Appends `text` as a JSON string literal, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends `text` escaped for the inside of a JSON string literal.
pub fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// Appends a decimal integer.
#[inline]
pub fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn skips_what_debezium_writes() {
        let text = br#"{"a": NaN,"b": [-Infinity, {"c": "x\"}"}],"d": Infinity} ,"#;
        let mut cursor = Cursor::new(text);
        cursor.skip().unwrap();
        assert_eq!(cursor.peek().unwrap(), b',');
    }

    #[test]
    fn surrogate_pairs_become_characters_and_lone_ones_an_error() {
        let mut out = Vec::new();
        unescape(br"h\u00e9 \ud83d\ude00", &mut out).unwrap();
        assert_eq!(out, "hé 😀".as_bytes());
        assert!(unescape(br"\ud83d", &mut out).is_err());
        assert!(unescape(br"\u12", &mut out).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let text = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(
            Cursor::new(text.as_bytes()).skip().unwrap_err().what,
            "nested too deeply"
        );
    }

    proptest! {
        #[test]
        fn strings_survive_a_round_trip(text in "\\PC*|[\"\\\\\n\t\u{1}]{0,20}") {
            let mut literal = Vec::new();
            write_string(&text, &mut literal);
            prop_assert_eq!(&serde_json::from_slice::<String>(&literal).unwrap(), &text);
            let mut out = Vec::new();
            Cursor::new(&literal).string_into(&mut out).unwrap();
            prop_assert_eq!(out, text.as_bytes());
            let raw = Cursor::new(&literal).string().unwrap();
            prop_assert_eq!(raw.value().unwrap().into_owned(), text.as_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Cursor::new(&bytes).skip();
            let _ = Cursor::new(&bytes).string();
            let _ = Cursor::new(&bytes).string_into(&mut Vec::new());
        }
    }
}
