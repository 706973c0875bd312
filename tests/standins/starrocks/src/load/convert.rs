//! From JSON and CSV text to typed cells, with the conversions of the BE's readers.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use crate::table::types::ColumnType;
use crate::table::value::{Value, days_of, micros_of, render_json};

/// Converts one JSON value (its raw text) to a column's type. An error is the line of the error log.
pub fn from_json(ty: &ColumnType, name: &str, raw: &str, zone: &TimeZone) -> Result<Value, String> {
    let raw = raw.trim();
    let kind = JsonKind::of(raw);
    match (kind, ty) {
        (JsonKind::Null, _) => Ok(Value::Null),
        (_, ColumnType::Json) => parse_json(name, raw),
        (_, ColumnType::Array(of)) => from_json_array(of, name, raw, zone),
        (_, ColumnType::Struct(fields)) => from_json_struct(fields, name, raw, zone),
        (_, ColumnType::Map(key, value)) => from_json_map(key, value, name, raw, zone),
        (JsonKind::String, _) => {
            let text: Cow<'_, str> = serde_json::from_str(raw)
                .map_err(|e| format!("Failed to parse value as string, column={name}, error={e}"))?;
            from_text(ty, name, &text, zone)
        }
        (JsonKind::Number, ColumnType::Boolean) => Ok(Value::Bool(number(raw, name)? != 0.0)),
        (JsonKind::Number, _) => from_text(ty, name, raw, zone),
        (JsonKind::Bool, ColumnType::Boolean) => Ok(Value::Bool(raw == "true")),
        (JsonKind::Bool, ColumnType::Varchar(_) | ColumnType::Char(_)) => {
            from_text(ty, name, if raw == "true" { "1" } else { "0" }, zone)
        }
        (JsonKind::Composite, ColumnType::Varchar(_) | ColumnType::Char(_)) => {
            let minified: Box<serde_json::value::RawValue> = serde_json::from_str(raw)
                .map_err(|e| format!("Failed to minify array/object as string. column={name}, error={e}"))?;
            from_text(ty, name, &minify(minified.get()), zone)
        }
        (JsonKind::Bool | JsonKind::Composite, _) => Err(format!(
            "Unsupported value type. Numeric type is required. column={name}"
        )),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Composite,
}

impl JsonKind {
    fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'n') | None => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::String,
            Some(b'{' | b'[') => Self::Composite,
            Some(_) => Self::Number,
        }
    }
}

/// Converts text: a JSON string, a CSV field, a literal of a statement.
pub fn from_text(ty: &ColumnType, name: &str, text: &str, zone: &TimeZone) -> Result<Value, String> {
    match ty {
        ColumnType::Boolean => parse_bool(name, text),
        ColumnType::TinyInt => integer(name, text, i64::from(i8::MIN), i64::from(i8::MAX)),
        ColumnType::SmallInt => integer(name, text, i64::from(i16::MIN), i64::from(i16::MAX)),
        ColumnType::Int => integer(name, text, i64::from(i32::MIN), i64::from(i32::MAX)),
        ColumnType::BigInt => integer(name, text, i64::MIN, i64::MAX),
        ColumnType::LargeInt => match text.trim().parse::<i128>() {
            Ok(v) => Ok(Value::Big(v)),
            Err(_) => Ok(Value::Big(number(text, name)? as i128)),
        },
        ColumnType::Float => Ok(Value::Float(f64::from(number(text, name)? as f32))),
        ColumnType::Double => Ok(Value::Float(number(text, name)?)),
        ColumnType::Decimal { precision, scale } => parse_decimal(text, *precision, *scale)
            .map(Value::Big)
            .ok_or_else(|| {
                format!(
                    "Decimal '{text}' is out of range. The type of '{name}' is decimal({precision},{scale})"
                )
            }),
        ColumnType::Date => match parse_datetime(text, zone) {
            Some(at) => Ok(Value::Date(days_of(at.date()))),
            None => Err(format!("Invalid date value '{text}', column={name}")),
        },
        ColumnType::DateTime => match parse_datetime(text, zone) {
            Some(at) => Ok(Value::DateTime(micros_of(at))),
            None => Err(format!("Invalid datetime value '{text}', column={name}")),
        },
        ColumnType::Char(n) | ColumnType::Varchar(n) => {
            if text.len() > *n as usize {
                let shown: String = text.chars().take(64).collect();
                return Err(format!(
                    "String '{shown}'(length: {}) is too long. The max length of '{name}' is {n}",
                    text.len()
                ));
            }
            Ok(Value::str(text))
        }
        ColumnType::Varbinary => Ok(Value::Bytes(text.as_bytes().into())),
        ColumnType::Json => parse_json(name, text),
        ColumnType::Array(of) => from_json_array(of, name, text, zone),
        ColumnType::Struct(fields) => from_json_struct(fields, name, text, zone),
        ColumnType::Map(key, value) => from_json_map(key, value, name, text, zone),
    }
}

fn number(text: &str, name: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(v) if v.is_finite() => Ok(v),
        _ => Err(format!(
            "Unable to cast string value to BIGINT. value={text}, column={name}"
        )),
    }
}

fn integer(name: &str, text: &str, min: i64, max: i64) -> Result<Value, String> {
    let text = text.trim();
    let overflow = || format!("Value is overflow. column={name}, value={text}");
    if let Ok(v) = text.parse::<i128>() {
        let v = i64::try_from(v).map_err(|_| overflow())?;
        return if (min..=max).contains(&v) {
            Ok(Value::Int(v))
        } else {
            Err(overflow())
        };
    }
    // Not an integer: the reader tries a float and truncates.
    let v = number(text, name)?;
    if v < min as f64 || v > max as f64 {
        Err(overflow())
    } else {
        Ok(Value::Int(v as i64))
    }
}

fn parse_bool(name: &str, text: &str) -> Result<Value, String> {
    let text = text.trim();
    if let Ok(v) = text.parse::<i32>() {
        return Ok(Value::Bool(v != 0));
    }
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        _ => Err(format!(
            "Failed to parse string value as boolean. column={name}, value={text}"
        )),
    }
}

/// Decimal text (with exponent) as an integer scaled by `scale`, rounded half away from zero.
pub fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let text = text.trim();
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The scaled value is digits * 10^shift.
    let shift = exponent
        .checked_sub(i32::try_from(fraction.len()).ok()?)?
        .checked_add(i32::from(scale))?;
    let magnitude = shift_digits(digits.trim_start_matches('0'), shift)?;
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (magnitude < limit).then_some(if negative { -magnitude } else { magnitude })
}

fn shift_digits(digits: &str, shift: i32) -> Option<i128> {
    if digits.is_empty() {
        return Some(0);
    }
    if shift >= 0 {
        let zeros = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
        return digits.parse::<i128>().ok()?.checked_mul(zeros);
    }
    let cut = usize::try_from(-shift).ok()?;
    if cut > digits.len() {
        return Some(0);
    }
    let (kept, dropped) = digits.split_at(digits.len() - cut);
    let kept: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    Some(kept + i128::from(dropped.as_bytes().first().is_some_and(|d| *d >= b'5')))
}

/// DATE and DATETIME text; a zone suffix is converted into the load's zone.
pub fn parse_datetime(text: &str, zone: &TimeZone) -> Option<jiff::civil::DateTime> {
    let text = text.trim();
    if text.len() >= 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return compact_datetime(text);
    }
    if text.len() > 10 && has_zone(text) {
        let at: jiff::Timestamp = text.replacen(' ', "T", 1).parse().ok()?;
        return Some(at.to_zoned(zone.clone()).datetime());
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let mut parts = date.splitn(3, '-');
    let (y, m, d) = (
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    );
    let date = jiff::civil::Date::new(y, m, d).ok()?;
    let time = if time.trim().is_empty() {
        jiff::civil::Time::midnight()
    } else {
        parse_time(time.trim())?
    };
    Some(date.to_datetime(time))
}

fn has_zone(text: &str) -> bool {
    let time = &text[10..];
    time.ends_with(['Z', 'z']) || time.rfind(['+', '-']).is_some_and(|at| at > 0)
}

fn compact_datetime(text: &str) -> Option<jiff::civil::DateTime> {
    let n = |range: std::ops::Range<usize>| text.get(range).and_then(|s| s.parse::<i8>().ok());
    let date = jiff::civil::Date::new(text.get(0..4)?.parse().ok()?, n(4..6)?, n(6..8)?).ok()?;
    let time = match text.len() {
        8 => jiff::civil::Time::midnight(),
        14 => jiff::civil::Time::new(n(8..10)?, n(10..12)?, n(12..14)?, 0).ok()?,
        _ => return None,
    };
    Some(date.to_datetime(time))
}

fn parse_time(text: &str) -> Option<jiff::civil::Time> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':');
    let hour = parts.next()?.parse().ok()?;
    let minute = parts.next()?.parse().ok()?;
    let second = parts.next().unwrap_or("0").parse().ok()?;
    let micros: i32 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<6}").get(..6)?.parse().ok()?
    };
    jiff::civil::Time::new(hour, minute, second, micros * 1000).ok()
}

fn parse_json(name: &str, text: &str) -> Result<Value, String> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| format!("Failed to parse value as json, column={name}, error={e}"))?;
    Ok(Value::Json(render_json(&value).into()))
}

fn from_json_array(of: &ColumnType, name: &str, raw: &str, zone: &TimeZone) -> Result<Value, String> {
    let items: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(raw).map_err(|_| format!("Failed to parse value as array, column={name}"))?;
    let items: Result<Vec<Value>, String> = items
        .iter()
        .map(|item| from_json(of, name, item.get(), zone))
        .collect();
    Ok(Value::Array(items?.into()))
}

fn from_json_struct(
    fields: &[(String, ColumnType)],
    name: &str,
    raw: &str,
    zone: &TimeZone,
) -> Result<Value, String> {
    let object: super::json::Object<'_> =
        serde_json::from_str(raw).map_err(|_| format!("Failed to parse value as struct, column={name}"))?;
    let mut pairs = Vec::with_capacity(fields.len());
    for (field, ty) in fields {
        let value = match object.get(field) {
            Some(raw) => from_json(ty, field, raw, zone)?,
            None => Value::Null,
        };
        pairs.push((Value::str(field.as_str()), value));
    }
    Ok(Value::Pairs(pairs.into()))
}

fn from_json_map(
    key: &ColumnType,
    value: &ColumnType,
    name: &str,
    raw: &str,
    zone: &TimeZone,
) -> Result<Value, String> {
    let object: super::json::Object<'_> =
        serde_json::from_str(raw).map_err(|_| format!("Failed to parse value as map, column={name}"))?;
    let mut pairs = Vec::new();
    for (k, v) in object.entries() {
        pairs.push((from_text(key, name, k, zone)?, from_json(value, name, v, zone)?));
    }
    Ok(Value::Pairs(pairs.into()))
}

/// Removes white space outside strings; `raw` is valid JSON.
fn minify(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in raw.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if !c.is_ascii_whitespace() {
            out.push(c);
            in_string = c == '"';
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(ty: ColumnType, raw: &str) -> Result<String, String> {
        let scale = if let ColumnType::Decimal { scale, .. } = ty {
            scale
        } else {
            0
        };
        from_json(&ty, "c", raw, &TimeZone::UTC).map(|v| v.render(scale))
    }

    #[test]
    fn strings_take_numbers_booleans_and_objects_as_text() {
        let s = || ColumnType::Varchar(100);
        assert_eq!(json(s(), "1.50").unwrap(), "1.50");
        assert_eq!(json(s(), "true").unwrap(), "1");
        assert_eq!(json(s(), "{ \"a b\" : [1, 2] }").unwrap(), "{\"a b\":[1,2]}");
    }

    #[test]
    fn numbers_truncate_and_overflow() {
        assert_eq!(json(ColumnType::BigInt, "1.9").unwrap(), "1");
        assert_eq!(json(ColumnType::BigInt, "\"12\"").unwrap(), "12");
        assert_eq!(
            json(ColumnType::TinyInt, "300").unwrap_err(),
            "Value is overflow. column=c, value=300"
        );
        assert!(json(ColumnType::BigInt, "true").is_err());
        assert!(json(ColumnType::BigInt, "\"abc\"").is_err());
        assert_eq!(
            json(ColumnType::LargeInt, "170141183460469231731687303715884105727")
                .unwrap()
                .len(),
            39
        );
    }

    #[test]
    fn lengths_are_bytes() {
        assert!(json(ColumnType::Varchar(3), "\"äö\"").is_err());
        assert!(json(ColumnType::Varchar(4), "\"äö\"").is_ok());
    }

    #[test]
    fn a_zone_is_converted_into_the_loads_zone() {
        let shanghai = TimeZone::get("Asia/Shanghai").unwrap();
        let at = |text: &str, zone: &TimeZone| {
            from_text(&ColumnType::DateTime, "c", text, zone)
                .unwrap()
                .render(0)
        };
        assert_eq!(at("2024-01-01T00:00:00Z", &shanghai), "2024-01-01 08:00:00");
        assert_eq!(at("2024-01-01T00:00:00Z", &TimeZone::UTC), "2024-01-01 00:00:00");
        assert_eq!(
            at("2024-01-01 00:00:00.123", &shanghai),
            "2024-01-01 00:00:00.123000"
        );
        assert_eq!(at("20240102", &shanghai), "2024-01-02 00:00:00");
        assert!(from_text(&ColumnType::DateTime, "c", "soon", &shanghai).is_err());
    }

    proptest! {
        #[test]
        fn decimals_round_trip(v in -10_i128.pow(30)..10_i128.pow(30), scale in 0_u8..10) {
            let text = crate::table::value::render_decimal(v, scale);
            prop_assert_eq!(parse_decimal(&text, 38, scale), Some(v));
        }

        #[test]
        fn datetimes_round_trip(us in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let text = crate::table::value::render_datetime(us);
            let back = from_text(&ColumnType::DateTime, "c", &text, &TimeZone::UTC).unwrap();
            prop_assert_eq!(back, Value::DateTime(us));
        }
    }

    #[test]
    fn decimals_round_and_refuse_what_does_not_fit() {
        assert_eq!(parse_decimal("1.005", 10, 2), Some(101));
        assert_eq!(parse_decimal("1e3", 10, 2), Some(100_000));
        assert_eq!(parse_decimal("-0.001", 10, 2), Some(0));
        assert_eq!(parse_decimal("123456", 5, 0), None);
        assert_eq!(parse_decimal("x", 5, 0), None);
    }
}
