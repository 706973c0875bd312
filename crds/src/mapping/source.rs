//! What a `from` says: a path into the document, into an exploded element, or one of the `$…` sources.

use crate::column::ColumnType;
use crate::relay::{ColumnSource, MetaSource};

use super::path::{Path, PathError};

/// Every `$…` source with its text.
pub const META_SOURCES: [(&str, MetaSource); 10] = [
    ("$tenant", MetaSource::Tenant),
    ("$dataset", MetaSource::Dataset),
    ("$op", MetaSource::Op),
    ("$key", MetaSource::Key),
    ("$key.time", MetaSource::KeyTime),
    ("$source.ts", MetaSource::SourceTs),
    ("$topic", MetaSource::Topic),
    ("$partition", MetaSource::Partition),
    ("$offset", MetaSource::Offset),
    ("$ordinal", MetaSource::Ordinal),
];
const ELEMENT: &str = "$element";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FromError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("unknown source {0:?}: use one of {known}, or a path", known = known())]
    UnknownSource(String),
    #[error("{0} exists only where rows.explode makes rows of elements")]
    NotExploded(String),
}

fn known() -> String {
    let texts = META_SOURCES.map(|(text, _)| text);
    format!("{}, $element.<path>", texts.join(", "))
}

/// Reads a `from` of a table with or without `rows.explode`. Paths come out in their canonical text.
pub fn parse_from(text: &str, exploded: bool) -> Result<ColumnSource, FromError> {
    if !text.starts_with('$') {
        return Ok(ColumnSource::Path(text.parse::<Path>()?.to_string()));
    }
    let meta = META_SOURCES.iter().find(|(known, _)| *known == text);
    let source = match (meta, text.strip_prefix(ELEMENT)) {
        (Some((_, meta)), _) => ColumnSource::Meta(*meta),
        (None, Some(rest)) => ColumnSource::Element(element(text, rest)?),
        (None, None) => return Err(FromError::UnknownSource(text.to_owned())),
    };
    let of_an_element = matches!(
        source,
        ColumnSource::Element(_) | ColumnSource::Meta(MetaSource::Ordinal)
    );
    if of_an_element && !exploded {
        return Err(FromError::NotExploded(text.to_owned()));
    }
    Ok(source)
}

/// What follows `$element`: nothing (the element itself), `.path` or `["odd.name"]`.
fn element(text: &str, rest: &str) -> Result<String, FromError> {
    let path = match rest.strip_prefix('.') {
        Some(path) => path,
        None if rest.is_empty() => return Ok(String::new()),
        None if rest.starts_with('[') => rest,
        None => return Err(FromError::UnknownSource(text.to_owned())),
    };
    Ok(path.parse::<Path>()?.to_string())
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
            parse_from("$key.time", false),
            Ok(ColumnSource::Meta(MetaSource::KeyTime))
        );
        assert_eq!(
            parse_from(r#"a["b"]"#, false),
            Ok(ColumnSource::Path("a.b".into()))
        );
        let error = parse_from("$nope", false).unwrap_err().to_string();
        assert!(
            error.contains("unknown source \"$nope\": use one of $tenant,"),
            "{error}"
        );
    }

    #[test]
    fn elements_exist_where_they_are_exploded() {
        let element = |path: &str| Ok(ColumnSource::Element(path.into()));
        assert_eq!(parse_from("$element.a[0].b", true), element("a[0].b"));
        assert_eq!(
            parse_from(r#"$element["odd.name"]"#, true),
            element(r#"["odd.name"]"#)
        );
        assert_eq!(parse_from("$element", true), element(""));
        assert_eq!(
            parse_from("$ordinal", true),
            Ok(ColumnSource::Meta(MetaSource::Ordinal))
        );
        for text in ["$element.sku", "$element", "$ordinal"] {
            let error = parse_from(text, false).unwrap_err().to_string();
            assert!(error.contains("only where rows.explode"), "{error}");
        }
        assert!(matches!(
            parse_from("$elements", true),
            Err(FromError::UnknownSource(_))
        ));
        assert!(matches!(parse_from("$element.", true), Err(FromError::Path(_))));
    }

    #[test]
    fn the_texts_are_those_the_relay_reads() {
        for (text, meta) in META_SOURCES {
            assert_eq!(serde_json::to_value(meta).unwrap(), text);
        }
    }
}
