//! `information_schema` spells types as MySQL would: `tinyint(1)` is BOOLEAN, `bigint(20) unsigned` is LARGEINT. This is
//! the one table between that spelling and [`ColumnType`].

use tributary_crds::column::{ColumnType, STRING_LEN};

/// The type behind a `COLUMN_TYPE`; `None` for one that Tributary does not make (CHAR, STRUCT, BITMAP, …).
pub fn column_type(text: &str) -> Option<ColumnType> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some(inner) = lower.strip_prefix("array<") {
        let element = column_type(inner.strip_suffix('>')?)?;
        return element.is_scalar().then(|| ColumnType::Array(Box::new(element)));
    }
    let (base, unsigned) = match lower.strip_suffix(" unsigned") {
        Some(base) => (base.trim(), true),
        None => (lower.as_str(), false),
    };
    let (name, args) = match base.split_once('(') {
        Some((name, rest)) => (name.trim(), Some(rest.strip_suffix(')')?)),
        None => (base, None),
    };
    match (name, args, unsigned) {
        ("boolean", None, false) | ("tinyint", Some("1"), false) => Some(ColumnType::Boolean),
        ("tinyint", _, false) => Some(ColumnType::TinyInt),
        ("smallint", _, false) => Some(ColumnType::SmallInt),
        ("int" | "integer", _, false) => Some(ColumnType::Int),
        ("bigint", _, false) => Some(ColumnType::BigInt),
        ("bigint", _, true) | ("largeint", _, false) => Some(ColumnType::LargeInt),
        ("float", _, false) => Some(ColumnType::Float),
        ("double", _, false) => Some(ColumnType::Double),
        ("date", None, false) => Some(ColumnType::Date),
        ("datetime", _, false) => Some(ColumnType::DateTime),
        ("json", None, false) => Some(ColumnType::Json),
        ("string", None, false) => Some(ColumnType::Varchar(STRING_LEN)),
        ("varchar", Some(length), false) => length.trim().parse().ok().map(ColumnType::Varchar),
        ("decimal" | "decimalv2" | "decimal32" | "decimal64" | "decimal128", Some(args), false) => {
            let (precision, scale) = args.split_once(',')?;
            Some(ColumnType::Decimal {
                precision: precision.trim().parse().ok()?,
                scale: scale.trim().parse().ok()?,
            })
        }
        _ => None,
    }
}

/// How `information_schema` spells a type; the inverse of [`column_type`].
pub fn information_schema_type(column: &ColumnType) -> String {
    match column {
        ColumnType::Boolean => "tinyint(1)".to_owned(),
        ColumnType::TinyInt => "tinyint(4)".to_owned(),
        ColumnType::SmallInt => "smallint(6)".to_owned(),
        ColumnType::Int => "int(11)".to_owned(),
        ColumnType::BigInt => "bigint(20)".to_owned(),
        ColumnType::LargeInt => "bigint(20) unsigned".to_owned(),
        ColumnType::Float => "float".to_owned(),
        ColumnType::Double => "double".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
        ColumnType::Varchar(length) => format!("varchar({length})"),
        ColumnType::Date => "date".to_owned(),
        ColumnType::DateTime => "datetime".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Array(element) => format!("array<{}>", information_schema_type(element)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_round_trip() {
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
            "ARRAY<BOOLEAN>",
        ] {
            let wanted: ColumnType = text.parse().expect(text);
            assert_eq!(
                column_type(&information_schema_type(&wanted)),
                Some(wanted),
                "{text}"
            );
        }
    }

    #[test]
    fn spellings_of_the_server_are_read_and_foreign_types_are_not_guessed() {
        assert_eq!(
            column_type("DECIMAL128(38, 9)"),
            Some(ColumnType::Decimal {
                precision: 38,
                scale: 9
            })
        );
        assert_eq!(column_type("largeint(40)"), Some(ColumnType::LargeInt));
        for text in [
            "char(8)",
            "struct<a int>",
            "map<varchar(1),int>",
            "bitmap",
            "varbinary",
            "int unsigned",
            "",
        ] {
            assert_eq!(column_type(text), None, "{text}");
        }
    }
}
