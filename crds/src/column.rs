//! Column types of the hot store. The one place to start when a type is added: the compiler names the rest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest `VARCHAR` that every supported StarRocks (3.2 to 4.1) accepts, in bytes.
pub const VARCHAR_MAX: u32 = 1_048_576;
/// Length of StarRocks' `STRING`, in bytes.
pub const STRING_LEN: u32 = 65_533;

/// A StarRocks column type as a mapping may name it. Text form: `BIGINT`, `VARCHAR(64)`, `DECIMAL(38,2)`, `ARRAY<INT>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    LargeInt,
    Float,
    Double,
    /// Precision 1..=38, scale 0..=precision.
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Length in bytes; always explicit, because StarRocks reads a bare `VARCHAR` as `VARCHAR(1)`.
    Varchar(u32),
    Date,
    /// Microseconds, no zone; Tributary stores UTC.
    DateTime,
    Json,
    /// Elements are scalars; anything mixed or nested belongs in `JSON`.
    Array(Box<ColumnType>),
}

/// Why a type text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnTypeError {
    #[error("unknown column type {0:?}: use {KNOWN}")]
    Unknown(String),
    #[error(
        "VARCHAR needs a length in bytes (1 to {VARCHAR_MAX}): VARCHAR without one is VARCHAR(1) to StarRocks"
    )]
    VarcharLength,
    #[error("DECIMAL needs (precision, scale) with precision 1 to 38 and scale 0 to precision")]
    Decimal,
    #[error("ARRAY elements must be scalars; use JSON for {0}")]
    ArrayElement(String),
}

const KNOWN: &str = "BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, LARGEINT, FLOAT, DOUBLE, DECIMAL(p,s), VARCHAR(n), STRING, DATE, DATETIME, JSON, ARRAY<scalar>";

impl ColumnType {
    /// A number; its values are JSON numbers, or strings of digits where JSON's have too few.
    pub fn is_number(&self) -> bool {
        match self {
            Self::TinyInt
            | Self::SmallInt
            | Self::Int
            | Self::BigInt
            | Self::LargeInt
            | Self::Float
            | Self::Double
            | Self::Decimal { .. } => true,
            Self::Boolean | Self::Varchar(_) | Self::Date | Self::DateTime | Self::Json | Self::Array(_) => {
                false
            }
        }
    }

    /// Whether StarRocks takes this type in a primary key, a sort key or a bucket column.
    /// Source: `CreateTableAnalyzer.analyzeKeysDesc`.
    pub fn is_key_type(&self) -> bool {
        matches!(
            self,
            Self::Boolean
                | Self::TinyInt
                | Self::SmallInt
                | Self::Int
                | Self::BigInt
                | Self::LargeInt
                | Self::Varchar(_)
                | Self::Date
                | Self::DateTime
        )
    }

    /// Whether one value of this type is a single scalar (everything but `JSON` and `ARRAY`).
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Json | Self::Array(_))
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::TinyInt => f.write_str("TINYINT"),
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Int => f.write_str("INT"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::LargeInt => f.write_str("LARGEINT"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            Self::Varchar(len) => write!(f, "VARCHAR({len})"),
            Self::Date => f.write_str("DATE"),
            Self::DateTime => f.write_str("DATETIME"),
            Self::Json => f.write_str("JSON"),
            Self::Array(element) => write!(f, "ARRAY<{element}>"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = ColumnTypeError;

    /// Case-insensitive; blanks around punctuation are allowed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        if let Some(inner) = upper.strip_prefix("ARRAY") {
            let element = inner
                .trim()
                .strip_prefix('<')
                .and_then(|t| t.strip_suffix('>'))
                .ok_or_else(|| ColumnTypeError::Unknown(text.to_owned()))?;
            let element: ColumnType = element.parse()?;
            if !element.is_scalar() {
                return Err(ColumnTypeError::ArrayElement(element.to_string()));
            }
            return Ok(Self::Array(Box::new(element)));
        }
        let (name, args) = match upper.split_once('(') {
            Some((name, rest)) => {
                let rest = rest
                    .strip_suffix(')')
                    .ok_or_else(|| ColumnTypeError::Unknown(text.to_owned()))?;
                (name.trim(), Some(rest))
            }
            None => (upper.as_str(), None),
        };
        match (name, args) {
            ("BOOLEAN", None) => Ok(Self::Boolean),
            ("TINYINT", None) => Ok(Self::TinyInt),
            ("SMALLINT", None) => Ok(Self::SmallInt),
            ("INT", None) => Ok(Self::Int),
            ("BIGINT", None) => Ok(Self::BigInt),
            ("LARGEINT", None) => Ok(Self::LargeInt),
            ("FLOAT", None) => Ok(Self::Float),
            ("DOUBLE", None) => Ok(Self::Double),
            ("DATE", None) => Ok(Self::Date),
            ("DATETIME", None) => Ok(Self::DateTime),
            ("JSON", None) => Ok(Self::Json),
            ("STRING", None) => Ok(Self::Varchar(STRING_LEN)),
            ("VARCHAR", args) => varchar(args),
            ("DECIMAL", args) => decimal(args),
            _ => Err(ColumnTypeError::Unknown(text.to_owned())),
        }
    }
}

fn varchar(args: Option<&str>) -> Result<ColumnType, ColumnTypeError> {
    args.and_then(|a| a.trim().parse().ok())
        .filter(|len| (1..=VARCHAR_MAX).contains(len))
        .map(ColumnType::Varchar)
        .ok_or(ColumnTypeError::VarcharLength)
}

fn decimal(args: Option<&str>) -> Result<ColumnType, ColumnTypeError> {
    let (precision, scale) = args
        .and_then(|a| a.split_once(','))
        .and_then(|(p, s)| Some((p.trim().parse().ok()?, s.trim().parse().ok()?)))
        .ok_or(ColumnTypeError::Decimal)?;
    if (1..=38).contains(&precision) && scale <= precision {
        Ok(ColumnType::Decimal { precision, scale })
    } else {
        Err(ColumnTypeError::Decimal)
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_prints_as_it_parses() {
        for text in [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "LARGEINT",
            "FLOAT",
            "DOUBLE",
            "DECIMAL(38,2)",
            "VARCHAR(24)",
            "DATE",
            "DATETIME",
            "JSON",
            "ARRAY<VARCHAR(64)>",
        ] {
            assert_eq!(text.parse::<ColumnType>().expect(text).to_string(), text);
        }
        assert_eq!(
            "array< decimal( 10 , 2 ) >"
                .parse::<ColumnType>()
                .unwrap()
                .to_string(),
            "ARRAY<DECIMAL(10,2)>"
        );
    }

    #[test]
    fn what_starrocks_would_misread_is_refused() {
        assert_eq!(
            "VARCHAR".parse::<ColumnType>(),
            Err(ColumnTypeError::VarcharLength)
        );
        assert_eq!(
            "VARCHAR(0)".parse::<ColumnType>(),
            Err(ColumnTypeError::VarcharLength)
        );
        assert_eq!(
            "DECIMAL(39,2)".parse::<ColumnType>(),
            Err(ColumnTypeError::Decimal)
        );
        assert_eq!(
            "DECIMAL(5,6)".parse::<ColumnType>(),
            Err(ColumnTypeError::Decimal)
        );
        assert!(matches!(
            "ARRAY<JSON>".parse::<ColumnType>(),
            Err(ColumnTypeError::ArrayElement(_))
        ));
        assert!(matches!(
            "CHAR(3)".parse::<ColumnType>(),
            Err(ColumnTypeError::Unknown(_))
        ));
    }
}
