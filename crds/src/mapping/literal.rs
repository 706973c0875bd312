//! Constants and defaults are written as text and read by the column's type; what no reader could read is refused here.

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
        T::TinyInt => (text.parse::<i8>().is_ok(), "-128 to 127"),
        T::SmallInt => (text.parse::<i16>().is_ok(), "-32768 to 32767"),
        T::Int => (text.parse::<i32>().is_ok(), "a 32 bit integer"),
        T::BigInt => (text.parse::<i64>().is_ok(), "a 64 bit integer"),
        T::LargeInt => (text.parse::<i128>().is_ok(), "a 128 bit integer"),
        T::Float => (text.parse::<f32>().is_ok_and(f32::is_finite), "a finite number"),
        T::Double => (text.parse::<f64>().is_ok_and(f64::is_finite), "a finite number"),
        T::Decimal { precision, scale } => (
            is_decimal(text, *precision, *scale),
            "digits with a point, within precision and scale",
        ),
        T::Date => (text.parse::<jiff::civil::Date>().is_ok(), "2026-01-31"),
        T::DateTime => (is_date_time(text), "2026-01-31 12:00:00 (UTC)"),
        T::Json => (serde_json::from_str::<serde_json::Value>(text).is_ok(), "JSON"),
        T::Array(_) => (
            serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok(),
            "a JSON array",
        ),
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

fn is_decimal(text: &str, precision: u8, scale: u8) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
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

/// StarRocks' text form; a `T` and a closing `Z` are read too.
fn is_date_time(text: &str) -> bool {
    let civil = text.strip_suffix('Z').unwrap_or(text);
    civil.len() > 10 && civil.parse::<jiff::civil::DateTime>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_by_the_type_of_the_column() {
        for (text, of, fits) in [
            ("true", "BOOLEAN", true),
            ("1", "BOOLEAN", false),
            ("127", "TINYINT", true),
            ("128", "TINYINT", false),
            ("-9223372036854775808", "BIGINT", true),
            ("1.5", "INT", false),
            ("1.5", "DOUBLE", true),
            ("NaN", "DOUBLE", false),
            ("12.34", "DECIMAL(4,2)", true),
            ("123.4", "DECIMAL(4,2)", false),
            ("1.234", "DECIMAL(4,2)", false),
            ("1.", "DECIMAL(4,2)", false),
            ("2026-02-29", "DATE", false),
            ("2026-02-28", "DATE", true),
            ("2026-02-28 12:00:00", "DATETIME", true),
            ("2026-02-28T12:00:00.5Z", "DATETIME", true),
            ("2026-02-28", "DATETIME", false),
            ("{}", "JSON", true),
            ("{", "JSON", false),
            ("[1,2]", "ARRAY<INT>", true),
            ("1", "ARRAY<INT>", false),
            ("ZZ", "VARCHAR(2)", true),
            ("äß", "VARCHAR(3)", false),
        ] {
            let column_type = of.parse().unwrap();
            assert_eq!(check(text, &column_type).is_ok(), fits, "{text} as {of}");
        }
    }
}
