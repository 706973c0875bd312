//! BSON values as Extended JSON writes them: version 1 (`after`), version 2 relaxed and canonical (keys), bare `NaN`.

use crate::envelope::parse_i64;
use crate::json::{Cursor, JsonError, Kind, MAX_DEPTH, RawStr, Text, write_int};
use crate::shape::time;

/// One value. Scalars are consumed; at an object or array the cursor stays in front of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Bson<'a> {
    Null,
    Bool(bool),
    /// An integer's text: int32 in `after`, either width in a key.
    Int(&'a [u8]),
    Long(&'a [u8]),
    /// A finite double's text.
    Double(&'a [u8]),
    NonFinite(&'static str),
    Decimal(&'a [u8]),
    Str(RawStr<'a>),
    ObjectId(&'a [u8]),
    /// Milliseconds since 1970.
    Date(i64),
    Binary {
        base64: &'a [u8],
        subtype: u8,
    },
    Uuid(&'a [u8]),
    Timestamp {
        t: u32,
        i: u32,
    },
    Regex {
        pattern: RawStr<'a>,
        options: RawStr<'a>,
    },
    Code(RawStr<'a>),
    Symbol(RawStr<'a>),
    MinKey,
    MaxKey,
    Undefined,
    Object,
    Array,
}

impl Bson<'_> {
    /// MongoDB's `$type` alias: the word in `_extra` and in messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Double(_) | Self::NonFinite(_) => "double",
            Self::Decimal(_) => "decimal",
            Self::Str(_) => "string",
            Self::ObjectId(_) => "objectId",
            Self::Date(_) => "date",
            Self::Binary { .. } | Self::Uuid(_) => "binData",
            Self::Timestamp { .. } => "timestamp",
            Self::Regex { .. } => "regex",
            Self::Code(_) => "javascript",
            Self::Symbol(_) => "symbol",
            Self::MinKey => "minKey",
            Self::MaxKey => "maxKey",
            Self::Undefined => "undefined",
            Self::Object => "object",
            Self::Array => "array",
        }
    }
}

/// Reads the next value.
#[inline]
pub fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Bson<'a>, JsonError> {
    Ok(match cursor.kind()? {
        Kind::String => Bson::Str(cursor.string()?),
        Kind::Number => match cursor.number()? {
            (text, true) => Bson::Double(text),
            (text, false) => Bson::Int(text),
        },
        Kind::Object => {
            let start = cursor.at();
            match wrapped(cursor)? {
                Some(value) => value,
                None => {
                    cursor.seek(start);
                    Bson::Object
                }
            }
        }
        Kind::Array => Bson::Array,
        Kind::True => cursor.literal(b"true").map(|()| Bson::Bool(true))?,
        Kind::False => cursor.literal(b"false").map(|()| Bson::Bool(false))?,
        Kind::Null => cursor.literal(b"null").map(|()| Bson::Null)?,
        Kind::NonFinite => Bson::NonFinite(cursor.non_finite()?),
    })
}

/// `{"$oid": …}` and its kind. `None`: an ordinary object (also one whose user named a field `$x`); the cursor is anywhere.
fn wrapped<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Bson<'a>>, JsonError> {
    if !cursor.open_object()? {
        return Ok(None);
    }
    let first = cursor.name()?;
    if first.raw.first() != Some(&b'$') || first.escaped {
        return Ok(None);
    }
    let value = Part::read(cursor)?;
    if !cursor.next_member()? {
        return Ok(single(first.raw, value));
    }
    let second = cursor.name()?;
    let second_value = Part::read(cursor)?;
    if cursor.next_member()? {
        return Ok(None);
    }
    Ok(match (first.raw, value, second.raw, second_value) {
        (b"$binary", Part::Str(data), b"$type", Part::Str(subtype)) => binary(data, subtype),
        (b"$regex", Part::Str(pattern), b"$options", Part::Str(options)) => {
            Some(Bson::Regex { pattern, options })
        }
        _ => None,
    })
}

/// 24 hexadecimal digits.
#[inline]
pub(crate) fn is_object_id(text: &[u8]) -> bool {
    // No early end: so the compiler makes vector instructions of it.
    <&[u8; 24]>::try_from(text)
        .is_ok_and(|hex| hex.iter().fold(true, |all, byte| all & byte.is_ascii_hexdigit()))
}

/// The value of one `$…` member.
enum Part<'a> {
    Str(RawStr<'a>),
    /// Text of any other value.
    Other(Text<'a>),
}

impl<'a> Part<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        if cursor.kind()? == Kind::String {
            return Ok(Self::Str(cursor.string()?));
        }
        let start = cursor.at();
        cursor.skip()?;
        Ok(Self::Other(cursor.slice(start, cursor.at())))
    }
}

fn single<'a>(name: &[u8], value: Part<'a>) -> Option<Bson<'a>> {
    match (name, value) {
        (b"$numberLong", Part::Str(text)) => integer(text.raw).then_some(Bson::Long(text.raw)),
        (b"$numberInt", Part::Str(text)) => integer(text.raw).then_some(Bson::Int(text.raw)),
        (b"$numberDouble", Part::Str(text)) => double(text.raw),
        (b"$numberDecimal", Part::Str(text)) => (!text.escaped).then_some(Bson::Decimal(text.raw)),
        (b"$oid", Part::Str(text)) => is_object_id(text.raw).then_some(Bson::ObjectId(text.raw)),
        (b"$date", Part::Str(text)) => {
            time::parse_rfc3339_ms(std::str::from_utf8(text.raw).ok()?).map(Bson::Date)
        }
        (b"$date", Part::Other(text)) => match text.bytes().first()? {
            b'{' => match read(&mut Cursor::over(text)) {
                Ok(Bson::Long(ms)) => parse_i64(ms).map(Bson::Date),
                _ => None,
            },
            _ => parse_i64(text.bytes()).map(Bson::Date),
        },
        (b"$binary", Part::Other(text)) => {
            let (base64, subtype) = pair(text, b"base64", b"subType")?;
            match (base64, subtype) {
                (Part::Str(base64), Part::Str(subtype)) => binary(base64, subtype),
                _ => None,
            }
        }
        (b"$uuid", Part::Str(text)) => (text.raw.len() == 36).then_some(Bson::Uuid(text.raw)),
        (b"$timestamp", Part::Other(text)) => match pair(text, b"t", b"i")? {
            (Part::Other(t), Part::Other(i)) => Some(Bson::Timestamp {
                t: u32::try_from(parse_i64(t.bytes())?).ok()?,
                i: u32::try_from(parse_i64(i.bytes())?).ok()?,
            }),
            _ => None,
        },
        (b"$regularExpression", Part::Other(text)) => match pair(text, b"pattern", b"options")? {
            (Part::Str(pattern), Part::Str(options)) => Some(Bson::Regex { pattern, options }),
            _ => None,
        },
        (b"$code", Part::Str(text)) => Some(Bson::Code(text)),
        (b"$symbol", Part::Str(text)) => Some(Bson::Symbol(text)),
        (b"$minKey", Part::Other(text)) => (text.bytes() == b"1").then_some(Bson::MinKey),
        (b"$maxKey", Part::Other(text)) => (text.bytes() == b"1").then_some(Bson::MaxKey),
        (b"$undefined", Part::Other(text)) => (text.bytes() == b"true").then_some(Bson::Undefined),
        _ => None,
    }
}

/// The two members of an object, in the order asked for.
fn pair<'a>(text: Text<'a>, first: &[u8], second: &[u8]) -> Option<(Part<'a>, Part<'a>)> {
    let mut cursor = Cursor::over(text);
    if cursor.kind().ok()? != Kind::Object || !cursor.open_object().ok()? {
        return None;
    }
    let (mut a, mut b) = (None, None);
    loop {
        let name = cursor.name().ok()?;
        let value = Part::read(&mut cursor).ok()?;
        match name.raw {
            raw if raw == first => a = Some(value),
            raw if raw == second => b = Some(value),
            _ => return None,
        }
        if !cursor.next_member().ok()? {
            return Some((a?, b?));
        }
    }
}

fn integer(text: &[u8]) -> bool {
    parse_i64(text).is_some()
}

fn double(text: &[u8]) -> Option<Bson<'_>> {
    let mut cursor = Cursor::new(text);
    let value = match cursor.kind().ok()? {
        Kind::NonFinite => Bson::NonFinite(cursor.non_finite().ok()?),
        Kind::Number => Bson::Double(cursor.number().ok()?.0),
        _ => return None,
    };
    (cursor.at() == text.len()).then_some(value)
}

fn binary<'a>(data: RawStr<'a>, subtype: RawStr<'a>) -> Option<Bson<'a>> {
    // Base64 text needs no escape but "\/", which some writers use; Debezium does not.
    if data.escaped {
        return None;
    }
    let subtype = u8::from_str_radix(std::str::from_utf8(subtype.raw).ok()?, 16).ok()?;
    Some(Bson::Binary {
        base64: data.raw,
        subtype,
    })
}

/// Writes the next value as Extended JSON v2 relaxed: what `JSON` columns and `_extra` hold.
///
/// It is a published format every MongoDB driver reads; all it gives up is the width of an integer, which StarRocks does not
/// keep either.
pub fn write_relaxed(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    relaxed(cursor, out, 0)
}

fn relaxed(cursor: &mut Cursor<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), JsonError> {
    if depth > MAX_DEPTH {
        return cursor.fail("nested too deeply");
    }
    match read(cursor)? {
        Bson::Object => {
            out.push(b'{');
            let mut more = cursor.open_object()?;
            while more {
                literal(&cursor.name()?, out)?;
                out.push(b':');
                relaxed(cursor, out, depth + 1)?;
                more = cursor.next_member()?;
                if more {
                    out.push(b',');
                }
            }
            out.push(b'}');
            Ok(())
        }
        Bson::Array => {
            out.push(b'[');
            let mut more = cursor.open_array()?;
            while more {
                relaxed(cursor, out, depth + 1)?;
                more = cursor.next_element()?;
                if more {
                    out.push(b',');
                }
            }
            out.push(b']');
            Ok(())
        }
        scalar => write_scalar(&scalar, out),
    }
}

/// Writes a scalar as Extended JSON v2 relaxed.
pub fn write_scalar(value: &Bson<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let text = |name: &str, text: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(text);
        out.extend_from_slice(b"\"}");
    };
    match value {
        Bson::Null | Bson::Object | Bson::Array => out.extend_from_slice(b"null"),
        Bson::Bool(true) => out.extend_from_slice(b"true"),
        Bson::Bool(false) => out.extend_from_slice(b"false"),
        Bson::Int(digits) | Bson::Long(digits) | Bson::Double(digits) => out.extend_from_slice(digits),
        Bson::NonFinite(word) => text("$numberDouble", word.as_bytes(), out),
        Bson::Decimal(digits) => text("$numberDecimal", digits, out),
        Bson::Str(string) => literal(string, out)?,
        Bson::ObjectId(hex) => text("$oid", hex, out),
        Bson::Uuid(uuid) => text("$uuid", uuid, out),
        Bson::Symbol(string) => text("$symbol", string.raw, out),
        Bson::Code(string) => text("$code", string.raw, out),
        Bson::Date(ms) => write_date(*ms, out),
        Bson::Binary { base64, subtype } => {
            out.extend_from_slice(b"{\"$binary\":{\"base64\":\"");
            out.extend_from_slice(base64);
            out.extend_from_slice(format!("\",\"subType\":\"{subtype:02x}\"}}}}").as_bytes());
        }
        Bson::Timestamp { t, i } => {
            out.extend_from_slice(format!("{{\"$timestamp\":{{\"t\":{t},\"i\":{i}}}}}").as_bytes());
        }
        Bson::Regex { pattern, options } => {
            out.extend_from_slice(b"{\"$regularExpression\":{\"pattern\":");
            literal(pattern, out)?;
            out.extend_from_slice(b",\"options\":");
            literal(options, out)?;
            out.extend_from_slice(b"}}");
        }
        Bson::MinKey => out.extend_from_slice(b"{\"$minKey\":1}"),
        Bson::MaxKey => out.extend_from_slice(b"{\"$maxKey\":1}"),
        Bson::Undefined => out.extend_from_slice(b"{\"$undefined\":true}"),
    }
    Ok(())
}

fn write_date(ms: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$date\":");
    match time::Civil::from_ms(ms).filter(|_| ms >= 0) {
        Some(civil) => {
            out.push(b'"');
            civil.write_rfc3339(out);
            out.extend_from_slice(b"\"}");
        }
        None => {
            out.extend_from_slice(b"{\"$numberLong\":\"");
            write_int(ms, out);
            out.extend_from_slice(b"\"}}");
        }
    }
}

/// A string literal as it stood, checked when it has escapes: StarRocks refuses a whole body for one lone surrogate.
pub fn literal(string: &RawStr<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    if string.escaped {
        string.value()?;
    }
    out.push(b'"');
    out.extend_from_slice(string.raw);
    out.push(b'"');
    Ok(())
}
