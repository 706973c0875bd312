//! The forms that nearly every value has, straight from their text into a column's, without a value in between.
//!
//! `None` says nothing about a value: [`convert`](super::convert::convert) decides about it. What is taken here, that one
//! would have written in the same way; a property test holds the two together.

use tributary_crds::column::ColumnType;

use super::{bson, time};
use crate::json::{Cursor, Literal, find, find2, natural};

/// How the wrappers of Extended JSON stand in a text: quotes escaped or not.
pub(super) trait Form {
    fn name(literal: &Literal) -> &[u8];
    const QUOTE: &'static [u8];
    const OID: &'static [u8];
    const LONG: &'static [u8];
    const DECIMAL: &'static [u8];
    const DATE: &'static [u8];
    /// Ends a wrapper whose value is a string.
    const CLOSE: &'static [u8];
    /// Length of a string without escapes; the text begins behind its quote.
    fn string(text: &[u8]) -> Option<usize>;
}

pub(super) struct Plain;
pub(super) struct Quoted;

impl Form for Plain {
    fn name(literal: &Literal) -> &[u8] {
        literal.plain()
    }

    const QUOTE: &'static [u8] = br#"""#;
    const OID: &'static [u8] = br#"{"$oid": ""#;
    const LONG: &'static [u8] = br#"{"$numberLong": ""#;
    const DECIMAL: &'static [u8] = br#"{"$numberDecimal": ""#;
    const DATE: &'static [u8] = br#"{"$date": "#;
    const CLOSE: &'static [u8] = br#""}"#;

    #[inline]
    fn string(text: &[u8]) -> Option<usize> {
        let end = find2(text, b'"', b'\\');
        (text.get(end) == Some(&b'"')).then_some(end)
    }
}

impl Form for Quoted {
    fn name(literal: &Literal) -> &[u8] {
        literal.quoted()
    }

    const QUOTE: &'static [u8] = br#"\""#;
    const OID: &'static [u8] = br#"{\"$oid\": \""#;
    const LONG: &'static [u8] = br#"{\"$numberLong\": \""#;
    const DECIMAL: &'static [u8] = br#"{\"$numberDecimal\": \""#;
    const DATE: &'static [u8] = br#"{\"$date\": "#;
    const CLOSE: &'static [u8] = br#"\"}"#;

    #[inline]
    fn string(text: &[u8]) -> Option<usize> {
        let end = find(text, b'\\');
        (text.get(end + 1) == Some(&b'"')).then_some(end)
    }
}

/// Appends the next value as the column's JSON text and consumes it; else nothing happens.
#[inline]
pub(super) fn convert(cursor: &mut Cursor<'_>, ty: &ColumnType, out: &mut Vec<u8>) -> Option<()> {
    let text = cursor.rest();
    let value = text.strip_prefix(b" ").unwrap_or(text);
    let rest = if cursor.quoted() {
        column::<Quoted>(value, ty, out)
    } else {
        column::<Plain>(value, ty, out)
    }?;
    cursor.advance(text.len() - rest.len());
    Some(())
}

/// Consumes an ObjectId nobody wants.
#[inline]
pub(super) fn skip_object_id(cursor: &mut Cursor<'_>) -> Option<()> {
    let text = cursor.rest();
    let value = text.strip_prefix(b" ").unwrap_or(text);
    let (_, rest) = if cursor.quoted() {
        object_id::<Quoted>(value)
    } else {
        object_id::<Plain>(value)
    }?;
    cursor.advance(text.len() - rest.len());
    Some(())
}

/// Appends the value as the column's JSON text; what follows it. The text begins with the value.
#[inline]
pub(super) fn column<'a, F: Form>(text: &'a [u8], ty: &ColumnType, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    match ty {
        ColumnType::Varchar(max) => varchar::<F>(text, *max as usize, out),
        ColumnType::BigInt => integer::<F>(text, i64::MIN, i64::MAX, out),
        ColumnType::Int => integer::<F>(text, i32::MIN.into(), i32::MAX.into(), out),
        ColumnType::SmallInt => integer::<F>(text, i16::MIN.into(), i16::MAX.into(), out),
        ColumnType::TinyInt => integer::<F>(text, i8::MIN.into(), i8::MAX.into(), out),
        ColumnType::Decimal { precision, scale } => {
            let whole = usize::from(precision.checked_sub(*scale)?);
            decimal::<F>(text, whole, usize::from(*scale), out)
        }
        ColumnType::DateTime => datetime::<F>(text, out),
        ColumnType::Boolean => boolean(text, out),
        ColumnType::Double => double(text, out),
        ColumnType::LargeInt
        | ColumnType::Float
        | ColumnType::Date
        | ColumnType::Json
        | ColumnType::Array(_) => None,
    }
}

#[inline]
fn varchar<'a, F: Form>(text: &'a [u8], max: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (value, rest) = match text.strip_prefix(F::QUOTE) {
        Some(text) => {
            let (value, rest) = text.split_at(F::string(text)?);
            (value, &rest[F::QUOTE.len()..])
        }
        None => object_id::<F>(text)?,
    };
    if value.len() > max {
        return None;
    }
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
    Some(rest)
}

#[inline]
pub(super) fn object_id<F: Form>(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (hex, rest) = text.strip_prefix(F::OID)?.split_first_chunk::<24>()?;
    let rest = rest.strip_prefix(F::CLOSE)?;
    bson::is_object_id(hex).then_some((hex, rest))
}

/// Bare or as `$numberLong`, in the one form a number has: no zeros in front, no minus before zero.
#[inline]
fn integer<'a, F: Form>(text: &'a [u8], min: i64, max: i64, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (number, wrapped) = match text.strip_prefix(F::LONG) {
        Some(number) => (number, true),
        None => (text, false),
    };
    let minus = usize::from(number.first() == Some(&b'-'));
    let (value, end) = natural(&number[minus..])?;
    let first = number[minus];
    if first == b'0' && (end > 1 || minus == 1) {
        return None;
    }
    let value = if minus == 1 { -value } else { value };
    let (digits, rest) = number.split_at(minus + end);
    if !(min..=max).contains(&value) {
        return None;
    }
    let rest = after_number::<F>(rest, wrapped)?;
    out.extend_from_slice(digits);
    Some(rest)
}

#[inline]
fn after_number<F: Form>(text: &[u8], wrapped: bool) -> Option<&[u8]> {
    match (wrapped, text.first()?) {
        (true, _) => text.strip_prefix(F::CLOSE),
        (false, b'.' | b'e' | b'E') => None,
        (false, _) => Some(text),
    }
}

/// `12.340` is written `12.34`; zeros in front, a bare point and zero itself are the general reader's.
#[inline]
fn decimal<'a, F: Form>(
    text: &'a [u8],
    whole_max: usize,
    scale: usize,
    out: &mut Vec<u8>,
) -> Option<&'a [u8]> {
    let (number, wrapped) = match text.strip_prefix(F::DECIMAL) {
        Some(number) => (number, true),
        None => (text, false),
    };
    let minus = usize::from(number.first() == Some(&b'-'));
    let whole = digits(&number[minus..]);
    let after = minus + whole;
    let fraction = match number.get(after) {
        Some(b'.') => digits(&number[after + 1..]),
        _ => 0,
    };
    let zero = number.get(minus) == Some(&b'0');
    let end = match fraction {
        0 => after,
        fraction => after + 1 + fraction,
    };
    let mut kept = end;
    while fraction > 0 && kept > after && matches!(number[kept - 1], b'0' | b'.') {
        kept -= 1;
    }
    let decimals = (kept - after).saturating_sub(1);
    if whole == 0
        || decimals > scale
        || (zero && (whole > 1 || decimals == 0))
        || (!zero && whole > whole_max)
    {
        return None;
    }
    let rest = after_number::<F>(&number[end..], wrapped)?;
    out.push(b'"');
    out.extend_from_slice(&number[..kept]);
    out.push(b'"');
    Some(rest)
}

#[inline]
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[inline]
fn datetime<'a, F: Form>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let text = text.strip_prefix(F::DATE)?;
    let (ms, end) = natural(text)?;
    let rest = text[end..].strip_prefix(b"}")?;
    let civil = time::Civil::from_ms(ms)?;
    out.push(b'"');
    civil.write_datetime(out);
    out.push(b'"');
    Some(rest)
}

#[inline]
fn boolean<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let word: &[u8] = if text.starts_with(b"true") {
        b"true"
    } else if text.starts_with(b"false") {
        b"false"
    } else {
        return None;
    };
    out.extend_from_slice(word);
    Some(&text[word.len()..])
}

/// With a point and without an exponent; so short that it is finite.
#[inline]
fn double<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let minus = usize::from(text.first() == Some(&b'-'));
    let whole = digits(&text[minus..]);
    let point = minus + whole;
    if text.get(point) != Some(&b'.') {
        return None;
    }
    let fraction = digits(&text[point + 1..]);
    let end = point + 1 + fraction;
    if whole == 0 || fraction == 0 || end > 300 || matches!(text.get(end), None | Some(b'e' | b'E')) {
        return None;
    }
    out.extend_from_slice(&text[..end]);
    Some(&text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Text;
    use crate::shape::convert::{self, Converted};
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<i16>().prop_map(|n| n.to_string()),
            (-200i32..200).prop_map(|n| n.to_string()),
            "-?[0-9]{1,3}(\\.[0-9]{0,4})?([eE][-+]?[0-9]{1,2})?",
            "-?[0-9]{16,40}(\\.[0-9]{1,40})?",
            "-?0{0,2}\\.?0{0,3}",
        ];
        let text = prop_oneof![".{0,12}", "[a-zöß ]{0,40}", "[0-9a-fA-F]{24}"];
        prop_oneof![
            number.clone(),
            number
                .clone()
                .prop_map(|n| format!("{{\"$numberLong\": \"{n}\"}}")),
            number
                .clone()
                .prop_map(|n| format!("{{\"$numberDecimal\": \"{n}\"}}")),
            number.prop_map(|n| format!("{{\"$date\": {n}}}")),
            (0i64..4_000_000_000_000).prop_map(|n| format!("{{\"$date\": {n}}}")),
            text.clone()
                .prop_map(|t| serde_json::to_string(&t).unwrap_or_default()),
            text.prop_map(|t| format!("{{\"$oid\": {}}}", serde_json::to_string(&t).unwrap_or_default())),
            prop_oneof!["true", "false", "null", "tru", "\\{\\}", "\\[1\\]", "NaN", ""],
        ]
    }

    fn ty() -> impl Strategy<Value = ColumnType> {
        prop_oneof![
            (0u32..50).prop_map(|n| format!("VARCHAR({})", n + 1)),
            Just("BIGINT".to_owned()),
            Just("INT".to_owned()),
            Just("SMALLINT".to_owned()),
            Just("TINYINT".to_owned()),
            Just("DECIMAL(38,2)".to_owned()),
            Just("DECIMAL(4,2)".to_owned()),
            Just("DECIMAL(3,0)".to_owned()),
            Just("DATETIME".to_owned()),
            Just("BOOLEAN".to_owned()),
            Just("DOUBLE".to_owned()),
        ]
        .prop_filter_map("a type", |text| text.parse().ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_is_taken_is_what_the_general_reader_writes(
            value in value(), space in " {0,2}", end in prop_oneof![Just(",\"x\": 1"), Just("}"), Just("]"), Just("")], ty in ty(),
        ) {
            let plain = format!("{space}{value}{end}");
            let escaped = plain.replace('"', "\\\"");
            // A text with other escapes is never read in place.
            let texts = if plain.contains('\\') { vec![Text::plain(plain.as_bytes())] }
                else { vec![Text::plain(plain.as_bytes()), Text::quoted(escaped.as_bytes())] };
            for text in texts {
                let (mut fast, mut slow) = (Cursor::over(text), Cursor::over(text));
                let (mut by_fast, mut by_slow) = (b"x".to_vec(), b"x".to_vec());
                if super::convert(&mut fast, &ty, &mut by_fast).is_some() {
                    prop_assert_eq!(convert::convert(&mut slow, &ty, &mut by_slow), Ok(Converted::Written), "{} {}", plain, ty);
                    prop_assert_eq!(String::from_utf8_lossy(&by_fast), String::from_utf8_lossy(&by_slow), "{} {}", plain, ty);
                    prop_assert_eq!(fast.at(), slow.at());
                } else {
                    prop_assert_eq!((by_fast, fast.at()), (b"x".to_vec(), 0));
                }
                let mut skipped = Cursor::over(text);
                if skip_object_id(&mut skipped).is_some() {
                    let mut general = Cursor::over(text);
                    prop_assert_eq!(general.skip(), Ok(()));
                    prop_assert_eq!(skipped.at(), general.at());
                }
            }
        }
    }

    /// The property above would hold for a reader that takes nothing.
    #[test]
    fn the_usual_forms_are_taken() {
        for (value, ty, written) in [
            (r#""Köln","#, "VARCHAR(8)", r#""Köln""#),
            (
                r#" {"$oid": "64b7f0a1c2d3e4f5a6b7c8da"},"#,
                "VARCHAR(24)",
                r#""64b7f0a1c2d3e4f5a6b7c8da""#,
            ),
            (" 42,", "BIGINT", "42"),
            (r#" {"$numberLong": "-42"},"#, "INT", "-42"),
            (r#" {"$numberDecimal": "12.340"},"#, "DECIMAL(38,2)", r#""12.34""#),
            (" -0.5,", "DECIMAL(4,2)", r#""-0.5""#),
            (
                r#" {"$date": 1795362420598},"#,
                "DATETIME",
                r#""2026-11-22 15:47:00.598""#,
            ),
            ("true,", "BOOLEAN", "true"),
            (" 0.15}", "DOUBLE", "0.15"),
        ] {
            let ty = ty.parse().unwrap();
            let escaped = value.replace('"', "\\\"");
            for text in [Text::plain(value.as_bytes()), Text::quoted(escaped.as_bytes())] {
                let mut out = Vec::new();
                assert!(
                    super::convert(&mut Cursor::over(text), &ty, &mut out).is_some(),
                    "{value}"
                );
                assert_eq!(String::from_utf8(out).unwrap(), written);
            }
        }
    }
}
