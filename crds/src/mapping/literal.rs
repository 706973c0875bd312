//! Constants and defaults are written as text and read by the column's type; what no reader could read is refused here.
//! `crds/testdata/literal-vectors.json` says which texts those are, and the relay is held to the same file.

use crate::column::ColumnType;

/// Why `text` is no value of this type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LiteralError {
    #[error("{text:?} is not a {column_type}: write {hint}")]
    Form {
        text: String,
        column_type: ColumnType,
        hint: &'static str,
    },
    #[error("{text:?} is {length} bytes long, {column_type} holds {max}")]
    TooLong {
        text: String,
        column_type: ColumnType,
        length: usize,
        max: u32,
    },
}

/// Whether a text is a value of a column's type.
pub(super) fn check(text: &str, column_type: &ColumnType) -> Result<(), LiteralError> {
    use ColumnType as T;
    let (valid, hint) = match column_type {
        T::Boolean => (matches!(text, "true" | "false"), "true or false"),
        T::TinyInt => (is_integer::<i8>(text), "-128 to 127"),
        T::SmallInt => (is_integer::<i16>(text), "-32768 to 32767"),
        T::Int => (is_integer::<i32>(text), "a 32 bit integer"),
        T::BigInt => (is_integer::<i64>(text), "a 64 bit integer"),
        T::LargeInt => (is_integer::<i128>(text), "a 128 bit integer"),
        T::Float => (
            is_number(text) && text.parse::<f32>().is_ok_and(f32::is_finite),
            "a finite number",
        ),
        T::Double => (
            is_number(text) && text.parse::<f64>().is_ok_and(f64::is_finite),
            "a finite number",
        ),
        T::Decimal { precision, scale } => (
            is_decimal(text, *precision, *scale),
            "digits with a point, within precision and scale",
        ),
        T::Date => (
            has_form(text, "0000-00-00") && text.parse::<jiff::civil::Date>().is_ok(),
            "2026-01-31",
        ),
        T::DateTime => (is_date_time(text), "2026-01-31 12:00:00 (UTC)"),
        T::Json => (serde_json::from_str::<serde_json::Value>(text).is_ok(), "JSON"),
        T::Array(element) => (is_array(text, element), "a JSON array of such elements"),
        T::Varchar(max) if text.len() > *max as usize => {
            return Err(LiteralError::TooLong {
                text: text.to_owned(),
                column_type: column_type.clone(),
                length: text.len(),
                max: *max,
            });
        }
        T::Varchar(_) => return Ok(()),
    };
    if valid {
        return Ok(());
    }
    Err(LiteralError::Form {
        text: text.to_owned(),
        column_type: column_type.clone(),
        hint,
    })
}

/// As JSON writes it: no plus, no leading zeros.
fn is_integer<T: std::str::FromStr>(text: &str) -> bool {
    is_number(text) && text.parse::<T>().is_ok()
}

/// A number of JSON.
fn is_number(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let ends = text.ends_with(|c: char| c.is_ascii_digit());
    starts && ends && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn is_array(text: &str, element: &ColumnType) -> bool {
    use serde_json::Value;
    let Ok(elements) = serde_json::from_str::<Vec<Value>>(text) else {
        return false;
    };
    let text_like = matches!(
        element,
        ColumnType::Varchar(_) | ColumnType::Date | ColumnType::DateTime
    );
    elements.iter().all(|value| match value {
        Value::Null => true,
        Value::String(text) => text_like && check(text, element).is_ok(),
        Value::Bool(_) | Value::Number(_) => !text_like && check(&value.to_string(), element).is_ok(),
        Value::Array(_) | Value::Object(_) => false,
    })
}

/// Whether every digit stands where the form has one, and everything else is the form's.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(c, f)| match f {
            b'0' => c.is_ascii_digit(),
            f => c == f,
        })
}

fn is_decimal(text: &str, precision: u8, scale: u8) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !is_number(text) {
        return false;
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let whole_digits = whole.trim_start_matches('0').len();
    !whole.is_empty()
        && !digits.ends_with('.')
        && all_digits(whole)
        && all_digits(fraction)
        && fraction.len() <= usize::from(scale)
        && whole_digits <= usize::from(precision - scale.min(precision))
}

/// StarRocks' text form, to the microsecond; `T` may stand for the blank, and then `Z` may follow: it is UTC anyway.
fn is_date_time(text: &str) -> bool {
    let (moment, zulu) = match text.strip_suffix('Z') {
        Some(moment) => (moment, true),
        None => (text, false),
    };
    let (seconds, fraction) = match moment.split_once('.') {
        Some((seconds, fraction)) => (seconds, Some(fraction)),
        None => (moment, None),
    };
    let form =
        has_form(seconds, "0000-00-00T00:00:00") || (!zulu && has_form(seconds, "0000-00-00 00:00:00"));
    let fraction_fits =
        fraction.is_none_or(|f| (1..=6).contains(&f.len()) && f.bytes().all(|c| c.is_ascii_digit()));
    // A leap second is none of StarRocks' seconds.
    form && fraction_fits && !seconds.ends_with(":60") && seconds.parse::<jiff::civil::DateTime>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        text: String,
        #[serde(rename = "type")]
        column_type: ColumnType,
        /// What the relay stores, as JSON; absent: refused.
        json: Option<serde_json::Value>,
    }

    #[test]
    fn literals_are_those_of_the_shared_vectors() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../testdata/literal-vectors.json")).unwrap();
        assert!(vectors.len() > 60, "{}", vectors.len());
        let wrong: Vec<String> = vectors
            .iter()
            .filter(|v| check(&v.text, &v.column_type).is_ok() != v.json.is_some())
            .map(|v| format!("{:?} as {}: {:?}", v.text, v.column_type, v.json))
            .collect();
        assert_eq!(wrong, Vec::<String>::new());
    }
}
