//! Resume tokens in the shapes MongoDB mints: a KeyString in hex that sorts as time does.
//!
//! * an event: `82 <sec> <inc> 2B04 2C0100 29 6E 5A10 04<uuid> 46 {operationType, documentKey} 04`
//! * an idle stream's high-water mark: `82 <sec> <inc> 2B02 29 29 6E 04`
//!
//! Only the time and the flag "from an invalidate" are ever read back; the rest is there because clients see it.

use std::fmt::Write as _;

use bson::{RawBsonRef, Timestamp, raw::RawDocument};

use super::Entry;
use crate::error::{Code, CommandError, Result};

const VERSION_2_EVENT: &str = "2B042C010029";
const EVENT_VERSIONS: [&str; 2] = ["2B042C010029", "2B022C010029"];
const HIGH_WATER_TAIL: &str = "2B0229296E04";
/// Both shapes in the wild: version 1 and version 2.
const HIGH_WATER_TAILS: [&str; 2] = [HIGH_WATER_TAIL, "2B0429296E1404"];

#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    Event { at: Timestamp, from_invalidate: bool },
    HighWater { at: Timestamp },
}

pub fn high_water(at: Timestamp) -> String {
    format!("82{:08X}{:08X}{HIGH_WATER_TAIL}", at.time, at.increment)
}

pub fn event(entry: &Entry, from_invalidate: bool) -> String {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&[0x5A, 16, 4]);
    key.extend_from_slice(&entry.uuid);
    key.push(0x46);
    field(
        &mut key,
        "operationType",
        RawBsonRef::String(if from_invalidate {
            "invalidate"
        } else {
            entry.operation()
        }),
    );
    if let Some(id) = entry.id() {
        key.push(0x46);
        key.extend_from_slice(b"documentKey\0");
        key.push(0x46);
        field(&mut key, "_id", id.as_raw_bson_ref());
        key.push(0);
    }
    key.extend_from_slice(&[0, 4]);
    let mut token = format!(
        "82{:08X}{:08X}{VERSION_2_EVENT}{}",
        entry.at.time,
        entry.at.increment,
        if from_invalidate { "6F" } else { "6E" }
    );
    for byte in key {
        let _ = write!(token, "{byte:02X}"); // writing to a String cannot fail
    }
    token
}

pub fn parse(token: &RawDocument) -> Result<Token> {
    let data = token
        .get_str("_data")
        .map_err(|_| bad("Bad resume token: _data of missing or of wrong type"))?;
    let number =
        |range: std::ops::Range<usize>| data.get(range).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let (Some("82"), Some(time), Some(increment)) = (data.get(..2), number(2..10), number(10..18)) else {
        return Err(bad(format!("A resume token must start with a timestamp: {data}")));
    };
    let at = Timestamp { time, increment };
    let tail = &data[18..];
    if HIGH_WATER_TAILS.contains(&tail) {
        return Ok(Token::HighWater { at });
    }
    let flag = EVENT_VERSIONS
        .iter()
        .find_map(|head| tail.strip_prefix(head))
        .and_then(|rest| rest.get(..2));
    match flag {
        Some("6E") => Ok(Token::Event {
            at,
            from_invalidate: false,
        }),
        Some("6F") => Ok(Token::Event {
            at,
            from_invalidate: true,
        }),
        _ => Err(bad(format!("Unrecognised resume token: {data}"))),
    }
}

fn bad(message: impl Into<String>) -> CommandError {
    CommandError::new(Code::InvalidResumeToken, message)
}

fn field(key: &mut Vec<u8>, name: &str, value: RawBsonRef<'_>) {
    let start = key.len();
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    let kind = append(key, value);
    key[start] = kind_of(kind);
}

/// Within an object the field's type comes first in canonical form (all numbers as one).
fn kind_of(kind: u8) -> u8 {
    if (0x17..=0x2F).contains(&kind) { 0x1E } else { kind }
}

/// Appends a value as KeyString does and returns its type byte. Fractions and decimals are written as their text,
/// which no reader of ours looks into.
fn append(key: &mut Vec<u8>, value: RawBsonRef<'_>) -> u8 {
    let at = key.len();
    match value {
        RawBsonRef::MinKey => key.push(0x0A),
        RawBsonRef::Undefined => key.push(0x0F),
        RawBsonRef::Null => key.push(0x14),
        RawBsonRef::Int32(n) => integer(key, n.into()),
        RawBsonRef::Int64(n) => integer(key, n),
        #[allow(clippy::cast_possible_truncation)] // whole and within range
        RawBsonRef::Double(d) if d.fract() == 0.0 && d.abs() < 9e15 => integer(key, d as i64),
        RawBsonRef::Double(d) => text(key, 0x1E, &d.to_string()),
        RawBsonRef::Decimal128(d) => text(key, 0x1E, &d.to_string()),
        RawBsonRef::String(s) | RawBsonRef::Symbol(s) => text(key, 0x3C, s),
        RawBsonRef::Document(doc) => {
            key.push(0x46);
            for (name, value) in doc.iter().map_while(std::result::Result::ok) {
                field(key, name.as_str(), value);
            }
            key.push(0);
        }
        RawBsonRef::Array(items) => {
            key.push(0x50);
            for value in items.into_iter().map_while(std::result::Result::ok) {
                append(key, value);
            }
            key.push(0);
        }
        RawBsonRef::Binary(b) => {
            key.extend_from_slice(&[
                0x5A,
                u8::try_from(b.bytes.len()).unwrap_or(0xFF),
                b.subtype.into(),
            ]);
            key.extend_from_slice(b.bytes);
        }
        RawBsonRef::ObjectId(id) => {
            key.push(0x64);
            key.extend_from_slice(&id.bytes());
        }
        RawBsonRef::Boolean(b) => key.push(0x6E + u8::from(b)),
        RawBsonRef::DateTime(d) => {
            key.push(0x78);
            key.extend_from_slice(&(d.timestamp_millis() ^ i64::MIN).to_be_bytes());
        }
        RawBsonRef::Timestamp(t) => {
            key.push(0x82);
            key.extend_from_slice(&t.time.to_be_bytes());
            key.extend_from_slice(&t.increment.to_be_bytes());
        }
        RawBsonRef::MaxKey => key.push(0xF0),
        other => text(key, 0xA0, &format!("{other:?}")),
    }
    key[at]
}

/// Zero is 0x29; a positive number of n bytes 0x2A + n, its value shifted left by one; a negative one inverted.
fn integer(key: &mut Vec<u8>, n: i64) {
    if n == 0 {
        key.push(0x29);
        return;
    }
    let shifted = u128::from(n.unsigned_abs()) << 1;
    let bytes = shifted.to_be_bytes();
    let skip = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
    let length = u8::try_from(bytes.len() - skip).unwrap_or(u8::MAX);
    if n > 0 {
        key.push(0x2A + length);
        key.extend_from_slice(&bytes[skip..]);
    } else {
        key.push(0x29_u8.saturating_sub(length));
        key.extend(bytes[skip..].iter().map(|b| !b));
    }
}

fn text(key: &mut Vec<u8>, kind: u8, s: &str) {
    key.push(kind);
    for byte in s.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xFF);
        }
    }
    key.push(0);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::{DateTime, RawBson, oid::ObjectId, rawdoc};

    use super::*;
    use crate::oplog::Change;

    fn entry(id: RawBson) -> Entry {
        let at = Timestamp {
            time: 0x6B03_13E6,
            increment: 1,
        };
        let document = Arc::new(rawdoc! { "_id": (id.clone()) });
        let change = Change::Insert { id, document };
        Entry {
            at,
            wall: DateTime::now(),
            db: "t".into(),
            collection: "c".into(),
            uuid: [0xAB; 16],
            change,
        }
    }

    #[test]
    fn the_shapes_are_those_seen_on_real_servers() {
        assert_eq!(
            high_water(Timestamp {
                time: 0x6B03_13E6,
                increment: 1
            }),
            "826B0313E6000000012B0229296E04"
        );
        let id = ObjectId::parse_str("64b7f0a1c2d3e4f5a6b7c8da").unwrap();
        assert_eq!(
            event(&entry(RawBson::ObjectId(id)), false),
            "826B0313E6000000012B042C0100296E5A1004ABABABABABABABABABABABABABABABAB\
             463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B65790046645F69640064\
             64B7F0A1C2D3E4F5A6B7C8DA000004"
        );
    }

    #[test]
    fn what_is_minted_is_parsed_and_what_is_not_is_refused() {
        let at = Timestamp {
            time: 0x6B03_13E6,
            increment: 1,
        };
        for id in [
            RawBson::Int32(-5),
            RawBson::String("a\0b".into()),
            RawBson::Double(4.5),
            rawdoc! { "t": "a", "k": 1 }.into(),
        ] {
            let token = rawdoc! { "_data": (event(&entry(id.clone()), false)) };
            assert_eq!(
                parse(&token).unwrap(),
                Token::Event {
                    at,
                    from_invalidate: false
                }
            );
            let token = rawdoc! { "_data": (event(&entry(id), true)) };
            assert_eq!(
                parse(&token).unwrap(),
                Token::Event {
                    at,
                    from_invalidate: true
                }
            );
        }
        assert_eq!(
            parse(&rawdoc! { "_data": (high_water(at)) }).unwrap(),
            Token::HighWater { at }
        );
        for bad in [
            rawdoc! {},
            rawdoc! { "_data": "" },
            rawdoc! { "_data": "8200" },
            rawdoc! { "_data": "826B0313E600000001FF" },
        ] {
            assert_eq!(parse(&bad).unwrap_err().name, "InvalidResumeToken");
        }
    }
}
