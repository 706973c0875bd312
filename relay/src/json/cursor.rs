//! The cursor itself: tokens, and values skipped.

use super::escape::unescape_one;
use super::search::{end_of_quoted, find, find2, flat};
use super::{JsonError, Kind, Literal, MAX_DEPTH, RawStr, Text};

#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Quotes are `\"`; see [`Text::quoted`].
    quoted: bool,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self::over(Text::plain(text))
    }

    pub fn over(text: Text<'a>) -> Self {
        Self {
            text: text.bytes,
            at: 0,
            quoted: text.quoted,
        }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// The text between two positions of this cursor.
    pub fn slice(&self, from: usize, to: usize) -> Text<'a> {
        Text {
            bytes: &self.text[from..to],
            quoted: self.quoted,
        }
    }

    /// What has not been consumed yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Whether quotes are `\"`.
    #[inline]
    pub fn quoted(&self) -> bool {
        self.quoted
    }

    /// Consumes bytes of [`Cursor::rest`] that the caller has read itself.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.at += bytes;
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
            b'\\' if self.quoted => Kind::String,
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
        if self.quoted {
            return self.quoted_string();
        }
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        let rest = &self.text[start..];
        let mut end = find2(rest, b'"', b'\\');
        let mut escaped = false;
        while rest.get(end) == Some(&b'\\') {
            escaped = true;
            let next = (end + 2).min(rest.len());
            end = next + find2(&rest[next..], b'"', b'\\');
        }
        if end >= rest.len() {
            self.at = self.text.len();
            return self.fail("unterminated string");
        }
        self.at = start + end + 1;
        Ok(RawStr {
            raw: &rest[..end],
            escaped,
        })
    }

    #[inline]
    fn quoted_string(&mut self) -> Result<RawStr<'a>, JsonError> {
        self.expect(b'\\', "expected a string")?;
        self.expect(b'"', "expected a string")?;
        let rest = &self.text[self.at..];
        let end = find(rest, b'\\');
        if rest.get(end + 1) != Some(&b'"') {
            self.at = self.text.len();
            return self.fail("unterminated string");
        }
        self.at += end + 2;
        Ok(RawStr {
            raw: &rest[..end],
            escaped: false,
        })
    }

    /// The inside of a string literal that holds JSON, in place; `None`: it has escapes other than quotes (nothing is
    /// consumed then). The cursor's own text is plain.
    pub fn string_of_json(&mut self) -> Result<Option<Text<'a>>, JsonError> {
        let before = self.at;
        self.expect(b'"', "expected a string")?;
        let rest = &self.text[self.at..];
        if let Some(end) = end_of_quoted(rest) {
            self.at += end + 1;
            return Ok(Some(Text::quoted(&rest[..end])));
        }
        self.at = before;
        Ok(None)
    }

    /// A string literal, unescaped into `out` in the same pass that finds its end.
    pub fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        self.expect(b'"', "expected a string")?;
        let rest = &self.text[self.at..];
        let mut i = 0;
        loop {
            let tail = rest.get(i..).unwrap_or_default();
            let hit = find2(tail, b'"', b'\\');
            if hit == tail.len() {
                self.at = self.text.len();
                return self.fail("unterminated string");
            }
            out.extend_from_slice(&tail[..hit]);
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
                b'\\' if self.quoted => {
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

    /// Consumes `literal` when the text goes on with it: the name a document's author wrote last time, as a rule.
    #[inline]
    pub fn take(&mut self, literal: &Literal) -> bool {
        let bytes = if self.quoted {
            &literal.quoted
        } else {
            &literal.plain
        };
        let goes_on = self.text[self.at..].starts_with(bytes);
        if goes_on {
            self.at += bytes.len();
        }
        goes_on
    }

    /// Skips what is left of the object whose member was read last, its end included. Looks for its end only: scalars on the
    /// way are not checked.
    pub fn skip_rest_of_object(&mut self) -> Result<(), JsonError> {
        // Nearly always a flat object without escapes: then its end is the first brace with an even number of quotes before it.
        let rest = &self.text[self.at..];
        if let Some(end) = memchr::memchr(b'}', rest).filter(|_| !self.quoted) {
            let inside = &rest[..end];
            if flat(inside) {
                self.at += end + 1;
                return Ok(());
            }
        }
        let mut depth = 1usize;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'\\') if self.quoted => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
                None => return self.fail("unexpected end"),
            }
            self.at += 1;
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
