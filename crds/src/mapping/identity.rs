//! One row has one source document, and the primary key determines it (correctness.md, rule 3).
//!
//! Together the key columns must not let two documents meet in one row. Those that are not known from the document's key alone
//! (values of the document or of its elements) are allowed beside one that is the document's identity: the relay then reads the
//! rows a document has before it replaces them (rule 4), because a delete carries nothing but the key.

use crate::column::ColumnType;
use crate::relay::{BsonType, ColumnSource, MetaSource};

use super::FieldError;

/// What a table's key tells apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyIdentity {
    /// The document within its collection: always, once a table compiled.
    pub document: bool,
    pub tenant: bool,
    pub dataset: bool,
    /// Elements of one document: they have rows of their own.
    pub element: bool,
}

/// A key column as far as identity goes.
pub(super) struct KeyColumn<'a> {
    pub name: &'a str,
    pub field: &'a str,
    pub source: &'a ColumnSource,
    pub column_type: &'a ColumnType,
    pub bson: Option<BsonType>,
}

pub(super) fn identity(key: &[KeyColumn<'_>], errors: &mut Vec<FieldError>) -> KeyIdentity {
    let mut found = KeyIdentity::default();
    for column in key {
        match role(column) {
            Ok(Role::Document) => found.document = true,
            Ok(Role::Tenant) => found.tenant = true,
            Ok(Role::Dataset) => found.dataset = true,
            Ok(Role::Element) => found.element = true,
            Ok(Role::Free) => {}
            Err(message) => errors.push(FieldError::new(column.field, message)),
        }
    }
    found
}

enum Role {
    Document,
    Tenant,
    Dataset,
    Element,
    /// Neither tells documents apart nor elements.
    Free,
}

fn role(column: &KeyColumn<'_>) -> Result<Role, String> {
    match column.source {
        ColumnSource::Path(path) if path == "_id" => {
            let Some(bson) = column.bson else {
                return Err("a key column with from: _id declares bson".to_owned());
            };
            injective(bson, column.column_type)?;
            Ok(Role::Document)
        }
        ColumnSource::Path(_) | ColumnSource::Value(_) => Ok(Role::Free),
        // An expression may speak of the element; where it does not, elements of a document meet in one row, as they would
        // with two equal values of $element.
        ColumnSource::Element(_) | ColumnSource::Expr(_) => Ok(Role::Element),
        ColumnSource::Meta(meta) => match meta {
            MetaSource::Key => Ok(Role::Document),
            MetaSource::Tenant => Ok(Role::Tenant),
            MetaSource::Dataset => Ok(Role::Dataset),
            MetaSource::Ordinal => Ok(Role::Element),
            MetaSource::KeyTime | MetaSource::Topic | MetaSource::Partition => Ok(Role::Free),
            MetaSource::Op | MetaSource::SourceTs | MetaSource::Offset => Err(format!(
                "{} changes with every event of a document: {} cannot be part of the key",
                serde_json::to_value(meta)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                column.name,
            )),
        },
    }
}

/// Whether two ids of this BSON type always differ as values of this column type.
fn injective(bson: BsonType, column_type: &ColumnType) -> Result<(), String> {
    use ColumnType as T;
    let (fits, wanted) = match bson {
        BsonType::ObjectId => (
            matches!(column_type, T::Varchar(n) if *n >= 24),
            "VARCHAR(24) or longer",
        ),
        BsonType::Uuid => (
            matches!(column_type, T::Varchar(n) if *n >= 36),
            "VARCHAR(36) or longer",
        ),
        BsonType::String => (matches!(column_type, T::Varchar(_)), "VARCHAR(n)"),
        BsonType::Int => (
            matches!(
                column_type,
                T::TinyInt | T::SmallInt | T::Int | T::BigInt | T::LargeInt
            ),
            "BIGINT or another integer",
        ),
        // A date of BSON has milliseconds; DATE would let two ids of one day meet.
        BsonType::Date => (matches!(column_type, T::DateTime), "DATETIME"),
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "bson: {bson:?} needs a column of type {wanted}, not {column_type}"
        ))
    }
}
