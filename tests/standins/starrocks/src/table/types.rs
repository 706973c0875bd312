//! Column types of StarRocks and how they print in SHOW CREATE TABLE and information_schema.

use std::fmt;

/// `STRING` is a VARCHAR of this length.
pub const STRING_LENGTH: u32 = 65_533;
/// The longest VARCHAR of 2.1 – 4.1.
pub const MAX_VARCHAR_LENGTH: u32 = 1_048_576;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    LargeInt,
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    Date,
    DateTime,
    Char(u32),
    Varchar(u32),
    Varbinary,
    Json,
    Array(Box<ColumnType>),
    Map(Box<ColumnType>, Box<ColumnType>),
    Struct(Vec<(String, ColumnType)>),
}

impl ColumnType {
    pub fn is_complex(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Map(..) | Self::Struct(_))
    }

    /// The types a primary key (or a sort key) may have.
    pub fn allowed_in_primary_key(&self) -> bool {
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

    /// merge_condition refuses strings, JSON and binary.
    pub fn allowed_as_merge_condition(&self) -> bool {
        !self.is_complex()
            && !matches!(
                self,
                Self::Varchar(_) | Self::Char(_) | Self::Json | Self::Varbinary
            )
    }

    /// DATA_TYPE of information_schema.columns.
    pub fn data_type(&self) -> &'static str {
        match self {
            Self::Boolean => "tinyint",
            Self::TinyInt => "tinyint",
            Self::SmallInt => "smallint",
            Self::Int => "int",
            Self::BigInt => "bigint",
            Self::LargeInt => "bigint unsigned",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { .. } => "decimal",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Char(_) => "char",
            Self::Varchar(_) => "varchar",
            Self::Varbinary => "varbinary",
            Self::Json => "json",
            Self::Array(_) => "array",
            Self::Map(..) => "map",
            Self::Struct(_) => "struct",
        }
    }

    /// COLUMN_TYPE of information_schema.columns: display widths, BOOLEAN as `tinyint(1)`.
    pub fn column_type(&self) -> String {
        match self {
            Self::Boolean => "tinyint(1)".into(),
            Self::TinyInt => "tinyint(4)".into(),
            Self::SmallInt => "smallint(6)".into(),
            Self::Int => "int(11)".into(),
            Self::BigInt => "bigint(20)".into(),
            Self::LargeInt => "bigint(20) unsigned".into(),
            Self::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            Self::Array(of) => format!("array<{}>", of.column_type()),
            Self::Map(k, v) => format!("map<{},{}>", k.column_type(), v.column_type()),
            Self::Struct(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(n, t)| format!("{n} {}", t.column_type()))
                    .collect();
                format!("struct<{}>", fields.join(", "))
            }
            other => other.to_string(),
        }
    }

    /// COLUMN_SIZE: the precision of numbers, the length of strings.
    pub fn column_size(&self) -> Option<i64> {
        Some(match self {
            Self::Boolean => 1,
            Self::TinyInt => 3,
            Self::SmallInt => 5,
            Self::Int => 10,
            Self::BigInt => 19,
            Self::LargeInt => 39,
            Self::Float => 7,
            Self::Double => 15,
            Self::Decimal { precision, .. } => i64::from(*precision),
            Self::Date => 10,
            Self::DateTime => 19,
            Self::Char(n) | Self::Varchar(n) => i64::from(*n),
            _ => return None,
        })
    }

    pub fn decimal_digits(&self) -> Option<i64> {
        Some(match self {
            Self::Boolean | Self::TinyInt | Self::SmallInt | Self::Int | Self::BigInt | Self::LargeInt => 0,
            Self::Float => 7,
            Self::Double => 15,
            Self::Decimal { scale, .. } => i64::from(*scale),
            _ => return None,
        })
    }

    pub fn string_length(&self) -> Option<i64> {
        match self {
            Self::Char(n) | Self::Varchar(n) => Some(i64::from(*n)),
            _ => None,
        }
    }

    /// May a column of this type become `to` by MODIFY COLUMN (catalog/ColumnType.java)?
    pub fn can_change_to(&self, to: &ColumnType) -> Result<(), String> {
        use ColumnType::*;
        if self == to {
            return Ok(());
        }
        if let (Varchar(from), Varchar(to)) | (Char(from), Char(to)) | (Char(from), Varchar(to)) = (self, to)
            && to < from
        {
            return Err("Cannot shorten string length".into());
        }
        let rank = |t: &ColumnType| match t {
            TinyInt => Some(1),
            SmallInt => Some(2),
            Int => Some(3),
            BigInt => Some(4),
            LargeInt => Some(5),
            _ => None,
        };
        let allowed = match (self, to) {
            (a, b) if rank(a).is_some() && rank(b).is_some() => rank(b) > rank(a),
            (TinyInt | SmallInt | Int | BigInt | Float, Double) => true,
            (Int, Date) => true,
            (
                TinyInt | SmallInt | Int | BigInt | LargeInt | Float | Double | Char(_) | Varchar(_),
                Varchar(_),
            ) => true,
            (Char(_), Char(_)) => true,
            (Varchar(_), t) => {
                rank(t).is_some() || matches!(t, Float | Double | Date | Decimal { .. } | Json)
            }
            (
                Decimal {
                    precision: p,
                    scale: s,
                },
                Decimal {
                    precision: p2,
                    scale: s2,
                },
            ) => s <= s2 && p - s <= p2 - s2,
            (Decimal { precision, .. }, Varchar(n)) => *n >= u32::from(*precision) + 2,
            (Json, Varchar(n)) => *n > 16,
            (Date, DateTime) | (DateTime, Date) => true,
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("Can not change {} to {}", upper(self), upper(to)))
        }
    }
}

fn upper(t: &ColumnType) -> String {
    t.to_string().split('(').next().unwrap_or_default().to_uppercase()
}

/// As SHOW CREATE TABLE prints it.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::TinyInt => f.write_str("tinyint(4)"),
            Self::SmallInt => f.write_str("smallint(6)"),
            Self::Int => f.write_str("int(11)"),
            Self::BigInt => f.write_str("bigint(20)"),
            Self::LargeInt => f.write_str("largeint(40)"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::Date => f.write_str("date"),
            Self::DateTime => f.write_str("datetime"),
            Self::Char(n) => write!(f, "char({n})"),
            Self::Varchar(n) => write!(f, "varchar({n})"),
            Self::Varbinary => f.write_str("varbinary"),
            Self::Json => f.write_str("json"),
            Self::Array(of) => write!(f, "array<{of}>"),
            Self::Map(k, v) => write!(f, "map<{k},{v}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, (name, t)) in fields.iter().enumerate() {
                    write!(f, "{}{name} {t}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(">")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_widen_and_never_narrow() {
        assert!(ColumnType::Int.can_change_to(&ColumnType::BigInt).is_ok());
        assert!(ColumnType::BigInt.can_change_to(&ColumnType::Int).is_err());
        assert!(ColumnType::LargeInt.can_change_to(&ColumnType::Double).is_err());
    }

    #[test]
    fn strings_cannot_be_shortened() {
        let err = ColumnType::Varchar(64)
            .can_change_to(&ColumnType::Varchar(32))
            .unwrap_err();
        assert_eq!(err, "Cannot shorten string length");
        assert!(
            ColumnType::Varchar(32)
                .can_change_to(&ColumnType::Varchar(64))
                .is_ok()
        );
    }

    #[test]
    fn boolean_becomes_nothing() {
        for to in [ColumnType::Int, ColumnType::Varchar(10), ColumnType::BigInt] {
            assert!(ColumnType::Boolean.can_change_to(&to).is_err());
        }
    }

    #[test]
    fn types_print_as_the_server_prints_them() {
        assert_eq!(ColumnType::Boolean.column_type(), "tinyint(1)");
        assert_eq!(ColumnType::LargeInt.column_type(), "bigint(20) unsigned");
        assert_eq!(
            ColumnType::Array(Box::new(ColumnType::Varchar(5))).to_string(),
            "array<varchar(5)>"
        );
        assert_eq!(
            ColumnType::Decimal {
                precision: 38,
                scale: 9
            }
            .to_string(),
            "decimal(38, 9)"
        );
    }
}
