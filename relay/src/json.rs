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
            let nested = memchr::memchr3(b'{', b'[', b'\\', inside).is_some();
            if !nested && memchr::memchr_iter(b'"', inside).count().is_multiple_of(2) {
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

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// The high bit of every byte that is zero; bits above the first such byte may be wrong.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The high bit of every byte that equals `byte`, exactly.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * u64::from(byte));
    !(((differs & !HIGHS) + !HIGHS) | differs) & HIGHS
}

/// Where the first quote without a backslash before it stands, if every backslash before it stands before a quote.
///
/// Eight bytes at a time: such a text has an escape every seven bytes or so, and a search would stop at each.
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let (words, _) = text.as_chunks::<8>();
    // The backslash that ends a word escapes the first byte of the next.
    let mut carry = 0;
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = equal(word, b'"');
        let backslashes = equal(word, b'\\');
        let escaped = (backslashes << 8) | carry;
        if quotes != escaped {
            let odd = quotes ^ escaped;
            let at = odd.trailing_zeros() / 8;
            // The first disagreement is the end, or another escape than a quote's.
            return ((quotes >> (at * 8 + 7)) & 1 == 1).then_some(i * 8 + at as usize);
        }
        carry = backslashes >> 56;
    }
    let mut escaped = carry != 0;
    for (i, byte) in text.iter().enumerate().skip(words.len() * 8) {
        match byte {
            b'"' if escaped => escaped = false,
            b'"' => return Some(i),
            _ if escaped => return None,
            b'\\' => escaped = true,
            _ => {}
        }
    }
    None
}

/// Where a byte first stands, or the length. Names and most values are short: eight bytes at a time without the set-up of a
/// vector search, which takes over for the long ones.
#[inline]
fn find(text: &[u8], byte: u8) -> usize {
    search(
        text,
        |word| zeros(word ^ (ONES * u64::from(byte))),
        |b| b == byte,
        |tail| memchr::memchr(byte, tail),
    )
}

#[inline]
fn find2(text: &[u8], one: u8, two: u8) -> usize {
    search(
        text,
        |word| zeros(word ^ (ONES * u64::from(one))) | zeros(word ^ (ONES * u64::from(two))),
        |b| b == one || b == two,
        |tail| memchr::memchr2(one, two, tail),
    )
}

#[inline(always)]
fn search(
    text: &[u8],
    hits: impl Fn(u64) -> u64,
    hit: impl Fn(u8) -> bool,
    long: impl Fn(&[u8]) -> Option<usize>,
) -> usize {
    const SHORT: usize = 32;
    let (words, _) = text.as_chunks::<8>();
    for (i, word) in words.iter().take(SHORT / 8).enumerate() {
        let found = hits(u64::from_le_bytes(*word));
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let done = (words.len() * 8).min(SHORT);
    let rest = &text[done..];
    if rest.len() < 8 {
        return done + rest.iter().position(|b| hit(*b)).unwrap_or(rest.len());
    }
    done + long(rest).unwrap_or(rest.len())
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
    fn a_document_with_other_escapes_is_not_read_in_place() {
        for document in [r#"{"a":"x\"y"}"#, r#"{"a":"tab\t"}"#, r#"{"a":"\\"}"#] {
            let literal = serde_json::to_string(document).unwrap();
            assert_eq!(Cursor::new(literal.as_bytes()).string_of_json(), Ok(None));
        }
        assert_eq!(Cursor::new(br#""{\"a\":1}"#).string_of_json(), Ok(None), "no end");
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

        /// What a quoted text says is what its plain form says, token by token.
        #[test]
        fn a_document_reads_the_same_in_place(names in proptest::collection::vec("[^\"\\\\\u{0}-\u{1f}]{0,40}", 1..6), number in any::<i64>()) {
            let fields: Vec<String> = names.iter().map(|n| format!("\"{n}\": {{\"{n}\":[\"{n}\",{number}]}}")).collect();
            let document = format!("{{{}}}", fields.join(","));
            let literal = serde_json::to_string(&document).unwrap();
            let mut outer = Cursor::new(literal.as_bytes());
            let text = outer.string_of_json().unwrap().expect("no escapes but quotes");
            prop_assert!(outer.end().is_ok());
            prop_assert_eq!(&text.to_plain()[..], document.as_bytes());
            let (mut here, mut plain) = (Cursor::over(text), Cursor::new(document.as_bytes()));
            prop_assert!(here.open_object().unwrap() && plain.open_object().unwrap());
            loop {
                prop_assert_eq!(here.name().unwrap(), plain.name().unwrap());
                here.skip().unwrap();
                plain.skip().unwrap();
                let more = here.next_member().unwrap();
                prop_assert_eq!(more, plain.next_member().unwrap());
                if !more { break; }
            }
            prop_assert!(here.end().is_ok());
        }

        #[test]
        fn searches_find_what_a_loop_finds(text in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>(), Just(b'a')], 0..80)) {
            let naive = |wanted: &[u8]| text.iter().position(|b| wanted.contains(b)).unwrap_or(text.len());
            prop_assert_eq!(find(&text, b'"'), naive(b"\""));
            prop_assert_eq!(find2(&text, b'"', b'\\'), naive(b"\"\\"));
        }

        /// Against the naive reading, byte by byte.
        #[test]
        fn the_end_of_a_quoted_text_is_found(text in proptest::collection::vec(prop_oneof![Just(b"\\\"".to_vec()), Just(b"a".to_vec()), Just(b"\\".to_vec()), Just(b"\"".to_vec()), Just(vec![0x80])], 0..40)) {
            let text = text.concat();
            let mut naive = None;
            let mut i = 0;
            while i < text.len() {
                match (text[i], text.get(i + 1)) {
                    (b'\\', Some(b'"')) => i += 2,
                    (b'\\', _) => break,
                    (b'"', _) => { naive = Some(i); break; }
                    _ => i += 1,
                }
            }
            prop_assert_eq!(end_of_quoted(&text), naive);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Cursor::new(&bytes).skip();
            let _ = Cursor::new(&bytes).string();
            let _ = Cursor::new(&bytes).string_into(&mut Vec::new());
            let _ = Cursor::new(&bytes).string_of_json();
            let _ = Cursor::over(Text::quoted(&bytes)).skip();
        }
    }
}
