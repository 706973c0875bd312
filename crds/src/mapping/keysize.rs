//! How long StarRocks' encoded form of a primary key is at least. A longer key than it takes fails a load; documents whose own
//! key is too long are parked by the relay, a table none of whose keys can fit is refused here.

use crate::column::ColumnType;
use crate::relay::{BsonType, ColumnSource};

use super::identity::KeyColumn;

/// Ends every text but the last: `\0\0`.
const TERMINATOR: usize = 2;

/// The fewest bytes a key of these columns can have.
pub(super) fn least(key: &[KeyColumn<'_>]) -> usize {
    let last = key.len().saturating_sub(1);
    let column = |(i, column): (usize, &KeyColumn<'_>)| match fixed(column.column_type) {
        Some(width) => width,
        None if i == last => text(column),
        None => text(column) + TERMINATOR,
    };
    key.iter().enumerate().map(column).sum()
}

/// Width of a type whose values are all of one.
fn fixed(column_type: &ColumnType) -> Option<usize> {
    use ColumnType as T;
    match column_type {
        T::Boolean | T::TinyInt => Some(1),
        T::SmallInt => Some(2),
        T::Int | T::Date => Some(4),
        T::BigInt | T::DateTime => Some(8),
        T::LargeInt => Some(16),
        _ => None,
    }
}

/// What is known of a text without the document.
fn text(column: &KeyColumn<'_>) -> usize {
    match (column.source, column.bson) {
        (ColumnSource::Value(value), _) => value.len(),
        (_, Some(BsonType::ObjectId)) => 24,
        (_, Some(BsonType::Uuid)) => 36,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(columns: &[(&str, ColumnSource, Option<BsonType>)]) -> usize {
        let types: Vec<ColumnType> = columns.iter().map(|(t, ..)| t.parse().unwrap()).collect();
        let key: Vec<KeyColumn<'_>> = columns
            .iter()
            .zip(&types)
            .map(|((_, source, bson), column_type)| KeyColumn {
                name: "k",
                field: "",
                source,
                column_type,
                bson: *bson,
            })
            .collect();
        least(&key)
    }

    #[test]
    fn texts_end_with_two_bytes_unless_they_end_the_key() {
        let id = || ColumnSource::Path("_id".into());
        let value = |n: usize| ColumnSource::Value("x".repeat(n));
        let oid = || ("VARCHAR(24)", id(), Some(BsonType::ObjectId));
        assert_eq!(size(&[oid()]), 24);
        assert_eq!(size(&[oid(), ("INT", id(), None)]), 30);
        assert_eq!(size(&[("VARCHAR(100)", value(99), None), oid()]), 125);
        assert_eq!(size(&[("VARCHAR(200)", value(103), None), oid()]), 129);
        assert_eq!(size(&[("LARGEINT", id(), None), ("VARCHAR(9)", id(), None)]), 16);
    }
}
