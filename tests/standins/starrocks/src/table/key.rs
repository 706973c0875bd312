//! Primary keys as bytes whose order is the key's order.

use super::schema::Column;
use super::types::ColumnType;
use super::value::Value;

/// `primary_key_limit_size` of the BE.
pub const PRIMARY_KEY_LIMIT: usize = 128;

/// Encodes the key columns of `row` (indexed by slot). Strings that are not last are escaped and terminated.
pub fn encode(keys: &[Column], row: &[Value]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(32);
    let last = keys.len().saturating_sub(1);
    for (i, key) in keys.iter().enumerate() {
        match (&row[key.slot], &key.ty) {
            (Value::Bool(v), _) => out.push(u8::from(*v)),
            (Value::Int(v), ColumnType::TinyInt) => out.push((*v as i8 as u8) ^ 0x80),
            (Value::Int(v), ColumnType::SmallInt) => {
                out.extend_from_slice(&((*v as i16 as u16) ^ 0x8000).to_be_bytes());
            }
            (Value::Int(v), ColumnType::Int) => {
                out.extend_from_slice(&((*v as i32 as u32) ^ 0x8000_0000).to_be_bytes());
            }
            (Value::Int(v), _) => out.extend_from_slice(&((*v as u64) ^ (1 << 63)).to_be_bytes()),
            (Value::Big(v), _) => out.extend_from_slice(&((*v as u128) ^ (1 << 127)).to_be_bytes()),
            (Value::Date(v), _) => out.extend_from_slice(&((*v as u32) ^ 0x8000_0000).to_be_bytes()),
            (Value::DateTime(v), _) => out.extend_from_slice(&((*v as u64) ^ (1 << 63)).to_be_bytes()),
            (Value::Str(s), _) if i == last => out.extend_from_slice(s.as_bytes()),
            (Value::Str(s), _) => {
                for byte in s.bytes() {
                    out.push(byte);
                    if byte == 0 {
                        out.push(1);
                    }
                }
                out.extend_from_slice(&[0, 0]);
            }
            // Key columns are NOT NULL and of the types above; anything else was refused by the rules.
            _ => {}
        }
    }
    out.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(slot: usize, ty: ColumnType) -> Column {
        Column {
            name: format!("k{slot}"),
            ty,
            nullable: false,
            default: None,
            comment: String::new(),
            generated: None,
            auto_increment: false,
            slot,
            backfill: Value::Null,
        }
    }

    proptest! {
        /// Two string columns: equal bytes exactly when the keys are equal, and the same order.
        #[test]
        fn encoding_is_injective_and_ordered(a in ".{0,6}\0?.{0,3}", b in ".{0,6}", c in ".{0,6}\0?.{0,3}", d in ".{0,6}") {
            let keys = [column(0, ColumnType::Varchar(64)), column(1, ColumnType::Varchar(64))];
            let one = encode(&keys, &[Value::str(a.clone()), Value::str(b.clone())]);
            let two = encode(&keys, &[Value::str(c.clone()), Value::str(d.clone())]);
            prop_assert_eq!(one == two, a == c && b == d);
            prop_assert_eq!(one.cmp(&two), (a.as_bytes(), b.as_bytes()).cmp(&(c.as_bytes(), d.as_bytes())));
        }

        #[test]
        fn integers_keep_their_order(a: i64, b: i64) {
            let keys = [column(0, ColumnType::BigInt)];
            prop_assert_eq!(encode(&keys, &[Value::Int(a)]).cmp(&encode(&keys, &[Value::Int(b)])), a.cmp(&b));
        }
    }
}
