//! Columns known without the document: the key's own, `$…` sources and constants.
//!
//! Everything here is computed from the Kafka record's key and coordinates, so a delete, which carries nothing else, gets the
//! same primary key as the upsert before it.

use tributary_crds::column::ColumnType;
use tributary_crds::relay::{BsonType, MetaSource};

use super::bson::{self, Bson};
use super::{Event, convert, time};
use crate::guard::Guard;
use crate::json::{Cursor, write_int, write_string};

/// A value that needs no document.
#[derive(Debug)]
pub(super) enum KeySource {
    /// The document's `_id` under its declared type.
    Id(BsonType),
    Meta(MetaSource),
    /// JSON text of a constant (`$tenant` and `$dataset` are constants of a mapping).
    Constant(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyValue {
    Written,
    Null,
    /// What is wrong with it.
    Unfit(String),
}

impl KeySource {
    /// Appends the value as JSON text of the column's type.
    #[inline]
    pub(super) fn write(&self, event: &Event<'_>, ty: &ColumnType, out: &mut Vec<u8>) -> KeyValue {
        match self {
            Self::Id(declared) => id(event.key, *declared, ty, out),
            Self::Meta(source) => meta(*source, event, ty, out),
            Self::Constant(text) => {
                out.extend_from_slice(text);
                KeyValue::Written
            }
        }
    }
}

/// A typed `_id`. Documents whose `_id` has another type are not converted: 43 and "43" are two documents.
fn id(key: &[u8], declared: BsonType, ty: &ColumnType, out: &mut Vec<u8>) -> KeyValue {
    // The one shape nearly every key has, without the general reader.
    if declared == BsonType::ObjectId
        && let Some(hex) = object_id(key)
    {
        out.push(b'"');
        out.extend_from_slice(hex);
        out.push(b'"');
        return KeyValue::Written;
    }
    let mut cursor = Cursor::new(key);
    let value = match bson::read(&mut cursor) {
        Ok(value) => value,
        Err(error) => return KeyValue::Unfit(format!("_id is not Extended JSON: {error}")),
    };
    let declared_fits = matches!(
        (&value, declared),
        (Bson::ObjectId(_), BsonType::ObjectId)
            | (Bson::Str(_), BsonType::String)
            | (Bson::Int(_) | Bson::Long(_), BsonType::Int)
            | (Bson::Uuid(_) | Bson::Binary { subtype: 4, .. }, BsonType::Uuid)
            | (Bson::Date(_), BsonType::Date)
    );
    if !declared_fits && Guard::DocumentKeys.holds() {
        let found = value.type_name();
        return KeyValue::Unfit(format!(
            "_id is a {found}, the column declares bson: {declared:?}"
        ));
    }
    match convert::convert(&mut Cursor::new(key), ty, out) {
        Ok(convert::Converted::Written) => KeyValue::Written,
        Ok(_) => KeyValue::Unfit(format!("_id does not fit {ty}")),
        Err(error) => KeyValue::Unfit(format!("_id is not Extended JSON: {error}")),
    }
}

/// The 24 hex digits of `{"$oid": "…"}` in Debezium's own spacing.
fn object_id(key: &[u8]) -> Option<&[u8]> {
    let hex = key.strip_prefix(b"{\"$oid\": \"")?.strip_suffix(b"\"}")?;
    bson::is_object_id(hex).then_some(hex)
}

fn meta(source: MetaSource, event: &Event<'_>, ty: &ColumnType, out: &mut Vec<u8>) -> KeyValue {
    match source {
        // Bound at compile time.
        MetaSource::Tenant | MetaSource::Dataset => KeyValue::Null,
        // Only an exploded row has one.
        MetaSource::Ordinal => KeyValue::Null,
        MetaSource::Op => text(event.op.code(), ty, out),
        MetaSource::Topic => text(event.topic, ty, out),
        MetaSource::Key => match std::str::from_utf8(event.key) {
            Ok(key) => text(key, ty, out),
            Err(_) => KeyValue::Unfit("the key is not UTF-8".into()),
        },
        MetaSource::Partition => number(i64::from(event.partition), ty, out),
        MetaSource::Offset => number(event.offset, ty, out),
        MetaSource::SourceTs => moment(event.source_ts_ms, ty, out),
        MetaSource::KeyTime => moment(key_time_ms(event.key), ty, out),
    }
}

fn text(value: &str, ty: &ColumnType, out: &mut Vec<u8>) -> KeyValue {
    match ty {
        ColumnType::Varchar(max) if value.len() > *max as usize => {
            KeyValue::Unfit(format!("{} bytes do not fit {ty}", value.len()))
        }
        _ => {
            write_string(value, out);
            KeyValue::Written
        }
    }
}

fn number(value: i64, ty: &ColumnType, out: &mut Vec<u8>) -> KeyValue {
    let digits = value.to_string();
    if matches!(ty, ColumnType::Varchar(_)) {
        return text(&digits, ty, out);
    }
    match convert::convert(&mut Cursor::new(digits.as_bytes()), ty, out) {
        Ok(convert::Converted::Written) => KeyValue::Written,
        _ => KeyValue::Unfit(format!("{value} does not fit {ty}")),
    }
}

/// Moments the relay itself supplies; a `DATE` of one is its UTC day by definition, not a loss.
fn moment(ms: Option<i64>, ty: &ColumnType, out: &mut Vec<u8>) -> KeyValue {
    let Some(ms) = ms else { return KeyValue::Null };
    let civil = time::Civil::from_ms(ms);
    match (ty, civil) {
        (ColumnType::BigInt | ColumnType::LargeInt, _) => write_int(ms, out),
        (ColumnType::Date, Some(civil)) => {
            out.push(b'"');
            civil.write_date(out);
            out.push(b'"');
        }
        (_, Some(civil)) => {
            out.push(b'"');
            civil.write_datetime(out);
            out.push(b'"');
        }
        (_, None) => return KeyValue::Unfit(format!("{ms} ms is outside the years 0000 to 9999")),
    }
    KeyValue::Written
}

/// Creation second inside an ObjectId key.
fn key_time_ms(key: &[u8]) -> Option<i64> {
    let hex = match object_id(key) {
        Some(hex) => hex,
        None => match bson::read(&mut Cursor::new(key)) {
            Ok(Bson::ObjectId(hex)) => hex,
            _ => return None,
        },
    };
    let seconds = u32::from_str_radix(std::str::from_utf8(&hex[..8]).ok()?, 16).ok()?;
    Some(i64::from(seconds) * 1000)
}

/// Whether a `$…` source can be stored in a column type.
pub(super) fn meta_fits(source: MetaSource, ty: &ColumnType) -> bool {
    use ColumnType as T;
    match source {
        MetaSource::Tenant | MetaSource::Dataset | MetaSource::Op | MetaSource::Key | MetaSource::Topic => {
            matches!(ty, T::Varchar(_))
        }
        MetaSource::KeyTime | MetaSource::SourceTs => matches!(ty, T::Date | T::DateTime | T::BigInt),
        MetaSource::Partition => matches!(ty, T::SmallInt | T::Int | T::BigInt | T::Varchar(_)),
        MetaSource::Ordinal => matches!(ty, T::SmallInt | T::Int | T::BigInt | T::LargeInt),
        MetaSource::Offset => matches!(ty, T::BigInt | T::LargeInt | T::Varchar(_)),
    }
}
