//! What a `from` says: a path into the document or one of the `$…` sources.

use crate::column::ColumnType;
use crate::relay::{ColumnSource, MetaSource};

use super::path::{Path, PathError};

/// Every `$…` source with its text.
pub const META_SOURCES: [(&str, MetaSource); 9] = [
    ("$tenant", MetaSource::Tenant),
    ("$dataset", MetaSource::Dataset),
    ("$op", MetaSource::Op),
    ("$key", MetaSource::Key),
    ("$key.time", MetaSource::KeyTime),
    ("$source.ts", MetaSource::SourceTs),
    ("$topic", MetaSource::Topic),
    ("$partition", MetaSource::Partition),
    ("$offset", MetaSource::Offset),
];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FromError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("unknown source {0:?}: use one of {known}, or a path", known = known())]
    UnknownSource(String),
}

fn known() -> String {
    META_SOURCES.map(|(text, _)| text).join(", ")
}

/// Reads a `from`. Paths come out in their canonical text.
pub fn parse_from(text: &str) -> Result<ColumnSource, FromError> {
    if text.starts_with('$') {
        return META_SOURCES
            .iter()
            .find(|(known, _)| *known == text)
            .map(|(_, meta)| ColumnSource::Meta(*meta))
            .ok_or_else(|| FromError::UnknownSource(text.to_owned()));
    }
    Ok(ColumnSource::Path(text.parse::<Path>()?.to_string()))
}

/// Whether a `$…` source's values fit a column of this type; else what would.
pub fn fits(meta: MetaSource, column_type: &ColumnType) -> Result<(), &'static str> {
    use ColumnType as T;
    let (fits, wanted) = match meta {
        MetaSource::Tenant | MetaSource::Dataset | MetaSource::Op | MetaSource::Key | MetaSource::Topic => {
            (matches!(column_type, T::Varchar(_)), "VARCHAR(n)")
        }
        MetaSource::KeyTime => (matches!(column_type, T::Date | T::DateTime), "DATE or DATETIME"),
        MetaSource::SourceTs => (
            matches!(column_type, T::Date | T::DateTime | T::BigInt),
            "DATETIME, DATE or BIGINT (milliseconds)",
        ),
        MetaSource::Partition => (
            matches!(column_type, T::Int | T::BigInt | T::LargeInt),
            "INT or BIGINT",
        ),
        MetaSource::Offset => (matches!(column_type, T::BigInt | T::LargeInt), "BIGINT"),
        MetaSource::Ordinal => (
            matches!(column_type, T::Int | T::BigInt | T::LargeInt),
            "INT or BIGINT",
        ),
    };
    if fits { Ok(()) } else { Err(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_from_is_a_path_or_a_known_source() {
        assert_eq!(
            parse_from("$key.time"),
            Ok(ColumnSource::Meta(MetaSource::KeyTime))
        );
        assert_eq!(parse_from(r#"a["b"]"#), Ok(ColumnSource::Path("a.b".into())));
        let error = parse_from("$ordinal").unwrap_err().to_string();
        assert!(
            error.contains("unknown source \"$ordinal\": use one of $tenant,"),
            "{error}"
        );
    }

    #[test]
    fn the_texts_are_those_the_relay_reads() {
        for (text, meta) in META_SOURCES {
            assert_eq!(serde_json::to_value(meta).unwrap(), text);
        }
    }
}
