//! The Kafka key: the identity of a document.

use crate::json::{Cursor, JsonError, Kind};
use crate::shape::bson::is_object_id;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the record has no key: a MongoDB event always has one")]
    Missing,
    #[error("the key is not JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the key is not UTF-8")]
    Utf8,
    #[error("the key has no \"id\"")]
    NoId,
    #[error("\"id\" of the key is not a string")]
    IdIsNotText,
}

/// Writes the canonical text of the document's `_id` (Extended JSON v2 relaxed, exactly as Debezium wrote it) into `id`.
///
/// `{"id":"\"str\""}` gives `"str"` with its quotes: a string and an ObjectId of the same letters stay different.
pub fn document_key(key: Option<&[u8]>, id: &mut Vec<u8>) -> Result<(), KeyError> {
    id.clear();
    let key = key.ok_or(KeyError::Missing)?;
    if let Some(hex) = object_id(key) {
        id.extend_from_slice(b"{\"$oid\": \"");
        id.extend_from_slice(hex);
        id.extend_from_slice(b"\"}");
        return Ok(());
    }
    if std::str::from_utf8(key).is_err() {
        return Err(KeyError::Utf8);
    }
    let mut cursor = Cursor::new(key);
    if read_object(&mut cursor, id)? {
        Ok(())
    } else {
        Err(KeyError::NoId)
    }
}

/// The one form nearly every key has.
fn object_id(key: &[u8]) -> Option<&[u8]> {
    let hex = key
        .strip_prefix(br#"{"id":"{\"$oid\": \""#)?
        .strip_suffix(br#"\"}"}"#)?;
    is_object_id(hex).then_some(hex)
}

fn read_object(cursor: &mut Cursor<'_>, id: &mut Vec<u8>) -> Result<bool, KeyError> {
    if !cursor.open_object()? {
        return Ok(false);
    }
    let mut found = false;
    loop {
        match cursor.name()?.raw {
            b"id" if !found => {
                if cursor.kind()? != Kind::String {
                    return Err(KeyError::IdIsNotText);
                }
                cursor.string_into(id)?;
                found = true;
            }
            b"payload" if !found && cursor.kind()? == Kind::Object => {
                found = read_object(cursor, id)?;
            }
            _ => cursor.skip()?,
        }
        if !cursor.next_member()? {
            return Ok(found);
        }
    }
}
