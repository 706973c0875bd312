//! Durations as Gateway API writes them (GEP-2257): `1h30m`, `200ms`. Kept as text, so an object reads back as written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// GEP-2257: one to four numbers of at most five digits, each with `h`, `m`, `s` or `ms`.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A duration as text. The API server holds it to [`PATTERN`]; [`Duration::parse`] holds everybody else to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

/// The text is not a GEP-2257 duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write it like 1h30m, 30s or 200ms")]
pub struct InvalidDuration(pub String);

impl Duration {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn parse(&self) -> Result<std::time::Duration, InvalidDuration> {
        let invalid = || InvalidDuration(self.0.clone());
        if !is_gep2257(&self.0) {
            return Err(invalid());
        }
        self.0
            .parse::<kube::core::Duration>()
            .map(Into::into)
            .map_err(|_| invalid())
    }
}

/// [`PATTERN`] by hand: a regular expression engine is not worth a dependency here.
fn is_gep2257(text: &str) -> bool {
    let mut rest = text;
    for parts in 0..=4 {
        if rest.is_empty() {
            return parts > 0;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Some(after) = rest.get(digits..) else {
            return false;
        };
        let unit = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        if !(1..=5).contains(&digits) || !matches!(&after[..unit], "h" | "m" | "s" | "ms") {
            return false;
        }
        rest = &after[unit..];
    }
    false
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 28, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_api_durations_parse() {
        let millis = |text: &str| Duration::new(text).parse().map(|d| d.as_millis());
        assert_eq!(millis("200ms"), Ok(200));
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("168h"), Ok(604_800_000));
        assert_eq!(millis("0s"), Ok(0));
        for bad in [
            "",
            "5",
            "1d",
            "1.5h",
            "-1s",
            "1h 30m",
            "123456s",
            "1h1m1s1ms1ms",
            "1us",
        ] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
