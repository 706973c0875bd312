//! Kubernetes quantities as people write them: `250m`, `4Mi`, `2`. Kept as text, so an object reads back as written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// The part of the quantity grammar that configuration needs: no exponents, no signs.
pub const PATTERN: &str = "^[0-9]{1,15}([.][0-9]{1,6})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$";

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity of bytes: write it like 512Ki, 4Mi or 1Gi")]
pub struct InvalidQuantity(pub String);

impl Quantity {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The quantity in thousandths: CPU in millicores, memory in thousandths of a byte.
    pub fn millis(&self) -> Result<u128, InvalidQuantity> {
        let invalid = || InvalidQuantity(self.0.clone());
        let digits = self
            .0
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, suffix) = self.0.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.len() > 15 || fraction.len() > 6 {
            return Err(invalid());
        }
        let micros = whole.parse::<u128>().map_err(|_| invalid())? * 1_000_000
            + format!("{fraction:0<6}").parse::<u128>().map_err(|_| invalid())?;
        let unit = unit_in_millis(suffix).ok_or_else(invalid)?;
        Ok(micros * unit / 1_000_000)
    }

    /// The quantity as whole bytes, rounded up.
    pub fn bytes(&self) -> Result<u64, InvalidQuantity> {
        u64::try_from(self.millis()?.div_ceil(1000)).map_err(|_| InvalidQuantity(self.0.clone()))
    }
}

fn unit_in_millis(suffix: &str) -> Option<u128> {
    Some(match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        _ => return None,
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// A quantity may be written as an integer (`cpu: 1`).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(u64),
            String(String),
        }
        Ok(Self(match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text,
        }))
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 24, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_their_size() {
        let bytes = |text: &str| Quantity::new(text).bytes();
        assert_eq!(bytes("4Mi"), Ok(4 << 20));
        assert_eq!(bytes("1.5Gi"), Ok(3 << 29));
        assert_eq!(bytes("128"), Ok(128));
        assert_eq!(bytes("2M"), Ok(2_000_000));
        assert_eq!(Quantity::new("250m").millis(), Ok(250));
        assert_eq!(Quantity::new("1").millis(), Ok(1000));
        for bad in ["", "Mi", "-1", "1e3", "4mb", "1.2.3", "1 Gi"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
