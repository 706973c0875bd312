//! One cell: the value model shared by loads, storage and queries, and how StarRocks prints it.

use std::cmp::Ordering;
use std::fmt::Write as _;

use jiff::civil::{Date, DateTime};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// LARGEINT, and DECIMAL scaled by its type's scale.
    Big(i128),
    Float(f64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 00:00:00, no zone.
    DateTime(i64),
    Str(Box<str>),
    Bytes(Box<[u8]>),
    /// Normalised text, `{"a": 1}`.
    Json(Box<str>),
    Array(Box<[Value]>),
    /// STRUCT and MAP: pairs in declared or written order.
    Pairs(Box<[(Value, Value)]>),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub fn str(s: impl Into<Box<str>>) -> Self {
        Self::Str(s.into())
    }

    /// Order inside one type; values of one column always share a variant.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Big(a), Self::Big(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::DateTime(a), Self::DateTime(b)) => a.cmp(b),
            (Self::Str(a), Self::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => Ordering::Equal,
        }
    }

    /// The value as the text protocol prints it; `scale` is the column's decimal scale. NULL prints as `NULL`.
    pub fn render(&self, scale: u8) -> String {
        match self {
            Self::Null => "NULL".into(),
            Self::Bool(b) => if *b { "1" } else { "0" }.into(),
            Self::Int(v) => v.to_string(),
            Self::Big(v) => render_decimal(*v, scale),
            Self::Float(v) => render_float(*v),
            Self::Date(days) => render_date(*days),
            Self::DateTime(us) => render_datetime(*us),
            Self::Str(s) | Self::Json(s) => s.to_string(),
            Self::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(|v| v.render_nested(scale)).collect();
                format!("[{}]", items.join(","))
            }
            Self::Pairs(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(k, v)| format!("{}:{}", k.render_nested(scale), v.render_nested(scale)))
                    .collect();
                format!("{{{}}}", pairs.join(","))
            }
        }
    }

    /// Inside an array strings are quoted and NULL is `null`.
    fn render_nested(&self, scale: u8) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Str(_) | Self::Date(_) | Self::DateTime(_) | Self::Bytes(_) => {
                format!("\"{}\"", self.render(scale))
            }
            other => other.render(scale),
        }
    }
}

pub fn render_decimal(v: i128, scale: u8) -> String {
    if scale == 0 {
        return v.to_string();
    }
    let digits = format!("{:0>width$}", v.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    format!("{}{whole}.{fraction}", if v < 0 { "-" } else { "" })
}

/// Shortest text that reads back as the same number; exponents as C prints them (`1e+20`).
pub fn render_float(v: f64) -> String {
    if v.is_nan() {
        return "nan".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "inf" } else { "-inf" }.into();
    }
    let exponent = if v == 0.0 {
        0
    } else {
        v.abs().log10().floor() as i32
    };
    if (-5..16).contains(&exponent) {
        return v.to_string();
    }
    let text = format!("{v:e}");
    match text.split_once('e') {
        Some((mantissa, exp)) if !exp.starts_with('-') => format!("{mantissa}e+{exp:0>2}"),
        Some((mantissa, exp)) => format!("{mantissa}e-{:0>2}", &exp[1..]),
        None => text,
    }
}

fn civil_from_days(days: i32) -> Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.saturating_add(jiff::Span::new().days(i64::from(days)))
}

pub fn render_date(days: i32) -> String {
    let d = civil_from_days(days);
    format!("{:04}-{:02}-{:02}", d.year(), d.month(), d.day())
}

pub fn render_datetime(us: i64) -> String {
    let days = us.div_euclid(86_400_000_000);
    let rest = us.rem_euclid(86_400_000_000);
    let mut out = render_date(i32::try_from(days).unwrap_or(0));
    let (secs, micros) = (rest / 1_000_000, rest % 1_000_000);
    let _ = write!(out, " {:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60);
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
    out
}

pub fn days_of(date: Date) -> i32 {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.since((jiff::Unit::Day, epoch))
        .map_or(0, |span| span.get_days())
}

pub fn micros_of(at: DateTime) -> i64 {
    let time = at.time();
    let secs = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    i64::from(days_of(at.date())) * 86_400_000_000
        + secs * 1_000_000
        + i64::from(time.subsec_nanosecond()) / 1000
}

/// JSON as StarRocks stores and prints it: keys sorted, `": "` and `", "` between.
pub fn render_json(value: &serde_json::Value) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    out
}

fn write_json(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value as J;
    match value {
        J::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_json(item, out);
            }
            out.push(']');
        }
        J::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (i, (key, item)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                let _ = write!(out, "{}: ", J::String(key.clone()));
                write_json(item, out);
            }
            out.push('}');
        }
        J::Number(n) if n.is_f64() => out.push_str(&render_float(n.as_f64().unwrap_or(f64::NAN))),
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!(render_decimal(-5, 2), "-0.05");
        assert_eq!(render_decimal(123_456, 3), "123.456");
        assert_eq!(render_decimal(7, 0), "7");
    }

    #[test]
    fn datetimes_print_micros_only_when_there_are_any() {
        assert_eq!(render_datetime(0), "1970-01-01 00:00:00");
        assert_eq!(render_datetime(1_500_000), "1970-01-01 00:00:01.500000");
        assert_eq!(render_datetime(-1_000_000), "1969-12-31 23:59:59");
    }

    #[test]
    fn floats_print_like_c() {
        assert_eq!(render_float(1.0), "1");
        assert_eq!(render_float(0.1), "0.1");
        assert_eq!(render_float(1e20), "1e+20");
        assert_eq!(render_float(1.5e-7), "1.5e-07");
    }

    #[test]
    fn json_is_sorted_and_spaced() {
        let v: serde_json::Value = serde_json::from_str(r#"{"b":1,"a":[1,"x"]}"#).unwrap();
        assert_eq!(render_json(&v), r#"{"a": [1, "x"], "b": 1}"#);
    }
}
