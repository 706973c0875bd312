//! The one conversion table: BSON value → column type. `relay/testdata/conversion-vectors.json` is its published form.
//!
//! Rule: a conversion that would lose information is refused, and then the column's `onError` decides. So 3.0 is an
//! `INT` and 3.5 is not, a moment at midnight UTC is a `DATE` and any other is not, a string is never cut.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tributary_crds::column::ColumnType;

use super::bson::{self, Bson};
use super::decimal::Decimal;
use super::time;
use crate::json::{Cursor, JsonError, write_int, write_string};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converted {
    /// The value's JSON text was appended.
    Written,
    /// The value is null; nothing was appended.
    Null,
    /// The column cannot hold the value without loss. What was appended must be taken back.
    Unfit,
}

/// Reads the next value and appends it as the column's JSON text. On `Unfit` the cursor may stand anywhere.
#[inline]
pub fn convert(cursor: &mut Cursor<'_>, ty: &ColumnType, out: &mut Vec<u8>) -> Result<Converted, JsonError> {
    let value = bson::read(cursor)?;
    match (ty, value) {
        (_, Bson::Null) => Ok(Converted::Null),
        (ColumnType::Json, Bson::Object | Bson::Array) => {
            bson::write_relaxed(cursor, out).map(|()| Converted::Written)
        }
        (ColumnType::Json, scalar) => bson::write_scalar(&scalar, out).map(|()| Converted::Written),
        (ColumnType::Array(element), Bson::Array) => array(cursor, element, out),
        (ty, scalar) => self::scalar(&scalar, ty, out),
    }
}

fn array(cursor: &mut Cursor<'_>, element: &ColumnType, out: &mut Vec<u8>) -> Result<Converted, JsonError> {
    out.push(b'[');
    let mut more = cursor.open_array()?;
    while more {
        match convert(cursor, element, out)? {
            Converted::Written => {}
            Converted::Null => out.extend_from_slice(b"null"),
            Converted::Unfit => return Ok(Converted::Unfit),
        }
        more = cursor.next_element()?;
        if more {
            out.push(b',');
        }
    }
    out.push(b']');
    Ok(Converted::Written)
}

fn scalar(value: &Bson<'_>, ty: &ColumnType, out: &mut Vec<u8>) -> Result<Converted, JsonError> {
    let fits = match ty {
        ColumnType::Boolean => match value {
            Bson::Bool(flag) => {
                out.extend_from_slice(if *flag { b"true" } else { b"false" });
                true
            }
            _ => false,
        },
        ColumnType::TinyInt => integer(value, i64::from(i8::MIN), i64::from(i8::MAX), out),
        ColumnType::SmallInt => integer(value, i64::from(i16::MIN), i64::from(i16::MAX), out),
        ColumnType::Int => integer(value, i64::from(i32::MIN), i64::from(i32::MAX), out),
        ColumnType::BigInt => integer(value, i64::MIN, i64::MAX, out),
        ColumnType::LargeInt => large_int(value, out),
        ColumnType::Float => float(value, out),
        ColumnType::Double => double(value, out),
        ColumnType::Decimal { precision, scale } => {
            decimal_of(value).is_some_and(|d| quoted(out, |out| d.write_fixed(*precision, *scale, out)))
        }
        ColumnType::Varchar(len) => return varchar(value, *len as usize, out),
        ColumnType::Date => date(value, out),
        ColumnType::DateTime => datetime(value, out),
        ColumnType::Json | ColumnType::Array(_) => false,
    };
    Ok(if fits {
        Converted::Written
    } else {
        Converted::Unfit
    })
}

/// Whole numbers of any BSON number type, moments as milliseconds, internal timestamps in their own order.
fn integer(value: &Bson<'_>, min: i64, max: i64, out: &mut Vec<u8>) -> bool {
    let number = match value {
        Bson::Int(text) | Bson::Long(text) => crate::envelope::parse_i64(text),
        Bson::Double(_) | Bson::Decimal(_) => decimal_of(value)
            .and_then(|d| d.to_integer())
            .and_then(|n| i64::try_from(n).ok()),
        Bson::Date(ms) => Some(*ms),
        Bson::Timestamp { t, i } => i64::try_from((u64::from(*t) << 32) | u64::from(*i)).ok(),
        _ => None,
    };
    match number {
        Some(n) if (min..=max).contains(&n) => {
            write_int(n, out);
            true
        }
        _ => false,
    }
}

/// As a JSON string: readers turn bare numbers beyond 64 bits into doubles. Same for `DECIMAL`.
fn large_int(value: &Bson<'_>, out: &mut Vec<u8>) -> bool {
    let number = match value {
        Bson::Date(ms) => Some(i128::from(*ms)),
        Bson::Timestamp { t, i } => Some((i128::from(*t) << 32) | i128::from(*i)),
        _ => decimal_of(value).and_then(|d| d.to_integer()),
    };
    number.is_some_and(|n| {
        quoted(out, |out| {
            out.extend_from_slice(n.to_string().as_bytes());
            true
        })
    })
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    out.push(b'"');
    let fits = write(out);
    out.push(b'"');
    fits
}

/// Doubles, and numbers of other types that survive the way there and back.
fn double(value: &Bson<'_>, out: &mut Vec<u8>) -> bool {
    match value {
        Bson::Double(text) => finite(text).is_some_and(|_| {
            out.extend_from_slice(text);
            true
        }),
        Bson::Int(text) | Bson::Long(text) => exact(value, finite(text), |n| n.to_string(), text, out),
        Bson::Decimal(text) => exact(value, finite(text), |n| n.to_string(), text, out),
        _ => false,
    }
}

fn float(value: &Bson<'_>, out: &mut Vec<u8>) -> bool {
    let text = match value {
        Bson::Double(text) | Bson::Int(text) | Bson::Long(text) | Bson::Decimal(text) => text,
        _ => return false,
    };
    let Some(wide) = finite(text) else { return false };
    let narrow = wide as f32;
    if matches!(value, Bson::Double(_)) {
        return f64::from(narrow) == wide && {
            out.extend_from_slice(text);
            true
        };
    }
    exact(value, Some(f64::from(narrow)), |n| n.to_string(), text, out)
}

/// Appends the number when its shortest text is the same decimal as the value.
fn exact(
    value: &Bson<'_>,
    number: Option<f64>,
    print: impl FnOnce(f64) -> String,
    text: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Some(number) = number.filter(|n| n.is_finite()) else {
        return false;
    };
    let same = Decimal::parse(print(number).as_bytes()) == decimal_of(value);
    if same {
        out.extend_from_slice(text);
    }
    same
}

fn finite(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text)
        .ok()?
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite())
}

fn decimal_of(value: &Bson<'_>) -> Option<Decimal> {
    match value {
        Bson::Int(text) | Bson::Long(text) | Bson::Double(text) | Bson::Decimal(text) => Decimal::parse(text),
        _ => None,
    }
}

/// Text, and values whose canonical text is their usual form: ids, UUIDs, base64, decimals, and what only Extended JSON names.
fn varchar(value: &Bson<'_>, max: usize, out: &mut Vec<u8>) -> Result<Converted, JsonError> {
    let start = out.len();
    match value {
        Bson::Str(text) => {
            let len = if text.escaped {
                text.value()?.len()
            } else {
                text.raw.len()
            };
            if len > max {
                return Ok(Converted::Unfit);
            }
            out.push(b'"');
            out.extend_from_slice(text.raw);
            out.push(b'"');
            return Ok(Converted::Written);
        }
        Bson::ObjectId(text) | Bson::Uuid(text) | Bson::Decimal(text) => plain(text, out),
        Bson::Binary { base64, subtype: 4 } => match uuid_text(base64) {
            Some(text) => plain(text.as_bytes(), out),
            None => return Ok(Converted::Unfit),
        },
        Bson::Binary { base64, .. } => plain(base64, out),
        Bson::Regex { .. } | Bson::Code(_) | Bson::Symbol(_) | Bson::MinKey | Bson::MaxKey => {
            let mut text = Vec::new();
            bson::write_scalar(value, &mut text)?;
            if text.len() > max {
                return Ok(Converted::Unfit);
            }
            write_string(&String::from_utf8_lossy(&text), out);
            return Ok(Converted::Written);
        }
        _ => return Ok(Converted::Unfit),
    }
    Ok(if out.len() - start - 2 <= max {
        Converted::Written
    } else {
        Converted::Unfit
    })
}

fn plain(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// `12345678-1234-5678-1234-567812345678` of sixteen base64 bytes.
pub fn uuid_text(base64: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = BASE64.decode(base64).ok()?.try_into().ok()?;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Some(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

fn date(value: &Bson<'_>, out: &mut Vec<u8>) -> bool {
    match value {
        Bson::Date(ms) => match time::Civil::from_ms(*ms).filter(time::Civil::is_midnight) {
            Some(civil) => quoted(out, |out| {
                civil.write_date(out);
                true
            }),
            None => false,
        },
        Bson::Str(text) if !text.escaped => std::str::from_utf8(text.raw).is_ok_and(|text| {
            time::is_date(text) && {
                plain(text.as_bytes(), out);
                true
            }
        }),
        _ => false,
    }
}

fn datetime(value: &Bson<'_>, out: &mut Vec<u8>) -> bool {
    match value {
        Bson::Date(ms) => match time::Civil::from_ms(*ms) {
            Some(civil) => quoted(out, |out| {
                civil.write_datetime(out);
                true
            }),
            None => false,
        },
        Bson::Str(text) if !text.escaped => {
            let text = std::str::from_utf8(text.raw)
                .ok()
                .and_then(time::datetime_of_rfc3339_utc);
            text.is_some_and(|text| {
                plain(text.as_bytes(), out);
                true
            })
        }
        _ => false,
    }
}

fn is_json_number(text: &str) -> bool {
    text.trim() == text && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// JSON text of a constant or default: what a column's type reads in the text of a `value` or `default`.
pub fn literal(text: &str, ty: &ColumnType) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match ty {
        ColumnType::Varchar(max) if text.len() <= *max as usize => {
            write_string(text, &mut out);
            return Ok(out);
        }
        ColumnType::Date if time::is_date(text) => {
            plain(text.as_bytes(), &mut out);
            return Ok(out);
        }
        ColumnType::DateTime => {
            let local = time::datetime_of_rfc3339_utc(text).or_else(|| time::datetime_of_local(text));
            if let Some(local) = local {
                plain(local.as_bytes(), &mut out);
                return Ok(out);
            }
        }
        ColumnType::Varchar(_) | ColumnType::Date => {}
        // A document's numbers come from a BSON library; these are written by people, and a typing error is no number.
        ty if ty.is_number() && !is_json_number(text) => {}
        _ => {
            let mut cursor = Cursor::new(text.as_bytes());
            let converted = convert(&mut cursor, ty, &mut out);
            if converted == Ok(Converted::Written) && cursor.end().is_ok() {
                return Ok(out);
            }
        }
    }
    Err(format!("{text:?} is not a {ty}"))
}
