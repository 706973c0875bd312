//! Escapes, there and back.

use super::JsonError;

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
pub(super) fn unescape_one(text: &[u8], i: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
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
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if !text.iter().any(special) {
        return out.extend_from_slice(text);
    }
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
