//! The headers of a Stream Load, typed. A bad value fails the header phase, before any body is read.

use std::time::Duration;

use hyper::HeaderMap;

use super::decode::Compression;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
}

#[derive(Debug, Clone)]
pub struct LoadHeaders {
    pub label: Option<String>,
    pub format: Format,
    pub compression: Compression,
    /// Names of the `columns` header in order; `None` maps JSON keys to columns by name.
    pub columns: Option<Vec<String>>,
    pub column_separator: String,
    pub row_delimiter: String,
    pub skip_header: usize,
    pub trim_space: bool,
    pub enclose: Option<char>,
    pub max_filter_ratio: f64,
    /// The `timeout` header, when sent.
    pub timeout: Option<Duration>,
    pub strict_mode: bool,
    pub timezone: String,
    pub jsonpaths: Option<Vec<String>>,
    pub json_root: Option<String>,
    pub strip_outer_array: bool,
    pub ignore_json_size: bool,
    pub partial_update: bool,
    pub merge_condition: Option<String>,
}

/// StarRocks reads DATETIME strings that carry a zone in this one unless told otherwise.
pub const DEFAULT_TIMEZONE: &str = "Asia/Shanghai";
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_TIMEOUT: u64 = 259_200;

impl LoadHeaders {
    pub fn parse(headers: &HeaderMap) -> Result<Self, String> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        let flag = |name: &str, otherwise: bool, error: &str| match text(name) {
            None => Ok(otherwise),
            Some(v) if v.eq_ignore_ascii_case("true") => Ok(true),
            Some(v) if v.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(error.to_owned()),
        };
        for unsupported in ["where", "envelope", "enable_merge_commit"] {
            if headers.contains_key(unsupported) {
                return Err(format!(
                    "the stand-in does not implement the header {unsupported}"
                ));
            }
        }
        let (format, by_format) = parse_format(text("format"))?;
        Ok(Self {
            label: text("label")
                .filter(|l| !l.is_empty())
                .map(check_label)
                .transpose()?,
            format,
            compression: parse_compression(text("compression"), text("content-encoding"), by_format)?,
            columns: text("columns")
                .filter(|c| !c.is_empty())
                .map(parse_columns)
                .transpose()?,
            column_separator: unescape(text("column_separator").unwrap_or("\t")),
            row_delimiter: unescape(text("row_delimiter").unwrap_or("\n")),
            skip_header: match text("skip_header") {
                None => 0,
                Some(v) => v
                    .parse()
                    .map_err(|_| "Invalid csv load format: skip_header must be >= 0".to_owned())?,
            },
            trim_space: flag(
                "trim_space",
                false,
                "Invalid csv load format: trim_space must be bool type",
            )?,
            enclose: text("enclose").and_then(|e| e.chars().next()),
            max_filter_ratio: match text("max_filter_ratio") {
                None => 0.0,
                Some(v) => v
                    .parse()
                    .map_err(|_| "Invalid max_filter_ratio format".to_owned())?,
            },
            timeout: text("timeout").map(parse_timeout).transpose()?,
            strict_mode: flag(
                "strict_mode",
                false,
                "Invalid strict mode format. Must be bool type",
            )?,
            timezone: text("timezone").unwrap_or(DEFAULT_TIMEZONE).to_owned(),
            jsonpaths: text("jsonpaths").map(parse_jsonpaths).transpose()?,
            json_root: text("json_root").filter(|r| !r.is_empty()).map(str::to_owned),
            strip_outer_array: text("strip_outer_array").is_some_and(|v| v.eq_ignore_ascii_case("true")),
            ignore_json_size: text("ignore_json_size").is_some_and(|v| v.eq_ignore_ascii_case("true")),
            partial_update: flag(
                "partial_update",
                false,
                "Invalid partial update flag format. Must be bool type",
            )?,
            merge_condition: text("merge_condition")
                .filter(|m| !m.is_empty())
                .map(str::to_owned),
        })
    }
}

fn parse_format(format: Option<&str>) -> Result<(Format, Option<Compression>), String> {
    let Some(format) = format.filter(|f| !f.is_empty()) else {
        return Ok((Format::Csv, None));
    };
    match format.to_ascii_lowercase().as_str() {
        "csv" => Ok((Format::Csv, None)),
        "json" => Ok((Format::Json, None)),
        "gzip" => Ok((Format::Csv, Some(Compression::Gzip))),
        "deflate" => Ok((Format::Csv, Some(Compression::Deflate))),
        "zstd" => Ok((Format::Csv, Some(Compression::Zstd))),
        "lz4" => Ok((Format::Csv, Some(Compression::Lz4Frame))),
        _ => Err(format!("unknown data format, format={format}")),
    }
}

fn parse_compression(
    compression: Option<&str>,
    encoding: Option<&str>,
    by_format: Option<Compression>,
) -> Result<Compression, String> {
    let named = match (compression, encoding) {
        (Some(_), Some(_)) => {
            return Err("Only one of http header content-encoding and compression can be set".into());
        }
        (Some(name), None) | (None, Some(name)) => Some(name),
        (None, None) => None,
    };
    match named {
        None => Ok(by_format.unwrap_or(Compression::None)),
        Some(name) => Compression::parse(name).ok_or_else(|| format!("unknown compression type {name}")),
    }
}

/// `^[-\w]{1,128}$`
pub fn check_label(label: &str) -> Result<String, String> {
    let legal = (1..=128).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if legal {
        Ok(label.to_owned())
    } else {
        Err(format!(
            "Label format error. regex: ^[-\\w]{{1,128}}$, label: {label}"
        ))
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let secs: i64 = text.parse().map_err(|_| "Invalid timeout format".to_owned())?;
    match u64::try_from(secs) {
        Ok(secs) if (1..=MAX_TIMEOUT).contains(&secs) => Ok(Duration::from_secs(secs)),
        _ => Err(format!(
            "Invalid timeout: {secs}. Timeout should between 1 and {MAX_TIMEOUT} seconds"
        )),
    }
}

fn parse_columns(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for part in text.split(',') {
        let name = part.trim();
        if name.contains('=') || name.contains('(') {
            return Err(format!(
                "the stand-in does not evaluate expressions of the header columns: {name}"
            ));
        }
        names.push(name.trim_matches('`').to_owned());
    }
    Ok(names)
}

fn parse_jsonpaths(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|_| format!("Invalid json path: {text}"))
}

/// Separators are written escaped: `\t`, `\n`, `\x01`.
fn unescape(text: &str) -> String {
    if let Some(hex) = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x"))
        && let Ok(byte) = u8::from_str_radix(hex, 16)
        && byte.is_ascii()
    {
        return char::from(byte).to_string();
    }
    text.replace("\\t", "\t")
        .replace("\\n", "\n")
        .replace("\\r", "\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&'static str, &'static str)]) -> Result<LoadHeaders, String> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(k, v)| {
                (
                    hyper::header::HeaderName::from_static(k),
                    hyper::header::HeaderValue::from_static(v),
                )
            })
            .collect();
        LoadHeaders::parse(&headers)
    }

    #[test]
    fn defaults_are_the_servers() {
        let h = parse(&[]).unwrap();
        assert_eq!(h.format, Format::Csv);
        assert_eq!(h.timezone, "Asia/Shanghai");
        assert!(!h.strict_mode);
        assert_eq!(h.timeout, None);
    }

    #[test]
    fn bad_values_speak_the_servers_words() {
        for (header, value, text) in [
            ("timeout", "x", "Invalid timeout format"),
            (
                "strict_mode",
                "yes",
                "Invalid strict mode format. Must be bool type",
            ),
            ("format", "xml", "unknown data format, format=xml"),
        ] {
            assert_eq!(parse(&[(header, value)]).unwrap_err(), text);
        }
        let both = parse(&[("compression", "gzip"), ("content-encoding", "gzip")]).unwrap_err();
        assert_eq!(
            both,
            "Only one of http header content-encoding and compression can be set"
        );
        assert!(parse(&[("label", "a b")]).is_err());
        assert!(parse(&[("timeout", "0")]).is_err());
    }
}
